"""Triggers, psql, locks, and who may apply at the same time."""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.apply.apply import Bounds, apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.bundle import MappedId
from cutover.reconcile.merge.cells import NewId
from cutover.reconcile.model import ForeignKey
from tests.apply.support import Maker, fence, name_of, rows, run, state
from tests.apply.test_apply import SHOP, TABLES, all_kinds
from tests.apply.test_races import many

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world.fixtures import MakeDatabase
    from tests.world.postgres import Postgres

TOUCH = """
create function touch() returns trigger language plpgsql as $$ begin new.note := 'touched'; return new; end $$;
create trigger touch before update on orders for each row execute function touch();
"""
LATE = """
create function late() returns trigger language plpgsql as $$
begin if new.id = 130 then new.name := 'changed'; end if; return new; end $$;
create trigger late before insert on users for each row execute function late();
"""
AUDIT = """
create table audit (id bigserial primary key, what text);
create function audit() returns trigger language plpgsql as $$
begin insert into audit (what) values (tg_op); return null; end $$;
create trigger audit after insert or update or delete on orders for each row execute function audit();
"""
COUNTED = """
alter table users add orders int not null default 0;
create function counted() returns trigger language plpgsql as $$
begin update users set orders = orders + 1 where id = new.user_id; return null; end $$;
create constraint trigger counted after insert on orders deferrable initially deferred for each row execute function counted();
"""


@pytest.fixture
def shop(make_database: MakeDatabase, tmp_path: Path) -> Maker:
    return Maker(make_database(SHOP), tmp_path)


def test_a_rule_is_refused_before_anything_is_written(shop: Maker) -> None:
    run(shop.url, "create rule noted as on insert to orders do also update users set email = email || '.'")
    before = state(shop.url, *TABLES)
    with pytest.raises(CutoverError, match=r"the rule noted of public\.orders") as refused:
        apply_bundle(all_kinds(shop), shop.url, fence=fence())
    assert "drop the rule" in refused.value.hint
    assert state(shop.url, *TABLES) == before


def test_a_trigger_that_changes_the_row_blocks_until_it_is_accepted(shop: Maker) -> None:
    run(shop.url, TOUCH)
    before = state(shop.url, *TABLES)
    bundle = all_kinds(shop)
    blocked = apply_bundle(bundle, shop.url, fence=fence())
    assert (blocked.blocked, blocked.exit_code, blocked.applied) == (True, 3, 0)
    assert [(e.table, e.rows, e.columns) for e in blocked.effects] == [("public.orders", 1, ("note",))]
    assert blocked.next_command.endswith("--accept-effects public.orders")
    assert state(shop.url, *TABLES) == before
    done = apply_bundle(bundle, shop.url, fence=fence(), accept_effects=["orders"])
    assert (done.exit_code, done.applied) == (0, 3)
    assert rows(shop.url, "select note from orders where id = 1") == [("touched",)]
    # The image that the trigger left is what undo compares with; the trigger fires again on the way back.
    undone = undo_bundle(bundle, shop.url)
    assert undone.undone == 3, undone.left
    assert rows(shop.url, "select total::text from orders where id = 1") == [("10.00",)]


def test_writes_to_another_table_are_an_effect(shop: Maker) -> None:
    run(shop.url, AUDIT)
    bundle = all_kinds(shop)
    blocked = apply_bundle(bundle, shop.url, fence=fence())
    assert [(e.table, e.inserted) for e in blocked.effects] == [("public.audit", 3)]
    assert rows(shop.url, "select count(*) from audit") == [(0,)]
    assert apply_bundle(bundle, shop.url, fence=fence(), accept_effects=["public.audit"]).exit_code == 0
    assert rows(shop.url, "select count(*) from audit") == [(3,)]


def test_a_deferred_trigger_is_seen_before_the_commit(shop: Maker) -> None:
    run(shop.url, COUNTED)
    bundle = shop.bundle(
        [
            [
                shop.step("users", None, ("10", "d@x", "Dee", "0")),
                shop.step("orders", None, ("10", "10", "1.00", None, None)),
            ],
            [shop.step("orders", None, ("11", "3", "1.00", None, None))],
        ]
    )
    blocked = apply_bundle(bundle, shop.url, fence=fence())
    assert blocked.blocked
    assert [(e.table, e.rows, e.columns, e.updated) for e in blocked.effects] == [("public.users", 1, ("orders",), 2)]
    assert rows(shop.url, "select count(*) from orders where id >= 10") == [(0,)]
    assert apply_bundle(bundle, shop.url, fence=fence(), accept_effects=["public.users"]).exit_code == 0
    # Undo compares with the row that the trigger left, not with the planned one.
    assert undo_bundle(bundle, shop.url).left == ()


