"""What a merge comes to: verdict, exit code, JSON (DESIGN.md 6). No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cutover.reconcile.diff.estimate import TableEstimate
from cutover.reconcile.merge.accounting import TableSums, accounted_json, text_key
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.merge import MergeResult
from cutover.reconcile.merge.policy import BaseKind
from cutover.reconcile.model import Decision, TableName

CONFLICTS_IN_JSON = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """The people whose rows old changed, by a declared owner column."""

    table: TableName
    column: str
    changes: Counter[str]
    conflicts: Counter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything that is shown of a merge.

    Attributes:
        base: how base is called; ``base_kinds`` per table.
        unseen: what could not be seen though the verdict needs it.
        notes: what a person should know about the reading.
        left_out: tables that were not compared, with the reason: not counted, which is not zero.
        bundle: its folder's name; empty for an estimate, which leaves none.
        estimates: of an estimate, how many rows each side changed, and who they belong to.
        estimated: counts only, never applied.
        stale: decisions that no longer hold.
        open_conflicts: by reason.
    """

    migration: str
    at: datetime
    bundle: str
    base: str
    base_kinds: dict[TableName, BaseKind]
    tables: tuple[TableSums, ...]
    judged: Sequence[Judged]
    warnings: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: dict[TableName, str] = field(default_factory=dict)
    owners: tuple[Owners, ...] = ()
    estimates: tuple[TableEstimate, ...] = ()
    estimated: bool = False
    stale: int = 0

    @property
    def conflicts(self) -> list[Judged]:
        """What is left for people."""
        return [each for each in self.judged if each.decision is Decision.CONFLICT]

    @property
    def verdict(self) -> str:
        """One word (DESIGN.md 6): a conflict wins over what could not be seen, both are listed."""
        if self.estimated:
            return "estimated"
        if self._count(Decision.CONFLICT):
            return "conflicts"
        if self.unseen:
            return "inconclusive"
        if any(each.writes for each in self.judged) or self._count(Decision.SKIPPED):
            return "mergeable"
        return "clean"

    @property
    def exit_code(self) -> int:
        """0 everything can be merged, 3 conflicts are left, 4 something could not be seen (DESIGN.md 3)."""
        return {"conflicts": 3, "inconclusive": 4}.get(self.verdict, 0)

    @property
    def overwritten(self) -> int:
        """Changes of new that the merge gives up: shown in red."""
        return sum(each.overwritten for each in self.tables)

    def _count(self, decision: Decision) -> int:
        return sum(each.classes.get(decision, 0) for each in self.tables)

    @property
    def next_command(self) -> str:
        """The one thing to do now."""
        match self.verdict:
            case "conflicts":
                return f"decide in {self.bundle}/decisions.toml, then: cutover reconcile --bundle {self.bundle}"
            case "mergeable":
                return f"cutover reconcile --apply {self.bundle}"
            case "clean":
                return f"nothing to write; to prove it: cutover reconcile --verify {self.bundle}"
            case _:
                return "cutover reconcile"

    def to_json(self) -> dict[str, Any]:
        """Return the command's JSON.

        Raises:
            UnbalancedError: the sums do not balance.
        """
        conflicts = self.conflicts
        return {
            "command": "reconcile",
            "migration": self.migration,
            "at": self.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "findings": [],
            "tables": [each.to_json() for each in self.tables],
            "accounted": accounted_json(self.tables),
            "bundle": self.bundle or None,
            "base": self.base,
            "base_kinds": {str(name): kind.value for name, kind in self.base_kinds.items()},
            "new_changes": {
                "kept": sum(each.kept for each in self.tables),
                "merged": sum(each.merged for each in self.tables),
                "overwritten": self.overwritten,
            },
            "effects": sum(each.effects for each in self.tables),
            "conflicts": [_conflict(each) for each in conflicts[:CONFLICTS_IN_JSON]],
            "conflicts_not_shown": max(0, len(conflicts) - CONFLICTS_IN_JSON),
            "warnings": list(self.warnings),
            "unseen": list(self.unseen),
            "notes": list(self.notes),
            "left_out": {str(name): reason for name, reason in self.left_out.items()},
            "affected": [
                {
                    "table": str(each.table),
                    "column": each.column,
                    "owners": len(each.changes),
                    "with_conflicts": len(each.conflicts),
                }
                for each in self.owners
            ],
            "stale_decisions": self.stale,
            "next": self.next_command,
            **({"estimates": [_estimate(each) for each in self.estimates]} if self.estimated else {}),
        }


def _estimate(each: TableEstimate) -> dict[str, Any]:
    return {
        "table": str(each.table),
        "old": each.old,
        "new": each.new,
        "exact": each.exact,
        "how": each.how,
        "users": list(each.owners),
        "user_count": each.owner_count,
    }


def _conflict(each: Judged) -> dict[str, Any]:
    return {
        "table": str(each.table.name),
        "key": list(text_key(each.table, each.change.key)),
        "kind": each.kind,
        "new_kind": each.new_kind,
        "reason": each.reason,
        "message": each.message,
        "because_of": list(each.because_of),
        "columns": list(each.columns),
    }


def owners(result: MergeResult) -> tuple[Owners, ...]:
    """Count the affected people of every table with a declared owner column."""
    changes: dict[TableName, Counter[str]] = {}
    conflicts: dict[TableName, Counter[str]] = {}
    columns: dict[TableName, str] = {}
    for each in result.judged:
        column = each.table.owner
        if column is None:
            continue
        columns[each.table.name] = column
        row = each.change.old or each.change.base or ()
        owner = row[each.table.places[column]]
        if owner is None:
            continue
        changes.setdefault(each.table.name, Counter())[owner] += each.copies
        if each.decision is Decision.CONFLICT:
            conflicts.setdefault(each.table.name, Counter())[owner] += each.copies
    return tuple(
        Owners(table=name, column=columns[name], changes=counted, conflicts=conflicts.get(name, Counter()))
        for name, counted in changes.items()
    )


def worst(conflicts: Iterable[Judged], limit: int) -> list[Judged]:
    """Return the conflicts that others hang on first: a parent before its children, then what old wrote last."""
    pulled: Counter[str] = Counter()
    listed = list(conflicts)
    for each in listed:
        pulled.update(each.because_of)
    return sorted(listed, key=lambda each: (-pulled[each.label], each.reason == "dependent", each.number))[:limit]
