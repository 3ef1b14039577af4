"""Closed-form ridge against a plain least-squares solver."""

import numpy as np
import pytest

from routelmt_ray.router.ridge import Moments, solve


def brute_force(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The same minimum as an ordinary least-squares problem with rows added for the penalty."""
    n, hidden = x.shape
    strength = np.sqrt(penalty * x.var(0).mean() * n)
    design = np.block([[x, np.ones((n, 1))], [strength * np.eye(hidden), np.zeros((hidden, 1))]])
    solution = np.linalg.lstsq(design, np.concatenate([y, np.zeros((hidden, y.shape[1]))]), rcond=None)[0]
    return solution[:-1].T, solution[-1]


@pytest.mark.parametrize("rows", [12, 400])  # fewer rows than dimensions, and more
def test_weights_and_intercepts_are_those_of_least_squares(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.normal(3, 2, (rows, 20)) * rng.uniform(0.1, 30, 20)
    y = x @ rng.normal(size=(20, 2)) + rng.normal(5, 1, (rows, 2))
    penalties = [1e-4, 0.1, 10.0]
    moments = Moments.empty(20, 2)
    for part in np.array_split(np.arange(rows), 5):  # shards
        moments.add(x[part], y[part])
    weights, intercepts = solve(moments, penalties)
    assert weights.shape == (3, 2, 20)
    assert intercepts.shape == (3, 2)
    for i, penalty in enumerate(penalties):
        expected = brute_force(x, y, penalty)
        np.testing.assert_allclose(weights[i], expected[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(intercepts[i], expected[1], rtol=1e-6, atol=1e-7)


def test_a_penalty_means_the_same_in_every_unit_of_the_states() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 5)), rng.normal(size=(100, 1))
    fits = []
    for unit in (1.0, 1000.0):
        moments = Moments.empty(5, 1)
        moments.add(x * unit, y)
        fits.append(solve(moments, [0.3])[0] * unit)
    np.testing.assert_allclose(fits[0], fits[1])


def test_constant_states_give_the_mean() -> None:
    moments = Moments.empty(3, 1)
    moments.add(np.ones((10, 3)), np.arange(10.0)[:, None])
    weights, intercepts = solve(moments, [1.0])
    assert not weights.any()
    assert intercepts[0, 0] == 4.5
