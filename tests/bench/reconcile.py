"""How fast the three-way diff is, against what else can be done. Not a test: run it by hand.

    python -m tests.bench.reconcile                       # 5 M rows, bigint key
    python -m tests.bench.reconcile --rows 500000 --key uuid --changed 10
    python -m tests.bench.reconcile --case wide           # 200 columns; also jsonb, small-tables
    python -m tests.bench.reconcile --reladiff PYTHON     # a Python in which reladiff is installed

Base, old and new lie in one cluster of its own. All approaches are timed in one run, interleaved, ``--rounds``
times; medians and ratios are printed. Exact change counts are asserted before any timing counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from cutover.reconcile.diff.planner import open_sources, read_changes
from cutover.reconcile.diff.spill import ChangeStore
from cutover.reconcile.model import Tally
from cutover.reconcile.options import Options
from cutover.reconcile.source.watermark import Watermark, Watermarks
from tests.world.postgres import Postgres

KEYS = {
    "bigint": ("bigint", "g"),
    "uuid": ("uuid", "md5(g::text)::uuid"),
    "text": ("text", "'order-' || md5(g::text)"),
}

INCIDENT = """
with o as (select {key} as k, md5(row_to_json(t)::text) as h from {table} t),
     n as (select {key} as k, md5(row_to_json(t)::text) as h from other.{table} t)
select count(*) filter (where n.k is null), count(*) filter (where o.k is null),
       count(*) filter (where o.h <> n.h)  -- NULL-safe: neither is NULL where both keys are there
  from o full join n using (k) where o.k is null or n.k is null or o.h <> n.h
"""
"""What the incident's team ran: hashes of JSON, joined by key, both states in one database."""


@dataclass
class Case:
    """One data set: its tables, and the changes that must be found."""

    rows: int
    schema: str
    changes_old: list[str]
    changes_new: list[str]
    old: Tally
    new: Tally
    key: str
    tables: list[str]


