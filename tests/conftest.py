"""Real servers for the whole test run: each kind is started at most once, when the first test asks for it."""

from __future__ import annotations

import pytest

from principal_kit import services


@pytest.fixture(scope="session")
def redis_server():
    """One Redis for every test that does not break it; tests keep to keys of their own."""
    with services.redis(fresh=True) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def kafka_server():
    """One Kafka broker for every test that does not break it; tests make topics of their own."""
    with services.kafka(fresh=True) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def spark_session():
    """The interpreter's Spark session, small: two partitions a shuffle."""
    yield services.spark("tests", spark__sql__shuffle__partitions="2")
    services.stop_all()
