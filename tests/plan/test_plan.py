"""Entries of a plan, and the legs of work they give: every row in one leg, of the model that the plan names."""

import json
import shutil
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest

from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.config.budget import BudgetConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.translate import AuditConfig, GuardConfig
from routelmt_ray.plan import plan
from routelmt_ray.plan.asked import asked
from routelmt_ray.plan.legs import tasks_of
from routelmt_ray.plan.plan import LegOf, Series
from routelmt_ray.plan.planning import Planner
from tests.plan.planners import HOURS, Scored, places, ranked, start
from tests.stages.scored import COST, ROWS, commit_translations, decided


def written(series: Series) -> list[Any]:
    entries: list[Any] = json.loads(json.dumps(series.entries))
    return entries


def test_a_budget_in_rows_settles_all_at_once_and_is_found_again(scored: Scored) -> None:
    corpus, columns = scored
    planner = start(scored, BudgetConfig(rows=80))
    assert not planner.series.settled
    planner.settle()
    series = planner.series
    assert series.settled and [entry["kind"] for entry in series.entries] == [plan.WHOLE]
    assert places(corpus, series.leg("large")) == sorted(ranked(columns)[:80])
    ok = set(np.flatnonzero(columns["status"] == "ok").tolist())
    assert places(corpus, series.leg("small")) == sorted(ok - set(ranked(columns)[:80]))
    again = start(scored, BudgetConfig(rows=80))
    assert list(again.series.entries) == corpus.context.run.plans() == written(series)
    assert (again.series.first, again.series.base, again.rule) == (0, series.base, planner.rule)
    assert plan.newest_series(corpus.context.run, series.rule, replace(planner.config, seed=9)) == again.series
    assert (again.k, start(scored, BudgetConfig(fraction=0.29)).k) == (80, int(0.29 * len(ranked(columns))))


