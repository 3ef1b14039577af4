"""The judge stage: what it takes, what it leaves out, and whole runs of it on Ray."""

import json
import pickle
import venv
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig, ModelsConfig, PoolConfig
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.translate import GuardConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.metrics.judges import judge_pool, judge_python, open_judge
from routelmt_ray.runtime import pipelines
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.stages import judge, translate
from routelmt_ray.stages.judge import JudgeWork, judged
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO

ROWS, SHARD_ROWS = 30, 10
POOL = PoolConfig(actors=1, cpus=0.1)
GUARD = GuardConfig(keep_better=0.0, judge="logprob", logprob_model="large")


@pytest.fixture
def context(demo_corpus: pa.Table, tmp_path: Path) -> RunContext:
    """A run of 30 rows in three shards, with nothing committed."""
    path = tmp_path / "in.parquet"
    pq.write_table(demo_corpus.slice(0, ROWS), path)
    columns = ColumnsConfig(source_lang="source_lang", target_lang="target_lang")
    models = {
        size: ModelConfig(path=str(DEMO / "models" / size), prompt="demo", pool=POOL) for size in ("small", "large")
    }
    schema = pq.read_schema(path).remove_metadata()
    corpus = InputConfig(path=str(path), columns=columns, shard_rows=SHARD_ROWS)
    return RunContext(RunDir(tmp_path / "run"), schema, corpus, ModelsConfig(**models), "", 0)


@pytest.fixture
def plan(context: RunContext) -> ShardPlan:
    return ShardPlan([context.input.path], [ROWS], SHARD_ROWS)


