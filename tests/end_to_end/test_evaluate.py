"""The evaluation job on the embedded pair: from a labelled set to report, tables and exit status."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluate import main

CONFIG = [
    "--config", "configs/evaluate_demo.yaml", "resamples=100", "rows=all", "scorers.routers.lora=routelmt_ray/demo/router"
]  # fmt: skip


@pytest.fixture(scope="module")
def labels(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo sentences with outputs and qualities: the longer the sentence, the more the large model gains."""
    rng, n = np.random.default_rng(0), demo_corpus.num_rows
    length = np.array([len(s) for s in demo_corpus["source"].to_pylist()])
    small = rng.uniform(0.4, 0.7, n)
    gain = 0.004 * (length - 30) + rng.normal(0, 0.05, n)
    added = {
        "small_translation": demo_corpus["reference"],
        "quality_small_chrf": small.astype(np.float32),
        "quality_large_chrf": (small + gain).astype(np.float32),
        "small_s": rng.uniform(0.01, 0.02, n),
        "large_s": rng.uniform(0.05, 0.06, n),
    }
    table = demo_corpus
    for name, values in added.items():
        table = table.append_column(name, values if isinstance(values, pa.ChunkedArray) else pa.array(values))
    folder = tmp_path_factory.mktemp("labels")
    pq.write_table(table.slice(0, 120), folder / "fit.parquet")
    pq.write_table(table.slice(120), folder / "held-out.parquet")
    return folder


@pytest.fixture(scope="module")
def finished(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished evaluation."""
    out = tmp_path_factory.mktemp("out")
    words = [f"out={out}", f"labels.path={labels / 'held-out.parquet'}", f"labels.fit_path={labels / 'fit.parquet'}"]
    assert main([*CONFIG, *words]) == 0
    return out


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return found


def test_an_evaluation_writes_report_figures_and_tables(finished: Path):
    written = {path.name for path in finished.iterdir()}
    tables = {"headline.csv", "measures.csv", "paired.csv", "groups.csv", "curves.csv"}
    assert written == tables | {"evaluation.json", "report.html", "scores.parquet"}
    result = read(finished)
    seconds = {s["name"]: s["seconds_a_row"] for s in result["scorers"]}
    names = set(seconds)
    assert 0 < seconds["lora_words"] < seconds["lora"], "words alone need no probe"
    # By what they are, not how well they do: all that the embedded pair can be asked for without a download.
    assert names >= {
        "lora",
        "win_probability",
        "entropy",
        "perplexity",
        "logprob",
        "length",
        "rarest_word",
        "text_ridge",
        "constant",
        "random",
    }
    assert set(result["axes"]) == {"calls", "characters", "seconds"}
    scores = pq.read_table(finished / "scores.parquet")
    assert scores.num_rows == result["input"]["rows"] == 120
    assert scores["score_length"].to_pylist() == [len(s) for s in held_out_sources(result)]


def held_out_sources(result: dict[str, Any]) -> list[str]:
    sources: list[str] = pq.read_table(result["config"]["labels"]["path"])["source"].to_pylist()
    return sources


def test_what_the_gain_was_made_of_wins(finished: Path):
    result = read(finished)
    assert result["overall"]["length"]["spearman"]["value"] > 0.5
    assert result["overall"]["length"]["area_calls"]["value"] > result["overall"]["entropy"]["area_calls"]["value"]
    charged = {s["name"]: s["seconds_a_row"] for s in result["scorers"]}
    assert charged["lora"] > 0 and charged["length"] == 0
    areas = {name: result["overall"][name]["area_seconds"]["value"] for name in ("logprob", "length")}
    assert areas["logprob"] < areas["length"], "it knows the length too, and pays for decoding first"
    assert [s["name"] for s in result["scorers"] if s["cascade"]] == ["logprob"]


def test_the_same_again_gives_the_same_figures(finished: Path, labels: Path, tmp_path: Path):
    words = [
        f"out={tmp_path}",
        f"labels.path={labels / 'held-out.parquet'}",
        f"labels.fit_path={labels / 'fit.parquet'}",
    ]
    assert main([*CONFIG, *words]) == 0
    first, second = read(finished), read(tmp_path)
    assert second["buckets"] == first["buckets"] and second["curves"]["calls"] == first["curves"]["calls"]


@pytest.mark.parametrize(
    "words,message",
    [
        (["labels.metric=comet"], "labels.metric is 'comet'"),
        (["p=0"], "p is 0"),
        (["scorers.routers.lora=/nowhere"], "scorers.routers.lora"),
        (["small.prompt=plain"], "prompt"),
        (["lables.path=x"], "did you mean labels"),
        (["reference=nobody"], "reference is 'nobody'"),
    ],
)
def test_a_wrong_configuration_is_refused(
    labels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, words: list[str], message: str
):
    quick = ["scorers.entropy=false", "scorers.logprob=false", "scorers.win_probability=false"]
    assert main([*CONFIG, f"out={tmp_path / 'out'}", f"labels.path={labels}", *quick, *words]) == 2
    assert message in caplog.text
    assert not (tmp_path / "out").exists()
