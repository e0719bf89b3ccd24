"""Across rows: judged on the result, and in an order that every constraint allows."""

from __future__ import annotations

from cutover.reconcile.model import Constraint, Unique
from tests.merge.memory import Dicts, Memory, Outcome, refers, rule, table

ORDERS = table("orders", "id:bigint! note:text")
ITEMS = table("items", "id:bigint! order_id:bigint n:text", refers=[refers("order_id", "orders", on_delete="cascade")])
USERS = table("users", "id:bigint! email:text! name:text", unique=[["email"]])


def check(tables: list[object], base: Dicts, old: Dicts, new: Dicts, *rules: object, **settings: object) -> Outcome:
    return Memory.of(tables, base, old, new).merge(*rules, **settings)  # type: ignore[arg-type]


def test_a_child_of_a_conflict_waits_for_it() -> None:
    lines = table("lines", "id:bigint! item_id:bigint", refers=[refers("item_id", "items")])
    old: Dicts = {
        "orders": [{"id": 1, "note": "o"}],
        "items": [{"id": 5, "order_id": 1}],
        "lines": [{"id": 9, "item_id": 5}],
    }
    new: Dicts = {"orders": [{"id": 1, "note": "n"}]}
    found = check([lines, ITEMS, ORDERS], {}, old, new)
    assert found.decisions() == {
        "orders 1": "conflict:inserted_both",
        "items 5": "conflict:dependent",
        "lines 9": "conflict:dependent",
    }
    because = {each.label: each.because_of for each in found.result.judged}
    assert because["public.lines 9"] == ("public.items 5",)
    assert because["public.items 5"] == ("public.orders 1",)


def test_a_child_of_an_updated_conflict_does_not_wait() -> None:
    base: Dicts = {"orders": [{"id": 1, "note": "b"}]}
    old: Dicts = {"orders": [{"id": 1, "note": "o"}], "items": [{"id": 5, "order_id": 1}]}
    found = check([ITEMS, ORDERS], base, old, {"orders": [{"id": 1, "note": "n"}]})
    assert found.decisions() == {"orders 1": "conflict:updated_both", "items 5": "apply"}


def test_a_reference_to_what_new_deleted() -> None:
    base: Dicts = {"orders": [{"id": 1, "note": "b"}]}
    old: Dicts = {**base, "items": [{"id": 5, "order_id": 1}]}
    found = check([ITEMS, ORDERS], base, old, {})
    assert found.decisions() == {"items 5": "conflict:dependent"}
    assert found.result.judged[0].because_of == ("public.orders 1 (new does not have it)",)


def test_a_parent_that_old_deleted_and_new_gave_a_child() -> None:
    base: Dicts = {"orders": [{"id": 1, "note": "b"}], "items": [{"id": 5, "order_id": 1}]}
    new: Dicts = {"orders": base["orders"], "items": [{"id": 5, "order_id": 1}, {"id": 6, "order_id": 1}]}
    found = check([ITEMS, ORDERS], base, {}, new)
    assert found.decisions() == {"items 5": "conflict:dependent", "orders 1": "conflict:child_in_new"}
    assert next(each for each in found.result.judged if each.kind == "delete" and each.table is ORDERS).because_of == (
        "public.items 6",
    )


def test_cascade_noise_on_both_sides() -> None:
    base: Dicts = {"orders": [{"id": 1, "note": "b"}], "items": [{"id": 5, "order_id": 1}]}
    assert set(check([ITEMS, ORDERS], base, {}, {}).decisions().values()) == {"already_present"}
    found = check([ORDERS, ITEMS], base, {}, base)
    assert set(found.decisions().values()) == {"apply"}
    assert [step.table.name for step in found.result.components[0].steps] == ["items", "orders"]
    assert found.apply() == {"orders": [], "items": []}


def test_set_null_noise() -> None:
    items = table(
        "items", "id:bigint! order_id:bigint n:text", refers=[refers("order_id", "orders", on_delete="set null")]
    )
    base: Dicts = {"orders": [{"id": 1, "note": "b"}], "items": [{"id": 5, "order_id": 1}]}
    old: Dicts = {"items": [{"id": 5}]}
    assert set(check([ORDERS, items], base, old, base).decisions().values()) == {"apply"}
    assert check([ORDERS, items], base, old, base).apply()["items"] == [{"id": "5", "order_id": None, "n": None}]
    new: Dicts = {"orders": [{"id": 1, "note": "n"}], "items": base["items"]}
    found = check([ORDERS, items], base, old, new)
    assert found.decisions() == {"orders 1": "conflict:deleted_updated", "items 5": "conflict:dependent"}


