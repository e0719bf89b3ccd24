"""How far this machine's clock was put forward, and since when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from cutover.observations.base import Observation
from cutover.observations.clock import ClockJumped


class ClockFold:
    """The jumps that commands noticed while they ran; between two commands nobody can tell one from time passing.

    Jumps with nothing seen between them are one: a clock that was put back and then right again never went forward.
    """

    def __init__(self) -> None:
        self._jumps: list[ClockJumped] = []
        self._is_last = False

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        if not isinstance(observation, ClockJumped):
            self._is_last = False
            return
        before = self._jumps.pop().by if self._is_last else 0.0
        self._jumps.append(replace(observation, by=before + observation.by))
        self._is_last = True

    def ahead_since(self, instant: datetime) -> timedelta:
        """Return by how much less time may have passed since an instant than the clock says.

        Nothing is taken off for a clock that was put back: it may have been put right again between two commands.
        """
        return timedelta(seconds=sum(x.by for x in self._jumps if x.by > 0 and x.at > instant))

    def after(self, instant: datetime, wait: timedelta) -> datetime:
        """Return when ``wait`` has really passed since an instant."""
        return instant + wait + self.ahead_since(instant)
