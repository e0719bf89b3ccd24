"""When a name changed, until when caches may hold what was before, and how that is known. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from cutover.answers import Answer, Sides
from cutover.folds.authority import RRset, expiry
from cutover.observations.provider import TrailChange, TrailHistory

if TYPE_CHECKING:
    from cutover.evidence import Evidence
    from cutover.plan import Plan

LONGEST_CACHE = timedelta(days=7)
"""The longest that a cache is known to hold a record (BIND's ``max-cache-ttl``, RFC 8767's cap)."""


@dataclass(frozen=True, slots=True)
class Changed:
    """When a name left the old side.

    Attributes:
        at: the instant that counts; None while it has not changed, or nothing tells when.
        how: what tells so.
    """

    at: datetime | None
    how: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why caches may hold old answers.

    Attributes:
        until: the last instant at which they may.
        what: what it is, with its numbers.
    """

    until: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Horizon:
    """The earliest instant at which no compliant cache holds an old answer.

    Attributes:
        not_before: None when unknown.
        causes: every bound, latest first.
        unknown: why the horizon is not (wholly) known, "" when it is.
        known_by: how the old TTL is known.
    """

    not_before: datetime | None
    causes: tuple[Cause, ...]
    unknown: str
    known_by: str = ""


def changed(plan: Plan, evidence: Evidence, name: str) -> Changed:
    """Return when a name changed (DESIGN.md 5, "When did it change").

    The plan's word and CloudTrail's count only inside the interval between the last authoritative sighting of
    old and the first round in which every server gave new; with neither, the interval's end counts.
    """
    window = evidence.authority.window(name)
    if window.first_new is None:
        return Changed(None, "the authoritative servers have not all moved to new")
    told = [(at, how) for at, how in _told(plan, evidence, name)]
    if window.last_old is None:
        if told:
            at, how = max(told)
            return Changed(at, how)
        return Changed(None, "no authority was ever seen on old, and neither `changed_at` nor CloudTrail tells")
    inside = [(at, how) for at, how in told if window.last_old <= at <= window.first_new]
    if inside:
        at, how = max(inside)
        return Changed(at, how)
    return Changed(window.first_new, "first seen on new everywhere by this ledger")


def horizon(plan: Plan, evidence: Evidence, name: str) -> Horizon:
    """Return a name's ``not_before`` with every cause."""
    moved = changed(plan, evidence, name)
    if moved.at is None:
        return Horizon(None, (), moved.how)
    window = evidence.authority.window(name)
    old_versions = evidence.authority.old_versions(name)
    causes = [_cause(rrset, last, moved.at, window.last_old) for rrset, last in old_versions.items()]
    previous_ttl = plan.named(name).previous_ttl
    if previous_ttl is not None:
        lowered = _lowered_before(evidence, name, previous_ttl) or moved.at
        served_until = min(lowered, moved.at)
        causes.append(Cause(expiry(served_until, previous_ttl), f"previous_ttl of {previous_ttl} s"))
    causes.extend(_from_trail(evidence, name, moved.at))
    causes.extend(_from_delegation(evidence, name, moved.at))
    cached = evidence.resolvers.cached_old_until(name)
    if cached is not None:
        causes.append(Cause(cached, "seen in a resolver's cache"))
    causes.sort(key=lambda cause: cause.until, reverse=True)
    known_by = ttl_known_by(plan, evidence, name, moved.at)
    return Horizon(
        causes[0].until if causes else None,
        tuple(causes),
        "" if known_by and causes else "the TTL from before the change is not known: set previous_ttl",
        known_by,
    )


def ttl_known_by(plan: Plan, evidence: Evidence, name: str, until: datetime) -> str:
    """Say how the TTLs that caches may still hold are known, "" when nothing tells.

    By ``previous_ttl``, by the provider's complete history, or by a ledger that goes back at least as long as
    the longest TTL it has seen, seven days at most.
    """
    if plan.named(name).previous_ttl is not None:
        return "previous_ttl"
    longest = longest_seen_ttl(evidence, name)
    needed = min(timedelta(seconds=longest), LONGEST_CACHE)
    trail = evidence.latest(TrailHistory, name)
    if trail is not None and trail.complete and trail.since <= until - LONGEST_CACHE:
        return "CloudTrail"
    since = evidence.authority.known_since(name)
    if since is not None and since <= until - needed:
        return f"this ledger, which goes back to {since:%Y-%m-%dT%H:%M:%SZ}"
    return ""


