"""Checks that escalate, in whole jobs: small translations that fail go to the large model, within the budget.

The small model returns the source, the large one swaps its case, and the check refuses upper case. A source in upper case
therefore fails in the small model, and one in lower case in the large model.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import translate
from routelmt_ray.config import loader
from routelmt_ray.job import translation
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import Job
from tests.end_to_end.runs import output
from tests.toy_kinds import KINDS, VOWELS, ToyTranslateConfig

K, HELD = 20, 4
WORDS = [
    "input.source_lang=en", "input.target_lang=de", "input.shard_rows=30", "models.small.engine=echo",
    "models.large.engine=swap", "router.kind=vowels", f"budget.rows={K}", "checks.shouted.action=escalate",
    f"checks.reserve={HELD / K}",
]  # fmt: skip


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for table, name, kind in KINDS:
        monkeypatch.setitem(table, name, kind)


def corpus(folder: Path, upper: int) -> Path:
    """Sixty texts, of which the given number is in upper case, a third of the others in lower case, and the rest in mixed case."""
    random = np.random.default_rng(5)
    texts = ["".join(random.choice(list("abcdefghij"), n)) + "x" for n in random.integers(5, 40, 60)]
    texts = [text.upper() if row < upper else text if row % 3 else "A" + text for row, text in enumerate(texts)]
    random.shuffle(texts)
    folder.mkdir()
    pq.write_table(pa.table({"source": texts}), folder / "a.parquet")
    return folder


def run(run_dir: Path, path: Path, *overrides: str) -> dict[str, Any]:
    config = loader.load(ToyTranslateConfig, [], [f"run_dir={run_dir}", f"input.path={path}", *WORDS, *overrides])
    with Progress() as progress:
        return translate.run(config, translation.prepare(config), progress)


def vowels(text: str) -> int:
    return sum(letter in VOWELS for letter in text)


@pytest.mark.parametrize(("upper", "where"), [(0, "without_ray"), (2, "without_ray"), (15, "local_ray")])
def test_rows_that_fail_take_what_was_held_and_the_best_others_take_the_rest(
    upper: int, where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue(where)
    report = run(tmp_path / "run", corpus(tmp_path / "in", upper))
    rows = output(tmp_path / "run").to_pylist()
    routed = [row for row in rows if row["route"] == "large"]
    by_check = [row for row in routed if row["route_reason"] == "check"]
    assert len(routed) == K == report["budget"]["routed"]
    assert len(by_check) == min(HELD, upper) and all(row["source"].isupper() for row in by_check)
    assert report["route_reasons"].get("check", 0) == len(by_check)
    # The others are the best by gain, as though the escalated rows were not there.
    others = sorted((vowels(row["source"]) for row in rows if row["route_reason"] != "check"), reverse=True)
    assert (
        sorted((vowels(r["source"]) for r in routed if r["route_reason"] == "gain"), reverse=True)
        == (others[: K - len(by_check)])
    )
    for row in routed:  # a large translation that fails gives way to the small one
        kept_small = row["source"].islower()
        assert row["translation"] == (row["source"] if kept_small else row["source"].swapcase())
        assert row["model"] == ("small" if kept_small else "large") and row["status"] == "ok"
        assert (row["error"] == "large: shouted: it shouts") == kept_small
    left = {row["status"] for row in rows if row["route"] == "small" and row["source"].isupper()}
    assert left == ({"shouted"} if upper > HELD else set()), "what no budget is left for is marked"
    assert report["fallbacks"] == sum(row["source"].islower() for row in routed) > 0


def test_a_loss_of_any_step_changes_nothing(without_ray: None, tmp_path: Path) -> None:
    folder, run_dir = corpus(tmp_path / "in", 15), tmp_path / "run"
    run(run_dir, folder)
    before, entries = output(run_dir), RunDir(run_dir).plans()
    assert [entry["kind"] for entry in entries] == ["whole", "escalated", "escalated"]
    later = ["plan/002.json", "large/002", "failing/000-large", "small/000-fallback", "output"]
    for lost in range(len(later)):
        for name in later[lost:]:
            for path in [run_dir / name] if name.endswith("json") else (run_dir / name).glob("*.parquet"):
                path.unlink()
        run(run_dir, folder)
        assert output(run_dir).equals(before) and RunDir(run_dir).plans() == entries


def test_another_reserve_is_another_budget_and_keeps_translations(without_ray: None, tmp_path: Path) -> None:
    folder, run_dir = corpus(tmp_path / "in", 15), tmp_path / "run"
    run(run_dir, folder)
    run(run_dir, folder, "checks.reserve=0.5")
    reasons = output(run_dir)["route_reason"].to_pylist()
    assert reasons.count("check") == 10 and reasons.count("gain") == K - 10
    again = sum(meta["rows"] for stage in ("large/003", "large/005") for meta in RunDir(run_dir).metas(stage).values())
    assert again == 6, "only rows that no earlier budget routed are translated"


def test_a_threshold_holds_nothing_and_is_refused(no_cluster: None, job: Job, tmp_path: Path) -> None:
    words = [f"input.path={tmp_path}", "input.source_lang=en", "input.target_lang=de", "models.small.engine=echo"]
    words += ["models.large.engine=echo", "router.kind=length", "router.scale=1", "checks.copy.action=escalate"]
    words += ["budget.threshold=0.1"]
    assert "a check has the action escalate, which a budget.threshold cannot pay for" in job.run(*words, check=2).stderr
