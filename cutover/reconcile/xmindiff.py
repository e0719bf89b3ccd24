"""The diff of one table when base is known only by transaction ids (``xmin``).

Where a side's row version is base's own, it *is* the base row. Of a row that both sides rewrote, base is not
known: the change says so (``base_known=False``) and ends as a conflict unless both sides hold the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.catalogue import RawTable
from cutover.reconcile.judge import Judge, Tallies
from cutover.reconcile.match import Candidates, Matcher
from cutover.reconcile.model import Change, Key, Row, Side, Table
from cutover.reconcile.reader import DatabaseReader, Expressions, Reader
from cutover.reconcile.scan import Advance, scan_all
from cutover.reconcile.source import ScanPlan, Sources
from cutover.reconcile.spill import ChangeKind
from cutover.reconcile.xmin import XminBase

_SAMPLE = 500
_BATCH = 5000
_SMALL = 2 << 20


class XminPlan(NamedTuple):
    """How a table is read by transaction ids.

    Attributes:
        flags_only: both sides' ids are trusted: no row is hashed.
    """

    base: XminBase
    old: list[Expressions]
    new: list[Expressions]
    flags_only: bool
    reason: str


def plan_by_xmin(
    sources: Sources, table: Table, plan: ScanPlan, base: XminBase, *, prove: bool
) -> XminPlan | str:
    """Plan a table, or return why transaction ids say nothing about it.

    Args:
        sources: the sides.
        table: with a key.
        plan: what is hashed where ids do not suffice.
        base: the watermark, or what is inferred.
        prove: hash every row all the same and compare.
    """
    old_raw, new_raw = sources.raw(Side.OLD, table.name), sources.raw(Side.NEW, table.name)
    if old_raw is None or new_raw is None:
        return "one side lacks the table"
    if not table.key:
        return "it has no key"
    if not (old_raw.heap and new_raw.heap):
        return "it is not stored in a heap"
    old_condition = base.old_is_base()
    new_conditions = [base.new_is_base(table, new_raw, leaf) for leaf in range(len(new_raw.leaves))]
    known = [each for each in new_conditions if each is not None]
    if old_condition is None and (not known or len(known) < len(new_conditions)):
        return base.refused.get(table.name, "nothing is known of new's rows")
    both = old_condition is not None and len(known) == len(new_conditions)
    # Hashing a small table costs less than proving that it need not be hashed.
    large = max(sum(leaf.main for leaf in raw.leaves) for raw in (old_raw, new_raw)) > _SMALL
    flags_only = both and large and not prove
    old_plain = plan.expressions(old_raw, Side.OLD)
    new_plain = plan.expressions(new_raw, Side.NEW)
    old_second = sql.SQL("age(xmin)::int8") if old_condition is None else _flag(old_condition, 1, 0)
    old = [replace(old_plain, second=old_second)] * len(old_raw.leaves)
    new = [
        replace(new_plain, second=_flag(each if each is not None else sql.SQL("false"), 1, 0))
        for each in new_conditions
    ]
    if flags_only and old_condition is not None:
        # 1 and 1 means that both rows are base's own: equal, and dropped. Anything else is looked at.
        old = [replace(old_plain, first=_flag(old_condition, 1, 0))] * len(old_raw.leaves)
        new = [replace(new_plain, first=_flag(condition, 1, 2)) for condition in known]
        reason = "a watermark is given and a sample of it agrees: row versions are told apart by xmin, unhashed"
    elif base.inferred:
        reason = "no base is given: new's restore tells which of its rows are base's own"
    else:
        reason = "a watermark is given; rows are hashed as well" + (" (--prove)" if prove else "")
    return XminPlan(base, old, new, flags_only, reason)


def _flag(condition: sql.Composable, yes: int, no: int) -> sql.Composable:
    return sql.SQL("CASE WHEN {} THEN {} ELSE {} END::int8").format(
        condition, sql.SQL(str(yes)), sql.SQL(str(no))
    )


def diff_by_xmin(
    sources: Sources,
    table: Table,
    plan: ScanPlan,
    how: XminPlan,
    tallies: Tallies,
    executor: Executor,
    rows: Counter[Side],
    *,
    folder: Path,
    jobs: int,
    advance: Callable[[Advance], None] | None,
    counting: Callable[[Reader, Side, Counter[Side]], Reader],
) -> None:
    """Read a table by transaction ids.

    Raises:
        CutoverError: the watermark contradicts what the rows hold.
    """
    old_raw, new_raw = _raw(sources, Side.OLD, table), _raw(sources, Side.NEW, table)
    readers: tuple[Reader, Reader] = (
        DatabaseReader(sources.old, table, old_raw, how.old),
        DatabaseReader(sources.new, table, new_raw, how.new),
    )
    if how.flags_only:
        _check_sample(sources, table, plan, how, old_raw, new_raw)
    how.base.learn_largest(table, new_raw)
    matcher = Matcher(2, keyless=False, folder=folder)
    judge = _XminJudge(table, plan, readers, tallies, how, sources)
    counted = [counting(reader, side, rows) for reader, side in zip(readers, (Side.OLD, Side.NEW), strict=True)]
    for candidates, leftover in scan_all(counted, matcher, executor, jobs=jobs, advance=advance):
        judge.take(candidates)
        if leftover is not None and len(leftover.key):
            raise _shared_number(table)
    judge.finish_all(matcher.least_second)


def _shared_number(table: Table) -> CutoverError:
    return CutoverError(
        f"{table.name}: two keys share one hash, and transaction ids cannot tell their rows apart",
        "give a base (URL or dump) for this comparison",
        exit_code=4,
    )


def _raw(sources: Sources, side: Side, table: Table) -> RawTable:
    raw = sources.raw(side, table.name)
    if raw is None:
        raise LookupError(f"{table.name} is missing on {side}")
    return raw


class _XminJudge:
    def __init__(
        self,
        table: Table,
        plan: ScanPlan,
        readers: tuple[Reader, Reader],
        tallies: Tallies,
        how: XminPlan,
        sources: Sources,
    ) -> None:
        self._table = table
        self._tallies = tallies
        self._how = how
        self._readers = readers
        # The two-sided judge knows keys, comparisons and collisions of key hashes.
        self._values = Judge(table, plan, readers, tallies, new_exists=True)
        self._waiting: list[Candidates] = []
        self._oldest_change: int | None = None
        self._sequence = self._last_value(sources)

    def _last_value(self, sources: Sources) -> int | None:
        if not self._table.generated_key:
            return None
        column = next(each for each in self._table.columns if each.name == self._table.key[0])
        return sources.sequences(Side.BASE).get(column.sequence) if column.sequence else None

    def take(self, found: Candidates) -> None:
        if not len(found.key):
            return
        if not self._how.base.inferred:
            self._judge(found, found.second[:, 0] == 1)
            return
        # A row of old beside a base row of new is judged by value; any other one by its age, later.
        beside_base = found.there[:, 1] & (found.second[:, 1] == 1)
        later = found.there[:, 0] & ~beside_base
        now = ~later
        changed = now & found.there[:, 0]
        if changed.any():
            oldest = int(found.second[changed, 0].max())
            self._oldest_change = oldest if self._oldest_change is None else max(oldest, self._oldest_change)
        self._judge(_where(found, now), np.zeros(int(now.sum()), bool))
        if later.any():
            self._waiting.append(_where(found, later))

    def finish_all(self, newest_base: int | None) -> None:
        base = self._how.base
        if newest_base is not None:
            base.newest_base = newest_base if base.newest_base is None else min(newest_base, base.newest_base)
        for found in self._waiting:
            ages = found.second[:, 0]
            if base.newest_base is None:
                old_is_base = np.zeros(len(ages), bool)
            else:
                old_is_base = ages >= base.newest_base
                if self._oldest_change is not None:
                    old_is_base &= ages > self._oldest_change
            self._judge(found, old_is_base)
        self._waiting.clear()
        self._tallies.flush()

    def _judge(self, found: Candidates, old_is_base: npt.NDArray[np.bool_]) -> None:
        for start in range(0, len(found.key), _BATCH):
            part = found.part(start, start + _BATCH)
            flags = old_is_base[start : start + _BATCH]
            fetched = [
                reader.fetch(part.positions[part.there[:, side], side])
                for side, reader in enumerate(self._readers)
            ]
            for index, (position, has) in enumerate(zip(part.positions.tolist(), part.there.tolist(), strict=True)):
                old = fetched[0][position[0]] if has[0] else None
                new = fetched[1][position[1]] if has[1] else None
                new_is_base = bool(part.second[index, 1] == 1) and new is not None
                self._row(old, new, bool(flags[index]) and old is not None, new_is_base)

    def _row(self, old: Row | None, new: Row | None, old_is_base: bool, new_is_base: bool) -> None:
        key = self._values.key_of(old if old is not None else new or ())
        if old is not None and new is not None and self._values.key_of(new) != key:
            raise _shared_number(self._table)
        if old is not None and new is not None and self._values.same_common(old, new):
            return
        if old_is_base and new_is_base:
            raise CutoverError(
                f"{self._table.name}: row ({', '.join(key)}) is older than the watermark on both sides, yet differs",
                "the watermark was not taken with this copy: give a base (URL or dump) instead",
                exit_code=4,
            )
        if old_is_base:
            self._tallies.new_changed(key, ChangeKind.DELETE if new is None else ChangeKind.UPDATE)
        elif new_is_base:
            change = Change(table=self._table.name, key=key, base=new, old=old, new=new)
            self._tallies.old_changed(change, ChangeKind.DELETE if old is None else ChangeKind.UPDATE)
        elif old is None:
            self._tallies.new_changed(key, ChangeKind.INSERT)
        else:
            known = self._is_surely_new(key)
            change = Change(table=self._table.name, key=key, base=None, old=old, new=new, base_known=known)
            self._tallies.old_changed(change, ChangeKind.INSERT if new is None or known else ChangeKind.UPDATE)
            if new is not None:
                self._tallies.new_changed(key, ChangeKind.INSERT if known else ChangeKind.UPDATE)

    def _is_surely_new(self, key: Key) -> bool:
        """A generated key above the sequence's value in base cannot have existed in base."""
        if self._sequence is None:
            return False
        try:
            return int(key[0]) > self._sequence
        except ValueError:
            return False


