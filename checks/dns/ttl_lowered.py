"""``dns.ttl-lowered``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.observations.dns import AuthorityAnswers, NameSeen
from cutover.plan import Plan

from ._fixes import answering, lowering
from ._reading import Served, listed, nothing_exists, served_now, shown, subject_of, unanswered_now, why_unseen


@check(
    title="an RRset that will change has a TTL above max_ttl",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT,),
)
def ttl_lowered(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Read the TTL of every RRset that the change may touch, at every authoritative server.

    Caches keep the old answer for its TTL after the switch. The name's own RRsets count, and the CNAME hops that
    lie in the user's own zones: either may be the one that is edited. A vendor's hops are information.
    """
    for name in plan.names:
        if not evidence.all_current(AuthorityAnswers, name, name):
            yield unknown(shown(name), why_unseen(evidence, name), name=name)
            continue
        yield from _of_name(plan, evidence, name)


def _of_name(plan: Plan, evidence: Evidence, name: str) -> Iterator[Outcome]:
    silent = [x for x in unanswered_now(evidence, name) if x.in_plan]
    unseen = {(x.owner, x.rtype) for x in silent}
    for one in silent:
        why = listed(one.servers) or "the zone has no server"
        message = f"{len(one.servers)} of {one.asked} servers do not tell the TTL: {why}"
        yield unknown(subject_of(one.owner, one.rtype), message, name=name)
    chain = evidence.current(NameSeen, name)
    if chain is not None and chain.error:
        yield unknown(shown(name), f"the chain could not be followed to its end: {chain.error}", name=name)
    present = served_now(evidence, name)
    if not present and not silent:
        if nothing_exists(evidence, name):
            yield passed(shown(name), "no such record yet: there is no TTL to lower", name=name)
        else:
            yield unknown(shown(name), "the servers show no record of it", name=name)
    for rrset in present:
        outcome = _of_rrset(plan, evidence, name, rrset)
        if (rrset.owner, rrset.rtype) not in unseen or outcome.status.value != "pass":
            yield outcome if rrset.in_plan else outcome.informing()


def _of_rrset(plan: Plan, evidence: Evidence, name: str, rrset: Served) -> Outcome:
    ttl, limit = longest_ttl(evidence, name, rrset), plan.dns.max_ttl
    message = f"TTL is {ttl} s at hop {rrset.hop} of {rrset.hops} (limit {limit} s)"
    if ttl <= limit:
        return passed(rrset.subject, message, name=name, ttl=ttl, limit=limit)
    if is_alias(evidence, name, rrset):
        message += ": an alias, whose TTL Route 53 sets"
        return warned(rrset.subject, message, name=name, ttl=ttl, limit=limit).informing()
    if not rrset.in_plan:
        message += f": {shown(rrset.zone)} is not yours"
        return warned(rrset.subject, message, name=name, ttl=ttl, limit=limit)
    if ttl > rrset.ttl:
        message += f": in a variant that the answers here do not show (they have {rrset.ttl} s)"
    fix = lowering(plan, evidence, name, rrset)
    return failed(rrset.subject, message, name=name, fix=fix, ttl=ttl, limit=limit)


def longest_ttl(evidence: Evidence, name: str, rrset: Served) -> int:
    """Return the longest TTL that an RRset is served with anywhere, seconds: as answered, or in a variant."""
    return max([rrset.ttl, *(x.ttl for x in answering(evidence, name, rrset) if x.ttl is not None)])


def is_alias(evidence: Evidence, name: str, rrset: Served) -> bool:
    """Tell whether aliases to AWS's own make up an RRset: its TTL is 60 s and cannot be set (AWS docs).

    An alias to another record set of the zone has that one's TTL, which can.
    """
    held = answering(evidence, name, rrset)
    return bool(held) and all(x.ttl is None and x.alias for x in held)
