"""A round of the panel: chains, hidden hops, rates, and the canary."""

from __future__ import annotations

import asyncio
import tracemalloc

import dns.message
import pytest

from cutover.observations.dns import InterceptionSeen, Outcome, Record, Reply, Resolver, Tier, Transport
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.interception import intercepted
from cutover.probes.dns.poll import poll, stretched
from tests.bench import dns_round
from tests.dns.servers import Handler, Server, answer, silent

NAME = "app.example.com."
CHAIN = {
    NAME: f"{NAME} CNAME lb.example.net.",
    "lb.example.net.": "lb.example.net. CNAME edge.example.org.",
    "edge.example.org.": "edge.example.org. A 192.0.2.1",
}


def member(server: Server, operator: str = "op") -> Resolver:
    return Resolver(server.address, operator, Transport.PLAIN, server.address, Tier.REQUIRED)


def one_hop(wire: bytes) -> list[bytes]:
    """Answer only what is at the very name, as a resolver that hides the rest of the chain."""
    name = dns.message.from_wire(wire).question[0].name.to_text()
    return [answer(wire, CHAIN[name], ttl=len(name))]


def asked(server: Server) -> list[str]:
    return [dns.message.from_wire(wire).question[0].name.to_text() for wire, _ in server.received]


def reply_of(handler: Handler, rtype: str = "A", *, deadline: float = 3.0) -> tuple[Reply, list[str]]:
    async def run(server: Server) -> Reply:
        async with Engine() as engine:
            seen = await poll(engine, [member(server)], [(NAME, rtype)], deadline=deadline)
        return seen[0].answers[0].reply

    with Server(handler) as server:
        return asyncio.run(run(server)), asked(server)


def test_every_member_is_asked_every_question() -> None:
    with Server(one_hop) as one, Server(one_hop, host="127.0.0.2") as two:

        async def run() -> list[tuple[str, str, list[str]]]:
            async with Engine() as engine:
                names = [("edge.example.org.", "A"), ("lb.example.net.", "A")]
                seen = await poll(engine, [member(one), member(two)], names)
            return [(each.name, each.rtype, [answer.resolver for answer in each.answers]) for each in seen]

        both = [one.address, two.address]
        assert asyncio.run(run()) == [("edge.example.org.", "A", both), ("lb.example.net.", "A", both)]


def test_hidden_hops_are_asked_for_at_the_same_resolver() -> None:
    reply, questions = reply_of(one_hop)
    assert reply.answer == (
        Record(NAME, "CNAME", len(NAME), "lb.example.net."),
        Record("lb.example.net.", "CNAME", 15, "edge.example.org."),
        Record("edge.example.org.", "A", 17, "192.0.2.1"),
    )
    assert questions == [NAME, "lb.example.net.", "edge.example.org."]


def test_whole_chain_is_asked_once() -> None:
    reply, questions = reply_of(lambda wire: [answer(wire, *CHAIN.values())])
    assert len(reply.answer) == 3
    assert questions == [NAME]


def test_target_without_such_a_record_hides_nothing() -> None:
    def nodata(wire: bytes) -> list[bytes]:
        message = dns.message.from_wire(answer(wire, CHAIN[NAME]))
        soa = dns.rrset.from_text("example.net.", 60, "IN", "SOA", "ns. host. 1 2 3 4 60")
        message.authority.append(soa)
        return [message.to_wire()]

    reply, questions = reply_of(nodata, "AAAA")
    assert ([record.rtype for record in reply.answer], questions) == (["CNAME"], [NAME])


def test_loop_behind_hidden_hops_ends() -> None:
    loop = {NAME: f"{NAME} CNAME b.example.", "b.example.": f"b.example. CNAME {NAME}"}

    def handler(wire: bytes) -> list[bytes]:
        return [answer(wire, loop[dns.message.from_wire(wire).question[0].name.to_text()])]

    reply, questions = reply_of(handler)
    assert len(reply.answer) == 2
    assert questions == [NAME, "b.example."]


def test_endless_hidden_hops_end() -> None:
    def handler(wire: bytes) -> list[bytes]:
        name = dns.message.from_wire(wire).question[0].name.to_text()
        return [answer(wire, f"{name} CNAME x{name}")]

    _, questions = reply_of(handler)
    assert len(questions) == 5


def test_hidden_hop_without_an_answer_is_no_answer_but_keeps_the_chain() -> None:
    def handler(wire: bytes) -> list[bytes]:
        return one_hop(wire) if dns.message.from_wire(wire).question[0].name.to_text() == NAME else []

    reply, _ = reply_of(handler, deadline=0.3)
    assert reply.outcome is Outcome.TIMEOUT
    assert [record.data for record in reply.answer] == ["lb.example.net."]
    assert reply.error == "lb.example.net.: no answer in 0.3 s"


def test_stretched_names_the_operator_that_makes_the_round_long() -> None:
    members = [
        Resolver(str(n), "Big" if n else "Small", Transport.PLAIN, f"127.0.0.1:{n}", Tier.ADVISORY) for n in range(43)
    ]
    text = stretched(members, 20, 10, 30)
    assert "42 resolvers of Big x 20 questions at 10 a second" in text
    assert "84 s" in text
    assert stretched(members, 20, 30, 30) == ""
    assert stretched([], 20, 10, 30) == stretched(members, 20, 0, 30) == ""


def canary(address: str) -> InterceptionSeen:
    async def run() -> InterceptionSeen:
        async with Engine() as engine:
            return await intercepted(engine, address, deadline=0.3)

    return asyncio.run(run())


def test_canary() -> None:
    with Server(one_hop) as nobody, Server(silent, host="127.0.0.2") as quiet:
        nobody.handler = lambda wire: [answer(wire, "example.com. A 192.0.2.1")]
        assert canary(nobody.address).answered
        nobody.handler = lambda wire: [b"anything at all"]
        assert canary(nobody.address).answered
        assert not canary(quiet.address).answered
    assert not canary("127.0.0.200").answered, "a closed port is no interception"
    assert canary("").canary == ""
    assert canary("no address").error


def test_memory_is_flat_and_the_bench_gates_on_equal_answers() -> None:
    with dns_round.Responders(10) as addresses:
        early, late = asyncio.run(dns_round.memory(addresses, 60))
        assert late < early * 1.1 + 50_000
        assert tracemalloc.is_tracing() is False
        assert asyncio.run(dns_round.compare(addresses, 1)) > 2


def test_bench_refuses_unequal_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_round, "answers_of", lambda seen: {})
    with dns_round.Responders(1) as addresses, pytest.raises(AssertionError):
        asyncio.run(dns_round.compare(addresses, 1))
