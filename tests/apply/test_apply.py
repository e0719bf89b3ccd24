"""Apply and undo, step by step, against a real server."""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cutover.errors import CutoverError
from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.bundle import MappedId
from cutover.reconcile.merge.cells import Filled, JsonIds, NewId
from tests.apply.support import FENCED, Maker, fence, name_of, rows, run, state

if TYPE_CHECKING:
    from tests.world.fixtures import MakeDatabase

SHOP = """
create table users (id bigserial primary key, email text unique not null, name text);
create table orders (id bigserial primary key, user_id bigint not null references users on delete cascade,
                     total numeric(10,2) not null, note text, doc jsonb);
create index on orders (user_id);
insert into users (email, name) values ('a@x', 'Ann'), ('b@x', 'Bob'), ('c@x', 'Cid');
insert into orders (user_id, total, note) values (1, 10.00, null), (1, 20.50, ''), (2, 5, 'x');
"""
TABLES = ("users", "orders")


@pytest.fixture
def shop(make_database: MakeDatabase, tmp_path: Path) -> Maker:
    return Maker(make_database(SHOP), tmp_path)


def all_kinds(shop: Maker) -> Path:
    step = shop.step
    return shop.bundle(
        [
            [
                step("users", None, ("10", "d@x", "Dee")),
                step("orders", None, ("10", "10", "7.00", None, '{"a": 1}')),
            ],
            [step("orders", ("1", "1", "10.00", None, None), ("1", "1", "11.00", "late", None))],
            [step("orders", ("3", "2", "5.00", "x", None), None), step("users", ("2", "b@x", "Bob"), None)],
        ]
    )


def test_insert_update_delete_and_back(shop: Maker) -> None:
    before = state(shop.url, *TABLES)
    bundle = all_kinds(shop)
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert (result.applied, result.components, result.left, result.exit_code) == (3, 3, (), 0)
    after = state(shop.url, *TABLES)
    assert after["users"] == ["(1,a@x,Ann)", "(10,d@x,Dee)", "(3,c@x,Cid)"]
    assert after["orders"] == ["(1,1,11.00,late,)", '(10,10,7.00,,"{""a"": 1}")', '(2,1,20.50,"",)']
    undone = undo_bundle(bundle, shop.url)
    assert (undone.undone, undone.left, undone.exit_code) == (3, (), 0)
    assert state(shop.url, *TABLES) == before


def test_twice_is_once(shop: Maker) -> None:
    bundle = all_kinds(shop)
    apply_bundle(bundle, shop.url, fence=fence())
    run(shop.url, "delete from orders where id = 10; delete from users where id = 10")
    after = state(shop.url, *TABLES)
    again = apply_bundle(bundle, shop.url, fence=fence())
    assert again.applied == 3
    assert state(shop.url, *TABLES) == after


def test_an_undone_bundle_is_not_applied_again(shop: Maker) -> None:
    bundle = all_kinds(shop)
    apply_bundle(bundle, shop.url, fence=fence())
    undo_bundle(bundle, shop.url)
    with pytest.raises(CutoverError, match="was undone"):
        apply_bundle(bundle, shop.url, fence=fence())


@pytest.mark.parametrize(
    "meanwhile",
    [
        "update orders set note = 'live' where id = 1",
        "delete from orders where id = 1",
        "update orders set total = 10.0000000001::numeric(12,10) where id = 1",
    ],
)
def test_a_row_that_moved_on_is_left(shop: Maker, meanwhile: str) -> None:
    bundle = all_kinds(shop)
    if "0000001" in meanwhile:
        run(shop.url, "alter table orders alter total type numeric")
        bundle = all_kinds(shop)
    run(shop.url, meanwhile)
    mine = rows(shop.url, "select * from orders where id = 1")
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert rows(shop.url, "select * from orders where id = 1") == mine
    assert result.applied == 2
    assert [(left.table, left.key, left.reason) for left in result.left] == [("public.orders", ("1",), "missed")]
    assert result.exit_code == 3
    assert result.next_command == "cutover reconcile"


def test_a_component_is_whole_or_not_at_all(shop: Maker) -> None:
    bundle = all_kinds(shop)
    run(shop.url, "insert into users values (10, 'live@x', 'Live')")
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert rows(shop.url, "select count(*) from orders where id = 10") == [(0,)]
    assert {left.key for left in result.left} == {("10",)}


