"""Read-only sessions: pinned settings, one exported snapshot per database, one clear line per failure.

Every value that the reconcile road judges is read through a :class:`Database`. It owns one *exporter*
connection, which holds the snapshot open, and any number of worker connections that join it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString, Self

import psycopg
from psycopg import errors, sql
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.string import TextLoader

from cutover.errors import CutoverError
from cutover.reconcile.model import PINNED_SETTINGS, Row, Side

OLDEST_VERSION = 140000
"""TID range scans and ``hash_record_extended`` exist from PostgreSQL 14 on."""

_CONNECT = {
    "application_name": "cutover",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    # Keep-alives do not run while a question is unacknowledged; without this the kernel waits about 15 minutes.
    "tcp_user_timeout": "120000",
}

_POLITE: dict[str, str] = {
    # The snapshot must outlive long scans; a client that died is noticed by keep-alives instead.
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "15",
    "tcp_keepalives_count": "4",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


class SnapshotLostError(Exception):
    """The connection that held a database's snapshot is gone: what was read belongs to a dead instant."""

    def __init__(self, side: Side, reason: str) -> None:
        super().__init__(f"{side}: {reason}")
        self.side = side
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself at connect.

    Attributes:
        snapshot: ``pg_current_snapshot()`` of the exported snapshot (``xmin:xmax:xip``).
        system_identifier: empty when the role may not read it.
        clock_skew: the server's clock minus ours, seconds (measured within one round trip).
        taken_at: the server's time of the snapshot, UTC.
    """

    version: int
    database: str
    user: str
    encoding: str
    in_recovery: bool
    system_identifier: str
    block_size: int
    snapshot: str
    lsn: str
    taken_at: datetime
    clock_skew: float

    @property
    def major(self) -> int:
        """Major version."""
        return self.version // 10000


class Database:
    """One side, read at one instant.

    Args:
        side: used in every message.
        url: libpq URL or DSN. Never shown.
        statement_timeout: of every statement, in PostgreSQL's notation.

    Raises:
        CutoverError: when it cannot be reached (4), the role or settings are wrong (2).
    """

    def __init__(self, side: Side, url: str, *, statement_timeout: str = "10min") -> None:
        self.side = side
        self.url = url
        self.statement_timeout = statement_timeout
        self.restarts = 0
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._open: list[psycopg.Connection[Any]] = []
        self._exporter: psycopg.Connection[Any] | None = None
        self.snapshot_id = ""
        self.info = self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.where}>"

    @property
    def where(self) -> str:
        """Side, host and database, without secrets."""
        return f"{self.side} ({address(self.url)})"

    def close(self) -> None:
        """End every session."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
            self._idle.clear()

    def restart(self) -> None:
        """Take a new snapshot after the old one was lost.

        Whoever calls this must forget everything that was read before.
        """
        self.close()
        self.restarts += 1
        self.info = self._begin()

    def _begin(self) -> ServerInfo:
        connection = connect(self.side, self.url, statement_timeout=self.statement_timeout)
        try:
            with connection.cursor() as cursor:
                check_no_transaction_pooler(self.side, self.url, connection)
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                info = _server_info(self.side, self.url, cursor)
                self.snapshot_id = str(_one(cursor, "SELECT pg_export_snapshot()"))
        except psycopg.Error as error:
            connection.close()
            raise explain(self.side, self.url, error) from None
        except BaseException:
            connection.close()
            raise
        self._exporter = connection
        with self._lock:
            self._open.append(connection)
        return info

    @contextmanager
    def worker(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection that sees the exported snapshot.

        Raises:
            SnapshotLostError: the snapshot can no longer be joined.
            CutoverError: any other failure, explained.
        """
        connection = self._take()
        try:
            yield connection
        except psycopg.Error as error:
            cut = connection.closed or connection.broken
            self._drop(connection)
            if cut:
                self._check_alive(error)
                raise ConnectionCutError(self.side, first_line(error)) from None
            raise explain(self.side, self.url, error) from None
        except BaseException:
            self._drop(connection)
            raise
        else:
            with self._lock:
                self._idle.append(connection)

    def _take(self) -> psycopg.Connection[Any]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = connect(self.side, self.url, statement_timeout=self.statement_timeout)
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.snapshot_id)))
        except psycopg.Error as error:
            connection.close()
            self._check_alive(error)
            raise explain(self.side, self.url, error) from None
        with self._lock:
            self._open.append(connection)
        return connection

    def _drop(self, connection: psycopg.Connection[Any]) -> None:
        connection.close()
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)

    def _check_alive(self, cause: BaseException) -> None:
        """Raise when the exporter is gone: then no other session can see what the earlier ones saw."""
        exporter = self._exporter
        try:
            if exporter is None or exporter.closed:
                raise SnapshotLostError(self.side, first_line(cause))
            with self._lock:
                exporter.execute("SELECT 1")
        except psycopg.Error as error:
            raise SnapshotLostError(self.side, first_line(error)) from None

    def check_alive(self) -> None:
        """Ask the exporter for a sign of life.

        Raises:
            SnapshotLostError: there is none.
        """
        self._check_alive(ConnectionError("the connection that holds the snapshot is closed"))

    def dicts(self, query: LiteralString | sql.SQL | sql.Composed, parameters: Any = None) -> list[dict[str, Any]]:
        """Run a catalogue query; rows as dictionaries of Python values."""
        with self.worker() as connection:
            cursor = connection.execute(query, parameters)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rows(self, query: LiteralString | sql.SQL | sql.Composed, parameters: Sequence[Any] | None = None) -> list[Row]:
        """Run a query; every value as the server's own text, ``None`` for NULL."""
        with self.worker() as connection:
            cursor = connection.execute(query, parameters)
            return text_rows(cursor)


class ConnectionCutError(Exception):
    """A worker's connection broke while the snapshot is still held: the task can be run again."""

    def __init__(self, side: Side, reason: str) -> None:
        super().__init__(f"{side}: {reason}")
        self.side = side


class _AsText:
    """An adaptation of values of every type: the server's own text."""

    connection = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap()
        self.adapters.register_loader(_ANY_TYPE, TextLoader)


_ANY_TYPE = 0
_AS_TEXT = _AsText()


def text_rows(cursor: psycopg.Cursor[Any]) -> list[Row]:
    """Return a text-format result as rows of text (UTF-8), without psycopg's own conversions."""
    result = cursor.pgresult
    if result is None:
        return []
    transformer = Transformer(_AS_TEXT)
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def connect(side: Side, url: str, *, statement_timeout: str = "10min") -> psycopg.Connection[Any]:
    """Open one session with the pinned settings, outside any transaction.

    Raises:
        CutoverError: it cannot be reached, or will not have us.
    """
    try:
        connection = psycopg.connect(make_conninfo(url, **_CONNECT), autocommit=True)
    except (psycopg.Error, UnicodeError) as error:
        raise explain(side, url, error) from None
    try:
        encoding = connection.info.parameter_status("server_encoding") or ""
        if encoding == "SQL_ASCII":
            raise CutoverError(
                f"{side}: database {address(url)} has the encoding SQL_ASCII: its bytes have no defined meaning",
                "restore it into a database with a real encoding (UTF8) and compare that one",
            )
        if connection.info.server_version < OLDEST_VERSION:
            raise CutoverError(
                f"{side}: {address(url)} runs PostgreSQL {connection.info.server_version // 10000}; "
                "14 or later is needed",
                "restore a copy into a newer server and compare that one",
            )
        settings = {**PINNED_SETTINGS, **_POLITE, "statement_timeout": statement_timeout}
        if connection.info.server_version >= 170000:
            settings["transaction_timeout"] = "0"
        settings["client_encoding"] = "UTF8"
        settings["default_transaction_read_only"] = "on"
        calls = sql.SQL(", ").join(
            sql.SQL("pg_catalog.set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
            for name, value in settings.items()
        )
        connection.execute(sql.SQL("SELECT ") + calls)
        connection.prepare_threshold = None
    except psycopg.Error as error:
        connection.close()
        raise explain(side, url, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def check_no_transaction_pooler(side: Side, url: str, connection: psycopg.Connection[Any]) -> None:
    """Refuse a pooler that gives each transaction another backend: settings and snapshots would be lost.

    A pooler shows by a process id that is not the backend's. Whether it pools transactions is then tried:
    a second session, while the first one is idle, is given the very same backend, or the first one changes it.

    Raises:
        CutoverError: exit code 2.
    """
    before = _one(connection.cursor(), "SELECT pg_backend_pid()")
    if before == connection.info.backend_pid:
        return
    shared = False
    second = connect(side, url)
    try:
        for _ in range(3):
            with second.transaction():
                other = _one(second.cursor(), "SELECT pg_backend_pid()")
                mine = _one(connection.cursor(), "SELECT pg_backend_pid()")
                zone = _one(connection.cursor(), "SELECT current_setting('IntervalStyle')")
            shared = shared or other == before or mine != before or zone != "postgres"
    finally:
        second.close()
    if shared:
        raise CutoverError(
            f"{side}: a connection pooler in transaction mode stands before {address(url)}",
            "give the database's own host and port (a direct or session-mode connection)",
        )


def _one(cursor: psycopg.Cursor[Any], query: LiteralString) -> Any:
    row = cursor.execute(query).fetchone()
    return None if row is None else row[0]


def _server_info(side: Side, url: str, cursor: psycopg.Cursor[Any]) -> ServerInfo:
    started = datetime.now(UTC)
    now = _one(cursor, "SELECT extract(epoch FROM clock_timestamp())::float8")
    ended = datetime.now(UTC)
    row = cursor.execute(
        """
        SELECT current_database(), current_user, current_setting('server_encoding'), pg_is_in_recovery(),
               current_setting('block_size')::int, pg_current_snapshot()::text,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
               extract(epoch FROM transaction_timestamp())::float8,
               has_function_privilege('pg_control_system()', 'EXECUTE')
        """
    ).fetchone()
    if row is None:
        raise CutoverError(f"{side}: {address(url)} told nothing about itself", exit_code=4)
    identifier = ""
    if row[8]:
        identifier = str(_one(cursor, "SELECT system_identifier::text FROM pg_control_system()"))
    middle = started.timestamp() + (ended - started).total_seconds() / 2
    return ServerInfo(
        version=cursor.connection.info.server_version,
        database=row[0],
        user=row[1],
        encoding=row[2],
        in_recovery=row[3],
        system_identifier=identifier,
        block_size=row[4],
        snapshot=row[5],
        lsn=row[6] or "",
        taken_at=datetime.fromtimestamp(row[7], UTC),
        clock_skew=now - middle,
    )


def address(url: str) -> str:
    """Return ``host:port/database`` of a URL or DSN: what may be shown."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return "an unreadable URL"
    host = parts.get("host") or parts.get("hostaddr") or "local socket"
    return f"{host}:{parts.get('port') or 5432}/{parts.get('dbname') or parts.get('user') or ''}"


def first_line(error: BaseException) -> str:
    """Return the line of an error that says something, without libpq's prefixes."""
    text = str(error).strip().split("\n", maxsplit=1)[0]
    return re.sub(r"^(connection failed: )?(connection to server [^:]*?: )?(FATAL: +|ERROR: +)?", "", text)


_CONFIGURATION = (
    "password authentication failed",
    "no password supplied",
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "invalid connection option",
    "invalid URI",
    "invalid integer value",
    "invalid sslmode value",
    "could not translate host name",
    "the URL cannot be read",
    'missing "="',
    "certificate",
)


def explain(side: Side, url: str, error: BaseException) -> CutoverError:
    """Turn what the server or libpq said into one line with a hint and the right exit code."""
    line = _without_password(first_line(error), url)
    where = f"{side}: {address(url)}"
    match error:
        case errors.InsufficientPrivilege() if "row-level security" in line or "row level" in line:
            return CutoverError(
                f"{where}: {line}",
                "a filtered read would lose rows silently: use a role with BYPASSRLS, or the table's owner",
                exit_code=4,
            )
        case errors.InsufficientPrivilege():
            return CutoverError(
                f"{where}: {line}",
                "grant SELECT to the role of the URL, or name the table in [database] exclude",
                exit_code=4,
            )
        case errors.LockNotAvailable():
            return CutoverError(
                f"{where}: {line}", "something holds an exclusive lock on a table; try again later", exit_code=4
            )
        case errors.QueryCanceled():
            return CutoverError(
                f"{where}: {line}",
                "raise statement_timeout for this role, or (hot standby) max_standby_streaming_delay",
                exit_code=4,
            )
        case errors.UntranslatableCharacter() | errors.CharacterNotInRepertoire():
            return CutoverError(
                f"{where}: {line}", "a stored text is not valid in the database's encoding; repair it first"
            )
        case errors.InvalidParameterValue() | errors.ProtocolViolation() if "startup parameter" in line:
            return CutoverError(f"{where}: {line}", "a pooler stands in between: connect to the server itself")
        case _:
            pass
    if any(sign in line for sign in _CONFIGURATION):
        return CutoverError(f"{where}: {line}", "check the URL in the environment variable that the plan names")
    return CutoverError(f"{where}: {line}", "is the server up, and may this machine reach it?", exit_code=4)


def _without_password(text: str, url: str) -> str:
    try:
        password = conninfo_to_dict(url).get("password")
    except psycopg.Error:
        # An unreadable URL may be quoted whole in libpq's message.
        return "the URL cannot be read" if url in text or "URI" in text else text
    return text.replace(str(password), "***") if password else text
