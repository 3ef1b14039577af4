"""The facts that every worker of a run needs, and the form of an item of work."""

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config.common import InputConfig, ModelConfig, ModelsConfig
from routelmt_ray.config.schema import SMALL
from routelmt_ray.corpus.shards import Shard, Span
from routelmt_ray.storage.rundir import RunDir


@dataclass(frozen=True)
class RunContext:
    """The facts that every worker of a run needs; small, as it is sent to each."""

    run: RunDir
    schema: pa.Schema
    input: InputConfig
    """The columns of the input and their meaning."""
    models: ModelsConfig
    prefix: str
    """Prefix of the name of every column that the job adds."""
    seed: int
    glossary: Glossary = field(default_factory=Glossary)
    """Terms for the prompts of models whose prompt family has a place for them."""

    def model(self, size: str) -> ModelConfig:
        """Gets the config of the model ``small`` or ``large``."""
        return self.models.small if size == SMALL else self.models.large

    def needs_torch(self, size: str) -> bool:
        """Tells whether the engine of ``small`` or ``large`` computes with torch, before transformers is imported."""
        return self.model(size).kind.has_model and self.model(size).kind.runs_here

    def max_concurrency(self, size: str) -> int:
        """Computes the number of shards that an engine of ``small`` or ``large`` works on at once."""
        model = self.model(size)
        return model.kind.max_concurrency(model, self.input.shard_rows)


def to_item(shard: Shard) -> dict[str, Any]:
    """Writes a shard as a row of the dataset of work."""
    spans = json.dumps([[s.file, s.start, s.stop] for s in shard.spans])
    return {"shard": shard.index, "first_place": shard.first_place, "rows": shard.rows, "spans": spans}


def from_item(item: pa.Table) -> Shard:
    """Reads the shard from a block of work, which has one row."""
    row = item.to_pylist()[0]
    return Shard(row["shard"], row["first_place"], row["rows"], tuple(Span(*s) for s in json.loads(row["spans"])))
