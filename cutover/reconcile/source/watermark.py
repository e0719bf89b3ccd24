"""The watermark: where a database stood when the base was taken, and whether it can still be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cutover.reconcile.model import TableName
from cutover.reconcile.source.session import Database

_HORIZON = 2**31 - 10_000_000
"""Row versions carry 32 bits of their transaction id: beyond this distance newer would look older."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A database's position at one snapshot.

    A row version whose ``xmin`` is older than ``snapshot_xmin`` was written by a transaction that had ended
    before the snapshot: it is part of base. Anything newer is not proven either way (transactions that were
    running, their savepoints) and is judged by value.

    Attributes:
        snapshot_xmin: 64 bits, from ``pg_current_snapshot()``.
        sequences: last values, ``None`` for one that was never used.
        counters: inserted, updated and deleted tuples per table (``pg_stat_user_tables``).
    """

    system_identifier: str
    database: str
    snapshot_xmin: int
    lsn: str
    taken_at: datetime
    sequences: Mapping[TableName, int | None] = field(default_factory=dict)
    counters: Mapping[TableName, tuple[int, int, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {
            "system_identifier": self.system_identifier,
            "database": self.database,
            "snapshot_xmin": self.snapshot_xmin,
            "lsn": self.lsn,
            "taken_at": self.taken_at.isoformat(),
            "sequences": [[*name, value] for name, value in self.sequences.items()],
            "counters": [[*name, *values] for name, values in self.counters.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Watermark:
        """Read what :meth:`as_json` wrote."""
        return cls(
            system_identifier=data["system_identifier"],
            database=data["database"],
            snapshot_xmin=data["snapshot_xmin"],
            lsn=data["lsn"],
            taken_at=datetime.fromisoformat(data["taken_at"]),
            sequences={TableName(schema, name): value for schema, name, value in data["sequences"]},
            counters={TableName(schema, name): (i, u, d) for schema, name, i, u, d in data["counters"]},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """What ``cutover baseline`` recorded: on old when base was taken, and on new after the restore."""

    old: Watermark
    new: Watermark | None = None


def why_unusable(database: Database, mark: Watermark) -> str:
    """Return why a watermark says nothing about a database as it is now; empty when it can be used."""
    info = database.info
    if not info.system_identifier:
        return "this role may not read the system identifier (pg_control_system)"
    if info.system_identifier != mark.system_identifier:
        return (
            f"the watermark is of system {mark.system_identifier}, this is {info.system_identifier}: "
            "transaction ids of one cluster mean nothing in another"
        )
    if info.database != mark.database:
        return f"the watermark is of database {mark.database}, this is {info.database}"
    now = int(info.snapshot.split(":")[1])
    if now < mark.snapshot_xmin:
        return "the server's transaction counter stands before the watermark: it was reset or restored"
    if now - mark.snapshot_xmin > _HORIZON:
        return f"{now - mark.snapshot_xmin} transactions have passed: row versions cannot be told apart any more"
    return ""
