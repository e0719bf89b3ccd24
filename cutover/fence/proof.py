"""The proof: each app role's login is refused, or CONNECT is gone and no session is left; counters are still."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import psycopg
from psycopg.conninfo import make_conninfo

from cutover.clock import Clock
from cutover.fence.walls import AppRole, Connection, ServerSession
from cutover.folds.database import step_between
from cutover.observations.database import RoleProof
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Database
from cutover.probes.database import read_counters

REFUSED = ("42501", "28000")
"""Permission denied for database; role is not permitted to log in."""


def prove_role(role: AppRole, left: Iterable[ServerSession], login: str | None) -> RoleProof:
    """Return what shows that one app role cannot write any more, or why nothing shows it."""
    if not role.exists:
        return RoleProof(role.name, "no such role", False, "correct [database] app_roles")
    if role.superuser:
        return RoleProof(role.name, "superuser", False, "a superuser passes every wall: give the app a role of its own")
    mine = [session for session in left if session.role == role.name]
    if mine:
        return RoleProof(role.name, "session", False, f"{len(mine)} sessions are still open: {mine[0]}")
    if login is not None:
        found = _try_login(role, login)
        if found is not None:
            return found
    if role.may_connect:
        return RoleProof(role.name, "CONNECT", False, "it may still connect")
    return RoleProof(role.name, "no CONNECT and no session", True)


def _try_login(role: AppRole, login: str) -> RoleProof | None:
    """Log in as the app does; None when the attempt proves nothing (a wrong password, no route)."""
    try:
        psycopg.connect(make_conninfo(login, connect_timeout=10, application_name="cutover-fence-proof")).close()
    except psycopg.OperationalError as error:
        text = str(error)
        refused = "permission denied for database" in text or "is not permitted to log in" in text
        return RoleProof(role.name, "login refused", True, text.strip().splitlines()[-1][-160:]) if refused else None
    return RoleProof(role.name, "login", False, "a login with its own credentials succeeded")


def watch_counters(
    connection: Connection,
    database: Database,
    clock: Clock,
    sleep: Callable[[float], None],
    still_for: float,
) -> tuple[DatabaseReading, str]:
    """Read the counters, wait, read them again; return the first reading and what moved ("" when nothing did)."""
    sleep(min(1.0, still_for))  # backends report what they did when they end
    first = read_counters(connection, "old", database, clock)
    sleep(still_for)
    return first, moved(first, read_counters(connection, "old", database, clock))


def moved(before: DatabaseReading, after: DatabaseReading) -> str:
    """Return what was written between two readings, or why they cannot be compared; "" for nothing."""
    step = step_between(before, after)
    if step.broken:
        return step.broken
    if not step.rows:
        return ""
    told = ", ".join(f"{table} {rows.total}" for table, rows in sorted(step.rows.items()))
    return f"rows were still written: {told}"


def logins_from(environment: Mapping[str, str], roles: Iterable[str]) -> dict[str, str]:
    """Return the app's own URLs that the user gave for the proof: ``CUTOVER_LOGIN_<ROLE>`` in the environment."""
    found: dict[str, str] = {}
    for role in roles:
        name = "CUTOVER_LOGIN_" + "".join(x if x.isalnum() else "_" for x in role).upper()
        if environment.get(name):
            found[role] = environment[name]
    return found
