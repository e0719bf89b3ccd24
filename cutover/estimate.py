"""How much traffic a side really had, between two bounds, and whether a source sees it. Pure.

A source's count holds the users' requests and our own: sentinels (whose number varies from burst to burst) and
probes. Only what is sure to be ours may be taken away from an upper bound:

- a sentinel, if the counts rise and fall with the number of sentinels sent (*tracked*); a source that does not
  count the sentinel's path would otherwise hide as many users;
- a probe, if every window holds at least as many requests as there were probes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cutover.folds.traffic import Refusal, TrafficFold, Window, total
from cutover.observations.traffic import Sight
from cutover.plan import Plan

TOLERANCE = timedelta(seconds=1)
"""How far our clock and a source's may differ unnoticed; shorter when rounds are short."""
SENTINELS = 5
MOST_SENTINELS = 50
GAP_INTERVALS = 3
_LATE = timedelta(minutes=5)
_ROUND = timedelta(minutes=1)
_TRACKED_WINDOWS = 200
FEWEST = 6
"""Windows from which it can be told whether a counter follows the sentinels."""
_T_999 = {4: 7.17, 5: 5.89, 6: 5.21, 7: 4.79, 8: 4.50, 12: 3.93, 18: 3.61, 28: 3.41, 60: 3.23}
"""One-sided 99.9 % quantiles of Student's t by degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Users' requests on one side in one stretch of time.

    Attributes:
        low, high: bounds; ``likely`` lies between them.
        tracked: the counts follow the sentinels, so that these may be taken away.
        windows: how many readings it is made of.
    """

    start: datetime
    end: datetime
    low: float
    high: float
    likely: float
    tracked: bool
    windows: int


@dataclass(frozen=True, slots=True)
class Vision:
    """Whether a source sees a side now.

    Attributes:
        sees: proven by sentinels (or, for a source of writes, as far as it can be: it answers in time).
        why: one line, either way.
        counted, sent: sentinels in the newest windows that hold a whole burst.
        until: the end of what it has counted.
        late_since: where to read again, because sentinels are missing that may only be late.
    """

    sees: bool
    why: str
    sight: Sight | None = None
    counted: float = 0.0
    sent: int = 0
    until: datetime | None = None
    late_since: datetime | None = None


