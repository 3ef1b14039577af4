"""The section `router`: the scorer that predicts the gain of a row, and its settings."""

from dataclasses import dataclass, fields
from typing import Optional

from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.scorers import SCORERS, ScorerKind


@dataclass(frozen=True)
class RouterConfig:
    """The router, which predicts the gain of a row."""

    kind: str = choice("probe", SCORERS)
    """The scorer, which gives each row its score."""
    path: Optional[str] = None
    """Folder of a trained router (`probe`, `words`): router.json, head.safetensors, optionally adapter/ and
    words.safetensors."""
    column: Optional[str] = None
    """Input column with the score (`column`); null or NaN marks a row that must not be routed."""
    scale: Optional[float] = option(None, "null or a number above 0", lambda v: v is None or v > 0)
    """Calibrates a score that is not in units of gain: predicted gain = scale · score +
    intercept, on the 0–1 scale of a quality metric. Null: the score only ranks."""
    intercept: float = 0.0
    """See `scale`."""

    @property
    def scorer(self) -> ScorerKind:
        """The scorer, as its table describes it."""
        return SCORERS[self.kind]

    @property
    def probes(self) -> bool:
        """True where the small model is probed."""
        return self.scorer.scores is None

    @property
    def settings(self) -> dict[str, object]:
        """The settings that change a score. Those at their default are left out, so that a new setting does not
        invalidate existing run directories."""
        scaled = {"scale": self.scale, "intercept": self.intercept} if self.scale is not None else {}
        known = ("kind", "path", "column", "scale", "intercept")
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in known}
        defaults = {f.name: f.default for f in fields(self)}
        return scaled | {name: value for name, value in others.items() if value != defaults[name]}

    @property
    def unit(self) -> str:
        """Unit of the scores."""
        return "gain" if self.scale is not None else self.scorer.unit

    @property
    def is_gain(self) -> bool:
        """True where the scores are in units of gain, so that they can be compared with a cost or a bound."""
        return self.unit == "gain"
