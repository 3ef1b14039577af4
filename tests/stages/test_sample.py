"""A sample comes from all parts of a corpus and keeps its pairs and lengths in proportion."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig, ModelsConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import sample
from routelmt_ray.storage.rundir import RunDir

ECHO = ModelsConfig(ModelConfig(engine="echo"), ModelConfig(engine="echo"))


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=5), st.integers(1, 5_000), st.integers(0, 3))
def test_windows_lie_in_even_stretches_and_are_bounded(file_rows: list[int], rows: int, seed: int) -> None:
    plan = ShardPlan([f"file-{i}" for i in range(len(file_rows))], file_rows, 1_000)
    found = sample.windows(plan, rows, seed)
    assert len(found) <= sample.STRETCHES and (len(found) > 0) == (plan.rows > 0)
    ends = [plan.rows * i // max(1, len(found)) for i in range(len(found) + 1)]
    for (window, n), first, last in zip(found, ends, ends[1:]):
        assert first <= window.first_place and window.first_place + window.rows <= last
        assert 1 <= n <= window.rows
        assert sum(span.stop - span.start for span in window.spans) == window.rows
    read = sum(window.rows for window, _ in found)
    assert read <= max(sample.STRETCHES * sample.WINDOW_ROWS, 2 * (sample.CANDIDATES * rows + sample.STRETCHES))
    assert sum(n for _, n in found) >= min(plan.rows, sample.CANDIDATES * rows) or read == plan.rows


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[RunContext, ShardPlan]:
    """Two language pairs, one after the other as corpora often have them; every fifth row is blank."""
    rows = 60_000
    target = ["de"] * 45_000 + ["fr"] * 15_000
    lengths = np.random.default_rng(0).integers(1, 100, rows)
    source = ["" if i % 5 == 0 else "x" * int(n) for i, n in enumerate(lengths)]
    table = pa.table({"source": source, "to": target, "n": range(rows)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=7_000)
    columns = ColumnsConfig(target_lang="to")
    config = InputConfig(path=str(tmp_path), columns=columns, source_lang="en")
    context = RunContext(RunDir(tmp_path / "run"), table.schema, config, ECHO, "", 3)
    return context, ShardPlan([str(tmp_path / "in.parquet")], [rows], 1_000)


def test_pairs_and_lengths_keep_their_proportions(corpus: tuple[RunContext, ShardPlan], local_ray: None) -> None:
    drawn = sample.draw(*corpus, 400)
    assert drawn.table.column_names == ["source", "to"]
    assert set(drawn.pairs) == {"en→de", "en→fr"}
    assert Counter(drawn.pairs)["en→fr"] == pytest.approx(100, abs=12)
    lengths = [len(text) for text in drawn.table["source"].to_pylist()]
    assert len(lengths) == 400 and min(lengths) >= 1
    assert lengths == sorted(lengths), "shortest first"
    assert np.mean(lengths) == pytest.approx(50, abs=4)
    assert [f"en→{to}" for to in drawn.table["to"].to_pylist()] == drawn.pairs


def test_the_same_seed_draws_the_same_sample_and_another_seed_another(
    corpus: tuple[RunContext, ShardPlan], local_ray: None
) -> None:
    context, plan = corpus
    first, again = sample.draw(context, plan, 50), sample.draw(context, plan, 50)
    assert first.table.equals(again.table)
    other = RunContext(context.run, context.schema, context.input, context.models, "", 4)
    assert not sample.draw(other, plan, 50).table.equals(first.table)


def test_a_corpus_smaller_than_the_sample_is_drawn_whole(corpus: tuple[RunContext, ShardPlan], local_ray: None) -> None:
    context, plan = corpus
    few = ShardPlan([plan[0].spans[0].file], [50], 1_000)
    assert len(sample.draw(context, few, 400).pairs) == 40
    assert sample.draw(context, ShardPlan([], [], 1_000), 400).pairs == []
