"""Writes a summary as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.gpu.summary import HOURS, LEAST_CASCADE_FACTOR, MOST_PROBE_SHARE


def markdown(summary: Mapping[str, Any]) -> str:
    """Writes all tables of a summary; those of parts that were not measured are left out."""
    return "\n\n".join(_sections(summary)) + "\n"


def _sections(summary: Mapping[str, Any]) -> Iterator[str]:
    made, unit = summary["made_with"], summary["unit"]
    yield f"{made['device']}, torch {made['torch']}, transformers {made['transformers']}, {made['dtype']}, sizes: {made['sizes']}"
    if any(summary["ceilings"].values()):
        found = {key: value for key, value in summary["ceilings"].items() if value}
        yield _table(
            ("ceiling", "measured"),
            [(name, f"{value / 1e12:.3g} {'TB/s' if name == 'copy' else 'TFLOP/s'}") for name, value in found.items()],
        )
    if summary["probe"]:
        yield _table(
            ("probe", "way", "batch", "rows/s", "tokens/s", "share of FLOP/s", "peak GiB"),
            [
                (r["model"], r["way"], r["batch"], _n(r["rows_per_s"]), _n(r["tokens_per_s"]), _share(r["flop_share"]), _g(r["peak_gib"]))
                for r in summary["probe"]
            ],
        )  # fmt: skip
    if summary["decode"]:
        plain = {(r["model"], r["batch"]): r["tokens_per_s"] for r in summary["plain_decode"]}
        yield _table(
            ("decoding", "batch", "tokens/s", "step, ms", "share of bytes/s", "peak GiB", "halved", "plain, tokens/s"),
            [
                (r["model"], r["batch"], _n(r["tokens_per_s"]), f"{r['step_ms']:.1f}", _share(r["byte_share"]), _g(r["peak_gib"]),
                 r["halved"], _n(plain.get((r["model"], r["batch"]))))
                for r in summary["decode"]
            ],
        )  # fmt: skip
    for pair in summary["pairs"]:
        yield from _pair(pair, unit)
    if summary["ranking"]:
        yield _table(
            ("bfloat16 against float32", "rows", "Spearman", "of a selection of 30 %, changed"),
            [(r["model"], _n(r["rows"]), f"{r['spearman']:.5f}", f"{r['changed']:.2%}") for r in summary["ranking"]],
        )
    if summary["training"]:
        yield _table(
            ("training, batch × accumulated", "rows/s", "share of FLOP/s", "peak GiB"),
            [
                (f"{r['batch']} × {r['accumulate']}", _n(r["rows_per_s"]), _share(r["flop_share"]), _g(r["peak_gib"]))
                for r in summary["training"]
            ],
        )
    if summary["encoder"]:
        yield _table(
            ("judge's encoder", "rows/s", "share of FLOP/s", "peak GiB"),
            [(r["dtype"], _n(r["rows_per_s"]), _share(r["flop_share"]), _g(r["peak_gib"])) for r in summary["encoder"]],
        )
    for r in summary["memory"]:
        if "halved" in r:
            yield (
                f"Out of memory: {r['rows']} rows of {r['model']} with memory for about a quarter: {r['answers']} answers, {r['errors']} "
                f"errors, {r['halved']} batches halved, {r['scarce_s'] / r['enough_s']:.2f} times the seconds, {r['equal']:.0%} of the "
                "answers equal."
            )
    if summary["not_complete"]:
        yield "Not complete: " + "; ".join(f"{name} ({why})" for name, why in summary["not_complete"].items())


def _pair(pair: Mapping[str, Any], unit: str) -> Iterator[str]:
    mean, factor = pair["mean_row_s"], pair["cascade_factor"]
    rows = [
        ("large / small, per row", f"{pair['cost_ratio']:.2f}", ""),
        ("probe / decoding with the small model", f"{pair['probe_share']:.3f}", _target(pair["probe_share"] < MOST_PROBE_SHARE, f"< {MOST_PROBE_SHARE:g}")),
    ]  # fmt: skip
    if factor is not None:
        met = _target(factor > LEAST_CASCADE_FACTOR, f"> {LEAST_CASCADE_FACTOR:g}")
        rows.append(("decoding and judging / probe", f"{factor:.1f}", met))
    yield _table((f"{pair['small']} and {pair['large']}", "ratio", "target"), rows)
    yield _table(
        (f"{HOURS:g} hours ({unit})", "ms per row", "million rows", "relative to all large"),
        [
            (r["strategy"], f"{1000 * r['row_s']:.3g}", f"{r['rows'] / 1e6:.3g}", f"{r['of_all_large']:.2f}")
            for r in pair["hours"]
        ],
    )
    errors = [f"{name} {error:.0%}" for name, error in pair["relative_error"].items() if error is not None]
    yield (
        f"A mean row takes {mean['probe']:.3g} s to probe, {mean['small']:.3g} s with {pair['small']}, {mean['large']:.3g} s with "
        f"{pair['large']}. " + (f"Error of the fits (95 %): {', '.join(errors)}." if errors else "")
    ).rstrip()


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _target(met: bool, target: str) -> str:
    return f"{target}: {'met' if met else '**missed**'}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _n(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _g(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
