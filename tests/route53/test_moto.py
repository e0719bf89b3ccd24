"""The same probe against moto's server: another reading of the same API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from cutover.observations.provider import ChangeStatus
from cutover.probes import route53
from cutover.report import fixes
from tests.route53.conftest import NAME, failures_in, variants_in, zones_in
from tests.world.aws import Moto
from tests.world.cloud import alias, record

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[Moto]:
    with Moto() as made:
        yield made


@pytest.fixture
def moto(server: Moto) -> Moto:
    server.reset()
    return server


def client(moto: Moto) -> Any:
    return boto3.client("route53", endpoint_url=moto.endpoint_url, region_name="us-east-1")


def create(moto: Moto, name: str, *, private: bool = False) -> str:
    options: dict[str, Any] = {}
    if private:
        options = {
            "HostedZoneConfig": {"PrivateZone": True},
            "VPC": {"VPCRegion": "us-east-1", "VPCId": "vpc-12345678"},
        }
    made = client(moto).create_hosted_zone(Name=name, CallerReference=f"{name}-{private}-{id(options)}", **options)
    return str(made["HostedZone"]["Id"].removeprefix("/hostedzone/"))


def put(moto: Moto, zone_id: str, *record_sets: dict[str, Any]) -> str:
    changes = [{"Action": "CREATE", "ResourceRecordSet": each} for each in record_sets]
    answer = client(moto).change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})
    return str(answer["ChangeInfo"]["Id"].removeprefix("/change/"))


def test_zones_variants_and_change(moto: Moto) -> None:
    create(moto, "other.org")
    zone_id, twin = create(moto, "example.com"), create(moto, "example.com")
    private = create(moto, "example.com", private=True)
    change = put(
        moto,
        zone_id,
        record("app.example.com", "A", 300, "203.0.113.10", SetIdentifier="a", Weight=255),
        record("app.example.com", "A", 300, "203.0.113.11", SetIdentifier="b", Weight=1),
        alias("app.example.com", "AAAA", "lb.elb.amazonaws.com"),
    )
    seen = route53.observe(
        [NAME], endpoint_url=moto.endpoint_url, known_changes={NAME: [change]}, history=False, deadline=20
    )
    assert failures_in(seen) == {}
    zones = {x.id: x for x in zones_in(seen).zones}
    assert {key for key, x in zones.items() if not x.private} == {zone_id, twin}
    assert zones[private].private
    assert all(x.endswith(".") for x in zones[zone_id].name_servers)
    found = {(x.rtype, x.set_identifier): x for x in variants_in(seen, zone_id).variants}
    assert found["A", "a"].weight == 255
    assert found["A", "b"].values == ("203.0.113.11",)
    assert (found["AAAA", ""].ttl, found["AAAA", ""].alias) == (None, "lb.elb.amazonaws.com.")
    assert variants_in(seen, twin).variants == ()
    assert [x.status for x in seen if isinstance(x, ChangeStatus)] == ["INSYNC"]


def test_a_wildcard_is_found(moto: Moto) -> None:
    zone_id = create(moto, "example.com")
    put(moto, zone_id, record("*.example.com", "A", 300, "203.0.113.10"))
    [variant] = variants_in(route53.observe([NAME], endpoint_url=moto.endpoint_url, history=False)).variants
    assert variant.name == "*.example.com."


def test_cloudtrail_that_is_not_spoken_is_a_failure_of_its_own(moto: Moto) -> None:
    create(moto, "example.com")
    seen = route53.observe([NAME], endpoint_url=moto.endpoint_url, deadline=10)
    assert set(failures_in(seen)) == {"cloudtrail"}
    assert len(zones_in(seen).zones) == 1


def test_a_fix_is_accepted(moto: Moto) -> None:
    zone_id = create(moto, "example.com")
    put(moto, zone_id, record("app.example.com", "A", 86400, "203.0.113.10"))
    variants = variants_in(route53.observe([NAME], endpoint_url=moto.endpoint_url, history=False)).variants
    for change in fixes.lower_ttl([fixes.as_record_set(x) for x in variants], 60):
        client(moto).change_resource_record_sets(
            HostedZoneId=zone_id,
            ChangeBatch={"Changes": [{"Action": change.action, "ResourceRecordSet": change.record_set}]},
        )
    [variant] = variants_in(route53.observe([NAME], endpoint_url=moto.endpoint_url, history=False)).variants
    assert (variant.ttl, variant.values) == (60, ("203.0.113.10",))
