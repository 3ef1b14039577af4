"""Rows longer than a model takes: set aside, cut short or split, on the embedded pair."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines.tokenizers import prompt_encoder
from tests.conftest import DEMO
from tests.end_to_end.runs import output, quarantine, run

pytestmark = pytest.mark.usefixtures("without_ray")
SENTENCES, GAPS = 4, (" ", "  ", "\n")
CHEAP = ["router.kind=length", "budget.fraction=0"]


@pytest.fixture(scope="module")
def corpus(demo_corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Four sentences, all of them as one row, and the longest prompt that takes any of them but no two."""
    encoder = prompt_encoder(ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo"))
    chosen = [row["source"] for row in demo_corpus.to_pylist() if row["target_lang"] == "es"]
    lengths = dict(zip(chosen, encoder.count(chosen)))
    texts = [text for text in lengths if 9 <= lengths[text] <= 12][:SENTENCES]
    whole = "".join(part for pair in zip(texts, [*GAPS, ""]) for part in pair)
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    pq.write_table(pa.table({"source": [*texts, whole]}), path)
    # Three more: pieces are cut by the prompt without text, which has up to three tokens that a text would join.
    return path, 3 + max(map(len, encoder.encode([f"Spanish: {text}" for text in texts])))


def words(corpus: tuple[Path, int], *more: str) -> list[str]:
    path, limit = corpus
    return [
        f"input.path={path}", "input.columns={id: null, source_lang: null, target_lang: null, reference: null}",
        "input.source_lang=en", "input.target_lang=es", f"models.small.max_input_tokens={limit}",
        f"models.large.max_input_tokens={limit}", *more,
    ]  # fmt: skip


def test_quarantine_sets_the_row_aside(corpus: tuple[Path, int], tmp_path: Path) -> None:
    run(tmp_path / "run", corpus[0], *words(corpus, *CHEAP), config="configs/demo.yaml")
    statuses = output(tmp_path / "run")["status"].to_pylist()
    assert statuses == ["ok"] * SENTENCES + ["too_long"]
    assert [row["source"] for row in quarantine(tmp_path / "run")] == [output(tmp_path / "run")["source"][4].as_py()]


def test_truncate_translates_the_beginning_that_fits(corpus: tuple[Path, int], tmp_path: Path) -> None:
    report = run(
        tmp_path / "run", corpus[0], *words(corpus, "input.too_long=truncate", *CHEAP), config="configs/demo.yaml"
    )
    *_, row = output(tmp_path / "run").to_pylist()
    encoder = prompt_encoder(ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo"))
    kept = corpus[1] - len(encoder.encode(["Spanish: "])[0])
    assert row["status"] == "truncated"
    assert row["error"] == f"cut to its first {kept} of {encoder.count([row['source']])[0]} tokens"
    assert row["translation"]
    assert report["quarantined"] == 0
    assert report["statuses"]["truncated"]["rows"] == 1


def test_split_translates_piece_by_piece_and_routes_one_row(corpus: tuple[Path, int], tmp_path: Path) -> None:
    split = words(corpus, "input.too_long=split")
    for model, fraction in (("large", 1.0), ("small", 0.0)):
        run(tmp_path / "run", corpus[0], *split, f"budget.fraction={fraction}", config="configs/demo.yaml")
        rows = output(tmp_path / "run").to_pylist()
        assert [row["status"] for row in rows] == ["ok"] * (SENTENCES + 1)
        assert [row["model"] for row in rows] == [model] * (SENTENCES + 1)
        parts = [row["translation"] for row in rows[:SENTENCES]]
        assert rows[-1]["translation"] == "".join(part for pair in zip(parts, [*GAPS, ""]) for part in pair)
    scores = pq.read_table(tmp_path / "run" / "scores" / "shard-000000.parquet").to_pydict()
    for name in ("source_tokens", "prompt_tokens"):
        assert scores[name][-1] == sum(scores[name][:SENTENCES])
    mean = np.average(scores["predicted_gain"][:SENTENCES], weights=scores["source_tokens"][:SENTENCES])
    assert scores["predicted_gain"][-1] == pytest.approx(mean, abs=1e-5)
    assert not (tmp_path / "run" / "quarantine").exists()
