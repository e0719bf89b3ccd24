"""Which TTLs caches may still hold of an RRset, until when, and how that is known. Pure.

The ledger's sightings, CloudTrail and ``previous_ttl`` are three witnesses of one history: each version of an
RRset was served with its TTL until some instant, and the last compliant cache lets go of it that TTL later
(RFC 1035 3.2.1).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from cutover.answers import Answer
from cutover.durations import iso
from cutover.folds.authority import LONGEST_CACHE, RRset, Served, expiry
from cutover.folds.recordsets import RecordSet
from cutover.livezone import asked_zone
from cutover.observations.provider import TrailChange, TrailHistory
from cutover.trail import (
    TRAIL_LAG,
    Key,
    edits_between,
    holds_owner,
    is_routed,
    leads_to_new,
    series_of,
    stands_behind,
    ttl_of,
)

if TYPE_CHECKING:
    from cutover.evidence import Evidence
    from cutover.plan import Plan

SEEN = "seen by this ledger"
"""How a version is known that this ledger saw."""

LISTED = "Route 53's listing"
"""How a variant is known that the answers need not show."""


@dataclass(frozen=True, slots=True)
class Past:
    """A TTL with which an RRset was served.

    Attributes:
        served_until: the last instant at which an authority may have served it so.
        how: who tells.
        ahead: how far this machine's clock was put forward since then.
    """

    key: Key
    ttl: int
    served_until: datetime
    how: str
    ahead: timedelta = timedelta(0)

    @property
    def until(self) -> datetime:
        """The last instant at which a compliant cache may hold it."""
        return expiry(self.served_until, self.ttl) + self.ahead


@dataclass(frozen=True, slots=True)
class Known:
    """How the TTLs that caches may hold are known; else why not."""

    by: str = ""
    why_not: str = ""


def past_of(plan: Plan, evidence: Evidence, name: str, key: Key, at: datetime) -> tuple[Past, ...]:
    """Return every TTL with which an RRset was served before ``at``, as all witnesses tell."""
    versions = _versions(evidence, name, key)
    found = [
        Past(key, rrset.ttl, served_until(evidence, name, rrset, served, at), SEEN)
        for rrset, served in versions.items()
    ]
    for series in series_of(evidence, name, key).values():
        ended = [(before, after.at) for before, after in pairwise(series) if before.action != "DELETE"]
        ended += [(change, change.at) for change in series if change.action == "DELETE"]
        for change, end in ended:
            ttl = ttl_of(change)
            if ttl is not None and (end <= at or _was_before_the_change(evidence, name, change, end)):
                found.append(Past(key, ttl, end, "CloudTrail"))
    found += _listed(evidence, name, key, at)
    previous = plan.named(name).previous_ttl
    if previous is not None:
        found.append(Past(key, previous, min(_lowered(evidence, name, key, previous, at), at), "previous_ttl"))
    return tuple(replace(x, ahead=evidence.clock.ahead_since(x.served_until)) for x in found)


def served_until(evidence: Evidence, name: str, rrset: RRset, served: Served, at: datetime) -> datetime:
    """Return the last instant at which a version may have been served.

    That is ``at`` or the first round before it in which no server served it any more; or, when CloudTrail shows
    the edit that ended it between the last sighting and that round, the edit: even one after ``at``, for what
    changed later than the rest was served longer.
    """
    ceiling = max(served.last, at if served.gone is None else min(served.gone, at))
    key = Key(rrset.owner, rrset.rtype)
    edits = edits_between(evidence, name, key, served.last, served.gone or at)
    if not edits or _is_version(edits[-1], rrset):
        return ceiling
    if is_routed(evidence, name, key):
        return max(ceiling, served.gone or ceiling) if edits[-1].at > at else ceiling
    return edits[-1].at


def known(plan: Plan, evidence: Evidence, name: str, keys: Collection[Key], at: datetime) -> Known:
    """Say how the TTLs before ``at`` are known: by previous_ttl, CloudTrail or the ledger (DESIGN.md 5).

    A ledger knows when it goes back at least as long as the longest TTL it has seen, seven days at most, or saw
    itself how a TTL above the limit was lowered. An edit in CloudTrail from before anybody saw the TTL is a
    reason not to know, whatever else tells.
    """
    if plan.named(name).previous_ttl is not None:
        return Known("previous_ttl")
    ways: list[str] = []
    for key in sorted(keys):
        way = _known_one(plan, evidence, name, key, at)
        if not way.by:
            return way
        ways.append(way.by)
    return Known(" and ".join(dict.fromkeys(ways)))


def longest_seen_ttl(evidence: Evidence, name: str) -> int:
    """Return the longest TTL seen for a name, seconds: at an authority, in its zone, or in a cache that gave old."""
    ttls = [rrset.ttl for rrset in evidence.authority.versions(name)]
    zone = asked_zone(evidence, name)
    if zone is not None:
        ttls += [held.ttl for held in evidence.record_sets.versions(name, zone.id) if held.ttl is not None]
    return max([*ttls, evidence.resolvers.longest_ttl(name)])


def _known_one(plan: Plan, evidence: Evidence, name: str, key: Key, at: datetime) -> Known:
    unexplained = _unexplained_edit(evidence, name, key, at)
    if unexplained is not None:
        return Known(
            why_not=f"{key} was edited at {iso(unexplained)} (CloudTrail) and nothing tells its TTL before that"
        )
    since = evidence.authority.known_since(name, *key)
    trail = evidence.latest(TrailHistory, name)
    if trail is not None and trail.complete and trail.since <= at - LONGEST_CACHE:
        ours = trail.at >= at - TRAIL_LAG and _holds_history(evidence, name, key, at)
        if ours and (_is_explained(evidence, name, key) or _covers(trail, since, at)):
            return Known("CloudTrail")
    if since is None:
        return Known(why_not=f"no authority was seen to serve {key}")
    longest = longest_seen_ttl(evidence, name)
    if evidence.clock.after(since, min(timedelta(seconds=longest), LONGEST_CACHE)) <= at:
        return Known(f"this ledger, which goes back to {iso(since)}")
    if since <= at and _saw_it_lowered(plan, evidence, name, key, longest):
        return Known("this ledger, which saw it being lowered")
    return Known(
        why_not=f"this ledger goes back to {iso(since)} only, less than the longest TTL it has seen ({longest} s)"
    )


def _holds_history(evidence: Evidence, name: str, key: Key, at: datetime) -> bool:
    """Tell whether the asked zone's history is the RRset's: another zone answered before a delegation moved."""
    moved = evidence.delegation.moved(name)
    return holds_owner(evidence, name, key.owner) and (moved is None or moved.at <= at - LONGEST_CACHE)


def _covers(trail: TrailHistory, since: datetime | None, at: datetime) -> bool:
    """Tell whether an edit that CloudTrail does not show yet would have been noticed."""
    return trail.at - TRAIL_LAG >= at or (since is not None and since <= trail.at - TRAIL_LAG)


def _is_explained(evidence: Evidence, name: str, key: Key) -> bool:
    """Tell whether the last edits that CloudTrail shows are what the authorities serve: none is missing since."""
    served = {rrset.ttl for rrset, x in _versions(evidence, name, key).items() if x.gone is None}
    series = series_of(evidence, name, key)
    last = {ttl_of(changes[-1]) for changes in series.values() if changes[-1].action != "DELETE"}
    return served <= last if served else bool(series) and not last


def _unexplained_edit(evidence: Evidence, name: str, key: Key, at: datetime) -> datetime | None:
    """Return an edit of the last seven days of which nothing tells the TTL before it; the latest one."""
    since = evidence.authority.known_since(name, *key)
    found: list[datetime] = []
    for series in series_of(evidence, name, key).values():
        for before, after in zip([None, *series], series, strict=False):
            seen_before = since is not None and since <= after.at
            told = before is not None and (before.action == "DELETE" or ttl_of(before) is not None)
            says_itself = after.action in {"CREATE", "DELETE"}
            if not (told or says_itself or seen_before) and at - LONGEST_CACHE < after.at <= at:
                found.append(after.at)
    return max(found, default=None)


def _saw_it_lowered(plan: Plan, evidence: Evidence, name: str, key: Key, longest: int) -> bool:
    since = evidence.authority.known_since(name, *key)
    first = [x.ttl for x, served in _versions(evidence, name, key).items() if served.first == since]
    began_with = max(first, default=0)
    return began_with >= longest and began_with > plan.dns.max_ttl


def _lowered(evidence: Evidence, name: str, key: Key, previous: int, at: datetime) -> datetime:
    """Return until when an RRset may have had ``previous`` seconds: its first sighting, or the edit before that.

    Where the ledger saw it with that TTL itself, that version says more, and later.
    """
    since = evidence.authority.known_since(name, *key)
    told = [since] if since is not None else []
    series = series_of(evidence, name, key) if asked_zone(evidence, name) is not None else {}
    ends = [_last_lowering(changes, previous) for changes in series.values()]
    if ends and None not in ends:
        told.append(max(x for x in ends if x is not None))
    return min(told, default=at)


def _last_lowering(changes: tuple[TrailChange, ...], previous: int) -> datetime | None:
    """Return the edit since which the TTL was below ``previous`` all the time."""
    since: datetime | None = None
    for change in changes:
        ttl = ttl_of(change)
        low = change.action == "DELETE" or (ttl is not None and ttl < previous)
        since = (since or change.at) if low else None
    return since


def _is_version(change: TrailChange, rrset: RRset) -> bool:
    return change.action != "DELETE" and change.ttl == rrset.ttl and frozenset(change.values) == rrset.data


def _was_before_the_change(evidence: Evidence, name: str, change: TrailChange, end: datetime) -> bool:
    """Tell whether what a change left was another side's, and ended before all servers gave new."""
    first_new = evidence.authority.window(name).first_new
    return first_new is not None and end <= first_new and not leads_to_new(evidence, name, change)


