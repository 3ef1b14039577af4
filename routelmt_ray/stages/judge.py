"""Judges the translations of some rows by a metric without references, for guards and audits.

The file of a shard has rows only for judged translations. Several works add up: each leaves out the translations that
an earlier one judged, and :func:`judged` reads all of them together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt_ray.config.common import ModelsConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import GuardConfig
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import Shard
from routelmt_ray.metrics.judges import judge_pool, open_judge
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.runtime.engine_host import EngineHost
from routelmt_ray.stages.exchange import read_existing
from routelmt_ray.stages.output import Commit
from routelmt_ray.stages.validate import language_codes, needed_columns
from routelmt_ray.storage.rundir import RunDir

SIDES = (SMALL, LARGE)
COLUMNS = pa.schema([("place", pa.int64()), (SMALL, pa.float64()), (LARGE, pa.float64())])
"""Columns of a judge shard, on the 0–1 scale; null where a translation was not or could not be judged."""


@dataclass(frozen=True)
class JudgeWork:
    """The translations that one work judges."""

    name: str
    """Folder under ``judge/``."""
    sides: Mapping[str, tuple[str, ...]]
    """Stages with translations, for ``small`` and ``large``. For a row in several, the last one counts."""
    all_sides: bool = False
    """True to judge only rows that have a translation of each side."""
    earlier: tuple[str, ...] = ()
    """Earlier judge stages, such as ``judge/000``. Their judgements are not made again."""

    @property
    def stage(self) -> str:
        return f"judge/{self.name}"


def judged(run: RunDir, stages: Sequence[str], shard: int, first_place: int, rows: int) -> dict[str, np.ndarray]:
    """Reads the judgements of a shard from judge stages such as ``judge/000``, of which the later one counts.

    Returns an array for ``small`` and one for ``large``, each of shape ``(rows,)``, float64; NaN where not judged.
    """
    found = {side: np.full(rows, np.nan) for side in SIDES}
    for table in read_existing(run, stages, shard):
        at = table["place"].to_numpy() - first_place
        for side in SIDES:
            values = table[side].to_numpy()
            known = ~np.isnan(values)
            found[side][at[known]] = values[known]
    return found


class ReadToJudge:
    """Reads the translations of a shard that must be judged, with their sources.

    A shard without any is committed here, as a block without rows would be lost on its way.
    Reads: an item of work. Writes: shard, place, source, source_lang, target_lang, small, large (null: not to be judged).
    """

    def __init__(self, context: RunContext, work: JudgeWork) -> None:
        self._context, self._work = context, work

    def __call__(self, item: pa.Table) -> pa.Table:
        context, work, shard = self._context, self._work, from_item(item)
        texts = {side: _texts(context.run, work.sides.get(side, ()), shard) for side in SIDES}
        present = {side: np.asarray([text is not None for text in texts[side]], bool) for side in SIDES}
        known = judged(context.run, work.earlier, shard.index, shard.first_place, shard.rows)
        wanted = {side: present[side] & np.isnan(known[side]) for side in SIDES}
        chosen = wanted[SMALL] | wanted[LARGE]
        if work.all_sides:
            for side in work.sides:
                chosen &= present[side]
        at = np.flatnonzero(chosen)
        if not len(at):
            meta = {"rows": 0, "judgements": 0, "engine_s": 0.0, "device_s": 0.0}
            context.run.commit(work.stage, shard.index, COLUMNS.empty_table(), meta, compression="zstd")
        table = read_shard(shard, context.schema, needed_columns(context.input)).take(at)
        source_langs, target_langs = language_codes(table, context.input)
        return pa.table(
            {
                "shard": np.full(len(at), shard.index, np.int32),
                "place": shard.first_place + at.astype(np.int64),
                "source": pc.cast(table[context.input.columns.source], pa.string()),
                "source_lang": pa.array(source_langs, pa.string()),
                "target_lang": pa.array(target_langs, pa.string()),
                **{side: pa.array(texts[side][at], pa.string(), mask=~wanted[side][at]) for side in SIDES},
            }
        )


def _texts(run: RunDir, stages: Sequence[str], shard: Shard) -> np.ndarray:
    """Translations of a shard by row, shape ``(rows,)``, str or None; a later stage wins."""
    found = np.full(shard.rows, None, object)
    for table in read_existing(run, stages, shard.index, ["place", "translation"]):
        found[table["place"].to_numpy() - shard.first_place] = table["translation"].to_pylist()
    return found


class JudgeTranslations:
    """Judges the translations of a shard. Holds one judge.

    Reads: source, source_lang, target_lang, small, large. Writes: small, large (judgements), engine_s, device_s.
    """

    def __init__(self, run: RunDir, guard: GuardConfig, models: ModelsConfig, stage: str) -> None:
        """Loads the judge that commits to a stage. Plain arguments only: it may run under another interpreter."""
        self._stage = stage
        self._host = EngineHost(run, "judge", judge_pool(guard, models), lambda: open_judge(guard, models))

    def __call__(self, table: pa.Table) -> pa.Table:
        shared = [table[name].to_pylist() for name in ("source", "source_lang", "target_lang")]
        # Equal translations are judged once. This saves work, and the choice of batches never makes one of them better.
        order: dict[tuple[Any, ...], int] = {}
        at = {
            side: [-1 if row[-1] is None else order.setdefault(row, len(order)) for row in zip(*shared, texts)]
            for side, texts in ((side, table[side].to_pylist()) for side in SIDES)
        }
        found, took = self._host.answers(self._stage, table["shard"][0].as_py(), list(order), self._scores)
        scores = np.array([*found, None], np.float64)  # index -1 takes the last one; None becomes NaN
        return pa.table(
            {
                "shard": table["shard"],
                "place": table["place"],
                **{side: pa.array(scores[rows], pa.float64(), from_pandas=True) for side, rows in at.items()},
                "engine_s": np.full(table.num_rows, took.wall_s),
                "device_s": np.full(table.num_rows, took.device_s),
            }
        )

    def _scores(self, rows: Sequence[tuple[Any, ...]]) -> list[float]:
        scores: list[float] = self._host.engine.scores(*map(list, zip(*rows))).tolist()
        return scores


def commit_judgements(context: RunContext, work: JudgeWork) -> Commit:
    """Builds the step that commits the judgements of a shard."""
    return Commit(context.run, work.stage, COLUMNS, _summary, compression="zstd")


def _summary(table: pa.Table) -> dict[str, Any]:
    judgements = sum(len(table[side]) - table[side].null_count for side in SIDES)
    return {"judgements": judgements} | {name: table[name][0].as_py() for name in ("engine_s", "device_s")}
