"""``reconcile --apply``: carries a bundle out on the live target, exactly once (DESIGN.md 7).

The protocol is SQL that runs in the target (``protocol/``); this module opens the session, refuses what must not
be applied, rehearses, drives the batches, waits for locks, stops at a batch's edge, and tells what came of it.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from cutover.errors import CutoverError
from cutover.reconcile.apply.aftermath import affected_users, conflicts, left_over, missing_indexes, notes, write_ids
from cutover.reconcile.apply.outcome import ApplyResult, Effect, Left, merge_effects
from cutover.reconcile.apply.staging import run_id
from cutover.reconcile.apply.target import (
    Connection,
    check_database,
    install,
    pause,
    refuse_sides,
    stage,
    take_lock,
    writer,
)
from cutover.reconcile.review.bundlefile import Bundle

if TYPE_CHECKING:
    from uuid import UUID

    from cutover.observations.database import FenceProven
    from cutover.plan import Plan

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``: called after every batch."""

LOCK_TRIES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a rehearsal on the live target may do: its locks are held for one batch at a time."""

    rows: int = 5_000
    seconds: float = 30.0


@dataclass(slots=True)
class Tally:
    """What the batches of one drive came to."""

    applied: int = 0
    present: int = 0
    missed: int = 0
    refused: int = 0
    effects: list[Mapping[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    blocked: bool = False
    hindrances: tuple[Left, ...] = ()

    def add(self, result: Mapping[str, Any]) -> None:
        """Add one batch's result."""
        self.applied += int(result["applied"])
        self.present += int(result["present"])
        self.missed += int(result["missed"])
        self.refused += int(result["refused"])
        self.effects.extend(result["effects"])

    @property
    def left(self) -> int:
        """Components that were not carried out."""
        return self.missed + self.refused


def apply_bundle(
    folder: Path,
    url: str,
    *,
    fence: FenceProven | None,
    plan: Plan | None = None,
    reread: Callable[[], Path] | None = None,
    single_transaction: bool = False,
    rehearse_on: str = "",
    sides: Mapping[str, str] | None = None,
    accept_effects: Sequence[str] = (),
    progress: Progress = lambda done, total, what: None,
    bounds: Bounds | None = None,
    batch_rows: int | None = None,
) -> ApplyResult:
    """Apply a bundle to the new database.

    Args:
        folder: the bundle.
        url: of the new database; a normal owner of the tables suffices.
        fence: the latest proof that old refuses writes, from the ledger; None when there is none (or it was released).
        plan: tells the owner columns, for the list of affected users.
        reread: reads old again and returns a new bundle; called when the bundle is older than the fence.
        single_transaction: all or nothing.
        rehearse_on: URL of a copy of new: everything is done there first, and stays there.
        sides: URLs of the plan's other databases, by name: nothing is rehearsed on them.
        accept_effects: tables (``schema.table``) whose triggers may do what they do.
        progress: called after every batch.
        bounds: of the rehearsal.
        batch_rows: rows of a batch; more is faster, and holds its locks for longer.

    Raises:
        CutoverError: no fence (3), another apply at work (4), another database, an edited bundle, a schema that moved,
            a rehearsal on one of the plan's own databases.
    """
    bundle = Bundle(folder)
    _refuse_unfit(bundle, fence)
    if rehearse_on:
        refuse_sides(rehearse_on, {"new": url, **(sides or {})})
    assert fence is not None  # noqa: S101 - for the type checker: the case is excluded above
    if bundle.meta.old.snapshot_at <= fenced_since(fence):
        if reread is None:
            raise CutoverError(
                f"{folder}: old was read at {bundle.meta.old.snapshot_at:%H:%M:%S} UTC, before it was fenced: what was"
                " written in between is not in it",
                "run cutover reconcile again and apply that bundle",
                exit_code=3,
            )
        bundle = Bundle(reread())
        _refuse_unfit(bundle, fence)
        if bundle.meta.old.snapshot_at <= fenced_since(fence):
            raise CutoverError(
                f"{bundle.folder}: is still older than the fence", "check the clock of the old server", exit_code=4
            )
    rehearsed = single_transaction
    if rehearse_on:
        blocked, done = _rehearse_elsewhere(bundle, rehearse_on, accept_effects, progress)
        if blocked is not None:
            return blocked
        rehearsed = rehearsed or done
    with writer(url) as connection:
        check_database(connection, bundle, url)
        take_lock(connection, url)
        install(connection)
        run = stage(connection, bundle, batch_rows=batch_rows)
        _refuse_undone(connection, run, bundle)
        accept(connection, run, accept_effects)
        began = time.monotonic()
        if not rehearsed:
            tried = rehearse(connection, run, bounds or Bounds(), progress)
            found = merge_effects(tried.effects, accepted_tables(connection, run))
            if any(not effect.accepted for effect in found):
                return _result(connection, run, bundle, plan, Tally(blocked=True), found, began)
        with stopping() as stop:
            if single_transaction:
                tally, rolled_back = _all_or_nothing(connection, run, progress, stop)
            else:
                tally, rolled_back = drive(connection, run, "apply", progress, stop), False
        effects = merge_effects(tally.effects, accepted_tables(connection, run))
        return _result(connection, run, bundle, plan, tally, effects, began, rolled_back=rolled_back)


