"""``origin.user-path``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby

from cutover.answers import Answer
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown
from cutover.evidence import Evidence
from cutover.leads import Lead, fits, lead_of, page_seen, saw, status_of
from cutover.observations.origin import PathSeen, UserPathSeen
from cutover.plan import Plan
from cutover.plan_values import split_address
from cutover.urls import path_of, user_url

from ._reading import direct, shown, wrong_host

_WRONG = {
    Lead.OLD: "leads to old",
    Lead.MAINTENANCE: "leads to a maintenance page",
    Lead.UNTRUSTED: "leads to something without a valid certificate",
    Lead.UNKNOWN: "leads to something that is not new",
}


@check(title="what resolvers hand out leads to new", severity=Severity.BLOCKER, phases=(Phase.WATCH,))
def user_path(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Follow every distinct address that resolvers handed out in this round, as a browser would.

    An address may be new's and still end at old: a load balancer, a CDN or a proxy that was never repointed. Only
    new's own fingerprint passes. On a deep path, where a fingerprint may not apply, new's direct answer to the
    same path tells whether it must.
    """
    for name in plan.names:
        seen = evidence.all_current(UserPathSeen, name)
        if not seen:
            yield unknown(shown(name), _why_nothing(evidence, name), name=name)
            continue
        other_host = wrong_host(plan, name, "new")
        if other_host:
            yield unknown(shown(name), other_host, name=name)
            continue
        yield from _name(plan, evidence, name, seen)


def _why_nothing(evidence: Evidence, name: str) -> str:
    failure = evidence.failure("origin", name)
    if failure is not None:
        return f"nothing could be followed: {failure.error}"
    return "no resolver handed out an address in this round: nothing could be followed"


def _name(plan: Plan, evidence: Evidence, name: str, seen: Sequence[UserPathSeen]) -> Iterator[Outcome]:
    complaints = [
        complaint
        for address, requests in groupby(seen, key=lambda x: x.address)
        if (complaint := _address(plan, evidence, name, address, list(requests))) is not None
    ]
    yield from complaints
    if complaints:
        return
    if any(fits(one.response, "new") for one in direct(evidence, name, "old")):
        yield unknown(shown(name), "new's fingerprint fits old too, so it proves nothing", name=name)
        return
    addresses = sorted({x.address for x in seen})
    known_by = next(saw(x.response, "new") for x in seen if lead_of(x.response) is Lead.NEW)
    blind = "" if plan.origin_of(name, "old").fingerprint else "; old has no fingerprint to compare with"
    yield passed(
        shown(name),
        f"{len(seen)} requests through {_count(addresses)} lead to new ({known_by}){blind}",
        name=name,
        addresses=addresses,
        requests=len(seen),
    )


def _address(
    plan: Plan, evidence: Evidence, name: str, address: str, requests: Sequence[UserPathSeen]
) -> Outcome | None:
    """Return what is wrong at one address, the worst first; None when it leads to new."""
    subject = f"{shown(name)} via {address}"
    ordered = sorted(requests, key=lambda x: (x.path != path_of(user_url(plan, name)), x.busted))
    from_resolvers = f"handed out by {_plural(ordered[0].resolvers, 'resolver')}"
    declared_old = evidence.sides.of(name).of_address(address) is Answer.OLD
    whose = ", an address of old" if declared_old else ""
    has_new = plan.origin_of(name, "new").fingerprint is not None
    for lead in (Lead.OLD, Lead.MAINTENANCE, Lead.UNTRUSTED, Lead.UNKNOWN):
        if lead is Lead.UNKNOWN and not has_new and not declared_old:
            continue
        for one in ordered:
            if lead_of(one.response) is lead and (lead is not Lead.UNKNOWN or _must_be_new(plan, evidence, one)):
                return failed(
                    subject,
                    f"{address} ({from_resolvers}{whose}) {_WRONG[lead]} on {_asked(one)}: {_evidence_for(lead, one)}"
                    f"{_narrow(evidence, name) if lead is Lead.UNKNOWN else ''}",
                    name=name,
                    leads_to=lead.value,
                    resolvers=one.resolvers,
                )
    for one in ordered:
        if lead_of(one.response) is Lead.UNREACHABLE:
            return unknown(
                subject,
                f"{address} ({from_resolvers}{whose}) did not answer on {_asked(one)}: "
                f"{one.response.error} (port {one.port}{_other_port(plan, one)})",
                name=name,
                leads_to=Lead.UNREACHABLE.value,
                resolvers=one.resolvers,
            )
    if not has_new:
        return unknown(
            subject,
            'no fingerprint for new: add [origin.new] fingerprint = { header = "...", matches = "..." }',
            name=name,
        )
    for one in ordered:
        if lead_of(one.response) is Lead.BOTH:
            return unknown(
                subject, f"{address} fits the fingerprints of both sides on {_asked(one)}: which is unknown", name=name
            )
    return None


def _other_port(plan: Plan, one: UserPathSeen) -> str:
    """Say that users come to another port than ``connect`` names at that very address."""
    for side in ("new", "old"):
        connect = plan.origin_of(one.name, side).connect
        host, port = split_address(connect, one.port) if connect else ("", one.port)
        if host == one.address and port != one.port:
            return f", where the url leads users; [origin.{side}] connect names {port}"
    return ""


def _must_be_new(plan: Plan, evidence: Evidence, one: UserPathSeen) -> bool:
    """Tell whether new's fingerprint must fit: on the url itself always, elsewhere when new itself shows it there."""
    if one.path == path_of(user_url(plan, one.name)):
        return True
    own = evidence.current(PathSeen, one.name, "new", one.path)
    return own is not None and fits(own.response, "new")


def _narrow(evidence: Evidence, name: str) -> str:
    answered = [x for x in direct(evidence, name, "new") if x.response.status]
    if answered and not any(fits(x.response, "new") for x in answered):
        return "; new itself, asked directly, does not fit its fingerprint either"
    return ""


def _evidence_for(lead: Lead, one: UserPathSeen) -> str:
    if lead is Lead.OLD:
        return saw(one.response, "old")
    if lead is Lead.MAINTENANCE:
        return page_seen(one.response)
    if lead is Lead.UNKNOWN:
        return f"{status_of(one.response)}; {saw(one.response, 'new', 'old')}"
    return status_of(one.response)


def _asked(one: UserPathSeen) -> str:
    return f"{one.path} with cache-busting" if one.busted else one.path


def _count(addresses: Sequence[str]) -> str:
    return addresses[0] if len(addresses) == 1 else f"{len(addresses)} addresses"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
