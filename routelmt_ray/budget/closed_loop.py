"""Computes how much of a budget in hours or money the next tranche of the large model may take.

Amounts are device-seconds, or money where the budget is in money. They are spent in tranches of falling value. Before each
tranche the capacity that is left is computed again: the budget, less what is spent, less what must be paid if no further row
is routed, less a reserve for the deaths of actors. Costs of the profile are multiplied by the scale that the run itself has
measured so far. A model that has not been measured yet is assumed to cost `DISTRUST` times its profile, so that the first
tranche is safe even where the profile is wrong by that factor. Each tranche takes only a share of what it could, so that
the part that no later tranche can correct is small.

Pure arithmetic: importing it imports neither Ray nor torch.
"""

import math
from dataclasses import dataclass

DISTRUST = 2.0
"""Factor by which a profile may be wrong, either way, before the run has measured the model."""
SHARES = (0.25, 0.6, 0.75, 0.85, 1.0)
"""Share of the capacity each tranche takes, the last ones where there are fewer."""
_UNPLANNED = 0.005
"""Share of the whole budget that is never planned with, because clocks are read a moment too early."""
_TRIFLE = 0.02
"""Share of the whole budget that is too small for a further tranche to be worth its pieces of work."""
_LEAST_BATCH = 0.25
"""Share of one full batch for every shard that is too small for a further tranche: such small pieces cost several times
what their tokens do, which no rate predicts well."""
_DRIFT = 0.06
"""Share by which a rate measured on many rows may drift while the work goes on: half of it in one direction while it is
measured, half of it in the other direction afterwards."""
_WIDE = 0.25
"""Share by which more rows are kept open than would fit at the cheapest estimate. Rows that are settled too early would
leave a part of the budget unspent."""
_ONE_ROW = 1.5
"""Share by which the rate of a single row may be wrong; for n rows it is divided by the square root of n."""
_MOST_SPREAD = 0.3
"""Upper bound of a spread, because a single small piece of work says little."""
_LOST = 1.5
"""Factor of the share in flight: this work is lost at most once, and the actors that are done with the tranche wait
while it is repeated."""


@dataclass(frozen=True)
class Rate:
    """Predicted and measured device-seconds of a model's finished work."""

    predicted_s: float = 0.0
    """Device-seconds that the profile predicts."""
    measured_s: float = 0.0
    """Device-seconds by the meters, without loading and without `piece_s`."""
    rows: int = 1
    """Number of rows that were measured."""
    spread: float = 0.0
    """Standard deviation of the scale between pieces of work, divided by the scale: how far rows of another kind may
    deviate."""
    piece_s: float = 0.0
    """Fixed device-seconds of a piece of work (a leg of a shard), in addition to the cost of its rows."""
    alike: bool = True
    """False where the pieces were much smaller than those to come, which may then cost less, but hardly more."""

    @property
    def known(self) -> bool:
        """True once some work is finished."""
        return self.predicted_s > 0 and self.measured_s > 0

    @property
    def scale(self) -> float:
        """Measured cost divided by profiled cost; 1 until work is finished."""
        return self.measured_s / self.predicted_s if self.known else 1.0

    @property
    def error(self) -> float:
        """Share by which work still to be done may deviate from the scale."""
        if not self.known:
            return DISTRUST - 1
        return max(_DRIFT, _ONE_ROW / math.sqrt(max(1, self.rows)), min(self.spread, _MOST_SPREAD))

    @property
    def error_below(self) -> float:
        """Share by which work still to be done may cost less than the scale says."""
        return self.error if self.alike else max(self.error, DISTRUST - 1)


