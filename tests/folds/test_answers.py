"""Classes of answers: by the declared sets, never by majority."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover.answers import Answer, Sides, addresses_in
from cutover.observations.dns import Outcome, Record, Reply
from cutover.plan_values import Member
from tests.checks.kit import NAME, NEW, NEW6, OLD, OLD6, STRANGER, ZONE, a, cname, reply

OLD_TARGET, NEW_TARGET = "ingress.porter.example.", "d111.cloudfront.net."
BEHIND_OLD, BEHIND_NEW = "192.0.2.11", "192.0.2.22"


def sides(old: list[str] | None = None, new: list[str] | None = None) -> Sides:
    return Sides(
        tuple(map(Member.parse, [OLD, OLD6, OLD_TARGET] if old is None else old)),
        tuple(map(Member.parse, [NEW, NEW_TARGET] if new is None else new)),
        remembered_old={BEHIND_OLD},
        remembered_new={BEHIND_NEW},
    )


def https(text: str) -> Record:
    return Record(NAME, "HTTPS", 60, text)


@pytest.mark.parametrize(
    ("records", "rtype", "expected"),
    [
        ([a(OLD)], "A", Answer.OLD),
        ([a(NEW)], "A", Answer.NEW),
        ([a(NEW), a(OLD)], "A", Answer.MIXED),
        ([a(STRANGER), a(OLD)], "A", Answer.MIXED),
        ([a(NEW), a(STRANGER)], "A", Answer.OTHER),
        ([a(STRANGER)], "A", Answer.OTHER),
        ([a(BEHIND_OLD)], "A", Answer.OLD),
        ([a(BEHIND_NEW)], "A", Answer.NEW),
        ([cname(NEW_TARGET), a(STRANGER)], "A", Answer.NEW),
        ([cname(OLD_TARGET), a(STRANGER)], "A", Answer.OLD),
        ([cname(OLD_TARGET), cname(NEW_TARGET), a(STRANGER)], "A", Answer.NEW),
        ([cname(NEW_TARGET), a(OLD)], "A", Answer.OLD),
        ([cname(OLD_TARGET), a(NEW)], "A", Answer.NEW),
        ([cname(NEW_TARGET), a(OLD), a(STRANGER)], "A", Answer.MIXED),
        ([cname(NEW_TARGET)], "A", Answer.NEW),
        ([cname("elsewhere.example.")], "A", Answer.OTHER),
        ([cname(f"dualstack.{NEW_TARGET}")], "A", Answer.NEW),
        ([a(OLD6)], "AAAA", Answer.OLD),
        ([], "AAAA", Answer.NEW),
        ([], "A", Answer.NODATA),
        ([], "HTTPS", Answer.NEW),
        ([https("1 . alpn=h2")], "HTTPS", Answer.NEW),
        ([https(f'1 . alpn=h2 ipv4hint="{NEW}" ipv6hint="{OLD6}"')], "HTTPS", Answer.MIXED),
        ([https(f"1 . ipv4hint={OLD},{OLD}")], "HTTPS", Answer.OLD),
        ([https(f"1 {OLD_TARGET} alpn=h2")], "HTTPS", Answer.OLD),
        ([https("0 elsewhere.example.")], "HTTPS", Answer.OTHER),
    ],
)
def test_classes(records: list[Record], rtype: str, expected: Answer) -> None:
    assert sides().of_records(records, rtype) is expected


def test_a_family_that_new_has_must_be_there() -> None:
    assert sides(new=[NEW, NEW6]).of_records([], "AAAA") is Answer.NODATA
    unknown_target = Sides((), (Member.parse(NEW_TARGET),))
    assert unknown_target.of_records([], "AAAA") is Answer.NODATA


def test_without_new_nothing_is_new() -> None:
    nobody = sides(new=[])
    assert nobody.of_records([], "A") is Answer.NODATA
    assert nobody.of_records([a(NEW)], "A") is Answer.OTHER


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Reply(Outcome.TIMEOUT), Answer.TIMEOUT),
        (Reply(Outcome.UNREACHABLE), Answer.TIMEOUT),
        (Reply(Outcome.MALFORMED), Answer.MALFORMED),
        (reply(rcode="NXDOMAIN"), Answer.NXDOMAIN),
        (reply(rcode="SERVFAIL"), Answer.SERVFAIL),
        (reply(rcode="REFUSED"), Answer.REFUSED),
        (reply(rcode="YXDOMAIN"), Answer.SERVFAIL),
        (Reply(Outcome.ANSWERED), Answer.SERVFAIL),
    ],
)
def test_replies_without_records(given: Reply, expected: Answer) -> None:
    assert sides().of_reply(given, "AAAA") is expected


def test_a_referral_is_no_empty_answer() -> None:
    referral = Reply(Outcome.ANSWERED, "NOERROR", authority=(Record(ZONE, "NS", 60, "ns1.example.com."),))
    assert sides().of_reply(referral, "AAAA") is Answer.REFUSED
    soa = Record(ZONE, "SOA", 60, "ns1.example.com. x. 1 1 1 1 1")
    empty = Reply(Outcome.ANSWERED, "NOERROR", authority=(soa, *referral.authority))
    assert sides().of_reply(empty, "AAAA") is Answer.NEW


def test_a_chain_that_ends_in_nothing_is_an_empty_answer_when_the_end_says_so() -> None:
    chain = (cname("edge.example.com."), cname("end.example.com.", owner="edge.example.com."))
    soa = Record(ZONE, "SOA", 60, "ns1.example.com. x. 1 1 1 1 1")

    def of(*authority: Record, rtype: str = "AAAA", records: tuple[Record, ...] = chain) -> Answer:
        return sides().of_reply(Reply(Outcome.ANSWERED, "NOERROR", answer=records, authority=authority), rtype)

    assert of(soa) is Answer.NEW
    assert of(soa, rtype="A") is Answer.NODATA
    assert of() is Answer.OTHER
    assert of(Record("elsewhere.example.", "SOA", 60, "x. y. 1 1 1 1 1")) is Answer.OTHER
    assert of(Record("nd.example.com.", "SOA", 60, "x. y. 1 1 1 1 1")) is Answer.OTHER
    assert of(soa, records=(*chain, a("2001:db8::99", owner="end.example.com."))) is Answer.OTHER
    assert of(soa, records=(cname(OLD_TARGET),)) is Answer.OLD


def test_an_address_seen_behind_both_sides_is_old() -> None:
    both = Sides((Member.parse(OLD_TARGET),), (Member.parse(NEW_TARGET),), {STRANGER}, {STRANGER})
    assert both.of_records([a(STRANGER)], "A") is Answer.OLD


def test_an_address_behind_both_sides_is_the_chains_where_that_is_shown() -> None:
    both = Sides((Member.parse(OLD_TARGET),), (Member.parse(NEW_TARGET),), {STRANGER}, {STRANGER})
    assert both.of_records([cname(NEW_TARGET), a(STRANGER, owner=NEW_TARGET)], "A") is Answer.NEW
    assert both.of_records([cname(OLD_TARGET), a(STRANGER, owner=OLD_TARGET)], "A") is Answer.OLD
    assert both.of_records([a(STRANGER, owner=NEW_TARGET)], "A") is Answer.NEW
    assert sides().of_records([cname(NEW_TARGET), a(BEHIND_OLD, owner=NEW_TARGET)], "A") is Answer.OLD


@pytest.mark.parametrize(("address", "expected"), [(OLD, Answer.OLD), (NEW, Answer.NEW), (STRANGER, Answer.OTHER)])
def test_what_a_dns64_resolver_makes_up_leads_where_the_ipv4_address_does(address: str, expected: Answer) -> None:
    made = [a(f"64:ff9b::{address}")]
    assert sides().of_records(made, "AAAA") is expected
    assert addresses_in(made, "AAAA") == (address,)


_RECORDS = st.lists(
    st.sampled_from([a(OLD), a(NEW), a(STRANGER), a(BEHIND_OLD), cname(OLD_TARGET), cname(NEW_TARGET), cname("x.y.")]),
    max_size=5,
)


@given(_RECORDS)
def test_an_answer_with_an_old_address_is_never_new(records: list[Record]) -> None:
    answer = sides().of_records(records, "A")
    if any(x.data in {OLD, BEHIND_OLD} for x in records):
        assert answer.leads_to_old
    if answer is Answer.NEW:
        ends = [x.data for x in records if x.rtype == "A"]
        assert all(x == NEW for x in ends) or NEW_TARGET in [x.data for x in records]


@given(_RECORDS)
def test_the_order_of_addresses_does_not_matter(records: list[Record]) -> None:
    chain = [x for x in records if x.rtype == "CNAME"]
    ends = [x for x in records if x.rtype == "A"]
    assert sides().of_records(chain + ends, "A") is sides().of_records(chain + ends[::-1], "A")


@given(st.lists(st.sampled_from([OLD, NEW, STRANGER]), min_size=1, max_size=9))
def test_never_by_majority(addresses: list[str]) -> None:
    answer = sides().of_records([a(x) for x in addresses], "A")
    assert (answer is Answer.NEW) == (set(addresses) == {NEW})
