"""From the roots down to the servers of a name's zone, every cut on the way seen.

Only authoritative servers are asked, and without recursion: a new name must never be put to a public resolver
before it exists, since that would plant the negative answer that users then get.

With ``authorities`` the named zones are not walked to: the given servers are theirs. When ``authorities`` is
given and ``roots`` is not, no other server is ever asked, and a name outside those zones has an error instead
of servers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cutover.observations.dns import Outcome, Record, Reply, Transport
from cutover.probes.dns.engine import DEADLINE, Engine, Exchange, Question, Target, host_port
from cutover.probes.dns.hints import ROOT_SERVERS
from cutover.probes.dns.names import ancestors, canonical, is_below
from cutover.probes.dns.wire import parse, records

MAX_SERVERS = 16
"""Name servers of one delegation that are looked at; a hostile one may list hundreds (NXNSAttack)."""

_RACE = 3
_MAX_DEPTH = 4
_KEEP_TLD = 3600.0


class BudgetError(Exception):
    """A round may not ask more questions."""


class Server(NamedTuple):
    """One address of a name server; ``name`` is "" where only the address is known."""

    name: str
    address: str

    @property
    def label(self) -> str:
        """What people know it by."""
        return self.name or self.address


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone and how it was found.

    Attributes:
        source: ``"walk"`` or ``"authorities"``.
        parent: the zone that delegates to it; ``None`` when nobody was asked.
        servers: every address of every server that is asked.
        homeless: servers without an address, with the reason.
        parent_ns: the delegation as the parent gives it.
        error: why there are no servers, or "".
    """

    name: str
    source: str
    parent: Zone | None = None
    servers: tuple[Server, ...] = ()
    homeless: tuple[tuple[str, str], ...] = ()
    parent_ns: tuple[Record, ...] = ()
    error: str = ""


class Sections(NamedTuple):
    """A server's reply with everything that its packet held."""

    server: Server
    reply: Reply
    wire: bytes
    answer: list[Record]
    authority: list[Record]
    additional: list[Record]


