"""The ledger: append-only, chained, private, and safe with several writers."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.ledger import GENESIS, Ledger
from cutover.observations.base import ProbeFailed

NOW = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)


def fact(number: int, at: datetime = NOW) -> ProbeFailed:
    return ProbeFailed(at=at, probe="p", about=str(number), error="e")


def entries(ledger: Ledger) -> list[str]:
    return [x.about for _, x in ledger.read() if isinstance(x, ProbeFailed)]


def test_what_is_kept_comes_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        assert ledger.head().hash == GENESIS
        ledger.append([fact(1), fact(2)])
        head = ledger.append([fact(3)])
        assert head.seq == 3
        assert entries(ledger) == ["1", "2", "3"]
        assert [seq for seq, _ in ledger.read(after=2)] == [3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE entries SET body = replace(body, '\"2\"', '\"9\"') WHERE seq = 2",
        "UPDATE entries SET at = '2025-11-12T05:00:00Z' WHERE seq = 2",
        "UPDATE entries SET kind = 'x' WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 2",
        "UPDATE entries SET seq = 7 WHERE seq = 3",
    ],
)
def test_an_edit_breaks_the_chain(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.append([fact(1), fact(2), fact(3)])
    with sqlite3.connect(path) as raw:
        with pytest.raises(sqlite3.Error, match="append-only"):
            raw.execute(edit)
        raw.execute("DROP TRIGGER no_update")
        raw.execute("DROP TRIGGER no_delete")
        raw.execute(edit)
    with Ledger(path) as ledger, pytest.raises(CutoverError, match="chain of hashes"):
        list(ledger.read())


def test_a_newer_or_foreign_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.append([fact(1)])
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE meta SET format = 99")
    with pytest.raises(CutoverError, match="newer cutover"):
        Ledger(path)
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as raw:
        raw.execute("CREATE TABLE t (x)")
    with pytest.raises(CutoverError, match="not a cutover ledger"):
        Ledger(foreign)
    text = tmp_path / "text"
    text.write_text("this is no database, but it is long enough to be looked at" * 20)
    with pytest.raises(CutoverError, match="cannot be opened"):
        Ledger(text)
    with pytest.raises(CutoverError, match="there is no ledger"):
        Ledger(tmp_path / "absent", readonly=True)
    assert not (tmp_path / "absent").exists()


def test_a_clock_set_back_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        ledger.refuse_backward_clock(NOW)
        ledger.append([fact(1)])
        ledger.refuse_backward_clock(NOW - timedelta(seconds=30))
        with pytest.raises(CutoverError, match="clock is 2 h behind"):
            ledger.refuse_backward_clock(NOW - timedelta(hours=2))


def test_reading_until_an_instant_leaves_out_what_came_later(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        ledger.append([fact(1), fact(2, NOW + timedelta(seconds=5)), fact(3, NOW + timedelta(seconds=9))])
        until = NOW + timedelta(seconds=5)
        assert [x.about for _, x in ledger.read(until=until) if isinstance(x, ProbeFailed)] == ["1", "2"]
        assert (ledger.head(until).seq, ledger.head().seq) == (2, 3)
        assert ledger.head(NOW - timedelta(seconds=1)).hash == GENESIS


def _write(path: Path, number: int) -> None:
    with Ledger(path) as ledger:
        for count in range(25):
            ledger.append([fact(number * 100 + count), fact(number * 100 + count)])


def test_several_writers_do_not_corrupt_it(tmp_path: Path) -> None:
    path = tmp_path / "l"
    Ledger(path).close()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with Ledger(path) as ledger:
        assert len(entries(ledger)) == 4 * 25 * 2


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l") as ledger:
        ledger.append([fact(1)])
        ledger._connection.execute("PRAGMA max_page_count = 8")
        with pytest.raises(CutoverError, match="full") as caught:
            ledger.append([fact(n) for n in range(2000)])
        assert caught.value.exit_code == 4
        assert entries(ledger) == ["1"]


def test_a_file_that_is_damaged_below_its_tables_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.append(fact(number) for number in range(400))
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 16384) + whole[-8192:])
    with Ledger(path, readonly=True) as ledger, pytest.raises(CutoverError, match="cannot be read"):
        list(ledger.read())
    with Ledger(path, readonly=True) as ledger, pytest.raises(CutoverError, match="cannot be read"):
        ledger.refuse_backward_clock(NOW)


@pytest.mark.parametrize("at", ["'tomorrow'", "7", "'0001-01-01T00:00:00+14:00'", "x'00'"])
def test_an_entry_whose_time_was_edited_is_told_as_such(tmp_path: Path, at: str) -> None:
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.append([fact(1)])
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER no_update")
        raw.execute(f"UPDATE entries SET at = {at}")
    with Ledger(path) as ledger:
        for use in (
            ledger.head,
            lambda: ledger.refuse_backward_clock(NOW),
            lambda: ledger.append([fact(2)]),
            lambda: list(ledger.read(until=NOW)),
        ):
            with pytest.raises(CutoverError, match="chain of hashes"):
                use()


@pytest.mark.parametrize("edit", ["UPDATE meta SET format = 'one'", "DELETE FROM meta"])
def test_a_format_that_is_no_number_is_refused(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "l"
    Ledger(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(edit)
    with pytest.raises(CutoverError, match="edited or damaged"):
        Ledger(path, readonly=True)


def test_an_entry_that_is_no_text_breaks_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.append([fact(1), fact(2)])
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER no_update")
        raw.execute("UPDATE entries SET body = x'7b7d' WHERE seq = 2")
    with Ledger(path) as ledger, pytest.raises(CutoverError, match="chain of hashes"):
        entries(ledger)
