"""Ids first: collisions, the id map's fixpoint, the simultaneous rewrite."""

from __future__ import annotations

from cutover.reconcile.merge.cells import NewId
from cutover.reconcile.merge.policy import Facts
from tests.merge.memory import Dicts, Memory, Outcome, name, refers, rule, table

ORDERS = table("orders", "id:bigint# note:text")
ITEMS = table("items", "id:bigint# order_id:bigint product:text", refers=[refers("order_id", "orders")])


def check(tables: list[object], base: Dicts, old: Dicts, new: Dicts, *rules: object, **settings: object) -> Outcome:
    memory = Memory.of(tables, base, old, new)  # type: ignore[arg-type]
    return memory.merge(*rules, **settings)  # type: ignore[arg-type]


def test_identical_rows_under_one_generated_id_are_two_things() -> None:
    rows: Dicts = {"orders": [{"id": 101, "note": "x"}], "items": [{"id": 7, "order_id": 101, "product": "tea"}]}
    found = check([ORDERS, ITEMS], {}, rows, rows)
    assert found.decisions() == {"orders 101": "rekeyed", "items 7": "rekeyed"}
    result = found.apply()
    assert len(result["orders"]) == len(result["items"]) == 2
    assert {row["order_id"] for row in result["items"]} == {row["id"] for row in result["orders"]}


def test_a_sub_second_time_or_a_uuid_or_a_unique_column_proves_one_row() -> None:
    timed = table("orders", "id:bigint# at:timestamptz note:text")
    same: Dicts = {"orders": [{"id": 101, "at": "2025-01-01 10:00:00.123+00"}]}
    assert check([timed], {}, same, same).decisions() == {"orders 101": "already_present"}
    coarse: Dicts = {"orders": [{"id": 101, "at": "2025-01-01 10:00:00+00"}]}
    assert check([timed], {}, coarse, coarse).decisions() == {"orders 101": "rekeyed"}
    tagged: Dicts = {"orders": [{"id": 101, "note": "3f2b8c1e-0d7e-4a0b-9b6c-0c8f2f1d5a11"}]}
    assert check([ORDERS], {}, tagged, tagged).decisions() == {"orders 101": "already_present"}
    unique = table("users", "id:bigint# email:text", unique=[["email"]])
    rows: Dicts = {"users": [{"id": 101, "email": "a@x"}]}
    assert check([unique], {}, rows, rows).decisions() == {"users 101": "already_present"}


def test_a_number_from_a_sequence_agrees_by_chance() -> None:
    numbered = table("orders", "id:bigint# number:bigint#", unique=[["number"]])
    rows: Dicts = {"orders": [{"id": 101, "number": 55}]}
    assert check([numbered], {}, rows, rows).decisions() == {"orders 101": "conflict:unique"}
    free = table("orders", "id:bigint# number:bigint#")
    assert check([free], {}, rows, rows).decisions() == {"orders 101": "conflict:number_taken"}


def test_both_sides_point_at_their_own_order() -> None:
    users = table("users", "id:bigint# last_order_id:bigint", refers=[refers("last_order_id", "orders")])
    base: Dicts = {"users": [{"id": 1}]}
    side: Dicts = {"users": [{"id": 1, "last_order_id": 101}], "orders": [{"id": 101, "note": "x"}]}
    found = check([users, ORDERS], base, side, side)
    assert found.decisions() == {"users 1": "conflict:updated_both", "orders 101": "rekeyed"}
    taken = check([users, ORDERS], base, side, side, rule("users", "last_order_id", "old"))
    assert taken.decisions()["users 1"] == "apply"
    assert taken.apply()["users"][0]["last_order_id"] not in ("101", None)


def test_an_undeclared_column_named_after_the_table_is_a_conflict() -> None:
    users = table("users", "id:bigint# last_order_id:bigint name:text")
    base: Dicts = {"users": [{"id": 1}]}
    side: Dicts = {"users": [{"id": 1, "last_order_id": 101}], "orders": [{"id": 101, "note": "x"}]}
    assert check([users, ORDERS], base, side, side).decisions()["users 1"] == "conflict:undeclared_reference"
    alone: Dicts = {"users": [{"id": 1}], "orders": [{"id": 101, "note": "x"}]}
    assert check([users, ORDERS], base, side, alone).decisions()["users 1"] == "conflict:undeclared_reference"
    allowed = frozenset({(name("users"), "last_order_id")})
    assert check([users, ORDERS], base, side, side, not_references=allowed).decisions()["users 1"] == "already_present"
    other: Dicts = {"users": [{"id": 1, "name": "Eve"}], "orders": [{"id": 101, "note": "x"}]}
    assert check([users, ORDERS], base, other, alone).decisions()["users 1"] == "apply"


