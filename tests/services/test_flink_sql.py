"""What needs no cluster: scripts into statements, changelogs into rows, two hundred lines of Java into one."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest

from principal_kit.core.errors import ServiceError
from principal_kit.services import flink_failure, flink_jobs, flink_sql
from principal_kit.services.flink_failure import links, root_cause

TRACE = """\
<Exception on server side:
org.apache.flink.table.gateway.service.utils.SqlExecutionException: Failed to execute the operation 1.
\tat org.apache.flink.table.gateway.Manager.lambda$run$0(Manager.java:12)
\tat java.base/java.lang.Thread.run(Thread.java:840)
Caused by: org.apache.flink.table.api.ValidationException: SQL validation failed. From line 1, column 15: No 'x'
\tat org.apache.flink.Planner.validate(Planner.scala:200)
\t... 6 more
Caused by: org.apache.calcite.runtime.CalciteContextException: From line 1, column 15: No 'x'
\tat a.b.C.d(C.java:1)
Caused by: org.apache.calcite.sql.validate.SqlValidatorException: No 'x'
\tat a.b.C.d(C.java:1)
\t... 10 more

End of exception on server side>
"""


def test_the_root_cause_says_where():
    assert links(TRACE)[0] == "Failed to execute the operation 1."
    assert root_cause(TRACE) == "From line 1, column 15: No 'x'"


@pytest.mark.parametrize(
    "trace, line",
    [
        ("", "no reason given"),
        ("Session 7 is gone", "Session 7 is gone"),
        ("java.lang.ArithmeticException: / by zero\n\tat a.B.c(B.java:1)\n", "/ by zero"),
        ("java.lang.NullPointerException\n\tat a.B.c(B.java:1)\n", "NullPointerException"),
        (
            "a.b.SomeException: one\nCaused by: c.d.OtherError: two\n\nthree:\n  four\n\tat x.Y.z(Y.java)",
            "two three: four",
        ),
        (f"a.b.SomeException: {'x' * 2000}\n\tat x.Y.z(Y.java)", "x" * 599 + "…"),
    ],
    ids=["nothing", "no chain", "one", "no message", "several lines", "long"],
)
def test_one_line_of_any_trace(trace, line):
    assert root_cause(trace) == line


@pytest.mark.parametrize(
    "script, expected",
    [
        ("", []),
        (" ;; ", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT ';' ; SELECT `a;b`; SELECT 'it''s;'", ["SELECT ';'", "SELECT `a;b`", "SELECT 'it''s;'"]),
        ("-- why; not\nSELECT 1; /* a; b */ SELECT 2 -- end", ["SELECT 1", "SELECT 2"]),
        ("SELECT /*+ OPTIONS('a;'='b') */ 1;", ["SELECT /*+ OPTIONS('a;'='b') */ 1"]),
        (
            "SET 'a' = 'b'; EXECUTE STATEMENT SET BEGIN INSERT INTO x SELECT 1; INSERT INTO y SELECT 2; END; SELECT 3",
            [
                "SET 'a' = 'b'",
                "EXECUTE STATEMENT SET BEGIN INSERT INTO x SELECT 1; INSERT INTO y SELECT 2; END",
                "SELECT 3",
            ],
        ),
        (
            "BEGIN STATEMENT SET; INSERT INTO x SELECT CASE WHEN a THEN 1 END FROM t; INSERT INTO y SELECT 2; END;",
            ["BEGIN STATEMENT SET; INSERT INTO x SELECT CASE WHEN a THEN 1 END FROM t; INSERT INTO y SELECT 2; END"],
        ),
        (
            "EXECUTE STATEMENT SET BEGIN INSERT INTO x SELECT CASE WHEN a THEN 1 END; INSERT INTO y SELECT 2; END;",
            ["EXECUTE STATEMENT SET BEGIN INSERT INTO x SELECT CASE WHEN a THEN 1 END; INSERT INTO y SELECT 2; END"],
        ),
    ],
)
def test_a_script_is_split_at_its_own_semicolons(script, expected):
    assert flink_sql.statements(script) == expected


def test_options_are_named_as_in_flink_or_as_in_python():
    assert flink_sql.option("execution__runtime_mode") == "execution.runtime-mode"
    assert flink_sql.option("execution.state-recovery.path") == "execution.state-recovery.path"


def test_a_changelog_adds_up_to_a_table():
    result = flink_sql.Result()
    for kind, n in (
        ("INSERT", 1),
        ("INSERT", 1),
        ("UPDATE_BEFORE", 1),
        ("UPDATE_AFTER", 2),
        ("DELETE", 1),
        ("DELETE", 9),
    ):
        result.apply(kind, {"n": n})
    assert result.rows == [{"n": 2}]


@pytest.mark.parametrize(
    "sql_type, text, value",
    [
        ("INTEGER", 7, 7),
        ("DECIMAL", 1.5, Decimal("1.5")),
        ("VARBINARY", "AP8=", b"\x00\xff"),
        ("DATE", "2026-01-31", date(2026, 1, 31)),
        ("TIMESTAMP_WITHOUT_TIME_ZONE", "2026-01-31T12:00:00.123456789", datetime(2026, 1, 31, 12, 0, 0, 123456)),
        ("BYTES", None, None),
    ],
)
def test_values_are_pythons(sql_type, text, value):
    assert flink_sql._value(sql_type, text) == value


@pytest.mark.parametrize(
    "state, tasks, running",
    [
        ("RUNNING", {"RUNNING": 2}, True),
        ("RUNNING", {"RUNNING": 1, "FINISHED": 1}, True),
        ("RUNNING", {"RUNNING": 1, "INITIALIZING": 1}, False),
        ("RUNNING", {}, False),
        ("RESTARTING", {"RUNNING": 2}, False),
    ],
)
def test_a_job_runs_when_all_its_tasks_do(state, tasks, running):
    assert flink_jobs.Job("id", "name", state, tasks, (), {}).running is running


@pytest.mark.parametrize("state", ["INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING"])
def test_a_job_that_does_not_run_at_the_moment_has_not_ended(state):
    assert not flink_jobs.Job("id", "name", state, {}, (), {}).ended
    assert all(flink_jobs.Job("id", "name", ended, {}, (), {}).ended for ended in flink_jobs.ENDED)


class Triggered(flink_jobs.JobControl):
    """A JobManager that answers for its checkpoints from statistics that are older than the checkpoint."""

    def __init__(self, refusals, text="Could not find checkpointing statistics for checkpoint 3.", unfinished=0):
        self.refusals, self.text, self.unfinished = refusals, text, unfinished

    def rest(self, method, path, json=None):
        if method == "POST":
            return {"request-id": "r"}
        if path.endswith("/checkpoints/r"):
            return {"status": {"id": "COMPLETED"}, "operation": {"checkpointId": 3}}
        assert path == "/jobs/f/checkpoints/details/3"
        if self.refusals:
            self.refusals -= 1
            raise flink_failure.FlinkError(self.text)
        if self.unfinished:
            self.unfinished -= 1
            return {"id": 3, "status": "IN_PROGRESS", "end_to_end_duration": 0, "state_size": 0, "is_savepoint": False}
        found = {"id": 3, "status": "COMPLETED", "external_path": "/lake/chk-3", "is_savepoint": False}
        return found | {"end_to_end_duration": 5, "state_size": 7}


def test_a_checkpoint_that_the_statistics_do_not_have_yet_is_waited_for():
    assert Triggered(refusals=2).checkpoint("f").path == "/lake/chk-3"
    assert Triggered(refusals=1, unfinished=2).checkpoint("f").path == "/lake/chk-3", "not one without a path"
    with pytest.raises(ServiceError, match="statistics of checkpoint 3"):
        Triggered(refusals=10_000).checkpoint("f", seconds=0.01)
    with pytest.raises(flink_failure.FlinkError, match="not known"):
        Triggered(refusals=1, text="job f is not known").checkpoint("f")
