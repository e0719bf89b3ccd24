"""The table of DESIGN.md 7, one row and one line at a time."""

from __future__ import annotations

import pytest

from cutover.reconcile.merge.policy import BaseKind, Facts
from cutover.reconcile.model import TableKind
from tests.merge.memory import Memory, Outcome, name, rule, table

PEOPLE = table("people", "id:bigint! name:text city:text zip:text age:integer seen:timestamp", unique=[["zip", "city"]])
BASE = {"id": 1, "name": "Ann", "city": "Bonn", "zip": "1", "age": 30}


def one(
    old: dict[str, object] | None,
    new: dict[str, object] | None,
    *rules: object,
    people: object = PEOPLE,
    base: dict[str, object] | None = BASE,
    **settings: object,
) -> Outcome:
    def rows(row: dict[str, object] | None) -> dict[str, list[dict[str, object]]]:
        return {"people": [] if row is None else [row]}

    memory = Memory.of([people], rows(base), rows(old), rows(new))  # type: ignore[list-item]
    return memory.merge(*rules, **settings)  # type: ignore[arg-type]


def test_unchanged_on_old_keeps_new() -> None:
    found = one(BASE, {**BASE, "name": "Eve"})
    assert found.decisions() == {}
    assert found.apply()["people"][0]["name"] == "Eve"


def test_changed_on_old_alone_is_applied() -> None:
    found = one({**BASE, "name": "Eve"}, BASE)
    assert found.decisions() == {"people 1": "apply"}
    assert found.apply()["people"][0]["name"] == "Eve"


def test_same_result_is_already_present_whatever_else_new_changed() -> None:
    found = one({**BASE, "name": "Eve"}, {**BASE, "name": "Eve", "age": 31})
    assert found.decisions() == {"people 1": "already_present"}
    assert found.apply()["people"][0]["age"] == "31"


def test_different_columns_are_merged() -> None:
    found = one({**BASE, "name": "Eve"}, {**BASE, "age": 31})
    assert found.decisions() == {"people 1": "merged"}
    row = found.apply()["people"][0]
    assert (row["name"], row["age"]) == ("Eve", "31")
    assert found.result.judged[0].outcome == "merged"


def test_no_merge_makes_it_a_conflict() -> None:
    found = one({**BASE, "name": "Eve"}, {**BASE, "age": 31}, no_merge=True)
    assert found.decisions() == {"people 1": "conflict:no_merge"}


def test_columns_of_one_unique_are_not_merged() -> None:
    found = one({**BASE, "zip": "2"}, {**BASE, "city": "Ulm"})
    assert found.decisions() == {"people 1": "conflict:group"}


def test_same_column_is_a_conflict_and_new_stays() -> None:
    found = one({**BASE, "name": "Eve"}, {**BASE, "name": "Eva"})
    assert found.decisions() == {"people 1": "conflict:updated_both"}
    assert found.apply()["people"][0]["name"] == "Eva"
    assert found.result.judged[0].columns == ("name",)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, {**BASE, "name": "Eve"}, "conflict:deleted_updated"),
        ({**BASE, "name": "Eve"}, None, "conflict:updated_deleted"),
        (None, None, "already_present"),
        (None, BASE, "apply"),
    ],
)
def test_deletes(old: dict[str, object] | None, new: dict[str, object] | None, expected: str) -> None:
    found = one(old, new)
    assert found.decisions() == {"people 1": expected}
    wanted = [] if expected == "apply" or new is None else [str(new["name"])]
    assert [row["name"] for row in found.apply()["people"]] == wanted


@pytest.mark.parametrize(("policy", "names", "expected"), [("old", [], "apply"), ("new", ["Eve"], "skipped")])
def test_a_rule_decides_a_delete(policy: str, names: list[str], expected: str) -> None:
    found = one(None, {**BASE, "name": "Eve"}, rule("people", None, policy))
    assert found.decisions() == {"people 1": expected}
    assert [row["name"] for row in found.apply()["people"]] == names
    assert found.result.judged[0].outcome == ("overwritten" if policy == "old" else "kept")


@pytest.mark.parametrize(("policy", "names", "expected"), [("old", ["Eve"], "apply"), ("new", [], "skipped")])
def test_a_rule_decides_what_new_deleted(policy: str, names: list[str], expected: str) -> None:
    found = one({**BASE, "name": "Eve"}, None, rule("people", None, policy))
    assert found.decisions() == {"people 1": expected}
    assert [row["name"] for row in found.apply()["people"]] == names


