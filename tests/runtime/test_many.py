"""What grows with plan entries, shards, actors and strata: names in the order of numbers, and nothing read or kept twice."""

import os
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import Decision, Rule
from routelmt_ray.config.common import InputConfig, ModelsConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.plan import allocate, plan
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.runtime import metering
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.readings import ENDED, IDLE, LOADING, MeterReading
from routelmt_ray.stages import score
from routelmt_ray.storage.files import by_number
from routelmt_ray.storage.rundir import RunDir

LONG_AGO = 1_700_000_000.0


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    names = ["plan/009.json", "plan/999.json", "plan/1000.json", "small/999", "small/1000", "small/1000-fallback"]
    for name in names[:3]:
        storage.write_json(run.root / name, {"entry": int(Path(name).stem)})
    for name in names[3:]:
        storage.write_text(run.root / name / "shard-999999.parquet", "")
        storage.write_text(run.root / name / "shard-1000000.parquet", "")
    assert [entry["entry"] for entry in run.plans()] == [9, 999, 1000]
    assert plan.earlier_stages(run, "small") == ("small/999", "small/1000", "small/1000-fallback")
    assert storage.list_tree(run.root / "small/999") == ["shard-999999.parquet", "shard-1000000.parquet"]
    assert sorted(["b1a", "b01a", "b-", "10", "9", ""], key=by_number) == ["", "9", "10", "b01a", "b1a", "b-"]


def reading(state: str, updated: str = "2026-01-01T00:00:00.000+00:00", device_s: float = 1.0) -> MeterReading:
    started = "2026-01-01T00:00:00.000+00:00"
    return MeterReading("small", "cpu_s", "here", 1, 0.0, started, updated, device_s, 0.5, 0.5, 2.0, 0, state)


