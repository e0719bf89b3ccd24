"""Values that are text: instants, numbers, sums."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover.reconcile.merge.asked import Asked
from cutover.reconcile.merge.candidates import named_after, words
from cutover.reconcile.merge.cells import JsonIds, NewId
from cutover.reconcile.merge.references import same_value
from cutover.reconcile.model import Ask, Side, TableName
from cutover.reconcile.values import FOREVER, add_delta, compare, has_fraction, instant, later
from tests.merge.memory import Memory, table


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_are_those_of_the_calendar(at: datetime) -> None:
    text = at.isoformat(sep=" ")
    assert instant(text) == (at - datetime(2000, 1, 1, tzinfo=UTC)) // (datetime.resolution)


@pytest.mark.parametrize(
    ("earlier", "then"),
    [
        ("0044-03-15 BC", "0001-01-01"),
        ("0045-01-01 BC", "0044-01-01 BC"),
        ("9999-12-31", "10000-01-01"),
        ("-infinity", "4713-01-01 00:00:00 BC"),
        ("294276-12-31 23:59:59", "infinity"),
        ("2025-01-01 12:00:00+02", "2025-01-01 11:00:00+00"),
        ("2025-01-01 12:00:00.1", "2025-01-01 12:00:00.11"),
    ],
)
def test_the_order_of_instants(earlier: str, then: str) -> None:
    first, second = instant(earlier), instant(then)
    assert first is not None
    assert second is not None
    assert first < second
    assert later(earlier, then) == later(then, earlier) == then
    assert compare(earlier, then, "timestamp with time zone") == -1


@pytest.mark.parametrize("text", ["", "NaN", "12:00:00", "now", None])
def test_no_instant(text: str | None) -> None:
    assert instant(text) is None


def test_infinity_is_later_than_all() -> None:
    assert instant("infinity") == FOREVER


@pytest.mark.parametrize(
    ("new", "base", "old", "kind", "result"),
    [
        ("12", "10", "13", "integer", ("15", "3")),
        ("1.00", "1.50", "2.25", "numeric(10,2)", ("1.75", "0.75")),
        ("1" * 60, "0", "1" * 60, "numeric", ("2" * 60, "1" * 60)),
        ("0.1", "0", "0.2", "double precision", ("0.30000000000000004", "0.2")),
        ("1", "0.5", "1.5", "real", ("2", "1")),
        ("NaN", "1", "2", "numeric", None),
        ("1", "1", "Infinity", "double precision", None),
        ("1", "1", "x", "integer", None),
    ],
)
def test_sums(new: str, base: str, old: str, kind: str, result: tuple[str, str] | None) -> None:
    assert add_delta(new, base, old, kind) == result


@given(st.integers(), st.integers(), st.integers())
def test_a_delta_is_symmetric(base: int, old: int, new: int) -> None:
    one = add_delta(str(new), str(base), str(old), "bigint")
    other = add_delta(str(old), str(base), str(new), "bigint")
    assert one is not None
    assert other is not None
    assert one[0] == other[0] == str(old + new - base)


def test_a_part_of_a_second() -> None:
    assert has_fraction("2025-01-01 10:00:00.5+00")
    assert not has_fraction("2025-01-01 10:00:00+00")
    assert not has_fraction("1.5")


@pytest.mark.parametrize(
    ("column", "named"),
    [
        ("order_id", True),
        ("orderId", True),
        ("last_order_id", True),
        ("OrderIDs", True),
        ("order_ids", True),
        ("orders_id", True),
        ("order", True),
        ("border_id", False),
        ("order_count", False),
        ("orderly", False),
        ("user_id", False),
    ],
)
def test_names_of_candidate_columns(column: str, named: bool) -> None:
    assert named_after(column, table("orders", "id:bigint#")) is named
    assert words("lastOrderID") == "last_order_id"


def test_questions_are_asked_once_and_in_batches() -> None:
    people = table("people", "id:bigint! name:text")
    memory = Memory.of([people], {}, {}, {"people": [{"id": n, "name": f"n{n}"} for n in range(50)]})
    asked = Asked(memory.schema, memory, [])
    asked.prefetch(Side.NEW, people.name, ("id",), [(str(n),) for n in range(100)])
    assert [asked.row(Side.NEW, people, (str(n),)) for n in (7, 99)] == [("7", "n7"), None]
    assert len(memory.asked) == 1


def test_what_text_cannot_tell_is_halved_until_it_is_clear() -> None:
    blind = table("people", "id:bigint! name:citext")
    column = blind.columns[1]
    object.__setattr__(column, "text_hash", True)

    class Blind(Memory):
        def rows(self, side: Side, ask: Ask) -> list[tuple[str | None, ...]]:
            self.asked.append((side, ask))
            wanted = {(value[0] or "").casefold() for value in ask.values}
            return [row for row in self.states[side].get(blind.name, []) if (row[1] or "").casefold() in wanted]

    memory = Blind.of([blind], {}, {}, {"people": [{"id": 1, "name": "Bob"}]})
    asked = Asked(memory.schema, memory, [])
    asked.prefetch(Side.NEW, blind.name, ("name",), [(f"x{n}",) for n in range(64)])
    assert len(memory.asked) == 1
    asked.prefetch(Side.NEW, blind.name, ("name",), [(f"y{n}",) for n in range(63)] + [("BOB",)])
    assert asked.rows(Side.NEW, blind.name, ("name",), ("BOB",)) == (("1", "Bob"),)
    assert asked.rows(Side.NEW, blind.name, ("name",), ("y7",)) == ()
    assert len(memory.asked) < 20


def test_a_document_is_what_was_written_when_its_ids_and_all_else_agree() -> None:
    cell = JsonIds('{"order": {"ids": [5, 6]}, "z": 1.50}', ((("order", "ids", "0"), "9"),))
    assert same_value(cell, '{"z": 1.5, "order": {"ids": [9, 6]}}')
    assert not same_value(cell, '{"z": 1.5, "order": {"ids": [5, 6]}}')
    assert not same_value(cell, '{"z": 2, "order": {"ids": [9, 6]}}')
    assert not same_value(JsonIds('{"a": 1}', ((("a",), NewId(TableName("public", "t"), "1")),)), '{"a": 1}')
    assert same_value("x", "x")
    assert not same_value("x", None)