def fenced_since(fence: FenceProven) -> datetime:
    """Return the instant from which nothing was written on old, by old's own clock."""
    return fence.counters.server_time if fence.counters is not None else fence.at


def _refuse_unfit(bundle: Bundle, fence: FenceProven | None) -> None:
    if bundle.meta.estimated:
        raise CutoverError(f"{bundle.folder}: is an estimate: it holds nothing to apply", "run cutover reconcile")
    if fence is None or not fence.proven:
        why = f": {fence.why_not}" if fence is not None and fence.why_not else ""
        raise CutoverError(
            f"old is not proven to refuse writes{why}: what it takes while this is applied would be lost",
            "run cutover fence first",
            exit_code=3,
        )


def _refuse_undone(connection: Connection, run: UUID, bundle: Bundle) -> None:
    state = connection.execute("SELECT state FROM cutover.run WHERE run = %s", (run,)).fetchone()
    if state == ("undoing",):
        raise CutoverError(
            f"{bundle.folder}: was undone; it is not applied again", "run cutover reconcile for a new bundle"
        )


def accept(connection: Connection, run: UUID, tables: Sequence[str]) -> None:
    """Remember the tables whose effects are accepted; they stay accepted for this run."""
    for table in tables:
        found = _table_named(connection, table if "." in table else f"public.{table}")
        if found is None:
            raise CutoverError(f"--accept-effects {table}: there is no such table in new", "write schema.table")
        connection.execute(
            "INSERT INTO cutover.accepted (run, table_name) VALUES (%s, %s) ON CONFLICT (run, table_name) DO NOTHING",
            (run, found),
        )


def _table_named(connection: Connection, text: str) -> str | None:
    """Return a table as the effects name it: so written, without quotes, or as SQL writes it."""
    name = "SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE "
    for which in ("nspname || '.' || relname = %s", "c.oid = to_regclass(%s)"):
        try:
            found = connection.execute((name + which).encode(), (text,)).fetchone()
        except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported):
            return None
        if found is not None:
            return str(found[0])
    return None


def accepted_tables(connection: Connection, run: UUID) -> set[str]:
    """Return the tables whose effects are accepted for a run."""
    rows = connection.execute("SELECT table_name FROM cutover.accepted WHERE run = %s", (run,)).fetchall()
    return {row[0] for row in rows}


def rehearse(connection: Connection, run: UUID, bounds: Bounds, progress: Progress) -> Tally:
    """Do batches and roll each back: what triggers do is known before anything is kept.

    Batches that show a table and an action not seen before come first; the bounds end it.
    """
    tally = Tally()
    seen: set[str] = set()
    rows = 0
    began = time.monotonic()
    batches = connection.execute(
        """SELECT s.batch, array_agg(DISTINCT s.tbl || s.action::text), count(*) FROM cutover.step s
           WHERE s.run = %s AND NOT EXISTS (SELECT FROM cutover.progress p
               WHERE p.run = s.run AND p.direction = 'apply' AND p.batch = s.batch AND p.component = s.component)
           GROUP BY s.batch ORDER BY s.batch""",
        (run,),
    ).fetchall()
    fresh = []
    for entry in batches:
        if not seen.issuperset(entry[1]):
            seen.update(entry[1])
            fresh.append(entry)
    chosen = {entry[0] for entry in fresh}
    for batch, _, count in [*fresh, *(entry for entry in batches if entry[0] not in chosen)]:
        if batch not in chosen and (rows >= bounds.rows or time.monotonic() - began > bounds.seconds):
            break
        try:
            with connection.transaction(force_rollback=True):
                tally.add(_advance(connection, run, batch, "apply", rehearse=True))
        except psycopg.errors.LockNotAvailable:
            continue
        rows += count
        progress(rows, rows, "rehearsing")
    return tally


