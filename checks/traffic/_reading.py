"""What the traffic checks share."""

from __future__ import annotations

import math
from datetime import datetime

from cutover.durations import say_duration
from cutover.estimate import Estimate
from cutover.evidence import Evidence
from cutover.plan import Plan

NO_SOURCE = "nothing watches requests, `cutover done` will refuse: add [[traffic]] to the plan"
_CONFIDENCE = 0.05


def labels(plan: Plan, weight: str, side: str | None = None) -> tuple[str, ...]:
    """Return the labels of the sources of a weight, those that tell a side when one is given."""
    return tuple(
        label
        for label, source in zip(plan.traffic_labels(), plan.traffic, strict=True)
        if source.weight == weight and (side is None or source.source == "command" or getattr(source, side) is not None)
    )


def soak_since(plan: Plan, evidence: Evidence, now: datetime) -> datetime | None:
    """Return since when the traffic must have held, None while no soak has begun.

    The start of one that was completed and may still be signed off, else of the soak that is under way: a later
    look (``watch --once``, a second ``done``) begins a soak of its own, and does not undo the completed one.
    """
    known = [at for at in (_signable_since(plan, evidence, now), evidence.soaks.since()) if at is not None]
    return min(known, default=None)


def _signable_since(plan: Plan, evidence: Evidence, now: datetime) -> datetime | None:
    """Return when the soak began that every name completed and that ``done`` may still sign off."""
    completed = [evidence.soaks.of(name).completed_at for name in plan.names]
    known = [at for at in completed if at is not None and now - at <= plan.gate.valid_for]
    return min(known) - plan.gate.soak if known and len(known) == len(completed) else None


def silent_since(plan: Plan, evidence: Evidence, now: datetime) -> datetime | None:
    """Return since when every old address has refused connections, None unless that proves silence.

    A block of addresses cannot be tried one by one, and a name without any known address cannot be tried at all.
    """
    addresses: list[tuple[str, str]] = []
    for name in plan.names:
        if any(x.network is not None and x.network.num_addresses > 1 for x in evidence.sides.of(name).old):
            return None
        known = evidence.sides.addresses(name, "old")
        if not known and plan.origin_of(name, "old").connect is None:
            return None
        addresses += [(name, address) for address in known]
    resumed = _signable_since(plan, evidence, now) is not None
    return Estimate(plan, evidence.traffic, now).silent_since(addresses, over_breaks=resumed)


def refused_for(since: datetime, now: datetime) -> str:
    """Say how long the old side has refused connections."""
    return f"every old address has refused connections since {since:%H:%M:%S} UTC ({say_duration(now - since)})"


def upper_bound(seen: float, of: float) -> float:
    """Return the share that is not exceeded at 95 % confidence when ``seen`` of ``of`` were on old.

    Poisson; for nothing seen it is the rule of three, 3/N.
    """
    if of <= 0:
        return 1.0
    low, high = seen, 3 * seen + 10
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(math.floor(seen), middle) > _CONFIDENCE:
            low = middle
        else:
            high = middle
    return min(1.0, high / of)


def _at_most(count: int, mean: float) -> float:
    """Probability of at most ``count`` events where ``mean`` are expected."""
    if count > 1000:
        return 0.5 * math.erfc((mean - count - 0.5) / math.sqrt(2 * mean))
    term = total = math.exp(-mean)
    for i in range(1, count + 1):
        term *= mean / i
        total += term
    return total
