"""Compare routers on a labelled set: who spends a budget best, and how sure is that?

    python jobs/evaluate.py --config configs/evaluate_demo.yaml [key=value ...]

Every scorer orders the held-out rows, and the order is measured against the true gains. The budget is counted in calls,
in source characters and in device seconds. Each scorer is charged for what it needs, and the intervals come from a
bootstrap over documents. Where rows cost unequally, every scorer routes by expected gain over cost; a score that is not
in units of gain is calibrated to gain first. Everything runs in this one process: an evaluation set has thousands of
rows, and models score them in batches. An earlier evaluation in the same folder is replaced.

Written to <out>: report.html (everything, self-contained), evaluation.json (the same for machines), headline.csv,
measures.csv, paired.csv, groups.csv, curves.csv, and scores.parquet (every score of every row).

Exit status: 0 done; 2 the configuration or the labelled set was refused.
"""

import logging
from pathlib import Path

from routelmt_ray import storage
from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.evaluation.assemble import evaluate, read_parts
from routelmt_ray.evaluation.suite import list_scorers, run_scorers
from routelmt_ray.job import command
from routelmt_ray.reports import evaluation_tables
from routelmt_ray.reports.pages import evaluation_page
from routelmt_ray.runtime.progress import Progress

log = logging.getLogger("routelmt_ray.evaluate")


def main(argv: list[str]) -> int:
    """Runs the evaluation; returns its exit status."""
    with command.ending() as end:
        with command.checking():
            config = command.configure(EvaluateConfig, __doc__, argv)
            scorers, left_out = list_scorers(config)
            reading, parts, sizes = read_parts(config)
        log.info("%d rows are measured, of %d with a gain by %s", len(parts.rows), len(reading.rows), reading.metric)
        with command.checking(), Progress() as progress:
            with progress.stage("score", sum(len(s.titles) for s in scorers), unit="scorers") as bar:
                scored, skipped, warnings = run_scorers(scorers, parts, bar.advance)
            with progress.stage("compare", 4, unit="parts") as bar:
                result = evaluate(
                    config, reading, parts, sizes, scored, skipped + left_out, warnings, advance=bar.advance
                )
        out = Path(config.out)
        evaluation_tables.write_tables(out, result)
        evaluation_tables.write_scores(out / "scores.parquet", parts.rows, scored)
        storage.write_text(out / "report.html", evaluation_page(result))
        storage.write_json(out / "evaluation.json", result)
        evaluation_tables.print_summary(result)
    return end.status


if __name__ == "__main__":
    command.exit_with(main)