@dataclass(frozen=True)
class Position:
    """The state of a run before a tranche; amounts are device-seconds, or money."""

    budget_s: float
    """The whole budget of the run."""
    spent_s: float
    """Held or used so far by all actors, lost work included."""
    fixed_s: float
    """Still to be paid in addition to translation, for any choice of routed rows: loading, judging."""
    small_todo_s: float
    """Profiled cost of the rows the small model still has to translate if no further row is routed."""
    large_todo_s: float
    """Profiled cost of the rows the large model still has to translate if no further row is routed."""
    reserve_s: float = 0.0
    """Amount that may be lost when actors die; never planned with."""
    held_s: float = 0.0
    """Amount held for rows whose small translation fails a check; no tranche is planned with it."""
    in_flight: float = 0.0
    """Share of a tranche that is in flight at one moment, and would have to be done again after a death."""
    small: Rate = Rate()
    """The small model's work so far."""
    large: Rate = Rate()
    """The large model's work so far."""
    batch_s: float = 0.0
    """Cost of one full batch of every shard on the large model."""
    parts: int = 1_000_000
    """Parts of the unit in which rows are weighed; see :func:`~routelmt_ray.budget.cost.parts_of`."""

    @property
    def committed_s(self) -> float:
        """Amount that the job takes if no further row is routed, at the measured rates."""
        owed = self.small.scale * self.small_todo_s + self.large.scale * self.large_todo_s
        return self.spent_s + self.fixed_s + owed

    @property
    def shortage_s(self) -> float:
        """Seconds the budget is short of a job that routes no further row; 0 or less where it suffices."""
        return self.committed_s - self.budget_s


@dataclass(frozen=True)
class Capacity:
    """The amount that a tranche may take."""

    weight: int
    """Largest extra cost of its rows over the small model, in parts of the unit, such as microseconds."""
    scale_small: float
    """Factor for profiled seconds of the small model."""
    scale_large: float
    """The same for the large model."""
    final: bool = False
    """True where no further tranche is worth its cost."""
    limit: int = 0
    """Largest cost of its rows, in the same parts, with the extra cost of batches that are not full."""


def tranche_capacity(position: Position, tranche: int, tranches: int, *, more: bool = False) -> Capacity:
    """Computes the device time that a tranche may add, with a margin for what its rates may be wrong by.

    Tranches, of which there are 1 to 5, are numbered from 0. A single one trusts the profile, because nothing is
    measured before it. With `more` another one follows in any case, even if little is left.
    """
    shares, rates = SHARES[-tranches:], (position.small, position.large)
    trusted = tranches == 1
    scale_small, scale_large = (r.scale if r.known or trusted else DISTRUST for r in rates)
    margins = [0.0 if trusted or not r.known else r.error for r in rates]
    owed = [scale_small * position.small_todo_s, scale_large * position.large_todo_s]
    held_back = sum(margin * seconds for margin, seconds in zip(margins, owed))
    left = (
        position.budget_s * (1 - _UNPLANNED)
        - position.spent_s
        - position.fixed_s
        - position.reserve_s
        - position.held_s
    )
    left -= sum(owed) + held_back
    measured = position.small.known and position.large.known
    left_over = (1 - shares[tranche]) * left
    certain = held_back <= _TRIFLE * position.budget_s  # else the seconds that are held back would never be spent
    least_s = max(_TRIFLE * position.budget_s - held_back, _LEAST_BATCH * position.batch_s)
    trifle = certain and left_over <= least_s
    last = tranche == tranches - 1 or (measured and trifle and not more)
    share = 1 / (1 + margins[1]) / (1 + position.in_flight / 2) if last else shares[tranche]
    room = max(0.0, left) * (share if last else min(share, 1 / (1 + _LOST * position.in_flight)))
    limit = room if last else max(room, max(0.0, left) / (1 + margins[1]))
    parts = position.parts
    return Capacity(math.floor(room * parts), scale_small, scale_large, last, math.floor(limit * parts))


def spare_capacity(spare_s: float, position: Position) -> Capacity:
    """Computes how much the rows may cost that are taken back from the small model at the end, from what the budget
    still holds in the unit of the position. The scale of the small model is then 0, because such a row costs the whole
    of the large model."""
    margin, scale = (position.large.error, position.large.scale) if position.large.known else (0.0, DISTRUST)
    weight = math.floor(max(0.0, spare_s - _UNPLANNED * position.budget_s) / (1 + margin) * position.parts)
    return Capacity(weight, 0.0, scale, final=True, limit=weight)


def widest_capacity(position: Position, *, trusted: bool = False) -> Capacity:
    """Computes the largest capacity that is still possible: rows beyond it are certainly not routed. `trusted` is True
    where nothing is measured later, so that the profile is final."""
    errors = [_DRIFT if trusted else rate.error_below for rate in (position.small, position.large)]
    small, large = (rate.scale / (1 + error) for rate, error in zip((position.small, position.large), errors))
    owed = small * position.small_todo_s + large * position.large_todo_s
    left = max(0.0, position.budget_s - position.spent_s - position.fixed_s - owed)
    return Capacity(math.floor(left * (1 + (_DRIFT if trusted else _WIDE)) * position.parts), small, large)
