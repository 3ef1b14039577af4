"""Prices of the models in money: the section `price` of the translate job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from routelmt_ray.config.common import ModelsConfig
from routelmt_ray.config.loader import option

_PER_MODEL = ("gpu_hour", "input_tokens", "output_tokens")


def _is_price(value: float | None) -> bool:
    return value is None or value >= 0


def _is_label(text: str) -> bool:
    """Tells whether a text names a currency; units of time have an underscore."""
    return 0 < len(text) <= 8 and text.isprintable() and not set(" _") & set(text)


@dataclass(frozen=True)
class ModelPriceConfig:
    """Prices of one model: `gpu_hour` where it runs here, the two prices of tokens where it is served."""

    gpu_hour: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of an hour of one GPU that its pool holds; of a CPU-hour where the pool has no GPU. 0: it is free."""
    input_tokens: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of a million prompt tokens, as the server counts them."""
    output_tokens: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of a million completion tokens, as the server counts them."""


@dataclass(frozen=True)
class PriceConfig:
    """Prices, for `budget.money` and for what the report says of money. Set those of both models, or none."""

    currency: str = option("USD", "1 to 8 characters without a blank or an underscore", _is_label)
    """Name of the currency. It is only shown."""
    small: ModelPriceConfig = field(default_factory=ModelPriceConfig)
    """The small model, also as a probe."""
    large: ModelPriceConfig = field(default_factory=ModelPriceConfig)
    """The large model."""

    @property
    def is_set(self) -> bool:
        """True where there are prices."""
        return any(getattr(model, name) is not None for model in (self.small, self.large) for name in _PER_MODEL)


def check_prices(price: PriceConfig, models: ModelsConfig, needed_by: str | None) -> None:
    """Refuses prices that do not fit the models, or that are not whole.

    Args:
        price: the prices.
        models: the models.
        needed_by: config key that needs them, with its value; None where they may be left out.

    Raises:
        ValueError: a price is missing or has no use; the message names its key and what to do.
    """
    if not price.is_set and needed_by is None:
        return
    for size, model, given in (("small", models.small, price.small), ("large", models.large, price.large)):
        here = model.kind.runs_here
        for name in _PER_MODEL:
            key, value, fits = f"price.{size}.{name}", getattr(given, name), here == (name == "gpu_hour")
            if value is not None and not fits:
                raise ValueError(
                    f"{key} is {value:g}, but models.{size}.engine is `{model.engine}`, which "
                    + ("runs here and takes device time" if here else "asks a server and takes tokens")
                    + "; leave it out, and set "
                    + (f"price.{size}.gpu_hour" if here else f"price.{size}.input_tokens and .output_tokens")
                )
            if value is None and fits:
                why = needed_by or "another price is set"
                raise ValueError(f"{key} is null, but {why}: both models need their prices; set it, 0 if it is free")
