"""The short way of an apply: which components take it, and that what it cannot write goes the long way."""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.target import install, stage, take_lock, writer
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.merge.cells import Filled
from cutover.reconcile.model import ForeignKey
from cutover.reconcile.review.bundlefile import Bundle
from tests.apply.support import Maker, fence, name_of, rows, run, state

if TYPE_CHECKING:
    from tests.world.fixtures import MakeDatabase

SCHEMA = """
create table parents (id int primary key, name text);
create table things (id int primary key, parent int references parents on delete cascade, name text, price numeric(10,2));
create table sums (id int primary key, a int, twice int generated always as (a * 2) stored);
create table log (what text);
create table notes (id int primary key, thing int);
insert into parents select i, 'p' || i from generate_series(1, 9) i;
insert into things select i, 1, 'thing ' || i, i from generate_series(1, 20) i;
insert into sums (id, a) values (1, 1), (2, 2);
insert into log values ('x'), ('y');
insert into notes values (1, 3);
"""


@pytest.fixture
def maker(make_database: MakeDatabase, tmp_path: Path) -> Maker:
    return Maker(make_database(SCHEMA), tmp_path)


def thing(i: int, name: str = "") -> tuple[str, ...]:
    return (str(i), "1", name or f"thing {i}", f"{i}.00")


def waiting(maker: Maker, bundle: Path) -> tuple[list[int], list[int], bool]:
    with writer(maker.url) as connection:
        take_lock(connection, maker.url)
        install(connection)
        name = stage(connection, Bundle(bundle))
        row = connection.execute("select * from cutover.waiting(%s, 1, null)", (name,)).fetchone()
        connection.execute("select pg_advisory_unlock_all()")
    assert row is not None
    return sorted(row[0]), sorted(row[1]), row[2]


def test_only_what_is_wholly_known_is_written_without_a_look(maker: Maker) -> None:
    step = maker.step
    bundle = maker.bundle(
        [
            [step("things", thing(1), thing(1, "late"))],
            [step("things", None, thing(30))],
            [step("things", thing(2), None)],
            [step("parents", ("8", "p8"), ("8", "late"))],
            [step("parents", ("9", "p9"), None)],  # its children are looked for under a lock
            [step("things", thing(4), thing(4, "late")), step("things", thing(5), thing(5, "late"))],
            [step("sums", ("1", "1", Filled.GENERATED), ("1", "7", Filled.GENERATED))],
            [step("log", ("x",), None, key=())],
            [step("notes", ("1", "3"), None)],
        ]
    )
    assert waiting(maker, bundle) == ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 9], False)


def test_a_row_that_a_declared_reference_points_to_is_locked_before_it_is_deleted(maker: Maker) -> None:
    bundle = maker.bundle(
        [[maker.step("things", thing(3), None)], [maker.step("things", thing(4), thing(4, "late"))]],
        references=[ForeignKey("notes.thing", name_of("notes"), ("thing",), name_of("things"), ("id",), declared=True)],
    )
    assert waiting(maker, bundle) == ([1, 2], [2], False)
    result = apply_bundle(bundle, maker.url, fence=fence())
    assert (result.applied, [left.key for left in result.left]) == (1, [("3",)])
    assert rows(maker.url, "select count(*) from things where id = 3") == [(1,)]


def test_a_whole_batch_of_it(maker: Maker) -> None:
    bundle = maker.bundle([[maker.step("things", thing(i), thing(i, "late"))] for i in range(1, 20)])
    assert waiting(maker, bundle) == (list(range(1, 20)), list(range(1, 20)), True)


