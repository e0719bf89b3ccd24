"""From candidate rows to changes: decisions on fetched values, never on hashes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter

import numpy as np

from cutover.errors import CutoverError
from cutover.reconcile.diff.match import Candidates, Leftover
from cutover.reconcile.diff.spill import ChangeKind, ChangeStore, NewChange
from cutover.reconcile.model import Change, Key, Row, Side, Table, Tally
from cutover.reconcile.source.reader import Int64s, Reader
from cutover.reconcile.source.sides import ScanPlan

_BATCH = 5000


class Tallies:
    """Counts both sides' changes while they are written to the store."""

    def __init__(self, table: Table, store: ChangeStore) -> None:
        self.table = table
        self.old: Counter[ChangeKind] = Counter()
        self.new: Counter[ChangeKind] = Counter()
        self._store = store
        self._changes: list[Change] = []
        self._new: list[NewChange] = []

    def old_changed(self, change: Change, kind: ChangeKind) -> None:
        """Take one change of old."""
        self.old[kind] += change.count
        self._changes.append(change)
        if len(self._changes) >= 500:
            self.flush()

    def new_changed(self, key: Key | Row, kind: ChangeKind, copies: int = 1) -> None:
        """Take one key that new changed."""
        self.new[kind] += copies
        self._new.append(NewChange(key, kind, copies))
        if len(self._new) >= 5000:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        self._store.add(self.table.name, self._changes)
        self._store.add_new(self.table.name, self._new)
        self._changes.clear()
        self._new.clear()

    @staticmethod
    def tally(counter: Counter[ChangeKind]) -> Tally:
        """Return the counts as a tally."""
        return Tally(counter[ChangeKind.INSERT], counter[ChangeKind.UPDATE], counter[ChangeKind.DELETE])


def _kind(before: Row | None, after: Row | None) -> ChangeKind:
    if before is None:
        return ChangeKind.INSERT
    return ChangeKind.DELETE if after is None else ChangeKind.UPDATE


