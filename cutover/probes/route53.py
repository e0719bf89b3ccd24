r"""Route 53: which hosted zones could hold a name, what is in them, and whether a change has been applied.

Everything here is read-only. Least IAM policy: ``route53:ListHostedZonesByName``, ``route53:GetHostedZone``,
``route53:ListResourceRecordSets``, ``route53:GetChange``, ``cloudtrail:LookupEvents``.

API: https://docs.aws.amazon.com/Route53/latest/APIReference/. Record sets as listed include PENDING changes; names
come escaped (``\052`` is ``*``); an alias has no TTL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.provider import (
    ChangeStatus,
    HostedZone,
    HostedZones,
    TrailChange,
    TrailHistory,
    Variant,
    Variants,
)
from cutover.probes import aws, cloudtrail
from cutover.probes.aws import Access, DeadlineError
from cutover.probes.cloudtrail import absolute, canonical

PROVIDER = "route53"

RRTYPES = frozenset({"A", "AAAA", "CNAME", "HTTPS", "SVCB"})
"""Types that decide where clients go."""

_MANY = 20
"""From so many candidate names on, reading the whole list of zones takes fewer requests."""

_ALIAS_DEPTH = 5
_CHANGES_ASKED = 3
FRESH = timedelta(days=1)
"""A change older than this is not asked for any more: Route 53 applies one in about a minute."""

_Errors = (BotoCoreError, ClientError, DeadlineError)


def observe(
    names: Sequence[str],
    *,
    profile: str | None = None,
    endpoint_url: str | None = None,
    region: str = aws.HOME_REGION,
    owners: Mapping[str, Sequence[str]] | None = None,
    delegated_ns: Mapping[str, Sequence[str]] | None = None,
    known_changes: Mapping[str, Sequence[str]] | None = None,
    since: datetime | None = None,
    history: bool = True,
    deadline: float = 30.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Observation]:
    """See what Route 53 and CloudTrail know of some names. Blocks: run it in a thread.

    What cannot be seen becomes a :class:`ProbeFailed` of that name (probes ``route53``, ``route53.change`` and
    ``cloudtrail``), with the missing permission when that is why; the rest goes on.

    Args:
        names: the plan's names, absolute.
        profile: of the AWS configuration.
        endpoint_url: asked instead of AWS, for every service.
        region: where Route 53 and CloudTrail are asked.
        owners: a name -> it and its CNAME targets, as far as they are known (``NameSeen.owners``).
        delegated_ns: a zone's name -> the NS that the parent delegates to; such zones are read first.
        known_changes: a name -> ids of changes of the last day (:data:`FRESH`) known from earlier rounds.
        since: how far back CloudTrail is read: the change (or now) minus :data:`cloudtrail.LOOKBACK`, which is
            the default counted from now.
        history: whether CloudTrail is read at all (it is slow: not in every round of a watch).
        deadline: seconds after which nothing more is sent.
        now: the clock.
    """
    way = aws.access(profile, endpoint_url, region)
    way.begin(deadline)
    delegated = {zone: {absolute(x) for x in ns} for zone, ns in (delegated_ns or {}).items()}
    probe = _Probe(way, now, delegated)
    probe.read_zones(names)
    for name in names:
        probe.read_name(name)
    trails: list[Observation] = []
    if history:
        start = since or now() - cloudtrail.LOOKBACK
        wanted = {name: probe.owners(name, (owners or {}).get(name, ())) for name in names}
        found = cloudtrail.observe(way, wanted, since=start, now=now(), ignored_zones=probe.private_zones)
        trails = [probe.checked(each) if isinstance(each, TrailHistory) else each for each in found]
    for name in names:
        probe.read_changes(name, _ids(name, trails, known_changes or {}, now()))
    return [*probe.seen, *trails]


def fresh_ids(changes: Iterable[TrailChange], now: datetime) -> tuple[str, ...]:
    """Return the ids of changes that may not be applied yet, newest first, without repetition."""
    return tuple(dict.fromkeys(x.change_id for x in changes if x.change_id and now - x.at < FRESH))


def _ids(
    name: str, trails: Iterable[Observation], known: Mapping[str, Sequence[str]], now: datetime
) -> tuple[str, ...]:
    told = (x.changes for x in trails if isinstance(x, TrailHistory) and x.name == name)
    ids = [each for changes in told for each in fresh_ids(changes, now)]
    return tuple(dict.fromkeys([*ids, *known.get(name, ())]))[:_CHANGES_ASKED]


class _Probe:
    """One run: what was seen so far, and zones already read."""

    def __init__(self, way: Access, now: Callable[[], datetime], delegated: Mapping[str, set[str]]) -> None:
        self.seen: list[Observation] = []
        self._way = way
        self._now = now
        self._delegated = delegated
        self._zones: dict[str, list[HostedZone]] = {}
        self._statuses: dict[str, tuple[str, datetime | None]] = {}

    @property
    def private_zones(self) -> frozenset[str]:
        return frozenset(zone.id for zones in self._zones.values() for zone in zones if zone.private)

    def read_zones(self, names: Sequence[str]) -> None:
        """Find every hosted zone that could hold one of ``names``: of the name itself and of its parents."""
        action = "route53:ListHostedZonesByName"
        try:
            client = self._way.client("route53")
            listed = _zones(client, {parent for name in names for parent in _and_parents(name)})
            action = "route53:GetHostedZone"
            full = {zone.id: _with_delegation_set(client, zone) for zone in listed}
        except _Errors as error:
            if action == "route53:GetHostedZone":  # record sets can be read all the same
                self._zones = {name: self._sorted(name, listed) for name in names}
            for name in names:
                self._fail("route53", name, error, action)
            return
        for name in names:
            zones = self._sorted(name, full.values())
            self._zones[name] = zones
            self.seen.append(HostedZones(at=self._now(), name=name, provider=PROVIDER, zones=tuple(zones)))

    def _sorted(self, name: str, zones: Iterable[HostedZone]) -> list[HostedZone]:
        """The zones that could hold a name: the delegated one first, then the longest, then by id."""
        holding = [zone for zone in zones if zone.name in _and_parents(name)]
        return sorted(
            holding,
            key=lambda zone: (not self._is_delegated(zone), zone.private, -len(zone.name.split(".")), zone.id),
        )

    def _is_delegated(self, zone: HostedZone) -> bool:
        return bool(zone.name_servers) and set(zone.name_servers) == self._delegated.get(zone.name)

    def read_name(self, name: str) -> None:
        """Read the record sets that answer for a name from every public zone that could hold it."""
        action = "route53:ListResourceRecordSets"
        for zone in self._zones.get(name, ()):
            if zone.private:
                continue
            try:
                variants = _variants(self._way.client("route53"), zone, name)
            except _Errors as error:
                self._fail("route53", name, error, action)
                return
            self.seen.append(Variants(at=self._now(), name=name, zone_id=zone.id, variants=tuple(variants)))

    def owners(self, name: str, known: Sequence[str]) -> frozenset[str]:
        """The owners whose record sets make up a name's answers, wildcards and aliased names included."""
        held = {
            variant.name
            for seen in self.seen
            if isinstance(seen, Variants) and seen.name == name
            for variant in seen.variants
        }
        return frozenset({name, *known, *held})

    def checked(self, trail: TrailHistory) -> TrailHistory:
        """Compare a history with the record sets as they are: CloudTrail may be behind, or not see a change."""
        present = {
            (seen.zone_id, x.name, x.rtype, x.set_identifier): x
            for seen in self.seen
            if isinstance(seen, Variants) and seen.name == trail.name
            for x in seen.variants
        }
        read = {seen.zone_id for seen in self.seen if isinstance(seen, Variants) and seen.name == trail.name}
        why = "" if read else "the record sets were not listed: what stands behind the name is not known"
        why = next((reason for x in present.values() if (reason := _made_elsewhere(x))), why)
        told: set[tuple[str, str, str, str]] = set()
        for change in trail.changes:  # newest first
            key = (change.zone_id, change.name, change.rtype, change.set_identifier)
            if change.zone_id not in read or change.rtype not in RRTYPES or key in told:
                continue
            told.add(key)
            found = present.get(key)
            gone = change.action == "DELETE"
            same = found is None if gone else found is not None and _content(found) == _content(change)
            if not same:
                why = why or (
                    f"{change.name} {change.rtype} is not as CloudTrail's newest change left it: "
                    "a later change is not shown yet"
                )
        if not why:
            return trail
        return replace(trail, complete=False, why_incomplete="; ".join(filter(None, (trail.why_incomplete, why))))

    def read_changes(self, name: str, ids: Sequence[str]) -> None:
        """Ask whether changes have been applied at every name server."""
        for change_id in ids:
            try:
                if change_id not in self._statuses:
                    info = self._way.client("route53").get_change(Id=change_id)["ChangeInfo"]
                    submitted = info.get("SubmittedAt")
                    at = submitted.astimezone(UTC) if isinstance(submitted, datetime) else None
                    self._statuses[change_id] = (str(info["Status"]), at)
            except _Errors as error:
                self._fail("route53.change", name, error, "route53:GetChange")
                return
            status, submitted_at = self._statuses[change_id]
            self.seen.append(
                ChangeStatus(at=self._now(), name=name, change_id=change_id, status=status, submitted_at=submitted_at)
            )

    def _fail(self, probe: str, name: str, error: Exception, action: str) -> None:
        """Note a failure; a second one of the same probe and name is joined to it, for neither may hide."""
        trouble = self._way.explain(error, action)
        errors, permissions = [trouble.error], [trouble.permission]
        for before in self.seen:
            if isinstance(before, ProbeFailed) and before.subject == (probe, name):
                self.seen.remove(before)
                errors.insert(0, before.error)
                permissions.insert(0, before.permission)
                break
        self.seen.append(
            ProbeFailed(
                at=self._now(),
                probe=probe,
                about=name,
                error="; ".join(dict.fromkeys(errors)),
                permission=", ".join(dict.fromkeys(filter(None, permissions))),
            )
        )


