"""``dns.resolvers-converged``: what holds the gate, what is unknown, and what passes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cutover.finding import Status
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import InterceptionSeen, Reply, Resolver
from tests.checks.kit import (
    NAME,
    NEW,
    NEW6,
    NXDOMAIN,
    OLD,
    STRANGER,
    TIMEOUT,
    Story,
    a,
    authority,
    cname,
    make_plan,
    panel,
    polled,
    reply,
    resolver,
    t,
)

CHECK = "dns.resolvers-converged"
FIVE = [resolver(f"r{n}") for n in range(1, 6)]
ON_NEW, ON_OLD = reply(a(NEW, 60)), reply(a(OLD, 41))
FAIL, PASS, UNKNOWN, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.WARN


def changed_story(*members: Resolver, before: Mapping[str, Reply] | None = None) -> Story:
    """Old at 0 (TTL 60), new at 100; resolvers said ``before`` at 0."""
    story = Story()
    story.round(0, authority(0, reply(a(OLD))), panel(0, *members), polled(0, before or {}))
    return story


def after(story: Story, at: float, given: Mapping[str, Reply]) -> Story:
    return story.round(at, authority(at, reply(a(NEW))), polled(at, given))


def every(given: Reply, members: list[Resolver] = FIVE, **others: Reply) -> dict[str, Reply]:
    return {x.id: given for x in members} | others


def test_all_on_new_passes_and_says_the_counts() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW))
    finding = story.only(CHECK)
    assert finding.status is PASS
    assert "5 of 5 required resolvers (5 of 5 operators) give new" in finding.message
    assert finding.subject == "app.example.com A"
    assert finding.name == NAME


def test_all_agree_on_old_is_never_a_pass() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_OLD))
    assert story.status(CHECK) is FAIL


def test_one_required_on_old_or_mixed_is_named_with_its_remaining_ttl() -> None:
    for given in (ON_OLD, reply(a(NEW, 41), a(OLD, 41))):
        story = after(changed_story(*FIVE), 100, every(ON_NEW, r3=given))
        said = story.said(CHECK, FAIL)
        assert "r3" in said
        assert "41 s" in said
        assert "r1" not in said
        assert not [x for x in story.findings(CHECK) if x.status is PASS]


def test_it_says_until_when_unless_one_of_them_is_silent() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW, r2=reply(a(OLD, 300)), r3=ON_OLD))
    assert story.only(CHECK).until == t(400)
    after(story, 110, every(ON_NEW, r2=TIMEOUT, r3=ON_OLD))
    assert story.only(CHECK).until is None


def test_the_hop_that_is_stale_is_named() -> None:
    edge = "edge.example.com."
    story = Story(make_plan(old=["ingress.porter.example"]))
    target = "ingress.porter.example."
    given = reply(cname(edge, 3000), cname(target, 41, edge), a(STRANGER, 7, target))
    story.round(0, authority(0, reply(a(NEW))), panel(0, *FIVE), polled(0, every(ON_NEW, r3=given)))
    assert "r3 (old, 41 s left of edge.example.com)" in story.said(CHECK, FAIL)


@pytest.mark.parametrize("silence", [TIMEOUT, reply(rcode="SERVFAIL"), reply(a(STRANGER)), NXDOMAIN])
def test_silence_after_old_since_the_change_does_not_launder_it(silence: Reply) -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW, r3=ON_OLD))
    after(story, 5000, every(ON_NEW, r3=silence))
    assert "r3" in story.said(CHECK, FAIL)
    after(story, 5010, every(ON_NEW))
    assert story.status(CHECK) is PASS


def test_silence_since_before_the_change_is_unknown_whatever_the_quorum() -> None:
    story = changed_story(*FIVE, before=every(ON_OLD))
    after(story, 100, every(ON_NEW, r3=TIMEOUT))
    assert story.status(CHECK) is UNKNOWN
    assert "r3" in story.said(CHECK, UNKNOWN)


def test_old_while_nobody_knows_when_it_changed_holds_even_in_silence() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(NEW))), panel(0, *FIVE), polled(0, every(ON_NEW, r3=ON_OLD)))
    after(story, 100, every(ON_NEW, r3=TIMEOUT))
    assert "r3" in story.said(CHECK, FAIL)


@pytest.mark.parametrize(
    "odd", [reply(a(STRANGER)), NXDOMAIN, reply(), reply(rcode="SERVFAIL"), reply(rcode="REFUSED")]
)
def test_a_required_one_on_neither_side_is_unknown_and_no_quorum_covers_it(odd: Reply) -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW, r5=odd))
    assert story.status(CHECK) is UNKNOWN
    assert "r5" in story.said(CHECK, UNKNOWN)
    assert not [x for x in story.findings(CHECK) if x.status is PASS]


def test_one_that_was_not_asked_in_this_round_has_not_answered() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW))
    after(story, 130, {"r1": ON_NEW, "r2": ON_NEW, "r3": ON_NEW})
    assert "r4, r5" in story.said(CHECK, UNKNOWN)
    assert not [x for x in story.findings(CHECK) if x.status is PASS]
    held = after(changed_story(*FIVE), 100, every(ON_NEW, r5=ON_OLD))
    after(held, 130, every(ON_NEW, FIVE[:4]))
    assert "r5" in held.said(CHECK, FAIL)


def test_timeouts_within_the_allowance_do_not_block() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW, r5=TIMEOUT))
    finding = story.only(CHECK)
    assert finding.status is PASS
    assert "4 of 5 required resolvers (4 of 5 operators)" in finding.message
    assert "r5" in finding.message
    after(story, 110, every(ON_NEW, r5=TIMEOUT, r4=TIMEOUT))
    assert story.status(CHECK) is UNKNOWN
    assert "60%" in story.said(CHECK, UNKNOWN)


def test_one_operator_with_many_addresses_cannot_carry_a_round() -> None:
    crowd = [resolver(f"big{n}", operator="big") for n in range(42)]
    small = [resolver(f"s{n}") for n in range(4)]
    given = {x.id: ON_NEW for x in crowd} | {x.id: TIMEOUT for x in small}
    assert after(changed_story(*crowd, *small), 100, given).status(CHECK) is UNKNOWN
    turned = {x.id: TIMEOUT for x in crowd} | {x.id: ON_NEW for x in small}
    assert after(changed_story(*crowd, *small), 100, turned).status(CHECK) is PASS


def test_an_operator_counts_for_the_part_that_answered() -> None:
    crowd = [resolver(f"big{n}", operator="big") for n in range(10)]
    given = {x.id: TIMEOUT for x in crowd} | {"big0": ON_NEW}
    assert after(changed_story(*crowd), 100, given).status(CHECK) is UNKNOWN


def test_half_the_panel_dead_is_unknown_not_a_fail() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW, r1=TIMEOUT, r2=TIMEOUT, r3=TIMEOUT))
    assert {x.status for x in story.findings(CHECK)} == {UNKNOWN}


def test_no_answer_at_all_never_passes_even_when_the_plan_wants_few() -> None:
    story = Story(make_plan({"dns": {"min_answers": 0.01}}))
    story.round(0, authority(0, reply(a(NEW))), panel(0, *FIVE), polled(0, every(TIMEOUT)))
    assert story.status(CHECK) is UNKNOWN


def test_a_dropped_advisory_resolver_does_not_count_and_a_required_one_stays_in_the_denominator() -> None:
    story = Story()
    members = [*FIVE, resolver("adv", "advisory")]
    given = {x.id: ON_NEW for x in FIVE[:4]} | {"adv": ON_OLD}
    story.round(0, authority(0, reply(a(NEW))), panel(0, *members, dropped=["r5", "adv"]), polled(0, given))
    finding = story.only(CHECK)
    assert finding.status is PASS
    assert "4 of 5" in finding.message
    assert "advisory" not in finding.message


def test_advisory_on_old_holds_until_not_before_then_warns() -> None:
    story = changed_story(*FIVE, resolver("adv", "advisory"))
    after(story, 100, every(ON_NEW, adv=ON_OLD))
    finding = next(x for x in story.findings(CHECK) if x.status is FAIL)
    assert finding.until == t(160)
    assert "adv" in finding.message
    after(story, 170, every(ON_NEW, adv=ON_OLD))
    assert story.status(CHECK, at=171) is WARN
    assert [x for x in story.findings(CHECK) if x.status is PASS]


def test_advisory_on_old_holds_while_not_before_is_unknown() -> None:
    story = Story()
    members = [*FIVE, resolver("adv", "advisory")]
    story.round(0, authority(0, reply(a(NEW))), panel(0, *members), polled(0, every(ON_NEW, adv=ON_OLD)))
    assert "adv" in story.said(CHECK, FAIL)


def test_advisory_on_old_holds_while_the_old_ttl_is_unknown_though_a_bound_has_passed() -> None:
    story = Story()
    members = [*FIVE, resolver("adv", "advisory")]
    story.round(0, authority(0, reply(a(OLD))), panel(0, *members), polled(0, {}))
    after(story, 10, every(ON_NEW, adv=ON_OLD))
    after(story, 500, every(ON_NEW, adv=ON_OLD))
    assert "adv" in story.said(CHECK, FAIL)


def test_advisory_on_neither_side_or_silent_is_of_no_weight() -> None:
    members = [*FIVE, resolver("adv1", "advisory"), resolver("adv2", "advisory")]
    story = after(changed_story(*members), 100, every(ON_NEW, adv1=NXDOMAIN, adv2=TIMEOUT))
    finding = story.only(CHECK)
    assert finding.status is PASS
    assert "0 of 2 advisory" in finding.message


def test_intercepted_plain_dns_counts_for_nothing_and_doh_still_does() -> None:
    members = [resolver("p1"), resolver("h1", transport="https"), resolver("t1", transport="tls")]
    given = {x.id: ON_NEW for x in members}
    for intercepted, expected in ((True, UNKNOWN), (False, PASS)):
        story = changed_story(*members)
        seen = InterceptionSeen(at=t(100), canary="192.0.2.1", answered=intercepted)
        story.round(100, authority(100, reply(a(NEW))), polled(100, given), seen)
        assert story.status(CHECK) is expected
    encrypted = members[1:]
    story = changed_story(*encrypted)
    seen = InterceptionSeen(at=t(100), canary="192.0.2.1", answered=True)
    story.round(100, authority(100, reply(a(NEW))), polled(100, {x.id: ON_NEW for x in encrypted}), seen)
    assert story.status(CHECK) is PASS


def test_answers_are_void_even_when_the_interception_is_noticed_after_them() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(NEW))), panel(0, *FIVE))
    story.evidence.begin(t(30))
    story.evidence.add(polled(30, every(ON_NEW)))
    assert story.evidence.resolvers.standing("r1", NAME, "A") is not None
    story.evidence.add(InterceptionSeen(at=t(30), canary="192.0.2.1", answered=True))
    story.evidence.settle()
    assert story.status(CHECK) is UNKNOWN


def test_every_polled_type_is_judged() -> None:
    story = Story(make_plan(types=["A", "AAAA"], new=[NEW, NEW6]))
    both = [authority(0, reply(a(NEW))), authority(0, reply(a(NEW6)), rtype="AAAA")]
    story.round(0, *both, panel(0, *FIVE), polled(0, every(ON_NEW)))
    assert "AAAA" in story.said(CHECK, UNKNOWN)
    story.round(10, polled(10, every(ON_NEW)), polled(10, every(reply()), rtype="AAAA"))
    assert "nodata" in story.said(CHECK, UNKNOWN)
    story.round(20, polled(20, every(ON_NEW)), polled(20, every(reply(a(NEW6))), rtype="AAAA"))
    assert {x.status for x in story.findings(CHECK)} == {PASS}


def test_new_without_ipv6_wants_no_ipv6_answer() -> None:
    story = Story(make_plan(types=["A", "AAAA"]))
    story.round(0, panel(0, *FIVE), polled(0, every(ON_NEW)), polled(0, every(reply()), rtype="AAAA"))
    assert {x.status for x in story.findings(CHECK)} == {PASS}


def test_answers_of_an_earlier_round_are_not_the_present() -> None:
    story = after(changed_story(*FIVE), 100, every(ON_NEW))
    failed = ProbeFailed(at=t(130), probe="dns.resolvers", error="no route")
    story.round(130, authority(130, reply(a(NEW))), failed)
    assert story.status(CHECK) is UNKNOWN
    assert "no route" in story.said(CHECK, UNKNOWN)


def test_an_empty_panel_or_one_of_advisory_alone_is_unknown() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(NEW))))
    assert story.status(CHECK) is UNKNOWN
    advisory = [resolver("x", "advisory")]
    story.round(10, panel(10, *advisory), polled(10, {"x": ON_NEW}))
    assert story.status(CHECK) is UNKNOWN


def test_without_new_it_says_so() -> None:
    story = Story(make_plan(new=[]))
    story.round(0, panel(0, *FIVE), polled(0, every(ON_OLD)))
    assert "add --new" in story.said(CHECK, UNKNOWN)
