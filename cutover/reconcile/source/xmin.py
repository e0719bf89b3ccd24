"""Base without its rows: which row versions of old and new are base's own, told by transaction ids.

Two ways. A *watermark* was recorded on old when base was taken: older versions are base. Or it is *inferred*
from new: a restore writes each table in one transaction, so the rows that carry its id are base's rows, and
old's rows that still equal them bound where base lies in old's own history.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from cutover.reconcile.model import Table, TableName
from cutover.reconcile.source.catalogue import Catalogue, RawTable
from cutover.reconcile.source.reader import Reader
from cutover.reconcile.source.schema import BaseColumns
from cutover.reconcile.source.session import Database
from cutover.reconcile.source.sides import ScanPlan, Sequences
from cutover.reconcile.source.watermark import Watermarks, why_unusable

_WRITTEN = """
SELECT c.xmin::text AS class_xmin, t.xmin::text AS type_xmin, c.relfilenode = c.oid AS first_file,
       age(t.xmin) AS type_age,
       (SELECT max(age(x.xmin)) FROM pg_index x WHERE x.indrelid = c.oid) AS index_age
  FROM pg_class c LEFT JOIN pg_type t ON t.oid = c.reltype
 WHERE c.oid = %s::oid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The transactions that restored a table (one per partition), or why they cannot be told.

    Attributes:
        xids: by leaf number, 32 bits.
    """

    xids: dict[int, int] = field(default_factory=dict)
    refused: str = ""


def restored_by(database: Database, raw: RawTable) -> Restored:
    """Find the transaction that restored each leaf of a table.

    The oldest row version of the table was written by it. That it is the restore, and not a later rewrite of
    the table (which gives all rows one new id) or ordinary work, shows by its place between the making of the
    table and the making of its indexes: a restore makes the table, copies the rows, then builds the indexes.

    Args:
        database: new.
        raw: the table there.
    """
    xids: dict[int, int] = {}
    for number, leaf in enumerate(raw.leaves):
        made = database.dicts(_WRITTEN, [leaf.oid])[0]
        # The first blocks usually hold rows as they were restored; only otherwise is the whole leaf looked at.
        for part in (sql.SQL("WHERE ctid < '(16,0)'::tid"), sql.SQL("")):
            oldest = database.dicts(
                sql.SQL(
                    "SELECT xmin::text AS xid, age(xmin) AS age FROM ONLY {} {} ORDER BY age(xmin) DESC LIMIT 1"
                ).format(sql.Identifier(*leaf.name), part)
            )
            if oldest and _by_a_restore(made, oldest[0]["age"]):
                xids[number] = int(oldest[0]["xid"])
                break
        else:
            if oldest:
                return Restored(refused=f"{leaf.name}: {_why_not(made, oldest[0]['age'])}")
    if not xids:
        return Restored(refused=f"{raw.name}: it holds no rows on new that could tell")
    return Restored(xids=xids)


def _by_a_restore(made: dict[str, Any], age: int) -> bool:
    """Tell whether an id lies after the making of the table and before the making of its indexes."""
    type_age, index_age = made["type_age"], made["index_age"]
    if age == type_age:
        return index_age is None or bool(index_age == age)
    return bool(age < type_age and (index_age < age if index_age is not None else made["first_file"]))


def _why_not(made: dict[str, Any], age: int) -> str:
    if made["index_age"] is not None and made["index_age"] >= age:
        return "its oldest rows are younger than its indexes: rewritten since, or restored into a ready schema"
    return "its file was replaced since it was made: rewritten after the restore"


class XminBase:
    """What stands for base when its rows are not at hand.

    Args:
        old: for checks of the watermark.
        new: likewise.
        marks: what ``cutover baseline`` recorded; ``None`` to infer from new's restore alone.

    Attributes:
        inferred: True without a usable watermark of old.
        refused: tables for which nothing could be told, with the reason.
        newest_base: the age of old's newest row version that was seen to be base's own (inferred mode).
    """

    def __init__(self, old: Database, new: Database, marks: Watermarks | None) -> None:
        self._old = old
        self._new = new
        self._marks = marks
        self.notes: list[str] = []
        self.refused: dict[TableName, str] = {}
        self._restored: dict[TableName, Restored] = {}
        self._largest: dict[TableName, int | None] = {}
        self.newest_base: int | None = None
        self._judge_marks()

    def _judge_marks(self) -> None:
        self.old_mark = self.new_mark = None
        self.notes = []
        if self._marks is None:
            return
        why = why_unusable(self._old, self._marks.old)
        if why:
            self.notes.append(f"old's watermark is not used: {why}")
        else:
            self.old_mark = self._marks.old
        if self._marks.new is not None:
            why = why_unusable(self._new, self._marks.new)
            if why:
                self.notes.append(f"new's watermark is not used: {why}")
            else:
                self.new_mark = self._marks.new

    @property
    def inferred(self) -> bool:
        """Whether old's own history is only inferred."""
        return self.old_mark is None

    @property
    def label(self) -> str:
        """How it is named in reports."""
        return "base: inferred" if self.inferred else "base: watermark"

    def columns(self) -> BaseColumns | None:
        """It holds no rows."""
        return None

    def reader(self, table: Table, plan: ScanPlan) -> Reader | None:
        """It holds no rows."""
        return None

    def raw(self, name: TableName) -> RawTable | None:
        """It has no catalogue."""
        return None

    def sequences(self) -> Sequences:
        """The watermark's; inferred: the largest generated key among base's rows, where one was read."""
        return self.old_mark.sequences if self.old_mark else dict(self._largest)

    def instant(self) -> str:
        """The watermark; inference depends on nothing but the two sides."""
        return f"{self.label} {self.old_mark.snapshot_xmin if self.old_mark else ''}"

    def refresh(self, old: Catalogue) -> None:
        """Judge again: another snapshot may be another server."""
        self._restored.clear()
        self.refused.clear()
        self.newest_base = None
        self._judge_marks()

    def close(self) -> None:
        """Nothing is held."""

    def new_is_base(self, table: Table, raw: RawTable, leaf: int) -> sql.Composable | None:
        """Return the condition under which a row version of new is base's own; ``None`` where none is known."""
        if self.new_mark is not None:
            return older_than(self.new_mark.snapshot_xmin)
        if table.name not in self._restored:
            self._restored[table.name] = restored_by(self._new, raw)
        restored = self._restored[table.name]
        if restored.refused:
            self.refused[table.name] = restored.refused
            return None
        if leaf not in restored.xids:
            return sql.SQL("false")
        return sql.SQL("xmin = {}").format(sql.SQL(f"'{restored.xids[leaf]}'::xid"))

    def old_is_base(self) -> sql.Composable | None:
        """Return the condition under which a row version of old is base's own; ``None`` when inferred."""
        return older_than(self.old_mark.snapshot_xmin) if self.old_mark else None

    def learn_largest(self, table: Table, raw: RawTable) -> None:
        """Read the largest generated key among base's rows: stands for the sequence's value in base."""
        if not self.inferred or not table.generated_key:
            return
        column = next(each for each in table.columns if each.name == table.key[0])
        if column.sequence is None:
            return
        largest: int | None = None
        for number, leaf in enumerate(raw.leaves):
            condition = self.new_is_base(table, raw, number)
            if condition is None:
                return
            row = self._new.dicts(
                sql.SQL("SELECT max({}::int8) AS n FROM ONLY {} WHERE {}").format(
                    sql.Identifier(table.key[0]), sql.Identifier(*leaf.name), condition
                )
            )[0]
            if row["n"] is not None:
                largest = max(row["n"], largest or row["n"])
        known = self._largest.get(column.sequence)
        self._largest[column.sequence] = largest if known is None else max(known, largest or known)


def older_than(snapshot_xmin: int) -> sql.Composable:
    """Return the condition ``xmin < snapshot_xmin``, right across wraparound within half the id space.

    ``age()`` is measured from one fixed id per transaction; permanent (frozen, bootstrap) ids are oldest.
    A frozen version from before the horizon may look newer: it is then judged by value, which is right too.
    """
    return sql.SQL("age(xmin) > age({})").format(sql.SQL(f"'{snapshot_xmin % 2**32}'::xid"))