def _and_parents(name: str) -> tuple[str, ...]:
    """A name and its parents, longest first, without the root."""
    labels = absolute(name).rstrip(".").split(".")
    return tuple(".".join(labels[start:]) + "." for start in range(len(labels)))


def _zones(client: Any, candidates: set[str]) -> list[HostedZone]:
    """List the hosted zones that have one of the candidate names.

    ListHostedZonesByName *starts at* the name and goes on in order, so that a page may hold other zones.
    """
    if len(candidates) > _MANY:
        return [zone for zone in _zones_from(client, None) if zone.name in candidates]
    found: list[HostedZone] = []
    for candidate in sorted(candidates):
        for zone in _zones_from(client, candidate):
            if zone.name != candidate:
                break
            found.append(zone)
    return found


def _zones_from(client: Any, start: str | None) -> Iterator[HostedZone]:
    place = {"DNSName": start} if start else {}
    while True:
        page = client.list_hosted_zones_by_name(MaxItems="100", **place)
        for each in page["HostedZones"]:
            yield HostedZone(
                id=str(each["Id"]).removeprefix("/hostedzone/"),
                name=absolute(each["Name"]),
                private=bool(each.get("Config", {}).get("PrivateZone", False)),
                name_servers=(),
                records=int(each.get("ResourceRecordSetCount", -1)),
            )
        if not page.get("IsTruncated"):
            return
        place = {"DNSName": page["NextDNSName"], "HostedZoneId": page["NextHostedZoneId"]}


