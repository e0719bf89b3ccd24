"""Reading answers: the memo says what dnspython says, and hostile packets are refused."""

from __future__ import annotations

import struct

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cutover.errors import CutoverError
from cutover.observations.dns import Outcome, Record, Reply
from cutover.probes.dns import wire as wire_module
from cutover.probes.dns.wire import MalformedError, Memo, Query

NAME = "app.example.com."


def question(name: str = NAME, rtype: str = "A", *, memo: Memo | None = None, recursion: bool = True) -> Query:
    return (memo or Memo()).query(name, rtype, recursion=recursion, dnssec_ok=False)


def response(
    *answer: str, name: str = NAME, rtype: str = "A", authority: tuple[str, ...] = (), flags: int = 0, rcode: int = 0
) -> bytes:
    """Make a response from lines ``owner ttl type data``."""
    message = dns.message.make_response(dns.message.make_query(name, rtype, use_edns=0), recursion_available=True)
    message.flags |= dns.flags.Flag(flags)
    message.set_rcode(dns.rcode.Rcode(rcode))
    for lines, section in ((answer, message.answer), (authority, message.authority)):
        for line in lines:
            owner, ttl, kind, data = line.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    return message.to_wire()


def reply(query: Query, packet: bytes) -> Reply:
    template, ttls = query.read(packet)
    return template.reply(ttls, 0, 0)


def test_answer_is_read() -> None:
    read = reply(question(), response("App.Example.com. 300 A 192.0.2.1", "app.example.com. 300 A 192.0.2.2"))
    assert read == Reply(
        Outcome.ANSWERED,
        "NOERROR",
        answer=(Record(NAME, "A", 300, "192.0.2.1"), Record(NAME, "A", 300, "192.0.2.2")),
    )


def test_other_ttls_of_a_known_answer_are_read_from_the_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    query = question()
    lines = ["app.example.com. {} CNAME lb.example.net.", "lb.example.net. {} A 192.0.2.1"]
    reply(query, response(*(line.format(60) for line in lines)))
    monkeypatch.setattr(wire_module, "parse", lambda wire: pytest.fail("a known shape was parsed again"))
    again = reply(query, response(lines[0].format(17), lines[1].format(5)))
    assert [(record.owner, record.ttl) for record in again.answer] == [(NAME, 17), ("lb.example.net.", 5)]


def test_a_known_shape_with_other_data_is_not_mistaken() -> None:
    query = question()
    reply(query, response("app.example.com. 60 A 192.0.2.1"))
    assert reply(query, response("app.example.com. 60 A 192.0.2.9")).answer[0].data == "192.0.2.9"
    assert reply(query, response("app.example.com. 60 A 192.0.2.1")).answer[0].data == "192.0.2.1"
    refused = reply(query, response("app.example.com. 60 A 192.0.2.1", rcode=5))
    assert refused.rcode == "REFUSED"


def test_ttl_beyond_31_bits_is_zero_also_for_a_known_shape() -> None:
    query = question()
    packet = response("app.example.com. 60 A 192.0.2.1")
    at = packet.index(struct.pack("!I", 60))
    reply(query, packet)
    read = reply(query, packet[:at] + b"\x80\0\0\x01" + packet[at + 4 :])
    assert read.answer[0].ttl == 0


@pytest.mark.parametrize(
    ("lines", "owners"),
    [
        pytest.param(
            ("c.example. 1 A 192.0.2.1", "b.example. 2 CNAME c.example.", f"{NAME} 3 CNAME b.example."),
            [NAME, "b.example.", "c.example."],
            id="out of order",
        ),
        pytest.param(
            (f"{NAME} 3 CNAME b.example.", "b.example. 2 CNAME app.example.com."), [NAME, "b.example."], id="loop"
        ),
        pytest.param((f"{NAME} 3 CNAME app.example.com.",), [NAME], id="loop of one"),
        pytest.param((f"{NAME} 3 A 192.0.2.1", "other.example. 3 A 192.0.2.9"), [NAME], id="foreign record left out"),
        pytest.param((f"{NAME} 3 CNAME b.example.", f"{NAME} 3 AAAA 2001:db8::1"), [NAME], id="other types left out"),
    ],
)
def test_chain_order(lines: tuple[str, ...], owners: list[str]) -> None:
    assert [record.owner for record in reply(question(), response(*lines)).answer] == owners


