"""Lines of access logs: when a request ended, who asked, for which host, by which method. Pure.

Formats: ``combined`` (nginx, Apache; ``common`` too), ``json`` (one object a line, with the usual field names of
nginx, Caddy, Traefik, Envoy and ECS), ``alb`` (AWS application load balancer), ``cloudfront`` (standard log files,
tab separated, with ``#Fields``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

SENTINEL_PREFIX = "cutover-sentinel/"
PROBE_PREFIX = "cutover/"
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_COMBINED = re.compile(
    r"^\S+ \S+ .*?\[(\d{2})/(\w{3})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-]\d{4})\] "
    rf"{_QUOTED} (\d{{3}}) (?:\d+|-)(?: {_QUOTED} {_QUOTED})?"
)
_LOCAL_TIME = re.compile(r"(\d{2})/(\w{3})/(\d{4}):(\d{2}:\d{2}:\d{2}) ([+-]\d{2})(\d{2})")
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_TIME_FIELDS = (
    "time", "timestamp", "@timestamp", "time_iso8601", "ts", "time_local", "start_time", "starttime", "msec", "date"
)  # fmt: skip
_AGENT_FIELDS = (
    "http_user_agent",
    "user_agent",
    "useragent",
    "request_user-agent",
    "agent",
    "user_agent.original",
    "request.headers.user-agent",
    "request.user_agent",
    "headers.user-agent",
)
_HOST_FIELDS = ("host", "http_host", "requesthost", "request.host", "authority", ":authority")
_METHOD_FIELDS = ("method", "request_method", "requestmethod", "request.method", "http.request.method", "verb")
_REQUEST_FIELDS = ("request",)


class Line(NamedTuple):
    """One request. ``host`` and ``method`` are "" where the format does not tell."""

    at: datetime
    agent: str
    host: str = ""
    method: str = ""

    @property
    def sentinel(self) -> bool:
        """It is one of our tagged requests."""
        return self.agent.startswith(SENTINEL_PREFIX)

    @property
    def own(self) -> bool:
        """It is the tool's own, tagged or not."""
        return self.sentinel or self.agent.startswith(PROBE_PREFIX)


class BadLineError(ValueError):
    """A line that is not of the format."""


Parser = Callable[[str], Line | None]


def parser(name: str) -> Parser:
    """Return the function that reads one line of a format; it gives None for a line that is no request.

    The function raises :class:`BadLineError` for anything that is not of the format.
    """
    match name:
        case "combined":
            return combined
        case "json":
            return json_line
        case "alb":
            return alb
        case "cloudfront":
            return CloudFront()
    raise ValueError(name)


def combined(text: str) -> Line | None:
    """Read a line of the combined (or common) format."""
    if not text.strip():
        return None
    found = _COMBINED.match(text)
    if found is None:
        raise BadLineError(text)
    day, month, year, hour, minute, second, zone = found.groups()[:7]
    if month not in _MONTHS:
        raise BadLineError(text)
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5])) * (-1 if zone[0] == "-" else 1)
    try:
        at = datetime(
            int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=timezone(offset)
        ).astimezone(UTC)
    except ValueError:
        raise BadLineError(text) from None
    return Line(at, found[11] or "", "", _method(found[8]))


def json_line(text: str) -> Line | None:
    """Read a line that is a JSON object."""
    if not text.strip():
        return None
    try:
        document = json.loads(text)
    except ValueError:
        raise BadLineError(text) from None
    if not isinstance(document, dict):
        raise BadLineError(text)
    flat = _flattened(document)
    stamp = _first(flat, _TIME_FIELDS)
    at = _time_of(stamp)
    if at is None:
        raise BadLineError(text)
    method = _first(flat, _METHOD_FIELDS) or _method(str(_first(flat, _REQUEST_FIELDS) or ""))
    host = _bare_host(str(_first(flat, _HOST_FIELDS) or ""))
    return Line(at, str(_first(flat, _AGENT_FIELDS) or ""), host, str(method))


def alb(text: str) -> Line | None:
    """Read a line of an application load balancer's log: the second field is when the response was sent."""
    if not text.strip():
        return None
    words = [quoted or bare for quoted, bare in _WORD.findall(text)]
    if len(words) < 14:
        raise BadLineError(text)
    at = _iso(words[1])
    if at is None:
        raise BadLineError(text)
    method, _, rest = words[12].partition(" ")
    host = urlsplit(rest.split(" ", 1)[0]).hostname if "://" in rest else ""
    return Line(at, words[13], (host or "").lower(), method)


class CloudFront:
    """Reads a CloudFront standard log; remembers the ``#Fields`` of the file that it is reading."""

    _usual = (
        "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) "
        "cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header"
    )

    def __init__(self) -> None:
        self._fields = self._usual.split()

    def __call__(self, text: str) -> Line | None:
        """Read one line."""
        if text.startswith("#Fields:"):
            self._fields = text.removeprefix("#Fields:").split()
        if text.startswith("#") or not text.strip():
            return None
        values = dict(zip(self._fields, text.rstrip("\n").split("\t"), strict=False))
        at = _iso(f"{values.get('date', '')}T{values.get('time', '')}Z")
        if at is None or "cs-method" not in values:
            raise BadLineError(text)
        host = values.get("x-host-header") or values.get("cs(Host)") or ""
        return Line(at, unquote(unquote(values.get("cs(User-Agent)", ""))), _bare_host(host), values["cs-method"])


def _method(request: str) -> str:
    word = request.split(" ", 1)[0]
    return word if word.isalpha() and word.isupper() else ""


def _bare_host(text: str) -> str:
    host = text.strip().lower().rstrip(".")
    return host.rsplit(":", 1)[0] if re.fullmatch(r"[^:]+:\d+", host) else host


def _flattened(document: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{str(key).lower()}"
        if isinstance(value, dict) and depth < 4:
            flat.update(_flattened(value, f"{name}.", depth + 1))
        elif isinstance(value, list) and len(value) == 1:
            flat[name] = value[0]
        else:
            flat[name] = value
    return flat


def _first(flat: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((flat[name] for name in names if flat.get(name) not in (None, "")), None)


def _time_of(value: object) -> datetime | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(float(value))
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return _epoch(float(value))
    local = _LOCAL_TIME.fullmatch(value)
    if local is None:
        return _iso(value)
    day, name, year, clock, hours, minutes = local.groups()
    month = _MONTHS.get(name)
    return _iso(f"{year}-{month:02d}-{day}T{clock}{hours}:{minutes}") if month else None


def _epoch(value: float) -> datetime | None:
    """Read seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size."""
    for scale in (1.0, 1e3, 1e6, 1e9):
        seconds = value / scale
        if 1e9 <= seconds < 1e10:
            return datetime.fromtimestamp(seconds, UTC)
    return None


def _iso(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.strip()))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