def test_an_array_of_ids_and_a_camel_case_column() -> None:
    carts = table("carts", "id:bigint! order_ids:bigint[] lastOrderId:bigint")
    new: Dicts = {"orders": [{"id": 101, "note": "y"}]}
    for columns in ({"order_ids": "{7,101}"}, {"lastOrderId": 101}):
        old: Dicts = {"orders": [{"id": 101, "note": "x"}], "carts": [{"id": 1, **columns}]}
        assert check([carts, ORDERS], {}, old, new).decisions()["carts 1"] == "conflict:undeclared_reference"


COMMENTS = "id:bigint! commentable_type:text commentable_id:bigint"


def test_polymorphic_pairs() -> None:
    bare = table("comments", COMMENTS)
    old: Dicts = {
        "orders": [{"id": 101, "note": "x"}],
        "comments": [
            {"id": 1, "commentable_type": "Order", "commentable_id": 101},
            {"id": 2, "commentable_type": "Item", "commentable_id": 101},
        ],
    }
    new: Dicts = {"orders": [{"id": 101, "note": "y"}]}
    found = check([bare, ORDERS, ITEMS], {}, old, new)
    assert found.decisions()["comments 1"] == "conflict:undeclared_reference"
    assert found.decisions()["comments 2"] == "apply"
    declared = table(
        "comments", COMMENTS, refers=[refers("commentable_id", "orders", when={"commentable_type": "Order"})]
    )
    found = check([declared, ORDERS, ITEMS], {}, old, new)
    assert found.decisions()["comments 1"] == found.decisions()["comments 2"] == "apply"
    ids = [row["commentable_id"] for row in found.apply()["comments"]]
    assert ids[0] not in ("101", None)
    assert ids[1] == "101"


def test_json_below_a_declared_path_is_rewritten_and_the_rest_is_a_warning() -> None:
    events = table("events", "id:bigint! payload:jsonb", refers=[refers("payload", "orders", json="order,id")])
    old: Dicts = {
        "orders": [{"id": 101, "note": "x"}],
        "events": [{"id": 1, "payload": '{"order": {"id": 101}}'}, {"id": 2, "payload": '{"order": {"id": "101"}}'}],
    }
    new: Dicts = {"orders": [{"id": 101, "note": "y"}]}
    result = check([events, ORDERS], {}, old, new)
    assert result.decisions()["events 1"] == "apply"
    payloads = [row["payload"] or "" for row in result.apply()["events"]]
    fresh = next(row["id"] for row in result.apply()["orders"] if row["note"] == "x")
    assert payloads == [f'{{"order": {{"id": {fresh}}}}}', f'{{"order": {{"id": "{fresh}"}}}}']
    assert result.result.warnings == ()
    undeclared = table("events", "id:bigint! payload:jsonb")
    result = check([undeclared, ORDERS], {}, old, new)
    assert result.decisions()["events 1"] == "apply"
    assert "public.events.payload may hold a re-keyed id of public.orders" in result.result.warnings[0]


USERS = table("users", "id:bigint# email:text name:text", unique=[["email"]])
SAME = {name("users"): (("email",),)}


def test_chained_renumbering_is_simultaneous() -> None:
    posts = table("posts", "id:bigint! user_id:bigint", refers=[refers("user_id", "users")])
    old: Dicts = {
        "users": [{"id": 50, "email": "a"}, {"id": 47, "email": "b"}],
        "posts": [{"id": 1, "user_id": 50}, {"id": 2, "user_id": 47}],
    }
    new: Dicts = {"users": [{"id": 47, "email": "a"}, {"id": 60, "email": "b"}]}
    found = check([USERS, posts], {}, old, new, same_entity=SAME)
    assert found.result.identities.ids == {name("users"): {"50": "47", "47": "60"}}
    assert found.decisions() == {"users 50": "merged", "users 47": "merged", "posts 1": "apply", "posts 2": "apply"}
    assert [row["user_id"] for row in found.apply()["posts"]] == ["47", "60"]


