"""The Benchmarks page says what was recorded, misses included."""

import copy
import doctest
import json
import re

import pytest
from click.testing import CliRunner

from principal_kit.core.errors import CorruptionError, KitError
from principal_kit.course import benchmarks, project
from principal_kit.course.cli import main

ROOT = project.root()
REPORT = {
    "topic": "demo", "title": "Demo", "date": "2026-01-02", "rounds": 5, "sizes": {"keys": 1_000_000}, "load": 0.5,
    "machine": {"processor": "P", "cores": "2 cores", "memory": "8 GiB", "system": "Linux",
                "Python": "3.11", "rbloom": "1.5"},
    "races": [
        {"group": "Bloom", "name": "add", "unit": "keys", "count": 1_000_000, "seconds": 0.02, "peers": [
            {"name": "rbloom", "seconds": 0.05, "ratio": 2.5, "low": 2.0, "high": 3.0, "wanted": 2.0, "met": True},
            {"name": "other", "seconds": 0.01, "ratio": 0.5, "low": 0.4, "high": 0.6, "wanted": None, "met": None},
        ]},
        {"group": "Sort", "name": "2 GB", "unit": "files", "count": 1, "seconds": 14.5, "peers": [
            {"name": "GNU sort", "seconds": 17.4, "ratio": 1.2, "low": 1.1, "high": 1.3, "wanted": 1.25, "met": False},
        ]},
    ],
    "bounds": [
        {"group": "Sort", "name": "memory", "unit": "MiB", "value": 240.0, "limit": 320, "met": True,
         "peers": {"polars": 3000.0}},
        {"group": "Sort", "name": "file copy", "unit": "s", "value": 3.2, "limit": None, "met": None, "peers": {}},
        {"group": "Bloom", "name": "missing keys", "unit": "%", "value": 0.0, "limit": 1, "met": True, "peers": {}},
    ],
}  # fmt: skip
PAGE = """# B
% begin summary (x)
old
% end summary
prose
% begin figure
% end figure
% begin topics
% end topics
"""


def test_each_bar_is_there_with_ours_the_peer_ratio_and_what_was_wanted():
    page = benchmarks.render(PAGE, [REPORT])
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert "| **Bloom** | Ours | Peer | Ratio (spread) | Wanted |" in rows
    assert "| add | 50 M keys/s | rbloom 20 M keys/s | 2.50 × (2.00 – 3.00) | ≥ 2 × met |" in rows
    assert "| 2 GB | 14.5 s | GNU sort 17.4 s | 1.20 × (1.10 – 1.30) | ≥ 1.25 × **missed** |" in rows
    assert "| **Sort** | Ours | Wanted | polars |" in rows
    assert "| memory | 240 MiB | ≤ 320 MiB met | 3 k |" in rows
    judged, rest = page.split(":::{dropdown} Measured without a bar")
    assert "| add | 50 M keys/s | other 100 M keys/s | 0.50 × (0.40 – 0.60) |" in rest
    assert "| file copy | 3.2 s |" in rest
    assert "other" not in judged
    assert "5 rounds, keys 1,000,000, on P, 2 cores, 8 GiB, Linux, with a load of 0.5" in page
    assert "Python 3.11, rbloom 1.5." in page


def test_misses_are_named_first():
    page = benchmarks.render(PAGE, [REPORT])
    assert "**3 of 4 bars are met, 1 missed.**\n\nMissed:\n\n- Sort: 2 GB, against GNU sort: 1.20 ×" in page
    assert "Nothing is recorded yet" in benchmarks.render(PAGE, [])


def test_prose_stays_and_a_second_writing_changes_nothing():
    page = benchmarks.render(PAGE, [REPORT])
    assert page.startswith("# B\n% begin summary (x)\n")
    assert "\nprose\n" in page
    assert "old" not in page
    assert benchmarks.render(page, [REPORT]) == page


