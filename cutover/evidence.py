"""What is known at one instant: the only thing, besides the plan and the time, that a check may look at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from cutover.finding import Phase
from cutover.folds.authority import AuthorityFold
from cutover.folds.clock import ClockFold
from cutover.folds.database import DatabaseFold
from cutover.folds.delegation import DelegationFold
from cutover.folds.maintenance import MaintenanceFold
from cutover.folds.recordsets import RecordSetFold
from cutover.folds.resolvers import ResolverFold
from cutover.folds.sides import SidesFold
from cutover.folds.soak import SoakFold
from cutover.folds.story import Story
from cutover.folds.traffic import TrafficFold
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.gate import Judged
from cutover.plan import Plan

_KEPT = timedelta(hours=1)
_Seen = TypeVar("_Seen", bound=Observation)


class _Fold(Protocol):
    def add(self, observation: Observation) -> None: ...


class Evidence:
    """A view over the ledger, judged by one plan.

    Observations go in by :meth:`add` in ledger order; :meth:`settle` is called when a round's are all in (a
    :class:`Judged` entry does so by itself on replay). ``began`` is when the present round began: what is older
    is history, and no check may take it for the present. ``phase`` is the one being judged, for the checks whose
    rule differs; the stricter one until it is set.
    """

    def __init__(self, plan: Plan, observations: Iterable[Observation] = ()) -> None:
        self.plan = plan
        self.phase = Phase.WATCH
        self.began = datetime.min.replace(tzinfo=UTC)
        self.clock = ClockFold()
        self.sides = SidesFold(plan)
        self.authority = AuthorityFold(self.sides)
        self.resolvers = ResolverFold(self.sides, self.authority, plan.dns.panel)
        self.delegation = DelegationFold()
        self.record_sets = RecordSetFold(plan)
        self.maintenance = MaintenanceFold()
        self.soaks = SoakFold(plan)
        self.traffic = TrafficFold(plan)
        self.databases = DatabaseFold(plan)
        self.story = Story()
        self._folds: tuple[_Fold, ...] = (
            self.clock,
            self.sides,
            self.authority,
            self.resolvers,
            self.delegation,
            self.record_sets,
            self.maintenance,
            self.soaks,
            self.traffic,
            self.databases,
            self.story,
        )
        self._latest: dict[str, dict[tuple[str, ...], Observation]] = {}
        for observation in observations:
            self.add(observation)

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        self._latest.setdefault(observation.kind, {})[observation.subject] = observation
        for fold in self._folds:
            fold.add(observation)
        if isinstance(observation, Judged):
            self.settle()

    def begin(self, now: datetime) -> None:
        """Begin a round: only what comes from now on is the present."""
        self.settle()
        self.began = now
        for kind in ("origin.user-path", "probe-failed", "traffic.sentinel"):
            seen = self._latest.get(kind, {})
            self._latest[kind] = {subject: x for subject, x in seen.items() if now - x.at < _KEPT}

    def settle(self) -> None:
        """Join what belongs together in one round."""
        self.authority.settle()
        self.resolvers.settle()

    def latest(self, kind: type[_Seen], *subject: str) -> _Seen | None:
        """Return the latest observation of a type and subject, however old."""
        found = self._latest.get(kind.kind, {}).get(subject)
        return found if isinstance(found, kind) else None

    def current(self, kind: type[_Seen], *subject: str) -> _Seen | None:
        """Return it only when this round saw it."""
        found = self.latest(kind, *subject)
        return found if found is not None and found.at >= self.began else None

    def all_latest(self, kind: type[_Seen], *prefix: str) -> tuple[_Seen, ...]:
        """Return the latest observation of every subject that begins with ``prefix``, however old."""
        seen = self._latest.get(kind.kind, {})
        return tuple(
            x for subject, x in sorted(seen.items()) if subject[: len(prefix)] == prefix and isinstance(x, kind)
        )

    def all_current(self, kind: type[_Seen], *prefix: str) -> tuple[_Seen, ...]:
        """Return those that this round saw."""
        return tuple(x for x in self.all_latest(kind, *prefix) if x.at >= self.began)

    def failure(self, probe: str, about: str = "") -> ProbeFailed | None:
        """Return why a probe could not see in this round, by its room (``route53``) or with what it looked at."""
        failures = self.all_current(ProbeFailed, probe)
        return next((x for x in failures if x.about in {about, ""} or not about), None)
