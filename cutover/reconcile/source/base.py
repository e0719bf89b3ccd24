"""Base as a dump file: its rows are normalised, hashed and shown by old's server, as if they lay there.

pg_dump does not pin the time zone (nor ``bytea_output``), so a dump's text is not compared as it stands:
each value is cast to the column's type on old's server and comes back as that server writes it.
"""

from __future__ import annotations

import dataclasses
import mmap
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import errors, sql

from cutover.errors import CutoverError
from cutover.reconcile.model import Row, Side, Table, TableName
from cutover.reconcile.source.catalogue import Catalogue, RawTable
from cutover.reconcile.source.dump import Dump, Section
from cutover.reconcile.source.reader import Chunk, Expressions, Int64s, Reader, Records, joined, no_records, unpack
from cutover.reconcile.source.schema import BaseColumns
from cutover.reconcile.source.session import Database, text_rows
from cutover.reconcile.source.sides import ScanPlan, Sequences

BLOCK = 8192
_FIELD, _LINE, _NULL = "\x1f", "\x1e", "\x1d"
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_NAMED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ROWS = 4000


class DumpBase:
    """Base as a dump.

    Args:
        path: for messages.
        dump: what :func:`cutover.reconcile.source.dump.read_dump` found.
        old: whose server normalises the values.
        catalogue: old's, which knows the types.
    """

    def __init__(self, path: Path, dump: Dump, old: Database, catalogue: Catalogue) -> None:
        self._path = path
        self._dump = dump
        self._old = old
        self._catalogue = catalogue
        self._sections: dict[TableName, list[Section]] = {}
        for name, sections in dump.sections.items():
            root = dump.partitions.get(name) or catalogue.partitions.get(name) or name
            while root in dump.partitions:
                root = dump.partitions[root]
            self._sections.setdefault(root, []).extend(sections)

    @property
    def label(self) -> str:
        """The file."""
        return f"base: {self._path}"

    @property
    def notes(self) -> Sequence[str]:
        """What the dump's text cannot say."""
        money = sorted(
            f"{name}.{column.name}"
            for name in self._sections
            if (raw := self.raw(name)) is not None
            for column in raw.columns
            if column.base_type == "money"
        )
        if not money:
            return ()
        return (f"{', '.join(money)}: a dump does not say the locale (lc_monetary) of money: taken as C's",)

    def columns(self) -> BaseColumns | None:
        """The columns that the rows have; pg_dump leaves out generated ones."""
        return {name: sections[0].columns for name, sections in self._sections.items()}

    def reader(self, table: Table, plan: ScanPlan) -> Reader | None:
        """Return a reader of the table's rows; ``None`` where the dump left its data out."""
        sections = self._sections.get(table.name)
        raw = self.raw(table.name)
        if sections is None or raw is None:
            return None
        missing = [each for each in table.key if each not in sections[0].columns]
        if missing:
            raise CutoverError(
                f"{table.name}: the dump lacks the key column {missing[0]}", "give a base with it, or a match_key"
            )
        return DumpReader(self._old, table, raw, sections, self._dump.encoding, plan.expressions(raw, Side.BASE))

    def raw(self, name: TableName) -> RawTable | None:
        """Return old's table, reduced to the columns that the dump has."""
        sections = self._sections.get(name)
        raw = self._catalogue.tables.get(name)
        if sections is None or raw is None:
            return None
        columns = tuple(column for column in raw.columns if column.name in sections[0].columns)
        return dataclasses.replace(raw, columns=columns)

    def refresh(self, old: Catalogue) -> None:
        """Take old's types as they are at its new snapshot."""
        self._catalogue = old

    def sequences(self) -> Sequences:
        """The dump's ``setval`` calls."""
        return self._dump.sequences

    def instant(self) -> str:
        """The file's identity: a file that was written again is another base."""
        found = self._path.stat()
        return f"{self._path.resolve()}:{found.st_size}:{found.st_mtime_ns}"

    def close(self) -> None:
        """Remove the rows that were kept."""
        for sections in self._sections.values():
            for section in sections:
                if section.path != self._path:
                    section.path.unlink(missing_ok=True)