class Judge:
    """Judges the rows of one table with a key.

    Args:
        sides: the readers, in the matcher's order: base, old, new; or old, new without base.
        new_exists: False when new lacks the table: then nothing is said of new's changes.
    """

    def __init__(
        self, table: Table, plan: ScanPlan, sides: tuple[Reader, ...], tallies: Tallies, *, new_exists: bool
    ) -> None:
        self._table = table
        self._plan = plan
        self._sides = sides
        self._tallies = tallies
        self._new_exists = new_exists
        names = table.column_names
        self._key = [names.index(each) for each in table.key]
        first = [names.index(each) for each in plan.first]
        second = [names.index(each) for each in plan.second]
        self._whole = len(first) == len(second) == len(names)
        self._first = _picker(first)
        self._second = _picker(second)
        self._pool: dict[Key, list[Row | None]] = {}
        self._tainted: set[int] = set()

    @property
    def with_base(self) -> bool:
        """Whether base's rows are read."""
        return len(self._sides) == 3

    def key_of(self, row: Row) -> Key:
        """Return a row's key.

        Raises:
            CutoverError: a part of it is NULL (``match_key`` columns may be).
        """
        key = []
        for index in self._key:
            value = row[index]
            if value is None:
                raise CutoverError(
                    f"{self._table.name}: the key column {self._table.columns[index].name} holds NULL",
                    "choose a match_key whose columns are never NULL",
                )
            key.append(value)
        return tuple(key)

    def same_common(self, old: Row, new: Row) -> bool:
        """Tell whether two rows are the same in the columns that both sides have."""
        return self._same(old, new, self._second)

    def judge(self, rows: list[Row | None], key: Key | None = None) -> None:
        """Decide on the rows of one key and hand the changes on."""
        if not any(row is not None for row in rows):
            return
        if key is None:
            key = self.key_of(next(row for row in rows if row is not None))
        if not self.with_base:
            self._without_base(key, rows[0], rows[1])
            return
        base, old, new = rows
        if not self._same(base, old, self._first):
            change = Change(table=self._table.name, key=key, base=base, old=old, new=new)
            self._tallies.old_changed(change, _kind(base, old))
        if self._new_exists and not self._same(base, new, self._second):
            self._tallies.new_changed(key, _kind(base, new))

    def _without_base(self, key: Key, old: Row | None, new: Row | None) -> None:
        if self._same(old, new, self._second):
            return
        if old is None:
            self._tallies.new_changed(key, ChangeKind.INSERT)
            return
        change = Change(table=self._table.name, key=key, base=None, old=old, new=new, base_known=False)
        self._tallies.old_changed(change, ChangeKind.INSERT if new is None else ChangeKind.UPDATE)
        if new is not None:
            self._tallies.new_changed(key, ChangeKind.UPDATE)

    def _same(self, a: Row | None, b: Row | None, pick: Callable[[Row], Row] | None) -> bool:
        if a is None or b is None:
            return a is b
        if self._whole or pick is None:
            return a == b
        return pick(a) == pick(b)

    def candidates(self, found: Candidates) -> None:
        """Fetch and judge complete or final groups."""
        for start in range(0, len(found.key), _BATCH):
            self._part(found.part(start, start + _BATCH))

    def _part(self, found: Candidates) -> None:
        if not len(found.key):
            return
        tainted = np.isin(found.key, list(self._tainted)) if self._tainted else np.zeros(len(found.key), bool)
        if self.with_base:
            there = found.there
            old_differs = (there[:, 0] != there[:, 1]) | (
                there[:, 0] & there[:, 1] & (found.first[:, 0] != found.first[:, 1])
            )
        else:
            old_differs = found.there[:, 0]
        whole = old_differs | tainted
        self._judge_values(found, whole)
        rest = ~whole
        if rest.any():
            self._judge_keys(found, rest)

    def _judge_values(self, found: Candidates, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        positions, there = found.positions[mask], found.there[mask]
        if not len(positions):
            return
        fetched = [reader.fetch(positions[there[:, side], side]) for side, reader in enumerate(self._sides)]
        for number, group, has in zip(found.key[mask].tolist(), positions.tolist(), there.tolist(), strict=True):
            rows = [fetched[side][position] if has[side] else None for side, position in enumerate(group)]
            self._judge_group(number, rows)

    def _judge_group(self, number: int, rows: list[Row | None]) -> None:
        keys = {self.key_of(row) for row in rows if row is not None}
        if len(keys) == 1 and number not in self._tainted:
            self.judge(rows, keys.pop())
            return
        # Two keys share one hash: what belongs together is found by value, once all of them are here.
        self._tainted.add(number)
        for side, row in enumerate(rows):
            if row is not None:
                self._put(side, row)

    def _judge_keys(self, found: Candidates, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        """Count keys that only new changed; whole rows are needed only where hashes of keys collide."""
        positions, there = found.positions[mask], found.there[mask].tolist()
        if self._plan.integer_key:
            for number, has in zip(found.key[mask].tolist(), there, strict=True):
                self._count_new((str(number),), has)
            return
        sides = [0, 2] if self.with_base else [1]
        fetched = {
            side: self._sides[side].fetch(positions[found.there[mask][:, side], side], self._key) for side in sides
        }
        collided = np.zeros(len(found.key), bool)
        for index, group, has in zip(np.flatnonzero(mask).tolist(), positions.tolist(), there, strict=True):
            keys = {fetched[side][group[side]] for side in sides if has[side]}
            if len(keys) == 1:
                self._count_new(tuple(str(part) for part in keys.pop()), has)
            else:
                collided[index] = True
        if collided.any():
            self._judge_values(found, collided)

    def _count_new(self, key: Key, has: list[bool]) -> None:
        if not self._new_exists:
            return
        if not self.with_base or not has[0]:
            self._tallies.new_changed(key, ChangeKind.INSERT)
        else:
            self._tallies.new_changed(key, ChangeKind.UPDATE if has[2] else ChangeKind.DELETE)

    def leftover(self, left: Leftover) -> None:
        """Take rows that share their key's number with another row of the same side."""
        for side, reader in enumerate(self._sides):
            mine: Int64s = left.position[left.side == side]
            for start in range(0, len(mine), _BATCH):
                for row in reader.fetch(mine[start : start + _BATCH]).values():
                    self._put(side, row)

    def _put(self, side: int, row: Row) -> None:
        key = self.key_of(row)
        group = self._pool.setdefault(key, [None] * len(self._sides))
        if group[side] is not None:
            where = (Side.BASE, Side.OLD, Side.NEW)[side if self.with_base else side + 1]
            raise CutoverError(
                f"{self._table.name}: on {where} two rows have the key ({', '.join(key)})",
                f"{self._table.key_from or 'the key'} does not tell rows apart: give another match_key",
            )
        group[side] = row

    def whole_rows(self, side: int, rows: Iterable[Row]) -> None:
        """Take every row of a side (small tables)."""
        for row in rows:
            self._put(side, row)

    def finish(self) -> None:
        """Judge what was put aside."""
        for key, rows in self._pool.items():
            self.judge(rows, key)
        self._pool.clear()
        self._tallies.flush()


def _picker(indexes: list[int]) -> Callable[[Row], Row] | None:
    """Return what picks columns of a row."""
    if not indexes:
        return None
    if len(indexes) == 1:
        only = indexes[0]
        return lambda row: (row[only],)
    pick: Callable[[Row], Row] = itemgetter(*indexes)
    return pick


def without_common(sides: Sequence[list[Row]], key: Sequence[int]) -> Sequence[list[Row]]:
    """Leave out the rows that are the same on every side.

    Where a key is NULL or does not tell a side's rows apart nothing is left out: the judge says so then.

    Args:
        sides: whole rows of each side.
        key: the places of the key's columns.
    """
    key_of = itemgetter(*key)
    for rows in sides:
        distinct = set(map(key_of, rows))
        if len(distinct) < len(rows) or any(None in map(itemgetter(place), rows) for place in key):
            return sides
    common = set(sides[0]).intersection(*sides[1:])
    return [[row for row in rows if row not in common] for rows in sides]


class Multisets:
    """Judges a keyless table: differences of multisets, with counts."""

    def __init__(self, table: Table, plan: ScanPlan, tallies: Tallies, *, with_base: bool, new_exists: bool) -> None:
        names = table.column_names
        self._table = table
        self._tallies = tallies
        self._with_base = with_base
        self._new_exists = new_exists
        self._first = [names.index(each) for each in plan.first]
        self._second = [names.index(each) for each in plan.second]
        self._width = len(names)
        self.rows: dict[Side, Counter[Row]] = defaultdict(Counter)

    def take(self, side: Side, rows: Iterable[Row]) -> None:
        """Take rows of a side."""
        self.rows[side].update(rows)

    def finish(self, new_counts: Mapping[Row, int] | None = None) -> None:
        """Judge the counts.

        Args:
            new_counts: how often new has each row of interest, where equal rows were not all taken.
        """
        before = Side.BASE if self._with_base else Side.NEW
        compared = self._first if self._with_base else self._second
        base, old = self._counts(before, compared), self._counts(Side.OLD, compared)
        new = self._counts(Side.NEW, self._second)
        for row in dict.fromkeys([*old, *base]):
            more = old[row] - base[row]
            if more == 0 or (more < 0 and not self._with_base):
                continue
            common = self._project(row, self._second)
            key: Key = row  # type: ignore[assignment]  # a keyless row is its own key, NULLs included
            self._tallies.old_changed(
                Change(
                    table=self._table.name,
                    key=key,
                    base=None if more > 0 else row,
                    old=row if more > 0 else None,
                    new=None,
                    base_known=self._with_base,
                    count=abs(more),
                    new_count=new[common] if new_counts is None else new_counts.get(common, 0),
                ),
                ChangeKind.INSERT if more > 0 else ChangeKind.DELETE,
            )
        if self._new_exists:
            then = self._counts(Side.BASE if self._with_base else Side.OLD, self._second)
            for row in dict.fromkeys([*new, *then]):
                more = new[row] - then[row]
                if more > 0 or (more < 0 and self._with_base):
                    kind = ChangeKind.INSERT if more > 0 else ChangeKind.DELETE
                    self._tallies.new_changed(row, kind, abs(more))
        self._tallies.flush()

    def _counts(self, side: Side, columns: list[int]) -> Counter[Row]:
        found: Counter[Row] = Counter()
        for row, count in self.rows[side].items():
            found[self._project(row, columns)] += count
        return found

    def _project(self, row: Row, columns: list[int]) -> Row:
        if len(columns) == self._width:
            return row
        kept = set(columns)
        return tuple(value if index in kept else None for index, value in enumerate(row))
