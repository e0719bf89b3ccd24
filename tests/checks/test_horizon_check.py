"""``dns.horizon``: wait, do not know, or pass; never early."""

from __future__ import annotations

from typing import Any

from cutover.finding import Status
from tests.checks.kit import NEW, OLD, STRANGER, Story, a, authority, make_plan, reply, t

CHECK = "dns.horizon"
FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE


def changed_story(**entry: Any) -> Story:
    story = Story(make_plan(**entry)).round(0, authority(0, reply(a(OLD, 300))))
    return story.round(400, authority(400, reply(a(NEW, 60))))


def test_before_not_before_it_fails_with_until_and_the_causes() -> None:
    finding = changed_story().only(CHECK, at=401)
    assert finding.status is FAIL
    assert finding.until == t(700)
    assert "app.example.com A (TTL 300 s)" in finding.message


def test_at_not_before_it_passes_and_says_how_it_is_known() -> None:
    story = changed_story()
    assert story.only(CHECK, at=699.9).status is FAIL
    finding = story.only(CHECK, at=700)
    assert finding.status is PASS
    assert "this ledger" in finding.message


def test_previous_ttl_holds_and_is_named() -> None:
    finding = changed_story(previous_ttl=86400).only(CHECK, at=1000)
    assert finding.status is FAIL
    assert finding.until == t(86400)
    assert "86400" in finding.message


def test_while_old_is_served_it_is_unknown() -> None:
    story = Story().round(0, authority(0, reply(a(OLD))))
    assert "has not changed yet" in story.only(CHECK).message
    assert story.only(CHECK).status is UNKNOWN
    story.round(10, authority(10, reply(a(STRANGER))))
    assert story.only(CHECK).status is UNKNOWN


def test_a_ledger_that_never_saw_old_is_unknown_for_ever() -> None:
    story = Story().round(0, authority(0, reply(a(NEW))))
    assert "not known when it changed" in story.only(CHECK).message
    story.round(30 * 86400, authority(30 * 86400, reply(a(NEW))))
    assert story.only(CHECK).status is UNKNOWN
    told = Story(make_plan({"migration": {"changed_at": t(-10)}})).round(0, authority(0, reply(a(NEW))))
    finding = told.only(CHECK, at=90 * 86400)
    assert finding.status is UNKNOWN
    assert "previous_ttl" in finding.message


def test_a_fail_is_said_even_when_the_rest_is_unknown() -> None:
    story = Story().round(0, authority(0, reply(a(OLD, 60))))
    story.round(10, authority(10, reply(a(NEW, 60))))
    assert story.only(CHECK, at=20).status is FAIL
    assert story.only(CHECK, at=400).status is UNKNOWN


def test_without_new_it_says_so() -> None:
    assert "add --new" in Story(make_plan(new=[])).round(0, authority(0, reply(a(OLD)))).only(CHECK).message