def test_a_changed_budget_starts_a_series_that_pays_for_what_is_new(scored: Scored) -> None:
    corpus, columns = scored
    first = start(scored, BudgetConfig(rows=80))
    first.settle()
    order = ranked(columns)
    commit_translations(corpus, "large/000", dict.fromkeys(places(corpus, first.series.leg("large")), "x"))
    commit_translations(corpus, "small/000", dict.fromkeys(places(corpus, first.series.leg("small")), "x"))
    second = start(scored, BudgetConfig(rows=120))
    assert (second.series.first, second.series.entries) == (1, ())
    second.settle()
    assert places(corpus, second.series.leg("large")) == sorted(order[80:120])
    assert places(corpus, second.series.leg("small")) == []
    per_shard = np.bincount(np.asarray(order[80:120]) // 90, minlength=5)
    assert tasks_of(second) == {
        "large": {("large/001", shard): rows for shard, rows in enumerate(per_shard.tolist()) if rows},
        "small": {},
    }
    hours = start(scored, HOURS)
    assert hours.series.base["paid_large"] == ["large/000"] and second.series.base["paid_large"] == []


def test_legs_of_earlier_series_come_in_the_order_they_were_made(scored: Scored) -> None:
    corpus, _ = scored
    for name in ("010", "000-fallback", "000", "002-both", "000-audit", "notes", "1"):
        commit_translations(corpus, f"small/{name}", {})
    wanted = ["000", "000-audit", "000-fallback", "002-both", "010"]
    assert plan.earlier_stages(corpus.context.run, "small") == tuple(f"small/{name}" for name in wanted)
    assert plan.earlier_stages(corpus.context.run, "large") == ()


def test_floors_above_the_budget_are_refused(scored: Scored) -> None:
    _, columns = scored
    german = int((~np.isnan(columns["predicted_gain"]) & (columns["pair"] == "en→de")).sum())
    with pytest.raises(Refused, match=f"budget.floors ask for {german} rows, but the budget allows {german - 1};"):
        start(scored, BudgetConfig(rows=german - 1, floors={"en->de": 1.0})).settle()
    planner = start(scored, BudgetConfig(rows=german, floors={"en->de": 1.0}))
    planner.settle()
    assert decided(scored[0], planner.rule).routed.sum() == german


def hours_in_tranches(scored: Scored, audit_rows: int = 0) -> Planner:
    planner = start(scored, HOURS, audit_rows=audit_rows)
    planner.open(Capacity(12_000_000, 1.0, 1.0))
    first, last = (
        Capacity(3_000_000, 1.0, 1.0, limit=3_000_000),
        Capacity(4_000_000, 1.0, 1.2, final=True, limit=4_000_000),
    )
    planner.add_tranche(first, Capacity(9_000_000, 1.0, 1.0), seconds_spent=7.0)
    planner.add_tranche(last, last)
    return planner


def test_each_row_is_in_the_leg_of_the_entry_that_settled_it_and_in_no_other(scored: Scored) -> None:
    corpus, _ = scored
    series = hours_in_tranches(scored, audit_rows=30).series
    kinds = [entry["kind"] for entry in series.entries]
    assert kinds == [plan.OPENING, plan.TRANCHE, plan.TRANCHE, plan.CLOSED, plan.CLOSED, plan.CLOSED]
    assert [entry["final"] for entry in series.entries] == [False, False, True, True, True, True]
    assert [entry.get("tranche") for entry in series.entries] == [None, 0, 1, None, None, None]
    assert series.entries[1]["seconds_spent"] == 7.0
    audit, routes = places(corpus, series.leg_audit("large")), decided(corpus, series.current_rule())
    assert len(audit) == 30 and places(corpus, series.leg_audit("small")) == audit
    for size, mask in (("large", routes.routed), ("small", routes.small)):
        by_entry = [places(corpus, LegOf(series, size)(corpus.context, number)) for number in range(6)]
        assert sorted(chain.from_iterable(by_entry)) == sorted(set(np.flatnonzero(mask)) - set(audit))
        assert [len(rows) > 0 for rows in by_entry] == [size == "small", True, True, False, False, False]
        for number, rows in enumerate(by_entry[:3]):
            assert set(routes.by[rows]) <= {number}
        assert places(corpus, LegOf(series, size)(corpus.context, plan.AUDIT)) == audit
    rest = sorted(set(np.flatnonzero(routes.small)) - set(audit))
    assert places(corpus, series.leg_remainder()) == rest
    commit_translations(corpus, "small/000", dict.fromkeys(rest[:50], "x"))
    assert places(corpus, series.leg_remainder()) == rest[50:]


def test_an_entry_is_read_as_it_was_written(scored: Scored) -> None:
    corpus, _ = scored
    series = hours_in_tranches(scored).series
    past = replace(series, entries=()).read_up_to(corpus.context.run, 1)
    assert list(past.entries) == written(series)[:2] and not past.settled and past.next_number == 2
    assert past.current_rule().decisions == series.current_rule().decisions[:2]
    assert series.base["audit"] is None and not any("audit" in stage for stage in series.stages("large"))


def test_an_opening_leaves_a_tenth_to_the_small_model(scored: Scored) -> None:
    _, columns = scored
    planner = start(scored, HOURS)
    before = planner.outlook()
    owed = planner.open(Capacity(10**15, 1.0, 1.0))
    may = int((columns["predicted_gain"] > 0).sum())
    assert (before.open, before.routed, owed.routed) == (may, 0, 0)
    assert before.small == (columns["status"] == "ok").sum() - may
    assert owed.open <= 0.9 * may and owed.small + owed.open == before.small + before.open


def test_a_tranche_shrinks_until_its_rows_fit_with_what_they_take_besides(scored: Scored) -> None:
    capacity = Capacity(4_000_000, 1.0, 1.0, limit=4_000_000)
    taken = []
    for extra_cost in (0, 2_000_000, 5_000_000):
        planner = start(scored, HOURS)
        planner.open(Capacity(12_000_000, 1.0, 1.0))
        planner.add_tranche(capacity, capacity, lambda _, extra_cost=extra_cost: extra_cost)
        taken.append(planner.series.last["routed"]["cut"]["weight"])
        shutil.rmtree(scored[0].context.run.root / "plan")
    dearest = 1_000_000 * 0.6
    assert 4_000_000 - dearest < taken[0] <= 4_000_000
    assert 2_000_000 - dearest < taken[1] <= 2_000_000
    assert taken[2] == 0


def test_what_the_large_model_failed_on_falls_back(scored: Scored) -> None:
    corpus, columns = scored
    planner = start(scored, BudgetConfig(rows=80))
    planner.settle()
    order = ranked(columns)[:80]
    texts = {place: None if at % 10 == 0 else "x" for at, place in enumerate(order)}
    commit_translations(corpus, "large/000", texts)
    series = planner.series
    assert series.leg_fallback().stage == "small/000-fallback"
    assert places(corpus, series.leg_fallback()) == sorted(order[::10])
    assert places(corpus, series.leg_both()) == sorted(order)
    commit_translations(corpus, "small/000-both", dict.fromkeys(order[:40], "y"))
    assert places(corpus, series.leg_fallback()) == sorted(order[40::10])
    assert series.stages("small") == ("small/000", "small/000-both", "small/000-fallback")
    assert (series.stages("small", 0), series.stages("large")) == ((), ("large/000",))


@pytest.mark.parametrize(
    "change",
    [
        {"budget": BudgetConfig(rows=81)},
        {"budget": BudgetConfig(rows=80, min_gain=0.1)},
        {"budget": BudgetConfig(rows=80, caps={"en->de": 0.5})},
        {"guard": GuardConfig(keep_better=0.1, judge="logprob")},
        {"audit": AuditConfig(rows=5)},
    ],
)
def test_what_is_asked_names_the_series(scored: Scored, change: dict[str, Any]) -> None:
    config = start(scored, BudgetConfig(rows=80)).config
    assert asked(replace(config, **change)) != asked(config)
    assert asked(replace(config, budget=replace(config.budget, dry_run=True))) == asked(config)


def test_a_profile_names_a_series_of_hours_alone(scored: Scored) -> None:
    hours, rows = (start(scored, budget).config for budget in (HOURS, BudgetConfig(rows=80)))
    dearer = replace(COST, large=replace(COST.large, output_token_s=0.01))
    assert asked(hours, COST) != asked(hours, dearer)
    assert asked(rows, COST) == asked(rows, dearer) == asked(rows)


def test_every_row_is_settled_even_where_nothing_may_be_routed(scored: Scored) -> None:
    corpus, columns = scored
    planner = start(scored, BudgetConfig(rows=80, min_gain=9.0))
    planner.settle()
    assert places(corpus, planner.series.leg("large")) == []
    assert len(places(corpus, planner.series.leg("small"))) == (columns["status"] == "ok").sum() < ROWS
