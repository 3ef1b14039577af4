"""The translate job with its input and its run directory on S3, started, killed and damaged as it happens to users."""

import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.storage import lease
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import Job
from tests.end_to_end import runs
from tests.s3.conftest import point_at
from tests.s3.proxy import DROP, DROP_ANSWER, INTERNAL, SLOW_DOWN, FaultProxy, Request
from tests.without_ray import without_ray as jobs_without_ray

ECHO = [*runs.ECHO, "router.kind=length", "budget.fraction=0.3", "input.shard_rows=40"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 rows in Parquet and JSON Lines, one of them broken."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [{"n": i, "source": f"row {i} " + "x" * (i * 7 % 90)} for i in range(400)]
    pq.write_table(pa.Table.from_pylist(rows[:250]), folder / "a.parquet", row_group_size=30)
    lines = [json.dumps(row) for row in rows[250:]]
    lines[100] = "no json"
    (folder / "b.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What a run on this machine gives."""
    calm = Job(tmp_path_factory.mktemp("calm") / "run")
    with jobs_without_ray():
        calm.run(f"input.path={corpus}", *ECHO)
    return calm.output()


def upload(corpus: Path, bucket) -> str:
    for path in corpus.iterdir():
        storage.write_bytes(bucket / "in" / path.name, path.read_bytes())
    return f"input.path={bucket / 'in'}"


def spoil(path: storage.Location, how: str) -> None:
    content = bytearray(storage.read_bytes(path))
    content[60] ^= 1
    storage.write_bytes(path, bytes(content) if how == "flip" else bytes(content[:-30]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers")
def test_killed_and_resumed_on_s3_it_gives_what_a_local_run_gives(corpus: Path, undisturbed: pa.Table, bucket) -> None:
    path, run = upload(corpus, bucket), RunDir(bucket / "run")
    job = Job(run.root)
    job.kill_when(lambda _: len(run.committed("scores")) >= 2, path, *ECHO)
    assert storage.exists(run.root / lease.FILE)
    resumed = job.run_process(path, *ECHO)  # at once, although the dead driver's lease is still there
    assert "is taken over from process" in resumed.stderr
    assert job.output().equals(undisturbed)
    assert not storage.exists(run.root / lease.FILE)
    # A file of the output that was altered and another shard that was cut short are made again.
    spoil(run.shard_path("output", 3), "flip")
    spoil(run.shard_path("small/000", 5), "cut")
    with jobs_without_ray():
        repaired = job.run(path, *ECHO).stderr
    assert "output/shard-000003.parquet is damaged" in repaired
    assert "small/000/shard-000005.parquet is damaged" in repaired
    assert job.output().equals(undisturbed)
    assert "nothing to do" in job.run(path, *ECHO).stderr
    assert not any("of-the-tests" in str(storage.read_bytes(run.root / name)) for name in storage.list_tree(run.root))
    assert "127.0.0.1" not in resumed.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers")
def test_a_bad_network_and_a_busy_s3_change_nothing(
    corpus: Path, undisturbed: pa.Table, bucket, proxy: FaultProxy
) -> None:
    draw = random.Random(0)

    def decide(request: Request) -> object:
        return draw.choice([SLOW_DOWN, INTERNAL, DROP, DROP_ANSWER]) if draw.random() < 0.1 else None

    path, run = upload(corpus, bucket), RunDir(bucket / "run")
    proxy.decide = decide
    job = Job(run.root)
    job.run_process(path, *ECHO, timeout_s=500)
    assert proxy.faults > 20
    assert job.output().equals(undisturbed)


def test_damage_that_only_a_reader_sees_costs_a_start(
    corpus: Path, undisturbed: pa.Table, without_ray: None, job: Job
) -> None:
    run, words = RunDir(job.run_dir), [f"input.path={corpus}", *ECHO]
    job.run(*words)
    spoil(run.shard_path("large/000", 5), "flip")
    storage.remove(run.shard_path("output", 5))
    failed = job.run(*words, check=1)
    assert "large/000/shard-000005.parquet is damaged: could not verify page integrity" in failed.stderr
    assert "Start the job again, and it is made again" in failed.stderr
    assert "Traceback" not in failed.stderr
    job.run(*words)
    assert job.output().equals(undisturbed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["run_dir=s3://not-there/run"], ": there is no bucket not-there; correct the address"),
        (["input.path=s3://not-there/in"], "s3://not-there/in: there is no bucket not-there"),
        (["input.path=s3://{bucket}/nothing"], "no such object"),
        (None, "no credentials (NoCredentialsError); set AWS_PROFILE"),
    ],
)
def test_a_wrong_address_is_refused_in_a_sentence(
    corpus: Path, bucket, change: list[str] | None, words: str, monkeypatch: pytest.MonkeyPatch, s3_server: int
) -> None:
    point_at(monkeypatch, s3_server)
    if change is None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    path = f"input.path={corpus}"
    change = [word.replace("{bucket}", bucket.bucket) for word in change or []]
    refused = Job(bucket / "run").run(path, *ECHO, *change, check=2)
    assert "refused: " in refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_second_driver_is_refused_and_a_broken_manifest_is_named(corpus: Path, job: Job) -> None:
    words = [f"input.path={corpus}", *ECHO]
    with lease.hold(job.run_dir):
        refused = job.run(*words, check=2)
    assert f"is in use by process {os.getpid()} on" in refused.stderr
    storage.write_text(job.run_dir / "manifest.json", '{"format": 1, "st')
    refused = job.run(*words, check=2)
    assert "manifest.json is not valid JSON" in refused.stderr
    assert "Traceback" not in refused.stderr
