"""``dns.record-plan``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from cutover.answers import Answer, Sides
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown
from cutover.evidence import Evidence
from cutover.folds.authority import Sighting
from cutover.livezone import asked_zone
from cutover.observations.dns import NameSeen
from cutover.observations.provider import HostedZones, Variant, Variants
from cutover.plan import Plan
from cutover.plan_values import address_of

from ._fixes import switching
from ._reading import (
    NO_NEW,
    is_route53,
    listed,
    settled_now,
    shown,
    subject_of,
    why_unseen,
)

_TYPES = frozenset({"A", "AAAA", "CNAME", "HTTPS", "SVCB"})


@check(
    title="an RRset variant is on neither side, or still on old after the change",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def record_plan(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Class every variant of every RRset of a name: IPv6, HTTPS, weighted, latency, geo, failover, wildcard.

    The record that nobody thought of keeps a part of the users on old: AAAA beside A, one weight of 256, the
    failover secondary that takes over at night. DNS answers show one variant at a time; the provider shows all.
    Before the change every variant must be on a declared side; after it, none may be on old. A weight of 0 is no
    exception: Route 53 answers with such records when no other is healthy, and when all weights are 0.
    """
    for name in plan.names:
        if not plan.named(name).new:
            yield unknown(shown(name), NO_NEW, name=name)
            continue
        yield from _from_answers(plan, evidence, name)
        if is_route53(plan, evidence, name):
            yield from _from_provider(plan, evidence, name)


def _from_answers(plan: Plan, evidence: Evidence, name: str) -> Iterator[Outcome]:
    """Judge what the authoritative servers give, whoever runs them."""
    present = settled_now(evidence, name)
    only = "" if is_route53(plan, evidence, name) else "; variants that the answers do not show cannot be seen"
    for rtype in dict.fromkeys([*evidence.sides.types(name), *present]):
        subject, sightings = subject_of(name, rtype), present.get(rtype, ())
        if not sightings:
            yield unknown(subject, why_unseen(evidence, name), name=name)
            continue
        sides = evidence.sides.of(name)
        wrong = [x for x in sightings if _is_wrong(x.answer, evidence.phase) or _has_stray(sides, x)]
        silent = [x for x in sightings if not x.answer.says_something]
        if wrong:
            said = listed(f"{x.label} gives {_data(x)}: {_named(x.answer)}" for x in wrong)
            yield failed(subject, said, name=name, answers={x.label: x.answer.value for x in wrong})
        if silent:
            said = listed(f"{x.label}: {x.error or x.answer.value}" for x in silent)
            yield unknown(subject, f"not every server tells what it holds: {said}", name=name)
        if not wrong and not silent:
            given = " and ".join(sorted({_named(x.answer) if x.rrsets else "no record" for x in sightings}))
            yield passed(subject, f"{len(sightings)} servers give {given}{only}", name=name)


def _is_wrong(answer: Answer, phase: Phase) -> bool:
    """An RRset that is not there yet may come with the change; one that leads elsewhere will not mend itself."""
    if phase is Phase.PREFLIGHT:
        return answer is Answer.OTHER
    return answer is Answer.OTHER or answer.leads_to_old


def _has_stray(sides: Sides, sighting: Sighting) -> bool:
    """Tell whether a mixed answer holds an address that neither side declares."""
    if sighting.answer is not Answer.MIXED:
        return False
    return any(_strays(sides, x.data) for x in sighting.rrsets if x.rtype in {"A", "AAAA"})


def _named(answer: Answer) -> str:
    match answer:
        case Answer.OTHER:
            return "on neither side"
        case Answer.NODATA | Answer.NXDOMAIN:
            return "not there"
        case _:
            return answer.value


def _data(sighting: Sighting) -> str:
    data = sorted({shown(value) for rrset in sighting.rrsets for value in rrset.data})
    return listed(data, 3) or "nothing"


def _from_provider(plan: Plan, evidence: Evidence, name: str) -> Iterator[Outcome]:
    """Judge every record set of the hosted zone that the world asks."""
    held = _record_sets(evidence, name)
    if evidence.failure("route53", name) is not None or held is None:
        yield _unseen(evidence, name)
        return
    subject = f"{shown(name)} variants"
    relevant = [x for x in held.variants if x.rtype in _TYPES]
    bad = [(x, why) for x in relevant if (why := _why_wrong(evidence, name, x, held))]
    for variant, why in bad:
        yield _wrong(plan, evidence, name, variant, held.zone_id, why, [x for x, _ in bad])
    if not relevant and _leads_somewhere(evidence, name):
        message = f"the servers answer, but zone {held.zone_id} holds no record set for the name"
        yield unknown(subject, message, name=name)
    elif not relevant:
        yield passed(subject, f"zone {held.zone_id} holds no record set for it", name=name)
    elif not bad:
        said = listed(_described(x) for x in relevant)
        side = "on new" if evidence.phase is Phase.WATCH else "on a declared side"
        message = f"{len(relevant)} record sets of zone {held.zone_id} are {side}: {said}"
        yield passed(subject, message, name=name, variants=len(relevant))


