"""``traffic.converged``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cutover.check import Outcome, Phase, Severity, Status, check, extended, failed, passed, skipped, unknown, warned
from cutover.durations import say_duration
from cutover.estimate import Bounds, Estimate
from cutover.evidence import Evidence
from cutover.plan import Plan

from ._reading import NO_SOURCE, labels, refused_for, silent_since, soak_since, upper_bound

LONG_CONNECTIONS = (
    "what was opened before the change (WebSocket, SSE, uploads) is counted only when it closes: restart old's web "
    "server, or count its open connections"
)

STEADY_INTERVALS = 10
"""Of how many rounds at most a share that fails is told."""

STEADY_REQUESTS = 500
"""So many tell a tenth within a point or two: of a busy site, nothing from before is needed."""

STEADY_WIDTH = 0.01
"""Between the least and the most that a share can be, our own requests taken away."""


@check(title="users have left the old side", severity=Severity.BLOCKER, phases=(Phase.WATCH,))
def converged(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Count the requests and the writes that still reach old, over the whole soak.

    DNS tells what resolvers answer, not where users are: clients keep connections, cache names for hours and have
    addresses written into their configuration. One write on old counts more than a thousand stale reads: any
    write blocks, reads block above ``max_old_share``.
    """
    yield from _requests(plan, evidence, now)
    yield from _writes(plan, evidence, now)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Sources that together tell a share: one that sees both sides, or some that see one each."""

    subject: str
    old: tuple[str, ...]
    new: tuple[str, ...]


def _pairs(plan: Plan) -> list[_Pair]:
    old, new = labels(plan, "requests", "old"), labels(plan, "requests", "new")
    both = [label for label in old if label in new]
    one_sided = [label for label in (*old, *new) if label not in both]
    pairs = [_Pair(f"requests ({label})", (label,), (label,)) for label in both]
    if one_sided:
        only_old = tuple(label for label in old if label not in both)
        only_new = tuple(label for label in new if label not in both)
        pairs.append(_Pair(f"requests ({', '.join(one_sided)})", only_old, only_new))
    if len(pairs) == 1:
        return [_Pair("requests", pairs[0].old, pairs[0].new)]
    return pairs


def _requests(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    pairs = _pairs(plan)
    if not pairs:
        if plan.gate.traffic == "optional":
            yield skipped("requests", 'no [[traffic]] in the plan (traffic = "optional")')
        else:
            yield unknown("requests", NO_SOURCE)
        return
    outcomes = [_Share(plan, evidence, now, pair).outcome() for pair in pairs]
    yield from outcomes
    looks_drained = all(outcome.status in {Status.PASS, Status.WARN} for outcome in outcomes)
    if looks_drained and silent_since(plan, evidence, now) is None:
        yield replace(warned("open connections", LONG_CONNECTIONS), severity=Severity.WARNING)


class _Share:
    """Judges one pair of sources."""

    def __init__(self, plan: Plan, evidence: Evidence, now: datetime, pair: _Pair) -> None:
        self._plan = plan
        self._evidence = evidence
        self._now = now
        self._pair = pair
        self._limit = plan.gate.max_old_share
        self._since = soak_since(plan, evidence, now)
        self._estimate = Estimate(plan, evidence.traffic, now)

    def outcome(self) -> Outcome:
        """Return what is known: too much at once fails, passing needs eyes, the whole soak and enough requests."""
        subject = self._pair.subject
        for since in (None, self._since):
            counted = self._counted(since)
            if counted is not None and counted.share_low > self._limit and self._recent():
                shown = self._steadier(counted)
                return replace(failed(subject, self._said(shown)), measured=self._measured(shown))
        counted = self._counted(self._since)
        silent = silent_since(self._plan, self._evidence, self._now)
        if silent is not None:
            served = self._served_after(silent)
            if served:
                return unknown(subject, served, **(self._measured(counted) if counted is not None else {}))
            return self._silent(silent, counted)
        blind = self._blind()
        if blind:
            return unknown(subject, blind, **(self._measured(counted) if counted is not None else {}))
        if counted is None:
            return unknown(subject, "not every side has a source: give `old` and `new`")
        contradiction = self._contradiction(counted)
        if contradiction:
            return unknown(subject, contradiction, **self._measured(counted))
        missing = self._missing(counted)
        if missing:
            return extended(subject, f"{self._said(counted)}; {missing}", **self._measured(counted))
        return passed(subject, self._said(counted), **self._measured(counted))

    def _counted(self, since: datetime | None) -> _Counted | None:
        old = [self._estimate.bounds(label, "old", since) for label in self._pair.old]
        new = [self._estimate.bounds(label, "new", since) for label in self._pair.new]
        known_old = [x for x in old if x is not None]
        known_new = [x for x in new if x is not None]
        if not known_old or not known_new or len(known_old) != len(old) or len(known_new) != len(new):
            return None
        return _Counted(known_old, max(known_new, key=lambda x: x.low))

    def _steadier(self, counted: _Counted) -> _Counted:
        """Return as many rounds as are needed for a steady share: in a few requests our own weigh too much."""
        for rounds in range(1, STEADY_INTERVALS + 1):
            if counted.requests >= STEADY_REQUESTS and counted.share_high - counted.share_low <= STEADY_WIDTH:
                break
            longer = self._counted(self._now - rounds * self._plan.gate.interval)
            if longer is not None and longer.start < counted.start and longer.share_low > self._limit:
                counted = longer
        return counted

    def _recent(self) -> bool:
        """Tell whether the readings are of the present: yesterday's share says nothing of today's."""
        sides = [("old", label) for label in self._pair.old] + [("new", label) for label in self._pair.new]
        return all(self._estimate.is_recent(label, side) for side, label in sides)

    def _blind(self) -> str:
        for side, of_side in (("old", self._pair.old), ("new", self._pair.new)):
            if not of_side:
                return f"no source counts the requests on {side}: the share cannot be told"
            for label in of_side:
                vision = self._estimate.vision(label, side)
                if not vision.sees:
                    return f"{label} does not see {side}: {vision.why}"
        return ""

    def _silent(self, silent: datetime, counted: _Counted | None) -> Outcome:
        """Judge by refused connections: no request can be served by a side that nobody can connect to."""
        measured: dict[str, Any] = {
            **(self._measured(counted) if counted is not None else {}),
            "share": 0.0,
            "old": 0,
            "bound": 0.0,
        }
        said = refused_for(silent, self._now)
        whole = self._since is not None and silent <= self._since
        if whole and self._now - silent >= self._plan.gate.soak:
            return passed(self._pair.subject, said, **measured)
        soak = say_duration(self._plan.gate.soak)
        return extended(self._pair.subject, f"{said}: a whole soak of it ({soak}) proves silence", **measured)

    def _served_after(self, silent: datetime) -> str:
        """Say which source counts requests that came while every connection was refused: a wall may be ours alone.

        What was served more than a soak ago, such as the last requests of a server that was told to stop, is over.
        """
        begun = self._now - self._plan.gate.soak
        for label in self._pair.old:
            chain = self._evidence.traffic.chain(label, "old")
            served = sum(x.count for x in chain if x.start - x.edge >= silent and x.end > begun)
            if served >= 1:
                return (
                    f"sources contradict each other: {refused_for(silent, self._now)}, seen from here, and {label} "
                    f"counts {served:.0f} requests there meanwhile: a firewall that refuses only us, another way in, "
                    "or health checks"
                )
        return ""

    def _contradiction(self, counted: _Counted) -> str:
        if counted.old_likely >= 1:
            return ""
        others = [pair for pair in _pairs(self._plan) if pair.old != self._pair.old]
        for other in others:
            theirs = _Share(self._plan, self._evidence, self._now, other)._counted(self._since)
            if theirs is not None and theirs.share_low > self._limit:
                return (
                    f"sources contradict each other: {', '.join(self._pair.old)} counts no request on old, "
                    f"{', '.join(other.old)} counts {theirs.old_likely:.0f}"
                )
        since = self._since or counted.start
        written = self._evidence.databases.written("old", since)
        if written.total > self._plan.gate.max_old_writes:
            return (
                f"sources contradict each other: {', '.join(self._pair.old)} counts no request on old, but old's "
                f"database took {written.total} row writes since {since:%H:%M:%S} UTC ({written.told()}): a worker, "
                "a cron job, or requests that are not counted"
            )
        return ""

    def _missing(self, counted: _Counted) -> str:
        """Say what a pass still lacks, "" when nothing."""
        gate = self._plan.gate
        if counted.share_high > self._limit:
            return (
                f"up to {counted.old_high:.0f} requests cannot yet be told from our own sentinels"
                if not counted.tracked
                else f"up to {counted.old_high:.0f} requests may be on old"
            )
        if counted.requests < gate.enough_requests:
            return f"{counted.requests:.0f} of {gate.enough_requests} requests seen: the soak goes on"
        if self._since is None:
            return f"the soak of {say_duration(gate.soak)} has not begun"
        held = counted.end - max(counted.start, self._since)
        if held < gate.soak - timedelta(milliseconds=1):
            return f"{say_duration(held)} of the soak are counted (of {say_duration(gate.soak)})"
        return ""

    def _said(self, counted: _Counted) -> str:
        return (
            f"{counted.share:.2%} of requests on old: {counted.old_likely:.0f} of {counted.requests:.0f} "
            f"since {counted.start:%H:%M:%S} UTC (limit {self._limit:.2%})"
        )

    def _measured(self, counted: _Counted) -> dict[str, Any]:
        return {
            "share": round(counted.share, 6),
            "share_low": round(counted.share_low, 6),
            "share_high": round(counted.share_high, 6),
            "old": round(counted.old_likely),
            "new": round(counted.new_likely),
            "requests": round(counted.requests),
            "min_requests": self._plan.gate.enough_requests,
            "limit": self._limit,
            "since": counted.start,
            "until": counted.end,
            "bound": round(upper_bound(counted.old_high, counted.requests), 6),
        }


class _Counted:
    """Both sides' traffic in one stretch of time."""

    def __init__(self, old: Sequence[Bounds], new: Bounds) -> None:
        self.old_low = sum(x.low for x in old)
        self.old_high = sum(x.high for x in old)
        self.old_likely = sum(x.likely for x in old)
        self.new_low, self.new_high, self.new_likely = new.low, new.high, new.likely
        self.tracked = all(x.tracked for x in old)
        self.start = max(*(x.start for x in old), new.start)
        self.end = min(*(x.end for x in old), new.end)

    @property
    def requests(self) -> float:
        """Requests seen, our own taken away."""
        return self.old_likely + self.new_low

    @property
    def share(self) -> float:
        """The likely share of old."""
        return _ratio(self.old_likely, self.new_likely)

    @property
    def share_low(self) -> float:
        """Old's share is at least this."""
        return _ratio(self.old_low, self.new_high)

    @property
    def share_high(self) -> float:
        """Old's share is at most this."""
        return _ratio(self.old_high, self.new_low)


