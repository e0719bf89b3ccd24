"""Changes on disk: found while reading, read by the merge, as many as there are."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

from cutover.errors import CutoverError
from cutover.reconcile.model import Change, Key, Row, Side, Table, TableName, Tally

_SCHEMA = """
CREATE TABLE change (number INTEGER PRIMARY KEY, schema TEXT NOT NULL, name TEXT NOT NULL, rows TEXT NOT NULL);
CREATE INDEX change_table ON change (schema, name);
CREATE TABLE new_change (number INTEGER PRIMARY KEY, schema TEXT NOT NULL, name TEXT NOT NULL, rows TEXT NOT NULL);
CREATE INDEX new_change_table ON new_change (schema, name);
CREATE TABLE finished (
    schema TEXT NOT NULL, name TEXT NOT NULL, instants TEXT NOT NULL, summary TEXT NOT NULL,
    PRIMARY KEY (schema, name)
);
"""


_BLOCK_CHARACTERS = 1 << 20


class ChangeKind(StrEnum):
    """What a side did to a key."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class NewChange(NamedTuple):
    """One key whose new row differs from base; for keyless tables the key is the whole row."""

    key: Key | Row
    kind: ChangeKind
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDiff:
    """What both sides did to one table.

    Attributes:
        strategy: how it was read; ``reason``: why so.
        rows: rows read per side (0 where the side lacks the table).
        base_known: False when nothing is known of the table in base: then ``old`` and ``new`` hold differences
            between the two sides only, and every change says ``base_known=False``.
        base_from: ``"rows"`` (URL or dump), ``"watermark"``, ``"inferred"`` or ``"none"``.
        notes: what a person should know about the reading of this table.
    """

    table: Table
    strategy: str
    reason: str
    rows: dict[Side, int]
    old: Tally
    new: Tally
    base_known: bool
    base_from: str
    notes: tuple[str, ...]
    seconds: float
    store: ChangeStore = field(repr=False, compare=False)

    @property
    def changes(self) -> Iterator[Change]:
        """Old's changes, in the order in which they were found; each call starts anew."""
        return self.store.changes(self.table.name)

    @property
    def new_changes(self) -> Iterator[NewChange]:
        """The keys that new inserted, updated or deleted since base; each call starts anew."""
        return self.store.new_changes(self.table.name)


class ChangeStore:
    """An SQLite file (0600) in the bundle's folder.

    Args:
        path: made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        fresh = not path.exists()
        if fresh:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        with self._explained():
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            if fresh:
                self._connection.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; one file is left, without a journal beside it."""
        with self._explained():
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise CutoverError(
                f"{self.path}: {error}",
                "the bundle's disk may be full: free space or choose another folder; nothing was decided",
                exit_code=4,
            ) from None

    @contextmanager
    def table(self, name: TableName) -> Iterator[None]:
        """Forget what was known of a table, then take its changes in one transaction: all or none."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for each in ("change", "new_change", "finished"):
                    self._connection.execute(
                        f"DELETE FROM {each} WHERE schema = ? AND name = ?",  # noqa: S608 (three literals)
                        name,
                    )
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything (a snapshot was lost: all tables must be read again)."""
        with self._explained():
            self._connection.executescript("DELETE FROM change; DELETE FROM new_change; DELETE FROM finished;")

    def add(self, name: TableName, changes: Sequence[Change]) -> None:
        """Write changes of old, many to a row of the file."""
        with self._explained():
            self._connection.executemany(
                "INSERT INTO change (schema, name, rows) VALUES (?, ?, ?)",
                ((*name, json.dumps(block)) for block in _blocks(changes)),
            )

    def add_new(self, name: TableName, changes: Sequence[NewChange]) -> None:
        """Write keys that new changed."""
        if not changes:
            return
        with self._explained():
            self._connection.execute(
                "INSERT INTO new_change (schema, name, rows) VALUES (?, ?, ?)", (*name, json.dumps(changes))
            )

    def finish(self, name: TableName, instants: str, summary: str) -> None:
        """Mark a table as wholly read at ``instants`` (see ``planner``), inside :meth:`table`."""
        with self._explained():
            self._connection.execute("INSERT INTO finished VALUES (?, ?, ?, ?)", (*name, instants, summary))

    def finished(self, name: TableName, instants: str) -> str | None:
        """Return the summary of a table that was read at exactly these instants."""
        with self._explained():
            row = self._connection.execute(
                "SELECT summary FROM finished WHERE schema = ? AND name = ? AND instants = ?", (*name, instants)
            ).fetchone()
        return None if row is None else str(row[0])

    def changes(self, name: TableName) -> Iterator[Change]:
        """Yield old's changes of a table."""
        for block in self._blocks("SELECT rows FROM change WHERE schema = ? AND name = ? ORDER BY number", name):
            for key, base, old, new, base_known, count, new_count in block:
                yield Change(
                    table=name,
                    key=tuple(key),
                    base=_row(base),
                    old=_row(old),
                    new=_row(new),
                    base_known=base_known,
                    count=count,
                    new_count=new_count,
                )

    def new_changes(self, name: TableName) -> Iterator[NewChange]:
        """Yield the keys that new changed."""
        for block in self._blocks("SELECT rows FROM new_change WHERE schema = ? AND name = ? ORDER BY number", name):
            for key, kind, copies in block:
                yield NewChange(tuple(key), ChangeKind(kind), copies)

    def _blocks(self, query: str, name: TableName) -> Iterator[list[Any]]:
        for (text,) in self._connection.execute(query, name):
            yield json.loads(text)


def _blocks(changes: Sequence[Change]) -> Iterator[list[tuple[Any, ...]]]:
    """Group changes; a group is small in bytes too, because values of many megabytes are values as well."""
    block: list[tuple[Any, ...]] = []
    size = 0
    for each in changes:
        block.append((each.key, each.base, each.old, each.new, each.base_known, each.count, each.new_count))
        size += sum(sum(map(len, filter(None, row))) for row in (each.base, each.old, each.new) if row)
        if size > _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _row(cells: list[str | None] | None) -> Row | None:
    return None if cells is None else tuple(cells)
