"""``dns.authority-converged``, ``dns.zone-agreement``: one server that differs is enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutover.finding import Phase, Status
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import Outcome, Record, Reply, ServerSeen
from tests.checks.kit import (
    NAME,
    NEW,
    NEW6,
    NXDOMAIN,
    OLD,
    OLD6,
    SERVERS,
    STRANGER,
    TIMEOUT,
    Story,
    a,
    authority,
    cname,
    hosted,
    hosted_zone,
    make_plan,
    reply,
    t,
    variant,
    variants,
    zone_seen,
)

CONVERGED, AGREEMENT = "dns.authority-converged", "dns.zone-agreement"
FAIL, PASS, UNKNOWN, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.WARN
ON_NEW, ON_OLD = reply(a(NEW)), reply(a(OLD))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (ON_NEW, PASS),
        (ON_OLD, FAIL),
        (reply(a(OLD), a(NEW)), FAIL),
        (reply(a(STRANGER)), FAIL),
        (NXDOMAIN, FAIL),
        (reply(), FAIL),
        (TIMEOUT, UNKNOWN),
        (reply(rcode="REFUSED"), UNKNOWN),
        (reply(rcode="SERVFAIL"), UNKNOWN),
        (Reply(Outcome.MALFORMED), UNKNOWN),
        (reply(a(NEW), aa=False), UNKNOWN),
    ],
)
def test_one_server_decides(second: Reply, expected: Status) -> None:
    story = Story().round(0, authority(0, ON_NEW, second))
    assert story.status(CONVERGED) is expected
    if expected is not PASS:
        assert "ns2" in story.said(CONVERGED, expected)


def test_a_fail_still_lists_who_was_silent() -> None:
    story = Story().round(0, authority(0, ON_OLD, TIMEOUT))
    assert "ns1" in story.said(CONVERGED, FAIL)
    assert "ns2" in story.said(CONVERGED, UNKNOWN)


def test_aaaa_left_on_old_is_named() -> None:
    story = Story(make_plan(types=["A", "AAAA"], old=[OLD, OLD6], new=[NEW, NEW6]))
    story.round(0, authority(0, ON_NEW), authority(0, reply(a(OLD6)), rtype="AAAA"))
    assert "app.example.com AAAA" in story.said(CONVERGED, FAIL)
    assert "app.example.com A:" in story.said(CONVERGED, PASS)


def test_new_without_ipv6_wants_nodata() -> None:
    story = Story(make_plan(types=["A", "AAAA"]))
    story.round(0, authority(0, ON_NEW), authority(0, reply(), rtype="AAAA"))
    assert {x.status for x in story.findings(CONVERGED)} == {PASS}
    story.round(10, authority(10, ON_NEW), authority(10, reply(a(OLD6)), rtype="AAAA"))
    assert story.status(CONVERGED) is FAIL


def test_an_https_record_that_was_found_on_the_way_counts() -> None:
    hint = Record(NAME, "HTTPS", 60, f"1 . ipv4hint={OLD}")
    story = Story().round(0, authority(0, ON_NEW), authority(0, reply(hint), rtype="HTTPS"))
    assert "app.example.com HTTPS" in story.said(CONVERGED, FAIL)


def test_a_type_that_was_not_asked_in_this_round_is_unknown() -> None:
    story = Story(make_plan(types=["A", "AAAA"]))
    story.round(0, authority(0, ON_NEW), authority(0, reply(), rtype="AAAA"))
    story.round(10, authority(10, ON_NEW))
    assert "AAAA" in story.said(CONVERGED, UNKNOWN)
    story.round(20, ProbeFailed(at=t(20), probe="dns.authorities", error="no route"))
    assert "no route" in story.said(CONVERGED, UNKNOWN)
    assert not [x for x in story.findings(CONVERGED) if x.status is PASS]


def test_a_zone_without_servers_is_unknown() -> None:
    empty = authority(0, ON_NEW)
    story = Story().round(0, replace(empty, answers=()))
    assert story.status(CONVERGED) is UNKNOWN


def test_the_command_to_switch_is_given_where_route53_is_read() -> None:
    story = Story(make_plan(provider="route53"))
    story.round(0, authority(0, ON_OLD), hosted(0, hosted_zone("ZLIVE")), variants(0, variant(OLD), zone="ZLIVE"))
    (finding,) = story.findings(CONVERGED)
    assert "--hosted-zone-id ZLIVE" in finding.fix
    assert NEW in finding.fix
    assert OLD not in finding.fix
    other = Story(make_plan(provider="none")).round(0, authority(0, ON_OLD))
    assert other.only(CONVERGED).fix == ""


class TestAgreement:
    def test_equal_servers_pass_in_both_phases(self) -> None:
        story = Story().round(0, authority(0, ON_OLD))
        for phase in Phase:
            assert {x.status for x in story.findings(AGREEMENT, phase)} == {PASS}

    @pytest.mark.parametrize("second", [ON_NEW, NXDOMAIN, reply(), reply(a(STRANGER))])
    def test_an_rrset_that_leads_elsewhere_fails(self, second: Reply) -> None:
        story = Story().round(0, authority(0, ON_OLD, second))
        assert "app.example.com A" in story.said(AGREEMENT, FAIL)

    def test_two_strangers_are_not_one_side(self) -> None:
        story = Story().round(0, authority(0, reply(a(STRANGER)), reply(a("192.0.2.98"))))
        assert story.status(AGREEMENT) is FAIL

    def test_addresses_that_vary_within_a_side_are_a_warning(self) -> None:
        story = Story(make_plan(old=["203.0.113.0/24"]))
        story.round(0, authority(0, reply(a("203.0.113.1")), reply(a("203.0.113.2"))))
        assert story.status(AGREEMENT) is WARN

    def test_known_routing_is_no_disagreement(self) -> None:
        story = Story(make_plan(old=["203.0.113.0/24"], provider="route53"))
        held = [variant(f"203.0.113.{n}", set_identifier=f"s{n}", routing="weighted", weight=1) for n in (1, 2)]
        given = authority(0, reply(a("203.0.113.1")), reply(a("203.0.113.2")))
        story.round(0, given, hosted(0, hosted_zone()), variants(0, *held))
        assert story.status(AGREEMENT) is PASS

    def test_a_serial_alone_is_disagreement_and_names_the_server(self) -> None:
        servers = tuple(ServerSeen(x, f"192.0.2.{n}:53", "", 40 + n, SERVERS) for n, x in enumerate(SERVERS, 1))
        story = Story().round(0, authority(0, ON_OLD), zone_seen(0, servers=servers))
        said = story.said(AGREEMENT, FAIL)
        assert "ns1.example.com" in said
        assert "41" in said
        assert "42" in said

    def test_serials_of_two_primaries_cannot_be_compared(self) -> None:
        def of(*serials: tuple[str, int]) -> Story:
            servers = tuple(
                ServerSeen(f"ns{n}.example.com.", f"192.0.2.{n}:53", "", serial, SERVERS, primary)
                for n, (primary, serial) in enumerate(serials, 1)
            )
            return Story().round(0, authority(0, reply(a(NEW))), zone_seen(0, servers=servers))

        assert of(("ns-1.awsdns-2.org.", 1), ("dns1.other.example.", 40)).status("dns.zone-agreement") is Status.PASS
        story = of(("ns-1.awsdns-2.org.", 1), ("dns1.other.example.", 40), ("dns1.other.example.", 39))
        assert "ns3.example.com (192.0.2.3:53) has 39, others 40" in story.said("dns.zone-agreement", Status.FAIL)

    def test_a_silent_server_is_unknown(self) -> None:
        silent = ServerSeen(SERVERS[1], "192.0.2.2:53", "timeout", -1, ())
        story = Story().round(0, authority(0, ON_OLD), zone_seen(0, servers=(zone_seen(0).servers[0], silent)))
        assert "ns2" in story.said(AGREEMENT, UNKNOWN)
        story = Story().round(0, authority(0, ON_OLD, TIMEOUT))
        assert "app.example.com A" in story.said(AGREEMENT, UNKNOWN)

    def test_a_hop_of_ones_own_is_compared_a_vendors_is_not(self) -> None:
        edge = "edge.example.com."
        differing = [reply(a(OLD, owner=edge)), reply(a(NEW, owner=edge))]
        own = Story().round(0, authority(0, reply(cname(edge))), authority(0, *differing, name=edge, hop=2))
        assert own.status(AGREEMENT) is FAIL
        vendor = Story()
        vendor.round(0, authority(0, reply(cname(edge))), authority(0, *differing, name=edge, hop=2, in_plan=False))
        assert "edge" not in " ".join(x.subject for x in vendor.findings(AGREEMENT))

    def test_an_earlier_round_is_not_the_present(self) -> None:
        story = Story().round(0, authority(0, ON_OLD))
        story.round(10, usual=False)
        assert {x.status for x in story.findings(AGREEMENT)} == {UNKNOWN}
