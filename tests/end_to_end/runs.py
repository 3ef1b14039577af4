"""Runs of the translate job inside the test process, on the cluster the tests share."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs import translate
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.job import translation
from routelmt_ray.runtime.progress import Progress

ECHO = ["models.small.engine=echo", "models.large.engine=echo", "input.source_lang=en", "input.target_lang=de"]


def run(run_dir: Path, path: Path, *overrides: str, config: str | None = None) -> dict[str, Any]:
    """Runs to the end; returns the report."""
    files = [config] if config else []
    words = [f"run_dir={run_dir}", f"input.path={path}", *overrides]
    loaded = configlib.load(TranslateConfig, files, words)
    preparation = translation.prepare(loaded)
    with Progress() as progress:
        return translate.run(loaded, preparation, progress)


def output(run_dir: Path) -> pa.Table:
    """The merged rows, in order."""
    return pa.concat_tables(pq.read_table(path) for path in sorted((run_dir / "output").glob("*.parquet")))


def quarantine(run_dir: Path) -> list[dict[str, Any]]:
    """Quarantined rows, in order."""
    return [
        row for path in sorted((run_dir / "quarantine").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def top_k_of(gains: list[float | None], k: int) -> tuple[float, set[int]]:
    """The k-th largest gain by a plain sort, and the rows above it."""
    ranked = sorted((gain for gain in gains if gain is not None), reverse=True)
    threshold = ranked[k - 1]
    return threshold, {i for i, gain in enumerate(gains) if gain is not None and gain > threshold}
