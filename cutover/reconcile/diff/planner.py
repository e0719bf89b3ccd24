"""Reading everything: which table how, in which order, what happens when a connection is lost."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.diff.lineage import prove_lineage
from cutover.reconcile.diff.scan import Advance
from cutover.reconcile.diff.spill import ChangeStore, TableDiff
from cutover.reconcile.diff.table import SMALL, Prepared, diff_table, prepare
from cutover.reconcile.model import Schema, Side, Table, TableName, Tally
from cutover.reconcile.options import Options
from cutover.reconcile.source.base import DumpBase
from cutover.reconcile.source.catalogue import read_catalogue
from cutover.reconcile.source.dump import read_dump
from cutover.reconcile.source.schema import load_schema
from cutover.reconcile.source.session import ConnectionCutError, Database, SnapshotLostError
from cutover.reconcile.source.sides import Base, Sources, UrlBase
from cutover.reconcile.source.watermark import Watermarks
from cutover.reconcile.source.xmin import XminBase

_RESTARTS = 3
_AHEAD = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the reading stands.

    Attributes:
        fraction: of the present table.
        rate: rows per second of all sides, within the table.
        eta: seconds until the table is done; ``None`` while unknown.
        message: set when something happened that a person should know (a restart).
    """

    table: TableName
    number: int
    tables: int
    fraction: float
    rows: int
    rate: float
    eta: float | None
    message: str = ""


Report = Callable[[Progress], None]


@contextmanager
def open_sources(
    old: str,
    new: str,
    base: str | None,
    options: Options,
    *,
    folder: Path,
    watermarks: Watermarks | None = None,
    statement_timeout: str = "10min",
) -> Iterator[Sources]:
    """Open all sides.

    Args:
        old: URL of old.
        new: URL of new.
        base: URL, the path of a dump, or ``None``: then ``watermarks`` tell base's rows, or else what can be
            inferred from new's restore (``TableDiff.base_from`` says which, for each table).
        options: the plan.
        folder: the bundle's folder, for what must lie on disk while it is read.
        watermarks: what ``cutover baseline`` recorded.
        statement_timeout: of every statement.

    Raises:
        CutoverError: a side cannot be opened.
    """
    opened: list[Database | Base] = []
    try:
        old_side = Database(Side.OLD, old, statement_timeout=statement_timeout)
        opened.append(old_side)
        new_side = Database(Side.NEW, new, statement_timeout=statement_timeout)
        opened.append(new_side)
        base_side: Base
        if base is not None and is_url(base):
            base_side = UrlBase(Database(Side.BASE, base, statement_timeout=statement_timeout), options.schemas)
        elif base is not None:
            base_side = _dump_base(Path(base), old_side, options, folder)
        else:
            base_side = XminBase(old_side, new_side, watermarks)
        opened.append(base_side)
        yield Sources(old=old_side, new=new_side, base=base_side, options=options)
    finally:
        for each in opened:
            each.close()


def is_url(base: str) -> bool:
    """Tell a database's URL or DSN from the path of a dump."""
    return base.startswith(("postgres://", "postgresql://")) or bool(re.search(r"\b(host|dbname|service)\s*=", base))


def _dump_base(path: Path, old: Database, options: Options, folder: Path) -> Base:
    catalogue = read_catalogue(old, options.schemas)

    def wanted(name: TableName) -> bool:
        # Partitions have names (and perhaps schemas) of their own, and may be gone from old by now.
        named = str(name) in options.exclude or name.name in options.exclude
        return not named and (name.schema in options.schemas or name in catalogue.partitions)

    return DumpBase(path, read_dump(path, folder, wanted), old, catalogue)


def read_schema(sources: Sources) -> Schema:
    """Bring the sides' schemas together.

    Raises:
        CutoverError: see :func:`cutover.reconcile.source.schema.load_schema`.
    """
    return load_schema(
        sources.catalogues[Side.OLD],
        sources.catalogues[Side.NEW],
        sources.base.columns() if sources.base else None,
        sources.options,
    )


def read_changes(
    sources: Sources,
    store: ChangeStore,
    *,
    folder: Path,
    jobs: int = 1,
    executor: Executor | None = None,
    report: Report | None = None,
    strategy: str | None = None,
    prove: bool = False,
) -> tuple[Schema, list[TableDiff]]:
    """Read every table; changes go to ``store``.

    All tables are read at one instant per side. When a side's snapshot is lost (its session was ended), what
    was read before belongs to another instant: everything is read again at a new one, and ``report`` says so.
    A store that was left by an interrupted run is used only for tables whose sides have provably not changed
    since (no transaction id was assigned in between on any side); all others are read again.

    Args:
        sources: the sides.
        store: the bundle's change file.
        folder: where partition files may be made.
        jobs: ranges at a time and side.
        executor: runs ranges; a thread pool by default.
        report: told after every range.
        strategy: instead of the planner's choice (tests).
        prove: hash every row even where a watermark would do.

    Raises:
        CutoverError: something cannot be read.
    """
    own = None
    if executor is None:
        executor = own = ThreadPoolExecutor(max_workers=3 * jobs, thread_name_prefix="cutover-scan")
    try:
        lost: SnapshotLostError | ConnectionCutError | None = None
        for _ in range(_RESTARTS):
            try:
                if lost is not None:
                    _restart(sources, lost)
                    store.clear()
                return _read_all(sources, store, folder, jobs, executor, report, strategy, prove, lost)
            except (SnapshotLostError, ConnectionCutError) as error:
                lost = error
        raise CutoverError(
            f"{lost}: the connection was lost {_RESTARTS} times while reading",
            "look for what ends sessions (a time limit, a failover, memory) and run the command again",
            exit_code=4,
        )
    finally:
        if own is not None:
            own.shutdown(cancel_futures=True)


