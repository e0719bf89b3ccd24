"""``origin.tls``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown, warned
from cutover.durations import say_instant
from cutover.evidence import Evidence
from cutover.observations.origin import OriginSeen
from cutover.plan import Plan

from ._reading import direct, shown, why_unseen, wrong_host

EXPIRES_SOON = timedelta(days=14)


@check(
    title="new has a valid certificate for the name",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def tls(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Verify new's certificate for the host name, at new's own address, before DNS moves.

    A proxy that answers 200 with somebody else's certificate, a certificate that was never issued because its
    validation waits for the DNS change, a chain without its intermediate: users see each as a broken site.
    """
    for name in plan.names:
        subject = f"{shown(name)} new"
        new = direct(evidence, name, "new")
        if not new:
            yield unknown(subject, why_unseen(plan, evidence, name, "new"), name=name)
        for seen in new:
            yield _judged(plan, name, seen, now)


def _judged(plan: Plan, name: str, seen: OriginSeen, now: datetime) -> Outcome:
    subject, response = f"{shown(name)} new", seen.response
    if urlsplit(seen.url).scheme == "http":
        return skipped(subject, f"the url is plain http: {seen.url}", name=name)
    other_host = wrong_host(plan, name, "new")
    if other_host:
        return unknown(subject, other_host, name=name)
    if response.error:
        return unknown(subject, f"no certificate was seen at {seen.connect}: {response.error}", name=name)
    if response.tls_error:
        return failed(
            subject,
            f"no valid certificate at {seen.connect}: {response.tls_error}",
            name=name,
            certificate_names=list(response.cert_names),
            cert_sha256=response.cert_sha256,
        )
    if response.cert_expires is None:
        return unknown(subject, f"the certificate at {seen.connect} cannot be read", name=name)
    expiry = say_instant(response.cert_expires, now)
    if response.cert_expires - now < EXPIRES_SOON:
        return warned(subject, f"the certificate at {seen.connect} ends {expiry}", name=name)
    return passed(subject, f"valid certificate at {seen.connect} until {response.cert_expires:%Y-%m-%d}", name=name)
