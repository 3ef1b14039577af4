"""A budget in hours on toy corpora, on devices of several kinds: it is never exceeded, and at least 85 % of it is used.

A row may cost the same in any batch, as on a CPU; a batch may cost the same with any number of rows, as on a GPU; or
something between. Both models stay loaded. Loads are as dear beside the rows as those of the embedded pair.
"""

from dataclasses import replace

import numpy as np
import pytest

from tests.budget.simulated_machine import Truth
from tests.budget.simulation import simulate

PER_ROW, BETWEEN, PER_BATCH = 0.0, 0.5, 1.0
"""Cost of an empty place of a batch, as a share of a row."""
SHARD_ROWS = 1250
SEEDS = 3


def toy(seed: int, rows: int, batch_rows: int, unfilled: float) -> Truth:
    """A corpus of the demo, with a profile that is wrong by up to two either way."""
    draw = np.random.default_rng(seed)
    return Truth(
        rows=rows, shards=-(-rows // SHARD_ROWS), actors=(1, 1), batch_rows=(batch_rows, batch_rows), gpus=0.0,
        together=True, row_s=(0.0045, 0.045), wrong=(float(2 ** draw.uniform(-1, 1)), float(2 ** draw.uniform(-1, 1))),
        load_s=(3.0, 4.0), load_error=0.05, unfilled=unfilled, drift=0.05, share=draw.uniform(0.2, 0.7), seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("unfilled", [PER_ROW, BETWEEN, PER_BATCH])
@pytest.mark.parametrize(
    ("rows", "batch_rows", "least"), [(500, 32, 0.84), (1000, 32, 0.88), (2500, 32, 0.92), (2500, 128, 0.0)]
)
def test_a_toy_corpus_uses_its_budget(
    monkeypatch: pytest.MonkeyPatch, rows: int, batch_rows: int, unfilled: float, least: float
) -> None:
    outcomes = [simulate(toy(seed, rows, batch_rows, unfilled), monkeypatch) for seed in range(SEEDS)]
    ran = [outcome for outcome in outcomes if not outcome.refused]
    used = [outcome.used for outcome in ran if outcome.rows_left]
    over_s = max(outcome.spent_s - outcome.budget_s for outcome in ran)
    print(f"worst overshoot {max(0.0, over_s):.3f} s; used {np.round(used, 3)}")
    assert over_s <= 0
    # Batches of 128 are a tenth of a shard here: where each costs the same with any number of rows, what is left may buy none.
    assert min(used) >= (least or (0.9 if unfilled == PER_ROW else 0.7))


@pytest.mark.parametrize("unfilled", [PER_ROW, BETWEEN, PER_BATCH])
@pytest.mark.parametrize(
    "when", [0.4, 1.2, 2.0, 2.8, *(pytest.param(when, marks=pytest.mark.slow) for when in (0.8, 1.6, 2.4))]
)
def test_deaths_never_exceed_it_nor_when_the_reserve_is_being_spent(
    monkeypatch: pytest.MonkeyPatch, unfilled: float, when: float
) -> None:
    for seed, rows in enumerate((500, 1000, 2500)):
        truth = toy(seed, rows, 32, unfilled)
        for struck in (replace(truth, deaths=(when,)), replace(truth, kill=when)):
            outcome = simulate(struck, monkeypatch)
            assert outcome.refused or outcome.spent_s <= outcome.budget_s, (struck, outcome)


def test_an_engine_that_dies_over_rows_that_are_taken_back_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = toy(1, 2500, 32, PER_ROW)
    loads = [simulate(replace(truth, deaths=(piece / 6,)), monkeypatch).loads for piece in range(5, 24)]
    plain = simulate(truth, monkeypatch)
    assert plain.loads == (1, 1)
    again = [sum(each) - 2 for each in loads]
    last = max(number for number, more in enumerate(again) if more)
    assert again[0] == 1 and not any(again[last + 1 :]) and 0 < last < 18, "deaths over tranches load an engine again"
