"""Change events: the reader, the merge and the schema rules, without a server; then the copy, on tables in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from principal_kit.core.errors import CorruptionError, InvalidArgument, ServiceError
from principal_kit.platform import cdc, connectors, dead_letters, replica, shop_database, upserts

COLUMNS = (("id", "int32", False), ("n", "int32", True))


def schema_of(columns):
    fields = [
        {"type": kind, "optional": optional, "field": name} | (dict(rest[0]) if rest else {})
        for name, kind, optional, *rest in columns
    ]
    return {"type": "struct", "fields": [{"type": "struct", "fields": fields, "field": "after"}]}


def event(op, key, row, lsn, *, commit=None, snapshot="false", columns=COLUMNS):
    """A record as Debezium writes it: key and value."""
    source = {"lsn": lsn, "snapshot": snapshot, "sequence": json.dumps([commit and str(commit), str(lsn)])}
    payload = {"before": None, "after": row, "source": source, "op": op}
    wrap = lambda schema, payload: b'{"schema":%s,"payload":%s}' % (schema, payload)  # noqa: E731
    value = wrap(json.dumps(schema_of(columns)).encode(), json.dumps(payload).encode())
    return wrap(b'{"type":"struct"}', json.dumps({"id": key}).encode()), value


# ── The reader ───────────────────────────────────────────────────────────────────────────────────
def read(reader, *records):
    return [said for offset, record in enumerate(records) for said in reader.read(offset, *record)]


def test_snapshot_then_stream():
    reader = cdc.Reader()
    first, last, sweep, update, delete = read(
        reader,
        event("r", 1, {"id": 1, "n": 5}, 100, snapshot="first"),
        event("r", 2, {"id": 2, "n": 6}, 100, snapshot="last"),
        event("u", 1, {"id": 1, "n": 7}, 110),
        event("d", 2, None, 120, commit=115),
        (event("d", 2, None, 120)[0], None),
    )
    assert (first.key, first.row, first.version) == (1, {"id": 1, "n": 5}, (100, 0))
    assert (last.key, sweep) == (2, cdc.Sweep(100))
    assert (update.row["n"], update.version) == (7, (100, 110))
    assert (delete.key, delete.row, delete.version) == (2, None, (100, 120))
    assert reader.position == cdc.Position(5, 100, (115, 120))
    assert (reader.tombstones, reader.redelivered) == (1, 0)


def test_what_was_written_before_the_snapshots_place_and_committed_after_it_is_newer():
    """By its place alone (95 < 100) it would lose. Seen on a real server in test_cdc_live.py."""
    old, _, new = read(
        cdc.Reader(),
        event("r", 1, {"id": 1, "n": 5}, 100, snapshot="last"),
        event("u", 1, {"id": 1, "n": 6}, 95),
    )
    assert cdc.latest([new, old])[1] == new


def test_what_comes_again_is_recognised_although_keys_are_not_remembered():
    records = [event("c", n, {"id": n, "n": n}, 100 + n, commit=100 + n) for n in range(1, 5)]
    reader = cdc.Reader()
    last = event("d", 1, None, 110, commit=109)
    assert [c.key for c in read(reader, *records, *records[1:3], last)] == [1, 2, 3, 4, 1]
    assert reader.redelivered == 2


def test_a_new_primary_key_is_two_changes_at_one_place():
    old, new = event("d", 1, None, 110, commit=105), event("c", 2, {"id": 2, "n": 1}, 110, commit=105)
    changes = read(cdc.Reader(), event("c", 1, {"id": 1, "n": 1}, 100), old, new, old, new)
    assert {key: change.row for key, change in cdc.latest(changes).items()} == {1: None, 2: {"id": 2, "n": 1}}


def test_transactions_come_in_the_order_of_commits_and_their_places_go_back():
    """The later commit has the earlier place: it is no repetition."""
    changes = read(cdc.Reader(), event("c", 1, {"id": 1}, 200, commit=150), event("c", 2, {"id": 2}, 160, commit=210))
    assert [c.key for c in changes] == [1, 2]


def test_a_chunk_of_an_incremental_snapshot_is_taken_as_it_comes():
    reader = cdc.Reader(cdc.Position(0, 100, (150, 200)))
    [chunk] = read(reader, event("r", 1, {"id": 1, "n": 9}, 180, snapshot="incremental"))
    assert (chunk.row["n"], reader.position.stream, reader.position.snapshot) == (9, (150, 200), 100)


def test_rows_of_the_snapshot_that_come_again_behind_the_stream_undo_nothing():
    snapshot = [event("r", n, {"id": n, "n": 0}, 100, snapshot=m) for n, m in ((1, "true"), (2, "last"))]
    stream = [event("u", 1, {"id": 1, "n": 7}, 110), event("d", 2, None, 120, commit=115)]
    reader = cdc.Reader()
    assert len(read(reader, *snapshot, *stream)) == 5
    assert read(reader, *snapshot, *stream[:1]) == []
    assert (reader.redelivered, reader.position.stream) == (3, (115, 120))


def test_the_first_change_after_a_snapshot_that_had_no_row_of_the_table_is_not_taken_for_an_old_one():
    """Nothing tells this reader of the snapshot, and the stream behind one begins without a commit before it."""
    life = [event("c", 1, {"id": 1}, 110, commit=105), event("d", 1, None, 120, commit=115)]
    first, then = event("c", 2, {"id": 2}, 500), event("c", 3, {"id": 3}, 520, commit=510)
    reader = cdc.Reader()
    assert [c.key for c in read(reader, *life, first, then)] == [1, 1, 2, 3]
    assert read(reader, *life, first) == [], "and when it comes again it is one"


def truncate(lsn, **options):
    return None, event("t", None, None, lsn, **options)[1]


def test_a_truncate_has_no_key_and_one_that_comes_again_is_recognised():
    reader = cdc.Reader()
    records = [
        event("c", 1, {"id": 1}, 100, commit=90),
        truncate(110, commit=105),
        event("c", 2, {"id": 2}, 120, commit=115),
    ]
    _, emptied, after, once_more = read(reader, *records, *records)
    assert (emptied, after.key) == (cdc.Emptied(cdc.Version(0, 110)), 2)
    assert once_more == after
    assert reader.redelivered == 2  # the last is at the newest place: again is no harm


def test_a_log_that_went_back_is_another_database():
    reader = cdc.Reader(cdc.Position(7, 100, (150, 200)))
    with pytest.raises(cdc.WentBack, match="a snapshot at 50, after one at 100"):
        reader.read(7, *event("r", 1, {"id": 1}, 50, snapshot="first"))
    assert reader.position == cdc.Position(7, 100, (150, 200))


GOOD = event("c", 1, {"id": 1, "n": 1}, 1)


@pytest.mark.parametrize(
    "key, value, reason",
    [
        (GOOD[0], b"\xff", "malformed"),
        (GOOD[0], b"", "malformed"),
        (GOOD[0], GOOD[1][:-9], "malformed"),
        (GOOD[0], b"[]", "malformed"),
        (GOOD[0], b'{"schema":{},"payload":null}', "malformed"),
        (GOOD[0], b'{"schema":{},"payload":{"op":"c"}}', "malformed"),
        (GOOD[0], GOOD[1].replace(b'"lsn": 1', b'"lsn": "x"'), "malformed"),
        (GOOD[0], GOOD[1].replace(b'"sequence"', b'"seq"'), "malformed"),
        (GOOD[0], GOOD[1].replace(b'"op": "c"', b'"op": "m"'), "unknown operation"),
        (None, GOOD[1], "no key"),
        (b'{"schema":{},"payload":{"a":1,"b":2}}', GOOD[1], "no key"),
        (b"{", GOOD[1], "malformed"),
        (*event("u", 1, {"id": 1, "n": cdc.UNAVAILABLE}, 5), "unavailable value"),
    ],
)
def test_a_bad_record_is_named_and_passed(key, value, reason):
    reader = cdc.Reader()
    with pytest.raises(cdc.BadEnvelope, match=f"^{reason}: ") as error:
        reader.read(3, key, value)
    assert error.value.reason == reason in cdc.REASONS
    assert reader.position.offset == 4
    assert reader.read(4, *event("c", 2, {"id": 2}, 9))[0].key == 2


@given(st.binary(max_size=80))
def test_no_bytes_do_more_than_be_refused(raw):
    with pytest.raises(cdc.BadEnvelope) as error:
        cdc.Reader().read(0, raw, raw or b" ")
    assert error.value.reason in cdc.REASONS


def test_a_column_named_payload_does_not_end_the_schema():
    columns = (*COLUMNS, ("payload", "string", True))
    row = {"id": 1, "n": 1, "payload": ',"payload":{'}
    decoder = cdc.Decoder()
    for _ in range(2):
        assert decoder(event("c", 1, row, 1, columns=columns)[1])[1]["after"] == row


def test_the_position_survives_as_text():
    position = cdc.Position(12, 2**60, (2**61, 7))
    assert cdc.Position.from_properties(position.to_properties()) == position
    assert cdc.Position.from_properties({}) is None


# ── The merge ────────────────────────────────────────────────────────────────────────────────────
_changes = st.lists(
    st.builds(
        lambda key, n, snapshot, place: cdc.Change(key, n, cdc.Version(snapshot, place), ()),
        st.integers(0, 3), st.none() | st.integers(0, 9), st.integers(0, 2), st.integers(0, 5),
    ), max_size=20, unique_by=lambda c: (c.key, c.version),
)  # fmt: skip


@given(_changes, st.randoms(), st.integers(0, 20))
def test_neither_order_nor_repeats_nor_batches_matter(changes, random, cut):
    expected = cdc.latest(changes)
    again = changes + random.sample(changes, len(changes) // 2)
    random.shuffle(again)
    assert cdc.latest(again) == expected
    assert cdc.latest([*cdc.latest(again[:cut]).values(), *cdc.latest(again[cut:]).values()]) == expected


# ── Schemas ──────────────────────────────────────────────────────────────────────────────────────
def column(name, kind="int32", optional=True, default=None, **parameters):
    return cdc.Column(name, kind, optional, default, tuple(parameters.items()))


ID = column("id", optional=False)


@pytest.mark.parametrize(
    "there, columns, add, widen",
    [
        ({"id": "int", "n": "int"}, (ID, column("n")), (), ()),
        ({"id": "int"}, (ID, column("n")), ("n",), ()),
        ({"id": "int"}, (ID, column("n", optional=False, default=5)), ("n",), ()),
        ({"id": "int", "gone": "int"}, (ID,), (), ()),
        ({"id": "int", "n": "int"}, (ID, column("n", "int64")), (), ("n",)),
        ({"id": "int", "n": "long"}, (ID, column("n")), (), ()),
        ({"id": "int", "n": "float"}, (ID, column("n", "double")), (), ("n",)),
    ],
)
def test_what_a_copy_follows(there, columns, add, widen):
    change = cdc.evolution(there, columns)
    assert (tuple(c.name for c in change.add), tuple(name for name, _ in change.widen)) == (add, widen)
    assert bool(change) == bool(add or widen)


DIGITS = {"scale": "2"}


@pytest.mark.parametrize(
    "there, columns, why",
    [
        ({"id": "int", "old": "int"}, (ID, column("new")), "a rename looks like this"),
        ({"id": "int"}, (ID, column("n", optional=False)), "NOT NULL"),
        ({"id": "int"}, (ID, column("n", "io.debezium.time.Date", default=0)), "such as now"),
        (
            {"id": "int"},
            (ID, column("n", "io.debezium.time.ZonedTimestamp", False, "1970-01-01T00:00:00.000000Z")),
            "now",
        ),
        ({"id": "int", "n": "int"}, (ID, column("n", "string")), "from int to string"),
        ({"id": "int", "n": "string"}, (ID, column("n")), "from string to int"),
        ({"id": "int"}, (ID, column("n", "io.debezium.data.geometry.Point")), "known: "),
        ({"n": "decimal(9, 3)"}, (column("n", cdc._DECIMAL, **DIGITS),), "decimal"),
    ],
)
def test_what_would_lose_or_invent_data_is_refused(there, columns, why):
    with pytest.raises(cdc.SchemaBreak, match=why):
        cdc.evolution(there, columns)


def test_values_of_every_kind():
    assert cdc.value(column("d", cdc._DECIMAL, scale="2"), "AN4=") == Decimal("2.22")
    assert cdc.value(column("t", "io.debezium.time.ZonedTimestamp"), "2026-01-01T00:00:01.5Z") == datetime(
        2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC
    )
    assert cdc.value(column("b", "bytes"), "eA==") == b"x"
    assert cdc.value(column("n"), None) is None
    assert cdc.iceberg_type(column("d", cdc._DECIMAL, scale="2")) == "decimal(38, 2)"


# ── The committer, over a real Iceberg table and a topic in memory ───────────────────────────────
class Topic:
    """A partition of one topic, and a consumer of it."""

    def __init__(self, records=(), name="t"):
        self.records, self.name, self.at, self.begins = list(records), name, 0, 0

    def partitions_for_topic(self, topic):
        return {0}

    def assign(self, places):
        pass

    def beginning_offsets(self, places):
        return dict.fromkeys(places, self.begins)

    def end_offsets(self, places):
        return {place: len(self.records) for place in places}

    def seek(self, place, offset):
        self.at = offset

    def position(self, place):
        return self.at

    def poll(self, timeout_ms, max_records):
        found = [
            SimpleNamespace(topic=self.name, partition=0, offset=n, key=key, value=value, timestamp=n)
            for n, (key, value) in enumerate(self.records[self.at : self.at + max_records], start=self.at)
        ]
        self.at += len(found)
        from kafka import TopicPartition

        return {TopicPartition(self.name, 0): found} if found else {}


class Letters:
    """A producer that keeps what it was given."""

    def __init__(self):
        self.sent = []

    def send(self, topic, *, key, value, headers, timestamp_ms):
        place = {"topic": topic, "partition": 0, "offset": len(self.sent)}
        self.sent.append(SimpleNamespace(key=key, value=value, headers=headers, timestamp=timestamp_ms, **place))

    def flush(self, timeout):
        pass


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    from pyiceberg.catalog.sql import SqlCatalog

    warehouse = tmp_path_factory.mktemp("lake").as_uri()
    return SqlCatalog("lake", uri="sqlite:///:memory:", warehouse=warehouse, init_catalog_tables="true")


@pytest.fixture
def copy_of(lake, request):
    """`copy_of(topic, …)`: a committer for a table of the test's own; each call is another life of it."""
    name = f"test.t{abs(hash(request.node.nodeid))}"

    def make(topic, number=0, **options):
        return upserts.Committer(lake, f"{name}_{number}", topic, "t", **options)

    return make