def _with_delegation_set(client: Any, zone: HostedZone) -> HostedZone:
    answer = client.get_hosted_zone(Id=zone.id)
    servers = answer.get("DelegationSet", {}).get("NameServers", [])
    return zone._replace(name_servers=tuple(sorted(absolute(server) for server in servers)))


def _variants(client: Any, zone: HostedZone, name: str) -> list[Variant]:
    """Read every record set of a zone that answers for a name, aliases inside the zone followed."""
    found: list[Variant] = []
    waiting, read = [name], set[str]()
    for _ in range(_ALIAS_DEPTH):
        following: list[str] = []
        for owner in waiting:
            read.add(owner)
            for each in _answering(client, zone, owner):
                found.append(_variant(each))
                target = _inside(each, zone)
                if target and target not in read and target not in following:
                    following.append(target)
        waiting = following
    return found


def _inside(record_set: Mapping[str, Any], zone: HostedZone) -> str:
    """Where a record set points inside its own zone, "" when it points elsewhere."""
    alias = record_set.get("AliasTarget", {})
    if alias:
        return absolute(alias["DNSName"]) if alias.get("HostedZoneId") == zone.id else ""
    if record_set["Type"] != "CNAME":
        return ""
    target = absolute(record_set["ResourceRecords"][0]["Value"])
    return target if zone.name in _and_parents(target) else ""


