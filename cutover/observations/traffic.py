"""How many requests or writes each side got, and what proves that the counter sees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, NamedTuple

from cutover.observations.base import Observation


class Sight(StrEnum):
    """How a reading came out. Only ``OK`` carries numbers that count; none of the others means zero."""

    OK = "ok"
    EMPTY = "empty"
    PARTIAL = "partial"
    STALE = "stale"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    RATE_LIMITED = "rate-limited"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"
    WRONG_UNIT = "wrong-unit"
    SKEWED = "clock-skew"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficReading(Observation):
    """One source's count for one side in one window.

    Attributes:
        source: label unique in the plan (``datadog #1``).
        weight: ``requests`` or ``writes``.
        side: ``old`` or ``new``.
        window_start, window_end: the window ends at the source's last complete bucket, never at now.
        count: requests or writes in the window; None unless ``sight`` is OK or PARTIAL (then a lower bound).
        detail: one line: the reason when it is not OK.
        tagged: sentinels that the source itself recognised by their User-Agent and left out of ``count``;
            None when it cannot tell requests apart and they are part of ``count``.
        edge: seconds: a request this long before ``window_end`` may be counted in the next window.
        lag: seconds that the source's last complete bucket is normally behind the present.
        bookmark: where the source goes on next time; only the source reads it.
        gap: part of the window is lost for good (a counter reset, a log cut off): counting goes on after it.
        asked: digest of the source's settings and this side's query: another one counts something else.
    """

    kind: ClassVar[str] = "traffic.reading"

    source: str
    weight: str
    side: str
    window_start: datetime
    window_end: datetime
    sight: Sight
    count: float | None = None
    detail: str = ""
    tagged: int | None = None
    edge: float = 0.0
    lag: float = 0.0
    bookmark: str = ""
    gap: bool = False
    asked: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """Source, weight and side."""
        return (self.source, self.weight, self.side)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelSent(Observation):
    """One burst of tagged requests to one address of one side.

    Attributes:
        address: ``address:port`` that was connected to.
        window_start, window_end: from the first of them (or of the probes) to the last response.
        tag: the User-Agent that was sent.
        path: what was asked for.
        answered: any HTTP response. refused: connection refused. silent: timeouts and other errors.
        probes: the tool's own untagged requests to the same address in that time (origin probes).
    """

    kind: ClassVar[str] = "traffic.sentinel"

    name: str
    side: str
    address: str
    window_start: datetime
    window_end: datetime
    tag: str
    sent: int
    answered: int
    refused: int
    silent: int
    probes: int = 0
    path: str = "/"

    @property
    def subject(self) -> tuple[str, ...]:
        """Plan's name, side, address and path."""
        return (self.name, self.side, self.address, self.path)


class TableWrites(NamedTuple):
    """Cumulative tuple counters of one table (``pg_stat_user_tables``); rolled-back tuples count too.

    Attributes:
        table: ``schema.name``; a partition under its own name.
        relation: ``pg_class.oid``: a table that was dropped and made anew starts from zero.
        storage: ``pg_class.relfilenode``: TRUNCATE counts no tuples but changes this, as VACUUM FULL does.
    """

    table: str
    inserted: int
    updated: int
    deleted: int
    relation: int = 0
    storage: int = 0

    @property
    def total(self) -> int:
        """All writes."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseReading(Observation):
    """Counters of one database.

    Attributes:
        side: ``old`` or ``new``.
        system_identifier: of the cluster, "" when the role may not see it; a physical copy (a disk snapshot, a
            promoted standby) keeps it.
        endpoint: digest of the host and port that were asked: what tells a physical copy from its original.
        stats_reset: when the database's counters were last reset, None when never.
        cluster_reset: ``pg_stat_archiver.stats_reset``: a crash empties every counter and moves only this.
        timeline: of the last checkpoint; a promoted standby raises it; 0 when the role may not see it.
        server_time: the server's clock when they were read.
        round_trip: seconds that the reading of ``server_time`` took; ``at`` is its middle.
        tables: user tables of ``schemas`` minus ``exclude``.
        newest: ``table.column`` -> newest value as text, for ``[database] newest``.
        in_recovery: a standby: its counters are not the primary's.
        subscriptions: enabled logical subscriptions: what they bring is counted as written here, too.
        unwatched: schemas that are not the plan's and hold tables that were written: their writes are not counted.
        open: those of ``tables`` to which an open or prepared transaction writes: it is counted when it ends.
    """

    kind: ClassVar[str] = "database.reading"

    side: str
    system_identifier: str
    server_version: int
    database: str
    stats_reset: datetime | None
    server_time: datetime
    tables: tuple[TableWrites, ...]
    newest: tuple[tuple[str, str], ...] = ()
    in_recovery: bool = False
    cluster_reset: datetime | None = None
    timeline: int = 0
    round_trip: float = 0.0
    endpoint: str = ""
    open: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    unwatched: tuple[str, ...] = ()

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)
