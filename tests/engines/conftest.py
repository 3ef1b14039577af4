"""Prompts of the embedded corpus for the embedded small model."""

import pyarrow as pa
import pytest

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import prompt_encoder
from tests.conftest import DEMO

SMALL = ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", batch_rows=32)


@pytest.fixture(scope="package")
def prompts(demo_corpus: pa.Table) -> list[Prompt]:
    family, rows = load_family("demo"), demo_corpus.slice(0, 48).to_pylist()
    contents = [family.render(r["source"], *map(str, family.names(r["source_lang"], r["target_lang"]))) for r in rows]
    return [Prompt(ids, 60, row["source"]) for ids, row in zip(prompt_encoder(SMALL).encode(contents), rows)]