def test_what_the_guard_stops_is_judged_and_the_rest_of_the_batch_is_written(maker: Maker) -> None:
    before = state(maker.url, "things")
    step = maker.step
    bundle = maker.bundle(
        [
            [step("things", thing(1), thing(1, "late"))],
            [step("things", thing(2), thing(2, "late"))],
            [step("things", thing(3), thing(3, "late"))],
            [step("things", None, thing(30))],
            [step("things", None, thing(31))],
            [step("things", None, thing(32))],
            [step("things", thing(4), None)],
            [step("things", thing(5), None)],
            [step("things", thing(6), None)],
            [step("things", thing(7), thing(7, "late")), step("things", thing(8), thing(8, "late"))],
        ]
    )
    run(
        maker.url,
        "update things set name = 'live' where id in (2, 5, 7);"  # changed: never overwritten, never deleted
        " update things set name = 'late' where id = 3;"  # done already
        " insert into things values (31, 1, 'live', 0), (32, 1, 'thing 32', 32);"  # taken; done already
        " delete from things where id = 6",  # gone already
    )
    result = apply_bundle(bundle, maker.url, fence=fence())
    assert (result.applied, result.present) == (3, 3)
    assert sorted((left.key, left.reason) for left in result.left) == [
        (("2",), "missed"),
        (("31",), "missed"),
        (("5",), "missed"),
        (("7",), "missed"),
        (("8",), "missed"),
    ]
    found = dict(rows(maker.url, "select id, name from things where id in (1, 2, 3, 4, 5, 6, 7, 8, 30, 31, 32)"))
    assert found == {
        1: "late", 2: "live", 3: "late", 5: "live", 7: "live", 8: "thing 8", 30: "thing 30", 31: "live", 32: "thing 32",
    }  # fmt: skip
    undone = undo_bundle(bundle, maker.url)
    assert (undone.undone, undone.left) == (3, ())
    after = set(state(maker.url, "things")["things"])
    assert set(before["things"]) - after == {f'({i},1,"thing {i}",{i}.00)' for i in (2, 3, 5, 6, 7)}


def test_the_images_are_those_of_the_rows(maker: Maker) -> None:
    odd = 'a "b" \\ (c), d'
    run(maker.url, f"update things set name = $${odd}$$, price = null where id = 1")
    pre = ("1", "1", odd, None)
    bundle = maker.bundle(
        [
            [maker.step("things", pre, ("1", None, "", "1.50"))],
            [maker.step("things", None, ("40", "1", None, "7"))],
            [maker.step("things", thing(2), None)],
        ]
    )
    image = "select (t.*)::text from things t where id in (1, 2, 40) order by id"
    was = rows(maker.url, image)
    assert apply_bundle(bundle, maker.url, fence=fence()).applied == 3
    assert rows(maker.url, "select image from cutover.before order by no") == was
    assert rows(maker.url, "select image from cutover.after order by no") == rows(maker.url, image)
    assert rows(maker.url, "select count(*) from cutover.after where effect") == [(0,)]


def test_a_trigger_that_takes_a_row_away_or_gives_it_another_key_is_noticed(maker: Maker) -> None:
    run(
        maker.url,
        """create function odd() returns trigger language plpgsql as $$ begin
               if new.name = 'away' then return null; end if;
               if new.name = 'moved' then new.id := new.id + 1000; end if;
               return new; end $$;
           create trigger odd before insert on things for each row execute function odd()""",
    )
    bundle = maker.bundle(
        [[maker.step("things", None, thing(50 + i, name))] for i, name in enumerate(("fine", "away", "moved"))]
    )
    result = apply_bundle(bundle, maker.url, fence=fence())
    assert result.applied == 1
    assert {left.key: left.reason for left in result.left} == {("51",): "refused", ("52",): "refused"}
    assert rows(maker.url, "select id from things where id >= 50") == [(50,)]


def test_one_bad_row_is_found_in_a_few_attempts(maker: Maker) -> None:
    run(maker.url, "alter table things add constraint sane check (name <> 'bad')")
    run(maker.url, f"alter database {maker.database} set track_functions = 'pl'")
    bundle = maker.bundle(
        [[maker.step("things", None, thing(100 + i, "bad" if i == 57 else ""))] for i in range(200)],
    )
    result = apply_bundle(bundle, maker.url, fence=fence())
    assert (result.applied, [left.key for left in result.left]) == (199, [("157",)])
    # Rehearsed, then done; 200 are halved eight times. A session tells its counts when it ends.
    deadline = time.monotonic() + 30
    while not (calls := rows(maker.url, "select calls from pg_stat_user_functions where funcname = 'work'")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert calls[0][0] <= 2 * 17
    undone = undo_bundle(bundle, maker.url)
    assert (undone.undone, undone.left) == (199, ())
