"""An AWS account on loopback for every test here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.provider import HostedZones, TrailHistory, Variants
from cutover.probes import route53
from tests.world.aws import Aws
from tests.world.cloud import Account

NOW = datetime(2025, 11, 12, 12, 0, tzinfo=UTC)
NAME = "app.example.com."
NS = ("ns-1.host.example.", "ns-2.host.example.")

Observe = Callable[..., list[Observation]]


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


@pytest.fixture(scope="session")
def server() -> Iterator[Aws]:
    """One endpoint for all tests: making boto3's clients costs more than everything else."""
    with Aws() as made:
        yield made


@pytest.fixture
def aws(server: Aws) -> Aws:
    server.account = Account()
    server.account.now = lambda: NOW
    return server


@pytest.fixture
def account(aws: Aws) -> Account:
    return aws.account


@pytest.fixture
def observe(aws: Aws) -> Observe:
    def run(*names: str, **options: Any) -> list[Observation]:
        options.setdefault("deadline", 10.0)
        return route53.observe(names or (NAME,), endpoint_url=aws.endpoint_url, now=lambda: NOW, **options)

    return run


def zones_in(seen: list[Observation]) -> HostedZones:
    [found] = [x for x in seen if isinstance(x, HostedZones)]
    return found


def variants_in(seen: list[Observation], zone_id: str | None = None) -> Variants:
    [found] = [x for x in seen if isinstance(x, Variants) and zone_id in (None, x.zone_id)]
    return found


def trail_in(seen: list[Observation]) -> TrailHistory:
    [found] = [x for x in seen if isinstance(x, TrailHistory)]
    return found


def failures_in(seen: list[Observation]) -> dict[str, ProbeFailed]:
    return {x.probe: x for x in seen if isinstance(x, ProbeFailed)}
