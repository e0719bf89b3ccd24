"""``cutover baseline``: records where old stands when the copy is taken, and new when the copy is restored.

The watermark lets reconcile tell base's rows without a second copy of the data. It must never be later than the
copy: a row that old wrote in between would be taken for base, and be lost. So old's watermark is taken once, and
again only together with a new dump; new's is taken only while every table holds nothing but what one restore wrote.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cutover.clock import Clock
from cutover.errors import CutoverError
from cutover.observations.base import Observation
from cutover.observations.database import BaselineTaken
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Database, Plan
from cutover.probes.database import read_counters, read_sequences
from cutover.reconcile.model import Side, TableName
from cutover.reconcile.source.session import address, check_no_transaction_pooler, connect, explain
from cutover.reconcile.source.watermark import Watermark, Watermarks

_NO_BASE = (
    "this baseline is later than the copy, so reconcile does not take it for base: give what was copied as [database]"
    " base. If new is left from a rehearsal and will be restored anew, empty it and run cutover baseline again"
)
_ONCE_RESTORED = "reconcile takes this dump for base only after it was restored and cutover baseline has recorded new"
_EMPTY = "new has no {} yet: restore it, then run cutover baseline again before users write there"

Append = Callable[[Iterable[Observation]], object]
Say = Callable[[str], None]


class Baselines:
    """The baselines that the ledger holds, from its observations in order.

    A dump taken later is a new baseline, and the base only when new was recorded after it: nobody knows that it was
    restored, and what old wrote before a watermark that is too late is taken for base and lost. One that is too early
    only makes more rows be judged by value. A late one without a dump is never the base.
    """

    def __init__(self, observations: Iterable[Observation] = ()) -> None:
        self.old: BaselineTaken | None = None
        self.new: BaselineTaken | None = None
        self._base: tuple[BaselineTaken, BaselineTaken | None] | None = None
        for observation in observations:
            if isinstance(observation, BaselineTaken):
                if observation.side == "old":
                    self.old, self.new = observation, None
                    self._base = self._base or (None if observation.late else (observation, None))
                else:
                    self.new = observation
                    if self.old is not None and not self.to_be_taken_anew:
                        self._base = (self.old, observation)

    @property
    def to_be_taken_anew(self) -> bool:
        """Whether the next run records old: there is no baseline of it, or a late one that nobody can restore."""
        return self.old is None or (self.old.late and not self.old.dump)

    def watermarks(self) -> Watermarks | None:
        """Return what ``reconcile`` reads instead of a base; None when there is no baseline."""
        if self._base is None:
            return None
        old, new = self._base
        return Watermarks(old=_watermark(old), new=None if new is None else _watermark(new))


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """What was recorded.

    Attributes:
        old, new: the records of this run; None where nothing was recorded.
        notes: one line each, why something was not, and what follows.
        new_holds_rows: the copy seems to be made already: no word of making one.
    """

    old: BaselineTaken | None
    new: BaselineTaken | None
    dump: str = ""
    notes: tuple[str, ...] = ()
    new_holds_rows: bool = False

    verdict = "recorded"
    exit_code = 0

    @property
    def next_command(self) -> str:
        """The one command to run now."""
        if self.new is not None:
            return "cutover preflight"
        if self.new_holds_rows:
            return "cutover explain database.baseline"
        if self.dump:
            return f"pg_restore --dbname=NEW_DATABASE_URL --jobs=4 --no-owner {self.dump} && cutover baseline"
        return "take the copy now, restore it into new, then: cutover baseline"

    def text(self) -> str:
        """For the terminal."""
        lines = [f"baseline   {self.verdict.upper()} ({self.exit_code})"]
        for side in (self.old, self.new):
            if side is not None:
                lines.append(
                    f"  {side.side}: snapshot {side.snapshot}, WAL {side.lsn or '?'}, "
                    f"{len(side.counters.tables)} tables,"
                    f" {len(side.sequences)} sequences, {side.at:%Y-%m-%d %H:%M:%S} UTC"
                )
        if self.dump:
            lines.append(f"  dump of that very snapshot: {self.dump}")
        lines += [f"  {note}" for note in self.notes]
        lines.append(f"Next: {self.next_command}")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """The command's JSON object, without ``command``, ``migration`` and ``at``."""
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "old": None if self.old is None else _told(self.old),
            "new": None if self.new is None else _told(self.new),
            "dump": self.dump,
            "notes": list(self.notes),
            "next": self.next_command,
        }


