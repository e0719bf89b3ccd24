"""Rows of a live side by value, within its snapshot, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import psycopg
from psycopg import errors, sql

from cutover.errors import CutoverError
from cutover.reconcile.model import Ask, Constraint, Row, Schema, Side, Table, TableName, Unique
from cutover.reconcile.source.catalogue import Catalogue, RawColumn, RawTable, read_catalogue
from cutover.reconcile.source.session import Database, text_rows
from cutover.reconcile.source.sides import Sources, UrlBase

_BATCH = 2000


class LiveLookup:
    """:class:`cutover.reconcile.model.Lookup` on the sources' snapshots.

    Values are compared as the column's own type does (``=``; NULL with ``IS NOT DISTINCT FROM``): the server
    answers with every row that would count as equal there.
    """

    def __init__(self, sources: Sources, schema: Schema) -> None:
        self._sources = sources
        self._schema = schema
        self._elsewhere: dict[tuple[Side, str], Catalogue | None] = {}

    def _side(self, side: Side) -> Database | None:
        if side is Side.OLD:
            return self._sources.old
        if side is Side.NEW:
            return self._sources.new
        return self._sources.base.database if isinstance(self._sources.base, UrlBase) else None

    def _raw(self, side: Side, database: Database | None, name: TableName) -> RawTable | None:
        """Return a table as the side has it; one of a schema that the plan does not name is read when asked for."""
        raw = self._sources.raw(side, name)
        if raw is not None or database is None or name in self._schema.tables:
            return raw
        if (side, name.schema) not in self._elsewhere:
            try:
                self._elsewhere[side, name.schema] = read_catalogue(database, [name.schema])
            except CutoverError:
                self._elsewhere[side, name.schema] = None  # not to be seen: nothing is known of its rows
        catalogue = self._elsewhere[side, name.schema]
        found = catalogue.tables.get(name) if catalogue is not None else None
        return found if found is not None and found.readable and not found.filtered else None

    def rows(self, side: Side, ask: Ask) -> Sequence[Row]:
        """Return the whole rows of ``side`` that match; an absent table or column gives none.

        Of a table that is left out of the comparison, the side's own columns in their order.
        """
        database = self._side(side)
        raw = self._raw(side, database, ask.table)
        table = self._schema.tables.get(ask.table)
        if database is None or raw is None or not ask.values:
            return []
        columns = [raw.column(name) for name in ask.columns]
        if any(column is None for column in columns):
            return []
        select = _select(raw if table is None else table, raw, "t")
        names = [sql.Identifier(f"v{number}") for number in range(len(ask.columns))]
        casts = sql.SQL(", ").join(
            sql.SQL("CAST({} AS {}) AS {}").format(name, sql.SQL("text" if ask.json_path else column.type), name)
            for name, column in zip(names, columns, strict=True)
            if column is not None
        )
        nullable = any(value is None for each in ask.values for value in each)
        on = sql.SQL(" AND ").join(
            _equal(column, sql.Identifier("t", column.name), sql.Identifier("v", f"v{number}"), nullable=nullable)
            for number, column in enumerate(columns)
            if column is not None
        )
        if ask.json_path:
            on = sql.SQL("{} #>> {}::text[] = v.v0").format(
                sql.Identifier("t", ask.columns[0]), sql.Literal(list(ask.json_path))
            )

        def query(part: Sequence[tuple[str | None, ...]]) -> sql.Composed:
            # Values stand in the text as literals: a percent sign in a column's name would be a placeholder.
            arrays = sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Literal([value[number] for value in part]))
                for number in range(len(ask.columns))
            )
            return sql.SQL(
                "SELECT {select} FROM (SELECT DISTINCT {casts} FROM unnest({arrays}) AS u({names})) AS v"
                " JOIN {table} AS t ON {on}"
            ).format(
                select=select,
                casts=casts,
                arrays=arrays,
                names=sql.SQL(", ").join(names),
                table=_from(raw),
                on=on,
            )

        found: dict[Row, None] = {}
        waiting = [ask.values[start : start + _BATCH] for start in range(0, len(ask.values), _BATCH)]
        careful = False
        while waiting:
            part = waiting.pop(0)
            rows = _answer(database, query(part), careful=careful)
            if rows is not None:
                found.update(dict.fromkeys(rows))
                continue
            careful = True
            if len(part) > 1:
                waiting[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
        return list(found)

    def violations(self, side: Side, table: Table, unique: Unique | Constraint, row: Row) -> Sequence[Row]:
        """Return rows of ``side`` that ``row`` would collide with under a unique or exclusion constraint.

        The server compares: the index's own expressions, predicate, operators and collations are applied to
        ``row`` as a record of the table's type.
        """
        database = self._side(side)
        raw = self._sources.raw(side, table.name)
        if database is None or raw is None:
            return []
        parts = database.dicts(_INDEX_PARTS, {"table": raw.oid, "name": unique.name})
        if not parts:
            return []
        values = dict(zip(table.column_names, row, strict=True))
        present = list(raw.columns)
        record = sql.SQL("(SELECT {}) AS n").format(
            sql.SQL(", ").join(
                sql.SQL("CAST({} AS {}) AS {}").format(
                    sql.Literal(values.get(column.name)), sql.SQL(column.type), sql.Identifier(column.name)
                )
                for column in present
            )
        )
        first = parts[0]
        conditions = [
            sql.SQL("(t.e{0} OPERATOR({1}) n.e{0}{2})").format(
                sql.SQL(str(number)),
                sql.SQL(part["operator"]),
                sql.SQL(f" OR t.e{number} IS NULL AND n.e{number} IS NULL" if part["nulls_not_distinct"] else ""),
            )
            for number, part in enumerate(parts)
        ]
        expressions = sql.SQL(", ").join(
            sql.SQL("({}) AS e{}").format(sql.SQL(part["expression"]), sql.SQL(str(number)))
            for number, part in enumerate(parts)
        )
        where = sql.SQL(first["predicate"] or "true")
        query = sql.SQL(
            "SELECT {select} FROM (SELECT *, {expressions} FROM {table} WHERE {where}) AS t,"
            " (SELECT {expressions} FROM {record} WHERE {where}) AS n WHERE {on}"
        ).format(
            select=_select(table, raw, "t"),
            expressions=expressions,
            table=_from(raw),
            where=where,
            record=record,
            on=sql.SQL(" AND ").join(conditions),
        )
        return _answer(database, query) or []

    def refused(self, table: Table, check: Constraint, rows: Sequence[Row]) -> Sequence[int]:
        """Return the places of those of ``rows`` that a CHECK of new refuses; none where that cannot be told.

        New's server evaluates the constraint's own expression over the columns that it names.
        """
        database, raw = self._sources.new, self._sources.raw(Side.NEW, table.name)
        columns = [] if raw is None else [column for column in raw.columns if column.name in check.columns]
        if raw is None or not rows or len(columns) != len(check.columns):
            return []
        stored = database.dicts(_CHECK, {"table": raw.oid, "name": check.name})
        if not stored:
            return []
        numbers = range(len(columns))
        casts = sql.SQL(", ").join(
            sql.SQL("CAST({} AS {}) AS {}").format(
                sql.Identifier("u", f"v{number}"), sql.SQL(column.type), sql.Identifier(column.name)
            )
            for number, column in zip(numbers, columns, strict=True)
        )

        def query(part: Sequence[int]) -> sql.Composed:
            arrays = sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Literal([rows[place][table.places[column.name]] for place in part]))
                for column in columns
            )
            # The expression's own names are looked up in the innermost query first: only the table's columns are there.
            return sql.SQL(
                "SELECT u.place FROM unnest({places}::int[], {arrays}) AS u(place, {names})"
                " WHERE NOT (SELECT {expression} FROM (SELECT {casts}) AS {table})"
            ).format(
                places=sql.Literal(list(part)),
                arrays=arrays,
                names=sql.SQL(", ").join(sql.Identifier(f"v{number}") for number in numbers),
                casts=casts,
                table=sql.Identifier(table.name.name),
                expression=sql.SQL(stored[0]["expression"]),
            )

        found: list[int] = []
        waiting: list[Sequence[int]] = [range(len(rows))]
        while waiting:
            part = waiting.pop()
            places = _places(database, query(part))
            if places is not None:
                found += places
            elif len(part) > 1:
                waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
        return sorted(found)


def _places(database: Database, query: sql.Composed) -> list[int] | None:
    """Return what a query counts, ``None`` where it fails for some of its rows, nothing where it fails for all.

    An expression may call what this role may not call, or what finds nothing under the pinned settings.
    """
    with database.worker() as connection:
        try:
            with connection.transaction():
                return [int(row[0] or 0) for row in text_rows(connection.execute(query))]
        except (errors.DataError, errors.IntegrityError, errors.RaiseException):
            return None
        except (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError):
            return []


class _RefusedError(Exception):
    """The server does not take a value."""


def _answer(database: Database, query: sql.Composed, *, careful: bool = False) -> list[Row] | None:
    """Ask; ``None`` where a value cannot stand in its column there at all, so that no row has it.

    Another encoding, an enum without that label, a smaller integer, a domain with another check. The session's
    transaction is lost by it, unless it is asked carefully (one more round trip each way).
    """
    try:
        with database.worker() as connection:
            try:
                with connection.transaction() if careful else nullcontext():
                    return text_rows(connection.execute(query))
            except (errors.DataError, errors.IntegrityError):
                if careful:
                    return None
                raise _RefusedError from None
    except _RefusedError:
        return None


_CHECK = """
SELECT pg_get_expr(conbin, conrelid) AS expression
  FROM pg_constraint
 WHERE conrelid = %(table)s::oid AND conname = %(name)s AND contype = 'c'
   AND coalesce((to_jsonb(pg_constraint) ->> 'conenforced')::bool, true)
