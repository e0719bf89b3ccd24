"""How many guarded changes a second an apply does, and what live writers feel of it.

``python -m tests.bench.apply [--rows 5000000] [--changes 200000]``: a table as in the reconcile bench (bigint key, bigint, numeric,
text, timestamptz, nullable text) on new, updates 70 %, inserts 20 %, deletes 10 %, each change a component of its
own (``--together 3``: three of them). In the same run, the denominator: the same updates by COPY into a temporary table and one ``UPDATE ... FROM``,
unguarded and not undoable. Counts are asserted before any figure is printed.
"""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import psycopg

from cutover.reconcile.apply.apply import Bounds, apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.bundle import Step
from tests.apply.support import Maker, fence
from tests.world.postgres import Postgres

SCHEMA = """
create table orders (id bigserial primary key, user_id bigint, total numeric(12,2), status text, at timestamptz, note text);
insert into orders (user_id, total, status, at, note)
select i % 100000, (i % 10000)::numeric / 100, 'status ' || i % 7, timestamptz '2025-01-01 00:00:00+00' + i * interval '1 second',
       case when i % 3 = 0 then 'note ' || i end
from generate_series(1, {rows}) i;
create index on orders (user_id);
vacuum analyze orders;
"""


Writes = list[tuple[float, float]]
"""Of live writers: when each write began (``time.monotonic``, one clock for all processes) and its seconds."""

_PROCESSES = multiprocessing.get_context("spawn")


def live(url: str, low: int, high: int, seed: int, stop: Event, result: Connection) -> None:
    """One user after the other, in a process of its own: an update by key, as fast as a web app would."""
    chance = random.Random(seed)
    writes: Writes = []
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.is_set():
            key = chance.randint(low, high)
            began = time.monotonic()
            connection.execute("update orders set note = 'live' where id = %s", (key,))
            writes.append((began, time.monotonic() - began))
            time.sleep(0.005)
    result.send(writes)


def beside(url: str, low: int, high: int, during: Callable[[], None]) -> Writes:
    """Run ``during`` beside two live writers; return what they felt."""
    stop = _PROCESSES.Event()
    pipes = [_PROCESSES.Pipe(duplex=False) for _ in range(2)]
    writers = [
        _PROCESSES.Process(target=live, args=(url, low, high, seed, stop, sender))
        for seed, (_, sender) in enumerate(pipes)
    ]
    for writer in writers:
        writer.start()
    time.sleep(1)
    try:
        during()
    finally:
        stop.set()
        found = [write for receiver, _ in pipes for write in receiver.recv()]
        for writer in writers:
            writer.join()
    return found


def told(writes: Writes, since: float = 0.0, until: float = math.inf) -> str:
    """Median, p99 and maximum in ms of the writes that began in a span."""
    seconds = sorted(took for began, took in writes if since <= began < until)
    if not seconds:
        return "no writes"
    p99 = seconds[int(len(seconds) * 0.99)]
    return (
        f"median {statistics.median(seconds) * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, max {seconds[-1] * 1000:.0f} ms"
        f" ({len(seconds)} writes)"
    )


def cpu_of(pid: int) -> float:
    """CPU seconds that a backend has used: what a busy machine blurs less than the clock (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def applying(url: str) -> int:
    """Return the process of the applying backend."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select pid from pg_stat_activity where application_name = 'cutover'").fetchone()
    assert row is not None
    return int(row[0])


