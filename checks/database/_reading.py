"""What the database checks share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from cutover.change import changed
from cutover.evidence import Evidence
from cutover.folds.database import Written
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Plan

NO_DATABASE = "nothing watches writes, `cutover done` will refuse: add [database] to the plan"
ONE_FOR_BOTH = "old and new lead to the same database: give each side its own URL in [database]"
ALARM = "cutover fence && cutover reconcile --estimate && cutover reconcile"
SIDES = ("old", "new")


_ROUND = timedelta(seconds=30)
_GAP_INTERVALS = 3


class Since(NamedTuple):
    """From when on a write counts.

    Attributes:
        at: what was written later is one too many.
        earliest: what was written before is none; in between nobody knows.
    """

    at: datetime
    earliest: datetime


class State(NamedTuple):
    """The last state in which the two databases were known to agree.

    Attributes:
        old, new: by side; None while nothing has changed yet.
        how: ``the change`` or ``the last verified reconcile``, or why there is none.
    """

    old: Since | None
    new: Since | None
    how: str


def change_of(plan: Plan, evidence: Evidence, side: str) -> tuple[Since | None, str]:
    """Return when the first of the names left old: from then on a write on old is one too many.

    A change that the plan or CloudTrail dates is an instant. Otherwise it lies between the last sighting of old
    and the first of new: an instant when somebody watched all the while, else a stretch of time.
    """
    moves = [(changed(plan, evidence, name), name) for name in plan.names]
    known = [(move.at, name) for move, name in moves if move.at is not None]
    if not known:
        return None, moves[0][0].how if moves else "the plan has no name"
    at, name = min(known)
    window = evidence.authority.window(name)
    if at != window.first_new or window.last_old is None:
        return Since(at, at), ""
    if at - window.last_old > _GAP_INTERVALS * plan.gate.interval + _ROUND:
        return Since(at, evidence.databases.marked_between(window.last_old, at) or window.last_old), ""
    read = evidence.databases.read_near(side, at, min(_ROUND, plan.gate.interval))
    return Since(read, read), ""


def verified_state(plan: Plan, evidence: Evidence) -> State:
    """Return the change, or the last ``reconcile --verify`` that balanced if that is later."""
    old, why_not = change_of(plan, evidence, "old")
    new, _ = change_of(plan, evidence, "new")
    if old is None or new is None:
        return State(None, None, f"the change has not been seen: {why_not}")
    at_old, at_new = (evidence.databases.verified_at(side) for side in SIDES)
    if at_old is not None and at_new is not None and at_old > old.earliest:
        return State(Since(at_old, at_old), Since(at_new, at_new), "the last verified reconcile")
    return State(old, new, "the change")


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


def written(plan: Plan, evidence: Evidence, side: str, since: Since) -> Written:
    """Return what a side wrote since an instant; unknown when this round could not read it."""
    found = evidence.databases.written(side, since.at, earliest=since.earliest)
    unread = why_unread(plan, evidence, side)
    if unread:
        return Written(since.at, found.until, found.total, found.rows, found.first, unread)
    return found


def replicated(evidence: Evidence, side: str) -> str:
    """Say that a side's writes may have come from the other one, "" when it subscribes to nothing.

    Counters cannot tell rows that replication brought from those of a user: the alarm stands, with its likely cause.
    """
    reading = evidence.databases.last(side)
    if reading is None or not reading.subscriptions:
        return ""
    names = ", ".join(reading.subscriptions)
    return (
        f"; {side} subscribes to logical replication ({names}), and what it brings counts as written: "
        f"ALTER SUBSCRIPTION ... DISABLE there while you look"
    )


def clock(at: datetime) -> str:
    """Write an instant as ``07:14:09 UTC``."""
    return f"{at:%H:%M:%S} UTC"
