"""``cutover fence``: make the old database refuse writes, prove it; release restores exactly."""

from __future__ import annotations

import os

from cutover.commands.session import Session
from cutover.durations import iso
from cutover.errors import CutoverError
from cutover.plan import Database, Plan
from cutover.planfile import secret


def run(session: Session, *, release: bool) -> int:
    """Fence the old database, or bring back what was there.

    Raises:
        CutoverError: the plan has no old database, or it cannot be reached.
    """
    from cutover.fence import proof, run

    plan = session.database_plan()
    url = database_url(plan, "old")
    output = session.output
    with session.open_ledger() as ledger:
        history = run.History(observation for _, observation in ledger.read())
        if release:
            result = run.release(
                plan, url, append=ledger.append, history=history, clock=session.clock, say=output.progress
            )
        else:
            result = run.fence(
                plan,
                url,
                append=ledger.append,
                history=history,
                clock=session.clock,
                logins=proof.logins_from(os.environ, database_of(plan).app_roles),
                say=output.progress,
            )
    output.progress("")
    form = {"command": "fence", "migration": plan.migration.name, "at": iso(session.clock.now()), "findings": []}
    output.result({**form, **result.json()}, result.text())
    return result.exit_code


def database_of(plan: Plan) -> Database:
    """Return the plan's ``[database]``.

    Raises:
        CutoverError: there is none.
    """
    if plan.database is None:
        raise CutoverError("the plan has no [database]", 'add [database] with old = "env:..." and new = "env:..."')
    return plan.database


def database_url(plan: Plan, side: str) -> str:
    """Return one database's URL, with ``env:NAME`` looked up.

    Raises:
        CutoverError: the plan or the environment does not have it.
    """
    database = database_of(plan)
    url = database.old if side == "old" else database.new
    if url is None:
        raise CutoverError(f"the plan's [database] has no `{side}`", f'add {side} = "env:{side.upper()}_DATABASE_URL"')
    return secret(url, where=f"[database] {side}")
