"""Ids first: collisions, equal inserts, one thing under two ids; to a fixpoint (DESIGN.md 7). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cutover.reconcile.merge.asked import Asked, Values
from cutover.reconcile.merge.carried import Carried
from cutover.reconcile.merge.cells import Cell, Cells, NewId
from cutover.reconcile.merge.policy import Choice, Facts, Rules
from cutover.reconcile.merge.references import Holder, IdMap, Rewritten, rewrite, root_key
from cutover.reconcile.model import Change, Key, Row, Schema, Side, Table, TableName
from cutover.reconcile.values import has_fraction, looks_like_uuid

_ROUNDS = 60
_HUMAN = re.compile(r"(^|_)(number|numbers|no|num|nr|code|ref|reference|sku|invoice|ticket|receipt)$")


class Refusal(NamedTuple):
    """Why a change cannot get an identity in the result."""

    reason: str
    message: str


class Partner(NamedTuple):
    """New's row that is the same thing as old's insert; ``by`` says who said so."""

    key: Key
    by: str


@dataclass(frozen=True, slots=True)
class Identities:
    """What old's inserted rows are in the result.

    Attributes:
        ids: the id map.
        partners: by change number, new's inserted row that is the same thing.
        present: numbers of equal inserts that are proven to be one row.
        refused: by change number.
        refused_tables: tables whose base is incomplete.
        how: per table and old id, ``collision`` or ``same_entity``.
    """

    ids: IdMap
    partners: Mapping[int, Partner] = field(default_factory=dict)
    present: frozenset[int] = frozenset()
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    refused_tables: Mapping[TableName, Refusal] = field(default_factory=dict)

    def how(self, table: TableName, old: str) -> str:
        """Tell why an id is mapped."""
        return "collision" if isinstance(self.ids[table][old], NewId) else "same_entity"


def human_visible(column: str) -> bool:
    """Tell whether a generated key is a number that people know (an invoice's): never re-keyed."""
    return _HUMAN.search(column.lower()) is not None


def volatile_default(default: str | None) -> bool:
    """Tell whether a default draws another value at every insert (now, a random uuid, a sequence)."""
    if default is None:
        return False
    drawn = r"now\(|current_|localtime|clock_timestamp|statement_timestamp|transaction_timestamp|uuid|random|nextval"
    return re.search(drawn, default.lower()) is not None


def identify(
    schema: Schema,
    changes: Sequence[Change],
    held: Mapping[TableName, tuple[Holder, ...]],
    asked: Asked,
    rules: Rules,
    facts: Facts,
) -> Identities:
    """Find the id map and who is who.

    Each round starts from the whole map of the round before and makes a new one, until nothing moves: a match
    by ``same_entity`` may hang on another one's id, and a collision on both.
    """
    siblings = _siblings(schema)
    inserts = [
        (number, change)
        for number, change in enumerate(changes)
        if change.base is None
        and change.old is not None
        and change.base_known
        and (_may_be_mapped(schema, change, rules, siblings) or (change.table, change.key) in facts.carried.inserted)
    ]
    refused_tables = _incomplete(schema, (change for _, change in inserts), facts)
    _ask_siblings(schema, inserts, siblings, asked)
    before: dict[TableName, dict[str, NewId | str]] = {}
    for _ in range(_ROUNDS):
        step = _Round(schema, held, asked, rules, before, siblings, facts.carried)
        step.run(inserts)
        if step.ids == before:
            return Identities(step.ids, step.partners, frozenset(step.present), step.refused, refused_tables)
        before, last = step.ids, before
    unstable = {
        number: Refusal("id_map_unstable", "its id depends on itself through the plan's same_entity rules")
        for number, change in inserts
        if before.get(change.table, {}).get(change.key[0]) != last.get(change.table, {}).get(change.key[0])
    }
    return Identities(step.ids, step.partners, frozenset(step.present), {**step.refused, **unstable}, refused_tables)


def _may_be_mapped(
    schema: Schema, change: Change, rules: Rules, siblings: Mapping[TableName, tuple[Table, ...]]
) -> bool:
    table = schema.tables[change.table]
    if not table.key:
        return False
    if table.name in rules.same_entity or (table.generated_key and (change.new is not None or table.name in siblings)):
        return True
    decided = rules.decisions.get((table.name, change.key))
    return decided is not None and decided.choice is Choice.SAME


def _incomplete(schema: Schema, changes: Iterable[Change], facts: Facts) -> dict[TableName, Refusal]:
    """Find tables in which both sides inserted an id that base's sequence had already passed."""
    found: dict[TableName, Refusal] = {}
    for change in changes:
        table = schema.tables[change.table]
        last = facts.base_sequence.get(table.name)
        if last is None or not table.generated_key or change.new is None or change.table in found:
            continue
        if re.fullmatch(r"-?\d+", change.key[0]) and int(change.key[0]) <= last - facts.sequence_slack:
            found[change.table] = Refusal(
                "base_incomplete",
                f"base lacks {table.key[0]} {change.key[0]}, though its sequence stood at {last}: base is not complete",
            )
    return found


def _siblings(schema: Schema) -> Mapping[TableName, tuple[Table, ...]]:
    """Return, per table, the others whose ids come from the same sequence."""
    by_sequence: dict[TableName, list[Table]] = {}
    for table in schema.tables.values():
        column = root_key(table)
        sequence = next((each.sequence for each in table.columns if each.name == column), None)
        if table.generated_key and sequence is not None:
            by_sequence.setdefault(sequence, []).append(table)
    return {
        table.name: tuple(other for other in tables if other.name != table.name)
        for tables in by_sequence.values()
        for table in tables
        if len(tables) > 1
    }


def _ask_siblings(
    schema: Schema,
    inserts: Sequence[tuple[int, Change]],
    siblings: Mapping[TableName, tuple[Table, ...]],
    asked: Asked,
) -> None:
    wanted: dict[TableName, set[Values]] = {}
    for _, change in inserts:
        for sibling in siblings.get(change.table, ()):
            wanted.setdefault(sibling.name, set()).add(change.key)
    for name, keys in wanted.items():
        asked.prefetch(Side.NEW, name, schema.tables[name].key, keys)
        asked.prefetch_base(schema.tables[name], keys)


class _Round:
    """One round of the fixpoint: from a map to the next one."""

    def __init__(
        self,
        schema: Schema,
        held: Mapping[TableName, tuple[Holder, ...]],
        asked: Asked,
        rules: Rules,
        before: IdMap,
        siblings: Mapping[TableName, tuple[Table, ...]],
        carried: Carried,
    ) -> None:
        self._carried = carried
        self._schema = schema
        self._held = held
        self._asked = asked
        self._rules = rules
        self._before = before
        self._siblings = siblings
        self.ids: dict[TableName, dict[str, NewId | str]] = {}
        self.partners: dict[int, Partner] = {}
        self.present: set[int] = set()
        self.refused: dict[int, Refusal] = {}

    def run(self, inserts: Sequence[tuple[int, Change]]) -> None:
        """Decide every inserted row."""
        rewritten = {number: self._rewritten(change) for number, change in inserts}
        self._ask_entities(inserts, rewritten)
        claims: dict[tuple[TableName, Key], list[int]] = {}
        for number, change in inserts:
            self._one(number, change, rewritten[number].cells)
            if number in self.partners:
                claims.setdefault((change.table, self.partners[number].key), []).append(number)
        by_number = dict(inserts)
        for (table, key), numbers in claims.items():
            if len(numbers) > 1:
                others = ", ".join("/".join(by_number[number].key) for number in numbers)
                for number in numbers:
                    self.refused[number] = Refusal(
                        "same_entity_twice", f"old's rows {others} are all the same as new's {'/'.join(key)}"
                    )
                    self.partners.pop(number)
                    self.ids.get(table, {}).pop(by_number[number].key[0], None)

    def _rewritten(self, change: Change) -> Rewritten:
        table = self._schema.tables[change.table]
        without_own = {name: ids for name, ids in self._before.items() if name != change.table}
        held = self._held[change.table]
        if any(holder.root == change.table for holder in held):
            # a self-reference is rewritten, the row's own id is not: it is what this round decides
            cells = list(rewrite(change.old or (), table, held, self._before).cells)
            own = root_key(table)
            if own is not None:
                place = table.places[own]
                cells[place] = (change.old or ())[place]
            return Rewritten(tuple(cells))
        return rewrite(change.old or (), table, held, without_own)

    def _entity_values(self, table: Table, columns: tuple[str, ...], cells: Sequence[Cell]) -> Values | None:
        names = table.places
        values = tuple(cells[names[column]] for column in columns)
        plain = tuple(value for value in values if type(value) is str)
        return plain if len(plain) == len(values) else None

    def _ask_entities(self, inserts: Sequence[tuple[int, Change]], rewritten: Mapping[int, Rewritten]) -> None:
        wanted: dict[tuple[TableName, tuple[str, ...]], set[Values]] = {}
        for number, change in inserts:
            table = self._schema.tables[change.table]
            for columns in self._rules.same_entity.get(change.table, ()):
                values = self._entity_values(table, columns, rewritten[number].cells)
                if values is not None:
                    wanted.setdefault((change.table, columns), set()).add(values)
        keys: dict[TableName, set[Values]] = {}
        for (name, columns), values_set in wanted.items():
            self._asked.prefetch(Side.NEW, name, columns, values_set)
            for values in values_set:
                for row in self._asked.rows(Side.NEW, name, columns, values):
                    keys.setdefault(name, set()).add(_key(self._schema.tables[name], row))
        for name, found in keys.items():
            self._asked.prefetch_base(self._schema.tables[name], found)

    def _one(self, number: int, change: Change, cells: Cells) -> None:
        table = self._schema.tables[change.table]
        partner = self._partner(number, change, table, cells)
        if number in self.refused:
            return
        if partner is not None:
            self.partners[number] = partner
            if partner.key != change.key and root_key(table) is not None:
                self._map(change, partner.key[0])
            elif partner.key != change.key and tuple(_plain_key(table, cells)) != partner.key:
                self.partners.pop(number)
                self.refused[number] = Refusal(
                    "same_entity_key",
                    f"the same as new's {'/'.join(partner.key)}, but its key of several columns differs",
                )
            return
        if not table.generated_key or root_key(table) is None:
            return
        if change.new is not None:
            if _proven_equal(table, change.old or (), cells, change.new):
                self.present.add(number)
                return
        elif not self._taken_by_sibling(change):
            return
        if human_visible(table.key[0]) and table.name not in self._rules.generated_by_plan:
            self.refused[number] = Refusal(
                "human_visible_id", f"both sides gave out {table.key[0]} {change.key[0]}, a number that people know"
            )
            return
        self._map(change, NewId(change.table, change.key[0]))

    def _map(self, change: Change, to: NewId | str) -> None:
        self.ids.setdefault(change.table, {})[change.key[0]] = to

    def _partner(self, number: int, change: Change, table: Table, cells: Cells) -> Partner | None:
        decided = self._rules.decisions.get((table.name, change.key))
        if decided is not None and decided.choice is Choice.SAME:
            return Partner(decided.new_key or change.key, "decision")
        carried = self._carried.inserted.get((table.name, change.key))
        if carried is not None:
            return Partner(carried.key, carried.by)
        found: dict[Key, str] = {}
        for columns in self._rules.same_entity.get(change.table, ()):
            values = self._entity_values(table, columns, cells)
            if values is None:
                continue
            for row in self._asked.rows(Side.NEW, table.name, columns, values):
                key = _key(table, row)
                if self._asked.base_row(table, key) is None:
                    found.setdefault(key, f"[[merge]] {table.name}: same_entity {', '.join(columns)}")
        if len(found) > 1:
            keys = ", ".join("/".join(key) for key in found)
            self.refused[number] = Refusal("same_entity_ambiguous", f"several rows of new are the same thing: {keys}")
        return next((Partner(key, by) for key, by in found.items()), None)

    def _taken_by_sibling(self, change: Change) -> bool:
        return any(
            self._asked.row(Side.NEW, sibling, change.key) is not None
            and self._asked.base_row(sibling, change.key) is None
            for sibling in self._siblings.get(change.table, ())
        )


def _key(table: Table, row: Row) -> Key:
    names = table.places
    return tuple(row[names[column]] or "" for column in table.key)


def _plain_key(table: Table, cells: Cells) -> list[str]:
    names = table.places
    return [cell if type(cell := cells[names[column]]) is str else "" for column in table.key]


def _proven_equal(table: Table, old: Row, cells: Cells, new: Row) -> bool:
    """Tell whether two inserts under one generated key are one row.

    Equal text is not enough (two users may order the same thing): a unique column, a uuid or a time with a part of
    a second must agree as well. A number drawn from a sequence agrees by chance, the key first of all, and what is
    computed from it likewise.
    """
    one_sided = {*table.columns_only_old, *table.columns_only_new}
    for place, column in enumerate(table.columns):
        if column.name in one_sided:
            if column.name in table.columns_only_old and old[place] is not None:
                return False
        elif not column.generated and cells[place] != new[place]:
            return False
    names = table.places
    drawn = {column.name for column in table.columns if column.sequence is not None}.union(table.key)
    sources = dict(table.generated_from)
    for column in table.columns:
        if column.generated and not drawn.isdisjoint(sources.get(column.name, table.key)):
            drawn.add(column.name)
    for unique in table.uniques:
        proves = bool(unique.columns) and not unique.partial and drawn.isdisjoint(unique.columns)
        if proves and all(new[names[column]] is not None for column in unique.columns):
            return True
    for column, value in zip(table.columns, new, strict=True):
        if column.name in table.key or column.name in one_sided or value is None:
            continue
        if looks_like_uuid(value) or (column.type.startswith("timestamp") and has_fraction(value)):
            return True
    return False
