"""The fence on a real server: what it shuts, what it proves, what it brings back."""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cutover.clock import SystemClock
from cutover.errors import CutoverError
from cutover.fence.proof import logins_from
from cutover.fence.result import FenceResult
from cutover.fence.run import History, fence, release
from cutover.ledger import Ledger
from cutover.observations.base import Observation
from cutover.observations.database import FenceProven, FenceReleased
from cutover.observations.fence import FenceBegun
from cutover.plan import Database, Plan
from tests.world.postgres import Postgres

SQL = "create table t (id int primary key); insert into t values (1); grant all on t to app, batch;"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres({"max_prepared_transactions": "5", "wal_level": "logical"}) as cluster:
        cluster.role("app", password="app")
        cluster.role("batch")
        cluster.role("owner")
        cluster.role("team", options="nologin")
        yield cluster


class World:
    """One database, its ledger in memory, and a fence that is quick."""

    def __init__(self, server: Postgres, name: str, app_roles: tuple[str, ...] = ("app",)) -> None:
        self.server, self.name = server, name
        self.url = server.dsn(name)
        self.plan = Plan(database=Database(old="x", new="y", app_roles=app_roles))
        self.seen: list[Observation] = []

    def append(self, observations: Iterable[Observation]) -> None:
        self.seen.extend(observations)

    def fence(self, *, url: str = "", **more: Any) -> FenceResult:
        return fence(
            self.plan,
            url or self.url,
            append=self.append,
            history=History(self.seen),
            clock=SystemClock(),
            **{"still_for": 0.3, **more},
        )

    def release(self, *, url: str = "") -> FenceResult:
        return release(self.plan, url or self.url, append=self.append, history=History(self.seen), clock=SystemClock())

    def acl(self) -> Any:
        return self.server.execute(
            f"""select d.datacl::text, (select array_agg(s.setrole::regrole::text || array_to_string(setconfig, ',') order by 1)
                from pg_db_role_setting s where s.setdatabase = d.oid) from pg_database d where datname = '{self.name}'"""
        )

    def connect(self, user: str = "app") -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.dsn(self.name, user=user), autocommit=True)

    def last_proof(self) -> FenceProven:
        return [x for x in self.seen if isinstance(x, FenceProven)][-1]


@pytest.fixture
def world(server: Postgres, request: pytest.FixtureRequest) -> Iterator[World]:
    name = f"w{abs(hash(request.node.name)) % 10**9}"
    server.create_database(name, sql=SQL)
    yield World(server, name)
    server.drop_database(name)


