"""Which columns hold which table's ids, and the simultaneous rewrite of a row. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cutover.reconcile.merge.cells import Cell, Cells, JsonIds, NewId, show
from cutover.reconcile.model import Row, Schema, Table, TableName

IdMap = Mapping[TableName, Mapping[str, NewId | str]]
"""Per table with a key of one column: old's id -> the id that the row has in the result."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A column that holds ids of ``root``.

    Attributes:
        place: the column's place in the row.
        path: keys below the column, for json.
        when: (place, value) that must hold for the reference to mean anything.
    """

    place: int
    column: str
    root: TableName
    path: tuple[str, ...] = ()
    when: tuple[tuple[int, str], ...] = ()

    def applies(self, row: Row | Cells) -> bool:
        """Tell whether the reference means anything in this row."""
        return all(row[place] == value for place, value in self.when)

    def value(self, row: Row) -> str | None:
        """Return the id that this row refers to, if any."""
        text = row[self.place]
        if text is None or not self.applies(row):
            return None
        return json_id(text, self.path) if self.path else text


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A row of old with its references rewritten.

    Attributes:
        effects: what was rewritten, for people.
        ambiguous: columns that refer to two tables whose ids map to different values.
    """

    cells: Cells
    effects: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()


def json_id(text: str, path: tuple[str, ...]) -> str | None:
    """Return the number or string at ``path`` of a json document as text, ``None`` where there is none."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def same_value(cell: Cell, text: str | None) -> bool:
    """Tell whether a rewritten cell is what was written; a document in which ids were replaced is told by its parts."""
    if not isinstance(cell, JsonIds) or text is None:
        return cell == text
    replaced = dict(cell.ids)
    if any(json_id(text, path) != new for path, new in replaced.items()):
        return False
    mine, theirs = json.loads(cell.text), json.loads(text)
    for document in (mine, theirs):
        for *path, last in replaced:
            within = document
            for step in path:
                within = within[int(step) if isinstance(within, list) else step]
            within[int(last) if isinstance(within, list) else last] = None
    return bool(mine == theirs)


def root_key(table: Table) -> str | None:
    """Return the column whose ids may be mapped: a key of one column that is no reference itself."""
    if len(table.key) != 1:
        return None
    column = table.key[0]
    refers = any(column in key.columns and not key.when and not key.json_path for key in table.foreign_keys)
    return None if refers else column


def _roots(schema: Schema, table: TableName, column: str, seen: frozenset[tuple[TableName, str]]) -> set[TableName]:
    """Return the tables whose ids a column holds: followed through keys that are references themselves."""
    known = schema.tables.get(table)
    if known is None or (table, column) in seen:
        return set()
    if root_key(known) == column:
        return {table}
    found: set[TableName] = set()
    for key in known.foreign_keys:
        if column in key.columns and not key.when and not key.json_path:
            target = key.to_columns[key.columns.index(column)]
            found |= _roots(schema, key.to_table, target, seen | {(table, column)})
    return found


def holders(schema: Schema) -> Mapping[TableName, tuple[Holder, ...]]:
    """Return, per table, every column that holds ids, its own key apart."""
    found: dict[TableName, list[Holder]] = {}
    for name, table in schema.tables.items():
        places = {column: place for place, column in enumerate(table.column_names)}
        mine: dict[Holder, None] = {}
        for key in table.foreign_keys:
            for column, target in zip(key.columns, key.to_columns, strict=True):
                if column not in places:
                    continue
                when = tuple((places[other], value) for other, value in key.when if other in places)
                for root in sorted(_roots(schema, key.to_table, target, frozenset())):
                    mine[Holder(places[column], column, root, key.json_path, when)] = None
        found[name] = list(mine)
    return {name: tuple(each) for name, each in found.items()}


def rewrite(row: Row, table: Table, held: tuple[Holder, ...], ids: IdMap) -> Rewritten:
    """Rewrite every reference of a row, and its own id, at once: a new value is never looked up again."""
    effects: list[str] = []
    ambiguous: list[str] = []
    found: dict[tuple[int, tuple[str, ...]], NewId | str] = {}
    for holder in held if ids else ():
        value = holder.value(row)
        mapped = None if value is None else ids.get(holder.root, {}).get(value)
        if mapped is None:
            continue
        spot = (holder.place, holder.path)
        if spot in found and found[spot] != mapped:
            ambiguous.append(holder.column)
            continue
        if spot not in found:
            found[spot] = mapped
            where = "->".join((holder.column, *holder.path))
            effects.append(f"{where}: {value} becomes {show(mapped)}")
    own = _own_id(table, row, ids)
    if not found and own is None:
        return Rewritten(row)
    cells: list[Cell] = list(row)
    documents: dict[int, list[tuple[tuple[str, ...], NewId | str]]] = {}
    for (place, path), mapped in found.items():
        if path:
            documents.setdefault(place, []).append((path, mapped))
        else:
            cells[place] = mapped
    for place, replaced in documents.items():
        cells[place] = JsonIds(row[place] or "", tuple(replaced))
    if own is not None:
        cells[table.places[table.key[0]]] = own
    return Rewritten(tuple(cells), tuple(effects), tuple(dict.fromkeys(ambiguous)))


def _own_id(table: Table, row: Row, ids: IdMap) -> NewId | str | None:
    mine = ids.get(table.name)
    column = root_key(table) if mine else None
    if mine is None or column is None:
        return None
    value = row[table.places[column]]
    return None if value is None else mine.get(value)


def computed_references(table: Table, original: Row | None, cells: Cells | None) -> tuple[str, ...]:
    """Return the generated columns that refer to a re-keyed row, though nothing that they are computed from does."""
    if original is None or cells is None or cells is original:
        return ()
    rewritten = {column for column, place in table.places.items() if cells[place] != original[place]}
    sources = dict(table.generated_from)
    computed = (column.name for column in table.columns if column.generated and column.name in rewritten)
    return tuple(column for column in computed if rewritten.isdisjoint(sources.get(column, ())))


def key_of(table: Table, row: Cells | Row) -> Cells:
    """Return a row's key cells."""
    names = table.places
    return tuple(row[names[column]] for column in table.key)
