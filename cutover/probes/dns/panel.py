"""Which resolvers are polled: the built-in panel, a file, or the plan's own list.

The built-in panel is ``resolvers.tsv`` beside this module, a fact a line. One rule makes a member *required*: it
filters nothing, is one worldwide anycast service with plain DNS over IPv4 and IPv6 and DoH, and has been seen
answering on port 53 by lists other than the operator's own. Those seven operators are polled twice, over plain
DNS and over DoH, so that they still count where port 53 is intercepted. Everybody else is advisory, polled once
(plain IPv4, else DoH, else DoT): filtering variants, resolvers behind national filters, access networks, and
the many points of a single small operator. IPv6 addresses of dual-stack resolvers are left out: the resolver is
the same and its cache too.
"""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from cutover.errors import CutoverError
from cutover.observations.dns import Resolver, Tier, Transport
from cutover.probes.dns.engine import host_port

_COLUMNS = ("id", "operator", "tier", "address", "server_name", "country", "filtering", "flush_url")
_BY_WAY = ("ipv4", "ipv6", "doh_url", "dot_name")
"""Columns of lists that hold one operator's service a line; the first way that a line gives is used."""
_FACTS = ("variant", "topology", "ecs", "source", "notes")
_FORMS = 'write "192.0.2.1:53", "[2001:db8::1]:53", "tls://dns.example" or "https://dns.example/dns-query"'


def load_panel(resolvers: str | Sequence[str], base_dir: Path) -> tuple[Resolver, ...]:
    """Return the panel that a plan's ``dns.resolvers`` names.

    A file is a table like the built-in one: cells apart by tabs, a first line that names the columns, ``#`` for
    comments. Only ``address`` must be there, in the forms that a list has; ``id`` defaults to it, ``operator`` to
    the id, ``tier`` to required; ``server_name`` is the TLS name where ``tls://`` has an address. Lists of public
    resolvers have ``ipv4``, ``ipv6``, ``doh_url`` and ``dot_name`` instead, several addresses apart by commas: a
    line is then polled at all its IPv4 addresses, else its IPv6 ones, DoH, DoT, and a resolver that filters is
    advisory. A file without a first line that names columns is one resolver a line.

    Args:
        resolvers: ``"builtin"``, the path of a TSV file, or the entries of a list (all required, each its own
            operator).
        base_dir: the plan's folder, from which a relative path starts.

    Raises:
        CutoverError: an entry cannot be read, is there twice, or there is none.
    """
    if resolvers == "builtin":
        text = resources.files(__package__).joinpath("resolvers.tsv").read_text(encoding="utf-8")
        return _checked(_from_table(text, "resolvers.tsv"), "resolvers.tsv")
    if isinstance(resolvers, str):
        path = base_dir / resolvers
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise CutoverError(
                f"dns.resolvers: {path} cannot be read: {reason}", 'name a TSV file, "builtin", or a list of addresses'
            ) from None
        return _checked(_from_table(text, str(path)), f"dns.resolvers: {path}")
    return _checked([_resolver(entry, f"dns.resolvers: {entry!r}") for entry in resolvers], "dns.resolvers")


def _from_table(text: str, where: str) -> list[Resolver]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines and _is_entry(lines[0]):
        return [_resolver(line, f"{where}: {line.strip()!r}") for line in lines]
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    by_way = "address" not in header and any(column in header for column in _BY_WAY)
    known = (*_COLUMNS, *_BY_WAY, *_FACTS) if by_way else _COLUMNS
    unknown = [column for column in header if column not in known]
    if unknown or not ("address" in header or by_way):
        raise CutoverError(
            f"{where}: the first line must name the columns, separated by tabs"
            + (f"; {unknown[0]!r} is none of them" if unknown else "; 'address' is missing"),
            f"known columns: {', '.join(known)}",
        )
    found = []
    for number, cells in enumerate(reader, 2):
        at = f"{where}: line {number}"
        if len(cells) > len(header):
            raise CutoverError(f"{at}: more cells than columns", "separate the cells by one tab each")
        row = dict(zip(header, cells, strict=False))
        filters = row.get("filtering") not in {None, "", "none"}
        tier = row.get("tier") or (Tier.ADVISORY if by_way and filters else Tier.REQUIRED).value
        if tier not in tuple(Tier):
            raise CutoverError(f"{at}: tier {tier!r}", "write required or advisory")
        found += [
            _resolver(each.get("address", ""), at, each, Tier(tier)) for each in (_ways(row) if by_way else (row,))
        ]
    return found


