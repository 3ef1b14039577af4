"""Planning: selections over the scored corpus become plan entries; each entry is written before it is used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from routelmt_ray.budget import Search, rows_for_fraction
from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.rule import FAILING, KEPT, UNSCALED, Band, Decision, Rule
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan import plan as plans
from routelmt_ray.plan.allocate import PlanTally, ScoredCorpus
from routelmt_ray.plan.base import base_of
from routelmt_ray.plan.plan import CANDIDATES, CLOSED, ESCALATED, OPENING, TRANCHE, WHOLE, Series

_ALL = 1 << 62
"""A number of rows larger than any corpus."""
_LEAST_SURE = 0.1
"""Least share of the open rows that an opening leaves to the small model, so that its cost is measured."""
_SURE_BATCHES, _MOST_SURE = 1.5, 0.35
"""Batches of every shard that this share should fill, because batches with few rows say little about full ones; and the
largest share that is left to the small model for this."""
_JUDGE_SAMPLE = 256
"""Rows whose translation is judged to learn the cost of judging."""
_TRIES = 7
"""Cuts that are tried for a tranche."""
_SPARE = 1.25
"""Candidates are named for this many times the budget, because the small translations of some will be good enough."""


BesidesUs = Callable[[PlanTally], float]
"""(tally) -> microseconds that the rows of the last decision may take beside their own cost."""


@dataclass
class Planner:
    """Writes the entries of the series of a budget."""

    config: TranslateConfig
    """The configuration of the job."""
    corpus: ScoredCorpus
    """The scored corpus."""
    n_eligible: int
    """Rows that have a score, of a repeated segment the first; fixed after scoring."""
    series: Series
    """The entries so far."""
    eligible_rows: int | None = None
    """These rows with their repeats; None where repeats are translated like other rows."""
    judge_row_s: float = 0.0
    """Device-seconds to judge both translations of a routed row, where the better one is kept."""

    @classmethod
    def start(
        cls,
        config: TranslateConfig,
        corpus: ScoredCorpus,
        rule: Rule,
        n_eligible: int,
        eligible_rows: int | None = None,
    ) -> "Planner":
        """Loads the series of the configured budget, or starts a new series.

        Args:
            config: the configuration of the job.
            corpus: the scored corpus.
            rule: the rule that the configuration gives.
            n_eligible: rows that have a score.
            eligible_rows: these rows with their repeats; None where repeats are translated like other rows.

        Raises:
            ValueError: floors or caps name a stratum that no row has.
        """
        run = corpus.context.run
        series = plans.newest_series(run, rule, config)
        if series is None:
            series = Series(rule, len(run.plans()), base_of(config, corpus, rule))
        planner = cls(config, corpus, n_eligible, series, eligible_rows)
        planner.learn_judge()
        return planner

    @property
    def rule(self) -> Rule:
        """The rule with all decisions so far, and with the cost of judging that is known now."""
        return replace(self.series.current_rule(), judge_row_s=self.judge_row_s)

    @property
    def k(self) -> int | None:
        """Rows that the budget allows, even if fewer can be routed; None for a budget in hours. A threshold allows all."""
        budget = self.config.budget
        if budget.threshold is not None:
            return self.n_eligible
        return budget.rows if budget.fraction is None else rows_for_fraction(budget.fraction, self.n_eligible)

    def outlook(self) -> PlanTally:
        """Sums up the work and its cost before anything but floors is decided."""
        return self._with_floors()[1]

    def settle(self) -> None:
        """Settles every row at once, for a budget in rows.

        Raises:
            Refused: the floors ask for more rows than the budget allows.
        """
        assert self.k is not None
        rule, floors = self._with_floors()
        if floors.routed > self.k:
            raise Refused(
                f"budget.floors ask for {floors.routed} rows, but the budget allows {self.k}; lower the floors or raise "
                "the budget"
            )
        k = max(0, self.k - self.held_rows - floors.routed)
        self._write(WHOLE, Decision(self._cut(rule, k=k)))

    @property
    def held_rows(self) -> int:
        """Rows of the budget that are held for rows whose small translation fails a check."""
        checks = self.config.checks
        return rows_for_fraction(checks.reserve, self.k) if checks.escalates and self.k is not None else 0

    def take_back(self, capacity: Capacity | None = None, besides_us: BesidesUs = lambda _: 0.0, **facts: Any) -> bool:
        """Spends what the budget held, once the small translations are checked: writes the next of two entries.

        The first takes rows whose translation fails back from the small model, the second the best of the others.

        Args:
            capacity: what the rows may take, for a budget in hours. A row costs the whole of the large model.
            besides_us, facts: as in :meth:`add_tranche`.

        Returns:
            False where both entries were written before.
        """
        if (written := len(self.series.of(ESCALATED))) == 2:
            return False
        again, rule = (FAILING, KEPT)[written], self.rule
        if capacity is None:
            assert self.k is not None
            k = max(0, self.k - PlanTally.from_dict(self.series.last["tally"]).routed)
            band = self._cut(rule, again=again, k=k)
        else:
            band = self._cut(rule, (0.0, capacity.scale_large), again, capacity=capacity.microseconds)
            if band.cut.k:
                band = self._fitting(rule, band, capacity, besides_us, again)
        self._write(ESCALATED, Decision(band, again=again), **facts)
        return True

    def open(self, widest: Capacity, held_s: float = 0.0) -> PlanTally:
        """Opens a budget in hours: floors are routed; rows that certainly are not routed go to the small model.

        Args:
            widest: the largest capacity that is still possible.
            held_s: device-seconds that are held for rows whose small translation fails a check.

        Returns:
            The tally after this entry.
        """
        rule, floors = self._with_floors()
        scales = (widest.scale_small, widest.scale_large)
        band = self._cut(rule, scales, capacity=widest.microseconds)
        batches = _SURE_BATCHES * self.config.models.small.rows_at_once * len(self.corpus.plan)
        sure = max(_LEAST_SURE, min(_MOST_SURE, batches / max(1, floors.open)))
        most = int((1 - sure) * floors.open)
        if band.cut.k > most:
            band = self._cut(rule, scales, k=most)
        return self._write(OPENING, Decision(None, band, final=False), held_s=held_s)

    def add_tranche(
        self,
        capacity: Capacity,
        widest: Capacity,
        besides_us: BesidesUs = lambda _: 0.0,
        **facts: Any,
    ) -> PlanTally:
        """Routes the rows of the next tranche, and writes its entry.

        Args:
            capacity: what the tranche may take.
            widest: the largest capacity that is still possible for this tranche and all later ones.
            besides_us: (tally) -> microseconds that the routed rows may take beside their own cost.
            facts: where the run stands, to be recorded in the entry.

        Returns:
            The tally after this entry.
        """
        rule = self.rule
        tranche, final = len(self.series.of(TRANCHE)), capacity.final
        scales = (capacity.scale_small, capacity.scale_large)
        routed = self._cut(rule, scales, capacity=capacity.microseconds)
        if routed.cut.k:
            routed = self._fitting(rule, routed, capacity, besides_us)
        still_open = None
        if not final:
            most = max(widest.microseconds, capacity.microseconds)
            still_open = self._cut(rule, (widest.scale_small, widest.scale_large), capacity=most)
        tally = self._write(TRANCHE, Decision(routed, still_open, final), tranche=tranche, **facts)
        for _ in range(tranche + 1, self.config.budget.tranches if final else 0):  # their items of work are waiting
            self._write(CLOSED, final=True, tally=tally.to_dict())
        return tally

    def _fitting(
        self, rule: Rule, routed: Band, capacity: Capacity, besides_us: BesidesUs, again: str | None = None
    ) -> Band:
        """The largest cut, found by bisection, whose rows fit with what they take beside; an empty cut if none fits."""
        low, high, tried_us, best = 0, capacity.microseconds, capacity.microseconds, None
        for _ in range(_TRIES):
            if (
                routed.cut.weight + besides_us(self.corpus.tally(rule.then(Decision(routed, again=again))))
                <= capacity.limit
            ):
                low, best = tried_us, routed
            else:
                high = tried_us
            if low == capacity.microseconds or high - low <= 0.02 * capacity.microseconds:
                break
            tried_us = (low + high) // 2
            routed = self._cut(rule, routed.scales, again, capacity=tried_us)
        return best or self._cut(rule, routed.scales, again, capacity=0)

    def name_candidates(self, room_us: Callable[[], int | None]) -> bool:
        """Selects rows whose small translation must be judged, until enough of them may be routed.

        With a guard that judges first no other row is routed. With `keep_better` alone and a budget in hours, a few rows are
        judged to learn the cost of judging.

        Args:
            room_us: () -> microseconds that the large model may add; None for a budget in rows.

        Returns:
            True where the newest entry names candidates that must be translated and judged now.
        """
        judges_first = self.rule.judges_first
        if not judges_first and (self.config.guard.keep_better is None or self.k is not None):
            return False
        entries, run = self.series.entries, self.corpus.context.run
        if entries and entries[-1]["kind"] != CANDIDATES:
            return False
        if entries:
            if len(run.committed(f"judge/{entries[-1]['entry']:03d}")) < len(self.corpus.plan):
                return True
            if not judges_first or self._enough_candidates(room_us()):
                return False
        rule = replace(self.rule, candidates=None)
        room = room_us()
        if judges_first and self.k is None:
            named = self._cut(rule, capacity=int(_SPARE * (room or 0)) + 1)
        else:
            named = self._cut(
                rule, k=int(_SPARE * self.k) + 16 if judges_first and self.k is not None else _JUDGE_SAMPLE
            )
        self._write(CANDIDATES, candidates=named.to_dict())
        return True

    def _enough_candidates(self, room_us: int | None) -> bool:
        named = self.series.last["candidates"]["cut"]
        within = self._cut(self.rule, k=_ALL).cut
        enough = within.k >= self.k if self.k is not None else within.weight >= (room_us or 0)
        return enough or named["k"] == named["n_eligible"]

    def learn_judge(self) -> None:
        """Learns the cost of judging from the candidates judged so far, where the better translation is kept."""
        run = self.corpus.context.run
        metas = [meta for stage in self.series.judge_stages() for meta in run.metas(stage).values()]
        judgements = sum(meta["judgements"] for meta in metas)
        if judgements and self.config.guard.keep_better is not None:
            self.judge_row_s = 2 * sum(meta["device_s"] for meta in metas) / judgements

    def _cut(self, rule: Rule, scales: tuple[float, float] = UNSCALED, again: str | None = None, **limit: Any) -> Band:
        return self.corpus.find_cut(rule, Search(seed=self.corpus.context.seed, **limit), scales, again)

    def _with_floors(self) -> tuple[Rule, PlanTally]:
        """The rule after floors and rows paid by an earlier budget are routed, and its tally."""
        rule = self.rule.then(Decision(None, None, final=False))
        return rule, self.corpus.tally(rule)

    def _write(self, kind: str, decision: Decision | None = None, *, final: bool = False, **fields: Any) -> PlanTally:
        tally = PlanTally()
        if decision is not None:
            tally = self.corpus.tally(self.rule.then(decision))
            fields |= {
                **({"again": decision.again} if decision.again else {}),
                "routed": decision.routed and decision.routed.to_dict(),
                "open": decision.open and decision.open.to_dict(),
                "tally": tally.to_dict(),
            }
        self.series = plans.write(
            self.corpus.context.run,
            self.series,
            self.config,
            kind,
            final if decision is None else decision.final,
            {
                "n_rows": self.corpus.plan.rows,
                "n_eligible": self.n_eligible,
                "k": self.k,
                "judge_row_s": self.judge_row_s,
                **fields,
            },
        )
        return tally