def test_same_email_with_and_without_same_entity() -> None:
    settings = table(
        "settings", "id:bigint# user_id:bigint theme:text", unique=[["user_id"]], refers=[refers("user_id", "users")]
    )
    old: Dicts = {"users": [{"id": 50, "email": "a"}], "settings": [{"id": 1, "user_id": 50, "theme": "dark"}]}
    new: Dicts = {"users": [{"id": 60, "email": "a"}], "settings": [{"id": 1, "user_id": 60, "theme": "light"}]}
    found = check([USERS, settings], {}, old, new)
    assert found.decisions() == {"users 50": "conflict:unique", "settings 1": "conflict:dependent"}
    assert found.result.judged[1].because_of == ("public.users 50",)
    assert found.result.judged[0].new_key == ("60",)
    found = check([USERS, settings], {}, old, new, same_entity=SAME)
    assert found.decisions() == {"users 50": "merged", "settings 1": "conflict:unique"}
    both = {**SAME, name("settings"): (("user_id",),)}
    found = check([USERS, settings], {}, old, new, same_entity=both)
    assert found.decisions() == {"users 50": "merged", "settings 1": "conflict:inserted_both"}
    found = check([USERS, settings], {}, old, new, rule("settings", "theme", "old"), same_entity=both)
    assert found.decisions() == {"users 50": "merged", "settings 1": "merged"}
    assert found.apply()["settings"] == [{"id": "1", "user_id": "60", "theme": "dark"}]


def test_one_thing_twice_contradicts_only_where_both_wrote_something() -> None:
    users = table("users", "id:bigint# email:text name:text created_at:timestamptz=now()", unique=[["email"]])
    old: Dicts = {"users": [{"id": 50, "email": "a", "name": "Ann", "created_at": "2025-01-01"}]}
    new: Dicts = {"users": [{"id": 60, "email": "a", "created_at": "2025-01-02"}]}
    found = check([users], {}, old, new, same_entity=SAME)
    assert found.decisions() == {"users 50": "merged"}
    assert found.apply()["users"] == [{"id": "60", "email": "a", "name": "Ann", "created_at": "2025-01-02"}]
    new = {"users": [{"id": 60, "email": "a", "name": "Eve", "created_at": "2025-01-02"}]}
    posts = table("posts", "id:bigint! user_id:bigint", refers=[refers("user_id", "users")])
    old = {**old, "posts": [{"id": 1, "user_id": 50}]}
    found = check([users, posts], {}, old, new, same_entity=SAME)
    assert found.decisions() == {"users 50": "conflict:inserted_both", "posts 1": "apply"}
    assert found.apply()["posts"] == [{"id": "1", "user_id": "60"}]


def test_same_entity_matches_only_what_new_inserted() -> None:
    base: Dicts = {"users": [{"id": 5, "email": "z"}]}
    old: Dicts = {"users": [{"id": 5, "email": "z"}, {"id": 50, "email": "a"}]}
    new: Dicts = {"users": [{"id": 5, "email": "a"}]}
    found = check([USERS], base, old, new, same_entity=SAME)
    assert found.decisions() == {"users 50": "conflict:unique"}


def test_same_entity_through_a_mapped_parent_needs_the_fixpoint() -> None:
    teams = table("teams", "id:bigint# slug:text", unique=[["slug"]])
    members = table(
        "members",
        "id:bigint# team_id:bigint mail:text",
        unique=[["team_id", "mail"]],
        refers=[refers("team_id", "teams")],
    )
    badges = table("badges", "id:bigint! member_id:bigint", refers=[refers("member_id", "members")])
    old: Dicts = {
        "teams": [{"id": 1, "slug": "s"}],
        "members": [{"id": 1, "team_id": 1, "mail": "m"}],
        "badges": [{"id": 9, "member_id": 1}],
    }
    new: Dicts = {"teams": [{"id": 2, "slug": "s"}], "members": [{"id": 8, "team_id": 2, "mail": "m"}]}
    same = {name("teams"): (("slug",),), name("members"): (("team_id", "mail"),)}
    found = check([badges, members, teams], {}, old, new, same_entity=same)
    assert found.decisions() == {"teams 1": "merged", "members 1": "merged", "badges 9": "apply"}
    assert found.apply()["badges"] == [{"id": "9", "member_id": "8"}]


def test_two_rows_of_old_cannot_be_one_row_of_new() -> None:
    loose = table("users", "id:bigint# email:text name:text")
    old: Dicts = {"users": [{"id": 50, "email": "a"}, {"id": 51, "email": "a"}]}
    new: Dicts = {"users": [{"id": 60, "email": "a"}]}
    found = check([loose], {}, old, new, same_entity=SAME)
    assert set(found.decisions().values()) == {"conflict:same_entity_twice"}
    found = check([loose], {}, new, old, same_entity=SAME)
    assert found.decisions() == {"users 60": "conflict:same_entity_ambiguous"}


