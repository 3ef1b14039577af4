"""The summary of a profile on the terminal."""

from rich.console import Console

from routelmt_ray import storage
from routelmt_ray.budget.cost import ANY_PAIR, CostModel, TranslatorCost
from routelmt_ray.evaluation.formats import count, number, plain
from routelmt_ray.reports.terminal import plain_table

_UNIT_WORDS = {"gpu_s": "GPU-seconds", "cpu_s": "CPU-seconds", "device_s": "device-seconds (GPU or CPU)"}
_NONE = "–"


def print_costs(costs: CostModel, path: storage.Location, console: Console | None = None) -> None:
    """Prints the measured costs of each model as a table of at most 80 columns."""
    console = console or Console()
    table = plain_table("", "probe", "small", "large")
    sizes, probed = (costs.small, costs.large), costs.mean_row_s["probe"] > 0
    models = (costs.probe, *sizes)

    def add(label: str, probe: float | None, *others: float) -> None:
        table.add_row(label, number(probe) if probed else _NONE, *map(number, others))

    add("load an actor", *(model.load_s for model in models))
    add("1,000 rows of this corpus", *(1000 * costs.mean_row_s[name] for name in ("probe", "small", "large")))
    errors = [_NONE if model.relative_error is None else f"± {100 * model.relative_error:.0f} %" for model in models]
    table.add_row("  95 % error of that", *errors if probed else (_NONE, *errors[1:]))
    add("  per row, of any length", *(model.row_s for model in models))
    add("  1,000 prompt tokens", *(1000 * model.prefill_token_s for model in models))
    add("  1,000 output tokens", None, *(1000 * model.output_token_s for model in sizes))
    add("prompt tokens, small = 1", None, *(model.prompt_ratio for model in sizes))
    table.add_row("output tokens a source token", _NONE, *map(_ratios, sizes))
    console.print(f"{_UNIT_WORDS[costs.unit]} on {plain(costs.device)}, measured on {count(costs.rows, 'row')}")
    console.print(table)
    console.print(f"costs        {plain(path)}", soft_wrap=True, highlight=False)


def _ratios(model: TranslatorCost) -> str:
    """Formats the overall ratio, with its range where there are several language pairs."""
    pairs = [ratio for pair, ratio in model.output_ratio.items() if pair != ANY_PAIR]
    overall = f"{model.output_ratio[ANY_PAIR]:.3g}"  # short, so that the labels stay on one line
    return overall if len(pairs) < 2 else f"{overall} ({min(pairs):.3g}–{max(pairs):.3g})"
