"""Which jobs a pipeline submits, by what a JobManager says of those it has; no server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.platform import jobs
from principal_kit.platform.pipeline import Pipeline


class Flink:
    """A JobManager with jobs in given states, and what was submitted to it."""

    def __init__(self, **states):
        self.states, self.submitted, self.waited, self.cancelled = states, {}, [], []
        self.silent = 0

    def jobs(self):
        if self.silent:
            self.silent -= 1
            raise ServiceError("no answer")
        return dict(self.states)

    def submit(self, script, *, resume_from=None):
        name = next(name for name in jobs.NAMES if jobs.script(name, SETTINGS) == script)
        assert name not in self.submitted, f"{name} is submitted twice"
        self.submitted[name] = resume_from
        self.states[f"new-{name}"] = "CREATED"
        return [f"new-{name}"]

    def wait_running(self, id):
        self.waited.append(id)

    def latest_checkpoint(self, id):
        return f"/checkpoints/{id}/chk-3"

    def cancel(self, id):
        self.cancelled.append(id)


SETTINGS = jobs.Settings(bootstrap="kafka:9092", dsn="postgresql://kit@db/lake", warehouse="file:///lake")


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("principal_kit.platform.tables.catalog", lambda *_: None)
    monkeypatch.setattr(Pipeline, "prepare", lambda self: None)
    return lambda flink, **ids: Pipeline(None, flink, SETTINGS, ids)


def test_a_new_pipeline_submits_every_job_and_waits_for_each(made):
    flink = Flink()
    ids = made(flink).start()
    assert ids == {name: f"new-{name}" for name in jobs.NAMES}
    assert set(flink.submitted.values()) == {None}
    assert flink.waited == list(ids.values())


@pytest.mark.parametrize("state", ["INITIALIZING", "CREATED", "RUNNING", "FAILING", "RESTARTING"])
def test_a_job_that_is_on_its_way_is_not_submitted_a_second_time(made, state):
    """Its twin would begin at the beginning and write everything again."""
    flink = Flink(f=state)
    pipeline = made(flink, fraud="f")
    assert pipeline.resume() == {}
    assert pipeline.start("fraud")["fraud"] == "f"
    assert flink.submitted == {}
    pipeline.stop()
    assert flink.cancelled == ["f"]
    assert pipeline.ids == {}


@pytest.mark.parametrize("states", [{}, {"f": "FAILED"}, {"f": "CANCELED"}])
def test_a_job_that_is_gone_is_submitted_again(made, states):
    flink = Flink(**states)
    assert made(flink, fraud="f").start("fraud") == {"fraud": "new-fraud"}
    assert flink.submitted == {"fraud": "/checkpoints/f/chk-3"}, "a start forgets nothing either"
    flink = Flink(**states)
    assert made(flink, fraud="f").resume() == {"fraud": "new-fraud"}
    assert flink.submitted == {"fraud": "/checkpoints/f/chk-3"}


def test_a_start_from_given_states_submits_each_job_once(made):
    flink = Flink(s="RUNNING")
    paths = {"fraud": "/lake/chk-7", "sessions": "/lake/chk-9"}
    assert made(flink, sessions="s").start(states=paths)["fraud"] == "new-fraud"
    assert flink.submitted == {"fraud": "/lake/chk-7", "inventory": None}, "sessions goes on as it is"


def test_a_job_killed_before_its_first_checkpoint_goes_on_from_the_state_that_it_was_started_from(made, monkeypatch):
    flink = Flink()
    pipeline = made(flink)
    pipeline.start("fraud", states={"fraud": "/lake/chk-7"})
    flink.states.clear()
    flink.submitted.clear()

    def none(_):
        raise ServiceError("no complete checkpoint")

    monkeypatch.setattr(flink, "latest_checkpoint", none)
    monkeypatch.setattr("principal_kit.platform.tables.snapshots", lambda *_: [SimpleNamespace(job="another")])
    pipeline.resume()
    assert flink.submitted == {"fraud": "/lake/chk-7"}


def test_a_job_that_has_written_and_whose_checkpoint_is_not_found_is_not_begun_anew(made, monkeypatch):
    flink = Flink()
    pipeline = made(flink, fraud="f")

    def none(_):
        raise ServiceError("no complete checkpoint")

    monkeypatch.setattr(flink, "latest_checkpoint", none)
    monkeypatch.setattr("principal_kit.platform.tables.snapshots", lambda *_: [SimpleNamespace(job="f")])
    for again in (pipeline.resume, pipeline.start):
        with pytest.raises(ServiceError, match="no complete checkpoint"):
            again()
    assert flink.submitted == {}


def test_no_answer_is_not_taken_for_a_job_that_is_gone(made, monkeypatch):
    monkeypatch.setattr("principal_kit.platform.pipeline._ANSWER_SECONDS", 0.0)
    flink = Flink(f="RUNNING")
    pipeline = made(flink, fraud="f")
    for what in (pipeline.start, pipeline.resume, pipeline.stop):
        flink.silent = 10
        with pytest.raises(ServiceError, match="no answer"):
            what()
    assert (flink.submitted, flink.cancelled, pipeline.ids) == ({}, [], {"fraud": "f"})
    monkeypatch.setattr("principal_kit.platform.pipeline._ANSWER_SECONDS", 60.0)
    flink.silent = 1
    assert pipeline.start("fraud") == {"fraud": "f"}, "one that has just come back is asked again"


def test_an_unknown_job_is_refused_before_anything_is_submitted(made):
    flink = Flink()
    with pytest.raises(InvalidArgument, match="no job fruad; there are sessions, inventory, fraud"):
        made(flink).start(states={"fruad": "/lake/chk-7"})
    with pytest.raises(InvalidArgument, match="no job fruad"):
        made(flink).start("fruad")
    assert flink.submitted == {}


def test_an_interrupted_start_keeps_the_ids_of_what_it_submitted(made, monkeypatch):
    """Ctrl-C comes while the workers submit; they go on, and a second start must know what they have started."""
    from principal_kit.platform import pipeline as module

    class Interrupted(module.ThreadPoolExecutor):
        def __exit__(self, *failure):
            super().__exit__(*failure)
            raise KeyboardInterrupt

    flink = Flink()
    pipeline = made(flink)
    monkeypatch.setattr(module, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.start()
    monkeypatch.undo()
    assert pipeline.ids == {name: f"new-{name}" for name in jobs.NAMES}


def test_of_jobs_submitted_together_one_that_is_refused_does_not_hide_the_others(made, monkeypatch):
    """Their ids are kept, so that another start leaves them alone."""
    flink = Flink()
    accept, refused = flink.submit, jobs.script(jobs.NAMES[0], SETTINGS)

    def submit(script, **options):
        if script == refused:
            raise ServiceError("the gateway is busy")
        return accept(script, **options)

    pipeline = made(flink)
    monkeypatch.setattr(flink, "submit", submit)
    with pytest.raises(ServiceError, match="busy"):
        pipeline.start()
    assert pipeline.ids == {name: f"new-{name}" for name in jobs.NAMES[1:]}
    monkeypatch.setattr(flink, "submit", accept)
    assert set(pipeline.start()) == set(jobs.NAMES)
