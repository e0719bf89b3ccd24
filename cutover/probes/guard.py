"""The one boundary where a probe runs: whatever it raises becomes an observation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cutover.clock import Clock
from cutover.errors import CutoverError, PlanError
from cutover.observations.base import Observation, ProbeFailed


async def guarded(
    probe: str,
    about: str,
    work: Callable[[], Awaitable[Sequence[Observation]]],
    clock: Clock,
    deadline: float,
) -> list[Observation]:
    """Run one probe; whatever it raises becomes a :class:`ProbeFailed`, and nothing it looked at passes.

    Only a mistake in the plan (:class:`PlanError`) goes on: no later round could see more.

    Args:
        probe: its room.
        about: what it looks at, "" when that is everything.
        work: starts it.
        clock: stamps the failure.
        deadline: seconds after which it is given up.
    """
    try:
        async with asyncio.timeout(deadline):
            return list(await work())
    except TimeoutError:
        error = f"no result within {deadline:.0f} s"
    except PlanError:
        raise
    except CutoverError as raised:
        error = raised.message
    except Exception as raised:  # noqa: BLE001 - the boundary where a probe runs
        error = f"{type(raised).__name__}: {raised}"
    return [ProbeFailed(at=clock.now(), probe=probe, about=about, error=error)]