def test_a_unique_value_taken_meanwhile_is_refused_alone(shop: Maker) -> None:
    bundle = all_kinds(shop)
    run(shop.url, "insert into users values (77, 'd@x', 'Live')")
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert result.applied == 2
    assert {left.reason for left in result.left} == {"refused"}
    assert "d@x" in result.left[0].message
    assert rows(shop.url, "select id from users where email = 'd@x'") == [(77,)]


def test_a_child_that_only_new_has_keeps_its_parent(shop: Maker) -> None:
    bundle = all_kinds(shop)
    run(shop.url, "insert into orders (id, user_id, total) values (500, 2, 1)")
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert rows(shop.url, "select count(*) from orders where id in (3, 500)") == [(2,)]
    assert rows(shop.url, "select count(*) from users where id = 2") == [(1,)]
    assert result.applied == 2
    assert all(left.reason == "refused" for left in result.left)
    assert "orders" in result.left[0].message


def test_what_is_there_already_is_not_done_again(shop: Maker) -> None:
    bundle = all_kinds(shop)
    run(shop.url, "update orders set total = 11, note = 'late' where id = 1")
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert (result.applied, result.present, result.exit_code) == (2, 1, 0)
    undo_bundle(bundle, shop.url)
    assert rows(shop.url, "select note from orders where id = 1") == [("late",)]


def test_ids_are_drawn_and_filled_in_everywhere(shop: Maker) -> None:
    run(shop.url, "select setval('users_id_seq', 5), setval('orders_id_seq', 10)")
    run(shop.url, "insert into orders (id, user_id, total) values (10, 1, 99), (13, 1, 98)")
    orders = shop.table("orders", sequence=name_of("orders_id_seq"))
    new = NewId(name_of("orders"), "10")
    doc = JsonIds('{"self": 10, "text": "10", "other": 10}', ((("self",), new), (("text",), new)))
    bundle = shop.bundle(
        [
            [shop.step("orders", None, (new, "1", "1.00", None, doc), key=(new,))],
            [shop.step("orders", None, ("12", "1", "2.00", None, None))],
        ],
        tables={"orders": orders},
        ids=[MappedId(name_of("orders"), "id", "10", None, "collision")],
        sequences=[("orders_id_seq", 12, 10)],
    )
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert result.exit_code == 0, result.left
    # 11 and 12 are old's own, 13 is there already.
    assert rows(shop.url, "select id, doc from orders where total = 1") == [
        (14, {"self": 14, "text": "14", "other": 10})
    ]
    assert "14" in (bundle / "id_map.csv").read_text()
    assert result.ids == 1
    assert rows(shop.url, "select nextval('orders_id_seq')") == [(15,)]


def test_a_sequence_without_ids_left_is_named_and_the_apply_goes_on_after_it_was_given_more(shop: Maker) -> None:
    run(shop.url, "alter sequence orders_id_seq maxvalue 10; select setval('orders_id_seq', 10)")
    new = NewId(name_of("orders"), "10")
    bundle = shop.bundle(
        [[shop.step("orders", None, (new, "1", "1.00", None, None), key=(new,))]],
        tables={"orders": shop.table("orders", sequence=name_of("orders_id_seq"))},
        ids=[MappedId(name_of("orders"), "id", "10", None, "collision")],
    )
    with pytest.raises(CutoverError, match="orders_id_seq") as refused:
        apply_bundle(bundle, shop.url, fence=fence())
    assert refused.value.exit_code == 2
    assert "MAXVALUE" in refused.value.hint
    run(shop.url, "alter sequence orders_id_seq maxvalue 1000")
    assert apply_bundle(bundle, shop.url, fence=fence()).exit_code == 0
    assert rows(shop.url, "select count(*) from orders where total = 1") == [(1,)]