def test_a_child_that_only_conflicts_keeps_its_parent() -> None:
    base: Dicts = {"orders": [{"id": 1, "note": "b"}], "items": [{"id": 5, "order_id": 1, "n": "b"}]}
    new: Dicts = {"orders": base["orders"], "items": [{"id": 5, "order_id": 1, "n": "new"}]}
    found = check([ORDERS, ITEMS], base, {}, new)
    assert found.decisions() == {"items 5": "conflict:deleted_updated", "orders 1": "conflict:child_in_new"}


def test_a_soft_delete_with_a_child_only_in_new() -> None:
    soft = table("orders", "id:bigint! note:text gone_at:timestamptz", deleted_at="gone_at")
    base: Dicts = {"orders": [{"id": 1}], "items": [{"id": 5, "order_id": 1}]}
    old: Dicts = {"orders": [{"id": 1, "gone_at": "2025-01-01"}], "items": base["items"]}
    assert check([soft, ITEMS], base, old, base).decisions() == {"orders 1": "apply"}
    new: Dicts = {"orders": base["orders"], "items": [{"id": 5, "order_id": 1}, {"id": 6, "order_id": 1}]}
    assert check([soft, ITEMS], base, old, new).decisions() == {"orders 1": "conflict:child_in_new"}


def test_an_email_swap_is_parked() -> None:
    base: Dicts = {"users": [{"id": 1, "email": "a"}, {"id": 2, "email": "b"}]}
    old: Dicts = {"users": [{"id": 1, "email": "b"}, {"id": 2, "email": "a"}]}
    found = check([USERS], base, old, base)
    assert set(found.decisions().values()) == {"apply"}
    steps = found.result.components[0].steps
    assert [step.park for step in steps] == [True, False, False]
    assert steps[0].post is not None
    assert "parked" in str(steps[0].post[1])
    assert [row["email"] for row in found.apply()["users"]] == ["b", "a"]


def test_half_a_swap_that_new_changed_too() -> None:
    base: Dicts = {"users": [{"id": 1, "email": "a"}, {"id": 2, "email": "b"}]}
    old: Dicts = {"users": [{"id": 1, "email": "b"}, {"id": 2, "email": "a"}]}
    new: Dicts = {"users": [{"id": 1, "email": "a"}, {"id": 2, "email": "c"}]}
    found = check([USERS], base, old, new)
    assert found.decisions() == {"users 1": "apply", "users 2": "conflict:updated_both"}
    new = {"users": [{"id": 1, "email": "c"}, {"id": 2, "email": "b"}]}
    found = check([USERS], base, old, new)
    assert found.decisions() == {"users 1": "conflict:updated_both", "users 2": "apply"}
    found = check(
        [USERS],
        base,
        {"users": [{"id": 1, "email": "b"}, {"id": 2, "email": "x"}]},
        {"users": [{"id": 1, "email": "a"}, {"id": 2, "email": "b", "name": "n"}]},
    )
    assert found.decisions() == {"users 1": "apply", "users 2": "merged"}
    assert [step.change for step in found.result.components[0].steps] == [1, 0]


def test_a_unique_value_that_a_conflict_does_not_give_up() -> None:
    base: Dicts = {"users": [{"id": 1, "email": "a", "name": "x"}]}
    old: Dicts = {"users": [{"id": 1, "email": "z", "name": "o"}, {"id": 2, "email": "a"}]}
    new: Dicts = {"users": [{"id": 1, "email": "a", "name": "n"}]}
    found = check([USERS], base, old, new)
    assert found.decisions() == {"users 1": "conflict:updated_both", "users 2": "conflict:unique"}
    assert check([USERS], base, old, base).decisions() == {"users 1": "apply", "users 2": "apply"}


def test_a_value_that_a_deleted_row_gives_up() -> None:
    base: Dicts = {"users": [{"id": 1, "email": "a"}]}
    old: Dicts = {"users": [{"id": 2, "email": "a"}]}
    found = check([USERS], base, old, base)
    assert set(found.decisions().values()) == {"apply"}
    assert [step.post is None for step in found.result.components[0].steps] == [True, False]
    found = check([USERS], base, old, {"users": [{"id": 1, "email": "a", "name": "n"}]})
    assert found.decisions()["users 1"] == "conflict:deleted_updated"
    assert found.decisions()["users 2"].startswith("conflict:")


