"""``dns.horizon``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.change import changed
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown
from cutover.durations import iso, say_duration
from cutover.evidence import Evidence
from cutover.horizon import horizon
from cutover.plan import Plan

from ._reading import NO_NEW, listed, shown


@check(
    title="caches may still hold old answers (now is before not_before)",
    severity=Severity.BLOCKER,
    phases=(Phase.WATCH,),
)
def horizon_check(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compute the earliest instant at which no compliant cache can hold an old answer, and wait for it.

    The longest of: every old version of every RRset, from when it was last served; the TTL from before it was
    lowered; the NS TTL when the delegation moved; the negative TTL when the name is new; and what caches were
    seen to hold. Resolvers that were asked cannot tell this: most users sit behind others.
    """
    for name in plan.names:
        yield from _of_name(plan, evidence, name, now)


def _of_name(plan: Plan, evidence: Evidence, name: str, now: datetime) -> Iterator[Outcome]:
    subject = shown(name)
    if not plan.named(name).new:
        yield unknown(subject, NO_NEW, name=name)
        return
    moved = changed(plan, evidence, name)
    if moved.at is None:
        waits = evidence.authority.window(name).first_new is None
        what = "it has not changed yet" if waits else "it is not known when it changed"
        yield unknown(subject, f"{what}: {moved.how}", name=name)
        return
    found = horizon(plan, evidence, name)
    waiting = [x for x in found.causes if x.until > now]
    if waiting:
        causes = listed((f"{x.what} (for {say_duration(x.until - now)} more)" for x in waiting), 3)
        message = f"caches may hold old: {causes}"
        yield failed(
            subject, message, name=name, until=waiting[0].until, changed_at=iso(moved.at), changed_by=moved.how
        )
    elif found.unknown:
        yield unknown(subject, f"{found.unknown}. Set previous_ttl", name=name)
    elif found.not_before is not None:
        message = (
            f"no compliant cache can hold old since {say_duration(now - found.not_before)}: "
            f"changed {say_duration(now - moved.at)} ago ({moved.how}), old TTL known by {found.known_by}"
        )
        yield passed(subject, message, name=name, not_before=iso(found.not_before), known_by=found.known_by)
    else:
        yield unknown(subject, "nothing bounds what caches hold", name=name)