def test_on_delete_cascade_is_never_relied_on(shop: Maker) -> None:
    bundle = shop.bundle([[shop.step("users", ("1", "a@x", "Ann"), None)]])
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert [left.reason for left in result.left] == ["refused"]
    assert rows(shop.url, "select count(*) from orders where user_id = 1") == [(2,)]


def test_a_trigger_that_refuses_one_row_holds_back_only_that_component(shop: Maker) -> None:
    run(
        shop.url,
        """create function no() returns trigger language plpgsql as $$
           begin if new.total = 11 then raise exception 'too late'; end if; return new; end $$;
           create trigger no before update on orders for each row execute function no();""",
    )
    result = apply_bundle(all_kinds(shop), shop.url, fence=fence())
    assert result.applied == 2
    assert [(left.key, left.message) for left in result.left] == [(("1",), "too late")]


def test_deferred_constraints_fail_inside_the_batch(shop: Maker) -> None:
    run(shop.url, "alter table orders add constraint later unique (note) deferrable initially deferred")
    bundle = shop.bundle(
        [
            [shop.step("orders", ("1", "1", "10.00", None, None), ("1", "1", "10.00", "x", None))],
            [shop.step("orders", ("2", "1", "20.50", "", None), ("2", "1", "20.50", "fine", None))],
        ]
    )
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert result.applied == 1
    assert "later" in result.left[0].message


def test_a_declared_reference_is_judged_on_the_result(shop: Maker) -> None:
    run(
        shop.url,
        "create table events (id int primary key, kind text, payload jsonb); insert into events values (1,'order','{\"order_id\": 3}')",
    )
    ref = ForeignKey(
        "events",
        name_of("events"),
        ("payload",),
        name_of("orders"),
        ("id",),
        declared=True,
        when=(("kind", "order"),),
        json_path=("order_id",),
    )
    bundle = shop.bundle(
        [
            [shop.step("orders", ("3", "2", "5.00", "x", None), None)],
            [shop.step("events", None, ("2", "order", '{"order_id": 4711}'))],
            [shop.step("events", None, ("3", "user", '{"order_id": 4711}'))],
            [shop.step("events", None, ("4", "order", '{"order_id": 1}'))],
        ],
        references=[ref],
    )
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert result.applied == 2
    assert {left.table: left.message for left in result.left} == {
        "public.orders": "a row of public.events refers to it",
        "public.events": "public.events refers to public.orders 4711, which is not there",
    }


def psql(server: Postgres, url: str, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [server.tool("psql"), "-X", *more, "-f", str(file), url], capture_output=True, text=True, check=False
    )


def re_keyed(shop: Maker) -> Path:
    new = NewId(name_of("orders"), "10")
    orders = shop.table("orders", sequence=name_of("orders_id_seq"))
    return shop.bundle(
        [
            [shop.step("users", None, ("10", "d@x", "tab\there \\ \"quoted\" 'n' {brace}\nline"))],
            [shop.step("orders", None, (new, "1", "1.00", "", '{"a": [1, "b\\\\c"]}'), key=(new,))],
            [shop.step("orders", ("1", "1", "10.00", None, None), ("1", "1", "11.00", "late", None))],
            [shop.step("orders", ("3", "2", "5.00", "x", None), None)],
        ],
        tables={"orders": orders},
        ids=[MappedId(name_of("orders"), "id", "10", None, "collision")],
        sequences=[("orders_id_seq", 12, 3)],
    )


