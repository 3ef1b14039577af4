"""Scoring and merging shards as plain classes: columns of every type, rows in quarantine, damage, and the audit."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray.budget.rule import Decision, Rule
from routelmt_ray.config import schema
from routelmt_ray.config.common import InputConfig, ModelConfig, ModelsConfig
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages import merge, score, translate
from routelmt_ray.stages.chosen import MergePlan
from routelmt_ray.storage.rundir import RunDir
from tests.columns import every
from tests.corpus.test_column_types import NOT_WRITTEN, assert_read_by_all, here, values

ECHO = ModelsConfig(small=ModelConfig(engine="echo"), large=ModelConfig(engine="echo"))


def merged(folder: Path, shard_rows: int, router: RouterConfig | None = None) -> RunDir:
    """Scores the files in ``in/``, has the small model echo every row, and merges."""
    run = RunDir(folder / "run")
    corpus = open_corpus(find_files(str(folder / "in")), run.root / "input", here)
    config = InputConfig(path="x", source_lang="en", target_lang="de")
    context = RunContext(run, corpus.schema, config, ECHO, "", 0)
    plan = MergePlan(Rule().then(Decision(None, None, True)), ("small/000",), (), None, (), None, ())
    shards = corpus.plan(shard_rows)
    for number in range(len(shards)):
        item = pa.table({name: [value] for name, value in to_item(shards[number]).items()})
        scored = score.ReadAndScore(context, router or RouterConfig(kind="length"))(item)
        score.CommitScores(context)(scored)
        statuses, n = scored["status"].to_pylist(), scored.num_rows
        rows: dict[str, Any] = {
            "place": scored["place"],
            "translation": [f"row {place}" for place in scored["place"].to_pylist()],
            "source_tokens": np.zeros(n, np.int32),
            "output_tokens": np.zeros(n, np.int32),
            "status": pa.repeat(schema.OK, n),
            "error": pa.nulls(n, pa.string()),
        }
        translated = (
            pa.table(rows).filter(pa.array([status == schema.OK for status in statuses])).cast(translate.COLUMNS)
        )
        run.commit("small/000", number, translated, {"rows": translated.num_rows})
        merge.Merge(context, plan)(item)
    return run


def test_columns_of_every_type_go_through_scoring_and_merging_and_into_quarantine(tmp_path: Path) -> None:
    table = every().drop_columns(sorted(NOT_WRITTEN))
    texts = pa.array(["one", None, "three", "four"], pa.string_view())
    (tmp_path / "in").mkdir()
    pq.write_table(table.append_column("source", texts), tmp_path / "in" / "a.parquet")
    pq.write_table(pa.table({"source": ["five", ""]}), tmp_path / "in" / "b.parquet")
    run = merged(tmp_path, 3)
    whole = {name: [*values(table[name]), None, None] for name in table.column_names}
    whole["source"] = [*texts.to_pylist(), "five", ""]
    for folder, rows in (("output", range(6)), ("quarantine", [1, 5])):
        paths = sorted((tmp_path / "run" / folder).glob("*.parquet"))
        assert_read_by_all(paths, {name: [column[row] for row in rows] for name, column in whole.items()})
        assert all(set(pq.read_schema(p).names) - set(schema.OUTPUT_COLUMNS.names) == set(whole) for p in paths)
    output = pa.concat_tables(pq.read_table(run.shard_path("output", number)) for number in (0, 1))
    assert output["translation"].to_pylist() == ["row 0", None, "row 2", "row 3", "row 4", None]
    assert output["status"].to_pylist() == ["ok", "null_source", "ok", "ok", "ok", "empty_source"]


def test_scores_of_a_column_that_are_no_scores_leave_their_row_to_the_small_model(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"source": ["a", "b", "c"], "gain": [1, 2**60 + 1, None]}), tmp_path / "in" / "a.parquet")
    run = merged(tmp_path, 9, RouterConfig(kind="column", column="gain", scale=3e38, intercept=1.0))
    output = pq.read_table(run.shard_path("output", 0))
    assert output["route_reason"].to_pylist() == ["below_cut", "not_scored", "not_scored"]
    assert output["translation"].null_count == 0
