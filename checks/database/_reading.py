"""What the database checks share."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cutover.evidence import Evidence
from cutover.folds.database import Written
from cutover.horizon import changed
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Plan

NO_DATABASE = "nothing watches writes: add [database] to the plan"
ALARM = "cutover fence && cutover reconcile --estimate && cutover reconcile"
SIDES = ("old", "new")


class State(NamedTuple):
    """The last verified state of the two databases.

    Attributes:
        at: when they were last known to hold the same rows, by side; None while nothing changed yet.
        how: ``the change`` or ``the last verified reconcile``, or why there is none.
    """

    old: datetime | None
    new: datetime | None
    how: str


def change_of(plan: Plan, evidence: Evidence) -> tuple[datetime | None, str]:
    """Return when the first of the names left old: from then on a write on old is one too many."""
    moves = [changed(plan, evidence, name) for name in plan.names]
    known = [(move.at, move.how) for move in moves if move.at is not None]
    if not known:
        return None, moves[0].how if moves else "the plan has no name"
    return min(known)


def verified_state(plan: Plan, evidence: Evidence) -> State:
    """Return the change, or the last ``reconcile --verify`` that balanced if that is later."""
    at, how = change_of(plan, evidence)
    if at is None:
        return State(None, None, f"the change has not been seen: {how}")
    verified = [evidence.databases.verified_at(side) for side in SIDES]
    if verified[0] is not None and verified[0] > at:
        return State(verified[0], verified[1], "the last verified reconcile")
    return State(at, at, "the change")


def configured(plan: Plan, side: str) -> bool:
    """Tell whether the plan has a side's database."""
    return plan.database is not None and getattr(plan.database, side) is not None


def why_unread(plan: Plan, evidence: Evidence, side: str) -> str:
    """Say why this round has no counters of a side, "" when it has."""
    if not configured(plan, side):
        return f"[database] {side} is not in the plan"
    if evidence.current(DatabaseReading, side) is not None:
        return ""
    failure = evidence.failure("database", side)
    return f"{side}'s database could not be read: {failure.error if failure is not None else 'it was not asked'}"


def written(plan: Plan, evidence: Evidence, side: str, since: datetime) -> Written:
    """Return what a side wrote since an instant; unknown when this round could not read it."""
    found = evidence.databases.written(side, since)
    unread = why_unread(plan, evidence, side)
    if unread:
        return Written(since, found.until, found.total, found.rows, found.first, unread)
    return found


def clock(at: datetime) -> str:
    """Write an instant as ``07:14:09 UTC``."""
    return f"{at:%H:%M:%S} UTC"
