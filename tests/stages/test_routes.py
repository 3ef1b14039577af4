"""The rule and its passes over score shards, held against a plain sort; no Ray is needed for a few shards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.budget import Search, rows_for_fraction
from routelmt_ray.budget.risk import Floors
from routelmt_ray.budget.rule import BELOW_CUT, Band, Decision, Rule, reasons
from routelmt_ray.plan import allocate
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.runtime import cluster
from routelmt_ray.stages import judge
from routelmt_ray.stages.translate import Leg
from tests.budget.corpora import full_sort, longest_prefix
from tests.stages.scored import (
    COST,
    ROWS,
    SEED,
    SHARD_ROWS,
    commit_translations,
    decided,
    of_all,
    scored_corpus,
    seconds,
    with_occurrences,
)

Scored = tuple[ScoredCorpus, dict[str, np.ndarray]]


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    """A scored corpus with ties, rows without a score and rows that cannot be translated."""
    return scored_corpus(tmp_path)


def test_a_chain_of_tranches_takes_what_a_sort_would_take(scored: Scored) -> None:
    corpus, columns = scored
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST)
    small, large = seconds(columns)
    left = (columns["status"] == "ok") & (columns["predicted_gain"] > 0)
    for number, (scales, capacity) in enumerate(
        [((1.0, 1.0), 4_000_000), ((1.1, 0.8), 9_000_000), ((1.0, 1.0), 10**12)]
    ):
        weights = np.maximum(np.rint(1e6 * (scales[1] * large - scales[0] * small)), 1).astype(np.int64)
        values = (columns["predicted_gain"] / (weights * 1e-6)).astype(np.float32)
        band = corpus.find_cut(rule, Search(capacity=capacity, seed=3), scales)
        rule = rule.then(Decision(band, None, final=False))
        now = decided(corpus, rule)
        taken = now.routed & (now.by == number)
        assert band.cut.weight == weights[taken].sum() <= capacity
        assert (taken & ~left).sum() == 0
        rest = left & ~taken
        if rest.any():
            assert values[taken].min() >= values[rest].max()
            first = np.argsort(-np.where(rest, values, -np.inf), kind="stable")[0]
            assert (
                band.cut.weight + weights[rest & (values == values[first])].min() > capacity or band.cut.k == left.sum()
            )
        left = rest
    assert not left.any(), "the last one takes all that may be routed"


def test_every_row_is_settled_once_with_its_reason(scored: Scored) -> None:
    corpus, columns = scored
    rule = Rule(min_gain=0.02, guards=(("quality_predict", 0.9),), cost=COST)
    wide = corpus.find_cut(rule, Search(k=120, seed=3), (1.0, 1.0))
    rule = rule.then(Decision(None, wide, final=False))
    opened = decided(corpus, rule)
    assert corpus.find_cut(rule, Search(k=ROWS, seed=3), (1.0, 1.0)).cut.k == 120, "what is settled is not opened again"
    rule = rule.then(Decision(corpus.find_cut(rule, Search(k=80, seed=3), (1.0, 1.0))))
    closed = decided(corpus, rule)
    ok = columns["status"] == "ok"
    may = ok & (columns["predicted_gain"] > 0.02) & (columns["predicted_quality"] < 0.9)
    ranked = full_sort(np.where(may, columns["predicted_gain"], np.float32("nan")), 3)
    assert len(ranked) > 140, "the opening leaves some out"
    assert not opened.routed.any() and np.flatnonzero(closed.routed).tolist() == sorted(ranked[:80])
    assert np.flatnonzero(opened.small & may).tolist() == sorted(ranked[120:])
    assert (closed.by[ranked[:120]] == 1).all() and (closed.by[~ok] == -1).all()
    assert (closed.routed ^ closed.small)[ok].all() and not (closed.routed | closed.small)[~ok].any()
    assert (closed.small[opened.small]).all() and (closed.by[opened.small] == 0).all(), "what is settled stays so"
    words = np.asarray([*reasons(), None])[closed.reason]
    assert set(words[closed.routed]) == {"gain"} and set(words[~ok]) == {None}
    guarded = ok & ~np.isnan(columns["predicted_gain"])
    assert ((words == "min_gain") == (guarded & (columns["predicted_gain"] <= 0.02))).all()
    over = guarded & (columns["predicted_gain"] > 0.02) & (columns["predicted_quality"] >= 0.9)
    assert ((words == "quality_predict") == over).all()
    assert ((words == "not_scored") == (ok & np.isnan(columns["predicted_gain"]))).all()


def test_the_books_add_up_to_what_rows_cost(scored: Scored) -> None:
    corpus, columns = scored
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST)
    wide = corpus.find_cut(rule, Search(capacity=20_000_000, seed=3), (1.0, 1.0))
    rule = rule.then(Decision(corpus.find_cut(rule, Search(capacity=8_000_000, seed=3), (1.0, 1.0)), wide, final=False))
    tally, routes, (small, large) = corpus.tally(rule), decided(corpus, rule), seconds(columns)
    still = (columns["status"] == "ok") & (routes.by < 0)
    assert (tally.routed, tally.small, tally.open) == (routes.routed.sum(), routes.small.sum(), still.sum())
    unfilled_s, batch_rows = 0.0, corpus.context.models.large.rows_at_once
    for first in range(0, ROWS, SHARD_ROWS):  # what the last batch of each shard lacks, at the mean of its rows
        of = large[first : first + SHARD_ROWS][routes.routed[first : first + SHARD_ROWS]]
        unfilled_s += of.mean() * (-len(of) % batch_rows) if len(of) else 0.0
    sums = [small[routes.small].sum(), small[routes.routed].sum(), large[routes.routed].sum(), unfilled_s]
    np.testing.assert_allclose(tally.owed, [sums])
    np.testing.assert_allclose(
        [tally.open_small_s, tally.gain], [small[still].sum(), columns["predicted_gain"][routes.routed].sum()]
    )


def test_what_an_earlier_budget_paid_is_routed_for_nothing(scored: Scored) -> None:
    corpus, columns = scored
    paid = np.flatnonzero((columns["status"] == "ok") & (np.arange(ROWS) % 3 == 0))
    commit_translations(corpus, "large/000", dict.fromkeys(paid.tolist(), "x"))
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST, paid_large=("large/000",))
    after = rule.then(Decision(None, None, final=False))
    routes, mask = decided(corpus, after), np.isin(np.arange(ROWS), paid) & (columns["predicted_gain"] > 0)
    assert (routes.routed == mask).all()
    assert corpus.tally(after).owed[0][2] == 0
    fresh = corpus.find_cut(after, Search(k=10, seed=3), (1.0, 1.0))
    more = decided(corpus, after.then(Decision(fresh)))
    assert more.routed.sum() == mask.sum() + 10


def test_an_audit_is_an_exact_draw_that_weighs_nothing(scored: Scored) -> None:
    corpus, columns = scored
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST, audit=corpus.audit_cut(50))
    drawn = of_all(corpus, rule, lambda rows: rows.audit)
    assert drawn.sum() == 50 and not np.isnan(columns["predicted_gain"][drawn]).any()
    weights = of_all(corpus, rule, lambda rows: rows.values((1.0, 1.0))[1])
    assert (weights[drawn] == 1).all() and (weights[~drawn] > 1).all()
    plain, audited = decided(corpus, replace(rule, audit=None)), corpus.tally(rule)
    assert not plain.routed.any() and audited.audit_large_s == pytest.approx(seconds(columns)[1][drawn].sum())


def test_passes_over_several_tasks_find_what_one_finds(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, _ = scored
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST, stratified=True)
    commit_translations(corpus, "small/000", dict.fromkeys(range(0, ROWS, 7), "x"))
    legs = Leg("large", "001", lambda *_: np.arange(0)), Leg("small", "001", lambda *_: np.arange(0), ("small/000",))

    def passes() -> list[Any]:
        settled = rule.then(Decision(corpus.find_cut(rule, Search(capacity=9_000_000, seed=3), (1.1, 0.8))))
        strata = corpus.find_strata(rule, {"en→de": 0.2}, {"en→fr": 0.1})
        return [settled, strata, corpus.audit_cut(30), corpus.counts(settled, *legs), corpus.tally(settled)]

    *alone, alone_sums = passes()
    tasks: list[list[int]] = []

    def here(function: Any, work: list[Any]) -> Any:  # tests/runtime/test_cluster.py has the same on Ray
        tasks.append([len(shards) for _, shards, *_ in work])
        return (function(*words) for words in work)

    monkeypatch.setattr(allocate, "_TASK_ROWS", 2 * SHARD_ROWS)
    monkeypatch.setattr(cluster, "stream", here)
    *parts, sums = passes()
    assert parts == alone
    assert {tuple(sizes) for sizes in tasks} == {(2, 2, 1)}
    for name in ("routed", "small", "open", "gain", "owed", "open_small_s"):
        np.testing.assert_allclose(getattr(sums, name), getattr(alone_sums, name), rtol=1e-12)


def test_rows_to_translate_are_counted_by_shard(scored: Scored) -> None:
    corpus, _ = scored
    rule = Rule(min_gain=0.0, audit=corpus.audit_cut(40))
    rule = rule.then(Decision(corpus.find_cut(rule, Search(k=90, seed=3), (1.0, 1.0))))
    done = range(0, ROWS, 7)
    commit_translations(corpus, "small/000", dict.fromkeys(done, "x"))
    legs = Leg("large", "001", lambda *_: np.arange(0)), Leg("small", "001", lambda *_: np.arange(0), ("small/000",))
    routes, drawn = decided(corpus, rule), of_all(corpus, rule, lambda rows: rows.audit)
    large, small = routes.routed & ~drawn, routes.small & ~drawn & ~np.isin(np.arange(ROWS), list(done))
    wanted = {
        shard: tuple(int(mask[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS].sum()) for mask in (large, small))
        for shard in range(5)
    }
    assert corpus.counts(rule, *legs) == wanted
    assert (drawn & routes.routed).any() and (drawn & routes.small).any()


def test_floors_and_caps_by_language_pair_need_no_costs(scored: Scored) -> None:
    corpus, columns = scored
    rule = Rule(stratified=True)
    strata = corpus.find_strata(rule, {"en→de": 0.5}, {"en→fr": 0.1})
    rule = replace(rule, strata=strata)
    opened = rule.then(Decision(None, None, final=False))
    floored = corpus.tally(opened).routed
    routes = decided(corpus, rule.then(Decision(corpus.find_cut(opened, Search(k=150 - floored, seed=3), (1.0, 1.0)))))
    german, gains = columns["pair"] == "en→de", columns["predicted_gain"]
    of_german, of_french = (full_sort(np.where(mask, gains, np.float32("nan")), 3) for mask in (german, ~german))
    floor, cap = len(of_german) // 2, len(of_french) // 10
    words = np.asarray([*reasons(), None])[routes.reason]
    assert floored == floor
    assert np.flatnonzero(words == "floor").tolist() == sorted(of_german[:floor])
    assert np.flatnonzero(words == "cap").tolist() == sorted(of_french[cap:])
    others = np.full(ROWS, np.nan, np.float32)
    others[[*of_german[floor:], *of_french[:cap]]] = gains[[*of_german[floor:], *of_french[:cap]]]
    assert np.flatnonzero(words == "gain").tolist() == sorted(full_sort(others, 3)[: 150 - floor])
    assert not routes.small[routes.routed].any() and routes.small[words == "cap"].all()


def test_a_floor_of_another_column_takes_its_strata_from_the_corpus(scored: Scored) -> None:
    corpus, columns = scored
    rule = Rule(stratified=True, strata_column="domain")
    rule = replace(rule, strata=corpus.find_strata(rule, {"law": 0.3}, {"news": 0.0}))
    routes = decided(corpus, rule.then(Decision(None)))
    law = full_sort(np.where(columns["domain"] == "law", columns["predicted_gain"], np.float32("nan")), 3)
    assert np.flatnonzero(routes.routed).tolist() == sorted(law[: 3 * len(law) // 10])


@pytest.mark.parametrize("by_pair", [False, True])
def test_rows_below_the_floor_of_their_pair_are_not_routed(scored: Scored, by_pair: bool) -> None:
    corpus, columns = scored
    gains, pairs = columns["predicted_gain"], np.asarray(columns["pair"])
    middle = float(np.float32(np.nanmedian(gains)))
    first, second, *_ = sorted(set(pairs.tolist()))
    floors = Floors(((first, middle), (second, -np.inf)) if by_pair else (), np.inf if by_pair else middle)
    rule = Rule(guards=(("risk", floors),))
    routes = decided(corpus, rule.then(Decision(corpus.find_cut(rule, Search(k=ROWS, seed=3)))))
    above = (pairs == second) | ((pairs == first) & (gains >= middle)) if by_pair else gains >= middle
    scored_rows = ~np.isnan(gains)
    assert (routes.routed == (above & scored_rows)).all() and 0 < routes.routed.sum() < scored_rows.sum()
    words = np.asarray([*reasons(), None])[routes.reason]
    assert (words == "risk").sum() == (scored_rows & ~above).sum()


def judgements(places: np.ndarray, small: np.ndarray) -> pa.Table:
    return pa.table({"place": places, "small": small, "large": np.full(len(small), np.nan)}).cast(judge.COLUMNS)


def test_only_candidates_that_are_judged_too_bad_are_routed(scored: Scored) -> None:
    corpus, columns = scored
    judged = np.full(ROWS, np.nan)
    rule = Rule(guards=(("quality_hypo", 0.8),))
    band = corpus.find_cut(rule, Search(k=100, seed=3), (1.0, 1.0))
    order = full_sort(columns["predicted_gain"], 3)
    judged[order[:100]] = np.where(np.arange(100) % 4 == 0, 0.8, 0.5)
    for shard in (corpus.plan[i] for i in range(len(corpus.plan))):
        at = np.arange(shard.first_place, shard.first_place + shard.rows)
        corpus.context.run.commit("judge/000", shard.index, judgements(at, judged[at]), {})
    rule = replace(rule, candidates=band, judged=("judge/000",))
    assert np.flatnonzero(of_all(corpus, rule, lambda rows: rows.candidates)).tolist() == sorted(
        place for place in order[:100] if judged[place] < 0.8
    )
    assert corpus.find_cut(rule, Search(k=ROWS, seed=3), (1.0, 1.0)).cut.k == 75
    last = rule.then(Decision(corpus.find_cut(rule, Search(k=60, seed=3), (1.0, 1.0))))
    routes = decided(corpus, last)
    left = [place for place in order[:100] if judged[place] < 0.8]
    assert np.flatnonzero(routes.routed).tolist() == sorted(left[:60])
    words = np.asarray([*reasons(), None])[routes.reason]
    assert np.flatnonzero(words == "quality_hypo").tolist() == sorted(order[:100:4])
    assert routes.small[order[100:]].all() and (routes.reason[order[100:]] == BELOW_CUT).all()


def test_what_a_routed_row_costs_more(scored: Scored) -> None:
    corpus, columns = scored
    commit_translations(corpus, "small/000", dict.fromkeys(range(0, ROWS, 2), "x"))
    small, large = seconds(columns)
    paid = np.arange(ROWS) % 2 == 0
    ok = (columns["status"] == "ok") & ~np.isnan(columns["predicted_gain"])
    for both in (False, True):
        rule = Rule(cost=COST, both=both, paid_small=("small/000",), judge_row_s=0.25)
        relief = np.zeros(ROWS) if both else np.where(paid, 0.0, small)
        weights = of_all(corpus, rule, lambda rows: rows.values((1.25, 0.5))[1])
        wanted = np.maximum(np.rint(1e6 * (0.5 * large - 1.25 * relief)), 1).astype(np.int64) + 250_000
        assert (weights == wanted)[ok].all()
        np.testing.assert_allclose(
            of_all(corpus, rule, lambda rows: rows.owed_small_s)[ok], np.where(paid, 0, small)[ok]
        )
        np.testing.assert_allclose(of_all(corpus, rule, lambda rows: rows.owed_large_s)[ok], large[ok])
    plain = of_all(
        corpus, replace(rule, objective="gain_per_cost", judge_row_s=0.0), lambda rows: rows.values((1.0, 1.0))[0]
    )
    np.testing.assert_allclose(plain[ok], (columns["predicted_gain"] / np.rint(1e6 * large) * 1e6)[ok], rtol=1e-6)


def test_no_row_weighs_less_than_a_microsecond(scored: Scored) -> None:
    corpus, _ = scored
    weights = of_all(corpus, Rule(cost=COST), lambda rows: rows.values((9.0, 0.1))[1])
    assert (weights == 1).all()


def test_a_rule_survives_json(scored: Scored) -> None:
    corpus, _ = scored
    band = corpus.find_cut(Rule(cost=COST), Search(capacity=10**6, seed=3), (1.5, 0.5))
    assert Band.from_dict(band.to_dict()) == band
    sums = corpus.tally(Rule(cost=COST).then(Decision(band)))
    assert type(sums).from_dict(sums.to_dict()) == sums and sums.owed


@pytest.mark.parametrize("column", [None, "domain"])
def test_floors_and_caps_are_shares_of_rows_with_their_repeats(scored: Scored, column: str | None) -> None:
    corpus, columns = scored
    occurrences = with_occurrences(corpus, columns)
    names, floors, caps = ("pair", {"en→fr": 0.3}, {"en→de": 0.1}) if column is None else (
        column, {"law": 0.25, "talk": 0.1}, {"talk": 0.1, "news": 0.05},
    )  # fmt: skip
    rule = Rule(once=True, gain_counts=True, min_gain=0.0, stratified=True, strata_column=column)
    rule = replace(rule, strata=corpus.find_strata(rule, floors, caps))
    gains = columns["predicted_gain"]
    scored_rows, may_route = ~np.isnan(gains), gains > 0
    value = (gains.astype(np.float64) * occurrences).astype(np.float32)
    order = full_sort(np.where(may_route, value, np.float32("nan")), SEED)
    must, may = set(), {row for row in order if columns[names][row] not in caps}
    for name in {*floors, *caps}:
        inside = [row for row in order if columns[names][row] == name]
        total = int(occurrences[scored_rows & (columns[names] == name)].sum())
        if name in caps:
            may |= set(longest_prefix(inside, occurrences, rows_for_fraction(caps[name], total)))
        if name in floors:
            need = rows_for_fraction(floors[name], total)
            must |= set(inside[: next(n for n in range(len(inside) + 1) if occurrences[inside[:n]].sum() >= need)])
    must &= may  # a cap goes before a floor
    after = rule.then(Decision(None, None, final=False))
    assert np.flatnonzero(decided(corpus, after).routed).tolist() == sorted(must)
    k = len(must) + 40
    settled = decided(
        corpus, rule.then(Decision(corpus.find_cut(after, Search(k=k - len(must), seed=SEED), (1.0, 1.0))))
    )
    best = [row for row in order if row in may and row not in must][: k - len(must)]
    assert np.flatnonzero(settled.routed).tolist() == sorted({*must, *best}), "the budget counts segments"
    tally = corpus.tally(rule.then(Decision(corpus.find_cut(after, Search(k=40, seed=SEED), (1.0, 1.0)))))
    assert tally.gain == pytest.approx((gains.astype(np.float64) * occurrences)[settled.routed].sum())


def test_a_segment_has_the_value_of_all_its_rows_and_the_cost_of_one(scored: Scored) -> None:
    corpus, columns = scored
    occurrences, (small, large) = with_occurrences(corpus, columns), seconds(columns)
    rule = Rule(objective="gain_per_cost", min_gain=0.02, cost=COST, once=True, gain_counts=True)
    weights = np.maximum(np.rint(1e6 * (large - small)), 1).astype(np.int64)
    gains = columns["predicted_gain"]
    value = ((gains.astype(np.float64) * occurrences).astype(np.float32) / (weights * 1e-6)).astype(np.float32)
    order = full_sort(np.where(gains > 0.02, value, np.float32("nan")), SEED)
    band = corpus.find_cut(rule, Search(capacity=9_000_000, seed=SEED), (1.0, 1.0))
    routed = decided(corpus, rule.then(Decision(band))).routed
    assert np.flatnonzero(routed).tolist() == sorted(longest_prefix(order, weights, 9_000_000))
    assert (occurrences[routed] > 1).mean() > (occurrences[gains > 0.02] > 1).mean(), "repeated segments come first"
    by_rank = corpus.find_cut(replace(rule, gain_counts=False), Search(k=ROWS, seed=SEED), (1.0, 1.0))
    assert by_rank.cut.k == len(order), "min_gain looks at the gain of one row"


def test_a_value_of_many_rows_stays_a_number(scored: Scored) -> None:
    corpus, columns = scored
    columns["predicted_gain"][:] = np.where(np.isnan(columns["predicted_gain"]), np.nan, 3e38)
    with_occurrences(corpus, columns)
    found = of_all(corpus, Rule(once=True, gain_counts=True), lambda rows: rows.values((1.0, 1.0))[0])
    assert np.nanmax(found) == np.finfo(np.float32).max
