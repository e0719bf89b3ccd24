"""The CLI's output layer: results to stdout, messages to stderr, colour only where it is wanted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any, TextIO, cast

from cutover.durations import iso
from cutover.errors import CutoverError

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_PLAIN = str.maketrans(
    {"✗": "x", "✓": "v", "…": "~", "→": ">", "×": "x", "≤": "<", "—": "-", "–": "-", "·": ".", "•": "*"}
    | {"█": "#", "░": ".", "▒": "o", "“": '"', "”": '"', "’": "'"}
)


@dataclass(frozen=True, slots=True)
class Output:
    """How a command speaks.

    Attributes:
        as_json: one JSON object instead of text.
        colour: ANSI colours on stdout.
        verbosity: -1 quiet, 0, 1 verbose.
    """

    as_json: bool = False
    colour: bool = False
    verbosity: int = 0

    @classmethod
    def of(cls, *, as_json: bool, no_color: bool, verbose: int, quiet: int) -> Output:
        """Decide from the options, ``NO_COLOR`` (no-color.org) and whether stdout is a terminal."""
        colour = not no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty() and not as_json
        return cls(as_json, colour and os.environ.get("TERM") != "dumb", verbose - quiet)

    @property
    def on_terminal(self) -> bool:
        """A person reads this on a terminal that can draw."""
        return not self.as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, *styles: str) -> str:
        """Return text in colour, when colours are wanted."""
        if not self.colour or not styles:
            return text
        return f"\x1b[{';'.join(_COLOURS[style] for style in styles)}m{text}\x1b[0m"

    def result(self, value: Mapping[str, object], text: str) -> None:
        """Write a command's result, in the form that was asked for."""
        _write(sys.stdout, to_json(value) if self.as_json else text)

    def text(self, text: str) -> None:
        """Write text to stdout."""
        _write(sys.stdout, text)

    def message(self, text: str, *, verbosity: int = 0) -> None:
        """Write a message to stderr, unless it is quieter than was asked for."""
        if verbosity <= self.verbosity:
            _write(sys.stderr, text)

    def progress(self, text: str) -> None:
        """Show what is being done: rewritten in place on a terminal, nothing elsewhere unless verbose."""
        if self.verbosity < 0 or self.as_json:
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{text[: terminal_width() - 1]}")
            sys.stderr.flush()
        elif self.verbosity > 0 and text:
            _write(sys.stderr, text)


def terminal_width() -> int:
    """Return the terminal's width in columns, 80 where there is none."""
    import shutil

    return shutil.get_terminal_size((80, 24)).columns


def to_json(value: object) -> str:
    """Write a value as one line of JSON; instants as RFC 3339 in UTC, durations as seconds."""
    return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value) if not isinstance(value, tuple) else list(value)
    return str(value)


def _write(stream: TextIO, text: str) -> None:
    """Write a line; a locale that lacks a character gets a plainer one instead of a crash.

    Raises:
        BrokenPipeError: whoever read it went away.
        CutoverError: the disk behind it is full, or the like.
    """
    try:
        stream.write(plainer(text, stream.encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        forget(stream)
        reason = error.strerror or str(error)
        raise CutoverError(f"the output cannot be written: {reason}", "free the disk, or write elsewhere") from None


def forget(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: it would be flushed, and fail, once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plainer(text: str, encoding: str | None) -> str:
    """Return text as an encoding can hold it: unchanged where it can, with plainer marks where it cannot."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def plain_stdout() -> IO[str]:
    """Return stdout for libraries that write themselves: what its encoding lacks comes out plainer."""
    return cast("IO[str]", _Plainer(sys.stdout))


class _Plainer:
    """As much of a text stream as rich needs, before another."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "ascii"

    def write(self, text: str) -> int:
        self._stream.write(plainer(text, self._stream.encoding))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()
