"""Takes the budget of a translate run from an account, and settles it."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from routelmt_ray import storage
from routelmt_ray.account.book import REFUSED, RESERVED, RETURNED, SCORING, SETTLED, Book, Draw
from routelmt_ray.account.price import grant
from routelmt_ray.account.rhythm import Night, expect
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.budget.price import planned_prices
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.budget import BUDGETS
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.evaluation.formats import amount
from routelmt_ray.job import translation
from routelmt_ray.job.account_run import (
    HOW,
    AccountRun,
    check_period,
    check_unit,
    describe_allowance,
    facts,
    find_place,
    is_copy,
    spent_of,
)
from routelmt_ray.plan.asked import is_asked_before_costs
from routelmt_ray.plan.forecast import tonight
from routelmt_ray.plan.plan import Series
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.context import RunContext
from routelmt_ray.runtime.telemetry import figures
from routelmt_ray.stages.profile import METER_KIND
from routelmt_ray.storage.rundir import ACCOUNT, RunDir

log = logging.getLogger(__name__)

_ROUNDING = 1e-6
"""Rows by which a sum of shares of rows may be too small."""


def with_budget(config: TranslateConfig) -> TranslateConfig:
    """Sets the budget of a run with an account: its grant, or all that is left until it has drawn.

    Raises:
        ValueError: a budget is set too, the account is for another unit, or nothing is left of it.
    """
    if config.account.path is None:
        return config
    if set_too := [name for name in BUDGETS if getattr(config.budget, name) is not None]:
        raise ValueError(
            f"account.path is {config.account.path}, but budget.{set_too[0]} is set too; leave one out: an account gives the "
            "job its budget"
        )
    place = find_place(config)
    book = place.book
    draw = book.draws.get(place.key)
    if draw is not None and draw.has_grant:
        return _with_grant(config, draw.granted)
    left = book.left(without=place.key)
    if left <= 0 and not config.budget.dry_run:
        _return_dead(config, place)
        left = place.book.left(without=place.key)
    if left <= 0 and book.unit != "rows":
        raise ValueError(f"{describe_allowance(place, book)}: nothing is left for this job; {HOW}")
    return _with(config, max(0.0, left))


def _with(config: TranslateConfig, units: float) -> TranslateConfig:
    key = config.account.key
    budget: dict[str, Any] = {key: int(units) if key == "rows" else units / 3600 if key == "gpu_hours" else units}
    return replace(config, budget=replace(config.budget, **budget))


def _with_grant(config: TranslateConfig, granted: float) -> TranslateConfig:
    """Sets the budget of a job that has drawn. A settled job keeps the plan of its first grant, also where less is left of this now:
    all rows of that plan are translated, so it takes nothing more."""
    run, key = RunDir(config.run_dir), config.account.key
    entries, config = run.plans(), _with(config, granted)
    if entries and (run.manifest() or {}).get(SETTLED) == entries[-1]["series"]:
        planned = replace(config, budget=replace(config.budget, **{key: entries[-1]["asked"].get(key)}))
        if is_asked_before_costs(entries[-1], planned):
            return planned
    return config


def _return_dead(config: TranslateConfig, place: AccountRun) -> None:
    unit = place.new.unit
    place.account.return_dead(3600 * config.account.keep_hours, lambda key, run_dir: spent_of(run_dir, unit, key))


@contextmanager
def at_work(config: TranslateConfig) -> Iterator[None]:
    """Holds the place of a run in its account while the body runs; does nothing without an account, or in a dry run.

    An earlier grant of the run is reserved again if it has returned to the account, or if the run was settled. The advance of a job
    that is refused returns.

    Raises:
        Refused: the grant has returned, and not enough is left to reserve it again; or the run directory is a copy.
    """
    if config.account.path is None or config.budget.dry_run:
        yield
        return
    place = find_place(config)
    place = replace(place, key=place.key or uuid.uuid4().hex[:12])
    period = place.account.period
    fields = {"path": str(place.account.root), "first": f"{period.first}", "last": f"{period.last}", "id": place.key}
    storage.write_json(RunDir(config.run_dir).root / ACCOUNT, fields)
    with place.account.at_work(place.key):
        _again(place, config)
        try:
            yield
        except Refused:
            _leave(place, config, refused=True)
            raise
        finally:
            _leave(place, config)


def _again(place: AccountRun, config: TranslateConfig) -> None:
    """Reserves the grant of an earlier start again; of a settled one no more than it has spent and is still left."""
    own = location(config)

    def edit(book: Book) -> Book:
        draw = book.draws.get(place.key)
        if draw is None or draw.state == REFUSED:
            return book
        book = replace(book, allowance=place.new.allowance)
        granted, left = draw.granted, book.left(without=place.key)
        if is_copy(own, draw.run_dir, place.key):
            raise Refused(
                f"run_dir {own} is a copy of {draw.run_dir}, and one grant is not for both; use a new run_dir, or remove the other"
            )
        if draw.state == RETURNED and granted > left:
            raise Refused(
                f"{describe_allowance(place, book)}. This run was granted {amount(granted, book.unit)}. It gave no sign of life, and "
                f"what it had not spent returned; {amount(max(0.0, left), book.unit)} can be granted again; {HOW}"
            )
        if draw.state == SETTLED:  # in rows an earlier plan may have sent others: their number is not that of a plan
            spent = min(draw.spent, granted) if book.unit == "rows" else draw.spent
            granted = max(spent, min(granted, left))
        state = RESERVED if draw.has_grant else draw.state
        return book.with_draw(
            place.key, replace(draw, run_dir=own, state=state, granted=granted, changed_s=time.time())
        )

    if place.account.read() is not None:
        place.account.change(place.new, edit)


def location(config: TranslateConfig) -> str:
    """Gives the run directory of a job as other jobs find it."""
    return str(storage.path(config.run_dir))


def _leave(place: AccountRun, config: TranslateConfig, refused: bool = False) -> None:
    """Notes that the job has ended now, so that what it holds is kept from now on; the advance of a refused job returns."""

    def edit(book: Book) -> Book:
        draw = book.draws.get(place.key)
        if draw is None or not draw.held:
            return book
        if refused and draw.state == SCORING:
            draw = replace(draw, state=REFUSED, granted=0.0, spent=spent_of(config.run_dir, book.unit) or 0.0)
        return book.with_draw(place.key, replace(draw, changed_s=time.time()))

    try:
        if place.account.read() is not None:
            place.account.change(place.new, edit)
    except (OSError, ValueError) as error:
        log.warning("the end of this job could not be written to account %s: %s", place.account.root, error)


def draw(
    config: TranslateConfig, context: RunContext, shards: ShardPlan, cost: CostModel | None
) -> tuple[TranslateConfig, dict[str, Any] | None]:
    """Takes the budget of a run whose rows are scored from its account.

    Returns the configuration with this budget, unchanged where an earlier start has drawn, and the facts for a report, None
    without an account. Raises Refused where less is left than the job needs if it routes no row, or units differ.
    """
    if config.account.path is None:
        return config, None
    dry = config.budget.dry_run
    place = find_place(config, at_work=not dry)
    book = place.book
    if (known := book.draws.get(place.key)) is not None and known.has_grant:
        return _granted(config, place, book, known.granted)
    offer, reserve = tonight(translation.open_planner(config, context, shards, cost))
    day, kind = datetime.now(UTC).date(), kind_of(config)
    in_rows, prices = place.new.unit == "rows", planned_prices(config)
    before = (spent_of(config.run_dir, "rows") or 0.0) if in_rows else 0.0
    if not dry:
        profile = 0.0 if in_rows else meter_readings.total_s(RunDir(config.run_dir), {METER_KIND}, prices=prices)
        place.account.add_night(place.key, day, kind, offer, profile)
        _return_dead(config, place)
    nights = place.account.nights(day, kind, place.key)
    period = place.account.period
    rest = expect(nights, Night(day, offer), period.first, period.last, config.account.expected_rows)
    if not dry and known is None:
        check_period(config.account.period, place.account, day)

    def edit(book: Book) -> Book:
        check_unit(place, book)
        book = replace(book, allowance=place.new.allowance)
        if (mine := book.draws.get(place.key)) is not None and mine.state == RESERVED:
            return book
        left = max(0.0, book.left(without=place.key))
        found = grant(left, replace(offer, base=offer.base + reserve), rest)
        refused = left < offer.base
        units = found.units if left >= offer.base + reserve else left  # without its reserve a job can still run
        granted = 0.0 if refused else min(left, float(int(units + _ROUNDING))) if book.unit == "rows" else units
        spent = 0.0 if in_rows or not refused else spent_of(config.run_dir, book.unit) or 0.0
        state = REFUSED if refused else RESERVED
        return book.with_draw(
            place.key,
            Draw(
                location(config), day.isoformat(),
                offer.rows, granted, state, spent, time.time(), found.price, left - granted, found.expected, before,
            ),
        )  # fmt: skip

    book = edit(place.book) if dry else place.account.change(place.new, edit)
    mine = book.draws[place.key]
    if mine.state == REFUSED:
        raise Refused(
            f"{describe_allowance(place, book)}; this job needs {amount(offer.base, book.unit)} even if it routes no row beyond the floors; "
            f"{HOW}. Its scores are kept"
        )
    log.info("%s; %s granted to this job", describe_allowance(place, book), amount(mine.granted, book.unit))
    return _granted(config, place, book, mine.granted)


def _granted(
    config: TranslateConfig, place: AccountRun, book: Book, units: float
) -> tuple[TranslateConfig, dict[str, Any]]:
    config, run = _with_grant(config, units), RunDir(config.run_dir)
    run.write_manifest((run.manifest() or {}) | {"config": configlib.to_dict(config)})
    if not config.budget.dry_run:
        figures().account(book.allowance, units, book.left())
    return config, facts(place, book)


def kind_of(config: TranslateConfig) -> str:
    """Names how gain and cost are measured; only offers of one kind can be compared. Other prices give other costs."""
    router = "gain" if config.router.is_gain else json.dumps(translation.router_identity(config.router), sort_keys=True)
    unit = {"gpu_hours": "device_s"}.get(config.account.key, config.account.key)  # as nights of earlier versions say
    if unit == "money":
        unit = json.dumps(configlib.to_dict(config.price), sort_keys=True)
    return f"{unit} {config.objective} {router}"


def settle(config: TranslateConfig, series: Series) -> dict[str, Any] | None:
    """Settles the account of a run once its rows are translated; returns its facts for report.json, None without one."""
    if config.account.path is None:
        return None
    place, run = find_place(config, at_work=True), RunDir(config.run_dir)
    run.write_manifest((run.manifest() or {}) | {SETTLED: series.first})

    def edit(book: Book) -> Book:
        if (mine := book.draws.get(place.key)) is None:
            log.warning(
                "account %s: its book was removed while this job ran; the job is charged to nothing", place.account.root
            )
            return book
        if book.unit == "rows":
            calls = (spent_of(config.run_dir, "rows") or 0.0) - mine.before
            spent = max(float(series.last["tally"]["routed"]), calls)
        else:
            spent = meter_readings.total_s(run, prices=planned_prices(config))
        return book.with_draw(place.key, replace(mine, state=SETTLED, spent=spent, changed_s=time.time()))

    return facts(place, place.account.change(place.new, edit))
