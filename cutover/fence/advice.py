"""Who has the missing rights, by provider: what to print above the SQL. No I/O but one catalogue query."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from cutover.fence.walls import Connection


class Provider(StrEnum):
    """Where a database is run, as far as its roles tell."""

    RDS = "Amazon RDS"
    CLOUD_SQL = "Google Cloud SQL"
    SUPABASE = "Supabase"
    AZURE = "Azure Database for PostgreSQL"
    PLAIN = "PostgreSQL"


_SIGNS = {
    "rds_superuser": Provider.RDS,
    "cloudsqlsuperuser": Provider.CLOUD_SQL,
    "supabase_admin": Provider.SUPABASE,
    "azure_pg_admin": Provider.AZURE,
}


def provider(connection: Connection) -> Provider:
    """Tell the provider by the roles that only it makes."""
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", (list(_SIGNS),)).fetchall()
    return _SIGNS[rows[0][0]] if rows else Provider.PLAIN


def who_runs_it(where: Provider, owner: str) -> list[str]:
    """Return SQL comments that say who must run the statements below, and what that role may lack."""
    match where:
        case Provider.RDS:
            return [
                f"-- {where}: connect as the master user (a member of rds_superuser). It must own the database:",
                f"--   GRANT {owner} TO CURRENT_USER;",
                "-- and end sessions: it is a member of pg_signal_backend already (rds_superuser).",
            ]
        case Provider.CLOUD_SQL:
            return [
                f"-- {where}: connect as postgres (a member of cloudsqlsuperuser). It must own the database:",
                f"--   GRANT {owner} TO CURRENT_USER;  GRANT pg_signal_backend TO CURRENT_USER;",
            ]
        case Provider.SUPABASE:
            return [
                f"-- {where}: in the SQL editor, as postgres. Also stop what enters by other roles: the API (PostgREST",
                "-- connects as authenticator) and Edge Functions; the pooler's sessions end with the statement below.",
            ]
        case Provider.AZURE:
            return [
                f"-- {where}: connect as the server admin (a member of azure_pg_admin). It must own the database:",
                f"--   GRANT {owner} TO CURRENT_USER;  GRANT pg_signal_backend TO CURRENT_USER;",
            ]
        case Provider.PLAIN:
            return [f"-- as {owner} (the database's owner) with pg_signal_backend, or as a superuser:"]
        case _:
            assert_never(where)
