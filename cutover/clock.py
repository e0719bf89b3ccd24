"""Time, as something that can be given."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

JUMP = timedelta(seconds=2)
"""How far the wall clock may part from the steady one unnoticed: reading both takes a moment."""


class Clock(Protocol):
    """What tells the time and what waits."""

    def now(self) -> datetime:
        """Return the present instant, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a fake clock advances instead."""
        ...


class SteadyClock(Clock, Protocol):
    """One that also knows how much time has passed, whatever the wall clock was set to meanwhile."""

    def steady(self) -> float:
        """Return seconds since some instant; they only go forward, at the pace of time."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present instant, UTC."""
        return datetime.now(UTC)

    def steady(self) -> float:
        """Return seconds since the machine was started, its sleep included where the system counts that."""
        return _steady()

    async def sleep(self, seconds: float) -> None:
        """Wait for real."""
        await asyncio.sleep(max(0.0, seconds))


class Jumps:
    """Notices when the wall clock was set: between two looks it then went by more or less time than has passed."""

    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock
        self._apart = self._look()

    def since_last(self) -> timedelta:
        """Return how far the clock was put forward (back: negative) since the last jump, zero when it was not."""
        apart = self._look()
        jumped = apart - self._apart
        if abs(jumped) < JUMP:
            return timedelta(0)
        self._apart = apart
        return jumped

    def _look(self) -> timedelta:
        """Return how far both clocks are apart; of three looks the one that took least, should we be held up."""
        looks = []
        for _ in range(3):
            before = self._clock.steady()
            wall = self._clock.now().timestamp()
            after = self._clock.steady()
            looks.append((after - before, wall - before))
        return timedelta(seconds=min(looks)[1])


def _steady() -> float:
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # a laptop's sleep is no jump: these count it (Linux, macOS)
        number = getattr(time, name, None)
        if number is not None:
            with suppress(OSError):  # a kernel that lacks it
                return time.clock_gettime(number)
    return time.monotonic()
