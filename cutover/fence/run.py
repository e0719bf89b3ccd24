"""``cutover fence`` and ``cutover fence --release``.

What was there is appended to the ledger before anything is changed; the walls then go up in one transaction. So
a process that is killed at any moment leaves either nothing to release, or all that a release needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import psycopg
from psycopg import errors

from cutover.clock import Clock
from cutover.errors import CutoverError
from cutover.fence.advice import provider, who_runs_it
from cutover.fence.proof import moved, prove_role, watch_counters
from cutover.fence.result import FenceResult
from cutover.fence.suspects import look, writers_left
from cutover.fence.walls import (
    Connection,
    ServerSession,
    connect_grants,
    end_sessions,
    raise_sql,
    raise_walls,
    read_before,
    read_roles,
    read_settings,
    restore_sql,
    restore_walls,
    sessions,
    to_revoke,
)
from cutover.observations.base import Observation
from cutover.observations.database import FenceProven, FenceReleased
from cutover.observations.fence import FenceBegun
from cutover.plan import Database, Plan
from cutover.probes.database import read_counters
from cutover.reconcile.model import Side
from cutover.reconcile.source.session import address, check_no_transaction_pooler, connect, explain

Append = Callable[[Iterable[Observation]], object]
Say = Callable[[str], None]

STILL_FOR = 10.0
"""Seconds for which the counters must not move."""

END_ROUNDS = 20


class History:
    """What the ledger says of the fence, from its observations in order."""

    def __init__(self, observations: Iterable[Observation] = ()) -> None:
        self.begun: FenceBegun | None = None
        self.proven: FenceProven | None = None
        for observation in observations:
            match observation:
                case FenceBegun():
                    # A second run on a fenced database sees walls, not what was there: the first record stands.
                    self.begun = self.begun or observation
                case FenceProven():
                    self.proven = observation if observation.proven else None
                case FenceReleased():
                    self.begun = self.proven = None


def fence(
    plan: Plan,
    url: str,
    *,
    append: Append,
    history: History,
    clock: Clock,
    logins: Mapping[str, str] | None = None,
    say: Say = lambda line: None,
    sleep: Callable[[float], None] = time.sleep,
    still_for: float = STILL_FOR,
) -> FenceResult:
    """Make old refuse writes, and prove it.

    Args:
        plan: its ``[database]`` names the app roles, schemas and excluded tables.
        url: of old, with the role that fences: it must not be an app role.
        append: writes to the ledger, durably, before it returns.
        history: what the ledger holds already.
        clock: tells the time.
        logins: the app's own URLs by role: then a real login is tried.
        say: progress, one line at a time.
        sleep: waits.
        still_for: seconds for which the counters must not move.

    Raises:
        CutoverError: no ``[database]``, unreachable, a standby, a pooler, or the URL's role is an app role.
    """
    database = _database(plan)
    with _session(url) as connection:
        _refuse_own_role(connection, database, url)
        before = history.begun
        if before is None:
            before = read_before(connection, database.app_roles, clock.now())
            append([before])
        _refuse_other(connection, before, url)
        revoked = to_revoke(connection, connect_grants(connection), before.app_roles)
        seen = sessions(connection)
        missing = _missing_rights(connection, before, seen)
        if missing:
            return _unproven(
                append,
                clock.now(),
                FenceResult(
                    verdict="inconclusive",
                    database=address(url),
                    why_not=(*missing, "nothing was changed"),
                    sql=(*who_runs_it(provider(connection), before.owner), *raise_sql(before, revoked)),
                ),
            )
        say("taking CONNECT away")
        changed = bool(revoked) or any(x.value != "on" and not x.role for x in read_settings(connection, ()))
        with connection.transaction():
            raise_walls(connection, before)
        say(f"ending {len(seen)} sessions")
        ended = _end_all(connection, sleep)
        return _prove(
            connection, database, before, seen, ended, changed,
            append=append, history=history, clock=clock, logins=logins or {}, say=say, sleep=sleep, still_for=still_for,
            url=url,
        )  # fmt: skip


def release(
    plan: Plan,
    url: str,
    *,
    append: Append,
    history: History,
    clock: Clock,
    say: Say = lambda line: None,
) -> FenceResult:
    """Bring back exactly what was there before the fence; safe to run again after a kill.

    Raises:
        CutoverError: the ledger knows of no fence, or this is another database.
    """
    database = _database(plan)
    before = history.begun
    if before is None:
        raise CutoverError(
            "the ledger knows of no fence to release", "name the ledger of the run that fenced: --ledger"
        )
    with _session(url) as connection:
        _refuse_other(connection, before, url)
        counters = read_counters(connection, "old", database, clock)
        say("giving CONNECT back")
        missing = [grant for grant in before.connect if grant not in connect_grants(connection)]
        try:
            with connection.transaction():
                restore_walls(connection, before)
                left = [grant for grant in before.connect if grant not in connect_grants(connection)]
                if left or read_settings(connection, before.app_roles) != before.settings:
                    raise psycopg.errors.InsufficientPrivilege("the role may not grant it")
        except errors.InsufficientPrivilege as error:
            return FenceResult(
                verdict="inconclusive",
                database=address(url),
                why_not=(f"the rights to release are missing: {str(error).splitlines()[0]}", "nothing was changed"),
                sql=(*who_runs_it(provider(connection), before.owner), *restore_sql(before, missing)),
            )
        append([FenceReleased(at=clock.now(), side="old", counters=counters)])
        now = connection.execute("SELECT datacl::text FROM pg_database WHERE datname = current_database()").fetchone()
        notes = ["new connections are accepted; the app may have to be restarted"]
        if now != (before.acl,):
            notes.append(
                "the same rights as before, written in another way: pg_database.datacl is "
                f"{now[0] if now else None}, was {before.acl or 'NULL (the default)'}"
            )
        return FenceResult(verdict="released", database=address(url), changed=bool(missing), notes=tuple(notes))


def _database(plan: Plan) -> Database:
    if plan.database is None:
        raise CutoverError("the plan has no [database]", "add [database] with old, new and app_roles")
    return plan.database


@contextmanager
def _session(url: str) -> Iterator[Connection]:
    connection = connect(Side.OLD, url)
    try:
        check_no_transaction_pooler(Side.OLD, url, connection)
        # The second wall is a default for every session of the database, this one's too.
        connection.execute("SELECT set_config('default_transaction_read_only', 'off', false)")
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row == (True,):
            raise CutoverError(f"old: {address(url)} is a standby: it has no rights to take away", "give the primary")
        yield connection
    except psycopg.Error as error:
        raise explain(Side.OLD, url, error) from None
    finally:
        connection.close()


def _refuse_own_role(connection: Connection, database: Database, url: str) -> None:
    row = connection.execute(
        "SELECT current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
    ).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    if row[0] in database.app_roles and not row[1]:
        raise CutoverError(
            f"old: {address(url)}: {row[0]} is one of the app_roles: the fence would lock itself out and could not be"
            " released",
            "give [database] old the URL of another role: the database's owner or an administrator",
            exit_code=4,
        )


def _refuse_other(connection: Connection, before: FenceBegun, url: str) -> None:
    now = read_before(connection, (), before.at)
    if (now.database, now.system_identifier) != (before.database, before.system_identifier):
        raise CutoverError(
            f"old: {address(url)} is not the database that the ledger's fence is about ({before.database})",
            "give that database, or another --ledger",
        )


def _missing_rights(connection: Connection, before: FenceBegun, seen: Iterable[ServerSession]) -> list[str]:
    """Return what this role may not do, by trying it in a transaction that is rolled back."""
    missing: list[str] = []
    try:
        with connection.transaction(force_rollback=True):
            raise_walls(connection, before)
            open_roles = [x.name for x in read_roles(connection, before.app_roles) if x.may_connect and not x.superuser]
            if open_roles:
                missing.append(f"this role may not take CONNECT from {', '.join(open_roles)}")
            me = connection.execute("SELECT has_database_privilege(current_database(), 'CONNECT')").fetchone()
            if me != (True,):
                missing.append("this role would lose CONNECT itself and could not release the fence")
    except errors.InsufficientPrivilege as error:
        missing.append(f"this role may not raise the walls: {str(error).splitlines()[0]}")
    theirs = sorted({x.role for x in seen if x.role in before.app_roles and not x.may_end})
    if theirs:
        missing.append(f"this role may not end the sessions of {', '.join(theirs)} (pg_signal_backend)")
    return missing


def _end_all(connection: Connection, sleep: Callable[[float], None]) -> int:
    """End every session that may be ended, until none is left or they come back faster than they go."""
    ended: set[int] = set()
    for _ in range(END_ROUNDS):
        found = [x for x in sessions(connection) if x.may_end]
        if not found:
            break
        if end_sessions(connection, found):
            ended.update(x.pid for x in found)
        sleep(0.1)
    return len(ended)


def _prove(
    connection: Connection,
    database: Database,
    before: FenceBegun,
    seen: tuple[ServerSession, ...],
    ended: int,
    changed: bool,
    *,
    append: Append,
    history: History,
    clock: Clock,
    logins: Mapping[str, str],
    say: Say,
    sleep: Callable[[float], None],
    still_for: float,
    url: str,
) -> FenceResult:
    say(f"watching the counters for {still_for:g} s")
    first, motion = watch_counters(connection, database, clock, sleep, still_for)
    left = sessions(connection)
    found = look(connection, url)
    roles = tuple(prove_role(role, left, logins.get(role.name)) for role in read_roles(connection, before.app_roles))
    why = [f"{x.role}: {x.how}: {x.detail}" for x in roles if not x.shut]
    if not roles:
        why.append("[database] app_roles is empty: nobody knows whose writes to look for")
    superusers = sorted({str(x) for x in (*seen, *left) if x.superuser})
    if superusers:
        why.append(
            f"sessions of superusers were here, and a superuser passes every wall: {'; '.join(superusers[:3])}"
            " (run cutover fence again: it looks whether they come back)"
        )
    writers = writers_left(connection, before.app_roles)
    active = sorted({x.role for x in (*seen, *left) if x.role in writers})
    if active:
        why.append(f"not in app_roles, but may connect and write, and had a session: {', '.join(active)}")
    quiet = sorted(name for name, ours in writers.items() if not ours and name not in active)
    if quiet:
        found.notes.append(f"may still connect and write, had no session: {', '.join(quiet)}")
    why += found.open
    if motion:
        why.append(motion)
    proven = not why
    # A fence that was proven before and has held since is as old as its first proof.
    counters = first
    if proven and history.proven is not None and history.proven.counters is not None:
        held = not changed and not moved(history.proven.counters, first)
        counters = history.proven.counters if held else first
    append(
        [FenceProven(at=clock.now(), side="old", proven=proven, roles=roles, counters=counters, why_not="; ".join(why))]
    )
    return FenceResult(
        verdict="fenced" if proven else "inconclusive",
        database=address(url),
        changed=changed,
        roles=roles,
        why_not=tuple(why),
        notes=tuple(found.notes),
        sql=tuple(found.sql),
        ended=ended,
        still_for=still_for,
    )


def _unproven(append: Append, at: datetime, result: FenceResult) -> FenceResult:
    append([FenceProven(at=at, side="old", proven=False, roles=(), counters=None, why_not="; ".join(result.why_not))])
    return result
