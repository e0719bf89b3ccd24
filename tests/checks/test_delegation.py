"""``dns.delegation``: which zone the world asks, and whether its servers know it."""

from __future__ import annotations

from typing import Any

from cutover.finding import Finding, Phase, Status
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import ServerSeen
from tests.checks.kit import (
    NAME,
    NEW,
    OLD,
    SERVERS,
    TIMEOUT,
    ZONE,
    Story,
    a,
    authority,
    hosted,
    hosted_zone,
    make_plan,
    name_seen,
    ns,
    reply,
    t,
    variant,
    variants,
    zone_seen,
)

CHECK = "dns.delegation"
FAIL, PASS, UNKNOWN, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.WARN
ELSEWHERE = ("ns-1.awsdns-9.net.", "ns-2.awsdns-9.org.")


def server(number: int, lame: str = "") -> ServerSeen:
    return ServerSeen(SERVERS[number - 1], f"192.0.2.{number}:53", lame, -1 if lame else 7, SERVERS)


def of_zone(story: Story, phase: Phase | None = None) -> Finding:
    (found,) = [x for x in story.findings(CHECK, phase) if "hosted" in x.subject]
    return found


class TestServers:
    def test_a_sound_delegation_passes_and_names_the_servers(self) -> None:
        finding = Story().round(0, authority(0, reply(a(OLD)))).only(CHECK)
        assert finding.status is PASS
        assert "ns1.example.com" in finding.message

    def test_with_authorities_it_says_that_the_parent_was_not_asked(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD))), zone_seen(0, source="authorities"))
        assert story.status(CHECK) is PASS
        assert "parent was not asked" in story.only(CHECK).message

    def test_a_lame_server_fails_and_is_named(self) -> None:
        for lame, heard in (("answers REFUSED for the zone's SOA", reply(rcode="REFUSED")), ("odd", reply(aa=False))):
            story = Story()
            story.round(0, authority(0, reply(a(OLD)), heard), zone_seen(0, servers=(server(1), server(2, lame))))
            said = story.said(CHECK, FAIL)
            assert "ns2.example.com" in said
            assert lame in said
            assert not [x for x in story.findings(CHECK) if x.status is PASS]
        unheard = zone_seen(0, servers=(server(1), server(2, "has no SOA of the zone")))
        assert "has no SOA" in Story().round(0, authority(0, reply(a(OLD)), TIMEOUT), unheard).said(CHECK, FAIL)

    def test_a_zone_that_tells_no_servers_is_compared_with_nothing(self) -> None:
        assert Story().round(0, authority(0, reply(a(OLD))), zone_seen(0, child_ns=())).status(CHECK) is PASS

    def test_a_server_without_an_address_is_lame(self) -> None:
        homeless = ServerSeen(SERVERS[1], "", "no address", -1, ())
        story = Story().round(0, authority(0, reply(a(OLD))), zone_seen(0, servers=(server(1), homeless)))
        assert "no address" in story.said(CHECK, FAIL)

    def test_a_server_that_gives_no_answer_is_unknown(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD)), TIMEOUT), zone_seen(0, servers=(server(1), server(2, "timeout"))))
        assert "ns2.example.com" in story.said(CHECK, UNKNOWN)
        assert story.status(CHECK) is UNKNOWN

    def test_parent_and_zone_that_differ_are_a_warning(self) -> None:
        story = Story().round(
            0, authority(0, reply(a(OLD))), zone_seen(0, parent_ns=ns(servers=(*SERVERS, "ns9.example.com.")))
        )
        assert "ns9.example.com" in story.said(CHECK, WARN)

    def test_what_was_not_seen_is_unknown(self) -> None:
        for seen in (
            [zone_seen(0, parent_ns=())],
            [zone_seen(0, error="no server could be found", servers=())],
            [zone_seen(0, servers=())],
            [name_seen(0, error="the roots do not answer"), zone_seen(0, zone="other.example.")],
        ):
            assert Story().round(0, authority(0, reply(a(OLD))), *seen).status(CHECK) is UNKNOWN
        failed = ProbeFailed(at=t(0), probe="dns.authorities", error="no route")
        assert "no route" in Story().round(0, failed, usual=False).said(CHECK, UNKNOWN)

    def test_one_finding_a_zone_when_all_names_lie_in_it(self) -> None:
        plan = make_plan({"name": [{"name": f"{x}.example.com", "old": [OLD], "new": [NEW]} for x in ("a", "b")]})
        story = Story(plan)
        story.round(0, name_seen(0, name="a.example.com."), name_seen(0, name="b.example.com."), zone_seen(0))
        assert story.only(CHECK).name == ""


