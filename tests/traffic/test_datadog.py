"""Datadog on a local server that speaks the documented shapes of its three APIs, failures included."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from cutover.http import httpx
from cutover.observations.traffic import Sight
from cutover.probes.traffic import api as api_module
from cutover.probes.traffic.base import Count
from cutover.probes.traffic.datadog import open_source, rolled_up
from cutover.probes.traffic.unseen import UnseenError
from tests.traffic.support import START, Answer, ApiServer, Asked, FakeClock, spec_of, wanted

APIS = ("metrics", "timeseries", "logs")
OLD = "sum:trace.http.request.hits{deployment:porter}.as_count()"
NEW = "sum:trace.http.request.hits{deployment:sst}.as_count()"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_API_KEY", "api-key-value")
    monkeypatch.setenv("DD_APP_KEY", "app-key-value")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[ApiServer]:
    with ApiServer(clock) as running:
        yield running


def read(server: ApiServer, api: str, seconds: float = 300) -> Mapping[str, Count]:
    clock = server.clock
    spec = spec_of({"source": "datadog", "api": api, "old": OLD, "new": NEW, "endpoint_url": server.url}, clock)

    async def once() -> Mapping[str, Count]:
        async with spec.api:
            return await open_source(spec).read(wanted(clock, seconds))

    return asyncio.run(once())


Buckets = Sequence[tuple[float, Any]]
"""Minutes before the start of the hour, and the value of that minute."""


def milliseconds(minutes: float) -> int:
    return int((START + timedelta(minutes=minutes)).timestamp() * 1000)


def shaped(asked: Asked, old: Buckets, new: Buckets, **changes: Any) -> Answer:
    """The documented success answer of whichever API was asked."""
    if asked.path == "/api/v1/query":
        buckets = old if "porter" in asked.query["query"] else new
        series = {
            "metric": "trace.http.request.hits",
            "pointlist": [[float(milliseconds(at)), value] for at, value in buckets],
            "scope": "deployment:porter",
            "interval": 60,
            "length": len(buckets),
            "unit": [{"family": "network", "name": "hit"}, None],
            **changes.get("series", {}),
        }
        return Answer(200, {"status": "ok", "res_type": "time_series", "series": [series] if buckets else []})
    if asked.path == "/api/v2/query/timeseries":
        query = asked.json["data"]["attributes"]["queries"][0]["query"]
        buckets = old if "porter" in query else new
        attributes = {
            "times": [milliseconds(at) for at, _ in buckets],
            "values": [[value for _, value in buckets]] if buckets else [],
            "series": [{"group_tags": [], "query_index": 0, "unit": [{"family": "network", "name": "hit"}, None]}]
            if buckets
            else [],
            **changes.get("attributes", {}),
        }
        return Answer(200, {"data": {"id": "0", "type": "timeseries_response", "attributes": attributes}})
    assert asked.path == "/api/v2/logs/analytics/aggregate"
    buckets = old if "porter" in asked.json["filter"]["query"] else new
    counts = [{"by": {}, "computes": {"c0": sum(value for _, value in buckets)}}] if buckets else []
    meta = {"elapsed": 132, "request_id": "x", "status": "done", **changes.get("meta", {})}
    return Answer(200, {"data": {"buckets": counts}, "meta": meta})


FIVE = [(-5, 10), (-4, 20), (-3, 30), (-2, 40)]
ONE = [(-5, 1)]


@pytest.mark.parametrize("api", APIS)
def test_it_counts_whole_minutes_that_had_time_to_arrive(server: ApiServer, api: str) -> None:
    server.answer = lambda asked: shaped(asked, ONE, FIVE)
    counts = read(server, api)
    assert counts["new"].sight is Sight.OK
    assert counts["new"].count == 100
    assert counts["old"].count == 1
    assert counts["new"].start == START - timedelta(minutes=5)
    assert counts["new"].end == START - timedelta(minutes=1), "the last minute may still grow"
    for asked in server.asked:
        assert asked.headers["dd-api-key"] == "api-key-value"
        assert asked.headers["dd-application-key"] == "app-key-value"


def test_metrics_are_asked_for_in_seconds_and_minutes(server: ApiServer) -> None:
    server.answer = lambda asked: shaped(asked, ONE, FIVE)
    read(server, "metrics")
    asked = server.asked[0].query
    assert int(asked["from"]) == START.timestamp() - 300
    assert int(asked["to"]) == START.timestamp() - 61
    assert asked["query"] == OLD + ".rollup(sum, 60)"


def test_timeseries_and_logs_are_asked_for_in_milliseconds(server: ApiServer) -> None:
    server.answer = lambda asked: shaped(asked, ONE, FIVE)
    read(server, "timeseries")
    attributes = server.asked[0].json["data"]["attributes"]
    assert attributes["from"] == (START.timestamp() - 300) * 1000
    assert attributes["interval"] == 60000
    server.asked.clear()
    read(server, "logs")
    body = server.asked[0].json
    assert body["filter"]["from"] == str(milliseconds(-5))
    assert body["compute"] == [{"aggregation": "count", "type": "total"}]


def test_points_outside_the_window_do_not_count(server: ApiServer) -> None:
    server.answer = lambda asked: shaped(asked, [(-6, 1000), (-5, 1), (-1, 1000)], FIVE)
    assert read(server, "metrics")["old"].count == 1
    assert read(server, "timeseries")["old"].count == 1


@pytest.mark.parametrize("api", ["metrics", "timeseries"])
def test_a_null_point_is_a_gap_and_only_nulls_are_nothing(server: ApiServer, api: str) -> None:
    server.answer = lambda asked: shaped(asked, [(-5, None), (-4, 3)], [(-5, None)])
    counts = read(server, api)
    assert counts["old"].count == 3
    assert counts["new"].sight is Sight.EMPTY
    assert counts["new"].count is None


@pytest.mark.parametrize("api", ["metrics", "timeseries"])
def test_a_minute_that_is_missing_at_the_end_is_left_for_later(server: ApiServer, api: str) -> None:
    """The agents of old are late: what has not arrived is neither zero nor lost, whatever the users before it hide."""
    server.answer = lambda asked: shaped(asked, [(-5, 900), (-4, 900), (-3, None)], [(-5, 7), (-2, 7)])
    counts = read(server, api)
    assert counts["old"].end == START - timedelta(minutes=3)
    assert counts["old"].count == 1800
    assert counts["new"].end == START - timedelta(minutes=1)


def test_no_new_minute_is_no_reading(server: ApiServer) -> None:
    assert read(server, "metrics", seconds=30) == {}
    assert server.asked == []


def always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer


FAILURES: list[tuple[str, Callable[[Asked], Answer], Sight]] = [
    ("401", always(Answer(401, {"errors": ["Unauthorized"]})), Sight.FORBIDDEN),
    ("403", always(Answer(403, {"errors": ["Forbidden"]})), Sight.FORBIDDEN),
    ("404", always(Answer(404, {"errors": ["Not found"]})), Sight.NOT_FOUND),
    ("429", always(Answer(429, {"errors": ["Rate limit"]}, {"X-RateLimit-Reset": "55"})), Sight.RATE_LIMITED),
    ("500", always(Answer(500)), Sight.UNREACHABLE),
    ("timeout", always(Answer(200, {}, delay=0.4)), Sight.UNREACHABLE),
    ("empty", lambda asked: shaped(asked, [], []), Sight.EMPTY),
    ("truncated", always(Answer(200, b'{"status": "ok", "ser', truncated=True)), Sight.UNREACHABLE),
    ("no JSON", always(Answer(200, b"<html>maintenance</html>")), Sight.MALFORMED),
    ("a list", always(Answer(200, [])), Sight.MALFORMED),
    ("NaN", lambda asked: shaped(asked, [(-5, math.nan)], [(-5, math.nan)]), Sight.MALFORMED),
    ("negative", lambda asked: shaped(asked, [(-5, -3)], [(-5, -3)]), Sight.MALFORMED),
    ("clock skew", always(Answer(200, {}, date=START + timedelta(minutes=3))), Sight.SKEWED),
]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("answer", "sight"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_each_failure_is_told_apart_and_none_is_zero(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, api: str, answer: Callable[[Asked], Answer], sight: Sight
) -> None:
    monkeypatch.setattr(api_module, "_TIMEOUT", httpx.Timeout(0.1))
    server.answer = answer
    counts = read(server, api)
    assert set(counts) == {"old", "new"}
    for count in counts.values():
        assert count.sight is sight
        assert count.count is None
        assert count.detail
        assert "api-key-value" not in count.detail


PARTIAL = [
    ("metrics", {"series": {"interval": 300}}),
    ("logs", {"meta": {"status": "timeout"}}),
    ("logs", {"meta": {"warnings": [{"code": "unknown_index", "detail": "indexes: foo", "title": "skipped"}]}}),
    ("logs", {"meta": {"page": {"after": "abc"}}}),
]


@pytest.mark.parametrize(("api", "changes"), PARTIAL)
def test_a_partial_answer_is_named(server: ApiServer, api: str, changes: dict[str, Any]) -> None:
    server.answer = lambda asked: shaped(asked, ONE, ONE, **changes)
    counts = read(server, api, seconds=240 if api == "metrics" else 300)
    assert counts["old"].sight is Sight.PARTIAL
    assert counts["old"].detail


UNITS = [
    ([{"family": "network", "name": "request"}, {"family": "time", "name": "second"}], "as_count"),
    ([{"family": "bytes", "name": "byte"}, None], "bytes"),
    ([{"family": "time", "name": "millisecond"}, None], "milliseconds"),
]


@pytest.mark.parametrize("api", ["metrics", "timeseries"])
@pytest.mark.parametrize(("unit", "words"), UNITS)
def test_a_wrong_unit_is_refused(server: ApiServer, api: str, unit: list[Any], words: str) -> None:
    changes = {"series": {"unit": unit}, "attributes": {"series": [{"query_index": 0, "unit": unit}]}}
    server.answer = lambda asked: shaped(asked, FIVE, FIVE, **changes)
    count = read(server, api)["old"]
    assert count.sight is Sight.WRONG_UNIT
    assert words in count.detail


@pytest.mark.parametrize(
    ("query", "sight"),
    [
        ("sum:x{*}.as_rate()", Sight.WRONG_UNIT),
        ("per_second(sum:x{*})", Sight.WRONG_UNIT),
        ("avg:x{*}.as_count()", Sight.WRONG_UNIT),
        ("p95:x{env:prod}", Sight.WRONG_UNIT),
        ("sum:x{*}.as_count().rollup(avg, 60)", Sight.WRONG_UNIT),
        ("sum:x{*}.as_count().rollup(sum, 300)", Sight.WRONG_UNIT),
        ("default_zero(sum:x{*}.as_count())", Sight.MALFORMED),
        ("sum:x{*}.as_count().fill(zero)", Sight.MALFORMED),
    ],
)
def test_rates_and_invented_zeros_are_refused_by_their_text(server: ApiServer, query: str, sight: Sight) -> None:
    clock = server.clock
    spec = spec_of({"source": "datadog", "old": query, "new": query, "endpoint_url": server.url}, clock)
    counts = asyncio.run(open_source(spec).read(wanted(clock)))
    assert counts["old"].sight is sight
    assert server.asked == []


def test_an_error_inside_a_success_is_an_error(server: ApiServer) -> None:
    server.answer = always(Answer(200, {"status": "error", "error": "Rule 'x' did not match", "series": []}))
    count = read(server, "metrics")["old"]
    assert count.sight is Sight.MALFORMED
    assert "did not match" in count.detail


def test_a_missing_key_is_named_and_nothing_is_asked(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DD_APP_KEY")
    with pytest.raises(UnseenError) as raised:
        read(server, "metrics")
    assert raised.value.sight is Sight.FORBIDDEN
    assert "DD_APP_KEY" in raised.value.detail
    assert server.asked == []


def test_only_plain_queries_get_a_rollup() -> None:
    assert rolled_up("sum:a.b{x:y} by {host}").endswith(".rollup(sum, 60)")
    for query in (
        "sum:a{*}.as_count() + sum:b{*}.as_count()",
        "sum:a{*}.as_count().rollup(sum, 30)",
        "default_zero(x)",
    ):
        assert rolled_up(query) == query
