"""The shop open to a pipeline while a block runs: each record is sent when its own moment comes, on a thread.

What was sent is known to the record when the block ends, so the tables can be compared with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from principal_kit.core.clock import Clock, monotonic
from principal_kit.core.errors import ServiceError
from principal_kit.platform import sender, tracing
from principal_kit.platform.shop import Shop, Workload, generate

_BEFORE_S = 30.0
"""So long the shop has been open when its first record is sent: visits are at their usual number."""
_LOT = 100
"""Records between two looks at whether the shop closes, half a second's at most; also the most that are in flight."""
_IDS = {"clicks": "c", "orders": "o", "stock_moves": "m"}  # in the order of the topics' numbers in `Workload.sent`


class _Count:
    """A `sender.Progress` that nobody needs after a crash."""

    def __init__(self, records: int) -> None:
        self.records = records

    def read(self) -> int:
        return self.records

    def write(self, records: int) -> None:
        self.records = records


class OpenShop:
    """A shop whose day goes on while a block runs: `with OpenShop(pipeline, rate=1_000) as shop: …`.

    Args:
        pipeline: where it sends to.
        rate: events a second.
        seconds: how long the day is at most; then nothing more comes.
        seed, trace_one_in: as for `Shop` and `sender.send`.
        out: a KafkaProducer; default: one that is closed with the shop.

    All its events are good, and some are sent twice. Memory: the whole day, a few hundred bytes an event. Leaving the
    block raises what sending raised.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        rate: float = 1_000.0,
        seconds: float = 120.0,
        seed: int = 0,
        trace_one_in: int = tracing.ONE_IN,
        out: Any = None,
        wall: Clock = time.time,
    ) -> None:
        self._pipeline, self._rate, self._trace_one_in, self._wall = pipeline, rate, trace_one_in, wall
        self._out, self._own = out, out is None
        opens = int(wall() * 1000)
        events = round(rate * (seconds + _BEFORE_S))
        epoch = opens - round(1000 * _BEFORE_S)
        self.work: Workload = generate(Shop(events=events, rate=rate, seed=seed, bad=0, broken=0, epoch_ms=epoch))
        self._begin = int(np.searchsorted(self.work.sent["at"], opens))
        self._position, self._closed = _Count(self._begin), threading.Event()
        self._thread = threading.Thread(target=self._send, name="open-shop", daemon=True)
        self._failure: Exception | None = None

    @property
    def sent(self) -> int:
        """Records acknowledged so far."""
        return self._position.read() - self._begin

    @property
    def newest_ms(self) -> int:
        """The moment of sending (ms since 1970) of the last record acknowledged; of the first before that."""
        return int(self.work.sent["at"].iloc[max(self._begin, self._position.read() - 1)])

    def ids(self) -> dict[str, pd.DataFrame]:
        """Table to the ids of what was sent so far, each once, as `audit.compare` wants them. O(records)."""
        part = self.work.sent.iloc[self._begin : self._position.read()]
        rows = {name: part.loc[part["topic"] == topic, "row"].drop_duplicates() for topic, name in enumerate(_IDS)}
        return {name: pd.DataFrame({"event_id": f"{_IDS[name]}-" + found.astype(str)}) for name, found in rows.items()}

    def keeps_up(self, behind: float = 3.0) -> bool:
        """Whether checkpoints hold two seconds' records, and all but the last `behind` seconds' of what was sent."""
        waiting = sum(self._pipeline.lag().values())
        return waiting < behind * self._rate and self.sent - waiting > 2 * self._rate

    def wait_until_kept_up(
        self,
        *,
        behind: float = 3.0,
        seconds: float = 45.0,
        clock: Clock = monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Return when the jobs keep up (see `keeps_up`).

        Raises ServiceError after `seconds`, and what sending raised.
        """
        deadline = clock() + seconds
        while not self.keeps_up(behind):
            if self._failure is not None:
                raise self._failure
            if clock() > deadline:
                raise ServiceError(f"the jobs do not keep up with {self._rate:g} events a second within {seconds:g} s")
            wait(0.2)

    def _send(self) -> None:
        lot = max(1, min(_LOT, round(self._rate / 2)))  # whoever leaves the block waits for the end of one
        try:
            while not self._closed.is_set() and (begin := self._position.read()) < len(self.work):
                sender.send(self.work, self._out, progress=self._position, prefix=self._pipeline.settings.prefix,
                            live=True, window=lot, stop=begin + lot, trace_one_in=self._trace_one_in,
                            wall=self._wall)  # fmt: skip
        except Exception as error:  # leaving the block raises it, on the caller's thread
            self._failure = error

    def __enter__(self) -> OpenShop:
        if self._out is None:
            self._out = sender.producer(self._pipeline.settings.bootstrap)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        if self._own:
            self._out.close()
        if self._failure is not None and kind is None:
            raise self._failure
