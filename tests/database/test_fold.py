"""What counter readings prove of writes: an increase after, quiet since before, and everything else unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover.folds.database import DatabaseFold
from cutover.observations.database import BaselineTaken, FenceProven, FenceReleased, ReconcileVerified
from cutover.observations.traffic import DatabaseReading, TableWrites
from tests.traffic.support import plan_of

START = datetime(2025, 11, 12, 7, 0, tzinfo=UTC)
CHANGE = START + timedelta(minutes=10)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def reading(minutes: float, side: str = "old", tables: Mapping[str, int] | None = None, **more: Any) -> DatabaseReading:
    """Counters at a minute; a number is a table's inserts."""
    values: dict[str, Any] = {
        "system_identifier": f"id-{side}",
        "server_version": 150004,
        "database": "shop",
        "stats_reset": None,
        "server_time": at(minutes),
        **more,
    }
    rows = tables if tables is not None else {"public.orders": 0}
    return DatabaseReading(
        at=at(minutes),
        side=side,
        tables=tuple(TableWrites(name, count, 0, 0, relation=1, storage=1) for name, count in rows.items()),
        **values,
    )


def fold(*observations: Any, **database: Any) -> DatabaseFold:
    plan = plan_of(database={"old": "env:OLD", "new": "env:NEW", **database})
    made = DatabaseFold(plan)
    for observation in observations:
        made.add(observation)
    return made


def orders(*pairs: tuple[float, int], **more: Any) -> list[DatabaseReading]:
    return [reading(minutes, tables={"public.orders": count}, **more) for minutes, count in pairs]


def test_an_increase_between_two_readings_after_the_change_is_proof() -> None:
    found = fold(*orders((11, 100), (12, 103))).written("old", CHANGE)
    assert found.total == 3
    assert found.told() == "orders 3"
    assert found.first == (at(11), at(12))
    assert "first read" in found.unknown, "there may be more, from before the first reading"


def test_quiet_needs_a_reading_from_before_the_change() -> None:
    assert fold(*orders((9, 100), (11, 100), (12, 100))).written("old", CHANGE).unknown == ""
    late = fold(*orders((11, 100), (12, 100))).written("old", CHANGE)
    assert late.total == 0
    assert "first read" in late.unknown


def test_an_increase_that_spans_the_change_is_unknown_and_not_proof() -> None:
    found = fold(*orders((9, 100), (11, 105), (12, 105))).written("old", CHANGE)
    assert found.total == 0
    assert "before or after" in found.unknown
    assert "5 rows" in found.unknown


def test_nothing_was_read() -> None:
    found = fold().written("old", CHANGE)
    assert (found.total, found.until) == (0, None)
    assert found.unknown


BROKEN = [
    ("reset", {"stats_reset": CHANGE}, "reset"),
    ("crash", {"cluster_reset": CHANGE}, "lost its counters"),
    ("failover", {"timeline": 2}, "promoted"),
    ("other cluster", {"system_identifier": "other"}, "first read at"),
    ("other database", {"database": "shop2"}, "first read at"),
    ("standby", {"in_recovery": True}, "standby"),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_counters_that_are_not_the_same_prove_nothing(change: dict[str, Any], words: str) -> None:
    before = {"timeline": 1}
    story = [*orders((9, 100), (11, 100), **before), *orders((12, 140), (13, 140), **{**before, **change})]
    found = fold(*story).written("old", CHANGE)
    assert found.total == 0
    assert words in found.unknown


def test_after_a_reset_new_writes_are_proof_again() -> None:
    story = [*orders((9, 100), (11, 100)), *orders((12, 2), (13, 7), stats_reset=CHANGE)]
    found = fold(*story).written("old", CHANGE)
    assert found.total == 5
    assert "reset" in found.unknown


def test_counters_that_go_back_without_a_word_are_noticed() -> None:
    found = fold(*orders((9, 100), (11, 100), (12, 3))).written("old", CHANGE)
    assert "went back" in found.unknown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"relation": 2}, "made anew"),
        ({"storage": 2}, "rewritten"),
    ],
)
def test_a_table_that_was_truncated_or_made_anew_is_noticed(change: dict[str, Any], words: str) -> None:
    quiet = reading(11)
    changed = replace(reading(12), tables=(quiet.tables[0]._replace(**change),))
    found = fold(reading(9), quiet, changed).written("old", CHANGE)
    assert words in found.unknown


