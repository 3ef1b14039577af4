"""The summaries of the train job and of the learning curve on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


def print_router(out: str, spec: Mapping[str, Any]) -> None:
    """Prints the figures of a router: its rows, held-out measures, calibration and training time."""
    training, held, calibration = spec["training"], spec["held_out"], spec["calibration"]["gain"]
    words = spec.get("words")
    counts = ", ".join(f"{name} {n:,}" for name, n in training["split"]["rows"].items())
    lines = [
        f"router     {out} ({spec['method']}, heads {', '.join(spec['heads'])}, labels by {spec['label']['metric']})",
        f"rows       {training['rows']:,} of {training['rows_read']:,} labels, by {training['split']['by']}: {counts}",
        f"held out   {_ranking(held)}",
        f"gain       {calibration['scale']:.3f} · {'(head + words)' if words else 'head'} {calibration['intercept']:+.4f}, "
        f"root mean squared error {_shown(held['rmse'])} where the gain's deviation is {_shown(held['gain']['sd'])}",
        f"seconds    {training['seconds']:.0f}",
    ]
    if words:
        lines.insert(3, f"head alone {_ranking(words['without']['held_out'])}; the words of the source are added to it")
    if sweep := training.get("sweep"):
        lines.insert(2, _rate_line(training["lora"], sweep))
    print("\n".join(lines))


def _ranking(held: Mapping[str, Any]) -> str:
    return (
        f"Spearman {_shown(held['spearman'])}, normalised area {_shown(held['normalized_area'])}, "
        f"HitRate@0.3 {_shown(held['hit_rate_0.3'], 100, 1)} %, MeanDelta@0.3 {_shown(held['mean_delta_0.3'], 1, 2)}"
    )


def _rate_line(lora: Mapping[str, Any], sweep: Mapping[str, Any]) -> str:
    """Says which learning rate was chosen, and what each tried rate reached."""
    reached = [(t["learning_rate"], t["held_out"]) for t in sweep["trials"]]
    tried = ", ".join(f"{rate:g} {'diverges' if value is None else _shown(value)}" for rate, value in reached)
    by = f"{lora['criterion']} on {sweep['held_out']:,} rows within {sweep['steps']} steps"
    return f"rate       {lora['learning_rate']:g}, chosen by {by}: {tried}"


def print_curve(points: Sequence[Mapping[str, Any]], test_rows: int) -> None:
    """Prints a learning curve, one line for each method and number of labels."""
    print(f"on {test_rows:,} held-out rows")
    print(f"{'labels':>8} {'method':<6} {'Spearman':>9} {'area':>6} {'HitRate@0.3':>12} {'seconds':>8}")
    for point in points:
        print(
            f"{point['labels']:>8,} {point['method']:<6} {_shown(point['spearman']):>9} "
            f"{_shown(point['normalized_area']):>6} {_shown(point['hit_rate_0.3'], 100, 1):>12} {point['seconds']:>8.1f}"
        )


def _shown(value: float | None, times: float = 1, digits: int = 3) -> str:
    return "undefined" if value is None else f"{value * times:.{digits}f}"
