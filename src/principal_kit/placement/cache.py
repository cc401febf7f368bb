"""A read-through cache over many Redis processes that loses and regains nodes without ever serving an outdated value.

The rule that makes it safe: an entry counts only if its node has owned the key without a break since the entry was
written. Every change of membership makes a new numbered view, and an entry carries the number of its view. A node
that was away may come back full of old values: none of them passes the rule, so nothing has to be flushed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import Key
from principal_kit.placement.interface import Placement

VALUE_BYTES_MAX = 1 << 20  # the least that Redis's limit on one string (proto-max-bulk-len) can be configured to
KEY_BYTES_MAX = 1 << 16
TTL_SECONDS_MAX = 10 * 365 * 86_400

# Keep the newer version: a slow reader that read the store before a write must not overwrite what the write put here.
_FILL = """
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
  local version = string.match(held, '^%d+ (%d+) ')
  if version and tonumber(version) > tonumber(ARGV[2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
return 1
"""
_ENTRY = re.compile(rb"([1-9]\d{0,18}) \d{1,19} (.*)", re.DOTALL)  # view, version, value
_NO_VIEW = 0  # stamp of an entry that is never read as a value: it only keeps older versions out

# What says that the node cannot serve. Any other reply is about one command, and no reason to do without the node.
_NODE_FAILED = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    redis.InvalidResponse,
)


class Store(Protocol):
    """The system of record behind the cache. Versions of one key grow with every write, below 2^53."""

    def read_many(self, keys: Sequence[str]) -> list[tuple[int, bytes] | None]:
        """(version, value) per key, None where there is none."""
        ...

    def write(self, key: str, value: bytes) -> int:
        """Store the value and return its version."""
        ...


class Endpoint(Protocol):
    """Where a node listens; `services.redis_nodes` returns such."""

    name: str
    host: str
    port: int


class MemoryStore:
    """A dictionary as the system of record, which counts what is asked of it."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, bytes]] = {}
        self.reads = 0

    def read_many(self, keys: Sequence[str]) -> list[tuple[int, bytes] | None]:
        """(version, value) per key. O(keys)."""
        self.reads += len(keys)
        return [self._rows.get(key) for key in keys]

    def write(self, key: str, value: bytes) -> int:
        """Store the value under the next version of its key. O(1)."""
        version = self._rows.get(key, (0, b""))[0] + 1
        self._rows[key] = (version, value)
        return version


# ── the core: no I/O ─────────────────────────────────────────────────────────────────────────────
class Ownership:
    """Who owns a key now, and whether that has been so without a break since some earlier view.

    Args:
        placement: the first view's members and algorithm; copied.
        history: views remembered, >= 1. A stamp older than that is treated as broken: safe, at the cost of a miss.

    Complexity: O(lookup) for `owner`; `unbroken` O(lookup * views since the stamp), one lookup where nothing changed.

    >>> from principal_kit.placement import HashRing
    >>> views = Ownership(HashRing(["a", "b"]))
    >>> owner = views.owner("key"); stamp = views.version
    >>> views.leave(owner); views.join(owner)
    >>> views.owner("key") == owner, views.unbroken("key", owner, stamp)
    (True, False)
    """

    def __init__(self, placement: Placement, *, history: int = 64) -> None:
        if isinstance(history, bool) or not isinstance(history, int) or history < 1:
            raise InvalidArgument(f"history={history!r}: expected an integer >= 1")
        self._history = history
        self._views: tuple[tuple[int, Placement | None], ...] = ((1, placement.copy()),)
        self._template = placement.copy()  # what an empty cluster starts from again

    @property
    def version(self) -> int:
        """Number of the current view. O(1)."""
        return self._views[-1][0]

    @property
    def members(self) -> tuple[str, ...]:
        """Nodes of the current view. O(1)."""
        placement = self._views[-1][1]
        return placement.nodes if placement else ()

    @property
    def placement(self) -> Placement | None:
        """The current view's placement, or None while no node is left. Treat it as read-only. O(1)."""
        return self._views[-1][1]

    def owner(self, key: Key) -> str | None:
        """Owner of `key` in the current view, None while no node is left."""
        placement = self._views[-1][1]
        return placement.node_for(key) if placement else None

    def unbroken(self, key: Key, node: str, since: int) -> bool:
        """True if `node` owned `key` in every view from number `since` to now; False for a view not remembered."""
        views = self._views
        if not views[0][0] <= since <= views[-1][0]:
            return False
        return all(p is not None and p.node_for(key) == node for number, p in reversed(views) if number >= since)

    def leave(self, node: str) -> None:
        """Make a view without `node`. Raises InvalidArgument if it is not a member."""
        current = self.placement
        if current is None or node not in current:
            raise InvalidArgument(f"unknown node {node!r}; members: {', '.join(self.members) or 'none'}")
        if len(current) == 1:
            self._template = current
            self._append(None)
            return
        following = current.copy()
        following.remove_node(node)
        self._append(following)

    def join(self, node: str, weight: float = 1.0) -> None:
        """Make a view with `node`. Raises InvalidArgument if it is a member already or the weight is bad."""
        following = (self.placement or self._template).copy()
        if self.placement is not None:
            following.add_node(node, weight)
        else:  # the first node back: grow by it, then drop the ghost the template was kept alive by
            ghost = following.nodes[0]
            if ghost != node:
                following.add_node(node, weight)
                following.remove_node(ghost)
        self._append(following)

    def _append(self, placement: Placement | None) -> None:
        self._views = (*self._views, (self.version + 1, placement))[-self._history :]


# ── the driver ───────────────────────────────────────────────────────────────────────────────────
class NodeRestarted(redis.ConnectionError):
    """The process behind an address is not the one that joined: what it holds now is unknown."""


class CacheObserver:
    """Hooks for metrics and logs; override what you need."""

    def on_join(self, node: str, version: int) -> None:
        """`node` is a member from view `version` on."""

    def on_leave(self, node: str, version: int, reason: str) -> None:
        """`node` is no member from view `version` on."""


@dataclass
class CacheStats:
    """Counters since the cache was made: `hits + misses` = keys asked for; a `fenced` miss had an entry, refused."""

    hits: int = 0
    misses: int = 0
    fenced: int = 0
    failures: int = 0


class DistributedCache:
    """Read-through, write-through cache over Redis nodes, placed by any `Placement`.

    A node that does not answer within `timeout` leaves the view at once and its keys go to the next owner; it returns
    only through `join` or `probe`. A write is acknowledged when the key's owner holds it, or holds a mark that fences
    the key, or has left the view: in each case no later read can find the value before it.

    What it leaves out: clients must share one sequence of views (a configuration store would publish it). Two clients
    with different views, a writer that dies between the store and the cache, or a reader that stalls before its fill
    until the newer entry has been evicted, can each leave an outdated entry for at most `ttl`.

    Args:
        endpoints: the nodes, each with `.name`, `.host`, `.port`; at least one.
        placement: algorithm whose members are exactly the endpoints' names; one that lets any of them leave, so no
            JumpHash.
        store: the system of record.
        ttl: seconds an entry lives, > 0 and at most ten years.
        timeout: seconds to wait for a node, > 0.
        fence: False drops the rule of unbroken ownership and accepts whatever a node holds; for demonstrations.
        observer: told about every change of view.

    Raises InvalidArgument on bad arguments; a dead Redis is never an error of `get`, only a miss.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        placement: Placement,
        store: Store,
        *,
        ttl: float = 3600.0,
        timeout: float = 0.5,
        fence: bool = True,
        observer: CacheObserver | None = None,
    ) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        _check_any_may_leave(placement)
        if set(self._endpoints) != set(placement.nodes):
            raise InvalidArgument(f"endpoints {sorted(self._endpoints)} but placement nodes {sorted(placement.nodes)}")
        if not 0 < ttl <= TTL_SECONDS_MAX or not 0 < timeout < float("inf"):
            raise InvalidArgument(f"ttl={ttl!r}, timeout={timeout!r}: expected seconds > 0, ttl <= {TTL_SECONDS_MAX}")
        self._store, self._ttl_ms, self._timeout, self._fence = store, max(1, round(ttl * 1000)), timeout, fence
        self._observer = observer or CacheObserver()
        self._ownership = Ownership(placement)
        self._namespace = uuid.uuid4().hex[:12]  # view numbers mean nothing to another cache's history
        self._incarnations: dict[str, bytes] = {}
        self._clients: dict[str, redis.Redis] = {}
        self._weights = placement.weights
        self._dismissed: set[str] = set()  # nodes somebody asked to leave: `probe` does not bring them back
        self._lock = RLock()
        self.stats = CacheStats()

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the nodes in the current view. O(1)."""
        return self._ownership.members

    @property
    def placement(self) -> Placement | None:
        """The current view's placement, None while every node is away. Treat it as read-only. O(1)."""
        return self._ownership.placement

    # ── reads and writes ─────────────────────────────────────────────────────────────────────────
    def get(self, key: str) -> bytes | None:
        """The value of `key`, from its owner or else from the store; None if the store has none."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values of many keys with one round trip per node, plus one each to the store and back for the misses.

        Raises InvalidArgument if a key is not text of at most KEY_BYTES_MAX in UTF-8, before anything is asked.
        """
        _check_keys(keys)
        found: dict[str, bytes | None] = {}
        asked = list(dict.fromkeys(keys))
        while asked and self.members:  # each round either finishes or loses a node, so it ends
            asked = self._read_nodes(asked, found)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            view = self._ownership.version  # before the read: what changes after it breaks the stamp
            rows = self._store.read_many(missing)
            self._fill(missing, rows, view)
            found.update((key, row[1] if row else None) for key, row in zip(missing, rows))
        absent = set(missing)
        misses = sum(key in absent for key in keys)
        self.stats.misses += misses
        self.stats.hits += len(keys) - misses
        return [found[key] for key in keys]

    def put(self, key: str, value: bytes) -> int:
        """Write to the store, then to the key's owner; returns the version once no reader can see the old value.

        Raises InvalidArgument, before anything is written, unless the key is text of at most KEY_BYTES_MAX in UTF-8
        and the value is bytes of at most VALUE_BYTES_MAX: no node is ever blamed for what a caller passed.
        """
        _check_keys([key])
        if not _cacheable(value):
            got = f"{len(value):,} bytes" if isinstance(value, bytes) else type(value).__name__
            raise InvalidArgument(f"a value is bytes, at most {VALUE_BYTES_MAX:,}; got {got}")
        view = self._ownership.version
        version = self._store.write(key, value)
        while not self._fill([key], [(version, value)], view):
            view = self._ownership.version
        return version

    def _read_nodes(self, keys: list[str], found: dict[str, bytes | None]) -> list[str]:
        """Ask each owner for its keys; add the valid entries to `found`; return the keys whose owner just failed."""
        again: list[str] = []
        for node, share in self._grouped(keys).items():
            client = self._client(node)
            try:
                entries = client.mget([self._name(key) for key in share])
            except _NODE_FAILED as error:  # dead, frozen, restarted or full: it leaves the view
                self._lost(node, client, error)
                again += share
                continue
            except redis.ResponseError:  # it answers, but not this: misses
                continue
            for key, entry in zip(share, entries):
                if entry is None:
                    continue
                parsed = _ENTRY.fullmatch(entry)
                if parsed is None or (self._fence and not self._ownership.unbroken(key, node, int(parsed[1]))):
                    self.stats.fenced += 1  # outdated, or not written by us: never read as a value
                else:
                    found[key] = parsed[2]
        return again

    def _fill(self, keys: list[str], rows: list[tuple[int, bytes] | None], view: int) -> bool:
        """Put rows where they belong, stamped with `view`; False if a node was lost on the way."""
        complete = True
        row_of = dict(zip(keys, rows))
        for node, share in self._grouped([key for key in keys if row_of[key] and _cacheable(row_of[key][1])]).items():
            client = self._client(node)
            try:
                try:
                    self._send(client, [(key, view, *row_of[key]) for key in share])
                except redis.ResponseError as error:
                    if isinstance(error, _NODE_FAILED):
                        raise
                    self._send(client, [(key, _NO_VIEW, row_of[key][0], b"") for key in share])  # fence what it holds
            except (*_NODE_FAILED, redis.ResponseError) as error:  # it leaves the view, with what it may still hold
                self._lost(node, client, error)
                complete = False
        return complete

    def _send(self, client: redis.Redis, entries: list[tuple[str, int, int, bytes]]) -> None:
        pipeline = client.pipeline(transaction=False)
        for key, view, version, value in entries:
            pipeline.eval(_FILL, 1, self._name(key), view, version, value, self._ttl_ms)
        pipeline.execute()

    def _grouped(self, keys: list[str]) -> dict[str, list[str]]:
        placement = self._ownership.placement
        groups: dict[str, list[str]] = {}
        if placement is not None and keys:
            for key, index in zip(keys, placement.nodes_for_many(keys).tolist()):
                groups.setdefault(placement.nodes[index], []).append(key)
        return groups

    def _name(self, key: str) -> str:
        return f"{self._namespace}:{key}"

    # ── membership ───────────────────────────────────────────────────────────────────────────────
    def join(self, endpoint: Endpoint, weight: float = 1.0) -> None:
        """Let a node join, or rejoin with whatever it still holds. Raises InvalidArgument if it is a member already."""
        with self._lock:
            self._ownership.join(endpoint.name, weight)
            self._forget(endpoint.name)
            self._endpoints[endpoint.name], self._weights[endpoint.name] = endpoint, weight
            self._dismissed.discard(endpoint.name)
            self._observer.on_join(endpoint.name, self._ownership.version)

    def leave(self, node: str, reason: str = "asked to") -> None:
        """Take a node out of the view until somebody lets it `join`. Raises InvalidArgument if it is not a member."""
        with self._lock:
            self._drop(node, reason)
            self._dismissed.add(node)

    def probe(self) -> list[str]:
        """Ping the nodes that were lost, let those that answer rejoin, return their names. For a timer.

        A node that was told to `leave` stays out.
        """
        back = []
        for name, endpoint in list(self._endpoints.items()):
            if name in self.members or name in self._dismissed:
                continue
            try:
                with self._connect(endpoint, check=False) as client:
                    client.ping()
            except redis.RedisError:
                continue
            with self._lock:
                if name in self.members or name in self._dismissed:  # decided by somebody else during the ping
                    continue
                self.join(endpoint, self._weights[name])
            back.append(name)
        return back

    def close(self) -> None:
        """Close every connection; the nodes keep what they hold."""
        for name in list(self._clients):
            self._forget(name)

    def __enter__(self) -> DistributedCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lost(self, node: str, client: redis.Redis, error: Exception) -> None:
        with self._lock:
            # another thread may have noticed first, and the node may even be back under a new client
            if node in self.members and self._clients.get(node) is client:
                self.stats.failures += 1
                self._drop(node, f"{type(error).__name__}: {error}")

    def _drop(self, node: str, reason: str) -> None:
        self._ownership.leave(node)
        self._forget(node)
        self._observer.on_leave(node, self._ownership.version, reason)

    def _forget(self, node: str) -> None:
        self._incarnations.pop(node, None)
        if client := self._clients.pop(node, None):
            client.connection_pool.disconnect(inuse_connections=False)  # another thread's call ends by itself

    def _client(self, node: str) -> redis.Redis:
        with self._lock:
            if node not in self._clients:
                self._clients[node] = self._connect(self._endpoints[node], check=self._fence)
            return self._clients[node]

    def _connect(self, endpoint: Endpoint, *, check: bool) -> redis.Redis:
        def verify(connection: redis.connection.Connection) -> None:
            """A restarted process has another run_id: refuse to go on with it as if nothing had happened."""
            connection.on_connect()
            connection.send_command("INFO", "server")
            fields = dict(line.split(b":", 1) for line in connection.read_response().splitlines() if b":" in line)
            known = self._incarnations.setdefault(endpoint.name, fields[b"run_id"])
            if known != fields[b"run_id"]:
                raise NodeRestarted(f"{endpoint.name} restarted since it joined")

        return redis.Redis(
            host=endpoint.host,
            port=endpoint.port,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=Retry(NoBackoff(), 0),  # a retry would hide the very failure the view must react to
            redis_connect_func=verify if check else None,
            protocol=2,
        )


def _check_any_may_leave(placement: Placement) -> None:
    """Any node can die, so any node must be able to leave. Raises InvalidArgument for a placement that forbids it."""
    for node in placement.nodes[:-1]:
        try:
            placement.copy().remove_node(node)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"{type(placement).__name__} cannot place a cache whose nodes die: {error}"
            ) from error


def _cacheable(value: object) -> bool:
    """Whether a value is one that a node holds."""
    return isinstance(value, bytes) and len(value) <= VALUE_BYTES_MAX


def _check_keys(keys: Sequence[str]) -> None:
    for key in keys:
        if not isinstance(key, str):
            raise InvalidArgument(f"cache key {key!r} of type {type(key).__name__}: expected str")
        try:
            size = len(key) if key.isascii() else len(key.encode())
        except UnicodeEncodeError:
            raise InvalidArgument(f"cache key {key!r} has no UTF-8 form (it holds a lone surrogate)") from None
        if size > KEY_BYTES_MAX:
            raise InvalidArgument(f"cache key {key[:20]!r}… of {size:,} bytes: at most {KEY_BYTES_MAX:,} fit")
