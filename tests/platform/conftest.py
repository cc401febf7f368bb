"""One Kafka, one PostgreSQL and one Flink for the tests of the pipeline: real servers, killed and started again."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from principal_kit import services
from principal_kit.platform.jobs import Settings
from principal_kit.platform.pipeline import Pipeline


@pytest.fixture(scope="session")
def servers():
    with services.kafka(fresh=True) as kafka, services.postgres(fresh=True) as postgres:
        with services.flink(fresh=True, slots=16) as flink:
            yield SimpleNamespace(kafka=kafka, postgres=postgres, flink=flink)


@pytest.fixture(scope="session")
def make_pipeline(servers, tmp_path_factory):
    """Pipelines with topics and tables of their own; each is stopped by its test, so that slots are free again."""
    numbers = itertools.count(1)

    def make() -> Pipeline:
        name = f"shop{next(numbers)}"
        warehouse = tmp_path_factory.mktemp(name).as_uri()
        settings = Settings(
            bootstrap=servers.kafka.bootstrap_servers, dsn=servers.postgres.dsn, warehouse=warehouse,
            namespace=name, prefix=f"{name}.",
        )  # fmt: skip
        return Pipeline(servers.kafka, servers.flink, settings)

    return make
