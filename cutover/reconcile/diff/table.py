"""The three-way diff of one table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cutover.reconcile.diff.judge import Judge, Multisets, Tallies, without_common
from cutover.reconcile.diff.match import Candidates, Leftover, Matcher
from cutover.reconcile.diff.scan import Advance, scan_all
from cutover.reconcile.diff.spill import ChangeStore, TableDiff
from cutover.reconcile.diff.xmindiff import XminPlan, diff_by_xmin, plan_by_xmin
from cutover.reconcile.model import Row, Side, Table, Tally
from cutover.reconcile.source.reader import LAST_BLOCK, Chunk, NoRows, Reader, Records
from cutover.reconcile.source.sides import ScanPlan, Sources
from cutover.reconcile.source.xmin import XminBase

WHOLE_ROWS = "whole rows"
ROW_HASHES = "packed row hashes"
XMIN = "row versions by transaction id"
SMALL = 2 << 20
"""Bytes on disk up to which a table is simply read whole."""


_ROWS_PER_BLOCK = 80


def choose(table: Table, readers: Sequence[Reader], plan: ScanPlan) -> tuple[str, str]:
    """Choose how to read a table, and say why.

    A size on disk decides (it is a fact); row counts in the catalogue are estimates and decide nothing.
    """
    size = max((reader.size for reader in readers), default=0)
    if not all(reader.scannable for reader in readers):
        return WHOLE_ROWS, "it is not stored in a heap: its rows have no positions to come back to"
    if not table.key and plan.two:
        return WHOLE_ROWS, "it has no key and its columns differ between the sides"
    if size <= SMALL:
        return WHOLE_ROWS, f"small: {_megabytes(size)} on the largest side (limit {_megabytes(SMALL)})"
    if plan.integer_key:
        how = "the integer key stands for itself"
    elif table.key:
        how = "the key is hashed to 64 bits"
    else:
        how = "no key: counted by the hash of the whole row"
    return ROW_HASHES, f"{_megabytes(size)} on the largest side; {how}"


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """How one table will be read.

    Attributes:
        readers: of ``sides``, in the matcher's order.
        ahead: the sides' whole rows, where they are being read already.
    """

    table: Table
    plan: ScanPlan
    sides: tuple[Side, ...]
    readers: tuple[Reader, ...]
    chosen: str
    reason: str
    ahead: tuple[Future[list[Row]], ...] = ()

    @property
    def small(self) -> bool:
        """Whether its rows may be held while another table is judged."""
        return self.chosen == WHOLE_ROWS and self.size <= SMALL

    @property
    def size(self) -> int:
        """Bytes on disk on the largest side."""
        return max(reader.size for reader in self.readers)

    def start(self, executor: Executor) -> Prepared:
        """Begin to read whole rows."""
        if self.ahead:
            return self
        return replace(self, ahead=tuple(executor.submit(_all_rows, reader) for reader in self.readers))

    def drop(self) -> None:
        """Give up what was begun."""
        for future in self.ahead:
            future.cancel()


def _all_rows(reader: Reader) -> list[Row]:
    return list(reader.all_rows())


def prepare(sources: Sources, table: Table, strategy: str | None = None) -> Prepared:
    """Decide how to read a table.

    Args:
        sources: the sides.
        table: one of the schema's.
        strategy: instead of the planner's choice (tests).

    Raises:
        CutoverError: a side's table cannot be read.
    """
    plan = sources.plan(table)
    base = sources.base.reader(table, plan) if sources.base else None
    readers: tuple[Reader, ...] = (sources.reader(Side.OLD, table, plan), sources.reader(Side.NEW, table, plan))
    sides: tuple[Side, ...] = (Side.OLD, Side.NEW)
    if base is not None:
        sides, readers = (Side.BASE, *sides), (base, *readers)
    chosen, reason = choose(table, readers, plan)
    if strategy is not None:
        chosen, reason = strategy, "asked for"
    return Prepared(table=table, plan=plan, sides=sides, readers=readers, chosen=chosen, reason=reason)


def diff_table(
    sources: Sources,
    prepared: Prepared,
    store: ChangeStore,
    executor: Executor,
    *,
    folder: Path,
    jobs: int = 1,
    prove: bool = False,
    advance: Callable[[Advance], None] | None = None,
) -> TableDiff:
    """Find what old and new did to one table; the changes go to ``store``.

    Args:
        sources: the sides.
        prepared: one of the schema's tables, see :func:`prepare`.
        store: must be within ``store.table(table.name)``.
        executor: runs ranges.
        folder: for files of rows that wait.
        jobs: ranges at a time and side.
        prove: hash every row even where a watermark would do.
        advance: progress.

    Raises:
        CutoverError: the table cannot be read, or its key does not tell rows apart.
    """
    began = time.perf_counter()
    table, plan, sides, readers = prepared.table, prepared.plan, prepared.sides, prepared.readers
    new, with_base = readers[-1], len(readers) == 3
    chosen, reason = prepared.chosen, prepared.reason
    tallies = Tallies(table, store)
    new_exists = not isinstance(new, NoRows)
    rows: Counter[Side] = Counter(dict.fromkeys(Side, 0))
    notes = []
    base_from = "rows" if with_base else "none"
    by_xmin: XminPlan | None = None
    if isinstance(sources.base, XminBase):
        found = plan_by_xmin(sources, table, plan, sources.base, prove=prove)
        if isinstance(found, str):
            notes.append(f"base cannot be told by transaction ids: {found}")
        else:
            by_xmin = found
            chosen, reason = XMIN, found.reason
            base_from = "inferred" if sources.base.inferred else "watermark"
    if by_xmin is not None:
        diff_by_xmin(
            sources,
            table,
            plan,
            by_xmin,
            tallies,
            executor,
            rows,
            folder=folder,
            jobs=jobs,
            advance=advance,
            counting=_Counting,
        )
    elif chosen == WHOLE_ROWS:
        _whole_rows(prepared.start(executor), tallies, rows, new_exists=new_exists)
    else:
        matcher = Matcher(
            len(readers),
            keyless=not table.key,
            folder=folder,
            expected=sum(sum(reader.extent) for reader in readers) * _ROWS_PER_BLOCK,
        )
        counted = [_Counting(reader, side, rows) for side, reader in zip(sides, readers, strict=True)]
        if table.key:
            judge = Judge(table, plan, readers, tallies, new_exists=new_exists)
            for candidates, leftover in scan_all(counted, matcher, executor, jobs=jobs, advance=advance):
                judge.candidates(candidates)
                if leftover is not None:
                    judge.leftover(leftover)
            judge.finish()
        else:
            multisets = Multisets(table, plan, tallies, with_base=with_base, new_exists=new_exists)
            scanned = scan_all(counted, matcher, executor, jobs=jobs, advance=advance)
            by_hash = _cancelled(sides, counted, multisets, scanned)
            multisets.finish(_counts(new, by_hash))
    if not with_base and sources.base is not None and not isinstance(sources.base, XminBase):
        notes.append("base holds no rows of this table: old and new are compared by value only")
    return TableDiff(
        table=table,
        strategy=chosen,
        reason=reason,
        rows=dict(rows),
        old=Tallies.tally(tallies.old),
        new=Tallies.tally(tallies.new) if new_exists else Tally(),
        base_known=base_from != "none",
        base_from=base_from,
        notes=tuple(notes),
        seconds=time.perf_counter() - began,
        store=store,
    )


class _Counting:
    """A reader that counts the rows that it scans."""

    def __init__(self, reader: Reader, side: Side, rows: Counter[Side]) -> None:
        self._reader = reader
        self._side = side
        self._rows = rows
        self.size = reader.size
        self.extent = reader.extent
        self.scannable = reader.scannable
        self.all_rows = reader.all_rows
        self.fetch = reader.fetch

    def scan(self, chunk: Chunk) -> Records:
        """Scan and count."""
        records = self._reader.scan(chunk)
        self._rows[self._side] += len(records.key)
        return records


def _whole_rows(prepared: Prepared, tallies: Tallies, rows: Counter[Side], *, new_exists: bool) -> None:
    table, plan, sides = prepared.table, prepared.plan, prepared.sides
    found = [future.result() for future in prepared.ahead]
    for side, each in zip(sides, found, strict=True):
        rows[side] = len(each)
    if table.key:
        judge = Judge(table, plan, prepared.readers, tallies, new_exists=new_exists)
        for number, each in enumerate(without_common(found, [table.places[name] for name in table.key])):
            judge.whole_rows(number, each)
        judge.finish()
    else:
        multisets = Multisets(table, plan, tallies, with_base=len(sides) == 3, new_exists=new_exists)
        for side, each in zip(sides, found, strict=True):
            multisets.take(side, each)
        multisets.finish()


def _cancelled(
    sides: Sequence[Side],
    readers: Sequence[Reader],
    multisets: Multisets,
    found: Iterator[tuple[Candidates, Leftover | None]],
) -> dict[int, Row]:
    """Take the rows of a keyless table that did not cancel out by hash; return them by hash."""
    by_hash: dict[int, Row] = {}
    for candidates, leftover in found:
        for number, (side, reader) in enumerate(zip(sides, readers, strict=True)):
            there = candidates.there[:, number]
            keys, positions = candidates.key[there], candidates.positions[there, number]
            if leftover is not None:
                mine = leftover.side == number
                keys = np.concatenate([keys, leftover.key[mine]])
                positions = np.concatenate([positions, leftover.position[mine]])
            for start in range(0, len(positions), 5000):
                part = slice(start, start + 5000)
                fetched = reader.fetch(positions[part])
                multisets.take(side, fetched.values())
                for key, position in zip(keys[part].tolist(), positions[part].tolist(), strict=True):
                    by_hash[key] = fetched[position]
    return by_hash


def _counts(reader: Reader, by_hash: Mapping[int, Row]) -> Mapping[Row, int]:
    """Count how often a side really has the rows in question: equal ones were cancelled out unseen."""
    counts: Counter[Row] = Counter()
    if not by_hash:
        return counts
    wanted = np.array(list(by_hash), np.int64)
    for leaf, blocks in enumerate(reader.extent):
        for start in range(0, blocks, 4096):
            records = reader.scan(Chunk(leaf, start, start + 4096 if start + 4096 < blocks else LAST_BLOCK))
            hashes, times = np.unique(records.key[np.isin(records.key, wanted)], return_counts=True)
            for key, often in zip(hashes.tolist(), times.tolist(), strict=True):
                counts[by_hash[key]] += often
    return counts
