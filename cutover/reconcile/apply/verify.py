"""``reconcile --verify``: reads the databases again and says whether every change of old is in new (DESIGN.md 7)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from cutover.clock import Clock
from cutover.errors import CutoverError
from cutover.folds.database import step_between
from cutover.observations.database import ReconcileVerified
from cutover.probes.database import read_counters
from cutover.reconcile.apply.aftermath import conflicts, left_over
from cutover.reconcile.apply.apply import fenced_since
from cutover.reconcile.apply.outcome import SHOWN, Left
from cutover.reconcile.apply.staging import run_id
from cutover.reconcile.apply.target import Connection, check_database, install, take_lock, writer
from cutover.reconcile.model import Decision, Side
from cutover.reconcile.review.bundlefile import Bundle
from cutover.reconcile.source.session import connect, explain

if TYPE_CHECKING:
    from uuid import UUID

    from cutover.observations.base import Observation
    from cutover.observations.database import FenceProven
    from cutover.observations.traffic import DatabaseReading
    from cutover.plan import Plan

IN_NEW = frozenset({Decision.APPLY, Decision.MERGED, Decision.REKEYED})
"""Decisions that end as rows written in new."""


class TableVerified(NamedTuple):
    """The rows of one table that the apply wrote, as they are now.

    Attributes:
        same: as they were left. changed, gone: by others since: new is live.
        back: again what they were before the apply.
    """

    table: str
    same: int
    changed: int
    gone: int
    back: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What ``reconcile --verify`` found.

    Attributes:
        accounted: old's changes by class.
        problems: one line each; empty means that it balances.
        left: changes that are not in new.
    """

    bundle: str
    folder: Path
    accounted: dict[str, int]
    tables: tuple[TableVerified, ...] = ()
    problems: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """``verified`` or ``unbalanced``."""
        return "unbalanced" if self.problems else "verified"

    @property
    def exit_code(self) -> int:
        """0 or 3."""
        return 3 if self.problems else 0

    @property
    def next_command(self) -> str:
        """The one command to run now."""
        if not self.problems:
            return "cutover done"
        if any(left.reason == "conflict" for left in self.left):
            return f"cutover reconcile --bundle {quote(str(self.folder))}"
        return "cutover reconcile"

    def text(self) -> str:
        """For the terminal."""
        total = sum(self.accounted.values())
        sums = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.accounted.items() if count)
        lines = [
            f"{self.bundle}   {self.verdict.upper()} ({self.exit_code})",
            f"  {total} changes of old: {sums or 'none'}",
        ]
        for table in self.tables:
            since = table.changed + table.gone
            lines.append(
                f"  {table.table}: {table.same} rows as applied"
                + (f", {since} changed by users since" if since else "")
            )
        lines += [f"✗ {problem}" for problem in self.problems]
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
            "accounted": {"old_changes": sum(self.accounted.values()), **self.accounted},
            "tables": [table._asdict() for table in self.tables],
            "problems": list(self.problems),
            "left": [left._asdict() for left in self.left],
            "seconds": round(self.seconds, 3),
            "next": self.next_command,
        }