class TestHostedZones:
    def story(self, *zones: Any, sets: Any = (), answers: str = OLD, **values: Any) -> Story:
        story = Story(make_plan(provider=values.pop("provider", "route53")))
        return story.round(0, zone_seen(0, **values), authority(0, reply(a(answers))), hosted(0, *zones), *sets)

    def test_the_live_zone_passes(self) -> None:
        finding = of_zone(self.story(hosted_zone("ZLIVE")))
        assert finding.status is PASS
        assert "ZLIVE" in finding.message

    def test_a_second_provider_beside_it_does_not_hide_the_live_zone(self) -> None:
        both = ns(servers=(*SERVERS, "dns1.p01.nsone.net."))
        assert of_zone(self.story(hosted_zone("ZLIVE"), parent_ns=both, child_ns=both)).status is PASS

    def test_a_zone_that_nobody_asks_fails(self) -> None:
        finding = of_zone(self.story(hosted_zone("ZIDLE", servers=ELSEWHERE)))
        assert finding.status is FAIL
        assert "ZIDLE" in finding.message
        assert "awsdns-9" in finding.message
        assert "ns1.example.com" in finding.message

    def test_the_wrong_of_two_was_edited(self) -> None:
        zones = hosted_zone("ZLIVE"), hosted_zone("ZIDLE", servers=ELSEWHERE)
        sets = variants(0, variant(OLD), zone="ZLIVE"), variants(0, variant(NEW), zone="ZIDLE")
        story = self.story(*zones, sets=sets)
        for phase in Phase:
            finding = of_zone(story, phase)
            assert finding.status is FAIL
            assert "ZIDLE" in finding.message
            assert "ZLIVE" in finding.message
        assert "--hosted-zone-id ZLIVE" in of_zone(story, Phase.WATCH).fix

    def test_one_server_on_old_is_enough_for_the_wrong_zone_to_matter(self) -> None:
        zones = hosted_zone("ZLIVE"), hosted_zone("ZIDLE", servers=ELSEWHERE)
        story = Story(make_plan(provider="route53", new=[NEW, "d111.cloudfront.net"]))
        for held in (variant(NEW), variant(alias="d111.cloudfront.net.")):
            sets = variants(0, variant(NEW), zone="ZLIVE"), variants(0, held, zone="ZIDLE")
            story.round(0, authority(0, reply(a(NEW)), reply(a(OLD))), hosted(0, *zones), *sets)
            assert of_zone(story, Phase.WATCH).status is FAIL
            assert "ZIDLE" in of_zone(story, Phase.WATCH).message

    def test_a_zone_that_nobody_asks_fails_also_when_the_provider_was_found(self) -> None:
        finding = of_zone(self.story(hosted_zone("ZIDLE", servers=ELSEWHERE), provider=None))
        assert finding.status is FAIL

    def test_no_zone_at_all_fails_also_with_authorities(self) -> None:
        assert of_zone(self.story(source="authorities")).status is FAIL

    def test_an_undelegated_child_zone_that_was_edited_is_named(self) -> None:
        zones = hosted_zone("ZLIVE"), hosted_zone("ZCHILD", NAME, servers=ELSEWHERE)
        story = self.story(*zones, sets=[variants(0, variant(NEW), zone="ZCHILD")])
        assert "ZCHILD" in of_zone(story, Phase.WATCH).message
        assert of_zone(story, Phase.WATCH).status is FAIL

    def test_a_duplicate_that_holds_the_name_blocks_before_the_change_and_warns_after(self) -> None:
        zones = hosted_zone("ZLIVE"), hosted_zone("ZIDLE", servers=ELSEWHERE)
        sets = variants(0, variant(NEW), zone="ZLIVE"), variants(0, variant(NEW), zone="ZIDLE")
        story = self.story(*zones, sets=sets, answers=NEW)
        assert of_zone(story, Phase.PREFLIGHT).status is FAIL
        assert of_zone(story, Phase.WATCH).status is WARN
        assert "edit zone ZLIVE" in of_zone(story, Phase.WATCH).message
        empty = self.story(*zones)
        assert of_zone(empty, Phase.PREFLIGHT).status is WARN

    def test_two_that_cannot_be_told_apart_fail_with_both_names(self) -> None:
        story = self.story(hosted_zone("ZONE"), hosted_zone("ZTWO"))
        finding = of_zone(story)
        assert finding.status is FAIL
        assert "ZONE" in finding.message
        assert "ZTWO" in finding.message

    def test_a_private_zone_is_named_and_alone_it_is_none(self) -> None:
        beside = self.story(hosted_zone("ZLIVE"), hosted_zone("ZPRIV", private=True))
        assert "ZPRIV" in beside.said(CHECK, WARN)
        assert beside.status(CHECK) is WARN
        alone = self.story(hosted_zone("ZPRIV", private=True))
        assert "ZPRIV" in alone.said(CHECK, FAIL)

    def test_no_zone_in_the_account_fails_when_the_plan_says_route53_else_is_unknown(self) -> None:
        assert of_zone(self.story()).status is FAIL
        awsdns = ns(servers=ELSEWHERE)
        assert of_zone(self.story(provider=None, parent_ns=awsdns, child_ns=awsdns)).status is UNKNOWN

    def test_with_authorities_a_zone_with_other_servers_is_a_warning(self) -> None:
        story = self.story(hosted_zone("ZONLY", servers=ELSEWHERE), source="authorities")
        assert of_zone(story).status is WARN

    def test_a_missing_permission_is_unknown_and_named(self) -> None:
        failure = ProbeFailed(
            at=t(0), probe="route53", about=NAME, error="AccessDenied", permission="route53:ListHostedZonesByName"
        )
        story = Story(make_plan(provider="route53")).round(0, authority(0, reply(a(OLD))), failure)
        assert of_zone(story).status is UNKNOWN
        assert "route53:ListHostedZonesByName" in of_zone(story).message

    def test_another_provider_has_no_hosted_zone_to_compare(self) -> None:
        story = Story(make_plan(provider="none")).round(0, authority(0, reply(a(OLD))), hosted(0, hosted_zone()))
        assert [x.subject for x in story.findings(CHECK)] == [ZONE.rstrip(".")]
