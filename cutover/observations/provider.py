"""What the DNS provider's API said (Route 53 and CloudTrail)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple

from cutover.observations.base import Observation


class HostedZone(NamedTuple):
    """One hosted zone.

    Attributes:
        id: without the ``/hostedzone/`` prefix.
        name: lower case with the final dot.
        name_servers: the delegation set, lower case with the final dot, sorted; empty for a private zone.
        records: number of record sets.
    """

    id: str
    name: str
    private: bool
    name_servers: tuple[str, ...]
    records: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedZones(Observation):
    """Every hosted zone of the account that could hold a name (its own zone and its parents')."""

    kind: ClassVar[str] = "provider.zones"

    name: str
    provider: str
    zones: tuple[HostedZone, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """The plan's name."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Variant:
    r"""One record set of a name and type (Route 53 may hold many).

    Attributes:
        name: the owner; ``*.example.com.`` (``\052`` decoded) when a wildcard serves the name.
        routing: ``simple``, ``weighted``, ``latency``, ``geolocation``, ``geoproximity``, ``failover``,
            ``multivalue`` or ``cidr``.
        set_identifier: "" for simple.
        detail: the routing's value (``weight=1``, ``region=eu-west-1``, ``SECONDARY``, ``country=DE``).
        weight: only for weighted.
        ttl: seconds; None for an alias.
        values: record data; addresses and names as in :class:`cutover.observations.dns.Record`.
        alias: the alias target's DNS name, or "".
        record_set: the record set in the API's own words (JSON), so that a fix can keep every field; "" when the
            provider did not say.
    """

    name: str
    rtype: str
    routing: str
    set_identifier: str
    detail: str
    weight: int | None
    ttl: int | None
    values: tuple[str, ...]
    alias: str = ""
    record_set: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants(Observation):
    """All record sets of one hosted zone that answer for a name, PENDING changes included."""

    kind: ClassVar[str] = "provider.variants"

    name: str
    zone_id: str
    variants: tuple[Variant, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """The plan's name and the zone."""
        return (self.name, self.zone_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStatus(Observation):
    """State of one change batch. ``status`` is PENDING or INSYNC."""

    kind: ClassVar[str] = "provider.change"

    name: str
    change_id: str
    status: str
    submitted_at: datetime | None

    @property
    def subject(self) -> tuple[str, ...]:
        """The plan's name and the change."""
        return (self.name, self.change_id)


class TrailChange(NamedTuple):
    """One record set in one ChangeResourceRecordSets event of CloudTrail.

    Attributes:
        action: UPSERT, CREATE or DELETE.
        ttl: None for an alias.
    """

    at: datetime
    zone_id: str
    change_id: str
    action: str
    name: str
    rtype: str
    set_identifier: str
    ttl: int | None
    values: tuple[str, ...]
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailHistory(Observation):
    """What CloudTrail tells of a name, newest first.

    Attributes:
        since: how far back the look-up reached.
        until: changes after this instant may not have been delivered yet, None when unknown.
        complete: every event from ``until`` back to ``since`` was read, and they tell every TTL that was served
            in that time (an UPSERT alone does not tell what was before it). Older events that were needed for
            that are in ``changes`` too.
        why_incomplete: the bound that ended it (pages, time, throttling) or what it does not tell, or "".
    """

    kind: ClassVar[str] = "provider.trail"

    name: str
    since: datetime
    complete: bool
    changes: tuple[TrailChange, ...]
    why_incomplete: str = ""
    until: datetime | None = None

    @property
    def subject(self) -> tuple[str, ...]:
        """The plan's name."""
        return (self.name,)