def _is_entry(line: str) -> bool:
    try:
        _parse(line.strip(), "")
    except CutoverError:
        return False
    return True


def _ways(row: dict[str, str]) -> list[dict[str, str]]:
    """Return a line's resolvers: each address of the first way that it gives."""
    forms = {"dot_name": "tls://{}"}
    for column in _BY_WAY:
        entries = [x.strip() for x in row.get(column, "").split(",") if x.strip()]
        if entries:
            name = row.get("id") or row.get("operator") or entries[0]
            ids = [name, *(f"{name}/{number}" for number in range(2, len(entries) + 1))]
            return [
                {
                    **row,
                    "id": each,
                    "operator": row.get("operator") or name,
                    "address": forms.get(column, "{}").format(x),
                }
                for each, x in zip(ids, entries, strict=True)
            ]
    return [row]


def _resolver(entry: str, where: str, row: dict[str, str] | None = None, tier: Tier = Tier.REQUIRED) -> Resolver:
    row = row or {}
    transport, address = _parse(entry.strip(), where)
    name = row.get("id") or entry.strip()
    return Resolver(
        id=name,
        operator=row.get("operator") or name,
        transport=transport,
        address=address,
        tier=tier,
        server_name=row.get("server_name", ""),
        country=row.get("country", ""),
        filtering=row.get("filtering") or "none",
        flush_url=row.get("flush_url", ""),
    )


def _parse(entry: str, where: str) -> tuple[Transport, str]:
    """Return how and where a list's entry is asked."""
    if not entry:
        raise CutoverError(f"{where}: no address", _FORMS)
    try:
        if entry.startswith("https://"):
            parts = urlsplit(entry)
            if not parts.hostname or parts.username or parts.fragment or parts.port == 0:
                raise CutoverError(f"{where}: not a DoH URL", _FORMS)
            return Transport.HTTPS, entry
        if entry.startswith("tls://"):
            parts = urlsplit(entry)
            if not parts.hostname or parts.path or parts.query or parts.username or parts.port == 0:
                raise CutoverError(f"{where}: not a DoT server", _FORMS)
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return Transport.TLS, f"{host}:{parts.port or 853}"
        return Transport.PLAIN, _plain(entry)
    except ValueError:
        raise CutoverError(f"{where}: not an address", _FORMS) from None


def _plain(entry: str) -> str:
    """Return ``address:port`` in canonical text; port 53 when it names none."""
    try:
        ip, port = ipaddress.ip_address(entry), 53
    except ValueError:
        try:
            host, port = host_port(entry)
        except CutoverError:
            raise ValueError from None
        ip = ipaddress.ip_address(host)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _checked(members: Iterable[Resolver], where: str) -> tuple[Resolver, ...]:
    panel = tuple(members)
    if not panel:
        raise CutoverError(f"{where}: the panel is empty", 'name resolvers, or leave it out for "builtin"')
    places: set[tuple[Transport, str, str]] = set()
    ids: set[str] = set()
    for member in panel:
        place = (member.transport, member.address, member.server_name)
        if place in places or member.id in ids:
            raise CutoverError(f"{where}: {member.id} is there twice", "name every resolver once")
        places.add(place)
        ids.add(member.id)
    return panel
