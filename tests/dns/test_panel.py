"""The panel: what may be in it, and how calibration treats those who do not answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from cutover.errors import CutoverError, PlanError
from cutover.observations.dns import PanelSeen, Resolver, Tier, Transport
from cutover.probes.dns.calibration import calibrate
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.panel import load_panel
from tests.dns.servers import Handler, Server, answer, answering, silent

ZONE = "example.com."
SOA = f"{ZONE} SOA ns.example.com. host.example.com. 1 2 3 4 60"
HERE = Path()


def test_builtin_panel() -> None:
    panel = load_panel("builtin", HERE)
    required = {member.operator for member in panel if member.tier is Tier.REQUIRED}
    assert len(required) == 7
    assert all(member.filtering == "none" for member in panel if member.tier is Tier.REQUIRED)
    assert all(member.country not in {"CN", "RU", "IR"} for member in panel if member.tier is Tier.REQUIRED)
    for operator in required:
        ways = {m.transport for m in panel if m.operator == operator and m.tier is Tier.REQUIRED}
        assert ways == {Transport.PLAIN, Transport.HTTPS}, "still counts where port 53 is intercepted"
    assert Counter(member.operator for member in panel).most_common(1) == [("dnscry.pt", 42)]
    assert len({member.country for member in panel}) > 50
    assert next(member.flush_url for member in panel if member.id == "google") == "https://dns.google/cache"


def test_list_is_required_and_each_entry_its_own_operator() -> None:
    entries = ["127.0.0.1:5301", "192.0.2.1", "[::1]:53", "2001:db8::1", "tls://dns.example", "tls://[::1]:8853"]
    entries += ["https://dns.example/dns-query"]
    panel = load_panel(entries, HERE)
    assert [(member.transport.value, member.address) for member in panel] == [
        ("dns", "127.0.0.1:5301"),
        ("dns", "192.0.2.1:53"),
        ("dns", "[::1]:53"),
        ("dns", "[2001:db8::1]:53"),
        ("tls", "dns.example:853"),
        ("tls", "[::1]:8853"),
        ("https", "https://dns.example/dns-query"),
    ]
    assert {member.tier for member in panel} == {Tier.REQUIRED}
    assert [member.operator for member in panel] == [member.id for member in panel] == entries


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "the panel is empty"),
        (["dns.example"], "not an address"),
        (["127.0.0.1:99999"], "not an address"),
        (["300.1.1.1:53"], "not an address"),
        ([""], "no address"),
        (["https://"], "not a DoH URL"),
        (["https://user:secret@dns.example/"], "not a DoH URL"),
        (["tls://dns.example/path"], "not a DoT server"),
        (["https://[::1/"], "not an address"),
        (["192.0.2.1", "192.0.2.1:53"], "192.0.2.1:53 is there twice"),
        (["[::1]:53", "[0::1]:53"], "is there twice"),
    ],
)
def test_bad_list(entries: list[str], message: str) -> None:
    with pytest.raises(CutoverError, match=message) as raised:
        load_panel(entries, HERE)
    assert raised.value.hint
    assert raised.value.exit_code == 2


def test_file(tmp_path: Path) -> None:
    (tmp_path / "panel.tsv").write_text(
        "# ours\nid\toperator\ttier\taddress\tserver_name\n"
        "office\tUs\trequired\t127.0.0.1:5301\n"
        "\tUs\t\ttls://192.0.2.1\tdns.example\n"
        "isp\tISP\tadvisory\t192.0.2.9\n"
    )
    panel = load_panel("panel.tsv", tmp_path)
    assert panel[1] == Resolver(
        "tls://192.0.2.1", "Us", Transport.TLS, "192.0.2.1:853", Tier.REQUIRED, server_name="dns.example"
    )
    assert [(member.id, member.operator, member.tier.value) for member in panel[::2]] == [
        ("office", "Us", "required"),
        ("isp", "ISP", "advisory"),
    ]


def test_a_list_of_public_resolvers(tmp_path: Path) -> None:
    (tmp_path / "panel.tsv").write_text(
        "id\toperator\tvariant\tipv4\tipv6\tdoh_url\tdot_name\tcountry\ttopology\tfiltering\tecs\tsource\tnotes\n"
        "one\tOne\t\t192.0.2.1,192.0.2.2\t2001:db8::1\thttps://one.example/dns-query\t\tUS\tanycast\tnone\n"
        "six\tSix\t\t\t2001:db8::6\n"
        "web\tWeb\t\t\t\thttps://web.example/dns-query\tweb.example\tCH\tanycast\tads\n"
        "tls\t\t\t\t\t\ttls.example\tDE\tunicast\tnone\tno\tseen\tslow\n"
    )
    panel = load_panel("panel.tsv", tmp_path)
    assert [(member.id, member.operator, member.address, member.tier.value) for member in panel] == [
        ("one", "One", "192.0.2.1:53", "required"),
        ("one/2", "One", "192.0.2.2:53", "required"),
        ("six", "Six", "[2001:db8::6]:53", "required"),
        ("web", "Web", "https://web.example/dns-query", "advisory"),
        ("tls", "tls", "tls.example:853", "required"),
    ]


def test_a_file_of_addresses_alone(tmp_path: Path) -> None:
    (tmp_path / "panel.txt").write_text("# ours\n127.0.0.1:5301\n\nhttps://dns.example/dns-query\n")
    assert [member.address for member in load_panel("panel.txt", tmp_path)] == [
        "127.0.0.1:5301",
        "https://dns.example/dns-query",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must name the columns"),
        ("127.0.0.1\nnobody\n", "'nobody': not an address"),
        ("id\tipv4\nx\t\n", "line 2: no address"),
        ("id\tipv4\tcolour\n", "'colour' is none of them"),
        ("id\toperator\n", "'address' is missing"),
        ("address\tcolour\n", "'colour' is none of them"),
        ("address\n", "the panel is empty"),
        ("address\ttier\n192.0.2.1\tperhaps\n", "line 2: tier 'perhaps'"),
        ("address\n192.0.2.1\tmore\n", "line 2: more cells"),
        ("id\taddress\nx\n", "line 2: no address"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "panel.tsv").write_text(text)
    with pytest.raises(CutoverError, match=message):
        load_panel("panel.tsv", tmp_path)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CutoverError, match="cannot be read: No such file"):
        load_panel("panel.tsv", tmp_path)


class FixedClock:
    def now(self) -> datetime:
        return datetime(2025, 11, 12, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


def calibrated(handler: Handler, tier: Tier, **known: bool) -> PanelSeen:
    async def run(server: Server) -> PanelSeen:
        async with Engine() as engine:
            one = Resolver("one", "One", Transport.PLAIN, server.address, tier)
            authorities = {server.address} if known.get("listed") else set()
            return await calibrate(
                engine,
                [one],
                ZONE,
                "SOA",
                authorities=authorities,
                declared=known.get("declared", False),
                stretched="slow",
                deadline=0.3,
                clock=FixedClock(),
            )

    with Server(handler) as server:
        return asyncio.run(run(server))


def refusing(wire: bytes) -> list[bytes]:
    return [answer(wire)[:3] + b"\x85" + answer(wire)[4:]]


def no_recursion(wire: bytes) -> list[bytes]:
    query = dns.message.from_wire(wire)
    referral = dns.message.make_response(query)
    referral.authority.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "NS", "ns1.example.net."))
    return [referral.to_wire()]


def test_who_answers_is_kept() -> None:
    seen = calibrated(answering(SOA), Tier.ADVISORY)
    assert (seen.members[0].dropped, seen.control, seen.stretched) == ("", "example.com. SOA", "slow")
    assert seen.at == FixedClock().now()


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (silent, "no answer in 0.3 s"),
        (refusing, "answered REFUSED to the control question"),
        (no_recursion, "offers no recursion"),
        (answering(SOA, aa=True), "answers with authority for example.com."),
    ],
)
def test_advisory_ones_are_dropped_with_the_reason(handler: Handler, reason: str) -> None:
    assert reason in calibrated(handler, Tier.ADVISORY).members[0].dropped


@pytest.mark.parametrize("handler", [silent, refusing, no_recursion])
def test_required_ones_stay(handler: Handler) -> None:
    assert calibrated(handler, Tier.REQUIRED).members[0].dropped == ""


def test_authoritative_server_is_no_resolver() -> None:
    with pytest.raises(CutoverError, match="one is an authoritative server"):
        calibrated(answering(SOA, aa=True), Tier.REQUIRED)


def test_where_the_plan_names_the_authorities_only_an_address_makes_one() -> None:
    assert calibrated(answering(SOA, aa=True), Tier.REQUIRED, declared=True).members[0].dropped == ""
    with pytest.raises(PlanError, match="one is an authoritative server"):
        calibrated(answering(SOA), Tier.REQUIRED, declared=True, listed=True)