def test_what_a_truncated_table_took_besides_is_proof() -> None:
    """A job that empties a table and fills it again writes: TRUNCATE leaves the counters as they are."""
    filled = replace(reading(12), tables=(reading(11).tables[0]._replace(inserted=7, storage=2),))
    found = fold(reading(9), reading(11), filled).written("old", CHANGE)
    assert found.total == 7
    assert "rewritten" in found.unknown
    anew = replace(filled, tables=(filled.tables[0]._replace(relation=2),))
    assert fold(reading(9), reading(11), anew).written("old", CHANGE).total == 0


def test_trouble_with_one_table_does_not_hide_another_ones_writes() -> None:
    story = [
        reading(9, tables={"public.a": 1, "public.b": 1}),
        reading(11, tables={"public.a": 1, "public.b": 1}),
        reading(12, tables={"public.b": 4}),
    ]
    found = fold(*story).written("old", CHANGE)
    assert found.total == 3
    assert "public.a was dropped" in found.unknown


def test_a_table_that_appears_with_rows_is_unknown_and_then_counted() -> None:
    story = [reading(9), reading(11), reading(12, tables={"public.orders": 0, "public.new": 50})]
    assert fold(*story).written("old", CHANGE).total == 0
    assert "appeared" in fold(*story).written("old", CHANGE).unknown
    story.append(reading(13, tables={"public.orders": 0, "public.new": 51}))
    assert fold(*story).written("old", CHANGE).total == 1
    assert (
        fold(reading(9), reading(11, tables={"public.orders": 0, "public.e": 0})).written("old", CHANGE).unknown == ""
    )


def test_what_is_excluded_later_is_left_out_of_earlier_readings_too() -> None:
    story = [
        reading(minutes, tables={"public.orders": 1, "public.sessions": sessions})
        for minutes, sessions in ((9, 10), (11, 20), (12, 30))
    ]
    assert fold(*story).written("old", CHANGE).total == 10
    without = reading(13, tables={"public.orders": 1})
    quiet = fold(*story, without, exclude=["sessions"]).written("old", CHANGE)
    assert (quiet.total, quiet.unknown) == (0, "")


def test_a_standby_that_stays_one_is_unknown() -> None:
    found = fold(*orders((9, 1), (11, 1), in_recovery=True)).written("old", CHANGE)
    assert "standby" in found.unknown


def test_a_baseline_and_a_fence_are_readings() -> None:
    baseline = BaselineTaken(at=at(2), snapshot="1:1:", lsn="0/1", sequences=(), counters=orders((1, 100))[0])
    assert fold(baseline, *orders((11, 100))).written("old", CHANGE).unknown == ""
    fence = FenceProven(at=at(9), side="old", proven=True, roles=(), counters=orders((9, 100))[0])
    assert fold(fence, *orders((11, 100))).written("old", CHANGE).unknown == ""
    unread = FenceProven(at=at(9), side="old", proven=False, roles=(), counters=None)
    released = FenceReleased(at=at(9.5), side="old")
    assert fold(unread, released, *orders((11, 100))).written("old", CHANGE).unknown


def verified(minutes: float, count: int, *, balanced: bool = True) -> ReconcileVerified:
    new = reading(minutes, side="new", tables={"public.orders": 500})
    return ReconcileVerified(
        at=at(minutes + 5), bundle="b", balanced=balanced, old=orders((minutes, count))[0], new=new
    )


def test_a_balanced_verify_is_a_new_state_and_an_unbalanced_one_is_none() -> None:
    story = orders((9, 100), (11, 105), (20, 130))
    made = fold(*story, verified(21, 130))
    assert made.verified_at("old") == at(21)
    assert made.written("old", at(21)).total == 0
    assert made.written("old", at(21)).unknown == ""
    assert made.written("old", CHANGE).total == 25, "the past stays what it was"
    assert fold(*story, verified(21, 130, balanced=False)).verified_at("old") is None
    assert fold().verified_at("old") is None


