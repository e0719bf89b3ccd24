"""Which addresses belong to which side, learnt on the way."""

from __future__ import annotations

import pytest

from cutover.answers import Answer
from cutover.observations.dns import Record, ResolverAnswer, ResolverAnswers, TargetAddresses
from cutover.observations.gate import SideFound
from cutover.plan import Plan
from tests.checks.kit import (
    NAME,
    NEW,
    OLD,
    STRANGER,
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

TARGET, NEW_TARGET = "ingress.porter.example.", "d111.cloudfront.net."


def behind(side: str, *addresses: str, target: str = TARGET, error: str = "") -> TargetAddresses:
    return TargetAddresses(at=t(0), name=NAME, side=side, target=target, addresses=addresses, error=error)


def test_addresses_behind_an_old_target_stay_old_when_they_rotate() -> None:
    story = Story(make_plan(old=[TARGET]))
    story.round(0, behind("old", "192.0.2.1"))
    story.round(10, behind("old", "192.0.2.2"))
    sides = story.evidence.sides.of(NAME)
    assert sides.of_address("192.0.2.1") is sides.of_address("192.0.2.2") is Answer.OLD
    assert set(story.evidence.sides.addresses(NAME, "old")) == {"192.0.2.1", "192.0.2.2"}


def test_an_answer_that_goes_through_the_old_target_teaches_its_addresses() -> None:
    story = Story(make_plan(old=[TARGET]))
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": reply(cname(TARGET), a(STRANGER, owner=TARGET))}))
    assert story.evidence.sides.of(NAME).of_address(STRANGER) is Answer.OLD
    other = Story(make_plan(old=[TARGET]))
    other.round(0, authority(0, reply(cname(TARGET), a(STRANGER, owner=TARGET))))
    assert other.evidence.sides.of(NAME).of_address(STRANGER) is Answer.OLD


@pytest.mark.parametrize(
    "records",
    [
        (a(STRANGER),),
        (cname("elsewhere.example."), a(STRANGER, owner="elsewhere.example.")),
        (cname(NEW_TARGET), a(STRANGER, owner=NEW_TARGET)),
        (cname(TARGET), cname(NEW_TARGET, owner=TARGET), a(STRANGER, owner=NEW_TARGET)),
    ],
)
def test_only_what_lies_behind_the_old_target_is_learnt(records: tuple[Record, ...]) -> None:
    story = Story(make_plan(old=[TARGET], new=[NEW, NEW_TARGET]))
    story.round(0, panel(0, resolver("r1")), polled(0, {"r1": reply(*records)}), authority(0, reply(*records)))
    assert story.evidence.sides.of(NAME).of_address(STRANGER) is None


def test_declared_addresses_of_a_side_are_those_that_stand_for_one_host() -> None:
    story = Story(make_plan(old=["203.0.113.7", "192.0.2.0/24", TARGET], new=[NEW, "198.51.100.128/25"]))
    assert story.evidence.sides.addresses(NAME, "old") == ("203.0.113.7",)
    assert story.evidence.sides.addresses(NAME, "new") == (NEW,)


def test_a_declared_new_address_is_never_remembered_as_old() -> None:
    story = Story(make_plan(old=[TARGET], new=["198.51.100.99", NEW]))
    story.round(0, behind("old", NEW))
    assert story.evidence.sides.of(NAME).of_address(NEW) is Answer.NEW


def test_addresses_behind_a_new_target_are_new_and_a_failed_look_up_teaches_nothing() -> None:
    story = Story(make_plan(new=[NEW_TARGET]))
    story.round(0, behind("new", STRANGER, target=NEW_TARGET, error="a loop"))
    assert story.evidence.sides.of(NAME).of_address(STRANGER) is None
    story.round(10, behind("new", STRANGER, target=NEW_TARGET))
    assert story.evidence.sides.of(NAME).of_address(STRANGER) is Answer.NEW


def test_addresses_that_a_resolver_gives_behind_a_hidden_old_target_are_old_for_all() -> None:
    story = Story(make_plan(old=[TARGET], new=[NEW_TARGET]))
    given = tuple(
        ResolverAnswer(id, reply(a(address)), alias)
        for id, address, alias in (("r1", STRANGER, TARGET), ("r2", "192.0.2.98", NEW_TARGET))
    )
    seen = ResolverAnswers(at=t(0), name=NAME, rtype="A", answers=given)
    story.round(0, panel(0, resolver("r1"), resolver("r2")), seen)
    assert story.evidence.sides.of(NAME).of_address(STRANGER) is Answer.OLD
    assert story.evidence.sides.of(NAME).of_address("192.0.2.98") is None
    standings = [story.evidence.resolvers.standing(id, NAME, "A") for id in ("r1", "r2")]
    assert [x.now for x in standings if x is not None] == [Answer.OLD, Answer.NEW]


def test_a_new_target_with_one_family_alone_wants_nodata_for_the_other() -> None:
    story = Story(make_plan(new=[NEW_TARGET]))
    assert story.evidence.sides.of(NAME).of_records([], "AAAA") is Answer.NODATA
    story.round(0, behind("new", STRANGER, target=NEW_TARGET))
    assert story.evidence.sides.of(NAME).of_records([], "AAAA") is Answer.NEW
    story.round(10, behind("new", STRANGER, "2001:db8::1", target=NEW_TARGET))
    assert story.evidence.sides.of(NAME).of_records([], "AAAA") is Answer.NODATA


def test_the_first_side_that_was_found_stays() -> None:
    story = Story(make_plan(old=[]))
    story.round(0, SideFound(at=t(0), name=NAME, side="old", members=(OLD,)))
    story.round(10, SideFound(at=t(10), name=NAME, side="old", members=(NEW,)))
    assert [x.text for x in story.evidence.sides.of(NAME).old] == [OLD]


def test_a_target_that_is_found_live_teaches_the_addresses_that_were_seen_with_it() -> None:
    story = Story(make_plan(old=[]))
    chain = authority(0, reply(cname(TARGET))), authority(0, reply(a(STRANGER, owner=TARGET)), name=TARGET, hop=2)
    story.round(0, *chain, SideFound(at=t(0), name=NAME, side="old", members=(TARGET,)))
    assert story.evidence.sides.addresses(NAME, "old") == (STRANGER,)
    elsewhere = Story(make_plan(old=[]))
    elsewhere.round(0, *chain, SideFound(at=t(0), name=NAME, side="old", members=("other.example.",)))
    assert elsewhere.evidence.sides.addresses(NAME, "old") == ()


def test_what_the_plan_declares_wins_over_what_was_found() -> None:
    story = Story()
    story.round(0, SideFound(at=t(0), name=NAME, side="old", members=(STRANGER,)))
    assert story.evidence.sides.of(NAME).of_address(STRANGER) is None


def test_https_is_polled_once_it_was_found_to_lead_somewhere_unless_the_plan_names_the_types() -> None:
    def types(text: str, *, in_plan: bool = True, **entry: object) -> tuple[str, ...]:
        story = Story(Plan.model_validate({"name": [{"name": NAME, "old": [OLD], "new": [NEW], **entry}]}))
        found = authority(0, reply(Record(NAME, "HTTPS", 60, text)), rtype="HTTPS", in_plan=in_plan)
        return story.round(0, found).evidence.sides.types(NAME)

    assert types(f"1 . ipv4hint={OLD}") == ("A", "AAAA", "HTTPS")
    assert types("1 svc.porter.example.") == ("A", "AAAA", "HTTPS")
    assert types("1 . alpn=h2") == ("A", "AAAA")
    assert types(f"1 . ipv4hint={OLD}", in_plan=False) == ("A", "AAAA")
    assert types(f"1 . ipv4hint={OLD}", types=["A"]) == ("A",)
