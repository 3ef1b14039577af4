"""Device-seconds and tokens become money, and a cost model in money is a sum of the same products."""

from dataclasses import replace

import numpy as np
import pytest

from routelmt_ray.budget.cost import SERVED, TranslatorCost, is_money, output_mean, parts_of
from routelmt_ray.budget.cost_fit import Measured, fit_served
from routelmt_ray.budget.price import ModelPrice, Prices, in_money, prices_of, second_of
from routelmt_ray.config.price import JudgePriceConfig, ModelPriceConfig, PriceConfig
from routelmt_ray.runtime import readings
from routelmt_ray.runtime.readings import BUSY, ENDED, MeterReading
from tests.budget.test_cost import TRUE, measured, model

CONFIG = PriceConfig("EUR", ModelPriceConfig(gpu_hour=3.6), ModelPriceConfig(input_tokens=2.0, output_tokens=5.0))
PRICES = Prices("EUR", ModelPrice(1e-3), ModelPrice(0.0, 2e-6, 5e-6))
AT_SERVER = TranslatorCost(SERVED, 0.0, 4.0, 1.0, 1.0, 1.5, 2.0, {"*": 1.2, "en→de": 1.5}, 0.1)


def reading(kind: str, state: str = ENDED, **fields: object) -> MeterReading:
    plain = MeterReading(kind, "gpu_s", "host", 1, 1.0, "", "", 100.0, 10.0, 80.0, 2.0, 3, state)
    return replace(plain, **fields)  # type: ignore[arg-type]


def test_prices_are_those_of_the_configuration_and_none_without_any() -> None:
    assert prices_of(CONFIG) == PRICES
    assert prices_of(PriceConfig()) is None


def test_other_engines_cost_the_dearer_device_second() -> None:
    both = Prices("EUR", ModelPrice(1e-3), ModelPrice(2e-3))
    assert [both.of(kind).second for kind in ("probe", "small", "large", "judge")] == [1e-3, 1e-3, 2e-3, 2e-3]
    judged = prices_of(replace(CONFIG, judge=JudgePriceConfig(gpu_hour=7.2)))
    assert [second_of(kind, judged) for kind in ("small", "large", "judge")] == [1e-3, 0.0, 2e-3]
    assert second_of("judge", PRICES) == 1e-3 and second_of("judge", None) == 1.0


def test_a_unit_is_weighed_in_parts_that_a_cheap_row_still_has() -> None:
    assert [is_money(unit) for unit in ("gpu_s", "cpu_s", "device_s", SERVED, "USD", "€")] == [False] * 4 + [True] * 2
    assert (parts_of("gpu_s"), parts_of("EUR")) == (10**6, 10**9)


def test_rows_in_money_cost_their_seconds_and_tokens_times_the_prices() -> None:
    means = {"probe": 0.5, "small": 0.25, "large": 90.0, output_mean("large"): 40.0}
    cost = in_money(model(large=AT_SERVER, mean_row_s=means), PRICES)
    prompt, source, codes = np.array([20, 300]), np.array([10, 200]), np.array([0, -1])
    seconds = model().row_seconds("small", prompt, source, codes, ["en→de"])
    np.testing.assert_allclose(cost.row_seconds("small", prompt, source, codes, ["en→de"]), 1e-3 * seconds)
    tokens_in, tokens_out = 4 + 1.5 * prompt, 2 + np.array([1.5, 1.2]) * source
    wanted = 2e-6 * tokens_in + 5e-6 * tokens_out
    np.testing.assert_allclose(cost.row_seconds("large", prompt, source, codes, ["en→de"]), wanted)
    np.testing.assert_allclose(cost.probe_seconds(prompt), 1e-3 * model().probe_seconds(prompt))
    assert cost.unit == "EUR" and cost.parts == 10**9
    assert (cost.small.load_s, cost.large.load_s) == (pytest.approx(1e-3 * TRUE.load_s), 0.0)
    assert cost.mean_row_s == pytest.approx({"probe": 5e-4, "small": 2.5e-4, "large": 50 * 2e-6 + 40 * 5e-6})
    assert (
        cost.digest()
        != in_money(model(large=AT_SERVER, mean_row_s=means), replace(PRICES, small=ModelPrice(2e-3))).digest()
    )


def test_what_is_free_still_has_a_cost_that_can_be_compared() -> None:
    free = prices_of(PriceConfig("EUR", ModelPriceConfig(gpu_hour=0.0), ModelPriceConfig(gpu_hour=1.0)))
    assert free is not None
    assert 0 < in_money(model(), free).small.row_s < 1e-12
    assert 0 < free.small.committed({"device_s": 1e6}) < 1e-6


def test_a_commit_costs_its_seconds_and_what_the_server_charged() -> None:
    assert PRICES.small.committed({"device_s": 7.0}) == pytest.approx(7e-3)
    stats = {"device_s": 7.0, "charged_prompt_tokens": 1000, "charged_completion_tokens": 100}
    assert PRICES.large.committed(stats) == pytest.approx(2e-3 + 5e-4)


def test_a_reading_in_money_has_all_that_its_engine_took() -> None:
    small = readings.in_money(reading("small"), PRICES)
    assert (small.unit, small.usage) == ("EUR", {})
    assert (small.device_s, small.load_s, small.busy_s, small.beat_s) == pytest.approx((0.1, 0.01, 0.08, 2e-3))
    usage = {
        "requests": 9.0, "prompt_tokens": 1000.0, "completion_tokens": 300.0, "assumed_prompt_tokens": 50.0,
        "assumed_completion_tokens": 60.0,
    }  # fmt: skip
    beat = {"prompt_tokens": 100.0, "assumed_completion_tokens": 40.0}
    served = reading("profile", BUSY, model="large", gpus=0.0, usage=usage, beat_usage=beat)
    paid = readings.in_money(served, PRICES)
    wanted = 2e-6 * 1050 + 5e-6 * 360
    assert (paid.device_s, paid.load_s, paid.busy_s) == pytest.approx((wanted, 0.0, wanted))
    died = wanted + 2e-6 * 100 + 5e-6 * 40
    assert readings.charged_s(paid) == pytest.approx(died), "what it may have asked for since its last beat is charged"
    assert readings.charged_s(served) == 0.0, "it takes no device time"


def test_the_tokens_of_a_served_model_are_fitted_with_the_error_of_its_output() -> None:
    data = measured(groups=8, ratios=(1.0, 2.0))
    runs = np.bincount(data.group, data.output_tokens)
    counted = Measured(
        data.pairs, data.group, data.pair_codes, data.source_tokens, data.small_prompt_tokens, data.prompt_tokens + 7,
        data.output_tokens, np.arange(8), np.ones(8, bool), runs,
    )  # fmt: skip
    cost = fit_served(counted)
    assert (cost.unit, cost.load_s, cost.prefill_token_s, cost.output_token_s) == (SERVED, 0.0, 1.0, 1.0)
    assert (cost.row_s, cost.prompt_ratio) == (pytest.approx(7.0), pytest.approx(1.5))
    tokens = cost.output_tokens(data.source_tokens, data.pair_codes, data.pairs)
    assert tokens.sum() == pytest.approx(data.output_tokens.sum(), rel=0.05)
    assert cost.relative_error is not None and 0 < cost.relative_error < 0.2
    without = replace(counted, small_prompt_tokens=np.zeros(len(data.group)))
    assert fit_served(without).row_s == pytest.approx(float(counted.prompt_tokens.mean()))
