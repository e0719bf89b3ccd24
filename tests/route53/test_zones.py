"""Which hosted zones could hold a name, and what is in them: real boto3 against the account's wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cutover.observations.provider import Variants
from tests.route53.conftest import NAME, NS, Observe, failures_in, variants_in, zones_in
from tests.world.cloud import alias, record

if TYPE_CHECKING:
    from tests.world.cloud import Account


def test_a_zone_is_found_by_exact_name_among_neighbours(account: Account, observe: Observe) -> None:
    account.create_zone("aexample.com")
    account.create_zone("zexample.com")
    account.create_zone("sub.example.com")
    account.create_zone("app.example.com.au")
    zone = account.create_zone("example.com", name_servers=NS)
    found = zones_in(observe())
    assert [(x.id, x.name, x.private, x.name_servers) for x in found.zones] == [(zone.id, "example.com.", False, NS)]
    assert found.zones[0].records == 2
    assert account.calls["GetHostedZone"] == 1, "neighbours are not asked for"


def test_duplicates_parents_and_private_zones_are_all_reported(account: Account, observe: Observe) -> None:
    wrong = account.create_zone("example.com", name_servers=("ns-8.other.example.", "ns-9.other.example."))
    right = account.create_zone("example.com", name_servers=NS)
    private = account.create_zone("example.com", private=True)
    deeper = account.create_zone("app.example.com")
    found = zones_in(observe(delegated_ns={"example.com.": NS}))
    assert found.zones[0].id == right.id, "the delegated zone comes first"
    assert {x.id for x in found.zones} == {wrong.id, right.id, private.id, deeper.id}
    assert [x.private for x in found.zones if x.id == private.id] == [True]
    assert [x.name_servers for x in found.zones if x.id == private.id] == [()]


def test_private_zones_are_not_read_for_record_sets(account: Account, observe: Observe) -> None:
    private = account.create_zone("example.com", private=True)
    account.put(private, record("app.example.com", "A", 60, "10.0.0.1"))
    public = account.create_zone("example.com")
    account.put(public, record("app.example.com", "A", 60, "203.0.113.10"))
    assert variants_in(observe()).zone_id == public.id


def test_listings_are_paged_to_the_end(account: Account, observe: Observe) -> None:
    account.page_size = 2
    zones = [account.create_zone("example.com") for _ in range(5)]
    for number in range(5):
        routing: dict[str, Any] = {"SetIdentifier": f"set-{number}", "Weight": number}
        account.put(zones[3], record("app.example.com", "A", 60, f"203.0.113.{number}", **routing))
    seen = observe()
    assert len(zones_in(seen).zones) == 5
    assert [x.weight for x in variants_in(seen, zones[3].id).variants] == [0, 1, 2, 3, 4]


def test_many_names_read_the_list_of_zones_once(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.create_zone("other.org")
    names = [f"n{number}.example.com." for number in range(30)]
    account.put(zone, *(record(name, "A", 60, "203.0.113.10") for name in names))
    seen = observe(*names, history=False)
    assert account.calls["ListHostedZonesByName"] == 1
    assert len([x for x in seen if isinstance(x, Variants) and len(x.variants) == 1]) == 30


def test_no_zone_is_an_answer_and_no_failure(account: Account, observe: Observe) -> None:
    account.create_zone("example.org")
    seen = observe()
    assert zones_in(seen).zones == ()
    assert failures_in(seen) == {}


def test_every_routing_policy_is_told_apart(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    policies: list[tuple[dict[str, Any], str, str]] = [
        ({"Weight": 1}, "weighted", "weight=1"),
        ({"Region": "eu-west-1"}, "latency", "region=eu-west-1"),
        ({"Failover": "SECONDARY"}, "failover", "SECONDARY"),
        ({"GeoLocation": {"CountryCode": "US", "SubdivisionCode": "CA"}}, "geolocation", "country=US subdivision=CA"),
        ({"GeoLocation": {"ContinentCode": "EU"}}, "geolocation", "continent=EU"),
        ({"MultiValueAnswer": True}, "multivalue", ""),
        (
            {"CidrRoutingConfig": {"CollectionId": "c1", "LocationName": "home"}},
            "cidr",
            "collectionId=c1 locationName=home",
        ),
        (
            {"GeoProximityLocation": {"AWSRegion": "eu-west-1", "Bias": 10}},
            "geoproximity",
            "aWSRegion=eu-west-1 bias=10",
        ),
    ]
    for number, (routing, _, _) in enumerate(policies):
        values = {"SetIdentifier": f"{number}", **routing}
        account.put(zone, record("app.example.com", "A", 60, f"203.0.113.{number}", **values))
    found = {x.set_identifier: x for x in variants_in(observe()).variants}
    for number, (_, policy, detail) in enumerate(policies):
        variant = found[f"{number}"]
        assert (variant.routing, variant.detail) == (policy, detail)
        assert (variant.ttl, variant.values) == (60, (f"203.0.113.{number}",))


def test_a_weight_of_zero_is_not_lost(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.put(zone, record("app.example.com", "A", 60, "203.0.113.1", SetIdentifier="old", Weight=0))
    [variant] = variants_in(observe()).variants
    assert (variant.routing, variant.weight) == ("weighted", 0)


def test_types_that_move_clients_are_kept_and_others_left(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.put(
        zone,
        record("app.example.com", "A", 60, "203.0.113.10"),
        record("app.example.com", "AAAA", 60, "2001:DB8:0::10"),
        record("app.example.com", "HTTPS", 300, '1 . alpn="h2" ipv4hint="203.0.113.10"'),
        record("app.example.com", "TXT", 300, '"hello"'),
        record("other.app.example.com", "A", 60, "203.0.113.99"),
    )
    found = {x.rtype: x.values for x in variants_in(observe()).variants}
    assert found == {
        "A": ("203.0.113.10",),
        "AAAA": ("2001:db8::10",),
        "HTTPS": ('1 . alpn="h2" ipv4hint="203.0.113.10"',),
    }


def test_an_alias_has_no_ttl_and_one_inside_the_zone_is_followed(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.put(
        zone,
        alias("app.example.com", "A", "lb.example.com", zone.id),
        record("lb.example.com", "A", 3600, "203.0.113.10"),
        alias("app.example.com", "AAAA", "dualstack.lb-1.eu-west-1.elb.amazonaws.com"),
    )
    found = [(x.name, x.rtype, x.ttl, x.alias, x.values) for x in variants_in(observe()).variants]
    assert found == [
        (NAME, "A", None, "lb.example.com.", ()),
        (NAME, "AAAA", None, "dualstack.lb-1.eu-west-1.elb.amazonaws.com.", ()),
        ("lb.example.com.", "A", 3600, "", ("203.0.113.10",)),
    ]


def test_an_alias_into_another_zone_is_not_looked_for_here(account: Account, observe: Observe) -> None:
    zone, other = account.create_zone("example.com"), account.create_zone("lb.example.com")
    account.put(
        zone,
        alias("app.example.com", "A", "a.lb.example.com", other.id),
        record("*.lb.example.com", "A", 3600, "203.0.113.99"),
    )
    assert [x.alias for x in variants_in(observe(), zone.id).variants] == ["a.lb.example.com."]


def test_a_cname_inside_the_zone_is_followed_and_a_loop_ends(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.put(
        zone,
        record("app.example.com", "CNAME", 60, "Edge.Example.com"),
        record("edge.example.com", "CNAME", 7200, "app.example.com."),
    )
    found = [(x.name, x.ttl, x.values) for x in variants_in(observe()).variants]
    assert found == [(NAME, 60, ("edge.example.com.",)), ("edge.example.com.", 7200, (NAME,))]


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["*.example.com"], "*.example.com."),
        (["*.a.example.com", "*.example.com"], "*.a.example.com."),
        (["a.example.com", "*.example.com"], None),  # the closest encloser exists: RFC 4592 section 3.3.1
        (["x.a.example.com", "*.example.com"], None),  # so does an empty non-terminal
        (["www.a.example.com", "*.a.example.com"], "www.a.example.com."),
    ],
)
def test_a_wildcard_covers_as_rfc_4592_says(
    account: Account, observe: Observe, present: list[str], expected: str | None
) -> None:
    zone = account.create_zone("example.com")
    account.put(zone, *(record(name, "A", 60, "203.0.113.10") for name in present))
    found = [x.name for x in variants_in(observe("www.a.example.com.")).variants]
    assert found == ([expected] if expected else [])


def test_a_name_that_exists_with_another_type_is_not_covered(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.put(zone, record("*.example.com", "A", 60, "203.0.113.10"), record("app.example.com", "TXT", 60, '"here"'))
    assert variants_in(observe()).variants == ()
