"""A memory here and on S3: the same functions, the same promises."""

import threading

import numpy as np

from routelmt_ray import storage
from routelmt_ray.corpus.memory import open_memory
from routelmt_ray.corpus.repeats import Keys, keys_of


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
