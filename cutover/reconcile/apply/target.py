"""The target of an apply: one writing session, its lock, and the state that is staged into schema ``cutover``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from cutover.errors import CutoverError
from cutover.reconcile.apply.staging import (
    PROTOCOL,
    STEP_COLUMNS,
    Stager,
    copy_text,
    id_map_lines,
    reference_lines,
    run_id,
    sequence_lines,
)
from cutover.reconcile.model import Side
from cutover.reconcile.source.session import address, check_no_transaction_pooler, connect, explain, first_line

if TYPE_CHECKING:
    from uuid import UUID

    from cutover.reconcile.review.bundlefile import Bundle

WRITING_SETTINGS: Mapping[str, str] = {
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    # Shorter than deadlock_timeout (1 s): in a deadlock with live traffic it is always this session that gives way.
    # And short: whoever waits for a row of the batch waits as long as the batch waits for somebody else.
    "lock_timeout": "200ms",
    "statement_timeout": "10min",
    "synchronous_commit": "on",
    "session_replication_role": "origin",
}
SKIPPED_SETTINGS = ("session_replication_role", "search_path")
"""The first may only be set by a superuser, and is ``origin`` unless somebody changed it for the role; the second
stays the role's own, by which its triggers find their tables."""

WAIT_FOR_OWN = "SET LOCAL lock_timeout = '30s'"
"""Locks on the protocol's own tables are waited for: no live traffic is behind them, only an autovacuum, which gives
way after deadlock_timeout."""

FILES = ("tables.sql", "prepare.sql", "apply.sql", "straight.sql", "undo.sql", "verify.sql")

STAGED_TABLES: Mapping[str, tuple[str, ...]] = {
    "target": (
        "run", "tbl", "schema_name", "table_name", "columns", "key_columns", "absent", "loose", "adds", "sequence_name",
    ),
    "reference": (
        "run", "n", "from_schema", "from_table", "from_column", "json_path", "to_schema", "to_table", "to_column",
        "condition",
    ),
    "sequence": ("run", "sequence_name", "advance_to"),
    "id_map": ("run", "schema_name", "table_name", "column_name", "old_id", "new_id", "how"),
    "run": ("run", "bundle", "protocol", "old_snapshot_at", "batches", "components", "steps", "state"),
}  # fmt: skip
"""The small tables of the state and the columns that are staged."""

Connection = psycopg.Connection[Any]


def protocol_sql() -> str:
    """Return the tables and functions of the protocol, as they are made in the target."""
    folder = files("cutover.reconcile.apply") / "protocol"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in FILES)


@contextmanager
def writer(url: str) -> Iterator[Connection]:
    """Open the writing session: pinned settings, READ COMMITTED, short lock waits, autocommit.

    Raises:
        CutoverError: it cannot be reached, is a standby, or a transaction pooler stands in between.
    """
    connection = connect(Side.NEW, url)
    try:
        check_no_transaction_pooler(Side.NEW, url, connection)
        for name, value in WRITING_SETTINGS.items():
            if name not in SKIPPED_SETTINGS:
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        # Triggers name tables as they do in a session of this role: types and tables of our own carry their schemas.
        connection.execute("RESET search_path")
        row = connection.execute("SELECT pg_is_in_recovery(), current_setting('session_replication_role')").fetchone()
        assert row is not None  # noqa: S101 - one row, always
        if row[0]:
            raise CutoverError(
                f"new: {address(url)} is a standby: nothing can be written there", "give the URL of the primary"
            )
        if row[1] != "origin":
            raise CutoverError(
                f"new: {address(url)}: session_replication_role is {row[1]} for this role: triggers and foreign keys"
                " would not fire",
                "ALTER ROLE ... RESET session_replication_role, or use another role",
            )
        yield connection
    except psycopg.Error as error:
        raise explained(url, error) from None
    finally:
        connection.close()


