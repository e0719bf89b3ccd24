"""Databases as dictionaries: the merge's questions answered, and its steps carried out under every constraint."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cutover.reconcile.bundle import Component, Step
from cutover.reconcile.merge.cells import Cell, Cells, Filled, JsonIds, NewId
from cutover.reconcile.merge.merge import MergeResult, merge
from cutover.reconcile.merge.policy import Facts, Policy, Rule, Rules
from cutover.reconcile.merge.references import json_id
from cutover.reconcile.model import (
    Ask,
    Change,
    Column,
    Constraint,
    Decision,
    ForeignKey,
    Key,
    Row,
    Schema,
    Side,
    Table,
    TableName,
    Unique,
)

Dicts = Mapping[str, Sequence[Mapping[str, object]]]


def name(text: str) -> TableName:
    schema, _, table = text.rpartition(".")
    return TableName(schema or "public", table)


def column(text: str) -> Column:
    """``id:bigint#`` draws from a sequence, ``!`` is not null, ``=now()`` a default, ``%`` generated."""
    text, _, default = text.partition("=")
    label, _, kind = text.partition(":")
    marks = kind[len(kind.rstrip("#!%")) :]
    return Column(
        name=label,
        type=kind.rstrip("#!%") or "text",
        not_null="!" in marks or "#" in marks,
        generated="%" in marks,
        default="nextval('s')" if "#" in marks else default or None,
        sequence=TableName("public", f"{label}_seq") if "#" in marks else None,
    )


def table(
    label: str,
    columns: str,
    *,
    key: Sequence[str] = ("id",),
    unique: Sequence[Sequence[str]] = (),
    refers: Sequence[ForeignKey] = (),
    together: Sequence[Sequence[str]] = (),
    **more: object,
) -> Table:
    made = [column(each) for each in columns.split()]
    own = name(label)
    for index, each in enumerate(made):
        if each.sequence is not None and "shared" not in more:
            made[index] = Column(
                name=each.name,
                type=each.type,
                not_null=True,
                default=each.default,
                sequence=TableName("public", f"{own.name}_{each.name}_seq"),
            )
    more.pop("shared", None)
    uniques = [Unique(f"{own.name}_{'_'.join(each)}_key", tuple(each), "") for each in unique]
    if key:
        uniques.insert(0, Unique(f"{own.name}_pkey", tuple(key), "", primary=True))
    single = next((each for each in made if len(key) == 1 and each.name == key[0]), None)
    keys = tuple(each._replace(table=own) for each in refers)
    dependencies = {frozenset(each) for each in (*unique, *together, *(each.columns for each in keys)) if len(each) > 1}
    settings: dict[str, object] = {
        "generated_key": single is not None and single.sequence is not None,
        "key_from": "primary key" if key else "",
        "foreign_keys": keys,
        "uniques": tuple(uniques),
        "dependencies": tuple(dependencies),
        **more,
    }
    return Table(name=own, columns=tuple(made), key=tuple(key), **settings)  # type: ignore[arg-type]


def refers(columns: str, to: str, to_columns: str = "id", **more: object) -> ForeignKey:
    """A foreign key; ``when={...}``, ``json="a,b"``, ``declared=True`` make it one of the plan's."""
    when = tuple(sorted(more.pop("when", {}).items()))  # type: ignore[attr-defined]
    path = tuple(each for each in str(more.pop("json", "")).split(",") if each)
    if when or path:
        more["declared"] = True
    return ForeignKey(
        name=f"{columns}->{to}",
        table=TableName("", ""),
        columns=tuple(columns.split(",")),
        to_table=name(to),
        to_columns=tuple(to_columns.split(",")),
        when=when,
        json_path=path,
        **more,  # type: ignore[arg-type]
    )


def rule(label: str, column: str | None, policy: str) -> Rule:
    kind, _, by = policy.rstrip(")").partition("(")
    return Rule(name(label), column, Policy(kind), by)


State = dict[TableName, list[Row]]


@dataclass
class Memory:
    """Three states of a schema; answers the merge's questions."""

    schema: Schema
    states: Mapping[Side, State]
    asked: list[tuple[Side, Ask]] = field(default_factory=list)

    @classmethod
    def of(cls, tables: Iterable[Table], base: Dicts, old: Dicts, new: Dicts) -> Memory:
        schema = Schema(tables={each.name: each for each in tables})
        states = {side: _state(schema, rows) for side, rows in zip(Side, (base, old, new), strict=True)}
        return cls(schema, states)

    def rows(self, side: Side, ask: Ask) -> Sequence[Row]:
        self.asked.append((side, ask))
        assert side is not Side.BASE, "base may be a dump: it is never asked"
        if ask.table not in self.schema.tables:
            return []
        places = [self.schema.tables[ask.table].places[each] for each in ask.columns]
        wanted = set(ask.values)
        if ask.json_path:
            below = [
                (row, json_id(row[places[0]] or "", ask.json_path)) for row in self.states[side].get(ask.table, [])
            ]
            return [row for row, value in below if (value,) in wanted]
        found = [row for row in self.states[side].get(ask.table, []) if tuple(row[p] for p in places) in wanted]
        return list(dict.fromkeys(found))

    def violations(self, side: Side, table: Table, unique: Unique | Constraint, row: Row) -> Sequence[Row]:
        def value(each: Row) -> tuple[str | None, ...]:
            return tuple(
                None if (cell := each[table.places[c]]) is None else cell.casefold()
                for c in unique.columns or ("email",)
            )

        if None in value(row):
            return []
        return [each for each in self.states[side].get(table.name, []) if value(each) == value(row)]

    def refused(self, table: Table, check: Constraint, rows: Sequence[Row]) -> Sequence[int]:
        place, least = table.places[check.columns[0]], int(check.definition.rpartition(" >= ")[2])
        return [number for number, row in enumerate(rows) if (cell := row[place]) is not None and int(cell) < least]

    def changes(self) -> list[Change]:
        found: list[Change] = []
        for each in self.schema.tables.values():
            found.extend(_changes(each, *(self.states[side].get(each.name, []) for side in Side)))
        return found

    def merge(self, *rules: Rule, facts: Facts | None = None, **settings: object) -> Outcome:
        given = Rules(rules=rules, **settings)  # type: ignore[arg-type]
        changes = self.changes()
        return Outcome(self, merge(self.schema, changes, self, given, facts))


