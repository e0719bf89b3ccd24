"""What earlier applies carried into new, read from the state that they left there (DESIGN.md 7).

A merge compares with base. What an apply has written since then is in new, but base does not know it: a row that got
another id there would be inserted once more, a difference would be added once more. So what stands in
``cutover.progress`` as applied, and was not undone, is known to the merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cutover.reconcile.model import Key, TableName
from cutover.reconcile.source.session import Database


@dataclass(frozen=True, slots=True)
class CarriedRow:
    """A row of old that an apply inserted into new.

    Attributes:
        bundle: the bundle that it was applied from.
        key: of the row in new.
        values: what was written, by column; columns that were left to the database are not among them.
    """

    bundle: str
    key: Key
    values: Mapping[str, str | None]

    @property
    def by(self) -> str:
        """Who wrote it, for people."""
        return f"applied from {self.bundle}"


@dataclass(frozen=True, slots=True)
class CarriedSum:
    """A row of new to which an apply added differences.

    Attributes:
        bundle: the last bundle that it was done from.
        deltas: what was added in all, by column.
    """

    bundle: str
    deltas: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Carried:
    """All that earlier applies wrote and nobody undid.

    Attributes:
        inserted: by table and key of old's row.
        added: rows to which a difference was added: adding is no change that can be done twice.
        keyless: tables without key that were written, with the bundle: whose rows these are cannot be told.
    """

    inserted: Mapping[tuple[TableName, Key], CarriedRow] = field(default_factory=dict)
    added: Mapping[tuple[TableName, Key], CarriedSum] = field(default_factory=dict)
    keyless: Mapping[TableName, str] = field(default_factory=dict)


NOTHING = Carried()

_THERE = """
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (nspname, relname) = ('cutover', 'progress')
"""
_STEPS = """
SELECT r.bundle, t.schema_name, t.table_name, t.columns, t.key_columns, s.action::text AS action,
       s.key, s.post, s.loose_post, s.cols, s.adds, s.delta, m.old_id
FROM cutover.progress p
JOIN cutover.run r ON r.run = p.run
JOIN cutover.step s ON (s.run, s.batch, s.component) = (p.run, p.batch, p.component)
JOIN cutover.target t ON (t.run, t.tbl) = (s.run, s.tbl)
LEFT JOIN cutover.id_map m ON cardinality(t.key_columns) = 1 AND m.new_id = s.key[1]
     AND (m.run, m.schema_name, m.table_name, m.column_name) = (s.run, t.schema_name, t.table_name, t.key_columns[1])
WHERE p.direction = 'apply' AND p.outcome IN ('applied', 'present')
  AND NOT EXISTS (SELECT FROM cutover.progress u
                  WHERE (u.run, u.direction, u.batch, u.component, u.outcome)
                      = (p.run, 'undo', p.batch, p.component, 'undone'))
ORDER BY r.staged_at, r.run, s.no
"""


def read_carried(new: Database) -> Carried:
    """Return what earlier applies wrote into a database, as of its snapshot; nothing where there was none.

    Raises:
        CutoverError: the state is there and cannot be read.
    """
    if not new.rows(_THERE):
        return NOTHING
    inserted: dict[tuple[TableName, Key], CarriedRow] = {}
    added: dict[tuple[TableName, Key], CarriedSum] = {}
    keyless: dict[TableName, str] = {}
    origin: dict[tuple[TableName, Key], Key] = {}
    for step in new.dicts(_STEPS):
        table = TableName(step["schema_name"], step["table_name"])
        key: Key = tuple(step["key"])
        if not step["key_columns"]:
            keyless[table] = step["bundle"]
        elif step["action"] == "i":
            old_key = key if step["old_id"] is None else (step["old_id"],)
            origin[table, key] = old_key
            inserted[table, old_key] = CarriedRow(step["bundle"], key, _written(step))
        elif step["action"] == "u" and (table, key) in origin:
            before = inserted[table, origin[table, key]]
            inserted[table, origin[table, key]] = CarriedRow(
                before.bundle, key, {**before.values, **_written(step, only=frozenset(step["cols"]))}
            )
        elif step["adds"]:
            sums = dict(added[table, key].deltas) if (table, key) in added else {}
            for place in step["adds"]:
                column = step["columns"][place - 1]
                sums[column] = sums.get(column, Decimal()) + Decimal(step["delta"][place - 1])
            added[table, key] = CarriedSum(step["bundle"], sums)
    return Carried(inserted, added, keyless)


def _written(step: Mapping[str, Any], *, only: frozenset[int] | None = None) -> dict[str, str | None]:
    loose = frozenset(step["loose_post"])
    return {
        column: value
        for place, (column, value) in enumerate(zip(step["columns"], step["post"] or (), strict=False), 1)
        if place not in loose and (only is None or place in only)
    }