def test_a_changed_primary_key_is_two_linked_changes() -> None:
    base: Dicts = {"users": [{"id": 1, "email": "a", "name": "x"}]}
    old: Dicts = {"users": [{"id": 7, "email": "a", "name": "x"}]}
    posts = table("posts", "id:bigint! user_id:bigint", refers=[refers("user_id", "users")])
    new: Dicts = {**base, "posts": [{"id": 1, "user_id": 1}]}
    found = check([USERS, posts], base, old, new)
    assert found.decisions() == {
        "users 7": "conflict:linked",
        "users 1": "conflict:child_in_new",
    } or found.decisions() == {
        "users 7": "conflict:unique",
        "users 1": "conflict:child_in_new",
    }
    no_unique = table("users", "id:bigint! email:text name:text")
    found = check([no_unique, posts], base, old, new)
    assert found.decisions() == {"users 7": "conflict:linked", "users 1": "conflict:child_in_new"}
    found = check([no_unique, posts], base, old, base)
    assert set(found.decisions().values()) == {"apply"}
    assert len(found.result.components) == 1


def test_a_case_blind_unique_is_asked_of_the_server() -> None:
    blind = table(
        "users",
        "id:bigint! email:text name:text",
        uniques=(
            Unique("users_pkey", ("id",), "", primary=True),
            Unique("users_email_lower", (), "CREATE UNIQUE INDEX ... (lower(email))", text_tells=False),
        ),
    )
    found = check([blind], {}, {"users": [{"id": 1, "email": "Bob"}]}, {"users": [{"id": 2, "email": "bob"}]})
    assert found.decisions() == {"users 1": "conflict:unique"}
    base: Dicts = {"users": [{"id": 2, "email": "bob"}]}
    old: Dicts = {"users": [{"id": 1, "email": "Bob"}, {"id": 2, "email": "eve"}]}
    found = check([blind], base, old, base)
    assert set(found.decisions().values()) == {"apply"}
    assert [step.change for step in found.result.components[0].steps] == [1, 0]


def test_an_exclusion_constraint() -> None:
    rooms = table(
        "bookings", "id:bigint! room:text", constraints=(Constraint("no_overlap", "exclude", ("room",), "EXCLUDE"),)
    )
    found = check([rooms], {}, {"bookings": [{"id": 1, "room": "a"}]}, {"bookings": [{"id": 2, "room": "A"}]})
    assert found.decisions() == {"bookings 1": "conflict:exclusion"}


def test_circles_of_references() -> None:
    a = table("a", "id:bigint! b_id:bigint", refers=[refers("b_id", "b")])
    b = table("b", "id:bigint! a_id:bigint!", refers=[refers("a_id", "a")])
    old: Dicts = {"a": [{"id": 1, "b_id": 2}], "b": [{"id": 2, "a_id": 1}]}
    found = check([a, b], {}, old, {})
    assert set(found.decisions().values()) == {"apply"}
    assert found.apply() == {"a": [{"id": "1", "b_id": "2"}], "b": [{"id": "2", "a_id": "1"}]}
    gone = check([a, b], old, {}, old)
    assert gone.apply() == {"a": [], "b": []}


def test_circles_that_nothing_opens_are_conflicts_unless_deferrable() -> None:
    old: Dicts = {"a": [{"id": 1, "b_id": 2}], "b": [{"id": 2, "a_id": 1}]}
    for deferrable in (False, True):
        a = table("a", "id:bigint! b_id:bigint!", refers=[refers("b_id", "b", deferrable=deferrable)])
        b = table("b", "id:bigint! a_id:bigint!", refers=[refers("a_id", "a", deferrable=deferrable)])
        found = check([a, b], {}, old, {})
        if deferrable:
            assert set(found.decisions().values()) == {"apply"}
            assert found.result.components[0].deferred
            assert len(found.apply()["a"]) == 1
        else:
            assert set(found.decisions().values()) == {"conflict:circular"}


