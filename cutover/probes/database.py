"""What both databases say of themselves: write counters, schema, sequences. Read-only sessions.

Counters are ``pg_stat_user_tables``'s tuple counters per table, never the WAL position: managed services write
heartbeats. They are taken per table of ``schemas``, so that ``exclude`` and other schemas stay out, partitions
through their root. The tool's own sessions are read-only and add nothing. A backend reports what it did when its
transaction has ended, at most once a second (PostgreSQL 15 and later; ten seconds while idle), so the latest
writes may be seen one reading later. Of a transaction that is still open, or prepared, only the locks tell: the
tables that it has begun to write to.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cutover.clock import Clock
from cutover.errors import CutoverError
from cutover.folds.database import qualified
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.database import (
    ColumnSeen,
    DefinitionSeen,
    SchemaSeen,
    SequencesSeen,
    SequenceValue,
    TableSeen,
)
from cutover.observations.traffic import DatabaseReading, TableWrites
from cutover.plan import Database, Plan
from cutover.planfile import secret
from cutover.reconcile.model import Side
from cutover.reconcile.source.session import connect, explain

STATEMENT_TIMEOUT = "15s"

_Connection = psycopg.Connection[Any]

_TABLES = """
WITH wanted AS (
    SELECT c.oid, coalesce(CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid END, c.oid) AS root
      FROM pg_class c
     WHERE c.relkind = 'r' AND c.relpersistence <> 't'
)
SELECT n.nspname || '.' || c.relname, s.n_tup_ins, s.n_tup_upd, s.n_tup_del, c.oid::int8, c.relfilenode::int8
  FROM wanted w
  JOIN pg_class c ON c.oid = w.oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class r ON r.oid = w.root
  JOIN pg_namespace m ON m.oid = r.relnamespace
  JOIN pg_stat_user_tables s ON s.relid = c.oid
 WHERE m.nspname = ANY(%(schemas)s)
   AND NOT (m.nspname || '.' || r.relname = ANY(%(exclude)s) OR n.nspname || '.' || c.relname = ANY(%(exclude)s))
 ORDER BY 1
"""

_OPEN = """
SELECT DISTINCT l.relation::int8
  FROM pg_locks l
 WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock')
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_SUBSCRIPTIONS = """
SELECT subname FROM pg_subscription
 WHERE subenabled AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1
"""

_UNWATCHED = """
SELECT s.schemaname
  FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND NOT s.schemaname = ANY(%(schemas)s)
   AND NOT s.schemaname || '.' || s.relname = ANY(%(exclude)s)
   AND s.schemaname NOT LIKE 'pg\\_temp\\_%%'
 GROUP BY 1 HAVING sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del) > 0
 ORDER BY sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del) DESC, 1
 LIMIT 20
"""

_IDENTITY = """
SELECT current_database(), pg_is_in_recovery(),
       (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
       (SELECT stats_reset FROM pg_stat_archiver),
       has_function_privilege('pg_control_system()', 'EXECUTE'),
       has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
"""

_COLUMNS = """
SELECT c.oid::int8, n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attgenerated::text, a.attidentity::text,
       coalesce((SELECT o.collname FROM pg_collation o WHERE o.oid = a.attcollation AND o.collname <> 'default'), ''),
       c.reltuples::int8
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = ANY(%(schemas)s)
   AND NOT n.nspname || '.' || c.relname = ANY(%(exclude)s)
 ORDER BY 2, a.attnum
"""

_CONSTRAINTS = """
SELECT conrelid::int8, conname, pg_get_constraintdef(oid) || CASE WHEN convalidated THEN '' ELSE ' NOT VALID' END
  FROM pg_constraint WHERE conrelid = ANY(%(oids)s::oid[]) AND contype <> 'n' ORDER BY conrelid, conname
"""

_INDEXES = """
SELECT i.indrelid::int8, c.relname, pg_get_indexdef(i.indexrelid), i.indisprimary,
       i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
       AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
                         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                        WHERE k.n <= i.indnkeyatts
                          AND (NOT a.attnotnull
                               OR EXISTS (SELECT FROM pg_constraint v
                                           WHERE v.conrelid = a.attrelid AND v.contype = 'n'
                                             AND NOT v.convalidated AND v.conkey = ARRAY[a.attnum]))
                      ) AS tells_rows_apart
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = ANY(%(oids)s::oid[]) ORDER BY i.indrelid, i.indisprimary DESC, c.relname
"""