def rows(committer):
    table = committer.lake.load_table(committer.name)
    found = table.scan().to_arrow().to_pylist()
    out = {row["id"]: {k: v for k, v in row.items() if not k.startswith("_")} for row in found}
    assert len(out) == len(found), "a key is there twice"
    return out


def source(rng, changes=40, *, again=True):
    """A topic as at-least-once delivery leaves it, and the table it should add up to.

    A snapshot that is broken off and begun again, a stream that repeats parts of itself, keys that go and come back.
    """
    table, records, lsn = {n: n for n in range(4)}, [], 100
    if again:  # broken off: key 3 is sent, and gone before the second attempt
        records += [event("r", n, {"id": n, "n": v}, lsn, snapshot="true") for n, v in table.items()]
        del table[3]
        lsn += 50
    marks = ["true"] * (len(table) - 1) + ["last"]
    records += [event("r", n, {"id": n, "n": v}, lsn, snapshot=m) for (n, v), m in zip(table.items(), marks)]
    stream, commit = [], None
    for _ in range(changes):
        lsn += int(rng.integers(1, 9))
        key = int(rng.integers(6))
        if key in table and rng.random() < 0.3:
            del table[key]
            stream.append(event("d", key, None, lsn, commit=commit))
        else:
            table[key] = int(rng.integers(1000))
            stream.append(event("u", key, {"id": key, "n": table[key]}, lsn, commit=commit))
        commit = lsn + 1
    cuts = sorted({0, len(stream), *(int(c) for c in rng.integers(0, len(stream), 4))})
    for begin, end in pairwise(cuts):
        back = int(rng.integers(0, 5)) if again else 0
        records += stream[max(0, begin - back) : end]
    return records, {key: {"id": key, "n": n} for key, n in table.items()}


