"""The ledger of a budget in hours or money: what is spent, what was predicted for that work, and what is still to be paid."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from routelmt_ray.budget.closed_loop import DISTRUST, Position, Rate
from routelmt_ray.budget.cost import parts_of
from routelmt_ray.budget.price import Prices, planned_prices, second_of
from routelmt_ray.budget.rate_fit import LIKE, empty_share, fit_pieces, similar_size
from routelmt_ray.budget.rule import Rule
from routelmt_ray.config.common import ModelConfig
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.piece_log import DoneWork
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.meters import Meters

SIZES = (SMALL, LARGE)


@dataclass(frozen=True)
class ToCome:
    """The work of a plan that is still to be done."""

    pieces: Mapping[str, int]
    """Largest possible number of pieces of work to come that have rows, by model."""
    loads: Mapping[str, float]
    """Number of times that each model's pool is loaded after the current execution."""
    judge_s: float = 0.0
    """Device-seconds for a judge."""
    judge_load_s: float = 0.0
    """The part of `judge_s` that is for loading the judge."""
    fallback: bool = True
    """True where a row that the large model fails on would make a small engine load."""


@dataclass
class Ledger:
    """The ledger of one series of plan entries."""

    config: TranslateConfig
    rule: Rule
    """The rule, which has the cost model."""
    meters: Meters
    """Source of the spent seconds."""
    shards: int
    _done: dict[str, DoneWork] = field(default_factory=lambda: {size: DoneWork() for size in SIZES})
    _loaded_before: dict[str, int] = field(default_factory=dict)  # loads of each model when the current execution began
    _waited: dict[str, tuple[float, float]] = field(default_factory=dict)
    _rates: dict[str, tuple[int, Rate]] = field(default_factory=dict)

    @cached_property
    def prices(self) -> Prices | None:
        return planned_prices(self.config)

    @property
    def budget_s(self) -> float:
        budget = self.config.budget
        return budget.money if budget.money is not None else 3600 * float(budget.gpu_hours or 0)

    @property
    def unit(self) -> str:
        """Unit of all amounts: `gpu_s`, `cpu_s` or `device_s`; a currency where the budget is in money."""
        assert self.rule.cost is not None
        return self.rule.cost.unit

    def add(self, stage: str, shard: int, stats: Mapping[str, Any]) -> None:
        """Adds a committed shard; a second report of the same shard and stage is not counted."""
        size = stage.partition("/")[0]
        done = self._done[size]
        shards = done.shards.setdefault(stage, set())
        if shard in shards:
            return
        shards.add(shard)
        done.predicted_s += stats["predicted_s"]
        if stats["predicted_s"] > 0:
            measured = stats["device_s"] if self.prices is None else self.prices.of(size).committed(stats)
            done.pieces.add(stats["rows"], stats["predicted_s"], measured)
        if failed := stats.get("failed", 0):
            done.failed[shard] = done.failed.get(shard, 0) + failed

    def has(self, stage: str, shard: int) -> bool:
        """Tells whether a shard of a stage is committed."""
        return shard in self._done[stage.partition("/")[0]].shards.get(stage, ())

    def committed(self, stage: str) -> int:
        """Counts the committed shards of a stage."""
        return len(self._done[stage.partition("/")[0]].shards.get(stage, ()))

    @contextmanager
    def loading(self, sizes: Iterable[str]) -> Iterator[None]:
        """Notes that the execution inside the ``with`` block loads the pools of these models."""
        self._loaded_before = {size: len(self._loaded(size)) for size in sizes}
        try:
            yield
        finally:
            self._loaded_before = {}

    def position(self, tally: PlanTally, to_come: ToCome) -> Position:
        """Computes where the run stands: what is spent, fixed, owed and kept in reserve, and the measured rates."""
        small_s, large_s = self.owed(tally)
        spent_s, plain = self.meters.spent_s(), self._fit(LARGE, 0.0)
        most_s = max(0.0, self.budget_s - spent_s) / (plain.scale or 1.0)  # profiled seconds that may still be routed
        pieces_s = {SMALL: small_s / max(1, to_come.pieces[SMALL]), LARGE: most_s / max(1, self.shards)}
        rates = {size: self.rate(size, pieces_s[size]) for size in SIZES}
        half_batches_s = {size: self.batch_s(size) / 2 * rates[size].scale for size in SIZES}
        # The last batch of a piece has few rows, and costs nearly as much as a whole one. The measured cost per piece
        # includes this once pieces of different sizes are done.
        beside_s = {
            size: max(rates[size].piece_s * to_come.pieces[size], half_batches_s[size] * (size == SMALL))
            for size in SIZES
        }
        fixed_s = {size: self.load_s(size) * to_come.loads.get(size, 0.0) + self._loading_s(size) for size in SIZES}
        loss_s = self._loss_s(small_s * rates[SMALL].scale) + to_come.judge_load_s
        fallback_s, failed = to_come.fallback * self._fallback_s(rates[SMALL].scale), bool(self._done[LARGE].failed)
        return Position(
            budget_s=self.budget_s,
            spent_s=spent_s,
            fixed_s=to_come.judge_s + fallback_s * failed + sum(fixed_s.values()) + sum(beside_s.values()),
            small_todo_s=small_s,
            large_todo_s=large_s,
            # The load that a first failing row needs is one of the loads in the reserve for deaths.
            reserve_s=max(self.config.budget.reserve * loss_s, fallback_s),
            in_flight=min(1.0, self.config.budget.reserve * self._in_flight(LARGE)),
            small=rates[SMALL],
            large=rates[LARGE],
            batch_s=self.batch_s(LARGE) * self.batch_scale(rates[LARGE].scale),
            parts=parts_of(self.unit),
        )

    def batch_scale(self, scale: float) -> float:
        """Computes the factor for a full batch of the large model from the scale of its rows so far.

        Pieces with fewer rows than a batch cost several times more per row, and say nothing about a full one. It is then
        taken for at most :data:`DISTRUST` times as dear as profiled, as before anything is measured.
        """
        rows, _, _ = self._done[LARGE].pieces.columns()
        full = len(rows) > 0 and rows.mean() >= self.config.models.large.batch_cost_rows
        return scale if full else min(scale, DISTRUST)

    def empty_share(self) -> float:
        """Bounds what an empty place of a batch of the large model costs, as a share of a row; 1 until pieces tell."""
        rows, predicted_s, measured_s = self._done[LARGE].pieces.columns()
        return empty_share(rows, predicted_s, measured_s, self.config.models.large.batch_cost_rows, 1 / DISTRUST)

    def spare_s(self, to_come: ToCome) -> float:
        """Computes how much of the budget is left for rows that are taken back, after all necessary work.

        An engine that dies over such rows is not loaded again, so that nothing is kept for this but a last heartbeat.
        """
        fallback_s = self._fallback_s(self.rate(SMALL).scale) * bool(self._done[LARGE].failed) * to_come.fallback
        beats_s = self._actors(LARGE) * self._beat_s(LARGE)
        return self.budget_s - self.meters.spent_s() - fallback_s - beats_s - to_come.judge_s - to_come.judge_load_s

    def whole_rate(self) -> Rate:
        """Measures the large model's rate from all device-seconds of its pieces; none count as a cost of the piece itself."""
        rows, predicted, device = self._done[LARGE].pieces.columns()
        total_s, device_s = float(predicted.sum()), float(device.sum())
        if not total_s or not device_s:
            return Rate()
        spread = np.sqrt(np.average((device / predicted * total_s / device_s - 1) ** 2, weights=predicted))
        return Rate(total_s, device_s, int(rows.sum()), spread=float(spread))

    def _beat_s(self, size: str) -> float:
        beats_s = [r.beat_s for r in self.meters.readings() if r.kind == size]
        return max(beats_s, default=meter_readings.HEARTBEAT_S * second_of(size, self.prices))

    def batch_s(self, size: str) -> float:
        """Computes the profiled device-seconds of a model for one full batch of every shard."""
        assert self.rule.cost is not None
        return self.shards * self._model(size).batch_cost_rows * self.rule.cost.mean_row_s[size]

    def owed(self, tally: PlanTally) -> tuple[float, float]:
        """Computes the profiled seconds still to be done by each model, (small, large), if no further row is routed."""
        small_s, large_s = tally.seconds(self.rule.both)
        return max(0.0, small_s - self._done[SMALL].predicted_s), max(0.0, large_s - self._done[LARGE].predicted_s)

    def rate(self, size: str, piece_s: float = 0.0) -> Rate:
        """Measures a model's rate on its work so far; the time that its actors held a device without work is included.

        Pieces that are much smaller than those to come, of `piece_s` profiled seconds, say little about them.
        """
        rate, (held_s, busy_s), before = self._fit(size, piece_s), self._held(size), self._waited.get(size, (0.0, 0.0))
        held_s, busy_s = held_s - before[0], busy_s - before[1]
        return replace(rate, measured_s=rate.measured_s * max(1.0, held_s / busy_s if busy_s > 0 else 1.0))

    def _held(self, size: str) -> tuple[float, float]:
        """Device-seconds that a model's actors held without loads, and the part of these in which they worked."""
        ours = [r for r in self.meters.readings() if r.kind == size]
        return sum(r.device_s - r.load_s for r in ours), sum(r.busy_s for r in ours)

    def forget_waiting(self) -> None:
        """Leaves the waiting of the large model's actors so far out of the rate, because it will not happen again."""
        self._waited[LARGE] = self._held(LARGE)

    def known(self, size: str) -> tuple[float, float]:
        """Returns the profiled seconds of a model's committed work, and the error of its rate.

        The rate is fitted again only after 2 % more pieces, so that a call at every commit is cheap.
        """
        done, (pieces, rate) = self._done[size], self._rates.get(size, (0, Rate()))
        if len(done.pieces) > 1.02 * pieces:
            rate = self._fit(size, 0.0)
            self._rates[size] = len(done.pieces), rate
        return done.predicted_s, rate.error

    def load_s(self, size: str) -> float:
        """Estimates the device-seconds to load a model in all actors of its pool.

        Each load counts as the slowest load so far; before any, as the profile says.
        """
        assert self.rule.cost is not None
        loads = [r.load_s for r in self._loaded(size)]
        return max(loads, default=self.rule.cost.translator(size).load_s) * self._actors(size)

    def _loading_s(self, size: str) -> float:
        """Device-seconds still to be paid for the loads of the current execution."""
        if size not in self._loaded_before:
            return 0.0
        missing = self._actors(size) - (len(self._loaded(size)) - self._loaded_before[size])
        return self.load_s(size) / self._actors(size) * max(0, missing)

    def _loss_s(self, small_s: float) -> float:
        """Device-seconds lost if all actors die: loads, time since their last heartbeats, and pieces in flight."""
        loads_s = sum(self.load_s(size) for size in SIZES)
        beats_s = sum(self._actors(size) * self._beat_s(size) for size in SIZES)
        return loads_s + beats_s + min(1.0, self._in_flight(SMALL)) * small_s

    def _fallback_s(self, scale: float) -> float:
        """Device-seconds of the small model for rows the large one fails on: loads, and a batch of each such shard."""
        failed, actors = self._done[LARGE].failed, self._actors(SMALL)
        engines = min(actors, max(1, len(failed))) / actors
        return self.load_s(SMALL) * engines + self.batch_s(SMALL) * scale * len(failed) / max(1, self.shards)

    def _loaded(self, size: str) -> list[meter_readings.MeterReading]:
        return [r for r in self.meters.readings() if r.kind == size and r.state != meter_readings.LOADING]

    def _in_flight(self, size: str) -> float:
        """The most shards that a pool works on at once, as a share of all: engines that start together may all be nearly done."""
        model = self._model(size)
        calls = model.kind.max_concurrency(model, self.config.input.shard_rows)
        return self._actors(size) * calls / max(1, self.shards)

    def _actors(self, size: str) -> int:
        return max(1, min(self.shards, self._model(size).pool.actors))

    def _model(self, size: str) -> ModelConfig:
        return self.config.models.small if size == SMALL else self.config.models.large

    def _fit(self, size: str, piece_to_come_s: float) -> Rate:
        pieces = self._done[size].pieces
        if not len(pieces):
            return Rate()
        rows, predicted, device = pieces.columns()
        (piece_s, scale), alike = fit_pieces(predicted, device), True
        if not piece_s or predicted.max() < piece_to_come_s / LIKE**2:
            piece_s = 0.0  # the cost per piece is unknown, so that pieces of another size say little
            chosen, alike = similar_size(predicted, piece_to_come_s)
            rows, predicted, device = rows[chosen], predicted[chosen], device[chosen]
            scale = device.sum() / predicted.sum() if predicted.any() else 0.0
        total_s = float(predicted.sum())
        rate = Rate(total_s, float(scale * total_s), int(rows.sum()), piece_s=piece_s, alike=alike)
        if not rate.known:
            return rate
        ratios = device / (piece_s + scale * predicted)
        return replace(rate, spread=float(np.sqrt(np.average((ratios - 1) ** 2, weights=predicted))))
