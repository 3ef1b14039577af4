"""What the books hold back for pieces of work to come."""

from pathlib import Path

import pytest

from routelmt_ray import configlib, metering
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.ledger import Ledger
from routelmt_ray.rundir import RunDir
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.stages.allocate import Tally
from routelmt_ray.stages.rule import Rule
from tests.budget.test_cost import model
from tests.end_to_end.runs import ECHO

SHARDS = 8
OWED = Tally(owed=((40.0, 0.0, 20.0),))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Both models loaded, nothing done."""
    run = RunDir(tmp_path)
    words = [*ECHO, f"run_dir={tmp_path}", "input.path=x", "budget.gpu_hours=1", "router.kind=length"]
    config = configlib.load(TranslateConfig, [], [*words, "budget.objective=gain", "budget.min_gain=null"])
    books = Ledger(config, run, Rule(cost=model()))
    for kind in (SMALL, LARGE):
        meter = metering.Meter(run, kind, 0.0)
        meter.loaded()
        meter.close()
    for stage in ("small/000", "large/000"):
        books.take_up(stage)
    return books


def fixed_s(ledger: Ledger, small: int = SHARDS, large: int = SHARDS) -> float:
    return ledger.position(OWED, False, 0.0, {SMALL: small, LARGE: large}, SHARDS).fixed_s


def work(ledger: Ledger, size: str, piece_s: float, scale: float) -> None:
    for shard in range(SHARDS):
        predicted_s = 0.1 * 2.0**shard
        measured = {"rows": 10 * 2**shard, "predicted_s": predicted_s, "device_s": piece_s + scale * predicted_s}
        ledger.add(f"{size}/000", shard, measured)


def test_half_a_batch_a_shard_is_held_back_before_pieces_say_what_they_cost(ledger: Ledger) -> None:
    half_batches_s = SHARDS * ledger.config.models.small.batch_rows / 2 * 0.2
    assert fixed_s(ledger) == pytest.approx(half_batches_s)


def test_pieces_that_cost_more_are_held_back_instead_and_not_besides(ledger: Ledger) -> None:
    work(ledger, SMALL, 0.0, 2.0)
    half_batches_s = SHARDS * ledger.config.models.small.batch_rows / 2 * 0.2 * 2.0
    assert fixed_s(ledger) == pytest.approx(half_batches_s)
    dear_s = half_batches_s  # of one piece
    again = Ledger(ledger.config, ledger.run, ledger.rule)
    again.take_up("small/000")
    work(again, SMALL, dear_s, 2.0)
    assert fixed_s(again) == pytest.approx(SHARDS * dear_s, abs=0.1)  # milliseconds of loading besides
    assert fixed_s(again, small=0) == pytest.approx(half_batches_s, abs=0.1)


def test_a_second_commit_of_a_shard_counts_once(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.add("small/000", 3, {"rows": 10, "predicted_s": 4.0, "device_s": 6.0})
    assert ledger.shards("small/000") == 1
    assert ledger.owed(OWED) == (36.0, 20.0)
    assert ledger.rate(SMALL).scale == pytest.approx(1.5)
