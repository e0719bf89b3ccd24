"""The append-only, hash-chained SQLite file that holds observations and decisions.

Each entry's hash covers the one before it (SHA-256 over the previous hash and the entry's own fields), so an
entry that is edited, removed or put in between breaks the chain at that place. Cutting off the end cannot be
seen from the file alone: a sign-off therefore prints the head's hash, and later entries repeat it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from cutover import observations
from cutover.durations import iso, say_duration
from cutover.errors import CutoverError
from cutover.observations.base import Observation

FORMAT = 1
GENESIS = hashlib.sha256(b"cutover ledger 1").hexdigest()
CLOCK_TOLERANCE = timedelta(seconds=60)
_BUSY_SECONDS = 15

_TABLES = (
    "CREATE TABLE meta (format INTEGER NOT NULL)",
    """CREATE TABLE entries (
        seq INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        hash TEXT NOT NULL
    )""",
    "CREATE TRIGGER no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "CREATE TRIGGER no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
)


class Head(NamedTuple):
    """The last entry: its number, time and hash."""

    seq: int
    at: datetime | None
    hash: str


class Ledger:
    """One ledger file. Safe for several processes: each append takes SQLite's write lock.

    Args:
        path: where it lies (``:memory:`` keeps nothing); made with mode 0600 when there is none.
        readonly: never make or change anything (``status``, ``report``).

    Raises:
        CutoverError: it is no ledger, of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        if readonly and not path.exists():
            raise CutoverError(
                f"{path}: there is no ledger", "run `cutover preflight` first, or name one with --ledger"
            )
        try:
            if not readonly and str(path) != ":memory:":
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            with self._locked(write=not readonly):
                self._check_format(readonly)
        except (OSError, sqlite3.Error) as error:
            raise CutoverError(
                f"{path}: the ledger cannot be opened: {error}", "check the file, its folder and the disk"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, observations: Iterable[Observation]) -> Head:
        """Append observations in one transaction and return the new head.

        Raises:
            CutoverError: the disk is full, the file cannot be written, or it stays locked (exit code 4: the
                round happened, but cannot be relied on).
        """
        rows = [(iso(x.at), x.kind, _dump(x)) for x in observations]
        try:
            with self._locked(write=True):
                head = self.head()
                seq, digest = head.seq, head.hash
                for at, kind, body in rows:
                    seq += 1
                    digest = _chained(digest, seq, at, kind, body)
                    self._connection.execute(
                        "INSERT INTO entries (seq, at, kind, body, hash) VALUES (?, ?, ?, ?, ?)",
                        (seq, at, kind, body, digest),
                    )
        except sqlite3.Error as error:
            raise CutoverError(
                f"{self.path}: cannot be written: {error}", "free the disk; nothing of this round was kept", exit_code=4
            ) from None
        return Head(seq, self._instant(seq, rows[-1][0]) if rows else head.at, digest)

    def head(self, until: datetime | None = None) -> Head:
        """Return the last entry's number, time and hash; with ``until`` the last one that is not later than that."""
        try:
            with closing(self._connection.execute("SELECT seq, at, hash FROM entries ORDER BY seq DESC")) as rows:
                for seq, at, digest in rows:
                    instant = self._instant(seq, at)
                    if until is None or instant <= until:
                        return Head(seq, instant, digest)
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return Head(0, None, GENESIS)

    def read(self, *, after: int = 0, until: datetime | None = None) -> Iterator[tuple[int, Observation]]:
        """Yield numbered observations in order, verifying the chain on the way.

        Args:
            after: skip entries up to this number (they were read and verified before).
            until: stop before the first entry that was *appended* with a later decision time: entries whose
                ``at`` is later are left out.

        Raises:
            CutoverError: the chain is broken: the file was edited.
        """
        digest = GENESIS
        if after:
            row = self._one("SELECT hash FROM entries WHERE seq = ?", after)
            if row is None:
                raise self._tampered(after)
            digest = row[0]
        expected = after
        query = "SELECT seq, at, kind, body, hash FROM entries WHERE seq > ? ORDER BY seq"
        try:
            with closing(self._connection.execute(query, (after,))) as rows:
                for seq, at, kind, body, stored in rows:
                    expected += 1
                    if not all(isinstance(x, str) for x in (at, kind, body)):
                        raise self._tampered(seq)
                    digest = _chained(digest, seq, at, kind, body)
                    if seq != expected or digest != stored:
                        raise self._tampered(seq)
                    if until is not None and self._instant(seq, at) > until:
                        continue
                    yield seq, self._load(seq, kind, body)
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def refuse_backward_clock(self, now: datetime) -> None:
        """Refuse to go on when the machine's clock is behind what the ledger has already seen.

        Raises:
            CutoverError: it is, by more than :data:`CLOCK_TOLERANCE`.
        """
        row = self._one("SELECT seq, max(at) FROM entries")
        if row is not None and row[1] is not None:
            self.refuse_backward(self._instant(*row), now)

    def refuse_backward(self, latest: datetime, now: datetime, *, exit_code: int = 2) -> None:
        """Refuse to go on when the machine's clock is behind the latest entry's time.

        Raises:
            CutoverError: it is, by more than :data:`CLOCK_TOLERANCE`.
        """
        if latest - now > CLOCK_TOLERANCE:
            raise CutoverError(
                f"{self.path}: this machine's clock is {say_duration(latest - now)} behind the ledger's last entry, "
                f"{iso(latest)}",
                "set the clock (timedatectl); times decide when caches have expired",
                exit_code=exit_code,
            )

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return row

    def _check_format(self, readonly: bool) -> None:
        tables = {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and not readonly:
            for statement in _TABLES:
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO meta VALUES (?)", (FORMAT,))
            return
        if not {"meta", "entries"} <= tables:
            raise CutoverError(f"{self.path}: is not a cutover ledger", "name another file with --ledger")
        row = self._connection.execute("SELECT max(format) FROM meta").fetchone()
        if not isinstance(row[0], int):
            raise CutoverError(
                f"{self.path}: its format {row[0]!r} is none: the file was edited or damaged",
                "keep it as it is for whoever looks into it, and start a new one with --ledger FILE",
            )
        if row[0] > FORMAT:
            raise CutoverError(
                f"{self.path}: was written by a newer cutover (ledger format {row[0]}, this one knows {FORMAT})",
                "upgrade cutover; nothing was changed",
            )

    def _load(self, seq: int, kind: str, body: str) -> Observation:
        adapter = _adapter(kind)
        if adapter is None:
            raise CutoverError(
                f"{self.path}: entry {seq} is of an unknown kind {kind!r}", "it was written by a newer cutover: upgrade"
            )
        try:
            loaded: Observation = adapter.validate_json(body)
        except ValidationError:
            raise self._tampered(seq) from None
        return loaded

    def _instant(self, seq: int, text: object) -> datetime:
        """Return an entry's time; one that cannot be read was not written by us."""
        try:
            return datetime.fromisoformat(str(text)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self._tampered(seq) from None

    def _damaged(self, error: sqlite3.Error) -> CutoverError:
        return CutoverError(
            f"{self.path}: cannot be read: {error}",
            "keep it as it is for whoever looks into it, and start a new one with --ledger FILE",
        )

    def _tampered(self, seq: int) -> CutoverError:
        return CutoverError(
            f"{self.path}: entry {seq} does not fit the chain of hashes: the file was edited or damaged",
            "keep it as it is for whoever looks into it, and start a new one with --ledger FILE",
        )

    def _locked(self, *, write: bool) -> _Transaction:
        return _Transaction(self._connection, write=write)


class _Transaction:
    def __init__(self, connection: sqlite3.Connection, *, write: bool) -> None:
        self._connection = connection
        self._begin = "BEGIN IMMEDIATE" if write else "BEGIN"

    def __enter__(self) -> None:
        self._connection.execute(self._begin)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        elif kind is None:
            self._connection.execute("COMMIT")


def _chained(previous: str, seq: int, at: str, kind: str, body: str) -> str:
    return hashlib.sha256("\n".join((previous, str(seq), at, kind, body)).encode()).hexdigest()


def _dump(observation: Observation) -> str:
    adapter = _adapter(observation.kind)
    if adapter is None:
        raise LookupError(observation.kind)
    return adapter.dump_json(observation).decode()


@cache
def _kinds() -> dict[str, type[Observation]]:
    """Every observation type below :mod:`cutover.observations`, by its kind."""
    found: dict[str, type[Observation]] = {}
    for module in pkgutil.iter_modules(observations.__path__, f"{observations.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Observation) and value.kind:
                found.setdefault(value.kind, value)
    return found


@cache
def _adapter(kind: str) -> TypeAdapter[Any] | None:
    """Return what reads and writes a kind, made when it is first met: all of them together are felt at the start."""
    found = _kinds().get(kind)
    return None if found is None else TypeAdapter(found)
