"""An audit by hand, its intervals on simulated corpora, and what is undefined."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.evaluation import audit as module
from routelmt_ray.evaluation.audit import audit, mean_interval
from routelmt_ray.metrics.measures import spearman

KEYS = ["metric", "rows", "measured", "deciles", "spearman", "mean_gain", "routed", "not_routed", "severe_loss"]


def made(predicted: Any, realised: Any, routed: Any = None, **more: Any) -> dict[str, Any]:
    """An audit, through JSON, which allows no NaN."""
    routed = np.zeros(len(predicted), bool) if routed is None else routed
    found: dict[str, Any] = json.loads(
        json.dumps(audit(predicted, realised, routed, metric="chrf", **more), allow_nan=False)
    )
    assert list(found) == KEYS
    return found


@pytest.mark.parametrize(
    ("df", "quantile"), [(1, 12.706205), (2, 4.302653), (3, 3.182446), (4, 2.776445), (9, 2.262157), (30, 2.042272),
                         (100, 1.983972), (1000, 1.962339), (10**6, 1.959966)],
)  # fmt: skip
def test_quantiles_of_students_t(df: int, quantile: float) -> None:
    """Golden values: 1 and 2 from the closed forms tan(0.475 π) and 0.95 √(2 / (1 − 0.95²)), the others SciPy's ``t.ppf``."""
    values = np.r_[np.zeros((df + 1) // 2), np.ones((df + 2) // 2)]
    half = (found := mean_interval(values))["ci_high"] - found["value"]  # type: ignore[operator]
    assert half / values.std(ddof=1) * np.sqrt(df + 1) == pytest.approx(quantile, abs=2e-6)


def test_an_audit_has_the_figures_computed_by_hand() -> None:
    predicted = np.arange(20) / 100
    realised = np.where(np.arange(20) % 2, 0.3, 0.1)
    realised[[0, 18]] = -0.2, -0.1
    found = made(predicted, realised, predicted >= 0.16, tau=0.1)
    assert (found["metric"], found["rows"], found["measured"]) == ("chrf", 20, 20)
    assert [d["rows"] for d in found["deciles"]] == [2] * 10
    first, second = found["deciles"][:2]
    assert (first["low"], first["high"], first["predicted"]) == pytest.approx((0.0, 0.01, 0.005))
    half = 12.706205 * np.std([-0.2, 0.3], ddof=1) / np.sqrt(2)
    assert (first["realised"], first["ci_low"], first["ci_high"]) == pytest.approx(
        (0.05, 0.05 - half, 0.05 + half), rel=1e-6
    )
    assert second["realised"] == pytest.approx(0.2)
    assert found["routed"]["rows"] == 4 and found["not_routed"]["rows"] == 16
    assert found["routed"]["value"] == pytest.approx(0.15)
    assert found["mean_gain"]["value"] == pytest.approx(realised.mean())
    assert found["severe_loss"] == {"tau": 0.1, "routed": 0.0, "all": 1 / 20}  # -.1 is not below -.1
    assert found["spearman"]["value"] == pytest.approx(spearman(predicted, realised))
    assert found["spearman"]["ci_low"] < found["spearman"]["value"] < found["spearman"]["ci_high"]
    assert found == made(predicted, realised, predicted >= 0.16, tau=0.1), "the resamples are seeded"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_deciles_take_in_every_row_once_and_never_split_a_tie(n: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, realised = rng.integers(0, levels, n) / 8, rng.normal(size=n)
    found = audit(predicted, realised, np.zeros(n, bool), metric="chrf")["deciles"]
    assert sum(d["rows"] for d in found) == n and len(found) <= 10
    assert all(a["high"] < b["low"] for a, b in pairwise(found))
    assert sum(d["rows"] * d["realised"] for d in found) == pytest.approx(realised.sum(), abs=1e-9)
    for d in found:
        inside = (predicted >= d["low"]) & (predicted <= d["high"])
        assert inside.sum() == d["rows"]
        assert realised[inside].mean() == pytest.approx(d["realised"])


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 400), st.integers(0, 2**32 - 1))
def test_deciles_are_of_one_size_where_nothing_ties(n: int, seed: int) -> None:
    predicted = np.random.default_rng(seed).permutation(n).astype(float)
    sizes = [d["rows"] for d in audit(predicted, predicted, predicted > 0, metric="chrf")["deciles"]]
    assert len(sizes) == 10 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_few_rows_say_what_they_can(n: int) -> None:
    found = made(np.arange(n) / 10, np.arange(n) / 5, np.arange(n) > 0)
    assert [d["rows"] for d in found["deciles"]] == [1] * n
    assert all(d["ci_low"] is None and d["realised"] == pytest.approx(2 * d["predicted"]) for d in found["deciles"])
    assert (found["spearman"]["value"] == 1.0) if n > 1 else (found["spearman"]["value"] is None)
    assert (found["mean_gain"]["value"] is None) == (n == 0)
    assert (found["mean_gain"]["ci_low"] is None) == (n < 2)
    assert (found["routed"] is None) == (n < 2) and (found["not_routed"] is None) == (n == 0)
    assert found["severe_loss"]["routed"] == (0.0 if n > 1 else None)


def test_constant_predictions_are_one_bin_and_rank_nothing() -> None:
    found = made(np.full(40, 0.1), np.linspace(-1, 1, 40), np.ones(40, bool))
    assert [(d["low"], d["high"], d["rows"]) for d in found["deciles"]] == [(0.1, 0.1, 40)]
    assert found["spearman"] == {"value": None, "ci_low": None, "ci_high": None}
    assert found["not_routed"] is None and found["routed"]["value"] == pytest.approx(0, abs=1e-12)


def test_rows_that_were_not_measured_are_counted_and_left_out() -> None:
    found = made([0.1, 0.2, np.nan, 0.4], [0.5, np.nan, 0.1, -0.5], [True, True, False, False])
    assert (found["rows"], found["measured"]) == (4, 2)
    assert (found["routed"]["rows"], found["not_routed"]["rows"]) == (1, 1)
    assert found["severe_loss"] == {"tau": 0.05, "routed": 0.0, "all": 0.5}


def test_arrays_must_fit_together() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3,\) and \(2,\)"):
        audit([1, 2], [1, 2, 3], [True, False], metric="chrf")
    with pytest.raises(ValueError, match="tau is -1"):
        audit([1], [1], [True], metric="chrf", tau=-1)


