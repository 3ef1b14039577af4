"""The configuration of the label job; sections shared with other jobs are in :mod:`routelmt_ray.config.common`."""

from dataclasses import dataclass, field
from typing import Optional

from routelmt_ray.config.checks import CHECKS, FLAG, OFF, ChecksConfig
from routelmt_ray.config.common import (
    InputConfig,
    LogConfig,
    ModelsConfig,
    OutputConfig,
    PoolConfig,
    RayConfig,
    check_corpus_and_models,
)
from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.metrics import METRICS

BLEU_TOKENIZERS = ("13a", "intl", "zh", "char", "none")


@dataclass(frozen=True)
class CometConfig:
    """One COMET checkpoint, with a separate pool of actors."""

    path: str = ""
    """Folder with hparams.yaml and checkpoints/model.ckpt, or a hub id such as Unbabel/wmt22-comet-da."""
    revision: Optional[str] = None
    """Hub revision; null means the newest."""
    allow_pickle: bool = False
    """Load a checkpoint that contains more than weights, too. Such a file can run any code on the machine:
    use this only for a checkpoint from a source that you trust."""
    use_reference: Optional[bool] = None
    """Use references, for checkpoints that score with and without them (XCOMET and other unified models).
    Null uses references where `input.columns.reference` names them. Other checkpoints give no choice."""
    python: Optional[str] = None
    """Python interpreter of an environment with unbabel-comet and this project, of the same Python and Ray versions;
    null uses the job's own environment."""
    device: str = option("auto", "auto, cpu or cuda", lambda v: v in ("auto", "cpu", "cuda"))
    """Device of the checkpoint; `auto` uses the GPU that the pool reserved, else the CPU."""
    batch_rows: int = option(64, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of segments of a batch."""
    batch_tokens: int = option(16_384, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of padded tokens of a batch, source, hypothesis and reference together; a longer segment is scored
    alone."""
    threads: int = option(1, "an integer of at least 1", lambda v: v >= 1)
    """CPU threads of an actor."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """Number of actors, and what each reserves. An actor uses one device."""


@dataclass(frozen=True)
class BleuConfig:
    """Sentence BLEU by sacrebleu."""

    tokenize: str = choice("13a", BLEU_TOKENIZERS)
    """sacrebleu's tokenizer; `zh` or `char` for target languages written without spaces."""


@dataclass(frozen=True)
class MetricsConfig:
    """The metrics of the quality of both translations."""

    names: list[str] = option(
        ["chrf"],
        f"a list of at least one of {', '.join(METRICS)}, each once",
        lambda v: bool(v) and len(set(v)) == len(v) and set(v) <= set(METRICS),
        METRICS,
    )
    """Metrics; each gives the columns quality_small_<name>, quality_large_<name> and gain_<name>, on the 0–1 scale."""
    bleu: BleuConfig = field(default_factory=BleuConfig)
    """Settings of the metric `bleu`."""
    comet: CometConfig = field(default_factory=CometConfig)
    """The checkpoint behind the metric `comet`."""
    comet_qe: CometConfig = field(default_factory=CometConfig)
    """The checkpoint behind the metric `comet_qe`: a second one beside `comet`, usually one without references."""


@dataclass(frozen=True)
class LabelConfig:
    """The whole configuration of `jobs/label.py`."""

    run_dir: str = option("", "a folder", lambda v: v != "")
    """The run directory: all state, and the output. The same command on it resumes."""
    input: InputConfig = field(default_factory=InputConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    """The labelled rows."""
    models: ModelsConfig = field(default_factory=ModelsConfig)
    """The two translators; both translate every row."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    """Checks of both translations. The columns `check_small` and `check_large` then name those that fail. The only actions are
    `off` and `flag`, and every row stays in the labels."""
    ray: RayConfig = field(default_factory=RayConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def seed(self) -> int:
        """A seed, because jobs bind a run directory to it; this job draws nothing."""
        return 0

    def __post_init__(self) -> None:
        """Checks combinations of fields."""
        check_corpus_and_models(self.input, self.models)
        self._check_checks()
        for name in self.metrics.names:
            kind = METRICS[name]
            if not kind.has_checkpoint and kind.needs_reference and self.input.columns.reference is None:
                raise ValueError(
                    f"metrics.names has `{name}`, which compares with a reference, but input.columns.reference is "
                    "null; name the column, or use a metric without references, such as a checkpoint as `comet_qe`"
                )
            if kind.has_checkpoint and not getattr(self.metrics, name).path:
                raise ValueError(
                    f"metrics.{name}.path is empty; the metric `{name}` needs a checkpoint folder or hub id"
                )

    def _check_checks(self) -> None:
        self.checks.check_protected(self.input.protect)
        for name in CHECKS:
            if (action := self.checks.asked(name)) not in (OFF, FLAG):
                raise ValueError(
                    f"checks.{name} has the action {action}, but labels keep every row and only say which checks it fails; set "
                    "checks.action=flag"
                )
        if self.checks.columns:
            raise ValueError(
                "checks.columns is true, but labels have no measures, only the names of the checks that fail; leave it out"
            )