def _listed(evidence: Evidence, name: str, key: Key, at: datetime) -> list[Past]:
    """Return what the provider's listing held besides new: variants that no answer from here may ever show."""
    zone = asked_zone(evidence, name)
    if zone is None:
        return []
    sides, behind = evidence.sides.of(name), stands_behind(evidence, name, key.owner)
    return [
        Past(key, held.ttl, _listed_until(evidence, name, key, held, served, at), LISTED)
        for held, served in evidence.record_sets.versions(name, zone.id).items()
        if held.ttl is not None
        and held.owner in behind
        and held.rtype == key.rtype
        and sides.of_data(held.rtype, held.values) is not Answer.NEW
    ]


def _listed_until(evidence: Evidence, name: str, key: Key, held: RecordSet, served: Served, at: datetime) -> datetime:
    """Return when a listed version ended: at the edit that CloudTrail shows, else when the listing missed it."""
    if served.gone is None:
        return max(served.last, at)
    series = series_of(evidence, name, key).get((held.owner, held.set_identifier), ())
    edits = [x.at for x in series if served.last <= x.at <= served.gone]
    if edits and asked_zone(evidence, name) is not None:
        return edits[-1]
    gone = min([served.gone, *_dropped(evidence, name, held, served)])
    return min(gone, at) if served.last <= at else gone


def _dropped(evidence: Evidence, name: str, held: RecordSet, served: Served) -> list[datetime]:
    """Return when the servers were seen to have dropped a listed version: what is not routed, answers do show."""
    if held.set_identifier:
        return []
    return [
        seen.gone
        for rrset, seen in _versions(evidence, name, Key(held.owner, held.rtype)).items()
        if seen.gone is not None
        and seen.gone >= served.last
        and (rrset.ttl, rrset.data) == (held.ttl, frozenset(held.values))
    ]


def _versions(evidence: Evidence, name: str, key: Key) -> dict[RRset, Served]:
    return {x: served for x, served in evidence.authority.versions(name).items() if (x.owner, x.rtype) == key}
