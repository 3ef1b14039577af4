"""Show how far a translate or label run is, during the run or after it. Only the run directory is read.

    python jobs/status.py run_dir=runs/news
    python jobs/status.py run_dir=runs/news --json     one JSON object, for machines

Exit status: 0 the status is shown; 2 the folder is not a run directory, or an option was refused.
"""

import sys
from dataclasses import dataclass, field

from routelmt_ray.config.common import LogConfig
from routelmt_ray.config.loader import option
from routelmt_ray.job.showing import show
from routelmt_ray.job.status import status
from routelmt_ray.reports.status_table import print_status


@dataclass(frozen=True)
class StatusConfig:
    """The whole configuration of `jobs/status.py`."""

    run_dir: str = option("", "a folder", lambda v: v != "")
    """The run directory."""
    format: str = option("table", "table or json", lambda v: v in ("table", "json"))
    """`table` for people, `json` for machines; `--json` is short for format=json."""
    log: LogConfig = field(default_factory=LogConfig)
    """Messages on stderr."""


def main(argv: list[str]) -> int:
    """Shows the status; returns the exit status."""
    return show(StatusConfig, __doc__, argv, lambda config: status(config.run_dir), print_status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
