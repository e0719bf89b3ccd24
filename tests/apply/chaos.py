"""One round of chaos: an apply or an undo is killed at random moments, with live writers on new, until it is done.

Run by hand for many rounds: ``python -m tests.apply.test_chaos --rounds 200``. Each round prints its seed.
"""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg

from cutover.errors import CutoverError
from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.bundle import MappedId, Step
from cutover.reconcile.merge.cells import NewId
from tests.apply.support import Maker, fence, name_of, run, state
from tests.world.postgres import Postgres
from tests.world.process import WorldError

SCHEMA = """
create table users (id bigserial primary key, email text unique not null, name text);
create table orders (id bigserial primary key, user_id bigint not null references users, total numeric(10,2) not null, note text);
create index on orders (user_id);
create table log (what text, n int);
insert into users (email, name) select 'u' || i || '@x', 'user ' || i from generate_series(1, 300) i;
insert into orders (user_id, total, note) select 1 + i % 300, i, 'order ' || i from generate_series(1, 900) i;
insert into log select 'a', i % 5 from generate_series(1, 50) i;
"""
TABLES = ("users", "orders", "log")
BATCH_ROWS = 12

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.apply.chaos"])


def child(what: str, folder: str, url: str) -> None:
    """The process that is killed."""
    try:
        if what == "apply":
            apply_bundle(Path(folder), url, fence=fence(), batch_rows=BATCH_ROWS)
        else:
            undo_bundle(Path(folder), url)
    except CutoverError as error:
        Path(folder, "said").write_text(error.message)
        os._exit(error.exit_code)


def make_bundle(maker: Maker, chance: random.Random) -> Path:
    """Inserts with drawn ids, updates, deletes, swaps and keyless rows; ids of users up to 200 and orders up to 600."""
    users, orders, log = (
        maker.table("users"),
        maker.table("orders", sequence=name_of("orders_id_seq")),
        maker.table("log"),
    )
    metas = {"users": users, "orders": orders, "log": log}

    def step(table: str, pre: Any, post: Any, **more: Any) -> Step:
        return maker.step(table, pre, post, meta=metas[table], **more)

    def order(i: int, **change: str) -> tuple[str, ...]:
        row = {"id": str(i), "user_id": str(1 + i % 300), "total": f"{i}.00", "note": f"order {i}", **change}
        return tuple(row.values())

    components: list[list[Step]] = []
    ids: list[MappedId] = []
    numbers = list(range(1, 600))
    chance.shuffle(numbers)
    for i in numbers[:120]:
        components.append([step("orders", order(i), order(i, note=f"late {i}", total=f"{i}.50"))])
    for i in numbers[120:160]:
        components.append([step("orders", order(i), None)])
    for i in range(100):
        new = NewId(name_of("orders"), str(901 + i))
        ids.append(MappedId(name_of("orders"), "id", str(901 + i), None, "collision"))
        user = (str(5000 + i), f"new{i}@x", f"New {i}")
        components.append(
            [
                step("users", None, user),
                step("orders", None, (new, str(5000 + i), "1.00", f"new {i}"), key=(new,)),
            ]
        )
    for i in range(1, 60, 2):
        a, b = (str(i), f"u{i}@x", f"user {i}"), (str(i + 1), f"u{i + 1}@x", f"user {i + 1}")
        parked = (a[0], f"parked {i}", a[2])
        components.append(
            [
                step("users", a, parked, park=True),
                step("users", b, (b[0], a[1], b[2])),
                step("users", parked, (a[0], b[1], a[2])),
            ]
        )
    components.append([step("log", ("a", "1"), None, key=(), count=4)])
    components += [[step("log", None, ("b", str(i)), key=(), count=3)] for i in range(10)]
    chance.shuffle(components)
    return maker.bundle(components, tables=metas, ids=ids, sequences=[("orders_id_seq", 1010, 900)])


