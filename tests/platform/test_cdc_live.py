"""Change data capture on real servers: PostgreSQL, Debezium on Kafka Connect, Kafka, Iceberg; killed and compared.

One PostgreSQL, one Kafka and one worker for all tests; each test has a database, a connector and tables of its own.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from principal_kit import services
from principal_kit.core.clock import wait_until
from principal_kit.core.errors import ServiceError
from principal_kit.platform import cdc, connectors, log, outbox, replica, shop_database, tables

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SMALL = {"products": 40, "customers": 40, "orders": 120}


@pytest.fixture(scope="module")
def servers():
    # 16 MB of log for a slot that nobody reads: less than a test writes, far more than one that is read needs.
    limits = {"max_slot_wal_keep_size": "16MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    with services.kafka(fresh=True) as kafka, services.postgres(settings=limits) as postgres:
        with services.connect(kafka=kafka) as connect:
            yield SimpleNamespace(kafka=kafka, postgres=postgres, connect=connect)


@pytest.fixture
def shop(servers, tmp_path):
    """A shop of the test's own: its database, its connector's design, and the copy."""
    name = f"shop{next(_numbers)}"
    postgres, at = servers.postgres, servers.postgres.with_database(name)
    connection = at.connect()
    shop_database.create(connection, **SMALL)
    design = connectors.tables(at, servers.connect.secret("password", postgres.password), name=name)
    lake = tables.catalog(postgres.dsn, tmp_path.as_uri())
    copy = replica.Replica(servers.kafka, lake, design, namespace=name)
    yield SimpleNamespace(**vars(servers), at=at, connection=connection, design=design, lake=lake, copy=copy, name=name)
    copy.close()
    connection.close()
    servers.connect.delete(name)
    with at.connect() as last:
        connectors.drop(last, design)


_numbers = itertools.count(1)


def day(n=200, seed=7, **options):
    return shop_database.day(n, np.random.default_rng(seed), **SMALL, **options)


def begin(shop):
    connectors.apply(shop.connect, [shop.design])


def settle(shop):
    connectors.mark(shop.connection, shop.kafka, shop.design)
    shop.copy.catch_up()


def differences(shop):
    return replica.differences(shop.lake, shop.name, shop_database.truth(shop.connection))


def envelopes(shop, table):
    consumer = shop.kafka.consumer(isolation_level="read_committed")
    topic = shop.design.topic(table)
    try:
        records = log.read(consumer, topic, log.beginning(consumer, topic), log.ends(consumer, topic))
        return [json.loads(record.value)["payload"] for record in records if record.value]
    finally:
        consumer.close()


def test_snapshot_stream_and_schema_change_equal_the_source(shop):
    begin(shop)
    settle(shop)
    assert differences(shop) == []
    committed = shop_database.run(shop.connection, day())
    settle(shop)
    assert differences(shop) == []
    assert committed > 150
    assert shop.copy.counts["deletes"] > 0
    assert shop.copy.counts["evolved"] == 2
    schema = {f.name: str(f.field_type) for f in shop.lake.load_table(f"{shop.name}.orders").schema().fields}
    assert schema["cents"] == "long"
    assert connectors.apply(shop.connect, [shop.design]).create == ()
    shop.connection.execute("UPDATE orders SET id = id + 1000000 WHERE id = (SELECT min(id) FROM orders)")
    settle(shop)
    assert differences(shop) == [], "a new primary key is a delete and an insert at one place"
    shop.connection.execute("TRUNCATE customers")
    shop.connection.execute("INSERT INTO customers VALUES (9, 'c9@example.org', NULL, '2026-01-11')")
    settle(shop)
    assert (differences(shop), shop.copy.letters(), shop.copy.counts["emptied"]) == ([], [], 1)
    # Can the comparison fail?
    shop.connection.execute("UPDATE orders SET status = 'unseen' WHERE id = (SELECT min(id) FROM orders)")
    [line] = differences(shop)
    assert "the source has unseen" in line


def test_a_default_is_only_known_if_it_is_a_constant_that_nobody_changed(shop):
    """Debezium asks the database for it when it meets the column, and evaluates nothing."""
    begin(shop)
    settle(shop)
    for sql in ("ADD COLUMN stock int NOT NULL DEFAULT 5", "ALTER COLUMN stock SET DEFAULT 6"):
        shop.connection.execute(f"ALTER TABLE products {sql}")
    shop.connection.execute("UPDATE products SET stock = 1 WHERE id = 1")
    settle(shop)
    assert differences(shop)[0] == "products 2: stock is 6, the source has 5"
    shop.connection.execute("ALTER TABLE orders ADD COLUMN token int DEFAULT 2 + 3")
    shop.connection.execute("UPDATE orders SET status = 'seen' WHERE id = 1")
    settle(shop)
    assert "orders 2: token is None, the source has 5" in differences(shop)
    shop.connection.execute("ALTER TABLE customers ADD COLUMN changed timestamptz NOT NULL DEFAULT now()")
    shop.connection.execute("UPDATE customers SET country = 'FR' WHERE id = 1")
    with pytest.raises(cdc.SchemaBreak, match="1970"):
        settle(shop)


def test_the_highest_place_in_the_log_is_not_the_newest_row(shop):
    """A transaction open across the snapshot: by its place it is older than the snapshot, and it is newer."""
    start = lambda: shop.connect.put(shop.name, shop.design.config)  # noqa: E731
    open_one = shop_database.straddle(shop.at, start, "UPDATE orders SET status = 'straddled' WHERE id = 1")
    shop.connect.wait(shop.name)
    settle(shop)
    open_one.commit()
    open_one.close()
    settle(shop)
    mine = [e for e in envelopes(shop, "orders") if e["after"]["id"] == 1]
    read, update = mine
    assert (read["op"], update["op"]) == ("r", "u")
    assert update["source"]["lsn"] < read["source"]["lsn"], "or this test shows nothing"
    assert differences(shop) == []


def test_worker_database_and_committer_are_killed_in_mid_stream(shop):
    begin(shop)
    copier = replica.Process(shop.kafka, shop.lake, shop.design, shop.postgres, namespace=shop.name)
    copier.start()
    try:
        transactions = list(day(240))
        done = 0
        for part, victim in enumerate((copier, shop.connect, copier, shop.postgres)):
            connectors.wait_read(shop.connection, shop.design)
            done += shop_database.run(shop.connection, transactions[part * 60 : part * 60 + 30])
            victim.kill()
            if victim is not shop.postgres:
                done += shop_database.run(shop.connection, transactions[part * 60 + 30 : part * 60 + 60])
            victim.start()
        shop.connection.close()
        shop.connection = shop.at.connect()
        done += shop_database.run(shop.connection, transactions[210:240])
        assert done > 150
        settle(shop)
    finally:
        copier.stop()
    assert differences(shop) == []
    for table in shop_database.TABLES:
        places = [(e["source"]["sequence"], e["op"]) for e in envelopes(shop, table) if e["op"] != "r"]
        assert len(places) == len(set(places)), "an exactly-once source sends nothing twice"


def test_a_slot_that_nobody_reads_keeps_the_log_and_a_lost_one_means_a_new_snapshot(shop):
    begin(shop)
    settle(shop)
    shop.connect.halt(shop.name)
    connection = shop.connection
    wait_until(lambda: not connectors.slot(connection, shop.design.slot).active, "a slot that is not read")
    before = connectors.slot(connection, shop.design.slot)
    assert (before.active, before.status) == (False, "reserved")
    connection.execute("CREATE TABLE noise (x text)")
    kept = []
    for _ in range(8):  # nothing of it is in our publication, and all of it is kept for us
        connection.execute("INSERT INTO noise SELECT repeat('z', 1000) FROM generate_series(1, 8000)")
        kept.append(connectors.slot(connection, shop.design.slot))
    assert kept[0].kept > 8_000_000 + before.kept
    connection.execute("DELETE FROM orders WHERE id = 3")
    connection.execute("UPDATE orders SET status = 'meanwhile' WHERE id = 4")
    connection.execute("SELECT pg_switch_wal()")
    connection.execute("CHECKPOINT")
    assert connectors.slot(connection, shop.design.slot).status == "lost"
    shop.connect.forget(shop.name)
    connectors.drop(connection, shop.design)
    shop.connect.resume(shop.name)
    settle(shop)
    assert differences(shop) == []
    assert connectors.slot(connection, shop.design.slot).status == "reserved"
    assert shop.copy.counts["swept"] >= 1


def snapshot_again(shop):
    shop.connect.halt(shop.name)
    shop.connect.forget(shop.name)
    connectors.drop(shop.connection, shop.design)


def test_a_table_that_was_empty_at_a_new_snapshot_is_named_and_another_snapshot_with_a_row_cures_it(shop):
    begin(shop)
    settle(shop)
    snapshot_again(shop)
    shop.connection.execute("DELETE FROM customers")
    shop.connect.resume(shop.name)
    settle(shop)
    assert shop.copy.unswept() == ["customers"]
    assert len(differences(shop)) == SMALL["customers"]
    shop.connection.execute("INSERT INTO customers VALUES (9, 'c9@example.org', NULL, '2026-01-11')")
    snapshot_again(shop)
    shop.connect.resume(shop.name)
    settle(shop)
    assert (differences(shop), shop.copy.unswept()) == ([], [])


def test_a_long_text_that_an_update_leaves_alone_is_a_dead_letter_without_full_identity(shop):
    connection = shop.connection
    connection.execute("ALTER TABLE products REPLICA IDENTITY DEFAULT")
    text = (
        "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300))"  # too long, and does not compress
    )
    [long] = connection.execute(
        f"UPDATE products SET description = {text} WHERE id = 1 RETURNING description"
    ).fetchone()
    begin(shop)
    settle(shop)
    assert differences(shop) == []
    connection.execute("UPDATE products SET price_cents = 9 WHERE id = 1")
    settle(shop)
    assert [letter.reason for letter in shop.copy.letters()] == ["unavailable value"]
    assert differences(shop) == ["products 1: price_cents is 101, the source has 9"]
    connection.execute("ALTER TABLE products REPLICA IDENTITY FULL")
    connection.execute("UPDATE products SET price_cents = 9 WHERE id = 1")
    settle(shop)
    assert differences(shop) == []
    assert len(long) == 9_600


def test_events_of_the_outbox_are_those_of_committed_orders_and_count_once(shop):
    connection = shop.connection
    connection.execute(outbox.SCHEMA)
    design = connectors.outbox(shop.at, shop.connect.secret("password", shop.postgres.password), name=f"{shop.name}.ev")
    connectors.apply(shop.connect, [design])

    def crash():
        raise KeyboardInterrupt

    for id in range(1_000, 1_010):
        outbox.place(connection, id, id)
    with pytest.raises(KeyboardInterrupt):
        outbox.place(connection, 1_010, 1, between=crash)
    shop.connect.kill()
    shop.connect.start()
    outbox.place(connection, 1_011, 5)
    topic = f"{shop.name}.ev.order"
    events = outbox.receive(shop.kafka, topic, 11)
    shop.connect.delete(design.name)
    connectors.drop(connection, design)
    orders = {id for (id,) in connection.execute("SELECT id FROM orders WHERE id >= 1000")}
    assert {int(event.aggregate) for event in events} == orders == {*range(1_000, 1_010), 1_011}
    assert events[0].payload == {"cents": 1_000}
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    seen = Counter()
    inbox = outbox.Inbox(connection, "mailer", lambda _, event: seen.update([event.aggregate]))
    assert sum(inbox.receive(event) for event in events + events[3:7]) == 11
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("event_first, orders, events", [(False, 1, 0), (True, 0, 1)])
def test_two_writes_have_a_moment_between_them(shop, event_first, orders, events):
    sent = []

    def crash():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outbox.place_twice_written(shop.connection, sent.append, 5_000, 7, event_first=event_first, between=crash)
    found = shop.connection.execute("SELECT count(*) FROM orders WHERE id = 5000").fetchone()[0]
    assert (found, len(sent)) == (orders, events)


def equals_in_the_end(shop):
    """Without transactions a mark may overtake other topics' records, so one look after it proves nothing."""

    def equal():
        settle(shop)
        return differences(shop) == []

    wait_until(equal, "a copy that equals its source")


