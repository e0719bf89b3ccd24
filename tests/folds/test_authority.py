"""Versions of RRsets and the change window, as the authorities' answers come in."""

from __future__ import annotations

from cutover.answers import Answer
from cutover.folds.authority import RRset
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
    from cutover.observations.dns import Record

    story = Story()
    story.round(0, authority(0, reply(a(NEW))), authority(0, reply(rcode="NOTIMP"), rtype="HTTPS"))
    assert set(story.evidence.authority.sightings(NAME)) == {"A"}
    https = Record(NAME, "HTTPS", 60, f'1 . alpn="h2" ipv4hint="{OLD}"')
    story.round(10, authority(10, reply(a(NEW))), authority(10, reply(https), rtype="HTTPS"))
    assert {x.answer for x in story.evidence.authority.sightings(NAME)["HTTPS"]} == {Answer.OLD}
    assert story.evidence.authority.window(NAME).last_old == t(10)
