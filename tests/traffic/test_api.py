"""The API client: limits honoured, retries with jitter, one client per host."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from cutover.http import httpx
from cutover.observations.traffic import Sight
from cutover.probes.traffic import api
from cutover.probes.traffic.api import ApiHosts
from cutover.probes.traffic.unseen import UnseenError
from tests.traffic.support import Answer, ApiServer, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[ApiServer]:
    with ApiServer(clock) as running:
        yield running


def call(server: ApiServer, clock: FakeClock, times: int = 1) -> list[Any]:
    """GET some times through one client; what is raised stands in the result."""

    async def all_of_it() -> list[Any]:
        async with ApiHosts(clock, jitter=random.Random(1)) as hosts:
            found: list[Any] = []
            for _ in range(times):
                try:
                    found.append(await hosts.host(f"{server.url}/x").get("/v", params={"a": "b"}))
                except UnseenError as error:
                    found.append(error)
            return found

    return asyncio.run(all_of_it())


def answers(*given: Answer) -> Any:
    left = list(given)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_a_passing_failure_is_asked_again_with_jitter(server: ApiServer, clock: FakeClock) -> None:
    server.answer = answers(Answer(503), Answer(500), Answer(200, {"fine": 1}))
    assert call(server, clock) == [{"fine": 1}]
    assert len(server.asked) == 3
    assert len(clock.slept) == 2
    assert clock.slept[0] != clock.slept[1]


def test_a_refusal_is_not_asked_again(server: ApiServer, clock: FakeClock) -> None:
    for status, sight in (
        (401, Sight.FORBIDDEN),
        (403, Sight.FORBIDDEN),
        (404, Sight.NOT_FOUND),
        (400, Sight.MALFORMED),
    ):
        server.asked.clear()
        server.answer = answers(Answer(status, {"errors": ["because of this"]}))
        (error,) = call(server, clock)
        assert error.sight is sight
        assert str(status) in error.detail
        assert "because of this" in error.detail
        assert len(server.asked) == 1


def test_a_short_retry_after_is_waited_for(server: ApiServer, clock: FakeClock) -> None:
    server.answer = answers(Answer(429, headers={"Retry-After": "4"}), Answer(200, [1]))
    assert call(server, clock) == [[1]]
    assert clock.slept == [pytest.approx(4)]


def test_a_date_in_retry_after_is_understood(server: ApiServer, clock: FakeClock) -> None:
    until = format_datetime(clock.now() + timedelta(seconds=6), usegmt=True)
    server.answer = answers(Answer(429, headers={"Retry-After": until}), Answer(200, [1]))
    assert call(server, clock) == [[1]]
    assert sum(clock.slept) == pytest.approx(6)


def test_a_long_limit_is_left_for_a_later_round_and_named(server: ApiServer, clock: FakeClock) -> None:
    headers = {
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Period": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "45",
        "X-RateLimit-Name": "metrics_query",
    }
    server.answer = answers(Answer(429, headers=headers), Answer(200, [1]))
    first, second = call(server, clock, times=2)
    assert first.sight is second.sight is Sight.RATE_LIMITED
    assert "metrics_query" in second.detail
    assert "100 calls in 60 s" in second.detail
    assert len(server.asked) == 1, "a host that wants to be left alone was asked again"


def test_an_exhausted_budget_is_noticed_before_it_is_refused(server: ApiServer, clock: FakeClock) -> None:
    server.answer = answers(
        Answer(200, [1], headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3"}), Answer(200, [2])
    )
    assert call(server, clock, times=2) == [[1], [2]]
    assert clock.slept == [pytest.approx(3)]


def test_one_client_per_host_keeps_its_connection(server: ApiServer, clock: FakeClock) -> None:
    server.answer = answers(Answer(200, [1]))
    assert call(server, clock, times=5) == [[1]] * 5
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "sight", "words"),
    [
        (Answer(200, b"{not json"), Sight.MALFORMED, "no JSON"),
        (Answer(200, b'{"a": 1', truncated=True), Sight.UNREACHABLE, "broke off"),
        (Answer(200, b"\x1f\x8bnot gzip", headers={"Content-Encoding": "gzip"}), Sight.MALFORMED, "decoded"),
        (Answer(302, headers={"Location": "https://login.example/"}), Sight.MALFORMED, "302"),
    ],
)
def test_what_is_no_answer(server: ApiServer, clock: FakeClock, answer: Answer, sight: Sight, words: str) -> None:
    server.answer = answers(answer)
    (error,) = call(server, clock)
    assert error.sight is sight
    assert words in error.detail


def test_a_server_that_does_not_answer_in_time(
    server: ApiServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_TIMEOUT", httpx.Timeout(0.1))
    server.answer = answers(Answer(200, [1], delay=0.5))
    (error,) = call(server, clock)
    assert error.sight is Sight.UNREACHABLE
    assert "in time" in error.detail


def test_nothing_listens(clock: FakeClock) -> None:
    with ApiServer(clock) as gone:
        pass
    (error,) = call(gone, clock)
    assert error.sight is Sight.UNREACHABLE
    assert "refused" in error.detail


@pytest.mark.parametrize(("seconds", "word"), [(120, "behind"), (-120, "ahead of")])
def test_clocks_that_differ_are_named(server: ApiServer, clock: FakeClock, seconds: int, word: str) -> None:
    server.answer = answers(Answer(200, [1], date=clock.now() + timedelta(seconds=seconds)))
    (error,) = call(server, clock)
    assert error.sight is Sight.SKEWED
    assert f"120 s {word}" in error.detail
