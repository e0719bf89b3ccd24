"""``edge.proxied``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, passed, unknown, warned
from cutover.edge import is_cloudflare_member, seen_answers, signs_of_cloudflare
from cutover.evidence import Evidence
from cutover.plan import Plan


@check(title="whether a proxy hides the origin from DNS", severity=Severity.INFO, phases=(Phase.PREFLIGHT, Phase.WATCH))
def proxied(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Say which names are behind Cloudflare.

    Every resolver then hands out the edge's addresses, before the switch and after it: what is concluded from
    them says nothing about the origin that the edge asks. Where new lies outside, DNS still tells when users left.
    """
    for name in plan.names:
        host = name.rstrip(".")
        signs = signs_of_cloudflare(evidence, name)
        if signs:
            yield _behind(plan, name, host, signs)
        elif seen_answers(evidence, name):
            yield passed(host, "not behind a proxy that is known here", name=name)
        else:
            yield unknown(host, "no answer was seen: whether a proxy stands before it is unknown", name=name)


def _behind(plan: Plan, name: str, host: str, signs: tuple[str, ...]) -> Outcome:
    new = plan.named(name).new
    told = f"behind Cloudflare ({', '.join(signs[:3])})"
    if new and not any(is_cloudflare_member(member) for member in new):
        return warned(host, f"{told}; new is not: DNS tells when users have left it", name=name, signs=list(signs))
    return unknown(
        host,
        f"{told}: resolvers show its edge and never the origin behind it, so dns.* cannot tell old from new; "
        "the fingerprints through the edge and the traffic must",
        name=name,
        signs=list(signs),
    )
