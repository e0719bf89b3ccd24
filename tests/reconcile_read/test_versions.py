"""Sides of different major versions, and what only the latest one has."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cutover.baseline import Baselines, baseline
from cutover.clock import SystemClock
from cutover.errors import CutoverError
from cutover.observations.base import Observation
from cutover.observations.database import SchemaSeen
from cutover.plan import Database, Plan
from cutover.probes.database import read_schema
from cutover.reconcile.model import Side
from cutover.reconcile.options import Options
from cutover.reconcile.review.bundlefile import Bundle
from cutover.reconcile.run import Request, Urls, reconcile
from cutover.reconcile.source import sides as source
from cutover.reconcile.source.hashing import SELF_CHECK, HashLevel
from cutover.reconcile.source.session import connect
from tests.reconcile_read.support import HASHES, WHOLE, Sides, check, reading
from tests.reconcile_read.test_base import NEW, OLD, ROWS, SCHEMA
from tests.world.postgres import Postgres

Servers = dict[int, Postgres]

SYSTEM, MIDDLE, LATEST = 0, 16, 18
"""The system's own version, and the two that come with `cutover rehearse`."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """One server of each major version that is at hand."""
    with Postgres() as system, Postgres(version=MIDDLE) as middle, Postgres(version=LATEST) as latest:
        yield {SYSTEM: system, MIDDLE: middle, LATEST: latest}


class Maker:
    """Makes databases and drops them."""

    def __init__(self) -> None:
        self._made: list[tuple[Postgres, str]] = []

    def __call__(self, server: Postgres, *scripts: str) -> str:
        name = f"version_{id(self)}_{len(self._made)}"
        url = server.create_database(name)
        self._made.append((server, name))
        for script in scripts:
            server.execute(script, database=name)
        return url

    def close(self) -> None:
        for server, name in self._made:
            server.drop_database(name)


@pytest.fixture
def make() -> Iterator[Maker]:
    maker = Maker()
    yield maker
    maker.close()


