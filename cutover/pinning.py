"""What responses tell clients to keep: how long a client may go on using the old side whatever DNS says. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

ALT_SVC_DEFAULT_SECONDS = 86400
"""``ma`` when it is absent (RFC 7838 3.1)."""

_ALTERNATIVE = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]+)\s*""")
_PARAMETER = re.compile(r""";\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]+)\s*""")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]*):(\d{1,5})")


class Alternative(NamedTuple):
    """One alternative service (RFC 7838).

    Attributes:
        protocol: ALPN id, ``h3``.
        host: lower case; "" is the origin's own host, which clients go on resolving.
        seconds: how long a client may use it (``ma``).
        persist: kept when the client's network changes.
    """

    protocol: str
    host: str
    port: int
    seconds: int
    persist: bool

    def leaves(self, host: str) -> bool:
        """Tell whether it sends clients to another host than the one they asked."""
        return self.host not in {"", host.lower().rstrip(".")}


def alternatives(alt_svc: str) -> tuple[Alternative, ...]:
    """Read an ``Alt-Svc`` header; ``clear`` and whatever is not well-formed give nothing (RFC 7838 3)."""
    found: list[Alternative] = []
    position = 0
    while position < len(alt_svc):
        value = _ALTERNATIVE.match(alt_svc, position)
        if value is None:
            break
        parameters: dict[str, str] = {}
        position = value.end()
        while parameter := _PARAMETER.match(alt_svc, position):
            parameters.setdefault(parameter[1].lower(), _unquoted(parameter[2]))
            position = parameter.end()
        authority = _AUTHORITY.fullmatch(_unquoted(value[2]))
        if authority is not None and int(authority[2]) < 65536:
            age = _delta_seconds(parameters.get("ma", ""))
            seconds = ALT_SVC_DEFAULT_SECONDS if age is None else age
            host = authority[1].strip("[]").lower().rstrip(".")
            found.append(Alternative(value[1], host, int(authority[2]), seconds, parameters.get("persist") == "1"))
        if position < len(alt_svc) and alt_svc[position] != ",":
            break
        position += 1
    return tuple(found)


def leaving_seconds(alt_svc: str, host: str) -> int:
    """Return the longest time that an ``Alt-Svc`` header keeps clients on another host; 0 when it does not."""
    return max((x.seconds for x in alternatives(alt_svc) if x.leaves(host)), default=0)


def keep_alive_seconds(keep_alive: str) -> int:
    """Return ``timeout`` of a ``Keep-Alive`` header (RFC 2068 19.7.1.1), 0 when it is not told."""
    return _directive(keep_alive, "timeout")


def max_age_seconds(cache_control: str) -> int:
    """Return how long a browser may keep a response by ``Cache-Control`` (RFC 9111 5.2.2); 0 when it does not say."""
    names = {part.split("=", 1)[0].strip().lower() for part in cache_control.split(",")}
    if names & {"no-store", "no-cache"}:
        return 0
    return _directive(cache_control, "max-age")


def _directive(header: str, name: str) -> int:
    for part in header.split(","):
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return _delta_seconds(_unquoted(value.strip())) or 0
    return 0


def _delta_seconds(text: str) -> int | None:
    """Read delta-seconds; what is greater than 2**31 counts as that (RFC 9111 1.2.2)."""
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:11]), 2**31)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