def baseline(
    plan: Plan,
    old_url: str,
    new_url: str | None,
    *,
    append: Append,
    known: Baselines,
    clock: Clock,
    dump: Path | None = None,
    jobs: int = 2,
    say: Say = lambda line: None,
    pg_dump: str = "pg_dump",
) -> BaselineResult:
    """Record the watermarks, and dump old with that very snapshot when asked to.

    Args:
        plan: its ``[database]`` names schemas and exclusions.
        old_url: of old.
        new_url: of new; without it only old is recorded.
        append: writes to the ledger, durably, before it returns.
        known: what the ledger holds already.
        clock: tells the time.
        dump: a folder that does not exist yet: pg_dump's directory format.
        jobs: parallel jobs of pg_dump.
        say: progress, one line at a time.
        pg_dump: the program.

    Raises:
        CutoverError: a standby, unreachable, a baseline that would be later than the copy, pg_dump failed.
    """
    database = plan.database
    if database is None:
        raise CutoverError("the plan has no [database]", "add [database] with old and new")
    if dump is not None and dump.exists():
        raise CutoverError(f"--dump {dump}: is there already", "name a folder that does not exist yet")
    notes: list[str] = []
    old: BaselineTaken | None = None
    if known.to_be_taken_anew or dump is not None:
        late = _late(old_url, new_url, database, clock, say) if new_url and known.to_be_taken_anew else ""
        old = _record(Side.OLD, old_url, database, clock, dump=dump, jobs=jobs, say=say, pg_dump=pg_dump)
        old = replace(old, late=bool(late))
        append([old])
        if late:
            notes.append(f"{late}: {_ONCE_RESTORED if dump else _NO_BASE}")
        if known.old is not None and dump is not None:
            notes.append(
                f"reconcile goes on with the baseline of {known.old.at:%Y-%m-%d %H:%M:%S} UTC until this dump is"
                " restored and cutover baseline has recorded new"
            )
        if not old.counters.system_identifier:
            notes.append(
                "old's system identifier may not be read by this role: reconcile will hash instead of trusting this"
            )
    elif known.old is not None:
        notes.append(
            f"old's baseline of {known.old.at:%Y-%m-%d %H:%M:%S} UTC stands: one taken now would be later than the copy"
            " (a new copy: --dump FILE, or another --ledger)"
        )
    new: BaselineTaken | None = None
    holds = False
    if new_url is not None:
        new, why, holds = _record_new(new_url, database, clock, say)
        holds = holds and (dump is None or (old is not None and old.late))
        if why:
            notes.append(why)
        if old is not None and old.late:
            new = None
        elif new is not None and dump is not None:
            new = None
            notes.append("new is not recorded together with a new dump: restore it first, then run cutover baseline")
        behind = _behind(new, old or known.old)
        if behind:
            new = None
            notes.append(f"new is not recorded: {behind}: it is no copy of that baseline; restore its dump first")
        if new is not None:
            append([new])
    return BaselineResult(old=old, new=new, dump=str(dump or ""), notes=tuple(notes), new_holds_rows=holds)


def _late(old_url: str, new_url: str, database: Database, clock: Clock, say: Say) -> str:
    """Say why a first baseline comes after the copy: new holds rows already, and no longer those of old."""
    with connect(Side.OLD, old_url) as old, connect(Side.NEW, new_url) as new:
        with _telling(Side.OLD, old_url):
            read = read_counters(old, "old", database, clock)
            mine = {each.table: _columns(old, each.table) for each in read.tables}
        with _telling(Side.NEW, new_url):
            read = read_counters(new, "new", database, clock)
            theirs = {each.table: _columns(new, each.table) for each in read.tables}
        for table in sorted(theirs.keys() & mine.keys()):
            say(f"looking whether {table} is the same on both sides")
            columns = [name for name in mine[table] if name in theirs[table]]
            with _telling(Side.NEW, new_url):
                there = _summed(new, table, columns)
            if there is not None and not there[0]:
                continue
            with _telling(Side.OLD, old_url):
                here = _summed(old, table, columns)
            if there is None or here is None:
                return f"{table} of new holds rows already, too many to see in time whether they are those of old"
            if there != here:
                return f"{table} of new holds rows already, and not those of old"
    return ""


@contextmanager
def _telling(side: Side, url: str) -> Iterator[None]:
    """Name the side that fails."""
    try:
        yield
    except psycopg.Error as error:
        raise explain(side, url, error) from None


def _summed(connection: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> tuple[int, int] | None:
    """Return how many rows a table holds, and a sum over them whatever their order; None when it took too long."""
    query = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0) FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(*table.split(".", 1))
    )
    try:
        row = connection.execute(query).fetchone()
    except psycopg.errors.QueryCanceled:
        return None
    return None if row is None else (row[0], row[1])


def _columns(connection: psycopg.Connection[Any], table: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        (sql.Identifier(*table.split(".", 1)).as_string(),),
    )
    return tuple(str(row[0]) for row in rows)


def _behind(new: BaselineTaken | None, old: BaselineTaken | None) -> str:
    """Say why new cannot be the copy of a baseline: a restore brings sequences to where they stood, or further."""
    if new is None or old is None:
        return ""
    reached = {each.sequence: each for each in new.sequences if each.readable}
    for each in old.sequences:
        here = reached.get(each.sequence)
        if here is None or each.last_value is None:
            continue
        if here.last_value is None or (here.last_value - each.last_value) * each.increment < 0:
            at = "its start" if here.last_value is None else here.last_value
            return f"sequence {each.sequence} stands at {at}, and at {each.last_value} in old's baseline"
    return ""


