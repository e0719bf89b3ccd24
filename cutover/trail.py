"""What CloudTrail tells of a name's record sets, in the zone that the world asks. Pure."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from cutover.answers import Answer
from cutover.livezone import asked_zone
from cutover.observations.dns import NameSeen
from cutover.observations.provider import TrailChange, TrailHistory, Variants

if TYPE_CHECKING:
    from cutover.evidence import Evidence

TRAIL_LAG = timedelta(minutes=15)
"""CloudTrail shows an event up to about 15 minutes after it happened (AWS CloudTrail user guide)."""

ALIAS_TTL = 60
"""TTL of a Route 53 alias to an AWS resource; not settable."""

_AWS = ("amazonaws.com.", "amazonaws.com.cn.", "cloudfront.net.", "awsglobalaccelerator.com.", "elasticbeanstalk.com.")


class Key(NamedTuple):
    """One RRset, whatever its TTL and data."""

    owner: str
    rtype: str

    def __str__(self) -> str:
        return f"{self.owner.rstrip('.')} {self.rtype}"


def trail_changes(evidence: Evidence, name: str, owner: str) -> tuple[TrailChange, ...]:
    """Return CloudTrail's changes of what answers at one owner, oldest first, in the zone that the world asks.

    That is the owner itself, and whatever stands behind it: a wildcard, or the end of an alias inside the zone,
    whose TTL is what caches get. While that zone is not known, those of every zone: they may then lengthen a
    wait, and not shorten one.
    """
    changes = _asked_changes(evidence, name)
    behind = stands_behind(evidence, name, owner)
    return tuple(x for x in changes if x.name in behind)


def trusted_changes(evidence: Evidence, name: str, owner: str) -> tuple[TrailChange, ...]:
    """Return the owner's own that may tell when something ended or changed: none while the asked zone is not known."""
    if asked_zone(evidence, name) is None:
        return ()
    return tuple(x for x in _asked_changes(evidence, name) if x.name == owner)


def edits_between(evidence: Evidence, name: str, key: Key, since: datetime, until: datetime) -> tuple[TrailChange, ...]:
    """Return the trusted changes of one RRset in an interval, both ends included, oldest first."""
    changes = trusted_changes(evidence, name, key.owner)
    return tuple(x for x in changes if x.rtype == key.rtype and since <= x.at <= until)


def series_of(evidence: Evidence, name: str, key: Key) -> dict[tuple[str, str], tuple[TrailChange, ...]]:
    """Return the history of every record set that answers for an RRset, by its name and set identifier."""
    found: dict[tuple[str, str], list[TrailChange]] = defaultdict(list)
    for change in trail_changes(evidence, name, key.owner):
        if change.rtype == key.rtype:
            found[(change.name, change.set_identifier)].append(change)
    return {place: tuple(changes) for place, changes in found.items()}


def is_routed(evidence: Evidence, name: str, key: Key) -> bool:
    """Tell whether several record sets make up an RRset, so that no edit tells which version it ended."""
    return any(identifier for _, identifier in series_of(evidence, name, key))


def ttl_of(change: TrailChange) -> int | None:
    """Return the TTL that a change set, seconds; None where an alias takes it from its end."""
    if change.ttl is not None:
        return change.ttl
    return ALIAS_TTL if is_aws(change.alias) else None


def is_aws(alias: str) -> bool:
    """Tell an alias to an AWS resource, whose TTL is fixed, from one to another record set."""
    return alias.endswith(_AWS)


def leads_to_new(evidence: Evidence, name: str, change: TrailChange) -> bool:
    """Tell whether a change left nothing but new."""
    side = evidence.sides.of(name).of_data(change.rtype, change.values, change.alias)
    return bool(change.values or change.alias) and side is Answer.NEW


def leads_to_old(evidence: Evidence, name: str, change: TrailChange) -> bool:
    """Tell whether some who got what a change left (of a deletion: took away) reached the old side."""
    return evidence.sides.of(name).of_data(change.rtype, change.values, change.alias).leads_to_old


def holds_owner(evidence: Evidence, name: str, owner: str) -> bool:
    """Tell whether an owner lies in the hosted zone that the world asks for a name.

    The account's history tells nothing of a hop in somebody else's zone.
    """
    zone = asked_zone(evidence, name)
    if zone is None:
        return False
    seen = evidence.latest(NameSeen, name)
    zones = dict(zip(seen.owners, seen.zones, strict=False)) if seen is not None else {}
    return zones.get(owner, zone.name) == zone.name and (owner == zone.name or owner.endswith(f".{zone.name}"))


def stands_behind(evidence: Evidence, name: str, owner: str) -> frozenset[str]:
    """Return an owner with the names whose record sets may answer for it: wildcards, and aliases' ends in the zone."""
    zone = asked_zone(evidence, name)
    held = evidence.latest(Variants, name, zone.id) if zone is not None else None
    pointers = [(x.name, x.alias) for x in held.variants] if held is not None else []
    pointers += [(x.name, x.alias) for x in _asked_changes(evidence, name)]
    found = {owner, *(x for x, _ in pointers if x.startswith("*.") and owner.endswith(x[1:]))}
    while more := {alias for x, alias in pointers if alias and x in found} - found:
        found |= more
    return frozenset(found)


def _asked_changes(evidence: Evidence, name: str) -> tuple[TrailChange, ...]:
    trail = evidence.latest(TrailHistory, name)
    if trail is None:
        return ()
    asked = asked_zone(evidence, name)
    found = (x for x in trail.changes if asked is None or x.zone_id == asked.id)
    return tuple(sorted(found, key=lambda x: x.at))
