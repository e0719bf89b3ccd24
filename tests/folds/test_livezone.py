"""Which hosted zone the world asks."""

from __future__ import annotations

from typing import Any

import pytest

from cutover.livezone import asked_zone, live_zone
from cutover.observations.provider import HostedZone
from tests.checks.kit import NAME, SERVERS, Story, hosted, hosted_zone, ns, zone_seen

ELSEWHERE = ("ns-1.awsdns-9.net.", "ns-2.awsdns-9.org.")
LIVE, IDLE = hosted_zone("ZLIVE"), hosted_zone("ZIDLE", servers=ELSEWHERE)
PRIVATE = HostedZone("ZPRIV", "example.com.", True, SERVERS)
CHILD = hosted_zone("ZCHILD", NAME)


def found(*zones: HostedZone, source: str = "walk", **values: Any) -> tuple[str, str]:
    story = Story().round(0, zone_seen(0, source=source, **values), hosted(0, *zones))
    live, asked = live_zone(story.evidence, NAME), asked_zone(story.evidence, NAME)
    return live.id if live else "", asked.id if asked else ""


@pytest.mark.parametrize("source", ["walk", "authorities"])
@pytest.mark.parametrize("zones", [(LIVE,), (LIVE, IDLE), (IDLE, LIVE), (LIVE, PRIVATE), (CHILD, LIVE)])
def test_the_one_whose_servers_are_delegated_to(zones: tuple[HostedZone, ...], source: str) -> None:
    assert found(*zones, source=source) == ("ZLIVE", "ZLIVE")


def test_the_parent_decides_where_it_differs_from_the_zone() -> None:
    assert found(LIVE, IDLE, parent_ns=ns(servers=ELSEWHERE)) == ("ZIDLE", "ZIDLE")
    assert found(LIVE, IDLE, parent_ns=()) == ("ZLIVE", "ZLIVE")


def test_a_whole_match_goes_before_a_shared_server() -> None:
    part = hosted_zone("ZPART", servers=(SERVERS[0], "ns-9.awsdns-9.net."))
    assert found(part, LIVE) == ("ZLIVE", "ZLIVE")
    assert found(part, IDLE) == ("ZPART", "ZPART")


@pytest.mark.parametrize(
    "zones",
    [(), (PRIVATE,), (CHILD,), (LIVE, hosted_zone("ZTWIN")), (IDLE, hosted_zone("Z9", servers=("x.y.",)))],
)
def test_none_where_it_cannot_be_told(zones: tuple[HostedZone, ...]) -> None:
    assert found(*zones) == ("", "")
    assert found(*zones, source="authorities") == ("", "")


def test_only_where_the_parent_is_not_asked_the_only_zone_stands_for_it() -> None:
    assert found(IDLE) == ("", "")
    assert found(IDLE, source="authorities") == ("", "ZIDLE")
    assert found(IDLE, PRIVATE, CHILD, source="authorities") == ("", "ZIDLE")


def test_without_the_zone_or_the_account_nothing_is_told() -> None:
    assert live_zone(Story().round(0).evidence, NAME) is None
    unseen = Story().round(0, hosted(0, LIVE), usual=False)
    assert live_zone(unseen.evidence, NAME) is None
    assert asked_zone(unseen.evidence, NAME) is None
