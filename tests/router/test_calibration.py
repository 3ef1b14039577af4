"""From head outputs to the unit of gain."""

import numpy as np
import pytest

from routelmt_ray.router.calibration import calibrate, held_out_figures, quality_figures


def test_a_linear_relation_is_found_and_failed_rows_are_left_out() -> None:
    raw = np.array([0.0, 1.0, 2.0, 3.0, np.nan], np.float32)
    found = calibrate(raw, np.array([0.1, 0.3, 0.5, 0.7, 9.0], np.float32), "gain")
    assert found["scale"] == pytest.approx(0.2)
    assert found["intercept"] == pytest.approx(0.1)


@pytest.mark.parametrize("label", [[0.4, 0.3, 0.2], [0.3, 0.3, 0.3]])
def test_the_order_is_never_turned_round(label: list[float], caplog: pytest.LogCaptureFixture) -> None:
    found = calibrate(np.array([1.0, 2.0, 3.0], np.float32), np.array(label, np.float32), "gain")
    assert found["scale"] == 1.0
    assert found["intercept"] == pytest.approx(0.3 - 2.0)
    assert "does not rise" in caplog.text


@pytest.mark.parametrize("raw", [[], [np.nan], [0.7, 0.7, np.nan]])
def test_outputs_that_say_nothing_leave_the_scale_and_fit_the_level(raw: list[float]) -> None:
    label = np.array([0.1, 0.3, 0.9][: len(raw)], np.float32)
    level = pytest.approx(0.2 - 0.7) if len(raw) == 3 else 0.0
    assert calibrate(np.array(raw, np.float32), label, "gain") == {"scale": 1.0, "intercept": level}


def test_a_scale_far_from_one_and_a_spread_below_one_are_found() -> None:
    raw = np.array([0.001, 0.002, 0.004, 0.008], np.float32)
    assert calibrate(raw, 50 * raw + 3, "gain") == {"scale": pytest.approx(50), "intercept": pytest.approx(3)}


def test_held_out_figures_of_a_perfect_and_a_constant_prediction() -> None:
    gain = np.array([-0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], np.float32)
    perfect = held_out_figures(gain.copy(), gain)
    assert (perfect["spearman"], perfect["normalized_area"], perfect["hit_rate_0.3"]) == (1, 1, 1)
    assert perfect["mean_delta_0.3"] == pytest.approx(60)  # mean of .5, .6 and .7
    assert perfect["gain"]["negative"] == 0.2
    assert perfect["rmse"] == 0
    assert held_out_figures(gain + np.float32(0.1234567), gain)["rmse"] == 0.1235
    constant = held_out_figures(np.zeros(10, np.float32), gain)
    assert constant["spearman"] is None  # not a number has no place in JSON
    assert constant["hit_rate_0.3"] == pytest.approx(0.3)


def test_figures_of_another_head_are_of_the_rows_it_could_score() -> None:
    predicted = np.array([0.1, 0.2, np.nan, 0.4], np.float32)
    label = np.array([0.2, 0.1, 0.9, 0.8], np.float32)
    # Errors -.1, .1 and -.4; ranks 1, 2, 3 against 2, 1, 3.
    assert quality_figures(predicted, label) == {"spearman": 0.5, "rmse": pytest.approx(np.sqrt(0.06), abs=1e-4)}