def test_a_parent_s_natural_key_that_old_changed() -> None:
    codes = table("codes", "id:bigint! code:text!", unique=[["code"]])
    uses = table("uses", "id:bigint! code:text", refers=[refers("code", "codes", "code")])
    base: Dicts = {"codes": [{"id": 1, "code": "a"}], "uses": [{"id": 5}]}
    old: Dicts = {"codes": [{"id": 1, "code": "b"}], "uses": [{"id": 5, "code": "b"}]}
    found = check([uses, codes], base, old, base)
    assert set(found.decisions().values()) == {"apply"}
    assert found.apply()["uses"] == [{"id": "5", "code": "b"}]
    new: Dicts = {"codes": [{"id": 1, "code": "c"}], "uses": base["uses"]}
    found = check([uses, codes], base, old, new)
    assert found.decisions() == {"codes 1": "conflict:updated_both", "uses 5": "conflict:dependent"}
    new = {"codes": base["codes"], "uses": [{"id": 5}, {"id": 6, "code": "a"}]}
    assert check([uses, codes], base, old, new).decisions() == {
        "codes 1": "conflict:child_in_new",
        "uses 5": "conflict:dependent",
    }


def test_a_table_left_out_is_still_asked_for() -> None:
    items = table("items", "id:bigint! session_id:bigint", refers=[refers("session_id", "sessions")])
    found = check([items], {}, {"items": [{"id": 1, "session_id": 4}]}, {})
    assert found.decisions() == {"items 1": "conflict:dependent"}
    assert "not compared" in found.result.judged[0].because_of[0]


def test_keyless_children_count() -> None:
    log = table("log", "order_id:bigint n:text", key=(), refers=[refers("order_id", "orders")])
    line = {"order_id": 1, "n": "x"}
    base: Dicts = {"orders": [{"id": 1}], "log": [line]}
    found = check([log, ORDERS], base, {}, base)
    assert set(found.decisions().values()) == {"apply"}
    assert found.apply() == {"log": [], "orders": []}
    found = check([log, ORDERS], base, {}, {"orders": [{"id": 1}], "log": [line, line]})
    assert found.decisions()["orders 1"] == "conflict:child_in_new"


def test_independent_changes_are_components_of_their_own() -> None:
    base: Dicts = {"users": [{"id": n, "email": f"{n}"} for n in range(5)]}
    old: Dicts = {"users": [{"id": n, "email": f"{n}", "name": "x"} for n in range(5)]}
    found = check([USERS], base, old, base)
    assert len(found.result.components) == 5


def test_a_rule_that_drops_a_parent_s_delete_keeps_its_children() -> None:
    base: Dicts = {"orders": [{"id": 1, "note": "b"}], "items": [{"id": 5, "order_id": 1}]}
    new: Dicts = {"orders": [{"id": 1, "note": "n"}], "items": base["items"]}
    found = check([ORDERS, ITEMS], base, {}, new, rule("orders", None, "new"))
    assert found.decisions() == {"orders 1": "skipped", "items 5": "conflict:dependent"}


def test_a_result_that_new_refuses_is_a_conflict_and_so_is_what_needs_it() -> None:
    """No row of either side breaks the CHECK; the sum of the two differences does."""
    positive = Constraint("positive", "check", ("balance",), "balance >= 0")
    accounts = table(
        "accounts", "id:bigint! balance:int", checks=(positive,), checks_of_old=frozenset({"balance >= 0"})
    )
    marks = table("marks", "id:bigint! account:bigint", refers=[refers("account", "accounts")])
    base: Dicts = {"accounts": [{"id": 1, "balance": 100}, {"id": 2, "balance": 100}]}
    old: Dicts = {"accounts": [{"id": 1, "balance": 20}, {"id": 2, "balance": 90}]}
    new: Dicts = {"accounts": [{"id": 1, "balance": 50}, {"id": 2, "balance": 50}]}
    found = check([accounts, marks], base, old, new, rule("accounts", "balance", "add"))
    assert found.decisions() == {"accounts 1": "conflict:check", "accounts 2": "merged"}
    assert found.result.judged[0].columns == ("balance",)


def test_a_check_that_only_new_has_is_asked_for_every_row_that_old_wrote() -> None:
    positive = Constraint("positive", "check", ("balance",), "balance >= 0")
    accounts = table("accounts", "id:bigint! balance:int", checks=(positive,))
    marks = table("marks", "id:bigint! account:bigint", refers=[refers("account", "accounts")])
    old: Dicts = {
        "accounts": [{"id": 1, "balance": -1}, {"id": 2, "balance": 1}, {"id": 3, "balance": None}],
        "marks": [{"id": 9, "account": 1}],
    }
    found = check([accounts, marks], {}, old, {})
    assert found.decisions() == {
        "accounts 1": "conflict:check",
        "accounts 2": "apply",
        "accounts 3": "apply",
        "marks 9": "conflict:dependent",
    }
