"""``dns.ttl-lowered`` and ``dns.ttl-aged``: may we switch, and if not, when."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from typing import Any

import pytest

from cutover.finding import Phase, Severity, Status
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import InterceptionSeen, NameSeen, Reply
from cutover.observations.provider import Variant
from tests.checks.kit import (
    NAME,
    NEW,
    NXDOMAIN,
    OLD,
    OLD6,
    TIMEOUT,
    ZONE,
    Story,
    a,
    authority,
    cname,
    edit,
    hosted,
    hosted_zone,
    make_plan,
    name_seen,
    ns,
    panel,
    polled,
    reply,
    resolver,
    t,
    trail,
    variant,
    variants,
    zone_seen,
)

LOWERED, AGED = "dns.ttl-lowered", "dns.ttl-aged"
FAIL, PASS, UNKNOWN, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.WARN
HOUR, DAY = 3600, 86400


class TestLowered:
    def test_a_long_ttl_fails_with_hop_and_numbers(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, 60)), reply(a(OLD, DAY))))
        finding = story.only(LOWERED)
        assert finding.status is FAIL
        assert finding.message == "TTL is 86400 s at hop 1 of 1 (limit 60 s)"
        assert finding.measured == {"ttl": DAY, "limit": 60}
        assert finding.subject == "app.example.com A"

    def test_the_limit_itself_passes_and_the_plan_may_set_another(self) -> None:
        seen = authority(0, reply(a(OLD, 60)))
        assert Story().round(0, seen).status(LOWERED) is PASS
        assert Story(make_plan({"dns": {"max_ttl": 59}})).round(0, seen).status(LOWERED) is FAIL

    def test_hops_of_ones_own_block_and_a_vendors_inform(self) -> None:
        edge, vendor = "edge.example.com.", "ingress.porter.example."
        story = Story().round(
            0,
            authority(0, reply(cname(edge, 60))),
            authority(0, reply(cname(vendor, 300, edge)), name=edge, hop=2),
            authority(0, reply(a(OLD, DAY, vendor)), name=vendor, hop=3, in_plan=False, zone="porter.example."),
        )
        assert story.said(LOWERED, PASS) == "app.example.com CNAME: TTL is 60 s at hop 1 of 3 (limit 60 s)"
        assert story.said(LOWERED, FAIL) == "edge.example.com CNAME: TTL is 300 s at hop 2 of 3 (limit 60 s)"
        (below,) = [x for x in story.findings(LOWERED) if x.status is WARN]
        assert below.severity is Severity.INFO
        assert "hop 3 of 3" in below.message

    def test_every_type_counts(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"]))
        story.round(0, authority(0, reply(a(OLD, 60))), authority(0, reply(a(OLD6, 300)), rtype="AAAA"))
        assert "AAAA" in story.said(LOWERED, FAIL)

    def test_a_server_that_does_not_answer_makes_the_rrset_unknown(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, 60)), TIMEOUT))
        assert story.status(LOWERED) is UNKNOWN
        assert "ns2" in story.said(LOWERED, UNKNOWN)
        assert not [x for x in story.findings(LOWERED) if x.status is PASS]
        worse = Story().round(0, authority(0, reply(a(OLD, 300)), TIMEOUT))
        assert worse.status(LOWERED) is FAIL

    def test_what_was_not_asked_in_this_round_is_unknown(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, 60))))
        story.round(30, ProbeFailed(at=t(30), probe="dns.authorities", error="no route"))
        for check in (LOWERED, AGED):
            assert "no route" in story.said(check, UNKNOWN)
            assert story.status(check) is UNKNOWN

    def test_a_chain_that_cannot_be_followed_is_unknown(self) -> None:
        story = Story().round(0, authority(0, reply(cname("x.y.", 60))), name_seen(0, error="CNAME loop"))
        assert "CNAME loop" in story.said(LOWERED, UNKNOWN)

    def test_a_name_that_does_not_exist_has_nothing_to_lower(self) -> None:
        assert Story().round(0, authority(0, NXDOMAIN)).status(LOWERED) is PASS
        assert Story().round(0, authority(0, NXDOMAIN, TIMEOUT)).status(LOWERED) is UNKNOWN

    def test_an_alias_has_a_ttl_that_nobody_can_set(self) -> None:
        story = Story(make_plan({"dns": {"max_ttl": 30}}, provider="route53"))
        alias = variant(alias="lb.eu-west-1.elb.amazonaws.com.")
        story.round(0, authority(0, reply(a(OLD, 60))), hosted(0, hosted_zone()), variants(0, alias))
        finding = story.only(LOWERED)
        assert (finding.status, finding.severity) == (WARN, Severity.INFO)
        plain = Story(make_plan({"dns": {"max_ttl": 30}}, provider="route53"))
        plain.round(0, authority(0, reply(a(OLD, 60))), hosted(0, hosted_zone()), variants(0, variant(OLD)))
        assert plain.status(LOWERED) is FAIL

    def test_an_alias_inside_the_zone_has_the_ttl_of_its_end_which_can_be_lowered(self) -> None:
        story = in_account(0, (60, DAY), variant(alias=BALANCER), variant(OLD, ttl=DAY, name=BALANCER))
        assert story.only(LOWERED).status is FAIL
        assert '"Name":"lb.example.com."' in story.only(LOWERED).fix
        assert "not lowered yet" in story.only(AGED).message

    def test_a_variant_that_no_answer_from_here_shows_counts(self) -> None:
        eu = variant(OLD, routing="geolocation", set_identifier="eu")
        us = variant(OLD, ttl=DAY, routing="geolocation", set_identifier="us")
        story = in_account(0, (60, 60), eu, us)
        assert "do not show" in story.said(LOWERED, FAIL)
        assert story.only(LOWERED).measured == {"ttl": DAY, "limit": 60}
        assert story.only(AGED).until == story.now + timedelta(seconds=DAY)

    def test_a_wildcards_own_record_set_is_lowered_never_one_of_the_name_made(self) -> None:
        story = in_account(0, (DAY, DAY), variant(OLD, ttl=DAY, name=WILDCARD))
        assert '"Name":"*.example.com."' in story.only(LOWERED).fix
        blind = Story(make_plan(provider="route53"))
        blind.round(0, authority(0, reply(a(OLD, DAY))), name_seen(0, wildcard=True))
        assert blind.only(LOWERED).fix == ""

    def test_the_fix_is_an_exact_command(self) -> None:
        story = Story(make_plan({"providers": {"route53": {"profile": "prod"}}}))
        held = variants(0, variant(OLD, ttl=DAY), zone="ZLIVE")
        story.round(0, authority(0, reply(a(OLD, DAY))), hosted(0, hosted_zone("ZLIVE")), held)
        words = shlex.split(story.only(LOWERED).fix)
        assert words[:5] == ["aws", "route53", "change-resource-record-sets", "--hosted-zone-id", "ZLIVE"]
        assert words[5:7] == ["--profile", "prod"]
        (change,) = json.loads(words[-1])["Changes"]
        assert change["Action"] == "UPSERT"
        assert change["ResourceRecordSet"]["TTL"] == 60
        assert change["ResourceRecordSet"]["ResourceRecords"] == [{"Value": OLD}]

    def test_without_the_account_the_zone_is_left_open_and_other_providers_get_no_command(self) -> None:
        awsdns = ns(servers=("ns-1.awsdns-2.org.",))
        story = Story().round(0, authority(0, reply(a(OLD, DAY))), zone_seen(0, parent_ns=awsdns, child_ns=awsdns))
        assert "--hosted-zone-id YOUR_ZONE_ID" in story.only(LOWERED).fix
        assert Story().round(0, authority(0, reply(a(OLD, DAY)))).only(LOWERED).fix == ""


WILDCARD, BALANCER = "*.example.com.", "lb.example.com."


def in_account(at: float, ttls: tuple[int, int], *held: Variant, story: Story | None = None) -> Story:
    """A round in which two servers give old with these TTLs, and the account's zone holds these record sets."""
    story = story or Story(make_plan(provider="route53"))
    answers = authority(at, *(reply(a(OLD, ttl)) for ttl in ttls))
    return story.round(at, answers, hosted(at, hosted_zone()), variants(at, *held))


