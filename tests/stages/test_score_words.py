"""A score is that of the head and of the words of the source, also for the pieces of a text that is too long."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from routelmt_ray import storage
from routelmt_ray.config import loader
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.artifact import file_digest, load_router
from routelmt_ray.engines.source_words import COLUMNS, WordTable
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages import score
from routelmt_ray.stages.pieces import prompts_of
from routelmt_ray.stages.validate import validate
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO

TEXTS = [
    "The old baker sells fresh bread.",
    "",
    "My sister reads a letter. My brother opens the window. The dog sleeps.",
]


@pytest.fixture
def router(tmp_path: Path) -> Path:
    """The head of the embedded router without its adapters, and a random table of words."""
    rng, folder = np.random.default_rng(0), tmp_path / "router"
    folder.mkdir()
    save_file({"weight": load_router(str(DEMO / "router")).weight}, folder / "head.safetensors")
    rarity, weight = rng.uniform(1, 5, COLUMNS).astype(np.float32), rng.normal(size=COLUMNS).astype(np.float32)
    table = WordTable(rarity, weight, {"es": 3.0}, rng.normal(size=4096).astype(np.float32))
    (folder / "words.safetensors").write_bytes(table.to_bytes())
    spec = json.loads((DEMO / "router" / "router.json").read_text())
    spec |= {"format": 3, "words": {"digest": file_digest(folder / "words.safetensors")}}
    (folder / "router.json").write_text(json.dumps(spec))
    return folder


def test_a_shard_is_scored_by_head_and_words(router: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": TEXTS}), tmp_path / "in.parquet")
    words = [
        f"run_dir={tmp_path / 'run'}", f"input.path={tmp_path / 'in.parquet'}", "input.source_lang=en",
        "input.target_lang=es", "input.too_long=split", f"router.path={router}", "budget.rows=1",
        *(f"models.{size}.path={DEMO / 'models' / size}" for size in ("small", "large")), "models.small.prompt=demo",
        "models.large.prompt=demo", "models.small.device=cpu", "models.small.max_input_tokens=16",
    ]  # fmt: skip
    config = loader.load(TranslateConfig, [], words)
    schema = pq.read_schema(tmp_path / "in.parquet")
    context = RunContext(RunDir(tmp_path / "run"), schema, config.input, config.models, "", 0)
    (shard,) = ShardPlan([str(tmp_path / "in.parquet")], [3], 3)
    read = score.ReadAndScore(context, config.router)(pa.Table.from_pylist([to_item(shard)]))
    score.CommitScores(context)(score.Probe(context, config.router)(read))
    scored = storage.read_table(context.run.shard_path(score.STAGE, 0))
    assert scored.schema.equals(score.COLUMNS)
    # The table alone takes a row as a whole.
    alone = {"calibration": {"gain": {"scale": 0.5, "intercept": 0.25}}}
    spec = json.loads((router / "router.json").read_text())
    spec["words"]["alone"] = alone
    (router / "router.json").write_text(json.dumps(spec))
    by_words = score.ReadAndScore(context, replace(config.router, kind="words"))(pa.Table.from_pylist([to_item(shard)]))
    # By hand, piece by piece.
    rows = validate(pq.read_table(tmp_path / "in.parquet"), config.input, "demo")
    prompts, trained = prompts_of(rows, config.models.small, "split"), load_router(str(router))
    assert prompts.row.count(2) > 1 and trained.words is not None
    asked = [i for i, refused in enumerate(prompts.refused) if refused is None]
    raw = open_probe(config.models.small, trained).probe([Prompt(prompts.ids[i], 0, "") for i in asked])
    said = trained.words([prompts.text[i] or "" for i in asked], ["es"] * len(asked), [prompts.ids[i] for i in asked])
    whole = [[token for ids, of in zip(prompts.ids, prompts.row) if of == row for token in ids] for row in (0, 2)]
    assert len(whole[1]) > 2 * len(whole[0])
    found = dict(zip(by_words["place"].to_pylist(), by_words["predicted_gain"].to_pylist()))
    expected_alone = 0.5 * trained.words([TEXTS[0], TEXTS[2]], ["es"] * 2, whole) + 0.25
    assert [found[0], found[2]] == pytest.approx(expected_alone.tolist(), abs=1e-5) and np.isnan(found[1])
    outputs = np.column_stack((raw[:, 0] + said, raw[:, 1])) * trained.scale + trained.intercept
    tokens, of = (np.array([values[i] for i in asked]) for values in (prompts.source_tokens, prompts.row))
    expected = np.array([np.average(outputs[of == row], axis=0, weights=tokens[of == row]) for row in (0, 2)])
    for column, name in enumerate(("predicted_gain", "predicted_quality")):
        found = scored[name].to_numpy()
        assert found[[0, 2]] == pytest.approx(expected[:, column], abs=1e-5)
        assert np.isnan(found[1])
