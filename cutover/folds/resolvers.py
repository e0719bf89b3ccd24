"""What each resolver gave: now, and last time it said something. Silence does not launder an old answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cutover.answers import Answer
from cutover.folds.sides import SidesFold
from cutover.observations.base import Observation
from cutover.observations.dns import PanelSeen, Resolver, ResolverAnswers


@dataclass(frozen=True, slots=True)
class Standing:
    """One resolver's state on one name and type.

    Attributes:
        now: the class of its latest reply. at: when that was.
        last_old: when it last gave old or mixed without having given new since; None when it did.
        remaining: the shortest TTL left in its latest answer, seconds; None without records.
        addresses: terminal addresses of its latest answer.
    """

    now: Answer
    at: datetime
    last_old: datetime | None
    remaining: int | None
    addresses: tuple[str, ...]
    dropped: int = 0
    error: str = ""


class ResolverFold:
    """Standings by (resolver, name, type), the panel, and how long caches were seen to hold old."""

    def __init__(self, sides: SidesFold) -> None:
        self._sides = sides
        self._standing: dict[tuple[str, str, str], Standing] = {}
        self._cached_old_until: dict[str, datetime] = {}
        self._longest_ttl: dict[str, int] = {}
        self.panel: PanelSeen | None = None

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        match observation:
            case PanelSeen():
                self.panel = observation
            case ResolverAnswers():
                self._take(observation)

    def members(self) -> tuple[Resolver, ...]:
        """Return the panel's members that are polled."""
        return tuple(x.resolver for x in self.panel.members if not x.dropped) if self.panel else ()

    def standing(self, resolver: str, name: str, rtype: str) -> Standing | None:
        """Return one resolver's state, None when it was never asked."""
        return self._standing.get((resolver, name, rtype))

    def cached_old_until(self, name: str) -> datetime | None:
        """Return until when some cache was seen to hold old: sighting + remaining TTL, at its latest."""
        return self._cached_old_until.get(name)

    def longest_ttl(self, name: str) -> int:
        """Return the longest remaining TTL that any cache ever showed for a name, seconds."""
        return self._longest_ttl.get(name, 0)

    def _take(self, seen: ResolverAnswers) -> None:
        from cutover.answers import addresses_in

        try:
            sides = self._sides.of(seen.name)
        except KeyError:
            return
        for resolver, reply in seen.answers:
            key = (resolver, seen.name, seen.rtype)
            answer = sides.of_reply(reply, seen.rtype)
            before = self._standing.get(key)
            last_old = before.last_old if before else None
            remaining = min((record.ttl for record in reply.answer), default=None)
            if answer.leads_to_old:
                last_old = seen.at
            elif answer is Answer.NEW:
                last_old = None
            self._standing[key] = Standing(
                answer,
                seen.at,
                last_old,
                remaining,
                addresses_in(reply.answer, seen.rtype),
                reply.dropped,
                reply.error,
            )
            if remaining is not None:
                self._longest_ttl[seen.name] = max(self._longest_ttl.get(seen.name, 0), remaining)
                if answer.leads_to_old:
                    until = seen.at + timedelta(seconds=remaining)
                    known = self._cached_old_until.get(seen.name)
                    self._cached_old_until[seen.name] = max(until, known) if known else until
