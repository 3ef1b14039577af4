"""Ends a job that runs in the test process where it would commit a file, as a kill of its process would."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from routelmt_ray.storage.rundir import RunDir


class Ended(BaseException):
    """The end of a process. No job catches it."""


@contextmanager
def commits(stage: str | None = None) -> Iterator[list[str]]:
    """Notes the stage of each commit, in order.

    Args:
        stage: ends the job in place of the second commit to this stage: what a worker did for it is done, and its file is missing.
    """
    commit, noted = RunDir.commit, list[str]()

    def note(run: RunDir, to: str, *arguments: Any, **options: Any) -> bool:
        if to == stage and to in noted:
            raise Ended
        noted.append(to)
        return commit(run, to, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDir, "commit", note)
        yield noted


def in_parts(noted: list[str]) -> list[str]:
    """Lists the stages with several commits, in the order of the job: those in which it may end half-way."""
    return [stage for stage in dict.fromkeys(noted) if noted.count(stage) > 1]
