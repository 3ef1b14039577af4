"""What a budget would buy, held against sums over the rows themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt_ray.config.budget import BudgetConfig
from routelmt_ray.config.translate import RouterConfig, TranslateConfig
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.plan.forecast import forecast
from routelmt_ray.plan.plan import configured_rule
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import cluster
from tests.budget.corpora import full_sort
from tests.stages.scored import COST, SEED, scored_corpus, seconds

LOADS_S = 2 * 3.0


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ScoredCorpus, dict[str, np.ndarray]]:
    """A scored corpus, and a cluster on which both models fit side by side."""
    monkeypatch.setattr(cluster, "pools_fit_together", lambda pools: True)
    return scored_corpus(tmp_path)


def predicted(
    scored: tuple[ScoredCorpus, dict[str, np.ndarray]],
    budget: BudgetConfig,
    room_us: int | None,
    scale: float | None = 1.0,
) -> dict[str, Any]:
    corpus, columns = scored
    config = TranslateConfig(
        run_dir="run", input=corpus.context.input, models=corpus.context.models, budget=budget,
        router=RouterConfig(kind="length", scale=scale),
    )  # fmt: skip
    eligible = int((~np.isnan(columns["predicted_gain"])).sum())
    return forecast(Planner.start(config, corpus, configured_rule(config, COST), eligible), room_us)


def test_a_budget_in_rows_is_forecast_like_a_full_sort(scored: tuple[ScoredCorpus, dict[str, np.ndarray]]) -> None:
    _, columns = scored
    found = predicted(scored, BudgetConfig(rows=80), None)
    gains, (small, large) = columns["predicted_gain"], seconds(columns)
    ok, eligible = columns["status"] == "ok", ~np.isnan(gains)
    top = np.isin(np.arange(len(gains)), full_sort(gains, SEED)[:80])
    assert found["fixed_s"] == pytest.approx(LOADS_S)
    assert found["asked"] == pytest.approx(
        {
            "rows": 80, "share": 80 / eligible.sum(), "gain_won": gains[top].sum() / eligible.sum(),
            "small_s": small[ok & ~top].sum(), "large_s": large[top].sum(),
            "total_s": LOADS_S + small[ok & ~top].sum() + large[top].sum(),
            "wall_s": 3 + max(small[ok & ~top].sum(), large[top].sum()),
        }
    )  # fmt: skip
    assert found["all_small_s"] == pytest.approx(LOADS_S + small[ok].sum())
    assert found["all_large_s"] == pytest.approx(LOADS_S + small[ok & ~eligible].sum() + large[eligible].sum())
    assert found["pairs"] == [
        {
            "pair": pair, "rows": int(of.sum()), "routed": int((of & top).sum()),
            "gain_won": pytest.approx(gains[of & top].sum() / of.sum()),
        }
        for pair, of in sorted(
            ((pair, eligible & (columns["pair"] == pair)) for pair in ("en→de", "en→fr")), key=lambda item: -item[1].sum()
        )
    ]  # fmt: skip


def test_the_frontier_rises_from_all_small_to_all_large(scored: tuple[ScoredCorpus, dict[str, np.ndarray]]) -> None:
    _, columns = scored
    found = predicted(scored, BudgetConfig(gpu_hours=0.01), 6_000_000)
    gains, (small, large) = columns["predicted_gain"], seconds(columns)
    may = gains > 0
    frontier = {key: np.asarray([point[key] for point in found["frontier"]]) for key in found["frontier"][0]}
    assert (frontier["rows"][0], frontier["gain_won"][0]) == (0, 0)
    assert frontier["total_s"][0] == pytest.approx(found["all_small_s"])
    assert frontier["rows"][-1] == may.sum() and frontier["total_s"][-1] == pytest.approx(
        found["all_large_s"], abs=1e-3
    )
    assert frontier["gain_won"][-1] == pytest.approx(gains[may].sum() / (~np.isnan(gains)).sum())
    assert frontier["share"][-1] == pytest.approx(may.sum() / (~np.isnan(gains)).sum())
    assert (np.diff(frontier["rows"]) > 0).all() and 20 < len(frontier["rows"]) <= 101
    # The best value first: each step of the frontier buys less for a second.
    slopes = np.diff(frontier["gain_won"]) / np.diff(frontier["total_s"])
    assert (np.diff(slopes) < 1e-6 * slopes[0]).all()
    extra_s = found["asked"]["total_s"] - found["all_small_s"]
    dearest = (large - small)[may].max()
    assert 6 - dearest < extra_s <= 6
    assert found["asked"]["rows"] > 0 and found["relative_error"] == 0


def test_scores_that_only_rank_win_no_gain(scored: tuple[ScoredCorpus, dict[str, np.ndarray]]) -> None:
    found = predicted(scored, BudgetConfig(fraction=0.5), None, scale=None)
    assert found["asked"]["gain_won"] is None and found["frontier"][3]["gain_won"] is None
    assert [pair["gain_won"] for pair in found["pairs"]] == [None, None]


def test_pools_in_turn_take_the_sum_of_their_walls(
    scored: tuple[ScoredCorpus, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "pools_fit_together", lambda pools: False)
    found = predicted(scored, BudgetConfig(rows=80), None)
    assert found["asked"]["wall_s"] == pytest.approx(found["asked"]["total_s"])
