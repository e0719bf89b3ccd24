"""The plan's model: ``cutover.toml`` as values. Its loading and error messages: :mod:`cutover.planfile`.

Every default here is the documented one (DESIGN.md 4); the JSON Schema that editors use is made from this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, model_validator

from cutover import jsonpath
from cutover.durations import plan_duration
from cutover.plan_values import (
    Canary,
    Connect,
    DatabaseUrl,
    Duration,
    Globs,
    HostName,
    Member,
    Members,
    Regex,
    Secret,
    Servers,
    Strict,
    Url,
    UrlPath,
    UrlTemplate,
    merge_policy,
    zoned,
)


class Migration(Strict):
    """What is being done."""

    name: str = Field(default="migration", min_length=1)
    changed_at: Annotated[datetime, AfterValidator(zoned)] | None = None
    names_file: str | None = None


class Fingerprint(Strict):
    """What tells one deployment from another; several conditions must all hold.

    Attributes:
        matches: a regular expression searched in the header, the JSON value or the body.
    """

    header: str | None = None
    json_path: str | None = Field(default=None, alias="json", description='for example "$.release"')
    body: bool = False
    status: int | None = Field(default=None, ge=100, le=599)
    cert_sha256: str | None = Field(default=None, pattern=r"^([0-9A-Fa-f]{2}:?){32}$")
    matches: Regex | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Fingerprint:
        text_sources = [self.header is not None, self.json_path is not None, self.body]
        if not any(text_sources) and self.status is None and self.cert_sha256 is None:
            raise ValueError("a fingerprint needs header, json, body, status or cert_sha256")
        if any(text_sources) and self.matches is None:
            raise ValueError("header, json and body need `matches`, a regular expression")
        if self.json_path is not None:
            jsonpath.parse(self.json_path)
        return self


class OriginSide(Strict):
    """How to ask one deployment."""

    url: UrlTemplate | None = None
    connect: Connect | None = None
    fingerprint: Fingerprint | None = None
    maintenance: Fingerprint | None = None
    ca_file: str | None = None
    paths: tuple[UrlPath, ...] = ()


class Origins(Strict):
    """Both deployments."""

    old: OriginSide = OriginSide()
    new: OriginSide = OriginSide()


class Name(Strict):
    """One host name that moves."""

    name: HostName
    types: tuple[Literal["A", "AAAA", "CNAME", "HTTPS"], ...] = ("A", "AAAA")
    old: Members = ()
    new: Members = ()
    provider: Literal["route53", "cloudflare", "none"] | None = None
    previous_ttl: int | None = Field(default=None, ge=0, le=2**31 - 1)
    proxied: bool = False
    origin: Origins = Origins()

    @model_validator(mode="after")
    def _sides_differ(self) -> Name:
        if self.proxied:
            return self  # both sides are then the same edge (DESIGN.md 4)
        for old in self.old:
            for new in self.new:
                same_target = old.target is not None and old.target == new.target
                overlap = (
                    old.network is not None
                    and new.network is not None
                    and old.network.version == new.network.version
                    and old.network.overlaps(new.network)
                )
                if same_target or overlap:
                    raise ValueError(f"old and new overlap: {old.text} and {new.text}")
        return self

    def members(self, side: str) -> tuple[Member, ...]:
        """Return the answer set of ``old`` or ``new``."""
        return self.old if side == "old" else self.new

    def polled_types(self) -> tuple[str, ...]:
        """Return the types to ask resolvers for; CNAMEs come with the addresses.

        Without an address family both are asked: no cache could be seen to hold old by HTTPS records alone.
        """
        types = tuple(dict.fromkeys(x for x in self.types if x != "CNAME"))
        return types if {"A", "AAAA"} & set(types) else ("A", "AAAA", *types)


class Dns(Strict):
    """Resolvers and authorities."""

    resolvers: str | tuple[str, ...] = "builtin"
    roots: Servers = ()
    max_ttl: int = Field(default=60, ge=0)
    min_answers: float = Field(default=0.8, gt=0, le=1)
    max_rate: float = Field(default=10, gt=0)
    interception_canary: Canary = "192.0.2.1"
    authorities: Mapping[HostName, Servers] = Field(default_factory=dict)

    @property
    def panel(self) -> str:
        """``resolvers`` as one text."""
        return self.resolvers if isinstance(self.resolvers, str) else ", ".join(self.resolvers)


class Route53(Strict):
    """boto3's own credential chain, and where it differs."""

    profile: str | None = None
    endpoint_url: Url | None = None


