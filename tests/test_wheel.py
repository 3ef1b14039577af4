"""What a wheel carries, and that it works where the repository is not."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.__main__ import COMMANDS
from routelmt_ray import __version__
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CARRIED = {"routelmt_ray": "routelmt_ray", "jobs": "routelmt_ray/jobs", "configs": "routelmt_ray/configs"}
"""Folders of the repository, and where they are in a wheel."""


def files_of(folder: Path) -> Iterator[Path]:
    """Files that run; pages for who reads the repository stay there."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return (path for path in found if "__pycache__" not in path.parts and path.suffix != ".md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of what a clean checkout has."""
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in CARRIED:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(out), str(checkout), cwd=out)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment with the wheel; it finds the dependencies in this environment, after its own packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    # What a .pth file names comes last, and .pth files there, such as an editable install's, are not read.
    (own / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        *offline,
        str(wheel),
        cwd=folder,
    )
    return folder / "bin"


def run(*command: str, cwd: Path, check: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a command as from a shell that knows nothing of the repository."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == check, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_all_files_are_in_the_wheel_and_no_others(wheel: Path) -> None:
    wanted = {
        f"{to}/{path.relative_to(ROOT / folder).as_posix()}": path.read_bytes()
        for folder, to in CARRIED.items()
        for path in files_of(ROOT / folder)
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert wheel.name == f"routelmt_ray-{__version__}-py3-none-any.whl"
    assert "routelmt_ray/py.typed" in found


def test_an_installed_command_runs_each_job(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # where a line of help ends
    routelmt = str(installed / "routelmt")
    imported = run(str(installed / "python"), "-c", "import routelmt_ray; print(routelmt_ray.__file__)", cwd=tmp_path)
    assert Path(imported.stdout.strip()).is_relative_to(installed.parent)
    assert run(routelmt, "--version", cwd=tmp_path).stdout == __version__ + "\n"
    shown = run(routelmt, "--help", cwd=tmp_path).stdout
    assert [name for name in COMMANDS if f"  {name} " not in shown] == []
    for name, (module, _) in COMMANDS.items():
        if name != "demo":
            with pytest.raises(SystemExit):
                import_module(module).main(["--help"])
            assert run(routelmt, name, "--help", cwd=tmp_path).stdout == capsys.readouterr().out, name
    assert "no command 'translat'" in run(routelmt, "translat", cwd=tmp_path, check=2).stderr
    assert "input.path" in run(routelmt, "translate", "run_dir=run", cwd=tmp_path, check=2).stderr
    assert "no manifest.json" in run(routelmt, "status", "run_dir=run", cwd=tmp_path, check=2).stderr


def test_the_demo_translates_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    routelmt = str(installed / "routelmt")
    assert "rows: must be at least 1" in run(routelmt, "demo", "--rows", "0", cwd=tmp_path, check=2).stderr
    words = ["budget.fraction=0.5", "ray.object_store_mb=200"]
    done = run(routelmt, "demo", "--rows", "60", *words, cwd=tmp_path)
    assert "60 rows translated; 30 (50.0 % of 60 eligible) by the large model" in done.stdout
    rows = pq.read_table(tmp_path / "runs" / "demo" / "run" / "output")
    assert rows["route"].to_pylist().count("large") == 30
    assert all(rows["translation"].to_pylist())
    status = run(routelmt, "status", "run_dir=runs/demo/run", "--json", cwd=tmp_path)
    assert json.loads(status.stdout)["state"] == "done"
    again = run(routelmt, "demo", "--rows", "60", *words, cwd=tmp_path)
    assert "nothing to do" in again.stderr
