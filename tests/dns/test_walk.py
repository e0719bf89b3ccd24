"""Walking through hostile delegations: upward, endless, circular, with glue that is not theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dns.flags
import dns.message
import dns.rrset
import pytest

from cutover.errors import CutoverError
from cutover.probes.dns import walk
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.names import ancestors, canonical, is_below, parent
from cutover.probes.dns.walk import MAX_SERVERS, Walker, Zone
from tests.dns.servers import Handler, Server
from tests.world.process import common_port

ROOT, TLD, VICTIM, EVIL = "127.0.9.1", "127.0.9.2", "127.0.9.3", "127.0.9.66"


def refer(zone: str, *servers: str, glue: dict[str, str] | None = None) -> Handler:
    """Refer every question to the servers of ``zone``."""

    def handle(wire: bytes) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(wire))
        message.authority.append(dns.rrset.from_text(zone, 60, "IN", "NS", *servers))
        for name, address in (glue or {}).items():
            message.additional.append(dns.rrset.from_text(name, 60, "IN", "A", address))
        return [message.to_wire(max_size=65535)]

    return handle


def serve(*lines: str, zone: str) -> Handler:
    """Answer with authority from lines ``owner type data``; everything else has no data."""

    def handle(wire: bytes) -> list[bytes]:
        query = dns.message.from_wire(wire)
        message = dns.message.make_response(query)
        message.flags |= dns.flags.AA
        asked = query.question[0]
        for line in lines:
            owner, rtype, data = line.split(" ", 2)
            if owner == asked.name.to_text() and rtype == dns.rdatatype.to_text(asked.rdtype):
                message.answer.append(dns.rrset.from_text(owner, 60, "IN", rtype, data))
        if not message.answer:
            message.authority.append(dns.rrset.from_text(zone, 60, "IN", "SOA", "ns. host. 1 2 3 4 60"))
        return [message.to_wire(max_size=65535)]

    return handle


def by_suffix(**handlers: Handler) -> Handler:
    """Choose the handler by the question's last label."""

    def handle(wire: bytes) -> list[bytes]:
        name = dns.message.from_wire(wire).question[0].name
        return handlers[name.labels[-2].decode()](wire)

    return handle


@contextmanager
def tree(**handlers: Handler) -> Iterator[dict[str, Server]]:
    """Run servers at the addresses ``root``, ``tld``, ``victim``, ``evil``, on one port."""
    hosts = {"root": ROOT, "tld": TLD, "victim": VICTIM, "evil": EVIL}
    port = common_port(list(hosts.values()))
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Server(handler, host=hosts[name], port=port))
            for name, handler in handlers.items()
        }


def find(servers: dict[str, Server], name: str, *, budget: int = 300) -> tuple[Zone, int]:
    async def run() -> tuple[Zone, int]:
        async with Engine() as engine:
            walker = Walker(engine, roots=[servers["root"].address], budget=budget, deadline=1.0)
            zone = await walker.zone_of(canonical(name))
            return zone, walker.asked

    return asyncio.run(run())


def test_plain_delegation() -> None:
    with tree(root=refer("example.", "ns.example.", glue={"ns.example.": TLD}), tld=serve(zone="example.")) as servers:
        zone, _ = find(servers, "a.b.example")
    assert (zone.name, [server.name for server in zone.servers], zone.error) == ("example.", ["ns.example."], "")


@pytest.mark.parametrize("zone", [".", "com.", "other.example.", "deep.a.example."])
def test_referral_that_does_not_lead_on_is_lame(zone: str) -> None:
    root = refer("example.", "ns.example.", glue={"ns.example.": TLD})
    with tree(root=root, tld=refer(zone, "ns.example.", glue={"ns.example.": TLD})) as servers:
        found, asked = find(servers, "a.example")
    assert "lame for example." in found.error
    assert asked < 10


def test_too_many_name_servers_are_bounded() -> None:
    names = [f"ns{number}.nowhere{number}.example." for number in range(90)]
    root = refer("example.", "ns.example.", glue={"ns.example.": TLD})
    first = serve(zone="example.")

    def tld(wire: bytes) -> list[bytes]:
        name = dns.message.from_wire(wire).question[0].name.to_text()
        return refer("a.example.", *names)(wire) if name.endswith("a.example.") else first(wire)

    with tree(root=root, tld=tld) as servers:
        found, asked = find(servers, "www.a.example")
    assert len(found.homeless) == MAX_SERVERS
    assert "no name server of a.example. has an address" in found.error
    assert asked < 20 * MAX_SERVERS


