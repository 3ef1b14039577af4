"""Engines, scorers, guards, judges and metrics: what one table says of a kind is all that a whole job needs of it."""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import label, translate
from routelmt_ray.budget import rule
from routelmt_ray.config import loader
from routelmt_ray.config.checks import CHECKS
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.engines import ENGINES
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.config.judges import JUDGES
from routelmt_ray.config.label import LabelConfig, MetricsConfig
from routelmt_ray.config.metrics import METRICS
from routelmt_ray.config.scorers import SCORERS
from routelmt_ray.config.translate import GuardConfig, RouterConfig, TranslateConfig
from routelmt_ray.engines import open_probe
from routelmt_ray.job import labels, translation
from routelmt_ray.metrics.spec import MetricSpec
from routelmt_ray.plan.asked import asked, is_asked
from routelmt_ray.reports.run_facts import reasons
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir
from tests.toy_kinds import KINDS, VOWELS, ToyTranslateConfig

TOYS = [
    "input.source_lang=en", "input.target_lang=de", "input.shard_rows=16", "models.small.engine=echo",
    "models.large.engine=shout", "router.kind=vowels",
]  # fmt: skip


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the toys for the time of a test."""
    for table, name, kind in KINDS:
        monkeypatch.setitem(table, name, kind)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Sixty texts of many lengths, and their folder."""
    random = np.random.default_rng(5)
    found = ["".join(random.choice(list("abcdefghij "), n)) + "x" for n in random.integers(3, 60, 60)]
    folder = tmp_path_factory.mktemp("texts")
    pq.write_table(pa.table({"source": found}), folder / "a.parquet")
    return {"path": folder, "texts": found}


def run(run_dir: Path, corpus: dict[str, Any], *overrides: str) -> dict[str, Any]:
    """Translates with the toys; returns the report."""
    config = loader.load(
        ToyTranslateConfig, [], [f"run_dir={run_dir}", f"input.path={corpus['path']}", *TOYS, *overrides]
    )
    with Progress() as progress:
        return translate.run(config, translation.prepare(config), progress)


