"""Request latencies: what a service's look like, in which order they may arrive, and an adversary of t-digests.

Times are milliseconds. Nobody's production data: a body, a slow path and rare timeouts, with fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from principal_kit.core.codec import Writer, seal, unseal
from principal_kit.core.errors import InvalidArgument

LAWS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "lognormal": lambda draw, n: draw.lognormal(3.0, 1.0, n),
    "Pareto": lambda draw, n: draw.pareto(1.5, n) + 1.0,
}
"""Two shapes of latency: a median of 20 with a mild tail, and a tail so heavy that the variance is infinite."""

ORDERS = ("shuffled", "ascending", "descending", "zigzag", "clustered")


def sample(law: str, count: int, *, seed: int) -> np.ndarray:
    """`count` independent values of a law in `LAWS`, float64. O(count). Raises InvalidArgument on another law."""
    if law not in LAWS:
        raise InvalidArgument(f"law={law!r}: expected one of {list(LAWS)}")
    return LAWS[law](np.random.default_rng(seed), count)


def arranged(values: np.ndarray, order: str) -> np.ndarray:
    """The same values in another order of arrival, as a new array. O(n log n).

    "zigzag": least, greatest, second least, …; "clustered": every second of 20 ranges first, the others between them
    later. Raises InvalidArgument on an order that is not in `ORDERS`.
    """
    if order not in ORDERS:
        raise InvalidArgument(f"order={order!r}: expected one of {ORDERS}")
    if order == "shuffled":
        return np.random.default_rng(len(values)).permutation(values)
    rising = np.sort(values)
    if order == "ascending":
        return rising
    if order == "descending":
        return rising[::-1].copy()
    if order == "clustered":
        ranges = np.array_split(rising, 20)
        return np.concatenate(ranges[::2] + ranges[1::2])
    both = np.empty_like(rising)
    half = (len(rising) + 1) // 2
    both[::2], both[1::2] = rising[:half], rising[half:][::-1]
    return both


def requests(count: int, *, seed: int, slow: float = 0.02, factor: float = 1.0) -> np.ndarray:
    """Latencies of one server in ms: 20 ms in the middle, a `slow` share on a path of 300 ms, 1 in 2,000 timing out.

    Args:
        count: number of requests.
        seed: fixes them.
        slow: share of requests on the slow path, in [0, 1].
        factor: slows every request but the timeouts.

    O(count). Raises InvalidArgument on a share outside [0, 1] or a factor that is not positive.
    """
    if not (0 <= slow <= 1 and factor > 0):
        raise InvalidArgument(f"slow={slow!r}, factor={factor!r}: expected in [0, 1] and > 0")
    draw = np.random.default_rng(seed)
    took = 20.0 * draw.lognormal(0.0, 0.4, count)
    detour = draw.random(count)
    on_slow_path = np.flatnonzero(detour < slow)
    took[on_slow_path] = 300.0 * draw.lognormal(0.0, 0.5, on_slow_path.size)
    took *= factor
    took[detour > 1 - 1 / 2000] = 2000.0
    return took


class LatencyRecord(NamedTuple):
    """What a server reports for a stretch of time: when it began (ms of event time), and its latencies (ms)."""

    server: int
    began: int
    latencies: np.ndarray

    def to_bytes(self) -> bytes:
        """A checked frame with the latencies as float32. O(n)."""
        return seal(b"LATR", 1, Writer().pack("Iq", self.server, self.began).array(self.latencies).payload())

    @classmethod
    def from_bytes(cls, data: bytes) -> LatencyRecord:
        """The record in `data`. O(n). Raises CorruptionError on anything but an unchanged frame."""
        reader = unseal(b"LATR", 1, data)
        server, began = reader.unpack("Iq")
        record = cls(server, began, reader.array(np.float32))
        reader.end()
        return record


def latency_records(
    *, minutes: int, per_second: int, per_record: int, servers: int, seed: int, incident: int | None = None
) -> Iterator[LatencyRecord]:
    """Traffic of a fleet in order of event time: servers take turns reporting `per_record` latencies each.

    Args:
        minutes: length in event time, from 0 on.
        per_second: requests per second of the whole fleet.
        per_record: requests in a record; it spans per_record / per_second of a second of event time.
        servers: they take turns.
        seed: fixes the traffic.
        incident: the minute in which a tenth of requests takes the slow path, None for a quiet day.

    Raises InvalidArgument on sizes below 1 or if a minute does not hold a whole number of records.
    """
    if min(minutes, per_second, per_record, servers) < 1 or 60 * per_second % per_record:
        raise InvalidArgument(f"{per_record} requests a record, {per_second} a second: no whole number a minute")
    per_minute = 60 * per_second // per_record
    for minute in range(minutes):
        slow = 0.1 if minute == incident else 0.02
        took = requests(60 * per_second, seed=seed + minute, slow=slow).astype(np.float32)
        for n, part in enumerate(took.reshape(per_minute, per_record)):
            yield LatencyRecord(n % servers, 60_000 * minute + 60_000 * n // per_minute, part)


def hostile_blocks(believed: Callable[[], float], *, rounds: int = 100, block: int = 4000) -> Iterator[np.ndarray]:
    """Values around zero that make a t-digest misplace zero, in blocks; each is to be added before the next is drawn.

    Every block has a negative and a positive value, ten times nearer to zero than the block before. The centroid that
    straddles zero swallows both and ends up negative, so the positive ones in it now count as negative; the next block
    fits between it and zero. `believed` is asked what share the digest holds to be negative, and the block is mixed so
    that the straddling cell is always the one at the median.

    Args:
        believed: the digest's present answer, `lambda: digest.cdf(0.0)`.
        rounds: at most 300, or the values would underflow.
        block: values per round, more than the digest buffers.

    Source: the idea of Cormode, Mishra, Ross and Veselý, "Theory meets Practice at the Median", KDD 2021, aimed at
    cells that are fixed in q.
    """
    if not (1 <= rounds <= 300 and block >= 1):
        raise InvalidArgument(f"rounds={rounds!r}, block={block!r}: expected 1 to 300 and >= 1")
    seen = 0
    for n in range(rounds):
        negative = believed() * seen if seen else 0.0
        below = int(np.clip(0.5026 * (seen + block) - negative, 0, block))
        seen += block
        yield np.repeat([-(10.0**-n), 0.1 * 10.0**-n], [below, block - below])
