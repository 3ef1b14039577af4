"""Rivals at their best: scores calibrated to gain, and the orders they give where rows cost unequally."""

from typing import Any

import numpy as np
import pytest

from routelmt_ray.evaluation.axes import Seconds, build_axes, measured_seconds
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.rival_gains import ISOTONIC, WITH_LENGTH, calibrate_to_gain
from routelmt_ray.evaluation.scorers import CONSTANT, GAIN, LENGTH, RANDOM, RANK, Parts, Scored, Unavailable
from routelmt_ray.evaluation.suite import run_scorers
from routelmt_ray.evaluation.text_ridge import TextRidge
from tests.evaluation import reference_measures as measures
from tests.evaluation.test_scorers import Fixed, alone, labelled

RNG = np.random.default_rng(0)


def documents(n: int) -> list[str]:
    return [f"d{i // 2}" for i in range(n)]


def test_a_straight_relation_gives_a_line_and_rows_without_a_score_are_left_out():
    score, length = RNG.uniform(10, 90, 400), RNG.uniform(1, 9, 400)
    gain = 0.01 * score - 0.2 + RNG.normal(0, 0.05, 400)
    score[:3], gain[:3] = np.nan, 99
    worth = calibrate_to_gain(score, length, gain, documents(400))
    assert worth.kind != ISOTONIC
    assert worth.predict(np.array([20.0, 50.0]), np.array([2.0, 7.0])) == pytest.approx([0.0, 0.3], abs=0.02)


def test_a_threshold_gives_steps():
    score, length = RNG.uniform(0, 1, 600), RNG.uniform(1, 9, 600)
    gain = np.where(score > 0.9, 0.5, 0.0) + RNG.normal(0, 0.05, 600)
    worth = calibrate_to_gain(score, length, gain, documents(600))
    assert worth.kind == ISOTONIC
    assert worth.predict(np.array([-5.0, 0.5, 0.95, 7.0]), length[:4]) == pytest.approx([0, 0, 0.5, 0.5], abs=0.06)


def test_what_the_length_says_beside_the_score_is_known():
    length = RNG.uniform(10, 90, 600)
    score = RNG.normal(0, 1, 600) - 0.05 * length  # what is long has a low score, and yet gains more
    gain = 0.1 * score + 0.01 * length + RNG.normal(0, 0.05, 600)
    worth = calibrate_to_gain(score, length, gain, documents(600))
    assert worth.kind == WITH_LENGTH
    x, size = np.array([0.0, 1.0, -3.0]), np.array([20.0, 20.0, 80.0])
    assert worth.predict(x, size) == pytest.approx(0.1 * x + 0.01 * size, abs=0.03)
    falls = calibrate_to_gain(-score, length, gain, documents(600))
    assert np.diff(falls.predict(np.array([-1.0, 1.0]), np.array([50.0, 50.0]))) == pytest.approx([0])
    itself = calibrate_to_gain(length, length, 0.01 * length, documents(600))
    assert itself.predict(size, size) == pytest.approx(0.01 * size)


@pytest.mark.parametrize("few", [1, 2, 300])
def test_a_score_that_falls_with_the_gain_is_worth_the_same_in_every_row(few: int):
    score = RNG.normal(size=few)
    gain, same = 0.3 - 0.1 * score, np.full(few, 7.0)
    predicted = calibrate_to_gain(score, same, gain, documents(few)).predict(np.array([-9.0, 0.0, 9.0]), same[:1])
    assert predicted == pytest.approx([gain.mean()] * 3)


def rows_that_cost(n: int = 400, seed: int = 1) -> Labelled:
    """Sentences of one to forty words whose gain does not go by their length, and costs that do."""
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 41, n)
    sources = ["word " * int(k) + str(i) for i, k in enumerate(words)]
    numbers = {"small_s": np.full(n, 0.01), "large_s": 0.01 + 0.002 * words, "source_tokens": words.astype(float)}
    return labelled(sources, rng.normal(0.1, 0.15, n), numbers=numbers)


def areas(parts: Parts, scorers: list[Any]) -> dict[str, dict[str, float]]:
    """Normalised area by scorer and axis."""
    scored, _, _ = run_scorers(scorers, parts)
    axes = build_axes(parts, scored, measured_seconds(parts, []))
    ones, gain = np.ones(len(parts.rows)), parts.rows.gain
    return {
        s.name: {
            name: measures.normalized_area(axis.orders[s.name].priority, gain, axis.oracle.cost, predicted_cost=ones)
            for name, axis in axes.items()
        }
        for s in scored
    }


def test_length_is_no_worse_than_the_cheapest_rows_first():
    rows = rows_that_cost()
    found = areas(Parts(rows, None, None, rows_that_cost(300, seed=2)), [LENGTH, CONSTANT, RANDOM])
    length = np.array([len(s) for s in rows.sources], float)
    for axis in ("characters", "seconds"):
        assert found["constant"][axis] > 0.2
        # Longest first, which nobody would do where long rows cost more, is far below 0.
        assert found["length"][axis] > found["constant"][axis] - 0.05
        assert found["random"][axis] == pytest.approx(0)
    assert measures.normalized_area(length, rows.gain, length, predicted_cost=np.ones(len(rows))) < -0.2
    assert found["constant"]["characters"] == pytest.approx(
        measures.normalized_area(np.ones(len(rows)), rows.gain, length)
    )
    assert found["constant"]["calls"] == pytest.approx(0)
    assert found["length"]["calls"] == pytest.approx(measures.normalized_area(length, rows.gain))


