"""Any program that prints counts."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cutover.observations.traffic import Sight
from cutover.probes.traffic.base import Count
from cutover.probes.traffic.command import Command
from cutover.probes.traffic.unseen import UnseenError
from tests.traffic.support import FakeClock, spec_of, wanted


def run(folder: Path, *words: str, timeout: float = 10) -> Mapping[str, Count]:
    clock = FakeClock()
    source = Command(spec_of({"source": "command", "command": list(words)}, clock, folder), timeout=timeout)
    return asyncio.run(source.read(wanted(clock, 90)))


def script(folder: Path, text: str, name: str = "share") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"./{name}"


def test_it_runs_in_the_plans_folder_and_is_told_the_window(tmp_path: Path) -> None:
    answer = 'echo "{\\"old\\": 3, \\"new\\": 97.0, \\"note\\": 1}"'
    program = script(tmp_path, f"pwd >seen; env | grep ^CUTOVER_WINDOW | sort >>seen; {answer}")
    counts = run(tmp_path, program)
    assert (counts["old"].count, counts["new"].count) == (3, 97)
    assert {x.sight for x in counts.values()} == {Sight.OK}
    seen = (tmp_path / "seen").read_text().splitlines()
    assert Path(seen[0]).resolve() == tmp_path.resolve()
    assert seen[1:] == [
        "CUTOVER_WINDOW_END=2025-11-12T07:00:00Z",
        "CUTOVER_WINDOW_SECONDS=90",
        "CUTOVER_WINDOW_START=2025-11-12T06:58:30Z",
    ]


@pytest.mark.parametrize(
    ("text", "sight"),
    [
        ("true", Sight.EMPTY),
        ("echo 12", Sight.MALFORMED),
        ("echo '[1, 2]'", Sight.MALFORMED),
        ('echo \'{"old": 1, "new": 2\'', Sight.MALFORMED),
        ('echo \'{"old": 1, "new": 2}\'; exit 3', Sight.UNREACHABLE),
        ("kill -9 $$", Sight.UNREACHABLE),
        ("head -c 2000000 /dev/zero", Sight.MALFORMED),
    ],
)
def test_what_is_no_answer_is_told_apart(tmp_path: Path, text: str, sight: Sight) -> None:
    with pytest.raises(UnseenError) as raised:
        run(tmp_path, script(tmp_path, text))
    assert raised.value.sight is sight
    assert raised.value.detail


@pytest.mark.parametrize(
    ("old", "sight"),
    [
        ("", Sight.EMPTY),
        ('"old": null,', Sight.EMPTY),
        ('"old": "7",', Sight.MALFORMED),
        ('"old": -1,', Sight.MALFORMED),
        ('"old": NaN,', Sight.MALFORMED),
        ('"old": Infinity,', Sight.MALFORMED),
        ('"old": true,', Sight.MALFORMED),
        ('"old": {"requests": 3},', Sight.MALFORMED),
    ],
)
def test_a_side_that_is_missing_or_no_number_is_never_zero(tmp_path: Path, old: str, sight: Sight) -> None:
    counts = run(tmp_path, script(tmp_path, f"echo '{{{old} \"new\": 5}}'"))
    assert counts["new"].count == 5
    assert counts["old"].sight is sight
    assert counts["old"].count is None


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    program = script(tmp_path, "sleep 60 & echo $! >child; wait")
    began = time.monotonic()
    with pytest.raises(UnseenError) as raised:
        run(tmp_path, program, timeout=3)
    assert raised.value.sight is Sight.UNREACHABLE
    assert time.monotonic() - began < 30
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{child}/stat")
        if state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the program's child outlived it")


def test_no_program_and_no_right_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(UnseenError) as raised:
        run(tmp_path, "./nothing")
    assert raised.value.sight is Sight.NOT_FOUND
    (tmp_path / "plain").write_text("x")
    with pytest.raises(UnseenError) as raised:
        run(tmp_path, "./plain")
    assert raised.value.sight is Sight.FORBIDDEN