def output(run_dir: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((run_dir / "output").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def best(corpus: dict[str, Any], k: int, longest: float) -> set[int]:
    """Rows with more vowels than the k-th, and those with as many, of texts up to a length."""
    vowels = [sum(c in VOWELS for c in text) if len(text) <= longest else -1 for text in corpus["texts"]]
    return {row for row, n in enumerate(vowels) if n >= sorted(vowels, reverse=True)[k - 1]}


def test_toys_go_through_a_whole_job_a_resume_and_a_changed_budget(
    texts: dict[str, Any], local_ray: None, tmp_path: Path
) -> None:
    run_dir, plain = tmp_path / "run", texts["texts"]
    run(run_dir, texts, "budget.rows=12", "guard.longest=40")
    rows = output(run_dir)
    routed = {i for i, row in enumerate(rows) if row["route"] == "large"}
    assert len(routed) == 12
    assert routed <= best(texts, 12, 40)
    assert [row["translation"] for row in rows] == [t.upper() if i in routed else t for i, t in enumerate(plain)]
    assert {row["route_reason"] == "longest" for row in rows if len(row["source"]) > 40} == {True}
    assert {row["predicted_gain"] for row in rows} == {float(sum(c in VOWELS for c in text)) for text in plain}

    shutil.rmtree(run_dir / "output")
    run(run_dir, texts, "budget.rows=12", "guard.longest=40")
    assert output(run_dir) == rows
    assert len(RunDir(run_dir).plans()) == 1

    run(run_dir, texts, "budget.rows=12", "guard.longest=30")
    assert len(RunDir(run_dir).plans()) == 2, "a changed guard is another budget"
    again = {i for i, row in enumerate(output(run_dir)) if row["route"] == "large"}
    assert len(again) == 12
    assert again <= best(texts, 12, 30)
    assert again != routed

    for change in ("router.kind=length", "models.large.engine=echo"):
        with pytest.raises(ValueError, match=change.partition("=")[2]):
            run(run_dir, texts, "budget.rows=12", change)


def test_an_output_never_mixes_columns_of_two_versions(
    texts: dict[str, Any], without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, words = tmp_path / "run", ["budget.rows=12"]
    run(run_dir, texts, *words)
    before, manifest = output(run_dir), RunDir(run_dir).manifest()
    assert manifest is not None
    earlier = {"state": "running", "output_columns": manifest["output_columns"][:-1]}  # another version, not finished
    RunDir(run_dir).write_manifest(manifest | earlier)
    kept = min((run_dir / "output").glob("*.parquet"))
    pq.write_table(pq.read_table(kept).drop_columns(["error"]), kept)
    max((run_dir / "output").glob("*.parquet")).unlink()
    run(run_dir, texts, *words)
    assert output(run_dir) == before


def test_a_toy_judge_decides_which_translation_is_kept(
    texts: dict[str, Any], without_ray: None, tmp_path: Path
) -> None:
    small_shouts = ["models.small.engine=shout", "models.large.engine=echo"]
    report = run(
        tmp_path / "run", texts, "budget.rows=12", "guard.keep_better=0.1", "guard.judge=upper_case", *small_shouts
    )
    assert [row["translation"] for row in output(tmp_path / "run")] == [text.upper() for text in texts["texts"]]
    assert report["route_reasons"]["kept_small"] > 0


def test_a_toy_check_flags_rows(texts: dict[str, Any], without_ray: None, tmp_path: Path) -> None:
    run_dir, words = tmp_path / "run", ["budget.rows=12", "checks.shouted.action=flag", "checks.columns=true"]
    report = run(run_dir, texts, *words)
    rows = output(run_dir)
    assert {(row["status"], row["error"]) for row in rows if row["model"] == "large"} == {
        ("shouted", "shouted: it shouts")
    }
    assert {(row["status"], row["check_shouted"]) for row in rows if row["model"] == "small"} == {("ok", 0.0)}
    assert report["checks"][0]["models"] == {
        "large": {"failed": 12, "judged": 12},
        "small": {"failed": 0, "judged": 48},
    }
    assert report["quarantined"] == 0
    report = run(run_dir, texts, "budget.rows=12", "checks.shouted.action=quarantine")
    assert report["quarantined"] == 12 and len(report["checks"][0]["examples"]) == 5


def test_a_toy_metric_labels_rows(texts: dict[str, Any], without_ray: None, tmp_path: Path) -> None:
    words = [word for word in TOYS if not word.startswith("router")]
    config = loader.load(
        LabelConfig,
        [],
        [f"run_dir={tmp_path / 'run'}", f"input.path={texts['path']}", *words, "metrics.names=[upper_case]"],
    )
    with Progress() as progress:
        report = label.run(config, *labels.prepare(config), progress)
    rows = output(tmp_path / "run")
    shares = [np.mean([c.isupper() for c in text.upper()]) for text in texts["texts"]]
    assert [row["gain_upper_case"] for row in rows] == pytest.approx(shares)
    assert report["metrics"][0]["scale"] == "a share"


@pytest.mark.parametrize(
    "name",
    [kind.translator for kind in ENGINES.values()]
    + [kind.prober for kind in ENGINES.values() if kind.prober]
    + [name for kind in ENGINES.values() for name in (kind.check_settings, kind.check_model) if name]
    + [kind.scores for kind in SCORERS.values() if kind.scores]
    + [name for kind in JUDGES.values() for name in (kind.loads, kind.check)]
    + [kind.loads for kind in METRICS.values()]
    + [kind.opens for kind in CHECKS.values()],
)
def test_what_a_table_names_is_there(name: str) -> None:
    assert callable(resolve_name(name))


@pytest.mark.parametrize("section", [ModelConfig, RouterConfig, GuardConfig, MetricsConfig])
def test_the_help_says_what_each_kind_is(section: type) -> None:
    tables: dict[type, dict[str, Any]] = {
        ModelConfig: ENGINES, RouterConfig: SCORERS, GuardConfig: JUDGES, MetricsConfig: METRICS
    }  # fmt: skip
    said = loader.help_text(section)
    for name, kind in tables[section].items():
        assert f"`{name}`: {kind.help}." in said or (tables[section], name, kind) in KINDS


def test_an_engine_without_prompt_states_cannot_probe() -> None:
    with pytest.raises(ValueError, match="no prompt states"):
        open_probe(ModelConfig(engine="echo"), None)


@pytest.mark.parametrize("kind", SCORERS)
def test_each_scorer_has_a_unit_for_the_report(kind: str) -> None:
    assert RouterConfig(kind=kind).unit
    assert RouterConfig(kind=kind, scale=2.0).unit == "gain"


def test_every_key_of_the_guard_makes_another_budget() -> None:
    def budget(strictness: float | None) -> dict[str, Any]:
        words = ["run_dir=r", "input.path=i", *TOYS, "budget.fraction=0.3", f"guard.longest={strictness}"]
        return asked(loader.load(ToyTranslateConfig, [], words))

    assert budget(0.5) != budget(0.6)
    plain = loader.load(TranslateConfig, [], ["run_dir=r", "input.path=i", *TOYS, "budget.fraction=0.3"])
    assert asked(plain)["guard"].keys() <= {field.name for field in fields(GuardConfig)}


def test_a_kind_that_is_added_and_not_used_changes_no_earlier_run(texts: dict[str, Any], tmp_path: Path) -> None:
    words = [f"run_dir={tmp_path / 'run'}", f"input.path={texts['path']}", *TOYS, "budget.fraction=0.3"]
    with_toys, without = loader.load(ToyTranslateConfig, [], words), loader.load(TranslateConfig, [], words)
    assert is_asked({"asked": asked(without)}, asked(with_toys))
    earlier = asked(without)
    assert is_asked({"asked": earlier | {"guard": earlier["guard"] | {"keep_better": None}}}, asked(without))

    @dataclass(frozen=True)
    class LaterRouter(RouterConfig):
        weight: float = 1.0

    assert LaterRouter("vowels").settings == RouterConfig("vowels").settings == {}
    assert LaterRouter("vowels", weight=2.0).settings == {"weight": 2.0}
    assert RouterConfig("vowels", scale=2.0).settings == {"scale": 2.0, "intercept": 0.0}


def test_every_guard_has_its_key() -> None:
    toys = {name for table, name, _ in KINDS if table is GUARDS}
    assert GUARDS.keys() - toys <= {field.name for field in fields(GuardConfig)}


def test_every_reason_of_a_route_has_its_sentence() -> None:
    assert set(reasons()) == set(rule.reasons())
    assert {guard.reason for guard in GUARDS.values()} <= set(reasons())


@pytest.mark.parametrize(
    ("name", "settings", "begins"), [("chrf", (), "chrF2|"), ("bleu", (("tokenize", "zh"),), "BLEU|")]
)
def test_each_metric_without_a_checkpoint_opens_under_its_own_name(
    name: str, settings: tuple[tuple[str, str], ...], begins: str
) -> None:
    signature = MetricSpec(name, True, settings).open().signature()
    assert signature.startswith(begins)
    assert all(value in signature for _, value in settings)


def test_a_name_that_no_table_has_is_refused() -> None:
    words = ["run_dir=r", "input.path=i", *TOYS, "budget.fraction=0.3"]
    for key in ("models.small.engine", "router.kind", "guard.judge"):
        with pytest.raises(ValueError, match=f"{key} is 'unknown'; it must be one of"):
            loader.load(TranslateConfig, [], [*words, f"{key}=unknown"])
