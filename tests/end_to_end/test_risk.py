"""Whole jobs with a promise about losses: an audit in a first run, the promise in later ones."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.engines import ENGINES
from routelmt_ray.config.judges import JUDGES
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.job.status import status
from routelmt_ray.plan.risk import check_promise
from routelmt_ray.reports.status_table import print_status
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import Job, copy_of
from tests.end_to_end import ended
from tests.runtime.noted import figures_of_this_process, noted
from tests.toy_kinds import KINDS
from tests.without_ray import without_ray as in_process

pytestmark = pytest.mark.usefixtures("without_ray")
WORDS = [
    "models.small.engine=echo", "models.large.engine=shout", "router.kind=column", "router.column=score", "input.source_lang=en",
    "input.columns.target_lang=lang", "input.columns.reference=reference", "input.shard_rows=250",
]  # fmt: skip
ROWS = 1000
AUDIT = ["audit.rows=800", "budget.rows=0"]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch, without_ray: None) -> None:
    """Adds the engine that answers in capitals, and a judge."""
    for table, name, kind in KINDS:
        if table in (ENGINES, JUDGES):
            monkeypatch.setitem(table, name, kind)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Texts whose reference is in capitals, but for German with a score below .3 and all French: there capitals are a loss."""
    folder, rng = tmp_path_factory.mktemp("risk"), np.random.default_rng(4)
    scores = np.round(rng.random(ROWS), 2)
    langs = np.where(np.arange(ROWS) % 4 == 0, "fr", "de")
    texts = [f"a sentence of some words {row}" for row in range(ROWS)]
    better = (scores >= 0.3) & (langs == "de")
    references = [text.upper() if good else text for text, good in zip(texts, better)]
    columns = {"source": texts, "score": scores, "lang": langs, "reference": references}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return {"word": f"input.path={folder}", "scores": scores.astype(np.float32), "langs": langs, "folder": folder}


