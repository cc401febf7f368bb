"""A span of a topic is read whole or refused: what the broker has deleted is never silently left out."""

from __future__ import annotations

import pytest
from kafka import TopicPartition

from principal_kit.platform import log, sender, topics

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def spans(servers):
    """A topic of two partitions with six records each, of which the first partition has lost two."""
    name = "spans"
    admin = servers.kafka.admin()
    topics.apply(admin, [topics.Topic(name, 2, "none", "a test's")])
    out = sender.producer(servers.kafka.bootstrap_servers)
    for n in range(12):
        out.send(name, value=b"%d" % n, partition=n % 2, timestamp_ms=1_000 * (n + 1))
    out.flush(timeout=30)
    out.close()
    admin.delete_records({TopicPartition(name, 0): 2})
    admin.close()
    return name


@pytest.fixture
def consumer(servers):
    made = servers.kafka.consumer()
    yield made
    made.close()


def test_the_records_between_two_cuts_and_no_others_are_read(spans, consumer):
    read = [(r.partition, r.offset) for r in log.read(consumer, spans, {0: 3, 1: 0}, {0: 6, 1: 2})]
    assert sorted(read) == [(0, 3), (0, 4), (0, 5), (1, 0), (1, 1)]
    assert log.beginning(consumer, spans) == {0: 2, 1: 0}
    assert log.ends(consumer, spans) == {0: 6, 1: 6}


@pytest.mark.parametrize("start", [{0: 0, 1: 0}, {0: 1, 1: 5}])
def test_a_span_whose_beginning_was_deleted_is_refused(spans, consumer, start):
    """A consumer that seeks before the beginning is moved to the end, and would read nothing without a word."""
    with pytest.raises(log.Forgotten, match=rf"{spans}-0 begins at offset 2, asked from {start[0]}"):
        list(log.read(consumer, spans, start, {0: 6, 1: 6}))


def test_a_span_that_ends_before_the_beginning_of_another_partition_may_be_empty(spans, consumer):
    assert list(log.read(consumer, spans, {0: 0, 1: 4}, {0: 0, 1: 4})) == []


@pytest.mark.parametrize(
    "sent_ms, cut", [(5_000, {0: 2, 1: 2}), (6_500, {0: 3, 1: 3}), (12_000, {0: 6, 1: 5}), (12_001, {0: 6, 1: 6})]
)
def test_a_moment_s_cut_has_in_front_what_was_sent_before_it(spans, consumer, sent_ms, cut):
    """Partition 0 has the odd seconds (1, 3, … 11), partition 1 the even ones (2, 4, … 12)."""
    assert log.at(consumer, spans, sent_ms) == cut
