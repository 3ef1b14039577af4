"""How much of a budget in seconds the next tranche of the large model may take.

Device-seconds are spent in tranches of falling value. Before each one the capacity that is left is worked out again:
what was asked, less what is spent, less what must be paid if no further row is routed, less a reserve for deaths. Costs of the profile are multiplied by
the scale that the run itself has measured so far; a model that has not been measured yet is taken to be dearer than
profiled, so that the first tranche is safe even where the profile is wrong by `DISTRUST`. Each tranche takes only a
share of what it could, so that what no later tranche can correct is a small piece of the whole.

Pure arithmetic: importing it imports neither Ray nor torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DISTRUST = 2.0
"""Factor by which a profile may be wrong, either way, before the run has measured the model."""
SHARES = (0.25, 0.6, 0.75, 0.85, 1.0)
"""Share of the capacity each tranche takes, the last ones where there are fewer."""
_UNPLANNED = 0.005
"""Share of the whole budget that is never planned with: clocks that are read a moment too early."""
_TRIFLE = 0.02
"""Share of the whole budget for which no further tranche is worth its pieces of work."""
_LEAST_BATCH = 0.25
"""Share of a batch a shard for which no further tranche is worth its pieces either: such small ones cost several times
their tokens, which no rate predicts well."""
_DRIFT = 0.06
"""Share by which a rate measured on many rows may drift while the work goes on: by half of it one way while it is measured,
and by half the other way afterwards."""
_WIDE = 0.25
"""Share by which more rows are kept open than would fit at the cheapest estimate: what is settled too early stays unspent."""
_ONE_ROW = 1.5
"""Share by which the rate of a single row may be off; that of n rows by the square root of n less."""
_MOST_SPREAD = 0.3
"""No spread is taken to be larger: the odd small piece of work says little."""
_LOST = 1.5
"""What is in flight is lost at most once, and keeps the actors that are done with the tranche waiting when it is repeated."""
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Rate:
    """What a model's finished work was predicted to take, and took; device-seconds."""

    predicted_s: float = 0.0
    """By the profile."""
    measured_s: float = 0.0
    """By the meters, loading and `piece_s` left out."""
    rows: int = 1
    """Rows it was measured on."""
    spread: float = 0.0
    """Standard deviation of the scale between pieces of work, over the scale: how far rows of another kind may be off."""
    piece_s: float = 0.0
    """What a piece of work (a leg of a shard) costs besides, however few its rows."""
    alike: bool = True
    """False where the pieces were much smaller than those to come, which then may cost less, but hardly more."""

    @property
    def known(self) -> bool:
        """True once some work is finished."""
        return self.predicted_s > 0 and self.measured_s > 0

    @property
    def scale(self) -> float:
        """Measured over profiled cost; 1 until it is known."""
        return self.measured_s / self.predicted_s if self.known else 1.0

    @property
    def error(self) -> float:
        """Share by which work still to be done may deviate from the scale."""
        if not self.known:
            return DISTRUST - 1
        return max(_DRIFT, _ONE_ROW / math.sqrt(max(1, self.rows)), min(self.spread, _MOST_SPREAD))

    @property
    def error_below(self) -> float:
        """Share by which it may cost less."""
        return self.error if self.alike else max(self.error, DISTRUST - 1)


@dataclass(frozen=True)
class Position:
    """What is known before a tranche; device-seconds."""

    budget_s: float
    """Asked for."""
    spent_s: float
    """Held or used so far by everything, lost work included."""
    fixed_s: float
    """Still to be paid whatever is routed, besides translation: loads, judging."""
    small_todo_s: float
    """Profiled cost of the rows the small model still has to translate if no further row is routed."""
    large_todo_s: float
    """Profiled cost of the rows the large model still has to translate if no further row is routed."""
    reserve_s: float = 0.0
    """What may be lost to deaths; never planned with."""
    in_flight: float = 0.0
    """Share of a tranche that is in flight at one moment, and would have to be done again after a death."""
    small: Rate = Rate()
    """The small model's work so far."""
    large: Rate = Rate()
    """The large model's work so far."""
    batch_s: float = 0.0
    """What the large model takes for a full batch of every shard."""

    @property
    def committed_s(self) -> float:
        """What the job takes if no further row is routed, at the measured rates."""
        owed = self.small.scale * self.small_todo_s + self.large.scale * self.large_todo_s
        return self.spent_s + self.fixed_s + owed

    @property
    def shortage_s(self) -> float:
        """Seconds the budget is short of a job that routes no further row; 0 or less where it suffices."""
        return self.committed_s - self.budget_s


@dataclass(frozen=True)
class Capacity:
    """What a tranche may take."""

    microseconds: int
    """Device time it may add over the small model."""
    scale_small: float
    """Profiled seconds of the small model are taken times this."""
    scale_large: float
    """The same for the large model."""
    final: bool = False
    """True where no tranche after it is worth while."""
    limit: int = 0
    """Microseconds that its rows may take at most, with what they take besides in batches that are not full."""


def tranche_capacity(position: Position, tranche: int, tranches: int, *, more: bool = False) -> Capacity:
    """The capacity of a tranche.

    Args:
        position: where the run stands.
        tranche: its number, from 0.
        tranches: how many there are, 1 to 5. A single one is planned in the open: it trusts the profile.
        more: True where one comes after it in any case, however little is left.
    """
    shares, rates = SHARES[-tranches:], (position.small, position.large)
    trusted = tranches == 1
    scale_small, scale_large = (r.scale if r.known or trusted else DISTRUST for r in rates)
    margins = [0.0 if trusted or not r.known else r.error for r in rates]
    owed = [scale_small * position.small_todo_s, scale_large * position.large_todo_s]
    held_back = sum(margin * seconds for margin, seconds in zip(margins, owed))
    left = position.budget_s * (1 - _UNPLANNED) - position.spent_s - position.fixed_s - position.reserve_s
    left -= sum(owed) + held_back
    measured = position.small.known and position.large.known
    left_over = (1 - shares[tranche]) * left
    certain = held_back <= _TRIFLE * position.budget_s  # else what is held back would never be spent
    least_s = max(_TRIFLE * position.budget_s - held_back, _LEAST_BATCH * position.batch_s)
    trifle = certain and left_over <= least_s
    last = tranche == tranches - 1 or (measured and trifle and not more)
    share = 1 / (1 + margins[1]) / (1 + position.in_flight / 2) if last else shares[tranche]
    room = max(0.0, left) * (share if last else min(share, 1 / (1 + _LOST * position.in_flight)))
    limit = room if last else max(room, max(0.0, left) / (1 + margins[1]))
    return Capacity(math.floor(room * _MICROSECONDS), scale_small, scale_large, last, math.floor(limit * _MICROSECONDS))


def widest_capacity(position: Position, *, trusted: bool = False) -> Capacity:
    """The most that could turn out to fit: rows beyond it are surely not routed.

    Args:
        position: where the run stands.
        trusted: True where nothing is measured later, so that the profile is the last word.
    """
    errors = [_DRIFT if trusted else rate.error_below for rate in (position.small, position.large)]
    small, large = (rate.scale / (1 + error) for rate, error in zip((position.small, position.large), errors))
    owed = small * position.small_todo_s + large * position.large_todo_s
    left = max(0.0, position.budget_s - position.spent_s - position.fixed_s - owed)
    return Capacity(math.floor(left * (1 + (_DRIFT if trusted else _WIDE)) * _MICROSECONDS), small, large)
