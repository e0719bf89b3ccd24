"""What an alias record hides is found by asking the same resolver for the declared targets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import dns.message

from cutover.answers import Answer, Sides
from cutover.observations.dns import Resolver, Tier, Transport
from cutover.plan_values import Member
from cutover.probes.dns.aliases import uncover
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.poll import poll
from tests.dns.servers import Handler, Server, answer

NAME, OLD_TARGET, NEW_TARGET = "example.com.", "lb.porter.example.", "d111.cloudfront.net."
SIDES = Sides((Member.parse(OLD_TARGET),), (Member.parse(NEW_TARGET),))


def serving(addresses: Mapping[str, list[str]]) -> Handler:
    def handle(wire: bytes) -> list[bytes]:
        name = dns.message.from_wire(wire).question[0].name.to_text()
        return [answer(wire, *(f"{name} A {address}" for address in addresses.get(name, [])))]

    return handle


def uncovered(*networks: Mapping[str, list[str]]) -> tuple[list[str], list[Answer], list[int]]:
    """The alias found and the class, for one resolver a network; and how often each was asked."""
    servers = [Server(serving(each), host=f"127.0.0.{number}") for number, each in enumerate(networks, 1)]

    async def run() -> list[tuple[str, Answer]]:
        members = [Resolver(x.address, x.address, Transport.PLAIN, x.address, Tier.REQUIRED) for x in servers]
        async with Engine() as engine:
            seen = await poll(engine, members, [(NAME, "A")])
            (found,) = await uncover(engine, members, seen, lambda name, rtype, reply: SIDES.behind_alias(reply, rtype))
        return [(x.alias, SIDES.of_reply(x.reply, "A", x.alias)) for x in found.answers]

    for server in servers:
        server.__enter__()
    try:
        found = asyncio.run(run())
    finally:
        for server in servers:
            server.__exit__(None, None, None)
    return [x for x, _ in found], [x for _, x in found], [len(x.received) for x in servers]


def test_each_resolver_is_compared_with_what_it_gives_for_the_targets() -> None:
    here = {NAME: ["192.0.2.1"], NEW_TARGET: ["192.0.2.1", "192.0.2.2"], OLD_TARGET: ["192.0.2.9"]}
    there = {NAME: ["192.0.2.77"], NEW_TARGET: ["192.0.2.77"], OLD_TARGET: ["192.0.2.9"]}
    behind = {NAME: ["192.0.2.9"], NEW_TARGET: ["192.0.2.1"], OLD_TARGET: ["192.0.2.9"]}
    aliases, classes, _ = uncovered(here, there, behind)
    assert aliases == [NEW_TARGET, NEW_TARGET, OLD_TARGET]
    assert classes == [Answer.NEW, Answer.NEW, Answer.OLD]


def test_an_address_that_no_target_has_or_both_have_is_not_new() -> None:
    stranger = {NAME: ["192.0.2.50", "192.0.2.1"], NEW_TARGET: ["192.0.2.1"], OLD_TARGET: ["192.0.2.9"]}
    both = {NAME: ["192.0.2.1"], NEW_TARGET: ["192.0.2.1"], OLD_TARGET: ["192.0.2.1"]}
    aliases, classes, _ = uncovered(stranger, both)
    assert aliases == ["", ""]
    assert classes == [Answer.OTHER, Answer.OTHER]


def test_an_answer_that_hides_nothing_costs_no_question() -> None:
    _, classes, asked = uncovered({})
    assert classes == [Answer.NODATA]
    assert asked == [1]
