"""``origin.parity``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.evidence import Evidence
from cutover.observations.origin import PathSeen, Response
from cutover.plan import Plan

from ._reading import shown, why_unseen


@check(title="old and new answer alike on `paths`", severity=Severity.WARNING, phases=(Phase.PREFLIGHT, Phase.WATCH))
def parity(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compare status and media type of the plan's ``paths`` between the two sides, asked directly."""
    for name in plan.names:
        paths = dict.fromkeys((*plan.origin_of(name, "old").paths, *plan.origin_of(name, "new").paths))
        if not paths:
            yield skipped(shown(name), "the plan has no `paths` to compare", name=name)
        for path in paths:
            yield _compared(plan, evidence, name, path)


def _compared(plan: Plan, evidence: Evidence, name: str, path: str) -> Outcome:
    subject = f"{shown(name)} {path}"
    old, new = _answer(plan, evidence, name, "old", path), _answer(plan, evidence, name, "new", path)
    if isinstance(old, str) or isinstance(new, str):
        return unknown(subject, old if isinstance(old, str) else str(new), name=name)
    told = f"old {_told(old)}, new {_told(new)}"
    if (old.status, old.kind_of) != (new.status, new.kind_of):
        return failed(subject, f"the sides differ: {told}", name=name, old_status=old.status, new_status=new.status)
    if new.status >= 500:
        return failed(subject, f"both sides fail: {told}", name=name, old_status=old.status, new_status=new.status)
    return passed(subject, f"alike: {_told(new)}", name=name, old_status=old.status, new_status=new.status)


def _answer(plan: Plan, evidence: Evidence, name: str, side: str, path: str) -> Response | str:
    """Return a side's response, or why there is none."""
    seen = evidence.current(PathSeen, name, side, path)
    if seen is None:
        return why_unseen(plan, evidence, name, side)
    reason = seen.response.error or seen.response.tls_error
    return f"{side} did not answer: {reason}" if reason else seen.response


def _told(response: Response) -> str:
    return f"{response.status} {response.kind_of or 'without type'}"
