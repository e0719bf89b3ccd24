"""What else could still write behind a fence: prepared transactions, jobs, subscriptions, other roles, replicas."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import make_conninfo

from cutover.fence.walls import Connection


@dataclass(slots=True)
class Suspects:
    """What was noticed.

    Attributes:
        open: one line each: as long as it stands, the fence is not proven.
        notes: one line each: worth knowing, does not write.
        sql: statements that close what is open.
    """

    open: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sql: list[str] = field(default_factory=list)


def look(connection: Connection, url: str) -> Suspects:
    """Look for whatever writes without a session of an app role."""
    found = Suspects()
    _prepared(connection, found)
    _jobs(connection, url, found)
    _subscriptions(connection, found)
    _replication(connection, found)
    return found


def writers_left(connection: Connection, app_roles: tuple[str, ...]) -> dict[str, bool]:
    """Return roles, not superusers and not app roles, that may still connect and may write: name -> is it ours."""
    rows = connection.execute(
        """SELECT r.rolname, r.rolname = current_user FROM pg_roles r
           WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolname = ANY (%s)
             AND has_database_privilege(r.oid, current_database(), 'CONNECT')
             AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)'
                   AND (has_table_privilege(r.oid, c.oid, 'INSERT') OR has_table_privilege(r.oid, c.oid, 'UPDATE')
                        OR has_table_privilege(r.oid, c.oid, 'DELETE') OR pg_has_role(r.oid, c.relowner, 'USAGE')))
           ORDER BY 1""",
        (list(app_roles),),
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def _prepared(connection: Connection, found: Suspects) -> None:
    rows = connection.execute(
        """SELECT gid, owner, prepared::timestamptz(0)::text FROM pg_prepared_xacts
           WHERE database = current_database() ORDER BY 1"""
    ).fetchall()
    for gid, owner, since in rows:
        found.open.append(f"prepared transaction {gid!r} of {owner} (since {since}) can still be committed")
        quoted = gid.replace("'", "''")
        found.sql.append(f"ROLLBACK PREPARED '{quoted}';   -- or COMMIT PREPARED, then run cutover fence again")


def _jobs(connection: Connection, url: str, found: Suspects) -> None:
    row = connection.execute(
        """SELECT current_setting('cron.database_name', true), current_database(),
                  to_regclass('cron.job') IS NOT NULL"""
    ).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    where, here, present = row
    try:
        if present:
            rows = _job_rows(connection, here)
        elif where and where != here:
            with psycopg.connect(make_conninfo(url, dbname=where, connect_timeout=10), autocommit=True) as other:
                known = other.execute("SELECT to_regclass('cron.job') IS NOT NULL").fetchone()
                rows = _job_rows(other, here) if known == (True,) else []
        else:
            return
    except psycopg.Error as error:
        line = str(error).splitlines()[0]
        found.open.append(f"pg_cron runs in database {where or here}, and its jobs could not be read: {line}")
        return
    for job, role, command, may_connect in rows:
        line = f"pg_cron job {job} of {role}: {' '.join(command.split())[:80]}"
        if may_connect:
            found.open.append(f"{line} still runs")
            found.sql.append(f"SELECT cron.alter_job({job}, active := false);   -- in database {where or here}")
        else:
            found.notes.append(f"{line} can no longer connect")


def _job_rows(connection: Connection, database: str) -> list[tuple[int, str, str, bool]]:
    return connection.execute(
        """SELECT j.jobid, j.username, j.command, coalesce(has_database_privilege(r.oid, %s, 'CONNECT'), true)
           FROM cron.job j LEFT JOIN pg_roles r ON r.rolname = j.username
           WHERE j.active AND j.database = %s ORDER BY 1""",
        (database, database),
    ).fetchall()


def _subscriptions(connection: Connection, found: Suspects) -> None:
    rows = connection.execute(
        """SELECT subname FROM pg_subscription
           WHERE subenabled AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1"""
    ).fetchall()
    for (name,) in rows:
        found.open.append(f"logical subscription {name} still writes what its publisher sends")
        found.sql.append('ALTER SUBSCRIPTION "' + name.replace('"', '""') + '" DISABLE;')


def _replication(connection: Connection, found: Suspects) -> None:
    for name, kind, active in connection.execute(
        """SELECT slot_name, slot_type, active FROM pg_replication_slots
           WHERE slot_type = 'physical' OR database = current_database() ORDER BY 1"""
    ).fetchall():
        state = "in use" if active else "not in use"
        found.notes.append(f"{kind} replication slot {name} ({state}): it reads, and keeps WAL until it is dropped")
    for name, client in connection.execute(
        "SELECT application_name, coalesce(host(client_addr), 'local') FROM pg_stat_replication ORDER BY 1"
    ).fetchall():
        found.notes.append(f"replica {name} at {client} follows: promoting it would make an unfenced old")
