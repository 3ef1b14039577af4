"""Engines that die or hang over a row, or are killed: that row at most is lost, and nothing else changes."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.engines import Prompt
from routelmt_ray.stages import translate
from tests.conftest import DEMO_CONFIG, Job, Undisturbed
from tests.end_to_end import runs
from tests.faults.processes import actors, beside, kill, mark_processes, marked, wait_until
from tests.without_ray import without_ray as jobs_without_ray

ECHO = [*runs.ECHO, "router.kind=length", "budget.fraction=0.3", "input.shard_rows=100"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows, one of them with a word that faults listen to, long enough to be routed."""
    texts = [f"row {i} " + "x" * (i % 50) for i in range(600)]
    texts[342] = "this one is MALICIOUS " + "x" * 60
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    pq.write_table(pa.table({"n": range(600), "source": texts}), path)
    return path


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    calm = Job(tmp_path_factory.mktemp("calm") / "run")
    with jobs_without_ray():
        calm.run(f"input.path={corpus}", *ECHO)
    return calm.output()


def asked_first(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Has each engine act before it answers prompts with the word.

    Args:
        monkeypatch: pytest's.
        act: runs in the engine's process.
    """

    class Faulty(translate.Translate):
        """The stage with such an engine."""

        def __init__(self, context: Any, size: str) -> None:
            super().__init__(context, size)
            answer = self._host.engine.translate

            def act_and_answer(prompts: Sequence[Prompt]) -> Any:
                if any("MALICIOUS" in prompt.text for prompt in prompts):
                    act()
                return answer(prompts)

            self._host.engine.translate = act_and_answer  # type: ignore[method-assign]

    monkeypatch.setattr(translate, "Translate", Faulty)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_row_that_kills_every_engine_is_found_and_quarantined_alone(
    corpus: Path, undisturbed: pa.Table, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_first(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    job.run(f"input.path={corpus}", *ECHO)
    found, wanted = job.output().to_pylist(), undisturbed.to_pylist()
    poison = found.pop(342)
    del wanted[342]
    assert found == wanted
    assert (poison["n"], poison["translation"], poison["status"]) == (342, None, "engine_error")
    assert poison["error"] == "large: the engine died over this row; small: the engine died over this row"
    (row,) = pa.concat_tables(pq.read_table(path) for path in job.run_dir.glob("quarantine/*.parquet")).to_pylist()
    assert (row["n"], row["source"]) == (342, undisturbed["source"][342].as_py())
    died = {death["shard"]: death for death in job.report()["deaths"]}
    assert died["large/000/shard-000003"]["convicted"] == 1
    assert all(death["deaths"] <= 6 for death in died.values())


@pytest.mark.timeout(300)
def test_an_engine_that_hangs_is_replaced_after_its_time(
    corpus: Path, undisturbed: pa.Table, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang_once() -> None:
        if not (tmp_path / "hung").exists():
            (tmp_path / "hung").touch()
            time.sleep(3600)

    asked_first(monkeypatch, hang_once)
    job.run(f"input.path={corpus}", *ECHO, "models.large.pool.timeout_s=3", "models.small.pool.timeout_s=3")
    assert (tmp_path / "hung").exists()
    assert job.output().equals(undisturbed)
    assert [death["deaths"] for death in job.report()["deaths"]] == [1]
    assert not (job.run_dir / "quarantine").exists()


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_actors_killed_while_they_work_change_nothing_and_leave_nobody(
    undisturbed_demo: Undisturbed, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, name = undisturbed_demo.words, str(tmp_path)
    mark_processes(monkeypatch, name)
    killed: list[str] = []

    def murder() -> None:
        for stage, folder in (("Probe", "scores"), ("Translate", "large/000")):
            wait_until(lambda folder=folder: any((job.run_dir / folder).glob("*.parquet")), 300, folder)
            wait_until(lambda stage=stage: bool(actors(name, stage)), 100, stage)
            for victim in actors(name, stage):
                kill(victim)
                killed.append(stage)

    with beside(murder):
        job.run_process(*words, config=DEMO_CONFIG, timeout_s=600)
    assert {"Probe", "Translate"} <= set(killed)
    assert job.output().equals(undisturbed_demo.job.output())
    wait_until(lambda: not marked(name), 90, "the processes of the job to end")
