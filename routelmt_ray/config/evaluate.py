"""The configuration of the evaluation: every key, its default, its unit and its allowed values."""

from dataclasses import dataclass, field
from typing import Optional

from routelmt_ray.config.common import LogConfig, ModelConfig, ReportConfig, check_model_path
from routelmt_ray.config.engines import TRAINING_ENGINES
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.train import SplitConfig

ROWS = ("test", "all")


@dataclass(frozen=True)
class LabelledColumnsConfig:
    """The column of the labelled set for each purpose. A column that is named must exist."""

    source: str = option("source", "a column name", lambda v: v != "")
    """Source text."""
    source_lang: Optional[str] = None
    """Language code of the source; null where `labels.source_lang` gives one for all rows."""
    target_lang: Optional[str] = None
    """Language code of the translation; null where `labels.target_lang` gives one for all rows."""
    reference: Optional[str] = None
    """Reference translation, for the ceiling and the rows to read; null: the column `reference`, where the set has one."""
    document: Optional[str] = None
    """Document id: splits and resamples keep documents whole. Null, or null in a row: the source text is used
    instead."""
    domain: Optional[str] = None
    """Domain, for the tables by domain."""
    fold: Optional[str] = None
    """Fold of cross-fitted scores: every measure is then computed within each fold, and averaged."""


@dataclass(frozen=True)
class LabelledConfig:
    """Rows with the qualities of both models, as jobs/label.py writes them, or any Parquet with these columns."""

    path: str = option("", "a file, a folder or a glob of .parquet", lambda v: v != "")
    """Place of the labels. A folder is read recursively."""
    fit_path: Optional[str] = None
    """Another labelled set to fit and calibrate on, where `rows=all`. Without it, scores that are not gains are
    calibrated on the measured rows themselves, which favours them."""
    metric: Optional[str] = None
    """Metric of the labels: selects the columns gain_<metric>, quality_small_<metric>, quality_large_<metric>; null
    where the set has only one metric."""
    columns: LabelledColumnsConfig = field(default_factory=LabelledColumnsConfig)
    source_lang: Optional[str] = None
    """Language code of every source, where no column gives it."""
    target_lang: Optional[str] = None
    """Language code of every translation, where no column gives it."""


@dataclass(frozen=True)
class ScorersConfig:
    """The scorers that are compared, in addition to random, a constant gain, length, rarity and the two oracles."""

    routers: dict[str, str] = option(
        {}, "names with folders of trained routers, e.g. {lora: runs/router}", lambda v: True
    )
    """Trained routers, each under a name that you choose; a head called `quality` also gives RouteLMT-Q. The first
    router is the reference of the paired comparisons, unless `reference` names another scorer."""
    columns: dict[str, str] = option(
        {}, "column names, each with `gain` or `rank`", lambda v: set(v.values()) <= {"gain", "rank"}
    )
    """Columns of the set with scores: `gain` for a prediction in units of gain, `rank` for any other; rows with higher
    scores are routed first."""
    entropy: bool = True
    """Predictive entropy and perplexity of the small model over the source tokens: one prefill."""
    logprob: bool = True
    """Log-probability of the small model's output; needs the column small_translation."""
    win_probability: bool = True
    """Logistic regression on the small model's prompt state: the probability that the large model is better."""
    text_ridge: bool = True
    """Ridge regression of the gain on words, characters and length of the source (tf-idf): trained on the train part,
    in seconds, without any model."""
    encoder: Optional[str] = None
    """Folder or hub id of an encoder, such as XLM-R: frozen, pooled states, ridge regression on the gain (XLM-R-Delta)
    and on the small model's quality (PreQuEL). Null leaves it out."""
    encoder_tokens: int = option(256, "an integer of at least 8", lambda v: v >= 8)
    """Longest text in tokens; a longer text is cut off."""
    sentinel: CometConfig = field(default_factory=CometConfig)
    """Checkpoint that predicts the difficulty of a source (such as sentinel-src); an empty path leaves it out."""
    qe: CometConfig = field(default_factory=CometConfig)
    """Reference-free checkpoint that scores the small model's output; needs the column small_translation. An empty
    path leaves it out."""