def _where(found: Candidates, mask: npt.NDArray[np.bool_]) -> Candidates:
    return Candidates(
        found.key[mask], found.there[mask], found.positions[mask], found.first[mask], found.second[mask]
    )


def _check_sample(
    sources: Sources, table: Table, plan: ScanPlan, how: XminPlan, old_raw: RawTable, new_raw: RawTable
) -> None:
    """Compare a sample of rows that the watermark calls untouched on both sides."""
    condition = how.base.old_is_base()
    blocks = sum(leaf.main for leaf in old_raw.leaves) // sources.old.info.block_size or 1
    percent = min(100.0, max(0.001, 100.0 * 40 / blocks))
    for leaf in old_raw.leaves:
        rows = sources.old.rows(
            sql.SQL("SELECT {} FROM ONLY {} TABLESAMPLE SYSTEM ({}) WHERE {} LIMIT {}").format(
                _columns(plan, old_raw),
                sql.Identifier(*leaf.name),
                sql.SQL(repr(round(percent, 6))),
                condition or sql.SQL("false"),
                sql.SQL(str(_SAMPLE)),
            )
        )
        if not rows:
            continue
        _compare_sample(sources, table, plan, how, new_raw, rows)


def _compare_sample(
    sources: Sources, table: Table, plan: ScanPlan, how: XminPlan, new_raw: RawTable, rows: Sequence[Row]
) -> None:
    index = [plan.second.index(each) for each in table.key]
    mine = {tuple(row[each] for each in index): row for row in rows}
    for number, leaf in enumerate(new_raw.leaves):
        condition = how.base.new_is_base(table, new_raw, number) or sql.SQL("false")
        names = [sql.Identifier(f"v{position}") for position in range(len(index))]
        keys = list(mine)
        query = sql.SQL(
            "SELECT {columns} FROM ONLY {leaf} WHERE ({key}) IN (SELECT {casts} FROM unnest({arrays}) AS u({names}))"
            " AND {condition}"
        ).format(
            columns=_columns(plan, new_raw),
            leaf=sql.Identifier(*leaf.name),
            key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
            casts=sql.SQL(", ").join(
                sql.SQL("CAST({} AS {})").format(name, sql.SQL(_type(new_raw, column)))
                for name, column in zip(names, table.key, strict=True)
            ),
            arrays=sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Literal([key[part] for key in keys])) for part in range(len(index))
            ),
            names=sql.SQL(", ").join(names),
            condition=condition,
        )
        for theirs in sources.new.rows(query):
            key = tuple(theirs[each] for each in index)
            if key in mine and mine[key] != theirs:
                raise CutoverError(
                    f"{table.name}: row ({', '.join(map(str, key))}) is older than the watermark on both sides,"
                    " yet differs",
                    "the watermark was not taken with this copy: give a base (URL or dump) instead",
                    exit_code=4,
                )


def _type(raw: RawTable, name: str) -> str:
    column = raw.column(name)
    return column.type if column else "text"


def _columns(plan: ScanPlan, raw: RawTable) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.Identifier(name) if raw.column(name) else sql.SQL("NULL") for name in plan.second
    )
