"""Every example in a docstring runs."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["cdc", "connectors", "contract", "topics", "tracing"])
def test_examples(name):
    found = doctest.testmod(importlib.import_module(f"principal_kit.platform.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
