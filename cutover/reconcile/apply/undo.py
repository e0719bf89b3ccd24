"""``reconcile --undo``: puts back what an apply did, where nobody has touched it since (DESIGN.md 7).

A component goes back whole or not at all: half an order is worse than a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cutover.errors import CutoverError
from cutover.reconcile.apply.aftermath import left_over
from cutover.reconcile.apply.apply import Progress, accept, accepted_tables, drive, stopping
from cutover.reconcile.apply.outcome import UndoResult, merge_effects
from cutover.reconcile.apply.staging import PROTOCOL, run_id
from cutover.reconcile.apply.target import analyze, check_database, install, take_lock, writer
from cutover.reconcile.review.bundlefile import Bundle


def undo_bundle(
    folder: Path,
    url: str,
    *,
    accept_effects: Sequence[str] = (),
    progress: Progress = lambda done, total, what: None,
) -> UndoResult:
    """Undo the apply of a bundle in the new database.

    Rows that changed since, and rows that have got new children, are left as they are and listed. Drawn ids and
    advanced sequences stay as they are: somebody may have seen them.

    Raises:
        CutoverError: the bundle was never applied there, or another apply is at work.
    """
    bundle = Bundle(folder)
    began = time.monotonic()
    with writer(url) as connection:
        check_database(connection, bundle, url)
        take_lock(connection, url)
        run = run_id(bundle)
        known = connection.execute("SELECT to_regclass('cutover.run') IS NOT NULL").fetchone() == (True,)
        found = known and connection.execute("SELECT protocol FROM cutover.run WHERE run = %s", (run,)).fetchone()
        if not found:
            raise CutoverError(f"{folder}: was never applied to this database", "there is nothing to undo")
        if found[0] != PROTOCOL:
            raise CutoverError(
                f"{folder}: was applied by another version of cutover (protocol {found[0]})",
                "undo it with that version",
            )
        install(connection)
        connection.execute("SELECT cutover.prepare(%s)", (run,))
        accept(connection, run, accept_effects)
        connection.execute("UPDATE cutover.run SET state = 'undoing' WHERE run = %s", (run,))
        analyze(connection, "step", "before", "after", "progress")
        with stopping() as stop:
            tally = drive(connection, run, "undo", progress, stop)
        row = connection.execute(
            """SELECT count(*) FILTER (WHERE direction = 'apply' AND outcome = 'applied'),
                      count(*) FILTER (WHERE direction = 'undo' AND outcome = 'undone')
               FROM cutover.progress WHERE run = %s""",
            (run,),
        ).fetchone()
        assert row is not None  # noqa: S101 - one row, always
        return UndoResult(
            bundle=bundle.meta.bundle,
            folder=bundle.folder,
            components=row[0],
            undone=row[1],
            left=left_over(connection, run, "undo"),
            effects=merge_effects(tally.effects, accepted_tables(connection, run)),
            blocked=tally.blocked,
            interrupted=tally.interrupted,
            seconds=time.monotonic() - began,
        )
