"""Live users write the very rows that are applied, commit between judgement and write, and lose nothing."""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from tests.apply.support import Maker, fence, rows, run, state
from tests.apply.test_apply import SHOP, TABLES
from tests.reconcile_read.poolers import TransactionPooler
from tests.world.postgres import Postgres

if TYPE_CHECKING:
    from tests.world.fixtures import MakeDatabase

COUNTED = """
create table hot (id int primary key, hits int not null default 0, tag text unique, note text);
insert into hot (id, tag) select i, 'tag ' || i from generate_series(1, 60) i;
"""


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_updates_and_deletes_never_overwrite_a_live_write(make_database: MakeDatabase, tmp_path: Path) -> None:
    maker = Maker(make_database(COUNTED), tmp_path)
    meta = maker.table("hot")
    components = []
    for i in range(1, 61):
        row = (str(i), "0", f"tag {i}", None)
        post = None if i % 3 == 0 else (str(i), "0", f"tag {i}", "applied")
        components.append([maker.step("hot", row, post, meta=meta)])
    bundle = maker.bundle(components, tables={"hot": meta})
    acknowledged: dict[int, int] = {}

    def hammer(stop: threading.Event) -> None:
        with psycopg.connect(maker.url, autocommit=True) as live:
            number = 0
            while not stop.is_set():
                number = number % 60 + 1
                done = live.execute("update hot set hits = hits + 1 where id = %s", (number,))
                acknowledged[number] = acknowledged.get(number, 0) + done.rowcount
                time.sleep(0.002)

    with beside(hammer):
        result = apply_bundle(bundle, maker.url, fence=fence(), batch_rows=4)
    found = {row[0]: row for row in rows(maker.url, "select id, hits, note from hot")}
    missed = {int(left.key[0]) for left in result.left}
    for i in range(1, 61):
        hits = acknowledged.get(i, 0)
        if i in found:
            assert found[i][1] == hits, i
        else:
            # Deleted by us: only as it was, before anybody had touched it.
            assert i % 3 == 0
            assert hits == 0
            assert i not in missed
        if i in missed:
            assert found[i][2] is None
    assert result.applied + len(missed) == 60


def test_inserts_and_unique_values_race(make_database: MakeDatabase, tmp_path: Path) -> None:
    maker = Maker(make_database(COUNTED), tmp_path)
    meta = maker.table("hot")
    components = [[maker.step("hot", None, (str(100 + i), "0", f"fresh {i}", "applied"), meta=meta)] for i in range(80)]
    bundle = maker.bundle(components, tables={"hot": meta})
    mine: set[str] = set()

    def hammer(stop: threading.Event) -> None:
        with psycopg.connect(maker.url, autocommit=True) as live:
            for i in range(79, -1, -1):
                if stop.is_set():
                    return
                # The same key, or the same unique value under another key.
                key = 100 + i if i % 2 else 1000 + i
                try:
                    live.execute("insert into hot values (%s, 7, %s, 'live')", (key, f"fresh {i}"))
                    mine.add(f"fresh {i}")
                except psycopg.errors.UniqueViolation:
                    pass

    with beside(hammer):
        result = apply_bundle(bundle, maker.url, fence=fence(), batch_rows=3)
    by_tag = dict(rows(maker.url, "select tag, note from hot where tag like 'fresh%'"))
    assert len(by_tag) == 80
    for tag, note in by_tag.items():
        assert note == ("live" if tag in mine else "applied")
    assert result.applied == 80 - len(mine)
    assert len(result.left) == len(mine)


def test_children_born_while_their_parents_are_deleted(make_database: MakeDatabase, tmp_path: Path) -> None:
    sql = """create table parent (id int primary key); create table child (id serial primary key, parent_id int not null
             references parent on delete cascade); create index on child (parent_id);
             insert into parent select generate_series(1, 60);"""
    maker = Maker(make_database(sql), tmp_path)
    meta = maker.table("parent")
    bundle = maker.bundle(
        [[maker.step("parent", (str(i),), None, meta=meta)] for i in range(1, 61)], tables={"parent": meta}
    )
    born: set[int] = set()

    def hammer(stop: threading.Event) -> None:
        with psycopg.connect(maker.url, autocommit=True) as live:
            for i in range(60, 0, -1):
                if stop.is_set():
                    return
                try:
                    live.execute("insert into child (parent_id) values (%s)", (i,))
                    born.add(i)
                except psycopg.errors.ForeignKeyViolation:
                    pass

    with beside(hammer):
        result = apply_bundle(bundle, maker.url, fence=fence(), batch_rows=3)
    assert {row[0] for row in rows(maker.url, "select parent_id from child")} == born
    assert {int(left.key[0]) for left in result.left} == born
    assert result.applied == 60 - len(born)


