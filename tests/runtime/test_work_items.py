"""Items of work: few rows in the driver, each item a block, in order, and not before it is ready."""

from pathlib import Path
from typing import Any

import pytest

from routelmt_ray.runtime import work_items
from tests.runtime.counted import Opened


class NotedItems:
    """Makes items, and notes each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, stage: str, shard: int) -> dict[str, Any]:
        (self._folder / f"{stage}-{shard}").touch()
        return {"stage": stage, "shard": shard}


def test_the_driver_keeps_one_row_for_hundreds_of_items() -> None:
    tasks = [(stage, shard) for stage in ("a", "b") for shard in range(50_000)]
    kept = list(work_items._runs(tasks))
    assert len(kept) == 196
    assert [(run["stage"], shard) for run in kept for shard in run["shards"]] == tasks


def test_items_are_made_in_order_one_a_block_and_not_before_they_are_ready(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_items, "_RUN", 4)
    gates, made = tmp_path / "gates", tmp_path / "made"
    for folder in (gates, made):
        folder.mkdir()
    (gates / "a").touch()
    tasks = [("a", shard) for shard in (0, 1, 3, 4, 5, 8, 9)] + [("b", shard) for shard in (2, 0, 1, 7, 6)]
    found = []
    items = work_items.dataset(tasks, NotedItems(made), Opened(gates))
    for block in items.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert block.num_rows == 1
        found.append((block["stage"][0].as_py(), block["shard"][0].as_py()))
        if found == tasks[:7]:
            assert {path.name for path in made.glob("b-*")} <= {"b-2"}
            (gates / "b").touch()
    assert found == tasks
