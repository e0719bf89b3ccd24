"""Who the parent delegates to, and since when a name exists."""

from __future__ import annotations

from datetime import datetime

from cutover.observations.base import Observation
from cutover.observations.dns import AuthorityAnswers, NameSeen, Record, ZoneSeen


class DelegationFold:
    """Moves of a zone's name servers, and names that were seen not to exist."""

    def __init__(self) -> None:
        self._apex: dict[str, str] = {}
        self._servers: dict[str, frozenset[str]] = {}
        self._moved_ttl: dict[str, int] = {}
        self._negative: dict[str, tuple[int, int]] = {}
        self._absent: dict[str, datetime] = {}

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        match observation:
            case NameSeen(name=name, apex=apex):
                self._apex[name] = apex
            case ZoneSeen():
                self._take_zone(observation)
            case AuthorityAnswers(name=name, of=of) if name == of:
                if any(x.reply.rcode == "NXDOMAIN" for x in observation.answers):
                    self._absent[name] = observation.at

    def moved_ns_ttl(self, name: str) -> tuple[int, ...]:
        """Return the NS TTL (parent or child, the longer) of a delegation that was seen to move, seconds."""
        ttl = self._moved_ttl.get(self._apex.get(name, ""))
        return () if ttl is None else (ttl,)

    def negative_ttl_when_new(self, name: str) -> tuple[int, ...]:
        """Return the negative TTL (RFC 2308 5) when the name was once seen not to exist, seconds."""
        if name not in self._absent:
            return ()
        ttl, minimum = self._negative.get(self._apex.get(name, ""), (-1, -1))
        return (min(ttl, minimum),) if min(ttl, minimum) >= 0 else ()

    def _take_zone(self, zone: ZoneSeen) -> None:
        if zone.soa_ttl >= 0:
            self._negative[zone.zone] = (zone.soa_ttl, zone.soa_minimum)
        delegated = zone.parent_ns or zone.child_ns
        servers = frozenset(record.data for record in delegated)
        if not servers:
            return
        before = self._servers.get(zone.zone)
        if before is not None and before != servers:
            longest = _longest(zone.parent_ns + zone.child_ns)
            self._moved_ttl[zone.zone] = max(self._moved_ttl.get(zone.zone, 0), longest)
        self._servers[zone.zone] = servers


def _longest(records: tuple[Record, ...]) -> int:
    return max((record.ttl for record in records), default=0)
