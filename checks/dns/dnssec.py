"""``dns.dnssec``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.plan import Plan

from ._reading import shown
from ._zones import ZoneOf, zones


@check(
    title="the DNSSEC chain is broken, or will be when the delegation moves",
    severity=Severity.WARNING,
    phases=(Phase.PREFLIGHT,),
)
def dnssec(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Look at the chain from the parent's DS record to the zone's signatures.

    A resolver that validates answers SERVFAIL for a zone whose chain is broken: for the users behind it the name
    is gone. The usual way there is a DS record that stays at the registry when the zone moves to a provider
    with other keys, or with none.
    """
    for one in zones(plan, evidence):
        for tag in one.tags:
            yield _of_zone(evidence, one, tag)


def _of_zone(evidence: Evidence, one: ZoneOf, tag: str) -> Outcome:
    subject = shown(one.zone)
    if one.seen is None:
        return unknown(subject, one.why, name=tag)
    state = one.seen.dnssec
    if state == "unsigned":
        return passed(subject, "not signed: there is no chain to break", name=tag)
    if state == "signed":
        if evidence.delegation.moved(one.names[0]) is not None:
            message = "signed, and the delegation moved: the DS record at the registry must fit the new keys"
            return warned(subject, message, name=tag)
        message = "signed, the chain holds; if the delegation moves, change the DS record at the registry first"
        return passed(subject, message, name=tag)
    if state.startswith("broken"):
        return failed(subject, f"validating resolvers refuse it: {state.removeprefix('broken: ')}", name=tag)
    return unknown(subject, f"the chain could not be seen: {state.removeprefix('unknown: ')}", name=tag)