@pytest.fixture
def shop(make_database: MakeDatabase, tmp_path: Path) -> Maker:
    return Maker(make_database(SHOP), tmp_path)


def many(shop: Maker, count: int = 40) -> Path:
    meta = shop.table("users")
    return shop.bundle(
        [[shop.step("users", None, (str(100 + i), f"n{i}@x", "N"), meta=meta)] for i in range(count)],
        tables={"users": meta},
    )


def test_ctrl_c_stops_at_an_edge_and_the_same_command_goes_on(shop: Maker) -> None:
    bundle = many(shop)

    def progress(done: int, total: int, what: str) -> None:
        if done == 12 and "rehears" not in what:
            os.kill(os.getpid(), signal.SIGINT)

    result = apply_bundle(bundle, shop.url, fence=fence(), batch_rows=4, progress=progress)
    assert (result.interrupted, result.exit_code, result.applied) == (True, 130, 12)
    assert rows(shop.url, "select count(*) from users where name = 'N'") == [(12,)]
    assert result.next_command == f"cutover reconcile --apply {bundle}"
    assert apply_bundle(bundle, shop.url, fence=fence()).applied == 40
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Proxy:
    """A TCP proxy that is cut after so many bytes from the client."""

    def __init__(self, port: int, after: int) -> None:
        self.target, self.left = port, after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open += [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(4096):
                if counted:
                    self.left -= len(data)
                    if self.left < 0:
                        break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut what is open: a mere close would leave a thread that reads, and with it the connection."""
        for end in (self.listener, *self.open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _until_unlocked(url: str) -> None:
    """Wait until the server has noticed that its client is gone: until then its backend rightly blocks the next."""
    deadline = time.monotonic() + 20
    while rows(url, "select count(*) from pg_locks where locktype = 'advisory'") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_cut_network_leaves_what_the_same_command_finishes(shop: Maker, postgres: Postgres) -> None:
    calm = state(shop.url, *TABLES)
    bundle = many(shop)
    cuts = 0
    codes: set[int] = set()
    for after in range(40_000, 400_000, 6_000):
        proxy = Proxy(postgres.port, after)
        try:
            url = shop.url.replace(f":{postgres.port}/", f":{proxy.port}/")
            result = apply_bundle(bundle, url, fence=fence(), batch_rows=4)
        except CutoverError as error:
            cuts += 1
            codes.add(error.exit_code)
            _until_unlocked(shop.url)
        else:
            break
        finally:
            proxy.close()
    _until_unlocked(shop.url)
    assert cuts >= 3
    assert codes == {4}
    assert result.applied == 40
    assert rows(shop.url, "select count(*) from users where name = 'N'") == [(40,)]
    assert undo_bundle(bundle, shop.url).exit_code == 0
    assert state(shop.url, *TABLES) == calm


def test_a_full_disk_stops_it_and_loses_nothing(tmp_path: Path) -> None:
    """temp_file_limit stands in for the disk: it fails with the same class of error (53) in the middle of a batch."""
    with Postgres() as server:
        maker = Maker(server.create_database("shop", sql=SHOP), tmp_path)
        run(
            maker.url,
            """create function full_disk() returns trigger language plpgsql as $$
               begin if new.id = 120 then raise exception 'could not extend file: No space left on device' using errcode = '53100';
               end if; return new; end $$;
               create trigger full_disk before insert on users for each row execute function full_disk();""",
        )
        bundle = many(maker)
        with pytest.raises(CutoverError, match="No space left") as refused:
            apply_bundle(bundle, maker.url, fence=fence(), batch_rows=4)
        assert refused.value.exit_code == 4
        assert "same command" in refused.value.hint
        run(maker.url, "drop trigger full_disk on users")
        result: Any = apply_bundle(bundle, maker.url, fence=fence())
        assert (result.applied, result.left) == (40, ())


def test_a_transaction_pooler_is_refused_before_anything_is_written(shop: Maker, postgres: Postgres) -> None:
    bundle = many(shop)
    name = shop.url.rpartition("/")[2]
    with TransactionPooler(postgres.host, postgres.port, name, "postgres") as pooler:
        url = f"postgresql://postgres@127.0.0.1:{pooler.port}/{name}?sslmode=disable&gssencmode=disable"
        for act in (lambda: apply_bundle(bundle, url, fence=fence()), lambda: undo_bundle(bundle, url)):
            with pytest.raises(CutoverError, match="pooler in transaction mode"):
                act()
    assert rows(shop.url, "select to_regnamespace('cutover')") == [(None,)]