@given(st.integers(0, 2**32), st.sampled_from([10, 60]))
def test_any_redelivery_adds_up_to_the_source(seed, changes):
    """In memory: reader, merge and sweep, without a table."""
    records, expected = source(np.random.default_rng(seed), changes)
    reader, table = cdc.Reader(), {}
    for said in read(reader, *records):
        if isinstance(said, cdc.Sweep):
            table = {key: change for key, change in table.items() if change.version.snapshot >= said.snapshot}
        else:
            assert said.key not in table or table[said.key].version <= said.version
            table |= {said.key: said}
    assert {key: change.row for key, change in table.items() if change.row is not None} == expected


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(5, 30), min_size=1, max_size=3))
def test_any_redelivery_and_any_cut_give_the_same_table(lake, seed, batches):
    """A new life of the committer every few batches: it knows what the table says, and nothing else."""
    records, expected = source(np.random.default_rng(seed))
    topic, name = Topic(records), f"test.cut{seed}_{abs(hash(tuple(batches)))}"
    while True:
        committer = upserts.Committer(lake, name, topic, "t", batch=batches[len(records) % len(batches)])
        done = sum(committer.step() for _ in range(3))
        if committer.position.offset == len(records):
            break
        assert done or committer._table.current_snapshot() is None
    assert rows(committer) == expected
    lake.drop_table(name)


