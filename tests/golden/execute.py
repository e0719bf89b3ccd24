"""Carries a change set out in the plainest way: one statement per step, every guard checked.

It shares nothing with the apply that the tool has: a change set that only one of the two can carry out is wrong.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
from psycopg import sql

from cutover.reconcile.bundle import Component, Meta, Step, TableMeta
from cutover.reconcile.merge.cells import Cell, Cells, Filled, JsonIds, NewId
from cutover.reconcile.model import PINNED_SETTINGS


class Executor:
    """One target."""

    def __init__(self, connection: psycopg.Connection[Any], meta: Meta) -> None:
        self.connection = connection
        self.meta = meta
        self.drawn: dict[NewId, str] = {}
        for name, value in PINNED_SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()

    def run(self, component: Component) -> None:
        """Carry one component out in one transaction."""
        with self.connection.transaction():
            if component.deferred:
                self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
            for step in component.steps:
                self._step(step)
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _step(self, step: Step) -> None:
        table = self.meta.tables[step.table]
        for _ in range(step.count):
            if step.pre is None:
                self._insert(step, table)
                continue
            where, values = self._guard(step.pre, table)
            found = self.connection.execute(
                sql.SQL("SELECT ctid::text, tableoid::text FROM {} WHERE {} LIMIT 1 FOR UPDATE").format(
                    sql.Identifier(*step.table), where
                ),
                values,
            ).fetchone()
            assert found is not None, f"{step.table}: the guard misses {step.pre}"
            at = sql.SQL("ctid = {}::tid AND tableoid = {}::oid").format(*map(sql.Literal, found))
            if step.post is None:
                statement = sql.SQL("DELETE FROM {} WHERE ").format(sql.Identifier(*step.table)) + at
                values = []
            else:
                names, values = self._written(step, table)
                assert names, f"{step.table}: an update that writes nothing"
                sets = sql.SQL(", ").join(self._assign(name, table) for name in names)
                statement = sql.SQL("UPDATE {} SET {} WHERE ").format(sql.Identifier(*step.table), sets) + at
            assert self.connection.execute(statement, values).rowcount == 1

    def _insert(self, step: Step, table: TableMeta) -> None:
        names, values = self._written(step, table)
        statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.Identifier(*step.table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(self._cast(name, table) for name in names),
        )
        assert self.connection.execute(statement, values).rowcount == 1

    def _cast(self, name: str, table: TableMeta) -> sql.Composable:
        kind = table.types[table.columns.index(name)]
        return sql.SQL("CAST(%s AS {})").format(sql.SQL(kind))

    def _assign(self, name: str, table: TableMeta) -> sql.Composable:
        return sql.SQL("{} = {}").format(sql.Identifier(name), self._cast(name, table))

    def _written(self, step: Step, table: TableMeta) -> tuple[list[str], list[str | None]]:
        names, values = [], []
        for place, name in enumerate(table.columns):
            cell = (step.post or ())[place]
            if isinstance(cell, Filled) or name in (*table.only_old, *table.generated):
                continue
            if step.pre is None or step.pre[place] != cell:
                names.append(name)
                values.append(self._value(cell))
        return names, values

    def _guard(self, pre: Cells, table: TableMeta) -> tuple[sql.Composable, list[str | None]]:
        parts: list[sql.Composable] = []
        values: list[str | None] = []
        for name, cell in zip(table.columns, pre, strict=True):
            if isinstance(cell, Filled) or name in (*table.only_old, *table.generated):
                continue
            # as it is printed: a cast to text says otherwise of booleans and padded texts
            printed = sql.SQL("CASE WHEN num_nulls({0}) = 0 THEN format('%%s', {0}) END").format(sql.Identifier(name))
            parts.append(printed + sql.SQL(" IS NOT DISTINCT FROM %s"))
            values.append(self._value(cell))
        return sql.SQL(" AND ").join(parts), values

    def _value(self, cell: Cell) -> str | None:
        if isinstance(cell, NewId):
            return self._draw(cell)
        if isinstance(cell, JsonIds):
            document = json.loads(cell.text)
            for path, new in cell.ids:
                inside = document
                for step in path[:-1]:
                    inside = inside[step]
                value = self._value(new) or ""
                inside[path[-1]] = int(value) if isinstance(inside[path[-1]], int) else value
            return json.dumps(document)
        assert not isinstance(cell, Filled)
        return cell

    def _draw(self, new: NewId) -> str:
        if new not in self.drawn:
            table = self.meta.tables[new.table]
            if table.sequence is not None:
                query = sql.SQL("SELECT nextval({})::text").format(
                    sql.Literal(sql.Identifier(*table.sequence).as_string(self.connection))
                )
            else:
                query = sql.SQL("SELECT (max({}) + 1)::text FROM {}").format(
                    sql.Identifier(table.key[0]), sql.Identifier(*new.table)
                )
            row = self.connection.execute(query).fetchone()
            assert row is not None
            self.drawn[new] = row[0]
        return self.drawn[new]


def advance(connection: psycopg.Connection[Any], meta: Meta) -> None:
    """Lift the target's sequences above what old has given out."""
    for name, old, new in meta.sequences:
        highest = max(old or 0, new or 0)
        if highest:
            quoted = sql.Identifier(*name).as_string(connection)
            last = sql.SQL("SELECT last_value FROM {}").format(sql.Identifier(*name))
            query = sql.SQL("SELECT setval(%s, greatest(%s, ({})))").format(last)
            connection.execute(query, (quoted, highest))
    connection.commit()
