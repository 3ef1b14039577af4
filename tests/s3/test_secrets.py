"""Secrets planted in the environment of a job are in nothing it writes: run directory, output, logs of its own and of Ray."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from routelmt_ray import storage
from tests.conftest import Job
from tests.end_to_end import runs
from tests.s3.proxy import FaultProxy, Refusal

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "HF_TOKEN": "hf_planted",
    "RAY_AUTH_TOKEN": "planted-ray-token",
    "MLFLOW_TRACKING_PASSWORD": "planted-of-another-tool",
}
WORDS = [*runs.ECHO, "router.kind=length", "budget.fraction=0.3", "input.shard_rows=40", "log.format=json"]


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's logs, sessions and sockets; the path of a socket has to be short."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def leaks(content: bytes) -> list[str]:
    return [name for name, secret in PLANTED.items() if secret.encode() in content]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers")
def test_no_secret_is_written_by_a_run_that_ends_well_or_badly(
    bucket: storage.S3Path, proxy: FaultProxy, ray_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in PLANTED.items():
        monkeypatch.setenv(name, secret)
    lines = "".join(f'{{"source": "row {i}"}}\n' for i in range(80))
    storage.write_bytes(bucket / "in" / "a.jsonl", lines.encode())
    path = f"input.path={bucket / 'in'}"

    def said(job: Job, *words: str, check: int) -> bytes:
        done = job.run_process(path, *WORDS, *words, check=check)
        return (done.stdout + done.stderr).encode()

    run = Job(bucket / "run")
    spoken = [said(run, check=0), said(run, "run_dir=s3://not-there/run", check=2)]
    # Refused in the middle of its work: workers and driver are told, too.
    denied = Refusal(403, "AccessDenied")
    proxy.decide = lambda request: denied if "scores" in request.target and request.method == "PUT" else None
    spoken.append(said(Job(bucket / "refused"), check=1))
    assert proxy.faults
    proxy.decide = lambda request: None
    local = Job(tmp_path / "run")
    spoken += [said(local, check=0), said(local, "models.small.engine=hf", check=2)]

    for text in spoken:
        assert not leaks(text), text.decode()
    written = [bucket / name for name in storage.list_tree(bucket)]
    written += [file for folder in (tmp_path, ray_folder) for file in folder.rglob("*") if file.is_file()]
    assert {bucket / "run" / "manifest.json", local.run_dir / "report.html"} <= set(written)
    assert any(file.name == "gcs_server.out" for file in ray_folder.rglob("*"))
    assert {str(file): found for file in written if (found := leaks(storage.read_bytes(file)))} == {}
