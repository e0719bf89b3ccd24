"""``database.clock``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.evidence import Evidence
from cutover.observations.traffic import DatabaseReading
from cutover.plan import Plan

from ._reading import SIDES, configured, why_unread

LIMIT = 1.0
"""Seconds by which the servers' clocks may differ."""


@check(title="the two servers' clocks agree", severity=Severity.WARNING, phases=(Phase.PREFLIGHT,))
def clock(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compare both servers' clocks with this machine's.

    ``newest(column)`` rules compare timestamps that the two sides wrote: a server that is minutes ahead always
    wins. Differences below the measured skew are left to people.
    """
    if not configured(plan, "old") or not configured(plan, "new"):
        yield skipped("old and new", "[database] old and new are not both in the plan")
        return
    offsets: dict[str, float] = {}
    error = 0.0
    for side in SIDES:
        reading = evidence.current(DatabaseReading, side)
        if reading is None:
            yield unknown("old and new", why_unread(plan, evidence, side))
            return
        offsets[side] = (reading.server_time - reading.at).total_seconds()
        error += reading.round_trip / 2
    skew = offsets["new"] - offsets["old"]
    word = "ahead of" if skew >= 0 else "behind"
    said = f"new's clock is {abs(skew):.2f} s {word} old's (± {error:.2f} s, limit {LIMIT:g} s)"
    measured: dict[str, Any] = {"skew": round(skew, 3), "error": round(error, 3), "old": round(offsets["old"], 3)}
    if abs(skew) - error > LIMIT:
        yield failed("old and new", said, fix="timedatectl set-ntp true", **measured)
    else:
        yield passed("old and new", said, **measured)
