"""One real Redis for the folder, and one per test where a test kills it."""

import uuid

import pytest

from principal_kit import services


@pytest.fixture(scope="session")
def shared_redis():
    with services.redis(fresh=True) as endpoint:
        yield endpoint


@pytest.fixture
def own_redis():
    with services.redis(fresh=True) as endpoint:
        yield endpoint


@pytest.fixture
def name():
    """A prefix of keys that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
