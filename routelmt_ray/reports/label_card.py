"""The dataset card (Markdown) of a label run, and its summary on the terminal."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from rich.console import Console

from routelmt_ray.evaluation.formats import count, duration, percent, plain, rate
from routelmt_ray.metrics.checkpoint import NON_COMMERCIAL, UNKNOWN_LICENCE
from routelmt_ray.reports.summary import unread_words

_MOST_PAIRS = 100
_COLUMNS = {
    "small_translation": "the small model's translation; null where it failed",
    "large_translation": "the large model's translation; null where it failed",
    "source_tokens": "tokens of the source by the small model's tokenizer, 0 where there is none",
    "small_tokens": "tokens the small model generated, the end marker included",
    "large_tokens": "tokens the large model generated, the end marker included",
    "small_s": "device-seconds of the small model on this row: GPU-seconds, or CPU-seconds where it has no GPU",
    "large_s": "device-seconds of the large model on this row",
    "status": "`ok`, or what is missing; the values are explained above",
    "error": "why, in words; null where status is `ok`",
}


def render_card(report: Mapping[str, Any]) -> str:
    """Writes the text of the dataset card of a label run.

    Args:
        report: the contents of ``report.json``.

    Returns:
        Markdown with a YAML header that dataset hubs can read.
    """
    parts = [
        _header(report),
        _introduction(report),
        _quality(report),
        _statuses(report),
        _columns(report),
        _models(report),
        _metrics(report),
        _licences(report),
        _provenance(report),
    ]
    return "\n".join(parts)


def _header(report: Mapping[str, Any]) -> str:
    codes = sorted({code for pair in report["pairs"] for code in pair.split("→") if code != "?"})
    tags = ["machine-translation", "quality-estimation", "routing", "gain-labels"]
    facts: dict[str, Any] = {"pretty_name": "Gain labels", "task_categories": ["translation"], "tags": tags}
    if codes:
        facts["language"] = codes
    if any(metric["non_commercial"] for metric in report["metrics"]):
        facts["license"] = NON_COMMERCIAL.lower()
    shown = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).rstrip()
    return f"---\n{shown}\n---\n\n# Gain labels\n"


def _introduction(report: Mapping[str, Any]) -> str:
    small, large = (_model_name(report["models"][size]) for size in ("small", "large"))
    names = ", ".join(f"`{metric['name']}`" for metric in report["metrics"])
    return (
        f"Each row is a source text translated twice, by a small model ({small}) and by a large one ({large}), with the "
        f"quality of both translations by {names} and the **gain**: quality of the large model's translation minus "
        "quality of the small model's, on the 0–1 scale. Gains train and judge a router that decides which rows deserve "
        f"the large model.\n\n{count(report['input']['rows'], 'row')}, one for every input row, in input order; "
        "every input column is kept.\n"
    )


def _quality(report: Mapping[str, Any]) -> str:
    lines = ["## Quality and gain\n"]
    columns = ["metric", "rows", "small", "large", "gain, mean", "gain, sd", "gain < 0", "gain = 0"]
    lines += _table(columns, [[f"`{m['name']}`", *_figures(m["quality"])] for m in report["metrics"]])
    lines.append("\nRows are those measured on both sides; sd is that of the population.\n")
    if len(report["pairs"]) > 1:
        for metric in report["metrics"]:
            lines.append(f"`{metric['name']}` by language pair:\n")
            pairs = list(metric["by_pair"].items())
            lines += _table(["pair", *columns[1:]], [[_cell(p), *_figures(q)] for p, q in pairs[:_MOST_PAIRS]])
            more = len(pairs) - _MOST_PAIRS
            lines.append(f"\n… and {count(more, 'pair')} more, in report.json\n" if more > 0 else "")
    return "\n".join(lines)


def _figures(quality: Mapping[str, Any]) -> list[str]:
    values = [_fixed(quality[key]) for key in ("mean_small", "mean_large", "gain_mean", "gain_sd")]
    shares = [quality["gain_negative_share"], quality["gain_zero_share"]]
    return [count(quality["rows"]), *values, *("–" if s is None else percent(s, 1) for s in shares)]


def _fixed(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}".replace("-", "−")


def _statuses(report: Mapping[str, Any]) -> str:
    rows = [[f"`{s}`", count(v["rows"]), _cell(v["meaning"])] for s, v in report["statuses"].items()]
    lines = ["## Rows by status\n", *_table(["status", "rows", "meaning"], rows), ""]
    lines += ["Rows by language pair:\n"]
    pairs = [[_cell(pair), count(rows)] for pair, rows in report["pairs"].items()]
    lines += _table(["pair", "rows"], pairs[:_MOST_PAIRS])
    lines.append("\nA row that neither model translated also stands whole in `quarantine/`.\n")
    return "\n".join(lines)


def _columns(report: Mapping[str, Any]) -> str:
    prefix, known = report["columns"]["prefix"], dict(_COLUMNS)
    for metric in report["metrics"]:
        name = metric["name"]
        known |= {
            f"quality_small_{name}": f"{name} of the small model's translation; null where not measured",
            f"quality_large_{name}": f"{name} of the large model's translation; null where not measured",
            f"gain_{name}": f"quality_large_{name} − quality_small_{name}; null where either is",
        }
    rows = [[f"`{_cell(name)}`", "of the input, unchanged"] for name in report["columns"]["input"]]
    rows += [[f"`{_cell(prefix + name)}`", known[name]] for name in report["columns"]["added"]]
    return "\n".join(
        [
            "## Columns\n",
            *_table(["column", "content"], rows),
            "\nSeconds of a row are its share of the engine seconds of its shard, by generated tokens: rows are "
            "translated in batches and have no time of their own. They add up to the time the engine was at work, "
            "without loading. A model that answers with nothing has failed on the row. A translation cut at the limit of "
            "new tokens is kept and measured.\n",
        ]
    )


def _models(report: Mapping[str, Any]) -> str:
    lines = ["## Models and decoding\n"]
    for size, model in report["models"].items():
        template = model["prompt"]["template"].replace("\n", "\\n").replace("`", "'")
        settings = ", ".join(f"{key} {value}" for key, value in model["decoding"].items())
        lines += [
            f"- **{size}**: {_model_name(model)}, engine `{model['engine']}`, revision "
            f"{_cell(model['revision'] or 'none (a folder)')}, digest of its files `{model['files_digest']}`",
            f"  - prompt family `{_cell(model['prompt']['family'])}` (digest `{model['prompt']['digest']}`), "
            f"{'as one user turn of the chat template' if model['prompt']['chat'] else 'without a chat template'}: "
            f"`{template}`",
            f"  - decoding: {'greedy' if model['decoding']['num_beams'] == 1 else 'beam search'}; {settings}",
        ]
    lines.append("\nDigests are over names, sizes and the first and last 64 KiB of every file.\n")
    return "\n".join(lines)


def _metrics(report: Mapping[str, Any]) -> str:
    lines = ["## Metrics\n"]
    for metric in report["metrics"]:
        needs = "compares with the reference" if metric["needs_reference"] else "uses no reference"
        lines.append(f"- **{metric['name']}** {needs}; scale: {metric['scale']}")
        lines += [f"  - signature: `{plain(signature)}`" for signature in metric["signatures"]]
        if checkpoint := metric["checkpoint"]:
            digest = f", SHA-256 `{metric['checkpoint_sha256']}`" if metric["checkpoint_sha256"] else ""
            where = f", commit `{checkpoint['revision']}`" if checkpoint["revision"] else ""
            lines.append(
                f"  - checkpoint: `{_cell(checkpoint['path'])}`{where} ({checkpoint['kind']}, encoder "
                f"`{_cell(checkpoint['encoder'])}`){digest}"
            )
        lines.append("  - versions: " + ", ".join(f"{name} {found}" for name, found in metric["versions"].items()))
    lines.append("\nScores move between versions and checkpoints: compare labels only where both are the same.\n")
    return "\n".join(lines)


def _licences(report: Mapping[str, Any]) -> str:
    lines = ["## Licences\n"]
    for metric in report["metrics"]:
        if metric["non_commercial"]:
            lines.append(
                f"- **Non-commercial**: `{metric['name']}` is measured by a checkpoint of the CometKiwi or XCOMET kind "
                f"({NON_COMMERCIAL}); these labels may not be used commercially."
            )
        elif metric["licence"] == UNKNOWN_LICENCE:
            lines.append(f"- The licence of the checkpoint behind `{metric['name']}` is not known here: look it up.")
        elif metric["licence"]:
            lines.append(f"- The checkpoint behind `{metric['name']}` is licensed {metric['licence']}.")
    lines.append(
        "- Sources and references keep the licence of the corpus; translations are subject to the licences of the two "
        "models. Neither is known here: add them before you publish.\n"
    )
    return "\n".join(lines)


def _provenance(report: Mapping[str, Any]) -> str:
    corpus, versions = report["input"], report["versions"]
    lines = [
        "## How it was made\n",
        f"- by `jobs/label.py` of RouteLMT on Ray {report['version']}, {report['started']} to {report['finished']} "
        "(the last start); the whole configuration stands in `manifest.json`",
        f"- corpus: {count(corpus['files'], 'file')}, {count(corpus['bytes'], 'byte')}, digest `{corpus['digest']}`",
        "- versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    lines += [f"- damaged input: {_cell(text)}" for text in corpus["damaged_files"]]
    lines += [f"- not read: {_cell(text)}" for text in corpus["unread"]["named"]]
    return "\n".join([*lines, ""])


def _model_name(model: Mapping[str, Any]) -> str:
    return f"`{_cell(model['path'] or model['engine'])}`"


def _table(columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def _cell(text: object) -> str:
    """Makes text of the user harmless inside Markdown."""
    return plain(text).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def print_label_summary(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a label run did: rows by status, quality by metric, and the speed of each stage.

    Args:
        report: the contents of ``report.json``.
        console: where to print; stdout by default.
    """
    console = console or Console()

    def show(text: str) -> None:
        words = text.encode(console.encoding, "replace").decode(console.encoding)
        console.print(words, markup=False, highlight=False, emoji=False, soft_wrap=True)

    statuses = {status: value["rows"] for status, value in report["statuses"].items()}
    show(f"{count(report['input']['rows'], 'row')} labelled by {', '.join(m['name'] for m in report['metrics'])}")
    if words := unread_words(report["input"]):
        show(f"not read   {words}: see the card")
    listed = ", ".join(f"{status} {count(rows)}" for status, rows in statuses.items()) or "no rows"
    for i, line in enumerate(textwrap.wrap(listed, 66)):
        show(("" if i else "statuses").ljust(11) + line)
    for line in _aligned(["metric", "rows", "small", "large", "gain", "sd", "< 0"], _metric_rows(report)):
        show(line)
    stages = [
        [stage["name"], count(stage["rows_this_start"]), duration(stage["wall_s"] or None), rate(stage["rows_per_s"])]
        for stage in report["stages"]
    ]
    for line in _aligned(["stage", "rows", "wall time", "rows/s"], stages):
        show(line)
    show(f"output     {plain(report['run_dir'])}/output/")
    show(f"card       {plain(report['run_dir'])}/dataset_card.md")


def _metric_rows(report: Mapping[str, Any]) -> list[list[str]]:
    return [[metric["name"], *_figures(metric["quality"])[:-1]] for metric in report["metrics"]]


def _aligned(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    yield from ("   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table)