@pytest.mark.parametrize("seed", [1])
def test_a_crash_at_any_step_loses_and_doubles_nothing(copy_of, seed):
    records, expected = source(np.random.default_rng(seed), 20)
    records.insert(9, (b"not JSON", b"not JSON"))
    steps = []
    whole = copy_of(Topic(records), number="whole", batch=7, letters=(Letters(), "dead"), on_step=steps.append)
    whole.catch_up()
    assert rows(whole) == expected
    assert {"read", "letters", "written", "committed"} == set(steps)
    for crash in range(len(steps)):
        letters, left = Letters(), [crash]

        def die(step, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt(step)

        committer = copy_of(Topic(records), number=crash, batch=7, letters=(letters, "dead"), on_step=die)
        with pytest.raises(KeyboardInterrupt):
            committer.catch_up()
        again = copy_of(Topic(records), number=crash, batch=7, letters=(letters, "dead"))
        again.catch_up()
        assert rows(again) == expected
        kept = {(x.topic, x.partition, x.offset): x for x in map(dead_letters.parse, letters.sent)}
        assert {(x.offset, x.reason, x.value) for x in kept.values()} == {(9, "malformed", b"not JSON")}


class Away:
    """A catalog that can be away."""

    def __init__(self, lake):
        self._lake, self.away = lake, False

    def __getattr__(self, name):
        if self.away:
            raise ConnectionError("the catalog is away")
        return getattr(self._lake, name)


def test_a_commit_that_fails_and_a_catalog_that_stays_away_lose_nothing(copy_of, lake):
    """The same committer goes on when the catalog is back; where it stands in the topic is behind the lost batch."""
    catalog, fails = Away(lake), []

    def fail(step):
        if step == "written" and fails:
            catalog.away = True
            raise fails.pop()

    records = [event("c", n, {"id": n, "n": n}, 100 + n, commit=100 + n) for n in range(1, 10)]
    name = copy_of(Topic(records)).name
    committer = upserts.Committer(catalog, name, Topic(records), "t", batch=3, on_step=fail)
    committer.step(), committer.step()
    fails.append(ConnectionError("the catalog goes away"))
    with pytest.raises(ConnectionError, match="goes away"):
        committer.step()
    for _ in range(2):
        with pytest.raises(ConnectionError, match="is away"):
            committer.catch_up()
    catalog.away = False
    committer.catch_up()
    assert (sorted(rows(committer)), committer.position.offset) == (list(range(1, 10)), 9)


@pytest.mark.parametrize("crash", range(10))
def test_a_committer_that_is_interrupted_and_called_again_loses_nothing(copy_of, crash):
    """Ctrl-C, and the cell once more: in the poll, where the records are taken already, and at every step."""
    records, left = [event("c", n, {"id": n, "n": n}, 100 + n, commit=100 + n) for n in range(1, 10)], [crash]

    def die(step):
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt(step)

    class Interrupted(Topic):
        def poll(self, **options):
            found = super().poll(**options)
            die("poll")
            return found

    committer = copy_of(Interrupted(records), batch=3, on_step=die)
    with pytest.raises(KeyboardInterrupt):
        committer.catch_up()
    committer.catch_up()
    assert (sorted(rows(committer)), committer.position.offset) == (list(range(1, 10)), 9)


def test_the_last_batch_lost_in_the_commit_is_caught_up_although_the_topic_is_at_its_end(copy_of):
    fails = [ConnectionError("away"), None]
    topic = Topic([event("c", 1, {"id": 1, "n": 1}, 100)])

    def fail(step):
        if step == "written" and (error := fails.pop(0)):
            raise error

    committer = copy_of(topic, on_step=fail)
    committer.step()
    with pytest.raises(ConnectionError):
        committer.catch_up()
    assert committer.catch_up() == 1
    assert sorted(rows(committer)) == [1]


def test_two_committers_at_once_and_only_one_gets_through(copy_of):
    records, expected = source(np.random.default_rng(1))
    one, other = (copy_of(Topic(records), batch=8) for _ in range(2))
    one.step(), one.step()
    turn = 0
    while min(one.position.offset, other.position.offset) < len(records):
        (one, other)[turn % 2].step()
        turn += 1
        assert turn < 100
    assert rows(one) == expected
    assert one.counts["overtaken"] + other.counts["overtaken"] > 0


def test_a_rolled_back_table_rolls_its_reader_back(copy_of):
    records, expected = source(np.random.default_rng(2))
    first = copy_of(Topic(records), batch=10)
    first.catch_up()
    table = first.lake.load_table(first.name)
    commits = [s for s in table.snapshots() if s.summary.operation.value == "append"]
    table.manage_snapshots().rollback_to_snapshot(commits[1].snapshot_id).commit()
    assert rows(first) != expected
    again = copy_of(Topic(records), batch=10)
    assert 0 < again.position.offset < len(records)
    again.catch_up()
    assert rows(again) == expected


def test_a_table_rolled_back_into_the_middle_of_a_commit_is_refused(copy_of):
    """The rows of a batch's keys are gone there, and their new ones have not come."""
    records, _ = source(np.random.default_rng(2))
    committer = copy_of(Topic(records), batch=10)
    committer.catch_up()
    table = committer.lake.load_table(committer.name)
    half = [s.snapshot_id for s in table.snapshots() if s.summary.operation.value != "append"]
    table.manage_snapshots().rollback_to_snapshot(half[-1]).commit()
    with pytest.raises(CorruptionError, match="half of a commit; roll it back to"):
        copy_of(Topic(records))


def test_compaction_leaves_the_position_and_an_empty_history_is_refused(copy_of):
    records, _ = source(np.random.default_rng(3))
    committer = copy_of(Topic(records))
    committer.catch_up()
    table = committer.lake.load_table(committer.name)
    table.overwrite(table.scan().to_arrow())
    assert copy_of(Topic(records)).position == committer.position
    table = committer.lake.load_table(committer.name)
    old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != table.current_snapshot().snapshot_id]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    with pytest.raises(CorruptionError, match="no snapshot of its history says"):
        copy_of(Topic(records))


