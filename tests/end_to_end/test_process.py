"""The job as a user starts it: exit codes, refusals before Ray, kills and resumes."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import DEMO_CONFIG, ROOT, Job, Undisturbed

ECHO = [
    "models.small.engine=echo", "models.large.engine=echo", "input.source_lang=en", "input.target_lang=de",
    "router.kind=length", "budget.fraction=0.3",
]  # fmt: skip


def files(folder: Path) -> int:
    return len(list(folder.glob("*.parquet"))) if folder.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers")
def test_killed_at_several_points_it_resumes_to_the_same_rows(
    demo_corpus: pa.Table, undisturbed_demo: Undisturbed, job: Job
) -> None:
    words, undisturbed = undisturbed_demo
    for stage, count in (("scores", 2), ("large/000", 2), ("output", 1)):
        job.kill_when(
            lambda run_dir, stage=stage, count=count: files(run_dir / stage) >= count, *words, config=DEMO_CONFIG
        )
    job.run_process(*words, config=DEMO_CONFIG)
    assert job.output().equals(undisturbed.output())
    assert job.output().num_rows == demo_corpus.num_rows
    assert not list(job.run_dir.rglob("*.tmp"))
    again = job.run(*words, config=DEMO_CONFIG)
    assert "nothing to do" in again.stderr


def test_a_run_directory_is_bound_to_what_it_was_made_with(without_ray: None, job: Job, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"source": ["one", "two"], "other": ["x", "y"]}), path)
    words = [f"input.path={path}", *ECHO]
    job.run(*words)
    for change, named in (
        ("seed=1", "seed: 0 -> 1"),
        ("router.kind=random", "router.kind: 'length' -> 'random'"),
        ("models.large.prompt=plain", "models.large.prompt"),
        ("input.columns.source=other", "input.columns.source: 'source' -> 'other'"),
        ("input.shard_rows=5", "input.shard_rows"),
    ):
        refused = job.run(*words, change, check=2)
        assert named in refused.stderr
        assert "use a new run_dir" in refused.stderr
    pq.write_table(pa.table({"source": ["one", "three"], "other": ["x", "y"]}), path)
    assert "corpus.digest" in job.run(*words, check=2).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input.path=/nowhere/at/all", *ECHO], "no such file or folder"),
        (["input.path=README.md", *ECHO], "unknown kind of file"),
        (["input.path=x", *ECHO, "budget.rows=3"], "budget.fraction and budget.rows are set"),
        (
            ["input.path=x", *ECHO, "models.small.engine=hf", "models.small.path=/no/model"],
            "models.small.path is '/no/model', but there is no such folder",
        ),
        (["--confg", "x"], "unknown option --confg"),
    ],
)
def test_a_bad_configuration_exits_with_2_before_ray_starts(
    job: Job, words: list[str], message: str, no_cluster: None
) -> None:
    refused = job.run(*words, check=2)
    assert message in refused.stderr
    assert not job.run_dir.exists()


def test_a_process_exits_with_the_status_of_its_job_and_no_traceback(job: Job) -> None:
    refused = job.run_process("input.path=/nowhere/at/all", *ECHO, check=2)
    assert "no such file or folder" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not job.run_dir.exists()


def test_the_driver_checks_models_without_torch_and_draws_nothing_yet(demo_corpus: pa.Table, tmp_path: Path) -> None:
    pq.write_table(demo_corpus, tmp_path / "in.parquet")
    words = [f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path / 'in.parquet'}"]
    code = f"""
import sys
from jobs import translate
from routelmt_ray.config import loader as configlib
from routelmt_ray.job import command, translation
from routelmt_ray.config.translate import TranslateConfig
command.hold_no_model()
translation.prepare(configlib.load(TranslateConfig, [{DEMO_CONFIG!r}], {words!r}))
print([name for name in ("transformers", "torch", "matplotlib", "sacrebleu", "scipy.stats", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("['transformers']\n", "")


def test_a_folder_with_other_files_is_not_taken_for_a_run_directory(job: Job, tmp_path: Path) -> None:
    job.run_dir.mkdir()
    (job.run_dir / "thesis.txt").write_text("precious")
    pq.write_table(pa.table({"source": ["one"]}), tmp_path / "in.parquet")
    assert "not a run directory" in job.run(f"input.path={tmp_path / 'in.parquet'}", *ECHO, check=2).stderr
    assert [path.name for path in job.run_dir.iterdir()] == ["thesis.txt"]