def test_a_composite_key_that_contains_a_rekeyed_column() -> None:
    lines = table(
        "lines",
        "order_id:bigint! line:integer! what:text",
        key=["order_id", "line"],
        refers=[refers("order_id", "orders")],
    )
    notes = table(
        "notes", "id:bigint! order_id:bigint line:integer", refers=[refers("order_id,line", "lines", "order_id,line")]
    )
    side: Dicts = {"orders": [{"id": 101, "note": "x"}], "lines": [{"order_id": 101, "line": 1, "what": "tea"}]}
    old: Dicts = {**side, "notes": [{"id": 1, "order_id": 101, "line": 1}]}
    found = check([ORDERS, lines, notes], {}, old, side)
    assert found.decisions() == {"orders 101": "rekeyed", "lines 101,1": "rekeyed", "notes 1": "apply"}
    result = found.apply()
    assert len(result["lines"]) == 2
    fresh = next(row["order_id"] for row in result["lines"] if row["order_id"] != "101")
    assert result["notes"] == [{"id": "1", "order_id": fresh, "line": "1"}]
    assert found.result.judged[1].key == (NewId(name("orders"), "101"), "1")


def test_a_composite_key_that_becomes_new_s_key() -> None:
    prefs = table("prefs", "user_id:bigint! k:text! v:text", key=["user_id", "k"], refers=[refers("user_id", "users")])
    old: Dicts = {
        "users": [{"id": 50, "email": "a"}],
        "prefs": [{"user_id": 50, "k": "x", "v": "1"}, {"user_id": 50, "k": "y", "v": "1"}],
    }
    new: Dicts = {
        "users": [{"id": 60, "email": "a"}],
        "prefs": [{"user_id": 60, "k": "x", "v": "1"}, {"user_id": 60, "k": "z", "v": "1"}],
    }
    found = check([USERS, prefs], {}, old, new, same_entity=SAME)
    assert found.decisions() == {"users 50": "merged", "prefs 50,x": "already_present", "prefs 50,y": "rekeyed"}
    assert [row["k"] for row in found.apply()["prefs"]] == ["x", "y", "z"]


def test_a_row_that_old_updated_to_point_at_a_colliding_id() -> None:
    base: Dicts = {"items": [{"id": 7, "product": "tea"}]}
    old: Dicts = {"orders": [{"id": 101, "note": "x"}], "items": [{"id": 7, "order_id": 101, "product": "tea"}]}
    new: Dicts = {"orders": [{"id": 101, "note": "y"}], **base}
    found = check([ORDERS, ITEMS], base, old, new)
    assert found.decisions() == {"orders 101": "rekeyed", "items 7": "apply"}
    result = found.apply()
    mine = next(row["id"] for row in result["orders"] if row["note"] == "x")
    assert result["items"][0]["order_id"] == mine != "101"


def test_self_references_among_rekeyed_rows() -> None:
    nodes = table("nodes", "id:bigint# parent_id:bigint t:text", refers=[refers("parent_id", "nodes")])
    old: Dicts = {
        "nodes": [{"id": 1, "t": "o"}, {"id": 2, "parent_id": 1, "t": "o"}, {"id": 3, "parent_id": 3, "t": "o"}]
    }
    new: Dicts = {"nodes": [{"id": 1, "t": "n"}, {"id": 2, "t": "n"}, {"id": 3, "t": "n"}]}
    found = check([nodes], {}, old, new)
    assert set(found.decisions().values()) == {"rekeyed"}
    mine = [row for row in found.apply()["nodes"] if row["t"] == "o"]
    by_id = {row["id"]: row for row in mine}
    assert sorted(row["parent_id"] in by_id for row in mine) == [False, True, True]
    assert sum(row["parent_id"] == row["id"] for row in mine) == 1


def test_an_undeclared_reference_to_the_same_table() -> None:
    nodes = table("nodes", "id:bigint# parent_id:bigint t:text")
    old: Dicts = {"nodes": [{"id": 1, "t": "o"}, {"id": 2, "parent_id": 1, "t": "o"}]}
    found = check([nodes], {}, old, {"nodes": [{"id": 1, "t": "n"}]})
    assert found.decisions() == {"nodes 1": "rekeyed", "nodes 2": "conflict:undeclared_reference"}


