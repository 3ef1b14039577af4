"""A damaged file of an earlier budget takes with it what was made in its light, and no more."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.job import translation
from routelmt_ray.plan.legs import tasks_of
from routelmt_ray.plan.plan import LegOf
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages import merge, score, translate
from routelmt_ray.storage.dependents import remove_dependents
from routelmt_ray.storage.rundir import SUCCESS, RunDir
from tests.corpus.test_column_types import here
from tests.end_to_end.ended import Ended
from tests.end_to_end.runs import ECHO

SHARDS = (0, 1)
STAGES = (
    "small/000", "large/000", "small/000-fallback", "small/001", "large/001", "small/001-audit", "large/002", "small/002",
    "small/002-fallback", "judge/000-both", "judge/002-both", "judge/001",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A first budget of one entry, and a second one of two."""
    run = RunDir(tmp_path)
    for entry, series in ((0, 0), (1, 1), (2, 1)):
        run.write_plan({"entry": entry, "series": series})
    for stage in (*STAGES, "scores", "output"):
        for shard in SHARDS:
            run.commit(stage, shard, pa.table({"place": [shard]}), {})
    return run


@pytest.mark.parametrize(
    ("damaged", "gone"),
    [
        (
            "large/000",
            [
                "judge/002-both",
                "large/001",
                "large/002",
                "small/001",
                "small/001-audit",
                "small/002",
                "small/002-fallback",
            ],
        ),
        (
            "small/000-fallback",
            [
                "judge/002-both",
                "large/001",
                "large/002",
                "small/001",
                "small/001-audit",
                "small/002",
                "small/002-fallback",
            ],
        ),
        ("large/001", ["judge/002-both", "small/002-fallback"]),
        ("small/002", ["judge/002-both"]),
        ("judge/001", []),
        ("scores", []),
        ("output", []),
    ],
)
def test_what_goes_with_a_damaged_file(run: RunDir, damaged: str, gone: list[str]) -> None:
    name = f"{damaged}/shard-000001.parquet"
    (run.root / name).unlink()
    assert remove_dependents(run, [name]) == sorted(f"{stage}/shard-000001.parquet" for stage in gone)
    for stage in (*STAGES, "scores", "output"):
        assert run.committed(stage) == ({0} if stage in (*gone, damaged) else {0, 1}), stage


def test_a_job_without_budgets_has_no_dependents(tmp_path: Path) -> None:
    assert remove_dependents(RunDir(tmp_path), ["large/all/shard-000000.parquet"]) == []


def test_rows_of_any_shard_may_repeat_the_rows_of_a_lost_file(run: RunDir) -> None:
    run.commit("shared/rows", 0, pa.table({"place": [0]}), {})
    (run.root / "large/001/shard-000001.parquet").unlink()
    remove_dependents(run, ["large/001/shard-000001.parquet"])
    assert run.committed("output") == run.committed("shared/rows") == set() and run.committed("small/001") == {0, 1}


MEMORY = ("memory/found", "memory/rows", "memory/small")


@pytest.fixture
def remembering(run: RunDir) -> RunDir:
    """The same, with what a memory of earlier runs had."""
    for stage in MEMORY:
        for shard in SHARDS:
            run.commit(stage, shard, pa.table({"place": [shard]}), {})
    return run


def lose(run: RunDir, stage: str) -> list[str]:
    """Loses a file to damage, at a separate start; returns the files that go with it."""
    name = f"{stage}/shard-000001.parquet"
    (run.root / name).unlink()
    gone = remove_dependents(run, [name])
    run.commit(stage, 1, pa.table({"place": [1]}), {})
    return gone


@pytest.mark.parametrize("then", ["memory/small", "memory/rows"])
def test_rows_are_not_placed_from_a_memory_that_was_asked_again(remembering: RunDir, then: str) -> None:
    assert lose(remembering, "memory/found") == [], "rows are placed already"
    assert remembering.committed("memory/rows") == {0, 1}
    gone = lose(remembering, then)
    assert {"scores/shard-000000.parquet", "small/001/shard-000001.parquet", "memory/found/shard-000000.parquet"} < set(
        gone
    )
    assert remembering.committed("scores") == remembering.committed("memory/found") == set() and not remembering.plans()
    for stage in ("memory/found", "memory/small"):  # a new beginning: the first fault is forgotten too
        remembering.commit(stage, 1, pa.table({"place": [1]}), {})
    assert lose(remembering, "memory/small") == []


def test_a_memory_that_is_asked_again_before_rows_are_placed_is_no_fault(remembering: RunDir) -> None:
    remembering.clear("memory/rows")
    assert lose(remembering, "memory/found") == []
    assert lose(remembering, "memory/small") == [] and remembering.committed("memory/found") == {0, 1}


