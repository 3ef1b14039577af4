"""Find the threshold: the lowest predicted gain with which a row goes to the large model. For rows that arrive one by one.

    python jobs/threshold.py run_dir=runs/news fraction=0.3 out=routers/mine-threshold.json     a share of the rows
    python jobs/threshold.py run_dir=runs/news hours=40 out=routers/mine-threshold.json         device-hours, of a dry run
    python jobs/threshold.py run_dir=runs/news money=500 out=routers/mine-threshold.json        money, of a dry run with prices
    python jobs/threshold.py run_dir=runs/news --json                                           one JSON object
    python jobs/translate.py … budget.threshold=routers/mine-threshold.json

This job reads the scores of a translate run that is finished, or of a dry run (`budget.dry_run=true`). A threshold decides
each row separately, so the share that it routes in other text may be larger or smaller.

Exit status: 0 the threshold is shown; 2 the run has no scores, or an option was refused.
"""

import sys
from collections.abc import Mapping
from typing import Any

from routelmt_ray.config.threshold import ThresholdConfig
from routelmt_ray.job.showing import show
from routelmt_ray.job.threshold import threshold_of_run


def main(argv: list[str]) -> int:
    """Shows the threshold; returns the exit status."""
    return show(ThresholdConfig, __doc__, argv, threshold_of_run, print_threshold)


def print_threshold(found: Mapping[str, Any]) -> None:
    """Prints a threshold, its interval and the share of the rows that it routes."""
    low, high = ("no bound" if bound is None else f"{bound:.4g}" for bound in found["interval"])
    print(
        f"threshold {found['threshold']:.6g} ({100 * found['confidence']:g} % interval: {low} to {high}): it routes "
        f"{found['share']:.2%} of {found['rows']:,} scored rows"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
