"""The configuration of the train job: every key, its default, its unit and its allowed values."""

from dataclasses import dataclass, field
from typing import Any, Optional

from routelmt_ray.config.common import (
    ColumnsConfig,
    InputConfig,
    LogConfig,
    ModelConfig,
    RayConfig,
    check_languages,
    check_model_path,
)
from routelmt_ray.config.engines import TRAINING_ENGINES
from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.schema import LAST_TOKEN, MEAN

METHODS = ("probe", "lora")
PRECISIONS = ("auto", "float32", "bfloat16")
CRITERIA = ("spearman", "area")
AUTO = "auto"
LEAST_HEAD_RATE = 1e-3
HEADS = {"gain": "gain_{metric}", "quality": "quality_small_{metric}", "quality_large": "quality_large_{metric}"}
"""Targets that a head can predict, and the label column of each."""


@dataclass(frozen=True)
class LabelColumnsConfig:
    """The label column for each purpose."""

    source: str = option("source", "a column name", lambda v: v != "")
    """Source text."""
    source_lang: Optional[str] = None
    """Language code of the source; null where `labels.source_lang` gives one for all rows."""
    target_lang: Optional[str] = None
    """Language code of the translation; null where `labels.target_lang` gives one for all rows."""
    document: Optional[str] = None
    """Document id: the split keeps documents whole. Null, or null in a row: the source text is used instead."""


