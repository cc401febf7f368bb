"""Dashboards: what Grafana needs of a file, metrics that exist, and every alert with a panel that explains it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from principal_kit.platform import metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/observability"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "grafana").glob("*.json"))}
RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
OF_PROMETHEUS = {"up", "ALERTS"}
UNITS = {"s", "bytes", "percentunit", "short", "cps", "rowsps"}
WORDS = {"and", "on", "by", "sum", "rate", "increase", "time", "histogram_quantile", "le", "deriv", "absent", "or",
         "predict_linear", "label_replace"}  # fmt: skip
EACH = pytest.mark.parametrize("name", BOARDS)


def panels(name: str) -> list[dict]:
    return [panel for panel in BOARDS[name]["panels"] if panel["type"] != "row"]


def expressions(name: str) -> list[str]:
    return [target["expr"] for panel in panels(name) for target in panel["targets"]]


def named(expression: str) -> set[str]:
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    text = re.sub(r"\b(by|on)\s*\([^)]*\)", "", text)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", text)) - WORDS


def test_both_dashboards_are_there():
    assert BOARDS.keys() == {"pipeline", "business"}
    assert len({board["uid"] for board in BOARDS.values()}) == 2


@EACH
def test_the_file_is_a_dashboard(name):
    board = BOARDS[name]
    assert board["title"]
    assert board["description"]
    assert board["schemaVersion"] >= 36
    assert "id" not in board, "a number of one Grafana's database"
    assert re.fullmatch(r"[a-z-]{5,40}", board["uid"])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


@EACH
def test_the_data_source_is_a_variable_and_everything_uses_it(name):
    variables = {v["name"]: v for v in BOARDS[name]["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    used = {v for e in expressions(name) for v in re.findall(r"\$\{?(\w+)", e)}
    assert used <= variables.keys()
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(BOARDS[name]["panels"]))
    assert set(sources) == {"${datasource}"}


@EACH
def test_panels_have_a_unit_and_targets_with_a_legend(name):
    for panel in panels(name):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))
        assert all(target["legendFormat"] for target in panel["targets"])


@EACH
def test_panels_lie_on_the_grid_and_none_covers_another(name):
    taken = {}
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        for place in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert place not in taken, f"{panel['title']} covers {taken.get(place)}"
            taken[place] = panel["title"]


@EACH
def test_every_metric_of_a_dashboard_is_exported_or_recorded(name):
    for expression in expressions(name):
        found = named(expression.replace("$window", "5m"))
        assert found, expression
        assert found <= metrics.series() | RECORDED | OF_PROMETHEUS, expression


@EACH
def test_legends_and_groupings_name_labels_that_the_metric_has(name):
    labels = {series: {*d.labels, "le"} for d in metrics.CATALOGUE for series in d.series}
    for panel in panels(name):
        for target in panel["targets"]:
            for metric in named(target["expr"].replace("$window", "5m")) & labels.keys():
                groups = re.findall(r"by \(([^)]*)\)", target["expr"])
                wanted = {w.strip() for g in groups for w in g.split(",")} | set(
                    re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                )
                assert wanted <= labels[metric], (panel["title"], target)


def test_an_expression_with_a_typing_error_is_noticed():
    assert named("sum by (topic) (rate(pipeline_topic_record_total[5m]))") - metrics.series()


# ── In step with the alerts ──────────────────────────────────────────────────────────────────────
def test_whatever_an_alert_looks_at_is_on_the_pipeline_s_dashboard():
    shown = set().union(*map(named, (e.replace("$window", "5m") for e in expressions("pipeline"))))
    for alert, rule in ALERTS.items():
        assert named(rule["expr"]) <= shown, alert


@pytest.mark.parametrize("alert", ALERTS)
def test_a_panel_links_to_the_alert_s_runbook_section(alert):
    links = {link["url"] for panel in panels("pipeline") for link in panel.get("links", [])}
    assert ALERTS[alert]["annotations"]["runbook_url"] in links


@EACH
def test_links_lead_to_sections_that_an_alert_uses(name):
    sections = {rule["annotations"]["runbook_url"] for rule in ALERTS.values()}
    assert {link["url"] for panel in panels(name) for link in panel.get("links", [])} <= sections


def lines(title: str) -> list[float]:
    (panel,) = [panel for panel in panels("pipeline") if panel["title"] == title]
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]


@pytest.mark.parametrize("title, alert, text", [
    ("Tasks that wait for the next one", "Backpressure", "> 0.5"),
    ("Age of the last checkpoint", "CheckpointTooOld", "> 60"),
    ("Windows behind the clock", "WatermarkStalls", "> 300"),
    ("Share of a topic that is refused", "DeadLetters", "> 0.01"),
    ("Late events", "LateEvents", "> 0.03"),
    ("Restarts in 15 minutes", "JobRestarting", "> 2"),
    ("Log kept for a slot", "SlotKeepsLog", "> 256000000"),
])  # fmt: skip
def test_the_line_in_a_panel_is_the_alert_s_threshold(title, alert, text):
    assert float(text.split()[1]) == lines(title)[0]
    assert text in ALERTS[alert]["expr"]


def test_the_objective_s_lines_are_the_exporter_s_and_the_budget_s():
    assert lines("Freshness, p95") == [metrics.FRESHNESS_SLO_SECONDS]
    budget, fast = lines("Rows that missed the minute")
    assert f"3.36 * {budget:g}" in ALERTS["FreshnessBurnsFast"]["expr"]
    assert fast == pytest.approx(3.36 * budget)


def test_provisioning_reads_the_folder_that_its_comment_names():
    text = (FOLDER / "grafana/provisioning.yml").read_text()
    (provider,) = yaml.safe_load(text)["providers"]
    assert text.count(provider["options"]["path"]) == 2
