"""The examples in the docstrings are true."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "core.clock", "core.hashing", "placement.balance", "placement.cache", "placement.hot_keys", "placement.jump",
        "placement.maglev", "placement.modulo", "placement.rendezvous", "placement.ring",
    ],
)  # fmt: skip
def test_examples(module):
    result = doctest.testmod(importlib.import_module(f"principal_kit.{module}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
