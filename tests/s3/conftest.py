"""A real S3 server in a process of its own, a bucket in it, and a proxy before it that makes trouble."""

import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest

from routelmt_ray import storage
from routelmt_ray.storage import s3
from tests.s3 import server
from tests.s3.proxy import FaultProxy


@pytest.fixture(scope="session", autouse=True)
def one_loader() -> Iterator[None]:
    """Has botocore parse its description of S3 once, and not for the client of each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server."""
    with server.started(tmp_path_factory.mktemp("moto") / "log") as port:
        yield port


def point_at(patch: pytest.MonkeyPatch, port: int) -> None:
    """Has this process, and those it starts, find their S3 at a port of this machine, and nothing of a user's."""
    for name in server.UNSET:
        patch.delenv(name, raising=False)
    for name, value in server.environment(port).items():
        patch.setenv(name, value)
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