def _record_new(url: str, database: Database, clock: Clock, say: Say) -> tuple[BaselineTaken | None, str, bool]:
    """Record new, unless it is empty, or holds rows that no restore wrote: their users' changes would be lost.

    An empty one would be recorded before its restore: none of the restored rows were base's then.

    Returns:
        The record, or why there is none; and whether new holds rows.
    """
    connection = connect(Side.NEW, url)
    try:
        say("looking whether new holds only what was restored")
        counters = read_counters(connection, "new", database, clock)
        if not counters.tables:
            return None, _EMPTY.format("tables"), False
        rows = False
        for table in counters.tables:
            schema, _, name = table.table.partition(".")
            row = connection.execute(
                sql.SQL("SELECT count(DISTINCT xmin::text) FROM {}").format(sql.Identifier(schema, name))
            ).fetchone()
            rows = rows or bool(row and row[0])
            if table.updated or table.deleted or (row and row[0] > 1):
                why = (
                    f"new is not recorded: {table.table} holds rows of several transactions, so users' rows could not"
                    " be told from restored ones (reconcile compares values instead)"
                )
                return None, why, True
    except psycopg.Error as error:
        raise explain(Side.NEW, url, error) from None
    finally:
        connection.close()
    if not rows:
        return None, _EMPTY.format("rows"), False
    return _record(Side.NEW, url, database, clock, say=say), "", True


def _record(
    side: Side,
    url: str,
    database: Database,
    clock: Clock,
    *,
    say: Say,
    dump: Path | None = None,
    jobs: int = 2,
    pg_dump: str = "pg_dump",
) -> BaselineTaken:
    connection = connect(side, url)
    try:
        check_no_transaction_pooler(side, url, connection)
        if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
            raise CutoverError(
                f"{side}: {address(url)} is a hot standby: its counters are its own, its snapshot trails the primary's,"
                " and writes between the two would be taken for base",
                "give the URL of the primary",
            )
        # Counters and sequences come before the snapshot: what is written in between is then seen twice, never missed.
        counters = read_counters(connection, side.value, database, clock)
        sequences = read_sequences(connection, side.value, database, clock).sequences
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute(
            "SELECT pg_current_snapshot()::text, pg_current_wal_lsn()::text, pg_export_snapshot()"
        ).fetchone()
        assert row is not None  # noqa: S101 - one row, always
        at = clock.now()
        if dump is not None:
            say(f"dumping into {dump}")
            _dump(url, dump, row[2], jobs, pg_dump)
        connection.execute("COMMIT")
    except psycopg.Error as error:
        raise explain(side, url, error) from None
    finally:
        connection.close()
    return BaselineTaken(
        at=at, side=side.value, snapshot=row[0], lsn=row[1], sequences=sequences, counters=counters,
        dump=str(dump.absolute()) if dump is not None else "",
    )  # fmt: skip


def _dump(url: str, folder: Path, snapshot: str, jobs: int, pg_dump: str) -> None:
    """Run pg_dump with the exported snapshot; the password goes by the environment, not by the command line."""
    parts = conninfo_to_dict(url)
    password = parts.pop("password", None)
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    command = [
        pg_dump, "--format=directory", f"--jobs={jobs}", f"--snapshot={snapshot}", f"--file={folder}",
        f"--dbname={make_conninfo(**{name: str(value) for name, value in parts.items() if value is not None})}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CutoverError(f"{pg_dump} is not installed here", "install PostgreSQL's client programs") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CutoverError(
            f"pg_dump failed: {said.replace(str(password), '***') if password else said}",
            "its version must not be older than the server's; remove the folder and run it again",
            exit_code=4,
        )
    folder.chmod(0o700)


def _watermark(taken: BaselineTaken) -> Watermark:
    reading: DatabaseReading = taken.counters
    return Watermark(
        system_identifier=reading.system_identifier,
        database=reading.database,
        snapshot_xmin=int(taken.snapshot.split(":")[0]),
        lsn=taken.lsn,
        taken_at=reading.server_time.astimezone(UTC),
        sequences={_name(each.sequence): each.last_value for each in taken.sequences},
        counters={_name(each.table): (each.inserted, each.updated, each.deleted) for each in reading.tables},
    )


def _name(text: str) -> TableName:
    schema, _, name = text.partition(".")
    return TableName(schema, name)


def _told(taken: BaselineTaken) -> dict[str, Any]:
    return {
        "snapshot": taken.snapshot,
        "lsn": taken.lsn,
        "system_identifier": taken.counters.system_identifier,
        "tables": len(taken.counters.tables),
        "sequences": {each.sequence: each.last_value for each in taken.sequences},
        "at": taken.at.isoformat(),
    }