@pytest.fixture(scope="module")
def audited(corpus: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A finished run with an audit of most rows that routes nothing."""
    with pytest.MonkeyPatch.context() as patch, in_process():
        for table, name, kind in KINDS:
            if table is ENGINES:
                patch.setitem(table, name, kind)
        job = Job(tmp_path_factory.mktemp("audited") / "run")
        job.run(*WORDS, corpus["word"], *AUDIT)
    return job


def routed(job: Job) -> np.ndarray:
    return np.asarray([route == "large" for route in job.output()["route"].to_pylist()])


def test_each_pair_keeps_its_promise_and_the_budget_goes_to_the_next_best(
    corpus: dict[str, Any], audited: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, scores, langs = Job(tmp_path / "run"), corpus["scores"], corpus["langs"]
    risk = ["guard.risk.rate=0.05", "guard.risk.by=pair", f"guard.risk_from={audited.run_dir}"]
    refused = job.run(*WORDS, corpus["word"], *risk, "budget.rows=300", check=2).stderr
    assert "rows of en→fr with the highest predicted gain" in refused
    assert "100.0%, and more rows like these would not do" in refused and not job.run_dir.exists()

    risk.append("guard.risk.unproven=small")
    with ended.commits("large/000"), pytest.raises(ended.Ended):
        job.run(*WORDS, corpus["word"], *risk, "budget.rows=300")
    before = job.plan()
    done = job.run(*WORDS, corpus["word"], *risk, "budget.rows=300")
    assert job.plan() == before, "a job that goes on keeps its promise"
    assert "its rows stay with the small model" in caplog.text
    german = np.sort(scores[langs == "de"])[::-1]
    assert set(np.flatnonzero(routed(job))) <= set(np.flatnonzero((langs == "de") & (scores >= german[299])))
    assert routed(job).sum() == 300
    report = job.report()
    assert status(str(job.run_dir))["promise"] == report["promise"] and status(str(audited.run_dir))["promise"] is None
    print_status(status(str(job.run_dir)), Console(file=(shown := StringIO()), width=900))
    assert "promise        At most 5.0 % of the routed rows of en→de lose more than 5 points" in shown.getvalue()
    found = report["promise"]["groups"]["en→de"]
    assert found["threshold"] == pytest.approx(0.3, abs=0.05) and found["bound"] <= 0.05
    assert report["promise"]["groups"]["en→fr"]["threshold"] is None
    assert report["route_reasons"]["risk"] == ((langs == "fr") | (scores < np.float32(found["threshold"]))).sum()
    said = " ".join(done.stdout.split())
    assert (
        "At most 5.0 % of the routed rows of en→de lose more than 5 points of chrf, with 95 % confidence for each pair"
        in said
    )
    assert "all other rows stay with the small model" in said

    # A dry run predicts with the promise, and a larger budget ends at the floor.
    dry = job.run(*WORDS, corpus["word"], *risk, "budget.rows=900", "budget.dry_run=true", "cost.rows=16")
    assert "At most 5.0 % of the routed rows of en→de" in " ".join(dry.stdout.split())
    predicted = job.report()["forecast"]["asked"]["rows"]
    floor = np.float32(found["threshold"])
    job.run(*WORDS, corpus["word"], *risk, "budget.rows=900")
    assert routed(job).sum() == predicted
    assert (routed(job) == ((langs == "de") & (scores >= floor))).all()


def test_all_rows_together_and_what_is_refused(corpus: dict[str, Any], audited: Job, tmp_path: Path) -> None:
    source = f"guard.risk_from={audited.run_dir}"
    job = Job(tmp_path / "run")
    judged = ["audit.rows=5", "audit.metric=judge", "guard.judge=upper_case"]
    rate = ["guard.risk.rate=0.45", "guard.risk.loss=0.1", source]
    for words, message in (
        (["guard.risk.rate=0.1"], "guard.risk.rate is 0.1 and guard.risk_from is None"),
        ([source], "guard.risk.rate is None and guard.risk_from is"),
        (["guard.risk.rate=1.5", source], "it must be null or a number between 0 and 1"),
        (["guard.risk.rate=0.1", "guard.risk.by=pairs", source], "one of all, pair"),
        (["guard.risk.rate=0.1", f"guard.risk_from={tmp_path / 'none'}"], "a run that is not there"),
        ([*rate, "models.small.max_input_tokens=99"], "models.small"),
        ([*rate, "router.scale=2"], "router.scale"),
        ([*rate, "audit.rows=5", "audit.metric=judge", "guard.judge=comet_qe", "guard.comet_qe.path=x"], "comet"),
        (
            [*rate, *judged],
            "metric: 'chrf' -> 'upper_case' (there -> here); audit some rows with the measure of this run",
        ),
        (["guard.risk.rate=0.001", source], "of 400 rows with the highest predicted gain that test it, "),
    ):
        assert message in job.run(*WORDS, corpus["word"], "budget.rows=300", *words, check=2).stderr
        assert not job.run_dir.exists()

    words = [*WORDS, corpus["word"], *rate, f"run_dir={job.run_dir}", "budget.rows=300"]
    config, manifest = configlib.load(TranslateConfig, [], words), RunDir(audited.run_dir).manifest()
    assert manifest is not None
    check_promise(config, manifest["identity"])
    with pytest.raises(ValueError, match="terms: None -> "):
        check_promise(config, manifest["identity"] | {"terms": {"small": ["digest", "{terms}"]}})

    with figures_of_this_process() as figures:
        done = job.run(*WORDS, corpus["word"], *rate, "budget.rows=900")
    found = job.report()["promise"]["groups"]["all"]
    exported = [noted(figures)[f"routelmt_promise_{name}"][-1] for name in ("rate", "bound", "threshold")]
    assert exported == [(0.45, "all"), (found["bound"], "all"), (found["threshold"], "all")]
    taken = routed(job)
    assert (taken == (corpus["scores"] >= np.float32(found["threshold"]))).all() and 0 < taken.sum() < 900
    lost = (corpus["langs"] == "fr") | (corpus["scores"] < 0.3)
    assert lost[taken].mean() <= 0.45
    assert "of the routed rows lose more than 10 points of chrf" in " ".join(done.stdout.split())
    assert "What is promised about losses" in (job.run_dir / "report.html").read_text()
    assert "nothing to do" in job.run(*WORDS, corpus["word"], *rate, "budget.rows=900").stderr

    anyway = job.run(
        *WORDS, corpus["word"], "guard.risk.rate=0.001", source, "guard.risk.unproven=route", "budget.rows=300"
    )
    assert "its rows are routed" in anyway.stderr and routed(job).sum() == 300
    assert "Nothing is promised about losses" in " ".join(anyway.stdout.split())


def test_a_run_keeps_the_promise_of_its_earlier_audit(corpus: dict[str, Any], audited: Job, tmp_path: Path) -> None:
    job = copy_of(audited, tmp_path / "run")
    words = [*WORDS, corpus["word"], "guard.risk.rate=0.45", f"guard.risk_from={job.run_dir}"]
    job.run(*words, "budget.rows=100")
    run, before = RunDir(job.run_dir), job.report()["promise"]
    assert len(run.plans()) == 2 and job.report()["audit"] is None
    assert "nothing to do" in job.run(*words, "budget.rows=100").stderr
    storage.remove(run.shard_path("output", 1))
    job.run(*words, "budget.rows=100")
    job.run(*words, "budget.rows=900")
    assert job.report()["promise"] == before and len(run.plans()) == 3
    assert job.report()["budget"]["routed"] < 900
    other = job.run(*words, "budget.rows=900", "guard.risk.loss=0.2", check=2).stderr
    assert "a run that has no audit" in other
