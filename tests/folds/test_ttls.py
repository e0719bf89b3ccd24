"""The history of TTLs, as the ledger, CloudTrail and the plan tell it together."""

from __future__ import annotations

from typing import Any

import pytest

from cutover.observations.base import Observation
from cutover.trail import Key
from cutover.ttls import Known, known, past_of
from tests.checks.kit import (
    NAME,
    NEW,
    OLD,
    Story,
    a,
    authority,
    cname,
    edit,
    hosted,
    hosted_zone,
    make_plan,
    panel,
    polled,
    reply,
    resolver,
    t,
    trail,
)

A, HOUR, DAY = Key(NAME, "A"), 3600, 86400
LAG = 15 * 60


def story_of(*rounds: tuple[float, int], seen: dict[float, list[Observation]] | None = None, **entry: Any) -> Story:
    """Rounds (at, TTL) in which both servers gave old, with further observations by their round."""
    story = Story(make_plan(**entry))
    for at, ttl in rounds:
        story.round(at, authority(at, reply(a(OLD, ttl))), *(seen or {}).get(at, []))
    return story


def knows(story: Story, at: float, *keys: Key) -> Known:
    return known(story.plan, story.evidence, NAME, keys or [A], t(at))


def past(story: Story, at: float, key: Key = A) -> set[tuple[int, float, str]]:
    found = past_of(story.plan, story.evidence, NAME, key, t(at))
    return {(x.ttl, (x.served_until - t(0)).total_seconds(), x.how.split()[0]) for x in found}


class TestByTheLedger:
    @pytest.mark.parametrize(("at", "expected"), [(59, False), (60, True)])
    def test_it_must_go_back_as_long_as_the_longest_ttl(self, at: float, expected: bool) -> None:
        assert bool(knows(story_of((0, 60)), at).by) is expected

    def test_the_longest_ttl_of_any_hop_counts(self) -> None:
        edge = "edge.example.com."
        story = Story().round(
            0, authority(0, reply(cname(edge, 20))), authority(0, reply(a(OLD, 50, edge)), name=edge, hop=2)
        )
        assert not knows(story, 40, Key(NAME, "CNAME")).by
        assert knows(story, 50, Key(NAME, "CNAME")).by

    def test_seven_days_are_enough_whatever_a_cache_claims(self) -> None:
        held = [panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, 30 * DAY))})]
        story = story_of((0, 60), seen={0: held})
        assert not knows(story, 7 * DAY - 1).by
        assert knows(story, 7 * DAY).by

    def test_one_that_saw_the_lowering_itself_knows_unless_a_cache_holds_more(self) -> None:
        assert "lowered" in knows(story_of((0, HOUR), (10, 60)), 20).by
        assert not knows(story_of((0, 60), (5, HOUR), (10, 60)), 20).by
        held = [panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, HOUR + 1))})]
        assert not knows(story_of((0, HOUR), (10, 60), seen={0: held}), 20).by

    def test_one_that_began_after_the_change_did_not_see_it(self) -> None:
        story = Story().round(0, authority(0, reply(a(NEW, HOUR))))
        assert knows(story, 1).by
        assert not knows(story, -1).by

    def test_every_key_must_be_known(self) -> None:
        story = story_of((0, 60))
        assert knows(story, 100, A).by
        assert not knows(story, 100, A, Key(NAME, "AAAA")).by
        assert not knows(story, 100, Key(NAME, "AAAA"), A).by
        assert not known(story.plan, story.evidence, NAME, [], t(100)).by


