"""What cannot be seen is said, with what is missing, and the rest goes on."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cutover.observations.base import ProbeFailed
from cutover.observations.provider import ChangeStatus, HostedZones, TrailHistory, Variants
from cutover.probes import aws as aws_probe
from cutover.probes import route53
from tests.route53.conftest import NAME, NOW, Observe, failures_in, trail_in, variants_in, zones_in
from tests.world.cloud import BAD_KEY, BROKEN, EXPIRED, THROTTLED, CloudError, denied, record
from tests.world.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.world.aws import Aws
    from tests.world.cloud import Account, HostedZone


@pytest.fixture
def zone(account: Account) -> HostedZone:
    made = account.create_zone("example.com")
    account.put(made, record("app.example.com", "A", 60, "203.0.113.10"))
    return made


@pytest.fixture(autouse=True)
def own_clients() -> Iterator[None]:
    """Clients of its own for every test: botocore remembers throttling, as it should."""
    aws_probe.access.cache_clear()
    yield
    aws_probe.access.cache_clear()


@pytest.mark.parametrize(
    ("operation", "action", "probe", "left"),
    [
        ("ListHostedZonesByName", "route53:ListHostedZonesByName", "route53", {TrailHistory, ChangeStatus}),
        ("GetHostedZone", "route53:GetHostedZone", "route53", {Variants, TrailHistory, ChangeStatus}),
        (
            "ListResourceRecordSets",
            "route53:ListResourceRecordSets",
            "route53",
            {HostedZones, TrailHistory, ChangeStatus},
        ),
        ("GetChange", "route53:GetChange", "route53.change", {HostedZones, Variants, TrailHistory}),
        ("LookupEvents", "cloudtrail:LookupEvents", "cloudtrail", {HostedZones, Variants}),
    ],
)
def test_a_missing_permission_is_named_and_the_rest_goes_on(
    account: Account,
    observe: Observe,
    zone: HostedZone,
    operation: str,
    action: str,
    probe: str,
    left: set[type],
) -> None:
    account.change(zone, [("UPSERT", record("app.example.com", "A", 60, "203.0.113.20"))])
    account.fail(operation, denied(action))
    seen = observe()
    failures = failures_in(seen)
    assert list(failures) == [probe]
    assert (failures[probe].about, failures[probe].permission) == (NAME, action)
    assert action in failures[probe].error
    assert {type(x) for x in seen if not isinstance(x, ProbeFailed)} == left


def test_two_missing_permissions_are_both_named(account: Account, observe: Observe, zone: HostedZone) -> None:
    for operation in ("GetHostedZone", "ListResourceRecordSets"):
        account.fail(operation, denied(f"route53:{operation}"))
    [failure] = [x for x in observe(history=False) if isinstance(x, ProbeFailed)]
    assert failure.permission == "route53:GetHostedZone, route53:ListResourceRecordSets"


def test_every_name_gets_its_own_failure(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.fail("ListHostedZonesByName", denied("route53:ListHostedZonesByName"))
    seen = observe(NAME, "www.example.com.", history=False)
    assert [x.about for x in seen if isinstance(x, ProbeFailed)] == [NAME, "www.example.com."]


def test_a_short_throttling_is_ridden_out(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.fail("ListResourceRecordSets", THROTTLED, times=2)
    seen = observe(history=False, deadline=20.0)
    assert failures_in(seen) == {}
    assert len(variants_in(seen).variants) == 1
    assert account.calls["ListResourceRecordSets"] == 3


def test_a_throttling_without_end_stops_at_the_deadline(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.fail("*", THROTTLED)
    began = time.monotonic()
    failures = failures_in(observe(deadline=4.0))
    assert time.monotonic() - began < 20
    assert set(failures) == {"route53", "cloudtrail"}
    assert "throttled" in failures["route53"].error
    assert failures["route53"].permission == ""


def test_a_server_error_is_retried_and_then_told(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.fail("GetHostedZone", BROKEN, times=1)
    assert len(zones_in(observe(history=False)).zones) == 1
    account.fail("GetHostedZone", BROKEN)
    failures = failures_in(observe(history=False, deadline=4.0))
    assert "route53:GetHostedZone" in failures["route53"].error


@pytest.mark.parametrize(("error", "says"), [(EXPIRED, "have expired"), (BAD_KEY, "does not accept")])
def test_bad_credentials_are_said_and_read_anew_in_the_next_round(
    account: Account,
    observe: Observe,
    zone: HostedZone,
    monkeypatch: pytest.MonkeyPatch,
    error: CloudError,
    says: str,
) -> None:
    account.fail("*", error)
    failures = failures_in(observe())
    assert says in failures["route53"].error
    assert set(failures) == {"route53", "cloudtrail"}
    account.heal()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "renewed")
    assert failures_in(observe()) == {}
    assert account.signed_by == "renewed"


def test_without_credentials_nothing_is_sent(
    account: Account, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    failures = failures_in(observe())
    assert set(failures) == {"route53", "cloudtrail"}
    assert failures["route53"].error.startswith("no AWS credentials were found")
    assert sum(account.calls.values()) == 0


def test_a_profile_that_does_not_exist_is_said(aws: Aws) -> None:
    seen = route53.observe([NAME], profile="nobody", endpoint_url=aws.endpoint_url)
    assert "nobody" in failures_in(seen)["route53"].error


def test_a_profile_of_the_configuration_is_used(
    aws: Aws, account: Account, zone: HostedZone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[prod]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    seen = route53.observe([NAME], profile="prod", endpoint_url=aws.endpoint_url, history=False)
    assert failures_in(seen) == {}
    assert len(zones_in(seen).zones) == 1


def test_an_endpoint_that_nobody_serves_is_a_failure_within_the_deadline() -> None:
    began = time.monotonic()
    seen = route53.observe([NAME], endpoint_url=f"http://127.0.0.1:{free_port(kind='tcp')}", deadline=1.0)
    assert set(failures_in(seen)) == {"route53", "cloudtrail"}
    assert time.monotonic() - began < 20


def test_a_pending_change_is_seen_until_it_is_applied(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.hold = True
    made = account.change(zone, [("UPSERT", record("app.example.com", "A", 60, "203.0.113.20"))])
    [status] = [x for x in observe() if isinstance(x, ChangeStatus)]
    assert (status.name, status.change_id, status.status, status.submitted_at) == (NAME, made.id, "PENDING", NOW)
    account.settle()
    [status] = [x for x in observe(history=False, known_changes={NAME: [made.id]}) if isinstance(x, ChangeStatus)]
    assert status.status == "INSYNC"


def test_a_change_that_route53_does_not_know_is_a_failure(account: Account, observe: Observe, zone: HostedZone) -> None:
    failures = failures_in(observe(history=False, known_changes={NAME: ["C0GONE"]}))
    assert "NoSuchChange" in failures["route53.change"].error


def test_an_old_change_is_not_asked_for_any_more(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.change(zone, [("UPSERT", record("app.example.com", "A", 60, "203.0.113.10"))], at=NOW - timedelta(days=3))
    account.changes.clear()
    assert "route53.change" not in failures_in(observe())
    assert account.calls["GetChange"] == 0


def test_a_deadline_that_has_passed_sends_nothing(account: Account, observe: Observe, zone: HostedZone) -> None:
    failures = failures_in(observe(deadline=0.0))
    assert sum(account.calls.values()) == 0
    assert "deadline" in failures["route53"].error


def test_history_that_throttling_cut_short_is_incomplete(account: Account, observe: Observe, zone: HostedZone) -> None:
    account.page_size = 1
    for ttl in (3600, 60):
        account.change(zone, [("UPSERT", record("app.example.com", "A", ttl, "203.0.113.10"))])
    answered = account.calls
    real = account.enter

    def second_page_fails(operation: str) -> None:
        if operation == "LookupEvents" and answered["LookupEvents"] >= 1:
            answered[operation] += 1
            raise THROTTLED
        real(operation)

    account.enter = second_page_fails  # type: ignore[method-assign]
    trail = trail_in(observe(deadline=2.0))
    assert not trail.complete
    assert "throttled" in trail.why_incomplete
    assert [x.ttl for x in trail.changes] == [3600] or [x.ttl for x in trail.changes] == [60]
