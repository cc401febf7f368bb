"""The tree: deliveries repeated, lost, reordered and damaged leave the answer that a loss-free network would give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.codec import seal
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.sketches import HyperLogLog, TDigest
from principal_kit.streaming import Agent, Aggregator, Report, Tally, Tree, Verdict

settings.register_profile("kit", deadline=None)
settings.load_profile("kit")
SERVERS = [f"s{n}" for n in range(6)]


def tally(*values):
    sketch = Tally()
    sketch.add_many(values)
    return sketch.to_bytes()


def report(server="s0", window=0, attempt=1, sketch=None, servers=None):
    return Report(server, window, attempt, servers or (server,), sketch or tally(1.0)).to_bytes()


def middle(**options):
    return Aggregator("mid", SERVERS, Tally, window_ms=100, **options)


@given(
    st.lists(st.tuples(st.sampled_from(SERVERS), st.integers(1, 4)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_any_order_and_number_of_deliveries_leaves_the_latest_attempt_of_each(sent, random):
    """Attempt n of a server holds the values of all before it; powers of eight tell servers and attempts apart."""
    node = middle()
    frames = {(s, a): report(s, attempt=a, sketch=tally(a * 8.0 ** SERVERS.index(s))) for s, a in sent}
    deliveries = [frames[pair] for pair in sent] * 2
    random.shuffle(deliveries)
    for data in deliveries:
        assert node.receive(data).acknowledges
    latest = {s: max(a for name, a in sent if name == s) for s, _ in sent}
    answer = node.merged(0)
    assert answer.sketch.total == sum(a * 8.0 ** SERVERS.index(s) for s, a in latest.items())
    assert answer.servers == set(latest)
    assert answer.missing == set(SERVERS) - set(latest)
    assert answer.coverage == len(latest) / 6
    assert not answer.doubled


def test_verdicts():
    node = middle(windows_max=2, report_bytes_max=2000)
    assert node.receive(report()) is Verdict.NEW
    assert node.receive(report()) is Verdict.REPEATED
    assert node.receive(report(attempt=3)) is Verdict.REPLACED
    assert node.receive(report(attempt=2)) is Verdict.STALE
    assert node.receive(report("stranger")) is Verdict.UNKNOWN
    assert node.receive(report(servers=("s0", "stranger"))) is Verdict.UNKNOWN
    assert node.receive(report(window=50)) is Verdict.MISFIT
    assert node.receive(report(window=200)) is Verdict.EARLY
    assert node.receive(report(sketch=bytes(3000))) is Verdict.TOO_LARGE
    assert node.receive(report(sketch=TDigest().to_bytes())) is Verdict.CORRUPT
    node.forget(1)  # in the middle of window 0: it is the first that started before
    assert node.receive(report()) is Verdict.EXPIRED
    assert node.receive(report(window=200)) is Verdict.NEW
    assert node.merged(0).coverage == 0
    assert sum(node.verdicts.values()) == 12
    assert not any(v.acknowledges for v in (Verdict.CORRUPT, Verdict.UNKNOWN, Verdict.EXPIRED, Verdict.EARLY))


def test_digests_with_other_parameters_are_refused():
    node = Aggregator("mid", SERVERS, lambda: TDigest(100), window_ms=100)
    assert node.receive(report(sketch=TDigest(100).to_bytes())) is Verdict.NEW
    assert node.receive(report("s1", sketch=TDigest(50).to_bytes())) is Verdict.MISFIT


def test_a_flip_of_any_bit_is_refused_and_counted():
    node, frame = middle(), report()
    for at in range(len(frame)):
        damaged = bytearray(frame)
        damaged[at] ^= 1 << at % 8
        assert node.receive(bytes(damaged)) is Verdict.CORRUPT
        with pytest.raises(CorruptionError):
            Report.from_bytes(bytes(damaged))
    assert node.receive(frame[:-1]) is Verdict.CORRUPT
    assert node.verdicts == {Verdict.CORRUPT: len(frame) + 1}
    assert node.merged(0).sketch == Tally()
    assert node.receive(frame) is Verdict.NEW


def test_memory_is_bounded_whatever_arrives():
    node = middle(windows_max=3)
    for attempt in range(1, 4):
        for window in range(-500, 2000, 100):
            for server in SERVERS:
                node.receive(report(server, window, attempt))
    assert sorted(node._windows) == [0, 100, 200]
    assert all(len(reports) == len(SERVERS) for reports in node._windows.values())


def test_a_report_travels():
    original = Report("a", -100, 7, ("a", "b"), b"\x00\xff")
    assert Report.from_bytes(original.to_bytes()) == original


def test_an_agent_resends_until_acknowledged_and_corrects_itself():
    agent = Agent("s0", Tally, window_ms=100, resend_ms=10)
    agent.record_many([0, 99, 100], [1.0, 2.0, 4.0])
    assert agent.poll(99) == []
    (first,) = agent.poll(100)
    assert (first.window, Tally.from_bytes(first.sketch).total) == (0, 3.0)
    assert agent.poll(109) == []
    assert agent.poll(110) == [first], "the same attempt again"
    agent.acknowledge(0, first.attempt + 1)
    assert agent.poll(120) == [first], "somebody else's acknowledgement"
    agent.acknowledge(0, first.attempt)
    assert agent.poll(199) == []
    agent.record(50, 8.0)
    agent.acknowledge(0, first.attempt)  # arrives late, for what is no longer all
    (second,) = agent.poll(199)
    assert second.attempt > first.attempt
    assert Tally.from_bytes(second.sketch).total == 11.0
    assert [r.window for r in agent.poll(200)] == [100]


def test_attempts_rise_over_a_restart():
    before = Agent("s0", Tally, window_ms=100)
    before.record(1, 1.0)
    (old,) = before.poll(150)
    after = Agent("s0", Tally, window_ms=100)
    after.record(1, 1.0)
    assert after.poll(160)[0].attempt > old.attempt


def test_an_agent_drops_its_oldest_window_and_counts_it():
    agent = Agent("s0", Tally, window_ms=100, windows_max=2)
    for time in (0, 100, 200, 300):
        agent.record(time, 1.0)
    assert agent.dropped == 2
    assert [r.window for r in agent.poll(10_000)] == [200, 300]


def test_a_refused_measurement_changes_nothing():
    agent = Agent("s0", Tally, window_ms=100)
    agent.record(0, 1.0)
    for call in (
        lambda: agent.record(0, float("nan")),
        lambda: agent.record(500, float("nan")),
        lambda: agent.record_many([0, 500], [1.0, float("nan")]),
        lambda: agent.record_many([0, 500], [1.0]),
        lambda: agent.record(0.5, 1.0),
    ):
        with pytest.raises(InvalidArgument):
            call()
    (only,) = agent.poll(10_000)
    assert Tally.from_bytes(only.sketch).total == 1.0


class Network:
    """Loses, repeats and reorders what servers send, by a seed."""

    def __init__(self, tree, agents, rng, lose=0.3, repeat=0.3):
        self.tree, self.agents, self.rng, self.lose, self.repeat = tree, agents, rng, lose, repeat
        self.held = []

    def tick(self, now):
        self.held += [(name, r) for name, agent in self.agents.items() for r in agent.poll(now)]
        for index in self.rng.permutation(len(self.held)):
            name, sent = self.held[index]
            for _ in range(1 + (self.rng.random() < self.repeat)):
                if self.rng.random() < self.lose:
                    continue
                if self.tree.deliver(name, sent.to_bytes()).acknowledges and self.rng.random() >= self.lose:
                    self.agents[name].acknowledge(sent.window, sent.attempt)
        self.held = [pair for pair in self.held if self.rng.random() < 0.2]  # some come again, much later


@pytest.mark.parametrize("seed", range(20))
def test_the_root_converges_to_the_exact_answer_over_a_bad_network(seed):
    """Integers: the tally is exact. Late measurements, losses, repeats, old frames: each value counts once."""
    rng = np.random.default_rng(seed)
    servers = [f"s{n}" for n in range(13)]
    tree = Tree(servers, Tally, window_ms=100, fan_in=4, resend_ms=1)
    agents = {name: Agent(name, Tally, window_ms=100, resend_ms=1) for name in servers}
    network, exact = Network(tree, agents, rng), {0: 0, 100: 0}
    for now in range(0, 600, 10):
        if now < 300:
            for name in servers:
                times = rng.integers(0, min(now + 1, 200), 3)
                values = rng.integers(0, 1000, 3)
                agents[name].record_many(times, values)
                for window in exact:
                    exact[window] += int(values[times // 100 * 100 == window].sum())
        network.tick(now)
        for mid in tree.mids:
            for sent in mid.poll(now):
                if rng.random() < 0.5 and tree.root.receive(sent.to_bytes()).acknowledges and rng.random() < 0.5:
                    mid.acknowledge(sent.window, sent.attempt)
    for window, total in exact.items():
        answer = tree.root.merged(window)
        assert (answer.sketch.total, answer.coverage, answer.doubled) == (total, 1.0, frozenset())


def test_a_tree_of_digests_equals_one_digest_within_its_error():
    rng = np.random.default_rng(3)
    servers = [f"s{n}" for n in range(40)]
    tree, everything = Tree(servers, TDigest, window_ms=100, fan_in=7), []
    for name in servers:
        agent, values = Agent(name, TDigest, window_ms=100), rng.lognormal(3, 1, 2000)
        agent.record_many(np.zeros(2000, dtype=int), values)
        everything.append(values)
        for sent in agent.poll(100):
            assert tree.deliver(name, sent.to_bytes()) is Verdict.NEW
    assert tree.roll_up(100) == [0]
    assert tree.roll_up(101) == [], "nothing changed"
    digest, in_order = tree.root.merged(0).sketch, np.sort(np.concatenate(everything))
    for q in (0.5, 0.95, 0.99):
        rank = np.searchsorted(in_order, digest.quantile(q)) / in_order.size
        assert abs(rank - q) < 0.001
    assert tree.bytes_up["servers"] > 5 * tree.bytes_up["mids"] > 0


def test_a_server_that_fails_over_to_another_mid_is_seen():
    """Replacing works within a mid only; across two the root cannot subtract, but it can tell."""
    tree = Tree(SERVERS, Tally, window_ms=100, fan_in=3)
    wide = Aggregator("mid-1", SERVERS, Tally, window_ms=100)
    assert tree.deliver("s0", report("s0")) is Verdict.NEW
    assert wide.receive(report("s0")) is Verdict.NEW
    tree.roll_up(100)
    tree.root.receive(wide.poll(100)[0].to_bytes())
    assert tree.root.merged(0).doubled == {"s0"}


def test_dropping_what_was_acknowledged_is_no_loss():
    agent = Agent("s0", Tally, window_ms=100, windows_max=2)
    for time in range(0, 1000, 100):
        agent.record(time, 1.0)
        for sent in agent.poll(time + 100):
            agent.acknowledge(sent.window, sent.attempt)
    assert agent.dropped == 0
    agent.record(50, 1.0)  # its window is gone: a report of this one value would replace all the others
    assert agent.dropped == 1
    assert agent.poll(10_000) == []


def test_a_gone_window_stays_gone_when_there_is_room_again():
    agent = Agent("s0", Tally, window_ms=100, windows_max=2)
    for time in (0, 100, 10**6, 10**6 + 100):  # the clock jumped ahead and came back
        agent.record(time, 1.0)
    assert agent.poll(200) == []
    assert agent.dropped == 4, "two made room, two lie in the future"
    agent.record(50, 1.0)
    agent.record(200, 1.0)
    assert [r.window for r in agent.poll(300)] == [200]
    assert agent.dropped == 5


def test_a_restarted_agent_leaves_windows_alone_that_the_process_before_it_reported():
    node, before = middle(), Agent("s0", Tally, window_ms=100)
    before.record_many([1, 2, 3], [1.0, 2.0, 4.0])
    assert node.receive(before.poll(150)[0].to_bytes()) is Verdict.NEW
    after = Agent("s0", Tally, window_ms=100, started=160)
    after.record_many([90, 110, 210], [8.0, 16.0, 32.0])
    for sent in after.poll(1000):
        assert node.receive(sent.to_bytes()) is Verdict.NEW
    assert [node.merged(window).sketch.total for window in (0, 100, 200)] == [7.0, 16.0, 32.0]
    assert after.dropped == 1


def test_an_aggregator_resends_until_its_parent_has_acknowledged():
    node = middle(resend_ms=10)
    node.receive(report(sketch=tally(1.0)))
    (first,) = node.poll(100)
    assert node.poll(109) == []
    assert node.poll(110) == [first]
    node.acknowledge(0, first.attempt)
    assert node.poll(200) == []
    node.receive(report("s1"))
    node.acknowledge(0, first.attempt)  # for what is no longer all
    (second,) = node.poll(200)
    assert (second.attempt > first.attempt, second.servers) == (True, ("s0", "s1"))
    node.receive(report("s1"))
    node.acknowledge(0, second.attempt)
    assert node.poll(1000) == [], "a repeated report changes nothing"


@given(st.binary(max_size=120), st.binary(max_size=120), st.sampled_from([Tally, TDigest, HyperLogLog]))
def test_nonsense_under_a_valid_checksum_is_a_verdict_and_never_an_exception(frame, sketch, kind):
    node = Aggregator("mid", SERVERS, kind, window_ms=100)
    node.receive(seal(b"RPRT", 1, frame))
    node.receive(report(sketch=seal(kind.KIND, 1, sketch)))
    node.receive(frame)
    assert sum(node.verdicts.values()) == 3
    node.merged(0)


def test_bad_arguments():
    for call in (
        lambda: Agent("", Tally, window_ms=1),
        lambda: Agent("a\nb", Tally, window_ms=1),
        lambda: Agent("a", Tally, window_ms=0),
        lambda: Aggregator("m", [], Tally, window_ms=1),
        lambda: Aggregator("m", ["a"], Tally, window_ms=1, fleet=[]),
        lambda: Tree(SERVERS, Tally, window_ms=1, fan_in=0),
        lambda: Tree(SERVERS, Tally, window_ms=1, fan_in=2).deliver("x", b""),
    ):
        with pytest.raises(InvalidArgument):
            call()