def _ratio(old: float, new: float) -> float:
    return old / (old + new) if old > 0 else 0.0


def _writes(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    sources = labels(plan, "writes", "old")
    counted = plan.database is not None and plan.database.old is not None
    if not sources:
        if plan.gate.writes == "none":
            yield skipped("writes", 'the plan says that no database is written on old (writes = "none")')
        elif counted:
            yield skipped("writes", "counted by old's database itself: database.old-quiet")
        else:
            yield unknown("writes", 'nothing watches writes: add [database], or [[traffic]] with weight = "writes"')
    for label in sources:
        yield _writes_of(plan, evidence, now, label, counted=counted)


def _writes_of(plan: Plan, evidence: Evidence, now: datetime, label: str, *, counted: bool) -> Outcome:
    subject = f"writes ({label})"
    estimate = Estimate(plan, evidence.traffic, now)
    since = soak_since(plan, evidence, now)
    limit = plan.gate.max_old_writes
    chain = evidence.traffic.chain(label, "old")
    inside = [window for window in chain if since is not None and window.end > since] or list(chain[-1:])
    total = sum(window.count for window in inside)
    measured: dict[str, Any] = {"old": round(total), "limit": limit}
    if inside and total > limit and estimate.is_recent(label, "old"):
        began = f"{inside[0].start:%H:%M:%S} UTC"
        return failed(subject, f"{total:.0f} writes on old since {began} (limit {limit})", **measured)
    silent = silent_since(plan, evidence, now)
    vision = estimate.vision(label, "old")
    if silent is None and not vision.sees:
        return unknown(subject, f"{label} does not see old: {vision.why}", **measured)
    written = evidence.databases.written("old", since or (inside[0].start if inside else now))
    if written.total > limit:
        return unknown(
            subject,
            f"sources contradict each other: {label} counts {total:.0f} writes on old, old's database "
            f"{written.total} ({written.told()})",
            **measured,
        )
    proven = silent is not None or (bool(chain) and chain[-1].tagged is not None)
    if not proven and not counted and plan.gate.writes == "required":
        return unknown(
            subject,
            f"{label} counts no write on old, but sentinels are GETs: they cannot prove that it would. Add [database]",
            **measured,
        )
    begun = max(inside[0].start, since or inside[0].start) if inside else now
    held = inside[-1].end - begun if inside and since is not None else timedelta(0)
    if silent is not None:
        begun, held = min(begun, silent), max(held, now - silent)
    said = f"{total:.0f} writes on old since {begun:%H:%M:%S} UTC (limit {limit})"
    if held < plan.gate.soak - timedelta(milliseconds=1):
        return extended(subject, f"{said}; {say_duration(held)} of the soak are counted", **measured)
    return passed(subject, said, **measured)
