"""The operator's own programs (a telemetry source, a receiver of notifications), bounded in time and output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

_LAST_MOMENT = 2.0
"""Seconds for which a program that was killed is waited for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ended by itself.

    Attributes:
        status: its exit status; the number of a signal that ended it, negative.
        output: what it and its children wrote to the standard output.
    """

    status: int
    output: bytes


class OutputLimitError(Exception):
    """The program wrote more than it may."""


async def run_program(
    words: Sequence[str],
    *,
    cwd: Path,
    seconds: float,
    limit: int | None = None,
    given: bytes = b"",
    more: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end.

    It runs in a session of its own: a Ctrl-C for the tool does not reach it, and where it does not end in time its
    children end with it.

    Args:
        words: the program and its arguments.
        cwd: the folder in which it runs.
        seconds: how long it may take. Where output is asked for, that counts until nobody holds it open any more: a
            child in the background may still write.
        limit: bytes of output; None throws the output away.
        given: its standard input.
        more: variables on top of this process's environment.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it took longer; it was ended.
        OutputLimitError: it wrote more; it was ended.
    """
    transport, program = await asyncio.get_running_loop().subprocess_exec(
        lambda: _Program(limit),
        *words,
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL if limit is None else asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=cwd,
        env={**os.environ, **(more or {})},
        start_new_session=True,
    )
    try:
        if given:
            stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
            stdin.write(given)
            stdin.write_eof()
        async with asyncio.timeout(seconds):
            await program.ended
    except BaseException:
        _kill(transport)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_MOMENT):
                await program.exited.wait()
        raise
    finally:
        with contextlib.suppress(PermissionError):
            transport.close()
    return Ended(cast("int", transport.get_returncode()), bytes(program.output))


def _kill(transport: asyncio.SubprocessTransport) -> None:
    """End the program and its session; one that runs as somebody else (sudo) may refuse."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            transport.kill()
        else:
            os.killpg(transport.get_pid(), signal.SIGKILL)


class _Program(asyncio.SubprocessProtocol):
    """Gathers the output.

    ``asyncio.subprocess.Process`` would do, but its ``wait`` does not return while somebody holds a pipe open, or while
    more output lies unread than a stream buffers (CPython issue 119710).
    """

    def __init__(self, limit: int | None) -> None:
        self.output = bytearray()
        self.exited = asyncio.Event()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit = limit

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output += data
        if self._limit is not None and len(self.output) > self._limit and not self.ended.done():
            self.ended.set_exception(OutputLimitError())

    def process_exited(self) -> None:
        self.exited.set()
        if self._limit is None:
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()

    def _settle(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