def test_ids_without_a_sequence_come_after_the_highest(shop: Maker) -> None:
    run(shop.url, "alter table orders alter id drop default")
    new = NewId(name_of("orders"), "3")
    bundle = shop.bundle(
        [
            [shop.step("orders", None, (new, "1", "1.00", None, None), key=(new,))],
            [shop.step("orders", None, ("40", "1", "2.00", None, None))],
        ],
        ids=[MappedId(name_of("orders"), "id", "3", None, "collision")],
    )
    assert apply_bundle(bundle, shop.url, fence=fence()).exit_code == 0
    assert rows(shop.url, "select id from orders where total = 1") == [(41,)]


def test_a_swap_of_unique_values_is_parked(shop: Maker) -> None:
    before = state(shop.url, *TABLES)
    parked = ("1", "parked", "Ann")
    bundle = shop.bundle(
        [
            [
                shop.step("users", ("1", "a@x", "Ann"), parked, park=True),
                shop.step("users", ("2", "b@x", "Bob"), ("2", "a@x", "Bob")),
                shop.step("users", parked, ("1", "b@x", "Ann")),
            ]
        ]
    )
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert result.exit_code == 0, result.left
    assert rows(shop.url, "select email from users order by id") == [("b@x",), ("a@x",), ("c@x",)]
    assert undo_bundle(bundle, shop.url).exit_code == 0
    assert state(shop.url, *TABLES) == before


def test_a_difference_is_added_to_what_live_users_made_of_it(shop: Maker) -> None:
    step = shop.step(
        "orders", ("1", "1", "10.00", None, None), ("1", "1", "15.00", "late", None), add={"total": "5.00"}
    )
    bundle = shop.bundle([[step]])
    run(shop.url, "update orders set total = total + 5 where id = 1")
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert result.exit_code == 0, result.left
    assert rows(shop.url, "select total::text, note from orders where id = 1") == [("20.00", "late")]
    assert undo_bundle(bundle, shop.url).exit_code == 0
    assert rows(shop.url, "select total::text, note from orders where id = 1") == [("15.00", None)]


def test_no_fence_no_apply(shop: Maker) -> None:
    bundle = all_kinds(shop)
    before = state(shop.url, *TABLES)
    for proof in (None, fence(proven=False)):
        with pytest.raises(CutoverError, match="not proven to refuse writes") as refused:
            apply_bundle(bundle, shop.url, fence=proof)
        assert refused.value.exit_code == 3
    assert state(shop.url, *TABLES) == before


def test_a_bundle_older_than_the_fence_reads_old_again(shop: Maker) -> None:
    old = shop.bundle([[shop.step("orders", ("3", "2", "5.00", "x", None), None)]], read_at=FENCED)
    before = state(shop.url, *TABLES)
    with pytest.raises(CutoverError, match="before it was fenced"):
        apply_bundle(old, shop.url, fence=fence())
    assert state(shop.url, *TABLES) == before
    fresh = all_kinds(shop)
    result = apply_bundle(old, shop.url, fence=fence(), reread=lambda: fresh)
    assert result.folder == fresh
    assert result.applied == 3


def test_another_database_is_refused(shop: Maker) -> None:
    step = shop.step("orders", ("3", "2", "5.00", "x", None), None)
    for other in ({"database": "elsewhere"}, {"identifier": "42"}):
        with pytest.raises(CutoverError, match="was made for database"):
            apply_bundle(shop.bundle([[step]], **other), shop.url, fence=fence())  # type: ignore[arg-type]
    with pytest.raises(CutoverError, match="estimate"):
        apply_bundle(shop.bundle([[step]], estimated=True), shop.url, fence=fence())


def test_a_schema_that_moved_is_refused(shop: Maker) -> None:
    bundle = all_kinds(shop)
    run(shop.url, "alter table orders add extra int")
    with pytest.raises(CutoverError, match="extra"):
        apply_bundle(bundle, shop.url, fence=fence())


