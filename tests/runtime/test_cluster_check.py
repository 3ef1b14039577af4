"""A cluster that could not start is refused in words."""

import pytest

from routelmt_ray.config.common import RayConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.job import command
from routelmt_ray.runtime import cluster


def test_a_temporary_folder_with_a_long_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setenv("TMPDIR", "/scratch/" + "user" * 20)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with command.ending() as end, command.checking():
        cluster.check(RayConfig())
    assert end.status == command.REFUSED
    words = "the temporary folder /scratch/.* has a name of 89 bytes, .* set RAY_TMPDIR"
    with pytest.raises(Refused, match=words), command.checking():
        cluster.check(RayConfig())
    cluster.check(RayConfig(address="auto"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    cluster.check(RayConfig())