class TestByCloudTrail:
    def test_its_last_edit_must_be_what_is_served(self) -> None:
        edits = [edit(-40 * DAY, OLD, ttl=60)]
        assert knows(story_of((0, 60), seen={0: [trail(0, *edits)]}), 1).by == "CloudTrail"
        assert not knows(story_of((0, 50), seen={0: [trail(0, *edits)]}), 1).by
        gone = [edit(-40 * DAY, OLD, ttl=60, action="DELETE")]
        assert not knows(story_of((0, 60), seen={0: [trail(0, *gone)]}), 1).by

    def test_two_versions_at_once_are_not_what_one_edit_left(self) -> None:
        story = Story()
        edits = trail(0, edit(-40 * DAY, OLD, ttl=60))
        story.round(0, authority(0, reply(a(OLD, 60)), reply(a(OLD, 50))), edits)
        assert not knows(story, 1).by

    def test_a_deletion_that_nothing_followed_is_what_is_served(self) -> None:
        story = Story(make_plan(types=["A", "AAAA"]))
        edits = trail(0, edit(-7200, "2001:db8::10", ttl=HOUR, action="DELETE", rtype="AAAA"))
        story.round(0, authority(0, reply(a(OLD, 60))), authority(0, reply(), rtype="AAAA"), edits)
        assert knows(story, 1, Key(NAME, "AAAA")).by == "CloudTrail"

    def test_what_is_neither_served_nor_edited_is_not_explained_nor_what_was_made_and_is_not_served(self) -> None:
        for edits in ([], [edit(-7200, "2001:db8::10", ttl=HOUR, action="CREATE", rtype="AAAA")]):
            story = Story(make_plan(types=["A", "AAAA"]))
            answers = authority(0, reply(a(OLD, 60))), authority(0, reply(), rtype="AAAA")
            story.round(0, *answers, trail(0, *edits))
            assert not knows(story, 1, Key(NAME, "AAAA")).by

    @pytest.mark.parametrize(("fetched", "expected"), [(30 + LAG - 1, False), (30 + LAG, True)])
    def test_what_no_edit_explains_must_have_been_read_late_enough(self, fetched: float, expected: bool) -> None:
        story = Story()
        edits = trail(fetched, edit(-40 * DAY, OLD, ttl=60))
        story.round(fetched, authority(fetched, reply(a(NEW, 50))), edits)
        assert (knows(story, 30).by == "CloudTrail") is expected

    @pytest.mark.parametrize(("fetched", "expected"), [(LAG - 1, False), (LAG, True)])
    def test_or_the_ledger_watches_over_its_last_minutes(self, fetched: float, expected: bool) -> None:
        held = [panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, DAY))})]
        story = story_of((0, 60), seen={0: held})
        story.round(fetched, authority(fetched, reply(a(OLD, 60))), trail(fetched))
        assert (knows(story, fetched + 1).by == "CloudTrail") is expected

    def test_one_that_was_read_long_ago_knows_nothing_of_today(self) -> None:
        held = [panel(0, resolver("r1")), polled(0, {"r1": reply(a(OLD, DAY))}), trail(0, edit(-40 * DAY, OLD, ttl=60))]
        story = story_of((0, 60), seen={0: held})
        assert knows(story, LAG).by == "CloudTrail"
        assert not knows(story, LAG + 1).by

    def test_an_alias_lasts_a_minute_when_it_is_to_aws_and_who_knows_how_long_otherwise(self) -> None:
        for alias, expected in (("lb.eu-west-1.elb.amazonaws.com.", True), ("www.example.com.", False)):
            edits = [edit(-1000, ttl=None, alias=alias), edit(-500, OLD, ttl=60)]
            story = story_of((0, 60), seen={0: [trail(0, *edits)]})
            assert ((60, -500.0, "CloudTrail") in past(story, 1)) is expected
            # The edit at -1000 has no predecessor, and is named when the one at -500 is explained.
            named = t(-1000) if expected else t(-500)
            assert f"{named:%H:%M:%SZ}" in knows(story, 1).why_not

    def test_the_edit_that_nothing_explains_is_named(self) -> None:
        why = knows(story_of((0, 60), seen={0: [trail(0, edit(-500, OLD, ttl=60))]}), 1).why_not
        assert f"{t(-500):%H:%M:%SZ}" in why

    @pytest.mark.parametrize("action", ["CREATE", "DELETE"])
    def test_a_creation_or_deletion_explains_itself(self, action: str) -> None:
        edits = [edit(-500, OLD, ttl=60, action=action)]
        assert "edited at" not in knows(story_of((0, 60), seen={0: [trail(0, *edits)]}), 1).why_not

    def test_an_edit_that_the_ledger_watched_is_explained_by_it(self) -> None:
        story = story_of((0, 60), (100, 60), seen={100: [trail(100, edit(50, OLD, ttl=60))]})
        assert knows(story, 101).by

    def test_an_edit_after_the_instant_in_question_is_none_of_it(self) -> None:
        story = story_of((100, 60), seen={100: [trail(100, edit(50, OLD, ttl=60))]})
        assert "edited at" in knows(story, 60).why_not
        assert "edited at" not in knows(story, 40).why_not

    def test_an_edit_of_more_than_a_week_ago_has_aged(self) -> None:
        story = story_of((0, 60), seen={0: [trail(0, edit(-7 * DAY, OLD, ttl=60))]})
        assert "edited at" not in knows(story, 0).why_not
        story = story_of((0, 60), seen={0: [trail(0, edit(-7 * DAY + 1, OLD, ttl=60))]})
        assert "edited at" in knows(story, 0).why_not


