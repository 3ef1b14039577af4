"""Prices of the models in money: the section `price` of the translate job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from routelmt_ray.config.common import ModelsConfig, refuse_seconds
from routelmt_ray.config.loader import option

if TYPE_CHECKING:
    from routelmt_ray.config.translate import TranslateConfig

_PER_MODEL = ("gpu_hour", "input_tokens", "output_tokens")


def _is_price(value: float | None) -> bool:
    return value is None or value >= 0


def _is_label(text: str) -> bool:
    """Tells whether a text names a currency; the other units of an account are `rows`, and units of time with an underscore."""
    return 0 < len(text) <= 8 and text.isprintable() and not set(" _") & set(text) and text != "rows"


@dataclass(frozen=True)
class ModelPriceConfig:
    """Prices of one model: `gpu_hour` where it runs here, the two prices of tokens where it is served."""

    gpu_hour: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of one hour of one GPU of its pool, or of one CPU-hour if the pool has no GPU. 0: it is free."""
    input_tokens: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of a million prompt tokens, as the server counts them."""
    output_tokens: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of a million completion tokens, as the server counts them."""


@dataclass(frozen=True)
class JudgePriceConfig:
    """The price of the judge of a guard or an audit."""

    gpu_hour: Optional[float] = option(None, "null or a number of at least 0", _is_price)
    """Price of one hour of one GPU of its pool, or of one CPU-hour if the pool has no GPU. Null: the price of the more
    expensive model that runs here."""


@dataclass(frozen=True)
class PriceConfig:
    """Prices, for `budget.money` and for the money in the report. Set those of both models, or none."""

    currency: str = option("USD", "1 to 8 characters without a blank or an underscore, but not rows", _is_label)
    """Name of the currency. It is only shown."""
    small: ModelPriceConfig = field(default_factory=ModelPriceConfig)
    """The small model, also as a probe."""
    large: ModelPriceConfig = field(default_factory=ModelPriceConfig)
    """The large model."""
    judge: JudgePriceConfig = field(default_factory=JudgePriceConfig)
    """The judge."""

    @property
    def is_set(self) -> bool:
        """True where there are prices."""
        return any(getattr(model, name) is not None for model in (self.small, self.large) for name in _PER_MODEL)


def _check_prices(price: PriceConfig, models: ModelsConfig, needed_by: str | None) -> None:
    """Refuses prices that do not fit the models, or that are set for only one of them. `needed_by` is the config key
    that needs them, with its value; None where they may be left out."""
    if not price.is_set and needed_by is None:
        return
    for size, model, given in (("small", models.small, price.small), ("large", models.large, price.large)):
        here = model.kind.runs_here
        for name in _PER_MODEL:
            key, value, fits = f"price.{size}.{name}", getattr(given, name), here == (name == "gpu_hour")
            if value is not None and not fits:
                raise ValueError(
                    f"{key} is {value:g}, but models.{size}.engine is `{model.engine}`, which "
                    + ("runs here and is paid by device time" if here else "asks a server and is paid by tokens")
                    + "; leave it out, and set "
                    + (f"price.{size}.gpu_hour" if here else f"price.{size}.input_tokens and .output_tokens")
                )
            if value is None and fits:
                why = needed_by or "another price is set"
                raise ValueError(f"{key} is null, but {why}: both models need their prices; set it, 0 if it is free")


def check_money(config: TranslateConfig) -> None:
    """Refuses budgets, dry runs and judges whose cost in money or in device-seconds cannot be planned."""
    budget, models = config.budget, config.models
    section, amount = ("budget", budget.money) if config.account.path is None else ("account", config.account.money)
    money = None if amount is None else f"{section}.money is {amount:g}"
    _check_prices(config.price, models, money)
    for name in ("gpu_hours", "dry_run"):
        if (value := getattr(budget, name)) and not (name == "dry_run" and config.in_money):
            refuse_seconds(f"budget.{name}={str(value).lower()}", models)
    judges = config.guard.needs_judge or config.audit_metric == "judge"
    here = models.small.kind.runs_here or models.large.kind.runs_here
    if config.in_money and (money or budget.dry_run) and judges and not here:
        raise ValueError(
            f"{money or 'budget.dry_run is true, with prices'}, but a guard or the audit needs a judge while servers run both "
            "models: nothing here shows in advance how long the judge takes; leave the judge out, or use "
            "budget.fraction, .rows or .threshold"
        )
