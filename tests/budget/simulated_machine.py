"""A machine whose clocks are simulated: engines load, work, wait and die as a truth says that is drawn by a seed."""

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from routelmt_ray.budget.price import Prices
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.due import entry_of
from routelmt_ray.plan.plan import AUDIT, FALLBACK, LegOf, Remainder, Series
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.pipelines import StageFailed
from routelmt_ray.runtime.readings import BUSY, ENDED, IDLE, LOADING, MeterReading, charged_s, in_money
from routelmt_ray.stages.translate import Always
from tests.budget.simulated_corpus import Corpus, Floats, Run

TOKENS = 100.0
"""Tokens of a second of a served model."""


@dataclass(frozen=True)
class Truth:
    """What a run meets. Seconds are device-seconds; pairs are of the small and the large model."""

    rows: int
    shards: int
    actors: tuple[int, int]
    batch_rows: tuple[int, int]
    gpus: float
    """Of an actor; 0 counts CPU seconds, which waiting does not cost."""
    together: bool
    row_s: tuple[float, float]
    """Of an average row."""
    wrong: tuple[float, float]
    """Profiled over true cost."""
    load_s: tuple[float, float]
    load_error: float
    """Spread of loads, as a share."""
    unfilled: float
    """What an empty place of a batch costs, as a share of a full one."""
    drift: float
    """Spread of what pieces of work cost, as a share."""
    share: float
    """Of what all-large takes more than all-small, how much the budget holds."""
    reserve: float = 1.0
    deaths: tuple[float, ...] = ()
    """When an engine that works dies, as shares of the run."""
    kill: float | None = None
    """When the driver dies and all engines with it; the run is started once more."""
    unlucky: int | None = None
    """Number of a load that takes twice as long."""
    failing: int = 0
    """Routed rows the large model fails on."""
    judge_s: tuple[float, float] = (0.0, 0.0)
    """Of a judge, once all is translated: to load it, and to judge."""
    judge_dies: bool = False
    """True where it is loaded once more."""
    held: float | None = None
    """Share of what is left to the large model that is held for rows whose small translation fails a check; None: no check."""
    faulty: float = 0.0
    """Share of the small translations that fail."""
    broken: tuple[str, int] | None = None
    """Stage and shard of a piece of work that fails in the first start."""
    fails: int = 1000
    """How often it fails."""
    prices: tuple[float, float] | None = None
    """Of a device-hour of each model, where the budget is in money."""
    served: bool = False
    """True where a server runs the large model: the second price is then that of 360,000 tokens, and it answers with 100 in a second."""
    seed: int = 0


class Killed(BaseException):
    """The driver is dead."""


@dataclass
class Actor:
    """One process that holds an engine."""

    kind: str
    name: str
    born: float
    loaded_at: float
    gpus: float
    beat_s: float
    busy_s: float = 0.0
    work_from: float | None = None
    died: bool = False
    ended: float | None = None
    prices: Prices | None = None
    served: bool = False

    def reading(self, now: float) -> MeterReading:
        until = now if self.ended is None else self.ended
        load_s = min(until, self.loaded_at) - self.born
        busy_s = self.busy_s + (until - self.work_from if self.work_from is not None else 0.0)
        held_s = until - self.born if self.gpus else load_s + busy_s
        state = LOADING if until < self.loaded_at else BUSY if self.work_from is not None else IDLE
        if self.ended is not None and not self.died:
            state = ENDED
        gpus = self.gpus or 1.0
        found = MeterReading(
            self.kind, "x", "host", 1, self.gpus, "", "", held_s * gpus, load_s * gpus, busy_s * gpus, self.beat_s, 0, state,
            actor=self.name,
        )  # fmt: skip
        if self.served:
            usage, most = ({"completion_tokens": TOKENS * s} for s in (busy_s, self.beat_s))
            found = replace(found, usage=usage, beat_usage=most)
        return found if self.prices is None else in_money(found, self.prices)


