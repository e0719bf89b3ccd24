"""``dns.negative-ttl``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.answers import Answer
from cutover.check import Outcome, Phase, Severity, check, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.plan import Plan

from ._reading import own_zone, settled_now, shown, subject_of, why_unseen


@check(
    title="a record does not exist yet, and caches will remember that for long",
    severity=Severity.WARNING,
    phases=(Phase.PREFLIGHT,),
)
def negative_ttl(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Say for how long resolvers keep "there is none" for a name or family that the cutover will create.

    Whoever asks before the record exists keeps the negative answer for the smaller of the SOA's TTL and its
    minimum (RFC 2308). Users behind such a resolver get nothing after the change.
    """
    for name in plan.names:
        present = settled_now(evidence, name)
        if not present:
            yield unknown(shown(name), why_unseen(evidence, name), name=name)
            continue
        missing = [rtype for rtype in evidence.sides.types(name) if _is_missing(evidence, name, rtype)]
        unseen = [rtype for rtype in evidence.sides.types(name) if not present.get(rtype)]
        for rtype in unseen:
            yield unknown(subject_of(name, rtype), why_unseen(evidence, name), name=name)
        for rtype in missing:
            yield _of_missing(plan, evidence, name, rtype)
        if not missing and not unseen:
            yield skipped(shown(name), "every record that new needs exists already", name=name)


def _is_missing(evidence: Evidence, name: str, rtype: str) -> bool:
    sightings = settled_now(evidence, name).get(rtype, ())
    sides = evidence.sides.of(name)
    wanted = sides.declared_new_for(rtype) or (not sides.new and any(x.answer is Answer.NXDOMAIN for x in sightings))
    return wanted and any(x.answer in {Answer.NXDOMAIN, Answer.NODATA} for x in sightings)


def _of_missing(plan: Plan, evidence: Evidence, name: str, rtype: str) -> Outcome:
    subject, limit = subject_of(name, rtype), plan.dns.max_ttl
    zone = own_zone(evidence, name)
    if zone is None or zone.soa_ttl < 0 or zone.soa_minimum < 0:
        return unknown(subject, "it does not exist yet, and no server told the zone's SOA", name=name)
    ttl = min(zone.soa_ttl, zone.soa_minimum)
    message = f"does not exist yet; caches that ask before it does keep that for {ttl} s (limit {limit} s)"
    if ttl > limit:
        return warned(subject, f"{message}: ask no resolver for it before the change", name=name, ttl=ttl, limit=limit)
    return passed(subject, message, name=name, ttl=ttl, limit=limit)
