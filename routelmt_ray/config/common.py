"""The sections of a configuration that several jobs share: corpus, models, pools, cluster.

Defaults are only here; YAML files under ``configs/`` and ``key=value`` words on the command line override them.
OmegaConf merges them and checks their types; :mod:`routelmt_ray.config.loader` checks the bounds and prints the help.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Any, Optional

from routelmt_ray.config.checks import PROTECTED
from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.config.engines import ENGINES, EngineKind
from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.vllm import VllmConfig

TOO_LONG = ("quarantine", "truncate", "split")
EACH, ONCE = "each", "once"
DTYPES = ("auto", "float32", "bfloat16", "float16")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True)
class ColumnsConfig:
    """The input column for each purpose.

    Every other column is copied to the output unchanged. A field within a column is named by its path, e.g.
    `translation.en`.
    """

    source: str = option("source", "a column name", lambda v: v != "")
    """Text to translate (required, string)."""
    source_lang: Optional[str] = None
    """Language code of each row's source (BCP-47 or ISO 639); null where `input.source_lang` gives one for all rows."""
    target_lang: Optional[str] = None
    """Language code of the wanted translation; null where `input.target_lang` gives one for all rows."""
    id: Optional[str] = None
    """Your row id. The report counts ids that are null or occur twice; ids never change the order."""
    reference: Optional[str] = None
    """Human translation, where there is one: the report then shows chrF by model."""


@dataclass(frozen=True)
class InputConfig:
    """The corpus."""

    path: str = option("", "a file, a folder or a glob of Parquet or JSON Lines", lambda v: v != "")
    """Place of the corpus. A folder is read recursively, without names that begin with `.` or `_`; files are read in
    the order of their names. `{a,b}` in a glob matches a or b. JSON Lines end in .jsonl, .ndjson or .json, or one of
    these and .gz, .zst, .bz2 or .xz."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    source_lang: Optional[str] = None
    """Language code of every source, where no column gives it."""
    target_lang: Optional[str] = None
    """Language code of every translation, where no column gives it."""
    too_long: str = choice("quarantine", TOO_LONG)
    """Treatment of a row whose prompt is too long for a model. `quarantine`: it is not translated. `truncate`: the
    beginning that fits is translated. `split`: it is cut at sentence ends, and the translations of the pieces are
    joined."""
    duplicates: str = option(EACH, f"{EACH} or {ONCE}", lambda v: v in (EACH, ONCE))
    """Rows with the same text and languages. `each`: every row is translated. `once`: the first of them is translated, and the
    others get its translation."""
    shard_rows: int = option(32_768, "an integer of at least 1", lambda v: v >= 1)
    """Rows of a shard, which is the unit of work, of a commit and of an output file."""
    protect: list[str] = option([], "a list of " + ", ".join(PROTECTED), lambda v: set(v) <= set(PROTECTED))
    """Kinds of text that a translation must keep as they are in its source; the check `protected` of the translate job looks
    for them. It changes no prompt."""
    since_run: Optional[str] = None
    """Run directory of an earlier run on the same, growing folder: only files are read that were not listed by that run
    or by the runs before it. The listed files must still exist, unchanged."""


@dataclass(frozen=True)
class OutputConfig:
    """The merged output."""

    prefix: str = ""
    """Prefix of the name of every column that this job adds; needed where the corpus already has a column of that
    name."""
    max_quarantine_share: Optional[float] = option(
        None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1
    )
    """Largest share of rows that may be lost: in quarantine, or in files that are not read, which count as files of
    average size. Where more are lost, the job still finishes, but with exit status 3. Null: no limit."""


@dataclass(frozen=True)
class ReportConfig:
    """The report."""

    samples: int = option(10, "an integer from 0 to 100", lambda v: 0 <= v <= 100)
    """Rows that the report shows, with source and translations; 0 shows none."""


@dataclass(frozen=True)
class PoolConfig:
    """Actors that hold one engine each."""

    actors: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """Number of engines."""
    cpus: float = option(0.5, "a number of at least 0", lambda v: v >= 0)
    """Logical CPUs that an actor reserves. Keep some CPUs of the machine free for reading and tokenising."""
    gpus: float = option(0.0, "a number of at least 0", lambda v: v >= 0)
    """GPUs that an actor reserves."""
    accelerator_type: Optional[str] = None
    """Kind of GPU that a node must have, as Ray names it: `H100`, `L40S`, …; null: any."""
    resources: dict[str, float] = option(
        {}, "a mapping of names to numbers above 0", lambda v: all(n > 0 for n in v.values())
    )
    """More resources that an actor reserves, as the cluster's nodes name them, e.g. `{spot: 0.1}`."""
    timeout_s: float = option(14_400.0, "a number above 0", lambda v: v > 0)
    """Seconds after which an engine that has not loaded, or has finished no shard and got no answer of a server, is considered
    hung and is replaced."""


