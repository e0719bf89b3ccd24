"""Reading a ``pg_dump``: where each table's rows lie, and whether the file is whole.

Plain dumps are read in place; compressed ones and the archive formats (custom, directory, tar: through
``pg_restore -f -``) are streamed once, and the sections that are needed are kept beside the bundle while the
comparison runs.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cutover.errors import CutoverError
from cutover.reconcile.model import TableName

_DATA_FOR = re.compile(rb"-- Data for Name: .*; Type: TABLE DATA;")
_COPY = re.compile(
    rb'COPY (?P<table>(?:"(?:[^"]|"")*"|[^\s"])+) (?:\((?P<columns>.*)\))? ?FROM stdin;\r?\n?$'
)
_SETVAL = re.compile(
    rb"SELECT pg_catalog\.setval\('(?P<name>(?:[^']|'')+)', (?P<value>-?\d+), (?P<called>true|false)\);"
)
_ATTACH = re.compile(rb"ALTER TABLE ONLY (?P<root>.+?) ATTACH PARTITION (?P<leaf>.+?) (?:FOR VALUES|DEFAULT)")
_ENCODING = re.compile(rb"SET client_encoding = '(?P<name>[^']+)';")
_COMPLETE = b"-- PostgreSQL database dump complete"
_CLUSTER = b"-- PostgreSQL database cluster dump"
_PYTHON_ENCODINGS = {"UTF8": "utf-8", "SQL_ASCII": "", "EUC_JP": "euc_jp", "EUC_KR": "euc_kr", "SJIS": "shift_jis",
                     "BIG5": "big5", "GBK": "gbk", "GB18030": "gb18030", "EUC_CN": "gb2312", "KOI8R": "koi8_r",
                     "KOI8U": "koi8_u"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one table (or partition) in COPY's text format: bytes ``start`` to ``end`` of ``path``."""

    path: Path
    start: int
    end: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What a dump holds.

    Attributes:
        sections: by table; a table without a section has no rows *known* (its data were left out).
        sequences: the last value given, ``None`` where none was.
        encoding: of the rows, as Python names it.
    """

    sections: dict[TableName, tuple[Section, ...]]
    partitions: dict[TableName, TableName] = field(default_factory=dict)
    sequences: dict[TableName, int | None] = field(default_factory=dict)
    encoding: str = "utf-8"


def read_dump(path: Path, folder: Path, wanted: Callable[[TableName], bool]) -> Dump:
    """Find the rows of the wanted tables.

    Args:
        path: a file or (directory format) a folder.
        folder: where rows of compressed dumps are kept while they are needed.
        wanted: tells which tables' rows are kept (partitions by their own names).

    Raises:
        CutoverError: no such file, truncated, not a dump, made with ``--inserts``, or ``pg_restore`` fails.
    """
    if not path.exists():
        raise CutoverError(f"base: there is no dump {path}", "correct [database] base in the plan")
    with _opened(path, folder) as (stream, in_place):
        found = _Parser(path, folder, wanted, in_place=in_place).parse(stream)
    if not any(found.sections.values()):
        raise CutoverError(
            f"base: {path} holds no rows of the compared schemas", "make the dump without --schema-only"
        )
    return found


@contextmanager
def _opened(path: Path, folder: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """Open a dump as plain SQL; tell whether the stream's offsets are the file's own."""
    if path.is_dir():
        if not (path / "toc.dat").exists():
            raise CutoverError(f"base: {path} is no pg_dump folder (it has no toc.dat)", "give the right folder")
        with _restored(path) as stream:
            yield stream, False
        return
    with path.open("rb") as file:
        magic = file.read(5)
        tar = False
        if magic[:2] != b"\x1f\x8b" and magic != b"PGDMP":
            file.seek(257)
            tar = file.read(5) == b"ustar"
    if tar:
        _check_tar(path)
    if magic == b"PGDMP" or tar:
        with _restored(path) as stream:
            yield stream, False
    elif magic[:2] == b"\x1f\x8b":
        with _unzipped(path, folder) as each:
            yield each
    elif magic[:4] == b"\x28\xb5\x2f\xfd" or magic[:4] == b"\x04\x22\x4d\x18":
        raise CutoverError(f"base: {path} is compressed by zstd or lz4", "decompress it first")
    else:
        with path.open("rb") as file:
            yield file, True


def _check_tar(path: Path) -> None:
    """Refuse a truncated tar: ``pg_restore`` ends with 0 after half of its rows, or never."""
    size = path.stat().st_size
    end = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.offset_data + member.size > size:
                    raise _truncated(path, f"{member.name} is cut off")
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        with path.open("rb") as file:
            file.seek(end)
            if file.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
                raise _truncated(path, "the archive's end is missing")
    except tarfile.TarError as error:
        raise _truncated(path, str(error)) from None


@contextmanager
def _unzipped(path: Path, folder: Path) -> Iterator[tuple[IO[bytes], bool]]:
    try:
        with gzip.open(path) as file:
            inner = file.read(5)
    except (OSError, EOFError) as error:
        raise _truncated(path, str(error)) from None
    if inner == b"PGDMP":
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".dump") as whole:
            try:
                with gzip.open(path) as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
            except EOFError as error:
                raise _truncated(path, str(error)) from None
            whole.flush()
            with _restored(Path(whole.name)) as stream:
                yield stream, False
        return
    with gzip.open(path) as file:
        try:
            yield file, False  # type: ignore[misc]  # GzipFile reads like any binary file
        except (EOFError, gzip.BadGzipFile) as error:
            raise _truncated(path, str(error)) from None


@contextmanager
def _restored(path: Path) -> Iterator[IO[bytes]]:
    program = shutil.which("pg_restore") or _newest_pg_restore()
    if program is None:
        raise CutoverError(
            f"base: {path} is in an archive format and pg_restore is not installed",
            "install the PostgreSQL client programs, or give a plain dump",
        )
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [program, "-f", "-", str(path)], stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL
        )
        try:
            if process.stdout is None:
                raise _truncated(path, "pg_restore has no output")
            yield process.stdout
            process.stdout.read()
        except BaseException:
            process.kill()
            process.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().split("\n", maxsplit=1)[0]
            if said:
                raise _truncated(path, said) from None
            raise
        finally:
            process.stdout and process.stdout.close()
        if process.wait() != 0:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().split("\n", maxsplit=1)[0]
            raise _truncated(path, said)


def _newest_pg_restore() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_restore"), key=lambda each: each.parent.parent.name)
    return str(found[-1]) if found else None


def _truncated(path: Path, said: str) -> CutoverError:
    return CutoverError(
        f"base: {path} cannot be read to its end: {said}", "it is truncated or damaged: copy it again", exit_code=4
    )


class _Parser:
    def __init__(
        self, path: Path, folder: Path, wanted: Callable[[TableName], bool], *, in_place: bool
    ) -> None:
        self._path = path
        self._folder = folder
        self._wanted = wanted
        self._in_place = in_place
        self._sections: dict[TableName, list[Section]] = defaultdict(list)
        self._spooled = 0

    def parse(self, stream: IO[bytes]) -> Dump:
        partitions: dict[TableName, TableName] = {}
        sequences: dict[TableName, int | None] = {}
        encoding = "UTF8"
        announced = 0
        complete = False
        offset = 0
        for line in stream:
            offset += len(line)
            announced = max(0, announced - 1)
            first = line[:6]
            if first == b"-- Dat" and _DATA_FOR.match(line):
                announced = 6
            elif first[:5] == b"COPY " and announced:
                match = _COPY.match(line)
                if match is None:
                    raise CutoverError(f"base: {self._path}: an unreadable COPY: {_shown(line)}", exit_code=4)
                offset = self._rows(stream, offset, match)
                announced = 0
            elif first == b"INSERT" and announced:
                raise CutoverError(
                    f"base: {self._path} holds INSERTs instead of COPY", "make the dump without --inserts"
                )
            elif first == b"SELECT" and (match := _SETVAL.match(line)):
                name = _qualified(match["name"].replace(b"''", b"'"))
                sequences[name] = int(match["value"]) if match["called"] == b"true" else None
            elif first == b"ALTER " and (match := _ATTACH.match(line)):
                partitions[_qualified(match["leaf"])] = _qualified(match["root"])
            elif first == b"SET cl" and (match := _ENCODING.match(line)):
                encoding = match["name"].decode()
            elif line.startswith(_COMPLETE):
                complete = True
            elif line.startswith(_CLUSTER):
                raise CutoverError(
                    f"base: {self._path} is a pg_dumpall of a whole cluster", "give a pg_dump of the one database"
                )
        if not complete:
            raise CutoverError(
                f"base: {self._path} ends without pg_dump's end marker: it is truncated, or no pg_dump",
                "copy it again, or make a new one",
                exit_code=4,
            )
        return Dump(
            sections={name: tuple(sections) for name, sections in self._sections.items()},
            partitions=partitions,
            sequences=sequences,
            encoding=_python_encoding(self._path, encoding),
        )

    def _rows(self, stream: IO[bytes], offset: int, match: re.Match[bytes]) -> int:
        table = _qualified(match["table"])
        columns = tuple(_identifiers(match["columns"] or b""))
        start = offset
        keep = self._wanted(table)
        spool: IO[bytes] | None = None
        target = self._path
        if keep and not self._in_place:
            self._spooled += 1
            target = self._folder / f"base-{self._spooled}.copy"
            spool = target.open("wb")
        ended = False
        try:
            for line in stream:
                offset += len(line)
                if line[:2] == b"\\." and line.rstrip(b"\r\n") == b"\\.":
                    ended = True
                    end = offset - len(line)
                    break
                if line[:6] == b"-- Dat" and _DATA_FOR.match(line):
                    # The rows of a damaged folder end without their mark, and the next table follows.
                    raise _truncated(self._path, f"the rows of {table} have no end")
                if spool is not None:
                    spool.write(line)
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile):
                raise _truncated(self._path, str(error)) from None
            raise CutoverError(
                f"{self._folder}: {error.strerror or error}", "free space for the rows of the dump", exit_code=4
            ) from None
        finally:
            if spool is not None:
                spool.close()
        if not ended:
            raise _truncated(self._path, f"it ends within the rows of {table}")
        if keep:
            section = Section(
                path=target,
                start=start if self._in_place else 0,
                end=end if self._in_place else end - start,
                columns=columns,
            )
            self._sections[table].append(section)
        return offset


def _python_encoding(path: Path, name: str) -> str:
    if name == "SQL_ASCII":
        raise CutoverError(
            f"base: {path} has the encoding SQL_ASCII: its bytes have no defined meaning",
            "make the dump with --encoding=UTF8",
        )
    if name in _PYTHON_ENCODINGS:
        return _PYTHON_ENCODINGS[name]
    if match := re.fullmatch(r"LATIN(\d+)", name):
        numbers = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 9, "6": 10, "7": 13, "8": 14, "9": 15, "10": 16}
        return f"iso8859_{numbers[match[1]]}"
    if match := re.fullmatch(r"WIN(\d+)", name):
        return f"cp{match[1]}"
    raise CutoverError(f"base: {path} has the encoding {name}", "make the dump with --encoding=UTF8")


def _identifiers(text: bytes) -> Iterator[str]:
    for match in re.finditer(r'"((?:[^"]|"")*)"|([^\s,."]+)', text.decode()):
        yield match[1].replace('""', '"') if match[1] is not None else match[2]


def _qualified(text: bytes) -> TableName:
    parts = list(_identifiers(text))
    return TableName(parts[0], parts[1]) if len(parts) > 1 else TableName("public", parts[0])


def _shown(line: bytes) -> str:
    return line[:80].decode(errors="replace").strip()
