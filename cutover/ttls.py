"""Which TTLs caches may still hold of an RRset, until when, and how that is known. Pure.

The ledger's sightings, CloudTrail and ``previous_ttl`` are three witnesses of one history: each version of an
RRset was served with its TTL until some instant, and the last compliant cache lets go of it that TTL later
(RFC 1035 3.2.1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cutover.durations import iso
from cutover.folds.authority import LONGEST_CACHE, RRset, Served, expiry
from cutover.livezone import asked_zone
from cutover.observations.provider import TrailChange, TrailHistory

if TYPE_CHECKING:
    from cutover.evidence import Evidence
    from cutover.plan import Plan

TRAIL_LAG = timedelta(minutes=15)
"""CloudTrail shows an event up to about 15 minutes after it happened (AWS CloudTrail user guide)."""

ALIAS_TTL = 60
"""TTL of a Route 53 alias to an AWS resource; not settable."""

SEEN = "seen by this ledger"
"""How a version is known that this ledger saw."""

_AWS = ("amazonaws.com.", "amazonaws.com.cn.", "cloudfront.net.", "awsglobalaccelerator.com.", "elasticbeanstalk.com.")


class Key(NamedTuple):
    """One RRset, whatever its TTL and data."""

    owner: str
    rtype: str

    def __str__(self) -> str:
        return f"{self.owner.rstrip('.')} {self.rtype}"


@dataclass(frozen=True, slots=True)
class Past:
    """A TTL with which an RRset was served.

    Attributes:
        served_until: the last instant at which an authority may have served it so.
        how: who tells.
    """

    key: Key
    ttl: int
    served_until: datetime
    how: str

    @property
    def until(self) -> datetime:
        """The last instant at which a compliant cache may hold it."""
        return expiry(self.served_until, self.ttl)


@dataclass(frozen=True, slots=True)
class Known:
    """How the TTLs that caches may hold are known; else why not."""

    by: str = ""
    why_not: str = ""


def trail_changes(evidence: Evidence, name: str, owner: str) -> tuple[TrailChange, ...]:
    """Return CloudTrail's changes of one owner, oldest first, in the zone that the world asks.

    While that zone is not known, those of every zone: they may then lengthen a wait, and not shorten one.
    """
    trail = evidence.latest(TrailHistory, name)
    if trail is None:
        return ()
    asked = asked_zone(evidence, name)
    found = (x for x in trail.changes if x.name == owner and (asked is None or x.zone_id == asked.id))
    return tuple(sorted(found, key=lambda x: x.at))


def trusted_changes(evidence: Evidence, name: str, owner: str) -> tuple[TrailChange, ...]:
    """Return those that may tell when something ended or changed: none while the asked zone is not known."""
    return trail_changes(evidence, name, owner) if asked_zone(evidence, name) is not None else ()


def past_of(plan: Plan, evidence: Evidence, name: str, key: Key, at: datetime) -> tuple[Past, ...]:
    """Return every TTL with which an RRset was served before ``at``, as all witnesses tell."""
    versions = _versions(evidence, name, key)
    found = [
        Past(key, rrset.ttl, served_until(evidence, name, rrset, served, at), SEEN)
        for rrset, served in versions.items()
    ]
    for series in _series(evidence, name, key).values():
        ended = [(before, after.at) for before, after in pairwise(series) if before.action != "DELETE"]
        ended += [(change, change.at) for change in series if change.action == "DELETE"]
        for change, end in ended:
            ttl = _ttl_of(change)
            if ttl is not None and end <= at:
                found.append(Past(key, ttl, end, "CloudTrail"))
    previous = plan.named(name).previous_ttl
    if previous is not None:
        found.append(Past(key, previous, min(_lowered(evidence, name, key, previous, at), at), "previous_ttl"))
    return tuple(found)


def served_until(evidence: Evidence, name: str, rrset: RRset, served: Served, at: datetime) -> datetime:
    """Return the last instant up to ``at`` at which a version may have been served.

    That is the first round in which no server served it any more; or, when CloudTrail shows the edit that ended
    it between the last sighting and that round, the edit.
    """
    ceiling = at if served.gone is None else min(served.gone, at)
    edits = [
        x.at
        for x in trusted_changes(evidence, name, rrset.owner)
        if x.rtype == rrset.rtype
        and served.last <= x.at <= ceiling
        and (x.action == "DELETE" or x.ttl != rrset.ttl or frozenset(x.values) != rrset.data)
    ]
    if edits and not _is_routed(evidence, name, Key(rrset.owner, rrset.rtype)):
        return max(edits)
    return max(served.last, ceiling)


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
    """Return the longest TTL seen for a name, at an authority or left in a cache that gave old, seconds."""
    at_authority = max((rrset.ttl for rrset in evidence.authority.versions(name)), default=0)
    return max(at_authority, evidence.resolvers.longest_ttl(name))


def _known_one(plan: Plan, evidence: Evidence, name: str, key: Key, at: datetime) -> Known:
    unexplained = _unexplained_edit(evidence, name, key, at)
    if unexplained is not None:
        return Known(
            why_not=f"{key} was edited at {iso(unexplained)} (CloudTrail) and nothing tells its TTL before that"
        )
    since = evidence.authority.known_since(name, *key)
    trail = evidence.latest(TrailHistory, name)
    if trail is not None and trail.complete and trail.since <= at - LONGEST_CACHE:
        ours = trail.at >= at - TRAIL_LAG and asked_zone(evidence, name) is not None
        if ours and (_is_explained(evidence, name, key) or _covers(trail, since, at)):
            return Known("CloudTrail")
    if since is None:
        return Known(why_not=f"no authority was seen to serve {key}")
    longest = longest_seen_ttl(evidence, name)
    if since <= at - min(timedelta(seconds=longest), LONGEST_CACHE):
        return Known(f"this ledger, which goes back to {iso(since)}")
    if since <= at and _saw_it_lowered(plan, evidence, name, key, longest):
        return Known("this ledger, which saw it being lowered")
    return Known(
        why_not=f"this ledger goes back to {iso(since)} only, less than the longest TTL it has seen ({longest} s)"
    )


def _covers(trail: TrailHistory, since: datetime | None, at: datetime) -> bool:
    """Tell whether an edit that CloudTrail does not show yet would have been noticed."""
    return trail.at - TRAIL_LAG >= at or (since is not None and since <= trail.at - TRAIL_LAG)


def _is_explained(evidence: Evidence, name: str, key: Key) -> bool:
    """Tell whether the last edits that CloudTrail shows are what the authorities serve: none is missing since."""
    served = {rrset.ttl for rrset, x in _versions(evidence, name, key).items() if x.gone is None}
    series = _series(evidence, name, key)
    last = {_ttl_of(changes[-1]) for changes in series.values() if changes[-1].action != "DELETE"}
    return served <= last if served else bool(series) and not last


def _unexplained_edit(evidence: Evidence, name: str, key: Key, at: datetime) -> datetime | None:
    """Return an edit of the last seven days of which nothing tells the TTL before it; the latest one."""
    since = evidence.authority.known_since(name, *key)
    found: list[datetime] = []
    for series in _series(evidence, name, key).values():
        for before, after in zip([None, *series], series, strict=False):
            seen_before = since is not None and since <= after.at
            told = before is not None and (before.action == "DELETE" or _ttl_of(before) is not None)
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
    series = _series(evidence, name, key) if asked_zone(evidence, name) is not None else {}
    ends = [_last_lowering(changes, previous) for changes in series.values()]
    if ends and None not in ends:
        told.append(max(x for x in ends if x is not None))
    return min(told, default=at)


def _last_lowering(changes: tuple[TrailChange, ...], previous: int) -> datetime | None:
    """Return the edit since which the TTL was below ``previous`` all the time."""
    since: datetime | None = None
    for change in changes:
        ttl = _ttl_of(change)
        low = change.action == "DELETE" or (ttl is not None and ttl < previous)
        since = (since or change.at) if low else None
    return since


def _versions(evidence: Evidence, name: str, key: Key) -> dict[RRset, Served]:
    return {x: served for x, served in evidence.authority.versions(name).items() if (x.owner, x.rtype) == key}


def _series(evidence: Evidence, name: str, key: Key) -> dict[str, tuple[TrailChange, ...]]:
    found: dict[str, list[TrailChange]] = defaultdict(list)
    for change in trail_changes(evidence, name, key.owner):
        if change.rtype == key.rtype:
            found[change.set_identifier].append(change)
    return {identifier: tuple(changes) for identifier, changes in found.items()}


def _is_routed(evidence: Evidence, name: str, key: Key) -> bool:
    return any(_series(evidence, name, key).keys() - {""})


def _ttl_of(change: TrailChange) -> int | None:
    if change.ttl is not None:
        return change.ttl
    return ALIAS_TTL if change.alias.endswith(_AWS) else None
