"""A real S3 server in a process of its own, a bucket in it, and a proxy before it that makes trouble."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from routelmt_ray import storage
from routelmt_ray.storage import s3
from tests.s3.proxy import FaultProxy


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server."""
    port, log = _free_port(), tmp_path_factory.mktemp("moto") / "log"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as sink:
        server = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server never answered"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


def point_at(patch: pytest.MonkeyPatch, port: int) -> None:
    """Has this process, and those it starts, find their S3 at a port of this machine, and nothing of a user's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    patch.setenv("AWS_REGION", "us-east-1")
    patch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-tests")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-tests")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, "/dev/null")
    s3._client_of.cache_clear()


@pytest.fixture
def bucket(s3_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Location]:
    """An address in a bucket of its own."""
    point_at(monkeypatch, s3_server)
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3._client().mkdir(name)
    yield storage.path(f"s3://{name}/some/where")
    s3._client_of.cache_clear()


@pytest.fixture
def proxy(bucket: storage.Location, s3_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy that this process, and those it starts, go through from now on."""
    with FaultProxy(s3_server) as between:
        point_at(monkeypatch, between.port)
        yield between


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> storage.Location:
    """An empty folder, here and on S3."""
    if request.param == "local":
        return tmp_path / "some" / "where"
    folder: storage.Location = request.getfixturevalue("bucket")
    return folder