class Estimate:
    """The judgements over one fold, at one instant."""

    def __init__(self, plan: Plan, fold: TrafficFold, now: datetime) -> None:
        self._plan = plan
        self._fold = fold
        self._now = now
        self._interval = plan.gate.interval
        self._slack = min(TOLERANCE, self._interval / 5)

    def vision(self, label: str, side: str) -> Vision:
        """Tell whether a source sees a side: it answers, in time, and counts the sentinels that were sent."""
        reading = self._fold.latest(label, side)
        if reading is None:
            return Vision(False, "nothing has been read yet")
        if reading.sight is not Sight.OK or reading.count is None:
            return Vision(False, f"{_WORDS[reading.sight]}: {reading.detail}", reading.sight)
        chain = self._fold.chain(label, side)
        if not chain:
            return Vision(False, f"counting was interrupted: {reading.detail}", reading.sight)
        until = chain[-1].end
        if not self.is_recent(label, side):
            behind = self._now - until
            return Vision(False, f"its last complete data is {_seconds(behind)} old", Sight.STALE, until=until)
        if self._fold.sources[label].weight == "writes" and reading.tagged is None:
            return Vision(True, f"it answers, up to {until:%H:%M:%S} UTC", reading.sight, until=until)
        return self._counts_sentinels(label, side, chain)

    def is_recent(self, label: str, side: str) -> bool:
        """Tell whether what a source has counted reaches near enough to the present to speak of it."""
        chain = self._fold.chain(label, side)
        return bool(chain) and self._now - chain[-1].end <= self._allowed(label, side, chain[-1])

    def _allowed(self, label: str, side: str, newest: Window) -> timedelta:
        reading = self._fold.latest(label, side)
        lag = timedelta(seconds=reading.lag) if reading is not None else timedelta(0)
        return lag + newest.edge + GAP_INTERVALS * self._interval

    def bounds(self, label: str, side: str, since: datetime | None) -> Bounds | None:
        """Return a side's traffic since an instant, or in the newest window when none is given.

        The stretch begins and ends at windows' ends that keep clear of our own requests, where there are such.
        """
        chain = self._fold.chain(label, side)
        if not chain:
            return None
        if since is None:
            return self._between(label, side, chain[-1:])
        first = next((i for i, window in enumerate(chain) if window.end > since), len(chain) - 1)
        begin = self._clearest(label, side, chain, list(range(first, max(-1, first - 4), -1)), start=True)
        end = self._clearest(label, side, chain, list(range(len(chain) - 1, max(begin, len(chain) - 4) - 1, -1)))
        return self._between(label, side, chain[begin : max(begin, end) + 1])

    def silent_since(self, addresses: Sequence[tuple[str, str]], *, over_breaks: bool = False) -> datetime | None:
        """Return since when every old address has refused every connection, None when one does not.

        Args:
            addresses: every (name, address) that is known to be old, without port.
            over_breaks: a time in which nothing was asked does not count against it.
        """
        refusals = self._fold.refusals("old")
        asked = {(name, address.rpartition(":")[0].strip("[]")) for name, address in refusals}
        if not refusals or not set(addresses) <= asked:
            return None
        begun = [_began(state, over_breaks) for state in refusals.values()]
        oldest_news = min(state.last for state in refusals.values())
        if None in begun or self._now - oldest_news > GAP_INTERVALS * self._interval + _ROUND:
            return None
        return max(at for at in begun if at is not None)

    def burst_size(self, side: str, turn: int) -> int:
        """Return how many sentinels to send to each address of a side.

        The number varies from turn to turn, by more than chance varies the counts, so that a counter that follows
        it is known to count sentinels; where that would take more than :data:`MOST_SENTINELS` it cannot be known.
        """
        if side == "new":
            return SENTINELS
        noise = 0.0
        for label, source in self._fold.sources.items():
            chain = self._fold.chain(label, side)[-6:]
            if source.weight == "requests" and chain and chain[-1].tagged is None:
                found = self._between(label, side, chain)
                noise = max(noise, 3 * math.sqrt(found.likely / len(chain)))
        step = max(3, math.ceil(noise / 2))
        return min(MOST_SENTINELS, SENTINELS + (0, 2, 1)[turn % 3] * step)

    def _counts_sentinels(self, label: str, side: str, chain: Sequence[Window]) -> Vision:
        allowed = self._allowed(label, side, chain[-1])
        recent = self._now - allowed - GAP_INTERVALS * self._interval - chain[-1].edge
        until = chain[-1].end
        for first in range(len(chain) - 1, -1, -1):
            part = chain[first:]
            certain = self._certain(label, side, part[0].start, until, part[-1].edge, probes=False, recent=recent)
            if not certain:
                continue
            counted = _counted(part)
            if counted < certain - 1e-6:
                mends = part[-1].tagged is None and self._now - part[0].start < _LATE + allowed
                late = part[0].start if mends else None
                why = f"it counted {counted:g} of {certain} sentinels: blind, or late"
                return Vision(False, why, Sight.OK, counted, certain, until, late)
            why = f"it counted {counted:g} requests, {certain} of them sentinels"
            return Vision(True, why, Sight.OK, counted, certain, until)
        return self._unproven(label, side, chain, recent)

    def _unproven(self, label: str, side: str, chain: Sequence[Window], recent: datetime) -> Vision:
        """Judge without a burst that lies wholly inside the windows."""
        until = chain[-1].end
        bursts = [x for x in self._fold.bursts(side, recent, self._now) if x.sent and self._fold.expects(label, x)]
        tagged = sum(window.tagged or 0 for window in chain if window.end >= recent)
        answered = [burst.answered for burst in bursts if burst.answered]
        if tagged and answered and tagged >= min(answered):
            return Vision(True, f"it recorded {tagged} sentinels", Sight.OK, tagged, min(answered), until)
        if not bursts:
            return Vision(False, "no sentinel was sent: no address of this side is known", Sight.OK, until=until)
        if not answered:
            refused = sum(burst.refused for burst in bursts)
            how = "refused" if refused == sum(burst.sent for burst in bursts) else "not answered"
            return Vision(False, f"sentinels were {how} at every address of this side", Sight.OK, until=until)
        return Vision(
            False,
            f"sentinels were sent at {bursts[-1].end:%H:%M:%S}, it has counted up to {until:%H:%M:%S} UTC",
            Sight.OK,
            until=until,
        )

    def _between(self, label: str, side: str, windows: Sequence[Window]) -> Bounds:
        start, end, edge = windows[0].start, windows[-1].end, windows[-1].edge
        counted = total(windows)
        exact = all(window.tagged is not None for window in windows)
        if exact:
            return Bounds(start, end, counted, counted, counted, True, len(windows))
        sentinels = self._certain(label, side, start, end, edge, probes=False)
        probes = self._certain(label, side, start, end, edge, probes=True)
        possible = self._possible(side, start, end, edge)
        tracked = self._tracked(label, side, windows)
        ours = sentinels if tracked else 0
        if probes and self._holds_probes(label, side, windows):
            ours += probes
        high = max(0.0, counted - ours)
        low = min(high, max(0.0, counted - possible))
        return Bounds(start, end, low, high, min(high, max(low, counted - sentinels - probes)), tracked, len(windows))

    def _certain(
        self,
        label: str,
        side: str,
        start: datetime,
        end: datetime,
        edge: timedelta,
        *,
        probes: bool,
        recent: datetime | None = None,
    ) -> int:
        """Count our requests that a seeing source must have counted in a stretch: sentinels, or all the others."""
        found = 0
        for burst in self._fold.bursts(side, start, end):
            inside = burst.start >= start + self._slack and burst.end <= end - edge - self._slack
            if not inside or (recent is not None and burst.end < recent):
                continue
            expected = self._fold.expects(label, burst)
            if probes:
                found += burst.probes + (0 if expected else burst.answered)
            elif expected:
                found += burst.answered
        return found

    def _possible(self, side: str, start: datetime, end: datetime, edge: timedelta) -> int:
        touching = self._fold.bursts(side, start - edge - self._slack, end + self._slack)
        return sum(burst.answered + burst.maybe + burst.probes for burst in touching)

    def _near(self, side: str, instant: datetime, edge: timedelta) -> int:
        """Count our requests that may lie on either side of a window's end."""
        return sum(
            burst.answered + burst.maybe + burst.probes
            for burst in self._fold.bursts(side, instant - edge - self._slack, instant + self._slack)
        )

    def _clearest(
        self, label: str, side: str, chain: Sequence[Window], candidates: Sequence[int], *, start: bool = False
    ) -> int:
        if chain[0].tagged is not None:
            return candidates[0]
        for i in candidates:
            instant = chain[i].start if start else chain[i].end
            if not self._near(side, instant, chain[i].edge):
                return i
        return candidates[0]

    def _tracked(self, label: str, side: str, windows: Sequence[Window]) -> bool:
        """Tell whether the counts of some windows follow the number of sentinels that lie in them.

        Fewer than :data:`FEWEST` windows are joined by those before them: chance fits a few numbers too easily.
        """
        chain = self._fold.chain(label, side)
        place = next((i for i, window in enumerate(chain) if window.start == windows[0].start), 0)
        first = max(0, min(place, place + len(windows) - FEWEST))
        pairs = [
            (self._certain(label, side, x.start, x.end, x.edge, probes=False), x.count)
            for x in chain[first : place + len(windows)][-_TRACKED_WINDOWS:]
            if not self._near(side, x.start, x.edge) and not self._near(side, x.end, x.edge)
        ]
        return len(pairs) >= FEWEST and _follows(pairs)

    def _holds_probes(self, label: str, side: str, windows: Sequence[Window]) -> bool:
        for window in windows:
            if self._near(side, window.start, window.edge) or self._near(side, window.end, window.edge):
                continue
            sentinels = self._certain(label, side, window.start, window.end, window.edge, probes=False)
            probes = self._certain(label, side, window.start, window.end, window.edge, probes=True)
            if window.count - sentinels < probes - 1e-6:
                return False
        return True


