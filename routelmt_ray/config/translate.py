"""The configuration of the translate job; sections shared with other jobs are in :mod:`routelmt_ray.config.common`."""

from dataclasses import dataclass, field
from typing import Optional

from routelmt_ray.config.account import AccountConfig
from routelmt_ray.config.budget import BUDGETS, BudgetConfig, CostConfig
from routelmt_ray.config.checks import ChecksConfig, GlossaryConfig
from routelmt_ray.config.common import (
    ONCE,
    InputConfig,
    LogConfig,
    ModelsConfig,
    OutputConfig,
    RayConfig,
    ReportConfig,
    check_corpus_and_models,
)
from routelmt_ray.config.guards import GUARDS
from routelmt_ray.config.judges import JUDGES
from routelmt_ray.config.label import CometConfig
from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.memory import MemoryConfig, check_memory
from routelmt_ray.config.price import PriceConfig, check_money
from routelmt_ray.config.risk import RiskConfig
from routelmt_ray.config.router import RouterConfig

AUDIT_METRICS = ("chrf", "judge")


@dataclass(frozen=True)
class GuardConfig:
    """Guards that keep rows from the large model if it would not improve them. The next best rows get their budget."""

    quality_predict: Optional[float] = option(None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1)
    """Never route a row whose small translation is predicted to be at least this good (needs a router with a `quality`
    head; nothing is decoded for it)."""
    quality_hypo: Optional[float] = option(None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1)
    """Decode the small model on the candidates first, judge its translations, and never route a row that the judge
    finds at least this good."""
    keep_better: Optional[float] = option(None, "null or a number from 0 to 1", lambda v: v is None or 0 <= v <= 1)
    """Translate routed rows with both models and keep the small translation where the judge prefers it by more than
    this margin."""
    judge: str = choice("comet_qe", JUDGES)
    """The reference-free metric of `quality_hypo` and `keep_better`."""
    comet_qe: CometConfig = field(default_factory=CometConfig)
    """The checkpoint of `comet_qe`."""
    logprob_model: str = option("both", "small, large or both", lambda v: v in ("small", "large", "both"))
    """Model whose probabilities `logprob` uses; `both`: their geometric mean. One model alone prefers its own
    translations."""
    risk: RiskConfig = field(default_factory=RiskConfig)
    """A promise about routed rows whose large translation is worse than the small one."""
    risk_from: Optional[str] = None
    """Run directory whose audit gives the promise of `risk`: a finished run of the same models and router, or this one with an
    earlier budget."""

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each guard that is turned on, by name, in the order of the table; not those that an audit gives."""
        given = {name: getattr(self, name, None) for name, guard in GUARDS.items() if not guard.calibrated}
        return {name: limit for name, limit in given.items() if limit is not None}

    @property
    def needs_judge(self) -> bool:
        """True where a reference-free metric has to judge translations."""
        return any(GUARDS[name].needs_judge for name in self.limits)


@dataclass(frozen=True)
class AuditConfig:
    """Random rows that both models translate, to measure the value of the router on this corpus."""

    rows: int = option(0, "an integer of at least 0", lambda v: v >= 0)
    """Number of rows; the budget pays for them. 0: no audit."""
    metric: Optional[str] = choice(None, AUDIT_METRICS)
    """Measure of the gain: `chrf` against the corpus's references, or the guard's `judge`. Null: `chrf` where
    `input.columns.reference` is set, else `judge`."""


@dataclass(frozen=True)
class TranslateConfig:
    """The whole configuration of `jobs/translate.py`."""

    run_dir: str = option("", "a folder", lambda v: v != "")
    """The run directory: all state, and the output. The same command on it resumes."""
    seed: int = option(0, "an integer from 0 to 2^63 - 1", lambda v: 0 <= v < 2**63)
    """Seed of the order among equal gains, and of the `random` router."""
    input: InputConfig = field(default_factory=InputConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    router: RouterConfig = field(default_factory=RouterConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    account: AccountConfig = field(default_factory=AccountConfig)
    """The account that gives the budget, if jobs share an allowance."""
    price: PriceConfig = field(default_factory=PriceConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    glossary: GlossaryConfig = field(default_factory=GlossaryConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Checks combinations of fields."""
        check_corpus_and_models(self.input, self.models)
        self.router.scorer.check(self.router, self.models)
        self._check_budget()
        self._check_guards()
        check_memory(self)
        if self.checks.escalates and self.budget.threshold is not None:
            raise ValueError(
                "a check has the action escalate, which a budget.threshold cannot pay for; set budget.fraction, budget.rows, "
                "budget.gpu_hours or budget.money, or the action flag"
            )
        if self.checks.escalates and self.input.duplicates == ONCE:
            raise ValueError(
                "a check has the action escalate and input.duplicates is once, which cannot be combined yet; change one of "
                "them, e.g. checks.action=flag"
            )
        self.checks.check_protected(self.input.protect)

    def _check_budget(self) -> None:
        budget = self.budget
        asked = [f"budget.{name}" for name in BUDGETS if getattr(budget, name) is not None]
        if len(asked) > 1 or not (asked or self.account.path):
            found = " and ".join(asked) + " are set" if asked else "none is set"
            raise ValueError(
                f"budget: {found}; set exactly one of budget.fraction, budget.rows, budget.gpu_hours, budget.money "
                "and budget.threshold, e.g. budget.fraction=0.3, or account.path"
            )
        check_money(self)
        if budget.threshold is not None and budget.min_gain is not None:
            raise ValueError(
                f"budget.min_gain is {budget.min_gain} with budget.threshold={budget.threshold}: the threshold is already such a bound; "
                "leave budget.min_gain out"
            )
        if budget.objective == "gain_per_cost" and not self.by_cost:
            raise ValueError(
                f"budget.objective is gain_per_cost with {(asked or ['account.rows'])[0]}: a budget in rows has no cost to divide by; "
                "use budget.gpu_hours or budget.money, or budget.objective=gain"
            )
        for key, value, needed in (
            ("budget.objective", self.objective, self.objective == "gain_per_cost"),
            ("budget.min_gain", budget.min_gain, budget.min_gain is not None),
        ):
            if needed and not self.router.is_gain:
                raise ValueError(
                    f"{key} is {value}, but the scores of router.kind={self.router.kind} are not in units of gain; "
                    "calibrate them with router.scale and router.intercept, or use budget.objective=gain and "
                    "budget.min_gain=null"
                )
        if self.objective == "gain_per_cost" and budget.min_gain is not None and budget.min_gain < 0:
            raise ValueError(
                f"budget.min_gain is {budget.min_gain}; with budget.objective=gain_per_cost it must be at least 0: "
                "losses divided by their cost cannot be ranked"
            )
        for stratum in sorted(budget.floors.keys() & budget.caps.keys()):
            if budget.floors[stratum] > budget.caps[stratum]:
                raise ValueError(
                    f"budget.floors.{stratum} is {budget.floors[stratum]}, above budget.caps.{stratum}, "
                    f"{budget.caps[stratum]}; a floor must be at most its cap"
                )

    def _check_guards(self) -> None:
        guard, audit = self.guard, self.audit
        for name, limit in guard.limits.items():
            if (head := GUARDS[name].head) and not self.router.probes:
                raise ValueError(
                    f"guard.{name} is {limit}, but router.kind={self.router.kind} predicts no {head}; it needs "
                    f"router.kind=probe with a `{head}` head"
                )
        if (guard.risk.rate is None) != (guard.risk_from is None):
            raise ValueError(
                f"guard.risk.rate is {guard.risk.rate} and guard.risk_from is {guard.risk_from}; set both, or none: a promise needs "
                "the audit of a run, e.g. guard.risk.rate=0.1 guard.risk_from=runs/audit"
            )
        judges = guard.needs_judge or audit.metric == "judge"
        if audit.rows and audit.metric != "judge" and self.input.columns.reference is None:
            if audit.metric == "chrf":
                raise ValueError(
                    "audit.metric is chrf, but input.columns.reference is null; name the column, or use audit.metric=judge"
                )
            judges = True
        if judges and (lacking := JUDGES[guard.judge].lacks(guard)):
            raise ValueError(lacking)

    @property
    def by_cost(self) -> bool:
        """True for a budget in hours or money, also one that an account gives."""
        return self.budget.by_cost or (self.account.path is not None and self.account.rows is None)

    @property
    def in_money(self) -> bool:
        """True where costs are planned and predicted in money: there are prices, and the budget, or the account, is not in hours."""
        by_account = self.account.path is not None and self.account.money is not None
        return self.price.is_set and (self.budget.money is not None or by_account or not self.by_cost)

    @property
    def objective(self) -> str:
        """The objective that is used: `budget.objective`, or its default for this kind of budget."""
        return self.budget.objective or ("gain_per_cost" if self.by_cost else "gain")

    @property
    def min_gain(self) -> float | None:
        """The bound that is used: `budget.min_gain`, or its default for this kind of budget."""
        if self.budget.min_gain is None and self.by_cost and self.router.is_gain:
            return 0.0
        return self.budget.min_gain

    @property
    def audit_metric(self) -> str | None:
        """Metric of the audit; None without one."""
        if not self.audit.rows:
            return None
        return self.audit.metric or ("chrf" if self.input.columns.reference is not None else "judge")

    @property
    def audit_measure(self) -> dict[str, str | None] | None:
        """Settings that change the numbers of the audit, JSON-safe: the metric, and the settings of a judge; None
        without an audit."""
        guard = self.guard
        if self.audit_metric is None:
            return None
        if self.audit_metric != "judge":
            return {"metric": self.audit_metric}
        return {"metric": guard.judge, "comet_qe": guard.comet_qe.path, "logprob_model": guard.logprob_model}
