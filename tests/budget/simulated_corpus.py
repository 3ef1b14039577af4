"""A scored corpus and a run directory in memory, for simulated runs."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routelmt_ray.budget import Cut, Search
from routelmt_ray.budget.rule import BELOW_CUT, Band, Rule
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.stages.routes import Routes, _open, decide

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Rows:
    """The scored rows, as a rule sees them; see `routelmt_ray.stages.routes.ShardRows`."""

    def __init__(self, gains: Floats, small_s: Floats, large_s: Floats, parts: int = 1_000_000) -> None:
        self.parts = parts
        n, self.gains = len(gains), gains.astype(np.float32)
        self.small_s = self.owed_small_s = small_s
        self.large_s = self.owed_large_s = large_s
        self.audit = self.paid = np.zeros(n, bool)
        self.ok, self.first_place = np.ones(n, bool), 0
        self.reason = np.full(n, BELOW_CUT, np.int8)
        self.failing = np.zeros(n, bool)

    def values(self, scales: tuple[float, float]) -> tuple[Any, Any]:
        extra = np.rint(self.parts * (scales[1] * self.large_s - scales[0] * self.small_s))
        weights = np.maximum(extra, 1).astype(np.int64)
        return (self.gains / (weights * (1 / self.parts))).astype(np.float32), weights


@dataclass
class Corpus:
    """A scored corpus in memory, with the answers of `routelmt_ray.plan.allocate.ScoredCorpus`."""

    context: Any
    rows: Rows
    shard_of: np.ndarray[Any, Any]
    shards: int
    batch_rows: int
    translated: dict[str, Any]
    plan: Any = None
    _decided: dict[Any, Routes] = field(default_factory=dict)
    _settled: dict[Any, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = _Plan(len(self.shard_of), self.shards)

    def decide(self, rule: Rule) -> Routes:
        """What the decisions of a rule say, worked out once for each."""
        if rule.decisions not in self._decided:
            self._decided[rule.decisions] = decide(self.rows, rule)  # type: ignore[arg-type]
        return self._decided[rule.decisions]

    def find_cut(self, rule: Rule, search: Search, scales: tuple[float, float], again: str | None = None) -> Band:
        rows: Any = self.rows
        values, weights = rows.values(scales)
        still = np.flatnonzero(_open(rows, rule, self.decide(rule), again))
        order = still[np.argsort(-values[still], kind="stable")]
        taken = np.cumsum(weights[order])
        limit = len(order) if search.k is None else search.k
        k = min(limit, len(order) if search.capacity is None else int(np.searchsorted(taken, search.capacity, "right")))
        threshold = float(values[order[k - 1]]) if k else None
        return Band(Cut(k, int(taken[k - 1]) if k else 0, len(order), threshold), scales)

    def tally(self, rule: Rule) -> PlanTally:
        rows: Any = self.rows
        routes = self.decide(rule)
        owed = [self._owed(rule.decisions[: number + 1], routes, number) for number in range(len(rule.decisions))]
        still = routes.by < 0
        return PlanTally(
            int(routes.routed.sum()), int(routes.small.sum()), int(still.sum()), float(rows.gains[routes.routed].sum()),
            tuple(owed), float(rows.small_s[still].sum()),
        )  # fmt: skip

    def _owed(self, decisions: Any, routes: Routes, number: int) -> tuple[float, ...]:
        if (
            decisions not in self._settled
        ):  # no later decision changes what one settled, but for rows already translated
            small_s, large_s = self.rows.small_s, self.rows.large_s
            of = routes.by == number
            routed = of & routes.routed
            by_shard = np.bincount(self.shard_of[routed], large_s[routed], self.shards)
            count = np.bincount(self.shard_of[routed], minlength=self.shards)
            besides = float((by_shard / np.maximum(1, count) * (-count % self.batch_rows)).sum())
            sums = (small_s[of & routes.small].sum(), small_s[routed].sum(), by_shard.sum())
            self._settled[decisions] = (*map(float, sums), besides)
        return self._settled[decisions]

    def taken_back(self, rule: Rule) -> Any:
        """True for rows that a decision took back from the small model."""
        routes, again = self.decide(rule), np.array([decision.again is not None for decision in rule.decisions])
        return routes.routed & again[routes.by]

    def counts(self, rule: Rule, large: Any, small: Any) -> dict[int, tuple[int, int]]:
        to_do = self.taken_back(rule) & ~self.translated[LARGE], self.decide(rule).small & ~self.translated[SMALL]
        counts = [np.bincount(self.shard_of[left], minlength=self.shards).tolist() for left in to_do]
        return dict(enumerate(zip(*counts)))


@dataclass
class _Plan:
    rows: int
    shards: int

    def __len__(self) -> int:
        return self.shards


class Run:
    """A run directory in memory."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.stages: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)

    def metas(self, stage: str) -> dict[int, dict[str, Any]]:
        return dict(self.stages.get(stage, {}))

    def manifest(self) -> None:
        return None

    def plans(self) -> list[dict[str, Any]]:
        return list(self.entries)

    def write_plan(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
