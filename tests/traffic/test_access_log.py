"""Following logs: rotation, copies, truncation, compression; each line once, nothing lost unsaid."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cutover.observations.traffic import Sight
from cutover.probes.traffic.access_log import AccessLog, open_source
from cutover.probes.traffic.base import Count, Wanted
from cutover.probes.traffic.observe import TrafficObserver
from tests.traffic.support import FakeClock, plan_of, spec_of

AGENTS = {"user": "Mozilla/5.0", "sentinel": "cutover-sentinel/ab12", "probe": "cutover/0.1.0"}


class Log:
    """A log of one side, the source that follows it, and the time of both."""

    def __init__(self, folder: Path, **traffic: object) -> None:
        self.folder = folder
        self.path = folder / "access.log"
        self.clock = FakeClock()
        self.source = open_source(
            spec_of({"source": "access_log", "old": str(folder / "access.log"), **traffic}, self.clock, folder)
        )
        self.since = self.clock.now() - timedelta(seconds=60)
        self.bookmark = ""
        self.total = 0.0

    def write(self, count: int = 1, who: str = "user", method: str = "GET", path: Path | None = None) -> None:
        """Write requests, a second apart."""
        with (path or self.path).open("a") as log:
            for _ in range(count):
                self.clock.advance(1)
                stamp = self.clock.now().strftime("%d/%b/%Y:%H:%M:%S +0000")
                log.write(
                    f'10.0.0.1 - - [{stamp}] "{method} /{self.clock.now():%f} HTTP/1.1" 200 1 "-" "{AGENTS[who]}"\n'
                )

    def read(self) -> Count | None:
        """Read the old side; a reading that counts moves on."""
        bookmarks = {"old": self.bookmark} if self.bookmark else {}
        fresh = frozenset() if self.bookmark else frozenset({"old"})
        wanted = Wanted({"old": self.since}, self.clock.now(), bookmarks, fresh)
        count = asyncio.run(self.source.read(wanted)).get("old")
        if count is not None and (count.sight is Sight.OK or count.gap):
            assert count.end is not None
            self.since, self.bookmark = count.end, count.bookmark
            self.total += count.count or 0
        return count

    def counted(self) -> Count:
        count = self.read()
        assert count is not None
        return count


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_each_line_is_counted_once_and_our_own_are_told_apart(log: Log) -> None:
    log.write(3)
    log.write(5, "sentinel")
    log.write(2, "probe")
    first = log.counted()
    assert (first.sight, first.count, first.tagged) == (Sight.OK, 3, 5)
    assert first.end == log.clock.now()
    assert log.read() is None, "nothing new, and not overdue"
    log.write(4)
    second = log.counted()
    assert (second.count, second.tagged) == (4, 0)
    assert second.start == first.end


def test_the_first_reading_counts_only_the_window(log: Log) -> None:
    log.clock.advance(-3600)
    log.write(50)
    log.clock.advance(3600 - 50)
    log.write(2)
    assert log.counted().count == 2


def test_a_torn_last_line_waits_for_its_end(log: Log) -> None:
    log.write(2)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-30])
    assert log.counted().count == 1
    log.path.write_bytes(whole)
    log.clock.advance(1)
    assert log.counted().count == 1


def test_nginx_style_rotation_loses_nothing(log: Log) -> None:
    log.write(3)
    log.read()
    log.write(2)
    log.path.rename(log.folder / "access.log.1")
    log.write(4)
    count = log.counted()
    assert (count.sight, count.count) == (Sight.OK, 6)


def test_a_server_that_goes_on_writing_to_the_renamed_file(log: Log) -> None:
    log.write(3)
    log.read()
    renamed = log.folder / "access.log.1"
    log.path.rename(renamed)
    log.write(1, path=log.path)
    log.read()
    log.write(2, path=renamed)
    log.write(1)
    assert log.counted().count == 3


def test_rotation_twice_with_compression_between_two_readings(log: Log) -> None:
    log.write(3)
    log.read()
    log.write(2)
    packed = log.folder / "access.log.2.gz"
    with log.path.open("rb") as plain, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(plain, out)
    log.path.unlink()
    log.write(4, path=log.folder / "access.log.1")
    log.write(5)
    log.source = open_source(
        spec_of({"source": "access_log", "old": str(log.folder / "access.log*")}, log.clock, log.folder)
    )
    count = log.counted()
    assert (count.sight, count.count) == (Sight.OK, 11)
    log.write(1)
    assert log.counted().count == 1
    assert log.total == 15


def test_copytruncate(log: Log) -> None:
    log.write(30)
    log.read()
    log.write(2)
    shutil.copy(log.path, log.folder / "access.log.1")
    os.truncate(log.path, 0)
    log.write(3)
    count = log.counted()
    assert (count.sight, count.count) == (Sight.OK, 5)


def test_truncation_without_a_copy_is_a_loss_and_counting_goes_on(log: Log) -> None:
    log.write(30)
    log.read()
    os.truncate(log.path, 0)
    log.write(3)
    count = log.counted()
    assert (count.sight, count.gap, count.count) == (Sight.PARTIAL, True, 3)
    assert "truncated" in count.detail
    log.write(2)
    after = log.counted()
    assert (after.sight, after.count) == (Sight.OK, 2)


def test_a_file_that_vanishes_with_unread_lines_is_a_loss(log: Log) -> None:
    log.write(3)
    log.read()
    log.write(2)
    log.path.unlink()
    log.write(1)
    count = log.counted()
    assert (count.sight, count.gap) == (Sight.PARTIAL, True)
    assert "vanished" in count.detail or "truncated" in count.detail


def test_old_archives_of_a_glob_are_the_past(log: Log) -> None:
    log.clock.advance(-7200)
    archive = log.folder / "access.log.5.gz"
    log.write(20, path=log.folder / "past")
    archive.write_bytes(gzip.compress((log.folder / "past").read_bytes()))
    log.clock.advance(7200 - 20)
    log.write(3)
    log.source = open_source(
        spec_of({"source": "access_log", "old": str(log.folder / "access.log*")}, log.clock, log.folder)
    )
    assert log.counted().count == 3
    archive.unlink()
    log.write(2)
    count = log.counted()
    assert (count.sight, count.count) == (Sight.OK, 2), "an archive that retention removes is no loss"


def test_a_broken_archive_is_said(log: Log) -> None:
    log.write(3)
    log.read()
    broken = gzip.compress(b"x" * 100000 + os.urandom(5000))[:-2000]
    (log.folder / "access.log.1").write_bytes(broken)
    log.source = open_source(
        spec_of({"source": "access_log", "old": str(log.folder / "access.log*")}, log.clock, log.folder)
    )
    log.write(2)
    count = log.counted()
    assert count.sight is Sight.PARTIAL
    assert "unpacked" in count.detail


def test_a_log_that_stops_is_no_zero(log: Log) -> None:
    log.write(3)
    log.read()
    log.clock.advance(40)
    assert log.read() is None
    log.clock.advance(60)
    count = log.counted()
    assert (count.sight, count.count) == (Sight.EMPTY, None)
    assert not count.gap


def test_an_empty_log_at_first_is_nothing_and_leaves_its_place(log: Log) -> None:
    log.path.write_text("")
    first = log.counted()
    assert (first.sight, first.count) == (Sight.EMPTY, None)
    log.write(2)
    assert log.counted().count == 2


def test_no_file_no_right_wrong_format_wrong_clock(log: Log) -> None:
    count = log.counted()
    assert count.sight is Sight.NOT_FOUND
    assert str(log.path) in count.detail
    log.path.mkdir()
    assert log.counted().sight is Sight.NOT_FOUND
    log.path.rmdir()
    log.path.write_text("hello\nworld\n")
    assert log.counted().sight is Sight.MALFORMED
    log.path.unlink()
    log.write(3)
    log.clock.advance(-60)
    count = log.counted()
    assert count.sight is Sight.SKEWED
    assert "future" in count.detail


def test_a_file_that_may_not_be_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(1)
    opened = Path.open

    def refuse(path: Path, *words: Any, **options: Any) -> Any:
        if path == log.path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *words, **options)

    monkeypatch.setattr(Path, "open", refuse)  # as root, chmod 0 refuses nothing
    assert log.counted().sight is Sight.FORBIDDEN


def test_bad_lines_count_on_old_and_many_of_them_are_another_format(log: Log) -> None:
    log.write(9)
    with log.path.open("a") as raw:
        raw.write("\x00\x01 garbage\n")
    log.write(1)
    count = log.counted()
    assert (count.sight, count.count) == (Sight.OK, 11)
    assert "cannot be read" in count.detail
    with log.path.open("a") as raw:
        raw.write("garbage\n" * 5)
    log.write(2)
    assert log.counted().sight is Sight.MALFORMED


def test_line_separators_of_unicode_do_not_split_lines(log: Log) -> None:
    log.write(1)
    text = log.path.read_text().replace("Mozilla/5.0", "evil\u2028\x0b\x85agent")
    log.path.write_text(text)
    count = log.counted()
    assert (count.sight, count.count) == (Sight.OK, 1)
    assert count.detail == ""


def test_of_a_source_of_writes_only_writes_count(tmp_path: Path) -> None:
    log = Log(tmp_path, weight="writes")
    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        log.write(1, method=method)
    log.write(5, "sentinel")
    count = log.counted()
    assert (count.count, count.tagged) == (4, 5)


def test_only_the_plans_hosts_count_where_the_log_tells(tmp_path: Path) -> None:
    log = Log(tmp_path, format="json")
    with log.path.open("w") as out:
        for host in ("app.example.com", "APP.example.com:443", "other.example.com", ""):
            log.clock.advance(1)
            out.write(f'{{"time": "{log.clock.now().isoformat()}", "host": "{host}", "user_agent": "x"}}\n')
    assert log.counted().count == 3


def test_a_host_field_that_is_the_machines_name_proves_nothing(tmp_path: Path) -> None:
    """Its users would all be left out as another host's: sentinels that count by their tag alone would hide that."""
    log = Log(tmp_path, format="json")
    with log.path.open("w") as out:
        for host, agent in (("web-1", "x"), ("web-1", AGENTS["sentinel"]), ("web-1", "x")):
            log.clock.advance(1)
            out.write(f'{{"time": "{log.clock.now().isoformat()}", "host": "{host}", "user_agent": "{agent}"}}\n')
    count = log.counted()
    assert (count.count, count.tagged) == (0, 0)
    assert "web-1" in count.detail


