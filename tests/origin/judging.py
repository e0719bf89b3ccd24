"""What the origin and edge checks are given in their tests, and how they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cutover.check import Outcome, all_checks
from cutover.evidence import Evidence
from cutover.finding import Status
from cutover.observations.base import Observation
from cutover.observations.origin import Match, OriginSeen, PathSeen, Response, UserPathSeen
from cutover.plan import Plan
from cutover.planfile import plan_from
from cutover.urls import deep_path

NOW = datetime(2025, 11, 12, 7, 0, tzinfo=UTC)
NAME = "app.example.com."
OLD, NEW = "203.0.113.10", "198.51.100.20"
URL = "https://app.example.com/version"
DEEP = deep_path(NAME)

FINGERPRINTS = {
    "old": {"header": "x-release", "matches": "^porter-"},
    "new": {"header": "x-release", "matches": "^sst-"},
}
MAINTENANCE = {"body": True, "matches": "down for maintenance"}


def make_plan(*, name: dict[str, Any] | None = None, **sides: dict[str, Any]) -> Plan:
    """A plan with both fingerprints; a side's keys can be changed, None takes one out."""
    origin = {
        side: {
            key: value
            for key, value in {"url": URL, "fingerprint": FINGERPRINTS[side], **sides.get(side, {})}.items()
            if value is not None
        }
        for side in ("old", "new")
    }
    entry = {"name": NAME, "old": [OLD], "new": [NEW], **(name or {})}
    return plan_from({"name": [entry], "origin": origin}, where="test", base_dir=Path())


PLAN = make_plan()
WITH_PAGE = make_plan(old={"maintenance": MAINTENANCE})


def response(*fitting: str, labels: Sequence[str] = ("old", "new"), **values: Any) -> Response:
    """A trusted response that fits some of the plan's fingerprints."""
    values = {"status": 200, "cert_expires": NOW + timedelta(days=80), "kind_of": "text/html", **values}
    return Response(matches=tuple(Match(label, label in fitting, f"saw for {label}") for label in labels), **values)


def dead(error: str = "connection refused") -> Response:
    return Response(status=0, error=error, refused=error == "connection refused")


def untrusted(names: tuple[str, ...] = ("proxy.example.net",)) -> Response:
    return Response(
        status=0,
        tls_error=f"Hostname mismatch (certificate for {names[0]})",
        cert_names=names,
        matches=(Match("old", False, ""), Match("new", False, "")),
    )


def direct(side: str, seen: Response, *, at: datetime = NOW, connect: str = "", url: str = URL) -> OriginSeen:
    address = connect or f"{OLD if side == 'old' else NEW}:443"
    return OriginSeen(at=at, name=NAME, side=side, url=url, connect=address, response=seen)


def on_path(side: str, path: str, seen: Response) -> PathSeen:
    return PathSeen(at=NOW, name=NAME, side=side, path=path, response=seen)


def through(
    address: str, url: Response, deep: Response | None = None, *, busted: Response | None = None, at: datetime = NOW
) -> list[Observation]:
    """The four requests through one address; ``deep`` and ``busted`` differ where they are given."""
    asked = {
        ("/version", False): url,
        ("/version", True): busted or url,
        (DEEP, False): deep or url,
        (DEEP, True): busted or deep or url,
    }
    return [
        UserPathSeen(at=at, name=NAME, address=address, port=443, path=path, busted=fresh, resolvers=2, response=answer)
        for (path, fresh), answer in asked.items()
    ]


def judge(check: str, *seen: Observation, plan: Plan = PLAN, before: Sequence[Observation] = ()) -> list[Outcome]:
    """What a check says of one round; ``before`` is what earlier rounds saw."""
    evidence = Evidence(plan)
    for observation in before:
        evidence.add(observation)
    evidence.begin(NOW)
    for observation in seen:
        evidence.add(observation)
    outcomes = list(all_checks()[check].function(plan, evidence, NOW))
    assert outcomes
    for outcome in outcomes:
        assert outcome.name == NAME
        assert outcome.subject.startswith("app.example.com")
        assert outcome.message
        assert "\n" not in outcome.message
        assert outcome.message[-1] != "."
    return outcomes


def one(check: str, *seen: Observation, plan: Plan = PLAN, before: Sequence[Observation] = ()) -> tuple[Status, str]:
    (outcome,) = judge(check, *seen, plan=plan, before=before)
    return outcome.status, outcome.message


def statuses(outcomes: Sequence[Outcome]) -> list[Status]:
    return [outcome.status for outcome in outcomes]


YESTERDAY = NOW - timedelta(minutes=1)
PASS, WARN, FAIL, UNKNOWN, SKIP = Status.PASS, Status.WARN, Status.FAIL, Status.INCONCLUSIVE, Status.SKIP
