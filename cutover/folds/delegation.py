"""Who the parent delegates to, and since when a name exists."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from cutover.observations.base import Observation
from cutover.observations.dns import AuthorityAnswers, NameSeen, Record, ZoneSeen, is_definite

_KEPT = 16


class Moved(NamedTuple):
    """A delegation that lost a name server: caches may still ask the one that is gone.

    Attributes:
        at: when it was first seen without it.
        ns_ttl: the longest NS TTL, at parent or child, before or after; seconds.
    """

    at: datetime
    ns_ttl: int


class NegativeTtl(NamedTuple):
    """For how long caches keep that a name does not exist (RFC 2308 5): the smaller of SOA TTL and minimum, seconds.

    Attributes:
        gone: when the zone was first seen with another one, None while it has this one.
    """

    ttl: int
    gone: datetime | None = None


class _Told(NamedTuple):
    """What servers said of a name in one round.

    Attributes:
        asked: the types that were asked for.
        without: who said that it does not exist. having: who had records of it.
        empty: by server, the types of which it has none: a name with other types alone, or with names below it.
    """

    at: datetime
    asked: set[str]
    without: set[str]
    having: set[str]
    empty: dict[str, set[str]]

    @property
    def lacks_it(self) -> bool:
        """Some server really does not have the name, or nothing there that leads anywhere."""
        empty = {server for server, types in self.empty.items() if types == self.asked}
        return bool((self.without | empty) - self.having)


class DelegationFold:
    """Moves of a zone's name servers, and names that were seen not to exist."""

    def __init__(self) -> None:
        self._apex: dict[str, str] = {}
        self._zones: dict[tuple[str, str], list[str]] = {}
        self._left: dict[str, Moved] = {}
        self._servers: dict[tuple[str, str], frozenset[str]] = {}
        self._ns_ttl: dict[str, int] = {}
        self._moved: dict[str, Moved] = {}
        self._negative: dict[str, list[NegativeTtl]] = {}
        self._absent: set[str] = set()
        self._told: dict[str, _Told] = {}

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        match observation:
            case NameSeen(name=name, apex=apex) if apex:
                self._apex[name] = apex
            case ZoneSeen():
                self._take_zone(observation)
            case AuthorityAnswers():
                self._take_answers(observation)

    def moved(self, name: str) -> Moved | None:
        """Return the last move of the delegation of a name's own zone."""
        return self._moved.get(self._apex.get(name, ""))

    def moves(self, name: str, owners: Iterable[str]) -> list[Moved]:
        """Return the last move of every zone that ever held one of the owners on the way to a name."""
        zones = dict.fromkeys(zone for owner in owners for zone in self._zones.get((name, owner), ()))
        return [found[zone] for found in (self._moved, self._left) for zone in zones if zone in found]

    def negative_ttls_when_new(self, name: str) -> tuple[NegativeTtl, ...]:
        """Return the negative TTLs of a name's zone when the name was once seen not to exist, the present one last."""
        told = self._told.get(name)
        if name not in self._absent and not (told is not None and told.lacks_it):
            return ()
        return tuple(self._negative.get(self._apex.get(name, ""), ()))

    def negative_ttl(self, name: str) -> int | None:
        """Return the present negative TTL of a name's zone, seconds."""
        versions = self._negative.get(self._apex.get(name, ""))
        return versions[-1].ttl if versions else None

    def _take_answers(self, seen: AuthorityAnswers) -> None:
        if any(is_definite(x.reply) for x in seen.answers):
            self._take_place(seen)
        if seen.name == seen.of:
            self._take_existence(seen)

    def _take_place(self, seen: AuthorityAnswers) -> None:
        """Note in which zone an owner lies. One that lay in a zone below it before lost that zone's delegation.

        Until the NS records of the lost zone have expired, caches ask its servers.
        """
        zones = self._zones.setdefault((seen.of, seen.name), [seen.zone])
        before = zones[-1]
        if seen.zone == before:
            return
        if before.endswith(f".{seen.zone}") or seen.zone == ".":
            self._left[before] = Moved(seen.at, self._ns_ttl.get(before, 0))
        if seen.zone in zones:
            zones.remove(seen.zone)
        zones.append(seen.zone)

    def _take_existence(self, seen: AuthorityAnswers) -> None:
        """Join a round's types: a server that has none of one and records of another knows the name."""
        told = self._told.get(seen.name)
        if told is None or told.at != seen.at:
            if told is not None and told.lacks_it:
                self._absent.add(seen.name)
            told = self._told[seen.name] = _Told(seen.at, set(), set(), set(), {})
        told.asked.add(seen.rtype)
        told.without.update(x.address for x in seen.answers if x.reply.rcode == "NXDOMAIN")
        for given in seen.answers:
            if is_definite(given.reply) and not given.reply.answer:
                told.empty.setdefault(given.address, set()).add(seen.rtype)
        told.having.update(x.address for x in seen.answers if any(y.owner == seen.name for y in x.reply.answer))

    def _take_zone(self, zone: ZoneSeen) -> None:
        self._take_negative(zone)
        longest = _longest(zone.parent_ns + zone.child_ns)
        ns_ttl = max(longest, self._ns_ttl.get(zone.zone, 0))
        servers = frozenset(x.data for x in (zone.parent_ns if zone.source == "walk" else zone.child_ns))
        if servers:
            if self._servers.get((zone.zone, zone.source), servers) - servers:
                self._moved[zone.zone] = Moved(zone.at, ns_ttl)
            self._servers[(zone.zone, zone.source)] = servers
        self._ns_ttl[zone.zone] = longest or ns_ttl

    def _take_negative(self, zone: ZoneSeen) -> None:
        ttl = min(zone.soa_ttl, zone.soa_minimum)
        versions = self._negative.setdefault(zone.zone, [])
        if ttl < 0 or (versions and versions[-1].ttl == ttl):
            return
        if versions:
            versions[-1] = versions[-1]._replace(gone=zone.at)
        versions.append(NegativeTtl(ttl))
        del versions[:-_KEPT]


def _longest(records: Iterable[Record]) -> int:
    return max((record.ttl for record in records), default=0)
