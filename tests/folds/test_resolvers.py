"""What each resolver gave, and what that says of the caches."""

from __future__ import annotations

from dataclasses import replace

from cutover.answers import Answer
from cutover.finding import Status
from cutover.folds.resolvers import Standing
from cutover.observations.dns import InterceptionSeen, TargetAddresses
from tests.checks.kit import (
    NAME,
    NEW,
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


def standing(story: Story, id: str = "r1") -> Standing:
    found = story.evidence.resolvers.standing(id, NAME, "A")
    assert found is not None
    return found


def test_only_new_ends_what_was_old() -> None:
    story = Story()
    for at, given, last_old in (
        (0, reply(a(OLD)), t(0)),
        (10, TIMEOUT, t(0)),
        (20, reply(rcode="SERVFAIL"), t(0)),
        (30, reply(a(STRANGER)), t(0)),
        (40, reply(a(OLD), a(NEW)), t(40)),
        (50, reply(rcode="NXDOMAIN"), t(40)),
        (60, reply(a(NEW)), None),
        (70, TIMEOUT, None),
    ):
        story.round(at, panel(at, resolver("r1")), polled(at, {"r1": given}))
        assert standing(story).last_old == last_old, at


def test_the_panel_of_another_plan_is_not_this_one_s() -> None:
    story = Story(make_plan({"dns": {"resolvers": ["r1", "r2"]}}))
    mine = replace(panel(0, resolver("r1"), resolver("r2")), asked="r1, r2")
    answers = {"r1": reply(a(OLD)), "r2": reply(a(NEW))}
    other = replace(panel(1, resolver("r2")), asked="r2")
    story.round(0, authority(0, reply(a(NEW))), mine, polled(0, answers), other)
    assert [x.id for x in story.evidence.resolvers.members()] == ["r1", "r2"]
    assert "r1" in story.said("dns.resolvers-converged", Status.FAIL)


def test_answers_over_intercepted_plain_dns_leave_no_trace() -> None:
    story = Story()
    both = panel(0, resolver("plain"), resolver("doh", transport="https"))
    story.round(0, both, polled(0, {"plain": reply(a(OLD)), "doh": reply(a(OLD))}))
    given = {"plain": reply(a(NEW)), "doh": reply(a(NEW))}
    seen = InterceptionSeen(at=t(10), canary="192.0.2.1", answered=True)
    story.round(10, polled(10, given), seen)
    assert standing(story, "plain").last_old == t(0)
    assert standing(story, "plain").at == t(0)
    assert standing(story, "doh").last_old is None
    story.round(20, polled(20, given), InterceptionSeen(at=t(20), canary="192.0.2.1", answered=False))
    assert standing(story, "plain").last_old is None


def test_answers_are_classed_by_all_that_the_round_taught() -> None:
    target = "d111.cloudfront.net."
    story = Story(make_plan(new=[target]))
    story.round(
        0,
        panel(0, resolver("r1")),
        polled(0, {"r1": reply(a(NEW))}),
        TargetAddresses(at=t(0), name=NAME, side="new", target=target, addresses=(NEW,)),
    )
    assert standing(story).now is Answer.NEW


def test_the_remaining_ttl_of_an_old_answer_is_that_of_the_switch() -> None:
    target = "ingress.porter.example."
    story = Story(make_plan(old=[target]))
    chain = reply(cname(target, 4000), a(STRANGER, 20, target))
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": chain}))
    assert standing(story).now is Answer.OLD
    assert standing(story).remaining == 4000
    assert story.evidence.resolvers.cached_old_until(NAME) == t(4000)


def test_one_that_fetched_again_is_told_from_a_left_over() -> None:
    story = Story()
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, 100))}))
    assert standing(story).fetched_after is None
    story.round(40, polled(40, {"r1": reply(a(OLD, 60))}))
    assert standing(story).fetched_after is None
    story.round(150, polled(150, {"r1": reply(a(OLD, 90))}))
    assert standing(story).fetched_after == t(100)
    story.round(160, polled(160, {"r1": reply(a(OLD, 90))}))
    assert standing(story).fetched_after == t(150)


