"""Engines without memory: the job fails and says why, no row is given up, and a later start finishes; or batches are halved."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from routelmt_ray.engines import EveryRowFailed
from routelmt_ray.engines.echo import EchoEngine
from routelmt_ray.job import job
from routelmt_ray.job.status import status
from routelmt_ray.reports import summary
from routelmt_ray.runtime.pipelines import StageFailed
from routelmt_ray.stages import translate
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.runs import ECHO, output, run


class WithoutMemory:
    """An engine whose memory another process has taken."""

    halved = 0

    def translate(self, prompts: Any) -> Any:
        raise EveryRowFailed("the engine fails on every row alike: OutOfMemoryError: 20 MiB wanted")


def test_a_fault_of_every_row_fails_the_job_and_gives_up_no_row(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(translate.Translate):
        """The large model's engine works while it is warmed up, and never after."""

        def __init__(self, context: Any, size: str) -> None:
            super().__init__(context, size)
            if size == "large":
                self._host.engine = WithoutMemory()

    pq.write_table(pa.table({"source": [f"row {i}" for i in range(12)]}), tmp_path / "in.parquet")
    run_dir = tmp_path / "run"
    words = [*ECHO, "router.kind=length", "budget.fraction=0.5", "input.shard_rows=6", "ray.rounds=1"]
    with monkeypatch.context() as patch:
        patch.setattr(translate, "Translate", Broken)
        with pytest.raises(StageFailed, match="EveryRowFailed: .* 20 MiB wanted"), job.recorded_end(str(run_dir)):
            run(run_dir, tmp_path / "in.parquet", *words)
    found = status(str(run_dir))
    assert found["state"] == "failed" and "OutOfMemoryError: 20 MiB wanted" in found["errors"]["last"]
    assert not RunDir(run_dir).committed("large/000") and not found["errors"]["deaths"]
    run(run_dir, tmp_path / "in.parquet", *words)
    assert output(run_dir)["status"].to_pylist() == ["ok"] * 12
    assert output(run_dir)["model"].to_pylist().count("large") == 6


class Halving(EchoEngine):
    """An engine with too little memory: each call halves three batches."""

    halved = 5  # while it was warmed up

    def translate(self, prompts: Any) -> Any:
        self.halved += 3
        return super().translate(prompts)


def test_halved_batches_are_counted_by_model_in_report_and_summary(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cramped(translate.Translate):
        """The large model's engine has too little memory."""

        def __init__(self, context: Any, size: str) -> None:
            super().__init__(context, size)
            if size == "large":
                self._host.engine = Halving(context.model(size))

    pq.write_table(pa.table({"source": ["row", "a longer row"] * 6}), tmp_path / "in.parquet")
    monkeypatch.setattr(translate, "Translate", Cramped)
    words = [*ECHO, "router.kind=length", "budget.fraction=0.5", "input.shard_rows=6"]
    report = run(tmp_path / "run", tmp_path / "in.parquet", *words)
    halved = {stage["name"]: stage["halved_batches"] for stage in report["stages"] if stage["halved_batches"]}
    assert halved == {"translate, large": 2 * 3}, "three in each shard"
    shown = io.StringIO()
    summary.print_summary(report, Console(file=shown, width=160))
    assert "translate, large: a batch failed and was halved 6 times" in shown.getvalue()
