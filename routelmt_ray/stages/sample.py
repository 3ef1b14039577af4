"""Draws a sample of rows from a corpus of any size, with language pairs and lengths in proportion.

The corpus is cut into equal stretches. In each, a few rows of a short window are candidates, so the amount that is read
does not grow with the corpus. A stratified sample is drawn from the candidates that can be translated.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from routelmt_ray.budget.keys import mix
from routelmt_ray.config import schema
from routelmt_ray.corpus.column_paths import column_of
from routelmt_ray.corpus.languages import pair_labels
from routelmt_ray.corpus.sampling import stratified_sample
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard, ShardPlan
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages.validate import encode, needed_columns, validate

STRETCHES = 64
"""Number of windows in a large corpus."""
WINDOW_ROWS = 512
"""Least number of rows of a window. A corpus with fewer rows has one window."""
CANDIDATES = 2
"""Candidates for each drawn row, as some cannot be translated and strata need a choice."""


@dataclass(frozen=True)
class Sample:
    """Rows drawn from a corpus, shortest first."""

    table: pa.Table
    """The input columns a translator reads."""
    pairs: list[str]
    """Language pair of each row, as :func:`routelmt_ray.corpus.languages.pair_label` has it."""
    source_tokens: np.ndarray
    """Tokens of each source text by the small tokenizer, int64, shape ``(rows,)``."""
    prompt_tokens: np.ndarray
    """Tokens of the prompts of the small model, int64, shape ``(rows,)``."""

    def take(self, rows: np.ndarray) -> "Sample":
        """Selects some of its rows by number, in the given order."""
        pairs = [self.pairs[i] for i in rows]
        table = self.table.take(pa.array(rows, pa.int64())).combine_chunks()
        return Sample(table, pairs, self.source_tokens[rows], self.prompt_tokens[rows])


def draw(context: RunContext, plan: ShardPlan, rows: int) -> Sample:
    """Draws rows that both models can translate, with the seed of the run."""
    parts = cluster.each(look, [(context, window, n) for window, n in windows(plan, rows, context.seed)])
    tokens = [
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
        for name in ("source_tokens", "prompt_tokens")
    ]
    empty = pa.schema([context.schema.field(name) for name in _columns(context)]).empty_table()
    table = pa.concat_tables([empty, *(part.table for part in parts)])
    whole = Sample(table, [pair for part in parts for pair in part.pairs], *tokens)
    chosen = stratified_sample(whole.pairs, whole.source_tokens, rows, context.seed)
    return whole.take(chosen[np.argsort(whole.source_tokens[chosen], kind="stable")])


def windows(plan: ShardPlan, rows: int, seed: int) -> list[tuple[Shard, int]]:
    """Chooses the windows of a corpus, one in each of equal stretches, and the number of candidates in each.

    Args:
        seed: determines the positions of the windows in their stretches.
    """
    n = min(STRETCHES, -(-plan.rows // WINDOW_ROWS))
    found = []
    for i, scattered in enumerate(mix(np.arange(n, dtype=np.uint64), seed).tolist()):
        first, last = plan.rows * i // n, plan.rows * (i + 1) // n
        candidates = -(-CANDIDATES * rows // n)
        width = min(max(WINDOW_ROWS, 2 * candidates), last - first)
        start = first + scattered % (last - first - width + 1)
        found.append((plan.stretch(start, start + width, i), min(candidates, width)))
    return found


def look(context: RunContext, window: Shard, rows: int) -> Sample:
    """Reads the candidates of a window, and keeps those that both models can translate, in order of place."""
    places = np.uint64(window.first_place) + np.arange(window.rows, dtype=np.uint64)
    columns = dict.fromkeys([*needed_columns(context.input), *_columns(context)])
    table = read_shard(window, context.schema, list(columns))
    table = table.take(np.sort(np.argsort(mix(places, context.seed))[:rows]))
    good = np.ones(table.num_rows, bool)
    for model in (context.models.large, context.models.small):  # the small model is last, so its tokens are kept
        checked = validate(table, context.input, model.prompt)
        good &= np.array([status == schema.OK for status in checked.statuses], bool)
        encoded = encode(checked, range(table.num_rows), model, context.glossary)
        good &= ~np.array(encoded.too_long, bool)
    pairs = pair_labels(checked.source_langs, checked.target_langs)
    prompt_tokens = np.array([len(ids) for ids in encoded.prompts], np.int64)
    found = Sample(table.select(_columns(context)), pairs, np.array(encoded.source_tokens, np.int64), prompt_tokens)
    return found.take(np.flatnonzero(good))


def _columns(context: RunContext) -> list[str]:
    """The columns of the corpus that a sample keeps. A column is kept whole where a path leads into it."""
    columns = dict.fromkeys(column_of(context.schema, path) for path in needed_columns(context.input))
    return [name for name in columns if name in context.schema.names]
