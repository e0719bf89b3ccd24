"""A clock that is set is noticed, and how far."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from cutover.clock import Jumps, SystemClock


class SetClock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.at = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)
        self.passed = 0.0
        self.held_up = 0.0

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.passed)

    def steady(self) -> float:
        held, self.held_up = self.held_up, 0.0
        self.passed += held
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


def test_time_that_passes_is_no_jump() -> None:
    clock = SetClock()
    jumps = Jumps(clock)
    asyncio.run(clock.sleep(86400))
    assert jumps.since_last() == timedelta(0)


def test_a_jump_is_told_once_and_in_both_directions() -> None:
    clock = SetClock()
    jumps = Jumps(clock)
    for by in (3600, -7200, 5):
        clock.at += timedelta(seconds=by)
        clock.passed += 10
        assert jumps.since_last() == timedelta(seconds=by)
        assert jumps.since_last() == timedelta(0)


def test_small_steps_add_up() -> None:
    clock = SetClock()
    jumps = Jumps(clock)
    found = []
    for _ in range(6):
        clock.at += timedelta(seconds=0.9)
        found.append(jumps.since_last().total_seconds())
    assert [round(x, 3) for x in found] == [0, 0, 2.7, 0, 0, 2.7]


def test_being_held_up_between_two_readings_is_no_jump() -> None:
    clock = SetClock()
    jumps = Jumps(clock)
    clock.held_up = 30
    assert jumps.since_last() == timedelta(0)


def test_a_kernel_without_the_clock_that_counts_sleep_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(number: int) -> float:
        if number == getattr(time, "CLOCK_BOOTTIME", None):
            raise OSError(22, "Invalid argument")
        return 7.0

    monkeypatch.setattr(time, "clock_gettime", lacking)
    assert SystemClock().steady() == 7.0


def test_the_machine_s_own_clock_goes_on() -> None:
    clock = SystemClock()
    jumps = Jumps(clock)
    before = clock.steady()
    time.sleep(0.01)
    assert clock.steady() > before
    assert jumps.since_last() == timedelta(0)