def test_a_verify_that_took_long_cuts_the_steps_around_it() -> None:
    """The watch went on reading while the comparison ran; what came after its reading counts, what came before not."""
    story = orders((9, 100), (11, 105), (20, 130), (22, 133), (24, 133))
    made = fold(*story, verified(21, 131))
    after = made.written("old", at(21))
    assert (after.total, after.unknown) == (2, "")
    assert made.written("old", CHANGE).total + 5 == 33


def test_in_a_roll_back_the_sides_change_places_and_the_databases_stay_themselves() -> None:
    story: list[Any] = [*orders((9, 100), (11, 105)), *orders((9, 460), (11, 470), side="new"), verified(12, 105)]
    for each in (*orders((20, 105), side="new"), *orders((20, 530), (22, 531), side="old")):
        story.append(replace(each, system_identifier="id-old" if each.side == "new" else "id-new"))
    made = fold(*story)
    old = made.written("old", at(15))
    assert old.total == 1
    assert "30 rows were written between the readings at 07:12:00 UTC and 07:20:00 UTC" in old.unknown
    assert made.written("new", at(11)).unknown == ""
    assert made.verified_at("old") is None, "a reconcile of old into new gave old nothing"


def test_a_physical_copy_is_another_database() -> None:
    """Disk snapshots and promoted standbys keep the system identifier; only where they are asked tells them apart."""
    same = {"system_identifier": "one"}
    story: list[Any] = []
    for minutes, count in ((9, 0), (11, 20), (12, 50), (13, 80)):
        story += orders((minutes, 100), endpoint="a", **same)
        story += orders((minutes + 0.001, count), side="new", endpoint="b", **same)
    made = fold(*story)
    old, new = made.written("old", at(11)), made.written("new", at(11.001))
    assert (old.total, old.unknown) == (0, "")
    assert (new.total, new.unknown) == (60, "")
    moved = fold(*story, *orders((14, 101), endpoint="c", **same), *orders((15, 90), side="new", endpoint="b", **same))
    assert (moved.written("old", at(13)).total, moved.written("old", at(13)).unknown) == (1, ""), "another host name"
    assert moved.written("new", at(13.001)).total == 10
    back = orders((16, 95), side="old", endpoint="b", **same)[0]
    assert fold(*story, back).written("old", at(13.001)).total == 15, "watching a roll-back, the sides change places"


def test_an_open_transaction_is_not_quiet() -> None:
    held = replace(reading(12), open=("public.orders",))
    found = fold(reading(9), reading(11), held).written("old", CHANGE)
    assert found.total == 0
    assert "transaction writes to orders" in found.unknown
    assert fold(reading(9), reading(11), held, reading(13)).written("old", CHANGE).unknown == ""


def test_old_readings_do_not_move_the_present_back() -> None:
    made = fold(*orders((9, 1), (20, 5)), orders((15, 3))[0])
    last = made.last("old")
    assert last is not None
    assert last.at == at(20)
    assert made.written("old", at(9)).total == 4
    assert made.written("old", at(15)).total == 2


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), min_size=2, max_size=30),
    st.integers(0, 600),
)
def test_proof_never_exceeds_what_was_written_and_quiet_is_never_claimed_wrongly(
    steps: list[tuple[int, int]], since: int
) -> None:
    minutes, count, truth = 0, 0, []
    for gap, writes in steps:
        minutes, count = minutes + gap, count + writes
        truth.append((minutes, count))
    made = fold(*orders(*truth))
    found = made.written("old", at(since))
    really = sum(writes for (minute, _), (_, writes) in zip(truth[1:], steps[1:], strict=True) if minute > since)
    assert found.total <= really
    if not found.unknown:
        assert found.total == really


def test_the_history_is_bounded_and_stays_right() -> None:
    import cutover.folds.database as module

    made = fold()
    limit, module._MOST_STEPS = module._MOST_STEPS, 10
    try:
        for i in range(100):
            made.add(orders((i, i))[0])
    finally:
        module._MOST_STEPS = limit
    assert len(made._steps["id-old", "shop", ""]) == 10
    assert made.written("old", at(0)).total == 99
    assert made.written("old", at(95)).total == 4
