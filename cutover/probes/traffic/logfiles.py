"""Following files that are rotated, copied, truncated and compressed, across processes, by a small bookmark."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from cutover.observations.traffic import Sight
from cutover.probes.traffic.unseen import UnseenError

HEAD = 1024
"""Bytes at a file's beginning by which it is known again when its inode is another one."""
_SHORTEST_HEAD = 32
TAIL = 8 << 20
"""Bytes at a file's end that are read at the first reading."""
READ_LIMIT = 256 << 20
"""Bytes that are read of one side in one reading; what is more is skipped, and said to be."""
_CHUNK = 4 << 20
_LIVE_SECONDS = 900
_GZIP_MAGIC = b"\x1f\x8b"
_SIBLINGS = 2000


Take = Callable[[str, bool], None]
"""Is given each line, and whether its file was not read before (so that old lines may stand in it)."""


class Followed(NamedTuple):
    """One reading of one side's files.

    Attributes:
        bookmark: where to go on.
        lost: why lines may be missing, or "".
    """

    bookmark: str
    lost: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """What is remembered of one file.

    Attributes:
        offset: into its uncompressed content.
        head_length, head: its first bytes, to know it again.
        finished: it is compressed and was read to its end (or is older than the first reading).
    """

    path: str
    device: int
    inode: int
    offset: int
    head_length: int
    head: str
    modified: float
    finished: bool


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    device: int
    inode: int
    size: int
    modified: float
    packed: bool


def follow(paths: Sequence[Path], bookmark: str, now: datetime, take: Take) -> Followed:
    """Read what was appended to some files since the bookmark was made.

    Raises:
        UnseenError: a file may not be read.
    """
    files = [_examined(path) for path in paths]
    if not bookmark:
        return _first(files, now, take)
    marks, read_at = _unpacked(bookmark)
    claimed = _claims(marks, files)
    lost = _lost(marks, claimed, files, read_at)
    kept: list[_Mark] = []
    budget = READ_LIMIT
    for file in sorted({*files, *claimed}, key=lambda x: x.modified):
        mark = claimed.get(file)
        if mark is not None and mark.finished:
            kept.append(mark)
            continue
        offset = mark.offset if mark is not None else 0
        if not file.packed and file.size - offset > budget:
            lost = lost or f"{file.path.name}: {(file.size - offset - TAIL) >> 20} MB were skipped, too much to read"
            offset = max(offset, file.size - TAIL)
        try:
            end = _read_from(file, offset, mark is None, take)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            lost = lost or f"{file.path.name} cannot be unpacked to its end"
            kept.extend([mark] if mark is not None else [])
            continue
        budget = max(TAIL, budget - (end - offset))
        recent = not file.packed and now.timestamp() - file.modified < _LIVE_SECONDS
        if file in files or recent:
            kept.append(_marked(file, end, finished=file.packed))
    return Followed(_packed(kept, now), lost)


def _first(files: Sequence[_File], now: datetime, take: Take) -> Followed:
    """Read the ends of plain files; what is compressed is the past."""
    marks: list[_Mark] = []
    for file in sorted(files, key=lambda x: x.modified):
        end = 0 if file.packed else _read_from(file, max(0, file.size - TAIL), True, take)
        marks.append(_marked(file, end, finished=file.packed))
    return Followed(_packed(marks, now), "")


def _claims(marks: Sequence[_Mark], files: Sequence[_File]) -> dict[_File, _Mark]:
    """Find the file that each remembered one has become."""
    known = {(mark.device, mark.inode): mark for mark in marks}
    claimed: dict[_File, _Mark] = {}
    for file in files:
        mark = known.get((file.device, file.inode))
        if mark is not None and _is(file, mark):
            claimed[file] = mark
    for mark in marks:
        if mark not in claimed.values():
            continued = _continuation(mark, files, claimed)
            if continued is not None:
                claimed[continued] = mark
    return claimed


