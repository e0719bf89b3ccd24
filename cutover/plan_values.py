"""The values that a plan is written in: names, addresses, durations, regular expressions, answer sets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cutover.durations import parse_duration


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


def host_name(name: str) -> str:
    """Return a host name as :func:`absolute` does; an address is none, though it is written with the same letters.

    Raises:
        ValueError: it is not a host name.
    """
    found = absolute(name)
    if found.rstrip(".").rpartition(".")[2].isdigit():  # no top-level domain is a number (RFC 3696, 2)
        raise ValueError(f"{name!r} is an address, not a host name")
    return found


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


_FIRST_YEAR = 1983
"""Of the DNS (RFC 882). Times before it would overflow where a TTL is taken off."""


def zoned(value: datetime) -> datetime:
    """Return an instant in UTC; one without a zone is refused, because whose night it was decides horizons."""
    if value.tzinfo is None:
        raise ValueError("give the time zone, for example 2025-11-12T06:40:00Z")
    if value.year < _FIRST_YEAR:
        raise ValueError(f"{value.year} is long before there were names to move")
    return value.astimezone(UTC)


def web_url(value: str) -> str:
    """Return an http(s) url that holds no password."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} is not an http(s) url")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{value!r} has no port from 1 to 65535")
    if parts.password:
        raise ValueError("a password stands in the url: take it out and use env:NAME")
    return value


_VARIABLE = r"^env:[A-Za-z_][A-Za-z0-9_]*$"


def _secret(value: str) -> str:
    if not re.fullmatch(_VARIABLE, value):
        raise ValueError('a secret stands in the plan: write "env:NAME" and put it into that variable')
    return value


def _url_template(value: str) -> str:
    filled = value.replace("{name}", "name.example")
    if set("{}") & set(urlsplit(filled).netloc):
        raise ValueError(f"{value!r}: the only placeholder is {{name}}")
    web_url(filled)
    return value


def _connect(value: str) -> str:
    split_address(value, 443)
    return value


def _url_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"path {value!r} does not start with /")
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
HostName = Annotated[str, AfterValidator(host_name)]
Url = Annotated[str, AfterValidator(web_url)]
Secret = Annotated[str, AfterValidator(_secret), Field(json_schema_extra={"pattern": _VARIABLE})]
UrlTemplate = Annotated[str, AfterValidator(_url_template)]
Connect = Annotated[str, AfterValidator(_connect)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Globs = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, arbitrary_types_allowed=True)


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
        text = text.strip()
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


def _servers(value: tuple[str, ...]) -> tuple[str, ...]:
    for server in value:
        _dns_server(server)
    return value


def _dns_server(value: str) -> str:
    """Return where a name server is asked: by address, for the names are what is being looked up."""
    host, _ = split_address(value, 53)
    if address_of(host) is None:
        raise ValueError(f"{value!r} is not an address:port: write 192.0.2.1:53 or [2001:db8::1]:53")
    return value


def _canary(value: str) -> str:
    return _dns_server(value) if value else value


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
Canary = Annotated[str, AfterValidator(_canary)]


def merge_policy(value: str) -> str:
    """Return the policy of a merge rule."""
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


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a record's data is, or None."""
    try:
        return ip_address(text)
    except ValueError:
        return None
