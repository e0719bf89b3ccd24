"""The zones of the plan's names, and whom a finding about a zone concerns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cutover.evidence import Evidence
from cutover.observations.dns import NameSeen, ZoneSeen
from cutover.plan import Plan

from ._reading import why_unseen


class ZoneOf(NamedTuple):
    """One zone with the plan's names in it.

    Attributes:
        seen: None when this round did not see it; ``why`` says why.
        tags: what findings about it carry as ``name``: "" when all of the plan's names lie in it.
    """

    zone: str
    names: tuple[str, ...]
    seen: ZoneSeen | None
    tags: tuple[str, ...]
    why: str = ""


def zones(plan: Plan, evidence: Evidence) -> Iterator[ZoneOf]:
    """Yield the zone of every plan's name; a name whose zone is not known in this round comes by itself."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in plan.names:
        chain = evidence.current(NameSeen, name)
        if chain is not None and chain.apex:
            found[chain.apex].append(name)
        else:
            yield ZoneOf(name, (name,), None, (name,), why_unseen(evidence, name))
    for zone, names in found.items():
        seen = evidence.current(ZoneSeen, zone)
        why = "" if seen is not None else why_unseen(evidence, names[0])
        yield ZoneOf(zone, tuple(names), seen, _tags(plan, names), why)


def _tags(plan: Plan, names: Sequence[str]) -> tuple[str, ...]:
    return ("",) if len(names) == len(plan.names) else tuple(names)