def verify_bundle(
    folder: Path,
    url: str,
    *,
    old_url: str,
    plan: Plan,
    fence: FenceProven | None,
    clock: Clock,
    append: Callable[[Iterable[Observation]], object],
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> VerifyResult:
    """Compare again: sums, rows, foreign keys, uniques, sequences, and that old has not moved since it was read.

    The outcome goes to the ledger; a balanced one is a new verified state (``database.old-quiet`` counts from it).

    Raises:
        CutoverError: a database cannot be reached, another database, another apply is at work.
    """
    database = plan.database
    if database is None:
        raise CutoverError("the plan has no [database]", "add [database] with old and new")
    bundle = Bundle(folder)
    began = time.monotonic()
    progress(0, 5, "old's counters")
    with connect(Side.OLD, old_url) as connection:
        try:
            old = read_counters(connection, "old", database, clock)
        except psycopg.Error as error:
            raise explain(Side.OLD, old_url, error) from None
    problems = _old_moved(bundle, fence, old)
    accounted = Counter({decision.value: 0 for decision in Decision})
    changes: dict[int, Decision] = {}
    for line in bundle.accounted():
        accounted[line.decision.value] += line.count
        if line.change in changes:
            problems.append(f"change {line.change} is accounted for twice")
        changes[line.change] = line.decision
    if accounted[Decision.CONFLICT.value]:
        problems.append(f"{accounted[Decision.CONFLICT.value]} conflicts wait for a decision")
    with writer(url) as connection:
        new = read_counters(connection, "new", database, clock)
        check_database(connection, bundle, url)
        take_lock(connection, url)
        install(connection)
        run = run_id(bundle)
        tables, found, left = _applied(connection, run, bundle, changes, progress)
    problems += found
    append([ReconcileVerified(at=old.at, bundle=bundle.meta.bundle, balanced=not problems, old=old, new=new)])
    return VerifyResult(
        bundle=bundle.meta.bundle,
        folder=folder,
        accounted=dict(accounted),
        tables=tables,
        problems=tuple(problems),
        left=(*left, *conflicts(bundle)),
        seconds=time.monotonic() - began,
    )


def _old_moved(bundle: Bundle, fence: FenceProven | None, now: DatabaseReading) -> list[str]:
    """Return why old may hold more than the bundle: it was not fenced, or was written to since."""
    if fence is None or not fence.proven or fence.counters is None:
        return ["old is not proven to refuse writes: it may hold changes that nobody has read (cutover fence)"]
    if bundle.meta.old.snapshot_at <= fenced_since(fence):
        return ["old was read before it was fenced: what was written in between is in no bundle"]
    step = step_between(fence.counters, now)
    if step.broken:
        return [f"whether old was written to since the fence is not known: {step.broken}"]
    if step.rows:
        told = ", ".join(f"{table} {rows.total}" for table, rows in sorted(step.rows.items()))
        return [f"old was written to since the fence: {told}"]
    return []


def _applied(
    connection: Connection,
    run: UUID,
    bundle: Bundle,
    changes: dict[int, Decision],
    progress: Callable[[int, int, str], None],
) -> tuple[tuple[TableVerified, ...], list[str], tuple[Left, ...]]:
    problems: list[str] = []
    stepped = {step.change for component in bundle.components() for step in component.steps}
    for change, decision in changes.items():
        if decision is Decision.APPLY and change not in stepped:
            problems.append(f"change {change} should be applied, and the bundle has no step for it")
    if not stepped:
        return (), problems, ()
    state = connection.execute("SELECT state FROM cutover.run WHERE run = %s", (run,)).fetchone()
    if state is None:
        return (), [*problems, "the bundle was never applied"], ()
    if state == ("undoing",):
        return (), [*problems, "the bundle was undone"], ()
    connection.execute("SELECT cutover.prepare(%s)", (run,))
    waiting = connection.execute(
        """SELECT count(DISTINCT component) FROM cutover.step s WHERE run = %s AND NOT EXISTS (
               SELECT FROM cutover.progress p
               WHERE p.run = s.run AND p.direction = 'apply' AND p.batch = s.batch AND p.component = s.component)""",
        (run,),
    ).fetchone()
    if waiting and waiting[0]:
        problems.append(
            f"{waiting[0]} components are not applied yet (cutover reconcile --apply {quote(str(bundle.folder))})"
        )
    left = left_over(connection, run, "apply")
    if left:
        problems.append(f"{len(left)} rows could not be applied")
    progress(1, 5, "rows")
    tables: list[TableVerified] = []
    for rel, same, changed, gone, back, keys in connection.execute(
        "SELECT * FROM cutover.compare(%s)", (run,)
    ).fetchall():
        tables.append(TableVerified(rel, same, changed, gone, back))
        if back:
            problems.append(f"{back} rows of {rel} are again what they were before the apply: {', '.join(keys[:5])}")
    progress(2, 5, "foreign keys")
    for name, count in connection.execute("SELECT * FROM cutover.orphans(%s) WHERE rows > 0", (run,)).fetchall():
        problems.append(f"{count} rows point nowhere: {name}")
    progress(3, 5, "uniques")
    for name, count in connection.execute("SELECT * FROM cutover.duplicates(%s) WHERE rows > 0", (run,)).fetchall():
        problems.append(f"{count} values are there twice: {name}")
    progress(4, 5, "sequences")
    for name, at, taken in connection.execute("SELECT * FROM cutover.sequences_behind(%s)", (run,)).fetchall():
        problems.append(f"sequence {name} stands at {at}, and {taken} is taken: the next inserts would fail")
    progress(5, 5, "done")
    return tuple(tables), problems, left
