"""``edge.maintenance-page``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from cutover.answers import Answer
from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.durations import say_instant
from cutover.evidence import Evidence
from cutover.leads import Lead, lead_of, page_seen
from cutover.observations.origin import UserPathSeen
from cutover.plan import Plan
from cutover.urls import deep_path


@check(title="no maintenance page is served to users", severity=Severity.BLOCKER, phases=(Phase.WATCH,))
def maintenance_page(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Look for the maintenance page on the url and on a deep path, with and without cache-busting.

    In the incident the page was the first symptom, and taking it away made things worse: it had kept users from
    the old application. When it disappears while addresses still lead to old, that is an alarm, not a relief.
    """
    for name in plan.names:
        host = name.rstrip(".")
        if not any(plan.origin_of(name, side).maintenance for side in ("old", "new")):
            yield skipped(host, "the plan has no `maintenance` fingerprint", name=name)
            continue
        seen = evidence.all_current(UserPathSeen, name)
        if not seen:
            failure = evidence.failure("origin", name)
            why = failure.error if failure is not None else "no resolver handed out an address in this round"
            yield unknown(host, f"nothing could be followed: {why}", name=name)
            continue
        yield from _name(evidence, name, seen, now)


def _name(evidence: Evidence, name: str, seen: Sequence[UserPathSeen], now: datetime) -> Iterator[Outcome]:
    host = name.rstrip(".")
    pages = [x for x in seen if page_seen(x.response)]
    old = [x for x in seen if _leads_to_old(evidence, x)]
    unseen = [x for x in seen if lead_of(x.response) in {Lead.UNREACHABLE, Lead.UNTRUSTED}]
    last = evidence.maintenance.last_seen(name)
    if old and last is not None:
        where = "gone" if not pages else "gone there"
        yield failed(
            host,
            f"ALARM: the maintenance page is {where} (last seen {say_instant(last, now)}) while {_addresses(old)} "
            "still leads to old: users are in the old application and write into it. "
            "Put the page back, or run `cutover fence`",
            name=name,
            addresses=sorted({x.address for x in old}),
        )
    if pages:
        yield failed(host, _told(pages, seen), name=name, requests=len(seen), pages=len(pages))
    elif unseen:
        reason = unseen[0].response.error or unseen[0].response.tls_error
        yield unknown(host, f"{_addresses(unseen)} could not be looked at: {reason}", name=name)
    elif not (old and last is not None):
        ago = f"; last seen {say_instant(last, now)}" if last is not None else ""
        yield passed(host, f"no maintenance page in {len(seen)} requests through {_addresses(seen)}{ago}", name=name)


def _leads_to_old(evidence: Evidence, one: UserPathSeen) -> bool:
    lead = lead_of(one.response)
    if lead is Lead.UNKNOWN:
        return evidence.sides.of(one.name).of_address(one.address) is Answer.OLD
    return lead is Lead.OLD


def _told(pages: Sequence[UserPathSeen], seen: Sequence[UserPathSeen]) -> str:
    first = pages[0]
    cached = ""
    if all(not x.busted for x in pages) and any(x.busted for x in seen if x.address == first.address):
        cached = ", only without cache-busting: a cache still holds it"
    paths = sorted({x.path for x in pages}, key=lambda path: path == deep_path(first.name))
    return (
        f"a maintenance page is served through {_addresses(pages)} on {' and '.join(paths)}{cached}: "
        f"{page_seen(first.response)}"
    )


def _addresses(seen: Sequence[UserPathSeen]) -> str:
    addresses = sorted({x.address for x in seen})
    return ", ".join(addresses[:3]) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
