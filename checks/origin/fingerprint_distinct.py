"""``origin.fingerprint-distinct``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.leads import fits, page_seen, saw
from cutover.observations.origin import OriginSeen
from cutover.plan import Plan

from ._reading import direct, shown, why_unseen

_SIDES = (("old", "new"), ("new", "old"))


@check(title="old and new can be told apart", severity=Severity.BLOCKER, phases=(Phase.PREFLIGHT,))
def fingerprint_distinct(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Try each fingerprint on its own side, where it must fit, and on the other, where it must not.

    With fingerprints that are alike, missing or wrong, ``watch`` would be blind: both sides of the incident
    looked the same from outside, and the old one was taken for the new.
    """
    for name in plan.names:
        for side, other in _SIDES:
            yield from _side(plan, evidence, name, side, other)


def _side(plan: Plan, evidence: Evidence, name: str, side: str, other: str) -> Iterator[Outcome]:
    subject = f"{shown(name)} {side}"
    if plan.origin_of(name, side).fingerprint is None:
        yield unknown(
            subject,
            f'no fingerprint for {side}: add [origin.{side}] fingerprint = {{ header = "...", matches = "..." }}',
            name=name,
        )
        return
    seen = direct(evidence, name, side)
    if not seen:
        yield unknown(subject, why_unseen(plan, evidence, name, side), name=name)
    for one in seen:
        yield _judged(name, side, other, one)
        page = page_seen(one.response)
        if page and fits(one.response, side):
            yield warned(
                subject,
                f"a maintenance fingerprint fits the ordinary page of {side} ({page}): make it narrower",
                name=name,
            )


def _judged(name: str, side: str, other: str, one: OriginSeen) -> Outcome:
    subject, response = f"{shown(name)} {side}", one.response
    reason = response.error or response.tls_error
    if reason:
        return unknown(subject, f"{side} could not be looked at ({one.connect}): {reason}", name=name)
    if fits(response, other):
        return failed(
            subject,
            f"{other}'s fingerprint fits {side} too ({saw(response, other)} at {one.connect}): "
            "old and new cannot be told apart",
            name=name,
        )
    if not fits(response, side):
        page = page_seen(response)
        shows = f"shows its maintenance page ({page})" if page else f"shows {saw(response, side)}"
        return failed(subject, f"{side}'s fingerprint does not fit {side}: {one.connect} {shows}", name=name)
    return passed(subject, f"{side} is known by {saw(response, side)}", name=name)