@dataclass(frozen=True)
class LabelsConfig:
    """Rows with the qualities of both models, as jobs/label.py writes them."""

    path: str = option("", "a file, a folder or a glob of .parquet", lambda v: v != "")
    """Place of the labels. A folder is read recursively."""
    metric: str = option("chrf", "a metric name", lambda v: v != "")
    """Metric of the labels: selects the columns gain_<metric>, quality_small_<metric>, quality_large_<metric>."""
    columns: LabelColumnsConfig = field(default_factory=LabelColumnsConfig)
    source_lang: Optional[str] = None
    """Language code of every source, where no column gives it."""
    target_lang: Optional[str] = None
    """Language code of every translation, where no column gives it."""
    rows: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Number of rows of a sample, which keeps language pairs and lengths in proportion; null uses all rows."""

    def as_input(self) -> InputConfig:
        """Converts path and column mapping to the section that the checks of a corpus expect."""
        columns = ColumnsConfig(
            source=self.columns.source, source_lang=self.columns.source_lang, target_lang=self.columns.target_lang
        )
        return InputConfig(path=self.path, columns=columns, source_lang=self.source_lang, target_lang=self.target_lang)


@dataclass(frozen=True)
class SplitConfig:
    """Shares of the documents; their sum is 1."""

    train: float = option(0.7, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Share of the part that fits the router."""
    stop: float = option(0.1, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Share of the part that chooses the penalty, or ends the training."""
    calibration: float = option(0.1, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Share of the part that gives the prediction the unit of gain."""
    test: float = option(0.1, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Share of the part that measures the router."""
    seed: int = option(0, "an integer from 0 to 2^63 - 1", lambda v: 0 <= v < 2**63)
    """Seed of the split; another seed gives other parts."""

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """The four shares in the order of :data:`routelmt_ray.corpus.splits.PARTS`."""
        return self.train, self.stop, self.calibration, self.test


@dataclass(frozen=True)
class ProbeConfig:
    """A linear head on the frozen model, by ridge regression."""

    penalties: list[float] = option(
        [10.0**e for e in range(-6, 2)], "numbers above 0", lambda v: len(v) > 0 and min(v) > 0
    )
    """Penalties to choose from, in units of the mean variance of a state's dimension."""


def _is_rate(value: Any) -> bool:
    return value == AUTO or (isinstance(value, int | float) and 0 < value < float("inf"))


@dataclass(frozen=True)
class LoraConfig:
    """A linear head and low-rank adapters in every linear layer, by gradient descent."""

    rank: int = option(8, "an integer of at least 1", lambda v: v >= 1)
    """Rank of the adapters."""
    alpha: float = option(32.0, "a number above 0", lambda v: v > 0)
    """The adapters are scaled by alpha / rank."""
    dropout: float = option(0.0, "a number from 0 to below 1", lambda v: 0 <= v < 1)
    """Dropout in front of the adapters."""
    learning_rate: float | int | str = option(AUTO, "`auto` or a number above 0", lambda v: _is_rate(v))
    """Peak learning rate of AdamW for the adapters, after a linear warm-up and before a cosine to 0. `auto` trains for
    a short time with each of `rates` on half of the train part, and chooses the rate that ranks the stop part and the
    other half best."""
    head_learning_rate: float | int | str = option(AUTO, "`auto` or a number above 0", lambda v: _is_rate(v))
    """The same for the head; `auto`: that of the adapters, and at least 1e-3."""
    rates: list[float] = option([1e-4, 3e-4, 1e-3, 3e-3, 1e-2], "numbers above 0", lambda v: len(v) > 0 and min(v) > 0)
    """Learning rates that `auto` tries; the best rate of a large model is far lower than that of a tiny one."""
    trial_steps: int = option(100, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of steps of each trial of `auto`; where a training is short, a tenth of its steps, but at least
    20."""
    weight_decay: float = option(0.01, "a number of at least 0", lambda v: v >= 0)
    """Weight decay of AdamW."""
    max_grad_norm: float = option(1.0, "a number above 0", lambda v: v > 0)
    """Gradients are scaled down to this norm."""
    batch_rows: int = option(64, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of rows in memory at once; `small.batch_tokens` limits their padded tokens."""
    accumulate: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """Batches of an optimizer step: a step learns from batch_rows times accumulate rows."""
    epochs: float = option(10.0, "a number above 0", lambda v: v > 0)
    """Largest number of passes over the training rows, which limits a training on few labels."""
    steps: Optional[int] = option(None, "null or an integer of at least 1", lambda v: v is None or v >= 1)
    """Largest number of optimizer steps, which limits a training on many labels; null: no such limit."""
    warmup: float = option(0.05, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Share of the steps in which the learning rate rises."""
    precision: str = choice("auto", PRECISIONS)
    """`auto` is bfloat16 on a GPU (adapters, head and optimizer in float32) and float32 on a CPU."""
    criterion: str = choice("spearman", CRITERIA)
    """Measure on the stop part: rank correlation, or normalised area under the quality curve."""
    evaluate_every: int = option(50, "an integer of at least 1", lambda v: v >= 1)
    """Steps between measurements; the state with the best measurement is kept."""
    patience: int = option(6, "an integer of at least 1", lambda v: v >= 1)
    """Training ends after this many measurements without a better one."""
    checkpoint_every: int = option(100, "an integer of at least 1", lambda v: v >= 1)
    """Steps between checkpoints; if the process is killed, the same command continues from the last checkpoint."""

    @property
    def peaks(self) -> tuple[float, float]:
        """Peak learning rates of adapters and head. Raises ValueError if the rate of the adapters is not chosen yet."""
        if isinstance(self.learning_rate, str):
            raise ValueError(f"lora.learning_rate is {self.learning_rate!r}: no rate has been chosen")
        head = self.head_learning_rate
        return self.learning_rate, max(LEAST_HEAD_RATE, self.learning_rate) if isinstance(head, str) else head


@dataclass(frozen=True)
class CurveConfig:
    """The learning curve; used only by `python -m routelmt_ray.job.curve`."""

    rows: list[int] = option(
        [200, 500, 1000, 2000, 4000, 8000], "integers of at least 50", lambda v: len(v) > 0 and min(v) >= 50
    )
    """Label counts (train and stop parts together), each a subset of the next; counts above the number of labels are
    left out."""
    methods: list[str] = option(
        ["probe", "lora"], "a list of " + ", ".join(METHODS), lambda v: len(v) > 0 and set(v) <= set(METHODS)
    )
    """Methods that are trained at each label count."""


@dataclass(frozen=True)
class TrainConfig:
    """The whole configuration of `jobs/train.py`."""

    out: str = option("", "a folder of this machine", lambda v: v != "" and not v.startswith("s3://"))
    """The router's folder, which is published as a whole at the end."""
    work_dir: str = option("", "a folder of this machine", lambda v: v != "" and not v.startswith("s3://"))
    """Folder of hidden states and checkpoints. The same command on it resumes; it may be deleted afterwards."""
    overwrite: bool = False
    """Replace a router that `out` already holds."""
    seed: int = option(0, "an integer from 0 to 2^63 - 1", lambda v: 0 <= v < 2**63)
    """Seed of the training and of the sample; `split.seed` is that of the parts."""
    method: str = choice("lora", METHODS)
    """`probe`: a head on the frozen model. `lora`: the same head, and adapters that are used only for probing."""
    pooling: str = option(MEAN, f"{MEAN} or {LAST_TOKEN}", lambda v: v in (MEAN, LAST_TOKEN))
    """State of the prompt that the heads read: the mean over its tokens, or the state of its last token, as in the paper."""
    heads: list[str] = option(
        ["gain"],
        "a list of " + ", ".join(HEADS) + " without repetition, `gain` among them",
        lambda v: set(v) <= set(HEADS) and "gain" in v and len(set(v)) == len(v),
    )
    """Predicted targets; one forward pass of the model gives all predictions."""
    words: bool = True
    """Adds a table of the source's words to the gain head where it lowers the error. Set it to false for a router that
    you export with a threshold, because an exported model cannot hold the table."""
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    small: ModelConfig = field(default_factory=ModelConfig)
    """The small model, as models.small of the translate job."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Parts of the labels, by document."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """Settings of `method=probe`."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Settings of `method=lora`."""
    curve: CurveConfig = field(default_factory=CurveConfig)
    shard_rows: int = option(8192, "an integer of at least 1", lambda v: v >= 1)
    """Rows of a shard of hidden states."""
    ray: RayConfig = field(default_factory=RayConfig)
    """The Ray cluster that extracts hidden states (`probe`)."""
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Checks combinations of fields."""
        if not self.small.kind.trains:
            raise ValueError(
                f"small.engine is {self.small.engine!r}; a router is trained with engine {TRAINING_ENGINES}"
            )
        if not self.small.path:
            raise ValueError("small.path is empty; name a model folder or hub id")
        check_model_path("small.path", self.small.path)
        check_languages("labels", self.labels)
        if abs(sum(self.split.shares) - 1) > 1e-9 or min(self.split.shares) <= 0:
            raise ValueError(
                f"split.train, stop, calibration and test are {', '.join(map(str, self.split.shares))}; each must be "
                "above 0 and together they must be 1"
            )