def test_a_new_snapshot_takes_away_what_was_deleted_meanwhile(copy_of):
    records, _ = source(np.random.default_rng(4), 10, again=False)
    second = [event("r", n, {"id": n, "n": -n}, 5_000, snapshot="last" if n == 9 else "true") for n in (2, 9)]
    committer = copy_of(Topic(records + second + [event("u", 2, {"id": 2, "n": 1}, 5_001)]))
    committer.catch_up()
    assert rows(committer) == {2: {"id": 2, "n": 1}, 9: {"id": 9, "n": -9}}


def test_a_truncate_empties_the_copy_and_what_comes_after_it_stays(copy_of):
    records, _ = source(np.random.default_rng(4), 10, again=False)
    again = [
        event("c", 7, {"id": 7, "n": 7}, 9_010, commit=9_005),
        event("u", 7, {"id": 7, "n": 8}, 9_020, commit=9_015),
    ]
    for number, batch in enumerate((1, 3, 1_000)):
        committer = copy_of(Topic([*records, truncate(9_000, commit=8_000), *again]), number, batch=batch)
        committer.catch_up()
        assert rows(committer) == {7: {"id": 7, "n": 8}}
        assert committer.counts["emptied"] == 1
        assert committer.position.stream == (9_015, 9_020)


def test_a_table_that_is_empty_at_the_new_snapshot_is_not_swept_and_is_named(lake, request):
    """Only a row carries the mark. Its neighbour, of the same connector, has one and is at the newer snapshot."""
    first = [event("r", 1, {"id": 1, "n": 1}, 100, snapshot="last_in_data_collection")]
    topics = {"full": Topic([*first, event("r", 2, {"id": 2, "n": 2}, 500, snapshot="last")]), "empty": Topic(first)}
    copy = replica.Replica(None, lake, None, namespace=f"unswept{abs(hash(request.node.nodeid))}", names=topics)
    copy._committers = {
        name: upserts.Committer(lake, f"{copy._namespace}.{name}", topic, "t") for name, topic in topics.items()
    }
    copy["full"].step()
    assert copy.unswept() == [], "a table that was never anywhere is empty on both sides"
    copy.catch_up()
    assert rows(copy["full"]) == {2: {"id": 2, "n": 2}}
    assert rows(copy["empty"]) == {1: {"id": 1, "n": 1}}
    assert copy.unswept() == ["empty"]


