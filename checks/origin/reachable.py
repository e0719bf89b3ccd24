"""``origin.reachable``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.leads import fits, status_of
from cutover.observations.origin import OriginSeen
from cutover.plan import Plan

from ._reading import direct, shown, why_unseen


@check(title="new answers at its own address", severity=Severity.BLOCKER, phases=(Phase.PREFLIGHT, Phase.WATCH))
def reachable(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Ask new directly, with the url's Host and SNI, before (and while) DNS sends users there.

    A 5xx is no answer that users can be sent to, unless new's own fingerprint says that it is meant.
    """
    for name in plan.names:
        new = direct(evidence, name, "new")
        if not new:
            yield unknown(f"{shown(name)} new", why_unseen(plan, evidence, name, "new"), name=name)
        for seen in new:
            yield _judged(name, seen)
        for seen in direct(evidence, name, "old"):
            if seen.response.error:
                yield warned(
                    f"{shown(name)} old",
                    f"old does not answer at {seen.connect}: {seen.response.error}",
                    name=name,
                ).informing()


def _judged(name: str, seen: OriginSeen) -> Outcome:
    subject, response = f"{shown(name)} new", seen.response
    if response.error:
        return failed(
            subject, f"new does not answer at {seen.connect}: {response.error}", name=name, refused=response.refused
        )
    if response.tls_error:
        return unknown(
            subject, f"new has no trusted answer at {seen.connect} (origin.tls): {response.tls_error}", name=name
        )
    told = f"{status_of(response)} at {seen.connect}"
    if response.status >= 500 and not fits(response, "new"):
        return failed(subject, f"new answers {told}", name=name, status=response.status)
    return passed(subject, f"new answers {told}", name=name, status=response.status)
