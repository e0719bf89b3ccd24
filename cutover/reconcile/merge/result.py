"""The rows that the target will hold: new's, with old's changes over them. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cutover.reconcile.merge.asked import Asked, Values
from cutover.reconcile.merge.cells import Cell, Cells, JsonIds
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.references import json_id
from cutover.reconcile.model import ForeignKey, Key, Row, Schema, Side, Table, TableName


class Holding(NamedTuple):
    """A row of the result.

    Attributes:
        writer: the position of the judgement that writes it, ``None`` for a row of new that nobody touches.
        row: its cells.
        key: of new's row, where it is one.
    """

    writer: int | None
    row: Cells | Row
    key: Key


class Result:
    """Answers what the result holds, while conflicts still take writers away.

    Args:
        judged: shared with the caller, who replaces what becomes a conflict; a writer never comes back.
    """

    def __init__(self, schema: Schema, judged: list[Judged], asked: Asked) -> None:
        self._schema = schema
        self._judged = judged
        self._asked = asked
        self._indexes: dict[tuple[TableName, tuple[str, ...]], dict[Cells, list[int]]] = {}
        self._below: dict[ForeignKey, dict[str, list[int]]] = {}
        self._by_table: dict[TableName, list[int]] = {}
        self._by_pre: dict[TableName, dict[Key, int]] = {}
        self._by_origin: dict[tuple[TableName, tuple[str, ...]], dict[Values, list[int]]] = {}
        self._inserted: dict[TableName, list[int]] = {}
        self._by_old_key: dict[TableName, dict[Key, int]] = {}
        for position, each in enumerate(judged):
            if each.writes:
                if each.post is not None:
                    self._by_table.setdefault(each.table.name, []).append(position)
                if each.pre is not None:
                    key = row_key(each.table, each.pre)
                    # the same key is mostly the same object: nothing is held twice
                    key = each.change.key if key == each.change.key else key
                    self._by_pre.setdefault(each.table.name, {})[key] = position
            if each.change.base is None and each.change.old is not None:
                self._inserted.setdefault(each.table.name, []).append(position)
            self._by_old_key.setdefault(each.table.name, {})[each.change.key] = position

    def prefetch(self, table: TableName, columns: tuple[str, ...], values: Iterable[Values]) -> None:
        """Ask for rows of new by value, in one go."""
        self._asked.prefetch(Side.NEW, table, columns, values)

    def origins(self, table: TableName, columns: tuple[str, ...], values: Values) -> list[int]:
        """Return the positions of old's inserted rows that hold ``values`` as old wrote them."""
        asked = (table, columns)
        if asked not in self._by_origin:
            index: dict[Values, list[int]] = {}
            for position in self._inserted.get(table, ()):
                held = pick(self._schema.tables[table], self._judged[position].change.old or (), columns)
                if (plain := plain_values(held)) is not None:
                    index.setdefault(plain, []).append(position)
            self._by_origin[asked] = index
        return self._by_origin[asked].get(values, [])

    def change_of(self, table: TableName, key: Key) -> int | None:
        """Return the position of old's change of a key."""
        return self._by_old_key.get(table, {}).get(key)

    def writer_of(self, table: Table, row: Row) -> int | None:
        """Return the position of the writer that stands on a row of new."""
        return self._by_pre.get(table.name, {}).get(row_key(table, row))

    def written(self, table: TableName, columns: tuple[str, ...], values: Cells) -> Iterator[int]:
        """Yield the positions of writers whose row will hold ``values``."""
        for position in self._index(table, columns).get(values, ()):
            if self._judged[position].writes:
                yield position

    def written_below(self, key: ForeignKey, value: str) -> Iterator[int]:
        """Yield the positions of writers whose row will refer to ``value`` by a place in a JSON document."""
        if key not in self._below:
            index: dict[str, list[int]] = {}
            table = self._schema.tables[key.table]
            for position in self._by_table.get(key.table, ()):
                post = self._judged[position].post
                refers = None if post is None else referred(key, pick(table, post, key.columns))
                if refers is not None:
                    index.setdefault(refers[0], []).append(position)
            self._below[key] = index
        for position in self._below[key].get(value, ()):
            if self._judged[position].writes:
                yield position

    def _index(self, table: TableName, columns: tuple[str, ...]) -> dict[Cells, list[int]]:
        asked = (table, columns)
        if asked not in self._indexes:
            index: dict[Cells, list[int]] = {}
            for position in self._by_table.get(table, ()):
                post = self._judged[position].post
                if post is not None:
                    index.setdefault(pick(self._schema.tables[table], post, columns), []).append(position)
            self._indexes[asked] = index
        return self._indexes[asked]

    def holding(self, table: Table, columns: tuple[str, ...], values: Cells) -> Iterator[Holding]:
        """Yield the rows of the result that hold ``values`` in ``columns``."""
        plain = plain_values(values)
        rows = () if plain is None else self._asked.rows(Side.NEW, table.name, columns, plain)
        return self._held(table, self.written(table.name, columns, values), rows)

    def referring(self, key: ForeignKey, value: str) -> Iterator[Holding]:
        """Yield the rows of the result that refer to ``value`` by a place in a JSON document."""
        rows = self._asked.rows_below(Side.NEW, key, value)
        return self._held(self._schema.tables[key.table], self.written_below(key, value), rows)

    def _held(self, table: Table, writers: Iterable[int], rows: Iterable[Row]) -> Iterator[Holding]:
        for position in writers:
            row = self._judged[position].post or ()
            yield Holding(position, row, self._judged[position].change.key)
        for row in rows:
            writer = self.writer_of(table, row)
            if writer is not None and self._judged[writer].writes:
                # copies of a keyless row go only as often as their writer says
                goes = self._judged[writer]
                if table.key or goes.copies >= goes.change.new_count:
                    continue
            yield Holding(None, row, row_key(table, row))


def row_key(table: Table, row: Row) -> Key:
    """Return a row's key; a keyless row is its own key, its NULLs included."""
    places = table.places
    return tuple(row[places[column]] for column in table.key) if table.key else row  # type: ignore[return-value, misc]


def pick(table: Table, row: Cells | Row, columns: tuple[str, ...]) -> Cells:
    """Return a row's cells in some columns."""
    places = table.places
    return tuple(row[places[column]] for column in columns)


def referred(key: ForeignKey, cells: Cells) -> Values | None:
    """Return what a reference refers to, ``None`` for nothing (a NULL among them) or what is not drawn yet."""
    if not key.json_path:
        return plain_values(cells)
    cell = cells[0]
    if isinstance(cell, JsonIds):
        replaced = dict(cell.ids).get(key.json_path)
        if replaced is not None:
            return (replaced,) if type(replaced) is str else None
        cell = cell.text
    found = json_id(cell, key.json_path) if type(cell) is str else None
    return None if found is None else (found,)


def plain_values(cells: Iterable[Cell]) -> Values | None:
    """Return cells as text, or ``None`` where one is NULL or not known yet."""
    values = tuple(cells)
    plain = tuple(cell for cell in values if type(cell) is str)
    return plain if len(plain) == len(values) else None