def longest_seen_ttl(evidence: Evidence, name: str) -> int:
    """Return the longest TTL seen for a name, at an authority or left in a cache, seconds."""
    at_authority = max((rrset.ttl for rrset in evidence.authority.versions(name)), default=0)
    return max(at_authority, evidence.resolvers.longest_ttl(name))


def trail_changes(evidence: Evidence, owner: str, name: str) -> tuple[TrailChange, ...]:
    """Return CloudTrail's changes of one owner, oldest first."""
    trail = evidence.latest(TrailHistory, name)
    if trail is None:
        return ()
    return tuple(sorted((x for x in trail.changes if x.name == owner), key=lambda x: x.at))


def _told(plan: Plan, evidence: Evidence, name: str) -> list[tuple[datetime, str]]:
    told: list[tuple[datetime, str]] = []
    if plan.migration.changed_at is not None:
        told.append((plan.migration.changed_at, "the plan's changed_at"))
    sides = evidence.sides.of(name)
    for change in trail_changes(evidence, name, name):
        ends = [*change.values, *([change.alias] if change.alias else [])]
        if change.action != "DELETE" and ends and all(_is_new(sides, end) for end in ends):
            told.append((change.at, f"CloudTrail, change {change.change_id}"))
    return told


def _is_new(sides: Sides, end: str) -> bool:
    return (sides.of_address(end) or sides.of_target(end)) is Answer.NEW


def _cause(rrset: RRset, last: datetime, changed_at: datetime, last_old: datetime | None) -> Cause:
    current_at_change = last_old is not None and last >= last_old
    served_until = max(last, changed_at) if current_at_change else last
    return Cause(expiry(served_until, rrset.ttl), f"old {rrset}, served until {served_until:%H:%M:%S} UTC")


def _lowered_before(evidence: Evidence, name: str, previous_ttl: int) -> datetime | None:
    """Return when the name's own RRset was last known to have ``previous_ttl``, by the ledger or CloudTrail."""
    own = {rrset: served for rrset, served in evidence.authority.versions(name).items() if rrset.owner == name}
    high = [served.last for rrset, served in own.items() if rrset.ttl >= previous_ttl]
    low = [served.first for rrset, served in own.items() if rrset.ttl < previous_ttl]
    lowered = [x.at for x in trail_changes(evidence, name, name) if x.ttl is not None and x.ttl < previous_ttl]
    if high:
        after = [at for at in low if at > max(high)]
        return min(after) if after else None
    candidates = [*lowered, *low]
    return min(candidates) if candidates else None


def _from_trail(evidence: Evidence, name: str, changed_at: datetime) -> list[Cause]:
    causes: list[Cause] = []
    for owner in {rrset.owner for rrset in evidence.authority.versions(name)} | {name}:
        series: dict[tuple[str, str], list[TrailChange]] = defaultdict(list)
        for change in trail_changes(evidence, owner, name):
            series[(change.rtype, change.set_identifier)].append(change)
        for (rtype, _), changes in series.items():
            for before, after in pairwise(changes):
                if before.ttl is not None and after.at <= changed_at:
                    causes.append(
                        Cause(
                            expiry(after.at, before.ttl),
                            f"CloudTrail: {rtype} TTL {before.ttl} s until {after.at:%H:%M:%S} UTC",
                        )
                    )
    return causes


def _from_delegation(evidence: Evidence, name: str, changed_at: datetime) -> list[Cause]:
    return [
        Cause(expiry(changed_at, ttl), f"the delegation moved: NS TTL {ttl} s")
        for ttl in evidence.delegation.moved_ns_ttl(name)
    ] + [
        Cause(expiry(changed_at, ttl), f"the name is new: negative TTL {ttl} s")
        for ttl in evidence.delegation.negative_ttl_when_new(name)
    ]
