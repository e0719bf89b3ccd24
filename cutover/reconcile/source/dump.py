"""Reading a ``pg_dump``: where each table's rows lie, and whether the file is whole.

Plain dumps are read in place; compressed ones and the archive formats (custom, directory, tar: through
``pg_restore -f -``) are streamed once, and the sections that are needed are kept beside the bundle while the
comparison runs.
"""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cutover.errors import CutoverError
from cutover.reconcile.model import TableName
from cutover.reconcile.source.dumpfile import opened, truncated
from cutover.reconcile.source.encodings import codec_of

_DATA_FOR = re.compile(rb"-- Data for Name: .*; Type: TABLE DATA;")
_COPY = re.compile(rb'COPY (?P<table>(?:"(?:[^"]|"")*"|[^\s"])+) (?:\((?P<columns>.*)\))? ?FROM stdin;\r?\n?$')
_SETVAL = re.compile(
    rb"SELECT pg_catalog\.setval\('(?P<name>(?:[^']|'')+)', (?P<value>-?\d+), (?P<called>true|false)\);"
)
_ATTACH = re.compile(rb"ALTER TABLE ONLY (?P<root>.+?) ATTACH PARTITION (?P<leaf>.+?) (?:FOR VALUES|DEFAULT)")
_ENCODING = re.compile(rb"SET client_encoding = '(?P<name>[^']+)';")
_COMPLETE = b"-- PostgreSQL database dump complete"
_CLUSTER = b"-- PostgreSQL database cluster dump"


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
    with opened(path, folder) as (stream, in_place):
        found = _Parser(path, folder, wanted, in_place=in_place).parse(stream)
    if not any(found.sections.values()):
        raise CutoverError(f"base: {path} holds no rows of the compared schemas", "make the dump without --schema-only")
    return found


class _Parser:
    def __init__(self, path: Path, folder: Path, wanted: Callable[[TableName], bool], *, in_place: bool) -> None:
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
                    raise truncated(self._path, f"the rows of {table} have no end")
                if spool is not None:
                    spool.write(line)
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile):
                raise truncated(self._path, str(error)) from None
            raise CutoverError(
                f"{self._folder}: {error.strerror or error}", "free space for the rows of the dump", exit_code=4
            ) from None
        finally:
            if spool is not None:
                spool.close()
        if not ended:
            raise truncated(self._path, f"it ends within the rows of {table}")
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
    codec = codec_of(name)
    if codec is not None:
        return codec or "utf-8"
    raise CutoverError(f"base: {path} has the encoding {name}", "make the dump with --encoding=UTF8")


def _identifiers(text: bytes) -> Iterator[str]:
    for match in re.finditer(r'"((?:[^"]|"")*)"|([^\s,."]+)', text.decode()):
        yield match[1].replace('""', '"') if match[1] is not None else match[2]


def _qualified(text: bytes) -> TableName:
    parts = list(_identifiers(text))
    return TableName(parts[0], parts[1]) if len(parts) > 1 else TableName("public", parts[0])


def _shown(line: bytes) -> str:
    return line[:80].decode(errors="replace").strip()
