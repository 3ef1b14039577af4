"""Finds the files whose content depends on a damaged file.

A leg leaves out the rows that a leg of an earlier budget has translated. A budget in hours routes such rows because
they are already paid. When a file of an earlier budget is gone, it is not made again, as that budget is over. The legs
of the newest budget must then translate its rows, so those legs of the same shard are made again too.

Where a repeated segment is translated once, its rows have the translation of one file. What is shared of a file that is
made again is made again too, and so is the output, so that they stay equal. In a label run, the quality of a translation that is
made again is measured again.

What a memory of earlier runs had is in two places: by partition, and by shard. A damaged file of a shard is made again from the
partitions. Where one of these is or was damaged too, the memory was asked again, and may have had less: then the legs of all budgets
are made again.

A start may be killed between any two removals. So what tells of a loss goes last: the damaged file itself, what is shared, and
the mark of a memory.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from routelmt_ray import storage
from routelmt_ray.config.schema import LARGE, SMALL

if TYPE_CHECKING:
    from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

_LEG = re.compile(rf"({SMALL}|{LARGE}|judge)/(\d+)(-\w+)?/(shard-\d+\.parquet)")
_LABELLED = (f"{SMALL}/all/", f"{LARGE}/all/")
"""Files with the translations of a label run."""
_QUALITY = "quality"
"""Folder with the measured quality of these translations, by metric."""
_SHARED, _MERGED = "shared", (_QUALITY, "lengths", "output", "quarantine")
"""Folder of what repeats get from the first row of their segment, and those of what is made of all translations."""
_PLACED, _MARKS, _FOUND = (f"memory/{SMALL}/", f"memory/{LARGE}/"), "memory/rows", "memory/found/"
"""Files of what a memory had: by shard, the marks of sections whose shards are complete, and by partition."""
_ASKED_AGAIN = "memory/asked-again"
"""Mark that the memory is asked again after rows were placed: files by partition may then differ from those by shard."""


def remove_dependents(run: RunDir, damaged: Sequence[str]) -> list[str]:
    """Removes the files that depend on damaged files, which may still be there; returns their names in the run directory."""
    if any(name.startswith(_FOUND) for name in damaged) and run.committed(_MARKS):
        storage.write_text(run.root / _ASKED_AGAIN, "")
    if any(name.startswith((*_PLACED, f"{_MARKS}/")) for name in damaged):
        asked_again = storage.exists(run.root / _ASKED_AGAIN)
        run.clear(_MARKS)
        if asked_again:
            return _forget(run)
    labelled = {name.rpartition("/")[2] for name in damaged if name.startswith(_LABELLED)}
    lost = [match for name in damaged if (match := _LEG.fullmatch(name))]
    entries = run.plans() if lost else []
    if not entries and not labelled:
        return []
    if run.committed(f"{_SHARED}/rows"):  # rows of any shard may repeat the lost ones
        for folder in _MERGED:
            run.clear(folder)
    run.clear(_SHARED)
    measured = [f"{_QUALITY}/{name}" for name in storage.list_tree(run.folder(_QUALITY))] if labelled else []
    removed = [name for name in measured if name.rpartition("/")[2] in labelled]
    removed += _dependent_legs(run, entries, lost) if entries else []
    for name in removed:
        for gone in (name + storage.DAMAGED_MARK, name):
            storage.remove(run.root / gone)
    if removed:
        log.warning("files that depended on damaged ones were removed too, and are made again: %s", ", ".join(removed))
    return removed


def _dependent_legs(run: RunDir, entries: Sequence[Mapping[str, Any]], lost: Sequence[re.Match[str]]) -> list[str]:
    """Lists the legs of the newest budget that depend on lost legs, by their names in the run directory."""
    series, newest = {entry["entry"]: entry["series"] for entry in entries}, entries[-1]["series"]

    def depends(leg: re.Match[str]) -> bool:
        return series.get(int(leg[2])) == newest and any(
            leg[4] == gone[4] and _depends(leg, gone, series.get(int(gone[2]), newest) < newest) for gone in lost
        )

    return [name for name in sorted(storage.list_tree(run.root)) if (leg := _LEG.fullmatch(name)) and depends(leg)]


def _forget(run: RunDir) -> list[str]:
    """Removes all decisions and translations if the run's copy of a memory is lost."""
    log.warning(
        "the run's copy of the memory is lost: the memory is read again, and rows are scored and translated again"
    )
    gone = [name for name in storage.list_tree(run.root) if name.startswith(_DECIDED)]
    gone.sort(key=lambda name: (name.startswith("memory/"), name == _ASKED_AGAIN))
    for name in gone:
        storage.remove(run.root / name)
    return gone


_DECIDED = ("scores/", "plan/", f"{SMALL}/", f"{LARGE}/", "memory/", "shared/", *_MERGED)


def _depends(leg: re.Match[str], gone: re.Match[str], of_earlier_budget: bool) -> bool:
    """True for a leg of the newest budget that is to be made again for a file of its shard."""
    if leg[1] == "judge":
        return leg[3] == "-both" and gone[1] != "judge"
    if of_earlier_budget:
        return gone[1] != "judge"
    return leg[3] == "-fallback" and gone[1] == LARGE  # made again, the large model may fail on other rows