_SEQUENCES = """
SELECT s.schemaname || '.' || s.sequencename, s.last_value, s.start_value, s.increment_by,
       CASE WHEN s.increment_by > 0 THEN s.max_value ELSE s.min_value END,
       coalesce((SELECT tn.nspname || '.' || t.relname || '.' || a.attname
                   FROM pg_depend d
                   JOIN pg_class t ON t.oid = d.refobjid
                   JOIN pg_namespace tn ON tn.oid = t.relnamespace
                   JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
                  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                    AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
                  LIMIT 1), ''),
       has_sequence_privilege(c.oid, 'SELECT,USAGE')
  FROM pg_sequences s
  JOIN pg_namespace n ON n.nspname = s.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename
 WHERE s.schemaname = ANY(%(schemas)s)
 ORDER BY 1
"""

_DATABASE = """
SELECT current_setting('server_encoding'), d.datcollate, d.datctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), coalesce(to_jsonb(d) ->> 'datcollversion', '')
  FROM pg_database d WHERE d.datname = current_database()
"""


def observe_databases(plan: Plan, clock: Clock, *, facts: bool = False) -> list[Observation]:
    """Read both databases, side by side. Blocks; run it in a thread.

    Args:
        plan: its ``[database]``; nothing is seen without one.
        clock: tells the time.
        facts: also read schema and sequences (preflight).

    Returns:
        Readings, or a :class:`ProbeFailed` about the side that could not be read.
    """
    database = plan.database
    if database is None:
        return []
    sides = [(side, url) for side, url in (("old", database.old), ("new", database.new)) if url is not None]
    if not sides:
        return []
    with ThreadPoolExecutor(max_workers=len(sides)) as pool:
        readings = [pool.submit(_observe, side, url, database, clock, facts) for side, url in sides]
    return [observation for reading in readings for observation in reading.result()]


def database_url(side: str, url: str) -> str:
    """Return a side's URL with ``env:NAME`` looked up.

    Raises:
        CutoverError: the variable is not set.
    """
    return secret(url, where=f"[database] {side}")


def read_counters(connection: _Connection, side: str, database: Database, clock: Clock) -> DatabaseReading:
    """Read the write counters of one database within whatever session and transaction the caller has.

    Statistics are cached inside a transaction: the caller must not have read them in the same one before.

    Raises:
        psycopg.Error: the server refused.
    """
    asked = clock.now()
    server_time = _row(connection, "SELECT clock_timestamp()")[0]
    answered = clock.now()
    name, in_recovery, stats_reset, cluster_reset, may_identify, may_timeline = _row(connection, _IDENTITY)
    identifier = _row(connection, "SELECT system_identifier::text FROM pg_control_system()")[0] if may_identify else ""
    timeline = _row(connection, "SELECT timeline_id FROM pg_control_checkpoint()")[0] if may_timeline else 0
    wanted = {"schemas": list(database.schemas), "exclude": qualified(database.exclude, database.schemas)}
    rows = connection.execute(_TABLES, wanted).fetchall()
    tables = tuple(TableWrites(*row) for row in rows)
    held = {row[0] for row in connection.execute(_OPEN).fetchall()}
    return DatabaseReading(
        at=asked + (answered - asked) / 2,
        side=side,
        system_identifier=identifier,
        server_version=connection.info.server_version,
        database=name,
        stats_reset=_utc(stats_reset),
        cluster_reset=_utc(cluster_reset),
        timeline=timeline,
        server_time=server_time.astimezone(UTC),
        round_trip=(answered - asked).total_seconds(),
        tables=tables,
        newest=_newest(connection, database),
        in_recovery=in_recovery,
        endpoint=_endpoint(connection),
        subscriptions=tuple(row[0] for row in connection.execute(_SUBSCRIPTIONS).fetchall()),
        unwatched=tuple(row[0] for row in connection.execute(_UNWATCHED, wanted).fetchall()),
        open=tuple(table.table for table in tables if table.relation in held),
    )


def read_sequences(connection: _Connection, side: str, database: Database, clock: Clock) -> SequencesSeen:
    """Read where the sequences of ``schemas`` stand.

    Raises:
        psycopg.Error: the server refused.
    """
    rows = connection.execute(_SEQUENCES, {"schemas": list(database.schemas)}).fetchall()
    return SequencesSeen(at=clock.now(), side=side, sequences=tuple(SequenceValue(*row) for row in rows))