def _rehearse_elsewhere(
    bundle: Bundle, url: str, accept_effects: Sequence[str], progress: Progress
) -> tuple[ApplyResult | None, bool]:
    """Apply to a copy of new; return what blocks (or None), and whether the whole of it was done now.

    What an earlier rehearsal has written to the copy shows no effects a second time: that is no rehearsal.
    """
    began = time.monotonic()
    with writer(url) as connection:
        take_lock(connection, url)
        install(connection)
        known = connection.execute("SELECT FROM cutover.progress WHERE run = %s LIMIT 1", (run_id(bundle),)).fetchone()
        if known is not None:
            return None, False
        run = stage(connection, bundle)
        accept(connection, run, accept_effects)
        with stopping() as stop:
            tally = drive(connection, run, "apply", progress, stop, rehearse=True)
        effects = merge_effects(tally.effects, accepted_tables(connection, run))
        tally.blocked = any(not effect.accepted for effect in effects)
        if tally.blocked or tally.interrupted:
            found = _result(connection, run, bundle, None, tally, effects, began, elsewhere=True)
            return replace(found, applied=0, present=0), False
    return None, True


def _advance(connection: Connection, run: UUID, batch: int, direction: str, *, rehearse: bool) -> Mapping[str, Any]:
    row = connection.execute("SELECT cutover.advance(%s, %s, %s, %s)", (run, batch, direction, rehearse)).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    result: Mapping[str, Any] = row[0] if isinstance(row[0], dict) else json.loads(row[0])
    return result


def drive(
    connection: Connection,
    run: UUID,
    direction: str,
    progress: Progress,
    stop: threading.Event,
    *,
    rehearse: bool = False,
) -> Tally:
    """Carry out every batch that is not done, one transaction each; stop at an edge when asked to.

    Raises:
        CutoverError: rows stay locked by others (exit code 4).
    """
    tally = Tally()
    waiting = remaining(connection, run, direction)
    total = sum(count for _, count in waiting)
    done = 0
    tries = 0
    began = time.monotonic()
    while waiting:
        later: list[tuple[int, int]] = []
        said = ""
        for batch, count in waiting:
            if stop.is_set():
                tally.interrupted = True
                return tally
            try:
                result = _advance(connection, run, batch, direction, rehearse=rehearse)
            except psycopg.Error as error:
                if error.sqlstate == "CU001":
                    tally.effects.extend(json.loads(error.diag.message_primary or "[]"))
                    tally.blocked = True
                    return tally
                raise
            tally.add(result)
            if "retry" in result:
                later.append((batch, count))
                said = str(result["retry"])
                continue
            done += count
            spent = time.monotonic() - began
            rate = done / spent if spent > 0 else 0.0
            eta = f", {(total - done) / rate:.0f} s left" if rate else ""
            progress(done, total, f"{rate:,.0f} rows/s{eta}")
        tries = tries + 1 if len(later) == len(waiting) else 1
        if later and tries > LOCK_TRIES:
            raise _stay_locked(said)
        if later:
            stop.wait(pause(tries))
        waiting = later
    return tally


def remaining(connection: Connection, run: UUID, direction: str) -> list[tuple[int, int]]:
    """Return (batch, its steps) of every batch that is not wholly done, in the order to do them."""
    rows = connection.execute(
        """SELECT s.batch, count(*) FROM cutover.step s
           WHERE s.run = %(run)s AND NOT EXISTS (SELECT FROM cutover.progress p
               WHERE p.run = s.run AND p.direction = %(direction)s AND p.batch = s.batch AND p.component = s.component)
             AND (%(direction)s = 'apply' OR EXISTS (SELECT FROM cutover.progress p WHERE p.run = s.run
               AND p.direction = 'apply' AND p.batch = s.batch AND p.component = s.component AND p.outcome = 'applied'))
           GROUP BY s.batch ORDER BY s.batch""",
        {"run": run, "direction": direction},
    ).fetchall()
    found = [(int(row[0]), int(row[1])) for row in rows]
    return found if direction == "apply" else found[::-1]


