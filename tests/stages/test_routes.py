"""The rule and its passes over score shards, held against a plain sort; no Ray is needed for a few shards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.budget import Search
from routelmt_ray.budget.cost import CostModel, ProbeCost, TranslatorCost
from routelmt_ray.config import InputConfig, ModelsConfig
from routelmt_ray.rundir import RunDir
from routelmt_ray.shards import ShardPlan
from routelmt_ray.stages import score, translate
from routelmt_ray.stages.allocate import Corpus
from routelmt_ray.stages.context import RunContext
from routelmt_ray.stages.routes import Routes, ShardRows, decide
from routelmt_ray.stages.rule import REASONS, Decision, Rule

ROWS, SHARD = 400, 90


def translator(token_s: float) -> TranslatorCost:
    return TranslatorCost("cpu_s", 3.0, 1e-3, 0.0, token_s, 1.0, 1.0, {"*": 1.0, "en→de": 1.5}, None)


COST = CostModel("a machine", 9, ProbeCost(), translator(1e-3), translator(6e-3), {}, {}, {})


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Corpus, dict[str, np.ndarray]]:
    """A scored corpus with ties, rows without a score and rows that cannot be translated."""
    rng = np.random.default_rng(5)
    gains = np.round(rng.normal(0.05, 0.1, ROWS), 2).astype(np.float32)
    status = np.where(rng.random(ROWS) < 0.1, "too_long", "ok")
    gains[(status != "ok") | (rng.random(ROWS) < 0.05)] = np.nan
    columns = {
        "place": np.arange(ROWS),
        "predicted_gain": gains,
        "predicted_quality": rng.random(ROWS).astype(np.float32),
        "prompt_tokens": rng.integers(20, 90, ROWS).astype(np.int32),
        "source_tokens": rng.integers(1, 80, ROWS).astype(np.int32),
        "pair": rng.choice(["en→de", "en→fr"], ROWS),
        "status": status,
        "id_key": pa.nulls(ROWS, pa.uint64()),
    }
    table, run = pa.table(columns), RunDir(tmp_path / "run")
    plan = ShardPlan(["x"], [ROWS], SHARD)
    for shard in (plan[i] for i in range(len(plan))):
        part = table.slice(shard.first_place, shard.rows).cast(score.COLUMNS)
        run.commit(score.STAGE, shard.index, part, {})
    context = RunContext(run, pa.schema([]), InputConfig(path="x"), ModelsConfig(), "", 3)
    return Corpus(context, plan), columns


def decided(corpus: Corpus, rule: Rule) -> Routes:
    parts = [decide(ShardRows(corpus.context, rule, corpus.plan[i]), rule) for i in range(len(corpus.plan))]
    return Routes(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("routed", "small", "by", "reason"))
    )


def seconds(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    codes = (columns["pair"] == "en→fr").astype(int)
    small, large = (
        COST.row_seconds(size, columns["prompt_tokens"], columns["source_tokens"], codes, ("en→de", "en→fr"))
        for size in ("small", "large")
    )
    return small, large


def test_a_chain_of_tranches_takes_what_a_sort_would_take(scored: tuple[Corpus, dict[str, np.ndarray]]) -> None:
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


def test_every_row_is_settled_once_with_its_reason(scored: tuple[Corpus, dict[str, np.ndarray]]) -> None:
    corpus, columns = scored
    rule = Rule(min_gain=0.02, quality_predict=0.9, cost=COST)
    wide = corpus.find_cut(rule, Search(k=200, seed=3), (1.0, 1.0))
    rule = rule.then(Decision(None, wide, final=False))
    opened = decided(corpus, rule)
    rule = rule.then(Decision(corpus.find_cut(rule, Search(k=80, seed=3), (1.0, 1.0))))
    closed = decided(corpus, rule)
    ok = columns["status"] == "ok"
    assert not opened.routed.any() and closed.routed.sum() == 80
    assert (closed.routed ^ closed.small)[ok].all() and not (closed.routed | closed.small)[~ok].any()
    assert (closed.small[opened.small]).all() and (closed.by[opened.small] == 0).all(), "what is settled stays so"
    words = np.asarray([*REASONS, None])[closed.reason]
    assert set(words[closed.routed]) == {"gain"} and set(words[~ok]) == {None}
    guarded = ok & ~np.isnan(columns["predicted_gain"])
    assert ((words == "min_gain") == (guarded & (columns["predicted_gain"] <= 0.02))).all()
    over = guarded & (columns["predicted_gain"] > 0.02) & (columns["predicted_quality"] >= 0.9)
    assert ((words == "quality_predict") == over).all()
    assert ((words == "not_scored") == (ok & np.isnan(columns["predicted_gain"]))).all()


def test_the_books_add_up_to_what_rows_cost(scored: tuple[Corpus, dict[str, np.ndarray]]) -> None:
    corpus, columns = scored
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST)
    wide = corpus.find_cut(rule, Search(capacity=20_000_000, seed=3), (1.0, 1.0))
    rule = rule.then(Decision(corpus.find_cut(rule, Search(capacity=8_000_000, seed=3), (1.0, 1.0)), wide, final=False))
    tally, routes, (small, large) = corpus.tally(rule), decided(corpus, rule), seconds(columns)
    still = (columns["status"] == "ok") & (routes.by < 0)
    assert (tally.routed, tally.small, tally.open) == (routes.routed.sum(), routes.small.sum(), still.sum())
    np.testing.assert_allclose(
        tally.owed, [[small[routes.small].sum(), small[routes.routed].sum(), large[routes.routed].sum()]]
    )
    np.testing.assert_allclose(
        [tally.open_small_s, tally.gain], [small[still].sum(), columns["predicted_gain"][routes.routed].sum()]
    )


def test_what_an_earlier_budget_paid_is_routed_for_nothing(scored: tuple[Corpus, dict[str, np.ndarray]]) -> None:
    corpus, columns = scored
    paid = np.flatnonzero((columns["status"] == "ok") & (np.arange(ROWS) % 3 == 0))
    for shard in (corpus.plan[i] for i in range(len(corpus.plan))):
        places = [int(i) for i in paid if shard.first_place <= i < shard.first_place + shard.rows]
        rows = [
            {"place": place, "translation": "x", "status": "ok", "output_tokens": 1, "source_tokens": 1}
            for place in places
        ]
        table = pa.Table.from_pylist(rows, schema=translate.COLUMNS)
        corpus.context.run.commit("large/000", shard.index, table, {})
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST, paid_large=("large/000",))
    after = rule.then(Decision(None, None, final=False))
    routes, mask = decided(corpus, after), np.isin(np.arange(ROWS), paid) & (columns["predicted_gain"] > 0)
    assert (routes.routed == mask).all()
    assert corpus.tally(after).owed[0][2] == 0
    fresh = corpus.find_cut(after, Search(k=10, seed=3), (1.0, 1.0))
    more = decided(corpus, after.then(Decision(fresh)))
    assert more.routed.sum() == mask.sum() + 10


def test_an_audit_is_an_exact_draw_that_weighs_nothing(scored: tuple[Corpus, dict[str, np.ndarray]]) -> None:
    corpus, columns = scored
    rule = Rule(objective="gain_per_cost", min_gain=0.0, cost=COST, audit=corpus.audit_cut(50))
    rows = [ShardRows(corpus.context, rule, corpus.plan[i]) for i in range(len(corpus.plan))]
    drawn = np.concatenate([part.audit for part in rows])
    assert drawn.sum() == 50 and not np.isnan(columns["predicted_gain"][drawn]).any()
    weights = np.concatenate([part.values((1.0, 1.0))[1] for part in rows])
    assert (weights[drawn] == 1).all() and (weights[~drawn] > 1).all()
    plain, audited = decided(corpus, replace(rule, audit=None)), corpus.tally(rule)
    assert not plain.routed.any() and audited.audit_large_s == pytest.approx(seconds(columns)[1][drawn].sum())
