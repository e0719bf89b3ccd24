"""A table of one side as a watermark tells its rows apart: keys alone of base's rows, keys and hashes of newer ones.

Where the ids of both sides are trusted, a row that is base's own on both sides is the same row: it needs no hash.
What is shipped is every key (a delete shows by nothing else) and the hash of each newer row; values are asked
for only where old changed something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from cutover.reconcile.model import Side, Table
from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.reader import (
    Chunk,
    DatabaseReader,
    Expressions,
    Int64s,
    Records,
    ScanTask,
    bytes_of,
    joined,
    positions_of,
)
from cutover.reconcile.source.session import Database

BASE = 0
"""``Records.first`` of a row that is base's own."""
_NEWER_ON_OLD = 2
_PER_QUERY = 20_000


class MarkedReader(DatabaseReader):
    """A :class:`DatabaseReader` whose ``first`` is a mark, equal on both sides only for two rows of base's own.

    It is :data:`BASE`, or on old another even number, or on new the odd number that :meth:`marks` gives for the
    row's values.

    Args:
        expressions: the key, and as ``first`` the hash of what both sides have.
        older: for every leaf, the condition under which a row version is base's own.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        raw: RawTable,
        expressions: Expressions,
        older: Sequence[sql.Composable],
    ) -> None:
        super().__init__(database, table, raw, expressions)
        self._older = list(older)
        self._key = expressions.key
        self._hash = expressions.first

    def task(self, chunk: Chunk) -> ScanTask:
        """Return the scan of one block range: two pairs of fields, base's own rows and the newer ones."""
        older = self._older[chunk.leaf]
        newer = sql.SQL("NOT ({})").format(older)
        key = sql.SQL("int8send({})").format(self._key)
        with_hash = key
        if self._database.side is Side.NEW:
            with_hash = sql.SQL("{} || int8send({})").format(key, self._hash)
        wanted: list[sql.Composable] = [_packed(key, older), _packed(with_hash, newer)]
        if not self._by_key:
            tid = sql.SQL("tidsend(ctid)")
            wanted += [_packed(tid, older), _packed(tid, newer)]
        return replace(super().task(chunk), query=self._over(chunk, wanted).as_string(None))

    def scan(self, chunk: Chunk) -> Records:
        """Read the keys and marks of one block range; a cut connection is tried again."""
        task = self.task(chunk)
        return self._retrying(lambda connection: _run_on(connection, task))

    def marks(self, positions: Int64s) -> Int64s:
        """Return the mark that new gives to rows with the values that these rows have here, in the same order."""
        found = np.empty(len(positions), np.int64)
        for leaf, some in self._by_leaf(positions):
            for start in range(0, len(some), _PER_QUERY):
                index = some[start : start + _PER_QUERY]
                here = positions[index]
                place, source, condition = self._at(leaf, here)
                query = sql.SQL("SELECT string_agg({}, NULL), string_agg(int8send({}), NULL) {} {}").format(
                    place, self._hash, source, condition
                )
                fields = self._retrying(partial(bytes_of, query=query.as_string(None)))
                at = _numbers(fields[0]) if self._by_key else positions_of(fields[0], leaf)
                order = np.argsort(at)
                # Each row is there: it was seen within the same snapshot.
                found[index] = _odd(_numbers(fields[1]))[order[np.searchsorted(at[order], here)]]
        return found


def _run_on(connection: psycopg.Connection[Any], task: ScanTask) -> Records:
    fields = bytes_of(connection, task.query)
    key = _numbers(fields[0])
    if task.side is Side.NEW:
        pairs = _numbers(fields[1]).reshape(-1, 2)
        newer, marks = np.ascontiguousarray(pairs[:, 0]), _odd(pairs[:, 1])
    else:
        newer = _numbers(fields[1])
        marks = np.full(len(newer), _NEWER_ON_OLD, np.int64)
    first = np.full(len(key), BASE, np.int64)
    parts = []
    for number, (keys, firsts) in enumerate(((key, first), (newer, marks))):
        position = keys if task.by_key else positions_of(fields[2 + number], task.leaf)
        parts.append(Records(keys, firsts, firsts, position))
    return joined(parts)


def _packed(what: sql.Composable, condition: sql.Composable) -> sql.Composable:
    return sql.SQL("string_agg({}, NULL) FILTER (WHERE {})").format(what, condition)


def _numbers(field: bytes) -> Int64s:
    return np.frombuffer(field, ">i8").astype(np.int64)


def _odd(hashes: Int64s) -> Int64s:
    return hashes | np.int64(1)
