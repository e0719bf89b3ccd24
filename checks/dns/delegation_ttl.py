"""``dns.delegation-ttl``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, passed, unknown, warned
from cutover.durations import iso
from cutover.evidence import Evidence
from cutover.folds.delegation import Moved
from cutover.observations.dns import Record, ZoneSeen
from cutover.plan import Plan

from ._reading import shown
from ._zones import zones


@check(
    title="the delegation is moving, and caches keep the old name servers for long",
    severity=Severity.WARNING,
    phases=(Phase.PREFLIGHT,),
)
def delegation_ttl(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Say for how long resolvers keep asking the old name servers when the delegation moves.

    A cutover that also changes the DNS provider waits for the NS TTL, at the parent or at the zone itself,
    whichever is longer (some resolvers keep the parent's): usually two days, that nobody but the registry can
    shorten. Until then the old provider's servers must answer, and answer the same.
    """
    for one in zones(plan, evidence):
        for tag in one.tags:
            if one.seen is None:
                yield unknown(shown(one.zone), one.why, name=tag)
            else:
                yield _of_zone(one.seen, evidence.delegation.moved(one.names[0]), tag)


def _of_zone(zone: ZoneSeen, moved: Moved | None, tag: str) -> Outcome:
    parent, child = _longest(zone.parent_ns), _longest(zone.child_ns)
    subject = shown(zone.zone)
    if parent is None and child is None:
        return unknown(subject, zone.error or "no server told the NS records", name=tag)
    told = [f"{ttl} s at the {where}" for ttl, where in ((parent, "parent"), (child, "zone")) if ttl is not None]
    unseen = "" if len(told) == 2 else f" (the {'parent' if parent is None else 'zone'} did not tell)"
    message = f"NS TTL is {', '.join(told)}{unseen}"
    if moved is not None:
        message += f"; the delegation moved at {iso(moved.at)}: caches may ask its old servers for {moved.ns_ttl} s"
        return warned(subject, message, name=tag, parent=parent, child=child)
    return passed(subject, f"{message}; it matters only when the delegation moves too", name=tag)


def _longest(records: Iterable[Record]) -> int | None:
    return max((x.ttl for x in records), default=None)
