"""Fixes that are commands: they are run, word for word, against the API."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from cutover.errors import CutoverError
from cutover.observations.provider import Variant
from cutover.report import fixes
from tests.route53.conftest import Observe, variants_in
from tests.world.cloud import alias, record

if TYPE_CHECKING:
    from tests.world.aws import Aws
    from tests.world.cloud import Account, HostedZone, RecordSet

OLD, NEW = "203.0.113.10", "198.51.100.20"


@pytest.fixture
def zone(account: Account) -> HostedZone:
    return account.create_zone("example.com")


def run(aws: Aws, command: str) -> None:
    """Do what the command line would: the same words, through boto3."""
    words = shlex.split(command)
    assert words[:3] == ["aws", "route53", "change-resource-record-sets"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    client = boto3.client("route53", endpoint_url=aws.endpoint_url, region_name="us-east-1")
    client.change_resource_record_sets(
        HostedZoneId=options["--hosted-zone-id"], ChangeBatch=json.loads(options["--change-batch"])
    )


def sets(zone: HostedZone, name: str = "app.example.com.") -> list[RecordSet]:
    return sorted((x for x in zone.record_sets if x["Name"] == name), key=lambda x: (x["Type"], x.get("Weight", 0)))


def as_seen(observe: Observe) -> list[RecordSet]:
    return [fixes.as_record_set(x) for x in variants_in(observe(history=False)).variants]


def test_a_ttl_is_lowered_and_every_other_field_kept(
    aws: Aws, account: Account, zone: HostedZone, observe: Observe
) -> None:
    health = "11111111-2222-3333-4444-555555555555"
    heavy = record("app.example.com", "A", 86400, OLD, SetIdentifier="old", Weight=255, HealthCheckId=health)
    light = record("app.example.com", "A", 30, NEW, SetIdentifier="new", Weight=1)
    aliased = alias("app.example.com", "AAAA", "lb.elb.amazonaws.com", SetIdentifier="x", Weight=5)
    account.put(zone, heavy, light, aliased)
    before = sets(zone)
    changes = fixes.lower_ttl(as_seen(observe), 60)
    assert [(x.action, x.record_set["SetIdentifier"]) for x in changes] == [("UPSERT", "old")]
    run(aws, fixes.change_batch_command(zone.id, changes, comment="it's the user's own"))
    assert sets(zone) == [{**x, "TTL": 60} if x.get("TTL") == 86400 else x for x in before]


def test_the_switch_and_the_way_back(aws: Aws, account: Account, zone: HostedZone, observe: Observe) -> None:
    account.put(zone, record("app.example.com", "A", 60, OLD), record("app.example.com", "AAAA", 60, "2001:db8::10"))
    before = sets(zone)
    run(aws, fixes.change_batch_command(zone.id, fixes.switch(as_seen(observe), [NEW], 60)))
    assert sets(zone) == [{**record("app.example.com.", "A", 60, NEW)}], "an AAAA left behind would lead to old"
    run(aws, fixes.change_batch_command(zone.id, fixes.restore(before, as_seen(observe))))
    assert sets(zone) == before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([record("app.example.com", "CNAME", 300, "ingress.porter.example")], [NEW], {"A": [NEW]}),
        ([record("app.example.com", "A", 300, OLD)], ["d1.cdn.example."], {"CNAME": ["d1.cdn.example."]}),
        (
            [record("app.example.com", "A", 300, OLD), record("app.example.com", "AAAA", 300, "2001:db8::10")],
            ["d1.cdn.example."],
            {"CNAME": ["d1.cdn.example."]},
        ),
        ([record("app.example.com", "A", 300, OLD)], [NEW, "2001:db8::20"], {"A": [NEW], "AAAA": ["2001:db8::20"]}),
        (
            [record("app.example.com", "A", 300, OLD), record("app.example.com", "HTTPS", 300, "1 . alpn=h2")],
            [NEW],
            {"A": [NEW]},
        ),
        ([alias("app.example.com", "A", "lb.elb.amazonaws.com")], [NEW], {"A": [NEW]}),
    ],
)
def test_every_kind_of_switch_is_accepted_as_one_batch(
    aws: Aws,
    account: Account,
    zone: HostedZone,
    observe: Observe,
    old: list[RecordSet],
    new: list[str],
    expected: dict[str, list[str]],
) -> None:
    account.put(zone, *old)
    before = sets(zone)
    changes = fixes.switch(as_seen(observe), new, 60)
    assert [x.action for x in changes] == sorted(x.action for x in changes), "what goes makes room first"
    run(aws, fixes.change_batch_command(zone.id, changes))
    assert {x["Type"]: [v["Value"] for v in x["ResourceRecords"]] for x in sets(zone)} == expected
    assert {x["TTL"] for x in sets(zone)} == {60}
    run(aws, fixes.change_batch_command(zone.id, fixes.restore(before, as_seen(observe))))
    assert sets(zone) == before


def test_only_the_variants_that_are_on_old_are_switched(
    aws: Aws, account: Account, zone: HostedZone, observe: Observe
) -> None:
    main = record("app.example.com", "A", 60, NEW, SetIdentifier="main", Weight=255)
    rest = record("app.example.com", "A", 60, OLD, SetIdentifier="rest", Weight=1)
    account.put(zone, main, rest)
    on_old = [x for x in as_seen(observe) if x["ResourceRecords"][0]["Value"] == OLD]
    run(aws, fixes.change_batch_command(zone.id, fixes.switch(on_old, [NEW], 60)))
    assert [(x["SetIdentifier"], x["Weight"], x["ResourceRecords"]) for x in sets(zone)] == [
        ("rest", 1, [{"Value": NEW}]),
        ("main", 255, [{"Value": NEW}]),
    ]


def test_one_family_left_behind_is_switched_alone(
    aws: Aws, account: Account, zone: HostedZone, observe: Observe
) -> None:
    account.put(zone, record("app.example.com", "A", 60, NEW), record("app.example.com", "AAAA", 60, "2001:db8::10"))
    left = [x for x in as_seen(observe) if x["Type"] == "AAAA"]
    run(aws, fixes.change_batch_command(zone.id, fixes.switch(left, [NEW, "2001:db8::20"], 60)))
    assert [x["ResourceRecords"][0]["Value"] for x in sets(zone)] == [NEW, "2001:db8::20"]


def test_each_family_keeps_what_is_its_own(aws: Aws, account: Account, zone: HostedZone, observe: Observe) -> None:
    four = record("app.example.com", "A", 60, OLD, SetIdentifier="x", Weight=3)
    six = record("app.example.com", "AAAA", 60, "2001:db8::10", SetIdentifier="x", Weight=7)
    account.put(zone, four, six)
    run(aws, fixes.change_batch_command(zone.id, fixes.switch(as_seen(observe), [NEW, "2001:db8::20"], 60)))
    assert [(x["Type"], x["Weight"], x["ResourceRecords"][0]["Value"]) for x in sets(zone)] == [
        ("A", 3, NEW),
        ("AAAA", 7, "2001:db8::20"),
    ]


def test_long_ttls_come_back_and_aliases_stay(aws: Aws, account: Account, zone: HostedZone, observe: Observe) -> None:
    account.put(
        zone,
        record("app.example.com", "A", 60, NEW),
        alias("app.example.com", "AAAA", "lb.elb.amazonaws.com"),
        record("app.example.com", "HTTPS", 86400, "1 . alpn=h2"),
    )
    run(aws, fixes.change_batch_command(zone.id, fixes.raise_ttl(as_seen(observe), 3600)))
    assert [(x["Type"], x.get("TTL")) for x in sets(zone)] == [("A", 3600), ("AAAA", None), ("HTTPS", 86400)]


def test_the_apex_points_at_cloudfront_by_alias(aws: Aws, account: Account, zone: HostedZone) -> None:
    account.put(zone, record("example.com", "A", 60, OLD))
    [apex] = [x for x in sets(zone, "example.com.") if x["Type"] == "A"]
    changes = fixes.switch([apex], ["d1.cloudfront.net."], 60, apex=True)
    run(aws, fixes.change_batch_command(zone.id, changes))
    found = {x["Type"]: x for x in sets(zone, "example.com.")}
    assert found["A"]["AliasTarget"]["DNSName"] == found["AAAA"]["AliasTarget"]["DNSName"] == "d1.cloudfront.net."
    with pytest.raises(CutoverError, match="hosted zone id"):
        fixes.switch([apex], ["lb.eu-west-1.elb.amazonaws.com."], 60, apex=True)


@pytest.mark.parametrize("new", [[], [NEW, "d1.cdn.example."], ["a.example.", "b.example."]])
def test_a_switch_that_cannot_be_one_is_refused(new: list[str]) -> None:
    with pytest.raises(CutoverError, match="no batch can be made"):
        fixes.switch([record("app.example.com.", "A", 60, OLD)], new, 60)


def test_without_access_the_zone_is_left_to_the_reader() -> None:
    seen = Variant("app.example.com.", "A", "simple", "", "", None, 86400, (OLD,))
    changes = fixes.lower_ttl([fixes.as_record_set(seen)], 60)
    assert fixes.change_batch_command(None, changes) == (
        "aws route53 change-resource-record-sets --hosted-zone-id YOUR_ZONE_ID --change-batch "
        """'{"Changes":[{"Action":"UPSERT","ResourceRecordSet":{"Name":"app.example.com.","Type":"A","TTL":60,"""
        """"ResourceRecords":[{"Value":"203.0.113.10"}]}}]}'"""
    )


def test_hostile_values_cannot_leave_their_quotes() -> None:
    hostile: dict[str, Any] = fixes.record_set("app.example.com.", "CNAME", 900, ["x'; rm -rf ~; '.example."])
    command = fixes.change_batch_command("Z1", fixes.lower_ttl([hostile], 60), profile="my prod")
    words = shlex.split(command)
    assert words[5:7] == ["--profile", "my prod"]
    assert len(words) == 9
    assert json.loads(words[8])["Changes"][0]["ResourceRecordSet"]["ResourceRecords"] == hostile["ResourceRecords"]


def test_nothing_to_change_is_no_command() -> None:
    assert fixes.change_batch_command("Z1", fixes.lower_ttl([record("a.example.", "A", 60, OLD)], 60)) == ""
