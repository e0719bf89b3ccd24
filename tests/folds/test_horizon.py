"""When a name changed, and until when caches may hold what was before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutover.change import changed
from cutover.horizon import horizon
from cutover.observations.clock import ClockJumped
from tests.checks.kit import (
    NAME,
    NEW,
    NXDOMAIN,
    OLD,
    SERVERS,
    STRANGER,
    Story,
    a,
    authority,
    cname,
    edit,
    hosted,
    hosted_zone,
    make_plan,
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

HOUR, DAY = 3600, 86400


def story_of(*rounds: tuple[float, str, int], **entry: Any) -> Story:
    """Rounds of one address each: (at, address, TTL)."""
    story = Story(make_plan(**entry))
    for at, address, ttl in rounds:
        story.round(at, authority(at, reply(a(address, ttl))))
    return story


def not_before(story: Story) -> float:
    found = horizon(story.plan, story.evidence, NAME)
    assert found.not_before is not None
    assert not found.unknown, found.unknown
    return (found.not_before - t(0)).total_seconds()


class TestNotBefore:
    def test_lowering_shortly_before_the_change_does_not_shorten_it(self) -> None:
        story = story_of((0, OLD, HOUR), (600, OLD, 60), (1200, NEW, 60))
        assert not_before(story) == 600 + HOUR

    def test_a_version_may_have_been_served_until_the_round_that_missed_it(self) -> None:
        story = story_of((0, OLD, HOUR), (9000, OLD, 60), (9060, NEW, 60))
        assert not_before(story) == 9000 + HOUR

    def test_an_edit_in_cloudtrail_tells_when_a_version_ended(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD, HOUR))))
        story.round(9000, authority(9000, reply(a(OLD, 60))))
        story.round(9060, authority(9060, reply(a(NEW, 60))), trail(9060, edit(2000, OLD), edit(9030, NEW)))
        assert not_before(story) == max(2000 + HOUR, 9030 + 60)

    def test_the_version_current_at_the_change_ends_there(self) -> None:
        story = story_of((0, OLD, 300), (400, OLD, 300), (500, NEW, 300))
        assert not_before(story) == 500 + 300

    def test_every_old_version_counts_not_the_last_one_only(self) -> None:
        story = story_of((0, OLD, DAY), (100, OLD, 300), (200, OLD, HOUR), (4000, OLD, 60), (90000, NEW, 60))
        assert not_before(story) == max(100 + DAY, 4000 + HOUR, 90000 + 60)

    def test_a_version_on_one_server_only_counts(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD, 60)), reply(a(OLD, HOUR))))
        story.round(50, authority(50, reply(a(OLD, 60))))
        story.round(4000, authority(4000, reply(a(NEW, 60))))
        assert not_before(story) == max(50 + HOUR, 4060)

    @pytest.mark.parametrize("jumps", [[(1300, 5000)], [(1300, 2000), (3400, 3000)], [(1300, 5000), (7400, -1000)]])
    def test_a_clock_that_was_put_forward_ends_no_wait(self, jumps: list[tuple[float, float]]) -> None:
        story = story_of((0, OLD, HOUR), (600, OLD, 60), (1200, NEW, 60))
        for at, by in jumps:
            story.round(at, ClockJumped(at=t(at), by=by))
        assert not_before(story) == 600 + HOUR + 5000

    def test_a_jump_before_the_old_answer_was_served_does_not_count(self) -> None:
        story = Story()
        story.round(0, ClockJumped(at=t(0), by=5000))
        for at, address in ((1, OLD), (4000, OLD), (4100, NEW)):
            story.round(at, authority(at, reply(a(address, HOUR))))
        assert not_before(story) == 4100 + HOUR

    def test_a_clock_put_back_shortens_nothing(self) -> None:
        story = story_of((0, OLD, HOUR), (3700, NEW, HOUR))
        story.round(3000, ClockJumped(at=t(3000), by=-1000))
        assert not_before(story) == 3700 + HOUR

    def test_previous_ttl_counts_from_the_first_sighting_of_a_lower_one(self) -> None:
        story = story_of((0, OLD, 60), (500, NEW, 60), previous_ttl=HOUR)
        assert not_before(story) == 0 + HOUR

    def test_previous_ttl_that_was_never_lowered_counts_from_the_change(self) -> None:
        story = story_of((0, OLD, HOUR), (500, NEW, 60), previous_ttl=HOUR)
        assert not_before(story) == 500 + HOUR

    def test_previous_ttl_of_a_ledger_that_begins_after_the_change_counts_from_the_change(self) -> None:
        story = Story(make_plan({"migration": {"changed_at": t(-100)}}, previous_ttl=HOUR))
        story.round(0, authority(0, reply(a(NEW))))
        assert not_before(story) == -100 + HOUR

    def test_the_earliest_of_several_low_edits_does_not_count_when_it_was_raised_again(self) -> None:
        story = Story(make_plan(previous_ttl=HOUR))
        edits = [edit(-90000, OLD, ttl=60), edit(-80000, OLD, ttl=HOUR), edit(-100, OLD, ttl=60), edit(450, NEW)]
        story.round(0, authority(0, reply(a(OLD, 60))))
        story.round(500, authority(500, reply(a(NEW, 60))), trail(500, *edits))
        assert not_before(story) == -100 + HOUR

    def test_a_moved_delegation_counts_its_longest_ns_ttl_from_the_change(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD))), zone_seen(0, parent_ns=ns(DAY), child_ns=ns(300)))
        moved = ns(600, ("ns7.provider.example.",))
        story.round(400, authority(400, reply(a(NEW))), zone_seen(400, parent_ns=moved, child_ns=moved))
        last, ns_ttl = horizon(story.plan, story.evidence, NAME).causes[:2]
        assert (ns_ttl.until, ns_ttl.what) == (t(400 + DAY), f"the delegation moved: NS TTL {DAY} s")
        # Whoever asks the old servers at the very end keeps their answer for its own TTL.
        assert (last.until, not_before(story)) == (t(400 + DAY + 60), 400 + DAY + 60)
        assert "then old's own TTL of 60 s" in last.what

    def test_what_the_old_servers_served_no_more_when_the_delegation_moved_is_not_added(self) -> None:
        story = Story()
        for at, ttl in ((0, HOUR), (DAY, 60)):
            story.round(at, authority(at, reply(a(OLD, ttl))), zone_seen(at, parent_ns=ns(600)))
        moved = ns(600, ("ns7.provider.example.",))
        story.round(2 * DAY, authority(2 * DAY, reply(a(NEW))), zone_seen(2 * DAY, parent_ns=moved, child_ns=moved))
        assert not_before(story) == 2 * DAY + 3600 + 60  # the child's NS TTL in the kit is an hour

    def test_the_delegation_of_a_hops_own_zone_counts(self) -> None:
        edge, zone = "edge.example.net.", "example.net."
        story = Story()
        for at, servers, address in ((0, SERVERS, OLD), (400, ("ns9.provider.example.",), NEW)):
            held = ns(DAY, servers, zone)
            hop = authority(at, reply(a(address, 60, edge)), name=edge, hop=2, zone=zone)
            seen = zone_seen(at, zone=zone, parent_ns=held, child_ns=held)
            story.round(at, authority(at, reply(cname(edge))), hop, zone_seen(at), seen)
        assert not_before(story) == 400 + DAY + 60

    def test_a_zone_of_the_name_itself_that_was_given_up_is_asked_until_its_ns_records_expire(self) -> None:
        story = Story()
        held = ns(DAY, zone=NAME)
        given_up = zone_seen(0, zone=NAME, parent_ns=held, child_ns=held)
        story.round(0, authority(0, reply(a(OLD)), zone=NAME), given_up)
        story.round(400, authority(400, reply(a(NEW))))
        assert not_before(story) == 400 + DAY + 60
        delegated = Story().round(0, authority(0, reply(a(OLD)))).round(400, authority(400, reply(a(NEW)), zone=NAME))
        assert not_before(delegated) == 460

    def test_a_version_on_neither_side_is_not_new_and_counts(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"]))
        for at in (0, 2 * DAY):
            lost = authority(at, reply(a("2001:db8::77", HOUR)), rtype="AAAA")
            story.round(at, authority(at, reply(a(OLD, 60))), lost)
        story.round(
            2 * DAY + 100, authority(2 * DAY + 100, reply(a(NEW))), authority(2 * DAY + 100, reply(), rtype="AAAA")
        )
        assert not_before(story) == 2 * DAY + 100 + HOUR

    def test_what_cloudtrail_alone_knows_of_and_was_taken_away_later_counts(self) -> None:
        stray = "2001:db8::77"
        edits = [
            edit(-40 * DAY, OLD),
            edit(0, NEW),
            edit(-40 * DAY, stray, ttl=DAY, rtype="AAAA"),
            edit(2 * HOUR, stray, ttl=DAY, rtype="AAAA", action="DELETE"),
            edit(3 * HOUR, "1 . alpn=h2", ttl=DAY, rtype="HTTPS"),
            edit(4 * HOUR, "1 . alpn=h3", ttl=60, rtype="HTTPS"),
        ]
        story = Story(make_plan(types=["A", "AAAA"]))
        answers = authority(5 * HOUR, reply(a(NEW))), authority(5 * HOUR, reply(), rtype="AAAA")
        story.round(5 * HOUR, *answers, trail(5 * HOUR, *edits))
        assert changed(story.plan, story.evidence, NAME).at == t(0)
        assert not_before(story) == 2 * HOUR + DAY

    def test_the_ttl_of_an_alias_above_the_switch_may_change_after_all_is_new(self) -> None:
        edge = "edge.example.com."
        story = Story()
        for at, address, above in ((0, OLD, DAY), (DAY, OLD, DAY), (DAY + 100, NEW, DAY), (DAY + 200, NEW, 60)):
            hop = authority(at, reply(a(address, 60, edge)), name=edge, hop=2)
            story.round(at, authority(at, reply(cname(edge, above))), hop)
        assert not_before(story) == DAY + 160

    def test_a_delegation_that_moves_after_the_change_counts_from_there(self) -> None:
        story = story_of((0, OLD, 60), (100, NEW, 60))
        moved = ns(3600, ("ns7.provider.example.",))
        story.round(900, authority(900, reply(a(NEW))), zone_seen(900, parent_ns=moved))
        assert not_before(story) == 900 + 3600

    def test_a_record_that_the_change_created_makes_nothing_unknown(self) -> None:
        story = story_of((0, OLD, 60))
        made = trail(400, edit(350, NEW), edit(350, "2001:db8::1", rtype="AAAA"))
        story.round(400, authority(400, reply(a(NEW))), made)
        assert not_before(story) == 410

    def test_a_server_that_is_added_moves_nothing(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD))), zone_seen(0, parent_ns=ns(DAY)))
        more = ns(DAY, (*SERVERS, "ns3.example.com."))
        story.round(400, authority(400, reply(a(NEW))), zone_seen(400, parent_ns=more))
        assert not_before(story) == 460

    def test_a_delegation_that_moved_long_before_the_change_is_over(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD))), zone_seen(0, parent_ns=ns(300)))
        moved = ns(300, ("ns7.provider.example.",))
        story.round(10, authority(10, reply(a(OLD))), zone_seen(10, parent_ns=moved))
        story.round(4000, authority(4000, reply(a(NEW))), zone_seen(4000, parent_ns=moved))
        assert not_before(story) == 4060

    def test_a_new_name_counts_the_negative_ttl(self) -> None:
        story = Story(make_plan({"migration": {"changed_at": t(100)}}, previous_ttl=60))
        story.round(0, authority(0, NXDOMAIN))
        story.round(150, authority(150, reply(a(NEW))))
        assert not_before(story) == 100 + 300

    def test_a_negative_ttl_that_was_lowered_counts_from_its_lowering(self) -> None:
        story = Story(make_plan({"migration": {"changed_at": t(100)}}, previous_ttl=60))
        story.round(0, authority(0, NXDOMAIN), zone_seen(0, soa_ttl=3600, soa_minimum=3600))
        story.round(50, authority(50, NXDOMAIN), zone_seen(50, soa_ttl=60, soa_minimum=3600))
        story.round(150, authority(150, reply(a(NEW))), zone_seen(150, soa_ttl=60, soa_minimum=3600))
        assert not_before(story) == 50 + 3600

    def test_what_a_cache_holds_makes_it_later_never_earlier(self) -> None:
        story = Story()
        members = panel(0, resolver("r1"))
        story.round(0, authority(0, reply(a(OLD, 60))), members, polled(0, {"r1": reply(a(OLD, 5000))}))
        story.round(100, authority(100, reply(a(NEW, 60))), polled(100, {"r1": reply(a(NEW, 60))}))
        found = horizon(story.plan, story.evidence, NAME)
        assert found.not_before == t(5000)

    def test_a_cache_that_fetches_old_after_the_change_does_not_push_it_away_for_ever(self) -> None:
        story = story_of((0, OLD, 60))
        story.round(0, authority(0, reply(a(OLD, 60))), panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, 60))}))
        for at in range(100, 1000, 100):
            story.round(at, authority(at, reply(a(NEW, 60))), polled(at, {"r1": reply(a(OLD, 600))}))
        assert not_before(story) <= 300 + 600

    def test_a_ledger_shorter_than_the_longest_ttl_does_not_know(self) -> None:
        story = story_of((0, OLD, 60), (30, NEW, 60))
        assert "not known" in horizon(story.plan, story.evidence, NAME).unknown
        older = story_of((0, OLD, 60), (61, NEW, 60))
        assert not horizon(older.plan, older.evidence, NAME).unknown

    def test_a_cache_with_a_longer_ttl_than_the_ledger_is_old_makes_it_unknown(self) -> None:
        story = Story()
        members = panel(0, resolver("r1"))
        story.round(0, authority(0, reply(a(OLD, 60))), members, polled(0, {"r1": reply(a(OLD, 5000))}))
        story.round(100, authority(100, reply(a(NEW, 60))), polled(100, {"r1": reply(a(NEW, 60))}))
        assert horizon(story.plan, story.evidence, NAME).unknown

    def test_an_edit_from_before_the_ledger_with_an_unknown_ttl_makes_it_unknown(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(OLD, 60))))
        story.round(500, authority(500, reply(a(NEW, 60))), trail(500, edit(-600, OLD), edit(450, NEW)))
        assert "edited at" in horizon(story.plan, story.evidence, NAME).unknown

    def test_cloudtrail_knows_when_it_shows_the_version_before(self) -> None:
        story = Story()
        edits = [edit(-40 * DAY, OLD, ttl=HOUR), edit(-600, OLD, ttl=60), edit(450, NEW)]
        story.round(490, authority(490, reply(a(NEW, 60))), trail(490, *edits))
        assert not_before(story) == -600 + HOUR
        assert horizon(story.plan, story.evidence, NAME).known_by == "CloudTrail"

    def test_an_incomplete_trail_knows_nothing(self) -> None:
        story = Story()
        edits = [edit(-600, OLD, ttl=60), edit(-40 * DAY, OLD, ttl=HOUR), edit(450, NEW)]
        story.round(490, authority(490, reply(a(NEW, 60))), trail(490, *edits, complete=False))
        assert horizon(story.plan, story.evidence, NAME).unknown

    def test_a_history_without_anything_old_bounds_nothing(self) -> None:
        story = Story()
        story.round(0, authority(0, reply(a(NEW, 60))), trail(0, edit(-100, NEW, action="CREATE")))
        assert changed(story.plan, story.evidence, NAME).at == t(-100)
        assert horizon(story.plan, story.evidence, NAME).unknown

    def test_a_ledger_of_new_alone_knows_nothing(self) -> None:
        story = Story(make_plan({"migration": {"changed_at": t(-100)}}))
        for at in (0, 10 * DAY):
            story.round(at, authority(at, reply(a(NEW, HOUR))))
        assert horizon(story.plan, story.evidence, NAME).unknown

    def test_a_variant_that_only_the_listing_shows_counts_until_the_change(self) -> None:
        story = Story(make_plan(provider="route53"))
        for at, us in ((0, OLD), (DAY, OLD), (DAY + 100, NEW)):
            eu = variant(NEW if us == NEW else OLD, routing="latency", set_identifier="eu")
            held = variants(at, eu, variant(us, ttl=HOUR, routing="latency", set_identifier="us"))
            story.round(at, authority(at, reply(a(us, 60))), hosted(at, hosted_zone()), held)
        assert not_before(story) == DAY + 100 + HOUR

    def test_a_variant_that_was_moved_after_the_answers_were_new_counts_from_there(self) -> None:
        story = Story(make_plan(provider="route53"))
        for at, eu, us in ((0, OLD, OLD), (DAY, NEW, OLD), (DAY + HOUR, NEW, OLD), (DAY + 2 * HOUR, NEW, NEW)):
            held = [variant(x, ttl=HOUR, routing="latency", set_identifier=x) for x in (eu, us)]
            story.round(at, authority(at, reply(a(eu, 60))), hosted(at, hosted_zone()), variants(at, *held))
        assert not_before(story) == DAY + 2 * HOUR + 60 + HOUR

    def test_an_alias_of_ones_own_above_the_switch_does_not_count_but_the_switch_does(self) -> None:
        edge = "edge.example.com."
        story = Story()
        for at, address in ((0, OLD), (DAY, OLD), (DAY + 100, NEW)):
            story.round(
                at, authority(at, reply(cname(edge, DAY))), authority(at, reply(a(address, 60, edge)), name=edge, hop=2)
            )
        assert not_before(story) == DAY + 160


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 500), st.sampled_from([60, 300, 3600]), st.sampled_from([60, 300, 3600])), min_size=1
    ),
    late=st.integers(0, 400),
)
def test_no_compliant_cache_outlives_not_before(steps: list[tuple[int, int, int]], late: int) -> None:
    """Whatever two servers served before the change, a cache that fetched it is empty at ``not_before``."""
    story, at, expiries = Story(make_plan(previous_ttl=60)), 0, []
    for gap, first, second in steps:
        at += gap
        story.round(at, authority(at, reply(a(OLD, first)), reply(a(OLD, second))))
        # A cache may fetch at any instant until the next round sees something else.
        expiries += [(at, first), (at, second)]
    at += 1 + late
    story.round(at, authority(at, reply(a(NEW, 60))))
    last = max(fetched + ttl for fetched, ttl in expiries)
    assert not_before(story) >= last
    ends = [x[0] for x in expiries[2::2]] + [at]
    spans = [(end, ttl) for (_, first, second), end in zip(steps, ends, strict=True) for ttl in (first, second)]
    assert not_before(story) >= max(end + ttl for end, ttl in spans)


@pytest.mark.parametrize("seconds", [0, 59])
def test_the_clock_of_the_rounds_is_what_counts(seconds: int) -> None:
    story = story_of((0, OLD, 60), (100 + seconds, NEW, 60))
    found = horizon(story.plan, story.evidence, NAME)
    assert found.not_before == t(100 + seconds) + timedelta(seconds=60)


def test_answers_on_neither_side_are_no_change() -> None:
    story = story_of((0, OLD, 60), (100, STRANGER, 60))
    assert changed(story.plan, story.evidence, NAME).at is None
