"""The harness of the benchmarks: who is timed when, and how ratios are judged. No clock is asked here."""

import doctest
import json
import sys
from functools import partial
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def harness():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import side_by_side

        yield side_by_side
    finally:
        sys.path.remove(str(BENCHMARKS))


class Scripted:
    """Stands in for the stopwatch: hands out given seconds by contender, and notes the order of calls."""

    def __init__(self, **seconds):
        self.left = {name: list(values) for name, values in seconds.items()}
        self.order = []

    def contender(self, name):
        def setup():
            return name

        setup.contender = name
        return setup

    def __call__(self, setup):
        self.order.append(setup.contender)
        return self.left[setup.contender].pop(0)


def case(harness, watch, wanted=None):
    return harness.Case("add", "Sketch", 100, watch.contender("ours"), {"peer": watch.contender("peer")}, wanted or {})


def test_first_round_warms_up_and_the_median_of_ratios_within_a_round_is_judged(harness):
    # rounds of a machine that slows down by ten: the ratio within each is what matters
    watch = Scripted(ours=[99, 1, 10, 1], peer=[1, 2, 30, 4])
    (row,) = harness.race([case(harness, watch, {"peer": 3.0})], 3, seconds=watch)
    (peer,) = row["peers"]
    assert (peer["ratio"], peer["low"], peer["high"]) == (3.0, 2.0, 4.0)
    assert peer["met"] is True
    assert row["seconds"] == 1


def test_a_bar_is_missed_just_below_and_a_peer_without_bar_has_no_verdict(harness):
    watch = Scripted(ours=[1, 1], peer=[1, 2.999])
    (row,) = harness.race([case(harness, watch, {"peer": 3.0})], 1, seconds=watch)
    assert row["peers"][0]["met"] is False
    watch = Scripted(ours=[1, 1], peer=[1, 3])
    (row,) = harness.race([case(harness, watch)], 1, seconds=watch)
    assert row["peers"][0]["met"] is None


def test_a_slow_peer_may_work_through_fewer_items_and_is_scaled(harness):
    watch = Scripted(ours=[1, 1], peer=[1, 0.5])
    peers = {"peer": watch.contender("peer")}
    slow = harness.Case("add", "Sketch", 1000, watch.contender("ours"), peers, {"peer": 5}, peer_count=100)
    (row,) = harness.race([slow], 1, seconds=watch)
    assert row["peers"][0]["ratio"] == row["peers"][0]["seconds"] == 5.0


def test_contenders_take_turns_within_each_round(harness):
    watch = Scripted(ours=[1] * 6, peer=[1] * 6)
    harness.race([case(harness, watch), case(harness, watch)], 2, seconds=watch)
    rounds = [watch.order[at : at + 4] for at in range(0, 12, 4)]
    assert all(sorted(r) == ["ours", "ours", "peer", "peer"] for r in rounds)
    assert rounds[0] != rounds[1], "nobody always goes first"


def test_every_round_has_a_fresh_setup_and_only_the_call_is_timed(harness):
    made, called = [], []

    def setup():
        mine = object()
        made.append(mine)
        return lambda: called.append(mine)

    harness.race([harness.Case("add", "Sketch", 1, setup, {})], 3)
    assert called == made
    assert len(set(map(id, made))) == 4


def test_a_bar_needs_its_peer(harness):
    with pytest.raises(ValueError, match="not among the peers"):
        harness.Case("add", "Sketch", 1, harness.stateless(int), {}, {"rbloom": 2})


def test_bounds_are_upper_limits(harness):
    bounds = [harness.Bound("error", "Sketch", "ppm", 200, lambda v=v: (v, {"peer": 1.0})) for v in (200 + 1e-9, 201)]
    bounds.append(harness.Bound("size", "Sketch", "bytes", None, lambda: (5, {})))
    assert [row["met"] for row in harness.check(bounds)] == [True, False, None]


def build(harness, seen):
    def cases(keys):
        seen.append(keys)
        return [
            harness.Case("add", "Bloom", keys, harness.stateless(int), {"peer": harness.stateless(int)}),
            harness.Case("query", "Bloom", keys, harness.stateless(int), {"peer": harness.stateless(int)}),
            harness.Bound("error", "Bloom", "ppm", 1.0, lambda: (0.123456, {})),
        ]

    return cases


@pytest.fixture
def folders(harness, monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    return tmp_path


def test_run_writes_scratch_by_default_and_results_on_record(harness, folders, capsys):
    seen = []
    run = partial(harness.run, "demo", "A demo", build(harness, seen), sizes={"keys": 7}, packages=["numpy"])
    run(argv=["--rounds", "1"])
    assert not (folders / "results").exists()
    run(argv=["--rounds", "2", "--keys", "9", "--record"])
    assert seen == [7, 9]
    report = json.loads((folders / "results/demo.json").read_text())
    assert report["sizes"] == {"keys": 9}
    assert report["rounds"] == 2
    assert [row["name"] for row in report["races"]] == ["add", "query"]
    assert report["bounds"][0]["value"] == 0.1235, "four digits"
    assert {"numpy", "Python", "cores", "memory"} <= report["machine"].keys()
    assert "Bloom: median of 2 rounds" in capsys.readouterr().out


def test_nothing_recorded_names_a_host_or_a_path(harness, folders):
    import getpass
    import socket

    harness.run("demo", "A demo", build(harness, []), sizes={"keys": 1}, argv=["--record", "--rounds", "1"])
    text = (folders / "results/demo.json").read_text()
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert str(BENCHMARKS.parent) not in text
    assert f'"{getpass.getuser()}"' not in text


def test_only_keeps_what_it_names_and_cannot_be_recorded(harness, folders, capsys):
    run = partial(harness.run, "demo", "A demo", build(harness, []), sizes={"keys": 1})
    assert [r["name"] for r in run(argv=["--only", "QUERY", "--rounds", "1"])["races"]] == ["query"]
    for wrong in (["--only", "cuckoo"], ["--only", "add", "--record"], ["--rounds", "0"]):
        with pytest.raises(SystemExit):
            run(argv=wrong)
    assert not (folders / "results").exists()


def test_examples_in_docstrings_hold(harness):
    assert doctest.testmod(harness) == doctest.TestResults(0, 1)
