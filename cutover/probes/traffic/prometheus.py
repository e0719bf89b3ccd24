"""Prometheus, and what speaks its query API (Thanos, Mimir, VictoriaMetrics).

What ``old`` and ``new`` must be: a counter (``http_requests_total{side="old"}``), a sum of it, or
``sum(increase(http_requests_total{side="old"}[$window]))``. All three are read from the counter's raw samples,
because ``increase()`` extrapolates: it would make 4 or 7 requests of 5. A range of your own (``[5m]``) around a
single counter is ignored for the same reason. Any other expression must be a sum of counters, or contain
``$window`` (replaced by the window's length, ``95s``) and return the count for that window. A rate over more
than one counter, a gauge and ``or vector(0)`` are no counts: a missing metric must look missing.

A window ends at the oldest of the newest samples of the series that are alive. On the old side a counter reset or a
vanished series loses requests: the window is then ``PARTIAL`` and counting goes on after it. On the new side the
smaller number is taken instead: it can only make the old side's share look larger.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cutover.observations.traffic import Sight
from cutover.probes.traffic.api import SKEW_LIMIT
from cutover.probes.traffic.base import Count, Source, SourceSpec, Wanted, number
from cutover.probes.traffic.promql import WINDOW, Counting, How, counting
from cutover.probes.traffic.unseen import UnseenError

LOOKBACK = timedelta(minutes=5)
"""Raw samples are read from this long before the window, to find the one that stands at its start."""
UNKNOWN_EDGE = 60.0
OVERDUE = 10.0
"""Seconds without a new sample after which a target counts as cut off, four scrapes at least."""
_COUNTER_SUFFIXES = ("_total", "_count", "_bucket")
_NO_REQUESTS = ("_sum", "_created", "_seconds_total", "_bytes_total")
"""By Prometheus' naming practice: sums of seconds or bytes, and the time at which a counter began."""


def open_source(spec: SourceSpec) -> Source:
    """Open a Prometheus source."""
    return Prometheus(spec)


@dataclass(frozen=True, slots=True)
class Series:
    """One counter's samples, oldest first: seconds since the epoch, value."""

    labels: tuple[tuple[str, str], ...]
    samples: tuple[tuple[float, float], ...]

    @property
    def newest(self) -> float:
        """Time of the last sample."""
        return self.samples[-1][0]


