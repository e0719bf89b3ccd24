"""Finding, among the numbers of three sides, the rows that may differ. Memory stays flat.

The databases are copies of one another, so most rows meet their counterparts within the same part of the
scan: what is the same on all sides is dropped at once, what differs is handed on, and only rows that still
wait for a counterpart are held. If too many wait (the copies lie in another order), all waiting rows go to
partition files by key and are matched partition by partition at the end. Rows meet through a table addressed
by bits of the key: their order does not matter, and nothing is sorted unless rows of one side share a number.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cutover.reconcile.source.reader import Int64s, Records, joined, no_records

_HELD = 1_500_000
_FRESH = 100_000
_MIX = np.uint64(0x9E3779B97F4A7C15)
_PROBES = (None, _MIX)
"""How a key finds its place: its low bits, which are best for keys without gaps and for hashes, then mixed."""
_SPILLED = np.dtype([("key", "<i8"), ("first", "<i8"), ("second", "<i8"), ("position", "<i8"), ("side", "<i8")])


class Candidates(NamedTuple):
    """Groups of rows with one key (hash) that are not the same everywhere.

    Attributes:
        there: shape (groups, sides): the side has such a row.
        positions: shape (groups, sides); 0 where it has none.
        first: shape (groups, sides): hashes as old and base are compared.
        second: shape (groups, sides): hashes as new and base are compared.
    """

    key: Int64s
    there: npt.NDArray[np.bool_]
    positions: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]

    def part(self, start: int, end: int) -> Candidates:
        """Return some of the groups."""
        return Candidates(
            self.key[start:end],
            self.there[start:end],
            self.positions[start:end],
            self.first[start:end],
            self.second[start:end],
        )


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

    Attributes:
        least_second: of two sides: the least ``second`` of side 0 among rows that are equal on both and whose
            ``second`` on side 1 is 1 (see ``xmindiff``); ``None`` before there is one.
    """

    def __init__(self, sides: int, *, keyless: bool, folder: Path, held: int = _HELD, expected: int = 0) -> None:
        self._sides = sides
        self._keyless = keyless
        self._held = held
        self._fresh = [no_records() for _ in range(sides)]
        self._settled = [no_records() for _ in range(sides)]
        self.least_second: int | None = None
        self._folder = folder
        self._partitions: _Partitions | None = None
        self._count = max(16, expected // held * 4)

    @property
    def waiting(self) -> int:
        """How many rows are held in memory."""
        return _count(self._fresh) + _count(self._settled)

    @property
    def spilled(self) -> bool:
        """Whether partition files had to be used."""
        return self._partitions is not None

    def add(self, chunks: Sequence[Records]) -> Candidates:
        """Take more rows of each side; return complete groups that differ (others may follow later)."""
        both: Sequence[Records] = [_joined(wait, chunk) for wait, chunk in zip(self._fresh, chunks, strict=True)]
        met, rest = (None, both) if self._keyless else self._met(both)
        found = _no_candidates(self._sides) if met is None else met
        self._fresh = list(rest)
        if _count(rest) > max(_FRESH, _count(self._settled) // 2):
            # Those that have waited for long are looked at again only now and then: else each round would pay
            # for them.
            waiting = [_joined(a, b) for a, b in zip(self._settled, rest, strict=True)]
            more, left = (None, waiting) if self._keyless else self._met(waiting)
            if more is None:
                more, left = self._settle_sorted(waiting)
            self._settled = list(left)
            self._fresh = [no_records() for _ in range(self._sides)]
            found = _both(found, more)
        if self.waiting > self._held:
            if self._partitions is None:
                self._partitions = _Partitions(self._folder, self._count)
            self._write_out()
        return found

    def finish(self) -> Iterator[tuple[Candidates, Leftover]]:
        """Yield what is left: groups that lack a side, and rows that share a number within a side."""
        none = Leftover(*(np.empty(0, np.int64),) * 3)
        if self._partitions is None:
            found, rest = self._settle([_joined(a, b) for a, b in zip(self._settled, self._fresh, strict=True)])
            yield found, none
            yield self._rest(rest)
            return
        self._write_out()
        for records_of in self._partitions.read(self._sides):
            found, rest = self._settle(records_of)
            yield found, none
            yield self._rest(rest)

    def _write_out(self) -> None:
        for waiting in (self._settled, self._fresh):
            for side, records in enumerate(waiting):
                if self._partitions is not None:
                    self._partitions.write(side, records)
        self._settled = [no_records() for _ in range(self._sides)]
        self._fresh = [no_records() for _ in range(self._sides)]

    def close(self) -> None:
        """Remove partition files."""
        if self._partitions is not None:
            self._partitions.close()
            self._partitions = None

    def _settle(self, records: Sequence[Records]) -> tuple[Candidates, list[Records]]:
        """Split into complete groups that differ, and rows that wait; complete equal groups are dropped."""
        met, records = (None, records) if self._keyless else self._met(records)
        found, rest = self._settle_sorted(records)
        return (found if met is None else _both(met, found)), rest

    def _settle_sorted(self, records: Sequence[Records]) -> tuple[Candidates, list[Records]]:
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
        if sides == 2:
            same = at[~differs]
            self._learn(second[same[:, 0]], second[same[:, 1]])
        changed = at[differs]
        candidates = Candidates(
            key[changed[:, 0]], np.ones(changed.shape, bool), position[changed], first[changed], second[changed]
        )
        waits = np.ones(len(key), bool)
        waits[at.ravel()] = False
        back = np.ones(len(key), bool)
        back[order] = waits
        bounds = np.cumsum([0, *(len(each.key) for each in records)])
        # Those that wait keep the order in which they lie: it is how later rows find them.
        rest = [_taken(each, back[start:end]) for each, start, end in zip(records, bounds, bounds[1:], strict=False)]
        return candidates, rest

    def _met(self, records: Sequence[Records]) -> tuple[Candidates | None, Sequence[Records]]:
        """Settle groups of which every side has its row here; ``None`` when rows of one side share a number."""
        base = records[0]
        if any(len(each.key) == 0 for each in records):
            return _no_candidates(self._sides), records
        partner = []
        for other in records[1:]:
            index = _partners(base.key, other.key)
            if index is None:
                return None, records
            partner.append(index)
        complete = partner[0] >= 0
        for each in partner[1:]:
            complete &= each >= 0
        at = [np.flatnonzero(complete)]
        at += [each[at[0]] for each in partner]
        differs = base.first[at[0]] != records[1].first[at[1]]
        if len(records) == 3:
            differs |= base.second[at[0]] != records[2].second[at[2]]
        if len(records) == 2:
            self._learn(base.second[at[0][~differs]], records[1].second[at[1][~differs]])
        picked = [each[differs] for each in at]
        found = Candidates(
            base.key[picked[0]],
            np.ones((len(picked[0]), len(records)), bool),
            np.stack([each.position[index] for each, index in zip(records, picked, strict=True)], axis=1),
            np.stack([each.first[index] for each, index in zip(records, picked, strict=True)], axis=1),
            np.stack([each.second[index] for each, index in zip(records, picked, strict=True)], axis=1),
        )
        rest = []
        for side, index in zip(records, at, strict=True):
            keep = np.ones(len(side.key), np.bool_)
            keep[index] = False
            rest.append(_taken(side, keep))
        return found, rest

    def _learn(self, mine: Int64s, theirs: Int64s) -> None:
        of_base = mine[theirs == 1]
        if len(of_base):
            least = int(of_base.min())
            self.least_second = least if self.least_second is None else min(least, self.least_second)

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
        there = per_side > 0
        positions = np.zeros((len(distinct), sides), np.int64)
        firsts = np.zeros((len(distinct), sides), np.int64)
        seconds = np.zeros((len(distinct), sides), np.int64)
        plain = ~in_shared
        positions[group[plain], side[plain]] = position[plain]
        firsts[group[plain], side[plain]] = first[plain]
        seconds[group[plain], side[plain]] = second[plain]
        single = ~shared
        candidates = Candidates(distinct[single], there[single], positions[single], firsts[single], seconds[single])
        return candidates, Leftover(key[in_shared], side[in_shared], position[in_shared])


def _no_candidates(sides: int) -> Candidates:
    none = np.empty((0, sides), np.int64)
    return Candidates(np.empty(0, np.int64), np.empty((0, sides), bool), none, none, none)


def _joined(a: Records, b: Records) -> Records:
    if not len(a.key):
        return b
    if not len(b.key):
        return a
    return joined([a, b])


def _count(records: Sequence[Records]) -> int:
    return sum(len(each.key) for each in records)


def _both(a: Candidates, b: Candidates) -> Candidates:
    if not len(a.key):
        return b
    if not len(b.key):
        return a
    return Candidates(*(np.concatenate([x, y]) for x, y in zip(a, b, strict=True)))


def _taken(records: Records, keep: npt.NDArray[np.bool_]) -> Records:
    """Pick rows; arrays that were one stay one."""
    key = records.key[keep]
    first = records.first[keep]
    second = first if records.second is records.first else records.second[keep]
    return Records(key, first, second, key if records.position is records.key else records.position[keep])


def _partners(keys: Int64s, other: Int64s) -> Int64s | None:
    """For each key, where the same key lies in ``other``, or -1; ``None`` when ``other`` has one of them twice.

    Each key claims a place in a table, the other side's keys look there, and what they find is compared. Of
    keys that claim one place the last one has it: the others try again elsewhere. The few that never get a place
    of their own are not found this time.
    """
    found = np.full(len(keys), -1, np.int64)
    mine: Int64s | None = None
    theirs: Int64s | None = None
    for mix in _PROBES:
        some = keys if mine is None else keys[mine]
        those = other if theirs is None else other[theirs]
        bits = len(some).bit_length() + 1
        table = np.zeros(1 << bits, np.int64)
        table[_places(some, bits, mix)] = np.arange(len(some))
        there = table[_places(those, bits, mix)]
        equal = some[there] == those
        hits = np.flatnonzero(equal)
        there = there[hits]
        if mine is not None and theirs is not None:
            there, hits = mine[there], theirs[hits]
        before = np.count_nonzero(found >= 0)
        found[there] = hits
        if np.count_nonzero(found >= 0) != before + len(hits):
            # Two rows of a side share a number: only their values can tell them apart.
            return None
        mine = np.flatnonzero(found < 0)
        theirs = np.flatnonzero(~equal) if theirs is None else theirs[~equal]
        if not len(mine) or not len(theirs):
            break
    return found


def _places(keys: Int64s, bits: int, mix: np.uint64 | None) -> npt.NDArray[np.int64]:
    if mix is None:
        return keys & np.int64((1 << bits) - 1)
    return ((keys.view(np.uint64) * mix) >> np.uint64(64 - bits)).view(np.int64)


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
