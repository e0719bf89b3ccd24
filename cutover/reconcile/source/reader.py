"""One table of one side: whole rows, packed row hashes by block range, rows by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.model import Row, Side, Table
from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.session import ConnectionCutError, Database, text_rows

T = TypeVar("T")
Int64s = npt.NDArray[np.int64]

LAST_BLOCK = 0xFFFFFFFE
"""An open end: rows after the measured extent are seen too."""
_FETCH_BYTES = 8 << 20
_AT_ONCE = 1 << 18
_FETCHED = 5000
_RETRIES = 4


class Records(NamedTuple):
    """Rows as numbers, one array per field.

    Attributes:
        key: the integer key, or a hash of the key.
        first: the row's hash as old and base are compared (or a flag, see ``xmin``).
        second: the row's hash as new and base are compared; the same array where the columns are the same.
        position: where the row lies, for :meth:`Reader.fetch`; the key's own array where rows are fetched by key.
    """

    key: Int64s
    first: Int64s
    second: Int64s
    position: Int64s


def no_records() -> Records:
    """Return no rows."""
    none = np.empty(0, np.int64)
    return Records(none, none, none, none)


def joined(parts: Sequence[Records]) -> Records:
    """Put parts of one side together; arrays that were one (see :class:`Records`) stay one."""
    key = np.concatenate([part.key for part in parts])
    first = np.concatenate([part.first for part in parts])
    same = all(part.second is part.first for part in parts)
    keyed = all(part.position is part.key for part in parts)
    return Records(
        key,
        first,
        first if same else np.concatenate([part.second for part in parts]),
        key if keyed else np.concatenate([part.position for part in parts]),
    )


class Chunk(NamedTuple):
    """A part of a table that is scanned at once: blocks ``start`` to ``end`` (exclusive) of leaf ``leaf``."""

    leaf: int
    start: int
    end: int


class Reader(Protocol):
    """What a table looks like to the diff, wherever its rows come from."""

    @property
    def size(self) -> int:
        """Bytes that whole rows would roughly cost."""
        ...

    @property
    def extent(self) -> tuple[int, ...]:
        """Blocks (or bytes) of each leaf."""
        ...

    @property
    def scannable(self) -> bool:
        """Whether chunks and positions mean something."""
        ...

    def all_rows(self) -> Iterator[Row]:
        """Yield every row."""
        ...

    def scan(self, chunk: Chunk) -> Records:
        """Return the rows of one chunk as numbers."""
        ...

    def fetch(self, positions: Int64s, columns: Sequence[int] | None = None) -> dict[int, Row]:
        """Return rows by position; with ``columns`` only those (indexes into ``Table.columns``)."""
        ...


class NoRows:
    """A side that lacks the table."""

    size = 0
    extent: tuple[int, ...] = ()
    scannable = True

    def all_rows(self) -> Iterator[Row]:
        """Yield nothing."""
        return iter(())

    def scan(self, chunk: Chunk) -> Records:
        """Return nothing."""
        return no_records()

    def fetch(self, positions: Int64s, columns: Sequence[int] | None = None) -> dict[int, Row]:
        """Return nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressions:
    """SQL for one side's numbers: int8 expressions over the leaf's own columns.

    Attributes:
        by_key: rows are fetched by their integer key, which has an index, instead of by position.
    """

    key: sql.Composable
    first: sql.Composable
    second: sql.Composable | None = None
    by_key: bool = False