class Cloudflare(Strict):
    """Not supported yet."""

    token: str | None = None
    zone: str | None = None
    allowed_worker_routes: tuple[str, ...] = ()


class Providers(Strict):
    """DNS providers' APIs."""

    route53: Route53 = Route53()
    cloudflare: Cloudflare | None = None


class CloudWatchQuery(Strict):
    """One side's metric: an ALB (and target group), or any metric by namespace."""

    load_balancer: str | None = None
    target_group: str | None = None
    namespace: str | None = None
    metric: str | None = None
    dimensions: Mapping[str, str] = Field(default_factory=dict)
    stat: str = "Sum"


class Traffic(Strict):
    """One source of request or write counts."""

    source: Literal["datadog", "cloudwatch", "prometheus", "access_log", "command"]
    weight: Literal["requests", "writes"] = "requests"
    old: str | Globs | CloudWatchQuery | None = None
    new: str | Globs | CloudWatchQuery | None = None
    sentinel_path: str | None = Field(default=None, pattern=r"^/")
    endpoint_url: Url | None = None
    site: str = "datadoghq.com"
    api: Literal["metrics", "timeseries", "logs"] = "metrics"
    api_key: Secret = "env:DD_API_KEY"
    app_key: Secret = "env:DD_APP_KEY"
    url: Url | None = None
    region: str | None = None
    profile: str | None = None
    format: Literal["combined", "json", "alb", "cloudfront"] = "combined"
    command: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Traffic:
        if self.source == "command":
            if not self.command:
                raise ValueError('source = "command" needs `command`, a list of words')
            return self
        if self.command:
            raise ValueError(f"`command` does not go with source = {self.source!r}")
        if self.old is None and self.new is None:
            raise ValueError(f"source = {self.source!r} needs `old` and `new`")
        if self.source == "prometheus" and self.url is None and self.endpoint_url is None:
            raise ValueError('source = "prometheus" needs `url`')
        wants_query = self.source == "cloudwatch"
        for side, value in (("old", self.old), ("new", self.new)):
            if value is not None and wants_query != isinstance(value, CloudWatchQuery):
                shape = "a table ({ load_balancer = ... })" if wants_query else "text"
                raise ValueError(f"`{side}` of source = {self.source!r} must be {shape}")
        return self


class Reference(Strict):
    """A reference that no foreign key declares."""

    from_: str = Field(alias="from")
    to: str | None = None
    when: Mapping[str, str] = Field(default_factory=dict)
    not_a_reference: bool = False

    @model_validator(mode="after")
    def _decided(self) -> Reference:
        if self.to is None and not self.not_a_reference:
            raise ValueError("a reference needs `to`, or `not_a_reference = true`")
        return self


class DatabaseTable(Strict):
    """What the schema does not say of one table."""

    name: str
    kind: Literal["merge", "append", "queue", "ignore"] | None = None
    key: Literal["generated"] | None = None
    match_key: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    owner: str | None = None
    updated_at: tuple[str, ...] = ()
    deleted_at: str | None = None


class Database(Strict):
    """The two databases, and the state that they started from."""

    old: DatabaseUrl | None = None
    new: DatabaseUrl | None = None
    base: DatabaseUrl | None = None
    schemas: tuple[str, ...] = ("public",)
    exclude: tuple[str, ...] = ()
    app_roles: tuple[str, ...] = ()
    newest: Mapping[str, str] = Field(default_factory=dict)
    reference: tuple[Reference, ...] = ()
    table: tuple[DatabaseTable, ...] = ()


class Merge(Strict):
    """One rule for conflicts; the first that matches wins."""

    table: str
    column: str | None = None
    policy: Annotated[str, AfterValidator(merge_policy)] | None = None
    same_entity: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_thing(self) -> Merge:
        if (self.policy is None) == (not self.same_entity):
            raise ValueError("a merge rule needs either `policy` or `same_entity`")
        return self


class Bucket(Strict):
    """Not supported yet."""

    old: str
    new: str


