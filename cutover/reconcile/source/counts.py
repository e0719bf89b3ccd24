"""What a database's own row counters say of its tables since a watermark: upper bounds, for doubts only.

They count what was rolled back as well, they do not count TRUNCATE or a dropped partition, and a session that idles
tells its counts late.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta

from psycopg import sql

from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.session import Database
from cutover.reconcile.source.watermark import Watermark

TOLD_WITHIN = 11.0
"""Seconds: a session that idles tells its counts within 10 s (PGSTAT_IDLE_INTERVAL of PostgreSQL's ``pgstat.c``)."""

INSERTED, UPDATED, DELETED = 0, 1, 2
"""Places in a watermark's counters."""

_COLUMNS = {INSERTED: "n_tup_ins", UPDATED: "n_tup_upd", DELETED: "n_tup_del"}
_GONE_KEYS = "n_tup_del + n_tup_upd - n_tup_hot_upd"
"""A changed key is an update of an indexed column, which cannot be HOT."""


def gone_keys(database: Database, raw: RawTable, mark: Watermark) -> int | None:
    """Return how many keys at most went away since the table was made; None where the counters do not go back."""
    return _counted(database, raw, _GONE_KEYS, mark)


def since(database: Database, raw: RawTable, what: int, mark: Watermark, *, leaves: Collection[str]) -> int | None:
    """Return how many rows of a table were written in one way since the watermark.

    Args:
        database: holds the table.
        raw: as it is now.
        what: :data:`INSERTED`, :data:`UPDATED` or :data:`DELETED`.
        mark: the watermark.
        leaves: names of the leaves that the other side has: one that is gone here took its counters along.

    Returns:
        None where the counters cannot tell: they were reset, a leaf was dropped, or a leaf's entry in the catalogue is
        newer than the watermark, as after a TRUNCATE.
    """
    now = _counted(database, raw, _COLUMNS[what], mark)
    before = sum(mark.counters[leaf.name][what] for leaf in raw.leaves if leaf.name in mark.counters)
    known = {leaf.name.name for leaf in raw.leaves}
    if now is None or now < before or not set(leaves) <= known or _made_anew(database, raw, mark):
        return None
    return now - before


def _counted(database: Database, raw: RawTable, what: str, mark: Watermark) -> int | None:
    """Return what the counters of a table's leaves say now; None where they do not go back to the watermark.

    They do not where they are off, or were lost with a reset or, perhaps, with a restart after a crash.
    """
    database.rows(sql.SQL("SELECT pg_stat_clear_snapshot()"))
    rows = database.rows(
        sql.SQL(
            "SELECT CASE WHEN current_setting('track_counts')::bool AND pg_postmaster_start_time() < {taken}"
            " AND coalesce(stats_reset < {taken}, true) THEN (SELECT coalesce(sum({what}), 0) FROM pg_stat_all_tables"
            " WHERE relid::int8 = ANY ({leaves}::int8[])) END FROM pg_stat_database WHERE datname = current_database()"
        ).format(taken=sql.Literal(mark.taken_at), what=sql.SQL(what), leaves=_oids(raw))
    )
    return int(rows[0][0]) if rows and rows[0][0] is not None else None


def _made_anew(database: Database, raw: RawTable, mark: Watermark) -> bool:
    """Tell whether a leaf's own entry was written since: by TRUNCATE and ALTER TABLE, not by VACUUM or ANALYZE."""
    rows = database.rows(
        sql.SQL("SELECT FROM pg_class WHERE oid::int8 = ANY ({}::int8[]) AND NOT age(xmin) > age({})").format(
            _oids(raw), sql.SQL(f"'{mark.snapshot_xmin % 2**32}'::xid")
        )
    )
    return bool(rows)


def _oids(raw: RawTable) -> sql.Literal:
    return sql.Literal([leaf.oid for leaf in raw.leaves])


def told(database: Database) -> bool:
    """Wait until sessions that wrote shortly before the snapshot have told their counts, at most TOLD_WITHIN after it.

    A session of which this role sees nothing may be one of them. One that is in a transaction tells nothing before it
    ends.

    Returns:
        Whether all have.
    """
    span = {
        "within": sql.Literal(timedelta(seconds=TOLD_WITHIN)),
        "snapshot": sql.Literal(database.info.taken_at),
        "others": sql.SQL(
            "datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend'"
            " AND coalesce(application_name, '') NOT LIKE 'cutover%'"
        ),
    }
    late = sql.SQL(
        "SELECT FROM pg_stat_activity WHERE {others} AND coalesce(state_change > clock_timestamp() - {within}, true)"
        " AND clock_timestamp() < {snapshot} + {within}"
    ).format(**span)
    while database.rows(late):
        time.sleep(0.5)
    busy = sql.SQL(
        "SELECT FROM pg_stat_activity WHERE {others} AND (state IS NULL OR xact_start < {snapshot} + {within})"
    ).format(**span)
    return not database.rows(busy)
