"""Moves of a delegation, and names that did not exist."""

from __future__ import annotations

from cutover.folds.delegation import NegativeTtl
from tests.checks.kit import NAME, NEW, NXDOMAIN, SERVERS, TIMEOUT, Story, a, authority, ns, reply, t, zone_seen


def test_a_parent_that_says_nothing_for_a_round_moved_nothing() -> None:
    story = Story()
    story.round(0, zone_seen(0))
    story.round(10, zone_seen(10, parent_ns=(), child_ns=ns(servers=("ns9.example.com.",))))
    assert story.evidence.delegation.moved(NAME) is None


def test_the_ttl_of_the_old_delegation_counts() -> None:
    story = Story()
    story.round(0, zone_seen(0, parent_ns=ns(172800), child_ns=ns(600)))
    story.round(10, zone_seen(10, parent_ns=ns(300, ("ns9.example.com.",)), child_ns=ns(300)))
    moved = story.evidence.delegation.moved(NAME)
    assert moved is not None
    assert (moved.at, moved.ns_ttl) == (t(10), 172800)


def test_without_the_parent_the_zones_own_word_counts() -> None:
    story = Story()
    story.round(0, zone_seen(0, source="authorities"))
    story.round(10, zone_seen(10, source="authorities", child_ns=ns(servers=SERVERS[:1])))
    moved = story.evidence.delegation.moved(NAME)
    assert moved is not None
    assert moved.at == t(10)


def test_a_zone_that_is_seen_in_another_way_has_not_moved() -> None:
    story = Story()
    story.round(0, zone_seen(0))
    story.round(10, zone_seen(10, source="authorities", child_ns=ns(servers=("ns9.example.com.",))))
    assert story.evidence.delegation.moved(NAME) is None


def test_the_negative_ttl_is_the_smaller_and_only_for_a_name_that_was_absent() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(NEW))))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == ()
    story.round(10, authority(10, NXDOMAIN))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == (NegativeTtl(300),)
    story.round(20, zone_seen(20, soa_ttl=120, soa_minimum=300))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == (NegativeTtl(300, t(20)), NegativeTtl(120))


def test_a_server_that_denies_a_type_of_a_name_that_it_has_made_no_name_new() -> None:
    story = Story()
    story.round(0, zone_seen(0), authority(0, NXDOMAIN, rtype="AAAA"), authority(0, reply(a(NEW))))
    story.round(10, authority(10, reply(a(NEW))), authority(10, NXDOMAIN, rtype="HTTPS"))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == ()
    story.round(20, authority(20, reply(a(NEW)), NXDOMAIN), authority(20, NXDOMAIN, rtype="HTTPS"))
    story.round(30, authority(30, reply(a(NEW))))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == (NegativeTtl(300),)


def test_a_name_with_nothing_that_leads_anywhere_is_as_new_as_one_that_does_not_exist() -> None:
    """A record below it (``_acme-challenge``) makes it exist, and caches keep that it has no address."""
    story = Story()
    types = ("A", "AAAA", "CNAME", "HTTPS")
    story.round(0, *(authority(0, reply(), rtype=rtype) for rtype in types))
    story.round(10, authority(10, reply(a(NEW))), *(authority(10, reply(), rtype=rtype) for rtype in types[1:]))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == (NegativeTtl(300),)


def test_a_server_that_did_not_answer_for_every_type_does_not_lack_the_name() -> None:
    story = Story()
    story.round(0, authority(0, reply(a(NEW)), TIMEOUT), authority(0, reply(), rtype="AAAA"))
    story.round(10, authority(10, reply(a(NEW))), authority(10, reply(), rtype="AAAA"))
    assert story.evidence.delegation.negative_ttls_when_new(NAME) == ()
