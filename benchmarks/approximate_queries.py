"""Exact GROUP BY against a stratified sample: latency, the price of building it, and the errors it makes.

    python benchmarks/approximate_queries.py [--rows N] [--cap N] [--trials N] [--rounds N] [--only TEXT] [--record]

Exact is DuckDB over the same columns. The sample is built by the kit, by DuckDB (numbering each country's rows in
random order) and by pandas. No bars: a sample has to pay for its building, and the table says when it does.
"""

from __future__ import annotations

from functools import partial

import duckdb
import numpy as np
import pandas as pd
from side_by_side import Bound, Case, run, stateless

from principal_kit.course.workloads.orders import Orders, orders
from principal_kit.sketches import StratifiedSample
from principal_kit.sketches.error_bounded import bounded_group_by

BY_COUNTRY = "select country, count(*), sum(amount) from shop group by all"
BY_STATUS = "select status, count(*), sum(amount) from shop where amount <= 250 group by all"
SAMPLED = {
    "by country": (BY_COUNTRY, 'select "group", sum(weight), sum(weight * amount) from small group by all'),
    "filtered, by status": (
        BY_STATUS,
        "select status, sum(weight), sum(weight * amount) from small where amount <= 250 group by all",
    ),
}


def built(shop: Orders, cap: int, seed: int = 1) -> StratifiedSample:
    sample = StratifiedSample(cap, ["amount", "status"], rng=np.random.default_rng(seed))
    sample.add_many(shop.country, amount=shop.amount, status=shop.status)
    len(sample)  # settles what is buffered
    return sample


def numbered(cap: int) -> str:
    drawn = "select country, amount, status, random() draw from shop"
    inner = f"select *, row_number() over (partition by country order by draw) n from ({drawn})"
    return f"create or replace table drawn as select country, amount, status from ({inner}) where n <= {cap}"


def in_pandas(frame: pd.DataFrame, cap: int) -> pd.DataFrame:
    shuffled = frame[["country", "amount", "status"]].sample(frac=1.0, random_state=1)
    return shuffled[shuffled.groupby("country").cumcount() < cap]


def errors(shop: Orders, trials: int, outliers: int) -> dict[str, float]:
    """Of averages by country promised within 2 %: the share that is missed, and that of countries refused."""
    exact = pd.Series(shop.amount).groupby(shop.country).mean()
    missed, refused = [], 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        answer = bounded_group_by(
            "avg", shop.country, shop.amount, 0.02, most_rows=len(shop) // 10, outliers=outliers, rng=rng
        )
        table = answer.table[answer.table["low"] < answer.table["high"]]
        missed += (~exact[table.index].between(table["low"], table["high"])).tolist()
        refused += len(answer.refused)
    return {"missed": 100 * float(np.mean(missed)), "refused": 100 * refused / (trials * len(exact))}


def build(rows: int, cap: int, trials: int) -> list[Case | Bound]:
    shop = orders(rows, seed=7)
    frame, warehouse, sample = shop.frame(), duckdb.connect(), built(shop, cap)
    for name, table in (("shop", frame), ("small", sample.frame)):
        warehouse.register("rows", table)
        warehouse.sql(f'create table {name} as select * from "rows"')
    found: list[Case | Bound] = []
    for name, (exact, sampled) in SAMPLED.items():
        ask = {sql: stateless(lambda sql=sql: warehouse.sql(sql).fetchall()) for sql in (exact, sampled)}
        found.append(Case(name, "a query, in SQL", rows, ask[sampled], {"exact": ask[exact]}, unit="rows"))
    exact = stateless(lambda: warehouse.sql(BY_COUNTRY).fetchall())
    kit = stateless(lambda: sample.estimate("sum", "amount"))
    found.append(Case("by country, with intervals", "a query, in the kit", rows, kit, {"exact": exact}, unit="rows"))
    peers = {
        "DuckDB, row_number": stateless(lambda: warehouse.sql(numbered(cap))),
        "pandas, cumcount": stateless(partial(in_pandas, frame, cap)),
        "an exact query": exact,
    }
    found.append(
        Case("rows taken in", "building the sample", rows, stateless(partial(built, shop, cap)), peers, unit="rows")
    )
    for name, outliers in (("no outliers apart", 0), ("1 in 200 apart", rows // 200)):
        for figure in ("missed", "refused"):
            measure = lambda figure=figure, outliers=outliers: (errors(shop, trials, outliers)[figure], {})  # noqa: E731
            found.append(Bound(f"{figure}, {name}", "AVG by country within 2 % at 95 %", "%", None, measure))
    return found


if __name__ == "__main__":
    sizes = {"rows": 2_000_000, "cap": 1_000, "trials": 10}
    run("approximate_queries", "Approximate queries", build, sizes=sizes, packages=["duckdb", "pandas"])