_WORDS = {
    Sight.OK: "it answers",
    Sight.EMPTY: "no data",
    Sight.PARTIAL: "only part of the data",
    Sight.STALE: "stale",
    Sight.FORBIDDEN: "not allowed",
    Sight.NOT_FOUND: "not found",
    Sight.RATE_LIMITED: "rate limited",
    Sight.UNREACHABLE: "unreachable",
    Sight.MALFORMED: "cannot be read",
    Sight.WRONG_UNIT: "wrong unit",
    Sight.SKEWED: "clocks differ",
}


def _follows(pairs: Sequence[tuple[int, float]]) -> bool:
    """Fit counts by sentinels sent, and tell whether the slope is surely above one half, and not above one."""
    mean_sent = sum(sent for sent, _ in pairs) / len(pairs)
    mean_count = sum(count for _, count in pairs) / len(pairs)
    spread = sum((sent - mean_sent) ** 2 for sent, _ in pairs)
    if spread == 0:
        return False
    slope = sum((sent - mean_sent) * (count - mean_count) for sent, count in pairs) / spread
    residuals = sum((count - mean_count - slope * (sent - mean_sent)) ** 2 for sent, count in pairs)
    freedom = len(pairs) - 2
    quantile = _T_999[max(known for known in _T_999 if known <= freedom)]
    error = quantile * math.sqrt(residuals / freedom / spread)
    return slope - error >= 0.5 and slope <= 1.5 + error


def _counted(windows: Sequence[Window]) -> float:
    if all(window.tagged is not None for window in windows):
        return float(sum(window.tagged or 0 for window in windows))
    return total(windows)


def _began(state: Refusal, over_breaks: bool) -> datetime | None:
    return state.unbroken_since if over_breaks else state.since


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.0f} s"
