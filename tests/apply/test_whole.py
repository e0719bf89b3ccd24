"""The whole way on real servers: baseline, split-brain, fence, merge, apply, verify, undo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
import pytest

from cutover.clock import SystemClock
from cutover.fence.run import History, fence, release
from cutover.observations.base import Observation
from cutover.plan import Database, DatabaseTable, Plan
from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.apply.verify import verify_bundle
from cutover.reconcile.fromplan import options_from
from cutover.reconcile.run import Request, Urls, reconcile
from tests.apply.support import rows, run, state
from tests.world.postgres import Postgres

SCHEMA = """
create table users (id bigserial primary key, email text unique not null, name text, city text);
create table orders (id bigserial primary key, user_id bigint not null references users,
                     total numeric(10,2) not null, note text);
create index on orders (user_id);
insert into users (email, name, city) values ('a@x', 'Ann', 'A'), ('b@x', 'Bob', 'B'), ('c@x', 'Cid', 'C');
insert into orders (user_id, total, note) values (1, 10, null), (1, 20.5, ''), (2, 5, 'x');
grant all on users, orders to app;
"""
OLD = """
insert into users (email, name) values ('old@x', 'Old');
insert into orders (user_id, total, note) values (4, 44, 'from old');
update users set name = 'Anna' where id = 1;
delete from orders where id = 3;
update orders set note = 'old says' where id = 2;
"""
NEW = """
insert into users (email, name) values ('new@x', 'New');
insert into orders (user_id, total, note) values (4, 55, 'from new');
update users set city = 'Z' where id = 1;
update orders set note = 'new says' where id = 2;
"""


@pytest.fixture(scope="module", params=["one version", (None, 18), (18, None)], ids=str)
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[Postgres, Postgres]]:
    """Old and new, of one major version and of two."""
    if request.param == "one version":
        yield request.getfixturevalue("postgres_pair")
        return
    before, after = request.param
    with Postgres(version=before) as old, Postgres(version=after) as new:
        yield old, new


def test_the_night_is_repaired(servers: tuple[Postgres, Postgres], tmp_path: Path) -> None:
    old_server, new_server = servers
    for server in servers:
        server.role("app")
    urls = [
        old_server.create_database("night_old", sql=SCHEMA),
        new_server.create_database("night_new", sql=SCHEMA),
        new_server.create_database("night_base", sql=SCHEMA),
    ]
    old, new, base = urls
    seen: list[Observation] = []

    def append(observations: Iterable[Observation]) -> None:
        seen.extend(observations)

    try:
        run(old, OLD)
        run(new, NEW)
        before = state(new, "users", "orders")
        plan = Plan(
            database=Database(
                old="env:O", new="env:N", app_roles=("app",), table=(DatabaseTable(name="orders", owner="user_id"),)
            )
        )
        assert plan.database is not None
        clock = SystemClock()
        fenced = fence(plan, old, append=append, history=History(seen), clock=clock, still_for=0.2)
        assert fenced.verdict == "fenced", fenced.why_not
        merged = reconcile(
            options_from(plan.database, plan.merge), Urls(old=old, new=new, base=base), Request(folder=tmp_path)
        )
        assert merged.verdict == "conflicts", merged.json
        proof = History(seen).proven
        result = apply_bundle(merged.bundle, new, fence=proof, plan=plan)
        assert [(left.table, left.key, left.reason) for left in result.left] == [("public.orders", ("2",), "conflict")]
        assert result.exit_code == 3
        assert rows(new, "select name, city from users where id = 1") == [("Anna", "Z")]
        assert rows(new, "select count(*) from orders where id = 3") == [(0,)]
        assert rows(new, "select note from orders where id = 2") == [("new says",)]
        ((theirs, mine),) = rows(
            new,
            """select n.email, o.email from orders a join users n on n.id = a.user_id
               join orders b on b.note = 'from old' join users o on o.id = b.user_id where a.note = 'from new'""",
        )
        assert (theirs, mine) == ("new@x", "old@x")
        assert result.ids == 2
        checked = verify_bundle(merged.bundle, new, old_url=old, plan=plan, fence=proof, clock=clock, append=append)
        assert checked.problems == ("1 conflicts wait for a decision",)
        assert sum(checked.accounted.values()) == merged.json["accounted"]["old_changes"] == 5
        # Live traffic goes on: no id is handed out twice.
        run(new, "insert into users (email) values ('later@x'); insert into orders (user_id, total) values (1, 1)")
        undone = undo_bundle(merged.bundle, new)
        assert (undone.left, undone.exit_code) == ((), 0)
        run(new, "delete from orders where total = 1; delete from users where email = 'later@x'")
        assert state(new, "users", "orders") == before
        assert release(plan, old, append=append, history=History(seen), clock=clock).verdict == "released"
        with psycopg.connect(old_server.dsn("night_old", user="app")):
            pass
    finally:
        for server, name in ((old_server, "night_old"), (new_server, "night_new"), (new_server, "night_base")):
            server.drop_database(name)
        for server in servers:
            server.execute("drop role app")
