"""From which predicted gain on do rows go to the large model, for a share of the rows, device-hours or money? For rows that come one by one.

    python jobs/threshold.py run_dir=runs/news fraction=0.3 out=routers/mine-threshold.json
    python jobs/threshold.py run_dir=runs/news hours=40 out=routers/mine-threshold.json     of a dry run
    python jobs/threshold.py run_dir=runs/news money=500 out=routers/mine-threshold.json    of a dry run with prices
    python jobs/translate.py … budget.threshold=routers/mine-threshold.json

It reads the scores of a translate run that is finished, or of a dry run (`budget.dry_run=true`). A threshold decides
each row separately, so the share that it routes in other text may be larger or smaller.

Exit status: 0 the threshold is shown; 2 the run has no scores, or an option was refused.
"""

import logging
import sys

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.threshold import ThresholdConfig
from routelmt_ray.job.threshold import threshold_of_run
from routelmt_ray.runtime import logs

log = logging.getLogger("routelmt_ray.job.threshold")


def main(argv: list[str]) -> int:
    """Shows the threshold; returns the exit status."""
    logs.set_up()
    try:
        config = configlib.parse_args(ThresholdConfig, __doc__ or "", argv)
        logs.set_up(config.log.format)
        found = threshold_of_run(config)
    except (ValueError, storage.StorageError) as error:
        log.error("refused: %s", error)
        return 2
    low, high = ("no bound" if bound is None else f"{bound:.4g}" for bound in found["interval"])
    print(
        f"threshold {found['threshold']:.6g} ({100 * found['confidence']:g} % interval: {low} to {high}): it routes "
        f"{found['share']:.2%} of {found['rows']:,} scored rows" + (f"; written to {config.out}" if config.out else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
