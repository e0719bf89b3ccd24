"""Interception, Route 53's state, negative and NS TTLs, DNSSEC, CAA."""

from __future__ import annotations

from datetime import datetime

import pytest

from cutover.check import all_checks
from cutover.finding import Severity, Status
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import InterceptionSeen
from cutover.observations.provider import ChangeStatus
from tests.checks.kit import (
    NAME,
    NEW,
    NEW6,
    NXDOMAIN,
    OLD,
    TIMEOUT,
    Story,
    a,
    authority,
    edit,
    make_plan,
    name_seen,
    ns,
    panel,
    polled,
    reply,
    resolver,
    t,
    trail,
    zone_seen,
)

FAIL, PASS, UNKNOWN, WARN, SKIP = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.WARN, Status.SKIP
ON_OLD = reply(a(OLD))


@pytest.mark.parametrize(
    ("id", "severity", "phases"),
    [
        ("dns.delegation", "blocker", "P W"),
        ("dns.zone-agreement", "blocker", "P W"),
        ("dns.ttl-lowered", "blocker", "P"),
        ("dns.ttl-aged", "blocker", "P"),
        ("dns.record-plan", "blocker", "P W"),
        ("dns.negative-ttl", "warning", "P"),
        ("dns.delegation-ttl", "warning", "P"),
        ("dns.dnssec", "warning", "P"),
        ("dns.caa", "warning", "P"),
        ("dns.interception", "warning", "P W"),
        ("dns.change-insync", "blocker", "W"),
        ("dns.authority-converged", "blocker", "W"),
        ("dns.resolvers-converged", "blocker", "W"),
        ("dns.horizon", "blocker", "W"),
    ],
)
def test_severities_and_phases_are_the_documented_ones(id: str, severity: str, phases: str) -> None:
    one = all_checks()[id]
    assert one.severity is Severity(severity)
    assert " ".join(x.value[0].upper() for x in one.phases) == phases


class TestInterception:
    def seen(self, **values: object) -> Status:
        given = {"canary": "192.0.2.1", "answered": False, "error": "", **values}
        story = Story().round(0, InterceptionSeen(at=t(0), **given), panel(0, resolver("r1")))  # type: ignore[arg-type]
        return story.status("dns.interception")

    def test_by_what_the_canary_does(self) -> None:
        assert self.seen() is PASS
        assert self.seen(answered=True) is FAIL
        assert self.seen(error="no route") is UNKNOWN

    def test_it_says_how_many_resolvers_are_void(self) -> None:
        story = Story().round(
            0,
            InterceptionSeen(at=t(0), canary="192.0.2.1", answered=True),
            panel(0, resolver("r1"), resolver("r2"), resolver("h1", transport="https")),
        )
        said = story.said("dns.interception", FAIL)
        assert "2 plain-DNS resolvers are void" in said
        assert "1 over TLS or HTTPS" in said

    def test_turned_off_is_a_skip_and_unasked_is_unknown(self) -> None:
        off = Story(make_plan({"dns": {"interception_canary": ""}})).round(0)
        assert off.status("dns.interception") is SKIP
        assert Story().round(0).status("dns.interception") is UNKNOWN
        failed = ProbeFailed(at=t(0), probe="dns.interception", error="no socket")
        assert "no socket" in Story().round(0, failed).said("dns.interception", UNKNOWN)


class TestChangeInsync:
    def story(self, *seen: object, provider: str | None = "route53") -> Story:
        story = Story(make_plan(provider=provider))
        return story.round(0, authority(0, ON_OLD), *seen)  # type: ignore[arg-type]

    @staticmethod
    def change(status: str, id: str = "C1", submitted: datetime | None = None) -> ChangeStatus:
        return ChangeStatus(at=t(0), name=NAME, change_id=id, status=status, submitted_at=submitted)

    def test_by_status(self) -> None:
        assert self.story(self.change("INSYNC")).status("dns.change-insync") is PASS
        pending = self.story(self.change("INSYNC", "C0"), self.change("PENDING", "C2", t(-90)))
        assert "C2 is PENDING for 1 min 30 s" in pending.said("dns.change-insync", FAIL)

    def test_no_change_is_a_skip_but_one_that_could_not_be_asked_is_unknown(self) -> None:
        assert self.story().status("dns.change-insync") is SKIP
        assert self.story(provider="none").status("dns.change-insync") is SKIP
        assert self.story(trail(0, edit(-60, NEW))).status("dns.change-insync") is UNKNOWN
        assert self.story(trail(0, edit(-90000, NEW))).status("dns.change-insync") is SKIP
        denied = ProbeFailed(
            at=t(0), probe="route53.change", about=NAME, error="AccessDenied", permission="route53:GetChange"
        )
        assert "route53:GetChange" in self.story(denied).said("dns.change-insync", UNKNOWN)

    def test_an_earlier_insync_is_not_the_present(self) -> None:
        story = self.story(self.change("INSYNC"), trail(0, edit(-60, NEW)))
        story.round(30, authority(30, ON_OLD))
        assert story.status("dns.change-insync") is UNKNOWN


