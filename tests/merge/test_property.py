"""The merge against drawn schemas and histories: nothing lost, sums that balance, constraints that hold."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutover.reconcile.merge.accounting import accounted_json, sums, tally
from cutover.reconcile.merge.cells import NewId
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.model import Decision, Table, Tally
from cutover.reconcile.model import Side as Of
from tests.merge.histories import Record, Shape, Side, State, by_key, operations, shapes, violations
from tests.merge.memory import Memory, Target, name, refers, table

History = list[tuple[int, int, int, str]]
QUICK = settings(
    max_examples=int(os.environ.get("MERGE_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
CROSS = {"dependent", "unique", "child_in_new", "linked", "circular"}


def worlds(shape: Shape, past: History, mine: History, theirs: History) -> tuple[Side, Side, Side]:
    base = Side(shape).run(past)
    return base, base.copy().run(mine), base.copy().run(theirs)


class Merged:
    """A merge, its steps carried out, and how to find old's rows in the result."""

    def __init__(self, base: Side, old: Side, new: Side) -> None:
        self.shape = base.shape
        self.base, self.old, self.new = base, old, new
        self.memory = Memory.of(base.shape.tables, base.state, old.state, new.state)
        self.outcome = self.memory.merge()
        self.judged = self.outcome.result.judged
        target = Target(self.memory.schema, self.memory.states[Of.NEW], self.memory.states[Of.OLD])
        for component in self.outcome.result.components:
            target.run(component)
        self.drawn = {(each.table.name, each.old): value for each, value in target.drawn.items()}
        self.result: State = {
            own.name.name: [dict(zip(own.column_names, row, strict=True)) for row in target.state[own.name]]
            for own in base.shape.tables
        }

    def expected(self, each: Judged) -> Record:
        """Old's row as it must stand in the result: references and its own id rewritten by a slow second hand."""
        row = dict(zip(each.table.column_names, each.change.old or (), strict=True))
        before = None if each.change.base is None else dict(zip(each.table.column_names, each.change.base, strict=True))
        found: Record = {}
        for column, value in row.items():
            target = {"user_id": "users", "boss_id": "users", "order_id": "orders"}.get(column)
            if column == "id":
                target = each.table.name.name
            old_rows = {r["id"] for r in self.base.state[target]} if target else set()
            fresh = (target or "", value) in self.drawn and value not in old_rows
            found[column] = self.drawn[(target or "", value or "")] if fresh and value is not None else value
        assert before is None or before.keys() == row.keys()
        return found


@given(shapes, operations, operations, operations)
@QUICK
def test_nothing_is_lost_and_the_result_is_valid(shape: Shape, past: History, mine: History, theirs: History) -> None:
    merged = Merged(*worlds(shape, past, mine, theirs))
    assert not violations(shape, merged.result)
    _balances(merged)
    _old_is_there(merged)
    _new_is_there(merged)
    _conflicts_are_real(merged)


def _balances(merged: Merged) -> None:
    changes = merged.memory.changes()
    old = {own.name: tally(each for each in changes if each.table == own.name) for own in merged.shape.tables}
    flipped = Memory(
        merged.memory.schema,
        {
            Of.BASE: merged.memory.states[Of.BASE],
            Of.OLD: merged.memory.states[Of.NEW],
            Of.NEW: merged.memory.states[Of.OLD],
        },
    ).changes()
    new = {own.name: tally(each for each in flipped if each.table == own.name) for own in merged.shape.tables}
    tables = sums(merged.judged, old, new)
    accounted = accounted_json(tables)
    assert accounted["old_changes"] == sum(each.count for each in changes)
    assert all(each.overwritten == 0 for each in tables)
    assert Counter(each.number for each in merged.judged) == Counter(range(len(merged.judged)))


def _old_is_there(merged: Merged) -> None:
    """Every change of old that is no conflict is in the result, column by column."""
    for each in merged.judged:
        if each.decision is Decision.CONFLICT or not each.table.key:
            continue
        assert each.decision is not Decision.SKIPPED
        rows = by_key(each.table, merged.result[each.table.name.name])
        if each.change.old is None:
            assert each.change.key not in rows
            continue
        expected = merged.expected(each)
        row = rows[tuple(expected[column] for column in each.table.key)]
        before = each.change.base or (None,) * len(row)
        for column, was in zip(each.table.column_names, before, strict=True):
            if (
                each.change.base is None
                or dict(zip(each.table.column_names, each.change.old, strict=True))[column] != was
            ):
                assert row[column] == expected[column], (each.label, column)


def _new_is_there(merged: Merged) -> None:
    """Every change of new is in the result: no rule was given that could overwrite one."""
    for own in merged.shape.tables:
        if not own.key:
            _multiset_is_there(merged, own.name.name)
            continue
        base, new, result = (
            by_key(own, side[own.name.name]) for side in (merged.base.state, merged.new.state, merged.result)
        )
        for key in base.keys() - new.keys():
            assert key not in result, (own.name, key)
        for key, row in new.items():
            before = base.get(key)
            if before == row:
                continue
            assert key in result, (own.name, key)
            for column, value in row.items():
                if before is None or before[column] != value:
                    assert result[key][column] == value, (own.name, key, column)


