"""``dns.record-plan``: the variant that nobody thought of."""

from __future__ import annotations

from typing import Any

import pytest

from cutover.finding import Phase, Status
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.dns import Record, TargetAddresses
from cutover.observations.provider import Variant
from tests.checks.kit import (
    NAME,
    NEW,
    NEW6,
    NXDOMAIN,
    OLD,
    OLD6,
    STRANGER,
    TIMEOUT,
    Story,
    a,
    authority,
    cname,
    hosted,
    hosted_zone,
    make_plan,
    ns,
    reply,
    t,
    variant,
    variants,
    zone_seen,
)

CHECK = "dns.record-plan"
FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE
P, W = Phase.PREFLIGHT, Phase.WATCH


def weighted(address: str, weight: int, identifier: str) -> Variant:
    return variant(address, routing="weighted", set_identifier=identifier, detail=f"weight={weight}", weight=weight)


def route53(*held: Variant, answers: str = NEW, **entry: Any) -> Story:
    story = Story(make_plan(**{"provider": "route53", **entry}))
    return story.round(0, authority(0, reply(a(answers))), hosted(0, hosted_zone()), variants(0, *held))


class TestFromAnswers:
    @pytest.mark.parametrize(
        ("given", "before", "after"),
        [
            (reply(a(OLD)), PASS, FAIL),
            (reply(a(NEW)), PASS, PASS),
            (reply(a(OLD), a(NEW)), PASS, FAIL),
            (reply(a(STRANGER)), FAIL, FAIL),
            (reply(a(OLD), a(STRANGER)), FAIL, FAIL),
            (NXDOMAIN, PASS, PASS),
            (TIMEOUT, UNKNOWN, UNKNOWN),
            (reply(a(NEW), aa=False), UNKNOWN, UNKNOWN),
        ],
    )
    def test_by_side_and_phase(self, given: Any, before: Status, after: Status) -> None:
        story = Story(make_plan(provider="none")).round(0, authority(0, given))
        assert story.status(CHECK, P) is before
        assert story.status(CHECK, W) is after

    def test_it_says_that_hidden_variants_cannot_be_seen(self) -> None:
        story = Story(make_plan(provider="none")).round(0, authority(0, reply(a(NEW))))
        assert "cannot be seen" in story.said(CHECK, PASS, W)

    def test_aaaa_left_on_old_is_named(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"], old=[OLD, OLD6], new=[NEW, NEW6]))
        story.round(0, authority(0, reply(a(NEW))), authority(0, reply(a(OLD6)), rtype="AAAA"))
        assert "app.example.com AAAA" in story.said(CHECK, FAIL, W)

    def test_a_family_that_new_lacks_must_be_gone_after_the_change(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"], old=[OLD, OLD6]))
        story.round(0, authority(0, reply(a(NEW))), authority(0, reply(a(OLD6)), rtype="AAAA"))
        assert story.status(CHECK, P) is PASS
        assert "AAAA" in story.said(CHECK, FAIL, W)

    def test_https_hints_count(self) -> None:
        hint = Record(NAME, "HTTPS", 60, f'1 . alpn="h2" ipv4hint="{OLD}"')
        story = Story().round(0, authority(0, reply(a(NEW))), authority(0, reply(hint), rtype="HTTPS"))
        assert "app.example.com HTTPS" in story.said(CHECK, FAIL, W)

    def test_a_type_that_was_not_asked_is_unknown(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"])).round(0, authority(0, reply(a(NEW))))
        assert "AAAA" in story.said(CHECK, UNKNOWN, W)

    def test_without_new_it_says_so(self) -> None:
        story = Story(make_plan(new=[])).round(0, authority(0, reply(a(OLD))))
        assert "add --new" in story.only(CHECK, P).message
        assert story.status(CHECK, P) is UNKNOWN


class TestVariants:
    def test_one_weight_of_256_on_old_is_named(self) -> None:
        story = route53(weighted(NEW, 255, "sst"), weighted(OLD, 1, "porter"))
        assert story.status(CHECK, P) is PASS
        said = story.said(CHECK, FAIL, W)
        assert "porter" in said
        assert "weight=1" in said
        assert "sst" not in said

    def test_weight_zero_on_old_still_fails_and_says_why(self) -> None:
        said = route53(weighted(NEW, 255, "sst"), weighted(OLD, 0, "porter")).said(CHECK, FAIL, W)
        assert "weight 0 still serves" in said

    @pytest.mark.parametrize(
        ("routing", "detail"),
        [
            ("failover", "SECONDARY"),
            ("failover", "PRIMARY"),
            ("latency", "region=eu-west-1"),
            ("geolocation", "country=DE"),
            ("multivalue", ""),
            ("cidr", "collection=x"),
        ],
    )
    def test_any_routing_on_old_is_named(self, routing: str, detail: str) -> None:
        left = variant(OLD, routing=routing, detail=detail, set_identifier="spare")
        said = route53(variant(NEW, routing=routing, set_identifier="main"), left).said(CHECK, FAIL, W)
        assert "spare" in said
        assert detail in said

    def test_a_wildcard_that_answers_for_the_name_is_judged(self) -> None:
        assert "*.example.com A" in route53(variant(OLD, name="*.example.com.")).said(CHECK, FAIL, W)

    def test_a_variant_on_neither_side_fails_in_both_phases(self) -> None:
        story = route53(variant(STRANGER, set_identifier="x", routing="latency"), variant(NEW))
        assert "neither side" in story.said(CHECK, FAIL, P)
        assert "neither side" in story.said(CHECK, FAIL, W)
        mixed = route53(variant(OLD, STRANGER), answers=OLD)
        assert STRANGER in mixed.said(CHECK, FAIL, P)

    def test_all_on_new_passes(self) -> None:
        story = route53(weighted(NEW, 1, "a"), weighted(NEW, 255, "b"))
        assert story.status(CHECK, W) is PASS
        assert "2 record sets of zone Z1 are on new" in story.said(CHECK, PASS, W)

    def test_aliases_are_classed_by_their_target(self) -> None:
        target = "d111.cloudfront.net."
        seen = TargetAddresses(at=t(0), name=NAME, side="new", target=target, addresses=(NEW,))
        story = Story(make_plan(provider="route53", new=[target], old=["lb.eu-west-1.elb.amazonaws.com"]))
        held = [variant(alias=target), variant(alias="dualstack.lb.eu-west-1.elb.amazonaws.com.", rtype="AAAA")]
        story.round(0, seen, authority(0, reply(a(NEW))), hosted(0, hosted_zone()), variants(0, *held))
        said = story.said(CHECK, FAIL, W)
        assert "app.example.com AAAA" in said
        assert "app.example.com A:" not in said

    def test_an_alias_to_nobody_knows_where_is_on_neither_side_unless_the_answers_tell(self) -> None:
        simple = route53(variant(alias="lb.eu-west-1.elb.amazonaws.com."))
        assert simple.status(CHECK, W) is PASS
        routed = route53(variant(alias="lb.elb.amazonaws.com.", routing="latency", set_identifier="x"), variant(NEW))
        assert "neither side" in routed.said(CHECK, FAIL, W)

    def test_a_pointer_inside_the_zone_is_judged_by_what_it_leads_to(self) -> None:
        edge = "edge.example.com."
        for end, expected in ((OLD, FAIL), (NEW, PASS)):
            held = [
                variant(edge, rtype="CNAME", routing="weighted", weight=1, set_identifier="a"),
                variant(end, name=edge),
            ]
            story = Story(make_plan(provider="route53"))
            story.round(
                0,
                authority(0, reply(cname(edge))),
                authority(0, reply(a(NEW, owner=edge)), name=edge, hop=2),
                hosted(0, hosted_zone()),
                variants(0, *held),
            )
            assert story.status(CHECK, W) is expected

    def test_where_nothing_is_routed_the_answers_tell_the_end_of_a_chain(self) -> None:
        edge = "edge.example.com."
        held = [variant(edge, rtype="CNAME"), variant(name=edge, alias="lb.eu-west-1.elb.amazonaws.com.")]
        for end, expected in ((OLD, FAIL), (NEW, PASS)):
            story = Story(make_plan(provider="route53"))
            below = authority(0, reply(a(end, owner=edge)), name=edge, hop=2)
            story.round(0, authority(0, reply(cname(edge))), below, hosted(0, hosted_zone()), variants(0, *held))
            assert story.status(CHECK, W) is expected

    def test_a_family_that_a_target_lacks_does_not_put_it_on_neither_side(self) -> None:
        vendor = "ingress.porter.example."
        story = Story(make_plan(types=["A", "AAAA"], provider="route53"))
        chain = [authority(0, reply(cname(vendor)), rtype=rtype) for rtype in ("A", "AAAA")]
        ends = [
            authority(0, *given, name=vendor, rtype=rtype, hop=2, in_plan=False, zone="porter.example.")
            for rtype, given in (("A", [reply(a(OLD, 60, vendor))]), ("AAAA", [reply()]))
        ]
        held = variants(0, variant(vendor, rtype="CNAME"))
        story.round(0, *chain, *ends, hosted(0, hosted_zone()), held)
        assert story.status("dns.record-plan", Phase.PREFLIGHT) is PASS

    def test_the_records_of_a_declared_target_are_of_its_side(self) -> None:
        target = "sst.example.com."
        held = [
            variant(target, rtype="CNAME", routing="weighted", weight=1, set_identifier="a"),
            variant(STRANGER, name=target),
        ]
        story = Story(make_plan(provider="route53", new=[target]))
        story.round(0, authority(0, reply(cname(target))), hosted(0, hosted_zone()), variants(0, *held))
        assert story.status(CHECK, W) is PASS

    def test_a_failure_is_said_even_where_something_was_listed(self) -> None:
        story = Story(make_plan(provider="route53"))
        failure = ProbeFailed(at=t(0), probe="route53", about=NAME, error="Throttling")
        story.round(0, authority(0, reply(a(NEW))), hosted(0, hosted_zone()), variants(0, variant(NEW)), failure)
        assert "Throttling" in story.said(CHECK, UNKNOWN, W)

    def test_what_fails_does_not_pass_as_well_and_no_command_is_given_before_the_change(self) -> None:
        story = route53(weighted(NEW, 1, "a"), weighted(STRANGER, 1, "b"), answers=STRANGER)
        for phase in Phase:
            assert {x.status for x in story.findings(CHECK, phase)} == {FAIL}
        assert {x.fix for x in story.findings(CHECK, P)} == {""}
        assert any(x.fix for x in story.findings(CHECK, W))

    def test_a_name_that_exists_nowhere_holds_nothing_back(self) -> None:
        story = Story(make_plan(provider="route53"))
        story.round(0, authority(0, NXDOMAIN), hosted(0, hosted_zone()), variants(0))
        assert story.status(CHECK, P) is PASS

    def test_records_of_other_types_are_none_of_its_business(self) -> None:
        assert route53(variant(NEW), variant("v=spf1 -all", rtype="TXT")).status(CHECK, W) is PASS

    def test_the_fix_moves_every_variant_at_once(self) -> None:
        story = route53(weighted(OLD, 255, "a"), weighted(OLD, 1, "b"), answers=OLD)
        fixes = {x.fix for x in story.findings(CHECK, W) if x.fix}
        assert len(fixes) == 1
        (fix,) = fixes
        assert '"SetIdentifier":"a"' in fix
        assert '"SetIdentifier":"b"' in fix
        assert fix.count(f'"Value":"{NEW}"') == 2
        assert OLD not in fix
        assert all(x.fix == "" for x in story.findings(CHECK, P))

    @pytest.mark.parametrize(
        "failure",
        [
            ProbeFailed(
                at=t(0), probe="route53", about=NAME, error="AccessDenied", permission="route53:ListResourceRecordSets"
            ),
            ProbeFailed(at=t(0), probe="route53", error="no credentials"),
        ],
    )
    def test_what_route_53_hides_is_unknown_and_names_the_permission(self, failure: ProbeFailed) -> None:
        story = Story(make_plan(provider="route53")).round(0, authority(0, reply(a(NEW))), failure)
        said = story.said(CHECK, UNKNOWN, W)
        assert failure.error in said
        assert failure.permission in said
        assert story.said(CHECK, PASS, W)

    @pytest.mark.parametrize(
        "seen",
        [
            [],
            [hosted(0, hosted_zone(servers=("ns.elsewhere.example.",))), variants(0, variant(NEW))],
            [hosted(0), variants(0, variant(NEW))],
            [hosted(0, hosted_zone(private=True)), variants(0, variant(NEW))],
            [hosted(0, hosted_zone())],
            [hosted(0, hosted_zone()), variants(0)],
        ],
    )
    def test_record_sets_of_a_zone_that_nobody_asks_prove_nothing(self, seen: list[Observation]) -> None:
        story = Story(make_plan(provider="route53")).round(0, authority(0, reply(a(NEW))), *seen)
        assert story.status(CHECK, W) is UNKNOWN

    def test_with_authorities_the_only_zone_of_the_name_stands_for_it(self) -> None:
        zone = hosted_zone(servers=("ns-1.awsdns-9.net.",))
        story = Story(make_plan(provider="route53")).round(
            0,
            zone_seen(0, source="authorities"),
            authority(0, reply(a(NEW))),
            hosted(0, zone),
            variants(0, weighted(NEW, 255, "sst"), weighted(OLD, 1, "porter")),
        )
        assert "porter" in story.said(CHECK, FAIL, W)

    def test_variants_of_an_earlier_round_are_not_the_present(self) -> None:
        story = route53(variant(NEW))
        story.round(30, authority(30, reply(a(NEW))))
        assert story.status(CHECK, W) is UNKNOWN

    def test_the_provider_is_found_by_the_delegation_or_the_account(self) -> None:
        awsdns = ns(servers=("ns-1.awsdns-2.org.", "ns-2.awsdns-3.com."))
        found = Story().round(0, authority(0, reply(a(NEW))), zone_seen(0, parent_ns=awsdns, child_ns=awsdns))
        assert found.status(CHECK, W) is UNKNOWN
        account = Story().round(0, authority(0, reply(a(NEW))), hosted(0, hosted_zone()))
        assert account.status(CHECK, W) is UNKNOWN
        told = Story(make_plan(provider="none"))
        told.round(0, authority(0, reply(a(NEW))), zone_seen(0, parent_ns=awsdns, child_ns=awsdns))
        assert told.status(CHECK, W) is PASS
