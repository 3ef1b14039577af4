"""Times one actor of a pool on groups of sampled rows of similar length. A group is a shard of the sample.

Stages are `profile/<digest>/probe`, `…/small` and `…/large`. A translator runs every group with full answers and with
one new token for each row, several times each. First runs, which choose kernels and allocate memory, are not timed. A
model at a server runs each group once, to count its tokens, which cost money; nothing is timed.
"""

import json
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt_ray.budget.cost import SERVED
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.engines import Prompt, open_engine, open_probe
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.runtime.engine_host import EngineHost
from routelmt_ray.stages.output import Commit
from routelmt_ray.stages.validate import encode, needed_columns, validate

PROBE = "probe"
METER_KIND = "profile"
REPEATS = 2
"""Number of timed runs of a group, of each kind."""
_LEAST_S = 1e-9
"""Least device-seconds of a run, as a coarse clock may show none."""
COLUMNS = pa.schema([("source_tokens", pa.int32()), ("prompt_tokens", pa.int32()), ("output_tokens", pa.int32())])
"""Columns of a profile shard; tokens of the tokenizer of this model."""


def model_of(context: RunContext, name: str) -> ModelConfig:
    """Gets the config of the model for `probe`, `small` or `large`. The probe uses the small model."""
    return context.model(LARGE if name == LARGE else SMALL)


class ReadSample:
    """Reads a group of the sample and tokenises its prompts.

    Reads: an item of work. Writes: shard, text, prompt, content, room, source_tokens.
    """

    def __init__(self, context: RunContext, name: str) -> None:
        self._context, self._name = context, name

    def __call__(self, item: pa.Table) -> pa.Table:
        context, shard, model = self._context, from_item(item), model_of(self._context, self._name)
        table = read_shard(shard, context.schema, needed_columns(context.input))
        rows = validate(table, context.input, model.prompt)
        encoded = encode(rows, range(table.num_rows), model, context.glossary)
        return pa.table(
            {
                "shard": np.full(table.num_rows, shard.index, np.int32),
                "text": pa.array(rows.texts, pa.string()),
                "prompt": pa.array(encoded.prompts, pa.list_(pa.int32())),
                "content": pa.array(encoded.contents, pa.string()),
                "room": pa.array(encoded.room, pa.int32()),
                "source_tokens": pa.array(encoded.source_tokens, pa.int32()),
            }
        )


class TimeRows:
    """Times one model on the rows of a group; holds one engine.

    Reads: shard, text, prompt, content, room, source_tokens. Writes: prompt_tokens, output_tokens, measured (JSON).
    """

    def __init__(self, context: RunContext, name: str, router: RouterConfig) -> None:
        """Loads the model, and for `probe` the router."""
        model, self._probes = model_of(context, name), name == PROBE

        def load() -> Any:
            return open_probe(model, load_router(str(router.path))) if self._probes else open_engine(model)

        self._stage, size = f"{METER_KIND}/{name}", LARGE if name == LARGE else SMALL
        self._host = EngineHost(context.run, METER_KIND, model.pool, load, model=size)
        here = model.kind.runs_here
        self._device = device_name(model.pool.gpus) if here else f"a server of {model.endpoint.model}"
        self._load_s = self._host.meter.reading.load_s if here else 0.0
        self._served, self._warm = not here, False

    def __del__(self) -> None:
        """Closes the meter, if the actor learns of its end."""
        if hasattr(self, "_host"):
            self._host.meter.close()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Times the rows of one group; returns them with the measured seconds."""
        one_token_s: list[float] = []
        whole_s: list[float] = []
        if self._served:
            prompt_tokens, answers = self._count(table)
            return self._measured(table, prompt_tokens, answers, whole_s=[sum(answers)], unit=SERVED)
        if not self._warm:
            self._run(table, one_token=False)
            self._warm = True
        if not self._probes:
            self._run(table, one_token=True)  # a first run with the shapes of this group
        for _ in range(REPEATS):
            if not self._probes:
                one_token_s.append(self._run(table, one_token=True)[0])
            seconds, output_tokens = self._run(table, one_token=False)
            whole_s.append(seconds)
        unit, prompt_tokens = self._host.meter.reading.unit, [len(ids) for ids in table["prompt"].to_pylist()]
        return self._measured(table, prompt_tokens, output_tokens, one_token_s=one_token_s, whole_s=whole_s, unit=unit)

    def _measured(
        self, table: pa.Table, prompt_tokens: Sequence[int], output_tokens: Sequence[int], **facts: Any
    ) -> pa.Table:
        measured = {"one_token_s": [], "load_s": self._load_s, "device": self._device, **facts}
        return pa.table(
            {
                "shard": table["shard"],
                "source_tokens": table["source_tokens"],
                "prompt_tokens": pa.array(prompt_tokens, pa.int32()),
                "output_tokens": pa.array(output_tokens, pa.int32()),
                "measured": pa.repeat(json.dumps(measured), table.num_rows),
            }
        )

    def _count(self, table: pa.Table) -> tuple[list[int], list[int]]:
        """Prompt and output tokens that a server charges for each row of a group."""
        rows = table.select(["text", "prompt", "content", "room"]).to_pylist()
        prompts = [Prompt(*(row[name] for name in ("prompt", "room", "text", "content"))) for row in rows]
        shard, ask = table["shard"][0].as_py(), self._host.engine.translate
        found, _ = self._host.answers(self._stage, shard, prompts, ask)
        charged = [answer.charged if answer else (0, 0) for answer in found]
        return [prompt for prompt, _ in charged], [output for _, output in charged]

    def _run(self, table: pa.Table, one_token: bool) -> tuple[float, Sequence[int]]:
        """Device-seconds and output tokens of a run. Unpacking the rows is part of the cost."""

        def ask(numbers: Sequence[int]) -> list[int]:
            rows = table.select(["text", "prompt", "room"]).take(list(numbers)).to_pylist()
            prompts = [Prompt(row["prompt"], 1 if one_token else row["room"], row["text"]) for row in rows]
            if self._probes:
                self._host.engine.probe(prompts)
                return [0] * len(prompts)
            return [answer.tokens for answer in self._host.engine.translate(prompts)]

        found, took = self._host.answers(self._stage, table["shard"][0].as_py(), range(table.num_rows), ask)
        return max(took.device_s, _LEAST_S), [tokens or 0 for tokens in found]


def commit_times(context: RunContext, stage: str) -> Commit:
    """Builds the step that commits the measured seconds of a group."""
    return Commit(context.run, stage, COLUMNS, lambda table: json.loads(table["measured"][0].as_py()))


def device_name(gpus: float) -> str:
    """Names the device of this process."""
    if gpus > 0:
        import torch

        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
    return f"CPU, {platform.machine()}"
