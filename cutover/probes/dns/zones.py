"""How each zone is delegated and served: every server's SOA and NS, the parent's NS, DS and DNSKEY."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cutover.clock import Clock
from cutover.observations.dns import Outcome, Record, Reply, ServerSeen, ZoneSeen
from cutover.probes.dns import dnssec
from cutover.probes.dns.walk import BudgetError, Sections, Server, Walker, Zone


class ZoneSurvey(NamedTuple):
    """What was seen of a zone, and the zone with every server that is to be asked."""

    zone: Zone
    observation: ZoneSeen


async def survey(walker: Walker, zones: Sequence[Zone], clock: Clock) -> list[ZoneSurvey]:
    """Ask every server of every zone for its SOA and NS records, and look at the DNSSEC chain.

    Servers that only the zone itself names are asked too: resolvers that prefer the child's NS set use them.

    Raises:
        BudgetError: the round's questions are used up.
    """
    first = await _ask_apexes(walker, zones)
    grown = []
    for zone in zones:
        named = {ns for seen in first[zone.name] for ns in seen.server.ns} if zone.source == "walk" else set()
        more = await walker.with_servers(zone, sorted(named)) if named else zone
        grown.append(more)
    added = [
        Zone(more.name, more.source, servers=more.servers[len(zone.servers) :])
        for zone, more in zip(zones, grown, strict=True)
    ]
    second = await _ask_apexes(walker, [zone for zone in added if zone.servers])
    links = await asyncio.gather(*(_chain_link(walker, zone, clock) for zone in zones))
    return [
        ZoneSurvey(zone, _observation(zone, [*first[zone.name], *second.get(zone.name, [])], link, clock))
        for zone, link in zip(grown, links, strict=True)
    ]


class _Apex(NamedTuple):
    """One server's word on its zone's apex."""

    server: ServerSeen
    soa: Record | None
    ns: tuple[Record, ...]


class _Link(NamedTuple):
    """A zone's link of the DNSSEC chain."""

    ds: tuple[Record, ...]
    dnskey: tuple[Record, ...]
    state: str


async def _ask_apexes(walker: Walker, zones: Sequence[Zone]) -> dict[str, list[_Apex]]:
    asked = [(zone, server) for zone in zones for server in zone.servers]
    questions = [(server, zone.name, rtype, False) for zone, server in asked for rtype in ("SOA", "NS")]
    exchanges = iter(await walker.ask_each(questions))
    found: dict[str, list[_Apex]] = {zone.name: [] for zone in zones}
    for zone, server in asked:
        found[zone.name].append(_apex(zone.name, server, next(exchanges).reply, next(exchanges).reply))
    return found


def _apex(zone: str, server: Server, soa: Reply, ns: Reply) -> _Apex:
    soas = [record for record in soa.answer if record.owner == zone and record.rtype == "SOA"]
    names = tuple(sorted(record for record in ns.answer if record.owner == zone and record.rtype == "NS"))
    lame = _lame(soa, bool(soas))
    seen = ServerSeen(
        server=server.label,
        address=server.address,
        lame=lame,
        serial=int(soas[0].data.split()[2]) if soas and not lame else -1,
        ns=tuple(sorted({record.data for record in names})),
        primary=soas[0].data.split()[0].lower() if soas and not lame else "",
    )
    return _Apex(seen, soas[0] if soas and not lame else None, () if lame else names)


def _lame(soa: Reply, present: bool) -> str:
    if soa.outcome is not Outcome.ANSWERED:
        return soa.error or soa.outcome.value
    if soa.rcode != "NOERROR":
        return f"answers {soa.rcode} for the zone's SOA"
    if not soa.authoritative:
        return "answers without authority"
    return "" if present else "has no SOA of the zone"


async def _chain_link(walker: Walker, zone: Zone, clock: Clock) -> _Link:
    """Look at DS, DNSKEY and the SOA's signature."""
    try:
        dnskey = await walker.ask_any(zone, zone.name, "DNSKEY", dnssec_ok=True)
        if isinstance(dnskey, str):
            return _Link((), (), f"unknown: {dnskey}")
        keys = _records(dnskey, zone.name, "DNSKEY")
        if zone.parent is None:
            return _Link((), keys, "unknown: the parent was not asked (dns.authorities)")
        ds = await walker.ask_any(zone.parent, zone.name, "DS", dnssec_ok=True)
        if isinstance(ds, str):
            return _Link((), keys, f"unknown: {ds}")
        soa = await walker.ask_any(zone, zone.name, "SOA", dnssec_ok=True)
        if isinstance(soa, str):
            return _Link(_records(ds, zone.name, "DS"), keys, f"unknown: {soa}")
        state = dnssec.state(zone.name, ds.wire, dnskey.wire, soa.wire, clock.now())
        return _Link(_records(ds, zone.name, "DS"), keys, state)
    except BudgetError as error:
        return _Link((), (), f"unknown: {error}")


def _records(seen: Sections, owner: str, rtype: str) -> tuple[Record, ...]:
    return tuple(sorted(record for record in seen.answer if record.owner == owner and record.rtype == rtype))


def _observation(zone: Zone, apexes: Sequence[_Apex], link: _Link, clock: Clock) -> ZoneSeen:
    soas = [apex.soa for apex in apexes if apex.soa is not None]
    # Servers may differ; the longest negative answer is the one to wait for.
    soa = max(soas, key=lambda record: min(record.ttl, _minimum(record)), default=None)
    servers = [apex.server for apex in apexes]
    servers += [ServerSeen(name, "", reason, -1, ()) for name, reason in zone.homeless]
    return ZoneSeen(
        at=clock.now(),
        zone=zone.name,
        source=zone.source,
        parent=zone.parent.name if zone.parent else "",
        parent_ns=zone.parent_ns,
        child_ns=_longest(record for apex in apexes for record in apex.ns),
        servers=tuple(servers),
        soa_ttl=soa.ttl if soa else -1,
        soa_minimum=_minimum(soa) if soa else -1,
        ds=link.ds,
        dnskey=link.dnskey,
        dnssec=link.state,
        error="" if servers else f"{zone.name} has no server that could be asked",
    )


def _minimum(soa: Record) -> int:
    return int(soa.data.split()[6])


def _longest(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return each record once, with the longest TTL that any server gives it."""
    found: dict[tuple[str, str, str], Record] = {}
    for record in records:
        key = (record.owner, record.rtype, record.data)
        if key not in found or record.ttl > found[key].ttl:
            found[key] = record
    return tuple(sorted(found.values()))
