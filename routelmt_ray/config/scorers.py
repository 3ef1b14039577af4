"""The scorers, which give each row its score before anything is decoded: one table with all facts about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routelmt_ray.config.common import ModelsConfig
    from routelmt_ray.config.translate import RouterConfig


@dataclass(frozen=True)
class ScorerKind:
    """One kind of scorer."""

    help: str
    """Description for `--help`."""
    unit: str
    """Unit of its scores where they are not calibrated to gain; `gain` where they always are."""
    scores: str | None
    """`module:function` that scores rows; takes :class:`~routelmt_ray.stages.scorers.Unscored` and the
    :class:`RouterConfig`, and returns shape ``(rows,)``, float32. Higher is routed first, and NaN is never routed. None:
    the small model is probed."""
    columns: Callable[[RouterConfig], dict[str, str]] = lambda router: {}
    """Finds the numeric columns of the corpus that it reads, by the config key that names them."""
    trained: bool = False
    """True where it reads the folder of a trained router, `router.path`."""
    check: Callable[[RouterConfig, ModelsConfig], None] = lambda router, models: None
    """Refuses a configuration that lacks something, with a ValueError."""


def _check_probe(router: RouterConfig, models: ModelsConfig) -> None:
    if models.small.kind.prober is None:
        raise ValueError(
            f"router.kind=probe needs a small model with prompt states, but models.small.engine is `{models.small.engine}`; "
            f"use router.kind={', '.join(name for name, kind in SCORERS.items() if kind.scores)}"
        )
    _check_path(router, models)


def _check_path(router: RouterConfig, models: ModelsConfig) -> None:
    if not router.path:
        raise ValueError(f"router.path is null; router.kind={router.kind} needs the folder of a trained router")


def _check_column(router: RouterConfig, models: ModelsConfig) -> None:
    if not router.column:
        raise ValueError("router.column is null; router.kind=column needs the name of an input column")


SCORERS = {
    "probe": ScorerKind("a head on the small model's prompt state", "gain", None, trained=True, check=_check_probe),
    "words": ScorerKind(
        "the table of words of a trained router, without its head: no model is probed",
        "gain",
        "routelmt_ray.stages.scorers:word_scores",
        trained=True,
        check=_check_path,
    ),
    "length": ScorerKind("characters of the source", "characters", "routelmt_ray.stages.scorers:length_scores"),
    "random": ScorerKind("a seeded draw", "draw", "routelmt_ray.stages.scorers:random_scores"),
    "column": ScorerKind(
        "a score from a column of the corpus",
        "user score",
        "routelmt_ray.stages.scorers:column_scores",
        columns=lambda router: {"router.column": str(router.column)},
        check=_check_column,
    ),
}
"""The value of `router.kind`, and the scorer."""