def _multiset_is_there(merged: Merged, label: str) -> None:
    def count(state: State) -> Counter[tuple[str | None, ...]]:
        return Counter(tuple(row.values()) for row in state[label])

    base, new, result = count(merged.base.state), count(merged.new.state), count(merged.result)
    for row in new:
        assert result[row] >= new[row] - base[row]


def _conflicts_are_real(merged: Merged) -> None:
    """What is left for people either was touched on both sides, or cannot be carried out alone."""
    for each in merged.judged:
        if each.decision is not Decision.CONFLICT:
            continue
        if each.reason in ("updated_both", "group", "inserted_both", "deleted_updated", "updated_deleted"):
            assert each.change.new != each.change.base, each.label
        elif each.reason == "keyless_delete":
            assert each.change.count > each.change.new_count
        else:
            assert each.reason in CROSS, (each.label, each.reason)
            # only a change of new can make old's own, valid result impossible
            assert merged.new.state != merged.base.state


@given(shapes, operations, operations)
@QUICK
def test_where_new_did_nothing_the_result_is_old(shape: Shape, past: History, mine: History) -> None:
    merged = Merged(*worlds(shape, past, mine, []))
    for own in shape.tables:
        label = own.name.name
        assert _sorted(merged.result[label]) == _sorted(merged.old.state[label])
    assert {each.decision for each in merged.judged} <= {Decision.APPLY}


@given(shapes, operations, operations)
@QUICK
def test_where_old_did_nothing_the_result_is_new(shape: Shape, past: History, theirs: History) -> None:
    merged = Merged(*worlds(shape, past, [], theirs))
    assert merged.judged == ()
    assert merged.result == merged.new.state


@given(shapes.filter(lambda shape: not shape.generated), operations, operations, operations)
@QUICK
def test_natural_keys_merge_the_same_both_ways(shape: Shape, past: History, mine: History, theirs: History) -> None:
    base, old, new = worlds(shape, past, mine, theirs)
    one, other = Merged(base, old, new), Merged(base, new, old)
    clean = [not any(each.decision is Decision.CONFLICT for each in side.judged) for side in (one, other)]
    if all(clean):
        for own in shape.tables:
            assert _sorted(one.result[own.name.name]) == _sorted(other.result[own.name.name])
    assert _contested(one) == _contested(other)


def _contested(merged: Merged) -> set[tuple[str, tuple[str, ...]]]:
    reasons = ("updated_both", "group", "inserted_both")
    return {
        (each.table.name.name, each.change.key)
        for each in merged.judged
        if each.decision is Decision.CONFLICT and each.reason in reasons
    }


@given(shapes.filter(lambda shape: not shape.generated), operations, operations)
@QUICK
def test_the_same_on_both_sides_is_there_already(shape: Shape, past: History, both: History) -> None:
    base, old, _ = worlds(shape, past, both, [])
    merged = Merged(base, old, old.copy())
    keyed = [each for each in merged.judged if each.table.key]
    assert {each.decision for each in keyed} <= {Decision.ALREADY_PRESENT}
    for label in ("users", "orders", "lines"):
        assert merged.result[label] == old.state[label]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), unique_by=(lambda p: p[0], lambda p: p[1]), max_size=6)
)
def test_any_renumbering_is_simultaneous(pairs: list[tuple[int, int]]) -> None:
    people = table_of_people()
    old = {
        "users": [{"id": str(a), "email": f"e{a}"} for a, _ in pairs],
        "posts": [{"id": str(a), "user_id": str(a)} for a, _ in pairs],
    }
    new = {"users": [{"id": str(b), "email": f"e{a}"} for a, b in pairs]}
    outcome = Memory.of(people, {}, old, new).merge(same_entity={name("users"): (("email",),)})
    posts = {row["id"]: row["user_id"] for row in outcome.apply()["posts"]}
    assert posts == {str(a): str(b) for a, b in pairs}
    assert not any(
        isinstance(mapped, NewId) for mapped in outcome.result.identities.ids.get(name("users"), {}).values()
    )


def table_of_people() -> list[Table]:
    return [
        table("users", "id:bigint# email:text", unique=[["email"]]),
        table("posts", "id:bigint! user_id:bigint", refers=[refers("user_id", "users")]),
    ]


def _sorted(rows: list[Record]) -> list[tuple[tuple[str, str], ...]]:
    return sorted(tuple((column, "\0" if value is None else value) for column, value in row.items()) for row in rows)


def test_a_tally_counts_by_kind() -> None:
    assert Tally(1, 2, 3).total == 6