"""

_NO_EQUALITY = frozenset({"json", "xml", "point", "polygon", "box", "lseg", "path", "line", "circle", "jsonpath"})


def _equal(column: RawColumn, left: sql.Composable, right: sql.Composable, *, nullable: bool) -> sql.Composable:
    """Return the type's own equality; extension types have their operators beside them, not in pg_catalog."""
    schema = column.base_type.rpartition(".")[0]
    if column.base_type in _NO_EQUALITY:
        plain = sql.SQL("{}::text = {}::text").format(left, right)
    elif schema and column.type_class == "b":
        operator = sql.SQL("OPERATOR({}.=)").format(sql.Identifier(schema))
        plain = sql.SQL("{} {} {}").format(left, operator, right)
    else:
        plain = sql.SQL("{} = {}").format(left, right)
    if not nullable:
        return plain
    return sql.SQL("({} OR {} IS NULL AND {} IS NULL)").format(plain, left, right)


_INDEX_PARTS = """
SELECT pg_get_indexdef(i.indexrelid, k.n::int, true) AS expression,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) AS nulls_not_distinct,
       CASE WHEN x.conexclop IS NOT NULL
            THEN (SELECT quote_ident(n.nspname) || '.' || o.oprname
                    FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
                   WHERE o.oid = x.conexclop[k.n])
            ELSE (SELECT quote_ident(n.nspname) || '.' || o.oprname
                    FROM pg_opclass c
                    JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype
                     AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
                    JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
                   WHERE c.oid = i.indclass[k.n - 1])
       END AS operator
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k(n)
  LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid AND x.conexclop IS NOT NULL
 WHERE i.indrelid = %(table)s::oid AND c.relname = %(name)s
 ORDER BY k.n
"""


def _from(raw: RawTable) -> sql.Composable:
    """Name a table without those that inherit from it: no key and no unique of it knows of their rows."""
    return sql.SQL("{}" if raw.relkind == "p" else "ONLY {}").format(sql.Identifier(*raw.name))


def _select(table: Table | RawTable, raw: RawTable, alias: str) -> sql.Composable:
    present: Mapping[str, object] = {column.name: column for column in raw.columns}
    return sql.SQL(", ").join(
        sql.Identifier(alias, column.name) if column.name in present else sql.SQL("NULL") for column in table.columns
    )
