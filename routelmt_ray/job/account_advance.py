"""The advance of a job from an account in hours or money: the amount that it may spend before its grant, on a profile and on scores.

The value of a job's rows is known once they are scored, and to score them costs something. So the job first reserves, by its profile, what
it needs if it routes no row. If less is left, it is refused before it scores. Where the profile is wrong, the
advance grows while the job scores. If it cannot grow, the job ends before it has spent more than it holds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from routelmt_ray.account.book import SCORING, Book, Draw
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.price import planned_prices, second_of
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.evaluation.formats import amount
from routelmt_ray.job.account_run import HOW, AccountRun, check_period, check_unit, describe_allowance, find_place
from routelmt_ray.job.accounts import kind_of, location
from routelmt_ray.job.profiling import kept_costs
from routelmt_ray.plan.forecast import fixed_cost
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.stages import memory, repeats, score

_WAITING = 2
"""Shards that wait at an actor for the next free moment; it may still do them before it is stopped."""
_LOOK = 0.02
"""Share of the advance after which the meters are read again."""


@dataclass
class Advance:
    """The advance of one job. It does nothing without an account, in an account in rows, in a dry run, or once the job has a grant."""

    config: TranslateConfig
    """The configuration of the job."""
    context: RunContext
    """The run."""
    shards: ShardPlan
    """The corpus."""
    _place: AccountRun | None = None
    _held: float = 0.0
    _share: float = 1.0  # of the rows that get a score
    _to_score: float = 0.0  # rows
    _scored: float = 0.0
    _took: float = 0.0  # by the rows that were scored in this start
    _most: float = 0.0  # by one shard of them
    _unread: float = 0.0  # since the meters were read

    def __post_init__(self) -> None:
        """Finds the place of the run in its account, if it needs an advance."""
        account = self.config.account
        if account.path is None or account.key == "rows" or self.config.budget.dry_run:
            return
        place = find_place(self.config, at_work=True)
        known = place.book.draws.get(place.key)
        if known is None or not known.has_grant:
            self._place = place

    def for_profile(self) -> None:
        """Reserves what earlier jobs took to measure the costs of their rows, if this one has to measure them.

        Raises:
            Refused: that is not left.
        """
        if self._place is None:
            return
        config, day, profile = self.config, datetime.now(UTC).date(), 0.0
        if self._place.key not in self._place.book.draws:
            check_period(config.account.period, self._place.account, day)
        run, models, rows = self.context.run, config.models, config.cost.rows
        if config.cost.path is None and kept_costs(run, models, config.router, rows, self.context.seed) is None:
            nights = self._place.account.nights(day, kind_of(config), self._place.key)
            profile = max((night.profile for night in nights if night.alike), default=0.0)
        need = self._spent() + profile
        self._reserve(need, need, "by earlier jobs, this job needs {} to measure what its rows cost")

    def for_scores(self, cost: CostModel | None) -> None:
        """Reserves what the job needs if it routes no row, by its profile and the number of its rows.

        Raises:
            Refused: that is not left.
        """
        if self._place is None:
            return
        assert cost is not None
        run, models, prices = self.context.run, self.config.models, planned_prices(self.config)
        self._share, to_translate = self._shares()
        self._to_score = self._share * sum(
            self.shards[i].rows for i in set(range(len(self.shards))) - run.committed(score.STAGE)
        )
        need = fixed_cost(run, cost, models, prices)
        probe = 0.0
        if self.config.router.probes and self._to_score:
            # A profile that found all rows scored has no probe, which costs less than to translate.
            load_s, row_s = cost.probe.load_s or cost.small.load_s, cost.mean_row_s["probe"] or cost.mean_row_s[SMALL]
            probe = load_s * models.small.pool.actors + row_s * self._to_score
        small = cost.mean_row_s[SMALL] * to_translate * self.shards.rows
        need += probe + small
        error = probe * (cost.probe.relative_error or 0.0) + small * (cost.small.relative_error or 0.0)
        self._reserve(need, need + error, "by its profile, this job needs {} even if it routes no row")

    def watch(self, stage: str, shard: int, commit: Mapping[str, Any]) -> None:
        """Looks, as a shard of scores is committed, at what is spent, and lets the advance grow if it is too small.

        Args:
            stage, shard: of the scores.
            commit: summary of the commit.

        Raises:
            Refused: it must grow, and too little is left.
        """
        if self._place is None:
            return
        took = second_of(SMALL, planned_prices(self.config)) * commit["device_s"]
        self._took, self._most, self._unread = self._took + took, max(self._most, took), self._unread + took
        self._scored += self._share * self.shards[shard].rows
        if self._unread <= _LOOK * self._held:
            return
        self._unread = 0.0
        spent, rest = self._spent(), self._took * max(0.0, self._to_score / max(1.0, self._scored) - 1)
        at_once = self.config.models.small.pool.actors * (self.context.max_concurrency(SMALL) + _WAITING)
        ahead = min(rest, _LOOK * self._held + at_once * self._most)  # until the meters are read again, and in flight
        if spent + ahead > self._held:
            self._reserve(
                spent + ahead, spent + rest, "scoring takes more than its profile says, and this job now needs {}"
            )

    def _shares(self) -> tuple[float, float]:
        """Shares of the rows that are scored, and that the small model translates if no row is routed."""
        run, rows = self.context.run, max(1, self.shards.rows)
        if not (first := run.metas(repeats.GROUPS)):
            return 1.0, 1.0
        segments, found = sum(meta["segments"] for meta in first.values()), run.metas(memory.STAGE).values()
        large, small = (sum(meta[size] for meta in found) for size in (LARGE, SMALL))
        return (segments - large) / rows, (segments - large - small) / rows

    def _spent(self) -> float:
        """The most that the run can have spent so far."""
        return meter_readings.total_s(self.context.run, prices=planned_prices(self.config))

    def _reserve(self, least: float, most: float, need: str) -> None:
        """Holds `most` units, or all that are left if these are fewer, but never fewer than before; refuses where `least` are not left."""
        place, spent = self._place, self._spent()
        assert place is not None

        def edit(book: Book) -> Book:
            check_unit(place, book)
            book = replace(book, allowance=place.new.allowance)
            before, left = book.draws.get(place.key), book.left(without=place.key)
            units = before.granted if before is not None and before.state == SCORING else 0.0
            if left >= least:
                units = min(max(most, units), left)
            day = f"{datetime.now(UTC).date()}"
            return book.with_draw(place.key, Draw(location(self.config), day, 0, units, SCORING, spent, time.time()))

        book = place.account.change(place.new, edit)
        self._held = book.draws[place.key].granted
        if self._held < least:
            others = replace(book, draws={key: draw for key, draw in book.draws.items() if key != place.key})
            raise Refused(f"{describe_allowance(place, others)}; {need.format(amount(least, book.unit))}; {HOW}")
