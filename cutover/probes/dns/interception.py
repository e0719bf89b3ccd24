"""Whether this network answers DNS questions that were sent to somebody else."""

from __future__ import annotations

from cutover.clock import Clock, SystemClock
from cutover.errors import CutoverError
from cutover.observations.dns import InterceptionSeen, Outcome, Transport
from cutover.probes.dns.engine import Engine, Target

_CONTROL = ("example.com.", "A")


async def intercepted(
    engine: Engine, canary: str, *, deadline: float = 2.0, clock: Clock | None = None
) -> InterceptionSeen:
    """Ask an address where no resolver is; whatever answers in its name is an interceptor.

    Args:
        engine: asks.
        canary: an address (``192.0.2.1`` belongs to nobody, RFC 5737), port 53 unless it names one; "" turns
            the test off.
        deadline: seconds to wait; silence is the good answer.
        clock: stamps the observation.
    """
    clock = clock or SystemClock()
    if not canary:
        return InterceptionSeen(at=clock.now(), canary="", answered=False)
    bare = canary.count(":") != 1 and not canary.startswith("[")
    address = (f"[{canary}]:53" if ":" in canary else f"{canary}:53") if bare else canary
    try:
        reply = await engine.ask(Target(Transport.PLAIN, address), *_CONTROL, recursion=True, deadline=deadline)
    except CutoverError as error:
        return InterceptionSeen(at=clock.now(), canary=canary, answered=False, error=error.message)
    answered = reply.outcome is Outcome.ANSWERED or reply.dropped > 0
    return InterceptionSeen(at=clock.now(), canary=canary, answered=answered)
