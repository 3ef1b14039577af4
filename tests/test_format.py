"""A run directory of another version is refused in words, before Ray and any model."""

import json
from pathlib import Path

import pytest

from routelmt_ray import __version__, storage
from routelmt_ray.corpus.file_list import choose
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.job.status import status
from routelmt_ray.storage.rundir import FORMAT, RunDir
from tests.conftest import Job
from tests.end_to_end.runs import ECHO

BY = "version of RouteLMT on Ray wrote it"
OTHERS = {
    "absent": ({}, f"has no format: an older {BY}. This one"),
    "older": ({"format": FORMAT - 1, "versions": {"routelmt_ray": "0.1.0"}}, f"has format {FORMAT - 1}: an older {BY} (0.1.0). This one"),
    "newer": ({"format": FORMAT + 1, "versions": {"routelmt_ray": "9.0"}}, f"has format {FORMAT + 1}: a newer {BY} (9.0). This one"),
}  # fmt: skip


@pytest.fixture(params=list(OTHERS))
def other(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RunDir, str]:
    """A run directory that another version left, and what is said of it."""
    manifest, words = OTHERS[request.param]
    run = RunDir(tmp_path / "run")
    # Its list of files is in another form, too.
    storage.write_json(run.root / "input" / "files.json", {"paths": []})
    storage.write_json(run.root / "manifest.json", {"state": "done", **manifest})
    return run, words


@pytest.mark.parametrize("script", ["translate", "label", "profile_costs"])
def test_jobs_refuse_a_run_directory_of_another_format(
    other: tuple[RunDir, str], tmp_path: Path, no_cluster: None, script: str
) -> None:
    run, words = other
    (tmp_path / "in.jsonl").write_text('{"source": "A dog."}\n')
    budget = {"translate": ["budget.rows=1", "router.kind=length"], "label": ["input.columns.reference=source"]}
    job = Job(run.root)
    job.script = script
    before = storage.read_bytes(run.root / "manifest.json")
    refused = job.run(
        f"input.path={tmp_path / 'in.jsonl'}", *ECHO, *budget.get(script, ["router.kind=length"]), check=2
    )
    assert f"refused: run_dir {run.root} {words}" in refused.stderr
    assert f"This one, {__version__}, reads format {FORMAT}. " in refused.stderr
    assert refused.stderr.strip().endswith("Go on with the version that wrote it, or start in a new run_dir")
    assert storage.read_bytes(run.root / "manifest.json") == before


def test_it_is_neither_followed_nor_shown(other: tuple[RunDir, str], tmp_path: Path) -> None:
    run, words = other
    (tmp_path / "in.jsonl").write_text('{"source": "A dog."}\n')
    for use in (
        lambda: choose(RunDir(tmp_path / "next"), find_files(str(tmp_path / "in.jsonl")), str(run.root)),
        lambda: status(str(run.root)),
    ):
        with pytest.raises(ValueError) as refused:
            use()
        assert words in str(refused.value)


def test_a_run_directory_says_its_format(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_manifest({"state": "running"})
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"state": "running", "format": FORMAT}
    assert run.manifest() == {"state": "running", "format": FORMAT}
