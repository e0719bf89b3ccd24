"""Tells the story: says what happens, runs the real commands, and checks that they answer as the story says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutover.output import Output, terminal_width

_LONGEST = 150.0
_WIDEST = 110
_MOST_LINES = 3
_MARKS = {"✗": "red", "?": "yellow", "!": "yellow", "✓": "green", "-": "dim"}


class StoryError(Exception):
    """A real command did not answer as the story says.

    Args:
        message: what differs, in one line.
        output: of the command.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True, slots=True)
class Ran:
    """One command of the story, and what came of it."""

    words: tuple[str, ...]
    expected: int
    code: int
    output: str
    seconds: float

    @property
    def line(self) -> str:
        """The command as a person types it."""
        return " ".join(["cutover", *self.words])


@dataclass
class Narrator:
    """Speaks, and runs ``cutover`` as a process of its own in the sandbox's folder.

    Attributes:
        output: where to.
        folder: of the plan.
        environment: of the commands.
        step: wait for a key before each chapter.
        ran: every command so far.
    """

    output: Output
    folder: Path
    environment: Mapping[str, str]
    step: bool = False
    ran: list[Ran] = field(default_factory=list)
    _chapters: int = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter; with ``step``, only when Enter is pressed."""
        if self.step and self._chapters:
            self._wait_for_key()
        self._chapters += 1
        head = f"== {self._chapters}. {title} "
        self._text("")
        self._text(self.output.paint(head.ljust(min(_width(), 78), "="), "bold"))

    def say(self, text: str) -> None:
        """Say one idea."""
        if self.output.verbosity >= 0:
            self._text("\n".join(textwrap.wrap(text, min(_width(), 100))))

    def act(self, text: str) -> None:
        """Say what the people of the story do."""
        self._text("\n".join(textwrap.wrap(f"> {text}", min(_width(), 100), subsequent_indent="  ")))

    def wait(self, seconds: float, why: str) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.output.progress(f"{why} ({left:.0f} s)")
            time.sleep(min(left, 1.0))
        self.output.progress("")

    def cutover(self, *words: str, code: int, telling: Sequence[str], meaning: str = "") -> Ran:
        """Run a command of the tool.

        Args:
            words: after ``cutover``.
            code: with which the story says it ends.
            telling: regular expressions; the first line that each finds is shown, and each must find one.
            meaning: of the exit code, in the story.

        Raises:
            StoryError: it ended with another code, or a telling line is missing.
        """
        self._text(self.output.paint(f"$ {' '.join(['cutover', *words])}", "bold"))
        found = self._run(words, code)
        self.ran.append(found)
        lines = found.output.splitlines()
        shown = {i for pattern in telling for i in _first(pattern, lines)}
        missing = [pattern for pattern in telling if not _first(pattern, lines)]
        if found.code != code or missing:
            self._text(textwrap.indent(found.output.rstrip(), "  | "))
            raise StoryError(self._difference(found, missing), found.output)
        for number, line in enumerate(lines):
            if number in shown or self.output.verbosity > 0:
                self._text(self._painted(line))
        self._text(self.output.paint(f"  -> exit {code}{f': {meaning}' if meaning else ''}", "dim"))
        return found

    def ask(self, *words: str) -> dict[str, Any]:
        """Return what a command says as JSON, without telling it."""
        said: dict[str, Any] = json.loads(self._run([*words, "--json"], 0).output)
        return said

    def _difference(self, found: Ran, missing: Sequence[str]) -> str:
        if found.code != found.expected:
            return f"`{found.line}` ended with {found.code}; the story says {found.expected}"
        return f"`{found.line}` ended with {found.code} as it should, but says nothing of: {', '.join(missing)}"

    def _run(self, words: Sequence[str], code: int) -> Ran:
        self.output.progress(f"cutover {words[0]} ...")
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "cutover", *words],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        try:
            out, err = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            raise StoryError(f"`cutover {' '.join(words)}` did not end within {_LONGEST:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
            self.output.progress("")
        said = out + (err if process.returncode not in {0, 3, 4, 5} or not out.strip() else "")
        return Ran(tuple(words), code, process.returncode, said, time.monotonic() - began)

    def _painted(self, line: str) -> str:
        """Return a line of real output: wrapped, cut after :data:`_MOST_LINES`, a command to run after the first."""
        room = min(_width(), _WIDEST) - 2
        most = 1 if line.startswith("    run:") else _MOST_LINES
        wrapped = textwrap.wrap(line, room, subsequent_indent="    ", break_on_hyphens=False)
        if len(wrapped) > most:
            wrapped = [*wrapped[: most - 1], f"{wrapped[most - 1][: room - 1].rstrip()} …"]
        colour = "red" if line.startswith("SPLIT-BRAIN") else _MARKS.get(line[:1])
        return "\n".join("  " + (self.output.paint(part, colour) if colour else part) for part in wrapped)

    def _wait_for_key(self) -> None:
        self.output.message(self.output.paint("   [Enter] goes on, Ctrl-C ends ", "dim"), verbosity=-9)
        sys.stdin.readline()

    def _text(self, text: str) -> None:
        if not self.output.as_json:
            self.output.text(text)


def _first(pattern: str, lines: Sequence[str]) -> list[int]:
    return next(([i] for i, line in enumerate(lines) if re.search(pattern, line)), [])


def _width() -> int:
    return max(40, terminal_width())