@pytest.mark.parametrize(
    ("policy", "old", "new", "result", "expected", "outcome"),
    [
        ("old", 31, 32, "31", "apply", "overwritten"),
        ("new", 31, 32, "32", "skipped", "kept"),
        ("max", 35, 32, "35", "apply", "overwritten"),
        ("max", 31, 32, "32", "skipped", "kept"),
        ("min", 31, 32, "31", "apply", "overwritten"),
        ("add", 33, 40, "43", "merged", "merged"),
        ("refuse", 31, 32, "32", "conflict:updated_both", "kept"),
    ],
)
def test_rules_for_a_column(policy: str, old: int, new: int, result: str, expected: str, outcome: str) -> None:
    found = one({**BASE, "age": old}, {**BASE, "age": new}, rule("people", "age", policy))
    assert found.decisions() == {"people 1": expected}
    assert found.apply()["people"][0]["age"] == result
    assert found.result.judged[0].outcome == outcome


def test_the_first_rule_wins() -> None:
    rules = (rule("people", "age", "new"), rule("people", None, "old"))
    found = one({**BASE, "age": 31, "name": "A"}, {**BASE, "age": 32, "name": "B"}, *rules)
    row = found.apply()["people"][0]
    assert (row["age"], row["name"]) == ("32", "A")
    assert found.decisions() == {"people 1": "skipped"}


def test_add_carries_its_difference() -> None:
    found = one({**BASE, "age": 33}, {**BASE, "age": 40}, rule("people", "age", "add"))
    assert found.result.components[0].steps[0].add == {"age": "3"}


@pytest.mark.parametrize(
    ("old", "new", "expected", "result"),
    [
        ("2025-01-02 00:00:00", "2025-01-01 00:00:00", "apply", "Eve"),
        ("2025-01-01 00:00:00", "2025-01-02 00:00:00", "skipped", "Eva"),
        ("2025-01-01 00:00:00", "2025-01-01 00:00:00", "conflict:newest", "Eva"),
        ("2025-01-01 00:00:01", "2025-01-01 00:00:00", "conflict:newest", "Eva"),
        (None, "2025-01-01 00:00:00", "conflict:newest", "Eva"),
    ],
)
def test_newest_takes_whole_rows(old: str | None, new: str, expected: str, result: str) -> None:
    found = one(
        {**BASE, "name": "Eve", "seen": old},
        {**BASE, "name": "Eva", "seen": new, "age": 99},
        rule("people", None, "newest(seen)"),
        facts=Facts(clock_skew=2.0),
    )
    assert found.decisions() == {"people 1": expected}
    row = found.apply()["people"][0]
    assert (row["name"], row["age"]) == (result, "30" if result == "Eve" else "99")


TOUCHED = table("people", "id:bigint! name:text age:integer updated_at:timestamptz", updated_at=("updated_at",))


def test_updated_at_is_noise_and_the_later_one_stays() -> None:
    base = {"id": 1, "name": "Ann", "age": 30, "updated_at": "2025-01-01 00:00:00+00"}
    old = {**base, "name": "Eve", "updated_at": "2025-01-03 00:00:00+00"}
    new = {**base, "age": 31, "updated_at": "2025-01-02 00:00:00+00"}
    found = one(old, new, people=TOUCHED, base=base)
    assert found.decisions() == {"people 1": "merged"}
    assert found.apply()["people"] == [{**old, "id": "1", "age": "31"}]
    found = one(old, {**base, "updated_at": "2025-01-02 00:00:00+00"}, people=TOUCHED, base=base)
    assert found.apply()["people"][0]["updated_at"] == "2025-01-03 00:00:00+00"
    found = one(None, {**base, "updated_at": "2025-01-02 00:00:00+00"}, people=TOUCHED, base=base)
    assert found.decisions() == {"people 1": "apply"}
    assert found.result.judged[0].outcome == "overwritten"
    found = one({**base, "updated_at": "2025-01-02 00:00:00+00"}, None, people=TOUCHED, base=base)
    assert found.decisions() == {"people 1": "skipped"}


