"""A job whose vLLM engine is killed, with all its processes started as a user's are."""

from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.runtime.readings import readings
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import Job
from tests.faults.processes import beside, kill, mark_processes, marked, wait_until

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
VLLM_LARGE = [
    "models.large.engine=vllm", "models.large.dtype=float32",
    "models.large.vllm={enforce_eager: true, kv_cache_mb: 128, max_model_len: 256}",
]  # fmt: skip


def test_an_engine_killed_while_it_works_is_replaced_and_what_it_spent_is_counted(
    demo_corpus: pa.Table, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(demo_corpus.slice(0, 120), tmp_path / "in.parquet")
    mark_processes(monkeypatch, str(tmp_path))
    killed: list[str] = []

    def murder() -> None:
        wait_until(lambda: any((job.run_dir / "large/000").glob("*.parquet")), 400, "a shard of the large model")
        for process in marked(str(tmp_path)):
            if "EngineCore" in process.name() + "".join(process.cmdline()):
                kill(process)
                killed.append(process.name())

    words = [
        f"input.path={tmp_path / 'in.parquet'}",
        "input.shard_rows=10",
        "router.kind=length",
        "budget.fraction=0.5",
    ]
    with beside(murder):
        job.run_process(*words, *VLLM_LARGE, config="configs/demo.yaml", timeout_s=800)
    assert killed
    rows = job.output()
    assert rows.num_rows == 120 and set(rows["status"].to_pylist()) == {"ok"}
    assert not (job.run_dir / "quarantine").exists()
    assert sum(death["deaths"] for death in job.report()["deaths"]) >= 1
    held = [reading for reading in readings(RunDir(job.run_dir)) if reading.kind == "large"]
    assert len(held) >= 2, "Ray may start two for one that died"
    assert min(reading.load_s for reading in held) > 3, "an engine's own processes are metered"
    wait_until(lambda: not marked(str(tmp_path)), 120, "the processes of the job to end")
