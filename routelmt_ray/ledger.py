"""The books of a budget in hours: what is spent, what was foretold of it, and what is still owed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from routelmt_ray import metering
from routelmt_ray.budget.closed_loop import Position, Rate
from routelmt_ray.budget.rate_fit import fit_pieces
from routelmt_ray.config_translate import TranslateConfig
from routelmt_ray.rundir import RunDir
from routelmt_ray.schema import LARGE, SMALL
from routelmt_ray.stages.allocate import Tally
from routelmt_ray.stages.rule import Rule

_READ_EVERY_S = 0.5


@dataclass
class _Done:
    """Work of one stage that is committed."""

    shards: set[int] = field(default_factory=set)
    pieces: list[tuple[int, float, float]] = field(default_factory=list)  # rows, predicted and device-seconds


@dataclass
class Ledger:
    """The books of one series of plan entries."""

    config: TranslateConfig
    """The job."""
    run: RunDir
    """The run directory, with its meters."""
    rule: Rule
    """It has the cost model."""
    _done: dict[str, _Done] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)
    _read: tuple[float, list[metering.Reading]] = field(default_factory=lambda: (-1e9, []))  # when, and what

    @property
    def budget_s(self) -> float:
        """Device-seconds asked for."""
        hours = self.config.budget.gpu_hours
        assert hours is not None
        return hours * 3600

    @property
    def unit(self) -> str:
        """What is counted."""
        assert self.rule.cost is not None
        return self.rule.cost.unit

    def take_up(self, stage: str) -> None:
        """Enters what earlier starts committed of a stage."""
        self._done.setdefault(stage, _Done())
        for shard, meta in self.run.metas(stage).items():
            self.add(stage, shard, meta)

    def add(self, stage: str, shard: int, learnt: Mapping[str, Any]) -> None:
        """Enters a commit; a second writer of a shard reports too, and is not counted."""
        done = self._done[stage]
        if shard not in done.shards:
            done.shards.add(shard)
            done.pieces.append((learnt["rows"], learnt["predicted_s"], learnt["device_s"]))

    def shards(self, stage: str) -> int:
        """Committed shards of a stage."""
        return len(self._done[stage].shards) if stage in self._done else 0

    def position(
        self, tally: Tally, small_again: bool, judge_load_s: float, pieces_to_come: Mapping[str, int], shards: int
    ) -> Position:
        """Where the run stands.

        Args:
            tally: of what the plan has settled.
            pieces_to_come: most pieces of work to come that have rows, by model.
            small_again: True where the small model is to be loaded once more than it is now.
            judge_load_s: device-seconds of loading a judge, where that is to come.
            shards: how many the corpus has.
        """
        small_s, large_s = self.owed(tally)
        again_s = self.load_s(SMALL) * (small_again or self.config.guard.keep_better is not None)
        rates = {size: self.rate(size) for size in (SMALL, LARGE)}
        to_come_s = sum(self._load_to_come_s(size) for size in rates)
        pieces_s = {size: rates[size].piece_s * pieces_to_come[size] for size in rates}
        # The small model's last piece of a shard has few rows, and half a batch costs nearly what a whole one does: seen in
        # what pieces cost besides their rows, once pieces of different sizes are done.
        half_batches_s = shards * self._batch_rows(SMALL) / 2 * self._mean_row_s(SMALL) * rates[SMALL].scale
        to_come_s += pieces_s[LARGE] + max(pieces_s[SMALL], half_batches_s)
        return Position(
            budget_s=self.budget_s,
            spent_s=sum(metering.charged_s(reading, time.time()) for reading in self._readings())
            + self._not_yet_read_s(),
            fixed_s=judge_load_s + again_s + to_come_s,
            small_todo_s=small_s,
            large_todo_s=large_s,
            small=rates[SMALL],
            large=rates[LARGE],
            batch_s=shards * self._batch_rows(LARGE) * self._mean_row_s(LARGE) * rates[LARGE].scale,
        )

    def _batch_rows(self, size: str) -> int:
        models = self.config.models
        model = models.small if size == SMALL else models.large
        return model.vllm.max_num_seqs if model.engine == "vllm" else model.batch_rows

    def _mean_row_s(self, size: str) -> float:
        assert self.rule.cost is not None
        return self.rule.cost.mean_row_s[size]

    def _readings(self) -> list[metering.Reading]:
        """The meters as of a moment ago: one commit asks for them many times, and on S3 each is a request."""
        if time.monotonic() - self._read[0] > _READ_EVERY_S:
            self._read = time.monotonic(), metering.readings(self.run)
        return self._read[1]

    def _not_yet_read_s(self) -> float:
        """What actors at work may have spent since their last beat."""
        now, busy = time.time(), [r for r in self._readings() if r.state == metering.BUSY]
        since = [(now - datetime.fromisoformat(r.updated).timestamp()) * (r.gpus or 1.0) for r in busy]
        return sum(min(seconds, r.beat_s) for seconds, r in zip(since, busy))

    def owed(self, tally: Tally) -> tuple[float, float]:
        """Profiled seconds still to be done by the small and the large model if no further row is routed."""
        small_s, large_s = (
            max(0.0, seconds - self._sum(size).predicted_s)
            for size, seconds in zip((SMALL, LARGE), tally.seconds(self.rule.both))
        )
        return small_s, large_s

    def rate(self, size: str) -> Rate:
        """A model's work so far, with its share of the time that its actors held a device and had nothing to do."""
        rate, readings = self._sum(size), [r for r in self._readings() if r.kind == size]
        busy_s, held_s = sum(r.busy_s for r in readings), sum(r.device_s - r.load_s for r in readings)
        return replace(rate, measured_s=rate.measured_s * max(1.0, held_s / busy_s if busy_s else 1.0))

    def load_s(self, size: str) -> float:
        """Device-seconds of loading a model in all actors of its pool."""
        assert self.rule.cost is not None
        ours = self._loaded(size)
        load_s = sum(r.load_s for r in ours) / len(ours) if ours else self.rule.cost.translator(size).load_s
        return load_s * self._actors(size)

    def _load_to_come_s(self, size: str) -> float:
        ours = [r for r in self._loaded(size) if datetime.fromisoformat(r.started).timestamp() >= self._started]
        return self.load_s(size) * max(0.0, 1 - len(ours) / self._actors(size))

    def _loaded(self, size: str) -> list[metering.Reading]:
        return [r for r in self._readings() if r.kind == size and r.state != metering.LOADING]

    def _actors(self, size: str) -> int:
        models = self.config.models
        return (models.small if size == SMALL else models.large).pool.actors

    def _sum(self, size: str) -> Rate:
        pieces = [piece for stage, done in self._done.items() if stage.startswith(f"{size}/") for piece in done.pieces]
        rows, predicted, device = np.array([piece for piece in pieces if piece[1] > 0] or [(0, 0.0, 0.0)]).T
        piece_s, scale = fit_pieces(predicted, device)
        rate = Rate(float(predicted.sum()), float(scale * predicted.sum()), int(rows.sum()), piece_s=piece_s)
        if not rate.known:
            return rate
        ratios = device / (piece_s + scale * predicted)
        return replace(rate, spread=float(np.sqrt(np.average((ratios - 1) ** 2, weights=predicted))))
