"""What every traffic source is: counts for a window that ends where its data is complete.

A source is one module of this package, named as ``source`` in the plan, with a function
``open_source(spec: SourceSpec) -> Source``. Nothing else has to know it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from cutover.clock import Clock
from cutover.observations.traffic import Sight
from cutover.plan import Traffic
from cutover.probes.traffic.api import ApiHosts
from cutover.probes.traffic.unseen import UnseenError

SIDES = ("old", "new")


class Wanted(NamedTuple):
    """What is asked of a source in one round.

    Attributes:
        starts: by side, where its window begins: where the last one ended.
        now: the present; a window ends at the last complete bucket before it.
        bookmarks: by side, what the source left at ``starts``.
        fresh: sides that were not read before: any start near the one given will do.
    """

    starts: Mapping[str, datetime]
    now: datetime
    bookmarks: Mapping[str, str] = {}
    fresh: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One side's answer. Only OK and PARTIAL carry a count; see :class:`~cutover.observations.traffic.TrafficReading`.

    Attributes:
        start, end: the window that the count is for; None where there is none.
        gap: what is missing will not come later: counting goes on after this window.
    """

    sight: Sight
    count: float | None = None
    detail: str = ""
    start: datetime | None = None
    end: datetime | None = None
    tagged: int | None = None
    edge: float = 0.0
    bookmark: str = ""
    gap: bool = False


class Source(Protocol):
    """One source of the plan, opened.

    Attributes:
        lag: how far behind the present its last complete bucket normally is.
        bucket: the grid that its windows lie on; zero when they may end anywhere.
        cuts_now: its windows end at the instant of reading, so that our own requests must keep clear of it.
    """

    lag: timedelta
    bucket: timedelta
    cuts_now: bool

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        """Return one count for each side for which something can be said: nothing for "no new bucket yet".

        Raises:
            UnseenError: neither side could be seen, for one reason.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """What a source is opened with.

    Attributes:
        traffic: its table of the plan.
        label: its name in messages (``datadog #1``).
        hosts: requests for the plan's hosts are counted (lower case, no final dot).
        asked: the hosts that sentinels ask for, where a side's url has another one.
        base_dir: the plan's folder; relative paths and commands start there.
        api: HTTP clients, one per host, with what is known of each host's limits.
        interval: of the gate.
    """

    traffic: Traffic
    label: str
    hosts: tuple[str, ...]
    base_dir: Path
    api: ApiHosts
    clock: Clock
    interval: timedelta
    asked: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that this source tells."""
        if self.traffic.source == "command":
            return SIDES
        return tuple(side for side in SIDES if getattr(self.traffic, side) is not None)

    def query(self, side: str) -> str:
        """Return the text that the plan gives for a side."""
        return str(getattr(self.traffic, side))


def open_source(spec: SourceSpec) -> Source:
    """Open a source by the module that is named like it."""
    module = importlib.import_module(f"{__package__}.{spec.traffic.source}")
    opened: Source = module.open_source(spec)
    return opened


def floor_to(instant: datetime, bucket: timedelta) -> datetime:
    """Return the last multiple of ``bucket`` since the epoch that is not after ``instant``."""
    seconds = bucket.total_seconds()
    if seconds <= 0:
        return instant
    return datetime.fromtimestamp(math.floor(instant.timestamp() / seconds) * seconds, UTC)


def number(value: object, what: str) -> float:
    """Return a count as a float.

    Raises:
        UnseenError: it is no finite number, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnseenError(Sight.MALFORMED, f"{what} is {type(value).__name__}, not a number")
    try:
        found = float(value)
    except ValueError:
        raise UnseenError(Sight.MALFORMED, f"{what} is {str(value)[:40]!r}, not a number") from None
    if not math.isfinite(found):
        raise UnseenError(Sight.MALFORMED, f"{what} is {found}")
    if found < 0:
        raise UnseenError(Sight.MALFORMED, f"{what} is negative ({found:g})")
    return found
