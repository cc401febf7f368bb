"""The broker's own limiter, on a real broker: it delays and never refuses."""

import uuid

import pytest

from principal_kit import services
from principal_kit.core.errors import InvalidArgument
from principal_kit.ratelimit.kafka_quota import BURST_SECONDS, set_producer_quota

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def broker():
    return services.kafka()


def _throttle_ms(producer):
    values = [
        value for group in producer.metrics().values() for name, value in group.items() if name == "throttle-time-max"
    ]
    return max(values, default=0)


def test_a_producer_over_its_quota_is_delayed_and_loses_nothing(broker):
    admin, topic, client_id = broker.admin(), f"quota-{uuid.uuid4().hex[:8]}", f"client-{uuid.uuid4().hex[:8]}"
    rate = 20_000
    admin.create_topics([topic])
    set_producer_quota(admin, client_id, rate)
    try:
        producer = broker.producer(client_id=client_id, acks=1)
        size = rate * BURST_SECONDS // 10
        acknowledged = [producer.send(topic, bytes(size)).get(timeout=30).offset for _ in range(11)]
        assert acknowledged == list(range(11)), "every record arrived"
        assert _throttle_ms(producer) > 0
        producer.close()
    finally:
        set_producer_quota(admin, client_id, None)
        admin.delete_topics([topic])
        admin.close()


@pytest.mark.parametrize("client_id, rate", [("", 1), ("a", 0), ("a", -1), ("a", float("nan")), ("a", float("inf"))])
def test_bad_quotas_are_refused_before_the_broker_hears_of_them(client_id, rate):
    with pytest.raises(InvalidArgument):
        set_producer_quota(None, client_id, rate)
