"""The panel: which resolvers are polled, and which of them answer at all.

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
from collections.abc import Collection, Iterable, Sequence
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from cutover.clock import Clock, SystemClock
from cutover.errors import CutoverError, PlanError
from cutover.observations.dns import Calibration, Outcome, PanelSeen, Reply, Resolver, Tier, Transport
from cutover.probes.dns.engine import DEADLINE, Engine, Question, Target, host_port

_COLUMNS = ("id", "operator", "tier", "address", "server_name", "country", "filtering", "flush_url")
_FORMS = 'write "192.0.2.1:53", "[2001:db8::1]:53", "tls://dns.example" or "https://dns.example/dns-query"'


def load_panel(resolvers: str | Sequence[str], base_dir: Path) -> tuple[Resolver, ...]:
    """Return the panel that a plan's ``dns.resolvers`` names.

    A file is a table like the built-in one: cells apart by tabs, a first line that names the columns, ``#`` for
    comments. Only ``address`` must be there, in the forms that a list has; ``id`` defaults to it, ``operator`` to
    the id, ``tier`` to required; ``server_name`` is the TLS name where ``tls://`` has an address.

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


async def calibrate(
    engine: Engine,
    resolvers: Sequence[Resolver],
    control_name: str,
    control_type: str,
    *,
    authorities: Collection[str] = (),
    declared: bool = False,
    stretched: str = "",
    asked: str = "",
    deadline: float = DEADLINE,
    clock: Clock | None = None,
) -> PanelSeen:
    """Ask every member the control question, and drop the advisory ones that do not answer it.

    Required members stay whatever they say: their silence must count.

    Args:
        engine: asks.
        resolvers: the panel as loaded.
        control_name: a name that is known to exist, with records of ``control_type``.
        control_type: for a list of resolvers: the SOA of the plan's zone.
        authorities: ``address:port`` of the zone's own servers, as far as they are known.
        declared: the plan names them (``dns.authorities``), so that they are known. Otherwise a member that speaks
            for the zone is one of them too, whatever its address: a hidden primary.
        stretched: put into the observation, see :func:`cutover.probes.dns.poll.stretched`.
        asked: put into the observation: what the panel was made of.
        deadline: seconds for each member.
        clock: stamps the observation.

    Raises:
        CutoverError: a required member is an authoritative server of the control's zone. It holds no cache, so
            that it would show the new side at once and prove nothing.
        PlanError: the same, where its address leaves no doubt.
    """
    replies = await engine.ask_all(
        [Question(Target.of(member), control_name, control_type, deadline=deadline) for member in resolvers]
    )
    members = []
    for member, reply in zip(resolvers, replies, strict=True):
        reason = _unfit(reply, control_name)
        if member.tier is Tier.REQUIRED:
            known = member.address in authorities
            if known or (not declared and _speaks_for(reply, control_name)):
                reason = "of the plan's zone" if known else f"answers with authority for {control_name}"
                raise (PlanError if known else CutoverError)(
                    f"dns.resolvers: {member.id} is an authoritative server ({reason}), not a resolver",
                    "take it out of dns.resolvers; authoritative servers are asked anyway",
                )
            reason = ""
        members.append(Calibration(member, reason))
    at = (clock or SystemClock()).now()
    control = f"{control_name} {control_type}"
    return PanelSeen(at=at, members=tuple(members), control=control, stretched=stretched, asked=asked)


def _speaks_for(reply: Reply, zone: str) -> bool:
    """Tell whether a reply to the SOA control is the zone's own word: authoritative, and with its SOA."""
    return reply.authoritative and any(x.rtype == "SOA" and x.owner == zone for x in reply.answer)


def _unfit(reply: Reply, name: str) -> str:
    """Return why a member is not to be polled, or ""."""
    if reply.outcome is not Outcome.ANSWERED:
        return reply.error or reply.outcome.value
    if reply.rcode != "NOERROR":
        return f"answered {reply.rcode} to the control question"
    if reply.authoritative:
        return f"answers with authority for {name}"
    return ""


def _from_table(text: str, where: str) -> list[Resolver]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    unknown = [column for column in header if column not in _COLUMNS]
    if "address" not in header or unknown:
        raise CutoverError(
            f"{where}: the first line must name the columns, separated by tabs"
            + (f"; {unknown[0]!r} is none of them" if unknown else "; 'address' is missing"),
            f"known columns: {', '.join(_COLUMNS)}",
        )
    found = []
    for number, cells in enumerate(reader, 2):
        at = f"{where}: line {number}"
        if len(cells) > len(header):
            raise CutoverError(f"{at}: more cells than columns", "separate the cells by one tab each")
        row = dict(zip(header, cells, strict=False))
        tier = row.get("tier") or Tier.REQUIRED.value
        if tier not in tuple(Tier):
            raise CutoverError(f"{at}: tier {tier!r}", "write required or advisory")
        found.append(_resolver(row.get("address", ""), at, row, Tier(tier)))
    return found


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
