"""Answers to value questions, asked in batches and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from cutover.reconcile.merge.references import json_id
from cutover.reconcile.model import (
    Ask,
    Change,
    Constraint,
    ForeignKey,
    Key,
    Lookup,
    Row,
    Schema,
    Side,
    Table,
    TableName,
    Unique,
)

if TYPE_CHECKING:
    from cutover.reconcile.merge.cells import Cells

Values = tuple[str, ...]

_BATCH = 2000


class Asked:
    """A :class:`Lookup` with a memory: the merge asks again and again while it looks for a fixpoint.

    A batch's rows are told apart by text. Where equality does not imply equal text (citext, numeric scale) or
    the table is left out of the comparison, a batch that finds something is halved until one value is left.
    """

    def __init__(self, schema: Schema, lookup: Lookup, changes: Iterable[Change]) -> None:
        self._schema = schema
        self._lookup = lookup
        self._changed: dict[TableName, dict[Key, Change]] = {}
        for change in changes:
            self._changed.setdefault(change.table, {})[change.key] = change
        self._known: dict[tuple[Side, TableName, tuple[str, ...]], dict[Values, tuple[Row, ...]]] = {}
        self._below: dict[tuple[Side, TableName, str, tuple[str, ...]], dict[str, tuple[Row, ...]]] = {}
        self._violations: dict[tuple[Side, TableName, str, Row], tuple[Row, ...]] = {}

    def prefetch(self, side: Side, table: TableName, columns: tuple[str, ...], values: Iterable[Values]) -> None:
        """Ask for what is not known yet."""
        known = self._known.setdefault((side, table, columns), {})
        missing = iter(sorted(set(values) - known.keys()))
        if not self._by_text(table, columns):
            while batch := tuple(islice(missing, _BATCH)):
                self._halve(side, Ask(table, columns, batch), known)
            return
        places = [self._schema.tables[table].places[column] for column in columns]
        while batch := tuple(islice(missing, _BATCH)):
            found: dict[Values, list[Row]] = {each: [] for each in batch}
            for row in self._lookup.rows(side, Ask(table, columns, batch)):
                found.setdefault(tuple(row[place] or "" for place in places), []).append(row)
            known.update({each: tuple(found[each]) for each in batch})

    def _halve(self, side: Side, ask: Ask, known: dict[Values, tuple[Row, ...]]) -> None:
        """Ask for many values at once; where something is found, halve them until it is clear which one it was."""
        values = ask.values
        found = tuple(self._lookup.rows(side, ask))
        if not found or len(values) == 1:
            known.update(dict.fromkeys((_plain(each) for each in values), found))
            return
        middle = len(values) // 2
        for part in (values[:middle], values[middle:]):
            self._halve(side, ask._replace(values=part), known)

    def prefetch_below(self, side: Side, key: ForeignKey, values: Iterable[str]) -> None:
        """Ask which rows refer to ``values`` by a place in a JSON document."""
        known = self._below.setdefault((side, key.table, key.columns[0], key.json_path), {})
        missing = iter(sorted(set(values) - known.keys()))
        place = self._schema.tables[key.table].places[key.columns[0]]
        while batch := tuple(islice(missing, _BATCH)):
            found: dict[str, list[Row]] = {each: [] for each in batch}
            asked = Ask(key.table, key.columns, tuple((each,) for each in batch), key.json_path)
            for row in self._lookup.rows(side, asked):
                value = json_id(row[place] or "", key.json_path)
                if value in found:
                    found[value].append(row)
            known.update({each: tuple(rows) for each, rows in found.items()})

    def rows_below(self, side: Side, key: ForeignKey, value: str) -> tuple[Row, ...]:
        """Return the rows that refer to ``value`` by a place in a JSON document."""
        known = self._below.setdefault((side, key.table, key.columns[0], key.json_path), {})
        if value not in known:
            self.prefetch_below(side, key, [value])
        return known[value]

    def _by_text(self, table: TableName, columns: tuple[str, ...]) -> bool:
        known = self._schema.tables.get(table)
        if known is None:
            return False
        by_name = {column.name: column for column in known.columns}
        return all(column in by_name and not by_name[column].text_hash for column in columns)

    def rows(self, side: Side, table: TableName, columns: tuple[str, ...], values: Values) -> tuple[Row, ...]:
        """Return the rows that hold ``values`` in ``columns``."""
        known = self._known.setdefault((side, table, columns), {})
        if values not in known:
            self.prefetch(side, table, columns, [values])
        return known[values]

    def row(self, side: Side, table: Table, key: Values) -> Row | None:
        """Return the row with a key."""
        found = self.rows(side, table.name, table.key, key)
        return found[0] if found else None

    def prefetch_base(self, table: Table, keys: Iterable[Values]) -> None:
        """Ask for what :meth:`base_row` will need."""
        changed = self._changed.get(table.name, {})
        self.prefetch(Side.OLD, table.name, table.key, (key for key in keys if key not in changed))

    def base_row(self, table: Table, key: Values) -> Row | None:
        """Return base's row with a key: where old did not change it, it is old's row, whatever base is read from."""
        change = self._changed.get(table.name, {}).get(key)
        return self.row(Side.OLD, table, key) if change is None else change.base

    def violations(self, side: Side, table: Table, constraint: Unique | Constraint, row: Cells) -> tuple[Row, ...]:
        """Return the rows that ``row`` would collide with; what is not drawn yet collides with nothing."""
        plain = tuple(cell if type(cell) is str else None for cell in row)
        asked = (side, table.name, constraint.name, plain)
        if asked not in self._violations:
            self._violations[asked] = tuple(self._lookup.violations(side, table, constraint, plain))
        return self._violations[asked]

    def refused(self, table: Table, check: Constraint, rows: Iterable[Cells]) -> Sequence[int]:
        """Return the places of the rows that a CHECK of new refuses; what is not drawn yet counts as NULL."""
        plain = [tuple(cell if type(cell) is str else None for cell in row) for row in rows]
        return self._lookup.refused(table, check, plain)


def _plain(values: tuple[str | None, ...]) -> Values:
    return tuple(value or "" for value in values)
