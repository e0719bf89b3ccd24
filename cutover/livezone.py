"""Which hosted zone of the account the world asks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutover.observations.dns import NameSeen, ZoneSeen
from cutover.observations.provider import HostedZone, HostedZones

if TYPE_CHECKING:
    from cutover.evidence import Evidence


def delegated_servers(zone: ZoneSeen) -> frozenset[str]:
    """Return the name servers that resolvers ask for a zone: the parent's NS set, else what the zone itself says.

    The zone's own word is only used where the parent is not asked (``dns.authorities``), or gave nothing.
    """
    return frozenset(x.data.lower() for x in zone.parent_ns or zone.child_ns)


def live_zone(evidence: Evidence, name: str) -> HostedZone | None:
    """Return the public hosted zone whose delegation set is the one delegated to, None when none is (or unseen).

    With a second provider beside it the parent names more servers: then it is the zone that shares some. Two
    zones of one name never share a server (Route 53 developer guide, "Name servers for a hosted zone").

    The latest sightings count, however old: a check that speaks of the present looks at the present first.
    """
    zone, public = _candidates(evidence, name)
    if zone is None:
        return None
    servers = delegated_servers(zone)
    fitting = [x for x in public if servers and set(x.name_servers) == servers]
    fitting = fitting or [x for x in public if servers & set(x.name_servers)]
    return fitting[0] if len(fitting) == 1 else None


def asked_zone(evidence: Evidence, name: str) -> HostedZone | None:
    """Return the hosted zone that is edited when the world is to see it, None when that cannot be told.

    Where the parent is not asked (``dns.authorities``), the account's only public zone of that name stands for
    the live one.
    """
    live = live_zone(evidence, name)
    if live is not None:
        return live
    zone, public = _candidates(evidence, name)
    return public[0] if zone is not None and zone.source != "walk" and len(public) == 1 else None


def _candidates(evidence: Evidence, name: str) -> tuple[ZoneSeen | None, list[HostedZone]]:
    held = evidence.latest(HostedZones, name)
    seen = evidence.latest(NameSeen, name)
    zone = evidence.latest(ZoneSeen, seen.apex) if seen is not None else None
    if held is None or zone is None:
        return None, []
    return zone, [x for x in held.zones if x.name == zone.zone and not x.private]
