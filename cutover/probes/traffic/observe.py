"""One round of traffic: every source is read, and sentinels are sent for the next one to find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cutover.clock import Clock
from cutover.errors import CutoverError
from cutover.estimate import GAP_INTERVALS, Estimate
from cutover.folds.traffic import TrafficFold, asked_of
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.origin import OriginSeen, PathSeen, UserPathSeen
from cutover.observations.traffic import SentinelSent, Sight, TrafficReading
from cutover.plan import Plan
from cutover.probes.traffic.api import ApiHosts
from cutover.probes.traffic.base import Count, Source, SourceSpec, Wanted, floor_to, open_source
from cutover.probes.traffic.sentinel import OwnRequests, new_tag, send, targets
from cutover.probes.traffic.unseen import UnseenError
from cutover.urls import origin_url

CLEARANCE = timedelta(seconds=1)
"""How far our own requests keep from the end of a window; less when rounds are short."""
FIRST_WINDOW = timedelta(minutes=2)
SOURCE_DEADLINE = 45.0
POLL, POLL_BUCKETS = 1.0, 10.0
"""Seconds between two looks at a source that has not yet counted what was sent."""
PATIENCE = timedelta(minutes=6)
"""How long one round waits for a source at most: a load balancer's log comes within, CloudFront's takes an hour."""
_HOPELESS = {Sight.FORBIDDEN, Sight.NOT_FOUND, Sight.RATE_LIMITED, Sight.WRONG_UNIT, Sight.SKEWED, Sight.MALFORMED}
_BROKEN = _HOPELESS | {Sight.UNREACHABLE}


class TrafficObserver:
    """The plan's traffic sources, opened once for all rounds.

    Args:
        plan: names the sources.
        clock: tells the time; waits.
        base_dir: the plan's folder.
    """

    def __init__(self, plan: Plan, clock: Clock, base_dir: Path) -> None:
        self._plan = plan
        self._clock = clock
        self._base_dir = base_dir
        self._api = ApiHosts(clock)
        self._tag = new_tag()
        self._turn = 0
        self._clearance = min(CLEARANCE, plan.gate.interval / 5)
        hosts = tuple(name.rstrip(".") for name in plan.names)
        urls = [origin_url(plan, name, side) for name in plan.names for side in ("old", "new")]
        self._specs = {
            label: SourceSpec(
                traffic=traffic,
                label=label,
                hosts=hosts,
                asked=tuple(sorted({urlsplit(url).hostname or "" for url in urls})),
                base_dir=base_dir,
                api=self._api,
                clock=clock,
                interval=plan.gate.interval,
            )
            for label, traffic in zip(plan.traffic_labels(), plan.traffic, strict=True)
        }
        self._sources: dict[str, Source] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.close()

    def settling(self) -> timedelta:
        """Return how long the slowest source may take to count what is sent now."""
        return max((self._settling(label) for label in self._specs), default=timedelta(0))

    def will_settle(self, fold: TrafficFold) -> bool:
        """Tell whether a round that shall settle has to wait for it: see :meth:`observe`."""
        return bool(self._specs) and not self._sent_lately(fold)

    async def observe(
        self,
        fold: TrafficFold,
        addresses: Mapping[tuple[str, str], Sequence[str]],
        *,
        probed: Iterable[OwnRequests] = (),
        settle: bool = False,
    ) -> list[Observation]:
        """Read every source from where it stopped, and send sentinels.

        Args:
            fold: what is known so far.
            addresses: of a side's answers by (name, side); ``connect`` of the plan goes before them.
            probed: untagged requests of this round, all of them over by now.
            settle: when no sentinel was sent lately, send first and wait until the sources have counted them, so
                that one round alone can tell whether they see (``preflight``, ``--once``, ``done``).
        """
        if not self._specs:
            return []
        if settle and self.will_settle(fold):
            sent = await self._send(fold, addresses, probed)
            return [*sent, *await self._read(fold, [x for x in sent if isinstance(x, SentinelSent)])]
        if any(self._opened(label).cuts_now for label in self._specs):
            await self._clock.sleep(self._clearance.total_seconds())
        read = await self._read(fold, [])
        await self._clock.sleep(self._clearance.total_seconds())
        return [*read, *await self._send(fold, addresses, probed)]

    def _opened(self, label: str) -> Source:
        if label not in self._sources:
            self._sources[label] = open_source(self._specs[label])
        return self._sources[label]

    def _settling(self, label: str) -> timedelta:
        source = self._opened(label)
        return min(PATIENCE, source.lag + source.bucket + timedelta(seconds=20))

    def _sent_lately(self, fold: TrafficFold) -> bool:
        recent = self._clock.now() - GAP_INTERVALS * self._plan.gate.interval
        last = [fold.last_burst(side) for side in ("old", "new")]
        return all(at is not None and at >= recent for at in last)

    async def _send(
        self,
        fold: TrafficFold,
        addresses: Mapping[tuple[str, str], Sequence[str]],
        probed: Iterable[OwnRequests],
    ) -> list[Observation]:
        await self._avoid_bucket_ends()
        estimate = Estimate(self._plan, fold, self._clock.now())
        sizes = {side: estimate.burst_size(side, self._turn) for side in ("old", "new")}
        self._turn += 1
        try:
            wanted = await targets(self._plan, fold, addresses)
            sent = await send(
                self._plan,
                wanted,
                sizes,
                tag=self._tag,
                base_dir=self._base_dir,
                clock=self._clock,
                probed=probed,
            )
        except CutoverError as error:
            return [ProbeFailed(at=self._clock.now(), probe="traffic", about="sentinel", error=error.message)]
        return list(sent)

    async def _avoid_bucket_ends(self) -> None:
        """Wait until no source's bucket is about to end or has just begun."""
        now = self._clock.now()
        buckets = {self._opened(label).bucket for label in self._specs} - {timedelta(0)}
        for bucket in buckets:
            begun = floor_to(now, bucket)
            clear = 2 * self._clearance
            if now - begun < clear:
                await self._clock.sleep((begun + clear - now).total_seconds())
            elif begun + bucket - now < clear:
                await self._clock.sleep((begun + bucket + clear - now).total_seconds())

    async def _read(self, fold: TrafficFold, sent: Sequence[SentinelSent]) -> list[Observation]:
        batches = await asyncio.gather(*(self._guarded(label, fold, sent) for label in self._specs))
        return [observation for batch in batches for observation in batch]

    async def _guarded(self, label: str, fold: TrafficFold, sent: Sequence[SentinelSent]) -> list[Observation]:
        """Read one source; whatever it raises is its own failure and nobody else's."""
        try:
            async with asyncio.timeout(SOURCE_DEADLINE + (self._settling(label).total_seconds() if sent else 0)):
                counts, wanted = await self._counts(label, fold, sent)
        except TimeoutError:
            return self._unseen(label, fold, UnseenError(Sight.UNREACHABLE, "it did not answer in time"))
        except UnseenError as error:
            return self._unseen(label, fold, error)
        except Exception as error:  # noqa: BLE001 - the boundary where a source runs
            return self._unseen(label, fold, UnseenError(Sight.MALFORMED, f"{type(error).__name__}: {error}"))
        return [self._reading(label, side, count, wanted) for side, count in counts.items()]

    async def _counts(
        self, label: str, fold: TrafficFold, sent: Sequence[SentinelSent]
    ) -> tuple[Mapping[str, Count], Wanted]:
        """Read a source; with sentinels just sent, read again until it has counted them or should have.

        One that will count them in some minutes is asked at once too: what it refuses now, it refuses then.
        """
        source = self._opened(label)
        deadline = self._clock.now() + self._settling(label)
        if sent:
            last = max(x.window_end for x in sent)
            complete = floor_to(last, source.bucket) + source.lag if source.bucket else last
            wait = complete + 2 * self._clearance - self._clock.now()
            if wait > 2 * self._clearance:
                wanted = self._wanted(label, fold, source)
                counts = await source.read(wanted)
                if counts and all(count.sight in _BROKEN for count in counts.values()):
                    return counts, wanted
                wait = complete + 2 * self._clearance - self._clock.now()
            await self._clock.sleep(max(0.0, wait.total_seconds()))
        while True:
            wanted = self._wanted(label, fold, source)
            counts = await source.read(wanted)
            now = self._clock.now()
            if not sent or now >= deadline or self._settled(label, counts, sent):
                return counts, wanted
            await self._clock.sleep(POLL if not source.bucket else POLL_BUCKETS)

    def _settled(self, label: str, counts: Mapping[str, Count], sent: Sequence[SentinelSent]) -> bool:
        for side in self._specs[label].sides:
            answered = sum(x.answered for x in sent if x.side == side)
            if not answered:
                continue
            count = counts.get(side)
            if count is None:
                return False
            if count.sight in _HOPELESS:
                continue
            last = max(x.window_end for x in sent if x.side == side)
            if count.tagged is not None:
                done = count.tagged >= answered
            else:
                done = count.end is not None and count.end >= last + timedelta(seconds=count.edge) + self._clearance
            if not done:
                return False
        return True

    def _wanted(self, label: str, fold: TrafficFold, source: Source) -> Wanted:
        now = self._clock.now()
        estimate = Estimate(self._plan, fold, now)
        starts: dict[str, datetime] = {}
        bookmarks: dict[str, str] = {}
        fresh: set[str] = set()
        for side in self._specs[label].sides:
            late = estimate.vision(label, side).late_since
            resume = fold.reopen(label, side, late) if late is not None else None
            resume = resume or fold.resume(label, side, now)
            if resume is None:
                starts[side] = now - source.lag - source.bucket - max(FIRST_WINDOW, self._plan.gate.interval)
                fresh.add(side)
            else:
                starts[side] = resume.since
                bookmarks[side] = resume.bookmark
        return Wanted(starts, now, bookmarks, frozenset(fresh))

    def _unseen(self, label: str, fold: TrafficFold, error: UnseenError) -> list[Observation]:
        wanted = self._wanted(label, fold, self._opened(label))
        count = Count(sight=error.sight, detail=error.detail)
        return [self._reading(label, side, count, wanted) for side in self._specs[label].sides]

    def _reading(self, label: str, side: str, count: Count, wanted: Wanted) -> TrafficReading:
        source, traffic = self._opened(label), self._specs[label].traffic
        start = count.start or wanted.starts[side]
        return TrafficReading(
            at=self._clock.now(),
            source=label,
            weight=traffic.weight,
            side=side,
            window_start=start,
            window_end=max(start, count.end or wanted.now),
            sight=count.sight,
            count=count.count,
            detail=count.detail,
            tagged=count.tagged,
            edge=count.edge,
            lag=source.lag.total_seconds() + source.bucket.total_seconds(),
            bookmark=count.bookmark,
            gap=count.gap,
            asked=asked_of(traffic, side),
        )


def own_requests(
    observations: Iterable[Observation], side_of: Callable[[str, str], str | None]
) -> tuple[OwnRequests, ...]:
    """Return the origin probes of a round that were answered, as requests that telemetry may have counted.

    Args:
        observations: of this round.
        side_of: ``old``, ``new`` or None for a name and an address that resolvers handed out.
    """
    found: list[OwnRequests] = []
    for seen in observations:
        match seen:
            case OriginSeen(response=response) if response.status:
                found.append(OwnRequests(seen.name, seen.side, seen.connect, 1, seen.at))
            case PathSeen(response=response) if response.status:
                found.append(OwnRequests(seen.name, seen.side, "", 1, seen.at))
            case UserPathSeen(response=response) if response.status:
                side = side_of(seen.name, seen.address)
                if side is not None:
                    found.append(OwnRequests(seen.name, side, f"{seen.address}:{seen.port}", seen.requests, seen.at))
    return tuple(found)
