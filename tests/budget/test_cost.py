"""Costs are recovered from what was measured, and a cost file that is not one is refused."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget.cost import CostModel, ProbeCost, TranslatorCost
from routelmt_ray.budget.cost_fit import MIN_ROW_S, Measured, fit_probe, fit_translator, nonnegative_least_squares
from tests.conftest import ROOT

PAIRS = ("en→de", "en→fr")
TRUE = TranslatorCost("cpu_s", 3.0, 2e-3, 1e-4, 5e-3, 1.5, 1.0, {"*": 1.2, "en→de": 1.2, "en→fr": 1.2}, None)


def measured(
    groups: int = 6, rows: int = 32, noise: float = 0.0, ratios: tuple[float, float] = (1.2, 1.2), probe: bool = False
) -> Measured:
    """Runs of a model that costs exactly `TRUE`, over groups of growing length; long sources have long answers."""
    rng = np.random.default_rng(groups)
    group = np.repeat(np.arange(groups), rows)
    source = np.sort(rng.integers(3, 60, groups * rows))
    codes = rng.integers(0, 2, groups * rows)
    small_prompt = 20 + source
    prompt = 1.5 * small_prompt
    output = np.zeros(len(source)) if probe else 1 + np.asarray(ratios)[codes] * source
    run_group = np.tile(np.arange(groups), 4)
    whole = np.repeat([True, False, True, False], groups)
    sums = [np.bincount(group, values) for values in (np.ones(len(group)), prompt, output)]
    tokens = np.where(whole, sums[2][run_group], 0 if probe else rows)
    seconds = 2e-3 * rows + 1e-4 * sums[1][run_group] + 5e-3 * tokens
    seconds = seconds * np.exp(noise * rng.standard_normal(len(seconds)))
    return Measured(PAIRS, group, codes, source, small_prompt, prompt, output, run_group, whole, seconds)


def model(**changes: Any) -> CostModel:
    means = {"probe": 0.1, "small": 0.2, "large": 0.3}
    probe = ProbeCost("cpu_s", 1.0, 0.5, 0.25, 0.1)
    whole = CostModel("a machine", 256, probe, TRUE, replace(TRUE, row_s=1.0), means, {"router": "probe"}, {"ray": "2"})
    return replace(whole, **changes)


@st.composite
def systems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small systems, collinear ones and empty columns among them."""
    columns = draw(st.integers(1, 3))
    rows = draw(st.integers(1, 6))
    values = st.integers(-4, 4).map(float)
    features = np.array(
        draw(st.lists(st.lists(values, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    )
    return features, np.array(draw(st.lists(values, min_size=rows, max_size=rows)))


@settings(deadline=None)
@given(systems())
def test_least_squares_meets_the_conditions_of_an_optimum(system: tuple[np.ndarray, np.ndarray]) -> None:
    # Karush, Kuhn and Tucker: x >= 0; no entry can grow, and none above 0 can shrink, to any good. The problem is convex.
    features, targets = system
    x = nonnegative_least_squares(features, targets)
    slope = features.T @ (features @ x - targets)
    assert (x >= 0).all()
    assert (slope >= -1e-6).all()
    assert np.abs(slope * x).max() <= 1e-6


def test_exact_measurements_give_the_exact_costs() -> None:
    cost = fit_translator(measured(), "cpu_s", 3.0)
    assert cost.relative_error == pytest.approx(0, abs=1e-9)
    assert cost.output_ratio == pytest.approx(TRUE.output_ratio)
    for name in ("load_s", "row_s", "prefill_token_s", "output_token_s", "prompt_ratio", "output_row_tokens"):
        assert getattr(cost, name) == pytest.approx(getattr(TRUE, name)), name


def test_a_probe_has_no_decoding() -> None:
    cost = fit_probe(measured(probe=True), "gpu_s", 2.0)
    assert (cost.unit, cost.load_s) == ("gpu_s", 2.0)
    assert (cost.row_s, cost.prefill_token_s) == (pytest.approx(2e-3), pytest.approx(1e-4))


def test_prefill_and_decoding_are_told_apart_only_because_of_runs_of_one_token() -> None:
    both = measured()
    cost = fit_translator(both, "cpu_s", 0.0)
    assert (cost.prefill_token_s, cost.output_token_s) == (pytest.approx(1e-4), pytest.approx(5e-3))
    # Output is a straight line of the prompt here: whole runs alone cannot say which of the two costs what.
    alone = fit_translator(both.only(both.group >= 0, both.run_whole), "cpu_s", 0.0)
    assert alone.prefill_token_s != pytest.approx(1e-4, rel=0.2)
    assert alone.relative_error == pytest.approx(0, abs=1e-4), "yet it predicts rows of the same kind"


def test_the_error_is_that_of_groups_left_out() -> None:
    exact, noisy = (fit_translator(measured(12, noise=noise), "cpu_s", 0.0) for noise in (0.0, 0.1))
    assert exact.relative_error is not None and noisy.relative_error is not None
    # Each of 12 groups is the mean of two runs, each off by 10 %: 1.96 · 0.1 / √2 / √12 is 4 %.
    assert 0.02 < noisy.relative_error < 0.12
    assert noisy.output_token_s == pytest.approx(5e-3, rel=0.15)


@pytest.mark.parametrize("unit_s", [1.0, 1e-2])
def test_a_fit_to_noise_meets_the_measured_total_on_a_fast_machine_too(unit_s: float) -> None:
    whole = measured(12)
    data = whole.only(np.arange(12 * 32) % 32 < 4 + 2 * whole.group, whole.run_group >= 0)  # groups of 4 to 26 rows
    rows, prompt, output = (
        np.bincount(data.group, values)[data.run_group] for values in (None, data.prompt_tokens, data.output_tokens)
    )
    tokens = np.where(data.run_whole, output, rows)
    noise = np.exp(0.4 * np.random.default_rng(1).standard_normal(len(rows)))
    data = replace(data, run_device_s=unit_s * noise * (2e-2 * rows + 1e-4 * prompt + 5e-3 * tokens))
    cost = fit_translator(data, "cpu_s", 0.0)
    predicted_s = cost.row_s * rows + cost.prefill_token_s * prompt + cost.output_token_s * tokens
    assert predicted_s.sum() == pytest.approx(data.run_device_s.sum(), rel=1e-4)
    assert np.abs(predicted_s / data.run_device_s - 1).max() > 0.2, "it is noise"


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_few_groups_still_give_costs(groups: int) -> None:
    data = measured(groups)
    cost = fit_translator(data, "cpu_s", 0.0)
    assert (cost.relative_error is None) == (groups < 3)
    outputs = cost.output_tokens(data.source_tokens, data.pair_codes, data.pairs)
    total = cost.row_seconds(data.small_prompt_tokens, outputs).sum()
    assert total == pytest.approx(data.run_device_s[:groups].sum(), rel=2e-5)  # processors differ in it


def test_rows_of_one_length_are_no_harm() -> None:
    data = measured()
    flat = replace(
        data,
        source_tokens=np.full(192, 10),
        small_prompt_tokens=np.full(192, 30),
        prompt_tokens=np.full(192, 45),
        output_tokens=np.full(192, 13),
        run_device_s=np.where(data.run_whole, 3.2, 0.32),
    )
    cost = fit_translator(flat, "cpu_s", 0.0)
    assert cost.row_seconds([30], cost.output_tokens([10], [0], PAIRS))[0] == pytest.approx(0.1)
    assert cost.relative_error == pytest.approx(0, abs=2e-5)


def test_an_engine_too_fast_to_measure_is_not_free() -> None:
    data = measured()
    none = np.zeros(192)
    echo = replace(
        data, prompt_tokens=none, small_prompt_tokens=none, output_tokens=none, run_device_s=np.full(24, 1e-9)
    )
    cost = fit_translator(echo, "cpu_s", 0.0)
    assert cost.row_s == MIN_ROW_S
    assert (cost.prompt_ratio, cost.output_ratio["*"], cost.output_row_tokens) == (0, 0, 0)
    assert (cost.row_seconds([0, 50], cost.output_tokens([9, 9], [0, 1], PAIRS)) == MIN_ROW_S).all()


def test_prompts_the_small_model_cannot_predict_are_taken_for_average_ones() -> None:
    data = measured()
    cost = fit_translator(replace(data, small_prompt_tokens=np.zeros(192)), "cpu_s", 0.0)
    seconds = cost.row_seconds(np.zeros(192), data.output_tokens)
    assert seconds.sum() == pytest.approx(data.run_device_s[:6].sum())


def test_output_ratios_go_by_pair_and_few_rows_say_little() -> None:
    many = fit_translator(measured(40, ratios=(1.0, 2.0)), "cpu_s", 0.0)
    assert many.output_ratio["en→de"] == pytest.approx(1.0, rel=0.05)
    assert many.output_ratio["en→fr"] == pytest.approx(2.0, rel=0.05)
    assert 1.2 < many.output_ratio["*"] < 1.8
    data = measured(40, ratios=(1.0, 2.0))
    rare = np.where(np.arange(len(data.group)) == 7, 2, data.pair_codes)
    few = fit_translator(replace(data, pairs=(*PAIRS, "en→tr", "en→zu"), pair_codes=rare), "cpu_s", 0.0)
    assert few.output_ratio["en→tr"] == pytest.approx(few.output_ratio["*"], rel=0.15)
    assert "en→zu" not in few.output_ratio


def test_rows_are_costed_at_once_as_one_by_one() -> None:
    cost = replace(TRUE, output_ratio={"*": 1.5, "en→de": 1.0})
    prompts, sources, codes = np.array([30, 40, 50, 60]), np.array([5, 10, 15, 20]), np.array([0, 1, 0, -1])
    found = model(large=cost).row_seconds("large", prompts, sources, codes, PAIRS)
    ratios = [1.0, 1.5, 1.0, 1.5]  # en→fr was not measured, and −1 is any pair
    alone = [2e-3 + 1e-4 * 1.5 * p + 5e-3 * (1 + r * s) for p, s, r in zip(prompts, sources, ratios)]
    assert found.dtype == np.float64
    assert found.tolist() == pytest.approx(alone)
    assert model().probe_seconds([2, 4]).tolist() == [1.0, 1.5]
    assert model().row_seconds("large", [], [], np.array([], int), PAIRS).shape == (0,)


def test_without_a_probe_it_costs_nothing() -> None:
    assert model(probe=ProbeCost()).probe_seconds(np.array([3, 4])).tolist() == [0, 0]


def test_units_that_differ_are_device_seconds() -> None:
    assert model().unit == "cpu_s"
    assert model(large=replace(TRUE, unit="gpu_s")).unit == "device_s"


def test_a_cost_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    path.write_text(json.dumps(model().to_dict()))
    assert CostModel.load(path) == model()


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        ("format", 2, "format must be 1"),
        ("rows", 0, "rows is 0; it must be an integer of at least 1"),
        ("device", 7, "device is 7; it must be a string"),
        ("mean_row_s", {"small": 1, "large": 1}, "mean_row_s.probe is None; it must be a finite number of at least 0"),
        ("large", 3, "large is 3; it must be a mapping"),
        ("large.row_s", 0, "large.row_s is 0; it must be a finite number above 0"),
        ("large.row_s", None, "large.row_s is None"),
        ("small.prefill_token_s", -1e-9, "small.prefill_token_s is -1e-09; it must be a finite number of at least 0"),
        ("small.output_token_s", float("nan"), "small.output_token_s is nan"),
        ("small.load_s", True, "small.load_s is True"),
        ("small.output_ratio", {"en→de": 1}, "it must be a mapping of language pairs to numbers, with `*`"),
        ("small.output_ratio", {"*": 1, "en→de": -1}, "small.output_ratio.en→de is -1"),
        ("probe.unit", "hours", "probe.unit is 'hours'; it must be one of gpu_s, cpu_s"),
        ("probe.relative_error", "low", "probe.relative_error is 'low'"),
        ("large.prompt_ratio", ..., "large.prompt_ratio is missing"),
        ("probe", ..., "probe is missing"),
    ],
)
def test_a_wrong_cost_file_is_refused_with_its_field(tmp_path: Path, at: str, value: Any, message: str) -> None:
    values = copy.deepcopy(model().to_dict())
    section, _, key = at.rpartition(".")
    inner = values[section] if section else values
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    path = tmp_path / "cost.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError) as refused:
        CostModel.load(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "jobs/profile_costs.py" in str(refused.value)


def test_what_is_no_cost_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        CostModel.load(tmp_path / "none.json")
    for content in ("", "[]", "{}"):
        (tmp_path / "cost.json").write_text(content)
        with pytest.raises(ValueError, match="jobs/profile_costs.py"):
            CostModel.load(tmp_path / "cost.json")


def test_importing_it_imports_neither_ray_nor_torch() -> None:
    code = (
        "import sys, routelmt_ray.budget.cost_fit; sys.exit(any(m in sys.modules for m in ('ray', 'torch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_digest_is_of_the_values_and_not_of_their_order() -> None:
    costs = model()
    ratios = dict(reversed(list((costs.large.output_ratio | {"en→de": 1.5}).items())))
    one = replace(costs, large=replace(costs.large, output_ratio=ratios))
    other = replace(costs, large=replace(costs.large, output_ratio=dict(reversed(list(ratios.items())))))
    assert one.digest() == other.digest() != costs.digest()
    assert len(costs.digest()) == 16


def test_a_cost_may_be_zero_but_not_that_of_a_row() -> None:
    values = model().to_dict()
    values["large"] |= {"load_s": 0, "prefill_token_s": 0.0}
    assert CostModel.from_dict(values).large.load_s == 0
    values["large"]["row_s"] = 0
    with pytest.raises(ValueError, match="large.row_s is 0; it must be a finite number above 0"):
        CostModel.from_dict(values)


def test_the_error_is_relative_to_the_total_however_small_that_is() -> None:
    large = fit_translator(measured(12, noise=0.1), "cpu_s", 0.0)
    runs = measured(12, noise=0.1)
    small = fit_translator(replace(runs, run_device_s=runs.run_device_s / 1000), "cpu_s", 0.0)
    assert small.relative_error == pytest.approx(large.relative_error, rel=0.01)
