"""The matcher against a dictionary, with keys that collide and rows in any order."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from cutover.reconcile.diff.match import Candidates, Matcher
from cutover.reconcile.source.reader import Records

Number = tuple[int, int, int]


def records(rows: list[Number], *, by_key: bool) -> Records:
    key = np.array([row[0] for row in rows], np.int64)
    first = np.array([row[1] for row in rows], np.int64)
    position = key if by_key else np.array([row[2] for row in rows], np.int64)
    return Records(key, first, first, position)


def run(sides: list[list[Number]], folder: Path, *, by_key: bool, held: int, keyless: bool = False) -> Counter[object]:
    """Return every group and row that the matcher hands back, as (side, key, hash)."""
    lookup = [{(row[0] if by_key else row[2]): row for row in rows} for rows in sides]
    matcher = Matcher(len(sides), keyless=keyless, folder=folder, held=held, expected=held * 9)
    seen: Counter[object] = Counter()

    def note(candidates: Candidates) -> None:
        for there, positions in zip(candidates.there.tolist(), candidates.positions.tolist(), strict=True):
            each = enumerate(zip(there, positions, strict=True))
            seen[tuple(lookup[side][position] if has else None for side, (has, position) in each)] += 1

    longest = max(map(len, sides), default=0)
    for start in range(0, longest, 37):
        note(matcher.add([records(rows[start : start + 37], by_key=by_key) for rows in sides]))
    for candidates, leftover in matcher.finish():
        note(candidates)
        for side, position in zip(leftover.side.tolist(), leftover.position.tolist(), strict=True):
            seen[(side, lookup[side][position])] += 1
    matcher.close()
    return seen


@pytest.mark.parametrize("held", [50, 10_000])
@pytest.mark.parametrize("sides", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_the_matcher_finds_exactly_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, sides: int, held: int
) -> None:
    monkeypatch.setattr("cutover.reconcile.diff.match._FRESH", 20)
    draw = random.Random(seed)
    for _ in range(4):
        serial = draw.random() < 0.5
        keys = list(range(-200, 700)) if serial else [draw.randrange(-(2**63), 2**63) for _ in range(900)]
        states = []
        for side in range(sides):
            rows = dict.fromkeys(keys, 7)
            for key in draw.sample(keys, draw.randrange(60)):
                rows[key] = side + 1
            for key in draw.sample(keys, draw.randrange(60)):
                del rows[key]
            ordered = list(rows.items())
            moved = [item for item in ordered if item[1] != 7]
            ordered = [item for item in ordered if item[1] == 7] + moved
            if draw.random() < 0.3:
                draw.shuffle(ordered)
            states.append([(key, value, number) for number, (key, value) in enumerate(ordered)])
        seen = run(states, tmp_path, by_key=serial, held=held)
        groups: dict[int, dict[int, Number]] = defaultdict(dict)
        for side, rows_of in enumerate(states):
            for row in rows_of:
                groups[row[0]][side] = row
        wanted: Counter[object] = Counter()
        for group in groups.values():
            if len(group) < sides or len({row[1] for row in group.values()}) > 1:
                wanted[tuple(group.get(side) for side in range(sides))] += 1
        assert seen == wanted
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_share_a_number_are_never_dropped(tmp_path: Path, seed: int) -> None:
    """Two keys with one hash: whatever is grouped, a row is either equal to one of each side, or handed back."""
    draw = random.Random(seed)
    sides: list[list[Number]] = []
    for _ in range(3):
        rows = [(draw.randrange(40), draw.randrange(3), number) for number in range(150)]
        sides.append(rows)
    seen = run(sides, tmp_path, by_key=False, held=10_000)
    back: list[Counter[tuple[int, int]]] = [Counter() for _ in sides]
    for group, times in seen.items():
        assert times == 1
        assert isinstance(group, tuple)
        if isinstance(group[0], int):
            back[group[0]][group[1][:2]] += 1
        else:
            for side, row in enumerate(group):
                if row is not None:
                    back[side][row[:2]] += 1
    dropped = [Counter(row[:2] for row in rows) - back[side] for side, rows in enumerate(sides)]
    assert dropped[0] == dropped[1] == dropped[2], "what is dropped is the same on all sides"


@pytest.mark.parametrize("seed", range(5))
def test_keyless_rows_cancel_out_as_multisets(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    sides = []
    for _ in range(3):
        keys = [draw.randrange(25) for _ in range(draw.randrange(100, 200))]
        sides.append([(key, key, number) for number, key in enumerate(keys)])
    seen = run(sides, tmp_path, by_key=False, held=10_000, keyless=True)
    left: list[Counter[int]] = [Counter() for _ in sides]
    for group in seen:
        assert isinstance(group, tuple)
        if isinstance(group[0], int):
            left[group[0]][group[1][0]] += 1
        else:
            for side, row in enumerate(group):
                if row is not None:
                    left[side][row[0]] += 1
    counts = [Counter(row[0] for row in rows) for rows in sides]
    for key in range(25):
        common = min(count[key] for count in counts)
        assert [each[key] for each in left] == [count[key] - common for count in counts]
