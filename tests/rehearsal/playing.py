"""``cutover rehearse`` as people run it: a process of its own, with a folder of its own for everything temporary."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds for one night: it takes about 70, more where other tests run beside it."""


_LISTENER = """
import ipaddress, os, sys
log = os.environ["REHEARSAL_TRAFFIC"]
def note(line):
    with open(log, "a") as file:
        file.write(line + "\\n")
def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        if not ipaddress.ip_address(args[1][0]).is_loopback:
            note(f"{event} {args[1]} by {sys.argv}")
    if event == "socket.getaddrinfo" and args[0] not in (None, "", "localhost"):
        host = args[0].decode() if isinstance(args[0], bytes) else args[0]
        try:
            ipaddress.ip_address(host)
        except ValueError:
            note(f"{event} {host} by {sys.argv}")
sys.addaudithook(hook)
note("listening")
"""
"""A ``sitecustomize`` for every Python process of a rehearsal: names whatever is not on loopback (PEP 578)."""


@dataclass
class Playing:
    """A rehearsal that runs.

    Attributes:
        scratch: where its temporary folder is made.
        traffic: a line "listening" for each process, and one for each attempt to reach something beyond loopback.
        out, err: files with what it says.
    """

    process: subprocess.Popen[bytes]
    scratch: Path
    out: Path
    err: Path
    traffic: Path

    def wait(self) -> int:
        """Return its exit code."""
        return self.process.wait(PATIENCE)

    def until(self, text: str) -> None:
        """Wait until it says something."""
        end = time.monotonic() + PATIENCE
        while text not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        """Everything so far, results first."""
        return self.out.read_text() + self.err.read_text()

    def left_over(self) -> list[str]:
        """Return the files and processes that it left, after a moment for those that are just ending."""
        end = time.monotonic() + 15
        while (left := self._left_over()) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def _left_over(self) -> list[str]:
        files = [str(path) for path in self.scratch.iterdir()]
        return files + [line for line in command_lines() if str(self.scratch) in line]


def command_lines() -> list[str]:
    """Every process's command line."""
    said = subprocess.run(["ps", "-ww", "-e", "-o", "args"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()


@contextmanager
def playing(*words: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[Playing]:
    """Start ``cutover rehearse`` with options; what still runs at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="reh-") as folder:
        scratch = Path(folder) / "tmp"
        scratch.mkdir()
        Path(folder).chmod(0o711)
        scratch.chmod(0o711)
        out, err, traffic = Path(folder) / "out", Path(folder) / "err", Path(folder) / "traffic"
        hooks = Path(folder) / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(_LISTENER)
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [sys.executable, "-m", "cutover", "rehearse", *words],
                cwd=folder,
                env={
                    **os.environ,
                    "TMPDIR": str(scratch),
                    "PYTHONPATH": f"{ROOT}{os.pathsep}{hooks}",
                    "PYTHONIOENCODING": "utf-8",
                    "REHEARSAL_TRAFFIC": str(traffic),
                },
                stdin=stdin,
                stdout=to_out,
                stderr=to_err,
                start_new_session=True,
            )
        try:
            yield Playing(process, scratch, out, err, traffic)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
