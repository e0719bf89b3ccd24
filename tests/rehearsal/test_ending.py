"""However it ends, nothing of the sandbox is left: no process, no file."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.rehearsal.playing import command_lines, playing


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_the_middle_of_a_command(number: signal.Signals) -> None:
    with playing() as night:
        night.until("$ cutover preflight")
        assert any(str(night.scratch) in line and "postgres" in line for line in command_lines())
        night.process.send_signal(number)
        assert night.wait() == 130
        assert night.left_over() == []
        assert "Traceback" not in night.said()


def test_interrupted_while_it_starts() -> None:
    with playing() as night:
        while not list(night.scratch.iterdir()):
            assert night.process.poll() is None
        night.process.send_signal(signal.SIGINT)
        assert night.wait() == 130
        assert night.left_over() == []


def test_killed_outright() -> None:
    with playing() as night:
        night.until("exit 3")
        night.process.kill()
        night.wait()
        assert night.left_over() == []


def test_step_waits_for_enter_before_the_second_chapter() -> None:
    with playing("--step", stdin=subprocess.PIPE) as night:
        night.until("[Enter] goes on")
        assert "== 2." not in night.said()
        assert night.process.stdin is not None
        night.process.stdin.write(b"\n")
        night.process.stdin.flush()
        night.until("== 2.")
        night.process.send_signal(signal.SIGINT)
        assert night.wait() == 130
        assert night.left_over() == []
