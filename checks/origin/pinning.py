"""``origin.pinning``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.durations import say_duration
from cutover.evidence import Evidence
from cutover.observations.origin import OriginSeen
from cutover.pinning import alternatives, keep_alive_seconds, max_age_seconds
from cutover.plan import Plan

from ._reading import direct, shown, why_unseen

LONG_SECONDS = 300
"""Holding a client for less than this is lost in the soak."""

_PERMANENT = {301, 308}


@check(title="nothing that old says pins clients to it", severity=Severity.WARNING, phases=(Phase.PREFLIGHT,))
def pinning(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Read what old tells clients to keep: alternative services (RFC 7838), connections, responses, redirects.

    DNS does not reach a client that was told to go elsewhere, or that holds its connection open.
    """
    for name in plan.names:
        old = [seen for seen in direct(evidence, name, "old") if seen.response.status]
        if not old:
            yield unknown(f"{shown(name)} old", _unseen(plan, evidence, name), name=name)
        for seen in old:
            found = list(_holds(name, seen))
            yield from found
            if not found:
                yield passed(f"{shown(name)} old", f"{seen.connect} pins no client to old for long", name=name)


def _unseen(plan: Plan, evidence: Evidence, name: str) -> str:
    for seen in direct(evidence, name, "old"):
        return f"old did not answer at {seen.connect}: {seen.response.error or seen.response.tls_error}"
    return why_unseen(plan, evidence, name, "old")


def _holds(name: str, seen: OriginSeen) -> Iterator[Outcome]:
    subject, response = f"{shown(name)} old", seen.response
    host = urlsplit(seen.url).hostname or ""
    for service in alternatives(response.alt_svc):
        if service.leaves(host):
            persists = ", and keeps it when their network changes" if service.persist else ""
            yield failed(
                subject,
                f"Alt-Svc sends clients to {service.host}:{service.port} for {say_duration(service.seconds)}"
                f"{persists}: serve `Alt-Svc: clear` from old now",
                name=name,
                seconds=service.seconds,
            )
    target = urlsplit(response.location).hostname
    if response.status in _PERMANENT and target not in {None, host}:
        yield failed(
            subject,
            f"a permanent redirect ({response.status}) to {target} stays in browsers without limit: answer 302 now",
            name=name,
        )
    idle = keep_alive_seconds(response.keep_alive)
    if idle >= LONG_SECONDS:
        yield warned(
            subject,
            f"connections to old stay open for {say_duration(idle)} without a request, longer with one: "
            "restart its listeners after the switch",
            name=name,
            seconds=idle,
        )
    kept = max_age_seconds(response.cache_control)
    if kept >= LONG_SECONDS:
        yield warned(
            subject,
            f"browsers keep old's response for {say_duration(kept)} (Cache-Control): lower it now",
            name=name,
            seconds=kept,
        )
