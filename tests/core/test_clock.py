"""Time as an argument: what waits, waits by the clock that it was given."""

from __future__ import annotations

import pytest

from principal_kit.core.clock import ManualClock, wait_until
from principal_kit.core.errors import ServiceError


def test_wait_until_polls_and_says_what_it_waited_for():
    clock, asked = ManualClock(), []
    wait_until(lambda: asked.append(1) or len(asked) == 3, "three", clock=clock, wait=clock.advance)
    assert clock() == pytest.approx(0.1)
    with pytest.raises(ServiceError, match="a thing: not within 2 s"):
        wait_until(lambda: False, "a thing", seconds=2, clock=clock, wait=clock.advance)