def _record_sets(evidence: Evidence, name: str) -> Variants | None:
    zone = asked_zone(evidence, name)
    return evidence.current(Variants, name, zone.id) if zone is not None else None


def _unseen(evidence: Evidence, name: str) -> Outcome:
    subject = f"{shown(name)} variants"
    failure = evidence.failure("route53", name)
    if failure is not None:
        needs = f" (needs {failure.permission})" if failure.permission else ""
        message = f"Route 53 could not be asked for every variant{needs}: {failure.error}"
        return unknown(subject, message, name=name, permission=failure.permission)
    if evidence.current(HostedZones, name) is None:
        return unknown(subject, "Route 53 was not asked for its variants in this round", name=name)
    if asked_zone(evidence, name) is None:
        return unknown(subject, "no hosted zone of this account is the one that the world asks", name=name)
    return unknown(subject, "the record sets of its zone were not listed in this round", name=name)


def _class_of(evidence: Evidence, name: str, variant: Variant, held: Variants) -> Answer | None:
    """Return a record set's side; None when it points at another of the same zone, which is judged by itself."""
    sides = evidence.sides.of(name)
    if variant.alias:
        return _class_of_target(evidence, name, sides, variant, held)
    answer = sides.of_data(variant.rtype, variant.values)
    if answer is not Answer.OTHER:
        return answer
    if variant.rtype == "CNAME":
        return _class_of_target(evidence, name, sides, variant, held)
    return sides.of_target(variant.name) or answer


def _class_of_target(evidence: Evidence, name: str, sides: Sides, variant: Variant, held: Variants) -> Answer | None:
    target = variant.alias or next(iter(variant.values), "")
    declared = sides.of_target(target)
    if declared is not None:
        return declared
    if any(x.name == target and x.rtype in _TYPES for x in held.variants):
        return None
    if all(x.routing == "simple" for x in held.variants if x.rtype in _TYPES):
        # Nothing is routed, so that the answers show all there is; a family that the target lacks tells no side.
        shown_by = {"CNAME": evidence.sides.types(name)}.get(variant.rtype, (variant.rtype,))
        present = settled_now(evidence, name)
        classes = {
            x.answer for rtype in shown_by for x in present.get(rtype, ()) if any(y.rtype == rtype for y in x.rrsets)
        }
        if len(classes) == 1 and classes <= {Answer.OLD, Answer.NEW}:
            return classes.pop()
    return Answer.OTHER


def _strays(sides: Sides, values: Iterable[str]) -> list[str]:
    """Return the addresses that neither side declares."""
    return [x for x in values if address_of(x) is not None and sides.of_address(x) is None]


def _why_wrong(evidence: Evidence, name: str, variant: Variant, held: Variants) -> str:
    """Say what is wrong with a record set, "" when nothing is."""
    side = _class_of(evidence, name, variant, held)
    if side is None:
        return ""
    if side is Answer.MIXED:
        strays = _strays(evidence.sides.of(name), variant.values)
        if strays:
            return f"is on neither side with {listed(strays)}"
    if not _is_wrong(side, evidence.phase):
        return ""
    if side is Answer.OTHER:
        return "is on neither side"
    falls_back = " (weight 0 still serves when nothing else is healthy, or when all weights are 0)"
    return f"is still on {side.value}" + (falls_back if variant.weight == 0 else "")


def _wrong(
    plan: Plan, evidence: Evidence, name: str, variant: Variant, zone_id: str, why: str, bad: Iterable[Variant]
) -> Outcome:
    own = [x for x in bad if x.name == name]
    fix = switching(plan, evidence, name, own) if evidence.phase is Phase.WATCH and variant in own else ""
    return failed(
        subject_of(variant.name, variant.rtype),
        f"{_described(variant)} {why} (zone {zone_id})",
        name=name,
        fix=fix,
        routing=variant.routing,
        set_identifier=variant.set_identifier,
        weight=variant.weight,
        values=list(variant.values) or [variant.alias],
    )


def _described(variant: Variant) -> str:
    leads_to = shown(variant.alias) if variant.alias else listed((shown(x) for x in variant.values), 3)
    if variant.routing == "simple":
        kind = "wildcard " if variant.name.startswith("*.") else ""
        return f"{kind}{variant.rtype} {leads_to}"
    detail = f" {variant.detail}" if variant.detail else ""
    return f"{variant.rtype} {variant.set_identifier} ({variant.routing}{detail}) {leads_to}"


def _leads_somewhere(evidence: Evidence, name: str) -> bool:
    chain = evidence.current(NameSeen, name)
    own = settled_now(evidence, name).values()
    return any(x.rrsets for found in own for x in found) or (chain is not None and len(chain.owners) > 1)