@pytest.mark.parametrize("part", ["summary", "figure", "topics"])
def test_a_page_without_a_place_for_a_part_is_refused(part):
    with pytest.raises(KitError, match="needs a '% begin NAME'"):
        benchmarks.render(PAGE.replace(f"% end {part}\n", ""), [REPORT])


def test_margins_say_how_far_from_the_bar():
    margins = [round(bar.margin, 3) for bar in benchmarks.bars([REPORT])]
    assert margins == [1.25, 0.96, 1.333, 100.0]


def test_the_figure_has_a_dot_for_each_bar_and_its_title_is_the_finding():
    rows = benchmarks.bars([REPORT])
    figure = benchmarks.draw(rows)
    axes = figure.axes[0]
    dots = {c.get_label(): len(c.get_offsets()) for c in axes.collections if not c.get_label().startswith("_")}
    assert dots == {"met": 3, "missed": 1}
    assert figure.get_suptitle() == benchmarks.finding(rows)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "Bloom", "add  (rbloom)", "missing keys  (a limit)", "Sort", "2 GB  (GNU sort)", "memory  (a limit)",
    ]  # fmt: skip


def test_the_figure_changes_with_its_figures():
    other = copy.deepcopy(REPORT)
    other["races"][0]["peers"][0]["ratio"] = 2.6
    assert benchmarks.digest(benchmarks.bars([REPORT])) != benchmarks.digest(benchmarks.bars([other]))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({**REPORT, "races": [{}]}), json.dumps({**REPORT, "machine": {}})]
)
def test_another_file_is_not_taken_for_a_report(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CorruptionError, match=r"x\.json"):
        benchmarks.reports(tmp_path)


def test_the_committed_page_and_figure_are_those_of_the_recorded_results():
    assert benchmarks.problems() == []


def test_a_stale_page_or_figure_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "book/_static").mkdir(parents=True)
    (tmp_path / benchmarks.PAGE).write_text(PAGE)
    (tmp_path / "benchmarks/results/demo.json").write_text(json.dumps(REPORT))
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    assert len(benchmarks.problems()) == 2
    run = CliRunner().invoke(main, ["benchmarks", "--check"])
    assert run.exit_code == 2
    assert CliRunner().invoke(main, ["benchmarks"]).exit_code == 0
    assert benchmarks.problems() == []
    (tmp_path / "benchmarks/results/demo.json").write_text(json.dumps(REPORT).replace("2.5,", "2.6,"))
    assert [problem.split()[0] for problem in benchmarks.problems()] == [benchmarks.PAGE, benchmarks.FIGURE]


def recorded() -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((ROOT / "benchmarks/results").glob("*.json"))]


def test_recorded_verdicts_are_those_of_their_figures():
    for report in recorded():
        for race in report["races"]:
            for peer in race["peers"]:
                assert peer["low"] <= peer["ratio"] <= peer["high"]
                assert peer["met"] is (None if peer["wanted"] is None else peer["ratio"] >= peer["wanted"])
        for bound in report["bounds"]:
            assert bound["met"] is (None if bound["limit"] is None else bound["value"] <= bound["limit"])


def test_every_recorded_topic_has_its_benchmark_and_was_measured_often_enough():
    reports = recorded()
    assert reports
    for report in reports:
        assert (ROOT / "benchmarks" / f"{report['topic']}.py").exists()
        assert report["rounds"] >= 3 or not report["races"]  # a minute of a million events is measured once


def test_the_page_is_in_the_contents_and_its_figure_has_a_description():
    assert "file: book/benchmarks" in (ROOT / "_toc.yml").read_text()
    alt = re.search(r"^:alt: (.+)$", (ROOT / benchmarks.PAGE).read_text(), re.M).group(1)
    assert len(alt) > 60


def test_examples_in_docstrings_hold():
    assert doctest.testmod(benchmarks) == doctest.TestResults(0, 1)