SOFT = table("people", "id:bigint! name:text removed_at:timestamptz", deleted_at="removed_at")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"removed_at": "2025-01-01"}, {"name": "Eve"}, "conflict:deleted_updated"),
        ({"name": "Eve"}, {"removed_at": "2025-01-01"}, "conflict:updated_deleted"),
        ({"removed_at": "2025-01-01"}, {"removed_at": "2025-01-02"}, "already_present"),
        ({"removed_at": "2025-01-01"}, {}, "apply"),
        ({"removed_at": "2025-01-01", "name": "Eve"}, {"removed_at": "2025-01-02"}, "merged"),
    ],
)
def test_soft_deletes_count_as_deletes(old: dict[str, object], new: dict[str, object], expected: str) -> None:
    base: dict[str, object] = {"id": 1, "name": "Ann"}
    assert one({**base, **old}, {**base, **new}, people=SOFT, base=base).decisions() == {"people 1": expected}


def test_soft_delete_against_hard_delete() -> None:
    base: dict[str, object] = {"id": 1, "name": "Ann"}
    gone = {**base, "removed_at": "2025-01-01"}
    assert one(None, gone, people=SOFT, base=base).decisions() == {"people 1": "already_present"}
    assert one(gone, None, people=SOFT, base=base).decisions() == {"people 1": "already_present"}


def test_a_column_that_new_lacks_is_a_conflict_until_given_up() -> None:
    lacking = table("people", "id:bigint! name:text fax:text", columns_only_old=("fax",))
    base: dict[str, object] = {"id": 1, "name": "Ann", "fax": "1"}
    new: dict[str, object] = {"id": 1, "name": "Ann"}
    assert one({**base, "fax": "2"}, new, people=lacking, base=base).decisions() == {"people 1": "conflict:no_column"}
    assert one({**base, "name": "Eve"}, new, people=lacking, base=base).decisions() == {"people 1": "apply"}
    given_up = one({**base, "fax": "2", "name": "Eve"}, new, rule("people", "fax", "new"), people=lacking, base=base)
    assert given_up.decisions() == {"people 1": "skipped"}
    assert given_up.apply()["people"] == [{"id": "1", "name": "Eve", "fax": None}]
    assert one(base, None, people=lacking, base=None).decisions() == {"people 1": "conflict:no_column"}


def test_a_delete_that_would_lose_what_new_wrote_into_its_own_column() -> None:
    richer = table("people", "id:bigint! name:text note:text", columns_only_new=("note",))
    base: dict[str, object] = {"id": 1, "name": "Ann"}
    assert one(None, {**base, "note": "x"}, people=richer, base=base).decisions() == {
        "people 1": "conflict:deleted_updated"
    }
    assert one(None, base, people=richer, base=base).decisions() == {"people 1": "apply"}


def test_a_table_that_new_lacks() -> None:
    gone = table("people", "id:bigint! name:text", columns_only_old=("id", "name"))
    assert one({"id": 1, "name": "x"}, None, people=gone, base=None).decisions() == {"people 1": "conflict:no_table"}


def test_a_changed_type_is_not_guessed() -> None:
    retyped = table("people", "id:bigint! at:timestamptz name:text", columns_retyped=("at",))
    base: dict[str, object] = {"id": 1, "at": "2025-01-01 10:00:00", "name": "a"}
    same: dict[str, object] = {"id": 1, "at": "2025-01-01 10:00:00+00", "name": "a"}
    assert one({**base, "name": "b"}, same, people=retyped, base=base).decisions() == {"people 1": "apply"}
    moved = {**base, "at": "2025-01-02 10:00:00"}
    assert one(moved, same, people=retyped, base=base).decisions() == {"people 1": "conflict:retyped_column"}


def test_text_that_differs_is_a_change() -> None:
    found = one({**BASE, "name": "ANN"}, {**BASE, "name": "ann"})
    assert found.decisions() == {"people 1": "conflict:updated_both"}
    assert one({**BASE, "name": ""}, {**BASE, "name": None}).decisions() == {"people 1": "conflict:updated_both"}


def test_natural_keys_inserted_twice() -> None:
    found = one({**BASE, "name": "Eve"}, BASE, base=None)
    assert found.decisions() == {"people 1": "conflict:inserted_both"}
    assert one(BASE, BASE, base=None).decisions() == {"people 1": "already_present"}
    assert (
        one({**BASE, "name": "Eve"}, BASE, rule("people", "name", "old"), base=None).apply()["people"][0]["name"]
        == "Eve"
    )


