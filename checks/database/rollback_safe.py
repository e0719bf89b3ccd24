"""``database.rollback-safe``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.plan import Plan

from ._reading import change_of, clock, configured, written


@check(
    title="whether switching back still loses nothing",
    severity=Severity.INFO,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def rollback_safe(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Say whether new holds rows that old does not, and since when.

    Until new takes its first write, switching back is free. From then on it loses rows, unless they are carried
    back (``cutover watch --reverse`` and a reconcile in the other direction). A reconcile of old into new changes
    nothing about that.
    """
    subject = "new"
    if plan.gate.writes == "none" or not configured(plan, "new"):
        yield skipped(subject, "the plan has no database on new to look at")
        return
    change, _ = change_of(plan, evidence, "new")
    if change is None:
        yield passed(subject, "nothing has been switched yet: there is nothing to switch back")
        return
    found = written(plan, evidence, "new", change)
    rows = found.kinds
    measured: dict[str, Any] = {"inserted": rows.inserted, "updated": rows.updated, "deleted": rows.deleted}
    if found.total:
        since = found.first[1] if found.first is not None else change.at
        least = "at least " if found.unknown else ""
        yield warned(
            subject,
            f"switching back stopped being free at {since:%H:%M} UTC: {least}{rows.inserted} rows exist only in new, "
            f"{rows.updated} were updated and {rows.deleted} deleted there ({found.told()})",
            since=since,
            **measured,
        )
    elif found.unknown:
        yield unknown(
            subject, f"whether new took writes since {clock(change.at)} is not known: {found.unknown}", **measured
        )
    else:
        yield passed(
            subject, f"new has taken no writes since {clock(change.at)}: switching back loses nothing", **measured
        )
