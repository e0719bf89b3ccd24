"""What a database's own row counters say of its tables since a watermark: upper bounds, for doubts only.

They count what was rolled back as well, and a session that idles tells its counts late.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from psycopg import sql

from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.session import Database
from cutover.reconcile.source.watermark import Watermark

TOLD_WITHIN = 11.0
"""Seconds: a session that idles tells its counts within 10 s (PGSTAT_IDLE_INTERVAL of PostgreSQL's ``pgstat.c``)."""

DELETED = "n_tup_del"
UPDATED = "n_tup_upd"
GONE_KEYS = "n_tup_del + n_tup_upd - n_tup_hot_upd"
"""A changed key is an update of an indexed column, which cannot be HOT."""


def counted(database: Database, raw: RawTable, what: str, mark: Watermark) -> int | None:
    """Return what the counters of a table's leaves say now; None where they do not go back to the watermark.

    They do not where they are off, or were lost with a reset or, perhaps, with a restart after a crash.
    """
    database.rows(sql.SQL("SELECT pg_stat_clear_snapshot()"))
    rows = database.rows(
        sql.SQL(
            "SELECT CASE WHEN current_setting('track_counts')::bool AND pg_postmaster_start_time() < {taken}"
            " AND coalesce(stats_reset < {taken}, true) THEN (SELECT coalesce(sum({what}), 0) FROM pg_stat_all_tables"
            " WHERE relid::int8 = ANY ({leaves}::int8[])) END FROM pg_stat_database WHERE datname = current_database()"
        ).format(
            taken=sql.Literal(mark.taken_at),
            what=sql.SQL(what),
            leaves=sql.Literal([leaf.oid for leaf in raw.leaves]),
        )
    )
    return int(rows[0][0]) if rows and rows[0][0] is not None else None


def counted_at(mark: Watermark, raw: RawTable, place: int) -> int:
    """Return what they said at the watermark: inserted, updated, deleted at 0, 1, 2; nothing of a later table."""
    return sum(mark.counters[leaf.name][place] for leaf in raw.leaves if leaf.name in mark.counters)


def wait_until_told(databases: Iterable[Database]) -> None:
    """Wait until sessions that wrote shortly before the snapshot have told their counts: until then + TOLD_WITHIN."""
    for database in databases:
        while database.rows(
            sql.SQL(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
                " AND application_name NOT LIKE 'cutover%' AND state_change > clock_timestamp() - {within}"
                " AND clock_timestamp() < {snapshot} + {within}"
            ).format(within=sql.Literal(timedelta(seconds=TOLD_WITHIN)), snapshot=sql.Literal(database.info.taken_at))
        ):
            time.sleep(0.5)
