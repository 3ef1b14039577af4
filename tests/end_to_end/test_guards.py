"""Guards, floors, caps and the audit on the embedded pair: what is routed, held against a plain recount."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.errors import Refused
from routelmt_ray.metrics.sentence import ChrF
from tests.conftest import DEMO_CONFIG, DEMO_SHARDS
from tests.end_to_end.runs import output, run
from tests.without_ray import without_ray as jobs_without_ray

LOGPROB = "guard.judge=logprob"


@pytest.fixture(scope="module")
def few_rows(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of the demo corpus."""
    path = tmp_path_factory.mktemp("few") / "in.parquet"
    pq.write_table(demo_corpus.slice(0, 72), path)
    return path


@pytest.fixture(scope="module")
def all_large(few_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that routes everything: its scores and translations are what the others start from."""
    run_dir = tmp_path_factory.mktemp("all") / "large"
    with jobs_without_ray():
        run(run_dir, few_rows, DEMO_SHARDS, "budget.fraction=1.0", config=DEMO_CONFIG)
    return run_dir


@pytest.fixture(scope="module")
def all_both(all_large: Path, few_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models' translations of every row: what only routes loads no model."""
    run_dir: Path = tmp_path_factory.mktemp("all") / "both"
    shutil.copytree(all_large, run_dir)
    with jobs_without_ray():
        run(run_dir, few_rows, DEMO_SHARDS, "budget.fraction=0.0", config=DEMO_CONFIG)
    return run_dir


def on_a_copy(given: Path, corpus: Path, run_dir: Path) -> Any:
    """Runs another budget on a copy of a run; gives the output rows, the scores and the report."""

    def start(*words: str) -> tuple[dict[str, list[Any]], dict[str, np.ndarray], dict[str, Any]]:
        shutil.copytree(given, run_dir, dirs_exist_ok=True)
        report = run(run_dir, corpus, DEMO_SHARDS, *words, config=DEMO_CONFIG)
        scores = pa.concat_tables(pq.read_table(path) for path in sorted((run_dir / "scores").iterdir()))
        return output(run_dir).to_pydict(), {n: scores[n].to_numpy() for n in scores.column_names}, report

    return start


@pytest.fixture
def go(all_large: Path, few_rows: Path, without_ray: None, tmp_path: Path) -> Any:
    """Another budget where the small model has translated nothing yet."""
    return on_a_copy(all_large, few_rows, tmp_path / "run")


@pytest.fixture
def route(all_both: Path, few_rows: Path, without_ray: None, tmp_path: Path) -> Any:
    """Another budget where every translation is there."""
    return on_a_copy(all_both, few_rows, tmp_path / "run")


def routed(rows: dict[str, list[Any]]) -> np.ndarray:
    return np.asarray([route == "large" for route in rows["route"]])


def best(values: np.ndarray, k: int, allowed: np.ndarray) -> set[int]:
    order = sorted(np.flatnonzero(allowed), key=lambda i: -values[i])
    return set(order[:k])


def test_rows_predicted_to_be_good_are_never_routed_and_the_budget_goes_to_the_next_best(route: Any) -> None:
    rows, scores, report = route("budget.fraction=0.5", "guard.quality_predict=0.8")
    good = scores["predicted_quality"] >= 0.8
    k, taken = report["budget"]["k"], routed(rows)
    assert 0 < good.sum() < len(good) and not (taken & good).any()
    assert set(np.flatnonzero(taken)) == best(scores["predicted_gain"], k, ~good)
    reasons = Counter(rows["route_reason"])
    assert reasons == report["route_reasons"]
    assert reasons["quality_predict"] == good.sum() and reasons["gain"] == taken.sum()


def test_min_gain_leaves_budget_unspent(route: Any) -> None:
    rows, scores, report = route("budget.fraction=0.9", "budget.min_gain=0.3")
    above = scores["predicted_gain"] > 0.3
    assert 0 < above.sum() < report["budget"]["k"]
    assert (routed(rows) == above).all()
    assert Counter(rows["route_reason"]) == {"gain": above.sum(), "min_gain": (~above).sum()}


def test_floors_and_caps_hold_exactly_and_the_rest_goes_to_the_best(route: Any) -> None:
    words = ["budget.strata=domain", "budget.fraction=0.3"]
    domains = Counter(route(*words)[0]["domain"])
    first, second = (name for name, _ in domains.most_common(2))
    rows, scores, report = route(*words, f"budget.floors={{{first}: 0.6}}", f"budget.caps={{{second}: 0.1}}")
    domain, gains, taken = np.asarray(rows["domain"]), scores["predicted_gain"], routed(rows)
    floor, cap = int(0.6 * domains[first]), int(0.1 * domains[second])
    must = best(gains, floor, domain == first)
    may = best(gains, cap, domain == second) | set(np.flatnonzero(domain != second))
    left = np.asarray([i in may and i not in must for i in range(len(gains))])
    assert set(np.flatnonzero(taken)) == must | best(gains, report["budget"]["k"] - floor, left)
    assert (taken & (domain == second)).sum() <= cap
    assert Counter(rows["route_reason"])["floor"] == floor


def test_floors_by_language_pair_that_ask_for_too_much_are_refused(route: Any) -> None:
    with pytest.raises(ValueError, match=r"budget.floors ask for \d+ rows, but the budget allows 3"):
        route("budget.fraction=null", "budget.rows=3", "budget.floors={en->es: 0.5}")
    with pytest.raises(Refused, match="en→xx"):
        route("budget.floors={en->xx: 0.5}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_candidates_judged_good_are_not_routed_and_the_next_best_are_judged_too(go: Any) -> None:
    rows, scores, report = go("budget.fraction=0.5", "guard.quality_hypo=0.5", LOGPROB)
    reasons, taken = Counter(rows["route_reason"]), routed(rows)
    k, gains = report["budget"]["k"], scores["predicted_gain"]
    good = np.asarray([reason == "quality_hypo" for reason in rows["route_reason"]])
    assert reasons["quality_hypo"] > 0 and taken.sum() == k
    # Every row above the last routed one was judged: those not routed are exactly the ones found good.
    assert set(np.flatnonzero(taken)) == best(gains, k, ~good)
    assert set(np.flatnonzero(good)) >= {i for i in range(len(gains)) if gains[i] > gains[taken].min()} - set(
        np.flatnonzero(taken)
    )
    assert all(text for text in rows["translation"])


@pytest.mark.slow
def test_the_better_of_both_translations_is_kept(route: Any) -> None:
    rows, _, report = route("budget.fraction=1.0", "guard.keep_better=0.0", LOGPROB)
    kept = [i for i, reason in enumerate(rows["route_reason"]) if reason == "kept_small"]
    assert 0 < len(kept) < routed(rows).sum() == report["budget"]["k"]
    assert all((rows["route"][i], rows["model"][i]) == ("large", "small") for i in kept)
    assert report["fallbacks"] == 0 and report["route_reasons"]["kept_small"] == len(kept)
    none = route("budget.fraction=1.0", "guard.keep_better=1.0", LOGPROB)[0]
    assert "kept_small" not in none["route_reason"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_audit_measures_the_rows_it_drew(go: Any, all_large: Path, tmp_path: Path) -> None:
    rows, _, report = go("budget.fraction=0.3", "audit.rows=30")
    audit = report["audit"]
    assert (audit["metric"], audit["rows"], audit["measured"]) == ("chrf", 30, 30)
    assert audit["routed"]["rows"] + audit["not_routed"]["rows"] == 30
    assert sum(part["rows"] for part in audit["deciles"]) == 30
    assert routed(rows).sum() == report["budget"]["k"], "an audit changes no route"
    small = pa.concat_tables(
        pq.read_table(path) for path in sorted((tmp_path / "run" / "small" / "001-audit").iterdir())
    )
    places, large = small["place"].to_numpy(), output(all_large)["translation"].to_pylist()
    references = [rows["reference"][i] for i in places]
    of = [
        ChrF().segment_scores([None] * 30, texts, references)
        for texts in (small["translation"].to_pylist(), [large[i] for i in places])
    ]
    assert audit["mean_gain"]["value"] == pytest.approx(np.mean(of[1] - of[0]))
    assert audit["routed"]["value"] == pytest.approx(np.mean((of[1] - of[0])[routed(rows)[places]]))
    judged = go("budget.fraction=0.3", "audit.rows=30", "audit.metric=judge", LOGPROB)[2]["audit"]
    assert (judged["metric"], judged["measured"]) == ("logprob", 30)
