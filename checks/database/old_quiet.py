"""``database.old-quiet``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.evidence import Evidence
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Plan

from ._reading import NO_DATABASE, clock, configured, replicated, verified_state, written


@check(title="no rows are written on old any more", severity=Severity.BLOCKER, phases=(Phase.WATCH,))
def old_quiet(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Count the rows that old's database took since the last verified state.

    That is the change, or the last ``reconcile --verify`` that balanced: ten quiet minutes do not bring back a row
    that was written before them. The counters are per table, so that ``exclude`` and the server's own heartbeats
    stay out.
    """
    if plan.gate.writes == "none":
        yield skipped("old", 'the plan says that no database is written on old (writes = "none")')
        return
    if not configured(plan, "old"):
        yield unknown("old", NO_DATABASE)
        return
    state = verified_state(plan, evidence)
    if state.old is None:
        yield unknown("old", state.how)
        return
    found = written(plan, evidence, "old", state.old)
    limit = plan.gate.max_old_writes
    measured: dict[str, Any] = {"rows": found.total, "limit": limit, "since": state.old.at}
    measured |= {"tables": {table: rows.total for table, rows in sorted(found.rows.items())}}
    last_read = evidence.current(DatabaseReading, "old")
    unwatched = last_read.unwatched if last_read is not None else ()
    measured |= {"unwatched_schemas": list(unwatched)} if unwatched else {}
    newest = _newest(evidence)
    measured |= {"newest": newest} if newest else {}
    since = f"since {state.how} at {clock(state.old.at)}"
    if found.total > limit:
        last = f"; newest rows: {', '.join(f'{column} {value}' for column, value in newest.items())}" if newest else ""
        yield failed(
            "old",
            f"{found.total} rows were written on old {since} ({found.told()}){last}{replicated(evidence, 'old')}",
            fix="cutover fence",
            **measured,
        )
    elif found.unknown:
        yield unknown("old", f"not known to be quiet {since}: {found.unknown}", **measured)
    else:
        beside = f"; not counted: schemas {_few(unwatched)}, not in [database] schemas" if unwatched else ""
        yield passed("old", f"{found.total} rows were written on old {since} (limit {limit}){beside}", **measured)


def _few(schemas: Sequence[str]) -> str:
    return ", ".join(schemas[:3]) + (" and more" if len(schemas) > 3 else "")


def _newest(evidence: Evidence) -> dict[str, str]:
    reading = evidence.current(DatabaseReading, "old")
    return {column: value for column, value in reading.newest if value} if reading is not None else {}
