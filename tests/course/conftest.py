"""Grading has a time limit, which ends a reader's endless loop. A busy machine is none: more patience here."""

from __future__ import annotations

import pytest

from principal_kit.course.check import exercises


@pytest.fixture(scope="session", autouse=True)
def patience():
    """Eight times the seconds for every exercise of the book; the tests of the limit itself declare their own."""
    for exercise in exercises().values():
        exercise.seconds *= 8
