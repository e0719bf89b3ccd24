"""The baseline on real servers: what is recorded, when it is refused, and that the dump is that very snapshot."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cutover.baseline import BaselineResult, Baselines, baseline
from cutover.clock import SystemClock
from cutover.errors import CutoverError
from cutover.observations.base import Observation
from cutover.plan import Database, Plan
from tests.world.postgres import Postgres

SQL = "create table t (id bigserial primary key, v int); insert into t (v) select generate_series(1, 50)"


@pytest.fixture
def pair(postgres_pair: tuple[Postgres, Postgres]) -> Iterator[tuple[str, str]]:
    old, new = postgres_pair
    yield old.create_database("base_old", sql=SQL), new.create_database("base_new")
    old.drop_database("base_old")
    new.drop_database("base_new")


class Book:
    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def append(self, observations: Iterable[Observation]) -> None:
        self.seen.extend(observations)

    def take(self, old: str, new: str | None = None, **more: Any) -> BaselineResult:
        plan = Plan(database=Database(old="x", new="y"))
        return baseline(plan, old, new, append=self.append, known=Baselines(self.seen), clock=SystemClock(), **more)


def execute(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_what_is_recorded(pair: tuple[str, str], postgres_pair: tuple[Postgres, Postgres]) -> None:
    book = Book()
    result = book.take(*pair)
    assert result.old is not None
    assert result.new is None
    assert "no tables yet" in result.notes[0]
    marks = Baselines(book.seen).watermarks()
    assert marks is not None
    (identifier,) = postgres_pair[0].execute("select system_identifier::text from pg_control_system()")[0]
    assert (marks.old.system_identifier, marks.old.database) == (identifier, "base_old")
    assert {str(name): value for name, value in marks.old.sequences.items()} == {"public.t_id_seq": 50}
    assert {str(name): value for name, value in marks.old.counters.items()} == {"public.t": (50, 0, 0)}
    newest = execute(pair[0], "insert into t (v) values (0) returning xmin::text::bigint")[0][0]
    oldest = execute(pair[0], "select max(xmin::text::bigint) from t where id <= 50")[0][0]
    assert oldest < marks.old.snapshot_xmin <= newest


def test_the_dump_holds_that_very_snapshot(pair: tuple[str, str], tmp_path: Path, postgres: Postgres) -> None:
    """Rows that commit while pg_dump runs are not in it, and are above the watermark."""
    old, new = pair
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(old, autocommit=True) as app:
            while not stop.is_set():
                app.execute("insert into t (v) values (-1)")

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.3)
    book = Book()
    try:
        result = book.take(old, new, dump=tmp_path / "base.dump", pg_dump=postgres.tool("pg_dump"))
    finally:
        stop.set()
        thread.join()
    assert result.old is not None
    assert "pg_restore" in result.next_command
    subprocess.run([postgres.tool("pg_restore"), "-d", new, str(tmp_path / "base.dump")], check=True)
    marks = Baselines(book.seen).watermarks()
    assert marks is not None
    dumped = {row[0] for row in execute(new, "select id from t")}
    below = {row[0] for row in execute(old, f"select id from t where xmin::text::bigint < {marks.old.snapshot_xmin}")}
    live = {row[0] for row in execute(old, "select id from t")}
    assert below <= dumped < live
    again = book.take(old, new)
    assert again.old is None
    assert "stands" in again.notes[0]
    assert again.new is not None
    both = Baselines(book.seen).watermarks()
    assert both is not None
    assert both.new is not None
    assert both.old == marks.old


def test_new_is_not_recorded_once_users_wrote(pair: tuple[str, str]) -> None:
    old, new = pair
    execute(new, SQL)
    execute(new, "insert into t (v) values (1)")
    time.sleep(0.1)
    book = Book()
    book.take(old)
    result = book.take(old, new)
    assert result.new is None
    assert any("several transactions" in note for note in result.notes)


def test_a_later_dump_is_no_base_before_it_was_restored(pair: tuple[str, str], tmp_path: Path) -> None:
    """What old wrote before a watermark that is later than the copy would be taken for base, and be lost."""
    old, new = pair
    book = Book()
    first = book.take(old, new)
    assert first.old is not None
    execute(new, SQL)
    copied = book.take(old, new)
    assert copied.new is not None
    execute(old, "insert into t (v) values (51)")
    later = book.take(old, new, dump=tmp_path / "later")
    assert later.old is not None
    assert "until this dump is restored" in later.notes[0]

    def base() -> tuple[int, int]:
        marks = Baselines(book.seen).watermarks()
        assert marks is not None
        assert marks.new is not None
        return marks.old.snapshot_xmin, marks.new.snapshot_xmin

    kept = (int(first.old.snapshot.split(":")[0]), int(copied.new.snapshot.split(":")[0]))
    assert base() == kept
    # New is still the first copy: its sequence never reached what the later baseline has seen.
    again = book.take(old, new)
    assert again.new is None
    assert any("public.t_id_seq stands at 50, and at 51" in note for note in again.notes)
    assert base() == kept
    execute(new, "drop table t")
    execute(new, SQL.replace("50", "51"))
    restored = book.take(old, new)
    assert restored.new is not None
    assert base() == (int(later.old.snapshot.split(":")[0]), int(restored.new.snapshot.split(":")[0]))


def test_a_first_baseline_after_the_split_is_no_base(pair: tuple[str, str]) -> None:
    old, new = pair
    execute(new, SQL)
    execute(old, "insert into t (v) values (51)")
    book = Book()
    for _ in range(2):
        result = book.take(old, new)
        assert result.old is not None, "its counters still tell whether old is written"
        assert result.old.late
        assert result.new is None
        assert "later than the copy" in result.text()
        assert Baselines(book.seen).watermarks() is None
    execute(new, "drop table t")
    assert book.take(old, new).new is None
    marks = Baselines(book.seen).watermarks()
    assert marks is not None, "an empty new can be restored from what is copied after it"


def test_a_dump_beside_rows_that_are_not_olds_is_a_base_once_it_is_restored(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    old, new = pair
    execute(new, SQL.replace("50", "20"))
    book = Book()
    result = book.take(old, new, dump=tmp_path / "dump")
    assert result.old is not None
    assert "only after it was restored" in result.text()
    assert Baselines(book.seen).watermarks() is None
    assert book.take(old, new).new is None, "it is what was there before"
    assert Baselines(book.seen).watermarks() is None
    execute(new, "drop table t")
    execute(new, SQL)
    assert book.take(old, new).new is not None
    assert Baselines(book.seen).watermarks() is not None


def test_an_empty_new_is_not_recorded_before_its_restore(pair: tuple[str, str]) -> None:
    old, new = pair
    execute(new, "create table t (id bigserial primary key, v int)")
    result = Book().take(old, new)
    assert result.new is None
    assert "no rows yet" in result.notes[0]
    assert result.next_command.startswith("take the copy now")


def test_nobody_is_told_to_copy_over_a_new_that_holds_rows(pair: tuple[str, str]) -> None:
    old, new = pair
    execute(new, SQL)
    execute(new, "update t set v = v where id = 1; alter table t add column added int")
    first = Book().take(old, new)
    assert first.verdict == "recorded"
    assert first.new is None
    assert first.next_command == "cutover explain database.baseline"


def test_a_standby_is_refused(tmp_path: Path) -> None:
    with Postgres({"wal_level": "replica"}) as primary:
        primary.create_database("shop", sql=SQL)
        primary.stop()
        (primary.data / "standby.signal").touch()
        primary.start()
        with pytest.raises(CutoverError, match="hot standby"):
            Book().take(primary.dsn("shop"))


def test_a_dump_that_exists_or_fails_records_nothing(pair: tuple[str, str], tmp_path: Path) -> None:
    book = Book()
    with pytest.raises(CutoverError, match="there already"):
        book.take(pair[0], dump=tmp_path)
    with pytest.raises(CutoverError, match="pg_dump failed"):
        book.take(pair[0], dump=tmp_path / "x", pg_dump="false")
    with pytest.raises(CutoverError, match="not installed"):
        book.take(pair[0], dump=tmp_path / "x", pg_dump="/nowhere/pg_dump")
    assert book.seen == []
