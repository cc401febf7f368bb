"""A run's samples as Prometheus' series, and what its own tool says of them with the pipeline's own rules."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from principal_kit import services
from principal_kit.core.errors import InvalidArgument, MissingPrerequisite, ServiceError
from principal_kit.platform import alerts
from principal_kit.platform.metrics import JobState, Log, Sample, TableState

RULES = Path(__file__).parents[2] / "deploy/observability/rules.yml"
BEGIN = 1_000_000.0


def sample(second: float, *, stuck_at: float = 1e9, down: bool = False) -> Sample:
    """A pipeline that takes 100 records a second with a checkpoint a second; its commits stop at `stuck_at`."""
    done = min(second, stuck_at)
    job = JobState(running=True, completed=int(done), checkpoint_at=BEGIN + done, checkpoint_seconds=0.2)
    return Sample(
        at=BEGIN + second,
        log=None if down else Log({"clicks": int(100 * second)}, {}, {"1": (1000, 500)}, {"sessions": "clicks"},
                                  {"sessions": int(100 * done)}),
        jobs={"sessions": job},
        letters={("clicks", "malformed"): 0},
        tables={"clicks": TableState(rows=int(100 * done), added=int(100 * done), committed_at=BEGIN + done)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def promtool():
    try:
        return services.promtool()
    except MissingPrerequisite as error:
        pytest.skip(str(error))


def test_examples():
    assert doctest.testmod(alerts).failed == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("1d2h", 93_600.0), ("1w", 604_800.0), ("1m0.5s", 60.5), ("250ms", 0.25)]
)
def test_durations_have_every_unit_of_prometheus(text, seconds):
    assert alerts._seconds(text) == seconds


def test_a_second_becomes_a_minute_in_amounts_and_moments_and_shares_stay():
    held = alerts.series([sample(0.0), sample(1.0), sample(2.0)], step=1.0, dilation=60.0)
    assert held['pipeline_topic_records_total{topic="clicks"}'] == [0.0, 6000.0, 12_000.0], "100 a second, still"
    assert held['pipeline_last_checkpoint_timestamp_seconds{job="sessions"}'] == [0.0, 60.0, 120.0]
    assert held['pipeline_consumer_lag_records{job="sessions",topic="clicks"}'] == [0.0, 0.0, 0.0]
    assert held['pipeline_broker_disk_free_bytes{broker="1"}'] == [500.0] * 3
    assert held['pipeline_job_running{job="sessions"}'] == [1.0] * 3
    assert held["pipeline_sample_duration_seconds{}"] == [0.0] * 3
    assert held['up{job="pipeline"}'] == [1.0] * 3


def test_a_restart_is_one_restart_however_long_the_run_was():
    restarted = replace(sample(1.0), jobs={"sessions": JobState(running=True, restarts=1)})
    held = alerts.series([sample(0.0), restarted], step=1.0)
    assert held['pipeline_job_restarts_total{job="sessions"}'] == [0.0, 1.0]


def test_a_scrape_gives_the_last_sample_also_when_no_more_come_and_nothing_for_a_part_that_did_not_answer():
    held = alerts.series([sample(0.0), sample(1.2, down=True)], until=BEGIN + 3.0, step=1.0, dilation=1.0)
    assert held["pipeline_sample_timestamp_seconds{}"] == [0.0, 0.0, pytest.approx(1.2), pytest.approx(1.2)]
    assert held['pipeline_topic_records_total{topic="clicks"}'] == [0.0, 0.0, None, None]
    assert held['pipeline_part_up{part="kafka"}'] == [1.0, 1.0, 0.0, 0.0]


def test_no_samples_are_refused():
    with pytest.raises(InvalidArgument, match="0 samples every 1 s"):
        alerts.series([], step=1)


def test_healthy_minutes_are_silent_and_commits_that_stop_are_not(promtool):
    moments = [i / 2 for i in range(70)]
    assert alerts.firing([sample(s) for s in moments], RULES, promtool) == []
    fired = alerts.firing([sample(s, stuck_at=10.0) for s in moments], RULES, promtool)
    first = {f.alert: f.first for f in fired}
    assert set(first) == {"CheckpointTooOld", "TablesStandStill", "LagGrowing"}
    assert all(f.severity == "page" for f in fired)
    # a checkpoint is too old after a minute and two more: three seconds of the run, and half a one to see it
    assert 13.0 <= first["CheckpointTooOld"] <= 14.0
    [lag] = [f for f in fired if f.alert == "LagGrowing"]
    assert lag.labels == {"job": "sessions", "topic": "clicks"}


def test_a_part_that_does_not_answer_and_samples_that_stop_are_seen(promtool):
    moments = [i / 2 for i in range(20)]
    samples = [sample(s, down=s > 5) for s in moments]
    parts = [f.labels.get("part") for f in alerts.firing(samples, RULES, promtool) if f.alert == "PipelineUnobserved"]
    assert parts == ["kafka"]
    late = alerts.firing([sample(s) for s in moments], RULES, promtool, until=BEGIN + 20)
    assert "PipelineUnobserved" in {f.alert for f in late}


def filling(second: float, *, dies_at: float = 1e9) -> Sample:
    """A broker whose disk's last tenth begins at second 5; at `dies_at` it is gone, and its series are."""
    free = max(0, 100 - int(2 * (second - 5)))
    log = Log({"clicks": int(100 * second)}, {}, {"1": (1000, free)}, {"sessions": "clicks"}, {"sessions": 0})
    return Sample(at=BEGIN + second, log=None if second >= dies_at else log)


def test_a_series_that_vanishes_is_over_and_its_last_value_fires_nothing(promtool):
    """A scrape that lacks a series which was there writes a marker: nobody looks five minutes back for it then."""
    moments = [i / 2 for i in range(60)]
    full = [f for f in alerts.firing([filling(s) for s in moments], RULES, promtool) if f.alert == "BrokerDiskFull"]
    assert [round(f.first, 1) for f in full] == [10.5], "five minutes after less than a tenth is left"
    dead = alerts.firing([filling(s, dies_at=8.0) for s in moments], RULES, promtool)
    assert "BrokerDiskFull" not in {f.alert for f in dead}, "gone after three minutes of the five"
    assert "PipelineUnobserved" in {f.alert for f in dead}


def test_rows_and_records_are_dilated_alike():
    held = alerts.series([sample(0.0), sample(2.0)], step=2.0)
    assert held['pipeline_table_rows{table="clicks"}'] == held['pipeline_topic_records_total{topic="clicks"}']


def test_a_file_that_promtool_does_not_take_is_an_error(promtool, tmp_path):
    (tmp_path / "rules.yml").write_text("groups: [{name: x, rules: [{alert: Y, expr: 'rate('}]}]")
    with pytest.raises(ServiceError, match=r"could not evaluate rules\.yml"):
        alerts.firing([sample(0.0), sample(1.0)], tmp_path / "rules.yml", promtool)
