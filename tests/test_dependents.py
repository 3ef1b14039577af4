"""A damaged file of an earlier budget takes with it what was made in its light, and no more."""

from pathlib import Path

import pyarrow as pa
import pytest

from routelmt_ray.dependents import remove_dependents
from routelmt_ray.rundir import RunDir

SHARDS = (0, 1)
STAGES = (
    "small/000", "large/000", "small/000-fallback", "small/001", "large/001", "small/001-audit", "large/002", "small/002",
    "small/002-fallback", "judge/000-both", "judge/002-both", "judge/001",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A first budget of one entry, and a second one of two."""
    run = RunDir(tmp_path)
    for entry, series in ((0, 0), (1, 1), (2, 1)):
        run.write_plan({"entry": entry, "series": series})
    for stage in (*STAGES, "scores", "output"):
        for shard in SHARDS:
            run.commit(stage, shard, pa.table({"place": [shard]}), {})
    return run


@pytest.mark.parametrize(
    ("damaged", "gone"),
    [
        (
            "large/000",
            [
                "judge/002-both",
                "large/001",
                "large/002",
                "small/001",
                "small/001-audit",
                "small/002",
                "small/002-fallback",
            ],
        ),
        (
            "small/000-fallback",
            [
                "judge/002-both",
                "large/001",
                "large/002",
                "small/001",
                "small/001-audit",
                "small/002",
                "small/002-fallback",
            ],
        ),
        ("large/001", ["judge/002-both", "small/002-fallback"]),
        ("small/002", ["judge/002-both"]),
        ("judge/001", []),
        ("scores", []),
        ("output", []),
    ],
)
def test_what_goes_with_a_damaged_file(run: RunDir, damaged: str, gone: list[str]) -> None:
    name = f"{damaged}/shard-000001.parquet"
    (run.root / name).unlink()
    assert remove_dependents(run, [name]) == sorted(f"{stage}/shard-000001.parquet" for stage in gone)
    for stage in (*STAGES, "scores", "output"):
        assert run.committed(stage) == ({0} if stage in (*gone, damaged) else {0, 1}), stage


def test_a_job_without_budgets_has_no_dependents(tmp_path: Path) -> None:
    assert remove_dependents(RunDir(tmp_path), ["large/all/shard-000000.parquet"]) == []
