"""What the figures say: shares of the ceilings, ratios between works, and what 100 device-hours buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt_ray.budget.cost import ANY_PAIR, CostModel, ProbeCost, TranslatorCost
from routelmt_ray.budget.cost_fit import Measured, fit_probe, fit_translator
from tests.benchmarks.gpu.setting import TEMPLATE_TOKENS, Sizes, draw_lengths

Results = Mapping[str, Mapping[str, Any]]
"""Content of the files, by part."""
HOURS, SHARES = 100.0, (0.1, 0.3, 0.5)
MOST_PROBE_SHARE, LEAST_CASCADE_FACTOR = 0.10, 5.0
"""Targets."""
OUTPUT_RATIO, OUTPUT_ROW_TOKENS = 1.0, 1.0
"""Assumed, as random weights do not translate: as many output tokens as source tokens, and the end marker."""
CORPUS_ROWS = 20_000


def figures(results: Results, part: str, **wanted: Any) -> list[dict[str, Any]]:
    """Finds the figures of a part that have the wanted values; none where the part has not run."""
    found = results.get(part, {}).get("figures", ())
    return [figure for figure in found if all(figure.get(key) == value for key, value in wanted.items())]


def ceiling(results: Results, what: str, dtype: str | None = None) -> float | None:
    """Looks up a measured ceiling: operations per second of `matmul` with a dtype, or bytes per second of `copy`."""
    wanted = {"what": what} | ({"dtype": dtype} if dtype else {})
    for figure in figures(results, "ceilings", **wanted):
        return float(figure.get("flops_per_s") or figure["bytes_per_s"])
    return None


def _share(work: float, seconds: float, per_s: float | None) -> float | None:
    return None if per_s is None else work / seconds / per_s


def probe_rows(results: Results, model: str, dtype: str) -> list[dict[str, Any]]:
    """Computes rows/s, tokens/s and the share of the ceiling of operations of each way to probe."""
    return [
        {
            "model": model, "way": figure["way"], "batch": figure["batch"], "rows_per_s": figure["rows"] / figure["seconds"],
            "tokens_per_s": figure["tokens"] / figure["seconds"], "peak_gib": figure["peak_gib"],
            "flop_share": _share(figure["flops"], figure["seconds"], ceiling(results, "matmul", dtype)),
        }
        for figure in figures(results, f"probing-{model}", what="probe")
    ]  # fmt: skip


def decode_rows(results: Results, model: str) -> list[dict[str, Any]]:
    """Computes tokens/s of whole answers, milliseconds of a step, and the share of the ceiling of bytes, by batch."""
    rows = []
    for figure in figures(results, f"decoding-{model}", what="batch"):
        decode_s = max(figure["whole_s"] - figure["one_token_s"], 1e-9)
        rows.append(
            {
                "model": model, "batch": figure["batch"], "tokens_per_s": figure["new_tokens"] / figure["whole_s"],
                "step_ms": 1000 * decode_s / figure["steps"], "peak_gib": figure["peak_gib"], "halved": figure["halved"],
                "byte_share": _share(figure["bytes"], decode_s, ceiling(results, "copy")), "errors": figure["errors"],
            }
        )  # fmt: skip
    return rows


def measured(groups: Sequence[Mapping[str, Any]]) -> Measured:
    """Joins the groups of a part in the form that the fit of a cost model takes."""
    prompt = np.concatenate([group["prompt_tokens"] for group in groups]).astype(np.int64)
    output = [group.get("output_tokens", [0] * len(group["prompt_tokens"])) for group in groups]
    runs = [
        (number, whole, seconds)
        for number, group in enumerate(groups)
        for whole, key in ((True, "whole_s"), (False, "one_token_s"))
        for seconds in group.get(key, ())
    ]
    run_group, run_whole, run_s = (np.array(values) for values in zip(*runs))
    return Measured(
        pairs=("any",),
        group=np.repeat(np.arange(len(groups)), [len(group["prompt_tokens"]) for group in groups]),
        pair_codes=np.zeros(len(prompt), np.int64),
        source_tokens=prompt - TEMPLATE_TOKENS,
        small_prompt_tokens=prompt,
        prompt_tokens=prompt,
        output_tokens=np.concatenate(output).astype(np.int64),
        run_group=run_group,
        run_whole=run_whole,
        run_device_s=run_s,
    )


def translator_cost(results: Results, model: str, unit: str) -> TranslatorCost | None:
    """Fits the costs of a model as `jobs/profile_costs.py` does; None where fewer than two groups were measured.

    Output tokens are those of :data:`OUTPUT_RATIO`, and loading is left out.
    """
    groups = figures(results, f"decoding-{model}", what="group")
    if len(groups) < 2:
        return None
    cost = fit_translator(measured(groups), unit, 0.0)
    return replace(cost, output_row_tokens=OUTPUT_ROW_TOKENS, output_ratio={ANY_PAIR: OUTPUT_RATIO})


def probe_cost(results: Results, model: str, unit: str) -> ProbeCost | None:
    """Fits the costs of a model as a probe; None where fewer than two groups were measured."""
    groups = figures(results, f"probing-{model}", what="group")
    if len(groups) < 2:
        return None
    load = figures(results, f"probing-{model}", what="load")
    return fit_probe(measured(groups), unit, load[0]["seconds"] if load else 0.0)


def cost_model(results: Results, small: str, large: str, unit: str, device: str) -> CostModel | None:
    """Builds the cost model of a pair for rows as they are drawn here; None where a part of it was not measured."""
    probe = probe_cost(results, small, unit)
    translators = [translator_cost(results, model, unit) for model in (small, large)]
    if probe is None or None in translators:
        return None
    first, second = translators
    assert first is not None and second is not None
    costs = CostModel(device, CORPUS_ROWS, probe, first, second, {}, {}, {})
    prompt, source = corpus_tokens()
    codes = np.full(len(prompt), -1)
    means = {"probe": costs.probe_seconds(prompt).mean()} | {
        size: costs.row_seconds(size, prompt, source, codes, ()).mean() for size in ("small", "large")
    }
    return replace(costs, mean_row_s={name: float(value) for name, value in means.items()})


def corpus_tokens() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draws prompt tokens and source tokens of the rows that the table is about; both int64, ``(rows,)``."""
    prompt = draw_lengths(CORPUS_ROWS, 9)
    return prompt, prompt - TEMPLATE_TOKENS