def _stay_locked(said: str) -> CutoverError:
    return CutoverError(
        f"new: rows stay locked by other sessions: {said}",
        "see pg_stat_activity for a long transaction; run the same command again, it goes on from here",
        exit_code=4,
    )


def _all_or_nothing(connection: Connection, run: UUID, progress: Progress, stop: threading.Event) -> tuple[Tally, bool]:
    """Carry out every batch in one transaction; where rows are locked, give back everything and begin again.

    Raises:
        CutoverError: rows stay locked by others (exit code 4).
    """
    tries = 0
    while True:
        tally, kept, locked = _at_once(connection, run, progress, stop)
        if not locked:
            return tally, not kept
        tries += 1
        if tries > LOCK_TRIES:
            raise _stay_locked(locked)
        stop.wait(pause(tries))


def _at_once(connection: Connection, run: UUID, progress: Progress, stop: threading.Event) -> tuple[Tally, bool, str]:
    """Try it once; return what came of it, whether it was kept, and which lock was not to be had."""
    tally = Tally()
    waiting = remaining(connection, run, "apply")
    total, done = sum(count for _, count in waiting), 0
    locked = ""
    with connection.transaction() as transaction:
        for batch, count in waiting:
            try:
                with connection.transaction():
                    result = _advance(connection, run, batch, "apply", rehearse=False)
            except psycopg.Error as error:
                if error.sqlstate != "CU001":
                    raise
                tally.effects.extend(json.loads(error.diag.message_primary or "[]"))
                tally.blocked = True
                raise psycopg.Rollback(transaction) from None
            tally.add(result)
            tally.interrupted = stop.is_set()
            if tally.left:
                tally.hindrances = left_over(connection, run, "apply")
            elif "retry" in result and not tally.interrupted:
                locked = str(result["retry"])
            if locked or tally.left or tally.interrupted:
                raise psycopg.Rollback(transaction)
            done += count
            progress(done, total, "in one transaction")
        return tally, True, ""
    tally.applied = tally.present = 0
    return tally, False, locked


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a request to stop at the next edge; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)


def _result(
    connection: Connection,
    run: UUID,
    bundle: Bundle,
    plan: Plan | None,
    tally: Tally,
    effects: tuple[Effect, ...],
    began: float,
    *,
    rolled_back: bool = False,
    elsewhere: bool = False,
) -> ApplyResult:
    row = connection.execute(
        """SELECT r.components, r.steps,
               (SELECT count(*) FROM cutover.progress p
                WHERE p.run = r.run AND direction = 'apply' AND outcome = 'applied'),
               (SELECT count(*) FROM cutover.progress p
                WHERE p.run = r.run AND direction = 'apply' AND outcome = 'present'),
               (SELECT count(*) FROM cutover.after a WHERE a.run = r.run) +
               (SELECT count(*) FROM cutover.before b JOIN cutover.step s USING (run, no)
                WHERE b.run = r.run AND s.action = 'd' AND b.hit = 'hit')
           FROM cutover.run r WHERE r.run = %s""",
        (run,),
    ).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    seconds = time.monotonic() - began
    ids = 0 if elsewhere else write_ids(connection, run, bundle)
    return ApplyResult(
        bundle=bundle.meta.bundle,
        folder=bundle.folder,
        components=row[0],
        steps=row[1],
        applied=row[2],
        present=row[3],
        left=(*tally.hindrances, *left_over(connection, run, "apply"), *conflicts(bundle)),
        effects=effects,
        blocked=tally.blocked,
        interrupted=tally.interrupted,
        rolled_back=rolled_back and not tally.blocked and not tally.interrupted,
        ids=ids,
        users=affected_users(connection, run, plan),
        indexes=missing_indexes(connection, run),
        notes=notes(connection),
        seconds=seconds,
        rows_per_second=row[4] / seconds if seconds > 0 else 0.0,
    )
