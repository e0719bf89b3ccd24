"""Hand-made observations, and rounds of them: what probes would have seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cutover.check import all_checks, run_checks
from cutover.evidence import Evidence
from cutover.finding import Finding, Phase, Status
from cutover.observations.base import Observation
from cutover.observations.dns import (
    AuthorityAnswer,
    AuthorityAnswers,
    Calibration,
    NameSeen,
    Outcome,
    PanelSeen,
    Record,
    Reply,
    Resolver,
    ResolverAnswer,
    ResolverAnswers,
    ServerSeen,
    Tier,
    Transport,
    ZoneSeen,
)
from cutover.observations.provider import HostedZone, HostedZones, TrailChange, TrailHistory, Variant, Variants
from cutover.plan import Plan

NAME, ZONE = "app.example.com.", "example.com."
OLD, NEW, STRANGER = "203.0.113.10", "198.51.100.20", "192.0.2.99"
OLD6, NEW6 = "2001:db8::10", "2001:db8:f::20"
SERVERS = ("ns1.example.com.", "ns2.example.com.")
BEGIN = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)


def t(seconds: float) -> datetime:
    """An instant, counted from the beginning of the story."""
    return BEGIN + timedelta(seconds=seconds)


def make_plan(changes: Mapping[str, Any] | None = None, **entry: Any) -> Plan:
    """A plan with one name; ``entry`` are its values, ``changes`` other tables."""
    name = {"name": "app.example.com", "types": ["A"], "old": [OLD], "new": [NEW], **entry}
    return Plan.model_validate({"name": [name], **(changes or {})})


def reply(*records: Record, rcode: str = "NOERROR", aa: bool = True) -> Reply:
    return Reply(Outcome.ANSWERED, rcode=rcode, authoritative=aa, answer=records)


TIMEOUT = Reply(Outcome.TIMEOUT, error="no answer within 3 s")
NXDOMAIN = reply(rcode="NXDOMAIN")


def a(data: str, ttl: int = 60, owner: str = NAME) -> Record:
    return Record(owner, "AAAA" if ":" in data else "A", ttl, data)


def cname(target: str, ttl: int = 60, owner: str = NAME) -> Record:
    return Record(owner, "CNAME", ttl, target)


def authority(
    at: float,
    *replies: Reply,
    rtype: str = "A",
    name: str = NAME,
    of: str = NAME,
    hop: int = 1,
    in_plan: bool = True,
    zone: str = ZONE,
) -> AuthorityAnswers:
    """What the servers gave, one reply each; a single reply is every server's."""
    given = replies if len(replies) > 1 else replies * len(SERVERS)
    answers = tuple(
        AuthorityAnswer(f"ns{number}.{zone}", f"192.0.2.{number}:53", one) for number, one in enumerate(given, 1)
    )
    return AuthorityAnswers(
        at=t(at), name=name, rtype=rtype, of=of, hop=hop, zone=zone, in_plan=in_plan, answers=answers
    )


def name_seen(at: float, *owners: str, name: str = NAME, **values: Any) -> NameSeen:
    chain = owners or (name,)
    return NameSeen(at=t(at), name=name, owners=chain, zones=(ZONE,) * len(chain), apex=ZONE, **values)


def ns(ttl: int = 3600, servers: Sequence[str] = SERVERS, zone: str = ZONE) -> tuple[Record, ...]:
    return tuple(Record(zone, "NS", ttl, server) for server in servers)


def zone_seen(at: float, *, zone: str = ZONE, source: str = "walk", **values: Any) -> ZoneSeen:
    given: dict[str, Any] = {
        "parent": "com.",
        "parent_ns": ns(zone=zone) if source == "walk" else (),
        "child_ns": ns(zone=zone),
        "servers": tuple(ServerSeen(x, f"192.0.2.{n}:53", "", 7, SERVERS) for n, x in enumerate(SERVERS, 1)),
        "soa_ttl": 900,
        "soa_minimum": 300,
        "dnssec": "unsigned",
    }
    return ZoneSeen(at=t(at), zone=zone, source=source, **{**given, **values})


def resolver(id: str, tier: str = "required", *, operator: str = "", transport: str = "dns") -> Resolver:
    return Resolver(id, operator or id, Transport(transport), f"{id}:53", Tier(tier))


def panel(at: float, *members: Resolver, dropped: Iterable[str] = ()) -> PanelSeen:
    gone = set(dropped)
    return PanelSeen(
        at=t(at),
        members=tuple(Calibration(x, "dead" if x.id in gone else "") for x in members),
        control="example.com. SOA",
    )


def polled(at: float, answers: Mapping[str, Reply], rtype: str = "A", name: str = NAME) -> ResolverAnswers:
    return ResolverAnswers(
        at=t(at), name=name, rtype=rtype, answers=tuple(ResolverAnswer(x, given) for x, given in answers.items())
    )


