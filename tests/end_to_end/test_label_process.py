"""The label job as a user starts it: refusals before Ray, kills and resumes."""

from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.job import labels
from tests.conftest import untimed
from tests.end_to_end.label_runs import LabelJob, run
from tests.end_to_end.runs import ECHO, output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input.path=x", *ECHO], "metrics.names has `chrf`, which compares with a reference"),
        (["input.path=x", *ECHO, "metrics.names=[chf]"], "a list of at least one of chrf, bleu, comet, comet_qe"),
        (["input.path=x", *ECHO, "metrics.names=[comet]"], "metrics.comet.path is empty"),
        (
            ["input.path=x", *ECHO, "metrics.names=[comet_qe]", "metrics.comet_qe.path=/no/where"],
            "metrics.comet_qe.path /no/where: no such folder",
        ),
    ],
)
def test_a_bad_configuration_exits_with_2_before_ray_starts(
    tmp_path: Path, words: list[str], message: str, no_cluster: None
) -> None:
    if "no/where" in message and find_spec("comet") is None:
        message = "has no unbabel-comet"
    job = LabelJob(tmp_path / "run")
    refused = job.run(*words, check=2)
    assert message in refused.stderr
    assert not job.run_dir.exists()


@pytest.mark.slow
@pytest.mark.timeout(600)  # three starts of a process, each with a cluster of its own
@pytest.mark.usefixtures("forked_workers")
def test_killed_at_several_points_it_resumes_to_the_same_rows(without_ray: None, tmp_path: Path) -> None:
    table = pa.table({"source": [f"row {i}" for i in range(120)], "reference": [f"a row {i}" for i in range(120)]})
    pq.write_table(table, tmp_path / "in.parquet")
    job = LabelJob(tmp_path / "killed")
    words = [
        f"input.path={tmp_path / 'in.parquet'}", *ECHO, "input.shard_rows=10", "input.columns.reference=reference",
        "metrics.names=[chrf, bleu]",
    ]  # fmt: skip
    for stage, count in (("large/all", 1), ("quality", 1)):

        def reached(run_dir: Path, stage: str = stage, count: int = count) -> bool:
            return len(list((run_dir / stage).rglob("shard-*.parquet"))) >= count

        job.kill_when(reached, *words)
    done = job.run_process(*words)
    assert "rows labelled by chrf, bleu" in done.stdout
    config = configlib.load(LabelConfig, [], [f"run_dir={job.run_dir}", *words])
    assert labels.is_finished(config, labels.prepare(config)[1])
    assert not list(job.run_dir.rglob("*.tmp"))
    undisturbed = tmp_path / "undisturbed"
    run(undisturbed, tmp_path / "in.parquet", *words[1:])
    assert job.output()["source"].to_pylist() == table["source"].to_pylist()
    assert untimed(job.output()).equals(untimed(output(undisturbed)))
