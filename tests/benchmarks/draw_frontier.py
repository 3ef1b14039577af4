"""Draws the README's picture from an evaluation: quality against the seconds that the large model adds.

    python tests/benchmarks/draw_frontier.py --evaluation runs/demo/evaluation/evaluation.json

It is a figure of the evaluation's report with two scorers only: the router, and source length. `make frontier` runs it
on the evaluation of `make demo`.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from routelmt_ray.reports.frontier_plots import frontier

OUT = Path(__file__).with_name("frontier.svg")
RIVAL = "length"


def draw(evaluation: Path, out: Path) -> None:
    """Writes the SVG file.

    Args:
        evaluation: an `evaluation.json` of `jobs/evaluate.py`.
        out: the file to write.
    """
    result = json.loads(evaluation.read_text("utf-8"))
    shown = (result["reference"], RIVAL)
    ranking = [name for name in result["ranking"] if name in shown]
    out.write_text(frontier(result | {"ranking": ranking}, "seconds") + "\n", "utf-8")


def main() -> None:
    """Draws the file that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluation", type=Path, required=True, help="evaluation.json of jobs/evaluate.py")
    parser.add_argument("--out", type=Path, default=OUT, help="SVG file to write")
    given = parser.parse_args()
    draw(given.evaluation, given.out)
    print(given.out)


if __name__ == "__main__":
    main()
