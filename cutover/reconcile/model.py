"""Values of the reconcile road: schema, rows, changes, decisions. No I/O.

A row's values are text under the pinned settings (:data:`PINNED_SETTINGS`), ``None`` for SQL NULL, in
the order of :attr:`Table.columns`. A difference is a difference in that text (DESIGN.md 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

PINNED_SETTINGS: Mapping[str, str] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "search_path": "pg_catalog",
    "row_security": "off",
}
"""Session settings that decide how a value looks as text."""

Row = tuple[str | None, ...]
Key = tuple[str, ...]


class Side(StrEnum):
    """One of the three states."""

    BASE = "base"
    OLD = "old"
    NEW = "new"


class TableName(NamedTuple):
    """Schema and name, unquoted, as the catalogue holds them."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        type: ``format_type`` text, schema-qualified where it is not built in.
        generated: a STORED generated column: never written.
        identity: ``""``, ``"always"`` or ``"by default"``.
        sequence: the sequence that its default or identity draws from, if any.
        text_hash: equality of this type does not imply equal text (or it has no hash): hash its text.
    """

    name: str
    type: str
    not_null: bool = False
    generated: bool = False
    identity: str = ""
    default: str | None = None
    sequence: TableName | None = None
    text_hash: bool = False


class ForeignKey(NamedTuple):
    """``columns`` of ``table`` refer to ``to_columns`` of ``to_table``.

    Attributes:
        when: column -> value that must hold for the reference to mean anything (polymorphic pairs).
        json_path: keys below ``columns[0]`` (jsonb) where the referring value lies.
        declared: by the plan's ``[[database.reference]]``, not by the schema.
        on_delete: ``"no action"``, ``"restrict"``, ``"cascade"``, ``"set null"`` or ``"set default"``.
    """

    name: str
    table: TableName
    columns: tuple[str, ...]
    to_table: TableName
    to_columns: tuple[str, ...]
    on_delete: str = "no action"
    deferrable: bool = False
    declared: bool = False
    when: tuple[tuple[str, str], ...] = ()
    json_path: tuple[str, ...] = ()


class Unique(NamedTuple):
    """A unique index, primary key included.

    Attributes:
        columns: empty when the index holds an expression.
        definition: ``pg_get_indexdef``.
        partial: has a WHERE.
        touches: every column that it depends on, those of its expressions and of its WHERE among them.
        text_tells: two values collide exactly when their texts are the same; False for citext, numeric
            without a fixed scale, non-deterministic collations...: ask :meth:`Lookup.violations`.
    """

    name: str
    columns: tuple[str, ...]
    definition: str
    primary: bool = False
    partial: bool = False
    deferrable: bool = False
    nulls_not_distinct: bool = False
    text_tells: bool = True
    touches: tuple[str, ...] = ()

    @property
    def watched(self) -> tuple[str, ...]:
        """The columns whose change may make a row collide; empty where that is not known."""
        return self.touches or self.columns


class Constraint(NamedTuple):
    """A CHECK or an EXCLUDE."""

    name: str
    kind: str
    columns: tuple[str, ...]
    definition: str

    @property
    def watched(self) -> tuple[str, ...]:
        """The columns whose change may break it; empty where that is not known."""
        return self.columns


class TableKind(StrEnum):
    """How the plan (or recognition by name) wants a table handled."""

    MERGE = "merge"
    APPEND = "append"
    QUEUE = "queue"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table as the reconcile road sees it (a partitioned one through its root).

    Attributes:
        columns: every column of old and new by name, in old's order and then those that only new has. A row
            holds ``None`` where its side lacks the column (``columns_only_old``, ``columns_only_new`` tell
            that from SQL NULL).
        key: the columns that tell rows apart: primary key, a unique not-null index, or ``match_key``;
            empty for a keyless table.
        key_from: ``"primary key"``, ``"unique index NAME"``, ``"match_key"`` or ``""``.
        generated_key: the key is one column that the database draws (sequence, identity, or the plan's
            ``key = "generated"``): two equal values on two sides may be two different things.
        kind_from: ``"default"``, ``"plan"``, or ``"recognised as ..."``: then a person must still decide.
        columns_only_old: columns that new lacks; their changes end as conflict ``no_column``. All of them
            when new lacks the table.
        columns_not_in_base: columns of old that base lacks (``None`` in base's rows).
        columns_retyped: columns whose type differs between old and new so that a value's text may differ.
        columns_required: columns that new never leaves empty and old may, or lacks; none where triggers may fill them.
        updated_at: columns that a trigger (or the plan) says are noise.
        groups: columns that belong together, from the plan.
        checks: new's CHECKs; none where triggers may still change what is written.
        checks_of_old: the definitions of those that old's rows passed as well.
        column_names, places: names in row order, and the place of each in a row.
        dependencies: sets of columns that share a CHECK, foreign key, unique, exclusion or generated
            expression, the plan's groups included: two sides touching one set is no mere column merge.
        generated_from: generated columns with the columns that they are computed from, where that is the same on
            both sides.
    """

    name: TableName
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    key_from: str
    generated_key: bool = False
    kind: TableKind = TableKind.MERGE
    kind_from: str = "default"
    partitioned: bool = False
    partition_columns: tuple[str, ...] = ()
    inherits: bool = False
    foreign_keys: tuple[ForeignKey, ...] = ()
    uniques: tuple[Unique, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    triggers: tuple[str, ...] = ()
    columns_only_old: tuple[str, ...] = ()
    columns_only_new: tuple[str, ...] = ()
    columns_not_in_base: tuple[str, ...] = ()
    columns_retyped: tuple[str, ...] = ()
    columns_required: tuple[str, ...] = ()
    updated_at: tuple[str, ...] = ()
    deleted_at: str | None = None
    owner: str | None = None
    groups: tuple[tuple[str, ...], ...] = ()
    checks: tuple[Constraint, ...] = ()
    checks_of_old: frozenset[str] = frozenset()
    dependencies: tuple[frozenset[str], ...] = ()
    generated_from: tuple[tuple[str, frozenset[str]], ...] = ()
    column_names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    places: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # asked for once per row and column: worked out once
        object.__setattr__(self, "column_names", tuple(column.name for column in self.columns))
        object.__setattr__(self, "places", {name: place for place, name in enumerate(self.column_names)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All tables of the comparison, and what is left out with the reason.

    Attributes:
        references_to: by target table, every foreign key and declared reference that points at it.
    """

    tables: Mapping[TableName, Table]
    left_out: Mapping[TableName, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def references_to(self) -> Mapping[TableName, tuple[ForeignKey, ...]]:
        """Every reference by the table that it points at."""
        found: dict[TableName, list[ForeignKey]] = {}
        for table in self.tables.values():
            for reference in table.foreign_keys:
                found.setdefault(reference.to_table, []).append(reference)
        return {name: tuple(references) for name, references in found.items()}


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose old row differs from base.

    Attributes:
        key: the key's text values (of old's row, or of base's when old deleted it).
        base, old, new: the row on each side, ``None`` where it is absent.
        base_known: False when there was no base to compare with for this row (it was judged by value only).
        count: for keyless tables, how many identical rows this stands for: the key is the whole row, and the
            difference of the multisets O and B is ``count`` inserts (``base`` is ``None``) or ``count``
            deletes (``old`` is ``None``); ``new`` is ``None``, :attr:`new_count` tells the copies in new.
        new_count: for keyless tables, how many identical rows new holds.
    """

    table: TableName
    key: Key
    base: Row | None
    old: Row | None
    new: Row | None
    base_known: bool = True
    count: int = 1
    new_count: int = 0


class Tally(NamedTuple):
    """Changes of one side against base, by kind."""

    insert: int = 0
    update: int = 0
    delete: int = 0

    @property
    def total(self) -> int:
        """All changes."""
        return self.insert + self.update + self.delete


class Decision(StrEnum):
    """The class of one old change; each change has exactly one (accounting, DESIGN.md 7)."""

    CONFLICT = "conflict"
    SKIPPED = "skipped"
    REKEYED = "rekeyed"
    MERGED = "merged"
    ALREADY_PRESENT = "already_present"
    APPLY = "apply"


class Ask(NamedTuple):
    """Which rows of ``table`` have one of ``values`` (text) in ``columns``.

    With ``json_path`` the one column is a JSON document, and the value stands there below it (a number or a string).
    """

    table: TableName
    columns: tuple[str, ...]
    values: tuple[tuple[str | None, ...], ...]
    json_path: tuple[str, ...] = ()


class Lookup(Protocol):
    """Rows of one side at its snapshot, by value. The merge asks in batches; tests answer from dicts."""

    def rows(self, side: Side, ask: Ask) -> Sequence[Row]:
        """Return the whole rows of ``side`` that match; an absent table or column gives none."""
        ...

    def violations(self, side: Side, table: Table, unique: Unique | Constraint, row: Row) -> Sequence[Row]:
        """Return rows of ``side`` that ``row`` would collide with under a unique or exclusion constraint.

        Needed where text cannot tell (expression and partial indexes, non-deterministic collations,
        exclusion operators).
        """
        ...

    def refused(self, table: Table, check: Constraint, rows: Sequence[Row]) -> Sequence[int]:
        """Return the places of those of ``rows`` that a CHECK of new refuses; none where that cannot be told."""
        ...