def test_scores_are_calibrated_on_their_own_part_where_there_is_one():
    rows, own = labelled(["a"] * 60, np.full(60, 9.0)), labelled(["a"] * 80, np.linspace(0, 1, 80))
    score = [0.5] * 60 + np.linspace(0, 10, 80).tolist()
    (one,), _, _ = run_scorers([Fixed(score)], Parts(rows, None, None, own))
    assert len(one.score) == 60 and one.gain is not None
    assert one.gain == pytest.approx(np.full(60, 0.05), abs=0.02)  # nothing of the measured gains
    assert one.calibrated.endswith("on the calibration part")
    (one,), _, _ = run_scorers([Fixed(score[:60])], alone(rows))
    assert one.gain == pytest.approx(np.full(60, 9.0)) and one.calibrated.endswith("on the measured rows themselves")


def test_gains_are_left_as_they_are():
    class Both:
        titles = {"gain": "Gain", "rank": "Rank"}  # noqa: RUF012

        def __call__(self, parts: Parts) -> list[Scored]:
            score = np.linspace(0, 1, len(parts.rows), dtype=np.float32)
            quality = np.arange(len(score), dtype=np.float32)
            return [Scored("gain", "Gain", score, GAIN, quality=quality), Scored("rank", "Rank", score, RANK)]

    rows = labelled([f"{i}" for i in range(90)], np.linspace(0, 2, 90))
    (gain, rank), _, _ = run_scorers([Both()], Parts(rows, None, None, rows))
    assert gain.gain is None and rank.gain is not None
    assert len(gain.score) == len(rank.score) == 90 and gain.quality is not None and len(gain.quality) == 90


def test_two_sets_one_after_the_other():
    mine = labelled(["a"], [0.5], numbers={"x": np.array([1.0])}, quality_small=np.array([0.3]), texts={"t": ["u"]})
    both = mine.plus(labelled(["b", "c"], [0.1, 0.2], numbers={"y": np.array([5.0, 6.0])}, domains=["p", "q"]))
    assert both.sources == ["a", "b", "c"] and both.gain.tolist() == [0.5, 0.1, 0.2]
    assert both.numbers["x"].tolist()[0] == 1 and np.isnan(both.numbers["x"][1:]).all() and set(both.numbers) == {"x"}
    assert both.texts == {"t": ["u", None, None]} and both.domains is None
    assert both.quality_small is not None and np.isnan(both.quality_small).tolist() == [False, True, True]
    assert both.take(np.array([2])).sources == ["c"]


def test_the_text_ridge_learns_what_words_and_pairs_say():
    rng = np.random.default_rng(0)
    sources = [" ".join(rng.choice(["house", "river", "casa", "das", "Brot"], rng.integers(2, 9))) for _ in range(500)]
    pair = [str(p) for p in rng.choice(["de", "fr"], 500)]
    gain = np.array([0.3 * ("house" in s.split()) + 0.2 * (p == "fr") for s, p in zip(sources, pair)])
    rows = labelled(sources, gain + rng.normal(0, 0.1, 500), target_langs=pair)
    rest, fit, stop = (rows.take(np.arange(a, b)) for a, b in ((350, 500), (0, 280), (280, 350)))
    (one,) = TextRidge()(Parts(rest, fit, stop))
    assert one.unit == GAIN and 0 < one.seconds < 0.1
    assert np.corrcoef(one.score, gain[350:])[0, 1] > 0.9
    assert np.mean((one.score - gain[350:]) ** 2) < 0.2 * gain.var()
    again = TextRidge()(Parts(rest, fit, stop))[0]
    assert (again.score == one.score).all()
    odd = labelled(["猫", "…", "x" * 5000], target_lang="nowhere")  # nothing of it was seen
    assert np.isfinite(TextRidge()(Parts(odd, fit, stop))[0].score).all()
    with pytest.raises(Unavailable, match="fit"):
        TextRidge()(alone(rest))


def test_rows_are_ordered_by_the_cost_that_is_known_beforehand_and_charged_what_they_took():
    rows = labelled(["a", "bb"], gain=np.array([0.2, 0.3]))
    took, expected = np.array([1.0, 10.0]), np.array([2.0, 1.0])
    score = np.array([0.2, 0.3], np.float32)
    scored = [
        Scored("mine", "Mine", score, GAIN),
        Scored("rank", "Rank", score, RANK, gain=np.array([0.4, 0.1])),
        Scored("gain_oracle", "Oracle", score, GAIN),
    ]
    orders = build_axes(alone(rows), scored, Seconds(np.ones(2), took, expected, {}))["seconds"].orders
    assert orders["mine"].priority == pytest.approx([0.1, 0.3])
    assert orders["rank"].priority == pytest.approx([0.2, 0.1])
    assert orders["gain_oracle"].priority == pytest.approx([0.2, 0.03]), "the oracle knows the cost as well"
    assert all(order.cost.tolist() == took.tolist() for order in orders.values())
