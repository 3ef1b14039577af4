"""What a row costs on each model, in device-seconds: a few numbers a model, measured by a profile.

A run of an engine costs so much a row, a prompt token and an output token; how many output tokens a row will have is
foretold from its source tokens, by language pair. All tokens a caller gives are the small model's, which every row is
encoded for when it is scored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray import storage

ANY_PAIR = "*"
"""Key of the output ratio of language pairs that have none of their own."""
UNITS = ("gpu_s", "cpu_s")
FORMAT = 1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ProbeCost:
    """The small model as a probe: a prefill, nothing decoded. All zero where the router needs no model."""

    unit: str = "cpu_s"
    """`gpu_s`: wall seconds times GPUs reserved. `cpu_s`: CPU seconds of the process."""
    load_s: float = 0.0
    """Device-seconds from the start of an actor until its model is loaded."""
    row_s: float = 0.0
    """Device-seconds a row, whatever its length."""
    prefill_token_s: float = 0.0
    """Device-seconds a prompt token."""
    relative_error: float | None = None
    """Half-width of a 95 % interval of predicted seconds over many rows, as a share of them; from groups of rows left out
    of the fit, their errors taken as independent. None where there were too few groups."""


@dataclass(frozen=True)
class TranslatorCost:
    """One model as a translator."""

    unit: str
    """As for the probe."""
    load_s: float
    """Device-seconds from the start of an actor until its model is loaded."""
    row_s: float
    """Device-seconds a row, whatever its length; above 0, so that no row is free."""
    prefill_token_s: float
    """Device-seconds a prompt token of this model."""
    output_token_s: float
    """Device-seconds an output token of this model."""
    prompt_ratio: float
    """Its prompt tokens for a prompt token of the small model."""
    output_row_tokens: float
    """Output tokens a row, whatever its length: the end marker, as a rule."""
    output_ratio: dict[str, float]
    """Output tokens a source token of the small model beyond these, by language pair (`en→de`); `*` for any other."""
    relative_error: float | None
    """As for the probe; the output tokens of the rows left out are foretold too."""

    def output_tokens(self, source_tokens: npt.ArrayLike, pair_codes: npt.ArrayLike, pairs: Sequence[str]) -> Floats:
        """Output tokens expected of each row, shape ``(rows,)``, float64; arguments as for `CostModel.row_seconds`."""
        overall = self.output_ratio[ANY_PAIR]
        ratios = np.array([*(self.output_ratio.get(pair, overall) for pair in pairs), overall])
        return self.output_row_tokens + ratios[np.asarray(pair_codes)] * np.asarray(source_tokens, np.float64)

    def row_seconds(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> Floats:
        """Device-seconds of rows with so many prompt tokens of the small model and output tokens, ``(rows,)``."""
        own_prompt_tokens = self.prompt_ratio * np.asarray(prompt_tokens, np.float64)
        return (
            self.row_s
            + self.prefill_token_s * own_prompt_tokens
            + self.output_token_s * np.asarray(output_tokens, np.float64)
        )


@dataclass(frozen=True)
class CostModel:
    """What each stage of a run costs on the hardware it was measured on."""

    device: str
    """Where it was measured, in words."""
    rows: int
    """Rows it was measured on."""
    probe: ProbeCost
    """The small model as a probe."""
    small: TranslatorCost
    """The small model as a translator."""
    large: TranslatorCost
    """The large model."""
    mean_row_s: dict[str, float]
    """Device-seconds of an average row of the corpus it was measured on, by `probe`, `small` and `large`."""
    made_for: dict[str, Any]
    """The models, pools and router it holds for."""
    versions: dict[str, str]
    """Versions of what it was measured with."""

    @property
    def unit(self) -> str:
        """`gpu_s` or `cpu_s`; `device_s` where one model has a GPU and the other has none."""
        units = {self.small.unit, self.large.unit}
        return units.pop() if len(units) == 1 else "device_s"

    def translator(self, size: str) -> TranslatorCost:
        """The costs of `small` or `large`."""
        return {"small": self.small, "large": self.large}[size]

    def row_seconds(
        self,
        size: str,
        prompt_tokens: npt.ArrayLike,
        source_tokens: npt.ArrayLike,
        pair_codes: npt.ArrayLike,
        pairs: Sequence[str],
    ) -> Floats:
        """Device-seconds to translate each row, loading left out.

        Args:
            size: `small` or `large`.
            prompt_tokens: of the small model's prompt, shape ``(rows,)``.
            source_tokens: of the source text alone, by the small tokenizer, shape ``(rows,)``.
            pair_codes: language pair of each row as a number into `pairs`, integers, shape ``(rows,)``; −1 is any pair.
            pairs: language pairs, `en→de`; one that was not measured costs what the average does.

        Returns:
            float64, shape ``(rows,)``, all above 0.
        """
        model = self.translator(size)
        return model.row_seconds(prompt_tokens, model.output_tokens(source_tokens, pair_codes, pairs))

    def probe_seconds(self, prompt_tokens: npt.ArrayLike) -> Floats:
        """Device-seconds to probe rows with so many prompt tokens, shape ``(rows,)``, float64, loading left out."""
        return self.probe.row_s + self.probe.prefill_token_s * np.asarray(prompt_tokens, np.float64)

    def digest(self) -> str:
        """A short hex digest of all that it says."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`from_dict` reads, as plain JSON values."""
        return {"format": FORMAT, "unit": self.unit, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CostModel:
        """The model that :meth:`to_dict` wrote.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        if not isinstance(values, Mapping) or values.get("format") != FORMAT:
            raise ValueError(f"format must be {FORMAT}: not a cost.json of this version of jobs/profile_costs.py")
        found = _fields(cls, values, "")
        for key in ("device", "made_for", "versions", "mean_row_s"):
            kind = str if key == "device" else dict
            if not isinstance(found[key], kind):
                raise ValueError(f"{key} is {found[key]!r}; it must be a {'string' if kind is str else 'mapping'}")
        if not isinstance(found["rows"], int) or found["rows"] < 1:
            raise ValueError(f"rows is {found['rows']!r}; it must be an integer of at least 1")
        for key in ("probe", "small", "large"):
            _number(f"mean_row_s.{key}", found["mean_row_s"].get(key))
            found[key] = _cost(ProbeCost if key == "probe" else TranslatorCost, found[key], key)
        return cls(**found)

    @classmethod
    def load(cls, path: str | storage.Location) -> CostModel:
        """Reads a cost.json.

        Raises:
            ValueError: no such file, or not a cost model; naming the file, the field and what to do.
        """
        remedy = "; make it with jobs/profile_costs.py on the hardware of the run"
        try:
            return cls.from_dict(json.loads(storage.read_bytes(storage.path(path))))
        except storage.StorageError:
            raise
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or 'no such file'}{remedy}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}{remedy}") from None


def _fields(kind: Any, values: Any, at: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{at.rstrip('.')} is {values!r}; it must be a mapping")
    names = [f.name for f in fields(kind)]
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"{at}{missing[0]} is missing")
    return {name: values[name] for name in names}


def _cost(kind: Any, values: Any, key: str) -> Any:
    found = _fields(kind, values, f"{key}.")
    for name, value in found.items():
        at = f"{key}.{name}"
        if name == "unit":
            if value not in UNITS:
                raise ValueError(f"{at} is {value!r}; it must be one of {', '.join(UNITS)}")
        elif name == "output_ratio":
            if not isinstance(value, Mapping) or ANY_PAIR not in value:
                raise ValueError(f"{at} is {value!r}; it must be a mapping of language pairs to numbers, with `*`")
            for pair, ratio in value.items():
                _number(f"{at}.{pair}", ratio)
        elif name != "relative_error" or value is not None:
            _number(at, value, above=kind is TranslatorCost and name == "row_s")
    return kind(**found)


def _number(key: str, value: Any, above: bool = False) -> None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or value < 0 or (above and value == 0):
        raise ValueError(f"{key} is {value!r}; it must be a finite number {'above' if above else 'of at least'} 0")
