"""When a name left the old side: the ledger's interval, the plan's word, and CloudTrail."""

from __future__ import annotations

from cutover.change import Changed, changed
from cutover.observations.base import Observation
from cutover.observations.dns import Record
from tests.checks.kit import (
    NAME,
    NEW,
    OLD,
    OLD6,
    Story,
    a,
    authority,
    cname,
    edit,
    hosted,
    hosted_zone,
    make_plan,
    reply,
    t,
    trail,
)
from tests.folds.test_horizon import not_before, story_of

HOUR, DAY = 3600, 86400
LATE = DAY + 3 * HOUR + 300
"""When the first round after the change was watched: hours after it."""


def test_with_nothing_told_the_end_of_the_interval_counts() -> None:
    story = story_of((0, OLD, 60), (100, OLD, 60), (200, NEW, 60), (300, NEW, 60))
    assert changed(story.plan, story.evidence, NAME).at == t(200)


def test_the_plans_word_counts_only_inside_the_interval() -> None:
    for told, expected in ((150, 150), (50, 200), (250, 200)):
        plan = make_plan({"migration": {"changed_at": t(told)}})
        story = Story(plan)
        for at, address in ((100, OLD), (200, NEW), (300, NEW)):
            story.round(at, authority(at, reply(a(address))))
        assert changed(story.plan, story.evidence, NAME).at == t(expected)


def test_the_latest_of_those_inside_counts() -> None:
    story = Story(make_plan({"migration": {"changed_at": t(120)}}))
    story.round(100, authority(100, reply(a(OLD))))
    story.round(200, authority(200, reply(a(NEW))), trail(200, edit(150, NEW), edit(40, NEW)))
    assert changed(story.plan, story.evidence, NAME).at == t(150)


def test_an_edit_to_a_new_target_or_alias_tells_when() -> None:
    target = "d111.cloudfront.net."
    for made in (edit(150, target, rtype="CNAME"), edit(150, ttl=None, alias=target)):
        story = Story(make_plan(new=[target]))
        story.round(100, authority(100, reply(a(OLD))))
        story.round(200, authority(200, reply(cname(target))), trail(200, made))
        assert changed(story.plan, story.evidence, NAME).at == t(150)


def test_an_edit_to_old_or_a_deletion_is_no_change_to_new() -> None:
    story = Story()
    story.round(100, authority(100, reply(a(OLD))))
    edits = [edit(150, OLD), edit(160, NEW, action="DELETE"), edit(170, NEW, OLD)]
    story.round(200, authority(200, reply(a(NEW))), trail(200, *edits))
    assert changed(story.plan, story.evidence, NAME).at == t(200)


def test_an_edit_in_a_zone_that_nobody_asks_is_no_change() -> None:
    story = Story()
    story.round(100, authority(100, reply(a(OLD))))
    idle = hosted_zone("Z2", servers=("ns.elsewhere.example.",))
    edits = trail(200, edit(150, NEW, zone_id="Z2"))
    story.round(200, authority(200, reply(a(NEW))), hosted(200, hosted_zone(), idle), edits)
    assert changed(story.plan, story.evidence, NAME).at == t(200)


def test_edits_of_an_account_that_does_not_hold_the_zone_tell_nothing() -> None:
    story = Story()
    story.round(100, authority(100, reply(a(OLD))))
    elsewhere = hosted(200, hosted_zone(servers=("ns.elsewhere.example.",)))
    story.round(200, authority(200, reply(a(NEW))), elsewhere, trail(200, edit(150, NEW)))
    assert changed(story.plan, story.evidence, NAME).at == t(200)


def test_with_no_sighting_of_old_only_what_is_told_counts() -> None:
    silent = story_of((100, NEW, 60))
    assert changed(silent.plan, silent.evidence, NAME).at is None
    story = Story(make_plan({"migration": {"changed_at": t(-50)}}))
    story.round(100, authority(100, reply(a(NEW))), trail(100, edit(-20, NEW), edit(-500, OLD)))
    assert changed(story.plan, story.evidence, NAME).at == t(-20)


def test_it_has_not_changed_while_one_server_gives_old() -> None:
    story = Story(make_plan({"migration": {"changed_at": t(-50)}}))
    story.round(100, authority(100, reply(a(NEW)), reply(a(OLD))))
    assert changed(story.plan, story.evidence, NAME).at is None


