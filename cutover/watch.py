"""The watch loop: rounds at a steady cadence. The only thing that sleeps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

from cutover.clock import SteadyClock
from cutover.rounds import Judgement
from cutover.verdict import Verdict


async def watch(
    one_round: Callable[[], Awaitable[Judgement]],
    *,
    every: timedelta,
    clock: SteadyClock,
    until: timedelta | None = None,
) -> AsyncIterator[Judgement]:
    """Yield one judgement a round.

    The next round begins ``every`` after the last one began, so that the cadence does not drift; a round that
    takes longer is followed at once. After ``until`` no new round is begun, and one that is under way ends. All by
    the time that passes, whatever the clock is set to.
    """
    end = clock.steady() + until.total_seconds() if until is not None else math.inf
    while True:
        began = clock.steady()
        yield await one_round()
        now = clock.steady()
        next_at = max(began + every.total_seconds(), now)
        if next_at >= end:
            return
        await clock.sleep(next_at - now)


def ends(judgement: Judgement, *, once: bool, until_done: bool) -> bool:
    """Tell whether a judgement ends the watch."""
    return once or (until_done and judgement.verdict in {Verdict.CONVERGED, Verdict.SPLIT_BRAIN})


async def until_stopped(work: Awaitable[None], stop: asyncio.Event) -> bool:
    """Run ``work`` until it ends or ``stop`` is set; tell whether it was stopped."""
    task = asyncio.ensure_future(work)
    stopper = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopper}, return_when=asyncio.FIRST_COMPLETED)
    stopped = not task.done()
    for one in (task, stopper):
        one.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    if not stopped and isinstance(results[0], BaseException):
        raise results[0]
    return stopped