class Walker:
    """Finds zones and asks their servers, with a memory of one round.

    Args:
        engine: asks.
        roots: ``address:port`` of root servers instead of the built-in hints. The servers below are asked at the
            port of the first: a private root has its whole tree there.
        authorities: per zone, ``address:port`` of the servers to ask instead of walking.
        budget: questions that one round may ask.
        deadline: seconds for one question.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        roots: Sequence[str] = (),
        authorities: Mapping[str, Sequence[str]] | None = None,
        budget: int = 10_000,
        deadline: float = DEADLINE,
    ) -> None:
        self._engine = engine
        self._deadline = deadline
        self._budget = budget
        self._left = budget
        self._port = host_port(roots[0])[1] if roots else 53
        given = authorities or {}
        self._covered = {
            canonical(name): Zone(canonical(name), "authorities", servers=tuple(Server("", a) for a in servers))
            for name, servers in given.items()
        }
        self._confined = bool(given) and not roots
        hints = [Server("", address) for address in roots] or [
            Server(name, self._at(address)) for name, addresses in ROOT_SERVERS for address in addresses
        ]
        self._hints = hints
        self._cuts: dict[tuple[str, str], Zone | None] = {}
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._kept_since = 0.0

    def begin_round(self) -> None:
        """Forget what was seen, but for the top-level domains' servers of the last hour; renew the budget."""
        now = asyncio.get_running_loop().time()
        if now - self._kept_since > _KEEP_TLD:
            self._cuts.clear()
            self._kept_since = now
        self._cuts = {
            key: zone for key, zone in self._cuts.items() if key[0] == "." and zone is not None and not zone.error
        }
        self._hosts.clear()
        self._left = self._budget

    @property
    def asked(self) -> int:
        """How many questions this round has asked."""
        return self._budget - self._left

    async def zone_of(self, name: str, depth: int = 0) -> Zone:
        """Return the zone that holds ``name``; its ``error`` says so when it cannot be found.

        Raises:
            BudgetError: the round's questions are used up.
        """
        covered = [zone for zone in self._covered if is_below(name, zone)]
        if covered:
            return self._covered[max(covered, key=len)]
        if self._confined:
            reason = f"zone of {name} is not in dns.authorities; its servers were not asked"
            return Zone("", "authorities", error=reason)
        zone = self._root_zone()
        for cut in [] if zone.error else ancestors(name):
            below = await self._cut(zone, cut, depth)
            if below is not None and below.error and not below.parent_ns and zone.name.count(".") > 1:
                break  # its servers are known, and shown to be silent; a top-level domain's are not asked one by one
            if below is not None:
                zone = below
            if zone.error:
                break
        return zone

    async def ask_each(self, questions: Sequence[tuple[Server, str, str, bool]]) -> list[Exchange]:
        """Ask many questions ``(server, name, type, dnssec_ok)`` at once; RD is not set.

        Raises:
            BudgetError: the round's questions are used up.
        """
        self._left -= len(questions)
        if self._left < 0:
            raise BudgetError(f"more than {self._budget} questions to authoritative servers in one round")
        return await self._engine.exchange_all(
            [
                Question(
                    Target(Transport.PLAIN, server.address),
                    name,
                    rtype,
                    recursion=False,
                    dnssec_ok=dnssec_ok,
                    deadline=self._deadline,
                )
                for server, name, rtype, dnssec_ok in questions
            ]
        )

    async def ask_any(self, zone: Zone, name: str, rtype: str, *, dnssec_ok: bool = False) -> Sections | str:
        """Return the first usable answer of any of a zone's servers, or why there is none.

        Three servers are asked, then all the others at once: silent ones do not hold up the others, and a network
        that lets no question out is known after two deadlines.

        Raises:
            BudgetError: the round's questions are used up.
        """
        servers = random.sample(zone.servers, len(zone.servers))
        reason = zone.error or f"{zone.name} has no server with an address"
        for some in filter(None, (servers[:_RACE], servers[_RACE:])):
            tasks = [asyncio.create_task(self._ask_one(zone, server, name, rtype, dnssec_ok)) for server in some]
            try:
                for finished in asyncio.as_completed(tasks):
                    outcome = await finished
                    if isinstance(outcome, Sections):
                        return outcome
                    reason = outcome
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return reason

    async def addresses_of(self, host: str, depth: int = 0) -> tuple[str, ...]:
        """Return a name server's addresses, asked of its own zone's servers; empty when there is none."""
        if host in self._hosts:
            return self._hosts[host]
        if depth > _MAX_DEPTH:
            return ()
        self._hosts[host] = ()  # a server whose address hangs on itself has none
        zone = await self.zone_of(host, depth + 1)
        found: list[str] = []
        if not zone.error:
            for outcome in await asyncio.gather(*(self.ask_any(zone, host, rtype) for rtype in ("A", "AAAA"))):
                if isinstance(outcome, Sections):
                    found += [r.data for r in outcome.answer if r.owner == host and r.rtype in ("A", "AAAA")]
        self._hosts[host] = tuple(found)
        return self._hosts[host]

    async def with_servers(self, zone: Zone, hosts: Sequence[str]) -> Zone:
        """Return the zone with the addresses of further servers that it names itself."""
        known = {server.name for server in zone.servers} | {name for name, _ in zone.homeless}
        servers, homeless = await self._settle([host for host in hosts if host not in known], {}, 0)
        return replace(zone, servers=zone.servers + servers, homeless=zone.homeless + homeless)

    def _root_zone(self) -> Zone:
        servers = tuple(server for server in self._hints if has_route(server.address))
        error = "" if servers else "this machine has no route to any root server"
        return Zone(".", "walk", servers=servers, error=error)

    async def _ask_one(self, zone: Zone, server: Server, name: str, rtype: str, dnssec_ok: bool) -> Sections | str:
        exchange = (await self.ask_each([(server, name, rtype, dnssec_ok)]))[0]
        reply = exchange.reply
        who = f"{server.label} ({server.address})" if server.name else server.address
        if reply.outcome is not Outcome.ANSWERED or exchange.wire is None:
            return f"{who}: {reply.error}"
        if reply.rcode not in ("NOERROR", "NXDOMAIN"):
            return f"{who}: answered {reply.rcode} for {name}"
        message = parse(exchange.wire)
        seen = Sections(server, reply, exchange.wire, *(records(section) for section in message.sections[1:]))
        if not reply.authoritative and not delegation(seen, zone.name, name):
            return f"{who}: lame for {zone.name}"
        return seen

    async def _cut(self, zone: Zone, name: str, depth: int) -> Zone | None:
        """Return the zone that ``name`` is the apex of, as delegated by ``zone``; None when it is none."""
        key = (zone.name, name)
        if key not in self._cuts:
            seen = await self.ask_any(zone, name, "NS")
            if isinstance(seen, str):
                error = f"no server of {zone.name} tells where {name} is; {seen}"
                return self._cuts.setdefault(key, Zone(name, "walk", zone, error=error))
            ns = delegation(seen, zone.name, name) or [r for r in seen.answer if r.owner == name and r.rtype == "NS"]
            below: Zone | None = None
            if ns:
                glue: dict[str, list[str]] = {}
                for record in seen.additional:
                    if record.rtype in ("A", "AAAA") and is_below(record.owner, zone.name):
                        glue.setdefault(record.owner, []).append(record.data)
                hosts = sorted({record.data for record in ns})[:MAX_SERVERS]
                servers, homeless = await self._settle(hosts, glue, depth)
                error = "" if servers else f"no name server of {name} has an address: {', '.join(hosts)}"
                below = Zone(ns[0].owner, "walk", zone, servers, homeless, tuple(sorted(ns)), error)
            self._cuts[key] = below
        return self._cuts[key]

    async def _settle(
        self, hosts: Sequence[str], glue: Mapping[str, Sequence[str]], depth: int
    ) -> tuple[tuple[Server, ...], tuple[tuple[str, str], ...]]:
        """Return every reachable address of the hosts, and those without one."""
        servers: list[Server] = []
        homeless: list[tuple[str, str]] = []
        for host in hosts:
            addresses = glue.get(host) or await self.addresses_of(host, depth)
            here = [Server(host, self._at(address)) for address in dict.fromkeys(addresses)]
            routed = [server for server in here if has_route(server.address)]
            servers += routed
            if not here:
                homeless.append((host, "has no address"))
            elif not routed:
                homeless.append((host, "has only addresses of a family that this machine has no route for"))
        return tuple(servers), tuple(homeless)

    def _at(self, address: str) -> str:
        return f"[{address}]:{self._port}" if ":" in address else f"{address}:{self._port}"


def delegation(seen: Sections, zone: str, name: str) -> list[Record]:
    """Return the NS records by which ``zone`` refers on to a zone below it that holds ``name``, or none.

    A referral upwards, or sideways, is a lame server's and counts as none.
    """
    if seen.reply.rcode != "NOERROR" or seen.answer:
        return []
    ns = [r for r in seen.authority if r.rtype == "NS" and r.owner != zone and is_below(r.owner, zone)]
    deepest = [r for r in ns if is_below(name, r.owner)]
    return [r for r in deepest if r.owner == deepest[0].owner]


def has_route(address: str) -> bool:
    """Tell whether this machine could send to ``address:port`` at all; nothing is sent.

    Only the family counts: on a network without IPv6 a server's IPv6 address says nothing about the server.
    """
    host = host_port(address)[0]
    ip = ipaddress.ip_address(host)
    return ip.is_loopback or _family_has_route(ip.version)


def _family_has_route(version: int) -> bool:
    family, anywhere = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((anywhere, 53))
    except OSError:
        return False
    return True
