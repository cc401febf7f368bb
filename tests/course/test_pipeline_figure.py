"""The pipeline's own figure: every part once, the largest first, and a title that says what was found."""

import pytest

from principal_kit.core.errors import CorruptionError
from principal_kit.course import pipeline_figure as module


def row(group, name, value):
    return {"group": group, "name": name, "unit": "µs", "value": value, "limit": None, "met": None, "peers": {}}


REPORT = {
    "topic": "pipeline",
    "bounds": [
        row("CPU for an event, at 20,000/s", "TaskManager", 30.0), row("CPU for an event, at 20,000/s", "Kafka", 9.0),
        row("CPU for an event, at 20,000/s", "PostgreSQL", 0.2),
        row("the TaskManager's threads, at 20,000/s", "parsing", 12.0),
        row("the TaskManager's threads, at 20,000/s", "first copies", 18.0), row("batch", "Spark", 5.0),
    ],
}  # fmt: skip


def test_the_task_manager_is_told_by_its_threads_and_the_others_as_a_whole():
    at, found = module.shares(REPORT)
    assert at == "at 20,000/s"
    assert found == [
        ("the TaskManager", "first copies", 18.0),
        ("the TaskManager", "parsing", 12.0),
        ("Kafka", "Kafka", 9.0),
    ]


def test_the_title_is_the_finding_and_the_alt_text_has_every_bar():
    assert module.finding(REPORT) == "An event costs 39 µs of CPU at 20,000/s; 77% of it is the TaskManager's"
    assert all(part in module.alt(REPORT) for part in ("first copies 18.0", "parsing 12.0", "Kafka 9.0"))


def test_the_figure_has_a_bar_for_each():
    [axes] = module.draw(REPORT).axes
    assert sorted(bar.get_width() for bar in axes.patches) == [9.0, 12.0, 18.0]


def test_a_report_without_its_rows_is_refused():
    with pytest.raises(CorruptionError, match="threads"):
        module.shares({"topic": "pipeline", "bounds": REPORT["bounds"][:3]})
