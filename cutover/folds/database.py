"""How many rows each database wrote, and when, from the stream of counter readings.

Two readings are compared only when they come from the same counters: same timeline, no
reset in between, no table dropped, made anew or rewritten. Otherwise the step between them is *broken*: what
was written in it is not known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from cutover.observations.base import Observation
from cutover.observations.database import BaselineTaken, FenceProven, FenceReleased, ReconcileVerified
from cutover.observations.gate import Judged
from cutover.observations.traffic import DatabaseReading, TableWrites
from cutover.plan import Plan
from cutover.verdict import is_split_brain

_MOST_STEPS = 20_000


class Rows(NamedTuple):
    """Row writes by kind."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.deleted

    def plus(self, other: Rows) -> Rows:
        """Return the sum."""
        return Rows(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: Rows) -> Rows:
        """Return the difference, never below zero."""
        return Rows(*(max(0, mine - theirs) for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Step:
    """What changed between two readings that follow each other. Steps in which nothing changed are not kept.

    Attributes:
        rows: what was written for certain, by table.
        broken: why there may be more, "" when that is all.
    """

    before: datetime
    after: datetime
    rows: Mapping[str, Rows]
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What one database wrote since an instant.

    Attributes:
        total: rows proven to have been written after it.
        rows: the same by table.
        first: between which readings the first of them was written.
        unknown: why there may be more; "" when ``total`` is all.
        until: the last reading.
    """

    since: datetime
    until: datetime | None
    total: int = 0
    rows: Mapping[str, Rows] = field(default_factory=dict)
    first: tuple[datetime, datetime] | None = None
    unknown: str = ""

    @property
    def kinds(self) -> Rows:
        """All tables together."""
        together = Rows()
        for rows in self.rows.values():
            together = together.plus(rows)
        return together

    def told(self, most: int = 3) -> str:
        """Name the tables with the most writes: ``orders 12, items 30 and 2 more``."""
        by_size = sorted(self.rows.items(), key=lambda item: (-item[1].total, item[0]))
        named = [f"{table.removeprefix('public.')} {rows.total}" for table, rows in by_size[:most]]
        rest = f" and {len(by_size) - most} more" if len(by_size) > most else ""
        return ", ".join(named) + rest


class Alarm(NamedTuple):
    """A split-brain that a round proved and no reconcile has ended.

    Attributes:
        raised: when it was first judged.
        old, new: since when the writes of each side counted.
        swapped: the sides were the other way round: it is looked at from a roll-back.
    """

    raised: datetime
    old: datetime
    new: datetime
    swapped: bool = False


_Identity = tuple[str, str, str]


class DatabaseFold:
    """Steps of both databases, and the states of them that were verified.

    A database is known by its cluster's identifier, its name and where it was first asked, not by the side that it
    was called by: watching a roll-back, the sides change places. The identifier alone would not do: a new side
    made from a disk snapshot of old, or a standby that was promoted, has the same.
    """

    def __init__(self, plan: Plan) -> None:
        database = plan.database
        self._exclude = (
            frozenset(qualified(database.exclude, database.schemas)) if database is not None else frozenset()
        )
        self._known: dict[tuple[str, str], dict[str, _Identity]] = {}
        self._present: dict[str, _Identity] = {}
        self._first: dict[_Identity, datetime] = {}
        self._last: dict[_Identity, DatabaseReading] = {}
        self._steps: dict[_Identity, list[Step]] = {}
        self._baseline: datetime | None = None
        self._fence: datetime | None = None
        self._verified: dict[_Identity, ReconcileVerified] = {}
        self._alarms: dict[_Identity, Alarm] = {}

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        match observation:
            case DatabaseReading():
                self._read(observation)
            case BaselineTaken(counters=counters):
                self._read(counters)
                if observation.side == "old" and not observation.late:
                    self._baseline = self._baseline or counters.at
            case FenceProven(counters=counters):
                if counters is not None:
                    self._read(counters)
                if observation.side == "old":
                    proven_now = counters.at if counters is not None and observation.proven else None
                    self._fence = (self._fence or proven_now) if observation.proven else None
            case FenceReleased(counters=counters):
                self._fence = None
                if counters is not None:
                    self._read(counters)
            case ReconcileVerified():
                self._read(observation.old)
                if observation.new is not None:
                    self._read(observation.new)
                if observation.balanced:
                    self._verified[self._identity(observation.old)] = observation
                    self._alarms.pop(self._identity(observation.old), None)
            case Judged(phase="watch", findings=findings) if is_split_brain(findings):
                self._note_alarm(observation)

    def last(self, side: str) -> DatabaseReading | None:
        """Return the latest reading of the database that is on a side now."""
        identity = self._present.get(side)
        return self._last.get(identity) if identity is not None else None

    def verified_at(self, side: str) -> datetime | None:
        """Return when a balanced ``reconcile --verify`` last read a side's counters.

        One that carried rows in the other direction says nothing of this one.
        """
        old = self._present.get("old")
        verified = self._verified.get(old) if old is not None else None
        if verified is None:
            return None
        reading = verified.old if side == "old" else verified.new
        return (reading or verified.old).at

    def one_for_both(self) -> bool:
        """Tell whether both sides' addresses lead to one and the same database."""
        old, new = self.last("old"), self.last("new")
        if old is None or new is None or not old.endpoint:
            return False
        return (old.endpoint, old.database) == (new.endpoint, new.database)

    def alarm(self) -> Alarm | None:
        """Return the first split-brain of what is old now that no balanced verify has followed.

        Nothing else ends it: neither time, nor that the names went back and forth and the change is now a later one.
        In a roll-back the rows of both sides are as far apart, until a reconcile carried them in that direction.
        """
        old = self._present.get("old")
        return self._alarms.get(old) if old is not None else None

    def written(self, side: str, since: datetime, *, earliest: datetime | None = None) -> Written:
        """Return what a database wrote after an instant, as far as the readings prove it.

        Args:
            side: ``old`` or ``new``.
            since: what is written later is proof.
            earliest: where the instant is only known to lie in a stretch of time, its beginning: what is written
                inside it may be before or after.
        """
        earliest = earliest if earliest is not None else since
        last = self.last(side)
        if last is None:
            return Written(since, None, unknown="its counters were never read")
        identity = self._identity(last)
        first = self._first[identity]
        by_table: dict[str, Rows] = {}
        when: tuple[datetime, datetime] | None = None
        unknown = ""
        if first > earliest:
            unknown = f"its counters were first read at {_clock(first)}: what it wrote before is not known"
        for step in self._steps[identity]:
            if step.after <= earliest:
                continue
            between = f"{_clock(step.before)} and {_clock(step.after)}"
            if step.broken:
                unknown = unknown or f"between {between} {step.broken}"
            spans = sum(each.total for each in step.rows.values())
            if not spans:
                continue
            if step.before < since:
                unknown = unknown or (
                    f"{spans} rows were written between the readings at {between}: before or after {_clock(since)}"
                )
                continue
            when = when or (step.before, step.after)
            for table, each in step.rows.items():
                by_table[table] = by_table.get(table, Rows()).plus(each)
        if last.open:
            unknown = unknown or f"an open or prepared transaction writes to {_few(last.open)}: it counts when it ends"
        if last.in_recovery:
            unknown = unknown or "it is a standby: its counters are not the primary's"
        return Written(since, last.at, sum(rows.total for rows in by_table.values()), by_table, when, unknown)

    def marked_between(self, earliest: datetime, latest: datetime) -> datetime | None:
        """Return when, between two instants, the base was last taken or old was last proven to be fenced.

        What old wrote before a baseline is in the copy; behind a fence it writes nothing.
        """
        marks = [mark for mark in (self._baseline, self._fence) if mark is not None and earliest <= mark <= latest]
        return max(marks, default=None)

    def read_near(self, side: str, instant: datetime, slack: timedelta) -> datetime:
        """Return the reading that stands for an instant: the first one after it, if it came within ``slack``."""
        identity = self._present.get(side)
        if identity is None:
            return instant
        if instant < self._first[identity] <= instant + slack:
            return self._first[identity]
        for step in self._steps[identity]:
            if step.before < instant < step.after <= instant + slack:
                return step.after
        return instant

    def _identity(self, reading: DatabaseReading) -> _Identity:
        """Return which database was read: a side that is asked elsewhere by now (another host name) stays what it was.

        Two databases that share identifier and name are two, by where they are asked.
        """
        cluster = (reading.system_identifier or reading.side, reading.database)
        known = self._known.setdefault(cluster, {})
        if reading.endpoint not in known:
            before = self._present.get(reading.side)
            other = self._present.get("new" if reading.side == "old" else "old")
            moved = before is not None and before in known.values() and before != other
            known[reading.endpoint] = before if moved and before is not None else (*cluster, reading.endpoint)
        return known[reading.endpoint]

    def _read(self, reading: DatabaseReading) -> None:
        identity = self._identity(reading)
        last = self._last.get(identity)
        if last is None:
            self._first[identity] = reading.at
            self._steps[identity] = []
        if last is not None and reading.at <= last.at:
            self._insert(identity, reading, last)
        else:
            if last is not None:
                self._keep(identity, step_between(last, reading, self._exclude))
            self._last[identity] = reading
        present = self.last(reading.side)
        if present is None or reading.at >= present.at:
            self._present[reading.side] = identity

    def _note_alarm(self, judged: Judged) -> None:
        measured = next(x.measured for x in judged.findings if is_split_brain([x]))
        old, new = (_instant(measured.get(key)) for key in ("since", "since_new"))
        if old is None:
            return
        for side, alarm in (
            ("old", Alarm(judged.at, old, new or old)),
            ("new", Alarm(judged.at, new or old, old, swapped=True)),
        ):
            present = self._present.get(side)
            if present is not None:
                self._alarms.setdefault(present, alarm)

    def _keep(self, identity: _Identity, step: Step) -> None:
        kept = self._steps[identity]
        if step.rows or step.broken:
            kept.append(step)
        while len(kept) > _MOST_STEPS:
            kept[0:2] = [_joined(kept[0], kept[1])]

    def _insert(self, identity: _Identity, reading: DatabaseReading, last: DatabaseReading) -> None:
        """Take a reading that is older than the latest one (a command read it before a watch's last round).

        What was written after it is counted from it; the steps that lie around it are cut there.
        """
        kept = self._steps[identity]
        later = [step for step in kept if step.after > reading.at]
        after = step_between(reading, last, self._exclude)
        del kept[len(kept) - len(later) :]
        self._first[identity] = min(self._first[identity], reading.at)
        if later:
            whole = later[0]
            for step in later[1:]:
                whole = _joined(whole, step)
            rows = {table: each.minus(after.rows.get(table, Rows())) for table, each in whole.rows.items()}
            before = min(whole.before, reading.at)
            left = {table: each for table, each in rows.items() if each.total}
            self._keep(identity, Step(before, reading.at, left, whole.broken))
        self._keep(identity, after)


def step_between(before: DatabaseReading, after: DatabaseReading, exclude: Collection[str] = ()) -> Step:
    """Compare two readings of one side, tables that are excluded (by now) left out."""
    broken = _why_not_comparable(before, after)
    if broken:
        return Step(before.at, after.at, {}, broken)
    known = {table.table: table for table in before.tables if table.table not in exclude}
    seen = {table.table: table for table in after.tables if table.table not in exclude}
    rows: dict[str, Rows] = {}
    for name in known.keys() | seen.keys():
        was, now = known.get(name), seen.get(name)
        trouble = _table_trouble(name, was, now)
        if trouble:
            broken = min(broken, trouble) if broken else trouble
        if was is not None and now is not None and _same_counters(was, now):
            grown = Rows(*now[1:4]).minus(Rows(*was[1:4]))
            if grown.total:
                rows[name] = grown
    return Step(before.at, after.at, rows, broken)


def qualified(names: Iterable[str], schemas: Sequence[str]) -> list[str]:
    """Return table names with their schema; one without is meant in every schema of the plan."""
    return [name for given in names for name in ([given] if "." in given else [f"{x}.{given}" for x in schemas])]


def _why_not_comparable(before: DatabaseReading, after: DatabaseReading) -> str:
    if before.in_recovery or after.in_recovery:
        return "a standby answered: its counters are not the primary's"
    if before.timeline and after.timeline and before.timeline != after.timeline:
        return f"the server was promoted (timeline {before.timeline}, now {after.timeline})"
    if before.stats_reset != after.stats_reset:
        return "the counters were reset (pg_stat_reset)"
    if before.cluster_reset != after.cluster_reset:
        return "the server lost its counters (a crash, or pg_stat_reset_shared)"
    return ""


def _table_trouble(name: str, before: TableWrites | None, after: TableWrites | None) -> str:
    if after is None:
        return f"{name} was dropped or renamed"
    if before is None:
        return f"{name} appeared" if after.total else ""
    if before.relation and after.relation and before.relation != after.relation:
        return f"{name} was made anew"
    if any(now < was for was, now in zip(before[1:4], after[1:4], strict=True)):
        return f"the counters of {name} went back"
    if before.storage and after.storage and before.storage != after.storage:
        return f"{name} was rewritten (TRUNCATE, VACUUM FULL or CLUSTER)"
    return ""


def _same_counters(before: TableWrites, after: TableWrites) -> bool:
    """Tell whether a table's counters went on: a rewrite (TRUNCATE) leaves them, and what they grew by is proof."""
    anew = before.relation and after.relation and before.relation != after.relation
    return not anew and all(now >= was for was, now in zip(before[1:4], after[1:4], strict=True))


def _few(tables: Sequence[str], most: int = 3) -> str:
    named = ", ".join(table.removeprefix("public.") for table in tables[:most])
    return f"{named} and {len(tables) - most} more" if len(tables) > most else named


def _joined(first: Step, second: Step) -> Step:
    rows = dict(first.rows)
    for table, each in second.rows.items():
        rows[table] = rows.get(table, Rows()).plus(each)
    return Step(first.before, second.after, rows, first.broken or second.broken)


def _instant(value: object) -> datetime | None:
    """Read an instant of a finding's numbers, which the ledger holds as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value if isinstance(value, datetime) else None


def _clock(instant: datetime) -> str:
    return f"{instant:%H:%M:%S} UTC"
