"""``dns.interception``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.evidence import Evidence
from cutover.observations.dns import InterceptionSeen, Transport
from cutover.plan import Plan

_SUBJECT = "port 53 on this network"


@check(
    title="port 53 is intercepted on this network",
    severity=Severity.WARNING,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def interception(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Ask an address where nobody runs a resolver; if something answers, it answers for everybody.

    Hotel networks, some providers and some office firewalls redirect port 53 to their own resolver. The whole
    panel is then one resolver in disguise: what it says over plain DNS is void. DoH and DoT still count.
    """
    if not plan.dns.interception_canary:
        yield skipped(_SUBJECT, "the plan turned the test off (interception_canary is empty)")
        return
    seen = evidence.current(InterceptionSeen)
    if seen is None:
        failure = evidence.failure("dns.interception")
        yield unknown(_SUBJECT, failure.error if failure is not None else "the canary was not asked in this round")
    elif seen.answered:
        members = evidence.resolvers.members()
        plain = sum(x.transport is Transport.PLAIN for x in members)
        message = f"{seen.canary} runs no resolver, yet it answered: the {plain} plain-DNS resolvers are void"
        yield failed(_SUBJECT, f"{message}; {len(members) - plain} over TLS or HTTPS still count", plain=plain)
    elif seen.error:
        yield unknown(_SUBJECT, f"{seen.canary} could not be asked: {seen.error}")
    else:
        yield passed(_SUBJECT, f"{seen.canary} does not answer, as it should")