def hours_table(costs: CostModel, hours: float = HOURS, shares: Sequence[float] = SHARES) -> list[dict[str, Any]]:
    """Computes how many rows some device-hours translate.

    Args:
        costs: of a pair; its `mean_row_s` is of the corpus that is asked about.
        hours: device-hours, in the unit of `costs`. Loading is left out.
        shares: shares of the rows that the router gives to the large model; all rows are probed.

    Returns:
        By strategy: `row_s`, device-seconds of an average row; `rows`, their number; `of_all_large`, how many times the
        rows of all-large.
    """
    probe, small, large = (costs.mean_row_s[name] for name in ("probe", "small", "large"))
    row_s = {"all small": small}
    row_s |= {f"router, {share:.0%} large": probe + (1 - share) * small + share * large for share in shares}
    row_s["all large"] = large
    return [
        {"strategy": name, "row_s": seconds, "rows": int(hours * 3600 / seconds), "of_all_large": large / seconds}
        for name, seconds in row_s.items()
    ]


def judge_row_s(results: Results, dtype: str = "float32") -> float | None:
    """Computes the seconds per row of the judge's encoder; None where it was not measured."""
    for figure in figures(results, "encoder", dtype=dtype):
        return float(figure["seconds"] / figure["rows"])
    return None


def pair_summary(results: Results, small: str, large: str, unit: str, device: str) -> dict[str, Any] | None:
    """Computes the ratios of a pair and what 100 device-hours buy; None where a part of it was not measured."""
    costs = cost_model(results, small, large, unit, device)
    if costs is None:
        return None
    probe, decode = costs.mean_row_s["probe"], costs.mean_row_s["small"]
    judge = judge_row_s(results)
    return {
        "small": small,
        "large": large,
        "unit": unit,
        "mean_row_s": costs.mean_row_s,
        "relative_error": {
            "probe": costs.probe.relative_error,
            "small": costs.small.relative_error,
            "large": costs.large.relative_error,
        },
        "cost_ratio": costs.mean_row_s["large"] / decode,
        "probe_share": probe / decode,
        "cascade_factor": None if judge is None else (decode + judge) / probe,
        "hours": hours_table(costs),
    }


def summarise(results: Results, sizes: Sizes, made_with: Mapping[str, str], unit: str) -> dict[str, Any]:
    """Computes all that is printed from the files of the parts; what was not measured is left out."""
    names = [shape.name for shape in sizes.models]
    pairs = [
        found
        for small, large in sizes.pairs
        if (found := pair_summary(results, small.name, large.name, unit, made_with["device"])) is not None
    ]
    trained, encoded = figures(results, "training"), figures(results, "encoder")
    matmul = {dtype: ceiling(results, "matmul", dtype) for dtype in ("bfloat16", "float32")}
    return {
        "made_with": dict(made_with),
        "unit": unit,
        "ceilings": {**matmul, "copy": ceiling(results, "copy")},
        "probe": [row for name in names for row in probe_rows(results, name, made_with["dtype"])],
        "decode": [row for name in names for row in decode_rows(results, name)],
        "plain_decode": [
            {"model": name, "batch": figure["batch"], "tokens_per_s": figure["new_tokens"] / figure["whole_s"]}
            for name in names
            for figure in figures(results, f"decoding-{name}", what="plain")
        ],
        "pairs": pairs,
        "ranking": figures(results, "ranking"),
        "training": [
            row | {"flop_share": _share(row["rows_per_s"] * row["flops_per_row"], 1.0, matmul[made_with["dtype"]])}
            for row in trained
        ],
        "encoder": [
            row
            | {
                "rows_per_s": row["rows"] / row["seconds"],
                "flop_share": _share(row["flops"], row["seconds"], matmul[row["dtype"]]),
            }
            for row in encoded
        ],
        "memory": figures(results, "memory"),
        "not_complete": {name: part["why"] for name, part in results.items() if not part["complete"]},
    }