def hosted(at: float, *zones: HostedZone, name: str = NAME) -> HostedZones:
    return HostedZones(at=t(at), name=name, provider="route53", zones=zones)


def hosted_zone(
    id: str = "Z1", name: str = ZONE, *, private: bool = False, servers: Sequence[str] = SERVERS
) -> HostedZone:
    return HostedZone(id, name, private, () if private else tuple(servers))


def variant(*values: str, rtype: str = "A", name: str = NAME, ttl: int | None = 60, **given: Any) -> Variant:
    shape: dict[str, Any] = {"routing": "simple", "set_identifier": "", "detail": "", "weight": None, **given}
    said: dict[str, Any] = {"Name": name, "Type": rtype}
    if shape.get("alias"):
        ttl = None
        said["AliasTarget"] = {"HostedZoneId": "Z2", "DNSName": shape["alias"], "EvaluateTargetHealth": False}
    else:
        said |= {"TTL": ttl, "ResourceRecords": [{"Value": x} for x in values]}
    if shape["set_identifier"]:
        said |= {"SetIdentifier": shape["set_identifier"], "Weight": shape["weight"]}
    return Variant(name=name, rtype=rtype, ttl=ttl, values=values, record_set=json.dumps(said), **shape)


def variants(at: float, *found: Variant, zone: str = "Z1", name: str = NAME) -> Variants:
    return Variants(at=t(at), name=name, zone_id=zone, variants=found)


def edit(at: float, *values: str, ttl: int | None = 60, action: str = "UPSERT", **given: Any) -> TrailChange:
    shape: dict[str, Any] = {
        "zone_id": "Z1",
        "change_id": f"C{int(at)}",
        "name": NAME,
        "rtype": "A",
        "set_identifier": "",
        **given,
    }
    return TrailChange(at=t(at), action=action, ttl=ttl, values=values, **shape)


def trail(at: float, *changes: TrailChange, days: float = 90, complete: bool = True) -> TrailHistory:
    newest_first = tuple(sorted(changes, key=lambda x: x.at, reverse=True))
    return TrailHistory(
        at=t(at), name=NAME, since=t(at) - timedelta(days=days), complete=complete, changes=newest_first
    )


@dataclass
class Story:
    """Rounds, one after the other, and what the checks say at the end."""

    plan: Plan = field(default_factory=make_plan)
    evidence: Evidence = field(init=False)
    now: datetime = BEGIN

    def __post_init__(self) -> None:
        self.evidence = Evidence(self.plan)

    def round(self, at: float, *seen: Observation, usual: bool = True) -> Story:
        """One round that began at ``at``; the zone and the chain are seen as usual unless they are given.

        With a trail, the account holds the zone as well.
        """
        self.evidence.begin(t(at))
        if usual and not any(isinstance(x, ZoneSeen) for x in seen):
            self.evidence.add(zone_seen(at))
        if usual and not any(isinstance(x, NameSeen) for x in seen):
            self.evidence.add(name_seen(at))
        has_trail, has_zones = (any(isinstance(x, kind) for x in seen) for kind in (TrailHistory, HostedZones))
        if usual and has_trail and not has_zones:
            self.evidence.add(hosted(at, hosted_zone()))
        for observation in seen:
            self.evidence.add(observation)
        self.evidence.settle()
        self.now = t(at) + timedelta(milliseconds=500)
        return self

    def findings(self, check: str, phase: Phase | None = None, *, at: float | None = None) -> list[Finding]:
        """What one check says, through the runner; a check that raises fails the test."""
        chosen = phase or all_checks()[check].phases[-1]
        found = run_checks(chosen, self.plan, self.evidence, t(at) if at is not None else self.now)
        mine = [x for x in found if x.check == check]
        assert not [x.message for x in mine if "the check itself failed" in x.message], mine
        return mine

    def only(self, check: str, phase: Phase | None = None, *, at: float | None = None) -> Finding:
        found = self.findings(check, phase, at=at)
        assert len(found) == 1, found
        return found[0]

    def status(self, check: str, phase: Phase | None = None, *, at: float | None = None) -> Status:
        """The worst status: fail, inconclusive, warn, pass, skip."""
        order = [Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS, Status.SKIP]
        return min((x.status for x in self.findings(check, phase, at=at)), key=order.index)

    def said(self, check: str, status: Status, phase: Phase | None = None, *, at: float | None = None) -> str:
        """Subjects and messages of one status, joined; there must be some."""
        found = self.findings(check, phase, at=at)
        text = "\n".join(f"{x.subject}: {x.message}" for x in found if x.status is status)
        assert text, [(x.status.value, x.subject, x.message) for x in found]
        return text
