"""Labels without two models: sentences of the embedded grammar with gains that follow from the sentence."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.train import TrainConfig
from routelmt_ray.demo import corpus
from tests.conftest import DEMO


def label_table(rows: int, seed: int = 3, longest: int | None = None) -> pa.Table:
    """Rows as a label job writes them; longer sentences gain more, with noise. `longest` limits the characters of a source."""
    made = corpus.rows("dev", 2 * rows if longest else rows, seed)
    made = [row for row in made if not longest or len(row["source"]) <= longest][:rows]
    lengths = np.array([len(row["source"]) for row in made], np.float64)
    rng = np.random.default_rng(seed)
    gain = 0.004 * (lengths - lengths.mean()) + rng.normal(0, 0.03, rows)
    small = 0.7 - gain / 2
    columns = {name: [row[name] for row in made] for name in ("source", "source_lang", "target_lang")}
    columns |= {"document": [f"doc-{i // 2}" for i in range(rows)], "status": ["ok"] * rows}
    qualities = {"quality_small_chrf": small, "quality_large_chrf": small + gain, "gain_chrf": gain}
    return pa.table(columns | {name: values.astype(np.float32) for name, values in qualities.items()})


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 labelled rows with short sources, which train in half the time; two a document."""
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    pq.write_table(label_table(360, longest=80), path)
    return path


def train_config(labels: Path, folder: Path, *overrides: str) -> TrainConfig:
    """A training of seconds on the embedded small model."""
    words = [
        f"labels.path={labels}",
        "labels.columns={source_lang: source_lang, target_lang: target_lang, document: document}",
        f"small={{path: {DEMO / 'models' / 'small'}, prompt: demo, device: cpu}}",
        f"out={folder / 'router'}",
        f"work_dir={folder / 'work'}",
        "split={train: 0.6, stop: 0.15, calibration: 0.1, test: 0.15}",
        "lora={learning_rate: 3.0e-3, head_learning_rate: 3.0e-3, batch_rows: 32, epochs: 99, steps: 24, evaluate_every: 8}",
        "shard_rows=100",
        "ray.object_store_mb=200",
    ]
    return configlib.load(TrainConfig, [], [*words, *overrides])
