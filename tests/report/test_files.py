"""Pages and metrics are put in place in one step, for their owner alone."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.report.files import write_atomically


def test_a_reader_never_sees_half_a_page(tmp_path: Path) -> None:
    path = tmp_path / "status.html"
    pages = {letter * 300_000 for letter in "ab"}
    write_atomically(path, "a" * 300_000)
    stop = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(path.read_text(encoding="utf-8"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            write_atomically(path, "ab"[number % 2] * 300_000)
    finally:
        stop.set()
        reader.join()
    assert len(seen) > 1
    assert set(seen) <= pages
    assert [x.name for x in tmp_path.iterdir()] == ["status.html"]


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_a_page_is_for_its_owner_and_metrics_for_the_collector(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "page", "x")
        write_atomically(tmp_path / "metrics", "x", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "metrics").stat().st_mode) == 0o644


def test_a_wide_open_page_of_before_is_narrowed(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_text("before", encoding="utf-8")
    path.chmod(0o666)
    write_atomically(path, "after")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failure_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page"
    write_atomically(path, "before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CutoverError, match="No space left on device"):
        write_atomically(path, "after")
    assert path.read_text(encoding="utf-8") == "before"
    assert [x.name for x in tmp_path.iterdir()] == ["page"]


def test_a_missing_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CutoverError, match=r"nowhere/page.html: cannot be written: No such file or directory"):
        write_atomically(tmp_path / "nowhere" / "page.html", "x")