def _state(schema: Schema, rows: Dicts) -> State:
    state: State = {}
    for label, dicts in rows.items():
        own = schema.tables[name(label)]
        for each in dicts:
            unknown = set(each) - set(own.column_names)
            assert not unknown, unknown
            row = tuple(None if each.get(c) is None else str(each[c]) for c in own.column_names)
            state.setdefault(own.name, []).append(row)
    return state


def _changes(own: Table, base: Sequence[Row], old: Sequence[Row], new: Sequence[Row]) -> Iterable[Change]:
    if not own.key:
        counts = [Counter(rows) for rows in (base, old, new)]
        for row in dict.fromkeys([*old, *base]):
            more = counts[1][row] - counts[0][row]
            if more:
                key: Key = row  # type: ignore[assignment]
                yield Change(
                    own.name,
                    key,
                    None if more > 0 else row,
                    row if more > 0 else None,
                    None,
                    True,
                    abs(more),
                    counts[2][row],
                )
        return
    keyed = [{tuple(str(row[own.places[c]]) for c in own.key): row for row in rows} for rows in (base, old, new)]
    for key in dict.fromkeys([*keyed[1], *keyed[0]]):
        rows = [each.get(key) for each in keyed]
        if rows[0] != rows[1]:
            yield Change(own.name, key, rows[0], rows[1], rows[2])


class Outcome:
    """A merge with its steps carried out on new."""

    def __init__(self, memory: Memory, result: MergeResult) -> None:
        self.memory = memory
        self.result = result

    def decisions(self) -> dict[str, str]:
        """``"users 5"`` -> class, or ``conflict:reason``."""
        found = {}
        for each in self.result.judged:
            label = f"{each.table.name.name} {','.join(value or 'NULL' for value in each.change.key)}"
            found[label] = each.decision + (f":{each.reason}" if each.decision is Decision.CONFLICT else "")
        return found

    def apply(self) -> dict[str, list[dict[str, str | None]]]:
        """Carry the steps out, each under all constraints; return the rows of the result by bare table name."""
        target = Target(self.memory.schema, self.memory.states[Side.NEW], self.memory.states[Side.OLD])
        for component in self.result.components:
            target.run(component)
        found = {}
        for own in self.memory.schema.tables.values():
            rows = [dict(zip(own.column_names, row, strict=True)) for row in target.state[own.name]]
            found[own.name.name] = sorted(
                rows, key=lambda row: [(v is None, len(v or ""), v or "") for v in row.values()]
            )
        return found


class Target:
    """New, changed step by step."""

    def __init__(self, schema: Schema, new: State, old: State) -> None:
        self.schema = schema
        self.state: State = {each: list(new.get(each, [])) for each in schema.tables}
        highest = [
            int(row[each.places[each.key[0]]] or 0)
            for each in schema.tables.values()
            if each.generated_key
            for state in (new, old)
            for row in state.get(each.name, [])
            if (row[each.places[each.key[0]]] or "").isdigit()
        ]
        self._fresh = itertools.count(max(highest, default=0) + 1000)
        self.drawn: dict[NewId, str] = {}

    def value(self, cell: Cell) -> str | None:
        if isinstance(cell, NewId):
            return self.drawn.setdefault(cell, str(next(self._fresh)))
        if isinstance(cell, JsonIds):
            import json

            document = json.loads(cell.text)
            for path, new in cell.ids:
                inside = document
                for each in path[:-1]:
                    inside = inside[each]
                drawn = self.value(new) or ""
                inside[path[-1]] = int(drawn) if isinstance(inside[path[-1]], int) else drawn
            return json.dumps(document)
        return None if isinstance(cell, Filled) else cell

    def run(self, component: Component) -> None:
        for step in component.steps:
            self._step(step)
            self.check(step, references=not component.deferred)
        self.check(None)

    def _plain(self, cells: Cells | None) -> Row | None:
        return None if cells is None else tuple(self.value(cell) for cell in cells)

    def _step(self, step: Step) -> None:
        rows = self.state[step.table]
        pre, post = self._plain(step.pre), self._plain(step.post)
        for _ in range(step.count):
            if pre is not None:
                rows.remove(pre)
            if post is not None:
                rows.append(post)

    def check(self, step: Step | None, *, references: bool = True) -> None:
        for own in self.schema.tables.values():
            for unique in own.uniques:
                values = [tuple(row[own.places[c]] for c in unique.columns) for row in self.state[own.name]]
                twice = [each for each, count in Counter(values).items() if count > 1 and None not in each]
                assert not twice, f"{unique.name} {twice} after {step}"
            for key in own.foreign_keys if references else ():
                if key.declared:
                    continue
                target = self.schema.tables[key.to_table]
                there = {tuple(row[target.places[c]] for c in key.to_columns) for row in self.state[key.to_table]}
                for row in self.state[own.name]:
                    mine = tuple(row[own.places[c]] for c in key.columns)
                    assert None in mine or mine in there, f"{own.name} {row} refers to nothing after {step}"
