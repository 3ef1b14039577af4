"""Turns what a run takes, device-seconds and tokens, into money, so that a budget in money is planned like one in hours.

A model that runs here costs its device-seconds, a model at a server its tokens; either way an amount is a sum of products
with three prices. Pure arithmetic: importing it imports neither Ray nor torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from routelmt_ray.budget.cost import SERVED, CostModel, TranslatorCost, output_mean
from routelmt_ray.config.price import ModelPriceConfig, PriceConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig

_FREE = 1e-15
"""Price of a device-second or token that is free: with no cost at all, measured and predicted could not be compared."""
PROMPT_TOKENS, COMPLETION_TOKENS = (
    ("prompt_tokens", "assumed_prompt_tokens"),
    ("completion_tokens", "assumed_completion_tokens"),
)
"""Names of the sums of tokens in the usage of an engine that asks servers."""


@dataclass(frozen=True)
class ModelPrice:
    """The prices of one model."""

    second: float = 0.0
    """Money per device-second; 0 at a server."""
    prompt_token: float = 0.0
    """Money per prompt token; 0 for a model that runs here."""
    completion_token: float = 0.0
    """Money per completion token; 0 for a model that runs here."""

    def tokens(self, usage: Mapping[str, float]) -> float:
        """Computes the money for the tokens of a usage; those that are only assumed count like others."""
        prompt, completion = (
            sum(usage.get(name, 0.0) for name in names) for names in (PROMPT_TOKENS, COMPLETION_TOKENS)
        )
        return self.prompt_token * prompt + self.completion_token * completion

    def committed(self, stats: Mapping[str, float]) -> float:
        """Computes the money for the work of a commit, from its record."""
        prompt, completion = stats.get("charged_prompt_tokens", 0), stats.get("charged_completion_tokens", 0)
        return self.second * stats["device_s"] + self.prompt_token * prompt + self.completion_token * completion


@dataclass(frozen=True)
class Prices:
    """The prices of both models and of a judge."""

    currency: str
    small: ModelPrice
    large: ModelPrice
    judge_second: float | None = None
    """Money per device-second of a judge; None: that of the dearer model."""

    def of(self, model: str) -> ModelPrice:
        """Looks up the price of `small`, `large`, or another engine, such as a judge."""
        if model in ("probe", SMALL):
            return self.small
        if model == LARGE:
            return self.large
        second = self.judge_second
        return ModelPrice(max(self.small.second, self.large.second) if second is None else second)


def prices_of(config: PriceConfig) -> Prices | None:
    """Reads the prices of a configuration; None where it has none."""
    if not config.is_set:
        return None
    judge = None if config.judge.gpu_hour is None else max(config.judge.gpu_hour / 3600, _FREE)
    return Prices(config.currency, _model_price(config.small), _model_price(config.large), judge)


def planned_prices(config: TranslateConfig) -> Prices | None:
    """Reads the prices of a run that plans in money; None for one that plans in device-seconds or rows."""
    return prices_of(config.price) if config.in_money else None


def second_of(model: str, prices: Prices | None) -> float:
    """Looks up the cost of a device-second of a model in the unit of a plan: its price, or 1 without prices."""
    return 1.0 if prices is None else prices.of(model).second


def _model_price(config: ModelPriceConfig) -> ModelPrice:
    units = ((config.gpu_hour, 3600.0), (config.input_tokens, 1e6), (config.output_tokens, 1e6))
    return ModelPrice(*(0.0 if price is None else max(price / per, _FREE) for price, per in units))


def in_money(cost: CostModel, prices: Prices) -> CostModel:
    """Converts a cost model from device-seconds, and tokens at servers, to money."""
    small = prices.small
    probe = replace(
        cost.probe,
        unit=prices.currency,
        load_s=small.second * cost.probe.load_s,
        row_s=small.second * cost.probe.row_s,
        prefill_token_s=small.second * cost.probe.prefill_token_s,
    )
    means = {"probe": small.second * cost.mean_row_s["probe"]}
    for size in (SMALL, LARGE):
        prompt, completion = _rates(cost.translator(size), prices.of(size))
        completed = cost.mean_row_s.get(output_mean(size), 0.0)
        means[size] = prompt * (cost.mean_row_s[size] - completed) + completion * completed
    priced = [_translator(cost.translator(size), prices.of(size), prices.currency) for size in (SMALL, LARGE)]
    return replace(cost, probe=probe, small=priced[0], large=priced[1], mean_row_s=means)


def _rates(cost: TranslatorCost, price: ModelPrice) -> tuple[float, float]:
    """Money for what a cost model counts of a prompt, and of an output: its tokens at a server, else its device-seconds."""
    return (price.prompt_token, price.completion_token) if cost.unit == SERVED else (price.second, price.second)


def _translator(cost: TranslatorCost, price: ModelPrice, currency: str) -> TranslatorCost:
    prompt, completion = _rates(cost, price)
    return replace(
        cost,
        unit=currency,
        load_s=price.second * cost.load_s,
        row_s=max(prompt * cost.row_s, _FREE),
        prefill_token_s=prompt * cost.prefill_token_s,
        output_token_s=completion * cost.output_token_s,
    )
