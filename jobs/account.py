"""What is left of an account? Shows the allowance of a period, what is spent and reserved, and each run's part.

    python jobs/account.py path=accounts/news
    python jobs/account.py path=accounts/news day=2026-10-15 --json     the period of a day; one JSON object

Jobs draw from an account with `account.path`: see jobs/BUDGETS.md.

Exit status: 0 the account is shown; 2 there is no such account, or an option was refused.
"""

import json
import logging
import sys

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.account import AccountShowConfig
from routelmt_ray.job.account_view import view
from routelmt_ray.reports.account_table import print_account
from routelmt_ray.runtime import logs

log = logging.getLogger("routelmt_ray.job.account")


def main(argv: list[str]) -> int:
    """Shows the account; returns the exit status."""
    logs.set_up()
    try:
        words = ["format=json" if word == "--json" else word for word in argv]
        config = configlib.parse_args(AccountShowConfig, __doc__ or "", words)
        logs.set_up(config.log.format)
        found = view(config.path, config.day)
    except (ValueError, storage.StorageError) as error:
        log.error("refused: %s", error)
        return 2
    if config.format == "json":
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        print_account(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
