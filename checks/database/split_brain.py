"""``database.split-brain``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.plan import Plan

from ._reading import ALARM, NO_DATABASE, ONE_FOR_BOTH, Since, clock, configured, replicated, verified_state, written


@check(title="only one of the two databases takes writes", severity=Severity.BLOCKER, phases=(Phase.WATCH,))
def split_brain(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Look whether both databases took writes since the last verified state.

    From then on no copy holds all rows, switching back loses what new took, and staying loses what old took. Each
    minute makes the repair longer: fence old, estimate, reconcile. Waiting does not end this alarm; a reconcile
    that balances does.
    """
    subject = "old and new"
    if plan.gate.writes == "none":
        yield skipped(subject, 'the plan says that no database is written on old (writes = "none")')
        return
    if plan.database is None:
        yield unknown(subject, NO_DATABASE).informing()  # database.old-quiet holds the gate, and may be overridden
        return
    if not configured(plan, "old") or not configured(plan, "new"):
        yield unknown(subject, "[database] needs both old and new")
        return
    if evidence.databases.one_for_both():
        yield unknown(subject, ONE_FOR_BOTH)
        return
    standing = _standing(plan, evidence)
    if standing is not None:
        yield standing
        return
    state = verified_state(plan, evidence)
    if state.old is None or state.new is None:
        yield unknown(subject, state.how)
        return
    old = written(plan, evidence, "old", state.old)
    new = written(plan, evidence, "new", state.new)
    limit = plan.gate.max_old_writes
    since = f"since {state.how} at {clock(state.old.at)}"
    measured: dict[str, Any] = {"old": old.total, "new": new.total, "since": state.old.at, "since_new": state.new.at}
    if old.total > limit and new.total:
        began = max(found.first[0] for found in (old, new) if found.first is not None)
        yield failed(
            subject,
            f"both databases took writes {since}: old {old.total} rows ({old.told()}), new {new.total} rows "
            f"({new.told()}); both at the latest from {clock(began)}{replicated(evidence, 'old')}",
            fix=ALARM,
            **measured,
        )
    elif old.total and new.total:
        yield warned(
            subject, f"old took {old.total} rows {since} (limit {limit}: tolerated), new {new.total}", **measured
        )
    elif not old.unknown and not old.total:
        yield passed(subject, f"old took no writes {since}", **measured)
    elif not new.unknown and not new.total:
        yield passed(subject, f"new took no writes {since}", **measured)
    else:
        yield unknown(subject, f"not known {since}: {old.unknown or new.unknown}", **measured)


def _standing(plan: Plan, evidence: Evidence) -> Outcome | None:
    """Return the alarm that was raised before a name was seen on old again, while its writes still count.

    A name that went back, and perhaps over once more, makes the change a later one: the rows that each database
    took before it are in no other for that. No more so when a roll-back is watched, whatever names do.
    """
    alarm = evidence.databases.alarm()
    if alarm is None:
        return None
    sightings = [evidence.authority.window(name).last_old for name in plan.names]
    if not alarm.swapped and all(seen is None or seen <= alarm.raised for seen in sightings):
        return None
    old = written(plan, evidence, "old", Since(alarm.old, alarm.old))
    new = written(plan, evidence, "new", Since(alarm.new, alarm.new))
    if old.total <= plan.gate.max_old_writes or not new.total:
        return None
    return failed(
        "old and new",
        f"both databases took writes since {clock(alarm.old)} (seen at {clock(alarm.raised)}): old {old.total} rows "
        f"({old.told()}), new {new.total} rows ({new.told()}). That names went back repairs nothing, only a reconcile "
        "that balances does",
        fix=ALARM,
        old=old.total,
        new=new.total,
        since=alarm.old,
        since_new=alarm.new,
    )
