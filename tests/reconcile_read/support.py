"""Three databases in one call, the reading done, and a slow diff that is obviously right."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql as pgsql

from cutover.reconcile.diff.planner import open_sources, read_changes
from cutover.reconcile.diff.spill import ChangeStore, TableDiff
from cutover.reconcile.model import PINNED_SETTINGS, Change, Row, Schema, Table, TableName
from cutover.reconcile.options import Options
from cutover.reconcile.source.sides import Sources
from cutover.reconcile.source.watermark import Watermarks
from tests.world.postgres import Postgres

HASHES = "packed row hashes"
WHOLE = "whole rows"


@dataclass
class Sides:
    """URLs of base, old and new."""

    base: str
    old: str
    new: str


class Copies:
    """Makes base, and old and new as copies of it, then lets each go its own way."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._made: list[str] = []
        self._number = 0

    def __call__(self, schema: str, base: str = "", old: str = "", new: str = "", *, options: str = "") -> Sides:
        self._number += 1
        names = [f"copy_{id(self)}_{self._number}_{side}" for side in ("base", "old", "new")]
        url = self._server.create_database(names[0], sql=schema + base, options=options)
        urls = [url]
        self._made.append(names[0])
        for name, sql in zip(names[1:], (old, new), strict=True):
            urls.append(self._server.create_database(name, sql=sql, template=names[0]))
            self._made.append(name)
        return Sides(*urls)

    def close(self) -> None:
        for name in self._made:
            self._server.drop_database(name)


@dataclass
class Read:
    """What was read."""

    schema: Schema
    diffs: dict[TableName, TableDiff]
    sources: Sources
    store: ChangeStore

    def of(self, name: str) -> TableDiff:
        """The diff of a table of schema public (or ``schema.name``)."""
        schema, _, table = name.rpartition(".")
        return self.diffs[TableName(schema or "public", table)]

    def changes(self, name: str) -> list[Change]:
        """Old's changes of a table, by key."""
        return sorted(self.of(name).changes, key=lambda change: repr(change.key))


@contextmanager
def reading(
    old: str,
    new: str,
    base: str | None,
    folder: Path,
    *,
    options: Options | None = None,
    strategy: str | None = None,
    jobs: int = 1,
    watermarks: Watermarks | None = None,
    prove: bool = False,
    before: Callable[[Sources], None] | None = None,
) -> Iterator[Read]:
    """Read everything; the sources stay open within the block."""
    with (
        open_sources(old, new, base, options or Options(), folder=folder, watermarks=watermarks) as sources,
        ChangeStore(folder / f"changes-{len(list(folder.iterdir()))}.sqlite") as store,
    ):
        if before:
            before(sources)
        schema, diffs = read_changes(sources, store, folder=folder, jobs=jobs, strategy=strategy, prove=prove)
        yield Read(schema, {diff.table.name: diff for diff in diffs}, sources, store)


def rows_of(url: str, table: Table) -> list[Row]:
    """Every row as the server's text, in the table's column order, without any of the code under test."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in PINNED_SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", [name, value])
        there = {
            row[0]
            for row in connection.execute(
                "select attname::text from pg_attribute where attrelid = %s::regclass and attnum > 0"
                " and not attisdropped",
                [pgsql.Identifier(*table.name).as_string(connection)],
            ).fetchall()
        }
        names = [column.name for column in table.columns]
        select = pgsql.SQL(", ").join(pgsql.Identifier(name) for name in names if name in there)
        # Through the root and without ONLY where it is partitioned, ONLY elsewhere (children are tables).
        only = "" if table.partitioned else "only "
        query = pgsql.SQL("copy (select {} from {}{}) to stdout").format(
            select, pgsql.SQL(only), pgsql.Identifier(*table.name)
        )
        found = []
        with connection.cursor().copy(query) as copy:
            for values in copy.rows():
                by_name = dict(zip([name for name in names if name in there], values, strict=True))
                found.append(tuple(_text(by_name.get(name)) for name in names))
        return found


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def expected(sides: Sides, table: Table) -> tuple[Counter[Any], Counter[Any]]:
    """The changes of old and of new, computed the slow way: (kind, key, base, old, new) and (kind, key)."""
    base, old, new = (rows_of(url, table) for url in (sides.base, sides.old, sides.new))
    names = list(table.column_names)
    key = [names.index(each) for each in table.key]
    derived = {names.index(column.name) for column in table.columns if column.generated}

    def seen(row: Row | None) -> Row | None:
        return None if row is None else tuple(v for i, v in enumerate(row) if i not in derived)

    def by_key(rows: list[Row]) -> dict[Any, Row]:
        found = {tuple(row[each] for each in key): row for row in rows}
        assert len(found) == len(rows)
        return found

    b, o, n = by_key(base), by_key(old), by_key(new)
    mine: Counter[Any] = Counter()
    theirs: Counter[Any] = Counter()
    for each in {*b, *o, *n}:
        rows = (b.get(each), o.get(each), n.get(each))
        if seen(rows[0]) != seen(rows[1]):
            mine[(each, *rows)] += 1
        if seen(rows[0]) != seen(rows[2]):
            kind = "insert" if rows[0] is None else "delete" if rows[2] is None else "update"
            theirs[(kind, each)] += 1
    return mine, theirs


def check(read: Read, sides: Sides, *names: str) -> None:
    """Compare what was read with the slow diff, row by row, and the tallies with both."""
    for name, diff in read.diffs.items():
        if names and name.name not in names:
            continue
        mine, theirs = expected(sides, diff.table)
        found = list(diff.changes)
        assert Counter((c.key, c.base, c.old, c.new) for c in found) == mine, name
        assert all(change.base_known for change in found)
        assert Counter((str(c.kind), tuple(c.key)) for c in diff.new_changes) == theirs, name
        assert diff.old.total == sum(mine.values()), name
        assert diff.new.total == sum(theirs.values()), name
        assert sum(1 for c in found if c.base is None) == diff.old.insert
        assert sum(1 for c in found if c.old is None) == diff.old.delete


def run(*command: str) -> None:
    """Run a client program."""
    subprocess.run(command, check=True, capture_output=True)