def lowered_story(**entry: Any) -> Story:
    """An hour's TTL at 0, lowered by 600."""
    story = Story(make_plan(**entry))
    story.round(0, authority(0, reply(a(OLD, HOUR))))
    return story.round(600, authority(600, reply(a(OLD, 60))))


class TestAged:
    def test_not_lowered_yet_says_when_it_would_be_safe(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, HOUR))))
        finding = story.only(AGED, at=1)
        assert finding.status is FAIL
        assert finding.until == t(1 + HOUR)
        assert "not lowered yet" in finding.message

    def test_the_ledgers_own_sightings_say_until_when(self) -> None:
        story = lowered_story()
        finding = story.only(AGED)
        assert finding.status is FAIL
        assert finding.until == t(600 + HOUR)
        assert "3600 s" in finding.message
        assert "this ledger" in finding.message
        story.round(599 + HOUR, authority(599 + HOUR, reply(a(OLD, 60))))
        assert story.status(AGED) is FAIL
        story.round(600 + HOUR, authority(600 + HOUR, reply(a(OLD, 60))))
        assert story.only(AGED).status is PASS

    def test_the_slowest_server_decides_when_it_was_lowered(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, HOUR))))
        story.round(600, authority(600, reply(a(OLD, 60)), reply(a(OLD, HOUR))))
        story.round(700, authority(700, reply(a(OLD, 60))))
        assert story.only(AGED).until == t(700 + HOUR)

    def test_cloudtrail_says_when_it_was_lowered_and_from_what(self) -> None:
        story = Story()
        edits = [edit(-30 * DAY, OLD, ttl=HOUR), edit(-1000, OLD, ttl=60)]
        story.round(0, authority(0, reply(a(OLD, 60))), trail(0, *edits))
        finding = story.only(AGED)
        assert finding.until == t(HOUR - 1000)
        assert "CloudTrail" in finding.message
        story.round(HOUR, authority(HOUR, reply(a(OLD, 60))), trail(HOUR, *edits))
        assert story.only(AGED).status is PASS

    def test_an_edit_that_nothing_explains_is_no_pass_however_old_the_ledger(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, 60))))
        story.round(500, authority(500, reply(a(OLD, 60))), trail(500, edit(-30, OLD, ttl=60)))
        finding = story.only(AGED)
        assert finding.status is UNKNOWN
        assert "previous_ttl" in finding.message
        late = 8 * DAY
        story.round(late, authority(late, reply(a(OLD, 60))), trail(late, edit(-30, OLD, ttl=60)))
        assert story.only(AGED).status is PASS

    def test_a_trail_without_edits_does_not_know_of_its_own_last_minutes(self) -> None:
        story = Story().round(0, authority(0, reply(a(OLD, 60))), trail(0))
        assert story.only(AGED).status is UNKNOWN
        old_enough = Story()
        old_enough.round(0, authority(0, reply(a(OLD, 60))))
        old_enough.round(1000, authority(1000, reply(a(OLD, 60))), trail(1000))
        assert old_enough.only(AGED).status is PASS

    @pytest.mark.parametrize("owner", [WILDCARD, BALANCER])
    def test_the_history_of_what_stands_behind_the_name_is_its_own(self, owner: str) -> None:
        held = [variant(OLD, name=owner), *([variant(alias=BALANCER)] if owner == BALANCER else [])]
        edits = edit(-30 * DAY, OLD, ttl=DAY, name=owner), edit(-1200, OLD, ttl=60, name=owner)
        story = Story(make_plan(provider="route53"))
        for at in (0, 1000):
            answers = authority(at, reply(a(OLD, 60)))
            story.round(at, answers, hosted(at, hosted_zone()), variants(at, *held), trail(at, *edits))
        finding = story.only(AGED)
        assert (finding.status, finding.until) == (FAIL, t(DAY - 1200))
        story.round(DAY, authority(DAY, reply(a(OLD, 60))), trail(DAY, *edits))
        assert story.only(AGED).status is PASS

    def test_the_account_tells_nothing_of_a_hop_in_another_zone(self) -> None:
        edge = "edge.example.net."
        story = Story(make_plan(provider="route53"))
        for at in (0, 1000):
            chain = NameSeen(at=t(at), name=NAME, owners=(NAME, edge), zones=(ZONE, "example.net."), apex=ZONE)
            hop = authority(at, reply(a(OLD, 60, edge)), name=edge, hop=2, zone="example.net.")
            held = polled(at, {"r1": reply(cname(edge, 60), a(OLD, DAY, edge))})
            members = panel(at, resolver("r1"))
            story.round(at, authority(at, reply(cname(edge, 60))), hop, chain, trail(at), members, held)
        assert "CloudTrail" not in "".join(x.message for x in story.findings(AGED) if x.subject.startswith("edge"))

    def test_the_history_of_a_zone_that_was_just_delegated_to_knows_nothing_of_before(self) -> None:
        story = Story(make_plan(provider="route53"))
        story.round(0, authority(0, reply(a(OLD, 60))), zone_seen(0, parent_ns=ns(60, ("ns.elsewhere.example.",))))
        for at, expected in ((1000, "this ledger"), (1000 + 7 * DAY, "CloudTrail")):
            story.round(at, authority(at, reply(a(OLD, 60))), trail(at))
            assert expected in story.only(AGED).message

    def test_a_hidden_variant_ages_from_the_listing_that_missed_it_or_from_its_edit(self) -> None:
        def held(ttl: int) -> list[Variant]:
            us = variant(OLD, ttl=ttl, routing="geolocation", set_identifier="us")
            return [variant(OLD, routing="geolocation", set_identifier="eu"), us]

        story = in_account(0, (60, 60), *held(DAY))
        in_account(600, (60, 60), *held(60), story=story)
        finding = story.only(AGED, at=700)
        assert (finding.status, finding.until) == (FAIL, t(600 + 60 + DAY))
        told = edit(100, OLD, ttl=60, set_identifier="us")
        story.round(700, authority(700, reply(a(OLD, 60))), hosted(700, hosted_zone()), trail(700, told))
        assert story.only(AGED).until == t(100 + DAY)

    def test_the_instant_that_was_promised_for_a_plain_record_set_stands(self) -> None:
        story = in_account(0, (HOUR, HOUR), variant(OLD, ttl=HOUR))
        in_account(600, (60, 60), variant(OLD, ttl=60), story=story)
        promised = story.only(AGED, at=601).until
        assert promised == t(600 + HOUR)
        assert story.only(AGED, at=630).until == promised, "each look would put it off for a minute"
        assert story.only(AGED, at=601 + HOUR).status is PASS

    def test_an_incomplete_or_short_trail_knows_nothing(self) -> None:
        edits = [edit(-30 * DAY, OLD, ttl=60)]
        for seen in (trail(0, *edits, complete=False), trail(0, *edits, days=6)):
            assert Story().round(0, authority(0, reply(a(OLD, 60))), seen).only(AGED).status is UNKNOWN
        assert Story().round(0, authority(0, reply(a(OLD, 60))), trail(0, *edits)).only(AGED).status is PASS

    def test_the_trail_of_an_account_that_does_not_hold_the_zone_knows_nothing(self) -> None:
        for zones in ([], [hosted_zone(servers=("ns.elsewhere.example.",))], [hosted_zone(private=True)]):
            story = Story(make_plan(provider="route53"))
            story.round(0, authority(0, reply(a(OLD, 60))))
            story.round(1000, authority(1000, reply(a(OLD, 60))), hosted(1000, *zones), trail(1000))
            finding = story.only(AGED)
            assert "CloudTrail" not in finding.message

    def test_an_alias_that_replaced_a_long_ttl_ages_too(self) -> None:
        story = Story(make_plan({"dns": {"max_ttl": 30}}, provider="route53", previous_ttl=30))
        story.round(0, authority(0, reply(a(OLD, HOUR))))
        alias = variants(100, variant(alias="lb.eu-west-1.elb.amazonaws.com."))
        held = polled(100, {"r1": reply(a(OLD, 45))})
        account = hosted(100, hosted_zone())
        story.round(100, authority(100, reply(a(OLD, 60))), account, alias, panel(100, resolver("r1")), held)
        assert story.only(AGED).until == t(100 + HOUR)
        assert story.only(AGED, at=101 + HOUR).status is PASS

    def test_a_deleted_alternative_is_cached_with_the_ttl_that_its_deletion_names(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"], previous_ttl=60))
        story.round(
            0,
            authority(0, reply(a(OLD, 60))),
            authority(0, reply(), rtype="AAAA"),
            trail(0, edit(-100, OLD6, ttl=HOUR, action="DELETE", rtype="AAAA")),
        )
        assert "app.example.com AAAA" in story.said(AGED, FAIL)

    def test_previous_ttl_counts_from_the_first_sighting_of_the_low_one(self) -> None:
        story = Story(make_plan(previous_ttl=HOUR)).round(0, authority(0, reply(a(OLD, 60))))
        finding = story.only(AGED)
        assert finding.until == t(HOUR)
        assert "previous_ttl" in finding.message
        story.round(HOUR + 1, authority(HOUR + 1, reply(a(OLD, 60))))
        assert story.only(AGED).status is PASS

    def test_previous_ttl_counts_from_the_edit_that_cloudtrail_shows(self) -> None:
        story = Story(make_plan(previous_ttl=HOUR))
        story.round(0, authority(0, reply(a(OLD, 60))), trail(0, edit(-1000, OLD, ttl=60)))
        assert story.only(AGED).until == t(HOUR - 1000)

    def test_previous_ttl_below_the_limit_has_nothing_to_age(self) -> None:
        assert Story(make_plan(previous_ttl=60)).round(0, authority(0, reply(a(OLD, 60)))).only(AGED).status is PASS

    def test_nothing_tells_is_unknown(self) -> None:
        finding = Story().round(0, authority(0, reply(a(OLD, 60)))).only(AGED)
        assert finding.status is UNKNOWN
        assert "previous_ttl" in finding.message

    def test_a_silent_server_is_unknown(self) -> None:
        story = Story(make_plan(previous_ttl=60)).round(0, authority(0, reply(a(OLD, 60)), TIMEOUT))
        assert {x.status for x in story.findings(AGED)} == {UNKNOWN}

    def test_what_a_resolver_holds_makes_it_later(self) -> None:
        story = Story(make_plan(previous_ttl=60))
        held = polled(0, {"r1": reply(a(OLD, 900)), "r2": reply(a(OLD, 10))})
        story.round(0, authority(0, reply(a(OLD, 60))), panel(0, resolver("r1"), resolver("r2", "advisory")), held)
        finding = story.only(AGED)
        assert finding.status is FAIL
        assert finding.until == t(900)
        assert "r1" in finding.message

    def test_a_resolver_that_stretches_ttls_does_not_hold_it_for_ever(self) -> None:
        story = Story(make_plan(previous_ttl=60))
        for at in range(0, 2000, 100):
            held = polled(at, {"r1": reply(a(OLD, 900 - at % 900))})
            story.round(at, authority(at, reply(a(OLD, 60))), panel(at, resolver("r1")), held)
        assert story.only(AGED).status is PASS

    def test_a_left_over_that_counts_down_holds_until_it_is_gone(self) -> None:
        story = Story(make_plan(previous_ttl=60))
        for at in range(0, 801, 100):
            held = polled(at, {"r1": reply(a(OLD, 900 - at))})
            story.round(at, authority(at, reply(a(OLD, 60))), panel(at, resolver("r1")), held)
            assert story.only(AGED).until == t(900)

    def test_the_slowest_of_several_lowerings_decides(self) -> None:
        story = Story()
        for at, ttl in ((0, HOUR), (600, 300), (700, 60)):
            story.round(at, authority(at, reply(a(OLD, ttl))))
        assert story.only(AGED).until == t(600 + HOUR)
        assert story.only(AGED, at=1100).status is FAIL

    def test_lowered_by_half_waits_for_the_longer_one(self) -> None:
        story = Story()
        for at, ttl in ((0, DAY), (600, HOUR)):
            story.round(at, authority(at, reply(a(OLD, ttl))))
        assert story.only(AGED).until == t(600 + DAY)

    def test_the_resolver_that_holds_longest_decides(self) -> None:
        for first, second in ((900, 300), (300, 900)):
            story = Story(make_plan(previous_ttl=60))
            held = polled(0, {"r1": reply(a(OLD, first)), "r2": reply(a(OLD, second))})
            members = panel(0, resolver("r1"), resolver("r2"), resolver("r3"))
            story.round(0, authority(0, reply(a(OLD, 60))), members, held)
            assert story.only(AGED).until == t(900)

    @pytest.mark.parametrize("silence", [TIMEOUT, reply(rcode="SERVFAIL"), None])
    def test_what_a_resolver_held_is_not_forgotten_when_it_falls_silent(self, silence: Reply | None) -> None:
        story = Story(make_plan(previous_ttl=60))
        held = polled(0, {"r1": reply(a(OLD, 900))})
        story.round(0, authority(0, reply(a(OLD, 60))), panel(0, resolver("r1")), held)
        story.round(100, authority(100, reply(a(OLD, 60))), polled(100, {"r1": silence} if silence else {}))
        assert story.only(AGED).until == t(900)
        story.round(200, authority(200, reply(a(OLD, 60))), polled(200, {"r1": reply(a(OLD, 60))}))
        assert story.only(AGED).status is PASS

    def test_what_was_said_over_an_intercepted_network_does_not_count(self) -> None:
        held = polled(0, {"r1": reply(a(OLD, 900))})
        void = Story(make_plan(previous_ttl=60))
        seen = InterceptionSeen(at=t(0), canary="192.0.2.1", answered=True)
        void.round(0, authority(0, reply(a(OLD, 60))), panel(0, resolver("r1")), held, seen)
        assert void.only(AGED).status is PASS

    def test_what_a_resolver_holds_of_another_rrset_does_not_count(self) -> None:
        story = Story(make_plan(previous_ttl=60))
        held = polled(0, {"r1": reply(cname("elsewhere.example.", 900))})
        story.round(0, authority(0, reply(a(OLD, 60))), panel(0, resolver("r1")), held)
        assert story.only(AGED).status is PASS

    def test_one_that_fetched_between_the_sightings_may_hold_the_long_ttl(self) -> None:
        story = Story()
        for at, ttl, left in ((0, 100, 100), (150, HOUR, 40), (200, 60, HOUR - 60)):
            held = polled(at, {"r1": reply(a(OLD, left))})
            story.round(at, authority(at, reply(a(OLD, ttl))), panel(at, resolver("r1")), held)
        assert story.only(AGED).until == t(200 + HOUR)

    def test_a_hop_that_the_chain_left_is_none_of_it(self) -> None:
        edge = "edge.example.com."
        story = Story(make_plan(previous_ttl=60)).round(
            0, authority(0, reply(cname(edge, 60))), authority(0, reply(a(OLD, HOUR, edge)), name=edge, hop=2)
        )
        story.round(600, authority(600, reply(a(OLD, 60))))
        assert {x.subject for x in story.findings(AGED)} == {"app.example.com A", "app.example.com CNAME"}
        assert story.status(AGED) is PASS

    def test_what_was_removed_more_than_a_week_ago_is_not_mentioned(self) -> None:
        story = Story(make_plan(previous_ttl=60)).round(0, authority(0, reply(cname("edge.example.com.", 60))))
        for at, subjects in ((10, 2), (11 + 7 * DAY, 1)):
            story.round(at, authority(at, reply(a(OLD, 60))))
            assert len(story.findings(AGED)) == subjects

    def test_a_hop_of_ones_own_ages_too(self) -> None:
        edge = "edge.example.com."
        story = Story()
        for at, ttl in ((0, HOUR), (600, 60)):
            story.round(
                at, authority(at, reply(cname(edge, 60))), authority(at, reply(a(OLD, ttl, edge)), name=edge, hop=2)
            )
        assert "edge.example.com A" in story.said(AGED, FAIL)

    def test_a_cname_that_was_replaced_ages_too(self) -> None:
        story = Story().round(0, authority(0, reply(cname("edge.example.com.", HOUR))))
        story.round(600, authority(600, reply(a(OLD, 60))))
        assert "app.example.com CNAME" in story.said(AGED, FAIL)

    def test_a_name_that_does_not_exist_passes_only_when_every_server_says_so(self) -> None:
        assert Story().round(0, authority(0, NXDOMAIN)).status(AGED) is PASS
        assert Story().round(0, authority(0, NXDOMAIN, TIMEOUT)).status(AGED) is UNKNOWN

    def test_it_speaks_before_the_change_alone(self) -> None:
        story = lowered_story()
        assert story.findings(AGED, Phase.WATCH) == []
        assert NEW in str(story.plan.named(NAME).new)