def _answering(client: Any, zone: HostedZone, owner: str) -> list[Mapping[str, Any]]:
    """The record sets at an owner, or those of the wildcard that covers it (RFC 4592)."""
    if zone.name not in _and_parents(owner):
        return []
    own = _at(client, zone, owner)
    if own:
        return [each for each in own if each["Type"] in RRTYPES]
    for parent in _and_parents(owner)[1:]:
        wildcard = f"*.{parent}"
        covering = _at(client, zone, wildcard)
        if covering:
            return [each for each in covering if each["Type"] in RRTYPES]
        if parent == zone.name or _exists(client, zone, parent):
            break  # the closest encloser: a wildcard above it does not reach
    return []


def _at(client: Any, zone: HostedZone, owner: str) -> list[Mapping[str, Any]]:
    """All record sets of exactly one owner."""
    # Route 53 lists "*" escaped; emulators do not all accept the escape as a start.
    starts = [owner.replace("*", r"\052"), owner] if "*" in owner else [owner]
    for start in starts:
        found: list[Mapping[str, Any]] = []
        for each in _record_sets_from(client, zone, start):
            if absolute(each["Name"]) != owner:
                break
            found.append(each)
        if found:
            return found
    return []


def _exists(client: Any, zone: HostedZone, owner: str) -> bool:
    """Whether an owner, or anything below it, exists: names are listed by their labels from the right."""
    first = next(_record_sets_from(client, zone, owner), None)
    return first is not None and owner in _and_parents(absolute(first["Name"]))


def _record_sets_from(client: Any, zone: HostedZone, start: str) -> Iterator[Mapping[str, Any]]:
    place = {"StartRecordName": start}
    while True:
        page = client.list_resource_record_sets(HostedZoneId=zone.id, MaxItems="300", **place)
        yield from page["ResourceRecordSets"]
        if not page.get("IsTruncated"):
            return
        place = {"StartRecordName": page["NextRecordName"], "StartRecordType": page["NextRecordType"]}
        if page.get("NextRecordIdentifier"):
            place["StartRecordIdentifier"] = page["NextRecordIdentifier"]


def _variant(each: Mapping[str, Any]) -> Variant:
    alias = each.get("AliasTarget", {}).get("DNSName", "")
    routing, detail = _routing(each)
    rtype = str(each["Type"])
    return Variant(
        name=absolute(each["Name"]),
        rtype=rtype,
        routing=routing,
        set_identifier=str(each.get("SetIdentifier", "")),
        detail=detail,
        weight=int(each["Weight"]) if "Weight" in each else None,
        ttl=None if alias else int(each["TTL"]),
        values=tuple(sorted(canonical(rtype, item["Value"]) for item in each.get("ResourceRecords", []))),
        alias=absolute(alias) if alias else "",
        record_set=json.dumps(each, sort_keys=True, separators=(",", ":")),
    )


def _routing(each: Mapping[str, Any]) -> tuple[str, str]:
    """A record set's routing policy and its value."""
    if "Weight" in each:
        return "weighted", f"weight={each['Weight']}"
    if "Region" in each:
        return "latency", f"region={each['Region']}"
    if "Failover" in each:
        return "failover", str(each["Failover"])
    if "GeoLocation" in each:
        return "geolocation", _pairs(each["GeoLocation"], {"Code": ""})
    if "GeoProximityLocation" in each:
        return "geoproximity", _pairs(each["GeoProximityLocation"], {})
    if "CidrRoutingConfig" in each:
        return "cidr", _pairs(each["CidrRoutingConfig"], {})
    if each.get("MultiValueAnswer"):
        return "multivalue", ""
    return "simple", ""


def _pairs(values: Mapping[str, Any], shortened: Mapping[str, str]) -> str:
    parts: list[str] = []
    for key, value in sorted(values.items()):
        short = key
        for ending, by in shortened.items():
            short = short.removesuffix(ending) + by
        text = _pairs(value, {}) if isinstance(value, Mapping) else str(value)
        parts.append(f"{short[:1].lower()}{short[1:]}={text}")
    return " ".join(parts)


def _content(of: Any) -> tuple[int | None, tuple[str, ...], str]:
    return of.ttl, of.values, of.alias


def _made_elsewhere(variant: Variant) -> str:
    """Say so when a record set is not made by ChangeResourceRecordSets, so that its history is not in there."""
    if "TrafficPolicyInstanceId" in json.loads(variant.record_set):
        return f"{variant.name} {variant.rtype} is made by a traffic policy, whose changes this history does not hold"
    return ""