def test_a_table_empty_at_the_first_snapshot_and_at_the_next_is_named(lake, request):
    """Its row came and went by the stream, the last of it unseen; no snapshot ever told this table of itself."""
    last = [event("r", 1, {"id": 1, "n": 1}, at, snapshot="last") for at in (100, 500)]
    streamed = [event("c", 1, {"id": 1, "n": 1}, 150, commit=140)]
    topics = {"full": Topic(last), "empty": Topic(streamed), "never": Topic()}
    copy = replica.Replica(None, lake, None, namespace=f"unswept{abs(hash(request.node.nodeid))}", names=topics)
    copy._committers = {
        name: upserts.Committer(lake, f"{copy._namespace}.{name}", topic, "t") for name, topic in topics.items()
    }
    copy.catch_up()
    assert rows(copy["empty"]) == {1: {"id": 1, "n": 1}}
    assert copy.unswept() == ["empty"], "a table that never had a row has none to sweep"


def test_a_new_column_brings_its_default_to_the_rows_that_nobody_wrote(copy_of):
    wider = (("id", "int32", False), ("n", "int64", True), ("stock", "int32", False, (("default", 5),)))
    records = [event("c", n, {"id": n, "n": n}, n) for n in (1, 2, 3)]
    records.append(event("u", 2, {"id": 2, "n": 2**40, "stock": 1}, 10, columns=wider))
    committer = copy_of(Topic(records))
    committer.catch_up()
    assert rows(committer) == {
        1: {"id": 1, "n": 1, "stock": 5}, 2: {"id": 2, "n": 2**40, "stock": 1}, 3: {"id": 3, "n": 3, "stock": 5},
    }  # fmt: skip
    assert committer.counts["evolved"] == 1


