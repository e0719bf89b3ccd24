"""Both nights, from the first preflight to the sign-off, with the commands that users have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.rehearsal.playing import ROOT, Playing, playing


def test_the_incident_is_told_as_it_was_and_the_world_stays_up_when_asked() -> None:
    with playing("--json", "--keep") as night:
        night.until("stays up")
        told = json.loads(night.out.read_text())
        assert told["verdict"] == "told", told
        assert told["exit_code"] == 0
        assert all(step["exit_code"] == step["expected"] for step in told["steps"])
        codes = [step["exit_code"] for step in told["steps"]]
        assert codes == [3, 3, 3, 3, 5, 5, 0, 3, 0, 0, 0, 0, 0]
        status = subprocess.run(
            ["sh", "-c", f". ./env && exec {sys.executable} -m cutover status --json"],
            cwd=Path(told["plan"]).parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert status.returncode == 0, status.stderr
        assert json.loads(status.stdout)["verdict"] == "converged"
        watch = subprocess.run(
            ["sh", "-c", f". ./env && exec {sys.executable} -m cutover watch --once --json"],
            cwd=Path(told["plan"]).parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        findings = json.loads(watch.stdout)["findings"]
        assert {x["status"] for x in findings if x["check"] == "dns.resolvers-converged"} == {"pass"}
        night.process.send_signal(signal.SIGINT)
        assert night.wait() == 0
        assert night.left_over() == []
        assert_only_loopback(night, len(told["steps"]))


def assert_only_loopback(night: Playing, commands: int) -> None:
    """No process of the night looked up a name or tried to reach anything beyond this machine."""
    lines = night.traffic.read_text().splitlines()
    assert lines.count("listening") > commands
    assert [line for line in lines if line != "listening"] == []


def test_the_careful_night_needs_no_merge_and_leaves_nothing() -> None:
    with playing("--scenario", "careful") as night:
        assert night.wait() == 0, night.said()
        said = night.out.read_text()
        assert "reconcile" not in said
        assert "SPLIT-BRAIN" not in said
        assert "Signed off by" in said
        assert "The story is told" in said
        assert "\x1b" not in said
        assert night.left_over() == []
        assert_only_loopback(night, 9)
