"""Small tables: rows that are the same everywhere are left out at once, and the next tables are read meanwhile."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.reconcile.diff.judge import without_common
from cutover.reconcile.diff.table import Prepared, diff_table
from cutover.reconcile.model import Row
from tests.reconcile_read.support import WHOLE, Copies, check, reading


@pytest.mark.parametrize("seed", range(4))
def test_only_rows_that_are_the_same_on_every_side_are_left_out(seed: int) -> None:
    draw = random.Random(seed)
    keys = [(str(a), str(b)) for a in range(6) for b in range(6)]
    sides: list[list[Row]] = [
        [(a, draw.choice("xy"), b, None) for a, b in draw.sample(keys, 30)] for _ in range(draw.choice([2, 3]))
    ]
    left = without_common(sides, [0, 2])
    common = set.intersection(*map(set, sides))
    assert common
    assert [[row for row in rows if row not in common] for rows in sides] == left


@pytest.mark.parametrize(
    "odd",
    [[("1", "a"), ("1", "a")], [("1", "a"), ("1", "b")], [("1", "a"), (None, "b")]],
    ids=["a row twice", "a key twice", "a key that is NULL"],
)
def test_where_a_key_does_not_tell_rows_apart_every_row_is_left_to_the_judge(odd: list[Row]) -> None:
    one: list[Row] = [("1", "a")]
    for sides in ([odd, odd, odd], [one, odd]):
        assert without_common(sides, [0]) is sides
    both: Sequence[list[Row]] = [[(None, "a", "1"), ("1", "b", "1")]] * 2
    assert without_common(both, [2, 0]) is both


def test_small_tables_are_read_ahead_and_large_ones_wait_for_their_turn(
    copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number:02}" for number in range(40)]
    made = "".join(f"create table {name} (id int primary key, v text);" for name in [*names, "t20large"])
    rows = "".join(f"insert into {name} select g, 'v' || g from generate_series(1, 30) g;" for name in names)
    rows += "insert into t20large select g, repeat('v', 100) from generate_series(1, 30000) g;"
    sides = copies(
        made,
        rows,
        "".join(f"update {name} set v = 'o' where id = {number % 30 + 1};" for number, name in enumerate(names)),
        "update t20large set v = 'n' where id = 7; delete from t05 where id = 9;",
    )
    begun: list[tuple[str, int]] = []
    diffed: list[str] = []
    start = Prepared.start

    def started(self: Prepared, *args: object) -> Prepared:
        begun.append((self.table.name.name, len(diffed)))
        return start(self, *args)  # type: ignore[arg-type]

    def noted(sources: object, prepared: Prepared, *args: object, **named: object) -> object:
        diffed.append(prepared.table.name.name)
        return diff_table(sources, prepared, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Prepared, "start", started)
    monkeypatch.setattr("cutover.reconcile.diff.planner.diff_table", noted)
    with reading(sides.old, sides.new, sides.base, tmp_path) as read:
        check(read, sides)
        assert read.of("t20large").strategy != WHOLE
    first = dict(reversed(begun))
    assert sorted(diffed) == diffed == sorted([*names, "t20large"])
    assert first["t15"] == 0, "sixteen are under way before the first is judged"
    assert first["t21"] >= diffed.index("t20large"), "beside a large table nothing more is held"
    assert "t20large" not in first


def test_an_error_in_a_small_table_is_the_same_with_others_read_ahead(copies: Copies, tmp_path: Path) -> None:
    sides = copies(
        "".join(f"create table t{number} (id int primary key, v int);" for number in range(6)),
        "",
        "alter table t3 drop constraint t3_pkey; insert into t3 values (1, 1), (1, 2);",
    )
    with (
        pytest.raises(CutoverError, match=r"t3: on old the key \(id\) is not unique or NULL: \(1\)"),
        reading(sides.old, sides.new, sides.base, tmp_path),
    ):
        pass
