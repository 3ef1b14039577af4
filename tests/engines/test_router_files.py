"""A router folder that is not whole is refused before any model is loaded."""

import shutil
from pathlib import Path

import pytest

from routelmt_ray.engines.artifact import load_router
from tests.conftest import DEMO


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The router of the demo."""
    return Path(shutil.copytree(DEMO / "router", tmp_path / "router"))


@pytest.mark.parametrize("name", ["head.safetensors", "adapter/adapter_model.safetensors", "router.json"])
@pytest.mark.parametrize("kept", [None, 0, 5, -9])
def test_a_file_that_is_missing_or_cut_short(folder: Path, name: str, kept: int | None) -> None:
    assert load_router(str(folder)).adapter == folder / "adapter"
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if kept is not None:
        (folder / name).write_bytes(content[:kept])
    with pytest.raises(ValueError, match=f"router.path {folder}: .*copy the whole folder of the router again"):
        load_router(str(folder))
