"""A small scored corpus on a run directory, for what is decided from scores alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray.budget.cost import CostModel, ProbeCost, TranslatorCost
from routelmt_ray.budget.rule import Rule
from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig, ModelsConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import score, translate
from routelmt_ray.stages.routes import Routes, ShardRows, decide
from routelmt_ray.storage.rundir import RunDir

ROWS, SHARD_ROWS = 400, 90
SEED = 3
PAIRS = ("en→de", "en→fr")


def translator(token_s: float) -> TranslatorCost:
    """A model that costs this much for each token of its answer."""
    return TranslatorCost("cpu_s", 3.0, 1e-3, 0.0, token_s, 1.0, 1.0, {"*": 1.0, "en→de": 1.5}, None)


COST = CostModel("a machine", 9, ProbeCost(), translator(1e-3), translator(6e-3), {}, {}, {})


def scored_corpus(folder: Path, around: str = "{}") -> tuple[ScoredCorpus, dict[str, np.ndarray]]:
    """A corpus in five shards with all scores committed, and the columns of the scores and of the corpus."""
    rng = np.random.default_rng(5)
    gains = np.round(rng.normal(0.05, 0.1, ROWS), 2).astype(np.float32)
    status = np.where(rng.random(ROWS) < 0.1, "too_long", "ok")
    gains[(status != "ok") | (rng.random(ROWS) < 0.05)] = np.nan
    columns = {
        "place": np.arange(ROWS),
        "predicted_gain": gains,
        "predicted_quality": rng.random(ROWS).astype(np.float32),
        "prompt_tokens": rng.integers(20, 90, ROWS).astype(np.int32),
        "source_tokens": rng.integers(1, 80, ROWS).astype(np.int32),
        "pair": rng.choice(PAIRS, ROWS),
        "status": status,
        "id_key": pa.nulls(ROWS, pa.uint64()),
    }
    corpus = {
        "source": [around.format(f"source {i}") for i in range(ROWS)],
        "target": [pair[-2:] for pair in columns["pair"]],
        "domain": rng.choice(["law", "news", "talk"], ROWS),
        "reference": [f"reference {i}" for i in range(ROWS)],
    }
    path = folder / "in.parquet"
    pq.write_table(pa.table(corpus), path)
    table, run = pa.table(columns), RunDir(folder / "run")
    plan = ShardPlan([str(path)], [ROWS], SHARD_ROWS)
    for shard in (plan[i] for i in range(len(plan))):
        part = table.slice(shard.first_place, shard.rows).cast(score.COLUMNS)
        run.commit(score.STAGE, shard.index, part, {})
    named = ColumnsConfig(source="source", target_lang="target", reference="reference")
    asked = InputConfig(path=str(path), columns=named, source_lang="en", shard_rows=SHARD_ROWS)
    echo = ModelConfig(engine="echo")
    context = RunContext(run, pq.read_schema(path), asked, ModelsConfig(small=echo, large=echo), "", SEED)
    return ScoredCorpus(context, plan), columns | {name: np.asarray(values) for name, values in corpus.items()}


def with_occurrences(corpus: ScoredCorpus, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Commits the scores again, as where repeats are translated once; returns how often each segment occurs, 0 for a
    repeat. Repeats lie anywhere among the other rows."""
    rng, run = np.random.default_rng(8), corpus.context.run
    occurrences = np.where(rng.random(ROWS) < 0.3, rng.integers(2, 9, ROWS), 1)
    repeats = (rng.random(ROWS) < 0.2) & (columns["status"] == "ok")
    occurrences[repeats] = 0
    columns["status"] = np.where(repeats, "repeat", columns["status"])
    columns["predicted_gain"][repeats] = np.nan
    table = pa.table({name: columns[name] for name in score.COLUMNS.names}).cast(score.COLUMNS)
    table = table.append_column(score.OCCURRENCES, pa.array(occurrences))
    run.clear(score.STAGE)
    for shard in (corpus.plan[i] for i in range(len(corpus.plan))):
        run.commit(score.STAGE, shard.index, table.slice(shard.first_place, shard.rows), {})
    return occurrences


def commit_translations(
    corpus: ScoredCorpus, stage: str, texts: Mapping[int, str | None], meta: Mapping[str, Any] | None = None
) -> None:
    """Commits translations by place, as a leg leaves them: a file for each shard, with or without rows."""
    for shard in (corpus.plan[i] for i in range(len(corpus.plan))):
        rows = [
            {
                "place": place, "translation": text, "status": "ok" if text is not None else "engine_error",
                "error": None if text is not None else "no answer", "output_tokens": 1, "source_tokens": 1,
            }
            for place, text in sorted(texts.items())
            if shard.first_place <= place < shard.first_place + shard.rows
        ]  # fmt: skip
        corpus.context.run.commit(
            stage, shard.index, pa.Table.from_pylist(rows, schema=translate.COLUMNS), dict(meta or {})
        )


def of_all(corpus: ScoredCorpus, rule: Rule, what: Callable[[ShardRows], Any]) -> np.ndarray:
    """An array of every shard, one after the other."""
    return np.concatenate([what(ShardRows(corpus.context, rule, corpus.plan[i])) for i in range(len(corpus.plan))])


def decided(corpus: ScoredCorpus, rule: Rule) -> Routes:
    """What a rule decides of all rows."""
    parts = [decide(ShardRows(corpus.context, rule, corpus.plan[i]), rule) for i in range(len(corpus.plan))]
    return Routes(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("routed", "small", "by", "reason"))
    )


def seconds(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Profiled seconds of each row on the small and the large model."""
    codes = (columns["pair"] == "en→fr").astype(int)
    small, large = (
        COST.row_seconds(size, columns["prompt_tokens"], columns["source_tokens"], codes, PAIRS)
        for size in ("small", "large")
    )
    return small, large
