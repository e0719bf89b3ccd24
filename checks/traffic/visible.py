"""``traffic.visible``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, passed, skipped, unknown
from cutover.estimate import Estimate
from cutover.evidence import Evidence
from cutover.plan import Plan

from ._reading import NO_SOURCE, refused_for, silent_since


@check(
    title="every traffic source sees both sides (shown by sentinels)",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def visible(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Send requests that nobody else sends, and look whether each source has counted them.

    A dashboard that shows zero means "drained" or "blind": a renamed metric, a revoked key, a wrong dimension and
    an idle load balancer all look alike. Tagged requests to each address of each side tell them apart. A side
    whose addresses all refuse connections needs no eye. Without any source the change itself is not in danger,
    so that preflight only says what will be missing: it is ``done`` that refuses, by ``traffic.converged``.
    """
    sources = evidence.traffic.sources
    if not any(source.weight == "requests" for source in sources.values()):
        if plan.gate.traffic == "optional":
            yield skipped("requests", 'no [[traffic]] in the plan (traffic = "optional")')
        else:
            yield unknown("requests", NO_SOURCE).informing()
    estimate = Estimate(plan, evidence.traffic, now)
    silent = silent_since(plan, evidence, now)
    failure = evidence.failure("traffic")
    for label, source in sources.items():
        for side in ("old", "new"):
            if source.source != "command" and getattr(source, side) is None:
                continue
            subject = f"{label} {side}"
            if side == "old" and silent is not None:
                yield passed(subject, f"{refused_for(silent, now)}: there is nothing to see")
                continue
            vision = estimate.vision(label, side)
            measured: dict[str, Any] = {"counted": vision.counted, "sentinels": vision.sent}
            if vision.until is not None:
                measured["until"] = vision.until
            if vision.sees:
                yield passed(subject, f"{label} sees {side}: {vision.why}", **measured)
            else:
                why = vision.why if failure is None else f"{vision.why} ({failure.error})"
                yield unknown(subject, f"{label} does not see {side}: {why}", **measured)