def test_nobody_writes_any_more_and_all_comes_back(world: World) -> None:
    was = world.acl()
    app = world.connect()
    app.execute("insert into t values (2)")
    result = world.fence()
    assert (result.verdict, result.exit_code) == ("fenced", 0), result.why_not
    assert result.ended == 1
    with pytest.raises(psycopg.OperationalError):
        app.execute("insert into t values (3)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        world.connect()
    # The second wall: a superuser's plain session is read-only by default.
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        world.server.execute("insert into t values (4)", database=world.name)
    proof = world.last_proof()
    assert proof.proven
    assert [(x.role, x.how, x.shut) for x in proof.roles] == [("app", "no CONNECT and no session", True)]
    assert proof.counters is not None
    assert proof.counters.tables[0].inserted == 2
    assert world.release().verdict == "released"
    assert world.acl() == was
    with world.connect() as again:
        again.execute("insert into t values (5)")
    assert isinstance(world.seen[-1], FenceReleased)


@pytest.mark.parametrize(
    "before",
    [
        "grant connect on database {db} to app",
        "revoke connect on database {db} from public; grant connect on database {db} to team; grant team to app",
        "grant connect on database {db} to team with grant option; set role team; grant connect on database {db} to app",
        "revoke all on database {db} from public; grant connect, temp, create on database {db} to app",
        "alter database {db} owner to owner; grant connect on database {db} to app with grant option",
        "alter database {db} set default_transaction_read_only = off; alter role app in database {db} set default_transaction_read_only = off",
        "alter role app set default_transaction_read_only = off; alter role app in database {db} set work_mem = '1MB'",
    ],
)
def test_whatever_was_there_is_restored_exactly(world: World, before: str) -> None:
    world.server.execute(before.format(db=world.name))
    was = world.acl()
    try:
        assert world.fence().verdict == "fenced"
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            world.connect()
        assert world.release().verdict == "released"
        assert world.acl() == was
        world.connect().close()
    finally:
        world.server.execute("revoke team from app; alter role app reset all")


def test_begin_read_write_passes_the_second_wall_so_the_first_must_stand(world: World) -> None:
    world.fence()
    with world.server.connect(world.name) as admin:
        admin.execute("begin read write; insert into t values (9); commit")
    assert world.fence().verdict in {"fenced", "inconclusive"}
    assert world.server.execute(
        "select has_database_privilege('app', current_database(), 'CONNECT')", database=world.name
    ) == [(False,)]


def test_other_databases_of_the_cluster_stay_reachable(world: World, server: Postgres) -> None:
    other = World(server, f"{world.name}_other")
    server.create_database(other.name, sql=SQL)
    try:
        with other.connect() as bystander:
            assert world.fence().verdict == "fenced"
            bystander.execute("insert into t values (2)")
            other.connect().close()
    finally:
        server.drop_database(other.name)


def test_sessions_that_come_back_or_hold_a_transaction_are_ended(world: World) -> None:
    stop = threading.Event()
    written: list[int] = []

    def hammer(number: int) -> None:
        while not stop.is_set():
            try:
                with world.connect() as app:
                    while not stop.is_set():
                        app.execute("begin; insert into t values (%s)" % (1000 + len(written) * 10 + number))
                        time.sleep(0.01)
                        app.execute("commit")
                        written.append(number)
            except psycopg.Error:
                time.sleep(0.005)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        result = world.fence()
        count = world.server.execute("select count(*) from t", database=world.name)
        time.sleep(0.3)
        assert world.server.execute("select count(*) from t", database=world.name) == count
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert written
    assert result.verdict == "fenced", result.why_not
    assert result.ended >= 4


def test_killed_in_the_middle_it_is_released_exactly(world: World, tmp_path: Path) -> None:
    """A process that dies right after the walls went up: the ledger already holds what was there."""
    world.server.execute(f"grant connect on database {world.name} to app")
    was = world.acl()
    ledger = tmp_path / "cutover.ledger"
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from cutover.clock import SystemClock
        from cutover.fence.run import History, fence
        from cutover.ledger import Ledger
        from cutover.plan import Database, Plan
        def say(line):
            print(line, flush=True)
            if line.startswith(sys.argv[3]):
                time.sleep(60)
        with Ledger(Path(sys.argv[1])) as ledger:
            fence(Plan(database=Database(old="x", new="y", app_roles=("app",))), sys.argv[2], append=ledger.append,
                  history=History(), clock=SystemClock(), say=say, still_for=0.1)
        """
    )
    for moment in ("taking", "ending", "watching"):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(ledger), world.url, moment],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(moment):
                break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Ledger(ledger) as opened:
            held = [observation for _, observation in opened.read()]
            assert isinstance(held[-1], FenceBegun)
            shut = world.acl() != was
            assert shut == (moment != "taking")
            result = release(world.plan, world.url, append=opened.append, history=History(held), clock=SystemClock())
        assert result.verdict == "released"
        assert world.acl() == was


def test_a_second_fence_does_not_take_the_walls_for_what_was_there(world: World) -> None:
    was = world.acl()
    first = world.fence()
    since = world.last_proof().counters
    second = world.fence()
    assert (first.verdict, second.verdict, second.changed) == ("fenced", "fenced", False)
    # It has held since the first proof: a bundle read in between stays valid.
    assert world.last_proof().counters == since
    assert len([x for x in world.seen if isinstance(x, FenceBegun)]) == 1
    world.release()
    assert world.acl() == was


def test_an_owner_without_the_right_to_end_sessions_changes_nothing_and_prints_sql(world: World) -> None:
    world.server.execute(f"alter database {world.name} owner to owner")
    was = world.acl()
    with world.connect():
        result = world.fence(url=world.server.dsn(world.name, user="owner"))
        assert (result.verdict, result.exit_code, result.changed) == ("inconclusive", 4, False)
        assert world.acl() == was
        assert any("pg_signal_backend" in line for line in result.why_not)
        world.server.execute(
            "; ".join(x for x in "\n".join(result.sql).split(";\n") if "COMMIT" not in x and "BEGIN" not in x).split(
                "SELECT pg_term"
            )[0]
        )
    again = world.fence(url=world.server.dsn(world.name, user="owner"))
    assert again.verdict == "fenced", again.why_not
    assert world.release(url=world.server.dsn(world.name, user="owner")).verdict == "released"
    world.connect().close()


def test_a_stranger_changes_nothing_and_names_the_provider(world: World, server: Postgres) -> None:
    server.role("rds_superuser", options="nologin")
    was = world.acl()
    try:
        result = world.fence(url=server.dsn(world.name, user="batch"))
    finally:
        server.execute("drop role rds_superuser")
    assert (result.verdict, result.changed) == ("inconclusive", False)
    assert "Amazon RDS" in result.sql[0]
    assert any("REVOKE CONNECT" in line for line in result.sql)
    assert world.acl() == was
    assert not world.last_proof().proven


def test_the_apps_own_role_cannot_fence_itself(world: World) -> None:
    with pytest.raises(CutoverError, match="lock itself out"):
        world.fence(url=world.server.dsn(world.name, user="app"))


def test_superusers_and_unknown_roles_are_not_proven(world: World, server: Postgres) -> None:
    server.role("root", options="login superuser")
    try:
        assert World(server, world.name, ()).fence().verdict == "inconclusive"
        typo = World(server, world.name, ("ap",)).fence()
        assert "no such role" in typo.why_not[0]
        root = World(server, world.name, ("app", "root")).fence()
        assert (root.verdict, root.exit_code) == ("inconclusive", 4)
        assert "superuser" in root.why_not[0]
        with psycopg.connect(server.dsn(world.name, user="root")):
            seen = world.fence()
        assert seen.verdict == "inconclusive"
        assert "root" in seen.why_not[0]
        assert world.fence().verdict == "fenced"
    finally:
        server.execute("drop role root")


def test_a_writer_that_the_plan_forgot_is_named(world: World) -> None:
    world.server.execute(f"grant connect on database {world.name} to batch")
    with world.connect("batch") as batch:
        batch.execute("select 1")
        result = world.fence()
    assert result.verdict == "inconclusive"
    assert "batch" in result.why_not[0]
    again = world.fence()
    assert again.verdict == "fenced"
    assert any("batch" in note for note in again.notes)


def test_prepared_transactions_and_subscriptions_are_noticed(world: World) -> None:
    world.server.execute("select pg_create_logical_replication_slot('cdc', 'pgoutput')", database=world.name)
    with world.connect() as app:
        app.execute("begin; insert into t values (7); prepare transaction 'it''s late'")
    world.server.execute(
        "create subscription sub connection 'dbname=nowhere' publication p with (connect = false); "
        "alter subscription sub set (slot_name = none)",
        database=world.name,
    )
    try:
        result = world.fence()
        assert result.verdict == "inconclusive"
        assert "it's late" in result.why_not[0]
        assert result.sql[0].startswith("ROLLBACK PREPARED 'it''s late'")
        assert any("cdc" in note for note in result.notes)
    finally:
        with world.server.connect(world.name) as admin:
            admin.execute("set default_transaction_read_only = off")
            admin.execute("rollback prepared 'it''s late'")
            admin.execute("drop subscription sub")
            admin.execute("select pg_drop_replication_slot('cdc')")
    assert world.fence().verdict == "fenced"


def test_an_enabled_subscription_still_writes(world: World) -> None:
    with world.server.connect(world.name) as admin:
        admin.execute(
            "create subscription live connection 'host=127.0.0.1 port=1 dbname=x' publication p with (connect = false)"
        )
        admin.execute("update pg_subscription set subenabled = true")
    try:
        result = world.fence()
        assert any("subscription live" in line for line in result.why_not)
        assert 'ALTER SUBSCRIPTION "live" DISABLE;' in result.sql
    finally:
        with world.server.connect(world.name) as admin:
            admin.execute("set default_transaction_read_only = off")
            admin.execute("alter subscription live disable")
            admin.execute("alter subscription live set (slot_name = none)")
            admin.execute("drop subscription live")


def test_counters_that_move_disprove_it(world: World) -> None:
    fenced = threading.Event()

    def write() -> None:
        number = 100
        while not fenced.wait(0.3):
            with contextlib.suppress(psycopg.OperationalError), world.server.connect(world.name) as admin:
                admin.execute("set default_transaction_read_only = off")
                admin.execute(f"insert into t select generate_series({number}, {number} + 10)")
            number += 11

    thread = threading.Thread(target=write)
    thread.start()
    result = world.fence(still_for=2.5)
    fenced.set()
    thread.join()
    assert result.verdict == "inconclusive"
    assert any("rows were still written: public.t" in line for line in result.why_not)


def test_a_real_login_is_the_better_proof(server: Postgres) -> None:
    with Postgres(auth="scram-sha-256") as cluster:
        cluster.role("app", password="s3cret")
        cluster.create_database("shop", sql="create table t (id int); grant all on t to app")
        mine = World(cluster, "shop")
        right = cluster.dsn("shop", user="app", password="s3cret")
        wrong = cluster.dsn("shop", user="app", password="nope")
        assert mine.fence(logins={"app": right}).roles[0].how == "login refused"
        assert mine.fence(logins={"app": wrong}).roles[0].how == "no CONNECT and no session"
        assert "s3cret" not in mine.fence(logins={"app": right}).text()


def test_logins_come_from_the_environment() -> None:
    assert logins_from({"CUTOVER_LOGIN_MY_APP": "postgresql://x"}, ["my-app", "other"]) == {"my-app": "postgresql://x"}


def test_another_database_is_not_released(world: World, server: Postgres) -> None:
    world.fence()
    with pytest.raises(CutoverError, match="not the database"):
        world.release(url=server.dsn("postgres"))
    with pytest.raises(CutoverError, match="knows of no fence"):
        World(server, world.name).release()
