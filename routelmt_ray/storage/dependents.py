"""Files that were made in the light of a file that is damaged.

A leg leaves out the rows that an earlier budget's legs have translated, and a budget in hours routes them because they are
paid. When such an earlier file is gone nobody makes it again, as its budget is over: the newest budget's legs of that shard
take its rows, and so have to be made again too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from routelmt_ray import storage
from routelmt_ray.config.schema import LARGE, SMALL

if TYPE_CHECKING:
    from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

_LEG = re.compile(rf"({SMALL}|{LARGE}|judge)/(\d+)(-\w+)?/(shard-\d+\.parquet)")


def remove_dependents(run: RunDir, damaged: Sequence[str]) -> list[str]:
    """Removes what depended on files that were removed; returns the names.

    Args:
        run: the run.
        damaged: names of the removed files in the run directory.
    """
    lost = [match for name in damaged if (match := _LEG.fullmatch(name))]
    entries = run.plans() if lost else []
    if not entries:
        return []
    series = {entry["entry"]: entry["series"] for entry in entries}
    newest = entries[-1]["series"]
    removed = []
    for name in sorted(storage.list_tree(run.root)):
        leg = _LEG.fullmatch(name)
        if leg is None or series.get(int(leg[2])) != newest:
            continue
        if any(leg[4] == gone[4] and _depends(leg, gone, series.get(int(gone[2]), newest) < newest) for gone in lost):
            storage.remove(run.root / name)
            removed.append(name)
    if removed:
        log.warning("removed with them, as they depended on them, and made again: %s", ", ".join(removed))
    return removed


def _depends(leg: re.Match[str], gone: re.Match[str], of_earlier_budget: bool) -> bool:
    """True for a leg of the newest budget that is to be made again for a file of its shard."""
    if leg[1] == "judge":
        return leg[3] == "-both" and gone[1] != "judge"
    if of_earlier_budget:
        return gone[1] != "judge"
    return leg[3] == "-fallback" and gone[1] == LARGE  # made again, the large model may fail on other rows