def test_without_exactly_once_a_killed_worker_sends_again_and_the_copy_is_the_same(shop):
    """Its offsets are saved once a minute, and it dies before that: it begins with the snapshot, on the old slot."""
    apart = {f"{what}.storage.topic": f"loose-{what}" for what in ("config", "offset", "status")}
    settings = {"group.id": "loose", "offset.flush.interval.ms": 60_000, **apart}
    with services.connect(kafka=shop.kafka, exactly_once=False, settings=settings) as loose:
        password = loose.secret("password", shop.postgres.password)
        config = shop.design.config | {"database.password": password}
        with pytest.raises(ServiceError, match=r"exactly\.once\.support"):
            loose.put(shop.name, config)  # as designed it is refused here, and not run without
        loose.put(shop.name, config | {"exactly.once.support": "requested"})
        loose.wait(shop.name)
        equals_in_the_end(shop)  # before the day: its ALTER rewrites a table, which a snapshot under way sees as empty
        shop_database.run(shop.connection, day(40))
        equals_in_the_end(shop)
        shop.connection.execute("DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)")
        loose.kill()
        loose.start()
        loose.wait(shop.name)
        equals_in_the_end(shop)
    read = Counter(e["after"]["id"] for e in envelopes(shop, "orders") if e["op"] == "r")
    assert max(read.values()) == 2, "or this test shows nothing"
