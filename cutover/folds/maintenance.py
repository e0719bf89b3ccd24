"""When a maintenance page was last seen on a path that users take."""

from __future__ import annotations

from datetime import datetime

from cutover.leads import page_seen
from cutover.observations.base import Observation
from cutover.observations.origin import UserPathSeen


class MaintenanceFold:
    """The last sighting of the page by name: its absence means something only after that."""

    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        if isinstance(observation, UserPathSeen) and page_seen(observation.response):
            self._last[observation.name] = observation.at

    def last_seen(self, name: str) -> datetime | None:
        """Return when the page was last seen for a name, None when it never was."""
        return self._last.get(name)
