"""Access logs on this machine (or delivered to it), followed through rotation, truncation and compression.

``old`` and ``new`` are globs. Each line is counted once, whatever becomes of its file: files are known by inode
and by a digest of their first bytes, so that ``access.log`` goes on as ``access.log.1``, as a copy
(``copytruncate``) or as ``access.log.2.gz``. A window ends at the newest line. Our own requests are recognised by
their User-Agent and left out; of a source with ``weight = "writes"`` only POST, PUT, PATCH and DELETE count.
Lines of a format that cannot be read count as requests on the old side and as nothing on the new side.

A sentinel whose host is none of the plan's is no proof: where that field is the machine's name, no user's request
would count either.
"""

from __future__ import annotations

import asyncio
import glob
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cutover.observations.traffic import Sight
from cutover.probes.traffic.api import SKEW_LIMIT
from cutover.probes.traffic.base import Count, Source, SourceSpec, Wanted
from cutover.probes.traffic.logfiles import follow
from cutover.probes.traffic.logformats import WRITING_METHODS, BadLineError, Line, parser
from cutover.probes.traffic.unseen import UnseenError

_EDGES = {"combined": 5.0, "json": 5.0, "alb": 330.0, "cloudfront": 3600.0}
"""Seconds until a finished request stands in the log: buffers are flushed, AWS delivers files."""
_BAD_SHARE = 0.2


def open_source(spec: SourceSpec) -> Source:
    """Open an access log source."""
    return AccessLog(spec)


class _Tally:
    """Counts the lines of one side in one reading.

    Args:
        after: lines of a file that was not read before count only when they are later than this.
    """

    def __init__(self, spec: SourceSpec, after: datetime) -> None:
        self._spec = spec
        self._after = after
        self._read = parser(spec.traffic.format)
        self._only_writes = spec.traffic.weight == "writes"
        self.requests = 0
        self.tagged = 0
        self.lines = 0
        self.bad = 0
        self.strange = ""
        self.newest: datetime | None = None

    def take(self, text: str, history: bool) -> None:
        """Take one line."""
        try:
            line = self._read(text)
        except BadLineError:
            self.lines += 1
            self.bad += 1
            return
        if line is None:
            return
        self.lines += 1
        if history and line.at <= self._after:
            return
        if self.newest is None or line.at > self.newest:
            self.newest = line.at
        if line.sentinel and line.host and line.host not in (*self._spec.hosts, *self._spec.asked):
            self.strange = line.host
        elif line.sentinel:
            self.tagged += 1
        elif self._counts(line):
            self.requests += 1

    def _counts(self, line: Line) -> bool:
        if line.own or (line.host and line.host not in self._spec.hosts):
            return False
        return not (self._only_writes and line.method and line.method not in WRITING_METHODS)


class AccessLog:
    """One ``[[traffic]] source = "access_log"``."""

    bucket = timedelta(0)
    cuts_now = False

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self.edge = _EDGES[spec.traffic.format]
        self.lag = timedelta(seconds=self.edge)

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        """Count the lines that came since the last reading."""
        counts: dict[str, Count] = {}
        for side, start in wanted.starts.items():
            try:
                found = await asyncio.to_thread(self._side, side, start, wanted)
            except UnseenError as error:
                found = Count(sight=error.sight, detail=error.detail, start=start, end=wanted.now)
            if found is not None:
                counts[side] = found
        return counts

    def _side(self, side: str, start: datetime, wanted: Wanted) -> Count | None:
        globs: Sequence[str] = getattr(self._spec.traffic, side)
        paths = self._paths([globs] if isinstance(globs, str) else globs)
        bookmark = wanted.bookmarks.get(side, "")
        tally = _Tally(self._spec, start - timedelta(seconds=self.edge) if bookmark else start)
        followed = follow(paths, bookmark, wanted.now, tally.take)
        if tally.newest is None or tally.newest <= start:
            if tally.bad and tally.bad == tally.lines:
                raise UnseenError(Sight.MALFORMED, f"no line is in the {self._spec.traffic.format} format")
            return self._nothing_new(side, start, wanted, followed.bookmark)
        if tally.newest > wanted.now + SKEW_LIMIT:
            ahead = round((tally.newest - wanted.now).total_seconds())
            raise UnseenError(Sight.SKEWED, f"the newest line is {ahead} s in the future: the clocks differ")
        if tally.bad and (tally.bad > _BAD_SHARE * tally.lines):
            raise UnseenError(
                Sight.MALFORMED, f"{tally.bad} of {tally.lines} lines are not in the {self._spec.traffic.format} format"
            )
        notes = [f"{tally.bad} lines that cannot be read"] if tally.bad else []
        if tally.strange and not tally.tagged:
            notes.append(f"its host field says \"{tally.strange[:60]}\", none of the plan's: the machine's name?")
        return Count(
            sight=Sight.PARTIAL if followed.lost else Sight.OK,
            count=tally.requests + (tally.bad if side == "old" else 0),
            detail="; ".join([*([followed.lost] if followed.lost else []), *notes]),
            start=start,
            end=tally.newest,
            tagged=tally.tagged,
            edge=self.edge,
            bookmark=followed.bookmark,
            gap=bool(followed.lost),
        )

    def _nothing_new(self, side: str, start: datetime, wanted: Wanted, bookmark: str) -> Count | None:
        """Return what a log without a new line means: nothing yet, or that it has been cut off.

        The first reading leaves its bookmark, so that the lines to come are known to be new.
        """
        fresh = side in wanted.fresh
        overdue = max(3 * self._spec.interval, timedelta(seconds=self.edge))
        if not fresh and wanted.now - start <= overdue:
            return None
        return Count(
            sight=Sight.EMPTY,
            detail="no new line in the log",
            start=start,
            end=wanted.now,
            bookmark=bookmark if fresh else "",
            gap=fresh,
        )

    def _paths(self, globs: Iterable[str]) -> list[Path]:
        found: dict[Path, None] = {}
        patterns = [str(self._spec.base_dir / pattern) for pattern in globs]
        for pattern in patterns:
            matching = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            found.update(dict.fromkeys(Path(path) for path in sorted(matching)))
        files = [path for path in found if path.is_file()]
        if not files:
            raise UnseenError(Sight.NOT_FOUND, f"no file matches {', '.join(patterns)[:160]}")
        return files
