"""Commands that mend records, where the provider is known to be Route 53."""

from __future__ import annotations

from collections.abc import Iterable

from cutover.errors import CutoverError
from cutover.evidence import Evidence
from cutover.livezone import asked_zone
from cutover.observations.dns import NameSeen
from cutover.observations.provider import Variant, Variants
from cutover.plan import Plan
from cutover.report import fixes
from cutover.trail import stands_behind

from ._reading import Served, is_route53


def lowering(plan: Plan, evidence: Evidence, name: str, rrset: Served) -> str:
    """Return the command that brings an RRset's TTL down to the limit, "" when no exact one can be made.

    A wildcard's own record set is lowered: one of the name itself would hide every other type of the wildcard.
    """
    if not is_route53(plan, evidence, name):
        return ""
    sets = [fixes.as_record_set(x) for x in answering(evidence, name, rrset)]
    if not sets:
        chain = evidence.current(NameSeen, name)
        if chain is not None and chain.wildcard and rrset.owner == name:
            return ""
        sets = [fixes.record_set(rrset.owner, rrset.rtype, rrset.ttl, rrset.data)]
    return _command(plan, evidence, name, fixes.lower_ttl(sets, plan.dns.max_ttl), "lower the TTL before the cutover")


def switching(plan: Plan, evidence: Evidence, name: str, variants: Iterable[Variant]) -> str:
    """Return the command that points record sets at new, "" when no exact one can be made."""
    new = [
        str(x.network.network_address) if x.network is not None else x.target or ""
        for x in plan.named(name).new
        if x.network is None or x.network.num_addresses == 1
    ]
    zone = asked_zone(evidence, name)
    try:
        changes = fixes.switch(
            [fixes.as_record_set(x) for x in variants],
            new,
            plan.dns.max_ttl,
            apex=zone is not None and zone.name == name,
        )
    except CutoverError:
        return ""
    return _command(plan, evidence, name, changes, "cut over to new")


def live_variants(evidence: Evidence, name: str) -> tuple[Variant, ...]:
    """Return the record sets that this round saw in the hosted zone that the world asks."""
    zone = asked_zone(evidence, name)
    seen = evidence.current(Variants, name, zone.id) if zone is not None else None
    return seen.variants if seen is not None else ()


def answering(evidence: Evidence, name: str, rrset: Served) -> list[Variant]:
    """Return the record sets whose TTL an RRset has: its own, a wildcard's, or those at the end of an alias.

    Answers show one variant at a time; here are all of them.
    """
    live = live_variants(evidence, name)
    behind = stands_behind(evidence, name, rrset.owner)
    held = [x for x in live if x.rtype == rrset.rtype and x.name in behind]
    inside = {x.name for x in held}
    return [x for x in held if x.alias not in inside]


def _command(plan: Plan, evidence: Evidence, name: str, changes: Iterable[fixes.Change], comment: str) -> str:
    zone = asked_zone(evidence, name)
    settings = plan.providers.route53
    return fixes.change_batch_command(
        zone.id if zone is not None else None,
        changes,
        comment=comment,
        profile=settings.profile,
        endpoint_url=settings.endpoint_url,
    )
