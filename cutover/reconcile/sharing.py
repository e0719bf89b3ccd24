"""Equal values as one object: a changed row is nearly the same on all sides, and so are many rows. No I/O."""

from __future__ import annotations

from dataclasses import replace

from cutover.reconcile.model import Change, Row

_POOL = 100_000
"""Values remembered at a time: enough for columns that repeat themselves, and no weight beside the changes."""


class Sharing:
    """Makes a change hold each value once, where reading left a copy per side and per row."""

    def __init__(self) -> None:
        self._pool: dict[str, str] = {}

    def of(self, change: Change) -> Change:
        """Return an equal change whose equal values, and equal rows, are the same objects."""
        if len(self._pool) > _POOL:
            self._pool.clear()
        base = self._row(change.base)
        old = self._row(change.old)
        new = base if change.new == change.base else old if change.new == change.old else self._row(change.new)
        key = tuple(self._pool.get(value, value) for value in change.key)
        return replace(change, key=key, base=base, old=old, new=new)

    def _row(self, row: Row | None) -> Row | None:
        if row is None:
            return None
        share = self._pool.setdefault
        return tuple(None if value is None else share(value, value) for value in row)
