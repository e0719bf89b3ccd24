"""How long each name has held. Pure: one step a round (DESIGN.md 5, "Converged")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cutover.finding import Status
from cutover.observations.base import Observation
from cutover.observations.clock import ClockJumped
from cutover.observations.gate import Judged
from cutover.plan import Plan
from cutover.verdict import for_name, worst

INCONCLUSIVE_LIMIT = 3
GAP_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """What the soak needs to know of one round, for one name.

    Attributes:
        extended: something asks that the soak does not end yet.
    """

    began: datetime
    ended: datetime
    status: Status
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Soak:
    """State of one name's soak.

    Attributes:
        held: how long the closing conditions have held, pauses left out.
        since: the start of the first round that counts, None when nothing holds.
        ended: the end of the last round.
        holding: the last round passed (the time to the next passing round will count).
        inconclusive: inconclusive rounds in a row.
        completed_at: when the soak was last complete without a break since.
        reset_by: why it last began anew.
    """

    held: timedelta = timedelta(0)
    since: datetime | None = None
    ended: datetime | None = None
    holding: bool = False
    inconclusive: int = 0
    completed_at: datetime | None = None
    reset_by: str = ""


def step(state: Soak, this: Round, *, soak: timedelta, interval: timedelta) -> Soak:
    """Return the state after one round.

    A fail resets. An inconclusive round pauses; three in a row reset. A gap of more than three intervals
    between one round's end and the next one's start resets what is being collected, but a soak that was
    complete stays so: ``done`` may sign it off until ``valid_for``.
    """
    if state.ended is not None and this.began - state.ended > GAP_INTERVALS * interval and state.since is not None:
        state = Soak(ended=state.ended, completed_at=state.completed_at, reset_by="nothing was seen for a while")
    if this.status is Status.FAIL:
        lost = state.since is not None or state.completed_at is not None
        return Soak(ended=this.ended, reset_by="a check failed" if lost else state.reset_by)
    if this.status is not Status.PASS:
        if state.inconclusive + 1 >= INCONCLUSIVE_LIMIT:
            return Soak(
                ended=this.ended,
                inconclusive=state.inconclusive + 1,
                reset_by=f"{state.inconclusive + 1} rounds in a row could not see",
            )
        return replace(state, ended=this.ended, holding=False, inconclusive=state.inconclusive + 1)
    held = state.held
    if state.holding and state.ended is not None:
        held += max(timedelta(0), this.ended - state.ended)
    complete = held >= soak and not this.extended
    return Soak(
        held=held,
        since=state.since or this.began,
        ended=this.ended,
        holding=True,
        completed_at=this.ended if complete else state.completed_at,
        reset_by=state.reset_by,
    )


class SoakFold:
    """The soak of every name of one plan. Rounds judged by another plan hash restart it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._hash = plan.hash()
        self._states: dict[str, Soak] = {}

    def add(self, observation: Observation) -> None:
        """Take one observation; only rounds of phase watch count, and a clock that was put forward."""
        if isinstance(observation, ClockJumped) and observation.by > 0:
            self._states = {name: _jumped(state) for name, state in self._states.items()}
            return
        if not isinstance(observation, Judged) or observation.phase != "watch":
            return
        if observation.plan_hash != self._hash:
            self._end_for_another(observation)
            return
        for name in self._plan.names:
            if name in observation.names:
                self._states[name] = self.next(name, observation)

    def _end_for_another(self, judged: Judged) -> None:
        """End what was collected; say so also where it was collected under the other plan, as after an edit."""
        why = "a roll-back was watched" if judged.reverse else "the plan was changed"
        for name in self._plan.names:
            state = self.of(name)
            if state.since or state.completed_at or judged.soaked.get(name):
                self._states[name] = Soak(reset_by=why)

    def next(self, name: str, judged: Judged) -> Soak:
        """Return what a name's soak becomes with one more round, without taking it."""
        findings = for_name(judged.findings, name)
        this = Round(judged.began, judged.at, worst(findings), any(x.extends_soak for x in findings))
        return step(self.of(name), this, soak=self._plan.gate.soak, interval=self._plan.gate.interval)

    def of(self, name: str) -> Soak:
        """Return a name's state."""
        return self._states.get(name, Soak())

    def since(self) -> datetime | None:
        """Return when the soak that is being collected began for the name that began last, None while any is reset."""
        starts = [self.of(name).since for name in self._plan.names]
        known = [start for start in starts if start is not None]
        return max(known) if known and len(known) == len(starts) else None


def _jumped(state: Soak) -> Soak:
    """Begin anew: how long it has really held is not what the times say. What was complete before stays so."""
    if state.since is None:
        return replace(state, ended=None)
    return Soak(completed_at=state.completed_at, reset_by="this machine's clock was put forward")
