"""What an apply, an undo or a verify came to: values, their text and their JSON (DESIGN.md 6). No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

SHOWN = 20
"""Lines of a list that the terminal shows; ``--json`` and the bundle hold them all."""


class Left(NamedTuple):
    """A change that was not carried out and waits for a person.

    Attributes:
        key: of the row, as text.
        reason: ``conflict``, ``missed`` (the row in new moved on), ``refused`` (the database said no),
            ``changed since`` (undo).
    """

    table: str
    key: tuple[str, ...]
    reason: str
    message: str

    def line(self) -> str:
        """One line for people."""
        return f"{self.table} {', '.join(self.key)}: {self.reason}: {self.message}"


class Effect(NamedTuple):
    """What triggers (or rules, or ON DELETE actions) did beside what was planned, on one table.

    Attributes:
        rows: rows of the change set whose result is not the planned one, and ``columns`` in which.
        inserted, updated, deleted: writes that no step explains.
    """

    table: str
    rows: int = 0
    columns: tuple[str, ...] = ()
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    accepted: bool = False

    def line(self) -> str:
        """One line for people."""
        parts: list[str] = []
        if self.rows:
            parts.append(f"{self.rows} rows differ from the plan in {', '.join(self.columns) or 'some column'}")
        for number, verb in ((self.inserted, "inserted"), (self.updated, "updated"), (self.deleted, "deleted")):
            if number:
                parts.append(f"{number} rows {verb} beside it")
        return f"{self.table}: {'; '.join(parts)}{' (accepted)' if self.accepted else ''}"


def merge_effects(found: Iterable[Mapping[str, Any]], accepted: Iterable[str]) -> tuple[Effect, ...]:
    """Add up the effects of many batches, by table."""
    wanted = set(accepted)
    sums: dict[str, Effect] = {}
    for one in found:
        table = str(one["table"])
        before = sums.get(table, Effect(table))
        sums[table] = Effect(
            table,
            before.rows + int(one.get("rows") or 0),
            tuple(sorted({*before.columns, *(one.get("columns") or ())})),
            before.inserted + int(one.get("inserted") or 0),
            before.updated + int(one.get("updated") or 0),
            before.deleted + int(one.get("deleted") or 0),
            table in wanted,
        )
    return tuple(sums[name] for name in sorted(sums))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """What ``reconcile --apply`` did.

    Attributes:
        components: (done now, done in all, of how many): a component is the smallest thing that is done wholly.
        applied, present: components carried out, and found done already.
        left: what waits for people; empty means that every change of old is in new.
        effects: of triggers. blocked: effects that nobody accepted stopped it; nothing of these batches was kept.
        interrupted: stopped at a batch's edge by Ctrl-C; the same command goes on.
        rolled_back: ``--single-transaction`` and something was left: nothing was applied.
        users: affected users by table: values of the declared owner column.
        indexes: CREATE INDEX statements for foreign keys that deletes or an undo would scan whole tables for.
        rows_per_second: guarded row changes a second.
    """

    bundle: str
    folder: Path
    steps: int
    components: int
    applied: int
    present: int
    left: tuple[Left, ...] = ()
    effects: tuple[Effect, ...] = ()
    blocked: bool = False
    interrupted: bool = False
    rolled_back: bool = False
    ids: int = 0
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    indexes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    rows_per_second: float = 0.0

    @property
    def verdict(self) -> str:
        """``applied``; ``conflicts`` when nothing was kept."""
        return "conflicts" if self.blocked or self.rolled_back else "applied"

    @property
    def exit_code(self) -> int:
        """0 when all is in new, 3 when something is left for people, 130 when it was interrupted."""
        if self.interrupted:
            return 130
        return 3 if self.left or self.blocked or self.rolled_back else 0

    @property
    def next_command(self) -> str:
        """The one command to run now."""
        if self.interrupted:
            return f"cutover reconcile --apply {quote(str(self.folder))}"
        if self.blocked:
            tables = " ".join(
                f"--accept-effects {quote(effect.table)}" for effect in self.effects if not effect.accepted
            )
            return f"cutover reconcile --apply {quote(str(self.folder))} {tables}"
        if any(left.reason != "conflict" for left in self.left) or self.rolled_back:
            return "cutover reconcile"
        return f"cutover reconcile --verify {quote(str(self.folder))}"

    def text(self) -> str:
        """For the terminal: what was done, what is left, who is affected, the one next command."""
        lines = [f"{self.bundle}   {self._headline()}"]
        lines += [f"  {note}" for note in self.notes]
        if self.ids:
            lines.append(f"  {self.ids} ids were drawn anew: {self.folder / 'id_map.csv'} (and cutover.id_map in new)")
        if self.effects:
            lines.append(
                "  triggers did more than was planned:" if not self.blocked else "  blocked by what triggers do:"
            )
            lines += [f"    {effect.line()}" for effect in self.effects]
        if self.left:
            lines.append(f"  {len(self.left)} left for people:")
            lines += [f"    {left.line()}" for left in self.left[:SHOWN]]
            if len(self.left) > SHOWN:
                lines.append(f"    ... and {len(self.left) - SHOWN} more (--json lists them all)")
        for table, users in sorted(self.users.items()):
            shown = ", ".join(users[:SHOWN]) + (f" ... ({len(users)} in all)" if len(users) > SHOWN else "")
            lines.append(f"  affected by {table}: {shown}")
        if self.indexes:
            lines.append("  without these indexes, deletes scan whole tables:")
            lines += [f"    {statement}" for statement in self.indexes]
        lines.append(f"Next: {self.next_command}")
        return "\n".join(lines)

    def _headline(self) -> str:
        if self.blocked:
            kept = f"{self.applied} of {self.components} were applied before" if self.applied else "nothing was kept"
            return f"BLOCKED: triggers did what was not planned; {kept}"
        if self.rolled_back:
            return "ROLLED BACK: something could not be applied, and all or nothing was asked for"
        done = f"{self.applied} of {self.components} applied"
        if self.present:
            done += f", {self.present} present already"
        if self.interrupted:
            return f"INTERRUPTED at a batch's edge: {done}; the same command goes on"
        speed = f" in {self.seconds:.1f} s ({self.rows_per_second:,.0f} rows/s)" if self.seconds else ""
        return f"APPLIED ({self.exit_code}): {done}{speed}"

    def json(self) -> dict[str, Any]:
        """The command's JSON object, without ``command``, ``migration`` and ``at``."""
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "bundle": self.bundle,
            "steps": self.steps,
            "components": self.components,
            "applied": self.applied,
            "already_present": self.present,
            "left": [left._asdict() for left in self.left],
            "effects": [effect._asdict() for effect in self.effects],
            "blocked": self.blocked,
            "interrupted": self.interrupted,
            "rolled_back": self.rolled_back,
            "new_ids": self.ids,
            "users": {table: list(users) for table, users in self.users.items()},
            "missing_indexes": list(self.indexes),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "next": self.next_command,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """What ``reconcile --undo`` did. ``left``: rows that changed since, or have new children."""

    bundle: str
    folder: Path
    components: int
    undone: int
    left: tuple[Left, ...] = ()
    effects: tuple[Effect, ...] = ()
    blocked: bool = False
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """``undone``; ``conflicts`` when triggers stopped it."""
        return "conflicts" if self.blocked else "undone"

    @property
    def exit_code(self) -> int:
        """0 when all of it is back, 3 when rows were left as they are."""
        if self.interrupted:
            return 130
        return 3 if self.left or self.blocked else 0

    @property
    def next_command(self) -> str:
        """The one command to run now."""
        if self.interrupted:
            return f"cutover reconcile --undo {quote(str(self.folder))}"
        if self.blocked:
            tables = " ".join(
                f"--accept-effects {quote(effect.table)}" for effect in self.effects if not effect.accepted
            )
            return f"cutover reconcile --undo {quote(str(self.folder))} {tables}"
        return "cutover reconcile"

    def text(self) -> str:
        """For the terminal."""
        head = f"{self.undone} of {self.components} put back"
        if self.blocked:
            head = f"BLOCKED: triggers did what was not planned; {head}"
        elif self.interrupted:
            head = f"INTERRUPTED at a batch's edge: {head}; the same command goes on"
        else:
            head = f"UNDONE ({self.exit_code}): {head}"
        lines = [f"{self.bundle}   {head}"]
        lines += [f"    {effect.line()}" for effect in self.effects]
        if self.left:
            lines.append(f"  {len(self.left)} left as they are:")
            lines += [f"    {left.line()}" for left in self.left[:SHOWN]]
            if len(self.left) > SHOWN:
                lines.append(f"    ... and {len(self.left) - SHOWN} more (--json lists them all)")
        lines.append(f"Next: {self.next_command}")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """The command's JSON object, without ``command``, ``migration`` and ``at``."""
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "bundle": self.bundle,
            "components": self.components,
            "undone": self.undone,
            "left": [left._asdict() for left in self.left],
            "effects": [effect._asdict() for effect in self.effects],
            "blocked": self.blocked,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 3),
            "next": self.next_command,
        }
