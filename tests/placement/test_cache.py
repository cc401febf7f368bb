"""The ownership rule as a state machine without I/O; the cache on real Redis processes that die, freeze, return."""

import os
import signal
import threading

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from principal_kit import services
from principal_kit.core.errors import InvalidArgument
from principal_kit.placement import HashRing, JumpHash, Modulo, Rendezvous
from principal_kit.placement.cache import (
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    CacheObserver,
    DistributedCache,
    MemoryStore,
    Ownership,
)

KEYS = [f"k{i}" for i in range(12)]


class OwnershipMachine(RuleBasedStateMachine):
    """Against a model that writes down the owner of every key in every view."""

    @initialize(members=st.lists(st.sampled_from("abcd"), min_size=1, unique=True), history=st.integers(1, 6))
    def start(self, members, history):
        self.history = history
        self.views = Ownership(HashRing(members, vnodes=3), history=history)
        self.owners = [self.snapshot(members)]
        self.members = list(members)

    def snapshot(self, members):
        ring = HashRing(members, vnodes=3) if members else None
        return {key: ring.node_for(key) if ring else None for key in KEYS}

    @rule(node=st.sampled_from("abcd"))
    def change(self, node):
        if node in self.members:
            self.views.leave(node)
            self.members.remove(node)
        else:
            self.views.join(node)
            self.members.append(node)
        self.owners.append(self.snapshot(self.members))

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def refused_changes_change_nothing(self, data):
        version = self.views.version
        with pytest.raises(InvalidArgument):
            self.views.join(data.draw(st.sampled_from(self.members)))
        with pytest.raises(InvalidArgument):
            self.views.leave("nobody")
        assert self.views.version == version

    @invariant()
    def owners_and_stamps_agree_with_the_model(self):
        now = len(self.owners)
        assert self.views.version == now
        assert sorted(self.views.members) == sorted(self.members)
        for key in KEYS:
            assert self.views.owner(key) == self.owners[-1][key]
            for node in "abcd":
                for stamp in range(0, now + 2):
                    remembered = now - self.history < stamp <= now and stamp >= 1
                    wanted = remembered and all(view[key] == node for view in self.owners[stamp - 1 :])
                    assert self.views.unbroken(key, node, stamp) == wanted


TestOwnership = OwnershipMachine.TestCase
TestOwnership.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("history", [0, -1, 1.5, True])
def test_bad_history(history):
    with pytest.raises(InvalidArgument):
        Ownership(HashRing(["a"]), history=history)


# ── on real processes ────────────────────────────────────────────────────────────────────────────
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def endpoints():
    nodes = services.redis_nodes(3)
    if nodes[0].source != "embedded":
        pytest.skip("failures are injected into embedded processes only")
    yield nodes
    for node in nodes:
        node.stop()


@pytest.fixture
def nodes(endpoints):
    for node in endpoints:
        if not node.ping():
            node.restart()
    return endpoints


@pytest.fixture
def store():
    store = MemoryStore()
    for number in range(200):
        store.write(f"user:{number}", f"v0 of {number}".encode())
    return store


USERS = [f"user:{number}" for number in range(200)]


def cache_on(nodes, store, **kwargs):
    return DistributedCache(nodes, HashRing([node.name for node in nodes]), store, timeout=0.25, **kwargs)


class Diary(CacheObserver):
    def __init__(self):
        self.lines = []

    def on_join(self, node, version):
        self.lines.append(("join", node, version))

    def on_leave(self, node, version, reason):
        self.lines.append(("leave", node, version))