def value(row: int) -> list[str | None]:
    """The row as the schema made it, as text."""
    at = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(1735689600 + row))
    return [
        str(row),
        str(row % 100000),
        f"{(row % 10000) / 100:.2f}",
        f"status {row % 7}",
        at,
        f"note {row}" if row % 3 == 0 else None,
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--changes", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--together", type=int, default=1, help="changes of a component")
    parser.add_argument("--durable", action="store_true", help="fsync and full pages, as a server in earnest")
    options = parser.parse_args()
    settings = {"shared_buffers": "1GB", "max_wal_size": "8GB"}
    if options.durable:
        settings |= {"fsync": "on", "full_page_writes": "on"}
    with Postgres(settings) as server, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        url = server.create_database("bench", sql="")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in SCHEMA.format(rows=options.rows).split(";\n"):
                connection.execute(statement.encode())
        print(f"{os.cpu_count()} cores, PostgreSQL, {options.rows:,} rows made in {time.monotonic() - began:.0f} s")
        half = options.rows // 2
        chance = random.Random(1)
        keys = chance.sample(range(1, half), options.changes)
        maker = Maker(url, Path(folder))
        meta = maker.table("orders")
        steps: list[list[Step]] = []
        for number, key in enumerate(keys):
            row = value(key)
            if number % 10 < 7:
                post = [*row[:3], "merged", row[4], f"late {key}"]
                steps.append([maker.step("orders", row, post, meta=meta)])
            elif number % 10 < 9:
                steps.append([maker.step("orders", None, [str(10_000_000_000 + key), *row[1:]], meta=meta)])
            else:
                steps.append([maker.step("orders", row, None, meta=meta)])
        size = options.together
        steps = [[step for one in steps[i : i + size] for step in one] for i in range(0, len(steps), size)]
        began = time.monotonic()
        bundle = maker.bundle(steps, tables={"orders": meta})
        print(f"bundle of {options.changes:,} changes written (with apply.sql) in {time.monotonic() - began:.1f} s")

        updates = [key for number, key in enumerate(keys) if number % 10 < 7]
        began = time.monotonic()
        with psycopg.connect(url) as connection:
            connection.execute("create temp table plain (id bigint, status text, note text) on commit drop")
            with connection.cursor().copy("copy plain from stdin") as copy:
                for key in updates:
                    copy.write_row((key, "merged", f"late {key}"))
            connection.execute("analyze plain")
            changed = connection.execute(
                "update orders o set status = p.status, note = p.note from plain p where o.id = p.id"
            )
            assert changed.rowcount == len(updates)
            plain = len(updates) / (time.monotonic() - began)
            plain_cpu = len(updates) / cpu_of(connection.info.backend_pid)
            connection.rollback()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum orders")
        print(
            f"denominator, COPY + one UPDATE ... FROM, unguarded: {plain:,.0f} rows/s, {plain_cpu:,.0f} per CPU second"
        )

        calm = beside(url, half + 1, options.rows, lambda: time.sleep(8))
        took: dict[str, float] = {}
        steady: dict[str, float] = {}

        batches: list[tuple[float, int, float]] = []

        def apply() -> None:

            def progress(done: int, total: int, what: str) -> None:
                if "rehears" not in what:
                    used = cpu_of(applying(url)) if len(batches) < 1 or done == total else 0.0
                    batches.append((time.monotonic(), done, used))

            start = time.monotonic()
            result = apply_bundle(
                bundle, url, fence=fence(), progress=progress, bounds=Bounds(rows=500), batch_rows=options.batch or None
            )
            took["apply"] = time.monotonic() - start
            steady["apply"] = (batches[-1][1] - batches[0][1]) / (batches[-1][0] - batches[0][0])
            steady["cpu"] = (batches[-1][1] - batches[0][1]) / (batches[-1][2] - batches[0][2])
            assert (result.applied, result.left, result.effects) == (len(steps), (), ())

        storm = beside(url, half + 1, options.rows, apply)
        with psycopg.connect(url) as connection:
            counted = connection.execute(
                "select count(*) filter (where status = 'merged'), count(*) filter (where id >= 10000000000), count(*) from orders"
            ).fetchone()
        inserted = sum(number % 10 in {7, 8} for number in range(len(keys)))
        deleted = sum(number % 10 == 9 for number in range(len(keys)))
        assert counted == (len(updates), inserted, options.rows + inserted - deleted), counted
        start = time.monotonic()
        undone = undo_bundle(bundle, url)
        took["undo"] = time.monotonic() - start
        assert undone.undone == len(steps)
        whole = options.changes / took["apply"]
        print(
            f"apply, guarded, with both images: {steady['apply']:,.0f} changes/s while it runs (x {plain / steady['apply']:.1f}),"
        )
        print(f"  {whole:,.0f} changes/s from start to end ({took['apply']:.1f} s: staging, rehearsal, result)")
        print(f"  {steady['cpu']:,.0f} changes per CPU second of the backend (x {plain_cpu / steady['cpu']:.1f})")
        held = [then - now for (now, _, _), (then, _, _) in itertools.pairwise(batches)]
        print(
            f"  a batch holds its row locks for {statistics.median(held) * 1000:.0f} ms (max {max(held) * 1000:.0f} ms)"
        )
        print(f"undo: {options.changes / took['undo']:,.0f} changes/s ({took['undo']:.1f} s)")
        print(f"live writers before: {told(calm)}")
        print(f"  during the whole of it: {told(storm)}")
        print(f"  while it was staged: {told(storm, until=batches[0][0])}")
        print(f"  while batches ran: {told(storm, batches[0][0], batches[-1][0])}")


if __name__ == "__main__":
    main()
