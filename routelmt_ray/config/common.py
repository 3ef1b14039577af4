"""The sections of a configuration that several jobs share: corpus, models, pools, cluster.

Defaults live here alone; YAML files under ``configs/`` and ``key=value`` words on the command line hold overrides.
OmegaConf merges and types them, :mod:`routelmt_ray.config.loader` checks the bounds and prints the help.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Optional

from routelmt_ray.config.loader import option
from routelmt_ray.config.vllm import VllmConfig

ENGINES = ("hf", "vllm", "echo")
TOO_LONG = ("quarantine", "truncate", "split")
DTYPES = ("auto", "float32", "bfloat16", "float16")


LOG_FORMATS = ("text", "json")


@dataclass(frozen=True)
class ColumnsConfig:
    """Which input column holds what. Every other column is carried through untouched. A field within a column is named by
    its path, e.g. `translation.en`."""

    source: str = option("source", "a column name", lambda v: v != "")
    """Text to translate (required, string)."""
    source_lang: Optional[str] = None
    """Language code of the source, a row's own (BCP-47 or ISO 639); null where `input.source_lang` gives one for all."""
    target_lang: Optional[str] = None
    """Language code of the wanted translation; null where `input.target_lang` gives one for all."""
    id: Optional[str] = None
    """The user's own row id: ids that are null or stand twice are counted in the report; never used for order."""
    reference: Optional[str] = None
    """Human translation, where there is one: the report then shows chrF by model."""


@dataclass(frozen=True)
class InputConfig:
    """The corpus."""

    path: str = option("", "a file, a folder or a glob of Parquet or JSON Lines", lambda v: v != "")
    """Where the corpus is. A folder is read recursively, without names that begin with `.` or `_`; files are taken in the
    order of their names. `{a,b}` in a glob is either. JSON Lines are .jsonl, .ndjson or .json, also .gz, .zst, .bz2 or .xz."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Column mapping."""
    source_lang: Optional[str] = None
    """Language code of every source, when no column says so."""
    target_lang: Optional[str] = None
    """Language code of every translation, when no column says so."""
    too_long: str = option("quarantine", "one of " + ", ".join(TOO_LONG), lambda v: v in TOO_LONG)
    """What becomes of a row whose prompt is longer than a model takes. `quarantine`: it is not translated. `truncate`: the
    beginning that fits is translated. `split`: it is cut at sentence ends, and its translation joined from the pieces'."""
    shard_rows: int = option(32_768, "an integer of at least 1", lambda v: v >= 1)
    """Rows a shard: the unit of work, of a commit and of an output file."""
    since_run: Optional[str] = None
    """Run directory of an earlier run on the same, growing folder: only files are taken that neither it nor a run it
    followed has listed. Those must still be there, unchanged."""


@dataclass(frozen=True)
class OutputConfig:
    """The merged output."""

    prefix: str = ""
    """Put before the name of every column this job adds; needed where the corpus already has a column of that name."""
    max_quarantine_share: Optional[float] = option(
        None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1
    )
    """Largest share of rows that may be lost: in quarantine, or in files that are not read, which count as files of mean
    size. The job finishes all the same, but with exit status 3 where there are more. Null: no limit."""


@dataclass(frozen=True)
class PoolConfig:
    """Actors that hold one engine each."""

    actors: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """Number of engines."""
    cpus: float = option(0.5, "a number of at least 0", lambda v: v >= 0)
    """Logical CPUs an actor reserves. Keep some of the machine free for reading and tokenising."""
    gpus: float = option(0.0, "a number of at least 0", lambda v: v >= 0)
    """GPUs an actor reserves."""
    accelerator_type: Optional[str] = None
    """Only on nodes with this kind of GPU, as Ray names it: `H100`, `L40S`, …"""
    resources: dict[str, float] = field(
        default_factory=dict,
        hash=False,  # a model's config is a key of caches
        metadata={
            "allowed": "a mapping of names to numbers above 0",
            "check": lambda v: all(n > 0 for n in v.values()),
        },
    )
    """More resources an actor reserves, as the cluster's nodes name them, e.g. `{spot: 0.1}`."""
    timeout_s: float = option(14_400.0, "a number above 0", lambda v: v > 0)
    """Seconds after which an engine that has loaded nothing, or finished no shard, is taken for hung and replaced."""


