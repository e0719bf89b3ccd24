"""The AWS account of the test world speaks as AWS documents, and moves the world's DNS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from cutover.observations.provider import HostedZones, TrailHistory
from cutover.probes import route53
from tests.world.aws import Aws
from tests.world.cloud import record
from tests.world.nameservers import answers
from tests.world.world import NAME, World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with Aws() as made:
        yield made


def client(aws: Aws, service: str = "route53") -> Any:
    return boto3.client(service, endpoint_url=aws.endpoint_url, region_name="us-east-1")  # type: ignore[call-overload]


def test_zones_are_listed_from_the_name_on_in_the_order_of_reversed_labels(aws: Aws) -> None:
    for name in ("b.net", "example.com", "a.example.com", "example.com", "aaa.com"):
        aws.account.create_zone(name)
    listed = client(aws).list_hosted_zones_by_name(DNSName="example.com")
    assert [zone["Name"] for zone in listed["HostedZones"]] == [
        "example.com.",
        "example.com.",
        "a.example.com.",
        "b.net.",
    ]
    page = client(aws).list_hosted_zones_by_name(DNSName="example.com", MaxItems="1")
    assert page["IsTruncated"]
    assert page["NextDNSName"] == "example.com."
    assert page["NextHostedZoneId"] == listed["HostedZones"][1]["Id"].removeprefix("/hostedzone/")


def test_each_zone_has_a_delegation_set_of_its_own(aws: Aws) -> None:
    one, two = (aws.account.create_zone("own.com") for _ in range(2))
    sets = [client(aws).get_hosted_zone(Id=zone.id)["DelegationSet"]["NameServers"] for zone in (one, two)]
    assert len(sets[0]) == 4
    assert set(sets[0]).isdisjoint(sets[1])


def test_changes_are_atomic_pending_and_remembered(aws: Aws) -> None:
    api, account = client(aws), aws.account
    zone = account.create_zone("atomic.com")
    account.hold = True
    bad = [
        {"Action": "CREATE", "ResourceRecordSet": record("app.atomic.com", "A", 60, "203.0.113.1")},
        {"Action": "DELETE", "ResourceRecordSet": record("app.atomic.com", "A", 61, "203.0.113.1")},
    ]
    with pytest.raises(ClientError, match=r"InvalidChangeBatch.*do not match"):
        api.change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": bad})
    assert {x["Type"] for x in zone.record_sets} == {"NS", "SOA"}
    done = api.change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": bad[:1]})["ChangeInfo"]
    assert api.get_change(Id=done["Id"])["ChangeInfo"]["Status"] == "PENDING"
    account.settle()
    assert api.get_change(Id=done["Id"])["ChangeInfo"]["Status"] == "INSYNC"
    assert api.test_dns_answer(HostedZoneId=zone.id, RecordName="app.atomic.com", RecordType="A")["RecordData"] == [
        "203.0.113.1"
    ]
    account.hold = False


@pytest.mark.parametrize("beside", ["A", "TXT"])
def test_a_cname_stands_alone(aws: Aws, beside: str) -> None:
    zone = aws.account.create_zone("alone.com")
    aws.account.put(zone, record("app.alone.com", beside, 60, "203.0.113.1"))
    change = {"Action": "CREATE", "ResourceRecordSet": record("app.alone.com", "CNAME", 60, "x.example")}
    with pytest.raises(ClientError, match="InvalidChangeBatch"):
        client(aws).change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": [change]})


def test_history_is_newest_first_paged_and_bounded_by_time(aws: Aws) -> None:
    account = aws.account
    account.events.clear()
    zone = account.create_zone("past.com")
    now = datetime.now(UTC)
    for hours in (3, 1, 2):
        change = [("UPSERT", record("app.past.com", "A", hours, "203.0.113.1"))]
        account.change(zone, change, at=now - timedelta(hours=hours))
    account.page_size = 2
    trail = client(aws, "cloudtrail")
    by_name = [{"AttributeKey": "EventName", "AttributeValue": "ChangeResourceRecordSets"}]
    first = trail.lookup_events(LookupAttributes=by_name)
    second = trail.lookup_events(LookupAttributes=by_name, NextToken=first["NextToken"])
    account.page_size = 100
    times = [event["EventTime"] for event in first["Events"] + second["Events"]]
    assert len(times) == 3
    assert times == sorted(times, reverse=True)
    assert '"tTL": 1' in first["Events"][0]["CloudTrailEvent"]
    recent = trail.lookup_events(StartTime=now - timedelta(minutes=90), EndTime=now)
    assert len(recent["Events"]) == 1


def test_a_change_in_route53_is_served_by_the_zones_servers(world: World) -> None:
    account, servers = world.aws.account, world.authority.at("example.com")
    change = world.set_ttl(60)
    assert change is not None
    assert account.changes[change.id].status == "INSYNC"
    account.change(
        world.hosted_zone,
        [
            ("DELETE", record(NAME, "A", 60, world.old.address)),
            ("CREATE", record(NAME, "CNAME", 60, "sst.example.com.")),
            ("CREATE", record("*.wild.example.com", "A", 60, "127.0.0.9")),
        ],
    )
    for server in servers:
        assert answers(server, NAME, "CNAME") == ("sst.example.com.",)
        assert answers(server, "any.wild.example.com") == ("127.0.0.9",)


def test_the_probe_sees_the_world(world: World) -> None:
    world.cut_over()
    seen = route53.observe([f"{NAME}."], endpoint_url=world.aws.endpoint_url)
    [zones] = [x for x in seen if isinstance(x, HostedZones)]
    assert zones.zones[0].name_servers == ("ns1.dns-host.example.", "ns2.dns-host.example.")
    [trail] = [x for x in seen if isinstance(x, TrailHistory)]
    assert [x.values for x in trail.changes] == [(world.new.address,)]
