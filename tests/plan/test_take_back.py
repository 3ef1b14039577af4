"""Rows that a budget in hours takes back from the small model: those that fail a check, then the best, each at the large model's whole cost."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.rule import CHECK, GAIN
from routelmt_ray.config.checks import ChecksConfig, CopyCheck
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.planning import Planner
from routelmt_ray.stages.routes import ShardRows, decide
from tests.plan.planners import HOURS, Scored, places, start

LAST = Capacity(4_000_000, 1.0, 1.2, final=True, limit=4_000_000)
SCALE = 1.5


@pytest.fixture
def planner(scored: Scored) -> Planner:
    """A settled budget in hours, of whose rows every third fails a check."""
    planner = start(scored, HOURS)
    planner.config = replace(planner.config, checks=ChecksConfig(copy=CopyCheck(action="escalate")))
    planner.open(Capacity(12_000_000, 1.0, 1.0))
    planner.add_tranche(LAST, LAST)
    assert planner.series.settled
    for shard in (planner.corpus.plan[i] for i in range(len(planner.corpus.plan))):
        rows = [place for place in range(shard.first_place, shard.first_place + shard.rows) if place % 3 == 0]
        table = pa.table({"place": pa.array(rows, pa.int64())})
        planner.corpus.context.run.commit(planner.series.checked_stage(SMALL), shard.index, table, {"rows": shard.rows})
    return planner


def everything(planner: Planner) -> dict[str, np.ndarray]:
    """Collects for each row of the corpus if the small model keeps it, the reason, its value, and its cost."""
    columns: dict[str, list[Any]] = {"small": [], "reason": [], "value": [], "cost": []}
    rule = planner.rule
    for shard in (planner.corpus.plan[i] for i in range(len(planner.corpus.plan))):
        rows = ShardRows(planner.corpus.context, rule, shard)
        routes, (values, _) = decide(rows, rule), rows.values((0.0, SCALE))
        for name, found in zip(columns, (routes.small, routes.reason, values, np.rint(1e6 * SCALE * rows.large_s))):
            columns[name].append(found)
    return {name: np.concatenate(found) for name, found in columns.items()}


def best(rows: dict[str, np.ndarray], among: np.ndarray, capacity: int) -> list[int]:
    """The rows of the highest value that fit, in order of their place."""
    order = [
        place for place in np.argsort(-rows["value"], kind="stable") if among[place] and rows["value"][place] > -1e9
    ]
    fits = np.cumsum(rows["cost"][order]) <= capacity
    return sorted(np.array(order)[fits].tolist())


def test_failing_rows_come_first_and_the_best_of_the_others_after_them(planner: Planner) -> None:
    before, routed = everything(planner), set(places(planner.corpus, planner.series.leg(LARGE)))
    failing = before["small"] & (np.arange(len(before["small"])) % 3 == 0)
    wanted = best(before, failing, 2_000_000)
    assert planner.take_back(Capacity(2_000_000, 1.0, SCALE, final=True, limit=2_000_000))
    after = everything(planner)
    assert np.flatnonzero(after["reason"] == CHECK).tolist() == wanted and 3 < len(wanted) < failing.sum()
    others = best(after, after["small"], 1_500_000)
    assert planner.take_back(Capacity(1_500_000, 1.0, SCALE, final=True, limit=1_500_000))
    end = everything(planner)
    assert np.flatnonzero(end["reason"] == CHECK).tolist() == wanted
    assert np.flatnonzero((end["reason"] == GAIN) & before["small"]).tolist() == others and others
    assert not planner.take_back(LAST), "there are two such entries"
    taken = set(places(planner.corpus, planner.series.leg(LARGE)))
    assert taken >= {*wanted, *others} and taken - {*wanted, *others} <= routed | set(np.flatnonzero(~before["small"]))


def test_rows_are_left_out_until_their_batches_fit_too(planner: Planner) -> None:
    capacity = Capacity(2_000_000, 1.0, SCALE, final=True, limit=2_000_000)
    planner.take_back(capacity, lambda tally: 0.5e6)
    cut = planner.series.last["routed"]["cut"]
    assert 0 < cut["weight"] <= 1_500_000
    planner.take_back(capacity, lambda tally: 3e6)
    assert planner.series.last["routed"]["cut"]["k"] == 0, "no row fits beside them"


def test_rows_with_a_small_translation_need_no_fallback(planner: Planner) -> None:
    for _ in range(2):
        planner.take_back(Capacity(1_000_000, 1.0, SCALE, final=True, limit=1_000_000))
    run, number = planner.corpus.context.run, planner.series.last["entry"]
    for stage in (f"large/{number:03d}", "large/001"):
        run.commit(stage, 0, pa.table({"place": pa.array([], pa.int64())}), {"rows": 2, "failed": 2})
    assert planner.series.failed(run) == {0: 2}, "only the rows of the tranche"
