"""Checks the length of a translation against those of its language pair in the run.

Lengths are compared by the logarithm of their ratio, so that half and double are equally far. The limits come from
median and quartiles, which hold while fewer than a quarter of the translations are bad. They are computed from a histogram with fixed
bins. The histograms of shards are added, so that the order in which shards are read does not matter.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding, LengthLimits

_ADDED_CHARS = 3
"""Characters that are added to both lengths. The ratio of short texts varies a lot without them."""
_BIN = 1 / 32
_LEAST_SPREAD = 0.06
"""Texts that are all alike, such as a catalogue's, would otherwise have no spread."""


def log_ratio(source: str, translation: str) -> float:
    """Computes the logarithm of the ratio of the lengths of a translation and its source, without outer blanks."""
    return math.log((len(translation.strip()) + _ADDED_CHARS) / (len(source.strip()) + _ADDED_CHARS))


def tally(outputs: Iterable[CheckedOutput]) -> dict[str, dict[str, int]]:
    """Counts translations by language pair and bin of their ratio of lengths. The keys are texts, as JSON needs them."""
    counts: dict[str, Counter[str]] = {}
    for output in outputs:
        number = math.floor(log_ratio(output.source, output.translation) / _BIN)
        counts.setdefault(output.pair, Counter())[str(number)] += 1
    return {pair: dict(bins) for pair, bins in counts.items()}


def limits(tallies: Iterable[Mapping[str, Mapping[str, int]]], min_rows: int) -> dict[str, LengthLimits]:
    """Computes the limits of each language pair from the tallies of all shards, in any order. A pair with fewer
    translations than `min_rows` is left out."""
    sums: dict[str, Counter[int]] = {}
    for each in tallies:
        for pair, bins in each.items():
            total = sums.setdefault(pair, Counter())
            for number, count in bins.items():
                total[int(number)] += count
    found = {}
    for pair, counts in sorted(sums.items()):
        if counts.total() >= min_rows:
            low, median, high = (_quantile(counts, share) for share in (0.25, 0.5, 0.75))
            found[pair] = LengthLimits(median, max(median - low, _LEAST_SPREAD), max(high - median, _LEAST_SPREAD))
    return found


def _quantile(bins: Mapping[int, int], share: float) -> float:
    """A quantile of a histogram; values are taken as spread evenly over their bin."""
    numbers = np.array(sorted(bins))
    counts = np.array([bins[number] for number in numbers.tolist()])
    ends = counts.cumsum()
    at = int(np.searchsorted(ends, share * ends[-1]))
    return float(numbers[at] + 1 - (ends[at] - share * ends[-1]) / counts[at]) * _BIN


def open_check(plan: CheckPlan) -> Check:
    """Opens the check, which gives no verdict for a pair without limits."""
    most, pairs = plan.config.length.max_spreads, plan.lengths

    def check(output: CheckedOutput) -> Finding | None:
        known = pairs.get(output.pair)
        if known is None:
            return None
        ratio = log_ratio(output.source, output.translation)
        off = ratio - known.median
        spreads = off / (known.above if off > 0 else known.below)
        if abs(spreads) <= most:
            return Finding(spreads, False)
        times = f"{math.exp(ratio):.2g} times the length of the source, where {math.exp(known.median):.2g} is usual"
        return Finding(spreads, True, times)

    return check
