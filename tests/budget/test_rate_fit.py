"""What a piece costs is told from its scale only where the pieces tell it; else work to come is never made to look free."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.budget.rate_fit import empty_share, fit_pieces, similar_size


def test_pieces_of_one_size_say_nothing_of_what_a_piece_costs() -> None:
    # Twelve real pieces of about 31 rows, whose own regression line has a slope of 0.17; 310 rows then took 0.93 of the profile.
    predicted = np.array([0.64, 0.55, 0.68, 0.47, 0.68, 0.62, 0.41, 0.54, 0.55, 0.58, 0.39, 0.31])
    measured = np.array([0.56, 0.64, 0.67, 0.57, 0.60, 0.56, 0.40, 0.68, 0.69, 0.62, 1.07, 0.40])
    piece_s, scale = fit_pieces(predicted, measured)
    assert piece_s == 0 and scale == measured.sum() / predicted.sum()


def test_pieces_of_many_sizes_tell_both() -> None:
    predicted = np.geomspace(0.1, 20, 40)
    piece_s, scale = fit_pieces(predicted, 0.4 + 1.7 * predicted)
    assert abs(piece_s - 0.4) < 1e-6 and abs(scale - 1.7) < 1e-6


def test_few_or_no_pieces() -> None:
    assert fit_pieces(np.array([0.0]), np.array([0.0])) == (0.0, 0.0)
    assert fit_pieces(np.array([1.0, 100.0]), np.array([3.0, 199.0])) == (0.0, 2.0)
    assert fit_pieces(np.array([0.25, 0.25]), np.array([0.5, 0.5])) == (0.0, 2.0)


def test_pieces_of_just_the_least_range_tell_both() -> None:
    predicted = np.repeat([1.0, 3.0], 10)
    piece_s, scale = fit_pieces(predicted, 0.4 + 1.7 * predicted)
    assert abs(piece_s - 0.4) < 1e-6 and abs(scale - 1.7) < 1e-6
    assert fit_pieces(0.99 * predicted + 0.01, predicted)[0] == 0


def test_the_error_that_counts_is_a_share_of_the_scale() -> None:
    predicted = np.geomspace(0.1, 20, 40)
    measured = (4 + 17 * predicted) * np.where(np.arange(40) % 2, 1.1, 0.9)
    piece_s, scale = fit_pieces(predicted, measured)
    assert abs(piece_s - 4) < 1 and abs(scale - 17) < 1
    assert fit_pieces(predicted, measured / 100) == pytest.approx((piece_s / 100, scale / 100))


@given(
    st.integers(6, 60), st.floats(1.0, 30.0), st.floats(0.0, 1.0), st.floats(0.3, 3.0), st.floats(0, 0.4),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_work_to_come_is_never_made_to_look_much_cheaper_than_it_is(
    pieces: int, spread: float, piece_s: float, scale: float, noise: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    predicted = np.exp(rng.uniform(0, np.log(spread), pieces))
    measured = (piece_s + scale * predicted) * rng.lognormal(0, noise, pieces)
    found_piece_s, found_scale = fit_pieces(predicted, measured)
    assert np.isclose(found_piece_s * pieces + found_scale * predicted.sum(), measured.sum())
    larger = 10 * predicted.max()
    actual = piece_s + scale * larger
    assert found_piece_s + found_scale * larger > 0.5 * actual


def test_five_pieces_are_too_few_and_six_are_enough() -> None:
    predicted = np.geomspace(1.0, 32.0, 6)
    assert fit_pieces(predicted[:5], 2.0 + predicted[:5])[0] == 0.0
    piece_s, scale = fit_pieces(predicted, 2.0 + predicted)
    assert np.isclose(piece_s, 2.0) and np.isclose(scale, 1.0)


def test_pieces_that_cost_less_than_nothing_besides_or_are_all_noise_say_nothing() -> None:
    predicted = np.geomspace(1.0, 32.0, 6)
    for measured in (2.0 * predicted - 0.5, 40.0 - predicted, np.array([9.0, 1.0, 30.0, 2.0, 50.0, 20.0])):
        assert fit_pieces(predicted, measured) == (0.0, measured.sum() / predicted.sum())


def test_only_pieces_of_like_size_are_gone_by_where_there_are_three_of_them() -> None:
    predicted = np.array([1.0, 1.0, 1.0, 9.0, 11.0, 30.0])
    assert similar_size(predicted, 20.0)[0].tolist() == [True] * 6, "one is not enough"
    assert similar_size(predicted, 20.0)[1]
    chosen, alike = similar_size(predicted, 18.0)
    assert chosen.tolist() == [False] * 3 + [True] * 3 and alike
    assert similar_size(predicted, 61.0)[1] is False
    assert similar_size(predicted, 0.0)[0].all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_empty_places_cost_is_bounded_from_above_and_closely_where_pieces_differ(share: float) -> None:
    bounds = []
    for seed in range(50):
        draw = np.random.default_rng(seed)
        rows = draw.integers(1, 200, 12).astype(float)
        predicted = 0.04 * rows
        empty = predicted / rows * (-rows % 64)
        measured = draw.uniform(0.6, 1.8) * (predicted + share * empty) * draw.uniform(0.95, 1.05, 12)
        bounds.append(empty_share(rows, predicted, measured, 64, 0.5))
    assert min(bounds) >= share - 1e-9 and np.median(bounds) <= share + 0.3


def test_empty_places_cost_as_much_as_rows_until_three_pieces_are_done_that_tell() -> None:
    rows = np.array([10.0, 100.0, 30.0])
    assert empty_share(rows[:2], rows, rows, 64, 0.5) == 1.0
    assert empty_share(rows, rows, rows, 64, 0.5) < 0.2
    alike = np.full(8, 40.0)
    assert empty_share(alike, alike, alike, 64, 0.5) == 1.0, "one size fits any share"
    assert empty_share(alike / 20, alike / 20, alike / 20, 64, 0.5) < 0.1, "the scale would be less than it can be"
