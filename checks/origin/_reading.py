"""What the origin checks have in common: who was asked, and why there may be nothing to read."""

from __future__ import annotations

from cutover.evidence import Evidence
from cutover.observations.origin import OriginSeen
from cutover.plan import Plan
from cutover.urls import is_for, origin_url


def shown(name: str) -> str:
    """Write a host name as people do, without the final dot."""
    return name.rstrip(".")


def direct(evidence: Evidence, name: str, side: str) -> tuple[OriginSeen, ...]:
    """Return what this round saw at a side's own addresses."""
    return evidence.all_current(OriginSeen, name, side)


def why_unseen(plan: Plan, evidence: Evidence, name: str, side: str) -> str:
    """Say why a side was not asked, and what to do about it."""
    failure = evidence.failure("origin", name)
    if failure is not None:
        return f"{side} could not be asked: {failure.error}"
    sides = evidence.sides.of(name)
    if plan.origin_of(name, side).connect is None and not (sides.old if side == "old" else sides.new):
        return f"the {side} side is not given: add --{side}, or [origin.{side}] connect"
    return f"no address of {side} is known in this round: add [origin.{side}] connect"


def wrong_host(plan: Plan, name: str, side: str) -> str:
    """Say that the url asks for another host than the name, "" when it does not."""
    url = origin_url(plan, name, side)
    if is_for(url, name):
        return ""
    return f'the url {url} asks for another host: write "https://{{name}}/..." or set it in [name.origin.{side}]'