@dataclass(frozen=True)
class ModelConfig:
    """One translator."""

    engine: str = option("hf", "one of " + ", ".join(ENGINES), lambda v: v in ENGINES)
    """`hf`: transformers, CPU or GPU. `vllm`: vLLM, in an environment of its own. `echo`: returns its input (for tests of
    the plumbing)."""
    path: str = ""
    """Folder or hub id of a causal language model with safetensors weights (not needed by `echo`)."""
    revision: Optional[str] = None
    """Hub revision; null means the newest."""
    prompt: str = option(
        "lmt60", "a family under routelmt_ray/engines/templates or the path of a YAML file", lambda v: v != ""
    )
    """Prompt family."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Leave it off unless you have read that code."""
    dtype: str = option("auto", "one of " + ", ".join(DTYPES), lambda v: v in DTYPES)
    """Compute type; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    device: str = option("auto", "auto, cpu or cuda", lambda v: v in ("auto", "cpu", "cuda"))
    """Where the model runs; `auto` takes the GPU the pool reserved, else the CPU."""
    attention: Optional[str] = None
    """Attention implementation as transformers names it (`sdpa`, `eager`, `flash_attention_2`); null lets it choose."""
    max_input_tokens: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Longest prompt in tokens; a longer row is set aside as `too_long`. Null: what the model's context leaves; a model without
    a longest context (Bloom, MPT, Mamba) needs it."""
    max_new_tokens: int = option(512, "an integer of at least 1", lambda v: v >= 1)
    """Most tokens a translation may have."""
    new_tokens_ratio: float = option(3.0, "a number above 0", lambda v: v > 0)
    """A translation is also limited to this many tokens per token of its source, plus `new_tokens_extra`."""
    new_tokens_extra: int = option(32, "an integer of at least 0", lambda v: v >= 0)
    """See `new_tokens_ratio`."""
    num_beams: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """Beams; 1 is greedy."""
    batch_rows: int = option(64, "an integer of at least 1", lambda v: v >= 1)
    """Most rows a batch (`hf`)."""
    batch_tokens: int = option(16_384, "an integer of at least 1", lambda v: v >= 1)
    """Most padded tokens a batch (`hf`), prompt and room for the translation together; a longer row goes alone."""
    threads: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """CPU threads an engine computes with."""
    vllm: VllmConfig = field(default_factory=VllmConfig)
    """Settings of the engine `vllm`."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """How many engines, and what each reserves."""

    @property
    def rows_at_once(self) -> int:
        """Rows of a full batch."""
        return self.vllm.max_num_seqs if self.engine == "vllm" else self.batch_rows


@dataclass(frozen=True)
class ModelsConfig:
    """The two translators."""

    small: ModelConfig = field(default_factory=ModelConfig)
    """Probed on every row; translates what is not routed."""
    large: ModelConfig = field(default_factory=ModelConfig)
    """Translates the routed rows."""


@dataclass(frozen=True)
class RayConfig:
    """The Ray cluster."""

    address: str = "local"
    """`local` starts one here for this run; `auto` or `host:port` joins a running one."""
    num_cpus: Optional[int] = option(None, "null or an integer of at least 2", lambda v: v is None or v >= 2)
    """Logical CPUs of a local cluster; null takes the machine's, at least 4, so that readers and engines both fit."""
    object_store_mb: int = option(512, "an integer of at least 100", lambda v: v >= 100)
    """Shared memory of a local cluster, MiB."""
    rounds: int = option(3, "an integer of at least 1", lambda v: v >= 1)
    """How often shards that did not commit are tried, each time by fresh workers, before the job gives up."""


@dataclass(frozen=True)
class LogConfig:
    """Messages on stderr."""

    format: str = option("text", "one of " + ", ".join(LOG_FORMATS), lambda v: v in LOG_FORMATS)
    """`text`, or `json`: an object a line. The environment variable ROUTELMT_LOG_FORMAT=json does the same, and also for
    what is said before the configuration is read."""


_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_model_path(key: str, path: str) -> None:
    """Refuses a path that is neither a folder nor may be a hub id, before anybody asks the hub for it.

    Args:
        key: config key of the path.
        path: the path.

    Raises:
        ValueError: naming the key, the path and what is wrong.
    """
    if os.path.isdir(path):
        return
    if os.path.exists(path):
        raise ValueError(f"{key} is {path!r}, a file; name the folder that it is in")
    above = path.partition("/")[0]
    if not _HUB_ID.fullmatch(path) or above in (".", "..") or ("/" in path and os.path.isdir(above)):
        raise ValueError(f"{key} is {path!r}, but there is no such folder, and a hub id is not of that form")


def check_corpus_and_models(corpus: InputConfig, models: ModelsConfig) -> None:
    """Checks what every job that translates a corpus needs of these two sections together.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    for size, model in (("small", models.small), ("large", models.large)):
        if model.engine != "echo" and not model.path:
            raise ValueError(f"models.{size}.path is empty; the `{model.engine}` engine needs a model folder or hub id")
        if model.engine != "echo":
            check_model_path(f"models.{size}.path", model.path)
    for side in ("source_lang", "target_lang"):
        column, constant = getattr(corpus.columns, side), getattr(corpus, side)
        if (column is None) == (constant is None):
            both = "both set" if column is not None else "both null"
            raise ValueError(
                f"input.columns.{side} and input.{side} are {both}; set exactly one: a column with a code for "
                "every row, or one code for all"
            )