@pytest.mark.integration
class TestOnRedis:
    def test_reads_through_once_then_hits(self, nodes, store):
        with cache_on(nodes, store) as cache:
            expected = [value for _, value in store.read_many(USERS)]
            store.reads = 0
            assert cache.get_many(USERS) == expected
            assert cache.get_many(USERS) == expected
            assert (store.reads, cache.stats.misses, cache.stats.hits) == (200, 200, 200)

    def test_repeated_keys_count_as_often_as_they_are_asked_for(self, nodes, store):
        with cache_on(nodes, store) as cache:
            assert cache.get_many(["user:1", "user:1", "user:2"]) == [b"v0 of 1", b"v0 of 1", b"v0 of 2"]
            assert (cache.stats.misses, store.reads) == (3, 2)

    def test_values_are_any_bytes_and_keys_any_text(self, nodes, store):
        with cache_on(nodes, store) as cache:
            for value in (b"", b" ", b"1 2 3", bytes(range(256))):
                cache.put("clé: 1\n2", value)
                assert cache.get("clé: 1\n2") == value
            assert cache.stats.hits == 4

    def test_what_the_store_lacks_is_none_and_not_cached(self, nodes, store):
        with cache_on(nodes, store) as cache:
            assert cache.get("nobody") is None
            store.write("nobody", b"somebody")
            assert cache.get("nobody") == b"somebody"

    def test_keys_live_where_the_placement_says(self, nodes, store):
        with cache_on(nodes, store) as cache:
            cache.get_many(USERS)
            counts = {node.name: 0 for node in nodes}
            for key in USERS:
                counts[cache.placement.node_for(key)] += 1
            for node in nodes:
                held = [name for name in node.client().keys("*") if name.startswith(cache._name("").encode())]
                assert len(held) == counts[node.name]

    def test_entries_expire(self, nodes, store):
        with cache_on(nodes, store, ttl=30) as cache:
            cache.get("user:1")
            owner = next(node for node in nodes if node.name == cache.placement.node_for("user:1"))
            assert 0 < owner.client().pttl(cache._name("user:1")) <= 30_000

    def test_a_slow_fill_never_overwrites_a_newer_write(self, nodes, store):
        with cache_on(nodes, store) as cache:
            stale = store.read_many(["user:1"])
            cache.put("user:1", b"new")
            assert cache._fill(["user:1"], stale, 1)
            assert cache.get("user:1") == b"new"

    def test_killed_node_costs_misses_not_errors(self, nodes, store):
        diary = Diary()
        with cache_on(nodes, store, observer=diary) as cache:
            expected = cache.get_many(USERS)
            owners = {key: cache.placement.node_for(key) for key in USERS}
            nodes[1].kill()
            assert cache.get_many(USERS) == expected
            lost = sum(owner == nodes[1].name for owner in owners.values())
            assert cache.stats.misses == 200 + lost
            assert cache.members == (nodes[0].name, nodes[2].name)
            assert cache.stats.failures == 1
            assert cache.get_many(USERS) == expected
            assert cache.stats.misses == 200 + lost
            nodes[1].restart()
            assert cache.probe() == [nodes[1].name]
            assert cache.get_many(USERS) == expected
            assert [line[0] for line in diary.lines] == ["leave", "join"]

    def test_writes_survive_the_death_of_their_owner(self, nodes, store):
        with cache_on(nodes, store) as cache:
            cache.get_many(USERS)
            nodes[0].kill()
            for key in USERS:
                cache.put(key, b"after " + key.encode())
            assert cache.get_many(USERS) == [b"after " + key.encode() for key in USERS]
            assert cache.stats.fenced == 0

    def test_everybody_dead_leaves_the_store(self, nodes, store):
        with cache_on(nodes, store) as cache:
            for node in nodes:
                node.kill()
            assert cache.get("user:7") == b"v0 of 7"
            cache.put("user:7", b"new")
            assert cache.get("user:7") == b"new"
            assert (cache.members, cache.placement) == ((), None)
            for node in nodes:
                node.restart()
            assert sorted(cache.probe()) == [node.name for node in nodes]
            assert cache.get_many(USERS)[7] == b"new"
            assert sorted(cache.members) == [node.name for node in nodes]

    @pytest.mark.parametrize("fence, outdated", [(True, False), (False, True)])
    def test_a_frozen_node_that_thaws_with_old_values(self, nodes, store, fence, outdated):
        """SIGSTOP is a long pause or a partition: memory survives it. Unfenced it must fail, or this proves nothing."""
        with cache_on(nodes, store, fence=fence) as cache:
            cache.get_many(USERS)
            mine = [key for key in USERS if cache.placement.node_for(key) == nodes[2].name]
            os.kill(nodes[2].pid, signal.SIGSTOP)
            try:
                for key in mine:
                    cache.put(key, b"new")
            finally:
                os.kill(nodes[2].pid, signal.SIGCONT)
            assert cache.probe() == [nodes[2].name]
            assert (cache.get_many(mine) != [b"new"] * len(mine)) == outdated
            assert cache.stats.fenced == (len(mine) if fence else 0)

    def test_keys_that_stayed_put_survive_a_rejoin(self, nodes, store):
        with cache_on(nodes, store) as cache:
            cache.get_many(USERS)
            others = [key for key in USERS if cache.placement.node_for(key) != nodes[2].name]
            cache.leave(nodes[2].name)
            cache.join(nodes[2])
            misses = cache.stats.misses
            cache.get_many(others)
            assert cache.stats.misses == misses

    def test_a_restart_behind_our_back_is_noticed(self, nodes, store):
        with cache_on(nodes, store) as cache:
            cache.get_many(USERS)
            nodes[0].restart()
            assert cache.get_many(USERS) == [f"v0 of {number}".encode() for number in range(200)]
            assert nodes[0].name not in cache.members

    @pytest.mark.parametrize("bytes_found", [b"", b"garbage", b"1 x value", b"-1 1 value", b"1 1"])
    def test_bytes_we_did_not_write_are_a_miss(self, nodes, store, bytes_found):
        with cache_on(nodes, store) as cache:
            owner = next(node for node in nodes if node.name == cache.placement.node_for("user:1"))
            owner.client().set(cache._name("user:1"), bytes_found)
            assert cache.get("user:1") == b"v0 of 1"
            assert cache.get("user:1") == b"v0 of 1"
            assert (cache.stats.fenced, cache.stats.hits) == (1, 1)

    def test_a_full_node_leaves_instead_of_failing_reads(self, nodes, store):
        with cache_on(nodes, store) as cache, nodes[0].client() as client:
            client.config_set("maxmemory", 1)
            try:
                assert cache.get_many(USERS) == [f"v0 of {number}".encode() for number in range(200)]
                assert nodes[0].name not in cache.members
            finally:
                client.config_set("maxmemory", 0)

    def test_probe_leaves_a_dismissed_node_alone_until_it_is_let_in(self, nodes, store):
        with cache_on(nodes, store) as cache:
            cache.leave(nodes[1].name)
            assert cache.probe() == []
            cache.join(nodes[1])
            nodes[1].kill()
            cache.get_many(USERS)
            assert nodes[1].name not in cache.members
            nodes[1].restart()
            assert cache.probe() == [nodes[1].name]

    def test_probes_at_the_same_time_let_a_node_in_once(self, nodes, store):
        diary, back, together = Diary(), [], threading.Barrier(4)
        with cache_on(nodes, store, observer=diary) as cache:
            connect = cache._connect

            def connect_together(*args, **kwargs):
                together.wait(timeout=30)
                return connect(*args, **kwargs)

            nodes[0].kill()
            cache.get_many(USERS)
            nodes[0].restart()
            cache._connect = connect_together
            threads = [threading.Thread(target=lambda: back.append(cache.probe())) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(back) == [[], [], [], [nodes[0].name]]
            assert [line[0] for line in diary.lines] == ["leave", "join"]

    def test_a_node_that_refuses_one_value_keeps_its_place_and_serves_nothing_outdated(self, nodes, store, monkeypatch):
        execute = redis.client.Pipeline.execute

        def refuse_large(pipeline, *args, **kwargs):
            if any(len(command[0][6]) > 1000 for command in pipeline.command_stack):
                raise redis.ResponseError("ERR refused")
            return execute(pipeline, *args, **kwargs)

        with cache_on(nodes, store) as cache:
            cache.put("user:1", b"old")
            before_the_write = store.read_many(["user:1"])
            with monkeypatch.context() as patch:
                patch.setattr(redis.client.Pipeline, "execute", refuse_large)
                cache.put("user:1", bytes(2000))
                assert len(cache.members) == 3
                cache._fill(["user:1"], before_the_write, 1)  # a reader that dawdled
                assert cache.get("user:1") == bytes(2000)
                assert cache.stats.hits == 0
            assert cache.get("user:1") == cache.get("user:1") == bytes(2000)
            assert (cache.stats.hits, cache.stats.failures) == (1, 0)

    def test_a_node_that_refuses_every_write_leaves_and_one_that_refuses_reads_is_a_miss(self, nodes, store):
        with cache_on(nodes, store) as cache, nodes[0].client() as admin:
            owner = nodes[0].name
            mine = next(key for key in USERS if cache.placement.node_for(key) == owner)
            cache.put(mine, b"old")
            try:
                admin.execute_command("ACL", "SETUSER", "default", "-mget")
                assert cache.get(mine) == b"old"
                assert owner in cache.members
                admin.execute_command("ACL", "SETUSER", "default", "-eval")
                cache.put(mine, b"new")
                assert owner not in cache.members
            finally:
                admin.execute_command("ACL", "SETUSER", "default", "+@all")
            assert cache.probe() == [owner]
            assert cache.get(mine) == b"new"

    def test_a_key_of_another_type_is_written_over(self, nodes, store):
        with cache_on(nodes, store) as cache:
            owner = next(node for node in nodes if node.name == cache.placement.node_for("user:1"))
            owner.client().rpush(cache._name("user:1"), "a", "list")
            assert [cache.get("user:1"), cache.get("user:1")] == [b"v0 of 1"] * 2
            assert (cache.stats.hits, len(cache.members)) == (1, 3)

    def test_the_largest_value_and_key_fit_the_strictest_redis(self, nodes, store):
        value, key = bytes(VALUE_BYTES_MAX), "é" * (KEY_BYTES_MAX // 2)
        clients = [node.client() for node in nodes]
        try:
            for client in clients:
                with pytest.raises(redis.ResponseError):  # Redis itself allows no lower limit
                    client.config_set("proto-max-bulk-len", VALUE_BYTES_MAX - 1)
                client.config_set("proto-max-bulk-len", VALUE_BYTES_MAX)
            with DistributedCache(nodes, HashRing([node.name for node in nodes]), store, timeout=5) as cache:
                cache.put(key, value)
                assert cache.get(key) == value
                assert (cache.stats.hits, len(cache.members)) == (1, 3)
        finally:
            for client in clients:
                client.config_set("proto-max-bulk-len", 512 << 20)
                client.close()

    def test_join_of_a_new_node_moves_only_its_keys(self, nodes, store):
        with cache_on(nodes[:2], store) as cache:
            cache.get_many(USERS)
            cache.join(nodes[2])
            gained = sum(cache.placement.node_for(key) == nodes[2].name for key in USERS)
            cache.get_many(USERS)
            assert cache.stats.misses == 200 + gained

    @pytest.mark.parametrize("algorithm", [Rendezvous, Modulo])
    def test_any_placement_will_do(self, nodes, store, algorithm):
        with DistributedCache(nodes, algorithm([node.name for node in nodes]), store) as cache:
            expected = cache.get_many(USERS)
            cache.leave(nodes[0].name)
            assert cache.get_many(USERS) == expected

    def test_threads_never_read_what_was_overwritten_before_they_asked(self, nodes, store):
        """Readers run while one writer counts up and a node dies: a read is at least the last value acknowledged."""
        acknowledged, wrong, done = [0], [], threading.Event()
        with cache_on(nodes, store) as cache:
            cache.put("counter", b"0")

            def read():
                while not done.is_set():
                    floor = acknowledged[0]
                    if int(cache.get("counter")) < floor:
                        wrong.append(floor)

            readers = [threading.Thread(target=read) for _ in range(2)]
            for reader in readers:
                reader.start()
            owner = next(node for node in nodes if node.name == cache.placement.node_for("counter"))
            try:
                for number in range(1, 151):
                    if number == 50:
                        owner.kill()
                    if number == 100:
                        owner.restart()
                        cache.probe()
                    cache.put("counter", str(number).encode())
                    acknowledged[0] = number
            finally:
                done.set()
                for reader in readers:
                    reader.join()
        assert wrong == []

    @given(data=st.data())
    @settings(max_examples=15, deadline=None)
    def test_random_histories_serve_nothing_wrong(self, endpoints, data):
        """Joins, leaves, reads and writes in any order, on nodes that keep their memory: always the store's value."""
        store, names = MemoryStore(), [node.name for node in endpoints]
        by_name = dict(zip(names, endpoints))
        for node in endpoints:
            if not node.ping():
                node.restart()
        with cache_on(endpoints, store) as cache:
            truth = {}
            for _ in range(data.draw(st.integers(1, 40))):
                act = data.draw(st.sampled_from(["put", "get", "get", "change"]))
                key = data.draw(st.sampled_from(KEYS))
                if act == "put":
                    truth[key] = os.urandom(4)
                    cache.put(key, truth[key])
                elif act == "get":
                    assert cache.get(key) == truth.get(key)
                else:
                    name = data.draw(st.sampled_from(names))
                    if name in cache.members:
                        cache.leave(name)
                    else:
                        cache.join(by_name[name])

    @pytest.mark.parametrize(
        "kwargs", [{"ttl": 0}, {"ttl": -1}, {"ttl": float("inf")}, {"timeout": 0}, {"timeout": float("nan")}]
    )
    def test_bad_arguments(self, nodes, store, kwargs):
        with pytest.raises(InvalidArgument):
            DistributedCache(nodes, HashRing([node.name for node in nodes]), store, **kwargs)

    def test_bad_members_and_keys(self, nodes, store):
        with pytest.raises(InvalidArgument, match="endpoints"):
            DistributedCache(nodes, HashRing(["somebody"]), store)
        with cache_on(nodes, store) as cache:
            for bad in (1, None, b"bytes"):
                with pytest.raises(InvalidArgument):
                    cache.get(bad)
                with pytest.raises(InvalidArgument):
                    cache.put(bad, b"")
            with pytest.raises(InvalidArgument):
                cache.leave("nobody")
            with pytest.raises(InvalidArgument):
                cache.join(nodes[0])
            assert store.reads == 0


def test_memory_store_versions_grow():
    store = MemoryStore()
    assert [store.write("a", b"1"), store.write("a", b"2"), store.write("b", b"3")] == [1, 2, 1]
    assert store.read_many(["a", "c"]) == [(2, b"2"), None]
    assert store.reads == 2


@pytest.mark.parametrize("value", [None, {"a": 1}, "text", 7, bytes(VALUE_BYTES_MAX + 1)])
def test_a_value_no_node_can_hold_is_refused_and_changes_nothing(nodes, store, value):
    with cache_on(nodes, store) as cache:
        members, rows = cache.members, store.read_many(["k1"])
        with pytest.raises(InvalidArgument):
            cache.put("k1", value)
        assert cache.members == members
        assert store.read_many(["k1"]) == rows


@pytest.mark.parametrize("key", ["\ud800", "x" * (KEY_BYTES_MAX + 1), "é" * (KEY_BYTES_MAX // 2 + 1)], ids=len)
def test_a_key_no_node_can_hold_is_refused_before_the_store_is_written(nodes, store, key):
    with cache_on(nodes, store) as cache:
        with pytest.raises(InvalidArgument):
            cache.put(key, b"x")
        with pytest.raises(InvalidArgument):
            cache.get(key)
        assert store.read_many([key]) == [None]


def test_a_time_to_live_that_redis_refuses_is_refused_at_once(nodes, store):
    with pytest.raises(InvalidArgument, match="ttl"):
        cache_on(nodes, store, ttl=1e17)


def test_a_placement_whose_nodes_may_not_leave_is_refused(nodes, store):
    with pytest.raises(InvalidArgument, match="cannot place a cache"):
        DistributedCache(nodes, JumpHash([node.name for node in nodes]), store)