def read_schema(connection: _Connection, side: str, database: Database, clock: Clock) -> SchemaSeen:
    """Read the shape of the tables of ``schemas`` minus ``exclude``.

    Raises:
        psycopg.Error: the server refused.
    """
    schemas = list(database.schemas)
    present = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace").fetchall()}
    wanted = {"schemas": schemas, "exclude": qualified(database.exclude, database.schemas)}
    columns: dict[int, list[ColumnSeen]] = defaultdict(list)
    names: dict[int, tuple[str, int]] = {}
    for oid, table, *column, estimate in connection.execute(_COLUMNS, wanted).fetchall():
        names[oid] = (table, estimate)
        if column[0] is not None:
            columns[oid].append(ColumnSeen(*column))
    oids = {"oids": list(names)}
    constraints: dict[int, list[DefinitionSeen]] = defaultdict(list)
    for oid, name, definition in connection.execute(_CONSTRAINTS, oids).fetchall():
        constraints[oid].append(DefinitionSeen(name, definition))
    indexes: dict[int, list[DefinitionSeen]] = defaultdict(list)
    keys: dict[int, str] = {}
    for oid, name, definition, primary, tells_rows_apart in connection.execute(_INDEXES, oids).fetchall():
        indexes[oid].append(DefinitionSeen(name, definition))
        if tells_rows_apart:
            keys.setdefault(oid, "primary key" if primary else f"unique index {name}")
    encoding, collate, ctype, provider, version = _row(connection, _DATABASE)
    extensions = connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
    return SchemaSeen(
        at=clock.now(),
        side=side,
        server_version=connection.info.server_version,
        encoding=encoding,
        collation=f"{provider} {collate} {ctype}{f' {version}' if version else ''}",
        extensions=tuple((name, release) for name, release in extensions),
        tables=tuple(
            TableSeen(
                table,
                tuple(columns[oid]),
                tuple(constraints[oid]),
                tuple(indexes[oid]),
                keys.get(oid, ""),
                estimate,
            )
            for oid, (table, estimate) in names.items()
        ),
        missing_schemas=tuple(schema for schema in schemas if schema not in present),
    )


def _observe(side: str, url: str, database: Database, clock: Clock, facts: bool) -> list[Observation]:
    readers: list[Callable[[_Connection, str, Database, Clock], Observation]] = [read_counters]
    if facts:
        readers += [read_schema, read_sequences]
    seen: list[Observation] = []
    try:
        target = database_url(side, url)
        with connect(Side(side), target, statement_timeout=STATEMENT_TIMEOUT) as connection:
            for read in readers:
                try:
                    seen.append(read(connection, side, database, clock))
                except psycopg.Error as error:
                    raise explain(Side(side), target, error) from None
    except CutoverError as error:
        seen.append(ProbeFailed(at=clock.now(), probe="database", about=side, error=_failure(error)))
    return seen


def _failure(error: CutoverError) -> str:
    return re.sub(r"^(old|new): ", "", error.message) + (f" ({error.hint})" if error.hint else "")


def _newest(connection: _Connection, database: Database) -> tuple[tuple[str, str], ...]:
    """Return the newest value of each column of ``[database] newest``; "" for an empty table.

    A column that cannot be read, or takes too long, is told so in its place: the counters still count.
    """
    found: list[tuple[str, str]] = []
    for table, column in sorted(database.newest.items()):
        schema, _, name = qualified([table], database.schemas)[0].partition(".")
        query = sql.SQL("SELECT max({})::text FROM {}").format(sql.Identifier(column), sql.Identifier(schema, name))
        try:
            with connection.transaction():
                value = connection.execute(query).fetchone()
            found.append((f"{schema}.{name}.{column}", (value[0] if value else None) or ""))
        except psycopg.Error as error:
            found.append((f"{schema}.{name}.{column}", f"unknown: {str(error).splitlines()[0][:120]}"))
    return tuple(found)


def _endpoint(connection: _Connection) -> str:
    return hashlib.sha256(f"{connection.info.host} {connection.info.port}".encode()).hexdigest()[:16]


def _row(connection: _Connection, query: LiteralString) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - these queries always give one row
    return tuple(row)


def _utc(instant: datetime | None) -> datetime | None:
    return instant.astimezone(UTC) if instant is not None else None
