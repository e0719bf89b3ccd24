"""The walls: CONNECT taken away, sessions ended, transactions read-only by default. Reading, raising, restoring.

All walls go up, and come down, in one transaction each: a process that is killed leaves all or nothing.
``default_transaction_read_only`` alone is no wall (``BEGIN READ WRITE`` passes it): it is only the second one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import errors, sql

from cutover.observations.fence import ConnectGrant, FenceBegun, RoleSetting

Connection = psycopg.Connection[Any]

READ_ONLY = "default_transaction_read_only"


_END_ALL = sql.SQL(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    " AND pid <> pg_backend_pid() AND datname = {};"
)


class AppRole(NamedTuple):
    """One of the plan's app roles, as the server knows it."""

    name: str
    exists: bool
    superuser: bool
    may_connect: bool


class ServerSession(NamedTuple):
    """One client session on the database, not our own."""

    pid: int
    role: str
    superuser: bool
    application: str
    address: str
    may_end: bool

    def __str__(self) -> str:
        return f"{self.role} (pid {self.pid}, {self.application or 'no application name'}, from {self.address})"


PROVIDER_ROLES = frozenset(
    {"rdsadmin", "rdsrepladmin", "cloudsqladmin", "cloudsqlagent", "cloudsqlreplica", "supabase_admin", "azuresu"}
)
"""Superusers of managed services: their sessions are the provider's own, never an application's."""


def read_before(connection: Connection, app_roles: Sequence[str], at: datetime) -> FenceBegun:
    """Read all that the fence may change."""
    row = connection.execute(
        """SELECT d.datname, pg_get_userbyid(d.datdba), d.datacl::text,
                  CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
                  THEN (SELECT system_identifier::text FROM pg_control_system()) ELSE '' END
           FROM pg_database d WHERE d.datname = current_database()"""
    ).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    return FenceBegun(
        at=at,
        side="old",
        database=row[0],
        owner=row[1],
        acl=row[2],
        system_identifier=row[3],
        connect=connect_grants(connection),
        settings=read_settings(connection, app_roles),
        app_roles=tuple(app_roles),
    )


def connect_grants(connection: Connection) -> tuple[ConnectGrant, ...]:
    """Return the CONNECT entries of the database's ACL (of the default where it is NULL)."""
    rows = connection.execute(
        """SELECT pg_get_userbyid(a.grantor), CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
                  a.is_grantable
           FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
           WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT' ORDER BY 1, 2"""
    ).fetchall()
    return tuple(ConnectGrant(*row) for row in rows)


def read_settings(connection: Connection, app_roles: Sequence[str]) -> tuple[RoleSetting, ...]:
    """Return the read-only default of everybody and of every app role in this database."""
    rows = connection.execute(
        """SELECT CASE s.setrole WHEN 0 THEN '' ELSE pg_get_userbyid(s.setrole) END, split_part(c, '=', 2)
           FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c
           WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND split_part(c, '=', 1) = %s""",
        (READ_ONLY,),
    ).fetchall()
    found = dict(rows)
    return tuple(RoleSetting(role, found.get(role)) for role in ("", *app_roles))


def read_roles(connection: Connection, app_roles: Sequence[str]) -> tuple[AppRole, ...]:
    """Return what the server knows of the app roles."""
    found: dict[str, tuple[Any, ...]] = {
        row[0]: row
        for row in connection.execute(
            """SELECT rolname, rolsuper, has_database_privilege(oid, current_database(), 'CONNECT')
               FROM pg_roles WHERE rolname = ANY (%s)""",
            (list(app_roles),),
        ).fetchall()
    }
    return tuple(
        AppRole(name, True, found[name][1], found[name][2]) if name in found else AppRole(name, False, False, False)
        for name in app_roles
    )


def sessions(connection: Connection) -> tuple[ServerSession, ...]:
    """Return the client sessions on this database, but for those of this tool under the same role.

    Those of which this role sees only process id and role are among them.
    """
    rows = connection.execute(
        """SELECT a.pid, coalesce(a.usename, ''), coalesce(r.rolsuper, true), coalesce(a.application_name, ''),
                  coalesce(host(a.client_addr), 'local'),
                  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                  OR (NOT coalesce(r.rolsuper, true) AND (pg_has_role(a.usesysid, 'USAGE')
                      OR pg_has_role('pg_signal_backend', 'USAGE')))
           FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
           WHERE a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
             -- Of other roles' sessions a role without pg_read_all_stats sees neither kind nor name: they count.
             AND coalesce(a.backend_type, 'client backend') = 'client backend'
             AND NOT (a.usename = current_user AND coalesce(a.application_name, '') = 'cutover')
           ORDER BY a.pid"""
    ).fetchall()
    return tuple(ServerSession(*row) for row in rows if row[1] not in PROVIDER_ROLES)


def to_revoke(connection: Connection, before: Iterable[ConnectGrant], app_roles: Sequence[str]) -> list[ConnectGrant]:
    """Return the grants by which PUBLIC or an app role (itself or through a group) may connect, dependants first."""
    grants = list(before)
    grantees = [grant.grantee for grant in grants if grant.grantee]
    through = {
        row[0]
        for row in connection.execute(
            """SELECT DISTINCT g FROM unnest(%s::text[]) g CROSS JOIN unnest(%s::text[]) r
               WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = r AND NOT rolsuper)
                 AND pg_has_role(r::name, g::name, 'USAGE')""",
            (grantees, list(app_roles)),
        ).fetchall()
    }
    left = [grant for grant in grants if not grant.grantee or grant.grantee in through]
    ordered: list[ConnectGrant] = []
    while left:
        free = [x for x in left if not any(y.grantor == x.grantee and y is not x for y in left)] or left[:1]
        ordered += free
        left = [x for x in left if x not in free]
    return ordered


