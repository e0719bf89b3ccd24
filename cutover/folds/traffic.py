"""What each traffic source has counted, and what of it were our own requests.

Windows of one source and side are chained: each begins where the one before ended. Sentinels that lie wholly
inside a chain were *certainly* counted if the source sees; those near its ends may lie on either side of a bucket's
edge and are only *possible*. Old traffic is therefore known between two bounds: a finding fails by the lower one
and passes by the upper one (:mod:`cutover.estimate`).
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cutover.observations.base import Observation
from cutover.observations.traffic import SentinelSent, Sight, TrafficReading
from cutover.plan import Plan, Traffic
from cutover.plan_values import address_of
from cutover.urls import origin_url, path_of

_SAME = timedelta(milliseconds=5)
_GAP_INTERVALS = 3
_LONGEST_BURST = timedelta(minutes=2)
_MOST_BURSTS = 100_000


@dataclass(frozen=True, slots=True)
class Window:
    """One reading that counts, or a ``gap`` after which counting goes on.

    Attributes:
        whole: nothing of it was lost.
    """

    start: datetime
    end: datetime
    count: float
    tagged: int | None
    edge: timedelta
    bookmark: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Burst:
    """Our own requests to one address of one side: sentinels by what became of them, and probes."""

    name: str
    side: str
    address: str
    path: str
    start: datetime
    end: datetime
    sent: int
    answered: int
    refused: int
    probes: int

    @property
    def maybe(self) -> int:
        """Sentinels that may or may not have been counted: neither answered nor refused."""
        return self.sent - self.answered - self.refused


@dataclass(frozen=True, slots=True)
class Refusal:
    """How long one address has refused every connection.

    Attributes:
        since: the first of the bursts that were refused without a break in the watching, None while it answers.
        unbroken_since: the same over breaks: nothing else was seen since then.
        last: the end of the last burst.
    """

    since: datetime | None
    unbroken_since: datetime | None
    last: datetime


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a source goes on for one side."""

    since: datetime
    bookmark: str