def test_ids_of_one_sequence_shared_by_two_tables() -> None:
    posts = table("posts", "id:bigint# t:text", shared=True)
    pages = table("pages", "id:bigint# t:text", shared=True)
    found = check([posts, pages], {}, {"posts": [{"id": 9, "t": "o"}]}, {"pages": [{"id": 9, "t": "n"}]})
    assert found.decisions() == {"posts 9": "rekeyed"}
    base: Dicts = {"pages": [{"id": 9, "t": "n"}]}
    found = check([posts, pages], base, {"posts": [{"id": 9, "t": "o"}], **base}, base)
    assert found.decisions() == {"posts 9": "apply"}


def test_a_column_that_refers_to_two_tables() -> None:
    two = table("links", "id:bigint! to_id:bigint", refers=[refers("to_id", "posts"), refers("to_id", "pages")])
    posts, pages = table("posts", "id:bigint# t:text"), table("pages", "id:bigint# t:text")
    old: Dicts = {"posts": [{"id": 9, "t": "o"}], "pages": [{"id": 9, "t": "o"}], "links": [{"id": 1, "to_id": 9}]}
    new: Dicts = {"posts": [{"id": 9, "t": "n"}], "pages": [{"id": 9, "t": "n"}]}
    assert check([two, posts, pages], {}, old, new).decisions()["links 1"] == "conflict:ambiguous_reference"


def test_a_key_below_base_s_sequence_means_that_base_is_incomplete() -> None:
    rows: Dicts = {"orders": [{"id": 101, "note": "x"}, {"id": 205, "note": "z"}]}
    new: Dicts = {"orders": [{"id": 101, "note": "y"}]}
    found = check([ORDERS], {}, rows, new, facts=Facts(base_sequence={name("orders"): 150}))
    assert set(found.decisions().values()) == {"conflict:base_incomplete"}
    found = check([ORDERS], {}, rows, new, facts=Facts(base_sequence={name("orders"): 100}))
    assert found.decisions() == {"orders 101": "rekeyed", "orders 205": "apply"}
    found = check([ORDERS], {}, rows, new, facts=Facts(base_sequence={name("orders"): 132}, sequence_slack=32))
    assert found.decisions()["orders 101"] == "rekeyed"
    alone: Dicts = {"orders": [{"id": 99, "note": "x"}]}
    found = check([ORDERS], {}, alone, {}, facts=Facts(base_sequence={name("orders"): 150}))
    assert found.decisions() == {"orders 99": "apply"}


def test_numbers_that_people_know_are_never_rekeyed() -> None:
    invoices = table("invoices", "invoice_number:bigint# total:integer", key=["invoice_number"])
    lines = table("lines", "id:bigint! invoice:bigint", refers=[refers("invoice", "invoices", "invoice_number")])
    old: Dicts = {"invoices": [{"invoice_number": 17, "total": 1}], "lines": [{"id": 1, "invoice": 17}]}
    new: Dicts = {"invoices": [{"invoice_number": 17, "total": 2}]}
    found = check([invoices, lines], {}, old, new)
    assert found.decisions() == {"invoices 17": "conflict:human_visible_id", "lines 1": "conflict:dependent"}
    per_tenant = table("tickets", "id:bigint# tenant:bigint number:integer", unique=[["tenant", "number"]])
    found = check(
        [per_tenant],
        {},
        {"tickets": [{"id": 5, "tenant": 1, "number": 3}]},
        {"tickets": [{"id": 6, "tenant": 1, "number": 3}]},
    )
    assert found.decisions() == {"tickets 5": "conflict:unique"}


def test_a_key_that_is_a_reference_is_its_parent_s() -> None:
    people = table("people", "id:bigint# name:text")
    staff = table("staff", "id:bigint# role:text", refers=[refers("id", "people")])
    old: Dicts = {"people": [{"id": 5, "name": "o"}], "staff": [{"id": 5, "role": "boss"}]}
    new: Dicts = {"people": [{"id": 5, "name": "n"}], "staff": [{"id": 5, "role": "boss"}]}
    found = check([people, staff], {}, old, new)
    assert found.decisions() == {"people 5": "rekeyed", "staff 5": "rekeyed"}
    result = found.apply()
    assert {row["id"] for row in result["staff"]} == {row["id"] for row in result["people"]}


def test_generated_by_the_plan_draws_from_nothing() -> None:
    plain = table("orders", "id:bigint! note:text", generated_key=True)
    rows: Dicts = {"orders": [{"id": 5, "note": "o"}]}
    assert check([plain], {}, rows, rows).decisions() == {"orders 5": "rekeyed"}
