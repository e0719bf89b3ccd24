"""``dns.change-insync``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.durations import say_duration
from cutover.evidence import Evidence
from cutover.observations.provider import ChangeStatus, TrailHistory
from cutover.plan import Plan

from ._reading import is_route53, listed, shown

_RECENT = timedelta(days=1)


@check(
    title="Route 53 has not finished applying the change",
    severity=Severity.BLOCKER,
    phases=(Phase.WATCH,),
)
def change_insync(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Ask Route 53 whether the change has reached all of its name servers.

    The API's listing shows a change as soon as it is accepted; the servers get it later, usually within a minute.
    While it is PENDING some of them still hand out old.
    """
    for name in plan.names:
        yield _of_name(plan, evidence, name, now)


def _of_name(plan: Plan, evidence: Evidence, name: str, now: datetime) -> Outcome:
    subject = shown(name)
    if not is_route53(plan, evidence, name):
        return skipped(subject, "the records are not at Route 53", name=name)
    seen = evidence.all_current(ChangeStatus, name)
    pending = [x for x in seen if x.status != "INSYNC"]
    if pending:
        said = listed(f"{x.change_id} is {x.status}{_since(x, now)}" for x in pending)
        return failed(subject, said, name=name, changes={x.change_id: x.status for x in pending})
    failure = evidence.failure("route53.change", name)
    if failure is not None:
        needs = f" (needs {failure.permission})" if failure.permission else ""
        message = f"the state of the change could not be asked{needs}: {failure.error}"
        return unknown(subject, message, name=name, permission=failure.permission)
    if seen:
        changes = {x.change_id: x.status for x in seen}
        return passed(subject, f"{listed(x.change_id for x in seen)} INSYNC", name=name, changes=changes)
    known = _known_changes(evidence, name, now)
    if known:
        return unknown(subject, f"the state of {listed(known)} was not seen in this round", name=name)
    return skipped(subject, "no change of the last day is known", name=name)


def _since(change: ChangeStatus, now: datetime) -> str:
    return f" for {say_duration(now - change.submitted_at)}" if change.submitted_at is not None else ""


def _known_changes(evidence: Evidence, name: str, now: datetime) -> list[str]:
    trail = evidence.latest(TrailHistory, name)
    changes = trail.changes if trail is not None else ()
    return list(dict.fromkeys(x.change_id for x in changes if x.change_id and now - x.at < _RECENT))
