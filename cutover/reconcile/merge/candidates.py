"""Columns that may hold a re-keyed id though nothing declares it (DESIGN.md 7). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from cutover.reconcile.merge.policy import Rules
from cutover.reconcile.merge.references import Holder, IdMap
from cutover.reconcile.model import Change, Column, Row, Schema, Table, TableName
from cutover.reconcile.values import base_type

_FREE_FORM = ("text", "character varying", "character", "json", "jsonb", "xml", "hstore", "public.hstore", "bytea")
_TOKEN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")
_SELF = frozenset({"parent_id", "root_id", "ancestor_id", "previous_id", "next_id", "reply_to_id", "replaced_by_id"})
_TYPE_COLUMNS = ("type", "kind", "class", "table", "model", "content_type")
_SHOWN = 3


class Suspect(NamedTuple):
    """A column of a changed row that holds a value which was re-keyed in another table."""

    column: str
    value: str
    table: TableName


@lru_cache(maxsize=4096)
def words(name: str) -> str:
    """Return a name as lower-case words joined by ``_``: ``orderId`` and ``OrderID`` are ``order_id``."""
    plain = re.sub(r"ID(?=s?(?:_|$))", "Id", name)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


@lru_cache(maxsize=4096)
def singular(word: str) -> str:
    """Return the likely singular of a table's name."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(ss|sh|ch|x|z|us)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=4096)
def stems(table: str) -> frozenset[str]:
    """Return what a column that refers to a table may be called, without its ``_id``."""
    whole = words(table)
    last = whole.rsplit("_", 1)[-1]
    return frozenset({whole, singular(whole), last, singular(last)})


def named_after(column: str, table: Table) -> bool:
    """Tell whether a column is named after a table: ``order_id``, ``last_order_id``, ``orderIds`` for ``orders``."""
    name = words(column)
    key = words(table.key[0]) if table.key else "id"
    for stem in stems(table.name.name):
        for ending in {"id", "ids", "uuid", "key", "pk", "ref", key}:
            target = f"{stem}_{ending}"
            if name == target or name.endswith(f"_{target}") or name == f"{stem}{ending}":
                return True
        if name == stem:
            return True
    return False


class Suspects:
    """Finds columns of changed rows that hold a re-keyed id without being declared.

    A column named after the table, one of an array of ids, a polymorphic pair, or a usual name for a reference to
    the same table.
    """

    def __init__(self, schema: Schema, held: Mapping[TableName, tuple[Holder, ...]], ids: IdMap, rules: Rules) -> None:
        self._schema = schema
        self._held = held
        self._rules = rules
        self._by_value = by_value(ids)
        self._covered = {name: _covered(table) for name, table in schema.tables.items()}
        self._arrays = {
            name: {place for place, column in enumerate(table.columns) if column.type.endswith("[]")}
            for name, table in schema.tables.items()
        }

    def of(self, change: Change) -> Iterator[Suspect]:
        """Yield the suspects of one changed row of old."""
        table, row = self._schema.tables[change.table], change.old
        if row is None:
            return
        arrays = self._arrays[table.name]
        for place, value in enumerate(row):
            if value is None or (place not in arrays and value not in self._by_value):
                continue
            column = table.columns[place]
            if change.base is not None and change.base[place] == value:
                continue
            if (table.name, column.name) in self._rules.not_references or column.name in self._covered[table.name]:
                continue
            own = table.key == (column.name,)
            if own and table.generated_key:
                continue
            mine = [holder for holder in self._held[table.name] if holder.place == place and not holder.path]
            for each in sorted(_TOKEN.findall(value)) if place in arrays else (value,):
                for root in self._by_value.get(each, ()):
                    if (own and root == table.name) or any(
                        holder.root == root and holder.applies(row) for holder in mine
                    ):
                        continue
                    if _may_refer(self._schema, table, column, row, root):
                        yield Suspect(column.name, each, root)


