"""``database.reachable``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Plan

from ._reading import NO_DATABASE, ONE_FOR_BOTH, SIDES, configured, why_unread


@check(title="both databases can be read", severity=Severity.BLOCKER, phases=(Phase.PREFLIGHT,))
def reachable(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Log in to both databases before the change.

    After the change it is too late to learn that a password, a firewall or a missing role keeps you from seeing
    which side takes writes. A plan without databases may switch all the same; it is ``done`` that refuses.
    """
    if plan.database is None:
        if plan.gate.writes == "none":
            yield skipped("database", 'the plan says that no database is written on old (writes = "none")')
        else:
            yield unknown("database", NO_DATABASE).informing()
        return
    if all(configured(plan, side) for side in SIDES) and evidence.databases.one_for_both():
        yield failed("old and new", ONE_FOR_BOTH)
    for side in SIDES:
        if not configured(plan, side):
            yield unknown(side, f"[database] {side} is not in the plan")
            continue
        reading = evidence.current(DatabaseReading, side)
        if reading is None:
            failure = evidence.failure("database", side)
            say = failed if failure is not None else unknown
            yield say(side, why_unread(plan, evidence, side))
        elif reading.in_recovery:
            yield failed(side, f"{side} leads to a standby: its counters are not the primary's; give the primary's URL")
        else:
            version = f"{reading.server_version // 10000}.{reading.server_version % 10000}"
            tables = len(reading.tables)
            if not tables:
                yield failed(
                    side, f"{side} has no table in {', '.join(plan.database.schemas)}: is it the right database?"
                )
            else:
                yield passed(side, f"PostgreSQL {version}, database {reading.database}, {tables} tables", tables=tables)
            if reading.unwatched and side == "old":
                schemas = ", ".join(reading.unwatched)
                yield warned(
                    f"{side} schemas",
                    f"tables are written in schemas that [database] schemas does not name: {schemas}. Nobody would see "
                    "what old takes there: add them, or know them to be no data of users",
                    schemas=list(reading.unwatched),
                )
