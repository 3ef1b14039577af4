"""Jobs that route by the words of a trained router alone: no model is probed, and the small one need not have prompt states."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config import loader
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.demo.corpus import rows
from routelmt_ray.engines.artifact import file_digest, load_router
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.source_words import FILE, WordTable
from routelmt_ray.engines.tokenizers import prompt_encoder
from routelmt_ray.runtime.readings import readings
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO, Job
from tests.end_to_end.runs import top_k_of

pytestmark = pytest.mark.usefixtures("without_ray")
ROWS = 60
ECHO = [
    "models.small.engine=echo", "models.large.engine=echo", "input.shard_rows=25", "router.kind=words",
    "input.columns={source_lang: source_lang, target_lang: target_lang}",
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Sentences into two languages, one row without a text and one into a language that the router has not seen."""
    table = pa.Table.from_pylist(rows("test", ROWS, 5)).select(["source", "source_lang", "target_lang"])
    more = pa.table({"source": ["", "A dog sleeps."], "source_lang": ["en", "en"], "target_lang": ["es", "fr"]})
    pq.write_table(pa.concat_tables([table, more]), tmp_path / "in.parquet")
    return f"input.path={tmp_path / 'in.parquet'}"


@pytest.fixture
def router(tmp_path: Path) -> Path:
    """The router of the demo, with a table that reads no prompts, as versions before wrote it."""
    folder = Path(shutil.copytree(DEMO / "router", tmp_path / "router"))
    words = load_router(str(folder)).words
    assert words is not None
    (folder / FILE).write_bytes(WordTable(words.rarity, words.weight, words.languages).to_bytes())
    spec = json.loads((folder / "router.json").read_text()) | {"format": 2}
    spec["words"]["digest"] = file_digest(folder / FILE)
    (folder / "router.json").write_text(json.dumps(spec))
    return folder


def test_a_table_that_reads_prompts_gets_those_of_the_small_model_and_no_others(
    job: Job, path: str, tmp_path: Path
) -> None:
    words = [path, *ECHO, f"router.path={DEMO / 'router'}", "budget.rows=20"]
    small = ["models.small.engine=hf", f"models.small.path={DEMO / 'models' / 'small'}", "models.small.prompt=demo"]
    refused = job.run(*words, check=2).stderr
    assert (
        "its table of words reads the tokens of prompts, and models.small.engine=echo has none; use an engine"
        in refused
    )
    other = [*small[:1], f"models.small.path={DEMO / 'models' / 'large'}", small[2]]
    assert "router.path was trained on" in job.run(*words, *other, check=2).stderr
    job.run(*words, *small, "models.small.device=cpu", "models.small.max_new_tokens=4")
    found = job.output().slice(0, ROWS).to_pylist()
    encoder, family = (
        prompt_encoder(ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo")),
        load_family("demo"),
    )
    asked = [row["source"] for row in found], [row["target_lang"] for row in found]
    prompts = encoder.encode(
        [family.render(text, "English", {"es": "Spanish", "de": "German"}[code]) for text, code in zip(*asked)]
    )
    expected = load_router(str(DEMO / "router")).predict_by_words(*asked, prompts)
    np.testing.assert_allclose([row["predicted_gain"] for row in found], expected, atol=1e-6)
    assert {reading.kind for reading in readings(RunDir(job.run_dir))} == {"small", "large"}


def test_rows_are_routed_by_words_and_nothing_is_probed(job: Job, path: str, router: Path) -> None:
    words = [path, *ECHO, f"router.path={router}"]
    job.run(*words, "budget.rows=20")
    found = job.output().to_pylist()
    trained = load_router(str(router))
    texts, languages = ([row[name] for row in found] for name in ("source", "target_lang"))
    expected = trained.predict_by_words(texts, languages)
    told = [row["predicted_gain"] for row in found]
    assert told[ROWS] is None and found[ROWS]["status"] == "empty_source"
    kept = [i for i in range(ROWS + 2) if i != ROWS]
    np.testing.assert_allclose([told[i] for i in kept], expected[kept], atol=1e-6)
    _, above = top_k_of(told, 20)
    assert above <= {i for i, row in enumerate(found) if row["route"] == "large"}
    report = job.report()
    assert report["router"]["held_out"] == trained.words_alone["held_out"] and report["router"]["unit"] == "gain"
    assert {reading.kind for reading in readings(RunDir(job.run_dir))} == {"small", "large"}

    job.run(*words, "budget.fraction=0.5", "budget.min_gain=0.1")  # in units of gain, so that a bound holds
    spec = json.loads((router / "router.json").read_text())
    spec["words"]["alone"]["calibration"]["gain"]["intercept"] += 0.5
    (router / "router.json").write_text(json.dumps(spec))
    assert "router" in job.run(*words, "budget.rows=10", check=2).stderr, "another router gives other scores"


def test_a_router_without_words_to_use_alone_is_refused_before_anything_is_loaded(
    job: Job, path: str, router: Path, no_cluster: None
) -> None:
    spec = json.loads((router / "router.json").read_text())
    del spec["words"]["alone"]
    (router / "router.json").write_text(json.dumps(spec))
    refused = job.run(path, *ECHO, f"router.path={router}", "budget.rows=2", check=2).stderr
    assert "train it again with words=true, or set router.kind=probe" in refused
    with pytest.raises(ValueError, match="router.path is null; router.kind=words needs the folder"):
        loader.load(TranslateConfig, [], ["run_dir=r", path, *ECHO, "budget.rows=2"])
