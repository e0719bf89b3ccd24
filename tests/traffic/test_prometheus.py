"""Prometheus' answers: what its samples add up to, and each way in which they do not."""

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
from cutover.probes.traffic.prometheus import Series, from_samples, open_source
from tests.traffic.support import START, Answer, ApiServer, Asked, FakeClock, spec_of, wanted

Samples = Sequence[tuple[float, float]]
NOW = START
ENDS = ("old_total + 0 * old_total", "new_total + 0 * new_total")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(FakeClock()) as running:
        yield running


def read(
    server: ApiServer, old: str = "old_total", new: str = "new_total", *, fresh: bool = False
) -> Mapping[str, Count]:
    clock = server.clock
    spec = spec_of({"source": "prometheus", "old": old, "new": new, "url": f"{server.url}/prom/"}, clock)

    async def once() -> Mapping[str, Count]:
        async with spec.api:
            return await open_source(spec).read(wanted(clock, 60, fresh=fresh))

    return asyncio.run(once())


def matrix(*series: Samples) -> dict[str, Any]:
    result = [
        {
            "metric": {"__name__": "x_total", "instance": str(i)},
            "values": [[NOW.timestamp() + at, str(value)] for at, value in samples],
        }
        for i, samples in enumerate(series)
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def vector(value: Any) -> dict[str, Any]:
    result = [{"metric": {}, "value": [NOW.timestamp(), str(value)]}]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def both(old: Any, new: Any) -> Callable[[Asked], Answer]:
    return lambda asked: Answer(200, old if "old_total" in asked.form.get("query", "") else new)


EVERY_15 = [(-75.0, 100.0), (-60.0, 100.0), (-45.0, 104.0), (-30.0, 105.0), (-15.0, 110.0), (0.0, 110.0)]


def test_raw_samples_are_added_up_exactly(server: ApiServer) -> None:
    server.answer = both(matrix(EVERY_15), matrix(EVERY_15, [(at - 5, 2 * value) for at, value in EVERY_15]))
    counts = read(server, old='sum(increase(old_total{a="b"}[$window]))')
    assert (counts["old"].sight, counts["old"].count) == (Sight.OK, 10)
    assert counts["old"].end == NOW
    assert counts["old"].edge == 0
    asked = server.asked[0]
    assert asked.path == "/prom/api/v1/query"
    assert asked.form["query"] == 'old_total{a="b"}[360s]'


def test_a_window_ends_where_every_series_was_scraped(server: ApiServer) -> None:
    late = [(at - 5, 2 * value) for at, value in EVERY_15]
    server.answer = both(matrix(EVERY_15), matrix(EVERY_15, late))
    new = read(server)["new"]
    assert new.end == NOW - timedelta(seconds=5)
    assert new.count == 10 + 20
    assert new.edge == pytest.approx(10), "the first series was last scraped 10 s before the end"


def series(*samples: tuple[float, float], name: str = "a") -> Series:
    return Series((("i", name),), tuple((NOW.timestamp() + at, value) for at, value in samples))


def counted(found: Sequence[Series], side: str = "old", begin: float = -60, **options: Any) -> Count | None:
    return from_samples(found, side, NOW + timedelta(seconds=begin), NOW, **options)


def test_two_windows_count_each_request_once() -> None:
    samples = [(at, float(at + 200)) for at in range(-120, 1, 15)]
    first = from_samples(
        [series(*[x for x in samples if x[0] <= -50])], "old", NOW - timedelta(seconds=120), NOW - timedelta(seconds=50)
    )
    assert first is not None
    assert first.end is not None
    second = from_samples([series(*samples)], "old", first.end, NOW)
    assert second is not None
    assert (first.count or 0) + (second.count or 0) == 120


def test_a_reset_on_old_is_a_loss_and_on_new_the_smaller_number() -> None:
    reset = series((-60, 100), (-45, 107), (-30, 2), (-15, 3), (0, 4))
    old = counted([reset])
    assert old is not None
    assert (old.sight, old.count, old.gap) == (Sight.PARTIAL, 11, True)
    assert "reset" in old.detail
    new = counted([reset], "new")
    assert new is not None
    assert (new.sight, new.count, new.gap) == (Sight.OK, 11, False)
    assert "reset" in new.detail


def test_a_series_that_vanishes_on_old_is_a_loss() -> None:
    stays = series(*[(float(at), 10.0) for at in range(-120, 1, 15)])
    vanishes = series((-120, 1), (-105, 1), (-90, 1), (-75, 1), (-60, 5), name="b")
    found = counted([stays, vanishes])
    assert found is not None
    assert found.sight is Sight.PARTIAL
    assert found.gap
    assert "vanished" in found.detail
    on_new = counted([stays, vanishes], "new")
    assert on_new is not None
    assert on_new.sight is Sight.OK


def test_a_series_that_is_born_counts_wholly_on_old_and_not_at_all_on_new() -> None:
    stays = series(*[(float(at), 10.0) for at in range(-120, 1, 15)])
    born = series((-30, 40), (-15, 41), (0, 42), name="b")
    old, new = counted([stays, born]), counted([stays, born], "new")
    assert old is not None
    assert new is not None
    assert old.count == 42
    assert new.count == 2


def test_the_first_reading_begins_with_the_samples() -> None:
    one = series((-30, 1000), (-15, 1003), (0, 1004))
    other = series((-22, 500), (-7, 501), name="b")
    found = counted([one, other], begin=-200, fresh=True)
    assert found is not None
    assert found.count == 3 + 1
    assert found.start == NOW - timedelta(seconds=22)


def test_no_scrape_since_the_last_window_is_no_reading() -> None:
    assert counted([series((-90, 1), (-75, 1), (-60, 1))], begin=-60) is None


def test_a_target_that_is_not_scraped_any_more_is_stale() -> None:
    found = counted([series((-150, 1), (-135, 1), (-120, 1))], begin=-120)
    assert found is not None
    assert found.sight is Sight.STALE
    assert "120 s" in found.detail


def test_samples_from_the_future_are_another_clock() -> None:
    found = counted([series((-15, 1), (0, 1), (90, 2))])
    assert found is not None
    assert found.sight is Sight.SKEWED


def test_a_series_that_has_ended_is_told_from_one_whose_scrape_is_to_come(server: ApiServer) -> None:
    samples = [(at, 5.0) for at in (-75.0, -68.0, -61.0)]
    ended: list[Any] = []

    def answer(asked: Asked) -> Answer:
        if "[" in asked.form["query"]:
            return Answer(200, matrix([(at + 57, value) for at, value in samples]))
        return Answer(200, {"status": "success", "data": {"resultType": "vector", "result": ended}})

    server.answer = answer
    clock = server.clock
    spec = spec_of({"source": "prometheus", "old": "old_total", "new": "new_total", "url": server.url}, clock)

    async def once() -> Mapping[str, Count]:
        async with spec.api:
            return await open_source(spec).read(wanted(clock, 4))

    counts = asyncio.run(once())
    assert {x.sight for x in counts.values()} == {Sight.STALE}
    assert "renamed" in counts["old"].detail
    ended.append({"metric": {}, "value": [NOW.timestamp(), "5"]})
    assert asyncio.run(once()) == {}


def test_sums_are_read_at_both_ends(server: ApiServer) -> None:
    server.answer = lambda asked: Answer(200, vector(120 if float(asked.form["time"]) == NOW.timestamp() else 100))
    counts = read(server, *ENDS)
    assert (counts["old"].sight, counts["old"].count) == (Sight.OK, 20)
    server.answer = lambda asked: Answer(200, vector(3 if float(asked.form["time"]) == NOW.timestamp() else 100))
    counts = read(server, *ENDS)
    assert (counts["old"].sight, counts["old"].gap) == (Sight.PARTIAL, True)
    assert "reset" in counts["old"].detail


def test_the_window_is_put_into_the_expression(server: ApiServer) -> None:
    server.answer = both(vector(7), vector(9))
    text = "sum(increase({}_total[$window])) + sum(increase(b_total[$window]))"
    counts = read(server, text.format("old"), text.format("new"))
    assert (counts["old"].count, counts["new"].count) == (7, 9)
    assert server.asked[0].form["query"] == text.format("old").replace("$window", "60s")


@pytest.mark.parametrize(
    "expression",
    [
        "http_request_duration_seconds_sum",
        'sum(increase(http_request_duration_seconds_sum{side="old"}[$window]))',
        "sum(rate(nginx_http_response_bytes_total[1m]))",
        "http_requests_created",
        'http_request_duration_seconds_bucket{side="old"}',
    ],
)
def test_what_counts_no_requests_by_its_name_is_refused(server: ApiServer, expression: str) -> None:
    server.answer = lambda _: Answer(200, matrix(EVERY_15))
    count = read(server, old=expression)["old"]
    assert count.sight is Sight.WRONG_UNIT
    assert count.count is None


@pytest.mark.parametrize("name", ["requests_in_flight", "queue_depth"])
def test_a_gauge_is_no_counter(server: ApiServer, name: str) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return Answer(200, {"status": "success", "data": {name: [{"type": "gauge", "help": "", "unit": ""}]}})
        return Answer(200, matrix(EVERY_15))

    server.answer = answer
    count = read(server, old=name)["old"]
    assert count.sight is Sight.WRONG_UNIT
    assert name in count.detail


def test_a_metric_without_metadata_is_taken_at_its_word(server: ApiServer) -> None:
    server.answer = lambda asked: Answer(404) if "metadata" in asked.path else Answer(200, matrix(EVERY_15))
    assert read(server, old="hits")["old"].count == 10


def always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer


BAD_QUERY = Answer(400, {"status": "error", "errorType": "bad_data", "error": "parse error: unexpected end"})
FAILURES: list[tuple[str, Callable[[Asked], Answer], Sight]] = [
    ("401", always(Answer(401)), Sight.FORBIDDEN),
    ("403", always(Answer(403)), Sight.FORBIDDEN),
    ("404", always(Answer(404)), Sight.NOT_FOUND),
    ("429", always(Answer(429, headers={"Retry-After": "90"})), Sight.RATE_LIMITED),
    ("500", always(Answer(500)), Sight.UNREACHABLE),
    (
        "503",
        always(Answer(503, {"status": "error", "errorType": "timeout", "error": "query timed out"})),
        Sight.UNREACHABLE,
    ),
    ("bad query", always(BAD_QUERY), Sight.MALFORMED),
    ("timeout", always(Answer(200, {}, delay=0.4)), Sight.UNREACHABLE),
    ("truncated", always(Answer(200, b'{"status":"suc', truncated=True)), Sight.UNREACHABLE),
    ("no JSON", always(Answer(200, b"<html>")), Sight.MALFORMED),
    ("clock skew", always(Answer(200, {}, date=START - timedelta(hours=1))), Sight.SKEWED),
    ("error in 200", always(Answer(200, {"status": "error", "error": "no"})), Sight.MALFORMED),
    ("no result", always(Answer(200, {"status": "success", "data": {}})), Sight.MALFORMED),
    (
        "a string",
        always(Answer(200, {"status": "success", "data": {"resultType": "string", "result": [1, "x"]}})),
        Sight.MALFORMED,
    ),
]
FORMS = {
    "samples": ("old_total", "new_total"),
    "ends": ENDS,
    "window": tuple(f"sum(increase({x}_total[$window])) * 1" for x in ("old", "new")),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("answer", "sight"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_each_failure_is_told_apart_and_none_is_zero(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, form: str, answer: Callable[[Asked], Answer], sight: Sight
) -> None:
    monkeypatch.setattr(api_module, "_TIMEOUT", httpx.Timeout(0.1))
    server.answer = answer
    counts = read(server, *FORMS[form])
    assert set(counts) == {"old", "new"}
    for count in counts.values():
        assert count.sight is sight
        assert count.count is None
        assert count.detail


@pytest.mark.parametrize("form", FORMS)
def test_no_series_is_nothing_and_a_value_that_is_no_number_is_none(server: ApiServer, form: str) -> None:
    kind = "matrix" if form == "samples" else "vector"
    server.answer = always(Answer(200, {"status": "success", "data": {"resultType": kind, "result": []}}))
    assert {x.sight for x in read(server, *FORMS[form]).values()} == {Sight.EMPTY}
    server.answer = always(Answer(200, matrix([(-60.0, 1.0), (0.0, math.nan)]) if form == "samples" else vector("NaN")))
    assert {x.sight for x in read(server, *FORMS[form]).values()} == {Sight.MALFORMED}


def test_a_warning_makes_it_partial(server: ApiServer) -> None:
    server.answer = always(Answer(200, {**matrix(EVERY_15), "warnings": ["store 2 did not answer"]}))
    count = read(server)["old"]
    assert count.sight is Sight.PARTIAL
    assert "store 2" in count.detail