def test_a_url_with_a_host_of_its_own_is_asked_under_it(tmp_path: Path) -> None:
    log = Log(tmp_path, format="json")
    url = "https://origin.example.net/version"
    plan = plan_of({"source": "access_log", "old": str(log.path), "format": "json"}, origin={"old": {"url": url}})
    observer = TrafficObserver(plan, log.clock, tmp_path)
    log.source = open_source(observer._specs["access_log #1"])
    with log.path.open("w") as out:
        for host in ("origin.example.net", "app.example.com", "web-1"):
            log.clock.advance(1)
            agent = AGENTS["sentinel"]
            out.write(f'{{"time": "{log.clock.now().isoformat()}", "host": "{host}", "user_agent": "{agent}"}}\n')
    assert log.counted().tagged == 2


def test_both_sides_and_many_files(tmp_path: Path) -> None:
    log = Log(tmp_path)
    source = AccessLog(spec_of({"source": "access_log", "old": ["o/*.log"], "new": ["n/*.log"]}, log.clock, tmp_path))
    for side in "on":
        (tmp_path / side).mkdir()
        for i in range(3):
            log.write(2, path=tmp_path / side / f"{i}.log")
    start = log.clock.now() - timedelta(seconds=60)
    wanted = Wanted({"old": start, "new": start}, log.clock.now(), {}, frozenset({"old", "new"}))
    counts = asyncio.run(source.read(wanted))
    assert counts["old"].count == counts["new"].count == 6


def test_too_much_to_read_is_skipped_and_said(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutover.probes.traffic.logfiles.READ_LIMIT", 4000)
    monkeypatch.setattr("cutover.probes.traffic.logfiles.TAIL", 1000)
    log.write(3)
    log.read()
    log.write(200)
    count = log.counted()
    assert (count.sight, count.gap) == (Sight.PARTIAL, True)
    assert "skipped" in count.detail
    log.write(2)
    assert log.counted().sight is Sight.OK