def test_a_long_chain_is_bounded() -> None:
    lines = [f"{NAME} 1 CNAME c0.example."] + [f"c{n}.example. 1 CNAME c{n + 1}.example." for n in range(60)]
    assert len(reply(question(), response(*lines)).answer) == wire_module.MAX_CHAIN


def test_https_keeps_its_hints_and_lowers_its_target() -> None:
    read = reply(
        question(rtype="HTTPS"), response(f"{NAME} 9 HTTPS 1 CDN.Example. alpn=h2 ipv4hint=192.0.2.1", rtype="HTTPS")
    )
    assert read.answer[0].data == '1 cdn.example. alpn="h2" ipv4hint="192.0.2.1"'


def test_authority_section_keeps_soa_and_ns() -> None:
    soa = "example.com. 900 SOA NS1.example.com. host.example.com. 7 1 1 1 60"
    read = reply(question(), response(authority=(soa, "example.com. 60 A 192.0.2.1")))
    assert read.authority == (Record("example.com.", "SOA", 900, "ns1.example.com. host.example.com. 7 1 1 1 60"),)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(b"", "shorter", id="empty"),
        pytest.param(response()[:11], "shorter", id="half a header"),
        pytest.param(response("other.example. 3 A 192.0.2.9"), "another name", id="only foreign records"),
        pytest.param(
            response(f"{NAME} 3 CNAME a.example.", f"{NAME} 3 CNAME b.example."), "two CNAME", id="two CNAMEs"
        ),
        pytest.param(response(name="www.example.com."), "another question", id="another name asked"),
        pytest.param(response(rtype="AAAA"), "another question", id="another type asked"),
        pytest.param(response()[:4] + b"\0\2" + response()[6:], "another question", id="two questions"),
        pytest.param(response()[:4] + b"\0\0" + response()[6:], "another question", id="no question, no error"),
        pytest.param(dns.message.make_query(NAME, "A").to_wire(), "not a response", id="the question itself"),
        pytest.param(response() + b"\0", "cannot be read", id="trailing junk"),
        pytest.param(response()[:6] + b"\xff\xff" + response()[8:], "cannot be read", id="65535 answers promised"),
        pytest.param(response(f"{NAME} 3 A 192.0.2.1")[:-12], "cannot be read", id="cut in the middle"),
    ],
)
def test_refused(packet: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        question().read(packet)


def test_compression_loop_is_refused() -> None:
    packet = response()
    end = 12 + len(question().question)
    header = packet[:6] + b"\0\1\0\0\0\0"
    loop = struct.pack("!HHHIH", 0xC000 | end, 1, 1, 60, 4) + b"\xc0\0\2\1"
    with pytest.raises(MalformedError, match="cannot be read"):
        question().read(header + packet[12:end] + loop)


def test_question_echoed_in_other_case_is_ours() -> None:
    packet = response(f"{NAME} 3 A 192.0.2.1").replace(b"\x03app", b"\x03ApP", 1)
    assert reply(question(), packet).answer[0].owner == NAME


def test_type_65_and_type_97_are_not_the_same_question() -> None:
    """The bytes of the type must not be compared without case: 65 is "A", 97 is "a"."""
    packet = bytearray(response(rtype="HTTPS"))
    packet[12 + len(question(rtype="HTTPS").question) - 3] = 97
    with pytest.raises(MalformedError, match="another question"):
        question(rtype="HTTPS").read(bytes(packet))


def test_referral_from_a_resolver_is_no_answer() -> None:
    referral = response(authority=("com. 172800 NS a.gtld-servers.net.",))
    no_recursion = referral[:3] + bytes([referral[3] & 0x7F]) + referral[4:]
    assert reply(question(), no_recursion).outcome is Outcome.MALFORMED
    assert reply(question(), referral).outcome is Outcome.ANSWERED
    assert reply(question(recursion=False), no_recursion).outcome is Outcome.ANSWERED


def test_server_that_cannot_read_the_question_may_leave_it_out() -> None:
    assert reply(question(), b"\0\0\x81\x81" + bytes(8)).rcode == "FORMERR"


@pytest.mark.parametrize(("name", "rtype"), [("a..b", "A"), ("x" * 64 + ".example", "A"), (NAME, "NONSENSE")])
def test_what_cannot_be_asked_is_an_error(name: str, rtype: str) -> None:
    with pytest.raises(CutoverError, match="cannot be asked"):
        question(name, rtype)


def test_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "_MAX_TEMPLATES", 10)
    monkeypatch.setattr(wire_module, "_MAX_QUERIES", 5)
    memo = Memo()
    for number in range(100):
        query = question(f"n{number % 7}.example.", memo=memo)
        reply(query, response(f"n{number % 7}.example. 1 A 192.0.2.{number}", name=f"n{number % 7}.example."))
    held = [len(layout.templates) for q in memo._queries.values() for ls in q._layouts.values() for layout in ls]
    assert len(memo._queries) <= 5
    assert sum(held) <= 10


