"""Show the allowance of an account for a period: spent, reserved, left, and the part of each run.

    python jobs/account.py path=accounts/news
    python jobs/account.py path=accounts/news day=2026-10-15 --json     the period of a day; one JSON object

Jobs draw from an account with `account.path`: see jobs/BUDGETS.md.

Exit status: 0 the account is shown; 2 there is no such account, or an option was refused.
"""

import sys

from routelmt_ray.config.account import AccountShowConfig
from routelmt_ray.job.account_view import view
from routelmt_ray.job.showing import show
from routelmt_ray.reports.status_table import print_account


def main(argv: list[str]) -> int:
    """Shows the account; returns the exit status."""
    return show(AccountShowConfig, __doc__, argv, lambda config: view(config.path, config.day), print_account)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
