"""A memory here and on S3: the same functions, the same promises."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.corpus import repeats as cut
from routelmt_ray.corpus.memory import open_memory
from routelmt_ray.corpus.repeats import Keys, keys_of
from routelmt_ray.storage.rundir import RunDir
from tests.end_to_end.runs import ECHO, run


def test_writers_at_once_lose_nothing_and_a_part_that_is_gone_is_no_error(root: storage.Location) -> None:
    store = open_memory(str(root), {"model": "m"})
    keys = keys_of([f"text {i}" for i in range(40)], ["en→de"] * 40)
    keys = Keys(*(part[np.argsort(keys.high)] for part in keys))

    def add(start: int) -> None:
        rows = slice(start, start + 20)
        store.add(Keys(*(part[rows] for part in keys)), [f"{i} by {start}" for i in range(start, start + 20)])

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 10, 20, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers, texts = store.find(keys)
    assert numbers.tolist() == list(range(40)) and all(text.startswith(f"{i} by ") for i, text in enumerate(texts))
    parts = [name for name in storage.list_names(store.folder) if name.endswith(".parquet")]
    assert len(parts) == 3 and storage.exists(store.folder / "identity.json")
    storage.remove(store.folder / sorted(parts)[0])
    assert len(store.find(keys)[0]) < 40
    storage.remove_tree(root)
    assert len(store.find(keys)[0]) == 0


@pytest.mark.slow
def test_repeats_and_a_memory_on_s3_give_the_rows_that_they_give_here(
    without_ray: None, bucket: storage.Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "SECTION_ROWS", 30)
    texts = [f"text {i * i % 37}" for i in range(120)]
    words = [*ECHO, "router.kind=length", "input.shard_rows=15", "input.duplicates=once", "budget.fraction=0.3"]
    words.append("models.large.max_new_tokens=256")  # else both models are one to the memory

    def rows(root: storage.Location, name: str) -> pa.Table:
        run(root / name, root / "in.parquet", *words, f"memory.path={root / 'memory'}")
        found = RunDir(str(root / name))
        return pa.concat_tables(
            storage.read_table(found.shard_path("output", n)) for n in sorted(found.committed("output"))
        )

    tables = []
    for root in (tmp_path, bucket):
        for name, stop in (("first", 60), ("second", 120)):
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table({"source": texts[:stop]}), sink)
            storage.write_bytes(root / "in.parquet", sink.getvalue().to_pybytes())
            tables.append(rows(root, name))
    assert tables[0].equals(tables[2]) and tables[1].equals(tables[3])
    firsts = [texts.index(text) for text in texts]
    assert tables[3]["duplicate_of"].to_pylist() == [None if at == i else at for i, at in enumerate(firsts)]
    assert set(tables[3]["from_memory"].to_pylist()[:60]) >= {True}
