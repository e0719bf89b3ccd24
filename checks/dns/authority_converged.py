"""``dns.authority-converged``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from cutover.answers import Answer
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown
from cutover.evidence import Evidence
from cutover.folds.authority import Sighting
from cutover.plan import Plan

from ._fixes import live_variants, switching
from ._reading import NO_NEW, is_route53, listed, settled_now, shown, subject_of, why_unseen


@check(
    title="an authoritative server gives anything but new",
    severity=Severity.BLOCKER,
    phases=(Phase.WATCH,),
)
def authority_converged(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Ask every authoritative server for every polled type, and class the answer by the declared sides.

    Whatever one server still gives, some resolver fetches anew and keeps for a whole TTL: nothing can converge
    below an authority that has not. A server that gives no answer is unknown, not new.
    """
    for name in plan.names:
        if not plan.named(name).new:
            yield unknown(shown(name), NO_NEW, name=name)
            continue
        present = settled_now(evidence, name)
        for rtype in dict.fromkeys([*evidence.sides.types(name), *present]):
            sightings = present.get(rtype, ())
            if sightings:
                yield from _of_type(plan, evidence, name, rtype, sightings)
            else:
                yield unknown(subject_of(name, rtype), why_unseen(evidence, name), name=name)


def _of_type(plan: Plan, evidence: Evidence, name: str, rtype: str, sightings: Sequence[Sighting]) -> Iterator[Outcome]:
    subject, total = subject_of(name, rtype), len(sightings)
    wrong = [x for x in sightings if x.answer.says_something and x.answer is not Answer.NEW]
    silent = [x for x in sightings if not x.answer.says_something]
    if wrong:
        said = listed(f"{x.label} gives {_what(x)}" for x in wrong)
        message = f"{len(wrong)} of {total} authoritative servers do not give new: {said}"
        yield failed(
            subject,
            message,
            name=name,
            fix=_fix(plan, evidence, name),
            servers=total,
            not_new={x.label: x.answer.value for x in wrong},
        )
    if silent:
        said = listed(f"{x.label}: {x.error or x.answer.value}" for x in silent)
        message = f"{len(silent)} of {total} authoritative servers say nothing definite: {said}"
        yield unknown(subject, message, name=name, servers=total)
    if not wrong and not silent:
        what = "new" if any(x.rrsets for x in sightings) else "no such record, as new has none"
        yield passed(subject, f"{_all(total)} {what}", name=name, servers=total)


def _all(total: int) -> str:
    return "the only authoritative server gives" if total == 1 else f"all {total} authoritative servers give"


def _what(sighting: Sighting) -> str:
    data = sorted({value for rrset in sighting.rrsets for value in rrset.data})
    return f"{sighting.answer.value} ({listed(map(shown, data), 3)})" if data else sighting.answer.value


def _fix(plan: Plan, evidence: Evidence, name: str) -> str:
    if not is_route53(plan, evidence, name):
        return ""
    return switching(plan, evidence, name, [x for x in live_variants(evidence, name) if x.name == name])