def commit(context: RunContext, stage: str, texts: Mapping[int, str | None]) -> None:
    """Translations by place, as a leg leaves them; a shard without any of them has no file."""
    for shard in sorted({place // SHARD_ROWS for place in texts}):
        places = sorted(place for place in texts if place // SHARD_ROWS == shard)
        rows = [
            {
                "place": p, "translation": texts[p], "source_tokens": 1, "output_tokens": 1,
                "status": "ok" if texts[p] is not None else "engine_error", "error": None,
            }
            for p in places
        ]  # fmt: skip
        context.run.commit(stage, shard, pa.Table.from_pylist(rows, schema=translate.COLUMNS), {"rows": len(rows)})


def prepared(context: RunContext, plan: ShardPlan, work: JudgeWork) -> list[dict[str, Any]]:
    """What is to be judged, over all shards, in order."""
    prepare = judge.ReadToJudge(context, work)
    return [row for i in range(len(plan)) for row in prepare(pa.Table.from_pylist([to_item(plan[i])])).to_pylist()]


def carry_out(context: RunContext, plan: ShardPlan, work: JudgeWork, guard: GuardConfig = GUARD) -> None:
    """The stage on Ray."""

    def pipeline(items: Any) -> Any:
        rows = pipelines.on_tasks(items, judge.ReadToJudge(context, work), first=True)
        pool, python = judge_pool(guard, context.models), judge_python(guard)
        rows = pipelines.on_actors(
            rows, judge.JudgeTranslations, (context.run, guard, context.models, work.stage), pool, python
        )
        return pipelines.on_tasks(rows, judge.commit_judgements(context, work))

    rows = {shard: plan[shard].rows for shard in range(len(plan))}
    with Progress() as progress:
        item: Callable[[int], dict[str, Any]] = lambda shard: to_item(plan[shard])  # noqa: E731
        pipelines.run(context.run, [pipelines.Work.of_stage("judge", work.stage, rows, item, pipeline)], 1, progress)


def test_a_later_stage_wins_and_rows_without_a_translation_are_left_out(context: RunContext, plan: ShardPlan) -> None:
    commit(context, "small/000", {0: "a", 1: "b", 2: None, 12: "c", 13: "d"})
    commit(context, "small/001", {1: "later", 2: "rescued", 13: None})
    rows = prepared(context, plan, JudgeWork("x", {"small": ("small/000", "small/001", "small/002")}))
    assert {row["place"]: (row["small"], row["large"]) for row in rows} == {
        0: ("a", None), 1: ("later", None), 2: ("rescued", None), 12: ("c", None),
    }  # fmt: skip
    given = pq.read_table(context.input.path).to_pylist()
    for row in rows:
        wanted = given[row["place"]]
        assert [row[k] for k in ("source", "source_lang", "target_lang")] == [
            wanted[k] for k in ("source", "source_lang", "target_lang")
        ]
        assert row["shard"] == row["place"] // SHARD_ROWS
    assert context.run.committed("judge/x") == {2}, "a shard with nothing to judge is committed at once"
    assert context.run.metas("judge/x")[2] == {"rows": 0, "judgements": 0, "engine_s": 0.0, "device_s": 0.0}


def test_all_sides_leaves_out_rows_that_lack_one(context: RunContext, plan: ShardPlan) -> None:
    commit(context, "small/000", {0: "a", 1: "b", 2: None})
    commit(context, "large/000", {1: "B", 2: "C", 3: "D"})
    sides = {"small": ("small/000",), "large": ("large/000",)}
    either, both = (prepared(context, plan, JudgeWork(f"{all_sides}", sides, all_sides)) for all_sides in (False, True))
    assert {row["place"]: (row["small"], row["large"]) for row in either} == {
        0: ("a", None), 1: ("b", "B"), 2: (None, "C"), 3: (None, "D"),
    }  # fmt: skip
    assert {row["place"]: (row["small"], row["large"]) for row in both} == {1: ("b", "B")}


def test_what_an_earlier_stage_judged_is_not_judged_again(context: RunContext, plan: ShardPlan) -> None:
    commit(context, "small/000", dict.fromkeys(range(4), "a"))
    commit(context, "large/000", dict.fromkeys(range(4), "b"))
    before = {"place": [0, 1, 2], "small": [0.5, 0.25, None], "large": [0.75, None, None]}
    context.run.commit("judge/e", 0, pa.table(before, schema=judge.COLUMNS), {"rows": 3})
    sides = {"small": ("small/000",), "large": ("large/000",)}
    work = JudgeWork("x", sides, all_sides=True, earlier=("judge/e", "judge/none"))
    rows = prepared(context, plan, work)
    assert {row["place"]: (row["small"], row["large"]) for row in rows} == {
        1: (None, "b"),
        2: ("a", "b"),
        3: ("a", "b"),
    }
    after = {"place": [1, 2], "small": [None, 0.1], "large": [0.2, None]}
    context.run.commit("judge/x", 0, pa.table(after, schema=judge.COLUMNS), {"rows": 2})
    found = judged(context.run, ("judge/e", "judge/none", "judge/x"), 0, 0, 5)
    np.testing.assert_array_equal(found["small"], [0.5, 0.25, 0.1, np.nan, np.nan])
    np.testing.assert_array_equal(found["large"], [0.75, 0.2, np.nan, np.nan, np.nan])
    nothing = judged(context.run, ("judge/e",), 2, 20, 3)
    assert nothing["small"].dtype == np.float64 and np.isnan(nothing["small"]).all()


def test_equal_translations_get_the_same_judgement(context: RunContext, plan: ShardPlan) -> None:
    references = pq.read_table(context.input.path)["reference"].to_pylist()
    commit(context, "small/000", dict(enumerate(references)))
    commit(context, "large/000", dict(enumerate(references)))
    work = JudgeWork("x", {"small": ("small/000",), "large": ("large/000",)})
    prepare, stage = (
        judge.ReadToJudge(context, work),
        judge.JudgeTranslations(context.run, GUARD, context.models, work.stage),
    )
    asked: list[int] = []
    inner = stage._host.engine

    class Counting:
        """The same judge, which counts what it is asked."""

        def scores(self, *columns: Any) -> np.ndarray:
            asked.append(len(columns[0]))
            return inner.scores(*columns)

    stage._host.engine = Counting()
    table = stage(prepare(pa.Table.from_pylist([to_item(plan[1])])))
    assert table["small"].equals(table["large"]) and table["small"].null_count == 0
    assert asked == [SHARD_ROWS]


def test_work_is_frozen_and_goes_to_workers() -> None:
    work = JudgeWork("tag/000", {"small": ("small/000",)}, earlier=("judge/a",))
    assert pickle.loads(pickle.dumps(work)) == work
    assert work.stage == "judge/tag/000"
    with pytest.raises(AttributeError):
        work.name = "y"  # type: ignore[misc]


def test_the_stage_on_ray_says_what_the_judge_says(local_ray: None, context: RunContext, plan: ShardPlan) -> None:
    given = pq.read_table(context.input.path).to_pydict()
    texts = {place: " ".join(given["reference"][place].split()[::-1]) for place in (0, 3, 4, 11)}
    commit(context, "small/000", texts | {5: None})
    commit(context, "large/000", {place: given["reference"][place] for place in (3, 4, 5, 6)})
    work = JudgeWork("x", {"small": ("small/000",), "large": ("large/000",)}, all_sides=True)
    carry_out(context, plan, work)
    assert context.run.committed("judge/x") == {0, 1, 2}
    metas = context.run.metas("judge/x")
    assert [metas[shard]["rows"] for shard in range(3)] == [2, 0, 0]
    assert metas[0]["engine_s"] > 0 == metas[1]["engine_s"]
    found = judged(context.run, ("judge/x",), 0, 0, SHARD_ROWS)
    assert all(np.flatnonzero(~np.isnan(found[side])).tolist() == [3, 4] for side in judge.SIDES)
    plain = open_judge(GUARD, context.models)
    for side, said in (("small", texts), ("large", dict(enumerate(given["reference"])))):
        columns = [[given[k][p] for p in (3, 4)] for k in ("source", "source_lang", "target_lang")]
        np.testing.assert_allclose(found[side][[3, 4]], plain.scores(*columns, [said[3], said[4]]), rtol=1e-4)
    more = JudgeWork("y", {"small": ("small/000",)}, earlier=("judge/x",))
    carry_out(context, plan, more)
    assert pq.read_table(context.run.shard_path("judge/y", 0))["place"].to_pylist() == [0]
    assert pq.read_table(context.run.shard_path("judge/y", 1))["place"].to_pylist() == [11]
    assert pq.read_schema(context.run.shard_path("judge/y", 2)).names == judge.COLUMNS.names


@pytest.mark.slow
@pytest.mark.skipif(find_spec("comet") is None, reason="unbabel-comet is not installed: pip install .[comet]")
def test_comet_judges_under_another_interpreter(
    local_ray: None, context: RunContext, plan: ShardPlan, tmp_path: Path
) -> None:
    from tests.metrics.tiny_comet import make_checkpoint

    venv.create(tmp_path / "other", with_pip=False)
    first = Path(find_spec("comet").origin).parents[1]  # type: ignore[union-attr]
    site = next((tmp_path / "other" / "lib").glob("python*/site-packages"))
    (site / "first.pth").write_text(f"import site; site.addsitedir({str(first)!r})\n")
    python = str(tmp_path / "other" / "bin" / "python")
    path = make_checkpoint(tmp_path / "qe", "referenceless_regression_metric")
    guard = GuardConfig(judge="comet_qe", comet_qe=CometConfig(path=str(path), python=python, pool=POOL))
    commit(context, "small/000", {place: f"das Haus {place}" for place in range(12)})
    carry_out(context, plan, JudgeWork("q", {"small": ("small/000",)}), guard)
    found = judged(context.run, ("judge/q",), 0, 0, SHARD_ROWS)["small"]
    here = replace(guard, comet_qe=replace(guard.comet_qe, python=None))
    sources = pq.read_table(context.input.path)["source"].to_pylist()[:SHARD_ROWS]
    said = [f"das Haus {place}" for place in range(SHARD_ROWS)]
    wanted = open_judge(here, context.models).scores(sources, ["en"] * 10, ["es"] * 10, said)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.std() > 0
    assert json.loads(pq.read_metadata(context.run.shard_path("judge/q", 1)).metadata[b"routelmt"])["rows"] == 2