def test_psql_does_the_very_same_and_each_goes_on_after_the_other(
    make_database: MakeDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    by_tool, by_psql = Maker(make_database(SHOP), tmp_path / "a"), Maker(make_database(SHOP), tmp_path / "b")
    for maker in (by_tool, by_psql):
        maker.folder.mkdir()
    before = state(by_psql.url, *TABLES)
    ours, theirs = re_keyed(by_tool), re_keyed(by_psql)
    assert apply_bundle(ours, by_tool.url, fence=fence()).exit_code == 0
    for _ in range(2):
        done = psql(postgres, by_psql.url, theirs / "apply.sql")
        assert done.returncode == 0, done.stderr
    assert "applied" in done.stdout
    assert state(by_psql.url, *TABLES) == state(by_tool.url, *TABLES)
    assert rows(by_psql.url, "select min(id), max(id) from orders where total = 1") == [(13, 13)]
    # The tool goes on after psql ...
    again = apply_bundle(theirs, by_psql.url, fence=fence())
    assert (again.applied, again.exit_code) == (4, 0)
    assert undo_bundle(theirs, by_psql.url).exit_code == 0
    assert state(by_psql.url, *TABLES) == before
    # ... and psql after the tool.
    undone = psql(postgres, by_tool.url, ours / "undo.sql")
    assert undone.returncode == 0, undone.stderr
    assert state(by_tool.url, *TABLES) == before


def test_psql_stops_at_effects_and_at_another_database(
    shop: Maker, make_database: MakeDatabase, postgres: Postgres
) -> None:
    run(shop.url, TOUCH)
    bundle = all_kinds(shop)
    before = state(shop.url, *TABLES)
    stopped = psql(postgres, shop.url, bundle / "apply.sql")
    assert stopped.returncode == 3
    assert "public.orders" in stopped.stderr
    assert state(shop.url, *TABLES) == before
    assert psql(postgres, shop.url, bundle / "apply.sql", "-v", "accept=public.orders").returncode == 0
    elsewhere = psql(postgres, make_database(SHOP), bundle / "apply.sql")
    assert elsewhere.returncode == 3
    assert "not the database" in elsewhere.stderr


def test_a_second_apply_is_refused_and_an_orphan_blocks(shop: Maker, postgres: Postgres) -> None:
    bundle = all_kinds(shop)
    with psycopg.connect(shop.url, autocommit=True) as orphan:
        orphan.execute("select pg_advisory_lock(1668641647, 1986359924)")
        for act in (lambda: apply_bundle(bundle, shop.url, fence=fence()), lambda: undo_bundle(bundle, shop.url)):
            with pytest.raises(CutoverError, match=f"pid {orphan.info.backend_pid}") as refused:
                act()
            assert refused.value.exit_code == 4
        assert "another apply" in psql(postgres, shop.url, bundle / "apply.sql").stderr
        assert rows(shop.url, "select to_regclass('cutover.step')") == [(None,)]
    assert apply_bundle(bundle, shop.url, fence=fence()).exit_code == 0


def test_a_batch_without_the_lock_does_nothing(shop: Maker) -> None:
    bundle = all_kinds(shop)
    apply_bundle(bundle, shop.url, fence=fence())
    with psycopg.connect(shop.url) as connection, pytest.raises(psycopg.Error, match="does not hold"):
        connection.execute("select cutover.advance(run, 1, 'apply', false) from cutover.run")


def test_it_waits_for_a_locked_row_and_live_traffic_does_not_wait_for_it(shop: Maker) -> None:
    bundle = all_kinds(shop)
    with psycopg.connect(shop.url) as live:
        live.execute("update orders set note = 'live' where id = 1")

        def release() -> None:
            time.sleep(1.5)
            live.rollback()

        thread = threading.Thread(target=release)
        thread.start()
        result = apply_bundle(bundle, shop.url, fence=fence())
        thread.join()
    assert (result.applied, result.exit_code) == (3, 0)


def test_in_a_deadlock_it_is_the_apply_that_gives_way(shop: Maker) -> None:
    bundle = shop.bundle(
        [
            [
                shop.step("orders", ("1", "1", "10.00", None, None), ("1", "1", "11.00", None, None)),
                shop.step("orders", ("2", "1", "20.50", "", None), ("2", "1", "21.50", "", None)),
            ]
        ]
    )
    stop = threading.Event()
    failed: list[str] = []

    def writer() -> None:
        with psycopg.connect(shop.url) as live:
            while not stop.is_set():
                try:
                    live.execute("update orders set doc = doc where id = 2")
                    time.sleep(0.02)
                    live.execute("update orders set doc = doc where id = 1")
                    live.commit()
                    time.sleep(0.1)
                except psycopg.Error as error:
                    failed.append(str(error))
                    live.rollback()

    threads = [threading.Thread(target=writer) for _ in range(1)]
    for thread in threads:
        thread.start()
    try:
        result = apply_bundle(bundle, shop.url, fence=fence())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert result.applied == 1
    assert failed == []


@pytest.mark.parametrize("written", ["as told", '"Front Shop"."Orders 2"'])
def test_effects_on_a_table_that_needs_quotes_are_accepted_as_they_are_told(
    make_database: MakeDatabase, tmp_path: Path, written: str
) -> None:
    url = make_database(
        """create schema "Front Shop"; create table "Front Shop"."Orders 2" (id int primary key, note text);
           insert into "Front Shop"."Orders 2" values (1, 'a');"""
        + TOUCH.replace("on orders", 'on "Front Shop"."Orders 2"')
    )
    maker = Maker(url, tmp_path)
    bundle = maker.bundle([[maker.step("Front Shop.Orders 2", ("1", "a"), ("1", "b"))]])
    blocked = apply_bundle(bundle, url, fence=fence())
    words = shlex.split(blocked.next_command)
    assert words[-2:] == ["--accept-effects", "Front Shop.Orders 2"]
    accepted = words[-1] if written == "as told" else written
    assert apply_bundle(bundle, url, fence=fence(), accept_effects=[accepted]).exit_code == 0
    for wrong in ("Front Shop.Orders 3", "front shop", "x.y"):
        with pytest.raises(CutoverError, match="no such table"):
            apply_bundle(bundle, url, fence=fence(), accept_effects=[wrong])


def test_an_autovacuum_of_the_state_is_waited_for(shop: Maker, postgres: Postgres) -> None:
    bundle = all_kinds(shop)
    apply_bundle(bundle, shop.url, fence=fence())

    def held(action: Callable[[], object]) -> None:
        with psycopg.connect(shop.url) as vacuum:
            vacuum.execute("lock table cutover.step in share update exclusive mode")
            timer = threading.Timer(1, vacuum.rollback)
            timer.start()
            action()
            timer.join()

    held(lambda: apply_bundle(bundle, shop.url, fence=fence()))
    held(lambda: psql(postgres, shop.url, bundle / "apply.sql").check_returncode())
    held(lambda: undo_bundle(bundle, shop.url))


def test_all_or_nothing(shop: Maker) -> None:
    bundle = all_kinds(shop)
    run(shop.url, "update orders set note = 'live' where id = 1")
    before = state(shop.url, *TABLES)
    result = apply_bundle(bundle, shop.url, fence=fence(), single_transaction=True)
    assert (result.rolled_back, result.applied, result.exit_code, result.verdict) == (True, 0, 3, "conflicts")
    assert [(left.table, left.key, left.reason) for left in result.left] == [("public.orders", ("1",), "missed")]
    assert state(shop.url, *TABLES) == before
    run(shop.url, "update orders set note = null where id = 1")
    assert apply_bundle(bundle, shop.url, fence=fence(), single_transaction=True).exit_code == 0


def test_all_or_nothing_waits_for_a_row_that_is_locked(shop: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = all_kinds(shop)
    before = state(shop.url, *TABLES)
    with psycopg.connect(shop.url) as live:
        live.execute("update orders set note = note where id = 1")
        monkeypatch.setattr("cutover.reconcile.apply.apply.LOCK_TRIES", 1)
        with pytest.raises(CutoverError, match="rows stay locked") as refused:
            apply_bundle(bundle, shop.url, fence=fence(), single_transaction=True)
        assert refused.value.exit_code == 4
        assert state(shop.url, *TABLES) == before
        monkeypatch.undo()
        timer = threading.Timer(1, live.rollback)
        timer.start()
        result = apply_bundle(bundle, shop.url, fence=fence(), single_transaction=True)
        timer.join()
    assert (result.rolled_back, result.exit_code) == (False, 0)


def test_the_rehearsal_on_a_copy_blocks_before_new_is_touched(shop: Maker, make_database: MakeDatabase) -> None:
    copy = make_database(SHOP + TOUCH)
    bundle = all_kinds(shop)
    before = state(shop.url, *TABLES)
    result = apply_bundle(bundle, shop.url, fence=fence(), rehearse_on=copy)
    assert result.blocked
    assert state(shop.url, *TABLES) == before
    assert rows(shop.url, "select to_regclass('cutover.step')") == [(None,)]
    assert (result.applied, result.ids) == (0, 0)
    assert "nothing was kept" in result.text()


def test_a_copy_that_holds_it_already_rehearses_nothing(shop: Maker, make_database: MakeDatabase) -> None:
    run(shop.url, LATE)
    copy = make_database(SHOP + LATE)
    bundle = many(shop)
    before = state(shop.url, *TABLES)
    for _ in range(2):
        result = apply_bundle(bundle, shop.url, fence=fence(), rehearse_on=copy, batch_rows=4)
        assert (result.blocked, result.applied) == (True, 0)
        assert state(shop.url, *TABLES) == before


@pytest.mark.parametrize("side", ["new", "old"])
def test_nothing_is_rehearsed_on_a_side_whatever_its_address(
    shop: Maker, make_database: MakeDatabase, side: str
) -> None:
    old = make_database(SHOP)
    bundle = all_kinds(shop)
    victim = shop.url if side == "new" else old
    before = state(victim, *TABLES)
    with pytest.raises(CutoverError, match=f"is {side} itself"):
        apply_bundle(bundle, shop.url, fence=fence(), rehearse_on=f"{victim}?application_name=copy", sides={"old": old})
    assert state(victim, *TABLES) == before
    assert rows(victim, "select to_regclass('cutover.step')") == [(None,)]


def test_a_plain_owner_suffices_in_a_database_with_publications(
    make_database: MakeDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    postgres.role("shopkeeper")
    url = make_database("create publication everything for all tables")
    name = url.rsplit("/", 1)[1]
    postgres.execute(f"grant create on database {name} to shopkeeper; ")
    postgres.execute("grant all on schema public to shopkeeper", database=name)
    mine = postgres.dsn(name, user="shopkeeper")
    run(mine, SHOP)
    maker = Maker(mine, tmp_path)
    before = state(mine, *TABLES)
    bundle = all_kinds(maker)
    result = apply_bundle(bundle, mine, fence=fence())
    assert result.exit_code == 0
    assert "everything" in result.notes[0]
    assert undo_bundle(bundle, mine).exit_code == 0
    assert state(mine, *TABLES) == before
    postgres.execute("drop schema cutover cascade; drop owned by shopkeeper", database=name)
    postgres.execute("drop owned by shopkeeper; drop role shopkeeper")


def test_missing_indexes_are_named(shop: Maker) -> None:
    run(shop.url, "drop index orders_user_id_idx")
    result = apply_bundle(all_kinds(shop), shop.url, fence=fence())
    assert result.indexes == ("CREATE INDEX CONCURRENTLY ON public.orders (user_id);",)


def test_a_live_sequence_is_never_set_back(shop: Maker) -> None:
    run(shop.url, "select setval('orders_id_seq', 5000)")
    bundle = shop.bundle(
        [[shop.step("orders", ("3", "2", "5.00", "x", None), None)]],
        sequences=[("orders_id_seq", 12, 3), ("users_id_seq", 3_000_000, 3)],
    )
    stop = threading.Event()
    seen: list[int] = []

    def draw() -> None:
        with psycopg.connect(shop.url, autocommit=True) as live:
            while not stop.is_set():
                row = live.execute("select nextval('users_id_seq')").fetchone()
                assert row is not None
                seen.append(row[0])

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        apply_bundle(bundle, shop.url, fence=fence())
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(set(seen))
    assert rows(shop.url, "select nextval('orders_id_seq')") == [(5001,)]
    assert rows(shop.url, "select nextval('users_id_seq') > 3000000") == [(True,)]


def test_an_effect_that_the_rehearsal_did_not_meet_blocks_its_batch_and_keeps_the_ones_before(shop: Maker) -> None:
    run(shop.url, LATE)
    bundle = many(shop)
    blocked = apply_bundle(bundle, shop.url, fence=fence(), batch_rows=4, bounds=Bounds(rows=4))
    assert (blocked.blocked, blocked.exit_code, blocked.applied) == (True, 3, 28)
    assert rows(shop.url, "select count(*), max(id) from users where id >= 100") == [(28, 127)]
    assert "28 of 40 were applied before" in blocked.text()
    done = apply_bundle(bundle, shop.url, fence=fence(), accept_effects=["public.users"])
    assert (done.applied, done.exit_code) == (40, 0)
    assert rows(shop.url, "select id from users where name = 'changed'") == [(130,)]


def test_psql_killed_at_any_moment_is_finished_by_the_tool(shop: Maker, postgres: Postgres) -> None:
    before = state(shop.url, *TABLES)
    bundle = many(shop)
    for delay in (0.05, 0.15, 0.3, 0.5):
        child = subprocess.Popen(
            [postgres.tool("psql"), "-X", "-q", "-f", str(bundle / "apply.sql"), shop.url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        child.kill()
        child.wait()
    deadline = time.monotonic() + 20
    while rows(shop.url, "select count(*) from pg_locks where locktype = 'advisory'") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert apply_bundle(bundle, shop.url, fence=fence()).applied == 40
    assert rows(shop.url, "select count(*) from users where name = 'N'") == [(40,)]
    assert undo_bundle(bundle, shop.url).exit_code == 0
    assert state(shop.url, *TABLES) == before