class Budgets:
    """Budgets in rows over one scored corpus of two shards, translated by hand and merged as the job does."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        pq.write_table(pa.table({"source": texts}), folder / "in.parquet")
        self.run, self._folder = RunDir(folder / "run"), folder
        config = self._config(1)
        corpus = open_corpus(find_files(config.input.path), self.run.root / "input", here)
        self.shards = corpus.plan(config.input.shard_rows)
        self.context = RunContext(self.run, corpus.schema, config.input, config.models, "", 0)
        for number in range(len(self.shards)):
            score.CommitScores(self.context)(score.ReadAndScore(self.context, config.router)(self._item(number)))

    def _config(self, rows: int) -> TranslateConfig:
        words = [f"run_dir={self._folder / 'run'}", f"input.path={self._folder / 'in.parquet'}", f"budget.rows={rows}"]
        return configlib.load(TranslateConfig, [], [*words, *ECHO, "router.kind=length", "input.shard_rows=6"])

    def _item(self, number: int, **more: Any) -> pa.Table:
        return pa.table({name: [value] for name, value in (to_item(self.shards[number]) | more).items()})

    def translate(self, rows: int) -> tuple[TranslateConfig, Planner]:
        """Plans a budget and commits what its legs lack."""
        config = self._config(rows)
        planner = translation.open_planner(config, self.context, self.shards, None)
        if not planner.series.settled:
            planner.settle()
        for size, tasks in tasks_of(planner).items():
            for stage, number in tasks:
                if number in self.run.committed(stage):
                    continue
                leg_of = LegOf(planner.series, size)
                asked = translate.ReadPrompts(self.context, size, leg_of)(self._item(number, entry=int(stage[-3:])))
                answers = {name: asked[name] for name in ("shard", "stage", "place", "predicted_s", "joint", "note")}
                nothing, n = pa.array([0] * asked.num_rows, pa.int32()), asked.num_rows
                charged = {"charged_prompt_tokens": [0] * n, "charged_completion_tokens": [0] * n}
                answers |= {"translation": asked["text"], "source_tokens": nothing, "output_tokens": nothing}
                answers |= {"status": pa.array(["ok"] * n), "error": pa.nulls(n, pa.string())}
                translate.CommitTranslations(self.context)(
                    pa.table(answers | {"engine_s": [0.0] * n, "device_s": [0.0] * n, "halved": [0] * n} | charged)
                )
        return config, planner

    def merge(self, config: TranslateConfig, planner: Planner) -> pa.Table:
        """The output of a budget."""
        for number in range(len(self.shards)):
            merge.Merge(self.context, translation.merge_plan(config, planner))(self._item(number))
        return pa.concat_tables(pq.read_table(self.run.shard_path("output", i)) for i in range(len(self.shards)))


def test_an_earlier_budgets_file_that_is_cut_before_the_merge_is_made_up_for(tmp_path: Path) -> None:
    texts = ["x" * n for n in range(1, 13)]
    budgets = Budgets(tmp_path, texts)
    budgets.translate(5)
    budgets.translate(8)
    cut = budgets.run.shard_path("large/000", 1)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert budgets.run.metas("large/001").keys() == {0, 1}
    assert budgets.run.remove_damaged() == [f"large/{entry}/shard-000001.parquet" for entry in ("000", "001")]
    rows = budgets.merge(*budgets.translate(8)).to_pylist()
    assert [row["translation"] for row in rows] == texts
    assert [row["model"] for row in rows] == ["small"] * 4 + ["large"] * 8


def test_scores_that_are_made_again_and_differ_cost_the_translations_of_their_shard_and_no_row(tmp_path: Path) -> None:
    texts = ["x" * n for n in range(1, 13)]
    budgets = Budgets(tmp_path, texts)
    config, planner = budgets.translate(3)
    path = budgets.run.shard_path("scores", 1)
    table, meta = storage.read_table(path), storage.read_meta(path)
    storage.remove(path)
    at = table.schema.get_field_index("predicted_gain")
    storage.publish_table(
        path, table.set_column(at, table.schema.field(at), pa.array(np.arange(12, 6, -1, dtype="f4"))), meta
    )
    with pytest.raises(
        storage.Damaged, match="shard 1: 6 rows have no answer of the model that they are given to.*Start the job"
    ):
        budgets.merge(config, planner)
    assert budgets.run.remove_damaged() == ["large/000/shard-000001.parquet", "small/000/shard-000001.parquet"]
    rows = budgets.merge(*budgets.translate(3)).to_pylist()
    assert [row["translation"] for row in rows] == texts
    assert [row["model"] for row in rows] == ["small"] * 6 + ["large"] * 3 + ["small"] * 3


LABELS = ("small/all", "large/all", "quality/chrf-1", "quality/bleu-2", "output")


def commit_all(run: RunDir, *stages: str) -> RunDir:
    for stage in stages:
        for shard in SHARDS:
            run.commit(stage, shard, pa.table({"place": [shard]}), {})
    return run


def damage(run: RunDir, *stages: str) -> None:
    """Cuts the end of a file of each stage."""
    for stage in stages:
        file = run.shard_path(stage, 1)
        storage.write_bytes(file, storage.read_bytes(file)[:-4])


@pytest.mark.parametrize("model", ["small", "large"])
def test_the_quality_of_a_lost_label_translation_is_measured_again(tmp_path: Path, model: str) -> None:
    run = commit_all(RunDir(tmp_path), *LABELS)
    damage(run, f"{model}/all")
    names = [f"{stage}/shard-000001.parquet" for stage in (f"{model}/all", "quality/bleu-2", "quality/chrf-1")]
    assert run.remove_damaged() == names
    for stage in LABELS:
        assert run.committed(stage) == ({0} if f"{stage}/shard-000001.parquet" in names else {0, 1}), stage


def test_the_quality_of_repeats_in_any_shard_is_measured_again(tmp_path: Path) -> None:
    run = commit_all(RunDir(tmp_path), *LABELS, "shared/rows")
    damage(run, "large/all")
    run.remove_damaged()
    assert {stage: run.committed(stage) for stage in (*LABELS, "shared/rows")} == {
        "small/all": {0, 1}, "large/all": {0}, "quality/chrf-1": set(), "quality/bleu-2": set(), "output": set(),
        "shared/rows": set(),
    }  # fmt: skip


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Ends this process in place of a removal. Of a folder, half is removed by then."""
    done = itertools.count()

    def one(path: Path, remove: Callable[[Path], None] = storage.remove) -> None:
        if next(done) == number:
            raise Ended
        remove(path)

    def tree(folder: Path, remove: Callable[[Path], None] = storage.remove_tree) -> None:
        if next(done) == number:
            for file in sorted(folder.rglob("*.parquet"))[::2]:
                file.unlink()
            raise Ended
        remove(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "remove", one)
        patch.setattr(storage, "remove_tree", tree)
        yield


