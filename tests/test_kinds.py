"""A kind that is added in one place and forgotten in another fails at once, not after a corpus is translated."""

from dataclasses import dataclass, fields, replace

import pytest

from routelmt_ray.budget import rule
from routelmt_ray.config import translate
from routelmt_ray.config.common import InputConfig, ModelConfig, ModelsConfig
from routelmt_ray.config.label import SENTENCE_METRICS
from routelmt_ray.engines import open_engine, open_probe
from routelmt_ray.metrics.spec import MetricSpec
from routelmt_ray.plan.plan import asked
from routelmt_ray.reports.run_facts import REASONS


def test_an_engine_without_a_loader_is_refused_and_not_loaded_as_another() -> None:
    model = ModelConfig(engine="echo")
    object.__setattr__(model, "engine", "unknown")
    with pytest.raises(ValueError, match="no engine is loaded under that name"):
        open_engine(model)
    with pytest.raises(ValueError, match="no prompt states"):
        open_probe(ModelConfig(engine="echo"), None)


@pytest.mark.parametrize("name", SENTENCE_METRICS)
def test_each_sentence_metric_opens_under_its_own_name(name: str) -> None:
    assert MetricSpec(name, True, tokenize="13a").open().name == name


def test_a_sentence_metric_without_a_loader_is_not_another() -> None:
    with pytest.raises(KeyError):
        MetricSpec("unknown", True).open()


@pytest.mark.parametrize("kind", translate.ROUTERS)
def test_each_router_has_a_unit_for_the_report(kind: str) -> None:
    assert translate.RouterConfig(kind=kind).unit
    assert translate.RouterConfig(kind=kind, scale=2.0).unit == "gain"


def test_every_key_of_the_guard_makes_another_budget() -> None:
    @dataclass(frozen=True)
    class LaterGuard(translate.GuardConfig):
        strictness: float = 0.5

    echo = ModelConfig(engine="echo")
    plain = translate.TranslateConfig(
        run_dir="run", input=InputConfig(path="in", source_lang="en", target_lang="de"), models=ModelsConfig(echo, echo),
        router=translate.RouterConfig(kind="length"), budget=translate.BudgetConfig(fraction=0.3),
    )  # fmt: skip
    assert asked(plain)["guard"].keys() == {field.name for field in fields(translate.GuardConfig)}
    one, other = (asked(replace(plain, guard=LaterGuard(strictness=value))) for value in (0.5, 0.6))
    assert one != other


def test_every_reason_of_a_route_has_its_sentence() -> None:
    assert REASONS.keys() - {"kept_small"} == set(rule.REASONS)
