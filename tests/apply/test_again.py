"""A second merge after an apply: what new holds already is not written twice (DESIGN.md 7)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.options import Options, RuleOption
from cutover.reconcile.run import ReconcileResult, Request, Urls, reconcile
from tests.apply.support import fence, rows, run, state

MakeDatabase = Callable[..., str]

SCHEMA = """
create table users (id bigserial primary key, name text not null, visits int not null default 0);
create table orders (id bigserial primary key, user_id bigint not null references users, total numeric(10,2),
                     note text);
create table lines (order_id bigint not null references orders, no int, what text, primary key (order_id, no));
create table log (what text);
create index on orders (user_id);
insert into users (name, visits) values ('Ann', 5), ('Bob', 5);
insert into orders (user_id, total, note) values (1, 10, 'a'), (2, 20, 'b');
"""
OLD = """
insert into users (name) values ('Old');
insert into orders (user_id, total, note) values (3, 44, 'from old'), (1, 45, 'from old too'), (2, 46, 'only old');
insert into lines values (3, 1, 'old line'), (5, 1, 'a line of 5');
update users set visits = visits + 2 where id = 1;
update users set name = 'Robert' where id = 2;
insert into log values ('old');
"""
NEW = """
insert into users (name) values ('New');
insert into orders (user_id, total, note) values (3, 55, 'from new'), (1, 56, 'from new too');
insert into lines values (3, 1, 'new line');
update users set visits = visits + 1 where id = 1;
update users set name = 'Bobby' where id = 2;
"""
OPTIONS = Options(rules=(RuleOption(table="users", column="visits", policy="add"),))
TABLES = ("users", "orders", "lines", "log")


class Night(NamedTuple):
    """Both sides after the split, and what merges them."""

    urls: Urls
    folder: Path

    def merge(self) -> ReconcileResult:
        return reconcile(OPTIONS, self.urls, Request(folder=self.folder))

    def apply(self, merged: ReconcileResult) -> None:
        apply_bundle(merged.bundle, self.urls.new, fence=fence())

    def held(self) -> dict[str, list[str]]:
        return state(self.urls.new, *TABLES)


@pytest.fixture
def night(make_database: MakeDatabase, tmp_path: Path) -> Night:
    urls = Urls(
        base=make_database(SCHEMA, prefix="base"),
        old=make_database(SCHEMA, prefix="old"),
        new=make_database(SCHEMA, prefix="new"),
    )
    run(urls.old, OLD)
    run(urls.new, NEW)
    return Night(urls, tmp_path)


def accounted(merged: ReconcileResult) -> dict[str, int]:
    return {k: v for k, v in merged.json["accounted"].items() if v}


def test_a_second_merge_finds_everything_there_and_writes_nothing(night: Night) -> None:
    first = night.merge()
    assert accounted(first)["rekeyed"] >= 3
    assert accounted(first)["conflict"] == 1, "Robert or Bobby"
    night.apply(first)
    held = night.held()
    assert rows(night.urls.new, "select visits from users where id = 1") == [(8,)]
    again = night.merge()
    found = accounted(again)
    assert "rekeyed" not in found, again.json
    assert "apply" not in found, again.json
    assert "added_already" not in {x["reason"] for x in again.json["conflicts"]}
    night.apply(again)
    assert night.held() == held
    third = night.merge()
    assert accounted(third) == found


def test_what_new_made_of_a_row_since_the_apply_is_news(night: Night) -> None:
    night.apply(night.merge())
    run(
        night.urls.new,
        "update orders set note = 'shipped' where note in ('from old', 'only old');"
        "delete from orders where note = 'from old too'",
    )
    held = night.held()
    again = night.merge()
    assert "rekeyed" not in accounted(again)
    assert "apply" not in accounted(again)
    night.apply(again)
    assert night.held() == held


def test_what_is_left_is_merged_against_the_ids_that_were_drawn(night: Night) -> None:
    night.apply(night.merge())
    ((drawn,),) = rows(night.urls.new, "select id from orders where note = 'from old'")
    run(night.urls.old, "insert into lines values (3, 2, 'a late line')")
    night.apply(night.merge())
    assert rows(night.urls.new, "select order_id, what from lines where no = 2") == [(drawn, "a late line")]


def test_a_row_of_old_that_changed_since_the_apply_is_a_conflict(night: Night) -> None:
    night.apply(night.merge())
    run(night.urls.old, "update orders set total = 99 where note = 'from old'")
    again = night.merge()
    (found,) = (x for x in again.json["conflicts"] if x["reason"] == "changed_since_apply")
    assert found["columns"] == ["total"]
    held = night.held()
    night.apply(again)
    assert night.held() == held


def test_what_old_added_since_the_apply_is_a_conflict(night: Night) -> None:
    night.apply(night.merge())
    run(night.urls.old, "update users set visits = visits + 1 where id = 1")
    again = night.merge()
    (found,) = (x for x in again.json["conflicts"] if x["reason"] == "added_already")
    assert found["key"] == ["1"]
    night.apply(again)
    assert rows(night.urls.new, "select visits from users where id = 1") == [(8,)]


def test_what_was_undone_is_merged_anew(night: Night) -> None:
    first = night.merge()
    before = night.held()
    night.apply(first)
    undo_bundle(first.bundle, night.urls.new)
    assert night.held() == before
    again = night.merge()
    assert accounted(again) == accounted(first)
    night.apply(again)
    assert rows(night.urls.new, "select count(*) from orders where note = 'from old'") == [(1,)]
    assert rows(night.urls.new, "select visits from users where id = 1") == [(8,)]


def test_a_conflict_decided_after_the_apply_is_all_that_is_written(night: Night) -> None:
    first = night.merge()
    night.apply(first)
    held = night.held()
    path = first.bundle / "decisions.toml"
    assert path.read_text().count('take = ""') == 1
    path.write_text(path.read_text().replace('take = ""', 'take = "old"'))
    second = reconcile(OPTIONS, night.urls, Request(folder=night.folder, bundle=first.bundle))
    night.apply(second)
    assert rows(night.urls.new, "select name from users where id = 2") == [("Robert",)]
    run(night.urls.new, "update users set name = 'Bobby' where id = 2")
    assert night.held() == held