@dataclass(frozen=True)
class GuardsConfig:
    """Guards whose effect on losses is shown. They never change the comparison itself."""

    min_gain: float = option(0.0, "a finite number", lambda v: abs(v) < float("inf"))
    """Least gain: rows with a lower predicted gain are not routed."""
    good_quality: Optional[float] = None
    """Rows whose predicted small quality is above this are not routed; null: the upper quartile of the prediction."""


@dataclass(frozen=True)
class EvaluateConfig:
    """The whole configuration of `jobs/evaluate.py`."""

    out: str = option("", "a folder of this machine", lambda v: v != "" and not v.startswith("s3://"))
    """Folder of the results; results of an earlier evaluation in it are replaced."""
    title: str = "Which router is best"
    """Title of the report."""
    seed: int = option(0, "an integer from 0 to 2^63 - 1", lambda v: 0 <= v < 2**63)
    """Seed of the resamples."""
    labels: LabelledConfig = field(default_factory=LabelledConfig)
    rows: str = choice("test", ROWS)
    """`test`: the test part is measured; scorers that need fitting are fitted on the train part, their penalty is
    chosen on the stop part, and scores that are not gains are calibrated to gain on the calibration part. `all`: every
    row is measured, because the whole set was held out; see `labels.fit_path`."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Parts of the labels, by document: the same as in the train job, so that no router is measured on its training
    rows."""
    p: float = option(0.3, "a number above 0 and below 1", lambda v: 0 < v < 1)
    """The main budget of the report: share of the rows that may go to the large model."""
    tau: float = option(0.05, "a finite number of at least 0", lambda v: 0 <= v < float("inf"))
    """A routed row that loses more than this is a severe loss; in units of gain (0-1 scale)."""
    resamples: int = option(1000, "an integer from 100 to 100000", lambda v: 100 <= v <= 100_000)
    """Number of resamples of the bootstrap. On large sets fewer are drawn, and the report gives their number."""
    curve: Optional[str] = None
    """A `curve.json` of `python -m routelmt_ray.job.curve`, to be shown beside the curve of the tf-idf ridge."""
    reference: Optional[str] = None
    """Scorer that the others are paired with, by its name in evaluation.json; null: the first trained router, or the
    best."""
    published: bool = False
    """Show the published figures of the paper's models beside the measured ones."""
    small: ModelConfig = field(default_factory=ModelConfig)
    """The small model; an empty path leaves out the scorers that need it."""
    scorers: ScorersConfig = field(default_factory=ScorersConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Checks combinations of fields."""
        if self.scorers.routers and not self.small.path:
            raise ValueError(
                "small.path is empty, but scorers.routers names routers, which read the small model; set small.path"
            )
        if self.small.path:
            check_model_path("small.path", self.small.path)
        if self.labels.fit_path is not None and self.rows != "all":
            raise ValueError(
                f"labels.fit_path is {self.labels.fit_path!r} and rows is {self.rows!r}; with a separate set to fit on, set "
                "rows=all"
            )
        for side in ("source_lang", "target_lang"):
            if getattr(self.labels.columns, side) is not None and getattr(self.labels, side) is not None:
                raise ValueError(f"labels.columns.{side} and labels.{side} are both set; set at most one")
        if abs(sum(self.split.shares) - 1) > 1e-9:
            raise ValueError(
                f"split.train, stop, calibration and test are {', '.join(map(str, self.split.shares))}; together they "
                "must be 1"
            )
        if not self.small.kind.trains:
            raise ValueError(
                f"small.engine is {self.small.engine!r}; the evaluation scores with {TRAINING_ENGINES}; set that"
            )