def test_intervals_of_means_cover_the_truth() -> None:
    """Gains as they are: a mass at 0, a long tail. 2,000 audits of 60 rows; the 95 % interval holds about 95 %."""
    rng = np.random.default_rng(0)
    gains = np.where(rng.random((2000, 60)) < 0.3, 0.0, rng.gamma(2.0, 0.1, (2000, 60)) - 0.05)
    truth = 0.7 * (2.0 * 0.1 - 0.05)
    inside = [m["ci_low"] <= truth <= m["ci_high"] for m in map(mean_interval, gains)]  # type: ignore[operator]
    assert 0.93 <= np.mean(inside) <= 0.965
    normal = rng.normal(0.1, 1, (2000, 5))  # exact on normal values, however few
    inside = [m["ci_low"] <= 0.1 <= m["ci_high"] for m in map(mean_interval, normal)]  # type: ignore[operator]
    assert 0.935 <= np.mean(inside) <= 0.965


def test_intervals_of_spearman_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bivariate normal with correlation .6, whose rank correlation is (6 / π) asin(.6 / 2); 150 audits of 150 rows."""
    monkeypatch.setattr(module, "_RESAMPLES", 200)
    rng, truth = np.random.default_rng(1), 6 / np.pi * np.arcsin(0.3)
    hits = 0
    for seed in range(150):
        x, noise = rng.normal(size=(2, 150))
        found = audit(x, 0.6 * x + 0.8 * noise, x > 0, metric="chrf", seed=seed)["spearman"]
        hits += found["ci_low"] <= truth <= found["ci_high"]
    assert 0.88 <= hits / 150 <= 0.99
