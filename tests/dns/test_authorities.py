"""The authoritative side on real servers (Knot, BIND): delegation, hops, agreement, DNSSEC, CAA, wildcards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest

from cutover.errors import CutoverError
from cutover.observations.base import Observation
from cutover.observations.dns import AuthorityAnswers, NameSeen, Outcome, TargetAddresses, ZoneSeen
from cutover.probes.dns.authorities import AuthorityRound, DeclaredTarget, discover
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.walk import Walker
from tests.world.authority import Authority

NAME = "app.example.com."
NS1, NS2 = "ns1.dns-host.example.", "ns2.dns-host.example."
Kind = TypeVar("Kind", bound=Observation)


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    """One world for the tests that only read; each zone is one case."""
    with Authority() as made:
        made.add_zone("example.com", delegation_ttl=86400, ns_ttl=7200, soa_ttl=900, minimum=60)
        made.add_zone("vendor.example", servers=("ns3", "ns4"))
        made.edit(
            "example.com",
            {
                ("app", "A"): (3600, ("127.0.0.10",)),
                ("www", "CNAME"): (300, ("edge.vendor.example.",)),
                ("@", "CAA"): (60, ('0 issue "ca.example"',)),
                ("loop", "CNAME"): (60, ("pool.example.com.",)),
                ("pool", "CNAME"): (60, ("loop.example.com.",)),
                ("dead", "CNAME"): (60, ("nowhere.vendor.example.",)),
                ("away", "CNAME"): (60, ("host.elsewhere.example.",)),
                ("lost", "CNAME"): (60, ("host.lost.example.",)),
                ("*.wild", "A"): (60, ("127.0.0.77",)),
                ("own.wild", "A"): (60, ("127.0.0.78",)),
                ("h", "HTTPS"): (60, ("1 . alpn=h2 ipv4hint=127.0.0.10",)),
                **{(f"c{n}", "CNAME"): (60, (f"c{n + 1}.example.com.",)) for n in range(20)},
            },
        )
        made.edit(
            "vendor.example",
            {
                ("edge", "A"): (20, ("127.0.0.20", "127.0.0.21")),
                ("edge", "AAAA"): (20, ("::1",)),
                ("edge", "CAA"): (60, ('0 issue "vendor-ca.example"',)),
            },
        )
        made.edit("example", {("lost.example.", "NS"): (60, ("ns.lost.example.",))})
        yield made


def see(
    authority: Authority,
    *names: str,
    targets: Sequence[DeclaredTarget] = (),
    confined: bool = False,
    deadline: float = 3.0,
    budget: int = 10_000,
) -> list[Observation]:
    async def run() -> list[Observation]:
        async with Engine() as engine:
            given = {zone: authority.at(zone) for zone in ("example.com", "vendor.example") if authority.at(zone)}
            walker = Walker(
                engine,
                roots=() if confined else authority.roots,
                authorities=given if confined else {},
                deadline=deadline,
                budget=budget,
            )
            return await AuthorityRound(walker).observe([(name, ("A", "AAAA")) for name in names], targets)

    return asyncio.run(run())


def only(kind: type[Kind], seen: Sequence[Observation]) -> Kind:
    (found,) = (each for each in seen if isinstance(each, kind))
    return found


def zone_of(seen: Sequence[Observation], zone: str) -> ZoneSeen:
    return next(each for each in seen if isinstance(each, ZoneSeen) and each.zone == zone)


def answers(seen: Sequence[Observation], name: str, rtype: str) -> AuthorityAnswers:
    return next(e for e in seen if isinstance(e, AuthorityAnswers) and (e.name, e.rtype) == (name, rtype))


def data(seen: Sequence[Observation], name: str, rtype: str) -> dict[str, list[tuple[int, str]]]:
    """Return TTL and data by server."""
    return {
        answer.server: sorted((record.ttl, record.data) for record in answer.reply.answer)
        for answer in answers(seen, name, rtype).answers
    }


def test_walk_from_the_root(authority: Authority) -> None:
    seen = see(authority, "App.Example.com")
    zone = zone_of(seen, "example.com.")
    assert (zone.source, zone.parent, zone.error, zone.dnssec) == ("walk", "com.", "", "unsigned")
    assert [(r.ttl, r.data) for r in zone.parent_ns] == [(86400, NS1), (86400, NS2)]
    assert [(r.ttl, r.data) for r in zone.child_ns] == [(7200, NS1), (7200, NS2)]
    assert (zone.soa_ttl, zone.soa_minimum) == (900, 60)
    servers = authority.servers
    assert sorted((s.server, s.address, s.lame, s.ns) for s in zone.servers) == [
        (NS1, servers["ns1"].at, "", (NS1, NS2)),
        (NS2, servers["ns2"].at, "", (NS1, NS2)),
    ]
    assert {s.serial for s in zone.servers} == {servers["ns1"].zones["example.com."].serial}
    assert {s.primary for s in zone.servers} == {NS1}
    name = only(NameSeen, seen)
    assert (name.name, name.owners, name.zones, name.apex) == (NAME, (NAME,), ("example.com.",), "example.com.")
    assert (name.wildcard, name.error, name.caa_error) == (False, "", "")
    assert name.caa == ('example.com. 0 issue "ca.example"',)
    assert data(seen, NAME, "A") == {NS1: [(3600, "127.0.0.10")], NS2: [(3600, "127.0.0.10")]}
    assert {each.rtype for each in seen if isinstance(each, AuthorityAnswers)} == {"A", "AAAA", "CNAME", "HTTPS"}
    assert all(answer.reply.authoritative for answer in answers(seen, NAME, "AAAA").answers)


def test_every_hop_is_asked_of_its_own_zone(authority: Authority) -> None:
    seen = see(authority, "www.example.com")
    name = only(NameSeen, seen)
    assert name.owners == ("www.example.com.", "edge.vendor.example.")
    assert name.zones == ("example.com.", "vendor.example.")
    first, second = answers(seen, "www.example.com.", "A"), answers(seen, "edge.vendor.example.", "A")
    assert (first.hop, first.in_plan, first.of) == (1, True, "www.example.com.")
    assert (second.hop, second.in_plan, second.of, second.zone) == (2, False, "www.example.com.", "vendor.example.")
    assert set(data(seen, "edge.vendor.example.", "A")) == {"ns3.dns-host.example.", "ns4.dns-host.example."}
    assert data(seen, "edge.vendor.example.", "AAAA")["ns3.dns-host.example."] == [(20, "::1")]
    assert name.caa == ('edge.vendor.example. 0 issue "vendor-ca.example"',), "CAA follows the CNAME (RFC 8659)"


def test_https_records_are_seen(authority: Authority) -> None:
    assert data(see(authority, "h.example.com"), "h.example.com.", "HTTPS")[NS1] == [
        (60, '1 . alpn="h2" ipv4hint="127.0.0.10"')
    ]


def test_declared_targets(authority: Authority) -> None:
    aims = [
        DeclaredTarget(NAME, "old", "edge.vendor.example."),
        DeclaredTarget(NAME, "new", "www.example.com."),
        DeclaredTarget(NAME, "new", "host.lost.example."),
    ]
    seen = [each for each in see(authority, NAME, targets=aims) if isinstance(each, TargetAddresses)]
    both = ("127.0.0.20", "127.0.0.21", "::1")
    assert [(each.side, each.target, each.addresses) for each in seen] == [
        ("old", "edge.vendor.example.", both),
        ("new", "www.example.com.", both),
        ("new", "host.lost.example.", ()),
    ]
    assert [bool(each.error) for each in seen] == [False, False, True]


def test_confined_to_the_given_authorities(authority: Authority) -> None:
    seen = see(authority, NAME, "www.example.com", "away.example.com", confined=True)
    zone = zone_of(seen, "example.com.")
    assert (zone.source, zone.parent, zone.parent_ns) == ("authorities", "", ())
    assert zone.dnssec == "unknown: the parent was not asked (dns.authorities)"
    assert [s.server for s in zone.servers] == authority.at("example.com")
    names = {each.name: each for each in seen if isinstance(each, NameSeen)}
    assert names[NAME].error == names["www.example.com."].error == ""
    away = names["away.example.com."]
    assert away.error == "zone of host.elsewhere.example. is not in dns.authorities; its servers were not asked"
    assert away.owners == ("away.example.com.", "host.elsewhere.example.")
    assert away.zones == ("example.com.", "")
    assert away.caa == ('example.com. 0 issue "ca.example"',) or away.caa_error


def test_chains_that_end_badly(authority: Authority) -> None:
    seen = see(authority, *(f"{label}.example.com" for label in ("loop", "dead", "lost", "c0", "nothing")))
    names = {each.name.split(".")[0]: each for each in seen if isinstance(each, NameSeen)}
    assert names["loop"].error == "CNAME loop: loop.example.com. -> pool.example.com. -> loop.example.com."
    assert names["dead"].error == ""
    assert {a.reply.rcode for a in answers(seen, "nowhere.vendor.example.", "A").answers} == {"NXDOMAIN"}
    assert names["lost"].error == "no name server of lost.example. has an address: ns.lost.example."
    assert answers(seen, "host.lost.example.", "A").answers == (), "it was on the way, and nobody could be asked"
    lost = zone_of(seen, "lost.example.")
    assert [(server.server, server.lame) for server in lost.servers] == [("ns.lost.example.", "has no address")]
    assert names["c0"].error == "more than 12 CNAMEs from c0.example.com."
    assert len(names["c0"].owners) == 12
    assert names["nothing"].error == ""


@pytest.mark.parametrize(("label", "wildcard"), [("any.wild", True), ("own.wild", False), ("app", False)])
def test_wildcard(authority: Authority, label: str, wildcard: bool) -> None:
    assert only(NameSeen, see(authority, f"{label}.example.com")).wildcard is wildcard


def test_zone_that_does_not_exist(authority: Authority) -> None:
    seen = see(authority, "app.nothing.example")
    assert only(NameSeen, seen).apex == "example."
    assert {answer.reply.rcode for answer in answers(seen, "app.nothing.example.", "A").answers} == {"NXDOMAIN"}


def test_no_root_answers() -> None:
    async def run() -> list[Observation]:
        async with Engine() as engine:
            return await discover(engine, NAME, roots=["127.0.0.250:9"])

    seen = asyncio.run(run())
    assert "no server of . tells where com. is; 127.0.0.250:9: Connection refused" in only(NameSeen, seen).error
    assert zone_of(seen, "com.").error


def test_budget(authority: Authority) -> None:
    seen = see(authority, NAME, budget=12)
    assert "more than 12 questions" in only(NameSeen, seen).error


def test_name_that_is_none(authority: Authority) -> None:
    with pytest.raises(CutoverError, match="is no domain name"):
        see(authority, "a..b")


def test_names_of_one_zone_share_the_walk(authority: Authority) -> None:
    async def run(names: int) -> int:
        async with Engine() as engine:
            walker = Walker(engine, roots=authority.roots)
            await AuthorityRound(walker).observe([(f"c{n}.vendor.example", ("A",)) for n in range(names)])
            return walker.asked

    one, ten = asyncio.run(run(1)), asyncio.run(run(10))
    assert ten - one <= 9 * (2 * 4 + 2 + 2), "per further name: four types, the cut and CAA, at both servers"


def test_top_level_domains_are_remembered_between_rounds(authority: Authority) -> None:
    async def run() -> tuple[int, int]:
        async with Engine() as engine:
            walker = Walker(engine, roots=authority.roots)
            counts = []
            for _ in range(2):
                await AuthorityRound(walker).observe([(NAME, ("A",))])
                counts.append(walker.asked)
            return counts[0], counts[1]

    first, second = asyncio.run(run())
    assert second < first


@pytest.fixture
def own() -> Iterator[Authority]:
    """A world for a test that breaks things."""
    with Authority() as made:
        made.add_zone("example.com")
        made.set_records("example.com", "app", "A", 300, ["127.0.0.10"])
        yield made


def test_servers_that_disagree(own: Authority) -> None:
    own.set_records("example.com", "app", "A", 60, ["127.0.0.99"], servers=["ns2"])
    seen = see(own, NAME)
    assert data(seen, NAME, "A") == {NS1: [(300, "127.0.0.10")], NS2: [(60, "127.0.0.99")]}
    assert len({server.serial for server in zone_of(seen, "example.com.").servers}) == 2


def test_servers_that_disagree_on_a_cname_give_both_ways(own: Authority) -> None:
    own.edit("example.com", {("app", "A"): (0, ()), ("app", "CNAME"): (60, ("a.example.com.",))}, servers=["ns1"])
    own.edit("example.com", {("app", "A"): (0, ()), ("app", "CNAME"): (60, ("b.example.com.",))}, servers=["ns2"])
    assert only(NameSeen, see(own, NAME)).owners == (NAME, "a.example.com.", "b.example.com.")


def test_lame_and_silent_servers(own: Authority) -> None:
    own.servers["ns2"].withdraw("example.com")
    seen = see(own, NAME)
    lame = {server.server: server.lame for server in zone_of(seen, "example.com.").servers}
    assert lame == {NS1: "", NS2: "answers REFUSED for the zone's SOA"}
    assert {a.server: a.reply.rcode for a in answers(seen, NAME, "A").answers} == {NS1: "NOERROR", NS2: "REFUSED"}
    assert only(NameSeen, seen).error == ""

    own.servers["ns1"].pause()
    try:
        seen = see(own, NAME, deadline=0.3)
    finally:
        own.servers["ns1"].resume()
    assert zone_of(seen, "example.com.").servers[0].lame == "no answer in 0.3 s"
    assert answers(seen, NAME, "A").answers[0].reply.outcome is Outcome.TIMEOUT
    assert only(NameSeen, seen).error == f"no server of example.com. answered for {NAME}"


def test_many_names_of_a_silent_zone_take_no_longer_than_one(own: Authority) -> None:
    own.servers["ns1"].pause()
    own.servers["ns2"].pause()
    began = time.monotonic()
    try:
        seen = see(own, *(f"n{number}.example.com" for number in range(40)), deadline=0.3)
    finally:
        own.servers["ns1"].resume()
        own.servers["ns2"].resume()
    assert all(each.error for each in seen if isinstance(each, NameSeen))
    assert time.monotonic() - began < 12, "one after the other they would take 24 s"


def test_empty_answer_of_a_lame_server_is_no_nodata(own: Authority) -> None:
    """A parent's server that is still listed refers on: that is not "this name has no records"."""
    own.delegate("example.com", ["tld", "ns1"])
    seen = see(own, NAME)
    replies = {answer.server: answer.reply for answer in answers(seen, NAME, "AAAA").answers}
    assert replies["tld.servers.example."].outcome is Outcome.MALFORMED
    assert "without authority" in replies["tld.servers.example."].error
    assert replies[NS1].outcome is Outcome.ANSWERED
    zone = zone_of(seen, "example.com.")
    assert {s.server: s.lame for s in zone.servers}["tld.servers.example."] == "answers without authority"