def of_budgets(run: RunDir) -> None:
    """A file of each budget is damaged, and a shared one."""
    commit_all(run, "shared/rows", "shared/answers", "lengths")
    damage(run, "large/000", "large/001", "shared/rows")


def of_a_memory(run: RunDir) -> None:
    """The memory is asked again after rows were placed, and placed rows are damaged."""
    for stage in STAGES[4:]:
        run.clear(stage)
    commit_all(run, *MEMORY, "memory/large")
    damage(run, "memory/found", "memory/small")


def of_labels(run: RunDir) -> None:
    """Labels of repeats."""
    commit_all(run, *LABELS[:-1], "shared/rows", "shared/answers")
    damage(run, "small/all", "quality/chrf-1")


def of_a_complete_output(run: RunDir) -> None:
    """Pages of two files were altered in a folder that is complete; their ends are whole."""
    storage.write_text(run.folder("output") / SUCCESS, "")
    for shard in SHARDS:
        file = run.shard_path("output", shard)
        content = bytearray(storage.read_bytes(file))
        content[6] ^= 255
        storage.write_bytes(file, bytes(content))
        os.utime(file, (file.stat().st_mtime + 9,) * 2)


@pytest.mark.parametrize("damaging", [of_budgets, of_a_memory, of_labels, of_a_complete_output])
def test_a_start_that_is_killed_while_it_removes_damaged_files_forgets_none(
    run: RunDir, tmp_path_factory: pytest.TempPathFactory, damaging: Callable[[RunDir], None]
) -> None:
    damaging(run)
    folder = tmp_path_factory.mktemp("killed")

    def left_of(killed: int) -> tuple[list[str], bool]:
        """The files that are left of a copy; and whether its first start was killed."""
        copy, died = RunDir(shutil.copytree(run.root, folder / f"{killed}")), False
        try:
            with killed_at(killed):
                copy.remove_damaged()
        except Ended:
            died = True
            RunDir(copy.root).remove_damaged()
        marks = (storage.DAMAGED_MARK, "asked-again")  # without their file they mean nothing
        return [name for name in storage.list_tree(copy.root) if not name.endswith(marks)], died

    expected, died = left_of(-1)
    assert not died and len(expected) < len(storage.list_tree(run.root)) - 2
    for number in itertools.count():
        names, died = left_of(number)
        assert names == expected, f"killed at removal {number}"
        if not died:
            break
    assert number > 3
