"""The engine, the panel and a round against real resolvers (Unbound), over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.observations.dns import Outcome, Reply, Resolver, Tier, Transport
from cutover.probes.dns.calibration import calibrate
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.panel import load_panel
from cutover.probes.dns.poll import poll
from tests.world.authority import Authority
from tests.world.origin import CertificateAuthority
from tests.world.resolvers import Unbound

NAME = "www.example.com."


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with Authority() as made:
        made.add_zone("example.com")
        made.set_records("example.com", "www", "CNAME", 300, ["app.example.com."])
        made.set_records("example.com", "app", "A", 60, ["127.0.0.10", "127.0.0.11"])
        many = [f"127.1.0.{number}" for number in range(100)]
        made.set_records("example.com", "many", "A", 60, many)
        yield made


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[CertificateAuthority, Path]:
    authority = CertificateAuthority()
    return authority, authority.save(tmp_path_factory.mktemp("ca") / "ca.pem")


@pytest.fixture(scope="module")
def unbound(authority: Authority, ca: tuple[CertificateAuthority, Path]) -> Iterator[Unbound]:
    with Unbound(authority, tls=ca[0]) as made:
        yield made


def members(unbound: Unbound) -> list[Resolver]:
    host, port = unbound.tls_at.rsplit(":", 1)
    url, name = unbound.https_url, unbound.server_name
    required = Tier.REQUIRED
    return [
        Resolver("plain", "p", Transport.PLAIN, unbound.at, required),
        Resolver("tls", "t", Transport.TLS, f"{host}:{port}", required, server_name=name),
        Resolver("tls by address", "a", Transport.TLS, unbound.tls_at, required),
        Resolver("https", "h", Transport.HTTPS, url, required),
    ]


def asked(panel: list[Resolver], ca_file: Path | None, name: str = NAME, rtype: str = "A") -> dict[str, Reply]:
    async def run() -> dict[str, Reply]:
        async with Engine(ca_files=[ca_file] if ca_file else []) as engine:
            (seen,) = await poll(engine, panel, [(name, rtype)])
        return {answer.resolver: answer.reply for answer in seen.answers}

    return asyncio.run(run())


def test_every_transport_gives_the_same_answer(unbound: Unbound, ca: tuple[CertificateAuthority, Path]) -> None:
    replies = asked(members(unbound), ca[1])
    for reply in replies.values():
        assert reply.outcome is Outcome.ANSWERED, reply
        assert not reply.authoritative
        assert [(r.owner, r.rtype) for r in reply.answer] == [
            (NAME, "CNAME"),
            ("app.example.com.", "A"),
            ("app.example.com.", "A"),
        ]
        assert {r.data for r in reply.answer} == {"app.example.com.", "127.0.0.10", "127.0.0.11"}
        assert all(r.ttl <= 300 for r in reply.answer)


def test_answers_too_long_for_udp(unbound: Unbound, ca: tuple[CertificateAuthority, Path]) -> None:
    replies = asked(members(unbound), ca[1], "many.example.com.")
    assert {len(reply.answer) for reply in replies.values()} == {100}


def test_no_such_name_and_no_such_record(unbound: Unbound, ca: tuple[CertificateAuthority, Path]) -> None:
    missing = asked(members(unbound), ca[1], "nothing.example.com.")
    assert {reply.rcode for reply in missing.values()} == {"NXDOMAIN"}
    empty = asked(members(unbound), ca[1], "www.example.com.", "AAAA")
    for reply in empty.values():
        assert [r.rtype for r in reply.answer] == ["CNAME"]
        assert [r.rtype for r in reply.authority] == ["SOA"]


def test_private_ca_is_not_trusted_unless_given(unbound: Unbound) -> None:
    replies = asked(members(unbound), None)
    assert replies["plain"].outcome is Outcome.ANSWERED
    for name in ("tls", "tls by address", "https"):
        assert replies[name].outcome is Outcome.UNREACHABLE
        assert "certificate" in replies[name].error.lower()


def test_remaining_ttl_counts_down_at_a_resolver(authority: Authority, unbound: Unbound) -> None:
    authority.set_records("example.com", "aging", "A", 60, ["127.0.0.10"])
    plain = members(unbound)[:1]

    async def run() -> list[int]:
        async with Engine() as engine:
            ttls = []
            for wait in (1.2, 0):
                (seen,) = await poll(engine, plain, [("aging.example.com.", "A")])
                ttls.append(seen.answers[0].reply.answer[0].ttl)
                await asyncio.sleep(wait)
        return ttls

    first, second = asyncio.run(run())
    assert first == 60
    assert second in (58, 59)


def test_hundred_questions_over_one_https_connection(unbound: Unbound, ca: tuple[CertificateAuthority, Path]) -> None:
    async def run() -> set[Outcome]:
        async with Engine(ca_files=[ca[1]]) as engine:
            https = [member for member in members(unbound) if member.transport is Transport.HTTPS]
            seen = await poll(engine, https, [(NAME, "A")] * 100, deadline=30.0)
        return {answer.reply.outcome for each in seen for answer in each.answers}

    assert asyncio.run(run()) == {Outcome.ANSWERED}


def test_real_servers_in_a_panel(authority: Authority, unbound: Unbound) -> None:
    async def run(entries: list[str]) -> None:
        async with Engine() as engine:
            seen = await calibrate(engine, load_panel(entries, Path()), "example.com.", "SOA")
            assert [member.dropped for member in seen.members] == [""]

    asyncio.run(run([unbound.at]))
    for address in authority.at("example.com"):
        with pytest.raises(CutoverError, match="is an authoritative server"):
            asyncio.run(run([address]))