class DumpReader:
    """A table's rows in COPY's text format. Positions are byte offsets; chunks are blocks of 8 KiB."""

    scannable = True

    def __init__(
        self,
        database: Database,
        table: Table,
        raw: RawTable,
        sections: Sequence[Section],
        encoding: str,
        expressions: Expressions,
    ) -> None:
        self._database = database
        self._table = table
        self._raw = raw
        self._sections = sections
        self._encoding = encoding
        self._expressions = expressions
        present = {column.name for column in raw.columns}
        self._select = [
            sql.Identifier(column.name) if column.name in present else sql.SQL("NULL") for column in table.columns
        ]
        self.extent = tuple(-(-(section.end - section.start) // BLOCK) for section in sections)
        self.size = sum(section.end - section.start for section in sections)

    @cached_property
    def _maps(self) -> list[mmap.mmap | bytes]:
        maps: list[mmap.mmap | bytes] = []
        for section in self._sections:
            with section.path.open("rb") as file:
                empty = section.start == section.end
                maps.append(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return maps

    def all_rows(self) -> Iterator[Row]:
        """Yield every row, as old's server writes it."""
        for leaf, section in enumerate(self._sections):
            for start in range(0, section.end - section.start, 1 << 20):
                raw, _ = self._lines(leaf, start, start + (1 << 20))
                yield from self._shown(leaf, raw, self._select)

    def scan(self, chunk: Chunk) -> Records:
        """Let the server cast and hash the rows that begin within the chunk."""
        section = self._sections[chunk.leaf]
        end = min(chunk.end * BLOCK, section.end - section.start)
        parts = []
        two = self._expressions.second is not None
        numbers = [self._expressions.key, self._expressions.first]
        if self._expressions.second is not None:
            numbers.append(self._expressions.second)
        packed = sql.SQL(", ").join(
            sql.SQL("string_agg(int8send({}), ''::bytea ORDER BY ord)").format(each) for each in numbers
        )
        for start in range(chunk.start * BLOCK, end, 1 << 20):
            raw, offsets = self._lines(chunk.leaf, start, min(start + (1 << 20), end))
            if not len(offsets):
                continue
            query = sql.SQL("SELECT {} FROM {}").format(packed, self._typed(chunk.leaf, raw))
            fields = self._ask(query, binary=True)
            records = unpack(fields, chunk.leaf, two=two, by_key=True)
            if len(records.key) != len(offsets):
                raise CutoverError(
                    f"{self._table.name}: {len(offsets)} lines of the dump gave {len(records.key)} rows",
                    "give base as a restored database (URL)",
                    exit_code=4,
                )
            parts.append(records._replace(position=offsets | np.int64(chunk.leaf << 48)))
        return joined(parts) if parts else no_records()

    def fetch(self, positions: Int64s, columns: Sequence[int] | None = None) -> dict[int, Row]:
        """Read lines by offset and let the server write their values."""
        select = self._select if columns is None else [self._select[column] for column in columns]
        found: dict[int, Row] = {}
        ordered = np.sort(positions).tolist()
        for start in range(0, len(ordered), _ROWS):
            part = ordered[start : start + _ROWS]
            for leaf in sorted({position >> 48 for position in part}):
                here = [position for position in part if position >> 48 == leaf]
                raw = b"".join(self._line(leaf, position & (1 << 48) - 1) for position in here)
                rows = self._shown(leaf, raw, select)
                found.update(zip(here, rows, strict=True))
        return found

    def _lines(self, leaf: int, start: int, end: int) -> tuple[bytes, Int64s]:
        """Return the lines that begin in ``start``..``end`` (relative to the section) and their offsets."""
        section, data = self._sections[leaf], self._maps[leaf]
        first = section.start + start
        if start:
            first = data.find(b"\n", first - 1, section.end) + 1 or section.end
        last = min(section.start + end, section.end)
        if last < section.end:
            last = data.find(b"\n", last - 1, section.end) + 1 or section.end
        if first >= last:
            return b"", np.empty(0, np.int64)
        raw = bytes(data[first:last])
        lines = raw.count(b"\n")
        if raw[-1:] != b"\n" or raw.count(b"\t") != lines * (len(section.columns) - 1):
            raise CutoverError(
                f"{self._table.name}: the dump holds rows that do not have {len(section.columns)} columns",
                "the dump is damaged: make a new one, or give base as a restored database (URL)",
                exit_code=4,
            )
        ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == 0x0A)
        offsets = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) + np.int64(first - section.start)
        return raw, offsets

    def _line(self, leaf: int, offset: int) -> bytes:
        section, data = self._sections[leaf], self._maps[leaf]
        begin = section.start + offset
        return bytes(data[begin : data.find(b"\n", begin, section.end) + 1])

    def _argument(self, raw: bytes) -> str:
        """Rewrite COPY's escapes so that the server can split lines and fields by characters."""
        text = raw.decode(self._encoding)
        if _FIELD in text or _LINE in text or _NULL in text:
            raise CutoverError(
                f"{self._table.name}: the dump holds control characters (0x1d to 0x1f) in its rows",
                "give base as a restored database (URL)",
            )
        # A field of its own begins each line: the server's splitting of an empty text gives nothing at all.
        text = _FIELD + text.removesuffix("\n").replace("\t", _FIELD).replace("\n", _LINE + _FIELD)
        return _ESCAPE.sub(_unescape, text) if "\\" in text else text

    def _typed(self, leaf: int, raw: bytes) -> sql.Composable:
        columns = self._sections[leaf].columns
        casts = []
        for number, name in enumerate(columns, start=2):
            column = self._raw.column(name)
            if column is not None:
                casts.append(
                    sql.SQL("CAST(f[{}] AS {}) AS {}").format(
                        sql.SQL(str(number)), sql.SQL(column.type), sql.Identifier(name)
                    )
                )
        return sql.SQL(
            "(SELECT ord, {} FROM (SELECT ord, string_to_array(line, {}, {}) AS f"
            " FROM string_to_table({}::text, {}) WITH ORDINALITY AS l(line, ord)) AS s) AS t"
        ).format(
            sql.SQL(", ").join(casts),
            sql.Literal(_FIELD),
            sql.Literal(_NULL),
            sql.Literal(self._argument(raw)),
            sql.Literal(_LINE),
        )

    def _shown(self, leaf: int, raw: bytes, select: Sequence[sql.Composable]) -> list[Row]:
        if not raw:
            return []
        query = sql.SQL("SELECT {} FROM {} ORDER BY ord").format(sql.SQL(", ").join(select), self._typed(leaf, raw))
        rows: list[Row] = self._ask(query, binary=False)
        return rows

    def _ask(self, query: sql.Composed, *, binary: bool) -> Any:
        with self._database.worker() as connection:
            try:
                with connection.cursor(binary=binary) as cursor:
                    cursor.execute(query)
                    if not binary:
                        return text_rows(cursor)
                    result = cursor.pgresult
                    width = result.nfields if result else 0
                    return [(result.get_value(0, each) if result else None) or b"" for each in range(width)]
            except (errors.DataError, errors.IntegrityError) as error:
                said = str(error).strip().split("\n", maxsplit=1)[0]
                raise CutoverError(
                    f"{self._table.name}: a value of the dump does not fit old's column: {said}",
                    "old's schema changed since base: give base as a restored database (URL)",
                ) from None


def _unescape(match: re.Match[str]) -> str:
    body = match[1]
    if body == "N":
        return _NULL
    if body[0] in "01234567":
        return chr(int(body, 8))
    if body[0] == "x" and len(body) > 1:
        return chr(int(body[1:], 16))
    return _NAMED.get(body, body)
