"""Planning: selections over the scored corpus become plan entries; each entry is written before it is used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from routelmt_ray.budget import Search, rows_for_fraction
from routelmt_ray.budget.closed_loop import Capacity
from routelmt_ray.budget.price import planned_prices, second_of
from routelmt_ray.budget.rule import FAILING, KEPT, UNSCALED, Band, Decision, Rule
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.schema import LARGE, SMALL
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.plan import plan as plans
from routelmt_ray.plan.allocate import PlanTally, ScoredCorpus
from routelmt_ray.plan.fitting import fit_rows
from routelmt_ray.plan.plan import CLOSED, ESCALATED, OPENING, TOPPED, TRANCHE, WHOLE, Series
from routelmt_ray.plan.risk import promise_of, with_floors
from routelmt_ray.runtime.engine_host import LAST_LOADS
from routelmt_ray.stages.memory import stage_of

ExtraCost = Callable[[PlanTally], float]
"""(tally) -> cost of the rows of the last decision in addition to their weights, in the parts that rows are weighed
in."""
ALL = 1 << 62
"""A number of rows larger than any corpus."""
_LEAST_SURE = 0.1
"""Least share of the open rows that an opening leaves to the small model, so that its cost is measured."""
_SURE_BATCHES, _MOST_SURE = 1.5, 0.35
"""Batches of every shard that this share should fill, because batches with few rows say little about full ones; and the
largest share that is left to the small model for this."""


@dataclass
class Planner:
    """Writes the entries of the series of a budget."""

    config: TranslateConfig
    corpus: ScoredCorpus
    """The scored corpus."""
    n_eligible: int
    """Rows that have a score, of a repeated segment the first; fixed after scoring."""
    series: Series
    """The entries so far."""
    eligible_rows: int | None = None
    """Eligible rows with their repeats; None where repeats are translated like other rows."""
    n_new: int | None = None
    """Rows with a score that the memory of earlier runs does not have; None without a memory."""
    judge_row_s: float = 0.0
    """Device-seconds, or money, to judge both translations of a routed row, where the better one is kept."""

    @classmethod
    def start(
        cls,
        config: TranslateConfig,
        corpus: ScoredCorpus,
        rule: Rule,
        n_eligible: int,
        eligible_rows: int | None = None,
        n_new: int | None = None,
    ) -> "Planner":
        """Loads the series of the configured budget, or starts a new one; ValueError where no row has a stratum that is named."""
        run = corpus.context.run
        series = plans.newest_series(run, rule, config)
        if series is None:
            found = promise_of(config)
            rule = with_floors(rule, config, found)
            series = Series(rule, len(run.plans()), _base_of(config, corpus, rule) | {"risk": found})
        planner = cls(config, corpus, n_eligible, series, eligible_rows, n_new)
        planner.learn_judge()
        return planner

    @property
    def rule(self) -> Rule:
        """The rule with all decisions so far, and with the cost of judging that is known now."""
        return replace(self.series.current_rule(), judge_row_s=self.judge_row_s)

    @property
    def k(self) -> int | None:
        """Rows that the budget allows, even if fewer can be routed; None for a budget in hours or money. A threshold allows all.
        A fraction is one of the rows that the memory does not have."""
        budget = self.config.budget
        if budget.threshold is not None:
            return self.n_eligible
        of = self.n_eligible if self.n_new is None else self.n_new
        return budget.rows if budget.fraction is None else rows_for_fraction(budget.fraction, of)

    def outlook(self) -> PlanTally:
        """Sums up the work and its cost before anything but floors is decided."""
        return self._with_floors()[1]

    def settle(self) -> None:
        """Settles every row at once, for a budget in rows; raises Refused where the floors ask for more than it allows."""
        assert self.k is not None
        rule, floors = self._with_floors()
        if floors.routed > self.k:
            raise Refused(
                f"budget.floors ask for {floors.routed} rows, but the budget allows {self.k}; lower the floors or raise "
                "the budget"
            )
        k = max(0, self.k - self.held_rows - floors.routed)
        self.write(WHOLE, Decision(self.cut(rule, k=k)))

    @property
    def held_rows(self) -> int:
        """Rows of the budget that are held for rows whose small translation fails a check."""
        checks = self.config.checks
        return rows_for_fraction(checks.reserve, self.k) if checks.escalates and self.k is not None else 0

    def take_back(self, capacity: Capacity | None = None, extra_cost: ExtraCost = lambda _: 0.0, **facts: Any) -> bool:
        """Spends what the budget held, once the small translations are checked: writes the next of two entries; False after both.

        The first takes rows whose translation fails back from the small model, the second the best of the others. A budget in
        hours has a capacity, of which a row costs the whole of the large model.
        """
        if (written := len(self.series.of(ESCALATED))) == 2:
            return False
        again, rule = (FAILING, KEPT)[written], self.rule
        if capacity is None:
            assert self.k is not None
            k = max(0, self.k - PlanTally.from_dict(self.series.last["tally"]).routed)
            band = self.cut(rule, again=again, k=k)
        else:
            band = self._fitting(rule, replace(capacity, scale_small=0.0), extra_cost, again)
        self.write(ESCALATED, Decision(band, again=again), **facts)
        return True

    def open(self, widest: Capacity, held_s: float = 0.0) -> PlanTally:
        """Opens a budget in hours or money: floors are routed; rows that certainly are not routed go to the small model.

        `held_s` device-seconds are held for rows whose small translation fails a check. Returns the tally after this entry.
        """
        (rule, floors), scales = self._with_floors(), (widest.scale_small, widest.scale_large)
        band = self.cut(rule, scales, capacity=widest.weight)
        batches = _SURE_BATCHES * self.config.models.small.rows_at_once * len(self.corpus.plan)
        sure = max(_LEAST_SURE, min(_MOST_SURE, batches / max(1, floors.open)))
        most = int((1 - sure) * floors.open)
        if band.cut.k > most:
            band = self.cut(rule, scales, k=most)
        return self.write(OPENING, Decision(None, band, final=False), held_s=held_s)

    def add_tranche(
        self, capacity: Capacity, widest: Capacity, extra_cost: ExtraCost = lambda _: 0.0, **facts: Any
    ) -> PlanTally:
        """Routes the rows of the next tranche, writes its entry, and returns the tally after it.

        `widest` is the largest capacity that is still possible for this tranche and all later ones, `extra_cost` as in
        :data:`ExtraCost`; the facts say where the run stands, to be recorded in the entry.
        """
        rule, tranche, final = self.rule, len(self.series.of(TRANCHE)), capacity.final
        routed = self._fitting(rule, capacity, extra_cost)
        still_open = None
        if not final:
            most = max(widest.weight, capacity.weight, routed.cut.weight)
            still_open = self.cut(rule, (widest.scale_small, widest.scale_large), capacity=most)
        tally = self.write(TRANCHE, Decision(routed, still_open, final), tranche=tranche, **facts)
        for _ in range(tranche + 1, self.config.budget.tranches if final else 0):  # their items of work are waiting
            self.write(CLOSED, final=True, tally=tally.to_dict())
        return tally

    def top_up(self, capacity: Capacity, extra_cost: ExtraCost, **facts: Any) -> int:
        """Takes the best rows that fit back from the small model, writes the entry, and counts them; arguments as above."""
        routed = self._fitting(self.rule, capacity, extra_cost, KEPT)
        if not routed.cut.k:
            self.write(CLOSED, final=True, tally=self.series.last["tally"])
            return 0
        facts[LAST_LOADS] = {LARGE: (self.corpus.context.run.manifest() or {}).get("started")}
        self.write(TOPPED, Decision(routed, again=KEPT), **facts)
        return routed.cut.k

    def _fitting(self, rule: Rule, capacity: Capacity, extra_cost: ExtraCost, again: str | None = None) -> Band:
        """Finds the largest cut whose rows fit with what they take beside; an empty cut if none fits."""
        scales = (capacity.scale_small, capacity.scale_large)

        def cost(routed: Band) -> float:
            decided = rule.then(Decision(routed, again=again))
            return routed.cut.weight + extra_cost(self.corpus.tally(decided)) if routed.cut.k else 0.0

        return fit_rows(lambda weight: self.cut(rule, scales, again, capacity=weight), cost, capacity)

    def judgement_cost(self) -> float:
        """Computes the mean cost of a judgement of the candidates so far, in the unit of the plan; 0 before there are any."""
        metas = [m for stage in self.series.judge_stages() for m in self.corpus.context.run.metas(stage).values()]
        judgements = sum(meta["judgements"] for meta in metas)
        second = second_of("judge", planned_prices(self.config))
        return second * sum(meta["device_s"] for meta in metas) / judgements if judgements else 0.0

    def learn_judge(self) -> None:
        """Learns the cost of judging from the candidates judged so far, where the better translation is kept."""
        if self.config.guard.keep_better is not None:
            self.judge_row_s = 2 * self.judgement_cost()

    def cut(self, rule: Rule, scales: tuple[float, float] = UNSCALED, again: str | None = None, **limit: Any) -> Band:
        return self.corpus.find_cut(rule, Search(seed=self.corpus.context.seed, **limit), scales, again)

    def _with_floors(self) -> tuple[Rule, PlanTally]:
        """The rule after floors and rows paid by an earlier budget are routed, and its tally."""
        rule = self.rule.then(Decision(None, None, final=False))
        return rule, self.corpus.tally(rule)

    def write(self, kind: str, decision: Decision | None = None, *, final: bool = False, **fields: Any) -> PlanTally:
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


def _base_of(config: TranslateConfig, corpus: ScoredCorpus, rule: Rule) -> dict[str, Any]:
    """Collects the fields that all entries of a new series share."""
    budget, run = config.budget, corpus.context.run
    earlier = {size: list(plans.earlier_stages(run, size)) for size in (SMALL, LARGE)}
    known = {size: [stage_of(size)] if rule.remembered else [] for size in earlier}
    pays = budget.by_cost  # a budget in rows routes exactly the best, translated before or not
    audit = corpus.audit_cut(config.audit.rows) if config.audit.rows else None
    base: dict[str, Any] = {
        "audit": audit and audit.to_dict(),
        **{f"earlier_{size}": [*known[size], *stages] for size, stages in earlier.items()},
        **{f"paid_{size}": [*known[size], *(stages if pays else [])] for size, stages in earlier.items()},
        "strata": None,
    }
    if rule.stratified:
        floors, caps = (
            {name.replace("->", "→"): share for name, share in shares.items()}  # as scores write a language pair
            for shares in (budget.floors, budget.caps)
        )
        base["strata"] = corpus.find_strata(rule, floors, caps).to_dict()
    return base