class Prometheus:
    """One ``[[traffic]] source = "prometheus"``."""

    lag = timedelta(minutes=1)
    bucket = timedelta(0)
    cuts_now = False

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._url = (spec.traffic.endpoint_url or spec.traffic.url or "").rstrip("/")
        self._path = urlsplit(self._url).path
        self._gauges: dict[str, bool] = {}

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        """Count each side up to its newest complete scrape."""
        counts: dict[str, Count] = {}
        for side, start in wanted.starts.items():
            try:
                found = await self._side(side, start, wanted)
            except UnseenError as error:
                found = Count(sight=error.sight, detail=error.detail, start=start, end=wanted.now)
            if found is not None:
                counts[side] = found
        return counts

    async def _side(self, side: str, start: datetime, wanted: Wanted) -> Count | None:
        asked = counting(self._spec.query(side))
        await self._refuse_what_is_no_count(asked)
        match asked.how:
            case How.SAMPLES:
                length = (wanted.now - start + LOOKBACK).total_seconds()
                matrix, warning = await self._query(f"{asked.expression}[{max(1, round(length))}s]", wanted.now)
                count = from_samples(series_of(matrix), side, start, wanted.now, fresh=side in wanted.fresh)
                if count is None:
                    count = await self._ended(asked.expression, start, wanted.now)
            case How.ENDS:
                before, _ = await self._query(asked.expression, start)
                after, warning = await self._query(asked.expression, wanted.now)
                count = from_ends(before, after, start, wanted.now)
            case How.WINDOW:
                seconds = max(1, round((wanted.now - start).total_seconds()))
                result, warning = await self._query(asked.expression.replace(WINDOW, f"{seconds}s"), wanted.now)
                count = from_window(result, start, wanted.now)
        if warning and count is not None and count.sight is Sight.OK:
            return replace(count, sight=Sight.PARTIAL, detail=warning)
        return count

    async def _ended(self, selector: str, start: datetime, now: datetime) -> Count | None:
        """Tell a series that has ended from one whose next scrape is still to come.

        Prometheus marks a series stale at the first scrape that fails or does not hold it any more.
        """
        present, _ = await self._query(selector, now)
        if _elements(present):
            return None
        detail = f"the series ended after {start:%H:%M:%S} UTC: the target is down, or the metric was renamed"
        return Count(sight=Sight.STALE, detail=detail, start=start, end=now)

    async def _query(self, expression: str, at: datetime) -> tuple[Mapping[str, Any], str]:
        document = await self._spec.api.host(self._url).post(
            f"{self._path}/api/v1/query", form={"query": expression, "time": f"{at.timestamp():.3f}"}
        )
        if not isinstance(document, dict) or document.get("status") != "success":
            said = document.get("error") if isinstance(document, dict) else ""
            raise UnseenError(Sight.MALFORMED, f"Prometheus refused the query: {str(said)[:160]}")
        data = document.get("data")
        if not isinstance(data, dict) or "result" not in data:
            raise UnseenError(Sight.MALFORMED, "Prometheus' answer has no result")
        warnings = document.get("warnings")
        warning = f"Prometheus warns: {str(warnings[0])[:160]}" if isinstance(warnings, list) and warnings else ""
        return data, warning

    async def _refuse_what_is_no_count(self, asked: Counting) -> None:
        """Refuse sums of something else, and a metric that Prometheus knows as a gauge.

        One without metadata, or inside ``increase()``, is taken at its word.
        """
        for metric in asked.metrics:
            if metric.endswith(_NO_REQUESTS):
                raise UnseenError(
                    Sight.WRONG_UNIT, f"{metric} counts no requests, by its name: a counter of requests is needed"
                )
            if metric.endswith("_bucket") and not re.search(r"\ble\s*=", asked.expression):
                raise UnseenError(
                    Sight.WRONG_UNIT, f'{metric} counts each request once per bucket: add le="+Inf", or take the _count'
                )
            if asked.declared or metric.endswith(_COUNTER_SUFFIXES):
                continue
            if metric not in self._gauges:
                self._gauges[metric] = await self._is_gauge(metric)
            if self._gauges[metric]:
                raise UnseenError(Sight.WRONG_UNIT, f"{metric} is a gauge, a level: a counter of requests is needed")

    async def _is_gauge(self, metric: str) -> bool:
        try:
            document = await self._spec.api.host(self._url).get(
                f"{self._path}/api/v1/metadata", params={"metric": metric}
            )
        except UnseenError as error:
            if error.sight in {Sight.NOT_FOUND, Sight.MALFORMED}:
                return False
            raise
        data = document.get("data") if isinstance(document, dict) else None
        known = data.get(metric) if isinstance(data, dict) else None
        return isinstance(known, list) and any(isinstance(x, dict) and x.get("type") == "gauge" for x in known)


def series_of(data: Mapping[str, Any]) -> tuple[Series, ...]:
    """Read a matrix result.

    Raises:
        UnseenError: it is none, or a value is no number.
    """
    if data.get("resultType") != "matrix":
        raise UnseenError(Sight.MALFORMED, f"Prometheus answered with a {data.get('resultType')}, not with samples")
    found: list[Series] = []
    for each in _elements(data):
        values = each.get("values")
        if not isinstance(values, list):
            raise UnseenError(Sight.MALFORMED, "a series of Prometheus' answer has no values (a native histogram?)")
        samples = tuple(sorted(_sample(pair) for pair in values))
        if samples:
            found.append(Series(_labels(each), samples))
    return tuple(found)


def from_samples(
    found: Sequence[Series], side: str, start: datetime, now: datetime, *, fresh: bool = False
) -> Count | None:
    """Add up counters between two instants.

    Returns:
        None when no scrape has come since ``start`` and none is overdue.
    """
    if not found:
        return Count(sight=Sight.EMPTY, detail="no series matches: renamed, or never scraped", start=start, end=now)
    newest = max(series.newest for series in found)
    if newest > now.timestamp() + SKEW_LIMIT.total_seconds():
        ahead = round(newest - now.timestamp())
        return Count(sight=Sight.SKEWED, detail=f"the newest sample is {ahead} s in the future", start=start, end=now)
    scrape = scrape_interval(found)
    overdue = max(4 * scrape, OVERDUE)
    if now.timestamp() - newest > overdue:
        detail = f"the newest sample is {now.timestamp() - newest:.0f} s old: the target is not scraped any more"
        return Count(sight=Sight.STALE, detail=detail, start=start, end=_instant(newest))
    alive = [series for series in found if newest - series.newest <= 2.5 * scrape]
    end = min(series.newest for series in alive)
    begin = start.timestamp()
    if fresh:
        begin = max(begin, max(series.samples[0][0] for series in alive))
    if end <= begin:
        return None
    last_counted = [max(at for at, _ in series.samples if at <= end) for series in alive if series.samples[0][0] <= end]
    total, lost = 0.0, ""
    for series in found:
        added, problem = _increase(series, side, begin, end)
        total += added
        lost = lost or problem
        if side == "old" and series not in alive and series.newest >= begin:
            lost = lost or f"a series vanished after {_instant(series.newest):%H:%M:%S}: its last requests are lost"
    return Count(
        sight=Sight.PARTIAL if lost and side == "old" else Sight.OK,
        count=total,
        detail=lost,
        start=_instant(begin),
        end=_instant(end),
        edge=end - min(last_counted),
        gap=bool(lost) and side == "old",
    )