class TrafficFold:
    """Chains of windows by source and side, bursts by side, and which addresses refuse."""

    def __init__(self, plan: Plan) -> None:
        gate = plan.gate
        pairs = [(name, side) for name in plan.names for side in ("old", "new")]
        self._paths = {(name, side): path_of(origin_url(plan, name, side)) for name, side in pairs}
        self._connects = {(name, side): plan.origin_of(name, side).connect for name, side in pairs}
        self._members = {(name, side): plan.named(name).members(side) for name, side in pairs}
        self._sources = dict(zip(plan.traffic_labels(), plan.traffic, strict=True))
        self._asked = {(x, side): asked_of(y, side) for x, y in self._sources.items() for side in ("old", "new")}
        self._interval = gate.interval
        self.kept = max(timedelta(hours=24), 2 * (gate.soak + gate.valid_for))
        self._windows: dict[tuple[str, str], deque[Window]] = {}
        self._latest: dict[tuple[str, str], TrafficReading] = {}
        self._bursts: dict[str, list[Burst]] = {"old": [], "new": []}
        self._refusals: dict[tuple[str, str, str], Refusal] = {}

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        match observation:
            case TrafficReading(source=label, weight=weight):
                source = self._sources.get(label)
                asked = observation.asked
                if (
                    source is not None
                    and source.weight == weight
                    and asked in {"", self._asked.get((label, observation.side))}
                ):
                    self._take(observation)
            case SentinelSent(side="old" | "new"):
                self._sent(observation)

    @property
    def sources(self) -> dict[str, Traffic]:
        """The plan's sources by label."""
        return self._sources

    def latest(self, label: str, side: str) -> TrafficReading | None:
        """Return the last reading, whatever it was."""
        return self._latest.get((label, side))

    def chain(self, label: str, side: str) -> tuple[Window, ...]:
        """Return the newest windows that follow each other without a gap, oldest first."""
        found: list[Window] = []
        for window in reversed(self._windows.get((label, side), ())):
            if not window.whole or (found and abs(found[-1].start - window.end) > _SAME):
                break
            found.append(window)
        return tuple(reversed(found))

    def bursts(self, side: str, start: datetime, end: datetime) -> Iterator[Burst]:
        """Yield the bursts to a side that touch a time, oldest first."""
        bursts = self._bursts[side]
        for i in range(bisect_left(bursts, start - _LONGEST_BURST, key=_start), len(bursts)):
            if bursts[i].start > end:
                break
            if bursts[i].end >= start:
                yield bursts[i]

    def last_burst(self, side: str) -> datetime | None:
        """Return when sentinels were last sent to a side."""
        sent = (burst.end for burst in reversed(self._bursts[side]) if burst.sent)
        return next(sent, None)

    def expects(self, label: str, burst: Burst) -> bool:
        """Tell whether a source is meant to count a burst: it went to the path that the source's sentinels take."""
        usual = self._paths.get((burst.name, burst.side))
        return usual is not None and burst.path == (self._sources[label].sentinel_path or usual)

    def resume(self, label: str, side: str, now: datetime) -> Resume | None:
        """Return where a source goes on for a side, None when it begins afresh."""
        windows = self._windows.get((label, side))
        if not windows or now - windows[-1].end > self.kept:
            return None
        return Resume(windows[-1].end, windows[-1].bookmark)

    def reopen(self, label: str, side: str, since: datetime) -> Resume | None:
        """Return how to read again from one of the windows' starts (late data), None when it is not known."""
        before: Window | None = None
        for window in self._windows.get((label, side), ()):
            if abs(window.start - since) <= _SAME:
                if before is None or abs(before.end - since) > _SAME:
                    return Resume(since, "")
                return Resume(since, before.bookmark)
            before = window
        return None

    def refusals(self, side: str) -> dict[tuple[str, str], Refusal]:
        """Return, by name and address (``host:port``), how long it has refused connections."""
        return {(name, address): state for (name, of, address), state in self._refusals.items() if of == side}

    def _take(self, reading: TrafficReading) -> None:
        key = (reading.source, reading.side)
        self._latest[key] = reading
        whole = reading.sight is Sight.OK and reading.count is not None and not reading.gap
        if not whole and not reading.gap:
            return
        windows = self._windows.setdefault(key, deque())
        while windows and windows[-1].start >= reading.window_start - _SAME:
            windows.pop()
        windows.append(
            Window(
                reading.window_start,
                reading.window_end,
                reading.count or 0.0,
                reading.tagged,
                timedelta(seconds=reading.edge),
                reading.bookmark,
                whole,
            )
        )
        while windows and windows[0].end < reading.window_end - self.kept:
            windows.popleft()

    def _side_of(self, seen: SentinelSent) -> str:
        """Return the side that an address belongs to now: watching a roll-back, the sides have changed places."""
        host = address_of(seen.address.rpartition(":")[0].strip("[]"))
        for side in ("old", "new"):
            key = (seen.name, side)
            if seen.address and self._connects.get(key) == seen.address:
                return side
            if host is not None and any(member.holds(host) for member in self._members.get(key, ())):
                return side
        return seen.side

    def _sent(self, observed: SentinelSent) -> None:
        seen = replace(observed, side=self._side_of(observed))
        bursts = self._bursts[seen.side]
        burst = Burst(
            seen.name,
            seen.side,
            seen.address,
            seen.path,
            seen.window_start,
            seen.window_end,
            seen.sent,
            seen.answered,
            seen.refused,
            seen.probes,
        )
        insort(bursts, burst, key=_start)
        if len(bursts) > _MOST_BURSTS or bursts[0].end < seen.window_end - self.kept - timedelta(hours=1):
            keep = bisect_left(bursts, seen.window_end - self.kept, key=_start)
            del bursts[: max(keep, len(bursts) - _MOST_BURSTS)]
        if seen.sent and (seen.name, seen.side) in self._paths:
            self._note_refusal(seen)

    def _note_refusal(self, seen: SentinelSent) -> None:
        key = (seen.name, seen.side, seen.address)
        before = self._refusals.get(key)
        same_turn = before is not None and before.last == seen.window_end
        if seen.refused < seen.sent or seen.probes or (same_turn and before is not None and before.since is None):
            self._refusals[key] = Refusal(None, None, seen.window_end)
            return
        since = unbroken = seen.window_start
        if before is not None and before.since is not None and before.unbroken_since is not None:
            unbroken = before.unbroken_since
            if seen.window_start - before.last <= _GAP_INTERVALS * self._interval + _SAME:
                since = before.since
        self._refusals[key] = Refusal(since, unbroken, seen.window_end)


def asked_of(source: Traffic, side: str) -> str:
    """Return a digest of what a source is asked for one side."""
    settings = source.model_dump(mode="json", exclude={"old", "new", "sentinel_path"})
    text = json.dumps([settings, side, source.model_dump(mode="json", include={side})], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _start(burst: Burst) -> datetime:
    return burst.start


def total(windows: Iterable[Window]) -> float:
    """Return what some windows counted together."""
    return sum(window.count for window in windows)
