"""Chooses the server of each request: the one with the fewest in flight. One that fails is left out and tried again.

The caller gives the time, so that nothing here waits or reads a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_MOST_DOUBLINGS = 10


class Turn(NamedTuple):
    """The server of the next request."""

    url: str
    suspect: bool
    """True where it failed before: it must first answer a request that no row depends on."""


@dataclass
class _Site:
    """The known facts about one server."""

    url: str
    in_flight: int = 0
    tried: bool = False
    """True while it is asked whether it works again."""
    failures: int = 0
    """Failures since its last answer; those of requests that were in flight together count once."""
    busy: int = 0
    """Times that it was too busy, less its answers since."""
    free_at: float = 0.0
    """Time from which it may be asked."""
    failed_at: float = float("-inf")
    answered_at: float = float("-inf")


class Balance:
    """The servers of one engine."""

    def __init__(self, urls: Sequence[str], longest_pause_s: float = _LONGEST_PAUSE_S) -> None:
        """Args: urls: their addresses; longest_pause_s: most seconds between two tries of one that fails."""
        self._sites = {url: _Site(url) for url in urls}
        self._longest_pause_s = longest_pause_s
        self._none_since: float | None = None

    def take(self, now: float, rather_not: str | None = None) -> Turn | None:
        """Takes a turn at a server; None where none may be asked now. Each turn ends with :meth:`done`.

        A server that failed is due again after a pause. It is then taken before all others, by one request at a time.
        `rather_not` is the server that has just failed on the same request, which is taken if there is no other.
        """
        free = [site for site in self._sites.values() if site.free_at <= now and not site.tried]
        if not free:
            return None
        site = min(free, key=lambda site: (site.failures == 0, site.url == rather_not, site.in_flight))
        site.in_flight += 1
        site.tried = site.failures > 0
        return Turn(site.url, site.tried)

    def done(self, turn: Turn) -> None:
        """Ends a turn."""
        site = self._sites[turn.url]
        site.in_flight -= 1
        if turn.suspect:
            site.tried = False

    def answered(self, url: str, now: float) -> None:
        """Notes that a server answered, be it with a refusal of one row."""
        site = self._sites[url]
        if site.failures:
            site.free_at = now
        site.failures, site.busy, site.answered_at = 0, max(0, site.busy - 1), now
        self._none_since = None

    def failed(self, url: str, sent: float, now: float, after_s: float = 0.0) -> None:
        """Notes that a request failed, and the seconds that the server asks to wait. Where the server has answered
        others since the request was sent, it is not suspected."""
        site = self._sites[url]
        if site.answered_at <= sent and site.failed_at <= sent:
            site.failures += 1
            site.failed_at = now
            site.free_at = max(site.free_at, now + max(after_s, self._pause_s(site.failures)))
        self._note_none(now)

    def is_busy(self, url: str, now: float, after_s: float = 0.0) -> None:
        """Notes that a server has too much to do, and is not asked for a while. `after_s` has the seconds that the
        server asks to wait."""
        site = self._sites[url]
        if site.free_at <= now:
            site.busy += 1
        site.free_at = max(site.free_at, now + (after_s or self._pause_s(site.busy)))
        self._note_none(now)

    def wait_s(self, now: float) -> float:
        """Computes the seconds until a server may be asked."""
        return max(0.0, min(site.free_at for site in self._sites.values()) - now)

    def down_s(self, now: float) -> float:
        """Computes the seconds since the last answer for which no server could be asked, the pause before the next try included."""
        return 0.0 if self._none_since is None else now - self._none_since + self.wait_s(now)

    def _note_none(self, now: float) -> None:
        if self._none_since is None and self.wait_s(now) > 0:
            self._none_since = now

    def _pause_s(self, times: int) -> float:
        return min(self._longest_pause_s, _FIRST_PAUSE_S * 2 ** min(times - 1, _MOST_DOUBLINGS))
