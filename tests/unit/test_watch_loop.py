"""The watch loop: steady cadence, no drift, ends when it should."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cutover.observations.gate import Judged
from cutover.rounds import Judgement
from cutover.verdict import Verdict
from cutover.watch import ends, until_stopped, watch

START = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)


class FakeClock:
    """Its wall clock may be set: ``at``; ``passed`` only goes forward."""

    def __init__(self) -> None:
        self.at = START
        self.passed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    def steady(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        self.passed += seconds
        self.at += timedelta(seconds=seconds)


def judgement(at: datetime, verdict: Verdict = Verdict.CONVERGING) -> Judgement:
    judged = Judged(
        at=at,
        command="watch",
        phase="watch",
        migration="m",
        began=at,
        plan_hash="h",
        names=(),
        verdict=verdict.value,
        exit_code=int(verdict.exit_code),
        findings=(),
        soaked={},
        summary={},
    )
    return Judgement(judged, verdict, {})


def run(durations: list[float], until: timedelta | None = None, *, jump: float = 0) -> tuple[list[datetime], FakeClock]:
    """Rounds that take so many seconds each; in the second one the wall clock is set by ``jump``."""
    clock = FakeClock()
    began: list[datetime] = []
    left = iter(durations)

    async def one_round() -> Judgement:
        began.append(clock.now())
        clock.passes(next(left))
        if len(began) == 2:
            clock.at += timedelta(seconds=jump)
        return judgement(clock.now())

    async def all_rounds() -> None:
        count = 0
        async for _ in watch(one_round, every=timedelta(seconds=30), clock=clock, until=until):
            count += 1
            if count == len(durations):
                return

    asyncio.run(all_rounds())
    return began, clock


def test_the_cadence_does_not_drift() -> None:
    began, clock = run([4, 7, 29, 0])
    assert [(x - START).total_seconds() for x in began] == [0, 30, 60, 90]
    assert clock.slept == [26, 23, 1]


def test_a_long_round_is_followed_at_once() -> None:
    began, _ = run([50, 1, 1])
    assert [(x - START).total_seconds() for x in began] == [0, 50, 80]


def test_no_round_begins_after_the_time_is_up() -> None:
    began, clock = run([1] * 10, until=timedelta(seconds=70))
    assert [(x - START).total_seconds() for x in began] == [0, 30, 60]
    assert clock.now() < START + timedelta(seconds=70)


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_is_set_changes_neither_cadence_nor_timeout(jump: float) -> None:
    began, clock = run([1] * 10, until=timedelta(seconds=100), jump=jump)
    assert clock.slept == [29, 29, 29]
    assert [(x - START).total_seconds() for x in began] == [0, 30, 60 + jump, 90 + jump]


def test_what_ends_a_watch() -> None:
    for verdict in Verdict:
        assert ends(judgement(START, verdict), once=True, until_done=False)
        assert not ends(judgement(START, verdict), once=False, until_done=False)
        expected = verdict in {Verdict.CONVERGED, Verdict.SPLIT_BRAIN}
        assert ends(judgement(START, verdict), once=False, until_done=True) is expected


def test_stopping_answers_at_once() -> None:
    async def scene() -> bool:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, stop.set)
        return await until_stopped(asyncio.sleep(60), stop)

    assert asyncio.run(asyncio.wait_for(scene(), 5))


def test_an_error_inside_is_not_swallowed() -> None:
    async def broken() -> None:
        raise RuntimeError("x")

    async def scene() -> None:
        await until_stopped(broken(), asyncio.Event())

    with pytest.raises(RuntimeError, match="x"):
        asyncio.run(scene())
