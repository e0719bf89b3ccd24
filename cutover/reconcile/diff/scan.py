"""Scanning all sides of one table at once, by ranges, evenly, within a time target per range."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field

from cutover.reconcile.diff.match import Candidates, Leftover, Matcher
from cutover.reconcile.source.reader import LAST_BLOCK, Chunk, Reader, Records, joined, no_records

TARGET_SECONDS = 0.4
MOST_ROWS = 64_000
_FIRST_BLOCKS = 512
_ROUND_ROWS = 150_000


@dataclass(slots=True)
class _Side:
    """How far one side has been read."""

    reader: Reader
    blocks: int
    leaf: int = 0
    block: int = 0
    handed_out: int = 0
    done: int = 0
    step: int = _FIRST_BLOCKS
    running: int = 0
    rows: int = 0
    held: list[Records] = field(default_factory=list)

    @property
    def fraction(self) -> float:
        """Part of its blocks that was handed out."""
        return self.handed_out / self.blocks if self.blocks else 1.0

    @property
    def read(self) -> float:
        """Part of its blocks that came back."""
        return self.done / self.blocks if self.blocks else 1.0

    @property
    def lead(self) -> float:
        """By how much it may be ahead of the slowest side: a range."""
        return 1.5 * self.step / self.blocks if self.blocks else 1.0

    def next_chunk(self) -> Chunk | None:
        """Return the next range; the last one of a leaf is open-ended."""
        extent = self.reader.extent
        while self.leaf < len(extent) and self.block >= extent[self.leaf]:
            self.leaf += 1
            self.block = 0
        if self.leaf >= len(extent):
            return None
        size = extent[self.leaf]
        end = min(self.block + self.step, size)
        chunk = Chunk(self.leaf, self.block, end if end < size else LAST_BLOCK)
        self.handed_out += end - self.block
        self.block = end
        return chunk

    def learn(self, blocks: int, rows: int, seconds: float) -> None:
        """Adapt the step to what the last range cost."""
        wanted = self.step
        if seconds > 0:
            wanted = int(blocks * TARGET_SECONDS / seconds)
        if rows:
            wanted = min(wanted, blocks * MOST_ROWS // rows)
        self.step = max(16, min(wanted, self.step * 2, 1 << 16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a scan is: for a progress bar.

    Attributes:
        fraction: of the blocks of all sides, 0 to 1.
        rows: read so far, all sides.
    """

    fraction: float
    rows: int


def _timed(reader: Reader, chunk: Chunk) -> tuple[Records, float]:
    began = time.perf_counter()
    records = reader.scan(chunk)
    return records, time.perf_counter() - began


def scan_all(
    readers: Sequence[Reader],
    matcher: Matcher,
    executor: Executor,
    *,
    jobs: int = 1,
    advance: Callable[[Advance], None] | None = None,
) -> Iterator[tuple[Candidates, Leftover | None]]:
    """Read every side of a table and yield what may differ.

    Args:
        readers: in the matcher's order.
        matcher: holds rows that wait for a counterpart.
        executor: runs the ranges.
        jobs: ranges of one side that may run at a time.
        advance: told after every range.
    """
    sides = [_Side(reader, sum(reader.extent)) for reader in readers]
    total = sum(side.blocks for side in sides) or 1
    futures: dict[Future[tuple[Records, float]], tuple[int, Chunk]] = {}

    def feed() -> None:
        while True:
            slowest = min(side.read for side in sides)
            ready = [
                (side.fraction, number)
                for number, side in enumerate(sides)
                # Keep the sides together: a row that waits for its counterpart costs memory and sorting.
                if side.running < jobs and side.handed_out < side.blocks and side.fraction <= slowest + side.lead
            ]
            if not ready:
                return
            _, number = min(ready)
            side = sides[number]
            chunk = side.next_chunk()
            if chunk is None:
                side.handed_out = side.done = side.blocks
                continue
            side.running += 1
            futures[executor.submit(_timed, side.reader, chunk)] = (number, chunk)

    try:
        feed()
        while futures:
            finished, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in finished:
                number, chunk = futures.pop(future)
                records, seconds = future.result()
                side = sides[number]
                side.running -= 1
                side.rows += len(records.key)
                blocks = min(chunk.end, side.reader.extent[chunk.leaf]) - chunk.start
                side.done += blocks
                side.learn(blocks, len(records.key), seconds)
                side.held.append(records)
            feed()
            if advance:
                done = sum(each.done for each in sides)
                advance(Advance(fraction=done / total, rows=sum(each.rows for each in sides)))
            if sum(len(part.key) for side in sides for part in side.held) >= _ROUND_ROWS:
                yield matcher.add(_taken(sides)), None
        yield matcher.add(_taken(sides)), None
        yield from matcher.finish()
    finally:
        for future in futures:
            future.cancel()
        matcher.close()


def _taken(sides: Sequence[_Side]) -> list[Records]:
    taken = []
    for side in sides:
        parts = side.held
        side.held = []
        if not parts:
            taken.append(no_records())
        elif len(parts) == 1:
            taken.append(parts[0])
        else:
            taken.append(joined(parts))
    return taken