def _continuation(mark: _Mark, files: Sequence[_File], claimed: dict[_File, _Mark]) -> _File | None:
    """Find what a file has become: renamed out of the globs, copied, or compressed."""
    candidates = [file for file in files if file not in claimed]
    seen = {(file.device, file.inode) for file in files}
    candidates += [file for file in _siblings(Path(mark.path)) if (file.device, file.inode) not in seen]
    same_inode = [file for file in candidates if (file.device, file.inode) == (mark.device, mark.inode)]
    by_head = candidates if mark.head_length >= _SHORTEST_HEAD else []
    return next((file for file in [*same_inode, *by_head] if _is(file, mark)), None)


def _siblings(path: Path) -> list[_File]:
    """Files beside one that rotation may have made of it: their names begin with its name or its stem."""
    found: list[_File] = []
    try:
        with os.scandir(path.parent) as entries:
            for number, entry in enumerate(entries):
                if number >= _SIBLINGS:
                    break
                if entry.name.startswith((path.name, path.stem)) and entry.is_file():
                    try:
                        found.append(_examined(Path(entry.path)))
                    except UnseenError:
                        continue
    except OSError:
        return []
    return sorted(found, key=lambda x: -x.modified)


def _lost(marks: Sequence[_Mark], claimed: dict[_File, _Mark], files: Sequence[_File], read_at: float) -> str:
    """Say which file ended in a way that may have taken unread lines with it."""
    for mark in marks:
        if mark in claimed.values() or mark.finished or mark.head_length == 0:
            continue
        if read_at - mark.modified > _LIVE_SECONDS and len(marks) > 1:
            continue
        name = Path(mark.path).name
        truncated = any((file.device, file.inode) == (mark.device, mark.inode) for file in files)
        how = "was truncated" if truncated else "vanished"
        return f"{name} {how}: lines since {datetime.fromtimestamp(read_at, UTC):%H:%M:%S} may be lost"
    return ""


def _examined(path: Path) -> _File:
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            magic = stream.read(2)
    except PermissionError:
        raise UnseenError(Sight.FORBIDDEN, f"{path}: may not be read") from None
    except OSError as error:
        raise UnseenError(Sight.UNREACHABLE, f"{path}: cannot be read: {error.strerror}") from None
    return _File(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime, magic == _GZIP_MAGIC)


def _open(file: _File) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(file.path, "rb") if file.packed else file.path.open("rb")


def _head(file: _File, length: int) -> tuple[int, str]:
    try:
        with _open(file) as stream:
            raw = stream.read(length)
    except (OSError, EOFError, zlib.error):
        raw = b""
    return len(raw), hashlib.sha256(raw).hexdigest()[:24]


def _is(file: _File, mark: _Mark) -> bool:
    """Tell whether a file begins as a remembered one did, and is not shorter than what was read of it."""
    return (file.packed or file.size >= mark.offset) and _head(file, mark.head_length) == (mark.head_length, mark.head)


def _marked(file: _File, offset: int, *, finished: bool) -> _Mark:
    length, head = _head(file, HEAD)
    return _Mark(str(file.path), file.device, file.inode, offset, length, head, file.modified, finished)


def _read_from(file: _File, offset: int, history: bool, take: Take) -> int:
    """Give away whole lines from an offset and return the offset after them.

    A last line without its end is left for the next reading; in a compressed file it is complete. A reading that
    begins in the middle of a file that was not read before begins at its next line.
    """
    rest = b""
    skip = history and offset > 0
    with _open(file) as stream:
        stream.seek(offset)
        while chunk := stream.read(_CHUNK):
            rest += chunk
            whole, newline, rest = rest.rpartition(b"\n")
            if not newline:
                continue
            offset += len(whole) + 1
            lines = whole.decode("utf-8", errors="replace").split("\n")
            for line in lines[1:] if skip else lines:
                take(line, history)
            skip = False
    if file.packed and rest:
        take(rest.decode("utf-8", errors="replace"), history)
        offset += len(rest)
    return offset


def _packed(marks: Sequence[_Mark], now: datetime) -> str:
    rows = [[m.path, m.device, m.inode, m.offset, m.head_length, m.head, m.modified, m.finished] for m in marks]
    return json.dumps({"at": now.timestamp(), "files": rows}, separators=(",", ":"))


def _unpacked(bookmark: str) -> tuple[list[_Mark], float]:
    document = json.loads(bookmark)
    return [_Mark(*row) for row in document["files"]], float(document["at"])
