"""What the plan says about the databases, as plain values (the plan module fills them)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceOption:
    """One ``[[database.reference]]``.

    Attributes:
        source: ``TABLE.COLUMN``, or ``TABLE.COLUMN->>key`` (``->a->>b``) below a jsonb column.
        to: ``TABLE.COLUMN``; empty with ``not_a_reference``.
        when: column -> value that must hold.
        not_a_reference: the user looked and says that this column holds something else.
    """

    source: str
    to: str = ""
    when: Mapping[str, str] = field(default_factory=dict)
    not_a_reference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOption:
    """One ``[[database.table]]``; an attribute that is not given stays at its default.

    Attributes:
        kind: ``merge``, ``append``, ``queue`` or ``ignore``.
        key: ``generated`` where the database draws the key and the schema does not say so.
    """

    name: str
    kind: str | None = None
    key: str | None = None
    match_key: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    owner: str | None = None
    updated_at: tuple[str, ...] = ()
    deleted_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOption:
    """One ``[[merge]]``: either a ``policy`` (of ``column``, or of whole rows) or ``same_entity``."""

    table: str
    column: str | None = None
    policy: str | None = None
    same_entity: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything of the plan that reading the schema needs.

    Attributes:
        exclude: tables (``schema.table`` or a bare name) that are neither diffed nor counted.
        newest: table -> column whose largest value is shown.
    """

    schemas: tuple[str, ...] = ("public",)
    exclude: tuple[str, ...] = ()
    newest: Mapping[str, str] = field(default_factory=dict)
    references: tuple[ReferenceOption, ...] = ()
    tables: tuple[TableOption, ...] = ()
    rules: tuple[RuleOption, ...] = ()