class DatabaseReader:
    """A table in a live database, read within its snapshot.

    Args:
        expressions: what :meth:`scan` computes, the same for every leaf or one for each.
    """

    def __init__(
        self, database: Database, table: Table, raw: RawTable, expressions: Expressions | Sequence[Expressions]
    ) -> None:
        self._database = database
        self._table = table
        self._raw = raw
        every = [expressions] * len(raw.leaves) if isinstance(expressions, Expressions) else list(expressions)
        self._expressions = every
        self._by_key = bool(every) and all(each.by_key for each in every)
        present = {column.name for column in raw.columns}
        self._select = [
            sql.Identifier(column.name) if column.name in present else sql.SQL("NULL") for column in table.columns
        ]
        block = database.info.block_size
        self.extent = tuple(-(-leaf.main // block) for leaf in raw.leaves)
        self.size = sum(leaf.whole for leaf in raw.leaves)

    @property
    def scannable(self) -> bool:
        """Only heaps have row positions."""
        return self._raw.heap

    def _leaf(self, number: int) -> sql.Identifier:
        return sql.Identifier(*self._raw.leaves[number].name)

    def all_rows(self) -> Iterator[Row]:
        """Yield every row of every leaf."""
        for number in range(len(self._raw.leaves)):
            query = sql.SQL("SELECT {} FROM ONLY {}").format(sql.SQL(", ").join(self._select), self._leaf(number))
            with self._database.worker() as connection:
                if self._raw.leaves[number].whole <= _AT_ONCE:
                    yield from text_rows(connection.execute(query))
                    continue
                for rows in _batches(connection, query):
                    yield from rows

    def task(self, chunk: Chunk) -> ScanTask:
        """Return the scan of one block range as a value that any machine could run."""
        expressions = self._expressions[chunk.leaf]
        wanted: list[sql.Composable] = [
            sql.SQL("string_agg(int8send({}), NULL)").format(each)
            for each in (expressions.key, expressions.first, expressions.second)
            if each is not None
        ]
        if not self._by_key:
            wanted.append(sql.SQL("string_agg(tidsend(ctid), NULL)"))
        return ScanTask(
            side=self._database.side,
            url=self._database.url,
            snapshot=self._database.snapshot_id,
            query=self._over(chunk, wanted).as_string(None),
            leaf=chunk.leaf,
            two=expressions.second is not None,
            by_key=self._by_key,
        )

    def _over(self, chunk: Chunk, wanted: Sequence[sql.Composable]) -> sql.Composed:
        return sql.SQL("SELECT {} FROM ONLY {} WHERE ctid >= {} AND ctid < {}").format(
            sql.SQL(", ").join(wanted), self._leaf(chunk.leaf), _tid(chunk.start), _tid(chunk.end)
        )

    def scan(self, chunk: Chunk) -> Records:
        """Hash the rows of one block range on the server; a cut connection is tried again."""
        task = self.task(chunk)
        return self._retrying(lambda connection: run_on(connection, task))

    def fetch(self, positions: Int64s, columns: Sequence[int] | None = None) -> dict[int, Row]:
        """Fetch rows by position: a position is valid because the snapshot keeps its row version."""
        select = self._select if columns is None else [self._select[column] for column in columns]
        found: dict[int, Row] = {}
        for leaf, index in self._by_leaf(positions):
            ordered = np.sort(positions[index])
            for start in range(0, len(ordered), _FETCHED):
                part = ordered[start : start + _FETCHED]
                shown = map(str, part.tolist()) if self._by_key else _tids(part)
                at = dict(zip(shown, part.tolist(), strict=True))
                _, source, condition = self._at(leaf, part)
                place = sql.Identifier(self._table.key[0]) if self._by_key else sql.SQL("ctid")
                query = sql.SQL("SELECT {}, {} {} {}").format(place, sql.SQL(", ").join(select), source, condition)
                for row in self._retrying(partial(_all, query=query)):
                    found[at[row[0] or ""]] = row[1:]
        return found

    def _by_leaf(self, positions: Int64s) -> Iterator[tuple[int, Int64s]]:
        """Yield leaves with the indexes of their positions; rows that are fetched by key have one place."""
        if self._by_key:
            yield 0, np.arange(len(positions))
            return
        leaves = positions >> 48
        for number in np.unique(leaves).tolist():
            yield number, np.flatnonzero(leaves == number)

    def _at(self, leaf: int, positions: Int64s) -> tuple[sql.Composable, sql.Composable, sql.Composable]:
        """Return SQL for rows at some positions: where each lies, as bytes; ``FROM``; ``WHERE``."""
        if not self._by_key:
            some = '{"' + '","'.join(_tids(positions)) + '"}'
            return (
                sql.SQL("tidsend(ctid)"),
                sql.SQL("FROM ONLY {}").format(self._leaf(leaf)),
                sql.SQL("WHERE ctid = ANY({}::tid[])").format(sql.Literal(some)),
            )
        key = sql.Identifier(self._table.key[0])
        # A partitioned table is read through its root; a plain one without its children.
        source = sql.SQL("FROM {}" if self._raw.relkind == "p" else "FROM ONLY {}")
        some = "{" + ",".join(map(str, positions.tolist())) + "}"
        return (
            sql.SQL("int8send({}::int8)").format(key),
            source.format(sql.Identifier(*self._raw.name)),
            sql.SQL("WHERE {} = ANY({}::int8[])").format(key, sql.Literal(some)),
        )

    def _retrying(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        attempt = 0
        while True:
            attempt += 1
            try:
                with self._database.worker() as connection:
                    return work(connection)
            except ConnectionCutError:
                if attempt >= _RETRIES:
                    raise


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTask:
    """One scan as a pure value: everything that another machine needs to run it within the snapshot."""

    side: Side
    url: str
    snapshot: str
    query: str
    leaf: int
    two: bool
    by_key: bool


def run_on(connection: psycopg.Connection[Any], task: ScanTask) -> Records:
    """Run a scan on a connection that has joined the task's snapshot."""
    columns = bytes_of(connection, task.query)
    return unpack(columns, task.leaf, two=task.two, by_key=task.by_key)


def bytes_of(connection: psycopg.Connection[Any], query: str) -> list[bytes]:
    """Return the fields of a query's only row, each a byte string, empty for NULL."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(query.encode())
        result = cursor.pgresult
        width = result.nfields if result else 0
        return [(result.get_value(0, each) if result else None) or b"" for each in range(width)]


def _tids(positions: Int64s) -> list[str]:
    return [f"({position >> 16 & 0xFFFFFFFF},{position & 0xFFFF})" for position in positions.tolist()]


def _tid(block: int) -> sql.SQL:
    return sql.SQL(f"'({min(block, LAST_BLOCK)},0)'::tid")


def _all(connection: psycopg.Connection[Any], query: sql.Composed) -> list[Row]:
    return [row for rows in _batches(connection, query) for row in rows]


def _batches(connection: psycopg.Connection[Any], query: sql.Composed) -> Iterator[list[Row]]:
    """Read a result through a server cursor whose batch adapts to the width of rows: 10 MB values are rows too."""
    declare = sql.SQL("DECLARE cutover_read NO SCROLL CURSOR FOR ") + query
    connection.execute(declare)
    count = 16
    while True:
        cursor = connection.execute(sql.SQL("FETCH {} FROM cutover_read").format(sql.SQL(str(count))))
        rows = text_rows(cursor)
        if rows:
            yield rows
        if len(rows) < count:
            break
        width = max(1, sum(len(value) for row in rows[:64] for value in row if value) // min(64, len(rows)))
        count = max(1, min(count * 8, 20000, _FETCH_BYTES // width))
    connection.execute("CLOSE cutover_read")


_TID = np.dtype([("block", ">u4"), ("offset", ">u2")])


def unpack(columns: Sequence[bytes], leaf: int, *, two: bool, by_key: bool) -> Records:
    """Read what a :class:`ScanTask` returns: one byte string per field, in network order.

    Raises:
        CutoverError: a row lacks a number: a key that the catalogue calls NOT NULL is NULL.
    """
    if len(columns[0]) != len(columns[1]):
        raise CutoverError(
            "a row has no key, although the catalogue says that none is NULL",
            "look for NULL in the columns of the key, or give a match_key that tells rows apart on every side",
        )
    key = np.frombuffer(columns[0], ">i8").astype(np.int64)
    first = np.frombuffer(columns[1], ">i8").astype(np.int64)
    second = np.frombuffer(columns[2], ">i8").astype(np.int64) if two else first
    if by_key:
        return Records(key, first, second, key)
    return Records(key, first, second, positions_of(columns[-1], leaf))


def positions_of(tids: bytes, leaf: int) -> Int64s:
    """Read what ``tidsend`` wrote, row after row, as positions."""
    packed = np.frombuffer(tids, _TID)
    position = packed["block"].astype(np.int64) << 16 | packed["offset"].astype(np.int64)
    return position | np.int64(leaf << 48)
