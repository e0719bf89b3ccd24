"""A bundle that was read before the fence, and those that applies of it made in its place (DESIGN.md 7, Apply).

Whoever named the first one goes on with its name: apply, verify and undo find what stands for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import LiteralString
from uuid import UUID

from cutover.reconcile.apply.staging import run_id
from cutover.reconcile.apply.target import Connection, writer
from cutover.reconcile.review.bundlefile import MANIFEST, Bundle, meta_from_json


def decisions_read(folder: Path) -> str:
    """Return the SHA-256 of a bundle's decisions as they are now, ``""`` where there are none."""
    try:
        return hashlib.sha256((folder / "decisions.toml").read_bytes()).hexdigest()
    except OSError:
        return ""


def made_for(folder: Path) -> Iterator[Bundle]:
    """Yield the bundles beside a bundle that an apply of it made in its place, the latest first.

    Raises:
        CutoverError: one of them was edited.
    """
    found = []
    for meta_file in folder.resolve().parent.glob("*/meta.json"):
        if not (meta_file.parent / MANIFEST).exists():
            continue
        try:
            meta = meta_from_json(json.loads(meta_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if meta.reread and meta.continues == folder.resolve().name:
            found.append((meta.old.snapshot_at, meta_file.parent))
    for _, other in sorted(found, reverse=True):
        yield Bundle(folder.resolve().parent / other.name)


def standing_for(folder: Path, url: str, *, plan_hash: str, since: datetime) -> Bundle | None:
    """Return the bundle that an apply of this one is to go on with, if one was read later than an instant.

    It was made by the same plan, with the decisions as they are now, and was not undone.

    Raises:
        CutoverError: new cannot be reached.
    """
    wanted = (plan_hash, decisions_read(folder))
    others = [x for x in made_for(folder) if (x.meta.plan_hash, x.meta.decisions) == wanted]
    others = [x for x in others if x.meta.old.snapshot_at > since]
    if not others:
        return None
    with writer(url) as connection:
        undone = _runs(connection, others, "SELECT run FROM cutover.run WHERE run = ANY (%s) AND state = 'undoing'")
    return next((x for x in others if run_id(x) not in undone), None)


def applied_for(folder: Path, url: str) -> Path:
    """Return the latest bundle made in place of this one of which new holds rows, else this one.

    Raises:
        CutoverError: new cannot be reached.
    """
    others = list(made_for(folder))
    if not others:
        return folder
    with writer(url) as connection:
        written = _runs(
            connection,
            others,
            """SELECT DISTINCT run FROM cutover.progress p
               WHERE run = ANY (%s) AND direction = 'apply' AND outcome = 'applied'
                 AND NOT EXISTS (SELECT FROM cutover.progress u WHERE u.run = p.run AND u.direction = 'undo'
                     AND (u.batch, u.component, u.outcome) = (p.batch, p.component, 'undone'))""",
        )
    return next((x.folder for x in others if run_id(x) in written), folder)


def _runs(connection: Connection, bundles: Sequence[Bundle], query: LiteralString) -> set[UUID]:
    if connection.execute("SELECT to_regclass('cutover.progress')").fetchone() == (None,):
        return set()
    return {row[0] for row in connection.execute(query, ([run_id(x) for x in bundles],)).fetchall()}