@dataclass(frozen=True)
class ModelConfig:
    """One translator."""

    engine: str = choice("hf", ENGINES)
    """The engine that runs the model."""
    path: str = ""
    """Folder or hub id of a causal language model with safetensors weights (not needed by an engine without a model)."""
    revision: Optional[str] = None
    """Hub revision; null means the newest."""
    prompt: str = option(
        "lmt60", "a family under routelmt_ray/engines/templates or the path of a YAML file", lambda v: v != ""
    )
    """Prompt family."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Leave it off unless you have read that code."""
    dtype: str = choice("auto", DTYPES)
    """Compute type; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    device: str = option("auto", "auto, cpu or cuda", lambda v: v in ("auto", "cpu", "cuda"))
    """Device of the model; `auto` uses the GPU that the pool reserved, else the CPU."""
    attention: Optional[str] = None
    """Attention implementation as transformers names it (`sdpa`, `eager`, `flash_attention_2`); null lets it choose."""
    max_input_tokens: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Longest prompt in tokens; see `input.too_long` for a longer row. Null: the model's context without
    `max_new_tokens`; a model without a maximum context (Bloom, MPT, Mamba) needs a number."""
    max_new_tokens: int = option(512, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of tokens of a translation."""
    new_tokens_ratio: float = option(3.0, "a number above 0", lambda v: v > 0)
    """A translation is also limited to this many tokens per token of its source, plus `new_tokens_extra`."""
    new_tokens_extra: int = option(32, "an integer of at least 0", lambda v: v >= 0)
    """See `new_tokens_ratio`."""
    num_beams: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """Number of beams; 1 is greedy."""
    compile: Optional[bool] = None
    """Compile the layers of a model that is probed (`hf`); null does so on a GPU. Loading takes ten seconds more."""
    batch_rows: int = option(64, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of rows that are translated at once (`hf`)."""
    batch_tokens: int = option(32_768, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of padded tokens of a batch (`hf`), prompt and space for the translation together; a longer row
    forms its own batch. A probe has no other limit."""
    threads: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """CPU threads of an engine."""
    vllm: VllmConfig = field(default_factory=VllmConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """Settings of the engine `openai`."""
    pool: PoolConfig = field(default_factory=PoolConfig)

    @property
    def kind(self) -> EngineKind:
        """The engine, as its table describes it."""
        return ENGINES[self.engine]

    @property
    def rows_at_once(self) -> int:
        """Rows of a full batch."""
        return self.kind.rows_at_once(self)

    @property
    def batch_cost_rows(self) -> int:
        """Rows of a batch that costs as much if it is not full; 1 at a server."""
        return self.rows_at_once if self.kind.runs_here else 1


@dataclass(frozen=True)
class ModelsConfig:
    """The two translators."""

    small: ModelConfig = field(default_factory=ModelConfig)
    """The small model, which is probed on every row and translates the rows that are not routed."""
    large: ModelConfig = field(default_factory=ModelConfig)
    """The large model, which translates the routed rows."""


@dataclass(frozen=True)
class RayConfig:
    """The Ray cluster."""

    address: str = "local"
    """`local` starts a cluster on this machine for this run; `auto` or `host:port` joins a running cluster."""
    num_cpus: Optional[int] = option(None, "null or an integer of at least 2", lambda v: v is None or v >= 2)
    """Logical CPUs of a local cluster; null: those of the machine, at least 4, so that readers and engines both fit."""
    object_store_mb: int = option(512, "an integer of at least 100", lambda v: v >= 100)
    """Shared memory of a local cluster, MiB."""
    rounds: int = option(3, "an integer of at least 1", lambda v: v >= 1)
    """Number of times that shards are tried before the job fails; shards that did not commit get new workers each
    time. A budget in hours translates a shard twice at most, because each time loads the model again."""


@dataclass(frozen=True)
class LogConfig:
    """Messages on stderr."""

    format: str = choice("text", LOG_FORMATS)
    """`text`, or `json`: one object on each line. The environment variable ROUTELMT_LOG_FORMAT=json does the same, also
    for messages before the configuration is read."""


_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_model_path(key: str, path: str) -> None:
    """Refuses a path that is neither a folder nor has the form of a hub id, before the hub is asked for it."""
    if os.path.isdir(path):
        return
    if os.path.exists(path):
        raise ValueError(f"{key} is {path!r}, a file; name the folder that it is in")
    above = path.partition("/")[0]
    if not _HUB_ID.fullmatch(path) or above in (".", "..") or ("/" in path and os.path.isdir(above)):
        raise ValueError(f"{key} is {path!r}, but there is no such folder; correct it, or give a hub id like org/model")


def check_corpus_and_models(corpus: InputConfig, models: ModelsConfig) -> None:
    """Checks the model paths, and that each language is given exactly once, for every job that translates a corpus.
    Raises ValueError if a value is wrong; the message names the field, its value and what is allowed."""
    for size, model in (("small", models.small), ("large", models.large)):
        if not model.kind.has_model:
            continue
        if not model.path:
            raise ValueError(f"models.{size}.path is empty; the `{model.engine}` engine needs a model folder or hub id")
        check_model_path(f"models.{size}.path", model.path)
    check_languages("input", corpus)


def check_languages(key: str, section: Any) -> None:
    """Checks that each language of a section is given exactly once: by a column, or for all rows. Raises ValueError if
    a language is given twice, or not at all."""
    for side in ("source_lang", "target_lang"):
        column, constant = getattr(section.columns, side), getattr(section, side)
        if (column is None) == (constant is None):
            both = "both set" if column is not None else "both null"
            raise ValueError(
                f"{key}.columns.{side} and {key}.{side} are {both}; set exactly one: a column with a code for every row, or one code for all"
            )


def refuse_seconds(key: str, models: ModelsConfig) -> None:
    """Refuses a key, given with its value, that needs the device-seconds of models that a server runs."""
    for size, model in (("small", models.small), ("large", models.large)):
        if not model.kind.runs_here:
            raise ValueError(
                f"{key} needs the device-seconds of both models, but models.{size}.engine is `{model.engine}`: a server runs it, "
                "and only its tokens are known; set `price` (for dry runs, budget.money), or use budget.fraction, .rows or .threshold"
            )
