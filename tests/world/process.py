"""Child processes, free ports and bounded waits: what every server of the test world needs.

A server started here never outlives the tests: it is stopped when its context ends, and when the test run
itself is killed a small warden process, which holds the other end of a pipe, ends and removes what is left.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

#: Places where distributions keep servers that are not on a normal user's PATH.
SERVER_PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")

_WARDEN = """
import os, shutil, signal, sys, time
alive, folders = {}, []
for line in sys.stdin:
    verb, what = line.rstrip("\\n").split(" ", 1)
    if verb == "start":
        pid, number = what.split()
        alive[int(pid)] = int(number)
    elif verb == "stop":
        alive.pop(int(what), None)
    else:
        folders.append(what)
for pid, number in alive.items():
    try:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
    except OSError:
        pass
time.sleep(0.3 if alive else 0)
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


class WorldError(AssertionError):
    """A part of the test world did not come up, or did not do what it was told."""


class _Warden:
    """The process that clears up when we are killed. One per test process, started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def tell(self, verb: str, what: object) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _WARDEN],
                    stdin=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            pipe = self._process.stdin
            assert pipe is not None
            pipe.write(f"{verb} {what}\n")
            pipe.flush()


_warden = _Warden()


def free_port(address: str = "127.0.0.1", *, kind: str = "both") -> int:
    """Return a port that is free on ``address`` for ``"tcp"``, ``"udp"`` or ``"both"``.

    Another process can take it before its user does; whoever starts a server retries with another port.
    """
    for _ in range(200):
        with contextlib.ExitStack() as stack:
            tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            tcp.bind((address, 0))
            port: int = tcp.getsockname()[1]
            if kind == "tcp":
                return port
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                udp.bind((address, port))
            except OSError:
                continue
            return port
    raise WorldError(f"no free port on {address}")


def common_port(addresses: Sequence[str], *, kind: str = "both") -> int:
    """Return one port that is free on every one of ``addresses``."""
    for _ in range(200):
        port = free_port(addresses[0], kind=kind)
        if all(_is_free(address, port, kind) for address in addresses[1:]):
            return port
    raise WorldError(f"no port is free on all of {', '.join(addresses)}")


def _is_free(address: str, port: int, kind: str) -> bool:
    kinds = {"tcp": [socket.SOCK_STREAM], "udp": [socket.SOCK_DGRAM]}.get(kind, [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    for each in kinds:
        with socket.socket(socket.AF_INET, each) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def wait_until(ready: Callable[[], bool], what: str, *, seconds: float = 15.0, every: float = 0.02) -> None:
    """Poll ``ready`` until it is true.

    Raises:
        WorldError: after ``seconds``, with ``what`` was awaited.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise WorldError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def program(name: str) -> str:
    """Return the path of a server program, wherever the system keeps it.

    Raises:
        WorldError: when it is not installed. Tests fail then; they never skip.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *SERVER_PATHS])
    found = shutil.which(name, path=path)
    if found is None:
        raise WorldError(f"{name} is not installed: the test world needs it")
    return found


def unprivileged_user(*names: str) -> str | None:
    """Return the user that a server which refuses root must run as; None when we are not root anyway."""
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise WorldError("no unprivileged user exists on this system")


def scratch(prefix: str, *, user: str | None = None) -> Path:
    """Make a temporary directory, owned by ``user`` if given. Its owner removes it."""
    path = Path(tempfile.mkdtemp(prefix=f"cutover-{prefix}-"))
    _warden.tell("folder", path)
    if user is not None:
        record = pwd.getpwnam(user)
        os.chown(path, record.pw_uid, record.pw_gid)
    return path


class Daemon:
    """One server process with its log.

    Args:
        args: the program and its arguments; it must stay in the foreground.
        log: where its output goes.
        user: run as this user (only as root).
        stop_signal: what ends it in order; after five seconds it is killed.
        last_signal: what the warden sends when the tests themselves were killed.
    """

    def __init__(
        self,
        args: Sequence[str],
        log: Path,
        *,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        last_signal: signal.Signals = signal.SIGKILL,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        self._stop_signal = stop_signal
        self._paused = False
        self._output: IO[bytes] = log.open("ab")
        options: dict[str, object] = {}
        if user is not None:
            record = pwd.getpwnam(user)
            options = {"user": record.pw_uid, "group": record.pw_gid, "extra_groups": []}
        self._process = subprocess.Popen(
            list(args),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
            cwd=cwd,
            **options,  # type: ignore[call-overload]
        )
        self.args = list(args)
        _warden.tell("start", f"{self.pid} {int(last_signal)}")

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_ready(self, ready: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Wait until ``ready``; fail at once, with the log's end, when the process ends first."""

        def ready_or_dead() -> bool:
            return not self.running or ready()

        try:
            wait_until(ready_or_dead, f"{Path(self.args[0]).name} to answer", seconds=seconds)
        except WorldError as error:
            raise WorldError(f"{error}\n{self.tail()}") from None
        if not self.running:
            code = self._process.returncode
            raise WorldError(f"{Path(self.args[0]).name} ended with {code}\n{self.tail()}")

    def wait_exit(self, *, seconds: float) -> None:
        """Wait for a program that ends by itself, and fail unless it ends with 0."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise WorldError(f"{Path(self.args[0]).name}: not within {seconds:g} s\n{self.tail()}") from None
        if code:
            raise WorldError(f"{Path(self.args[0]).name} ended with {code}\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def pause(self) -> None:
        """Make it go silent: it keeps its sockets and answers nothing until :meth:`resume`.

        Returns when every thread has stopped: a signal that was only sent would let one more answer out.
        """
        if not self._paused:
            self.send(signal.SIGSTOP)
            os.waitpid(self.pid, os.WUNTRACED)
            self._paused = True

    def resume(self) -> None:
        """End a :meth:`pause`."""
        self.send(signal.SIGCONT)
        self._paused = False

    def stop(self, number: signal.Signals | None = None, *, seconds: float = 5.0) -> None:
        """End it and wait; kill it when it does not end by itself."""
        if self.running:
            self.send(number or self._stop_signal)
            self.send(signal.SIGCONT)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        _warden.tell("stop", self.pid)
        self._output.close()