def test_columns_of_one_side_and_generated_ones(make_database: MakeDatabase, tmp_path: Path) -> None:
    maker = Maker(
        make_database(
            "create table t (id int generated always as identity primary key, a int, b int generated always as (a * 2) stored,"
            " fresh text default 'new'); insert into t (a, fresh) values (1, 'kept')"
        ),
        tmp_path,
    )
    meta = maker.table("t", only_new=("fresh",))
    meta = type(meta)(
        columns=("id", "a", "gone", "b", "fresh"),
        types=("integer", "integer", "text", "integer", "text"),
        key=("id",),
        generated=("b",),
        identity_always=("id",),
        only_old=("gone",),
        only_new=("fresh",),
    )
    g, d = Filled.GENERATED, Filled.DEFAULT
    before = state(maker.url, "t")
    bundle = maker.bundle(
        [
            [maker.step("t", ("1", "1", None, "2", "kept"), ("1", "5", "x", g, "kept"), meta=meta)],
            [maker.step("t", None, ("9", "3", "y", g, d), meta=meta)],
        ],
        tables={"t": meta},
    )
    result = apply_bundle(bundle, maker.url, fence=fence())
    assert result.exit_code == 0, (result.left, result.effects)
    assert state(maker.url, "t") == {"t": ["(1,5,10,kept)", "(9,3,6,new)"]}
    assert undo_bundle(bundle, maker.url).exit_code == 0
    assert state(maker.url, "t") == before


def test_tables_without_a_key(make_database: MakeDatabase, tmp_path: Path) -> None:
    maker = Maker(
        make_database("create table log (a int, b text); insert into log values (1,null),(1,null),(1,null),(2,'x')"),
        tmp_path,
    )
    meta = maker.table("log")
    before = state(maker.url, "log")
    bundle = maker.bundle(
        [
            [maker.step("log", ("1", None), None, key=(), count=2)],
            [maker.step("log", None, ("3", "y"), key=(), count=3)],
            [maker.step("log", ("2", "x"), None, key=(), count=2)],
        ],
        tables={"log": meta},
    )
    result = apply_bundle(bundle, maker.url, fence=fence())
    assert result.applied == 2
    assert [left.reason for left in result.left] == ["missed"]
    assert state(maker.url, "log")["log"] == ["(1,)", "(2,x)", "(3,y)", "(3,y)", "(3,y)"]
    assert undo_bundle(bundle, maker.url).exit_code == 0
    assert state(maker.url, "log") == before


def test_undo_leaves_what_was_touched_since(shop: Maker) -> None:
    bundle = all_kinds(shop)
    apply_bundle(bundle, shop.url, fence=fence())
    run(
        shop.url,
        "update orders set note = 'live' where id = 1; insert into orders (id, user_id, total) values (900, 10, 1)",
    )
    undone = undo_bundle(bundle, shop.url)
    assert undone.undone == 1
    assert undone.exit_code == 3
    assert rows(shop.url, "select note from orders where id = 1") == [("live",)]
    assert rows(shop.url, "select count(*) from orders where user_id = 10") == [(2,)]
    why = {(left.table, left.key[0]): left.message for left in undone.left}
    assert "was changed since" in why["public.orders", "1"]
    assert "refers to it" in why["public.users", "10"]


def test_an_edited_bundle_or_one_of_a_newer_version_is_refused(shop: Maker) -> None:
    for name in ("changes.jsonl", "meta.json", "apply.sql", "manifest.json"):
        bundle = all_kinds(shop)
        path = bundle / name
        path.write_text(path.read_text().replace("11.00", "99.00").replace('"format": 1', '"format": 2') + " ")
        if name == "manifest.json":
            with pytest.raises(CutoverError, match="bundle format 2"):
                apply_bundle(bundle, shop.url, fence=fence())
        else:
            with pytest.raises(CutoverError, match="edited or damaged"):
                apply_bundle(bundle, shop.url, fence=fence())
    (bundle / "manifest.json").unlink()
    with pytest.raises(CutoverError, match="half-written"):
        apply_bundle(bundle, shop.url, fence=fence())


def test_ids_written_into_the_map_by_hand_are_not_used(shop: Maker) -> None:
    run(shop.url, "select setval('orders_id_seq', 20)")
    new = NewId(name_of("orders"), "10")
    bundle = shop.bundle(
        [[shop.step("orders", None, (new, "1", "1.00", None, None), key=(new,))]],
        tables={"orders": shop.table("orders", sequence=name_of("orders_id_seq"))},
        ids=[MappedId(name_of("orders"), "id", "10", "1", "collision")],
    )
    assert apply_bundle(bundle, shop.url, fence=fence()).exit_code == 0
    assert rows(shop.url, "select id from orders where total = 1") == [(21,)]
