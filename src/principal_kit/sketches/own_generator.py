"""A sampler's own random numbers: drawn from once by the caller's generator, recognisable, and part of its bytes.

Two samplers that made the same draws keep the same places of their streams; what they drew tells them apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from principal_kit.core.codec import Reader, Writer
from principal_kit.core.errors import CorruptionError, InvalidArgument
from principal_kit.core.hashing import check_seed


def own_generator(rng: np.random.Generator | None, seed: int | None) -> tuple[np.random.Generator, int]:
    """A new PCG64 generator, and 64 bits that name its sequence of draws.

    Args:
        rng: asked once, for 192 bits; it may be shared by the samplers of a process.
        seed: instead of `rng`: the same seed, the same draws. Neither: fresh entropy.

    Raises InvalidArgument if both are given, on a bad seed, or if `rng` is no numpy Generator.
    """
    if rng is not None and seed is not None:
        raise InvalidArgument("both rng and seed are given: expected one of them")
    if rng is None:
        rng = np.random.default_rng(None if seed is None else check_seed(seed))
    if not isinstance(rng, np.random.Generator):
        raise InvalidArgument(f"rng of type {type(rng).__name__}: expected a numpy Generator, or seed=")
    *entropy, origin = rng.integers(0, 1 << 64, size=3, dtype=np.uint64).tolist()
    return np.random.Generator(np.random.PCG64(entropy)), origin


def write_state(writer: Writer, state: dict[str, Any]) -> None:
    """Append the state of a PCG64 generator, 37 bytes."""
    for word in (state["state"]["state"], state["state"]["inc"]):
        writer.pack("QQ", word & ((1 << 64) - 1), word >> 64)
    writer.pack("BI", state["has_uint32"], state["uinteger"])


def read_generator(reader: Reader) -> np.random.Generator:
    """The generator whose state `write_state` wrote. Raises CorruptionError."""
    low, high, inc_low, inc_high, has_uint32, uinteger = reader.unpack("QQQQBI")
    if has_uint32 > 1 or not inc_low & 1:
        raise CorruptionError("no state of a PCG64 generator")
    bits = np.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)


def joined_origins(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The origins of two samples together, sorted. Raises InvalidArgument if they share one."""
    joined = np.sort(np.concatenate([mine, theirs]))
    if (joined[1:] == joined[:-1]).any():
        raise InvalidArgument(
            "both samples hold draws of the same generator: give each stream its own (rng.spawn), and merge it once"
        )
    return joined
