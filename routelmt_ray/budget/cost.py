"""The cost of a row on each model, in device-seconds: a few numbers for each model, measured by a profile.

A run of an engine has a cost per row, per prompt token and per output token. The number of output tokens of a row is
estimated from its source tokens, by language pair. All token counts that a caller gives are by the tokenizer of the
small model, because every row is encoded with it when it is scored.
"""

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
"""Key of the output ratio of all language pairs that were not measured."""
SERVED = "served_tokens"
"""Unit of a model that a server runs: its costs are numbers of tokens, with a `prefill_token_s` and an `output_token_s` of 1."""
UNITS = ("gpu_s", "cpu_s", SERVED)
FORMAT = 1

Floats = npt.NDArray[np.float64]


def is_money(unit: str) -> bool:
    """Tells whether a unit is a currency: units of time have an underscore."""
    return "_" not in unit


def parts_of(unit: str) -> int:
    """Gives the number of parts of a unit in which rows are weighed, in whole numbers: microseconds, or billionths of a currency."""
    return 1_000_000_000 if is_money(unit) else 1_000_000


def output_mean(size: str) -> str:
    """Names the mean output tokens of a served model in `mean_row_s`; they are part of its mean tokens."""
    return f"{size}_output_tokens"


@dataclass(frozen=True)
class ProbeCost:
    """The small model as a probe: it reads the prompt and decodes nothing. All zero where the router needs no model."""

    unit: str = "cpu_s"
    """`gpu_s`: wall seconds times GPUs reserved. `cpu_s`: CPU seconds of the process."""
    load_s: float = 0.0
    """Device-seconds from the start of an actor until its model is loaded."""
    row_s: float = 0.0
    """Device-seconds per row, the same for any length."""
    prefill_token_s: float = 0.0
    """Device-seconds per prompt token."""
    relative_error: float | None = None
    """Half-width of the 95 % interval of the predicted seconds of many rows, as a share of these seconds.

    It is measured on groups of rows that were left out of the fit; their errors are assumed to be independent. None
    where there were too few groups."""


@dataclass(frozen=True)
class TranslatorCost:
    """One model as a translator."""

    unit: str
    """As for `ProbeCost`; or `served_tokens`: fields in device-seconds are then numbers of tokens, and loading takes none."""
    load_s: float
    """Device-seconds from the start of an actor until its model is loaded."""
    row_s: float
    """Device-seconds per row, the same for any length; above 0, so that no row is free."""
    prefill_token_s: float
    """Device-seconds per prompt token of this model."""
    output_token_s: float
    """Device-seconds per output token of this model."""
    prompt_ratio: float
    """Prompt tokens of this model per prompt token of the small model."""
    output_row_tokens: float
    """Output tokens per row, the same for any length: usually the end marker."""
    output_ratio: dict[str, float]
    """Further output tokens per source token of the small model, by language pair (`en→de`); `*` for any other pair."""
    relative_error: float | None
    """As for `ProbeCost`; the output tokens of the rows left out are estimated too."""

    def output_tokens(self, source_tokens: npt.ArrayLike, pair_codes: npt.ArrayLike, pairs: Sequence[str]) -> Floats:
        """Estimates the output tokens of each row, float64, ``(rows,)``; arguments as for `CostModel.row_seconds`."""
        overall = self.output_ratio[ANY_PAIR]
        ratios = np.array([*(self.output_ratio.get(pair, overall) for pair in pairs), overall])
        return self.output_row_tokens + ratios[np.asarray(pair_codes)] * np.asarray(source_tokens, np.float64)

    def row_seconds(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> Floats:
        """Estimates the device-seconds of rows from tokens of the small model's prompt and output tokens of this model;
        all float64, shape ``(rows,)``."""
        own_prompt_tokens = self.prompt_ratio * np.asarray(prompt_tokens, np.float64)
        return (
            self.row_s
            + self.prefill_token_s * own_prompt_tokens
            + self.output_token_s * np.asarray(output_tokens, np.float64)
        )


@dataclass(frozen=True)
class CostModel:
    """The cost of each stage of a run on the hardware it was measured on."""

    device: str
    """Name of the hardware that was measured."""
    rows: int
    """Number of rows that were measured."""
    probe: ProbeCost
    """The small model as a probe."""
    small: TranslatorCost
    """The small model as a translator."""
    large: TranslatorCost
    """The large model."""
    mean_row_s: dict[str, float]
    """Device-seconds of an average row of the measured corpus, by `probe`, `small` and `large`; of a served model its tokens,
    and by :func:`output_mean` those of its output."""
    made_for: dict[str, Any]
    """The models, pools and router that these costs are valid for."""
    versions: dict[str, str]
    """Versions of the software that was measured."""

    @property
    def unit(self) -> str:
        """`gpu_s` or `cpu_s`; `device_s` where one model has a GPU and the other has none. A currency, where costs are in money."""
        units = {self.small.unit, self.large.unit}
        return units.pop() if len(units) == 1 else "device_s"

    @property
    def parts(self) -> int:
        """Parts of the unit in which rows are weighed."""
        return parts_of(self.unit)

    def translator(self, size: str) -> TranslatorCost:
        """Looks up the costs of a translator, `small` or `large`."""
        return {"small": self.small, "large": self.large}[size]

    def row_seconds(
        self,
        size: str,
        prompt_tokens: npt.ArrayLike,
        source_tokens: npt.ArrayLike,
        pair_codes: npt.ArrayLike,
        pairs: Sequence[str],
    ) -> Floats:
        """Estimates the device-seconds to translate each row, loading left out.

        Args:
            prompt_tokens: of the small model's prompt, shape ``(rows,)``.
            source_tokens: of the source text alone, by the small tokenizer, shape ``(rows,)``.
            pair_codes: language pair of each row as an index into `pairs`, integers, shape ``(rows,)``; −1 is any pair.
            pairs: language pairs, `en→de`; a pair that was not measured costs as much as the average.

        Returns:
            float64, shape ``(rows,)``, all above 0.
        """
        model = self.translator(size)
        return model.row_seconds(prompt_tokens, model.output_tokens(source_tokens, pair_codes, pairs))

    def probe_seconds(self, prompt_tokens: npt.ArrayLike) -> Floats:
        """Estimates the device-seconds to probe each row, loading left out; float64, shape ``(rows,)``."""
        return self.probe.row_s + self.probe.prefill_token_s * np.asarray(prompt_tokens, np.float64)

    def digest(self) -> str:
        """Computes a short hexadecimal digest of all fields."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Converts the model to plain JSON values, which :meth:`from_dict` reads."""
        return {"format": FORMAT, "unit": self.unit, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CostModel":
        """Builds the model that :meth:`to_dict` wrote, and checks each field. Raises ValueError if a field is wrong;
        the message names the field, its value and what is allowed."""
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
    def load(cls, path: str | storage.Location) -> "CostModel":
        """Reads a cost.json. Raises ValueError if there is no such file, or it is not a cost model; the message names
        file, field and remedy."""
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
