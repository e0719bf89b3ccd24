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
from typing import NamedTuple

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
_STARTS, _ENDS = 6, 3
_TOGETHER = 3
_STEP = 6
FEWEST = 6
"""Windows from which it can be told whether a counter follows the sentinels."""
_MANY = 20
"""Windows that need no others to tell it."""
_SURELY_FEWER = 0.95
"""Requests counted for a sentinel below which a source is taken to miss some of them."""
_T_999 = {4: 7.17, 5: 5.89, 6: 5.21, 7: 4.79, 8: 4.50, 12: 3.93, 18: 3.61, 28: 3.41, 60: 3.23}
"""One-sided 99.9 % quantiles of Student's t by degrees of freedom."""
_PROBABLY = 0.2
"""Part of them that stands for about 90 %, at few degrees of freedom."""


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
class _Ours:
    """What of our own requests a source's counts are known to hold.

    Attributes:
        exact: it recognises them and leaves them out.
        tracked: it counts sentinels. probes: it counts probes.
    """

    exact: bool
    tracked: bool
    probes: bool


class _Fit(NamedTuple):
    """How many requests a source counts for each sentinel sent; the error is one-sided at 99.9 %."""

    slope: float
    error: float

    @property
    def low(self) -> float:
        return self.slope - self.error

    @property
    def high(self) -> float:
        return self.slope + self.error

    @property
    def follows(self) -> bool:
        """Tell whether the counts surely rise with the sentinels, about one for one."""
        return self.low >= 0.5 and self.slope <= 1.5 + self.error

    @property
    def probably_follows(self) -> bool:
        """Tell the same at about 90 %."""
        return 0.5 + self.error * _PROBABLY <= self.slope <= 1.5


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

        A window's end may fall among our own requests, and then nobody knows which of them it holds. What users
        asked in a stretch is at most what is left of *any* longer one when our certain requests are taken away:
        the least of some is the upper bound.
        """
        chain = self._fold.chain(label, side)
        if not chain:
            return None
        first = len(chain) - 1
        if since is not None:
            first = next((i for i, window in enumerate(chain) if window.end > since), first)
        last = len(chain) - 1
        nearest = chain[first : last + 1]
        ours = self._ours(label, side, nearest)
        low = max(0.0, total(nearest) - (0 if ours.exact else self._possible(side, nearest)))
        if since is None or ours.exact:
            return self._bounds(label, side, nearest, ours, low)
        found = [
            self._bounds(label, side, chain[begin : end + 1], ours, low)
            for end in self._ends(side, chain, first, ours)
            for begin in range(first, max(-1, first - _STARTS), -1)
        ]
        return min(found, key=lambda x: x.high)

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
                ours = _Ours(exact=False, tracked=True, probes=True)
                found = self._bounds(label, side, chain, ours, 0.0)
                noise = max(noise, 3 * math.sqrt(found.likely / len(chain)))
        step = max(_STEP, math.ceil(noise / 2))
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
                reading = self._fold.latest(label, side)
                hint = f" ({reading.detail})" if reading is not None and reading.detail else ""
                why = f"it counted {counted:g} of {certain} sentinels: blind, or late{hint}"
                return Vision(False, why, Sight.OK, counted, certain, until, late)
            share = None if part[-1].tagged is not None else self._share_of_sentinels(label, side, chain)
            if share is not None:
                why = (
                    f"it counts about {share:.0%} of our sentinels, and perhaps as little of the users: a sample, one "
                    "instance of some, a cache before it, or not the sentinels' path (sentinel_path)"
                )
                return Vision(False, why, Sight.OK, counted, certain, until)
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

    def _ends(self, side: str, chain: Sequence[Window], first: int, ours: _Ours) -> list[int]:
        """Return where a stretch may end: at the newest window, or before some that hold nothing but sentinels."""
        last = len(chain) - 1
        found = [last]
        for end in range(last - 1, max(first, last - _ENDS) - 1, -1):
            left_out = chain[end + 1 :]
            if not ours.tracked or total(left_out) > self._possible(side, left_out, probes=ours.probes):
                break
            found.append(end)
        return found

    def _ours(self, label: str, side: str, windows: Sequence[Window]) -> _Ours:
        if all(window.tagged is not None for window in windows):
            return _Ours(exact=True, tracked=True, probes=False)
        return _Ours(
            exact=False,
            tracked=self._tracked(label, side, windows),
            probes=self._holds_probes(label, side, windows),
        )

    def _bounds(self, label: str, side: str, windows: Sequence[Window], ours: _Ours, low: float) -> Bounds:
        start, end, edge = windows[0].start, windows[-1].end, windows[-1].edge
        counted = total(windows)
        if ours.exact:
            return Bounds(start, end, counted, counted, counted, True, len(windows))
        sentinels = self._certain(label, side, start, end, edge, probes=False)
        probes = self._certain(label, side, start, end, edge, probes=True)
        certain = (sentinels if ours.tracked else 0) + (probes if ours.probes else 0)
        high = max(low, counted - certain)
        uncertain = max(0, self._possible(side, windows) - sentinels - probes)
        likely = min(high, max(low, counted - sentinels - probes - uncertain / 2))
        return Bounds(start, end, low, high, likely, ours.tracked, len(windows))

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

    def _possible(self, side: str, windows: Sequence[Window], *, probes: bool = True) -> int:
        start, end, edge = windows[0].start, windows[-1].end, windows[-1].edge
        touching = self._fold.bursts(side, start - edge - self._slack, end + self._slack)
        return sum(burst.answered + burst.maybe + (burst.probes if probes else 0) for burst in touching)

    def _sentinels_near(self, side: str, instant: datetime, edge: timedelta) -> bool:
        """Tell whether sentinels may lie on either side of a window's end."""
        near = self._fold.bursts(side, instant - edge - self._slack, instant + self._slack)
        return any(burst.answered + burst.maybe for burst in near)

    def _tracked(self, label: str, side: str, windows: Sequence[Window]) -> bool:
        """Tell whether the counts of some windows follow the number of sentinels that lie in them.

        Fewer than :data:`FEWEST` windows are joined by those before them: chance fits a few numbers too easily. Where
        a few probably follow them, those before may make it sure.
        """
        chain = self._fold.chain(label, side)
        place = next((i for i, window in enumerate(chain) if window.start == windows[0].start), 0)
        first = max(0, min(place, place + len(windows) - FEWEST))
        fitted = _fit(self._pairs(label, side, chain[first : place + len(windows)][-_TRACKED_WINDOWS:]))
        if fitted is None or fitted.follows or len(windows) >= _MANY or not fitted.probably_follows:
            return fitted is not None and fitted.follows
        joined = _fit(self._pairs(label, side, chain[max(0, place + len(windows) - _MANY) : place + len(windows)]))
        return joined is not None and joined.follows

    def _share_of_sentinels(self, label: str, side: str, chain: Sequence[Window]) -> float | None:
        """Return which part of the sentinels a source counts, when it is surely less than all of them.

        Where users' requests outnumber sentinels, a count that is no less than theirs proves nothing: a sample of one
        in ten, one instance of many, a cache before the counter all look like that, and hide as much of the users.
        """
        fitted = _fit(self._pairs(label, side, chain[-_TRACKED_WINDOWS:]))
        return max(0.0, fitted.slope) if fitted is not None and fitted.high < _SURELY_FEWER else None

    def _pairs(self, label: str, side: str, windows: Sequence[Window]) -> list[tuple[int, float]]:
        """Return the sentinels sent and the requests counted, window by window, where none lie near an end."""
        return [
            (self._certain(label, side, x.start, x.end, x.edge, probes=False), x.count)
            for x in windows
            if not self._sentinels_near(side, x.start, x.edge) and not self._sentinels_near(side, x.end, x.edge)
        ]

    def _holds_probes(self, label: str, side: str, windows: Sequence[Window]) -> bool:
        """Tell whether there is room for the probes wherever some windows are looked at together."""
        together = min(_TOGETHER, len(windows))
        for first in range(len(windows) - together + 1):
            part = windows[first : first + together]
            start, end, edge = part[0].start, part[-1].end, part[-1].edge
            sentinels = self._certain(label, side, start, end, edge, probes=False)
            probes = self._certain(label, side, start, end, edge, probes=True)
            if total(part) - sentinels < probes - 1e-6:
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


def _fit(pairs: Sequence[tuple[int, float]]) -> _Fit | None:
    """Fit counts by sentinels sent; None where there are too few, or their number never varied."""
    if len(pairs) < FEWEST:
        return None
    mean_sent = sum(sent for sent, _ in pairs) / len(pairs)
    mean_count = sum(count for _, count in pairs) / len(pairs)
    spread = sum((sent - mean_sent) ** 2 for sent, _ in pairs)
    if spread == 0:
        return None
    slope = sum((sent - mean_sent) * (count - mean_count) for sent, count in pairs) / spread
    residuals = sum((count - mean_count - slope * (sent - mean_sent)) ** 2 for sent, count in pairs)
    freedom = len(pairs) - 2
    quantile = _T_999[max(known for known in _T_999 if known <= freedom)]
    return _Fit(slope, quantile * math.sqrt(residuals / freedom / spread))


def _counted(windows: Sequence[Window]) -> float:
    if all(window.tagged is not None for window in windows):
        return float(sum(window.tagged or 0 for window in windows))
    return total(windows)


def _began(state: Refusal, over_breaks: bool) -> datetime | None:
    return state.unbroken_since if over_breaks else state.since


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.0f} s"
