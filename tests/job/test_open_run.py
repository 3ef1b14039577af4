"""A start and the folder of an earlier one, before any actor starts."""

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.file_list import FileList
from routelmt_ray.job import job, translation
from routelmt_ray.runtime import cluster
from routelmt_ray.runtime.readings import BUSY, ENDED, MeterReading, total_s
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.ended import Ended
from tests.end_to_end.runs import ECHO

DIED = MeterReading(
    "large", "cpu_s", "host", 1, 0.0, "2026-01-01T00:00:00", "2026-01-01T00:00:09", 8.0, 1.0, 7.0, 2.0, 3, BUSY
)


def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def test_the_readings_of_many_actors_that_ended_become_one_file_and_the_same_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "each", here)
    (tmp_path / "in.jsonl").write_text('{"source": "A dog."}\n')
    words = [f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path / 'in.jsonl'}", "router.kind=length"]
    config = configlib.load(TranslateConfig, [], [*ECHO, *words, "budget.rows=1"])
    job.open_run(translation.prepare(config), ())
    run, folder = RunDir(tmp_path / "run"), tmp_path / "run" / "meter"
    folder.mkdir()
    for number in range(100):
        ended = replace(DIED, state=ENDED if number else BUSY)
        (folder / f"large-{number}.json").write_text(json.dumps(asdict(ended)))
    job.open_run(translation.prepare(config), ())
    assert len(list(folder.iterdir())) == 1
    assert total_s(run) == 100 * 8.0 + 2.0, "the one that died may have spent more than it wrote"


@pytest.mark.parametrize("number", range(3))
def test_a_start_that_is_killed_before_or_after_it_lists_its_files_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(cluster, "each", here)
    (tmp_path / "in.jsonl").write_text('{"source": "A dog."}\n')
    words = [f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path / 'in.jsonl'}", "router.kind=length"]
    config = configlib.load(TranslateConfig, [], [*ECHO, *words, "budget.rows=1"])
    written = itertools.count()

    def killed(write: Any) -> Any:
        def once(*arguments: Any, **options: Any) -> None:
            if next(written) == number:
                raise Ended
            write(*arguments, **options)

        return once

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "write_manifest", killed(RunDir.write_manifest))
        patch.setattr(FileList, "write", killed(FileList.write))
        with pytest.raises(Ended):
            job.open_run(translation.prepare(config), ())
    _, plan = job.open_run(translation.prepare(config), ())
    assert plan.rows == 1
