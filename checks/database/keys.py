"""``database.keys``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.evidence import Evidence
from cutover.folds.database import qualified
from cutover.observations.database import SchemaSeen
from cutover.plan import Plan

from ._reading import SIDES, configured, why_unread

_SHOWN = 20


@check(title="every table has a key to reconcile it by", severity=Severity.WARNING, phases=(Phase.PREFLIGHT,))
def keys(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Name the tables whose rows nothing tells apart.

    Without a primary key, a unique index over columns that are never NULL, or ``match_key``, a reconcile can only
    compare how often equal rows occur: an update looks like a delete and an insert. Now it is one
    ``ALTER TABLE`` away; after a split-brain it is not.
    """
    if plan.database is None:
        yield skipped("database", "the plan has no [database]")
        return
    schemas = plan.database.schemas
    declared = {
        name
        for table in plan.database.table
        if table.match_key or table.kind == "ignore"
        for name in qualified([table.name], schemas)
    }
    for side in SIDES:
        if not configured(plan, side):
            continue
        seen = evidence.current(SchemaSeen, side)
        if seen is None:
            yield unknown(side, why_unread(plan, evidence, side) or f"{side}'s schema was not read")
            continue
        keyless = [table.table for table in seen.tables if not table.key and table.table not in declared]
        for table in keyless[:_SHOWN]:
            yield failed(
                f"{side} {table}", f"{table} has no key on {side}: give it one, or match_key in [[database.table]]"
            )
        if len(keyless) > _SHOWN:
            yield failed(side, f"{len(keyless) - _SHOWN} more tables without a key", tables=keyless[_SHOWN:])
        if not keyless:
            yield passed(side, f"{len(seen.tables)} tables, each with a key", tables=len(seen.tables))
