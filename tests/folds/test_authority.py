"""Versions of RRsets and the change window, as the authorities' answers come in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutover.answers import Answer
from cutover.folds.authority import RRset
from cutover.observations.dns import AuthorityAnswers, Outcome, Record, Reply, TargetAddresses
from tests.checks.kit import NAME, NEW, NEW6, OLD, STRANGER, TIMEOUT, Story, a, authority, cname, make_plan, reply, t


def test_a_version_is_gone_when_every_server_answered_without_it() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD, 3600))))
    story.round(10, authority(10, reply(a(OLD, 3600)), reply(a(OLD, 60))))
    story.round(20, authority(20, reply(a(OLD, 60)), TIMEOUT))
    high = RRset(NAME, "A", 3600, frozenset({OLD}))
    assert story.evidence.authority.versions(NAME)[high].last == t(10)
    assert story.evidence.authority.versions(NAME)[high].gone is None
    story.round(30, authority(30, reply(a(OLD, 60))))
    assert story.evidence.authority.versions(NAME)[high].gone == t(30)


def test_a_version_that_comes_back_is_not_gone() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD, 3600))))
    story.round(10, authority(10, reply(a(OLD, 60))))
    story.round(20, authority(20, reply(a(OLD, 3600))))
    served = story.evidence.authority.versions(NAME)[RRset(NAME, "A", 3600, frozenset({OLD}))]
    assert (served.first, served.last, served.gone) == (t(0), t(20), None)


def test_the_window_opens_with_the_last_old_and_closes_when_every_server_gives_new() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD))))
    story.round(10, authority(10, reply(a(OLD)), reply(a(NEW))))
    assert story.evidence.authority.window(NAME).last_old == t(10)
    assert story.evidence.authority.window(NAME).first_new is None
    story.round(20, authority(20, reply(a(NEW)), TIMEOUT))
    assert story.evidence.authority.window(NAME).first_new is None
    story.round(30, authority(30, reply(a(NEW))))
    story.round(40, authority(40, reply(a(NEW))))
    assert (story.evidence.authority.window(NAME).last_old, story.evidence.authority.window(NAME).first_new) == (
        t(10),
        t(30),
    )


def test_a_later_sighting_of_old_resets_the_window() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD))))
    story.round(10, authority(10, reply(a(NEW))))
    story.round(20, authority(20, reply(a(NEW)), reply(a(OLD))))
    window = story.evidence.authority.window(NAME)
    assert (window.last_old, window.first_new) == (t(20), None)


def test_the_window_does_not_close_before_every_polled_type_was_seen() -> None:
    story = Story(make_plan(types=["A", "AAAA"], new=[NEW, NEW6]))
    story.round(0, authority(0, reply(a(OLD))), authority(0, reply(), rtype="AAAA"))
    story.round(10, authority(10, reply(a(NEW))))
    assert story.evidence.authority.window(NAME).first_new is None
    story.round(20, authority(20, reply(a(NEW))), authority(20, reply(a(NEW6)), rtype="AAAA"))
    assert story.evidence.authority.window(NAME).first_new == t(20)


def test_an_answer_without_authority_is_nobodys_word() -> None:
    story = Story(make_plan(types=["AAAA"]))
    story.round(0, authority(0, reply(aa=False), rtype="AAAA"))
    (one, other) = story.evidence.authority.sightings(NAME)["AAAA"]
    assert one.answer is other.answer is Answer.REFUSED
    assert story.evidence.authority.window(NAME).first_new is None


def test_a_chain_is_followed_through_the_users_own_hops() -> None:
    story = Story()
    edge = "edge.example.com."
    story.round(
        0,
        authority(0, reply(cname(edge))),
        authority(0, reply(a(OLD, 300, edge)), reply(a(NEW, 60, edge)), name=edge, hop=2),
    )
    sightings = story.evidence.authority.sightings(NAME)["A"]
    assert {x.answer for x in sightings} == {Answer.MIXED}
    owners = {(x.owner, x.rtype) for x in sightings[0].rrsets}
    assert owners == {(NAME, "CNAME"), (edge, "A")}


def test_a_declared_new_target_that_leads_back_to_old_is_not_new() -> None:
    target = "sst.example.com."
    story = Story(make_plan(new=[target]))
    story.round(
        0,
        authority(0, reply(cname(target))),
        authority(0, reply(a(OLD, owner=target)), name=target, hop=2),
    )
    assert {x.answer for x in story.evidence.authority.sightings(NAME)["A"]} == {Answer.OLD}


def test_one_content_network_may_serve_behind_both_targets() -> None:
    old, new = "d111.cloudfront.net.", "d222.cloudfront.net."
    story = Story(make_plan(old=[old], new=[new]))
    for at, target in ((0, old), (100, new)):
        behind = [
            TargetAddresses(at=t(at), name=NAME, side=x, target=y, addresses=(STRANGER,))
            for x, y in (("old", old), ("new", new))
        ]
        hop = authority(at, reply(a(STRANGER, owner=target)), name=target, hop=2, in_plan=False, zone="cloudfront.net.")
        story.round(at, authority(at, reply(cname(target))), hop, *behind)
        expected = Answer.OLD if target == old else Answer.NEW
        assert {x.answer for x in story.evidence.authority.sightings(NAME)["A"]} == {expected}


def test_a_vendors_hop_below_the_switch_is_no_old_version() -> None:
    target = "ingress.porter.example."
    story = Story(make_plan(old=[target]))
    story.round(
        0,
        authority(0, reply(cname(target, 300), a(STRANGER, 86400, target))),
        authority(0, reply(a(STRANGER, 86400, target)), name=target, hop=2, in_plan=False, zone="porter.example."),
    )
    assert {x.ttl for x in story.evidence.authority.old_versions(NAME)} == {300}


def test_an_alias_above_the_switch_is_no_old_version_once_all_is_new() -> None:
    edge = "edge.example.com."
    story = Story()
    for at, address in ((0, OLD), (10, NEW)):
        story.round(
            at,
            authority(at, reply(cname(edge, 86400))),
            authority(at, reply(a(address, 60, edge)), name=edge, hop=2),
        )
    assert {x.owner for x in story.evidence.authority.old_versions(NAME)} == {edge}


def test_rotating_answers_do_not_fill_memory_nor_push_out_an_old_version() -> None:
    story = Story(make_plan(new=["198.51.100.0/24"]))
    story.round(0, authority(0, reply(a(OLD, 60))))
    for n in range(1, 60):
        story.round(n, authority(n, reply(a(f"198.51.100.{n}", 60))))
    assert len(story.evidence.authority.versions(NAME)) <= 9
    assert [x.data for x in story.evidence.authority.old_versions(NAME)] == [frozenset({OLD})]


def test_https_counts_once_such_a_record_was_seen() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(NEW))), authority(0, reply(rcode="NOTIMP"), rtype="HTTPS"))
    assert set(story.evidence.authority.sightings(NAME)) == {"A"}
    https = Record(NAME, "HTTPS", 60, f'1 . alpn="h2" ipv4hint="{OLD}"')
    story.round(10, authority(10, reply(a(NEW))), authority(10, reply(https), rtype="HTTPS"))
    assert {x.answer for x in story.evidence.authority.sightings(NAME)["HTTPS"]} == {Answer.OLD}
    assert story.evidence.authority.window(NAME).last_old == t(10)


@pytest.mark.parametrize(
    ("second", "gone"),
    [
        (reply(rcode="NXDOMAIN"), True),
        (reply(), True),
        (reply(rcode="REFUSED"), False),
        (reply(rcode="SERVFAIL"), False),
        (reply(a(OLD, 60), aa=False), False),
        (Reply(Outcome.MALFORMED, authoritative=True, rcode="NOERROR"), False),
    ],
)
def test_only_an_authoritys_word_ends_a_version(second: Reply, gone: bool) -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD, 3600))))
    story.round(10, authority(10, reply(a(OLD, 60)), second))
    served = story.evidence.authority.versions(NAME)[RRset(NAME, "A", 3600, frozenset({OLD}))]
    assert (served.gone == t(10)) is gone


def test_a_zone_without_servers_ends_nothing() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(OLD, 3600))))
    story.round(10, replace(authority(10, reply()), answers=()))
    assert story.evidence.authority.versions(NAME)[RRset(NAME, "A", 3600, frozenset({OLD}))].gone is None


def test_another_types_answer_ends_nothing_and_an_address_in_its_place_ends_a_cname() -> None:
    story = Story(make_plan(types=["A", "AAAA"]))
    story.round(0, authority(0, reply(a(OLD, 3600))), authority(0, reply(), rtype="AAAA"))
    story.round(10, authority(10, reply(), rtype="AAAA"))
    high = RRset(NAME, "A", 3600, frozenset({OLD}))
    assert story.evidence.authority.versions(NAME)[high].gone is None
    story.round(20, authority(20, reply(cname("edge.example.com.", 300))))
    assert story.evidence.authority.versions(NAME)[high].gone == t(20)
    story.round(30, authority(30, reply(a(OLD, 60))))
    pointer = RRset(NAME, "CNAME", 300, frozenset({"edge.example.com."}))
    assert story.evidence.authority.versions(NAME)[pointer].gone == t(30)


def test_a_chain_in_one_answer_is_kept_to_its_end_unless_a_declared_target_comes() -> None:
    edge, target = "edge.example.com.", "ingress.porter.example."
    story = Story(make_plan(old=[OLD, target]))
    story.round(0, authority(0, reply(cname(edge, 300), a(OLD, 60, edge))))
    (first, _) = story.evidence.authority.sightings(NAME)["A"]
    assert [x.owner for x in first.rrsets] == [NAME, edge]
    story.round(10, authority(10, reply(cname(edge, 300), cname(target, 200, edge), a(OLD, 60, target))))
    (first, _) = story.evidence.authority.sightings(NAME)["A"]
    assert [x.owner for x in first.rrsets] == [NAME, edge]
    assert set(story.evidence.authority.sightings(NAME)) == {"A"}


def test_below_a_declared_target_only_a_lead_back_to_old_counts() -> None:
    new, old = "sst.example.com.", "ingress.porter.example."
    for target, end, expected in (
        (new, STRANGER, Answer.NEW),
        (new, OLD, Answer.OLD),
        (old, STRANGER, Answer.OLD),
        (old, NEW, Answer.OLD),
    ):
        story = Story(make_plan(old=[OLD, old], new=[NEW, new]))
        below = authority(0, reply(a(end, owner=target)), name=target, hop=2, in_plan=False)
        story.round(0, authority(0, reply(cname(target))), below)
        assert {x.answer for x in story.evidence.authority.sightings(NAME)["A"]} == {expected}, (target, end)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((reply(a(NEW)), reply(rcode="NXDOMAIN")), Answer.NXDOMAIN),
        ((reply(a(NEW)), reply(a(OLD))), Answer.MIXED),
        ((reply(a(NEW)), TIMEOUT), Answer.TIMEOUT),
        ((TIMEOUT, TIMEOUT), Answer.TIMEOUT),
        ((reply(a(NEW)), reply(a(NEW))), Answer.NEW),
    ],
)
def test_servers_of_the_next_hop_that_differ(ends: tuple[Reply, Reply], expected: Answer) -> None:
    edge = "edge.example.com."
    story = Story()
    story.round(0, authority(0, reply(cname(edge))), authority(0, *ends, name=edge, hop=2))
    assert {x.answer for x in story.evidence.authority.sightings(NAME)["A"]} == {expected}


def test_a_loop_or_a_hop_that_nobody_asked_is_on_neither_side() -> None:
    edge = "edge.example.com."
    story = Story().round(0, authority(0, reply(cname(edge))), authority(0, reply(cname(NAME, owner=edge)), name=edge))
    assert {x.answer for x in story.evidence.authority.sightings(NAME)["A"]} == {Answer.OTHER}
    lost = Story().round(0, authority(0, reply(cname(edge))))
    assert {x.answer for x in lost.evidence.authority.sightings(NAME)["A"]} == {Answer.OTHER}


def test_a_hop_whose_servers_could_not_be_found_is_unseen_not_elsewhere() -> None:
    vendor = "ingress.porter.example."
    nobody = AuthorityAnswers(
        at=t(0), name=vendor, rtype="A", of=NAME, hop=2, zone="porter.example.", in_plan=False, answers=()
    )
    story = Story().round(0, authority(0, reply(cname(vendor))), nobody)
    (sighting, _) = story.evidence.authority.sightings(NAME)["A"]
    assert (sighting.answer, sighting.error) == (Answer.TIMEOUT, "ingress.porter.example could not be asked")
    declared = Story(make_plan(new=[vendor])).round(0, authority(0, reply(cname(vendor))), nobody)
    assert {x.answer for x in declared.evidence.authority.sightings(NAME)["A"]} == {Answer.NEW}


def test_silence_is_silence_whatever_its_flags() -> None:
    story = Story().round(0, authority(0, TIMEOUT))
    assert {x.answer for x in story.evidence.authority.sightings(NAME)["A"]} == {Answer.TIMEOUT}


def test_known_since_is_the_first_sighting_of_any_or_of_one_rrset() -> None:
    edge = "edge.example.com."
    story = Story()
    story.round(5, authority(5, reply(cname(edge))))
    story.round(9, authority(9, reply(cname(edge))), authority(9, reply(a(OLD, owner=edge)), name=edge, hop=2))
    assert story.evidence.authority.known_since(NAME) == t(5)
    assert story.evidence.authority.known_since(NAME, edge, "A") == t(9)
    assert story.evidence.authority.known_since(NAME, edge, "AAAA") is None
    assert story.evidence.authority.known_since("other.example.com.") is None


def test_a_cname_that_one_type_does_not_show_is_served_still() -> None:
    story = Story()
    alias = cname("ingress.porter.example.", 300)
    story.round(0, authority(0, reply(alias)), authority(0, reply(), rtype="HTTPS"))
    version = RRset(NAME, "CNAME", 300, frozenset({alias.data}))
    assert story.evidence.authority.versions(NAME)[version].gone is None
    story.round(10, authority(10, reply(a(NEW))), authority(10, reply(), rtype="HTTPS"))
    assert story.evidence.authority.versions(NAME)[version].gone == t(10)


def test_a_name_that_the_plan_does_not_have_leaves_no_trace() -> None:
    story = Story()
    other = "www.example.com."
    story.round(0, authority(0, reply(a(OLD, owner=other)), name=other, of=other), authority(0, reply(a(OLD))))
    assert story.evidence.authority.sightings(other) == {}
    assert story.evidence.authority.window(NAME).last_old == t(0)
