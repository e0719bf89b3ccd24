"""The operator's programs: whatever they do, the tool is back in time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cutover.programs import Ended, OutputLimitError, run_program

LIMIT = 1 << 20
NEVER = 30
"""Seconds after which a test that should have come back has failed."""


def run(folder: Path, text: str, *, seconds: float = 20, limit: int | None = LIMIT, given: bytes = b"") -> Ended:
    return asyncio.run(
        asyncio.wait_for(run_program(["sh", "-c", text], cwd=folder, seconds=seconds, limit=limit, given=given), NEVER)
    )


def ends(pid: int) -> bool:
    """Tell whether a process is gone, or is in a moment."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_status_and_output(tmp_path: Path) -> None:
    assert run(tmp_path, "pwd; exit 3") == Ended(3, f"{tmp_path.resolve()}\n".encode())
    assert run(tmp_path, "kill -9 $$").status == -signal.SIGKILL
    assert run(tmp_path, "exec 1>&-; sleep 0.2; exit 4").status == 4


def test_what_is_given_comes_back_whole(tmp_path: Path) -> None:
    given = bytes(range(256)) * 3000
    assert run(tmp_path, "cat", given=given).output == given


def test_output_of_children_in_the_background_is_waited_for(tmp_path: Path) -> None:
    assert run(tmp_path, "(sleep 0.5; echo late) & echo early").output == b"early\nlate\n"


def test_too_much_output_ends_it_every_time(tmp_path: Path) -> None:
    """Much of it lies unread then: that must not hold the end up."""
    for size in (2_000_000, 20_000_000) * 10:
        with pytest.raises(OutputLimitError):
            run(tmp_path, f"head -c {size} /dev/zero")


def test_a_child_that_left_the_session_holds_nobody_up(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run(tmp_path, "setsid sleep 60 & echo $! >child", seconds=2)
    assert time.monotonic() - began < NEVER
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_without_output_only_the_program_itself_is_waited_for(tmp_path: Path) -> None:
    text = "exec 3<&0; sleep 60 <&3 & echo $! >child"
    assert run(tmp_path, text, limit=None, given=b"x" * 1_000_000) == Ended(0, b"")
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_what_is_given_need_not_be_read(tmp_path: Path) -> None:
    assert run(tmp_path, "exec 0<&-; echo done", given=b"x" * 1_000_000).output == b"done\n"


def test_who_is_no_longer_waited_for_is_ended_with_his_children(tmp_path: Path) -> None:
    async def scene() -> None:
        words = ["sh", "-c", "sleep 60 & echo $! >child.new; mv child.new child; wait"]
        task = asyncio.create_task(run_program(words, cwd=tmp_path, seconds=60, limit=LIMIT))
        while not (tmp_path / "child").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(scene(), NEVER))
    assert ends(int((tmp_path / "child").read_text()))


def test_one_that_may_not_be_killed_is_left_after_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sudo's is by another user."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refused)
    monkeypatch.setattr(subprocess.Popen, "kill", refused)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run(tmp_path, "echo $$ >program; exec sleep 60", seconds=1)
    assert time.monotonic() - began < NEVER
    os.kill(int((tmp_path / "program").read_text()), signal.SIGKILL)
