"""The velocity rule by hand: any order of arrival gives what the truth's own rule finds; in PyFlink, what SQL finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit import services
from principal_kit.core.errors import MissingPrerequisite
from principal_kit.platform import audit, jobs, sender, tables, truth
from principal_kit.platform.contract import ALLOWED_LATENESS_MS
from principal_kit.platform.shop import ORDERS, TOPICS, Shop, generate
from principal_kit.platform.velocity import Alert, Card

RULE = {"orders": truth.VELOCITY_ORDERS, "within_ms": truth.VELOCITY_MS}
END = 1 << 62


def expected(times):
    orders = pd.DataFrame({"t": times, "card": 1, "amount_cents": [1000 + t for t in times]}, dtype="int64")
    orders = orders.assign(late=False, broken=False)
    found = truth.fraud_alerts(SimpleNamespace(orders=orders))
    return [
        Alert(*row) for row in found.loc[found["rule"] == "velocity", ["first", "last", "orders", "cents"]].to_numpy()
    ]


# Orders that are close together, so that matches overlap and touch the limit.
TIMES = st.lists(st.integers(0, 12).map(lambda i: i * 10_000) | st.integers(0, 150_000), unique=True, max_size=25)


@given(TIMES, st.data())
def test_any_order_of_arrival_gives_the_truth_s_alerts(times, data):
    """Every record is in time; some come twice. The watermark follows the moments of sending, as the jobs' does."""
    delay = st.integers(0, ALLOWED_LATENESS_MS)
    sent = [(t + data.draw(delay), t) for t in times for _ in range(data.draw(st.integers(1, 2)))]
    card, alerts, watermark, timers = Card(**RULE), [], -1, []
    for at, t in sorted(sent):
        if card.arrive(f"o-{t}", t, 1000 + t, watermark):
            timers.append(t)
        watermark = at - ALLOWED_LATENESS_MS
        for timer in sorted(timer for timer in timers if timer <= watermark):
            timers.remove(timer)
            alerts += card.advance(timer)
            card = Card(card.waiting, card.recent, **RULE)  # as from state
    alerts += card.advance(END)
    assert alerts == expected(times)
    assert card.empty


def test_a_match_is_shorter_than_the_limit_and_the_search_goes_on_behind_it():
    card = Card(**RULE)
    for t in (0, 20_000, 40_000, 60_000, 61_000):
        card.arrive(f"o-{t}", t, 1, -1)
    assert card.advance(60_000) == [], "the fourth is a whole minute after the first"
    assert card.advance(61_000) == [Alert(20_000, 61_000, 4, 4)]
    assert card.empty


def test_what_time_has_passed_is_not_taken_and_nothing_is_kept_longer_than_it_matters():
    card = Card(**RULE)
    assert card.arrive("a", 5_000, 1, watermark=4_999)
    assert not card.arrive("a", 5_000, 1, watermark=4_999), "a copy"
    assert card.advance(5_000) == []
    assert not card.arrive("a", 5_000, 1, watermark=5_000), "a copy, later"
    assert card.forget_at == 65_000
    card.advance(64_999)
    assert not card.empty
    card.advance(65_000)
    assert card.empty
    assert card.forget_at is None


def test_a_script_is_split_at_its_own_semicolons_and_statements_begin_with_their_first_word():
    """A comment above a SET hid it: PyFlink was handed the SET as SQL, which it refuses."""
    text = "-- a; comment with 'one quote\n-- more\nSET 'a' = 'x;--y';\n\nSELECT 1 -- end;\n;\n-- nothing;\n"
    assert jobs._statements(text) == ["SET 'a' = 'x;--y'", "SELECT 1 -- end;"]


def test_both_twins_have_the_same_head_and_insert_into_the_same_table(tmp_path):
    settings = jobs.Settings(bootstrap="k:1", dsn="postgresql://u:pa;ss@h:1/d", warehouse="file:///x")
    said = {}

    def run_python(script, path, **options):
        said.update(job=json.loads(Path(path).read_text()), options=options)
        return ["id"]

    assert jobs.velocity_in_python(SimpleNamespace(run_python=run_python), settings, tmp_path) == "id"
    assert (tmp_path / "velocity.json").stat().st_mode & 0o077 == 0
    sql = jobs._statements(jobs.velocity_in_sql(settings))
    assert [s.replace("in Python", "in SQL") for s in said["job"]["statements"]] == sql[:-1]
    assert (
        sql[-1].split("SELECT")[0] == said["job"]["insert"].split("SELECT")[0] == "INSERT INTO lake.shop.fraud_alerts "
    )
    assert "EXECUTE" not in " ".join(sql)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(300)
def test_pyflink_and_sql_find_the_truth_s_alerts(make_pipeline, servers, tmp_path):
    try:
        services.flink_python()
    except MissingPrerequisite as error:
        pytest.skip(str(error))
    work = generate(Shop(events=20_000, users=500, products=40, bad=14))
    work = replace(work, sent=work.sent[work.sent["topic"].isin([TOPICS.index(ORDERS), len(TOPICS)])])
    place = make_pipeline()
    place.prepare()
    out = sender.producer(place.settings.bootstrap)
    sender.send(work, out, prefix=place.settings.prefix)
    out.close()
    truly = truth.fraud_alerts(work)
    truly = truly[truly["rule"] == "velocity"]
    assert len(truly) > 3
    for name in ("sql", "python"):
        settings = replace(place.settings, namespace=f"{place.settings.namespace}_{name}", bounded=True)
        tables.create(place.lake, settings.namespace)
        if name == "sql":
            [id] = servers.flink.submit(jobs.velocity_in_sql(settings))
        else:
            id = jobs.velocity_in_python(servers.flink, settings, tmp_path, **{"restart-strategy.type": "none"})
        servers.flink.wait_finished(id, seconds=120)
        rows = tables.read(place.lake, settings.namespace, "fraud_alerts").to_pandas()
        assert audit.compare(name, rows, truly).exact
