"""Alert rules: Prometheus' own checker takes them, they fire and keep silent as they should, and lead to a runbook."""

import ast
import importlib
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from principal_kit.platform import metrics
from principal_kit.platform.contract import REASONS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/observability"
RUNBOOK = ROOT / "book/operations/real-time-pipeline.md"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
TESTS = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
EVERY = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EVERY if "alert" in rule}
RECORDED = {rule["record"] for rule in EVERY if "record" in rule}
OF_PROMETHEUS = {"up"}
WORDS = {
    "and", "or", "unless", "on", "by", "sum", "rate", "increase", "deriv", "predict_linear", "absent", "time", "count",
    "group_left", "ignoring", "max", "min", "histogram_quantile", "clamp_min", "le", "label_replace", "bool",
}  # fmt: skip


def names(expression: str) -> set[str]:
    """The metrics in a PromQL expression: what is left without strings, selectors, label lists, ranges, functions."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    text = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*", text) if word not in WORDS}


def tool(name: str) -> str:
    cache = (
        os.environ.get("PRINCIPAL_KIT_CACHE")
        or f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/principal-kit"
    )
    found = shutil.which(name) or shutil.which(name, path=f"{cache}/tools")
    if not found:
        pytest.skip(
            f"{name} is missing: TOOL={name} scripts/promtool.sh --where (Debian), brew install prometheus (macOS)"
        )
    return found


def run(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess:
    return subprocess.run(
        [tool("promtool"), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [
    ("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml"),
], ids=" ".join)  # fmt: skip
def test_promtool_accepts(arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("broken, side", [("vector(0) > 1", "exp"), ("vector(1)", "got")], ids=["never", "always"])
def test_promtool_s_tests_notice_each_alert_that_fires(broken, side, tmp_path):
    """Without this, a test that looks at nothing would pass too."""
    rules = yaml.safe_load((FOLDER / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["expr"] = broken
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(FOLDER / "rules_test.yml", tmp_path)
    done = run("test", "rules", "rules_test.yml", folder=tmp_path)
    assert done.returncode != 0
    said = re.findall(rf"{side}: ?(.*)", done.stdout + done.stderr)
    assert set(re.findall(r'alertname="(\w+)"', " ".join(said))) == set(ALERTS)


def test_every_metric_that_a_rule_names_is_exported():
    named = set().union(*(names(rule["expr"]) for rule in EVERY))
    assert named - metrics.series() - RECORDED - OF_PROMETHEUS == set()
    assert len(named) > 15, "the reader of expressions saw hardly any metric"


def test_every_label_that_a_rule_names_is_one_of_the_metric_s():
    labels = {name: set(d.labels) | {"le"} for d in metrics.CATALOGUE for name in d.series}
    for rule in EVERY:
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", rule["expr"]):
            if name in labels:
                assert set(re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', '""', selector))) <= labels[name], rule


def test_reasons_in_rules_are_the_contract_s():
    for text in re.findall(r'reason=~?"([^"]+)"', (FOLDER / "rules.yml").read_text()):
        assert set(text.split("|")) <= set(REASONS)


def test_prometheus_parses_every_expression_of_the_dashboards(tmp_path):
    rules = []
    for path in sorted((FOLDER / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                rules.append({"record": f"panel:{len(rules)}", "expr": target["expr"].replace("$window", "5m")})
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run("check", "rules", "panels.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_the_objective_is_the_exporter_s():
    assert metrics.FRESHNESS_SLO_SECONDS == 60.0
    for rule in EVERY:
        if "missed" in rule.get("record", ""):
            assert 'le=~"60(\\\\.0)?"' in rule["expr"]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_waits_has_a_severity_and_says_what_and_where_to_read_on(name):
    rule = ALERTS[name]
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert 20 < len(rule["annotations"]["summary"]) < 130
    assert rule["annotations"]["runbook_url"].startswith(
        "https://github.com/principals-kit/principals-kit/blob/main/book/operations/real-time-pipeline.md#"
    )


@pytest.mark.parametrize("name", ALERTS)
def test_the_runbook_has_the_alert_s_section(name):
    anchor = ALERTS[name]["annotations"]["runbook_url"].split("#")[1]
    sections = re.split(r"^#+ ", RUNBOOK.read_text(), flags=re.M)
    (section,) = [s for s in sections[1:] if s.splitlines()[0].lower().replace(" ", "-") == anchor]
    assert f"`{name}`" in section


def test_the_runbook_names_no_alert_that_does_not_exist():
    text = RUNBOOK.read_text()
    named = set(re.findall(r"^Alerts?: (.+)$", text, flags=re.M))
    assert {alert for line in named for alert in re.findall(r"`(\w+)`", line)} == set(ALERTS)


def fired(test: dict) -> set[str]:
    labels = " ".join(s["labels"] for expression in test["promql_expr_test"] for s in expression["exp_samples"])
    return set(re.findall(r'alertname="(\w+)"', labels))


def test_every_alert_is_tested_as_it_fires():
    assert set().union(*map(fired, TESTS)) == set(ALERTS)


def test_scrapes_and_rules_are_quicker_than_the_shortest_window():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["global"]["scrape_interval"] == config["global"]["evaluation_interval"] == "15s"
    assert config["rule_files"] == ["rules.yml"]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "pipeline", "rules ask for up{job='pipeline'}"
    assert job["honor_labels"], (
        "else Prometheus calls a Flink job `exported_job`, and `on (job)` finds all of them alike"
    )
    assert all(target.startswith("127.0.0.1:") for c in job["static_configs"] for target in c["targets"])


# ── Who is told ──────────────────────────────────────────────────────────────────────────────────
PAGER = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())


def test_alertmanager_accepts_its_configuration():
    done = subprocess.run(
        [tool("amtool"), "check-config", str(FOLDER / "alertmanager.yml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def told(name: str, **labels: str) -> str:
    """The receiver that Alertmanager's own routing finds for an alert."""
    pairs = [f"{key}={value}" for key, value in {"alertname": name, "pipeline": "shop", **labels}.items()]
    command = [tool("amtool"), "config", "routes", "test", "--config.file", str(FOLDER / "alertmanager.yml"), *pairs]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.mark.parametrize("name", ALERTS)