def raise_walls(connection: Connection, before: FenceBegun) -> None:
    """Revoke CONNECT and set the read-only default, in the caller's transaction.

    Raises:
        psycopg.Error: a right is missing.
    """
    for grant in to_revoke(connection, connect_grants(connection), before.app_roles):
        _as_grantor(connection, before, grant, _revoke(before.database, grant))
    for setting in read_settings(connection, before.app_roles):
        if setting.value != "on" and (not setting.role or setting.value is not None):
            connection.execute(_set(before.database, setting.role, "on"))
    connection.execute("SET LOCAL client_min_messages = warning")
    for role in before.app_roles:
        # A role's own setting everywhere outranks the database's: only the pair outranks both.
        everywhere = connection.execute(
            """SELECT 1 FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
               WHERE s.setdatabase = 0 AND r.rolname = %s AND s.setconfig::text LIKE %s""",
            (role, f"%{READ_ONLY}=%"),
        ).fetchone()
        if everywhere:
            try:
                with connection.transaction():
                    connection.execute(_set(before.database, role, "on"))
            except errors.InsufficientPrivilege:
                continue


def restore_walls(connection: Connection, before: FenceBegun) -> None:
    """Bring back what was there, in the caller's transaction; what others changed meanwhile stays.

    Raises:
        psycopg.Error: a right is missing.
    """
    for setting in before.settings:
        now = next((x.value for x in read_settings(connection, before.app_roles) if x.role == setting.role), None)
        if now != setting.value:
            connection.execute(_set(before.database, setting.role, setting.value))
    missing = [grant for grant in before.connect if grant not in connect_grants(connection)]
    for grant in sorted(missing, key=lambda x: x.grantor != before.owner):
        _as_grantor(connection, before, grant, _grant(before.database, grant))
    row = connection.execute(
        """SELECT d.datacl::text, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
                  now.acl @> was.acl AND was.acl @> now.acl
           FROM pg_database d
           CROSS JOIN LATERAL (SELECT coalesce(d.datacl, acldefault('d', d.datdba)) AS acl) now
           CROSS JOIN LATERAL (SELECT coalesce(%(acl)s::aclitem[], acldefault('d', d.datdba)) AS acl) was
           WHERE d.datname = current_database()""",
        {"acl": before.acl},
    ).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    if row[0] != before.acl and row[1] and row[2]:
        # The same entries in another order, or the default written out: a superuser can leave it exactly as it was.
        connection.execute(
            "UPDATE pg_database SET datacl = %s::aclitem[] WHERE datname = current_database()", (before.acl,)
        )


def end_sessions(connection: Connection, found: Iterable[ServerSession]) -> int:
    """End sessions; return how many were told to."""
    ended = 0
    for session in found:
        try:
            row = connection.execute("SELECT pg_terminate_backend(%s)", (session.pid,)).fetchone()
        except errors.InsufficientPrivilege:
            continue
        ended += row == (True,)
    return ended


def raise_sql(before: FenceBegun, revoked: Iterable[ConnectGrant]) -> list[str]:
    """Return the walls as SQL, for whoever has the rights."""
    lines = ["BEGIN;"]
    for grant in revoked:
        lines += _spoken(before, grant, _revoke(before.database, grant))
    lines += [
        _text(_set(before.database, "", "on")) + ";",
        "COMMIT;",
        _text(_END_ALL.format(sql.Literal(before.database))),
    ]
    return lines


def restore_sql(before: FenceBegun, missing: Iterable[ConnectGrant]) -> list[str]:
    """Return the release as SQL, for whoever has the rights."""
    lines = ["SET default_transaction_read_only = off;", "BEGIN;"]
    lines += [_text(_set(before.database, x.role, x.value)) + ";" for x in before.settings if not x.role or x.value]
    for grant in sorted(missing, key=lambda x: x.grantor != before.owner):
        lines += _spoken(before, grant, _grant(before.database, grant))
    return [*lines, "COMMIT;"]


def _as_grantor(connection: Connection, before: FenceBegun, grant: ConnectGrant, statement: sql.Composed) -> None:
    if grant.grantor == before.owner:
        connection.execute(statement)
        return
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grant.grantor)))
    connection.execute(statement)
    connection.execute("RESET ROLE")


def _spoken(before: FenceBegun, grant: ConnectGrant, statement: sql.Composed) -> list[str]:
    line = _text(statement) + ";"
    if grant.grantor == before.owner:
        return [line]
    return [f"SET LOCAL ROLE {_text(sql.Identifier(grant.grantor))};", line, "RESET ROLE;"]


def _revoke(database: str, grant: ConnectGrant) -> sql.Composed:
    return sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {}").format(sql.Identifier(database), _grantee(grant))


def _grant(database: str, grant: ConnectGrant) -> sql.Composed:
    text = "GRANT CONNECT ON DATABASE {} TO {}" + (" WITH GRANT OPTION" if grant.grantable else "")
    return sql.SQL(text).format(sql.Identifier(database), _grantee(grant))


def _grantee(grant: ConnectGrant) -> sql.Composable:
    return sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC")


def _set(database: str, role: str, value: str | None) -> sql.Composed:
    name = sql.Identifier(database)
    whom = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), name) if role else None
    head = whom or sql.SQL("ALTER DATABASE {}").format(name)
    if value is None:
        return head + sql.SQL(" RESET default_transaction_read_only")
    return head + sql.SQL(" SET default_transaction_read_only = {}").format(sql.Literal(value))


def _text(statement: sql.Composable) -> str:
    return statement.as_string(None)
