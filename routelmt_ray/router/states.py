"""Hidden states of the small model: extracted once, shard by shard, on its pool of actors; durable and resumable.

The prompts of all rows are in one Parquet file of the work folder; a shard is a range of its rows.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from routelmt_ray import storage
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.artifact import folder_identity
from routelmt_ray.router.ridge import Moments
from routelmt_ray.runtime import pipelines
from routelmt_ray.runtime.context import from_item, to_item
from routelmt_ray.stages.output import Commit
from routelmt_ray.storage.rundir import RunDir

_PROMPTS = pa.schema([("prompt", pa.list_(pa.int32()))])


class ReadTrainingPrompts:
    """Reads the prompts of a shard. Writes: shard, prompt."""

    def __call__(self, item: pa.Table) -> pa.Table:
        shard = from_item(item)
        table = read_shard(shard, _PROMPTS, ["prompt"])
        return table.append_column("shard", pa.array(np.full(len(table), shard.index, np.int32)))


class ExtractStates:
    """Reads the state of each prompt; holds one engine. Reads: prompt. Writes: state."""

    def __init__(self, small: ModelConfig, pooling: str) -> None:
        self._engine = open_probe(small, None, pooling)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Returns the rows of one shard, with their states instead of their prompts."""
        states = self._engine.states([Prompt(ids, 0, "") for ids in table["prompt"].to_pylist()])
        column = pa.FixedSizeListArray.from_arrays(pa.array(states.reshape(-1)), states.shape[1])
        return pa.table({"shard": table["shard"], "state": column})


@dataclass(frozen=True)
class States:
    """States of all rows, read when asked for."""

    folder: RunDir
    stage: str
    """Name of the stage in it that holds the states."""
    plan: ShardPlan
    """The rows of each shard."""
    pooling: str
    """Tokens whose states they are."""

    def work(self, small: ModelConfig) -> pipelines.Work:
        """Describes the extraction as Ray work: tasks read prompts, actors of the small model's pool compute states."""

        def pipeline(items: Dataset) -> Dataset:
            rows = pipelines.on_tasks(items, ReadTrainingPrompts(), first=True)
            rows = pipelines.on_actors(rows, ExtractStates, (small, self.pooling), small.pool)
            commit = Commit(self.folder, self.stage, None, lambda _: {}, compression="none", use_dictionary=False)
            return pipelines.on_tasks(rows, commit)

        rows = {shard: self.plan[shard].rows for shard in range(len(self.plan))}
        return pipelines.Work.of_stage(
            "hidden states", self.stage, rows, lambda shard: to_item(self.plan[shard]), pipeline
        )

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields row numbers ``(n,)`` and finite states ``(n, hidden)``, float32, of each shard."""
        for index in range(len(self.plan)):
            column = storage.read_table(self.folder.shard_path(self.stage, index))["state"].combine_chunks()
            states = column.flatten().to_numpy().reshape(len(column), -1)
            whole = np.isfinite(states).all(axis=1)
            yield self.plan[index].first_place + np.flatnonzero(whole), states[whole]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Reads the states of the given rows, shape ``(rows, hidden)``, float32; NaN where the model failed."""
        out: np.ndarray | None = None
        for places, states in self:
            if out is None:
                out = np.full((len(rows), states.shape[1]), np.nan, np.float32)
            _, here, there = np.intersect1d(places, rows, assume_unique=True, return_indices=True)
            out[there] = states[here]
        assert out is not None
        return out

    def moments(self, rows: np.ndarray, targets: np.ndarray) -> Moments:
        """Computes the sums over the given rows that a least-squares fit needs; `targets` are those of all rows."""
        moments: Moments | None = None
        for places, states in self:
            if moments is None:
                moments = Moments.empty(states.shape[1], targets.shape[1])
            wanted = np.isin(places, rows)
            moments.add(states[wanted], targets[places[wanted]])
        assert moments is not None
        return moments


def open_states(
    prompts: Sequence[Sequence[int]], small: ModelConfig, folder: RunDir, shard_rows: int, pooling: str
) -> States:
    """Writes the prompts, unless they are there already; states of the same prompts and model are used again."""
    column = pa.array([list(ids) for ids in prompts], _PROMPTS.field("prompt").type)
    digest = hashlib.sha256(json.dumps([model_files(small), shard_rows, pooling], sort_keys=True).encode())
    digest.update(column.flatten().to_numpy().tobytes() + column.value_lengths().to_numpy().tobytes())
    stage = f"states-{digest.hexdigest()[:16]}"
    path = folder.root / stage / "prompts.parquet"
    if not storage.exists(path):
        storage.publish_table(path, pa.table([column], schema=_PROMPTS), {}, row_group_size=shard_rows)
    return States(folder, stage, ShardPlan([str(path)], [len(prompts)], shard_rows), pooling)


def model_files(small: ModelConfig) -> dict[str, str | None]:
    """Lists what determines a state besides the prompt: the model's files, dtype and device."""
    return {"files": folder_identity(small.path, small.revision), "dtype": small.dtype, "device": small.device}
