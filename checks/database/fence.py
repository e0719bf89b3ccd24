"""``database.fence``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.observations.database import FenceProven, FenceReleased
from cutover.plan import Plan

from ._reading import Since, clock, configured, written


@check(title="old refuses writes, and it is proven", severity=Severity.WARNING, phases=(Phase.WATCH,))
def fence(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Tell what ``cutover fence`` proved, and whether it still holds: no row was written on old since.

    Caches and pooled clients reach old long after the switch. Only a database that refuses them ends that.
    """
    if plan.gate.writes == "none" or not configured(plan, "old"):
        yield skipped("old", "the plan has no database on old that is written")
        return
    proof = evidence.latest(FenceProven, "old")
    released = evidence.latest(FenceReleased, "old")
    if proof is None or (released is not None and released.at >= proof.at):
        how = (
            "old is not fenced"
            if proof is None
            else f"the fence was released at {clock(released.at)}"
            if released
            else ""
        )
        yield warned("old", f"{how}: a late client can still write there", fix="cutover fence")
        return
    if not proof.proven:
        yield unknown("old", f"the fence is not proven: {proof.why_not}", fix="cutover fence")
        return
    since = proof.counters.at if proof.counters is not None else proof.at
    found = written(plan, evidence, "old", Since(since, since))
    roles = ", ".join(f"{x.role} ({x.how})" for x in proof.roles)
    measured: dict[str, Any] = {"rows": found.total, "since": since, "roles": [x.role for x in proof.roles]}
    if found.total:
        yield failed(
            "old", f"{found.total} rows were written on old since it was fenced at {clock(since)} ({found.told()})",
            fix="cutover fence", **measured,
        )  # fmt: skip
    elif found.unknown:
        yield unknown(
            "old", f"whether the fence of {clock(since)} still holds is not known: {found.unknown}", **measured
        )
    else:
        yield passed("old", f"fenced since {clock(since)}: {roles}; no row written since", **measured)
