"""Scores of a shard: a row the model overflows on is no fault of the model, all of them are; failed batches are counted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.engines import EveryRowFailed, Prompt
from routelmt_ray.stages import score
from routelmt_ray.stages.score import check_numbers
from routelmt_ray.storage.rundir import RunDir
from tests.stages.scored import scored_corpus


def test_a_model_that_overflows_on_every_row_fails_the_shard() -> None:
    bad, good = np.array([np.nan, np.inf], np.float32), np.array([0.1, 0.2], np.float32)
    with pytest.raises(EveryRowFailed, match=r"of all 8 rows are not finite numbers; try another models.small.dtype"):
        check_numbers([bad] * 8 + [None])
    check_numbers([bad] * 7)
    check_numbers([bad] * 8 + [good])
    check_numbers([None] * 9)


class Halving:
    """A probe with too little memory: each call halves three batches."""

    halved = 5  # while it was warmed up

    def probe(self, prompts: Sequence[Prompt]) -> np.ndarray:
        self.halved += 3
        return np.full((len(prompts), 1), 0.25, np.float32)


def test_halved_batches_are_in_the_record_of_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = SimpleNamespace(heads=("gain",), predict=lambda raw, head, words: raw[:, 0])
    monkeypatch.setattr(score, "load_router", lambda _: router)
    monkeypatch.setattr(score, "open_warm_probe", lambda *_: Halving())
    context = replace(scored_corpus(tmp_path)[0].context, run=RunDir(tmp_path / "other"))
    probe, commit = score.Probe(context, RouterConfig(path="here")), score.CommitScores(context)
    for shard in range(2):
        rows = {name: [0, 0] for name in ("predicted_gain", "predicted_quality", "engine_s", "device_s", "halved")}
        columns = {
            "shard": [shard] * 2, "place": [2 * shard, 2 * shard + 1], "prompt": [[1, 2], [3]], "prompt_tokens": [2, 1],
            "source_tokens": [2, 1], "pair": ["en→de"] * 2, "status": ["ok"] * 2, "id_key": pa.nulls(2, pa.uint64()),
        }  # fmt: skip
        commit(probe(pa.table(columns | rows)))
    assert [meta["halved"] for meta in context.run.metas("scores").values()] == [3, 3]