def two_families(*edits: object, **changes: object) -> Story:
    """Old has both families until a day, new only IPv4; nobody watches until :data:`LATE`."""
    story = Story(make_plan(dict(changes), types=["A", "AAAA"], old=[OLD, OLD6]))
    for at in (0, DAY):
        story.round(at, authority(at, reply(a(OLD, 60))), authority(at, reply(a(OLD6, HOUR)), rtype="AAAA"))
    seen: list[Observation] = [authority(LATE, reply(a(NEW, 60))), authority(LATE, reply(), rtype="AAAA")]
    return story.round(LATE, *seen, trail(LATE, *edits))  # type: ignore[arg-type]


def of(story: Story) -> Changed:
    return changed(story.plan, story.evidence, NAME)


def test_what_took_old_away_later_than_the_rest_counts() -> None:
    gone = edit(DAY + 3 * HOUR, OLD6, ttl=HOUR, action="DELETE", rtype="AAAA")
    story = two_families(edit(DAY + HOUR, NEW), gone)
    assert of(story).at == t(DAY + 3 * HOUR)
    assert not_before(story) == DAY + 4 * HOUR
    stated = two_families(edit(DAY + HOUR, NEW), gone, migration={"changed_at": t(DAY + HOUR)})
    assert of(stated).at == t(DAY + 3 * HOUR)


def test_an_rrset_whose_end_cloudtrail_does_not_show_ended_when_the_ledger_missed_it() -> None:
    story = two_families(edit(DAY + HOUR, NEW))
    assert of(story).at == t(LATE)
    assert not_before(story) == LATE + HOUR


def test_https_hints_that_were_changed_later_count() -> None:
    story = Story()
    for at in (0, DAY):
        hints = Record(NAME, "HTTPS", HOUR, f"1 . ipv4hint={OLD}")
        story.round(at, authority(at, reply(a(OLD, 60))), authority(at, reply(hints), rtype="HTTPS"))
    https = f"1 . ipv4hint={NEW}"
    edits = trail(LATE, edit(DAY + HOUR, NEW), edit(DAY + 3 * HOUR, https, rtype="HTTPS"))
    answers = authority(LATE, reply(a(NEW))), authority(LATE, reply(Record(NAME, "HTTPS", 60, https)), rtype="HTTPS")
    story.round(LATE, *answers, edits)
    assert not_before(story) == DAY + 4 * HOUR


def test_a_trail_whose_last_edit_left_old_is_behind_and_tells_nothing() -> None:
    there, back, again = edit(DAY + HOUR, NEW), edit(DAY + 2 * HOUR, OLD, ttl=HOUR), edit(DAY + 3 * HOUR, NEW)
    for edits, stated, expected in (
        ([there, back], None, LATE),
        ([there, back], t(DAY + HOUR), LATE),
        ([there, back, again], None, DAY + 3 * HOUR),
    ):
        story = Story(make_plan({"migration": {"changed_at": stated}}))
        for at in (0, DAY):
            story.round(at, authority(at, reply(a(OLD, HOUR))))
        story.round(LATE, authority(LATE, reply(a(NEW))), trail(LATE, *edits))
        assert of(story).at == t(expected)
        assert not_before(story) == expected + HOUR


def test_without_a_sighting_of_old_a_trail_that_is_behind_tells_nothing_either() -> None:
    story = Story().round(LATE, authority(LATE, reply(a(NEW))), trail(LATE, edit(HOUR, NEW), edit(2 * HOUR, OLD)))
    assert of(story).at is None


def test_a_hop_that_the_chain_left_on_old_contradicts_nothing() -> None:
    edge = "edge.example.com."
    story = Story(make_plan(new=["d111.cloudfront.net."]))
    for at in (0, DAY):
        hop = authority(at, reply(a(OLD, 60, edge)), name=edge, hop=2)
        story.round(at, authority(at, reply(cname(edge))), hop)
    edits = edit(HOUR, OLD, name=edge), edit(DAY + HOUR, "d111.cloudfront.net.", rtype="CNAME")
    story.round(LATE, authority(LATE, reply(cname("d111.cloudfront.net."))), trail(LATE, *edits))
    assert of(story).at == t(DAY + HOUR)


def test_an_edit_of_another_type_is_no_change_to_new() -> None:
    story = Story()
    story.round(100, authority(100, reply(a(OLD))))
    https = edit(150, "1 . alpn=h2", rtype="HTTPS")
    story.round(200, authority(200, reply(a(NEW))), trail(200, https, edit(160, "v=spf1 -all", rtype="TXT")))
    assert of(story).at == t(200)
