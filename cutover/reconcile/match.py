"""Finding, among the numbers of three sides, the rows that may differ. Memory stays flat.

The databases are copies of one another, so most rows meet their counterparts within the same part of the
scan: what is the same on all sides is dropped at once, what differs is handed on, and only rows that still
wait for a counterpart are held. If too many wait (the copies lie in another order), all waiting rows go to
partition files by key and are matched partition by partition at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cutover.reconcile.reader import Int64s, Records, no_records

_HELD = 3_000_000
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SPILLED = np.dtype([("key", "<i8"), ("first", "<i8"), ("second", "<i8"), ("position", "<i8"), ("side", "<i8")])


class Candidates(NamedTuple):
    """Groups of rows with one key (hash) that are not the same everywhere.

    Attributes:
        positions: shape (groups, sides); -1 where the side has no such row.
        first: shape (groups, sides): hashes as old and base are compared.
        second: shape (groups, sides): hashes as new and base are compared.
    """

    key: Int64s
    positions: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]


class Leftover(NamedTuple):
    """Rows that could not be told apart by their key's number: several rows of one side share it."""

    key: Int64s
    side: Int64s
    position: Int64s


class Matcher:
    """Takes records of ``sides`` sides in any order and hands back candidates.

    Args:
        sides: 3 (base, old, new) or 2 (old, new).
        keyless: several rows of one side may have the same key number (it is the hash of the whole row).
        folder: where partition files may be made.
        held: how many waiting rows are held before they are written out.
        expected: rows of all sides together, roughly: decides the number of partitions.
    """

    def __init__(
        self, sides: int, *, keyless: bool, folder: Path, held: int = _HELD, expected: int = 0
    ) -> None:
        self._sides = sides
        self._keyless = keyless
        self._held = held
        self._waiting: list[Records] = [no_records() for _ in range(sides)]
        self._folder = folder
        self._partitions: _Partitions | None = None
        self._count = max(16, expected // held * 4)

    @property
    def waiting(self) -> int:
        """How many rows are held in memory."""
        return sum(len(each.key) for each in self._waiting)

    @property
    def spilled(self) -> bool:
        """Whether partition files had to be used."""
        return self._partitions is not None

    def add(self, chunks: Sequence[Records]) -> Candidates:
        """Take more rows of each side; return the complete groups that differ."""
        both = [_joined(wait, chunk) for wait, chunk in zip(self._waiting, chunks, strict=True)]
        candidates, self._waiting = self._settle(both)
        if self.waiting > self._held:
            if self._partitions is None:
                self._partitions = _Partitions(self._folder, self._count)
            for side, records in enumerate(self._waiting):
                self._partitions.write(side, records)
            self._waiting = [no_records() for _ in range(self._sides)]
        return candidates

    def finish(self) -> Iterator[tuple[Candidates, Leftover]]:
        """Yield what is left: groups that lack a side, and rows that share a number within a side."""
        if self._partitions is None:
            yield self._rest(self._waiting)
            return
        for side, records in enumerate(self._waiting):
            self._partitions.write(side, records)
        self._waiting = [no_records() for _ in range(self._sides)]
        for records_of in self._partitions.read(self._sides):
            candidates, rest = self._settle(records_of)
            yield candidates, Leftover(*(np.empty(0, np.int64),) * 3)
            yield self._rest(rest)

    def close(self) -> None:
        """Remove partition files."""
        if self._partitions is not None:
            self._partitions.close()
            self._partitions = None

    def _settle(self, records: Sequence[Records]) -> tuple[Candidates, list[Records]]:
        """Split into complete groups that differ, and rows that wait; complete equal groups are dropped."""
        records = _without_aligned(records)
        sides = self._sides
        key = np.concatenate([each.key for each in records])
        if not len(key):
            return _no_candidates(sides), [no_records() for _ in range(sides)]
        side = np.repeat(np.arange(sides), [len(each.key) for each in records])
        if self._keyless:
            rank = _ranks(key, side)
            order = np.lexsort((side, rank, key))
            rank = rank[order]
        else:
            order = np.argsort(key, kind="stable")
            rank = None
        key, side = key[order], side[order]
        starts = _complete_groups(key, side, rank, sides)
        first = np.concatenate([each.first for each in records])[order]
        same_fields = all(each.second is each.first for each in records)
        second = first if same_fields else np.concatenate([each.second for each in records])[order]
        position = np.concatenate([each.position for each in records])[order]
        at = starts[:, None] + np.arange(sides)
        differs = np.zeros(len(starts), bool)
        # Side 0 is base (or old, without base): old is compared in `first`, new in `second`.
        differs |= first[at[:, 0]] != first[at[:, 1]]
        if sides == 3:
            differs |= second[at[:, 0]] != second[at[:, 2]]
        changed = at[differs]
        candidates = Candidates(key[changed[:, 0]], position[changed], first[changed], second[changed])
        waits = np.ones(len(key), bool)
        waits[at.ravel()] = False
        rest = []
        for number in range(sides):
            mine = waits & (side == number)
            mine_first = first[mine]
            mine_second = mine_first if same_fields else second[mine]
            rest.append(Records(key[mine], mine_first, mine_second, position[mine]))
        return candidates, rest

    def _rest(self, records: Sequence[Records]) -> tuple[Candidates, Leftover]:
        sides = self._sides
        key = np.concatenate([each.key for each in records])
        side = np.repeat(np.arange(sides), [len(each.key) for each in records])
        first = np.concatenate([each.first for each in records])
        second = np.concatenate([each.second for each in records])
        position = np.concatenate([each.position for each in records])
        distinct, group = np.unique(key, return_inverse=True)
        per_side = np.bincount(group * sides + side, minlength=len(distinct) * sides).reshape(-1, sides)
        shared = np.max(per_side, axis=1, initial=0) > 1
        in_shared = shared[group]
        positions = np.full((len(distinct), sides), -1, np.int64)
        firsts = np.zeros((len(distinct), sides), np.int64)
        seconds = np.zeros((len(distinct), sides), np.int64)
        plain = ~in_shared
        positions[group[plain], side[plain]] = position[plain]
        firsts[group[plain], side[plain]] = first[plain]
        seconds[group[plain], side[plain]] = second[plain]
        single = ~shared
        candidates = Candidates(distinct[single], positions[single], firsts[single], seconds[single])
        return candidates, Leftover(key[in_shared], side[in_shared], position[in_shared])


def _no_candidates(sides: int) -> Candidates:
    none = np.empty((0, sides), np.int64)
    return Candidates(np.empty(0, np.int64), none, none, none)


def _joined(a: Records, b: Records) -> Records:
    if not len(a.key):
        return b
    if not len(b.key):
        return a
    first = np.concatenate([a.first, b.first])
    same = a.second is a.first and b.second is b.first
    return Records(
        np.concatenate([a.key, b.key]),
        first,
        first if same else np.concatenate([a.second, b.second]),
        np.concatenate([a.position, b.position]),
    )


def _without_aligned(records: Sequence[Records]) -> Sequence[Records]:
    """Drop rows that are the same on every side at the same index: the cheap case of untouched copies."""
    length = min(len(each.key) for each in records)
    if length == 0:
        return records
    one = records[0]
    same = np.ones(length, bool)
    for number, other in enumerate(records[1:], start=1):
        same &= one.key[:length] == other.key[:length]
        if number == 1:
            same &= one.first[:length] == other.first[:length]
        else:
            same &= one.second[:length] == other.second[:length]
    if not same.any():
        return records
    found = []
    for each in records:
        keep = np.ones(len(each.key), bool)
        keep[:length] = ~same
        first = each.first[keep]
        second = first if each.second is each.first else each.second[keep]
        found.append(Records(each.key[keep], first, second, each.position[keep]))
    return found


def _complete_groups(key: Int64s, side: Int64s, rank: Int64s | None, sides: int) -> Int64s:
    """Return where groups start that have exactly one row of every side."""
    if len(key) < sides:
        return np.empty(0, np.int64)
    last = len(key) - sides
    starts = np.ones(last + 1, bool)
    for number in range(sides):
        starts &= side[number : last + number + 1] == number
        if number:
            starts &= key[: last + 1] == key[number : last + number + 1]
            if rank is not None:
                starts &= rank[: last + 1] == rank[number : last + number + 1]
    if rank is None:
        # A neighbour with the same number means that a side has it twice: such rows wait for their values.
        before = np.concatenate([[False], key[1:] == key[:-1]])[: last + 1]
        after = np.concatenate([key[:-1] == key[1:], [False]])[sides - 1 :]
        starts &= ~before & ~after
    return np.flatnonzero(starts)


def _ranks(key: Int64s, side: Int64s) -> Int64s:
    """Number the rows of one side that share a key: 0, 1, 2..."""
    order = np.lexsort((side, key))
    k, s = key[order], side[order]
    new = np.concatenate([[True], (k[1:] != k[:-1]) | (s[1:] != s[:-1])])
    index = np.arange(len(k))
    rank = np.empty(len(k), np.int64)
    rank[order] = index - np.maximum.accumulate(np.where(new, index, 0))
    return rank


class _Partitions:
    """Waiting rows on disk, by the key's mixed high bits."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="match-", dir=folder))
        self._count = count

    def write(self, side: int, records: Records) -> None:
        mixed = (records.key.view(np.uint64) * _MIX) >> np.uint64(33)
        number = (mixed % np.uint64(self._count)).astype(np.int64)
        order = np.argsort(number, kind="stable")
        packed = np.empty(len(order), _SPILLED)
        for name in ("key", "first", "second", "position"):
            packed[name] = getattr(records, name)[order]
        packed["side"] = side
        bounds = np.searchsorted(number[order], np.arange(self._count + 1))
        for each in range(self._count):
            if bounds[each] < bounds[each + 1]:
                with self._path(each).open("ab") as file:
                    packed[bounds[each] : bounds[each + 1]].tofile(file)

    def read(self, sides: int) -> Iterator[list[Records]]:
        for each in range(self._count):
            if not self._path(each).exists():
                continue
            packed = np.fromfile(self._path(each), _SPILLED)
            self._path(each).unlink()
            found = []
            for side in range(sides):
                mine = packed[packed["side"] == side]
                found.append(Records(*(np.ascontiguousarray(mine[name]) for name in Records._fields)))
            yield found

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.rows"

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
