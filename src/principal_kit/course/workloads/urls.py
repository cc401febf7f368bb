"""A crawler's stream of URLs, fast enough for a billion: text of fixed width written digit by digit in numpy.

A page's number fixes its URL, and different numbers give different URLs. The crawl meets new pages in order of their
numbers and known ones again, mostly recent ones, so what is new and what is not is known exactly, without a set.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from principal_kit.core.errors import InvalidArgument
from principal_kit.core.hashing import check_seed, is_integer, mix64_many

MAX_PAGES = 1 << 40
_TEMPLATE = np.frombuffer(b"https://shop-0000.example/item/0000000000?ref=00", dtype=np.uint8)
_HOST, _PAGE, _REF = 13, 31, 46  # where the digits start
_SECTIONS = np.frombuffer(b"itemnewspageuser", dtype=np.uint8).reshape(4, 4)
_SECTION = 26
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_ODD = np.uint64(0x9E3779B97F4A7C15)


def urls(pages: np.ndarray) -> np.ndarray:
    """The URLs of pages by number, as an 'S48' array. O(n).

    Args:
        pages: integer array, each in [0, 2^40).

    Few hosts have most of the pages. Raises InvalidArgument on other numbers.

    >>> urls(np.array([0, 1]))[1]
    np.bytes_(b'https://shop-0391.example/user/9779b97f15?ref=54')
    """
    pages = np.asarray(pages)
    if (
        pages.dtype.kind not in "iu"
        or pages.ndim != 1
        or (pages.size and not 0 <= pages.min() <= pages.max() < MAX_PAGES)
    ):
        raise InvalidArgument("pages: expected a one-dimensional array of integers in [0, 2**40)")
    numbers = pages.astype(np.uint64)
    scrambled = numbers * _ODD & np.uint64(MAX_PAGES - 1)  # a bijection of 40 bits
    chance = mix64_many(numbers)
    text = np.empty((numbers.size, _TEMPLATE.size), dtype=np.uint8)
    text[:] = _TEMPLATE
    for digit in range(10):
        text[:, _PAGE + digit] = _HEX[(scrambled >> np.uint64(36 - 4 * digit) & np.uint64(15)).view(np.int64)]
    host = ((chance >> np.uint64(44)) ** np.uint64(2) >> np.uint64(28)).view(np.int64)  # squared: small ones are common
    for digit in range(4):
        text[:, _HOST + digit] = _HEX[host // 10 ** (3 - digit) % 10]
    text[:, _SECTION : _SECTION + 4] = _SECTIONS[(chance & np.uint64(3)).view(np.int64)]
    for digit in range(2):
        text[:, _REF + digit] = _HEX[(chance >> np.uint64(8 + 4 * digit) & np.uint64(15)).view(np.int64)]
    return text.view(f"S{_TEMPLATE.size}").ravel()


def crawl(
    urls_in_all: int, *, repeats: float = 0.3, batch: int = 1 << 17, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of a crawl's URLs, and for each URL whether it is met for the first time.

    Args:
        urls_in_all: URLs in the stream.
        repeats: chance that a URL was met before, 0 to below 1; half of these are among the last 1 % of pages.
        batch: URLs in a batch.
        seed: fixes the stream.

    Complexity: O(batch) memory whatever the length. Raises InvalidArgument on other arguments, when first advanced.
    """
    for name, value in (("urls_in_all", urls_in_all), ("batch", batch)):
        if not is_integer(value) or not 1 <= value < MAX_PAGES:
            raise InvalidArgument(f"{name}={value!r}: expected an integer in [1, 2**40)")
    if not 0 <= repeats < 1:
        raise InvalidArgument(f"repeats={repeats!r}: expected a share from 0 to below 1")
    draw, known = np.random.default_rng([check_seed(seed), 1]), 0
    for start in range(0, urls_in_all, batch):
        size = min(batch, urls_in_all - start)
        new = draw.random(size) >= repeats
        if known == 0:
            new[0] = True
        before = known + np.cumsum(new)  # pages met up to and with this URL
        known = int(before[-1])
        back = draw.random(size)
        recent = draw.random(size) < 0.5
        back = np.where(recent, 1 - back * 0.01, back) * before
        pages = np.where(new, before - 1, np.minimum(back.astype(np.int64), before - 1))
        yield urls(pages), new