def test_silence_keeps_what_a_cache_holds() -> None:
    story = Story()
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, 500))}))
    story.round(100, polled(100, {"r1": TIMEOUT}))
    assert story.evidence.resolvers.cached_old_until(NAME) == t(500)
    story.round(200, polled(200, {"r1": reply(a(NEW))}))
    assert story.evidence.resolvers.cached_old_until(NAME) == t(500)


def test_a_claim_of_decades_is_cut_to_what_caches_are_known_to_hold() -> None:
    story = Story()
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, 2**31 - 1))}))
    assert story.evidence.resolvers.cached_old_until(NAME) == t(7 * 86400)


def test_the_unchanged_alias_above_the_switch_is_no_old_answer() -> None:
    edge = "edge.example.com."
    story = Story()
    story.round(
        0,
        panel(0, resolver("r1")),
        authority(0, reply(cname(edge, 86400))),
        authority(0, reply(a(OLD, 60, edge)), name=edge, hop=2),
        polled(0, {"r1": reply(cname(edge, 80000), a(OLD, 50, edge))}),
    )
    assert story.evidence.resolvers.cached_old_until(NAME) == t(80000)
    story.round(
        10,
        authority(10, reply(cname(edge, 86400))),
        authority(10, reply(a(NEW, 60, edge)), name=edge, hop=2),
        polled(10, {"r1": reply(cname(edge, 79990), a(OLD, 40, edge))}),
    )
    assert story.evidence.resolvers.cached_old_until(NAME) == t(50)


def test_a_name_of_another_plan_is_not_ours() -> None:
    story = Story()
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD))}, name="other.example.com."))
    assert story.evidence.resolvers.standing("r1", "other.example.com.", "A") is None


def test_a_new_answer_is_no_cached_old_and_shows_its_shortest_ttl() -> None:
    edge = "edge.example.com."
    story = Story()
    chain = reply(cname(edge, 4000), a(NEW, 50, edge), a(NEW, 40, edge))
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": chain}))
    assert story.evidence.resolvers.cached_old_until(NAME) is None
    assert story.evidence.resolvers.longest_ttl(NAME) == 0
    assert (standing(story).remaining, standing(story).stale) == (40, "")


def test_the_longest_lived_record_of_an_old_chain_bounds_it() -> None:
    edge = "edge.example.com."
    story = Story()
    chain = reply(cname(edge, 4000), a(OLD, 50, edge))
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": chain}))
    assert standing(story).expires == t(4000)
    assert (standing(story).remaining, standing(story).stale) == (50, edge)
    assert story.evidence.resolvers.longest_ttl(NAME) == 4000
    assert story.evidence.resolvers.cached_old_until(NAME) == t(4000)


def test_of_several_caches_the_one_that_holds_longest_counts() -> None:
    for first, second in ((500, 100), (100, 500)):
        story = Story()
        given = {"r1": reply(a(OLD, first)), "r2": reply(a(OLD, second))}
        story.round(0, panel(0, resolver("r1"), resolver("r2")), polled(0, given))
        assert story.evidence.resolvers.cached_old_until(NAME) == t(500)


def test_what_may_have_been_fetched_before_the_change_counts_and_what_cannot_does_not() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD))), panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, 60))}))
    story.round(100, authority(100, reply(a(NEW))), polled(100, {"r1": reply(a(OLD, 600))}))
    assert story.evidence.resolvers.cached_old_until(NAME) == t(700)
    story.round(800, authority(800, reply(a(NEW))), polled(800, {"r1": reply(a(OLD, 600))}))
    assert standing(story).fetched_after == t(700)
    assert (story.evidence.resolvers.cached_old_until(NAME) or t(0)) <= t(700)