def _increase(series: Series, side: str, begin: float, end: float) -> tuple[float, str]:
    """Return how far a counter went in ``(begin, end]``, and how it was reset if it was.

    A series without a sample at ``begin`` was born inside. On the old side its first value counts (it cannot be
    too small), on the new side it does not (it cannot be too large).
    """
    before = [value for at, value in series.samples if at <= begin]
    inside = [(at, value) for at, value in series.samples if begin < at <= end]
    added, problem = 0.0, ""
    level = before[-1] if before else None
    for at, value in inside:
        if level is None:
            added += value if side == "old" else 0.0
        elif value < level:
            problem = problem or f"a counter was reset before {_instant(at):%H:%M:%S}: requests in between are lost"
            added += value
        else:
            added += value - level
        level = value
    return added, problem


def scrape_interval(found: Sequence[Series]) -> float:
    """Return the seconds between scrapes, by the densest series; 15 when one sample is all there is."""
    steps = [
        statistics.median(after - before for (before, _), (after, _) in zip(x.samples, x.samples[1:], strict=False))
        for x in found
        if len(x.samples) > 1
    ]
    return max(1.0, min(steps)) if steps else 15.0


def from_ends(before: Mapping[str, Any], after: Mapping[str, Any], start: datetime, end: datetime) -> Count | None:
    """Subtract two readings of a sum of counters."""
    if end <= start:
        return None
    first, last = _vector(before), _vector(after)
    if not last or not first:
        detail = "had no value when the window began" if last else "has no value now: renamed, or cut off"
        return Count(sight=Sight.EMPTY, detail=f"the expression {detail}", start=start, end=end, gap=bool(last))
    total, reset = 0.0, len(first.keys() - last.keys()) > 0
    for labels, value in last.items():
        step = value - first.get(labels, 0.0)
        reset = reset or step < 0
        total += value if step < 0 else step
    if reset:
        detail = "a counter was reset or vanished: requests in between are lost"
        return Count(sight=Sight.PARTIAL, count=total, detail=detail, start=start, end=end, edge=UNKNOWN_EDGE, gap=True)
    return Count(sight=Sight.OK, count=total, start=start, end=end, edge=UNKNOWN_EDGE)


def from_window(result: Mapping[str, Any], start: datetime, end: datetime) -> Count | None:
    """Read the value of an expression that counts for the window by itself."""
    if end <= start:
        return None
    found = _vector(result)
    if not found:
        return Count(sight=Sight.EMPTY, detail="the expression has no value: renamed, or cut off", start=start, end=end)
    total = sum(number(value, "the expression's value") for value in found.values())
    return Count(sight=Sight.OK, count=total, start=start, end=end, edge=UNKNOWN_EDGE)


def _vector(data: Mapping[str, Any]) -> dict[tuple[tuple[str, str], ...], float]:
    match data.get("resultType"):
        case "vector":
            found: dict[tuple[tuple[str, str], ...], float] = {}
            for each in _elements(data):
                found[_labels(each)] = _sample(each.get("value"))[1]
            return found
        case "scalar":
            return {(): _sample(data.get("result"))[1]}
    raise UnseenError(
        Sight.MALFORMED, f"Prometheus answered with a {data.get('resultType')}: the PromQL must give numbers"
    )


def _elements(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    result = data.get("result")
    if not isinstance(result, list) or not all(isinstance(x, dict) for x in result):
        raise UnseenError(Sight.MALFORMED, "Prometheus' result is no list of series")
    return result


def _labels(each: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    metric = each.get("metric")
    return tuple(sorted((str(k), str(v)) for k, v in metric.items())) if isinstance(metric, dict) else ()


def _sample(pair: object) -> tuple[float, float]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise UnseenError(Sight.MALFORMED, "a sample of Prometheus' answer is no [time, value] pair")
    return number(pair[0], "a sample's time"), number(pair[1], "a sample")


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