@dataclass
class Machine:
    """Carries works out on simulated clocks."""

    truth: Truth
    corpus: Corpus
    run: Run
    true_s: Mapping[str, Floats]
    rng: np.random.Generator
    failing: Collection[int] = ()
    now: float = 0.0
    actors: list[Actor] = field(default_factory=list)
    pieces: int = 0
    loads: int = 0
    deaths: set[int] = field(default_factory=set)
    """Numbers of the pieces over which an engine dies, all but done."""
    kill_at: int | None = None
    broken: tuple[str, int] | None = None
    failures: int = 0
    before_s: float = 0.0
    """Spent outside of the loop."""
    prices: Prices | None = None

    def gpus(self, size: str) -> float:
        return 0.0 if size == LARGE and self.truth.served else self.truth.gpus

    def readings(self) -> list[MeterReading]:
        return [actor.reading(self.now) for actor in self.actors]

    def spent_s(self) -> float:
        spent = 0.0
        for actor in self.actors:
            reading = actor.reading(self.now)
            spent += reading.device_s if actor.ended is None else charged_s(reading)
        return self.before_s + spent

    def read_again(self) -> None:
        """Has nothing to forget."""

    def rows_of(self, leg_of: Any, series: Series, size: str, stage: str) -> Any:
        """Numbers of the rows of a leg."""
        entry, routes = entry_of(stage), self.corpus.decide(series.current_rule())
        if isinstance(leg_of, LegOf):
            decided = series.of("opening", "tranche", "topped")
            number = next((i for i, e in enumerate(decided) if e["entry"] == entry), None)
            mine = routes.routed if size == LARGE else routes.small
            return mine & (routes.by == number) if number is not None else np.zeros(len(mine), bool)
        if isinstance(leg_of, Always) and size == LARGE:
            return self.corpus.taken_back(series.current_rule()) & ~self.corpus.translated[LARGE]
        if isinstance(leg_of, Always) or entry == FALLBACK:
            return routes.routed & ~self.corpus.translated[LARGE] & ~self.corpus.translated[SMALL]
        assert isinstance(leg_of, Remainder)
        return routes.small & ~self.corpus.translated[SMALL]

    def piece_s(self, size: str, rows: Any) -> float:
        """Device-seconds of a piece of work."""
        if not len(rows):
            return 0.0
        empty = -len(rows) % self.truth.batch_rows[size == LARGE]
        drift = 1 + self.truth.drift * self.rng.uniform(-1, 1)
        return float(self.true_s[size][rows].sum()) * (1 + self.truth.unfilled * empty / len(rows)) * drift

    def actor(self, size: str, name: str, at: float) -> Actor:
        truth, large = self.truth, size == LARGE
        load_s = truth.load_s[large] * (1 + truth.load_error * self.rng.uniform(-1, 1))
        load_s *= 2 if self.loads == truth.unlucky else 1
        self.loads += 1
        served = large and truth.served
        gpus = self.gpus(size) or 1.0
        actor = Actor(
            size, name, at, at + load_s / gpus, self.gpus(size), meter_readings.HEARTBEAT_S * gpus, prices=self.prices, served=served
        )  # fmt: skip
        self.actors.append(actor)
        return actor

    def carry_out(
        self, series: Callable[[], Series], works: list[Any], on_commit: Any = None, in_order: bool = False
    ) -> None:
        """Runs works side by side; each actor takes the next item that may go on."""
        start = self.now
        queues: dict[str, list[tuple[str, int]]] = {}
        heap: list[tuple[float, int, str, Any]] = []
        waiting: list[tuple[str, Actor]] = []
        order, held, failed_pieces = 0, [], []
        legs = {work.size: work.leg_of for work in works}
        for work in works:
            size = work.size
            queues[size] = [t for t in work.rows if t[1] not in self.run.stages[t[0]]][::-1]
            for _ in range(
                min(self.truth.actors[size == LARGE], len({shard for _, shard in work.rows})) if queues[size] else 0
            ):
                actor = self.actor(size, f"{size}-{self.loads}", start)
                held.append(actor)
                heap.append((actor.loaded_at, order := order + 1, size, (actor, None)))
        heapq.heapify(heap)
        wanted: dict[str, dict[int, Any]] = {}

        def rows_of(size: str, stage: str, shard: int) -> Any:
            if stage not in wanted:
                mask = self.rows_of(legs[size], series(), size, stage)
                at = np.flatnonzero(mask)
                wanted[stage] = {s: at[self.corpus.shard_of[at] == s] for s in np.unique(self.corpus.shard_of[at])}
            return wanted[stage].get(shard, np.zeros(0, np.intp))

        def next_task(size: str, actor: Actor) -> None:
            nonlocal order
            queue = queues[size]
            if not queue:  # Ray ends an actor that will get no more
                held.remove(actor)
                actor.ended = self.now
                return
            stage, shard = queue[-1]
            if entry_of(stage) not in (AUDIT, FALLBACK) and entry_of(stage) >= series().next_number:
                waiting.append((size, actor))
                return
            queue.pop()
            rows = rows_of(size, stage, shard)
            wall_s = self.piece_s(size, rows) / (self.gpus(size) or 1.0)
            actor.work_from = self.now
            self.pieces += bool(len(rows))
            if len(rows) and self.pieces in self.deaths:
                queue.append((stage, shard))
                heapq.heappush(heap, (self.now + wall_s, order := order + 1, size, (actor, "death")))
            else:
                heapq.heappush(heap, (self.now + wall_s, order := order + 1, size, (actor, (stage, shard, rows))))

        while heap:
            self.now, _, size, (actor, what) = heapq.heappop(heap)
            if what == "death":
                actor.died, actor.ended = True, self.now
                held.remove(actor)
                if size == LARGE and series().of("topped"):  # it is not loaded again
                    failed_pieces.append((size, len(self.actors)))
                    break
                again = self.actor(size, actor.name, self.now)
                held.append(again)
                heapq.heappush(heap, (again.loaded_at, order := order + 1, size, (again, None)))
                continue
            if what is not None:
                stage, shard, rows = what
                if self.kill_at is not None and self.pieces >= self.kill_at:  # a piece that is all but done is lost too
                    self.kill_at = None
                    for one in held:
                        one.died, one.ended = True, self.now
                    raise Killed
                took = self.now - (actor.work_from or 0.0)
                actor.busy_s, actor.work_from = actor.busy_s + took, None
                if len(rows) and (stage, shard) == self.broken and self.failures < self.truth.fails:
                    self.failures += 1
                    failed_pieces.append(self.broken)
                    if in_order:  # the others would wait for it
                        break
                    next_task(size, actor)
                    continue
                failed = [row for row in rows if size == LARGE and row in self.failing]
                self.corpus.translated[size][[row for row in rows if row not in failed]] = True
                predicted = self.corpus.rows.large_s if size == LARGE else self.corpus.rows.small_s
                stats = {
                    "rows": len(rows), "predicted_s": float(predicted[rows].sum()), "failed": len(failed),
                    "device_s": took * (self.gpus(size) or 1.0),
                }  # fmt: skip
                if actor.served:
                    stats["charged_completion_tokens"] = TOKENS * took
                self.run.stages[stage][shard] = stats
                if on_commit is not None:
                    on_commit(stage, shard, stats)
                for one_size, one in [waiting.pop() for _ in range(len(waiting))]:
                    next_task(one_size, one)
            next_task(size, actor)
        for actor in held:
            actor.ended = self.now
        if failed_pieces:
            raise StageFailed(f"{failed_pieces} did not commit")
        left = {size: queue[-1] for size, queue in queues.items() if queue}
        assert not left, f"items wait for an entry that is never written: {left}"
