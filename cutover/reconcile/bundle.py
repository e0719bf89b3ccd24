"""The bundle: one folder with all that is needed to review, apply, verify and undo a merge.

A run makes a new folder (``reconcile-20251112T1900Z``, with ``-2``... when the name is taken); a name is never
used again. Folder 0700, files 0600. Every file is written under a temporary name, synced and renamed, and
``manifest.json`` comes last: a folder without it is half-written and is never taken for a bundle.

=================  ===========================================================================================
manifest.json      completed marker: format, tool, bundle id, and SHA-256 and size of every *sealed* file
meta.json          sealed. What was compared (:class:`Meta`): databases, snapshots, plan hash, base kinds, tables
changes.jsonl      sealed. The ordered change set: one :class:`Component` a line
accounted.jsonl    sealed. Every change that old made, one :class:`Accounted` a line, in exactly one class
conflicts.jsonl    sealed. Base, old and new rows of every conflict (:class:`ConflictRows`), in full
summary.json       sealed. The JSON of the command (DESIGN.md 6)
id_map.csv         table, column, old_id, new_id, how. ``new_id`` is empty for a collision until the apply drew it
decisions.toml     for a person to fill in (:mod:`cutover.reconcile.review.decisions`)
report.html        for a person to read
apply.sql, undo.sql    sealed. The apply's protocol, when it was rendered
=================  ===========================================================================================

**The change set.** Components are independent of each other (no reference, no unique value, no exclusion links
two of them) and may be applied in any order; a component's steps run in their order, in one transaction.
A step moves one row of the target from ``pre`` to ``post``:

- ``pre is None``: no row with that key may exist; insert ``post``.
- ``post is None``: the row must still be ``pre`` in every column; delete it.
- else: the row must still be ``pre`` in every column; write the columns in which the two differ.

Rows are arrays aligned with ``meta.tables[TABLE].columns``. A cell is text under the pinned settings, ``null``, or

- ``{"new_id": [schema, table, old_id]}``: the id drawn for that row (id map; how = ``collision``);
- ``{"json": text, "ids": [[path, id], ...]}``: the document with the values at these paths replaced, each keeping
  its JSON kind (number or string);
- ``{"filled": "generated"}``: a generated column: never written, any value is expected after;
- ``{"filled": "default"}``: a column that old does not have: left to the database on insert.

In a guard (``pre``) a filled cell matches any value.

Several steps may concern one row: a *parked* step (``park: true``) moves a row out of the way first (a swap of
unique values, an insert in a circle of references), a later one brings it to its final values; the later step's
``pre`` is then the parked row. ``add`` holds, per column, the difference that a rule ``add`` asks for: when the
guard misses because the target moved on in nothing but these columns, the difference still holds, ``post`` does not.
``dangling`` names the columns whose declared reference points nowhere on old either: only those may on new.
For keyless tables ``key`` is empty and ``count`` says how many identical rows are inserted or deleted.
``deferred`` asks for ``SET CONSTRAINTS ALL DEFERRED`` in the component's transaction.

Reading and writing it: :mod:`cutover.reconcile.review.bundlefile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from cutover import __version__

if TYPE_CHECKING:
    from cutover.reconcile.merge.cells import Cells
    from cutover.reconcile.model import Decision, ForeignKey, Row, TableName

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseMeta:
    """One database as it was read.

    Attributes:
        system_identifier: of the cluster (``pg_control_system``), ``""`` where the role may not read it.
        database: its name.
        snapshot: ``pg_current_snapshot()`` of the exported snapshot (``xmin:xmax:xip``).
        snapshot_at: the server's own clock when the snapshot was taken, UTC.
        clock_skew: the server's clock minus that of the machine that read it, seconds.
    """

    system_identifier: str
    database: str
    server_version: int
    snapshot: str
    snapshot_at: datetime
    lsn: str = ""
    clock_skew: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMeta:
    """What the apply needs to know of one table.

    Attributes:
        types: ``format_type`` of every column, to cast text back.
        generated, identity_always: columns that are not written, or only by OVERRIDING SYSTEM VALUE.
        only_old: columns that the target lacks; their cells in rows of new are ``null`` and mean nothing.
        only_new: columns that old lacks.
        sequence: what a re-keyed row's id is drawn from, or ``None`` (then it is the key's maximum + 1).
        base: the kind of base that the decisions of this table stand on.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]
    generated: tuple[str, ...] = ()
    identity_always: tuple[str, ...] = ()
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()
    generated_key: bool = False
    sequence: TableName | None = None
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What was compared.

    Attributes:
        bundle: the folder's name.
        base: ``database``, ``dump``, ``watermark``, ``inferred``, ``none`` or ``mixed``; per table in ``tables``.
        plan_hash: of the plan that was used.
        estimated: from ``--estimate``: never applied.
        old, new: the two databases; ``snapshot_at`` of old must be later than the fence.
        continues: the bundle whose decisions were read, if any.
        reread: whether an apply made it in place of that one, which was older than the fence.
        decisions: SHA-256 of the decisions that were read.
        no_merge, prove, accept_inferred_deletes: how it was asked for: whatever goes on with it asks for the same.
        sequences: (sequence, last value in old, last value in new): what the apply advances.
        references: those that the plan declares; foreign keys are read from the target's own catalogue.
    """

    bundle: str
    migration: str
    created_at: datetime
    plan_hash: str
    base: str
    old: DatabaseMeta
    new: DatabaseMeta
    tables: Mapping[TableName, TableMeta]
    sequences: tuple[tuple[TableName, int | None, int | None], ...] = ()
    references: tuple[ForeignKey, ...] = ()
    estimated: bool = False
    continues: str = ""
    reread: bool = False
    decisions: str = ""
    no_merge: bool = False
    prove: bool = False
    accept_inferred_deletes: bool = False
    format: int = FORMAT
    tool: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of the target from ``pre`` to ``post`` (module docstring).

    Attributes:
        change: the number of the change of old that it carries out (see :class:`Accounted`).
        key: how to find the row; symbolic where the row is re-keyed.
    """

    change: int
    table: TableName
    key: Cells
    pre: Cells | None
    post: Cells | None
    add: Mapping[str, str] = field(default_factory=dict)
    park: bool = False
    count: int = 1
    dangling: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Component:
    """Steps that belong together: one transaction."""

    number: int
    steps: tuple[Step, ...]
    deferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """One change that old made, and its class.

    Attributes:
        change: its number, in the order of reading.
        key: of old's row (of base's, where old deleted it).
        kind: ``insert``, ``update`` or ``delete``: what old did.
        new_kind: what new did to the same key, ``""`` for nothing.
        reason: a short word (``updated_both``, ``dependent``, ``unique``, ``rule``...); see ``message`` for people.
        because_of: what else stands in the way: ``"public.orders 101"``.
        columns: the columns that the reason is about.
        rules: rules and decisions that were used, by name.
        effects: what happens beside the change itself (rewritten references); outside the sums.
        new_outcome: what becomes of new's change of this key: ``kept``, ``merged``, ``overwritten`` or ``""``.
        hash: of base, old and new (a decision holds only for these three).
        count: how many identical rows of a keyless table.
    """

    change: int
    table: TableName
    key: tuple[str, ...]
    kind: str
    decision: Decision
    new_kind: str = ""
    reason: str = ""
    message: str = ""
    because_of: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    new_outcome: str = ""
    hash: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class ConflictRows:
    """The three rows of a conflict, in full; ``new_key`` when new's row has another key than old's."""

    change: int
    base: Row | None
    old: Row | None
    new: Row | None
    new_key: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class MappedId:
    """One line of the id map. ``new_id`` is ``None`` until the apply drew it."""

    table: TableName
    column: str
    old_id: str
    new_id: str | None
    how: str