def explained(url: str, error: psycopg.Error) -> CutoverError:
    """Turn a server's error into one line that says what to do next."""
    where = f"new: {address(url)}"
    state = error.sqlstate or ""
    line = first_line(error)
    if state in {"CU010", "CU011"}:
        return CutoverError(f"{where}: {line}", "run cutover reconcile again for a bundle of the present schema")
    if state == "CU012":
        return CutoverError(f"{where}: {line}", "drop the rule for the time of the apply, or exclude the table")
    if isinstance(error, errors.SequenceGeneratorLimitExceeded):
        return CutoverError(
            f"{where}: {line}",
            "give the sequence a higher MAXVALUE (and its column a wider type); then run the same command again",
        )
    if isinstance(error, errors.DiskFull | errors.OutOfMemory | errors.ConfigurationLimitExceeded):
        return CutoverError(
            f"{where}: {line}", "free space; then run the same command: it goes on where it stopped", exit_code=4
        )
    if isinstance(error, errors.InsufficientPrivilege):
        role = _user(url)
        return CutoverError(
            f"{where}: {line}",
            f"as the database's owner: GRANT CREATE ON DATABASE ... TO {role}; the tables must be {role}'s own",
        )
    if isinstance(error, psycopg.OperationalError) and not state.startswith("5"):
        return CutoverError(f"{where}: {line}", "run the same command again: it goes on where it stopped", exit_code=4)
    return explain(Side.NEW, url, error)


def _user(url: str) -> str:
    return str(conninfo_to_dict(url).get("user") or "the role")


def check_database(connection: Connection, bundle: Bundle, url: str) -> None:
    """Refuse a target that the bundle was not made for.

    Raises:
        CutoverError: another cluster or another database.
    """
    row = connection.execute(
        """SELECT current_database(), CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
           THEN (SELECT system_identifier::text FROM pg_control_system()) ELSE '' END"""
    ).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    meta = bundle.meta.new
    if (meta.database, meta.system_identifier) != (row[0], row[1]):
        raise CutoverError(
            f"{bundle.folder}: was made for database {meta.database} (cluster {meta.system_identifier or 'unknown'}),"
            f" not for {address(url)} (cluster {row[1] or 'unknown'})",
            "give the database that was compared, or run cutover reconcile for this one",
        )


def refuse_sides(rehearse_on: str, sides: Mapping[str, str]) -> None:
    """Refuse to rehearse on a database of the plan: what a rehearsal writes to its copy stays there.

    Args:
        rehearse_on: URL of what should be a copy of new.
        sides: URLs of the plan's databases, by name; one that is down can be nobody's copy.

    Raises:
        CutoverError: it is one of them, under whatever name it is reached.
    """
    copy = _server_and_database(rehearse_on)
    for side, url in sides.items():
        try:
            same = address(url) == address(rehearse_on) or _server_and_database(url) == copy
        except CutoverError:
            continue
        if same:
            raise CutoverError(
                f"--rehearse-on {address(rehearse_on)}: is {side} itself: what is rehearsed there stays there",
                "give a copy of new that may be thrown away; without --rehearse-on the rehearsal is rolled back",
            )


