"""Many real processes against one limit, and a record of what they were let do.

`hammer` asks a shared limiter as fast as it can; `hammer_leases` does so through leases, where single admissions are
too many to record and are counted in short slices instead. The traces go to `required_burst` and `most_in_window`,
which judge them.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from principal_kit.core.errors import ServiceError
from principal_kit.ratelimit.decision import positive_count

_PATIENCE = 60.0  # seconds for all processes together
_SLICE = 256  # decisions between two readings of the clock


class Trace(NamedTuple):
    """What a fleet was let do.

    Attributes:
        times: seconds, shape (m,): by Redis's clock for `hammer`, by this machine's monotonic clock for
            `hammer_leases`.
        counts: admissions at each time, shape (m,).
        decisions: requests decided, admitted or not.
        seconds: from the first decision of any process to the last.
    """

    times: NDArray[np.float64]
    counts: NDArray[np.int64]
    decisions: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Decisions a second of the whole fleet."""
        return self.decisions / self.seconds


def hammer(make: Callable, url: str, *, processes: int, calls: int) -> Trace:
    """Let `processes` processes each ask `make(client)` `calls` times, at once.

    Args:
        make: picklable (a `functools.partial` of a class will do); returns something with `grant()`.
        url: redis:// of the shared server.

    Raises ServiceError if a process does not finish within a minute.
    """
    return _run(_ask, (make, url, positive_count("calls", calls)), positive_count("processes", processes))


def hammer_leases(
    make: Callable,
    url: str,
    batch: int,
    *,
    processes: int,
    seconds: float,
    ttl: float = 1.0,
    at_once: bool = False,
) -> Trace:
    """Let processes spend leases of `batch` tokens from `make(client)`, a RedisTokenBucket, for `seconds`.

    With `at_once`, 256 requests are decided by one `acquire_many`, otherwise by 256 calls. Times are known to such a
    slice, and stamped at its end. Raises ServiceError as `hammer`.
    """
    return _run(_spend, (make, url, batch, ttl, seconds, at_once), positive_count("processes", processes))


def _run(work: Callable, arguments: tuple, processes: int) -> Trace:
    # A plain fork would share the parent's sockets and threads; the fork server is a clean process that has paid for
    # the imports once, and it ends with its parent.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["principal_kit.ratelimit.hammer", "principal_kit.ratelimit.lease"])
    ready, results = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=work, args=(*arguments, ready, results), daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        parts = [results.get(timeout=_PATIENCE) for _ in workers]
    except Exception as error:
        raise ServiceError(f"a worker gave no result within {_PATIENCE:.0f} s: {error!r}") from error
    finally:
        for worker in workers:
            worker.join(1)
            worker.kill()
    times, counts, decisions, starts, ends = zip(*parts)
    return Trace(np.concatenate(times), np.concatenate(counts), sum(decisions), max(ends) - min(starts))


def _ask(make: Callable, url: str, calls: int, ready: object, results: object) -> None:
    from principal_kit.ratelimit.redis import connect

    limiter = make(connect(url, timeout=5))
    ready.wait(_PATIENCE)
    start = time.monotonic()
    grants = [limiter.grant() for _ in range(calls)]
    end = time.monotonic()
    times = np.array([grant.at for grant in grants if grant.granted])
    results.put((times, np.ones(times.size, dtype=np.int64), calls, start, end))


def _spend(
    make: Callable, url: str, batch: int, ttl: float, seconds: float, at_once: bool, ready: object, results: object
) -> None:
    from principal_kit.ratelimit.lease import LeasedLimiter
    from principal_kit.ratelimit.redis import connect

    leased = LeasedLimiter(make(connect(url, timeout=5)), batch, ttl=ttl)
    acquire, acquire_many = leased.acquire, leased.acquire_many
    times, counts = [], []
    ready.wait(_PATIENCE)
    start = now = time.monotonic()
    while now < start + seconds:
        if at_once:
            admitted = acquire_many(_SLICE)
        else:
            admitted = 0
            for _ in range(_SLICE):
                admitted += acquire()[0]  # .allowed, without the cost of a name
        now = time.monotonic()
        times.append(now)
        counts.append(admitted)
    results.put((np.array(times), np.array(counts, dtype=np.int64), len(times) * _SLICE, start, now))
