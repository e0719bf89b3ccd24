"""Datadog: metrics (``/api/v1/query``), timeseries (``/api/v2/query/timeseries``) and logs (aggregate).

What the plan's ``old`` and ``new`` must be:

- ``api = "metrics"`` (default) and ``"timeseries"``: a metric query that gives a *count* per bucket, such as
  ``sum:trace.http.request.hits{deployment:porter}.as_count()``. A query without its own rollup gets
  ``.rollup(sum, 60)``, so that windows are whole minutes. A rate (``.as_rate()``, or a unit per second) is
  refused: it is no count.
- ``api = "logs"``: a log search, such as ``service:web @deployment:porter``; its matches are counted.

A bucket without a point is no data, never zero; a window without any point is ``EMPTY``, and a window ends with its
last point: what is missing after it may only be late. Keys come from
``DD_API_KEY`` and ``DD_APP_KEY`` unless the plan names other variables; they need the permissions
``timeseries_query`` or ``logs_read_data``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cutover.errors import CutoverError
from cutover.observations.traffic import Sight
from cutover.planfile import secret
from cutover.probes.traffic.base import Count, Source, SourceSpec, Wanted, floor_to, number
from cutover.probes.traffic.unseen import UnseenError

MINUTE = timedelta(minutes=1)
DELAY = timedelta(minutes=1)
"""How long a whole minute is left to arrive before it is counted."""
_PLAIN_QUERY = re.compile(r"^\s*\w+:[\w.]+\{[^{}]*\}(?:\s*by\s*\{[^{}]*\})?(?:\.as_count\(\))?\s*$")
_NO_SUM = re.compile(r"\b(avg|min|max|p\d{2}):[\w.]+\{")
_ROLLUP = re.compile(r"\.rollup\(\s*(\w+)\s*(?:,\s*(\d+))?")
_FOREIGN_UNITS = {"time", "bytes", "percentage", "memory", "money", "temperature", "frequency", "energy", "cpu"}


def open_source(spec: SourceSpec) -> Source:
    """Open a Datadog source."""
    return Datadog(spec)


class Datadog:
    """One ``[[traffic]] source = "datadog"``."""

    lag = DELAY + MINUTE
    bucket = MINUTE
    cuts_now = False

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._url = spec.traffic.endpoint_url or f"https://api.{spec.traffic.site}"

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        """Count each side in whole minutes that had a minute to arrive."""
        end = floor_to(wanted.now - DELAY, self.bucket)
        starts = {side: floor_to(start, self.bucket) for side, start in wanted.starts.items()}
        due = {side: start for side, start in starts.items() if start < end}
        if not due:
            return {}
        headers = self._headers()
        counts: dict[str, Count] = {}
        for side, start in due.items():
            try:
                counts[side] = await self._side(self._spec.query(side), start, end, headers)
            except UnseenError as error:
                counts[side] = Count(sight=error.sight, detail=error.detail, start=start, end=end)
        return counts

    def _headers(self) -> dict[str, str]:
        traffic, where = self._spec.traffic, f"[[traffic]] {self._spec.label}"
        try:
            return {
                "DD-API-KEY": secret(traffic.api_key, where=where),
                "DD-APPLICATION-KEY": secret(traffic.app_key, where=where),
            }
        except CutoverError as error:
            raise UnseenError(Sight.FORBIDDEN, f"{error.message}: {error.hint}") from None

    async def _side(self, query: str, start: datetime, end: datetime, headers: Mapping[str, str]) -> Count:
        match self._spec.traffic.api:
            case "metrics":
                return await self._metrics(query, start, end, headers)
            case "timeseries":
                return await self._timeseries(query, start, end, headers)
            case "logs":
                return await self._logs(query, start, end, headers)

    async def _metrics(self, query: str, start: datetime, end: datetime, headers: Mapping[str, str]) -> Count:
        _check_query(query)
        document = await self._spec.api.host(self._url).get(
            "/api/v1/query",
            params={
                "from": str(int(start.timestamp())),
                "to": str(int(end.timestamp()) - 1),
                "query": rolled_up(query),
            },
            headers=headers,
        )
        if not isinstance(document, dict) or document.get("status") != "ok":
            said = document.get("error") if isinstance(document, dict) else None
            raise UnseenError(Sight.MALFORMED, f"Datadog refused the query: {str(said or 'no status')[:160]}")
        points: list[tuple[float, Any]] = []
        for series in _list(document, "series"):
            _check_unit(series.get("unit"))
            _check_bucket(series.get("interval"), start, end)
            for point in _list(series, "pointlist"):
                if not isinstance(point, list) or len(point) != 2:
                    raise UnseenError(Sight.MALFORMED, "a point of Datadog's answer is no [time, value] pair")
                points.append((number(point[0], "a point's time") / 1000, point[1]))
        return _summed(points, start, end)

    async def _timeseries(self, query: str, start: datetime, end: datetime, headers: Mapping[str, str]) -> Count:
        _check_query(query)
        body = {
            "data": {
                "type": "timeseries_request",
                "attributes": {
                    "from": _milliseconds(start),
                    "to": _milliseconds(end) - 1,
                    "interval": int(MINUTE.total_seconds() * 1000),
                    "queries": [{"data_source": "metrics", "query": rolled_up(query), "name": "requests"}],
                    "formulas": [{"formula": "requests"}],
                },
            }
        }
        document = await self._spec.api.host(self._url).post("/api/v2/query/timeseries", body=body, headers=headers)
        attributes = _attributes(document)
        times = [number(x, "a point's time") / 1000 for x in _list(attributes, "times")]
        points: list[tuple[float, Any]] = []
        for series in _list(attributes, "series"):
            _check_unit(series.get("unit"))
        for values in _list(attributes, "values"):
            if not isinstance(values, list) or len(values) != len(times):
                raise UnseenError(Sight.MALFORMED, "Datadog's answer has not one value for each time")
            points.extend(zip(times, values, strict=True))
        return _summed(points, start, end)

    async def _logs(self, query: str, start: datetime, end: datetime, headers: Mapping[str, str]) -> Count:
        body = {
            "filter": {
                "query": query,
                "from": str(_milliseconds(start)),
                "to": str(_milliseconds(end) - 1),
                "indexes": ["*"],
            },
            "compute": [{"aggregation": "count", "type": "total"}],
        }
        document = await self._spec.api.host(self._url).post(
            "/api/v2/logs/analytics/aggregate", body=body, headers=headers
        )
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict):
            raise UnseenError(Sight.MALFORMED, "Datadog's answer has no data")
        total, found = 0.0, False
        for bucket in _list(data, "buckets"):
            computes = bucket.get("computes")
            if not isinstance(computes, dict) or "c0" not in computes:
                raise UnseenError(Sight.MALFORMED, "a bucket of Datadog's answer has no count")
            total, found = total + number(computes["c0"], "a count"), True
        if not found:
            return Count(sight=Sight.EMPTY, detail="no bucket at all came back for the search", start=start, end=end)
        meta = document.get("meta")
        trouble = _trouble(meta if isinstance(meta, dict) else {})
        if trouble:
            return Count(sight=Sight.PARTIAL, count=total, detail=trouble, start=start, end=end)
        return Count(sight=Sight.OK, count=total, start=start, end=end)


def rolled_up(query: str) -> str:
    """Return a query with a rollup of a minute, unless it has one or is more than one plain query."""
    return f"{query.strip()}.rollup(sum, 60)" if _PLAIN_QUERY.match(query) else query


def _check_query(query: str) -> None:
    if ".as_rate()" in query or re.search(r"\bper_(second|minute|hour)\(", query):
        raise UnseenError(Sight.WRONG_UNIT, "the query gives a rate: write .as_count(), so that requests are counted")
    averaged = _NO_SUM.search(query)
    if averaged:
        raise UnseenError(
            Sight.WRONG_UNIT, f"{averaged[1]}: over hosts is no count of requests: write sum:, with .as_count()"
        )
    for how, seconds in _ROLLUP.findall(query):
        if how != "sum":
            raise UnseenError(Sight.WRONG_UNIT, f".rollup({how}) is no count of requests: write .rollup(sum, 60)")
        if seconds and 60 % int(seconds):
            raise UnseenError(
                Sight.WRONG_UNIT, f"windows are whole minutes, .rollup(sum, {seconds}) is not: write .rollup(sum, 60)"
            )
    if re.search(r"\bdefault_zero\(|\.fill\(\s*zero", query):
        raise UnseenError(
            Sight.MALFORMED, "default_zero() and fill(zero) would show a missing metric as zero: take them out"
        )


def _check_unit(unit: object) -> None:
    """Refuse what Datadog says is no count: a unit per time, or bytes, seconds, per cent..."""
    if not isinstance(unit, list):
        return
    parts = [part for part in unit[:2] if isinstance(part, dict)]
    names = [str(part.get("name", "")) for part in parts]
    if len(unit) > 1 and isinstance(unit[1], dict) and unit[1].get("family") == "time":
        raise UnseenError(Sight.WRONG_UNIT, f"the query gives a rate ({'/'.join(names)}): write .as_count()")
    if parts and parts[0] is unit[0] and str(parts[0].get("family", "")) in _FOREIGN_UNITS:
        raise UnseenError(Sight.WRONG_UNIT, f"the query gives {names[0]}s, not a count of requests")


def _check_bucket(interval: object, start: datetime, end: datetime) -> None:
    if isinstance(interval, int | float) and interval > 0:
        length = (end - start).total_seconds()
        if length % interval or start.timestamp() % interval:
            raise UnseenError(
                Sight.PARTIAL, f"Datadog counts in buckets of {interval:g} s here: add .rollup(sum, 60) to the query"
            )


def _summed(points: list[tuple[float, Any]], start: datetime, end: datetime) -> Count:
    inside = [(at, value) for at, value in points if start.timestamp() <= at < end.timestamp() and value is not None]
    if any(at >= end.timestamp() + MINUTE.total_seconds() for at, _ in points):
        raise UnseenError(Sight.SKEWED, "Datadog's answer has points after the window that was asked for")
    if not inside:
        return Count(sight=Sight.EMPTY, detail="no data point in the window", start=start, end=end)
    counted = sum(number(value, "a value") for _, value in inside)
    last = datetime.fromtimestamp(max(at for at, _ in inside), UTC) + MINUTE
    return Count(sight=Sight.OK, count=counted, start=start, end=min(end, floor_to(last, MINUTE)))


def _trouble(meta: Mapping[str, Any]) -> str:
    if meta.get("status") == "timeout":
        return "Datadog gave up in the middle of the search: the count is a lower bound"
    warnings = meta.get("warnings")
    if isinstance(warnings, list) and warnings:
        first = warnings[0] if isinstance(warnings[0], dict) else {}
        return f"Datadog warns: {str(first.get('detail') or first.get('title') or warnings[0])[:160]}"
    page = meta.get("page")
    if isinstance(page, dict) and page.get("after"):
        return "Datadog holds back more buckets: the count is a lower bound"
    return ""


def _attributes(document: object) -> dict[str, Any]:
    data = document.get("data") if isinstance(document, dict) else None
    attributes = data.get("attributes") if isinstance(data, dict) else None
    if not isinstance(attributes, dict):
        said = str(document.get("errors", ""))[:160] if isinstance(document, dict) else ""
        raise UnseenError(Sight.MALFORMED, f"Datadog's answer has no data{f': {said}' if said else ''}")
    return attributes


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    found = document.get(key)
    if not isinstance(found, list):
        raise UnseenError(Sight.MALFORMED, f"Datadog's answer has no list of {key}")
    if key in {"series", "buckets"} and not all(isinstance(x, dict) for x in found):
        raise UnseenError(Sight.MALFORMED, f"Datadog's answer has a {key} that cannot be read")
    return found


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