def _restart(sources: Sources, lost: SnapshotLostError | ConnectionCutError) -> None:
    for database in sources.databases:
        if database.side is lost.side:
            database.restart()
    sources.refresh()


def _read_all(
    sources: Sources,
    store: ChangeStore,
    folder: Path,
    jobs: int,
    executor: Executor,
    report: Report | None,
    strategy: str | None,
    prove: bool,
    lost: Exception | None,
) -> tuple[Schema, list[TableDiff]]:
    schema = read_schema(sources)
    instants = sources.instants()
    diffs: list[TableDiff] = []
    message = f"{lost}; reading again at a new snapshot" if lost else ""
    unread = [table for table in schema.tables.values() if store.finished(table.name, instants) is None]
    prepared = _prepared(sources, unread, executor, strategy)
    for number, table in enumerate(schema.tables.values(), start=1):
        known = store.finished(table.name, instants)
        if known is not None:
            diffs.append(_from_summary(table, known, store))
            continue
        began = time.monotonic()

        def advance(
            now: Advance, *, table: Table = table, number: int = number, began: float = began, said: str = message
        ) -> None:
            if report is None:
                return
            elapsed = time.monotonic() - began
            report(
                Progress(
                    table=table.name,
                    number=number,
                    tables=len(schema.tables),
                    fraction=now.fraction,
                    rows=now.rows,
                    rate=now.rows / elapsed if elapsed > 0 else 0.0,
                    eta=elapsed / now.fraction - elapsed if now.fraction > 0.01 else None,
                    message=said if now.fraction == 0.0 else "",
                )
            )

        advance(Advance(fraction=0.0, rows=0))
        message = ""
        with store.table(table.name):
            _check_key(sources, table)
            diff = diff_table(
                sources, next(prepared), store, executor, folder=folder, jobs=jobs, prove=prove, advance=advance
            )
            store.finish(table.name, instants, _summary(diff))
        diffs.append(diff)
        advance(Advance(fraction=1.0, rows=sum(diff.rows.values())))
    prove_lineage(sources, schema, diffs)
    for database in sources.databases:
        database.check_alive()
    return schema, diffs


def _prepared(
    sources: Sources, tables: Sequence[Table], executor: Executor, strategy: str | None
) -> Iterator[Prepared]:
    """Yield tables in order; small ones that come next are being read already: else each would cost a round trip."""
    coming = iter(tables)
    waiting: deque[Prepared] = deque()
    try:
        while True:
            while len(waiting) < _AHEAD and sum(each.size for each in waiting) <= SMALL:
                table = next(coming, None)
                if table is None:
                    break
                one = prepare(sources, table, strategy)
                small = one.small and not isinstance(sources.base, XminBase)
                waiting.append(one.start(executor) if small else one)
            if not waiting:
                return
            yield waiting.popleft()
    finally:
        for one in waiting:
            one.drop()


def _check_key(sources: Sources, table: Table) -> None:
    """Verify by data what no index of a side promises: that the key is unique and never NULL."""
    if not table.key:
        return
    for database in sources.databases:
        raw = sources.raw(database.side, table.name)
        if raw is None:
            continue
        promised = {frozenset(unique.columns) for unique in raw.uniques if unique.name in raw.key_indexes}
        if frozenset(table.key) in promised or any(raw.column(each) is None for each in table.key):
            continue
        columns = sql.SQL(", ").join(map(sql.Identifier, table.key))
        query = sql.SQL("SELECT {0} FROM {1} GROUP BY {0} HAVING count(*) > 1 OR {2} LIMIT 1").format(
            columns,
            sql.Identifier(*table.name),
            sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(each)) for each in table.key),
        )
        for row in database.rows(query):
            shown = ", ".join("NULL" if value is None else value for value in row)
            raise CutoverError(
                f"{table.name}: on {database.side} the key ({', '.join(table.key)}) is not unique or NULL: ({shown})",
                "give a match_key that tells rows apart on every side",
            )


def _summary(diff: TableDiff) -> str:
    return json.dumps(
        {
            "strategy": diff.strategy,
            "reason": diff.reason,
            "rows": {side.value: count for side, count in diff.rows.items()},
            "old": diff.old,
            "new": diff.new,
            "base_known": diff.base_known,
            "base_from": diff.base_from,
            "notes": diff.notes,
            "seconds": diff.seconds,
        }
    )


def _from_summary(table: Table, text: str, store: ChangeStore) -> TableDiff:
    known = json.loads(text)
    return TableDiff(
        table=table,
        strategy=known["strategy"],
        reason=known["reason"],
        rows={Side(side): count for side, count in known["rows"].items()},
        old=Tally(*known["old"]),
        new=Tally(*known["new"]),
        base_known=known["base_known"],
        base_from=known["base_from"],
        notes=(*known["notes"], "taken over from the interrupted run: nothing was written on any side since"),
        seconds=known["seconds"],
        store=store,
    )