@pytest.mark.parametrize("kind", [BaseKind.INFERRED, BaseKind.NONE])
def test_weak_bases(kind: BaseKind) -> None:
    facts = Facts(base={name("people"): kind})
    both = one({**BASE, "name": "Eve"}, {**BASE, "age": 31}, facts=facts)
    gone = one(None, BASE, facts=facts)
    if kind is BaseKind.NONE:
        assert both.decisions() == {"people 1": "conflict:no_base"}
        assert gone.decisions() == {"people 1": "conflict:no_base"}
        return
    assert both.decisions() == {"people 1": "conflict:inferred_both_touched"}
    assert gone.decisions() == {"people 1": "conflict:inferred_delete"}
    assert one(None, BASE, facts=facts, accept_inferred_deletes=True).decisions() == {"people 1": "apply"}
    assert one({**BASE, "name": "Eve"}, BASE, facts=facts).decisions() == {"people 1": "apply"}


def test_recognised_tables_must_be_decided() -> None:
    jobs = table("people", "id:bigint! name:text", kind=TableKind.QUEUE, kind_from="recognised as a job queue")
    new: dict[str, object] = {"id": 1, "name": "a"}
    assert one({"id": 1, "name": "b"}, new, people=jobs, base=new).decisions() == {
        "people 1": "conflict:undecided_kind"
    }


def test_a_queue_takes_rows_whole_and_a_log_only_grows() -> None:
    base: dict[str, object] = {"id": 1, "name": "a", "age": 1}
    queue = table("people", "id:bigint! name:text age:integer", kind=TableKind.QUEUE, kind_from="plan")
    found = one({**base, "name": "b"}, {**base, "age": 2}, people=queue, base=base)
    assert found.decisions() == {"people 1": "conflict:no_merge"}
    assert one(None, base, people=queue, base=base).decisions() == {"people 1": "apply"}
    log = table("people", "id:bigint! name:text age:integer", kind=TableKind.APPEND, kind_from="plan")
    assert one({**base, "name": "b"}, base, people=log, base=base).decisions() == {"people 1": "conflict:append_only"}
    assert one(base, None, people=log, base=None).decisions() == {"people 1": "apply"}


def test_an_id_that_was_given_out_again_is_not_merged_by_column() -> None:
    born = table("people", "id:bigint! name:text age:integer created_at:timestamptz=now()")
    base: dict[str, object] = {"id": 1, "name": "a", "age": 1, "created_at": "2025-01-01 00:00:00+00"}
    other = {**base, "name": "b", "created_at": "2025-02-01 00:00:00+00"}
    assert one(other, {**base, "age": 2}, people=born, base=base).decisions() == {"people 1": "conflict:id_reused"}
    assert one(other, base, people=born, base=base).decisions() == {"people 1": "apply"}


def test_generated_columns_are_left_to_the_database() -> None:
    area = table(
        "people", "id:bigint! w:integer h:integer area:integer%", together=[["w", "area"], ["h", "area"], ["w", "h"]]
    )
    base: dict[str, object] = {"id": 1, "w": 2, "h": 3, "area": 6}
    found = one({**base, "w": 4, "area": 12}, base, people=area, base=base)
    assert found.decisions() == {"people 1": "apply"}
    assert found.apply()["people"][0]["area"] is None
    both = one({**base, "w": 4, "area": 12}, {**base, "h": 5, "area": 10}, people=area, base=base)
    assert both.decisions() == {"people 1": "conflict:group"}


LOG = table("log", "line:text n:integer", key=())


def test_keyless_tables_are_multisets() -> None:
    line, other = {"line": "a", "n": 1}, {"line": "b", "n": None}
    memory = Memory.of([LOG], {"log": [line, line]}, {"log": [line, other, other]}, {"log": [line, line, line]})
    found = memory.merge()
    assert sorted(found.decisions().values()) == ["apply", "apply"]
    assert [row["line"] for row in found.apply()["log"]] == ["a", "a", "b", "b"]


def test_deletes_beyond_the_count_are_conflicts() -> None:
    line = {"line": "a", "n": 1}
    memory = Memory.of([LOG], {"log": [line] * 3}, {"log": []}, {"log": [line]})
    found = memory.merge()
    assert [(each.decision.value, each.copies) for each in found.result.judged] == [("apply", 1), ("conflict", 2)]
    assert found.apply()["log"] == []
