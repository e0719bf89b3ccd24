"""``database.baseline``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.folds.database import step_between
from cutover.observations.database import BaselineTaken
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Plan

from ._reading import clock, configured, why_unread


@check(
    title="where old stood when the copy was taken is recorded", severity=Severity.WARNING, phases=(Phase.PREFLIGHT,)
)
def baseline(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Look for the state that both databases started from: a base in the plan, or a baseline in the ledger.

    Without one, a split-brain can only be repaired by guessing which side changed a row.
    """
    if plan.database is None or not configured(plan, "old"):
        yield skipped("old", "[database] old is not in the plan")
        return
    taken = evidence.latest(BaselineTaken, "old")
    if taken is None:
        if plan.database.base is not None:
            yield passed("old", "the plan names a base", base=True)
        else:
            yield failed(
                "old",
                "nothing records where old stood when the copy was taken: a merge could not tell who changed a row",
                fix="cutover baseline --dump base.dump",
            )
        return
    reading = evidence.current(DatabaseReading, "old")
    if reading is None:
        yield unknown("old", why_unread(plan, evidence, "old"))
        return
    said = f"taken {clock(taken.at)} on {taken.at:%d %b} (snapshot {taken.snapshot})"
    broken = step_between(taken.counters, reading).broken
    measured: dict[str, Any] = {"snapshot": taken.snapshot, "lsn": taken.lsn, "taken_at": taken.at}
    if taken.counters.system_identifier != reading.system_identifier or taken.counters.database != reading.database:
        yield failed("old", f"{said}, of another database than old is now", fix="cutover baseline", **measured)
    elif taken.late and plan.database.base is None and not (taken.dump and evidence.latest(BaselineTaken, "new")):
        why = (
            "when new held rows already that were not old's: it is later than the copy, and no base for a merge. Name"
            " what was copied as [database] base"
        )
        yield failed("old", f"{said}, {why}", fix="cutover explain database.baseline", **measured)
    elif not taken.counters.system_identifier:
        yield warned("old", f"{said}, but the role may not read the system identifier: rows will be hashed", **measured)
    elif broken:
        yield warned("old", f"{said}; since then {broken}: such tables will be hashed", **measured)
    else:
        yield passed("old", said, **measured)
