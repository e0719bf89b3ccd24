"""Every change of old in exactly one class, and the sums that prove it (DESIGN.md 7). No I/O."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cutover.reconcile.bundle import Accounted, ConflictRows
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.model import Change, Decision, Key, Row, Table, TableName, Tally

CLASSES = (
    Decision.APPLY,
    Decision.ALREADY_PRESENT,
    Decision.MERGED,
    Decision.REKEYED,
    Decision.CONFLICT,
    Decision.SKIPPED,
)
"""In the order in which people read them."""


class UnbalancedError(Exception):
    """The sums do not balance: a change would be lost silently. A bug, never the user's doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSums:
    """The sums of one table.

    Attributes:
        old, new: what each side changed.
        classes: how many of old's changes are in each class.
        kept, merged, overwritten: what becomes of new's changes.
        effects: rewritten references, outside the sums.
    """

    table: TableName
    old: Tally
    new: Tally
    classes: Mapping[Decision, int]
    merged: int = 0
    overwritten: int = 0
    effects: int = 0

    @property
    def kept(self) -> int:
        """New's changes that stay as they are."""
        return self.new.total - self.merged - self.overwritten

    def to_json(self) -> dict[str, Any]:
        """Return the table's line of ``summary.json`` (DESIGN.md 6), and what became of new's changes."""
        return {
            "table": str(self.table),
            "old": self.old._asdict(),
            "new": self.new._asdict(),
            **{each.value: self.classes.get(each, 0) for each in CLASSES},
            "effects": self.effects,
            "new_kept": self.kept,
            "new_merged": self.merged,
            "new_overwritten": self.overwritten,
        }


def tally(changes: Iterable[Change]) -> Tally:
    """Count old's changes by kind."""
    counts: Counter[str] = Counter()
    for change in changes:
        counts["insert" if change.base is None else "delete" if change.old is None else "update"] += change.count
    return Tally(counts["insert"], counts["update"], counts["delete"])


def sums(
    judged: Sequence[Judged], old: Mapping[TableName, Tally], new: Mapping[TableName, Tally]
) -> tuple[TableSums, ...]:
    """Add up the classes per table and prove that nothing is missing.

    Args:
        judged: of all tables.
        old: what the reading counted as changed by old, per table; every compared table is here.
        new: the same for new.

    Raises:
        UnbalancedError: a change is in no class, or in two.
    """
    classes: dict[TableName, Counter[Decision]] = {name: Counter() for name in old}
    outcomes: dict[TableName, Counter[str]] = {name: Counter() for name in old}
    effects: Counter[TableName] = Counter()
    for each in judged:
        name = each.table.name
        if name not in classes:
            raise UnbalancedError(f"{name}: a change of a table that was not read")
        classes[name][each.decision] += each.copies
        if each.decision is Decision.CONFLICT and each.writes:
            raise UnbalancedError(f"{each.label}: a conflict that would be written")
        if each.new_kind:
            outcomes[name][each.outcome] += each.copies
        if each.decision is not Decision.CONFLICT:
            effects[name] += len(each.effects)
    found = []
    for name, counted in old.items():
        total = sum(classes[name].values())
        if total != counted.total:
            raise UnbalancedError(f"{name}: old made {counted.total} changes, {total} are accounted for")
        line = TableSums(
            table=name,
            old=counted,
            new=new.get(name, Tally()),
            classes=dict(classes[name]),
            merged=outcomes[name]["merged"],
            overwritten=outcomes[name]["overwritten"],
            effects=effects[name],
        )
        if line.kept < 0:
            raise UnbalancedError(f"{name}: new made {line.new.total} changes, more are merged or overwritten")
        found.append(line)
    return tuple(found)


def accounted_json(tables: Iterable[TableSums]) -> dict[str, int]:
    """Return ``accounted`` of DESIGN.md 6.

    Raises:
        UnbalancedError: the classes do not add up to old's changes.
    """
    tables = tuple(tables)
    changes = sum(each.old.total for each in tables)
    classes = {name.value: sum(each.classes.get(name, 0) for each in tables) for name in CLASSES}
    if sum(classes.values()) != changes:
        raise UnbalancedError(f"old made {changes} changes, {sum(classes.values())} are accounted for")
    return {"old_changes": changes, **classes}


def three_hash(table: TableName, key: Key, base: Row | None, old: Row | None, new: Row | None) -> str:
    """Return the hash that ties a decision to these three rows."""
    text = json.dumps([*table, list(key), base, old, new], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def text_key(table: Table, key: Sequence[str | None]) -> tuple[str, ...]:
    """Return a key as texts; a keyless row is one text, its JSON, in which NULL is not the empty string."""
    return tuple(value or "" for value in key) if table.key else (json.dumps(list(key)),)


def account(each: Judged) -> Accounted:
    """Return a judgement as the bundle holds it."""
    change = each.change
    return Accounted(
        change=each.number,
        table=each.table.name,
        key=text_key(each.table, change.key),
        kind=each.kind,
        decision=each.decision,
        new_kind=each.new_kind,
        reason=each.reason,
        message=each.message,
        because_of=each.because_of,
        columns=each.columns,
        rules=each.rules,
        effects=each.effects,
        new_outcome=each.outcome,
        hash=three_hash(change.table, change.key, change.base, change.old, each.new_row),
        count=each.copies,
    )


def conflict_rows(each: Judged) -> ConflictRows:
    """Return the three rows of a conflict."""
    return ConflictRows(each.number, each.base_row, each.change.old, each.new_row, each.new_key)