PACKETS = [
    response(f"{NAME} 300 A 192.0.2.1", f"{NAME} 300 A 192.0.2.2"),
    response(f"{NAME} 300 CNAME lb.example.net.", "lb.example.net. 20 A 198.51.100.7"),
    response(authority=("example.com. 900 SOA ns.example.com. h.example.com. 1 2 3 4 60",), rcode=3),
    response(f"{NAME} 60 CNAME loop.example.", f"loop.example. 60 CNAME {NAME}"),
]


def by_dnspython(packet: bytes) -> tuple[str, set[tuple[str, str, int, str]]] | None:
    """Return the rcode and every answer record as dnspython alone reads them; None when it refuses."""
    try:
        message = dns.message.from_wire(packet, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError):
        return None
    found = set()
    for rrset in message.answer:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        data = rrset[0].to_text()
        found.add((rrset.name.to_text().lower(), kind, rrset.ttl, data.lower() if kind == "CNAME" else data))
    return dns.rcode.to_text(message.rcode()), found


edits = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PACKETS), edits, st.integers(0, 12), st.binary(max_size=8))
@example(PACKETS[0], [], 0, b"")
def test_memo_and_dnspython_agree_on_any_packet(
    base: bytes, changes: list[tuple[int, int]], cut: int, junk: bytes
) -> None:
    packet = bytearray(base)
    for place, value in changes:
        packet[place % len(packet)] = value
    packet = packet[: len(packet) - cut] + junk
    known = question()
    for one in PACKETS:
        known.read(one)
    with_memo, without = outcome(known, bytes(packet)), outcome(question(), bytes(packet))
    assert with_memo == without
    if isinstance(without, Reply):
        truth = by_dnspython(bytes(packet))
        assert truth is not None
        assert without.rcode == truth[0] or without.outcome is Outcome.MALFORMED
        assert {(r.owner, r.rtype, r.ttl, r.data) for r in without.answer} <= truth[1]
        own = {r for r in truth[1] if r[:2] in ((NAME, "A"), (NAME, "CNAME"))}
        if without.outcome is Outcome.ANSWERED and own and not packet[2] & 2:
            assert without.answer, "the name's own records were lost"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_noise_is_refused_without_any_other_error(noise: bytes) -> None:
    assert not isinstance(outcome(question(), b"\0\0\x81\x80" + noise), Reply) or len(noise) >= 8


def outcome(query: Query, packet: bytes) -> Reply | str:
    try:
        return reply(query, packet)
    except MalformedError:
        return "refused"