def test_a_page_pages_and_a_ticket_does_not(name):
    severity = ALERTS[name]["labels"]["severity"]
    assert told(name, severity=severity) == severity


def test_a_notification_is_one_for_a_pipeline_by_a_label_that_prometheus_adds():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert PAGER["route"]["group_by"] == ["pipeline", "severity"]
    assert config["global"]["external_labels"].keys() == {"pipeline"}


def test_what_is_silenced_and_by_what_are_alerts_that_exist_and_have_the_labels_in_common():
    labels = {name: set(d.labels) for d in metrics.CATALOGUE for name in d.series}
    for rule in PAGER["inhibit_rules"]:
        of = lambda side: re.findall(r"\w+", rule[side][0].split('"')[1])  # noqa: B023, E731
        for name in of("source_matchers") + of("target_matchers"):
            found = set().union(*(labels.get(metric, set()) for metric in names(ALERTS[name]["expr"])))
            assert set(rule["equal"]) <= found | {"pipeline"}, name
        assert not set(of("source_matchers")) & set(of("target_matchers"))


# ── The runbook's commands ───────────────────────────────────────────────────────────────────────
def commands() -> list[ast.Module]:
    return [ast.parse(block) for block in re.findall(r"^```python\n(.*?)^```", RUNBOOK.read_text(), flags=re.M | re.S)]


def test_the_runbook_s_commands_call_what_exists():
    """At four in the morning is no time to learn that a function was renamed."""
    from principal_kit.platform import audit, contract, dead_letters, jobs, pipeline, sender, tables, topics
    from principal_kit.services.flink_cluster import FlinkEndpoint

    owners = {"flink": FlinkEndpoint, "pipeline": pipeline.Pipeline, "jobs": jobs, "tables": tables, "audit": audit,
              "sender": sender, "dead_letters": dead_letters, "contract": contract, "topics": topics}  # fmt: skip
    of_instances = {"ids", "lake", "partitions", "settings"}
    checked = 0
    for block in commands():
        for node in ast.walk(block):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners:
                assert hasattr(owners[node.value.id], node.attr) or node.attr in of_instances, ast.unparse(node)
                checked += 1
            if isinstance(node, ast.ImportFrom) and node.module.startswith("principal_kit.platform."):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)
    assert checked > 20


@pytest.mark.parametrize("old, new", [(4, 8), (4, 6), (2, 3), (4, 12)])
def test_the_share_of_keys_that_stay_when_partitions_are_added(old, new):
    hashes = range(old * new * 10)
    assert sum(h % old == h % new for h in hashes) / len(hashes) == old / math.lcm(old, new)