def _server_and_database(url: str) -> tuple[Any, ...] | None:
    """Return what no two databases share: no two servers were started at the same microsecond."""
    connection = connect(Side.NEW, url)
    try:
        return connection.execute(
            "SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    except psycopg.Error as error:
        raise explain(Side.NEW, url, error) from None
    finally:
        connection.close()


def take_lock(connection: Connection, url: str) -> None:
    """Take the lock that only one apply or undo can hold, and that an orphaned backend keeps until it ends.

    Raises:
        CutoverError: another session holds it (exit code 4).
    """
    mine = connection.execute("SELECT pg_try_advisory_lock(1668641647, 1986359924)").fetchone()
    if mine == (True,):
        return
    holder = connection.execute(
        """SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'local'),
                  a.backend_start::timestamptz(0)::text
           FROM pg_locks l JOIN pg_stat_activity a USING (pid)
           WHERE l.locktype = 'advisory' AND l.classid = 1668641647 AND l.objid = 1986359924 AND l.granted
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    ).fetchone()
    who = (
        f"pid {holder[0]} ({holder[1]}, from {holder[2]}, since {holder[3]})" if holder else "a session that just ended"
    )
    raise CutoverError(
        f"new: {address(url)}: another apply or undo is at work: {who}",
        "wait for it; if its client is gone: SELECT pg_terminate_backend("
        + (str(holder[0]) if holder else "PID")
        + "), then run this again",
        exit_code=4,
    )


def install(connection: Connection) -> None:
    """Make the protocol's tables and functions, once the lock is held."""
    with connection.transaction():
        connection.execute(WAIT_FOR_OWN)
        connection.execute("SET LOCAL client_min_messages = warning")
        found = connection.execute("SELECT to_regnamespace('cutover') IS NOT NULL").fetchone()
        text = protocol_sql()
        if found == (True,):
            text = text.replace("CREATE SCHEMA IF NOT EXISTS cutover;", "", 1)
        connection.execute(text.encode())


def analyze(connection: Connection, *tables: str) -> None:
    """Count the protocol's own tables, waiting for an autovacuum that is at them."""
    names = sql.SQL(", ").join(sql.Identifier("cutover", table) for table in tables)
    with connection.transaction():
        connection.execute(WAIT_FOR_OWN)
        connection.execute(sql.SQL("ANALYZE {}").format(names))


def stage(connection: Connection, bundle: Bundle, *, batch_rows: int | None = None) -> UUID:
    """Bring the change set into the target, draw the new ids, and return the run's name.

    A run that is staged already is taken as it is: this is how an apply goes on after it was killed.

    Raises:
        CutoverError: the schema has changed, or the run was undone.
    """
    run = run_id(bundle)
    found = connection.execute("SELECT protocol, state FROM cutover.run WHERE run = %s", (run,)).fetchone()
    if found is not None and found[0] != PROTOCOL:
        raise CutoverError(
            f"{bundle.folder}: its apply was begun by another version of cutover (protocol {found[0]})",
            "go on with that version",
        )
    with connection.transaction():
        if found is None:
            stager = Stager(run, bundle.meta, **({} if batch_rows is None else {"batch_rows": batch_rows}))
            _copy(connection, bundle, stager)
        connection.execute("SELECT cutover.prepare(%s)", (run,))
    analyze(connection, "step")
    for name, value in connection.execute(
        "SELECT sequence_name, advance_to FROM cutover.sequence WHERE run = %s", (run,)
    ).fetchall():
        retrying(partial(_advance_sequence, connection, name, value))
    connection.execute("SELECT cutover.draw(%s)", (run,))
    return run


def _advance_sequence(connection: Connection, name: str, value: int) -> None:
    connection.execute("SELECT cutover.advance_sequence(%s, %s)", (name, value))


def _copy(connection: Connection, bundle: Bundle, stager: Stager) -> None:
    _copy_lines(connection, "step", STEP_COLUMNS, stager.lines(bundle.components()))
    for table, rows in small_tables(bundle, stager).items():
        _copy_lines(connection, table, STAGED_TABLES[table], ("\t".join(map(copy_text, row)) + "\n" for row in rows))


def _copy_lines(connection: Connection, table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    query = sql.SQL("COPY cutover.{} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for block in _blocks(lines):
            copy.write(block)


def small_tables(bundle: Bundle, stager: Stager) -> dict[str, Sequence[tuple[Any, ...]]]:
    """Return the rows of the state's small tables, once the steps have been read through."""
    meta, staged = bundle.meta, stager.staged
    return {
        "target": list(stager.target_lines()),
        "reference": list(reference_lines(stager.run, meta.references)),
        "sequence": list(sequence_lines(stager.run, meta)),
        "id_map": list(id_map_lines(stager.run, bundle.id_map())),
        "run": [
            (
                stager.run,
                meta.bundle,
                PROTOCOL,
                meta.old.snapshot_at,
                staged.batches,
                staged.components,
                staged.steps,
                "staged",
            )
        ],
    }


def _blocks(lines: Iterable[str]) -> Iterator[bytes]:
    block: list[str] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size > 1 << 16:
            yield "".join(block).encode("utf-8", "surrogateescape")
            block, size = [], 0
    if block:
        yield "".join(block).encode("utf-8", "surrogateescape")


def retrying(action: Callable[[], None], *, tries: int = 40) -> None:
    """Run something that may not get a lock, again and again with growing pauses (about a minute in all)."""
    for attempt in range(1, tries + 1):
        try:
            action()
        except (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure):
            if attempt == tries:
                raise
            time.sleep(pause(attempt))
        else:
            return


def pause(attempt: int) -> float:
    """Return how long to wait before another try, seconds."""
    return min(2.0, 0.05 * 1.5 ** min(attempt, 12))