def write(run: RunDir, name: str, value: MeterReading) -> None:
    storage.write_json(run.root / meter_readings.FOLDER / f"{name}.json", asdict(value))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Files that were read, by name."""
    found: Counter[str] = Counter()
    read_json = storage.read_json

    def counted(path: storage.Location) -> object:
        found[path.name] += 1
        return read_json(path)

    monkeypatch.setattr(storage, "read_json", counted)
    return found


def test_only_meters_that_changed_are_read_again(tmp_path: Path, reads: Counter[str]) -> None:
    run = RunDir(tmp_path)
    for name in ("a", "b", "c"):
        write(run, name, reading(IDLE))
        os.utime(run.root / meter_readings.FOLDER / f"{name}.json", (LONG_AGO, LONG_AGO))
    assert len(meter_readings.readings(run)) == 3
    write(run, "b", reading(IDLE, device_s=5.0))
    assert sum(r.device_s for r in meter_readings.readings(run)) == 7.0
    assert reads == {"a.json": 1, "b.json": 2, "c.json": 1}
    write(run, "b", reading(IDLE, device_s=6.0))  # of the same size, and within a tick of a coarse clock
    assert sum(r.device_s for r in meter_readings.readings(run)) == 8.0
    (run.root / meter_readings.FOLDER / "a.json").unlink()
    assert sum(r.device_s for r in meter_readings.readings(run)) == 7.0


def test_meters_that_ended_become_one_file_and_count_once_wherever_that_is_interrupted(
    tmp_path: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path)
    for i in range(100):
        write(run, f"actor-{i}", reading(ENDED if i % 2 else LOADING))
    write(run, "lives", reading(IDLE, metering._utc_now()))
    before = sorted(map(repr, meter_readings.readings(run)))
    now = time.time()

    def interrupted(path: storage.Location) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            meter_readings.fold(run, now)
    assert sorted(map(repr, meter_readings.readings(RunDir(tmp_path)))) == before
    assert meter_readings.fold(RunDir(tmp_path), now) == 100
    assert storage.list_names(run.root / meter_readings.FOLDER) == ["ended.json", "lives.json"]
    assert sorted(map(repr, meter_readings.readings(run))) == before
    reads.clear()
    assert meter_readings.total_s(RunDir(tmp_path)) == pytest.approx(101 + 50 * 2.0)
    assert sum(reads.values()) == 2
    write(run, "actor-0", replace(reading(IDLE, metering._utc_now()), device_s=9.0))  # it only seemed dead
    assert sum(r.device_s for r in meter_readings.readings(run)) == pytest.approx(101 + 8)
    assert meter_readings.fold(run, now) == 0, "few are left as they are"


def scored(tmp_path: Path, strata: list[str]) -> ScoredCorpus:
    n = len(strata)
    pq.write_table(pa.table({"kind": strata}), tmp_path / "corpus.parquet")
    columns = {
        "place": np.arange(n),
        "predicted_gain": np.arange(n, dtype=np.float32) / n,
        "predicted_quality": np.zeros(n, np.float32),
        "prompt_tokens": np.ones(n, np.int32),
        "source_tokens": np.ones(n, np.int32),
        "pair": ["en→de"] * n,
        "status": ["ok"] * n,
        "id_key": pa.nulls(n, pa.uint64()),
    }
    run, corpus = RunDir(tmp_path / "run"), ShardPlan([str(tmp_path / "corpus.parquet")], [n], n // 2)
    for shard in (corpus[i] for i in range(len(corpus))):
        part = pa.table(columns).slice(shard.first_place, shard.rows).cast(score.COLUMNS)
        run.commit(score.STAGE, shard.index, part, {})
    context = RunContext(run, pa.schema([("kind", pa.string())]), InputConfig(path="x"), ModelsConfig(), "", 3)
    return ScoredCorpus(context, corpus)


def test_strata_that_nobody_names_are_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = scored(tmp_path, ["rare"] * 10 + [f"row {i}" for i in range(1_990)])
    rule, most = Rule(stratified=True, strata_column="kind"), 0
    few = allocate._eligible

    def watched(*words: object) -> Counter[str]:
        nonlocal most
        found = few(*words)  # type: ignore[arg-type]
        most = max(most, len(found))
        return found

    monkeypatch.setattr(allocate, "_eligible", watched)
    cuts = corpus.find_strata(rule, {"rare": 0.5}, {})
    assert cuts.floors["rare"].k == 5
    assert most <= allocate._OTHERS + 1
    with pytest.raises(
        ValueError, match=r"the stratum 'rar', which no row has; there are 100 others or more, such as rare,"
    ):
        corpus.find_strata(rule, {}, {"rar": 0.5})
    assert corpus.find_cut(rule, Search(k=3, seed=3), (1.0, 1.0)).cut.k == 3


def test_the_scores_of_a_small_corpus_are_read_once_for_all_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, read, read_table = scored(tmp_path, ["a"] * 2_000), Counter[str](), storage.read_table

    def counted(path: storage.Location, *words: Any, **more: Any) -> pa.Table:
        read[path.name] += 1
        return read_table(path, *words, **more)

    def tallies(rule: Rule) -> list[tuple[int, float]]:
        cuts = [corpus.find_cut(rule, Search(k=k, seed=3)) for k in (10, 700, 1_500)]
        return [(sums.routed, sums.gain) for sums in (corpus.tally(rule.then(Decision(cut))) for cut in cuts)]

    monkeypatch.setattr(storage, "read_table", counted)
    found = tallies(Rule())
    assert [routed for routed, _ in found] == [10, 700, 1_500]
    assert read == {"shard-000000.parquet": 2, "shard-000001.parquet": 2}, "the gains, and the statuses"
    other = tallies(Rule(min_gain=0.5))
    assert [routed for routed, _ in other] == [10, 700, 999] and set(read.values()) == {4}, "under another rule again"
    monkeypatch.setattr(allocate, "_KEPT_ROWS", 0)
    assert (tallies(Rule()), tallies(Rule(min_gain=0.5))) == (found, other) and min(read.values()) > 20
