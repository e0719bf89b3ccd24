"""Bad input and bad days: one clear line each, the right exit code, nothing half-read taken for whole."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.diff.planner import Progress, open_sources, read_changes
from cutover.reconcile.diff.spill import ChangeStore
from cutover.reconcile.model import PINNED_SETTINGS, Side, TableName
from cutover.reconcile.options import Options
from cutover.reconcile.source.session import Database, connect
from tests.reconcile_read.poolers import TransactionPooler, Wire
from tests.reconcile_read.support import HASHES, Copies, check, reading, run
from tests.world.fixtures import MakeDatabase
from tests.world.postgres import Postgres
from tests.world.process import free_port

SIMPLE = "create table t (id int primary key, v text); create table other (id int primary key);"
FILL = "insert into t select g, 'v' from generate_series(1, 50) g; insert into other values (1);"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Postgres]:
    with Postgres(auth="scram-sha-256") as server:
        yield server


def refused(url: str, tmp_path: Path, good: str, *, side: Side = Side.OLD) -> CutoverError:
    old, new = (url, good) if side is Side.OLD else (good, url)
    with pytest.raises(CutoverError) as caught, reading(old, new, None, tmp_path):
        pass
    error = caught.value
    assert "\n" not in error.message
    assert error.hint
    assert "s3cret" not in error.message + error.hint
    return error


def test_connections_that_fail(guarded: Postgres, tmp_path: Path, make_database: MakeDatabase) -> None:
    good = make_database(SIMPLE)
    guarded.create_database("shop")
    guarded.role("app", password="s3cret")
    wrong = guarded.dsn("shop", user="app", password="s3cret-wrong")
    error = refused(wrong, tmp_path, good)
    assert error.exit_code == 2
    assert 'password authentication failed for user "app"' in error.message
    error = refused(guarded.dsn("nowhere", user="app", password="s3cret"), tmp_path, good)
    assert (error.exit_code, "does not exist" in error.message) == (2, True)
    error = refused(f"postgresql://app:s3cret@127.0.0.1:{free_port(kind='tcp')}/shop", tmp_path, good, side=Side.NEW)
    assert (error.exit_code, "refused" in error.message, error.message.startswith("new")) == (4, True, True)
    error = refused("postgresql://app:s3cret@127.0.0.1:x/shop", tmp_path, good)
    assert error.exit_code == 2
    error = refused("postgresql://app:s3cret@127.0.0.1/shop?nonsense=1", tmp_path, good)
    assert error.exit_code == 2


def test_a_role_without_rights(postgres: Postgres, copies: Copies, tmp_path: Path) -> None:
    sides = copies(SIMPLE, FILL)
    name = sides.old.rpartition("/")[2]
    postgres.role("reader_1")
    url = postgres.dsn(name, user="reader_1")
    postgres.execute("grant select on t to reader_1", database=name)
    error = refused(url, tmp_path, sides.new)
    assert error.exit_code == 4
    assert error.message == "old: permission denied for table public.other"
    with reading(url, sides.new, None, tmp_path, options=Options(exclude=("other",))) as read:
        assert read.of("t").rows[Side.OLD] == 50
        assert "excluded" in read.schema.left_out[TableName("public", "other")]
    postgres.execute("revoke usage on schema public from public", database=name)
    error = refused(url, tmp_path, sides.new)
    assert (error.exit_code, "permission denied for schema public" in error.message) == (4, True)
    postgres.execute("drop owned by reader_1", database=name)
    postgres.execute("drop role reader_1")


def test_row_level_security_is_an_error_and_no_filter(postgres: Postgres, copies: Copies, tmp_path: Path) -> None:
    policy = (
        " alter table t enable row level security; create policy p on t using (id < 10);"
        " grant select on all tables in schema public to public;"
    )
    sides = copies(SIMPLE, FILL + policy)
    postgres.role("reader_2")
    error = refused(postgres.dsn(sides.old.rpartition("/")[2], user="reader_2"), tmp_path, sides.new)
    assert error.exit_code == 4
    assert "row-level security hides rows of public.t" in error.message
    postgres.execute("drop role reader_2")


def test_missing_schema(copies: Copies, tmp_path: Path) -> None:
    sides = copies(SIMPLE, FILL)
    with (
        pytest.raises(CutoverError, match=r"old has no schema 'shop' \(neither side has it\)"),
        reading(sides.old, sides.new, None, tmp_path, options=Options(schemas=("public", "shop"))),
    ):
        pass


def test_encodings(copies: Copies, make_database: MakeDatabase, tmp_path: Path) -> None:
    ascii_only = make_database(SIMPLE, options="encoding 'SQL_ASCII' template template0 locale 'C'")
    good = make_database(SIMPLE)
    error = refused(ascii_only, tmp_path, good)
    assert (error.exit_code, "SQL_ASCII" in error.message) == (2, True)
    latin = make_database(
        "set client_encoding = 'utf8'; create table w (id text primary key, v text);"
        "insert into w select 'clé' || g, repeat('Grüße ', 3) || g from generate_series(1, 400) g;"
        "update w set v = 'geändert' where id = 'clé7'",
        options="encoding 'LATIN1' template template0 locale 'C'",
    )
    utf8 = make_database(
        "create table w (id text primary key, v text);"
        "insert into w select 'clé' || g, repeat('Grüße ', 3) || g from generate_series(1, 400) g;"
    )
    with reading(latin, utf8, utf8, tmp_path, strategy=HASHES) as read:
        assert [(c.key, c.old) for c in read.changes("w")] == [(("clé7",), ("clé7", "geändert"))]
        assert read.of("w").new.total == 0


def test_a_transaction_pooler_is_refused(postgres: Postgres, copies: Copies, tmp_path: Path) -> None:
    sides = copies(SIMPLE, FILL)
    name = sides.old.rpartition("/")[2]
    with TransactionPooler(postgres.host, postgres.port, name, "postgres") as pooler:
        url = f"postgresql://postgres@127.0.0.1:{pooler.port}/{name}?sslmode=disable&gssencmode=disable"
        error = refused(url, tmp_path, sides.new)
        assert error.exit_code == 2
        assert "pooler in transaction mode" in error.message


def test_sessions_are_read_only_pinned_and_see_one_instant(copies: Copies) -> None:
    sides = copies(SIMPLE, FILL)
    with Database(Side.OLD, sides.old) as database, psycopg.connect(sides.old, autocommit=True) as other:
        other.execute("update t set v = 'later'")
        with database.worker() as one, database.worker() as two:
            for connection in (one, two):
                assert connection.execute("select count(*) from public.t where v = 'later'").fetchone() == (0,)
                for name, value in PINNED_SETTINGS.items():
                    assert connection.execute("select current_setting(%s)", [name]).fetchone() == (value,)
                assert connection.execute("select current_setting('application_name')").fetchone() == ("cutover",)
        with pytest.raises(CutoverError, match="read-only"), database.worker() as connection:
            connection.execute("delete from public.t")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system's TCP has no such option")
def test_a_network_that_goes_silent_under_a_question_is_given_up(make_database: MakeDatabase) -> None:
    with (
        connect(Side.OLD, make_database("")) as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as wire,
    ):
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


def test_statement_timeout(copies: Copies, tmp_path: Path) -> None:
    sides = copies(SIMPLE, FILL)
    with Database(Side.OLD, sides.old, statement_timeout="50ms") as database:
        with pytest.raises(CutoverError, match="statement timeout") as caught:
            database.rows("SELECT pg_sleep(5)::text")
        assert caught.value.exit_code == 4
        assert database.rows("SELECT 1") == [("1",)]


def test_a_lock_that_is_held_elsewhere(copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("cutover.reconcile.source.session", fromlist=["x"])._POLITE, "lock_timeout", "200ms")
    sides = copies(SIMPLE, FILL)
    with psycopg.connect(sides.new) as blocker:
        blocker.execute("lock table t in access exclusive mode")
        error = refused(sides.new, tmp_path, sides.old)
        assert (error.exit_code, "lock timeout" in error.message) == (4, True)


BIG = "create table t (id int primary key, v text); create table u (id int primary key, v text);"
BIG_FILL = (
    "insert into t select g, repeat('x', 100) from generate_series(1, 30000) g;"
    "insert into u select g, repeat('x', 100) from generate_series(1, 30000) g;"
)


def through(wire: Wire, url: str) -> str:
    head, _, name = url.rpartition("/")
    return f"{head.rpartition(':')[0]}:{wire.port}/{name}?sslmode=disable"


@pytest.mark.parametrize("whom", ["worker", "exporter", "all"])
def test_a_connection_cut_in_mid_scan_is_made_good(
    postgres: Postgres, copies: Copies, tmp_path: Path, whom: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutover.reconcile.diff.scan._FIRST_BLOCKS", 16)
    monkeypatch.setattr("cutover.reconcile.diff.scan.MOST_ROWS", 2000)
    sides = copies(
        BIG,
        BIG_FILL,
        "update t set v = 'o' where id % 1000 = 0; update u set v = 'o' where id = 5",
        "update u set v = 'n' where id = 6",
    )
    said: list[str] = []
    with Wire(postgres.host, postgres.port) as wire:
        url = through(wire, sides.new)

        def report(progress: Progress) -> None:
            if progress.message:
                said.append(progress.message)
            if progress.table.name == "u" and progress.fraction > 0.3 and len(said) == 0 and not wire_cut:
                wire_cut.append(True)
                wire.cut({"worker": slice(1, None), "exporter": slice(0, 1), "all": slice(None)}[whom])

        wire_cut: list[bool] = []
        with (
            open_sources(sides.old, url, sides.base, Options(), folder=tmp_path) as sources,
            ChangeStore(tmp_path / "changes.sqlite") as store,
        ):
            _, diffs = read_changes(sources, store, folder=tmp_path, report=report)
            assert wire_cut
            found = {diff.table.name.name: (diff.old.total, diff.new.total) for diff in diffs}
            assert found == {"t": (30, 0), "u": (1, 1)}
            assert sum(1 for diff in diffs for _ in diff.changes) == 31
            if whom == "worker":
                assert not said
                assert sources.new.restarts == 0
            else:
                assert sources.new.restarts == 1
                assert any("reading again at a new snapshot" in each for each in said) or whom == "exporter"


def test_a_server_that_ends_every_session_is_given_up(copies: Copies, postgres: Postgres, tmp_path: Path) -> None:
    sides = copies(BIG, BIG_FILL)
    with Wire(postgres.host, postgres.port) as wire:

        def report(progress: Progress) -> None:
            if progress.fraction > 0:
                wire.cut()

        with (
            open_sources(sides.old, through(wire, sides.new), sides.base, Options(), folder=tmp_path) as sources,
            ChangeStore(tmp_path / "changes.sqlite") as store,
            pytest.raises(CutoverError, match="the connection was lost") as caught,
        ):
            read_changes(sources, store, folder=tmp_path, report=report)
        assert caught.value.exit_code == 4


def test_a_hot_standby_can_be_read(tmp_path: Path) -> None:
    with Postgres(settings={"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        url = primary.create_database("shop", sql=SIMPLE + FILL)
        new = primary.create_database("copy", template="shop", sql="update t set v = 'n' where id = 1")
        standby = Postgres()
        standby._folder = primary.folder / "standby"  # a second cluster made from the first one
        standby._folder.mkdir()
        backup = (primary.tool("pg_basebackup"), "-d", primary.dsn(), "-D", str(standby.data))
        run(*backup, "-R", "-X", "stream", "-c", "fast")
        for path in [standby._folder, *standby._folder.rglob("*")]:
            if standby._user:
                shutil.chown(path, standby._user, standby._user)
        standby.data.chmod(0o700)
        try:
            standby.start()
            old = standby.dsn("shop")
            with reading(old, new, url, tmp_path) as read:
                assert read.sources.old.info.in_recovery
                assert any("hot standby" in note for note in read.sources.notes)
                assert read.of("t").new.update == 1
                with read.sources.old.worker() as one, read.sources.old.worker() as two:
                    assert one is not two
        finally:
            standby.stop("immediate")


def test_disk_full_for_the_bundle(copies: Copies, tmp_path: Path) -> None:
    sides = copies(SIMPLE, FILL, "update t set v = repeat('x', 1000)")
    with (
        open_sources(sides.old, sides.new, sides.base, Options(), folder=tmp_path) as sources,
        ChangeStore(tmp_path / "changes.sqlite") as store,
    ):
        # SQLite's own limit gives the very error of a full disk.
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(CutoverError, match="full") as caught:
            read_changes(sources, store, folder=tmp_path)
        assert caught.value.exit_code == 4
        assert store.finished(TableName("public", "t"), sources.instants()) is None


def test_an_interrupted_run_is_taken_up_only_where_nothing_was_written(tmp_path: Path) -> None:
    with Postgres() as server, Postgres() as other:
        base = other.create_database("base", sql=SIMPLE + FILL)
        old = server.create_database("old", sql=SIMPLE + FILL + "update t set v = 'o' where id = 3")
        new = other.create_database("new", sql=SIMPLE + FILL)
        path = tmp_path / "changes.sqlite"
        stop = threading.Event()

        class InterruptedRunError(Exception):
            pass

        def report(progress: Progress) -> None:
            if progress.table.name == "t" and not stop.is_set():
                raise InterruptedRunError

        with (
            open_sources(old, new, base, Options(), folder=tmp_path) as sources,
            ChangeStore(path) as store,
            pytest.raises(InterruptedRunError),
        ):
            read_changes(sources, store, folder=tmp_path, report=report)
        stop.set()
        with open_sources(old, new, base, Options(), folder=tmp_path) as sources, ChangeStore(path) as store:
            _, diffs = read_changes(sources, store, folder=tmp_path, report=report)
            notes = {diff.table.name.name: diff.notes for diff in diffs}
            assert any("interrupted run" in note for note in notes["other"])
            assert not notes["t"]
            assert [change.key for change in diffs[1].changes] == [("3",)]
        server.execute("insert into other values (77)", database="old")
        with open_sources(old, new, base, Options(), folder=tmp_path) as sources, ChangeStore(path) as store:
            _, diffs = read_changes(sources, store, folder=tmp_path, report=report)
            assert all(not diff.notes for diff in diffs)
            assert {diff.table.name.name: diff.old.total for diff in diffs} == {"other": 1, "t": 1}


def test_servers_that_hash_otherwise_fall_back(copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = copies(
        "create table t (id uuid primary key, v text, f float8, n numeric);",
        "insert into t select md5(g::text)::uuid, 'v' || g, g / 3.0, g / 8.0 from generate_series(1, 500) g;",
        "update t set v = 'o' where f < 1; delete from t where n = 5;",
        "update t set n = n + 1 where f > 160; update t set f = '-0' where n = 3;",
    )
    from cutover.reconcile.source import sides as source
    from cutover.reconcile.source.hashing import HashLevel

    for level in HashLevel:
        monkeypatch.setattr(source, "agreed_level", lambda databases, level=level: level)
        with reading(sides.old, sides.new, sides.base, tmp_path, strategy=HASHES) as read:
            assert read.sources.level is level
            check(read, sides)
            assert any("hash functions disagree" in note for note in read.sources.notes) == (
                level is not HashLevel.NATIVE
            )


def test_a_base_of_another_moment_is_refused(
    postgres: Postgres, copies: Copies, make_database: MakeDatabase, tmp_path: Path
) -> None:
    sides = copies("create table t (id int primary key, v text); commit;", "")
    with psycopg.connect(sides.old, autocommit=True) as connection:
        connection.execute("insert into t select g, 'v' from generate_series(1, 400) g")
        run(postgres.tool("pg_dump"), "-Fc", "-f", str(tmp_path / "copy.dump"), sides.old)
        connection.execute("update t set v = 'between' where id = 7")
        run(postgres.tool("pg_dump"), "-Fc", "-f", str(tmp_path / "later.dump"), sides.old)
        connection.execute("update t set v = 'after' where id = 8")
    new = make_database()
    run(postgres.tool("pg_restore"), "-d", new, str(tmp_path / "copy.dump"))
    with reading(sides.old, new, str(tmp_path / "copy.dump"), tmp_path) as read:
        assert [change.key for change in read.of("t").changes] == [("7",), ("8",)]
    with (
        pytest.raises(CutoverError, match=r"row \(7\) is untouched on new since its restore") as caught,
        reading(sides.old, new, str(tmp_path / "later.dump"), tmp_path),
    ):
        pass
    assert caught.value.exit_code == 4
    other = make_database(
        "create table t (id int primary key, v text); insert into t select g, 'z' from generate_series(1, 400) g"
    )
    with (
        pytest.raises(CutoverError, match="400 of its 400 rows differ from new"),
        reading(sides.old, new, other, tmp_path),
    ):
        pass
