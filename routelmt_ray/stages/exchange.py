"""Reads what other stages committed, and passes rows from many writers to many readers through committed files.

A writer commits one file, with a row group for each reader. A reader takes its row group of every file. Files are
ordinary commits: they appear whole and once, they are checked for damage, and a restart writes only those that are
missing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.storage.rundir import RunDir


class SectionStep:
    """A step over the sections of a corpus, or over the partitions of keys, of which there are as many.

    Reads: an item of work, of which the number counts. Writes: shard, rows (for the progress).
    """

    def __init__(self, context: RunContext, sections: Sections) -> None:
        self._context, self._run, self._sections = context, context.run, sections


def read_existing(
    run: RunDir, stages: Sequence[str], shard: int, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Reads the file of a shard in each of some stages that has one, in their order."""
    for stage in stages:
        path = run.shard_path(stage, shard)
        if storage.exists(path):
            yield storage.read_table(path, columns)


def commit_parts(
    run: RunDir,
    stage: str,
    number: int,
    table: pa.Table,
    parts: npt.NDArray[np.integer[Any]],
    readers: int,
    meta: dict[str, Any],
) -> None:
    """Commits the file of one writer; `parts` is the reader of each row, shape ``(rows,)``. Rows of one keep their order."""
    order = np.argsort(parts, kind="stable")
    groups = np.bincount(parts, minlength=readers).tolist()
    run.commit(stage, number, table.take(order), meta, groups=groups, compression="zstd", use_dictionary=False)


def read_part(
    run: RunDir, stage: str, writers: Sequence[int] | range, reader: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Reads the rows of one reader from the files of some writers, in the order of the writers.

    Raises FileNotFoundError where one has not committed, storage.Damaged where a file was altered.
    """
    return pa.concat_tables(
        storage.read_table(run.shard_path(stage, writer), columns, group=reader) for writer in writers
    )