def by_value(ids: IdMap) -> Mapping[str, tuple[TableName, ...]]:
    """Return the tables in which each re-keyed id stood."""
    found: dict[str, list[TableName]] = {}
    for root, mapped in ids.items():
        for value in mapped:
            found.setdefault(value, []).append(root)
    return {value: tuple(roots) for value, roots in found.items()}


def _may_refer(schema: Schema, table: Table, column: Column, row: Row, root: TableName) -> bool:
    target = schema.tables[root]
    pair = _pair(table, column.name)
    if pair is not None:
        kind = row[table.places[pair]]
        if kind is None:
            return False
        named = stems(re.split(r"::|\\|\.|/", kind)[-1])
        known = [name for name in schema.tables if stems(name.name) & named]
        return root in known or not known
    if root == table.name and words(column.name) in _SELF:
        return True
    return named_after(column.name, target)


def _pair(table: Table, column: str) -> str | None:
    """Return the column that says what kind of thing ``column`` refers to, if there is one."""
    match = re.fullmatch(r"(.*?)_?(id|uuid|key|pk)", words(column))
    if match is None or not match[1]:
        return None
    wanted = {f"{match[1]}_{each}" for each in _TYPE_COLUMNS}
    return next((name for name in table.column_names if words(name) in wanted), None)


class FreeText:
    """Collects text, json and number columns that may hold a re-keyed id, for the list of warnings."""

    def __init__(self, schema: Schema, held: Mapping[TableName, tuple[Holder, ...]], ids: IdMap, rules: Rules) -> None:
        self._schema = schema
        self._held = held
        self._rules = rules
        self._by_value = by_value(ids)
        self._columns = {name: tuple(_free_columns(schema, table)) for name, table in schema.tables.items()}
        self._found: dict[tuple[TableName, str, TableName], list[str]] = {}

    def look(self, change: Change, declared: set[str]) -> None:
        """Look through one changed row; ``declared`` columns are known already."""
        if change.old is None:
            return
        table = self._schema.tables[change.table]
        for place, column, named in self._columns[table.name]:
            value = change.old[place]
            if value is None or column in declared or (change.base is not None and change.base[place] == value):
                continue
            if (table.name, column) in self._rules.not_references:
                continue
            paths = [holder for holder in self._held[table.name] if holder.place == place]
            for token in set(_TOKEN.findall(value)) & self._by_value.keys():
                for root in self._by_value[token]:
                    if not any(holder.root == root for holder in paths) and (not named or root in named):
                        where = ", ".join(part or "NULL" for part in change.key) if table.key else "(no key)"
                        self._found.setdefault((table.name, column, root), []).append(where)

    def warnings(self) -> tuple[str, ...]:
        """Return one line per column."""
        lines = []
        for (table, column, root), rows in sorted(self._found.items()):
            shown = "; ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
            lines.append(f"{table}.{column} may hold a re-keyed id of {root} in {len(rows)} changed row(s): {shown}")
        return tuple(lines)


def _free_columns(schema: Schema, table: Table) -> Iterator[tuple[int, str, frozenset[TableName]]]:
    """Yield columns that no key covers; of numbers, the tables whose ids they hold by their name, if any."""
    covered = _covered(table)
    for place, column in enumerate(table.columns):
        kind = base_type(column.type)
        many = kind in _FREE_FORM or kind.endswith("[]")
        if not (many or words(column.name).endswith("_id")) or column.name in covered:
            continue
        if column.name not in table.key and not column.generated:
            named = () if many else (each for each in schema.tables.values() if named_after(column.name, each))
            yield place, column.name, frozenset(each.name for each in named)


def _covered(table: Table) -> frozenset[str]:
    """Return the columns that refer to one table by a key, declared and unconditional: and so to no other."""
    whole = (key for key in table.foreign_keys if not key.when and not key.json_path)
    return frozenset(column for key in whole for column in key.columns)
