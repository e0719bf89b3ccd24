"""The diff of one table when base is known only by transaction ids (``xmin``).

Where a side's row version is base's own, it *is* the base row. Of a row that both sides rewrote, base is not
known: the change says so (``base_known=False``) and ends as a conflict unless both sides hold the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.diff.judge import Judge, Tallies
from cutover.reconcile.diff.marked import BASE, MarkedReader
from cutover.reconcile.diff.match import Candidates, Matcher
from cutover.reconcile.diff.scan import Advance, scan_all
from cutover.reconcile.diff.spill import ChangeKind
from cutover.reconcile.diff.xminsample import check_sample
from cutover.reconcile.model import Change, Key, Row, Side, Table
from cutover.reconcile.source import counts
from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.reader import DatabaseReader, Expressions, Reader
from cutover.reconcile.source.sides import ScanPlan, Sources
from cutover.reconcile.source.xmin import XminBase

_BATCH = 5000
_BATCHED_KEYS = 20_000
_SMALL = 2 << 20
_MOST_UNSURE = 10_000
"""Rows of a table; more of them are no list for a person."""


class XminPlan(NamedTuple):
    """How a table is read by transaction ids.

    Attributes:
        old, new: what is read of each leaf.
        trusted: the conditions under which rows of old's and new's leaves are base's own, where the ids of both
            sides are trusted: such rows are not hashed.
        new_known: it is known of every leaf of new which rows are base's own.
    """

    base: XminBase
    old: list[Expressions]
    new: list[Expressions]
    trusted: tuple[list[sql.Composable], list[sql.Composable]] | None
    reason: str
    new_known: bool


def plan_by_xmin(sources: Sources, table: Table, plan: ScanPlan, base: XminBase, *, prove: bool) -> XminPlan | str:
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
    old_plain = plan.expressions(old_raw, Side.OLD)
    new_plain = plan.expressions(new_raw, Side.NEW)
    old_second = sql.SQL("age(xmin)::int8") if old_condition is None else _flag(old_condition, 1, 0)
    old = [replace(old_plain, second=old_second)] * len(old_raw.leaves)
    new = [
        replace(new_plain, second=_flag(each if each is not None else sql.SQL("false"), 1, 0))
        for each in new_conditions
    ]
    trusted = None
    if old_condition is not None and both and large and not prove:
        trusted = ([old_condition] * len(old_raw.leaves), known)
        reason = "a watermark is given and a sample of it agrees: only rows that are newer on new are hashed"
    elif base.inferred:
        reason = "no base is given: new's restore tells which of its rows are base's own"
    else:
        reason = "a watermark is given; rows are hashed as well" + (" (--prove)" if prove else "")
    return XminPlan(base, old, new, trusted, reason, len(known) == len(new_conditions))


def _flag(condition: sql.Composable, yes: int, no: int) -> sql.Composable:
    return sql.SQL("CASE WHEN {} THEN {} ELSE {} END::int8").format(condition, sql.SQL(str(yes)), sql.SQL(str(no)))


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
    how.base.learn_largest(table, new_raw)
    readers: tuple[DatabaseReader, DatabaseReader]
    if how.trusted is None:
        readers = (
            DatabaseReader(sources.old, table, old_raw, how.old),
            DatabaseReader(sources.new, table, new_raw, how.new),
        )
        judge = _XminJudge(table, plan, readers, tallies, how, sources)
    else:
        check_sample(sources, table, plan, how.base, old_raw, new_raw)
        marked = (
            MarkedReader(sources.old, table, old_raw, plan.expressions(old_raw, Side.OLD), how.trusted[0]),
            MarkedReader(sources.new, table, new_raw, plan.expressions(new_raw, Side.NEW), how.trusted[1]),
        )
        readers = marked
        judge = _MarkedJudge(table, plan, marked, tallies, how, sources)
    matcher = Matcher(2, keyless=False, folder=folder)
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
        self._sources = sources
        self._unsure: list[tuple[Key, Row | None]] = []
        self._too_many = False
        self._gone_on_old = self._only_on_old = 0

    def _last_value(self, sources: Sources) -> int | None:
        if not self._table.generated_key:
            return None
        column = next(each for each in self._table.columns if each.name == self._table.key[0])
        return sources.sequences(Side.BASE).get(column.sequence) if column.sequence else None

    def take(self, found: Candidates) -> None:
        if not len(found.key):
            return
        if not self._how.base.inferred:
            self._judge(found, found.second == 1)
            return
        # A row of old beside a base row of new is judged by value; any other one by its age, later.
        beside_base = found.there[:, 1] & (found.second[:, 1] == 1)
        later = found.there[:, 0] & ~beside_base
        now = ~later
        changed = now & found.there[:, 0]
        if changed.any():
            oldest = int(found.second[changed, 0].max())
            self._oldest_change = oldest if self._oldest_change is None else max(oldest, self._oldest_change)
        is_base = found.second[now] == 1
        is_base[:, 0] = False
        self._judge(_where(found, now), is_base)
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
            self._judge(found, np.stack([old_is_base, found.second[:, 1] == 1], axis=1))
        self._waiting.clear()
        self._settle_unsure()
        self._tallies.flush()

    def _judge(self, found: Candidates, is_base: npt.NDArray[np.bool_]) -> None:
        """Judge by value; ``is_base``, shape (groups, 2): the side's row is base's own, if it is there."""
        for start in range(0, len(found.key), _BATCH):
            part = found.part(start, start + _BATCH)
            flags = (is_base[start : start + _BATCH] & part.there).tolist()
            fetched = [
                reader.fetch(part.positions[part.there[:, side], side]) for side, reader in enumerate(self._readers)
            ]
            groups = zip(part.positions.tolist(), part.there.tolist(), flags, strict=True)
            for position, has, (old_is_base, new_is_base) in groups:
                old = fetched[0][position[0]] if has[0] else None
                new = fetched[1][position[1]] if has[1] else None
                self._row(old, new, old_is_base, new_is_base)

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
            self._gone_on_old += old is None
            self._tallies.old_changed(change, ChangeKind.DELETE if old is None else ChangeKind.UPDATE)
        elif old is None:
            self._only_on_new(key, new)
        else:
            self._only_on_old += new is None
            known = self._is_surely_new(key)
            change = Change(table=self._table.name, key=key, base=None, old=old, new=new, base_known=known)
            self._tallies.old_changed(change, ChangeKind.INSERT if new is None or known else ChangeKind.UPDATE)
            if new is not None:
                self._tallies.new_changed(key, ChangeKind.INSERT if known else ChangeKind.UPDATE)

    def _only_on_new(self, key: Key, new: Row | None) -> None:
        """Take a row that new wrote and old lacks: new inserted it, or old deleted what new has updated since."""
        if self._how.base.inferred or self._is_surely_new(key):
            self._tallies.new_changed(key, ChangeKind.INSERT)
        elif self._sequence is not None:
            self._deleted_on_old(key, new)
        elif len(self._unsure) < _MOST_UNSURE:
            self._unsure.append((key, new))
        else:
            self._too_many = True
            self._tallies.new_changed(key, ChangeKind.INSERT)

    def _all_inserted(self) -> bool:
        """Tell whether new inserted all rows that only it has: by the counters that say what else could be.

        Either old deleted nothing, or every delete of old's is one of a row that new still holds as the restore wrote
        it (a changed key is one as well, and no delete). Or new neither updated nor deleted anything.
        """
        old, new = (_raw(self._sources, side, self._table) for side in (Side.OLD, Side.NEW))
        mark, theirs = self._how.base.old_mark, self._how.base.new_mark
        if mark is not None and counts.told(self._sources.old):
            names = {leaf.name.name for leaf in new.leaves}
            deleted, updated = (
                counts.since(self._sources.old, old, what, mark, leaves=names)
                for what in (counts.DELETED, counts.UPDATED)
            )
            if deleted is not None and updated is not None:
                changed_keys = min(updated, self._only_on_old)
                if not deleted or deleted + changed_keys <= self._gone_on_old:
                    return True
        if theirs is None or not self._how.new_known or not counts.told(self._sources.new):
            return False
        names = {leaf.name.name for leaf in old.leaves}
        touched = [
            counts.since(self._sources.new, new, what, theirs, leaves=names)
            for what in (counts.UPDATED, counts.DELETED)
        ]
        return touched == [0, 0]

    def _settle_unsure(self) -> None:
        """Decide about the rows that only new has, now that all other deletes of old are known.

        Raises:
            CutoverError: nothing tells, and they are too many for a person (exit code 4).
        """
        if not self._holds_unsure():
            return
        inserted = self._all_inserted()
        if not inserted and self._too_many:
            raise CutoverError(
                f"{self._table.name}: more than {_MOST_UNSURE} rows are on new only, and nothing tells those that new"
                " inserted from those that old deleted and new updated",
                "give a base (URL or dump) for this comparison",
                exit_code=4,
            )
        self._take_unsure(inserted=inserted)

    def _holds_unsure(self) -> bool:
        return bool(self._unsure)

    def _take_unsure(self, *, inserted: bool) -> None:
        for key, new in self._unsure:
            if inserted:
                self._tallies.new_changed(key, ChangeKind.INSERT)
            else:
                self._deleted_on_old(key, new)
        self._unsure.clear()

    def _deleted_on_old(self, key: Key, new: Row | None) -> None:
        change = Change(table=self._table.name, key=key, base=new, old=None, new=new, base_known=False)
        self._tallies.old_changed(change, ChangeKind.DELETE)
        self._tallies.new_changed(key, ChangeKind.UPDATE)

    def _is_surely_new(self, key: Key) -> bool:
        """A generated key above the sequence's value in base cannot have existed in base."""
        if self._sequence is None:
            return False
        try:
            return int(key[0]) > self._sequence
        except ValueError:
            return False