def orders(rows: int, key: str, changed: float, *, case: str) -> Case:
    """Orders; 0.1 % changed on old and 1 % on new unless ``changed`` (per cent of both) is given."""
    kind, value = KEYS[key]
    on_old, on_new = (changed / 100, changed / 100) if changed else (0.001, 0.01)
    every_old, every_new = max(2, round(1 / on_old)), max(2, round(1 / on_new))
    extra = {
        "wide": ", ".join(f"c{number} int" for number in range(200)),
        "jsonb": "data jsonb",
    }.get(case, "")
    filling = {
        "wide": ", ".join(f"g % {number + 2}" for number in range(200)),
        "jsonb": "jsonb_build_object('id', g, 'tags', array['a', md5(g::text)], 'total', g / 8.0,"
        " 'address', jsonb_build_object('street', 'Street ' || g % 1000, 'zip', g % 99999))",
    }.get(case, "")
    schema = (
        f"create table orders (id {kind} primary key, n bigint, user_id bigint not null, amount numeric(12,2) not null,"
        f" status text not null, placed_at timestamptz not null, note text{', ' + extra if extra else ''});"
        f" insert into orders select {value}, g, (g * 7919) % 100000, (g % 100000) / 100.0,"
        " (array['new','paid','shipped','done'])[1 + g % 4], timestamptz '2025-01-01' + g * interval '7 seconds',"
        f" case when g % 3 = 0 then 'note ' || md5(g::text) end{', ' + filling if filling else ''}"
        f" from generate_series(1::bigint, {rows}) g;"
    )
    gone, fresh = max(1, rows // 100_000), max(1, rows // 5000)
    insert = (
        f"insert into orders (id, n, user_id, amount, status, placed_at) select {value}, g, 1, 1, 'new', now()"
        f" from generate_series({rows + 1}::bigint, {rows + fresh}) g"
    )
    return Case(
        rows=rows,
        schema=schema,
        changes_old=[
            f"update orders set status = 'changed' where n % {every_old} = 0",
            f"delete from orders where n % {every_old} = 1 and n <= {gone * every_old}",
        ],
        changes_new=[f"update orders set status = 'new side' where n % {every_new} = {min(3, every_new - 1)}", insert],
        old=Tally(0, rows // every_old, gone),
        new=Tally(fresh, len(range(min(3, every_new - 1), rows + 1, every_new)), 0),
        key="id",
        tables=["orders"],
    )


def small_tables(rows: int) -> Case:
    """Five hundred tables that share the rows."""
    count = 500
    each = max(20, rows // count)
    tables = [f"t{number}" for number in range(count)]
    schema = "".join(
        f"create table {name} (id int primary key, v text);"
        f" insert into {name} select g, md5(g::text) from generate_series(1, {each}) g;"
        for name in tables
    )
    return Case(
        rows=each * count,
        schema=schema,
        changes_old=[f"update {name} set v = 'o' where id = 3" for name in tables],
        changes_new=[f"update {name} set v = 'n' where id in (4, 5)" for name in tables],
        old=Tally(0, count, 0),
        new=Tally(0, 2 * count, 0),
        key="id",
        tables=tables,
    )


def build(server: Postgres, case: Case) -> tuple[dict[str, str], Watermarks]:
    """Make base, and old and new as copies that then go their own ways; note where they stood."""
    urls = {"base": server.create_database("base", sql=case.schema)}
    server.execute("vacuum analyze", database="base")
    for side in ("old", "new"):
        urls[side] = server.create_database(side, template="base")
    marks = {side: watermark(urls[side]) for side in ("old", "new")}
    for side, statements in (("old", case.changes_old), ("new", case.changes_new)):
        with psycopg.connect(urls[side], autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            connection.execute("analyze")
    return urls, Watermarks(old=marks["old"], new=marks["new"])


def watermark(url: str) -> Watermark:
    """Record where a database stands (what ``cutover baseline`` does)."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "select system_identifier::text, current_database(), pg_snapshot_xmin(pg_current_snapshot())::text,"
            " pg_current_wal_lsn()::text from pg_control_system()"
        ).fetchone()
    if row is None:
        raise RuntimeError("the server says nothing")
    return Watermark(
        system_identifier=row[0], database=row[1], snapshot_xmin=int(row[2]), lsn=row[3], taken_at=datetime.now(UTC)
    )


def beside(server: Postgres, case: Case, new: str) -> None:
    """Copy new's tables into schema ``other`` of old, as the incident's team did, to compare in one database."""
    server.execute("create schema other", database="old")
    for name in case.tables:
        server.execute(f"create table other.{name} (like {name})", database="old")
        dump = f"copy {name} to stdout (format binary)"
        load = f"copy other.{name} from stdin (format binary)"
        with (
            psycopg.connect(new) as source,
            server.connect("old") as target,
            source.cursor().copy(dump.encode()) as out,
            target.cursor().copy(load.encode()) as into,
        ):
            for block in out:
                into.write(block)
    server.execute("analyze", database="old")


class Peak:
    """The largest resident size of this process while something runs, MB."""

    def __enter__(self) -> Peak:
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._stop.wait(0.02):
            self.most = max(self.most, int(Path("/proc/self/statm").read_text().split()[1]) * page >> 20)


def ours(urls: dict[str, str], case: Case, jobs: int, marks: Watermarks | None = None) -> tuple[float, int]:
    """Read three-way, changes spilled to disk; assert the counts; return (seconds, peak MB)."""
    with tempfile.TemporaryDirectory() as folder, Peak() as peak:
        began = time.perf_counter()
        base = None if marks else urls["base"]
        with (
            open_sources(urls["old"], urls["new"], base, Options(), folder=Path(folder), watermarks=marks) as sources,
            ChangeStore(Path(folder) / "changes.sqlite") as store,
        ):
            _, diffs = read_changes(sources, store, folder=Path(folder), jobs=jobs)
            seconds = time.perf_counter() - began
            wanted = set(case.tables)
            diffs = [diff for diff in diffs if diff.table.name.name in wanted]
            old = Tally(*(sum(each) for each in zip(*(diff.old for diff in diffs), strict=True)))
            new = Tally(*(sum(each) for each in zip(*(diff.new for diff in diffs), strict=True)))
            found = sum(1 for diff in diffs for _ in diff.changes)
    if (old, new, found) != (case.old, case.new, case.old.total):
        way = "by watermark" if marks else "by hash"
        raise SystemExit(f"wrong counts {way}: {old} {new} {found}, wanted {case.old} {case.new}")
    return seconds, peak.most


def main() -> None:
    """Build, assert, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--key", choices=KEYS, default="bigint")
    parser.add_argument("--changed", type=float, default=0.0, help="per cent of rows changed on each side")
    parser.add_argument("--case", choices=["orders", "wide", "jsonb", "small-tables"], default="orders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--reladiff", help="a Python in which reladiff is installed (with psycopg2)")
    parser.add_argument("--no-incident", action="store_true", help="leave out the incident's SQL (minutes)")
    options = parser.parse_args()
    if options.case == "small-tables":
        case = small_tables(options.rows)
    else:
        case = orders(options.rows, options.key, options.changed, case=options.case)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    print(f"{platform.machine()}, {os.cpu_count()} cores, {memory} GB; load {os.getloadavg()[0]:.1f}")
    settings = {"shared_buffers": "1GB", "max_wal_size": "16GB", "autovacuum": "off"}
    with Postgres(settings=settings) as server:
        version = server.execute("show server_version")[0][0]
        urls, marks = build(server, case)
        print(f"PostgreSQL {version}; {case.rows} rows in {len(case.tables)} tables; old {case.old}, new {case.new}")
        if not options.no_incident:
            beside(server, case, urls["new"])
        ways: dict[str, Callable[[], float]] = {"COPY binary of one side": lambda: copy(urls["base"], case)}
        peaks: list[int] = []

        def by_hash() -> float:
            seconds, peak = ours(urls, case, options.jobs)
            peaks.append(peak)
            return seconds

        ways["ours, 3-way by hash"] = by_hash
        ways["ours, watermarks"] = lambda: ours(urls, case, options.jobs, marks)[0]
        if not options.no_incident:
            ways["the incident's SQL, 2-way"] = lambda: incident(urls["old"], case)
        if options.reladiff and len(case.tables) == 1:
            ways["reladiff, 2-way"] = lambda: reladiff(options.reladiff, urls, case)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            for name, way in ways.items():
                times[name].append(way())
                print(f"  round {number + 1}: {name:28} {times[name][-1]:8.2f} s", flush=True)
        copied = statistics.median(times["COPY binary of one side"])
        mine = statistics.median(times["ours, 3-way by hash"])
        for name, each in times.items():
            middle = statistics.median(each)
            print(f"{name:28} median {middle:8.2f} s  {middle / copied:6.2f} x COPY  {middle / mine:6.2f} x ours")
        print(f"peak memory of the client: {max(peaks)} MB (ru_maxrss {rss()} MB); load {os.getloadavg()[0]:.1f}")


def rss() -> int:
    """The process's largest resident size, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def copy(url: str, case: Case) -> float:
    """Server-side COPY of every table to the null device."""
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        for name in case.tables:
            connection.execute(f"copy {name} to '/dev/null' (format binary)".encode())
        return time.perf_counter() - began


def incident(url: str, case: Case) -> float:
    """Run the incident's SQL; assert what it finds between old and new."""
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        only_old = only_new = both = 0
        for name in case.tables:
            query = INCIDENT.format(table=name, key=case.key)
            row = connection.execute(query.encode()).fetchone()
            if row is not None:
                only_old, only_new, both = only_old + row[0], only_new + row[1], both + row[2]
        seconds = time.perf_counter() - began
    wanted = (case.new.delete, case.new.insert + case.old.delete, case.old.update + case.new.update)
    if (only_old, only_new, both) != wanted:
        raise SystemExit(f"the incident's SQL found {(only_old, only_new, both)}, wanted {wanted}")
    return seconds


def reladiff(python: str, urls: dict[str, str], case: Case) -> float:
    """Run reladiff on all columns, two-way."""
    with psycopg.connect(urls["old"]) as connection:
        columns = [
            row[0]
            for row in connection.execute(
                "select attname::text from pg_attribute where attrelid = 'orders'::regclass and attnum > 0"
            ).fetchall()
        ]
    command = [python, "-m", "reladiff", urls["old"], "orders", urls["new"], "orders", "-k", case.key]
    for column in columns:
        if column != case.key:
            command += ["-c", column]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    found, wanted = done.stdout.count("\n"), 2 * (case.old.update + case.new.update) + case.old.delete + case.new.insert
    if found < wanted:
        print(done.stderr[-500:], file=sys.stderr)
        raise SystemExit(f"reladiff found {found} rows, wanted {wanted}")
    return seconds


if __name__ == "__main__":
    main()
