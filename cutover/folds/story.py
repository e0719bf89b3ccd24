"""What was decided over time: turns of the verdict, sign-offs, overrides, and the curve of what was still old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cutover.observations.base import Observation
from cutover.observations.gate import Judged, Overridden, SignedOff

MOST_POINTS = 1200


@dataclass(frozen=True, slots=True)
class Point:
    """One watched round on the curve.

    Attributes:
        old_resolvers: share of resolver answers that lead to old, 0..1; None without any answer.
        old_share: share of requests on old, 0..1; None when no source told.
    """

    at: datetime
    old_resolvers: float | None
    old_share: float | None


class Story:
    """The decisions of one ledger, in order; bounded: the curve is thinned by half when it grows too long.

    Attributes:
        last: the last verdict.
        standing: the one that tells where the migration stands: a part of the names that has converged
            (``done --name``) says nothing of the others, and so does not replace what was said of all.
    """

    def __init__(self) -> None:
        self.last: Judged | None = None
        self.standing: Judged | None = None
        self._names: dict[str, frozenset[str]] = {}
        self.rounds = 0
        self.turns: list[Judged] = []
        self.overrides: list[Overridden] = []
        self.sign_offs: list[SignedOff] = []
        self.points: list[Point] = []
        self._every = 1
        self._skipped = 0

    def add(self, observation: Observation) -> None:
        """Take one ledger entry."""
        match observation:
            case Judged():
                before = self.last
                self.last = observation
                if not (self._is_part(observation) and observation.exit_code == 0):
                    self.standing = observation
                self.rounds += 1
                if before is None or (before.verdict, before.phase) != (observation.verdict, observation.phase):
                    self.turns.append(observation)
                if observation.phase == "watch":
                    self._plot(observation)
            case Overridden():
                self.overrides.append(observation)
            case SignedOff():
                self.sign_offs.append(observation)

    def _is_part(self, judged: Judged) -> bool:
        known = self._names.get(judged.plan_hash, frozenset())
        self._names[judged.plan_hash] = known | frozenset(judged.names)
        return frozenset(judged.names) < known

    def _plot(self, judged: Judged) -> None:
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        self.points.append(Point(judged.at, _old_resolvers(judged), old_share(judged)))
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self._every *= 2


def old_share(judged: Judged) -> float | None:
    """Return the share of requests that reached old, as the round's finding measured it."""
    for finding in judged.findings:
        share = finding.measured.get("share")
        if finding.check == "traffic.converged" and isinstance(share, int | float):
            return float(share)
    return None


def _old_resolvers(judged: Judged) -> float | None:
    rows = judged.summary.get("resolvers")
    answers = [row["class"] for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    definite = [x for x in answers if x not in {"timeout", "malformed"}]
    return sum(x in {"old", "mixed"} for x in definite) / len(definite) if definite else None
