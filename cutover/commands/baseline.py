"""``cutover baseline``: remember where the databases stand before the copy."""

from __future__ import annotations

from pathlib import Path

from cutover.commands.fence import database_of, database_url
from cutover.commands.session import Session
from cutover.durations import iso
from cutover.errors import CutoverError


def run(session: Session, *, dump: Path | None, jobs: int) -> int:
    """Record the watermarks; optionally dump old with that very snapshot.

    Raises:
        CutoverError: the plan has no old database, it cannot be reached, or it is a standby.
    """
    from cutover.baseline import Baselines, baseline

    if jobs < 1:
        raise CutoverError("--jobs must be at least 1", "for example --jobs 2")
    plan = session.database_plan()
    new_url = database_url(plan, "new") if database_of(plan).new is not None else None
    output = session.output
    with session.open_ledger() as ledger:
        known = Baselines(observation for _, observation in ledger.read())
        result = baseline(
            plan,
            database_url(plan, "old"),
            new_url,
            append=ledger.append,
            known=known,
            clock=session.clock,
            dump=dump,
            jobs=jobs,
            say=output.progress,
        )
    output.progress("")
    head = {"command": "baseline", "migration": plan.migration.name, "at": iso(session.clock.now()), "findings": []}
    output.result({**head, **result.json()}, result.text())
    return result.exit_code