class TestNegativeTtl:
    def test_a_name_that_will_be_created_warns_with_the_numbers(self) -> None:
        story = Story().round(0, authority(0, NXDOMAIN))
        said = story.said("dns.negative-ttl", WARN)
        assert "300 s" in said
        assert "60 s" in said

    def test_a_family_that_will_be_created_counts(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"], new=[NEW, NEW6]))
        story.round(0, authority(0, ON_OLD), authority(0, reply(), rtype="AAAA"))
        assert "AAAA" in story.said("dns.negative-ttl", WARN)
        without = Story(make_plan(types=["A", "AAAA"]))
        without.round(0, authority(0, ON_OLD), authority(0, reply(), rtype="AAAA"))
        assert without.status("dns.negative-ttl") is SKIP

    def test_within_the_limit_passes_and_an_unseen_soa_is_unknown(self) -> None:
        low = Story().round(0, authority(0, NXDOMAIN), zone_seen(0, soa_minimum=30))
        assert low.status("dns.negative-ttl") is PASS
        unseen = Story().round(0, authority(0, NXDOMAIN), zone_seen(0, soa_ttl=-1, soa_minimum=-1))
        assert unseen.status("dns.negative-ttl") is UNKNOWN
        assert Story().round(0).status("dns.negative-ttl") is UNKNOWN


class TestDelegationTtl:
    def test_it_shows_both_numbers_and_warns_when_the_delegation_moved(self) -> None:
        story = Story().round(0, zone_seen(0, parent_ns=ns(172800), child_ns=ns(3600)))
        said = story.said("dns.delegation-ttl", PASS)
        assert "172800 s at the parent, 3600 s at the zone" in said
        story.round(10, zone_seen(10, parent_ns=ns(172800, ("ns9.example.net.",))))
        assert "172800" in story.said("dns.delegation-ttl", WARN)

    def test_unseen_is_unknown(self) -> None:
        assert Story().round(0, zone_seen(0, parent_ns=(), child_ns=())).status("dns.delegation-ttl") is UNKNOWN
        assert Story().round(0, usual=False).status("dns.delegation-ttl") is UNKNOWN


class TestDnssec:
    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            ("unsigned", PASS),
            ("signed", PASS),
            ("broken: the DS fits no key", FAIL),
            ("unknown: the parent was not asked", UNKNOWN),
            ("", UNKNOWN),
        ],
    )
    def test_by_state(self, state: str, expected: Status) -> None:
        assert Story().round(0, zone_seen(0, dnssec=state)).status("dns.dnssec") is expected

    def test_signed_and_moving_warns_of_the_ds(self) -> None:
        story = Story().round(0, zone_seen(0, dnssec="signed"))
        story.round(10, zone_seen(10, dnssec="signed", parent_ns=ns(servers=("ns9.example.net.",))))
        assert "DS" in story.said("dns.dnssec", WARN)

    def test_unseen_is_unknown(self) -> None:
        assert Story().round(0, usual=False).status("dns.dnssec") is UNKNOWN


class TestCaa:
    def test_by_records(self) -> None:
        assert Story().round(0).status("dns.caa") is PASS
        story = Story().round(0, name_seen(0, caa=('example.com. 0 issue "letsencrypt.org"',)))
        assert "only letsencrypt.org may issue (CAA at example.com)" in story.said("dns.caa", WARN)
        nobody = Story().round(0, name_seen(0, caa=('example.com. 0 issue ";"',)))
        assert "nobody may issue" in nobody.said("dns.caa", WARN)
        report = Story().round(0, name_seen(0, caa=('example.com. 0 iodef "mailto:a@example.com"',)))
        assert report.status("dns.caa") is PASS

    def test_new_at_aws_needs_amazon(self) -> None:
        plan = make_plan(new=["d111.cloudfront.net"])
        without = Story(plan).round(0, name_seen(0, caa=('example.com. 0 issue "letsencrypt.org"',)))
        assert "amazon.com" in without.said("dns.caa", FAIL)
        records = ('example.com. 0 issue "letsencrypt.org"', 'example.com. 0 issue "amazontrust.com; x=y"')
        assert Story(plan).round(0, name_seen(0, caa=records)).status("dns.caa") is WARN

    def test_unseen_is_unknown(self) -> None:
        assert Story().round(0, name_seen(0, caa_error="SERVFAIL")).status("dns.caa") is UNKNOWN
        assert Story().round(0, usual=False).status("dns.caa") is UNKNOWN


def test_no_dns_check_passes_on_an_earlier_round() -> None:
    """Everything was fine an hour ago, and this round saw nothing."""
    story = Story(make_plan(previous_ttl=60))
    story.round(0, authority(0, ON_OLD))
    on_new = reply(a(NEW))
    story.round(100, authority(100, on_new), panel(100, resolver("r1")), polled(100, {"r1": on_new}))
    passing = {
        id
        for id, one in all_checks().items()
        if id.startswith("dns.")
        for phase in one.phases
        if PASS in {x.status for x in story.findings(id, phase)}
    }
    assert {"dns.authority-converged", "dns.resolvers-converged", "dns.record-plan", "dns.delegation"} <= passing
    story.round(3700, usual=False)
    for id, one in all_checks().items():
        if id.startswith("dns.") and id != "dns.horizon":
            for phase in one.phases:
                assert not [x for x in story.findings(id, phase) if x.status is PASS], id


def test_a_silent_server_never_passes_for_a_sound_one() -> None:
    story = Story(make_plan(previous_ttl=60)).round(0, authority(0, reply(a(NEW)), TIMEOUT))
    for id in ("dns.ttl-lowered", "dns.ttl-aged", "dns.record-plan", "dns.authority-converged"):
        assert story.status(id, all_checks()[id].phases[0]) is UNKNOWN, id
