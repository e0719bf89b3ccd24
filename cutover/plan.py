"""The plan's model: ``cutover.toml`` as values. Its loading and error messages: :mod:`cutover.planfile`.

Every default here is the documented one (DESIGN.md 4); the JSON Schema that editors use is made from this.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cutover import jsonpath
from cutover.durations import parse_duration

RECORD_TYPES = ("A", "AAAA", "CNAME", "HTTPS")


def absolute(name: str) -> str:
    """Return a DNS name in lower case with its final dot (RFC 4343, RFC 5891 for other alphabets).

    Raises:
        ValueError: it is not a host name.
    """
    text = name.strip().lower().rstrip(".")
    if not text:
        raise ValueError("a host name is empty")
    try:
        ascii_text = text if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{name!r} is not a host name") from None
    labels = ascii_text.split(".")
    if len(ascii_text) > 253 or not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", x) for x in labels):
        raise ValueError(f"{name!r} is not a host name")
    return ascii_text + "."


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("write a duration such as 30s, 15m, 2h or 1d")


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("the duration must be longer than zero")
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


def _zoned(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("give the time zone, for example 2025-11-12T06:40:00Z")
    return value.astimezone(UTC)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} is not an http(s) url")
    if parts.password:
        raise ValueError("a password stands in the url: take it out and use env:NAME")
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=str),
    AfterValidator(_positive),
    Field(json_schema_extra={"examples": ["30s", "15m", "2h", "1d"]}),
]
Regex = Annotated[str, AfterValidator(_regex)]
HostName = Annotated[str, AfterValidator(absolute)]
Url = Annotated[str, AfterValidator(_url)]
Secret = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$")]
Globs = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, arbitrary_types_allowed=True)


class Migration(Strict):
    """What is being done."""

    name: str = Field(default="migration", min_length=1)
    changed_at: Annotated[datetime, AfterValidator(_zoned)] | None = None
    names_file: str | None = None


class Member(Strict):
    """One member of an answer set: a block of addresses or a CNAME target.

    Attributes:
        text: as written in the plan.
    """

    text: str
    network: IPv4Network | IPv6Network | None = None
    target: str | None = None

    @classmethod
    def parse(cls, text: str) -> Member:
        """Read an address, a CIDR block or a host name.

        Raises:
            ValueError: it is none of these.
        """
        try:
            return cls(text=text, network=ip_network(text, strict=True))
        except ValueError as error:
            if "/" in text or re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", text):
                reason = "has host bits set" if "host bits" in str(error) else "is no address or CIDR block"
                raise ValueError(f"{text!r} {reason}") from None
        return cls(text=text, target=absolute(text))

    def holds(self, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether an address lies in this block."""
        return self.network is not None and address.version == self.network.version and address in self.network


def _members(value: object) -> object:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        return tuple(Member.parse(item) if isinstance(item, str) else item for item in value)
    return value


Members = Annotated[
    tuple[Member, ...],
    BeforeValidator(_members, json_schema_input_type=list[str]),
]


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

    url: str | None = None
    connect: str | None = None
    fingerprint: Fingerprint | None = None
    maintenance: Fingerprint | None = None
    ca_file: str | None = None
    paths: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _url_and_paths(self) -> OriginSide:
        if self.url is not None:
            _url(self.url.replace("{name}", "name.example"))
        for path in self.paths:
            if not path.startswith("/"):
                raise ValueError(f"path {path!r} does not start with /")
        return self


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
        """Return the types to ask resolvers for; CNAMEs come with the addresses."""
        return tuple(x for x in self.types if x != "CNAME") or ("A", "AAAA")


def _servers(value: tuple[str, ...]) -> tuple[str, ...]:
    for server in value:
        split_address(server, 53)
    return value


def split_address(text: str, default_port: int) -> tuple[str, int]:
    """Split ``address``, ``address:port``, ``[v6]:port`` or ``host:port``.

    Raises:
        ValueError: the port is no port, or nothing stands before it.
    """
    if address_of(text) is not None:
        return text, default_port
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s/]+))(?::([0-9]{1,5}))?", text)
    if match is None or not 0 < int(match[3] or default_port) < 65536:
        raise ValueError(f"{text!r} is not an address:port")
    return match[1] or match[2], int(match[3] or default_port)


Servers = Annotated[tuple[str, ...], AfterValidator(_servers)]


class Dns(Strict):
    """Resolvers and authorities."""

    resolvers: str | tuple[str, ...] = "builtin"
    roots: Servers = ()
    max_ttl: int = Field(default=60, ge=0)
    min_answers: float = Field(default=0.8, gt=0, le=1)
    max_rate: float = Field(default=10, gt=0)
    interception_canary: str = "192.0.2.1"
    authorities: Mapping[HostName, Servers] = Field(default_factory=dict)


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


def _policy(value: str) -> str:
    if not re.fullmatch(r"refuse|old|new|max|min|add|newest\([^()]+\)", value):
        raise ValueError(f"{value!r} is no policy: refuse, old, new, newest(COLUMN), max, min or add")
    return value


def _database_url(value: str) -> str:
    if value.startswith("env:"):
        return value
    parts = urlsplit(value)
    if parts.password or re.search(r"\bpassword\s*=", value):
        raise ValueError('a password stands in the plan: write "env:NAME" and put the url into that variable')
    return value


DatabaseUrl = Annotated[str, AfterValidator(_database_url)]


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
    policy: Annotated[str, AfterValidator(_policy)] | None = None
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
        default = Gate().model_dump(mode="json")
        return {key: value for key, value in self.model_dump(mode="json").items() if value != default[key]}


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
                "traffic": tuple(_swap(source) for source in self.traffic),
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


def _swap(model: _Model) -> _Model:
    sides: dict[str, Any] = {"old": model.new, "new": model.old}  # type: ignore[attr-defined]
    return model.model_copy(update=sides)


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a record's data is, or None."""
    try:
        return ip_address(text)
    except ValueError:
        return None