def test_name_servers_whose_addresses_hang_on_each_other() -> None:
    root = by_suffix(
        one=refer("one.", "ns.two."),
        two=refer("two.", "ns.one."),
    )
    with tree(root=root) as servers:
        found, asked = find(servers, "www.one")
    assert "no name server of one. has an address: ns.two." in found.error
    assert asked < 30


def test_glue_of_a_foreign_name_is_not_believed() -> None:
    """A server of ``example.`` may not say where ``ns.other.`` is; the root's way to it is taken instead."""
    evil_glue = refer("victim.example.", "ns.other.", glue={"ns.other.": EVIL})
    root = by_suffix(
        example=refer("example.", "ns.example.", glue={"ns.example.": TLD}),
        other=refer("other.", "a.ns.other.", glue={"a.ns.other.": VICTIM}),
    )
    victim = serve(f"ns.other. A {VICTIM}", zone="other.")
    with tree(root=root, tld=evil_glue, victim=victim, evil=serve(zone=".")) as servers:
        found, _ = find(servers, "victim.example")
    assert [server.address.split(":")[0] for server in found.servers] == [VICTIM]
    assert servers["evil"].received == []


def test_budget_ends_a_walk() -> None:
    root = refer("example.", "ns.example.", glue={"ns.example.": TLD})
    with tree(root=root, tld=serve(zone="example.")) as servers, pytest.raises(walk.BudgetError):
        find(servers, "a.b.c.d.e.f.example", budget=4)


def test_servers_without_a_route_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_family_has_route", lambda version: False)
    assert walk.has_route("127.0.0.1:53")
    assert walk.has_route("[::1]:53")
    assert not walk.has_route("[2001:db8::1]:53")

    async def run() -> Zone:
        async with Engine() as engine:
            return await Walker(engine).zone_of("example.com.")

    assert asyncio.run(run()).error == "this machine has no route to any root server"


def test_given_authorities_win_over_given_roots() -> None:
    given = {"Example.com": ["127.0.0.9:1"], "app.example.com.": ["127.0.0.9:2"]}

    async def run(name: str) -> Zone:
        async with Engine() as engine:
            return await Walker(engine, roots=["127.0.0.9:3"], authorities=given).zone_of(name)

    assert asyncio.run(run("x.example.com.")).name == "example.com."
    assert asyncio.run(run("x.app.example.com.")).servers[0].address == "127.0.0.9:2"
    assert asyncio.run(run("notexample.com.")).error.startswith("no server of .")


def test_names() -> None:
    assert canonical("WWW.Example.COM") == "www.example.com."
    assert canonical("bücher.example") == "xn--bcher-kva.example."
    assert parent("a\\.b.example.") == "example."
    assert parent("example.") == parent(".") == "."
    assert ancestors("a.b.c.") == ["c.", "b.c.", "a.b.c."]
    assert is_below("a.b.", "b.")
    assert is_below("b.", "b.")
    assert is_below("b.", ".")
    assert not is_below("ab.", "b.")
    with pytest.raises(CutoverError):
        canonical("a..b")


def test_roots_that_are_silent_are_asked_once_a_round() -> None:
    asked: list[str] = []

    def silent(wire: bytes) -> list[bytes]:
        asked.append(dns.message.from_wire(wire).question[0].name.to_text())
        return []

    async def run(roots: list[str]) -> list[Zone]:
        async with Engine() as engine:
            walker = Walker(engine, roots=roots, deadline=0.2)
            return [await walker.zone_of(f"{name}.example.com.") for name in ("a", "b", "c")]

    with ExitStack() as stack:
        servers = [stack.enter_context(Server(silent, host=f"127.0.9.{number}")) for number in range(1, 8)]
        zones = asyncio.run(run([server.address for server in servers]))
        packets = [len(server.received) for server in servers]
    assert all("no server of . tells where com. is" in zone.error for zone in zones)
    assert set(asked) == {"com."}
    assert min(packets) >= 1, "every one of them"
    assert max(packets) <= 3, "resent as one question is, and not asked anew for each name"