class Writers:
    """Live users on new: they touch orders above 600, users above 200, and insert new ones; never what is applied."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.chance = url, random.Random(seed)
        self.stop = threading.Event()
        self.done: dict[int, str] = {}
        self.inserted: dict[int, str] = {}
        self.errors: list[str] = []
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writers:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _run(self) -> None:
        number = 0
        while not self.stop.is_set():
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=3) as live:
                    while not self.stop.is_set():
                        number += 1
                        target, note = self.chance.randint(601, 900), f"live {number}"
                        live.execute("update orders set note = %s where id = %s", (note, target))
                        self.done[target] = note
                        row = live.execute(
                            "insert into orders (user_id, total, note) values (%s, 0, %s) returning id",
                            (self.chance.randint(1, 300), note),
                        ).fetchone()
                        assert row is not None
                        self.inserted[row[0]] = note
                        time.sleep(0.004)
            except psycopg.OperationalError:
                time.sleep(0.05)
            except psycopg.Error as error:
                self.errors.append(str(error))

    def check(self, url: str) -> None:
        assert self.errors == [], self.errors[:3]
        with psycopg.connect(url) as connection:
            found: dict[int, str] = dict(connection.execute("select id, note from orders").fetchall())
        # A write whose answer was lost in a crash may stand or not; the last acknowledged one of a row must not be older.
        for key, note in self.inserted.items():
            assert found.get(key) == note, (key, note, found.get(key))
        for key, note in self.done.items():
            assert int(found[key].split()[1]) >= int(note.split()[1]), (key, note, found[key])


def settled(url: str) -> dict[str, list[str]]:
    """All that the writers did not touch, with drawn ids left out (another run draws others)."""
    run(
        url,
        "drop view if exists settled_orders; create view settled_orders as select case when note like 'new %' then 0 else id end as id,"
        " user_id, total, note from orders where note not like 'live %' and not id between 601 and 900",
    )
    return state(url, "users", "log", "settled_orders")


def round_of_chaos(server: Postgres, seed: int, folder: Path) -> str:
    """Do one round; raise AssertionError when a row is lost, doubled or overwritten. Return what happened."""
    chance = random.Random(seed)
    names = [f"calm_{seed}", f"storm_{seed}"]
    calm, storm = (server.create_database(name, sql=SCHEMA) for name in names)
    try:
        before = settled(storm)
        folders = [folder / name for name in names]
        for each in folders:
            each.mkdir(parents=True)
        undisturbed = make_bundle(Maker(calm, folders[0]), random.Random(seed))
        bundle = make_bundle(Maker(storm, folders[1]), random.Random(seed))
        assert apply_bundle(undisturbed, calm, fence=fence()).exit_code == 0
        told = []
        with Writers(storm, seed) as writers:
            told.append(_until_done(server, "apply", bundle, storm, chance))
        writers.check(storm)
        assert settled(storm) == settled(calm), "apply differs from an undisturbed one"
        with psycopg.connect(storm) as connection:
            drawn = connection.execute("select count(*), count(distinct new_id) from cutover.id_map").fetchone()
        assert drawn == (100, 100)
        with Writers(storm, seed + 1) as more:
            told.append(_until_done(server, "undo", bundle, storm, chance))
        more.check(storm)
        assert settled(storm) == before, "undo is not identity"
        return ", ".join(told)
    finally:
        for name in names:
            server.drop_database(name)


def _until_done(server: Postgres, what: str, bundle: Path, url: str, chance: random.Random) -> str:
    kills: list[str] = []
    wanted = chance.randint(1, 4)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        process = _PROCESSES.Process(target=child, args=(what, str(bundle), url))
        process.start()
        if len(kills) < wanted:
            kills.append(chance.choice(["client", "client", "backend", "crash", "server"]))
            _wait_for_backend(url, process)
            time.sleep(chance.uniform(0, 0.6))
            _kill(server, kills[-1], process, url)
            process.join(60)
            continue
        process.join(60)
        if process.exitcode == 0:
            return f"{what} {' '.join(kills)}"
        # Only an orphan of a killed client (or a server that still recovers) may stand in the way.
        assert process.exitcode == 4, (bundle / "said").read_text()
        time.sleep(0.1)
    raise AssertionError(f"{what} did not end")


def _wait_for_backend(url: str, process: BaseProcess) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.is_alive():
        if _backends(url):
            return
        time.sleep(0.02)


def _backends(url: str) -> list[int]:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True, connect_timeout=3) as one:
        return [
            row[0]
            for row in one.execute(
                "select pid from pg_stat_activity where application_name = 'cutover' and datname = current_database()"
            )
        ]
    return []


def _kill(server: Postgres, how: str, process: BaseProcess, url: str) -> None:
    if how == "client":
        process.kill()
    elif how in {"backend", "crash"}:
        # kill -9 of a backend makes the postmaster restart all of them from the log.
        for pid in _backends(url):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM if how == "backend" else signal.SIGKILL)
    else:
        os.kill(server.pid, signal.SIGKILL)
        server.stop("immediate")
        _start_again(server)


def _start_again(server: Postgres) -> None:
    """After kill -9 of the postmaster its children end by themselves; until then it cannot start."""
    deadline = time.monotonic() + 30
    while True:
        (server.data / "postmaster.pid").unlink(missing_ok=True)
        try:
            server.start()
        except WorldError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
