"""Host names as text: lower case, with the final dot, labels apart at unescaped dots."""

from __future__ import annotations

import dns.exception
import dns.name

from cutover.errors import CutoverError
from cutover.probes.dns.wire import to_text


def canonical(name: str) -> str:
    """Return ``name`` in lower case with the final dot.

    Raises:
        CutoverError: it is no domain name.
    """
    try:
        return to_text(dns.name.from_text(name))
    except (dns.exception.DNSException, ValueError) as error:
        raise CutoverError(f"{name!r} is no domain name: {error}", "give a host name like app.example.com") from error


def parent(name: str) -> str:
    """Return the name one label up; the root's is the root."""
    above = dns.name.from_text(name)
    return "." if above == dns.name.root else to_text(above.parent())


def ancestors(name: str) -> list[str]:
    """Return the names from the top-level domain down to ``name`` itself."""
    found = []
    while name != ".":
        found.append(name)
        name = parent(name)
    return found[::-1]


def is_below(name: str, zone: str) -> bool:
    """Tell whether ``name`` is ``zone`` or below it."""
    return zone == "." or name == zone or name.endswith("." + zone)