class _MarkedJudge(_XminJudge):
    """Judges what two :class:`MarkedReader` gave: values are fetched only where old changed something."""

    def __init__(
        self,
        table: Table,
        plan: ScanPlan,
        readers: tuple[MarkedReader, MarkedReader],
        tallies: Tallies,
        how: XminPlan,
        sources: Sources,
    ) -> None:
        super().__init__(table, plan, readers, tallies, how, sources)
        self._marked = readers
        self._held: list[Candidates] = []
        self._places = [table.places[each] for each in table.key]
        self._integer = plan.integer_key

    def take(self, found: Candidates) -> None:
        """Judge rows of which at least one is not base's own, or which one side lacks."""
        if not len(found.key):
            return
        old_there, new_there = found.there[:, 0], found.there[:, 1]
        is_base = found.there & (found.first == BASE)
        fresh = ~old_there & new_there & ~is_base[:, 1]
        if self._sequence is None:
            inserted, unsure = np.zeros_like(fresh), fresh
        else:
            above = found.key.astype(np.int64) > self._sequence if self._integer else np.zeros_like(fresh)
            inserted, unsure = fresh & above, np.zeros_like(fresh)
        # A base row of old that new has newer or lacks, or one that only new can have had: nothing of old's doing.
        only_new = is_base[:, 0] | inserted
        by_value = ~only_new & ~unsure
        self._judge(_where(found, by_value), is_base[by_value])
        self._hold(_where(found, unsure))
        self._all_changed_by_new(_where(found, only_new))

    def _hold(self, found: Candidates) -> None:
        room = _MOST_UNSURE - sum(len(part.key) for part in self._held)
        if len(found.key) > room:
            self._too_many = True
            self._all_changed_by_new(found.part(room, len(found.key)))
        if room and len(found.key):
            self._held.append(found.part(0, room))

    def _holds_unsure(self) -> bool:
        return bool(self._held)

    def _take_unsure(self, *, inserted: bool) -> None:
        for part in self._held:
            if inserted:
                self._all_changed_by_new(part)
                continue
            rows = self._readers[1].fetch(part.positions[:, 1])
            for position in part.positions[:, 1].tolist():
                self._deleted_on_old(self._values.key_of(rows[position]), rows[position])
        self._held.clear()

    def _all_changed_by_new(self, found: Candidates) -> None:
        for start in range(0, len(found.key), _BATCHED_KEYS):
            self._changed_by_new(found.part(start, start + _BATCHED_KEYS))

    def _changed_by_new(self, found: Candidates) -> None:
        both = found.there[:, 0] & found.there[:, 1]
        changed = ~both
        changed[both] = self._marked[0].marks(found.positions[both, 0]) != found.first[both, 1]
        if self._integer:
            found = _where(found, changed)
            keys: list[Key] = [(str(number),) for number in found.key.tolist()]
        else:
            keys = self._keys(found)
            keys = [key for key, differs in zip(keys, changed.tolist(), strict=True) if differs]
            found = _where(found, changed)
        for key, (old, new) in zip(keys, found.there.tolist(), strict=True):
            kind = ChangeKind.INSERT if not old else ChangeKind.UPDATE if new else ChangeKind.DELETE
            self._tallies.new_changed(key, kind)

    def _keys(self, found: Candidates) -> list[Key]:
        """Fetch the keys of groups; their numbers are only hashes of them."""
        fetched = [
            reader.fetch(found.positions[found.there[:, side], side], self._places)
            for side, reader in enumerate(self._marked)
        ]
        keys = []
        for positions, there in zip(found.positions.tolist(), found.there.tolist(), strict=True):
            here = {fetched[side][position] for side, position in enumerate(positions) if there[side]}
            if len(here) > 1:
                raise _shared_number(self._table)
            keys.append(tuple(part or "" for part in here.pop()))
        return keys


def _where(found: Candidates, mask: npt.NDArray[np.bool_]) -> Candidates:
    return Candidates(found.key[mask], found.there[mask], found.positions[mask], found.first[mask], found.second[mask])