def test_a_schema_that_cannot_be_followed_stops_at_its_record(copy_of):
    renamed = (("id", "int32", False), ("m", "int32", True))
    records = [event("c", 1, {"id": 1, "n": 1}, 1), event("c", 2, {"id": 2, "m": 1}, 2, columns=renamed)]
    committer = copy_of(Topic(records))
    with pytest.raises(cdc.SchemaBreak, match="n went and m came"):
        committer.catch_up()
    assert rows(committer) == {1: {"id": 1, "n": 1}}
    assert committer.position.offset == 1
    with pytest.raises(cdc.SchemaBreak):
        committer.step()


def test_a_topic_that_has_forgotten_what_is_next_is_refused(copy_of):
    records, _ = source(np.random.default_rng(5))
    committer = copy_of(Topic(records), batch=5)
    committer.step(), committer.step()
    topic = Topic(records)
    topic.begins = committer.position.offset + 1
    with pytest.raises(CorruptionError, match="what was in between is gone"):
        copy_of(topic)


def test_without_dead_letters_a_bad_record_stops_the_copy(copy_of):
    committer = copy_of(Topic([(b"x", b"x")]))
    with pytest.raises(cdc.BadEnvelope):
        committer.step()
    assert committer.position.offset == 0


def test_two_partitions_are_refused(lake, monkeypatch):
    monkeypatch.setattr(Topic, "partitions_for_topic", lambda *_: {0, 1})
    with pytest.raises(InvalidArgument, match="2 partitions; expected 1"):
        upserts.Committer(lake, "test.two", Topic(), "t")