def test_servers_that_only_the_zone_names_are_asked_too(own: Authority) -> None:
    own.delegate("example.com", ["ns1"])
    seen = see(own, NAME)
    zone = zone_of(seen, "example.com.")
    assert [record.data for record in zone.parent_ns] == [NS1]
    assert [server.server for server in zone.servers] == [NS1, NS2]
    assert set(data(seen, NAME, "A")) == {NS1, NS2}


def test_zone_below_the_zone_is_found(own: Authority) -> None:
    own.add_zone("app.example.com", servers=("ns3", "ns4"))
    own.set_records("app.example.com", "@", "A", 60, ["127.0.0.30"])
    seen = see(own, NAME)
    assert only(NameSeen, seen).apex == NAME
    assert zone_of(seen, NAME).parent == "example.com."
    confined = see(own, NAME, confined=True)
    assert only(NameSeen, confined).error == f"no server of example.com. answered for {NAME}"
    assert {answer.reply.outcome for answer in answers(confined, NAME, "A").answers} == {Outcome.MALFORMED}


def test_parent_and_child_on_one_server(own: Authority) -> None:
    """The server answers for the child at once; the cut must be seen all the same."""
    own.add_zone("app.example.com")
    own.set_records("app.example.com", "@", "A", 60, ["127.0.0.30"])
    seen = see(own, NAME)
    assert only(NameSeen, seen).apex == NAME
    assert zone_of(seen, NAME).parent == "example.com."


@pytest.mark.parametrize(
    ("ds", "expired", "state"),
    [
        ("right", False, "signed"),
        ("none", False, "unsigned"),
        ("wrong", False, "broken: no DNSKEY matches the parent's DS"),
        ("right", True, "broken: DNSKEY: expired"),
    ],
)
def test_dnssec(own: Authority, ds: str, expired: bool, state: str) -> None:
    own.sign("example.com", ds=ds, expired=expired)
    zone = zone_of(see(own, NAME), "example.com.")
    assert zone.dnssec == state
    assert len(zone.dnskey) == 1
    assert len(zone.ds) == (ds != "none")


def test_ds_of_a_zone_that_is_not_signed(own: Authority) -> None:
    own.edit("com", {("example.com.", "DS"): (3600, ("12345 13 2 " + "00" * 32,))})
    assert "broken: the parent has a DS" in zone_of(see(own, NAME), "example.com.").dnssec