@pytest.mark.parametrize("strategy", [WHOLE, HASHES])
@pytest.mark.parametrize(
    ("base", "old", "new"), [(SYSTEM, SYSTEM, LATEST), (LATEST, LATEST, SYSTEM), (MIDDLE, SYSTEM, LATEST)]
)
def test_three_versions_are_compared(
    servers: Servers, make: Maker, tmp_path: Path, base: int, old: int, new: int, strategy: str
) -> None:
    sides = Sides(
        make(servers[base], SCHEMA, ROWS), make(servers[old], SCHEMA, ROWS, OLD), make(servers[new], SCHEMA, ROWS, NEW)
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        assert read.sources.level is HashLevel.NATIVE, "their hash functions agree"
        keyed = [name.name for name, diff in read.diffs.items() if diff.table.key]
        check(read, sides, *keyed)
        assert (read.of("nokey").old.total, read.of("nokey").new.total) == (1, 1)


def test_a_server_that_hashes_otherwise_is_noticed(
    servers: Servers, make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = Sides(
        *(make(servers[each], SCHEMA, ROWS, script) for each, script in ((SYSTEM, ""), (SYSTEM, OLD), (LATEST, NEW)))
    )
    typed, text = SELF_CHECK.split(",\n       hash_record_extended(ROW('Some")
    asked = f"current_setting('server_version_num') || {typed.strip().removeprefix('SELECT')}"
    for sample, level in (
        (f"SELECT {asked}, hash_record_extended(ROW('Some{text}", HashLevel.TEXT),
        (f"SELECT {asked}, current_setting('server_version_num')", HashLevel.MD5),
    ):
        monkeypatch.setattr(source, "SELF_CHECK", sample)
        with reading(sides.old, sides.new, sides.base, tmp_path, strategy=HASHES) as read:
            assert read.sources.level is level
            check(read, sides, "plain", "uu", "one", "parts")


@pytest.mark.parametrize(("of", "read_by"), [(LATEST, SYSTEM), (SYSTEM, LATEST)])
@pytest.mark.parametrize("form", ["-Fc", "-Fd", "-Fp"])
def test_a_dump_of_one_version_is_base_for_another(
    servers: Servers, make: Maker, tmp_path: Path, form: str, of: int, read_by: int
) -> None:
    dumped = make(servers[of], SCHEMA, ROWS)
    sides = Sides(
        make(servers[read_by], SCHEMA, ROWS),
        make(servers[read_by], SCHEMA, ROWS, OLD),
        make(servers[of], SCHEMA, ROWS, NEW),
    )
    path = tmp_path / "base.dump"
    subprocess.run([servers[of].tool("pg_dump"), form, "-f", str(path), dumped], check=True)
    with reading(sides.old, sides.new, str(path), tmp_path, strategy=HASHES) as read:
        check(read, sides, "plain", "one", "parts")


def test_a_watermark_of_another_version(servers: Servers, make: Maker, tmp_path: Path) -> None:
    old_server, new_server = servers[SYSTEM], servers[LATEST]
    old, new, base = make(old_server, SCHEMA, ROWS), make(new_server), make(old_server, SCHEMA, ROWS)
    plan = Plan(database=Database(old="x", new="y"))
    seen: list[Observation] = []
    folder = tmp_path / "copy"
    latest = new_server.tool("pg_dump")
    clock = SystemClock()
    baseline(plan, old, None, append=seen.extend, known=Baselines(seen), clock=clock, dump=folder, pg_dump=latest)
    subprocess.run([new_server.tool("pg_restore"), "--no-owner", "-d", new, str(folder)], check=True)
    baseline(plan, old, new, append=seen.extend, known=Baselines(seen), clock=clock)
    for url, script in ((old, OLD), (new, NEW)):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script.encode())
    marks = Baselines(seen).watermarks()
    assert marks is not None
    assert marks.new is not None
    with (
        reading(old, new, None, tmp_path, watermarks=marks, prove=True) as read,
        reading(old, new, base, tmp_path) as by_base,
    ):
        for name in ("plain", "uu", "one", "parts"):
            assert read.of(name).base_from == "watermark"
            assert read.of(name).old == by_base.of(name).old, name
            assert {each.key for each in read.of(name).changes} == {each.key for each in by_base.of(name).changes}
    with pytest.raises(CutoverError, match="server version: 18") as caught:
        baseline(
            plan,
            make(new_server, SCHEMA),
            None,
            append=seen.extend,
            known=Baselines(),
            clock=clock,
            dump=tmp_path / "refused",
            pg_dump=old_server.tool("pg_dump"),
        )
    assert caught.value.exit_code == 4
    assert "must not be older than the server" in (caught.value.hint or "")


def test_the_same_schema_reads_the_same_on_every_version(servers: Servers, make: Maker) -> None:
    seen: list[SchemaSeen] = []
    for server in servers.values():
        with connect(Side.OLD, make(server, SCHEMA)) as connection:
            seen.append(read_schema(connection, "old", Database(old="x", new="y"), SystemClock()))
    first, *others = seen
    for other in others:
        assert [each.table for each in other.tables] == [each.table for each in first.tables]
        for mine, theirs in zip(first.tables, other.tables, strict=True):
            assert (mine.columns, mine.constraints, mine.indexes, mine.key) == (
                theirs.columns,
                theirs.constraints,
                theirs.indexes,
                theirs.key,
            )


def decisions(urls: Urls, folder: Path) -> dict[str, str]:
    """Every change of old with its reason or class."""
    bundle = Bundle(reconcile(Options(), urls, Request(folder=folder)).bundle)
    return {f"{each.table.name} {' '.join(each.key)}": each.reason or each.decision for each in bundle.accounted()}


def test_periods_are_judged_by_what_they_cover(servers: Servers, make: Maker, tmp_path: Path) -> None:
    schema = """
        create table room (id int4range, at daterange not null, v text, primary key (id, at without overlaps));
        create table booking (id int primary key, room int4range, during daterange,
                              foreign key (room, period during) references room (id, period at));
        insert into room values ('[1,1]', '[2024-01-01,2025-01-01)', 'a'), ('[1,1]', '[2025-01-01,2026-01-01)', 'b'),
                                ('[2,2]', '[2024-01-01,2025-01-01)', 'c');
    """
    urls = Urls(
        base=make(servers[LATEST], schema),
        old=make(
            servers[LATEST],
            schema,
            """insert into booking values (1, '[1,1]', '[2024-05-01,2025-06-01)');
               insert into room values ('[3,3]', '[2024-01-01,2025-01-01)', 'o'),
                                       ('[4,4]', '[2024-01-01,2024-06-01)', 'o');
               insert into booking values (2, '[3,3]', '[2024-02-01,2024-03-01)');
               delete from room where id = '[2,2]'""",
        ),
        new=make(
            servers[LATEST],
            schema,
            """insert into booking values (9, '[2,2]', '[2024-05-01,2024-06-01)');
               insert into room values ('[4,4]', '[2024-03-01,2024-09-01)', 'n')""",
        ),
    )
    assert decisions(urls, tmp_path) == {
        "booking 1": "apply",
        "booking 2": "apply",
        "room [3,4) [2024-01-01,2025-01-01)": "apply",
        "room [4,5) [2024-01-01,2024-06-01)": "exclusion",
        "room [2,3) [2024-01-01,2025-01-01)": "child_in_new",
    }


def test_virtual_columns_and_rules_that_are_not_enforced(servers: Servers, make: Maker, tmp_path: Path) -> None:
    schema = """
        create table t (id int primary key, n int, twice int generated always as (n * 2) {kind}, check (twice < 100));
        insert into t values (1, 1), (2, 2), (3, 3);
        create table parent (id int primary key);
        create table child (id int primary key, parent int, n numeric(6,2));
    """
    late = """
        alter table child add foreign key (parent) references parent not enforced;
        insert into child values (1, 1, null);
        alter table child add constraint there not null n not valid;
        insert into child values (2, 2, 1);
    """
    old = "update t set n = 20 where id = 1; delete from t where id = 3; insert into child values (3, 77, 3)"
    urls = Urls(
        base=make(servers[SYSTEM], schema.format(kind="stored"), "insert into child values (1, 1, null), (2, 2, 1)"),
        old=make(servers[LATEST], schema.format(kind="virtual"), late, old, "update child set n = 'NaN' where id = 2"),
        new=make(servers[LATEST], schema.format(kind="virtual"), late, "update t set n = 30 where id = 2"),
    )
    assert decisions(urls, tmp_path) == {
        "t 1": "apply",
        "t 3": "apply",
        "child 2": "apply",
        "child 3": "apply",
    }


def test_a_not_null_that_old_rows_never_passed_makes_no_key(servers: Servers, make: Maker, tmp_path: Path) -> None:
    schema = """
        create table t (code int, v text);
        create unique index on t (code);
        insert into t values (null, 'never checked'), (1, 'a'), (2, 'b');
        alter table t add constraint there not null code not valid;
    """
    sides = [make(servers[LATEST], schema) for _ in range(3)]
    servers[LATEST].execute("delete from t where code is null", database=sides[1].rsplit("/", 1)[1])
    with reading(sides[1], sides[2], sides[0], tmp_path, strategy=HASHES) as read:
        assert read.of("t").table.key == ()
        assert (read.of("t").old.insert, read.of("t").old.delete) == (0, 1)
    with connect(Side.OLD, sides[0]) as connection:
        seen = read_schema(connection, "old", Database(old="x", new="y"), SystemClock())
    assert [each.key for each in seen.tables] == [""]