class Gate(Strict):
    """What must hold, and for how long."""

    interval: Duration = timedelta(seconds=30)
    soak: Duration = timedelta(minutes=15)
    max_old_share: float = Field(default=0.001, ge=0, le=1)
    min_requests: int | None = Field(default=None, ge=0)
    max_old_writes: int = Field(default=0, ge=0)
    traffic: Literal["required", "optional"] = "required"
    writes: Literal["required", "none"] = "required"
    valid_for: Duration = timedelta(hours=12)

    @property
    def enough_requests(self) -> int:
        """``min_requests``, by default 3 / ``max_old_share`` (rule of three: 0 of N means at most 3/N)."""
        if self.min_requests is not None:
            return self.min_requests
        return round(3 / self.max_old_share) if self.max_old_share else 3000

    def changed_from_default(self) -> dict[str, object]:
        """Return every value that is not the documented default: a sign-off names them."""
        default = dict(Gate())
        changed = {key: value for key, value in dict(self).items() if value != default[key]}
        return {key: plan_duration(x) if isinstance(x, timedelta) else x for key, x in changed.items()}


class Notify(Strict):
    """Who is told of state changes."""

    slack: Secret | None = None
    webhook: Secret | None = None
    secret: Secret | None = None
    command: tuple[str, ...] = ()


class Plan(Strict):
    """The one description of the migration."""

    migration: Migration = Migration()
    name: tuple[Name, ...] = ()
    dns: Dns = Dns()
    providers: Providers = Providers()
    origin: Origins = Origins()
    traffic: tuple[Traffic, ...] = ()
    database: Database | None = None
    merge: tuple[Merge, ...] = ()
    bucket: tuple[Bucket, ...] = ()
    gate: Gate = Gate()
    notify: Notify | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The host names that move, absolute."""
        return tuple(entry.name for entry in self.name)

    def named(self, name: str) -> Name:
        """Return the entry of an absolute host name.

        Raises:
            KeyError: the plan does not have it.
        """
        for entry in self.name:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def origin_of(self, name: str, side: str) -> OriginSide:
        """Return one side's origin for a name: the name's own values over the common ones, ``{name}`` filled."""
        common: OriginSide = getattr(self.origin, side)
        own: OriginSide = getattr(self.named(name).origin, side)
        values = {**common.model_dump(exclude_unset=True), **own.model_dump(exclude_unset=True)}
        merged = OriginSide.model_validate({key: _origin_value(common, own, key) for key in values})
        if merged.url and "{name}" in merged.url:
            merged = merged.model_copy(update={"url": merged.url.replace("{name}", name.rstrip("."))})
        return merged

    def traffic_labels(self) -> tuple[str, ...]:
        """Return one label a traffic source, unique in the plan: ``datadog #1``."""
        return tuple(f"{source.source} #{number}" for number, source in enumerate(self.traffic, 1))

    def reversed(self) -> Plan:
        """Swap the sides: a roll-back is a cutover too."""
        swapped = self.model_copy(
            update={
                "name": tuple(_swap(entry).model_copy(update={"origin": _swap(entry.origin)}) for entry in self.name),
                "origin": _swap(self.origin),
                "traffic": tuple(_swap_source(source) for source in self.traffic),
                "bucket": tuple(_swap(entry) for entry in self.bucket),
                "migration": self.migration.model_copy(update={"changed_at": None}),
            }
        )
        if self.database is not None:
            swapped = swapped.model_copy(update={"database": _swap(self.database)})
        return swapped

    def hash(self) -> str:
        """Return the hash of all that a soak depends on: names, dns, origins, traffic, gate, the databases."""
        parts: dict[str, Any] = self.model_dump(
            mode="json", by_alias=True, include={"name", "dns", "providers", "origin", "traffic", "gate"}
        )
        parts["changed_at"] = self.migration.changed_at.isoformat() if self.migration.changed_at else None
        if self.database is not None:
            parts["database"] = self.database.model_dump(mode="json", include={"old", "new", "schemas", "exclude"})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _origin_value(common: OriginSide, own: OriginSide, key: str) -> object:
    return getattr(own if key in own.model_fields_set else common, key)


_Model = TypeVar("_Model", bound=BaseModel)


def _swap_source(source: Traffic) -> Traffic:
    """Swap a source's queries; a command prints both sides, so it is their keys that change places."""
    if source.source == "command" and source.old is None and source.new is None:
        return source.model_copy(update={"old": "new", "new": "old"})
    return _swap(source)


def _swap(model: _Model) -> _Model:
    sides: dict[str, Any] = {"old": model.new, "new": model.old}  # type: ignore[attr-defined]
    return model.model_copy(update=sides)
