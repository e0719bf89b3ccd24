"""The tool as people run it: a process of its own, its exit code, and the JSON that it prints."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

LIMIT = 90


@dataclass(frozen=True)
class Result:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last JSON object on stdout (watch prints one a round)."""
        value: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return value

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """Every JSON object on stdout."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    def findings(self, check: str, status: str | None = None) -> list[dict[str, Any]]:
        """The findings of one check, of one status when given."""
        found = [x for x in self.json["findings"] if x["check"] == check]
        return [x for x in found if status is None or x["status"] == status]

    def said(self, check: str, status: str) -> str:
        """The subjects and messages of those findings; fails when there is none."""
        found = self.findings(check, status)
        everything = [(x["check"], x["status"], x["subject"], x["message"]) for x in self.json["findings"]]
        assert found, f"no {status} of {check} among {everything}"
        return "\n".join(f"{x['subject']}: {x['message']}" for x in found)


class Cutover:
    """Runs commands for one plan."""

    def __init__(self, plan: Path, environment: Mapping[str, str]) -> None:
        self.plan = plan
        self.environment = {**environment, "PYTHONPATH": str(Path(__file__).parents[2])}

    def __call__(self, *words: str, json: bool = True) -> Result:
        """Run one command to its end."""
        done = subprocess.run(
            self.words(*words, json=json),
            env=self.environment,
            cwd=self.plan.parent,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def words(self, *words: str, json: bool = True) -> Sequence[str]:
        """The command line of one command."""
        form = ["--json"] if json else []
        return [sys.executable, "-m", "cutover", *words, "--plan", str(self.plan), *form]

    def start(self, *words: str, json: bool = True) -> subprocess.Popen[str]:
        """Start one command and leave it running."""
        return subprocess.Popen(
            self.words(*words, json=json),
            env=self.environment,
            cwd=self.plan.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class Watching:
    """A watch that runs beside a test; its rounds come as they are printed. Leaving the block interrupts it.

    Attributes:
        rounds: what has been read of it so far.
    """

    def __init__(self, cutover: Cutover, *words: str) -> None:
        self._process = cutover.start("watch", *words)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.rounds: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self.end()

    def until(self, holds: Callable[[dict[str, Any]], bool], what: str, *, seconds: float = LIMIT) -> dict[str, Any]:
        """Return the next round of which something holds; fail when the watch ends or takes too long."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            try:
                line = self._lines.get(timeout=1)
            except queue.Empty:
                continue
            if not line:
                break
            self.rounds.append(json.loads(line))
            if holds(self.rounds[-1]):
                return self.rounds[-1]
        found = [(x["check"], x["status"], x["message"]) for x in (self.rounds or [{"findings": []}])[-1]["findings"]]
        raise AssertionError(f"{len(self.rounds)} rounds, and never {what}; at last: {found}")

    def end(self) -> int:
        """Wait for its end, and return the exit code."""
        self._process.wait(timeout=LIMIT)
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return self._process.returncode

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")