class TestPast:
    def test_each_type_has_its_own_history(self) -> None:
        edits = [edit(-900, "2001:db8::1", ttl=HOUR, rtype="AAAA"), edit(-300, "2001:db8::1", ttl=60, rtype="AAAA")]
        story = story_of((0, 60), seen={0: [trail(0, *edits)]})
        assert past(story, 1) == {(60, 1.0, "seen")}
        assert (HOUR, -300.0, "CloudTrail") in past(story, 1, Key(NAME, "AAAA"))

    def test_each_weighted_record_set_has_its_own_history(self) -> None:
        edits = [edit(-900, OLD, ttl=HOUR, set_identifier="a"), edit(-300, OLD, ttl=60, set_identifier="b")]
        assert past(story_of((0, 60), seen={0: [trail(0, *edits)]}), 1) == {(60, 1.0, "seen")}

    def test_edits_after_the_change_do_not_count(self) -> None:
        edits = [edit(10, OLD, ttl=60), edit(100, NEW, ttl=60), edit(1000, NEW, ttl=HOUR), edit(2000, NEW, ttl=60)]
        story = story_of((0, 60))
        story.round(2100, authority(2100, reply(a(NEW, 60))), trail(2100, *edits))
        assert {x for x in past(story, 100) if x[2] == "CloudTrail"} == {(60, 100.0, "CloudTrail")}

    def test_the_last_edit_between_two_sightings_ended_a_version(self) -> None:
        edits = [edit(100, OLD, ttl=1800), edit(300, OLD, ttl=60)]
        story = story_of((0, HOUR))
        story.round(900, authority(900, reply(a(OLD, 60))), trail(900, *edits))
        assert (HOUR, 300.0, "seen") in past(story, 901)

    def test_an_edit_that_leaves_a_version_as_it_is_ends_nothing(self) -> None:
        story = story_of((0, HOUR))
        story.round(900, authority(900, reply(a(OLD, 60))), trail(900, edit(100, OLD, ttl=HOUR)))
        assert (HOUR, 900.0, "seen") in past(story, 901)

    def test_with_several_record_sets_no_edit_tells_which_version_it_ended(self) -> None:
        story = story_of((0, HOUR))
        changes = trail(900, edit(100, OLD, ttl=60, set_identifier="a"))
        story.round(900, authority(900, reply(a(OLD, 60))), changes)
        assert (HOUR, 900.0, "seen") in past(story, 901)

    def test_previous_ttl_ends_at_the_last_lowering_of_the_slowest_record_set(self) -> None:
        def ends(*edits: Any) -> float:
            story = story_of((0, 60), seen={0: [trail(0, *edits)]}, previous_ttl=HOUR)
            (found,) = [until for ttl, until, how in past(story, 1) if how == "previous_ttl"]
            return found

        assert ends() == 0
        assert ends(edit(-100, OLD, ttl=60)) == -100
        assert ends(edit(-900, OLD, ttl=60), edit(-500, OLD, ttl=HOUR), edit(-100, OLD, ttl=60)) == -100
        assert ends(edit(-900, OLD, ttl=60), edit(-100, OLD, ttl=50)) == -900
        two = [edit(-300, OLD, ttl=60, set_identifier="a"), edit(-100, OLD, ttl=60, set_identifier="b")]
        assert ends(*two) == -100
        assert ends(*two, edit(-50, OLD, ttl=HOUR, set_identifier="c")) == 0

    def test_an_account_that_does_not_hold_the_zone_ends_nothing_but_may_lengthen(self) -> None:
        elsewhere = hosted(900, hosted_zone(servers=("ns.elsewhere.example.",)))
        story = story_of((0, HOUR))
        edits = trail(900, edit(-50, OLD, ttl=7200), edit(100, OLD, ttl=60))
        story.round(900, authority(900, reply(a(OLD, 60))), elsewhere, edits)
        assert (HOUR, 900.0, "seen") in past(story, 901)
        assert (7200, 100.0, "CloudTrail") in past(story, 901)

    @pytest.mark.parametrize(
        ("changes", "ended"),
        [
            ({"rtype": "AAAA", "ttl": 60}, 900),
            ({"name": "www.example.com.", "ttl": 60}, 900),
            ({"ttl": HOUR}, 900),
            ({"ttl": HOUR, "action": "DELETE"}, 100),
            ({"ttl": 60}, 100),
            ({"ttl": HOUR, "values": ("203.0.113.77",)}, 100),
        ],
    )
    def test_which_edit_ends_a_version(self, changes: dict[str, Any], ended: float) -> None:
        story = story_of((0, HOUR))
        one = edit(100, OLD)._replace(**changes)
        story.round(900, authority(900, reply(a(OLD, 60))), trail(900, one))
        assert (HOUR, float(ended), "seen") in past(story, 901)

    def test_an_edit_of_another_name_or_of_an_unknown_ttl_is_no_past_of_this_one(self) -> None:
        other = [edit(-900, OLD, ttl=HOUR, name="www.example.com."), edit(-300, OLD, ttl=60, name="www.example.com.")]
        unknown = [edit(-800, ttl=None, alias="edge.example.com."), edit(-200, OLD, ttl=60)]
        story = story_of((0, 60), seen={0: [trail(0, *other, *unknown)]})
        assert past(story, 1) == {(60, 1.0, "seen")}

    def test_what_an_alias_led_to_inside_the_zone_is_a_past_of_the_name(self) -> None:
        www = "www.example.com."
        edits = [
            edit(-900, OLD, ttl=HOUR, name=www),
            edit(-300, OLD, ttl=60, name=www),
            edit(-800, ttl=None, alias=www),
        ]
        assert (HOUR, -300.0, "CloudTrail") in past(story_of((0, 60), seen={0: [trail(0, *edits)]}), 1)

    def test_an_edit_that_brings_a_version_back_did_not_end_it(self) -> None:
        edits = [edit(100, NEW, ttl=60), edit(200, OLD, ttl=HOUR)]
        story = story_of((0, HOUR))
        story.round(900, authority(900, reply(a(NEW, 60))), trail(900, *edits))
        assert (HOUR, 900.0, "seen") in past(story, 900)

    def test_a_deletion_ends_previous_ttl(self) -> None:
        edits = [edit(-900, OLD, ttl=HOUR, action="DELETE"), edit(-100, OLD, ttl=60, action="CREATE")]
        story = story_of((0, 60), seen={0: [trail(0, *edits)]}, previous_ttl=HOUR)
        assert (HOUR, -900.0, "previous_ttl") in past(story, 1)
