"""What people said (merge rules, decisions) and what is known beside the rows, as values. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from cutover.errors import CutoverError
from cutover.reconcile.merge.carried import NOTHING, Carried
from cutover.reconcile.model import Key, Schema, Table, TableName

if TYPE_CHECKING:
    from cutover.reconcile.options import Options


class Policy(StrEnum):
    """What a ``[[merge]]`` rule does with a conflict."""

    REFUSE = "refuse"
    OLD = "old"
    NEW = "new"
    NEWEST = "newest"
    MAX = "max"
    MIN = "min"
    ADD = "add"


class Rule(NamedTuple):
    """One rule; ``column`` is ``None`` for whole rows.

    Attributes:
        by: the column that ``newest`` compares.
    """

    table: TableName
    column: str | None
    policy: Policy
    by: str = ""

    @property
    def name(self) -> str:
        """How the report names it."""
        what = f"newest({self.by})" if self.policy is Policy.NEWEST else self.policy.value
        return f"[[merge]] {self.table}{'.' + self.column if self.column else ''}: {what}"


class BaseKind(StrEnum):
    """What a table's base is known from (DESIGN.md 7)."""

    DATABASE = "database"
    DUMP = "dump"
    WATERMARK = "watermark"
    INFERRED = "inferred"
    NONE = "none"


class Choice(StrEnum):
    """What a person decided about a conflict."""

    OLD = "old"
    NEW = "new"
    SAME = "same"
    DISCARD = "discard"
    COLUMNS = "columns"


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that holds for exactly these three rows.

    Attributes:
        hash: of base, old and new.
        columns: with :attr:`Choice.COLUMNS`, the side per column.
        new_key: with :attr:`Choice.SAME`, the key of new's row that is the same thing.
    """

    choice: Choice
    hash: str
    columns: Mapping[str, str] = field(default_factory=dict)
    new_key: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Everything that people said.

    Attributes:
        same_entity: per table, sets of columns that tell that two inserts are one thing.
        not_references: (table, column) that the plan says hold no reference.
        generated_by_plan: tables for which the plan says ``key = "generated"``.
        no_merge: column merges become conflicts.
        decisions: by (table, key of old's change); stale ones are not here.
    """

    rules: tuple[Rule, ...] = ()
    same_entity: Mapping[TableName, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    not_references: frozenset[tuple[TableName, str]] = frozenset()
    generated_by_plan: frozenset[TableName] = frozenset()
    no_merge: bool = False
    accept_inferred_deletes: bool = False
    decisions: Mapping[tuple[TableName, Key], Decided] = field(default_factory=dict)

    def for_column(self, table: TableName, column: str) -> Rule | None:
        """Return the first rule that speaks of a column of a table, or of its whole rows."""
        for rule in self.rules:
            if rule.table == table and rule.column in (None, column):
                return rule
        return None

    def for_row(self, table: TableName) -> Rule | None:
        """Return the first rule that speaks of a table's whole rows."""
        return next((rule for rule in self.rules if rule.table == table and rule.column is None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known beside the rows.

    Attributes:
        base: the kind of base, per table.
        base_sequence: the last value of each generated key's sequence when the base was taken, where known.
        sequence_slack: by how much base's sequences may stand too high: WAL logs 32 values ahead, and a physical
            copy (a point-in-time restore) wakes up at the logged value.
        clock_skew: seconds by which the two databases' clocks may differ.
        base_later: tables whose base is younger than the copy, with the reason: what old wrote in between looks as if
            new had deleted it.
        carried: what earlier applies wrote into new.
    """

    base_later: Mapping[TableName, str] = field(default_factory=dict)
    base: Mapping[TableName, BaseKind] = field(default_factory=dict)
    base_sequence: Mapping[TableName, int] = field(default_factory=dict)
    sequence_slack: int = 0
    clock_skew: float = 0.0
    misfits: Mapping[tuple[TableName, str], Collection[str]] = field(default_factory=dict)
    carried: Carried = NOTHING

    def kind(self, table: TableName) -> BaseKind:
        """Return the kind of a table's base."""
        return self.base.get(table, BaseKind.DATABASE)


def rules_from(
    options: Options,
    schema: Schema,
    *,
    no_merge: bool = False,
    accept_inferred_deletes: bool = False,
    decisions: Mapping[tuple[TableName, Key], Decided] | None = None,
) -> Rules:
    """Read the plan's rules. Names and types were checked against the schema when it was loaded.

    Raises:
        CutoverError: a rule would merge a key.
    """
    rules: list[Rule] = []
    same_entity: dict[TableName, list[tuple[str, ...]]] = {}
    for option in options.rules:
        table = find_table(schema, option.table)
        if table is None:
            continue
        if option.same_entity:
            same_entity.setdefault(table.name, []).append(option.same_entity)
        if option.policy is not None:
            rule = _rule(table, option.column, option.policy)
            if rule.column in table.key and rule.policy in (Policy.ADD, Policy.MAX, Policy.MIN):
                raise CutoverError(
                    f"{rule.name}: {rule.column} is part of the key", "a key is not computed: take the rule out"
                )
            rules.append(rule)
    not_references: set[tuple[TableName, str]] = set()
    for reference in options.references:
        if reference.not_a_reference:
            name, _, column = re.split(r"->", reference.source)[0].strip().rpartition(".")
            table = find_table(schema, name)
            if table is not None:
                not_references.add((table.name, column))
    generated = {find_table(schema, entry.name) for entry in options.tables if entry.key == "generated"}
    return Rules(
        rules=tuple(rules),
        same_entity={name: tuple(columns) for name, columns in same_entity.items()},
        not_references=frozenset(not_references),
        generated_by_plan=frozenset(table.name for table in generated if table is not None),
        no_merge=no_merge,
        accept_inferred_deletes=accept_inferred_deletes,
        decisions=decisions or {},
    )


def find_table(schema: Schema, name: str) -> Table | None:
    """Find a table that the plan names, by ``schema.table`` or its bare name; ``None`` when it is left out."""
    for test in (str, lambda each: each.name):
        found = [table for each, table in schema.tables.items() if test(each) == name]
        if len(found) == 1:
            return found[0]
    return None


def _rule(table: Table, column: str | None, policy: str) -> Rule:
    newest = re.fullmatch(r"newest\(([^()]+)\)", policy)
    if newest:
        return Rule(table.name, column, Policy.NEWEST, newest[1].strip())
    return Rule(table.name, column, Policy(policy))


def must_be_decided(table: Table) -> bool:
    """Tell whether a table looks like a queue, outbox, session or migration table and the plan says nothing."""
    return table.kind_from not in ("default", "plan")
