"""CloudTrail's history: what changed when, and whether it tells everything that caches may still hold."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cutover.probes import cloudtrail
from tests.route53.conftest import NAME, NOW, Observe, ago, trail_in
from tests.world.cloud import CloudError, alias, record

if TYPE_CHECKING:
    from datetime import datetime

    from tests.world.cloud import Account, HostedZone

OLD, NEW = "203.0.113.10", "198.51.100.20"


def a(ttl: int, address: str = OLD, name: str = "app.example.com", **routing: Any) -> dict[str, Any]:
    return record(name, "A", ttl, address, **routing)


@pytest.fixture
def zone(account: Account) -> HostedZone:
    made = account.create_zone("example.com")
    account.put(made, a(86400))
    return made


def upsert(account: Account, zone: HostedZone, wanted: dict[str, Any], at: datetime) -> str:
    return account.change(zone, [("UPSERT", wanted)], at=at).id


def test_a_lowered_ttl_is_told_with_its_instant(account: Account, observe: Observe, zone: HostedZone) -> None:
    upsert(account, zone, a(86400), ago(days=30))
    lowered = upsert(account, zone, a(60), ago(hours=5))
    moved = upsert(account, zone, a(60, NEW), ago(hours=1))
    trail = trail_in(observe())
    assert trail.complete, trail.why_incomplete
    assert [(x.at, x.change_id, x.action, x.ttl, x.values) for x in trail.changes][:2] == [
        (ago(hours=1), moved, "UPSERT", 60, (NEW,)),
        (ago(hours=5), lowered, "UPSERT", 60, (OLD,)),
    ]
    assert trail.changes[2].ttl == 86400, "what was before the lowering was looked for, and found"
    assert {x.zone_id for x in trail.changes} == {zone.id}
    assert trail.since == NOW - cloudtrail.LOOKBACK
    assert trail.until == NOW - cloudtrail.DELIVERY


def test_no_change_at_all_is_complete(account: Account, observe: Observe, zone: HostedZone) -> None:
    trail = trail_in(observe())
    assert trail.complete
    assert trail.changes == ()


def test_an_upsert_whose_forerunner_nobody_remembers_is_not_complete(
    account: Account, observe: Observe, zone: HostedZone
) -> None:
    upsert(account, zone, a(60), ago(hours=5))
    trail = trail_in(observe())
    assert not trail.complete
    assert "does not tell which TTL app.example.com. A had before" in trail.why_incomplete
    assert [x.ttl for x in trail.changes] == [60]


def test_a_delete_tells_what_it_deleted(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.change(
        zone,
        [("DELETE", a(86400)), ("CREATE", record("app.example.com", "CNAME", 60, "d1.cdn.example"))],
        at=ago(hours=1),
    )
    trail = trail_in(observe())
    assert trail.complete, trail.why_incomplete
    assert [(x.action, x.rtype, x.ttl, x.values) for x in trail.changes] == [
        ("DELETE", "A", 86400, (OLD,)),
        ("CREATE", "CNAME", 60, ("d1.cdn.example.",)),
    ]


def test_a_name_created_lately_does_not_tell_what_was_before(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.change(zone, [("CREATE", a(60))], at=ago(days=2))
    trail = trail_in(observe())
    assert not trail.complete
    assert "was created at 2025-11-10T12:00:00Z" in trail.why_incomplete


def test_a_variant_created_beside_an_older_one_hides_nothing(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    account.change(zone, [("CREATE", a(300, SetIdentifier="old", Weight=255))], at=ago(days=40))
    account.change(zone, [("UPSERT", a(60, SetIdentifier="old", Weight=255))], at=ago(days=3))
    account.change(zone, [("CREATE", a(60, NEW, SetIdentifier="new", Weight=1))], at=ago(days=2))
    trail = trail_in(observe())
    assert trail.complete, trail.why_incomplete
    assert [(x.set_identifier, x.ttl) for x in trail.changes] == [("new", 60), ("old", 60), ("old", 300)]


def test_refused_changes_and_other_names_are_not_history(account: Account, observe: Observe, zone: HostedZone) -> None:
    with pytest.raises(CloudError):
        account.change(zone, [("CREATE", a(5))], at=ago(hours=3))
    account.change(zone, [("UPSERT", a(5, name="app2.example.com"))], at=ago(hours=2))
    trail = trail_in(observe())
    assert trail.complete
    assert trail.changes == ()


def test_names_and_aliases_are_read_as_cloudtrail_writes_them(
    account: Account, observe: Observe, zone: HostedZone
) -> None:
    upsert(account, zone, a(86400), ago(days=20))
    wanted = alias("APP.example.com", "A", "Dualstack.LB.eu-west-1.elb.amazonaws.com.")
    upsert(account, zone, wanted, ago(hours=2))
    trail = trail_in(observe())
    assert trail.complete, trail.why_incomplete
    newest = trail.changes[0]
    assert (newest.name, newest.ttl, newest.alias, newest.values) == (
        NAME,
        None,
        "dualstack.lb.eu-west-1.elb.amazonaws.com.",
        (),
    )


def test_the_wildcard_that_serves_a_name_has_its_history_read(account: Account, observe: Observe) -> None:
    zone = account.create_zone("example.com")
    wild = a(3600, name="*.example.com")
    account.put(zone, wild)
    upsert(account, zone, wild, ago(days=30))
    upsert(account, zone, a(60, name=r"\052.example.com"), ago(hours=1))
    trail = trail_in(observe())
    assert trail.complete, trail.why_incomplete
    assert [(x.name, x.ttl) for x in trail.changes] == [("*.example.com.", 60), ("*.example.com.", 3600)]


def test_private_zones_have_no_say(account: Account, observe: Observe, zone: HostedZone) -> None:
    private = account.create_zone("example.com", private=True)
    account.change(private, [("CREATE", a(5, "10.0.0.1"))], at=ago(hours=1))
    trail = trail_in(observe())
    assert trail.complete
    assert trail.changes == ()


def test_owners_further_down_the_chain_are_read_too(account: Account, observe: Observe, zone: HostedZone) -> None:
    target = account.create_zone("cdn.example")
    account.put(target, a(60, name="d1.cdn.example"))
    upsert(account, target, a(60, name="d1.cdn.example"), ago(days=1))
    trail = trail_in(observe(owners={NAME: [NAME, "d1.cdn.example."]}))
    assert [x.name for x in trail.changes] == ["d1.cdn.example."]


def test_events_that_are_late_are_noticed(account: Account, observe: Observe, zone: HostedZone) -> None:
    upsert(account, zone, a(86400), ago(days=30))
    upsert(account, zone, a(3600), ago(days=2))
    account.trail_delay = timedelta(minutes=10)
    upsert(account, zone, a(60), ago(minutes=5))
    trail = trail_in(observe())
    assert not trail.complete
    assert "a later change is not shown yet" in trail.why_incomplete
    account.trail_delay = timedelta(0)
    assert trail_in(observe()).complete


def test_a_deleted_record_that_is_still_there_is_noticed(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.change(zone, [("DELETE", a(86400))], at=ago(hours=1))
    account.put(zone, a(60))
    assert "a later change is not shown yet" in trail_in(observe()).why_incomplete


@pytest.mark.parametrize(
    "detail",
    [
        {"requestParameters": {"omitted": True, "originalSize": 300000}},
        {"requestParameters": {"hostedZoneId": "Z1", "changeBatch": {"changes": [{"action": "UPSERT"}]}}},
        {"requestParameters": None},
        {},
    ],
)
def test_an_event_that_cannot_be_read_makes_history_incomplete(
    account: Account, observe: Observe, zone: HostedZone, detail: dict[str, Any]
) -> None:
    account.log_event("ChangeResourceRecordSets", ago(hours=1), detail)
    trail = trail_in(observe())
    assert not trail.complete
    assert "cannot be read" in trail.why_incomplete


def test_pages_are_read_to_the_end_but_not_beyond_the_bound(
    account: Account, observe: Observe, zone: HostedZone, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.page_size = 2
    for hour in range(1, 8):
        upsert(account, zone, a(86400 if hour == 7 else 60), ago(hours=hour))
    upsert(account, zone, a(60), ago(minutes=30))
    upsert(account, zone, a(300), ago(days=60))
    account.put(zone, a(60))
    trail = trail_in(observe())
    assert trail.complete, trail.why_incomplete
    assert len(trail.changes) == 9
    monkeypatch.setattr(cloudtrail, "MAX_PAGES", 2)
    cut = trail_in(observe())
    assert not cut.complete
    assert "2 pages only" in cut.why_incomplete
    assert len(cut.changes) == 4


def test_no_further_back_than_cloudtrail_remembers(account: Account, observe: Observe, zone: HostedZone) -> None:
    assert trail_in(observe(since=ago(days=400))).since == ago(days=90)


def test_a_traffic_policy_is_not_in_this_history(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.put(zone, a(60, TrafficPolicyInstanceId="tp-1"))
    trail = trail_in(observe())
    assert not trail.complete
    assert "traffic policy" in trail.why_incomplete