def test_a_copy_that_does_not_get_there_says_where_it_is(copy_of):
    topic = Topic([event("c", 1, {"id": 1, "n": 1}, 1)])
    topic.poll = lambda **_: {}
    times = iter(range(100))
    with pytest.raises(ServiceError, match="is at 0 of 1 after 3 s"):
        copy_of(topic).catch_up(seconds=3, clock=lambda: next(times))


# ── Connectors and the day, as data ──────────────────────────────────────────────────────────────
SERVER = SimpleNamespace(host="h", port=1, user="u", database="d")


class Worker:
    """Keeps connectors, as Connect does."""

    def __init__(self):
        self.configs = {}

    def config(self, name):
        return self.configs.get(name)

    def put(self, name, config):
        self.configs[name] = dict(config)

    def wait(self, name, *, seconds):
        assert name in self.configs


def test_connectors_are_applied_once_and_drift_is_refused():
    worker, design = Worker(), [connectors.tables(SERVER, "secret"), connectors.outbox(SERVER, "secret")]
    assert [c.name for c in connectors.apply(worker, design).create] == ["shop", "events"]
    assert connectors.apply(worker, design).create == ()
    worker.configs["shop"] |= {"snapshot.mode": "never", "database.password": "secret-too"}
    before = dict(worker.configs["shop"])
    with pytest.raises(connectors.ConnectorDrift, match=r"snapshot\.mode=never, the design says when_needed") as error:
        connectors.apply(worker, design)
    assert "secret" not in str(error.value)
    assert worker.configs["shop"] == before
    assert len({c.slot for c in design}) == 2, "two connectors on one slot would take each other's changes"


def test_the_day_is_the_same_for_a_seed_and_has_everything_in_it():
    days = [list(shop_database.day(300, np.random.default_rng(7))) for _ in range(2)]
    assert days[0] == days[1]
    verbs = {statement.sql.split()[0] for t in days[0] for statement in t.statements}
    assert verbs == {"INSERT", "UPDATE", "DELETE", "ALTER"}
    assert any(not t.commit for t in days[0])
    with pytest.raises(InvalidArgument, match="ten rows"):
        next(shop_database.day(1, np.random.default_rng(0), products=3))


def test_a_slot_is_waited_for_until_somebody_reads_it():
    answers = iter([None, (False, 0, 0, "reserved"), (True, 0, 0, "reserved")])
    connection = SimpleNamespace(execute=lambda *_: SimpleNamespace(fetchone=lambda: next(answers)))
    connectors.wait_read(connection, connectors.outbox(SERVER, "secret"))
    assert next(answers, "all asked") == "all asked"
    never = SimpleNamespace(execute=lambda *_: SimpleNamespace(fetchone=lambda: None))
    with pytest.raises(ServiceError, match="slot events is not read"):
        connectors.wait_read(never, connectors.outbox(SERVER, "secret"), seconds=0)


class Heartbeats:
    """A consumer of the heartbeat's topic: the connector's snapshot shows the mark, its stream only a later one."""

    def __init__(self):
        self.written, self.shown = [], 0

    def execute(self, _, values):
        self.written += values

    def consumer(self, **_):
        return self

    def partitions_for_topic(self, _):
        return {0}

    def end_offsets(self, places):
        return dict.fromkeys(places, 0)

    def assign(self, _):
        pass

    def seek(self, *_):
        pass

    def poll(self, **_):
        new, self.shown = self.written[self.shown :], len(self.written)
        operation = "r" if self.shown == 1 else "u"
        envelope = {"payload": {"op": operation, "after": {"mark": new[0] if new else ""}}}
        return {0: [SimpleNamespace(value=None), SimpleNamespace(value=json.dumps(envelope).encode())]}

    def close(self):
        pass


def test_a_mark_that_the_snapshot_shows_is_not_yet_the_end_of_it():
    """The heartbeat's rows may come before another table's, so only the stream says that all is out."""
    world, connector = Heartbeats(), connectors.Connector("c", {"topic.prefix": "c"}, "")
    connectors.mark(world, world, connector, seconds=1.0)
    assert len(world.written) == 2
