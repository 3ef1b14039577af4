"""Whole jobs with the vLLM engine on the embedded pair: the rows are those of `hf`, and no process is left behind."""

import os
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, Job, forking
from tests.end_to_end.label_runs import LabelJob
from tests.without_ray import without_ray

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
SETTINGS = "{enforce_eager: true, kv_cache_mb: 128, max_model_len: 256}"
VLLM_SMALL, VLLM_LARGE = (
    [f"models.{size}.engine=vllm", f"models.{size}.dtype=float32", f"models.{size}.vllm={SETTINGS}"]
    for size in ("small", "large")
)
VLLM = [*VLLM_SMALL, *VLLM_LARGE]
COMET_PYTHON = Path(os.environ.get("ROUTELMT_COMET_PYTHON", ROOT / ".venv" / "bin" / "python"))
"""An environment with this project and COMET, beside that of vLLM."""


@pytest.fixture(scope="module")
def corpus(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> str:
    """120 demo sentences with references."""
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    pq.write_table(demo_corpus.slice(0, 120), path)
    return f"input.path={path}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where vLLM keeps what it makes; all its processes have the name in their environment."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def labelled(corpus: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelJob:
    """A label job whose translations are there, measured by chrF."""
    label_job = LabelJob(tmp_path_factory.mktemp("labels"))
    label_job.launcher = forking()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CACHE_ROOT", str(cache))
        words = [corpus, "input.shard_rows=60", "metrics.names=[chrf]", *VLLM_LARGE]
        label_job.run_process(*words, config="configs/label_demo.yaml", timeout_s=800)
    return label_job


def left_processes(cache: Path) -> list[psutil.Process]:
    """Processes that run with this cache folder. A forked one lives as long as the one that asked for it, and this one has the
    folder in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VLLM_CACHE_ROOT") == str(cache) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.usefixtures("forked_workers")
def test_a_translate_job_gives_the_rows_of_hf_and_leaves_nothing(
    corpus: str, cache: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, config = [corpus, "input.shard_rows=40"], "configs/demo.yaml"
    plain = Job(tmp_path / "hf")
    with without_ray():
        plain.run(*words, config=config)
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(cache))
    job.run_process(*words, *VLLM, config=config, timeout_s=800)
    found, wanted = job.output(), plain.output()
    assert found.select(["id", "source", "route", "model", "status"]).equals(
        wanted.select(["id", "source", "route", "model", "status"])
    )
    gains = [np.asarray(table["predicted_gain"].to_pylist()) for table in (found, wanted)]
    np.testing.assert_allclose(*gains, atol=2e-5, rtol=0)
    same = np.mean([a == b for a, b in zip(found["translation"].to_pylist(), wanted["translation"].to_pylist())])
    print(f"{same:.1%} of the translations are equal")
    assert same >= 0.95
    assert "nothing to do" in job.run(*words, *VLLM, config=config).stderr
    refused = job.run(*words, *VLLM, "models.large.vllm.quantization=fp8", config=config, check=2).stderr
    assert "models.large.vllm.quantization: None -> 'fp8'" in refused
    deadline = time.monotonic() + 120
    while left := left_processes(cache):
        assert time.monotonic() < deadline, [process.cmdline() for process in left]
        time.sleep(0.1)
    assert not list((cache / "routelmt").glob("classifier-*/"))


def test_a_label_job_translates_with_vllm(labelled: LabelJob) -> None:
    rows = labelled.output()
    assert rows.num_rows == 120
    assert set(rows["status"].to_pylist()) == {"ok"}
    gains = np.asarray(rows["gain_chrf"].to_pylist())
    assert np.isfinite(gains).all() and gains.mean() > 0.05
    assert min(rows["small_tokens"].to_pylist()) > 1


def test_comet_measures_in_an_environment_of_its_own(labelled: LabelJob, corpus: str, tmp_path: Path) -> None:
    make = "import sys; from pathlib import Path; from tests.metrics.tiny_comet import make_checkpoint as make; "
    make += "make(Path(sys.argv[1]))"
    if not COMET_PYTHON.exists() or subprocess.run([COMET_PYTHON, "-c", "import comet"], check=False).returncode:
        pytest.skip(f"{COMET_PYTHON} has no COMET; make test sets it up, or name one in ROUTELMT_COMET_PYTHON")
    subprocess.run([COMET_PYTHON, "-c", make, tmp_path / "tiny-da"], check=True, cwd=ROOT)
    before = [path.stat().st_mtime_ns for path in sorted(labelled.run_dir.glob("*/all/*.parquet"))]
    labelled.run_process(
        corpus, "input.shard_rows=60", *VLLM_LARGE, "metrics.names=[chrf, comet]", f"metrics.comet.path={tmp_path / 'tiny-da'}",
        f"metrics.comet.python={COMET_PYTHON}", config="configs/label_demo.yaml",
    )  # fmt: skip
    rows = labelled.output()
    gains = np.asarray(rows["gain_comet"].to_pylist())
    assert len(gains) == 120 and np.isfinite(gains).all() and gains.std() > 0
    after = [path.stat().st_mtime_ns for path in sorted(labelled.run_dir.glob("*/all/*.parquet"))]
    assert after == before and len(before) == 4
