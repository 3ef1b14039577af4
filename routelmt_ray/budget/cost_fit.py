"""Fits a cost model to what a profile measured: weighted non-negative least squares over runs of groups of rows.

Every group is translated whole, and once more with a single new token, which costs little beside reading the prompt.
So the costs of a prompt token and of an output token are told apart even where long sources have long translations.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np

from routelmt_ray.budget.cost import ANY_PAIR, SERVED, Floats, ProbeCost, TranslatorCost

Cost = TypeVar("Cost")

MIN_ROW_S = 1e-6
"""Least device-seconds of a row: an engine too fast to be measured is not free, and every row has a weight."""
MIN_GROUPS = 3
"""Fewer groups give no error, because a fit needs at least two groups after one is left out."""
_NORMAL_95 = 1.96
_REWEIGHTINGS = 8
SHRINK_ROWS = 8
"""Rows of the overall output ratio that are added to the rows of a language pair when its ratio is estimated."""


@dataclass(frozen=True)
class Measured:
    """The work of one model on the groups of a sample."""

    pairs: tuple[str, ...]
    group: np.ndarray
    """Group of each row, integers, shape ``(rows,)``."""
    pair_codes: np.ndarray
    """Language pair of each row, indices into `pairs`, shape ``(rows,)``."""
    source_tokens: np.ndarray
    """Source tokens by the small tokenizer, shape ``(rows,)``."""
    small_prompt_tokens: np.ndarray
    """Prompt tokens of the small model, shape ``(rows,)``."""
    prompt_tokens: np.ndarray
    """Prompt tokens of this model, shape ``(rows,)``."""
    output_tokens: np.ndarray
    """Output tokens, shape ``(rows,)``; all 0 for a probe."""
    run_group: np.ndarray
    """Group of each measured run, shape ``(runs,)``."""
    run_whole: np.ndarray
    """True for a run to the end of the translations, False for one of a single new token; bool, shape ``(runs,)``."""
    run_device_s: np.ndarray
    """Device-seconds of each run, shape ``(runs,)``."""

    def only(self, rows: np.ndarray, runs: np.ndarray) -> "Measured":
        """Selects some of the rows and runs; both arguments are masks, of shapes ``(rows,)`` and ``(runs,)``."""
        return Measured(
            self.pairs,
            *(getattr(self, name)[rows] for name in _BY_ROW),
            *(getattr(self, name)[runs] for name in _BY_RUN),
        )


_BY_ROW = ("group", "pair_codes", "source_tokens", "small_prompt_tokens", "prompt_tokens", "output_tokens")
_BY_RUN = ("run_group", "run_whole", "run_device_s")


def nonnegative_least_squares(features: Floats, targets: Floats) -> Floats:
    """Finds the x >= 0, shape ``(columns,)``, with the least ``|features @ x - targets|``.

    At the optimum the positive entries are an ordinary least-squares solution over their own columns. There are two or
    three columns here, so all sets of columns are tried, smaller ones first. This is exact, also for collinear columns.
    """
    columns = features.shape[1]
    scale = np.linalg.norm(features, axis=0)
    scaled = features / np.where(scale > 0, scale, 1.0)
    best, least = np.zeros(columns), float(targets @ targets)
    for chosen in (list(c) for n in range(1, columns + 1) for c in combinations(range(columns), n)):
        solution = np.linalg.lstsq(scaled[:, chosen], targets, rcond=None)[0]
        residual = scaled[:, chosen] @ solution - targets
        if (solution >= 0).all() and (error := float(residual @ residual)) < least * (1 - 1e-9):
            best, least = np.zeros(columns), error
            best[chosen] = solution
    return best / np.where(scale > 0, scale, 1.0)


def fit_probe(measured: Measured, unit: str, load_s: float) -> ProbeCost:
    """Fits the costs of a probe to its measured runs, in `gpu_s` or `cpu_s`, with the error of the fit and the
    device-seconds until the model was loaded."""

    def fit(part: Measured) -> ProbeCost:
        row_s, token_s, _ = _rates(part)
        return ProbeCost(unit, load_s, max(row_s, MIN_ROW_S), token_s)

    def predict(cost: ProbeCost, part: Measured) -> Floats:
        return cost.row_s + cost.prefill_token_s * part.prompt_tokens

    return replace(fit(measured), relative_error=_relative_error(measured, fit, predict))


def fit_translator(measured: Measured, unit: str, load_s: float) -> TranslatorCost:
    """Fits the costs of a translator, its prompt and output ratios included; arguments as for :func:`fit_probe`."""

    def fit(part: Measured) -> TranslatorCost:
        row_s, token_s, output_token_s = _rates(part)
        small_tokens = part.small_prompt_tokens.sum()
        if not small_tokens:  # the small model has no tokens to estimate prompts from: all count as average
            row_s += token_s * float(part.prompt_tokens.mean())
        prompt_ratio = float(part.prompt_tokens.sum() / small_tokens) if small_tokens else 0.0
        row_tokens, ratios = _output_ratios(part)
        return TranslatorCost(
            unit, load_s, max(row_s, MIN_ROW_S), token_s, output_token_s, prompt_ratio, row_tokens, ratios, None
        )

    def predict(cost: TranslatorCost, part: Measured) -> Floats:
        output_tokens = cost.output_tokens(part.source_tokens, part.pair_codes, part.pairs)
        return cost.row_seconds(part.small_prompt_tokens, output_tokens)

    return replace(fit(measured), relative_error=_relative_error(measured, fit, predict))


def fit_served(measured: Measured) -> TranslatorCost:
    """Fits the numbers of tokens of a model that a server runs. The error is that of its output tokens. Its runs are
    measured in output tokens in place of device-seconds."""

    def fit(part: Measured) -> TranslatorCost:
        prompt_features = np.column_stack([np.ones(len(part.prompt_tokens)), part.small_prompt_tokens])
        row, ratio = nonnegative_least_squares(prompt_features, part.prompt_tokens.astype(np.float64)).tolist()
        row_tokens, ratios = _output_ratios(part)
        return TranslatorCost(SERVED, 0.0, max(row, MIN_ROW_S), 1.0, 1.0, ratio, row_tokens, ratios, None)

    def predict(cost: TranslatorCost, part: Measured) -> Floats:
        return cost.output_tokens(part.source_tokens, part.pair_codes, part.pairs)

    return replace(fit(measured), relative_error=_relative_error(measured, fit, predict))


def _rates(part: Measured) -> tuple[float, float, float]:
    """Device-seconds per row, prompt token and output token; the last is 0 where nothing was decoded."""
    groups = int(part.group.max()) + 1
    sums = [np.bincount(part.group, tokens, groups) for tokens in (None, part.prompt_tokens, part.output_tokens)]
    rows, prompt_tokens, output_tokens = (values[part.run_group].astype(np.float64) for values in sums)
    if output_tokens.any():
        output_tokens = np.where(part.run_whole, output_tokens, rows)
    features = np.column_stack([rows, prompt_tokens, output_tokens])
    # The variance is assumed to grow with the mean, as it does where the cost of a group is a sum over its steps.
    # Weighted in this way by its own prediction, the fit meets the measured total exactly (sum over columns of x times
    # the normal equations). A budget depends on totals.
    expected = part.run_device_s
    for _ in range(_REWEIGHTINGS):
        weights = 1 / np.sqrt(np.maximum(expected, 1e-12))
        rates = nonnegative_least_squares(features * weights[:, None], part.run_device_s * weights)
        expected = features @ rates
    row_s, prompt_token_s, output_token_s = rates.tolist()
    return row_s, prompt_token_s, output_token_s


def _output_ratios(part: Measured) -> tuple[float, dict[str, float]]:
    """Output tokens per row and, by language pair, per source token; few rows pull a pair to the overall ratio."""
    source_tokens, output_tokens = part.source_tokens.astype(np.float64), part.output_tokens.astype(np.float64)
    features = np.column_stack([np.ones(len(source_tokens)), source_tokens])
    row_tokens, overall = nonnegative_least_squares(features, output_tokens).tolist()
    prior_tokens = SHRINK_ROWS * float(source_tokens.mean())
    ratios = {ANY_PAIR: overall}
    for code, pair in enumerate(part.pairs):
        rows = part.pair_codes == code
        if rows.any() and prior_tokens:
            beyond = max(0.0, float(output_tokens[rows].sum()) - row_tokens * int(rows.sum()))
            ratios[pair] = (beyond + prior_tokens * overall) / (float(source_tokens[rows].sum()) + prior_tokens)
    return row_tokens, ratios


def _relative_error(
    measured: Measured, fit: Callable[[Measured], Cost], predict: Callable[[Cost, Measured], Floats]
) -> float | None:
    """Half-width of a 95 % interval of the total, relative to it; each group is predicted by a fit to the others."""
    groups = np.unique(measured.group)
    if len(groups) < MIN_GROUPS:
        return None
    errors, total_s = [], 0.0
    for group in groups:
        left_out = measured.only(measured.group == group, measured.run_group == group)
        others = measured.only(measured.group != group, measured.run_group != group)
        seconds = float(left_out.run_device_s[left_out.run_whole].mean())
        errors.append(float(predict(fit(others), left_out).sum()) - seconds)
        total_s += seconds
    return _NORMAL_95 * float(np.linalg.norm(errors)) / total_s
