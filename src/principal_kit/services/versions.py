"""Which versions the book runs on, stated once.

Read by the embedded servers, `doctor`, the jar cache, and the tests of pom.xml, pyproject.toml and the compose file.
"""

from __future__ import annotations

from principal_kit.core.errors import InvalidArgument

WANTED = {"python": "3.11", "java": "17", "kafka": "4.3.1", "spark": "4.1.1", "redis": "7.0", "flink": "2.1.3",
          "ecj": "3.40.0", "postgres": "15", "connect": "4.3.1", "debezium": "3.6.1.Final",
          "trino": "476"}  # fmt: skip

# What an endpoint somebody else runs may be. Kafka: brokers this book's client speaks to in full; Redis: Lua and TIME
# semantics (effects replication) the limiters rely on; Spark: the Connect client is compatible within a major line;
# Flink: the SQL gateway's REST API and names of options since 2.0. Embedded it is 2.1, the newest line that has both an
# Iceberg runtime and a Kafka connector on Maven Central (2.2 and 2.3 lack the former). Connect: pausing, stopping and
# offsets over REST, exactly-once sources; Debezium 3 wants Java 17 and is the connector that it runs.
SUPPORTED = {"kafka": ("4.",), "redis": ("7.", "8."), "spark": ("4.",), "flink": ("2.",),
             "postgres": ("14.", "15.", "16.", "17.", "18."), "connect": ("4.",), "trino": ("4",)}  # fmt: skip


def check_version(service: str, version: str) -> str:
    """Return `version` if this book can run on it. O(1). Raises InvalidArgument naming the known lines otherwise."""
    known = SUPPORTED[service]
    if not str(version).startswith(known):
        lines = ", ".join(f"{k}x" for k in known)
        raise InvalidArgument(
            f"{service} version {version!r} is unknown to this book; known: {lines} (tested with {WANTED[service]})"
        )
    return version


def check_embedded(service: str, version: str) -> str:
    """Return `version` if the kit can start it itself. O(1). Raises InvalidArgument naming the one it can.

    >>> check_embedded("kafka", "4.3.1")
    '4.3.1'
    """
    if service not in SUPPORTED:
        raise InvalidArgument(f"service {service!r} is unknown; known: {', '.join(sorted(SUPPORTED))}")
    wanted = WANTED[service]
    if version != wanted and not (service == "redis" and str(version).startswith(SUPPORTED["redis"])):
        known = "7.x, 8.x (whichever redis-server is installed)" if service == "redis" else wanted
        raise InvalidArgument(f"{service} version {version!r} cannot be started embedded; known: {known}")
    return version
