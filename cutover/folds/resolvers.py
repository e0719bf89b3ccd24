"""What each resolver gave: now, and last time it said something. Silence does not launder an old answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cutover.answers import Answer, Sides, addresses_in
from cutover.folds.authority import LONGEST_CACHE, AuthorityFold
from cutover.folds.sides import SidesFold
from cutover.observations.base import Observation
from cutover.observations.dns import (
    InterceptionSeen,
    PanelSeen,
    Record,
    Resolver,
    ResolverAnswer,
    ResolverAnswers,
    Transport,
)

_SLACK = timedelta(seconds=2)
"""TTLs are whole seconds, and the answer was given a moment before it was noted."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One resolver's state on one name and type.

    Attributes:
        now: the class of its latest reply. at: when that was.
        last_old: when it last gave old or mixed without having given new since; None when it did.
        remaining: the TTL left in its latest answer, seconds: of what has to expire before an old answer ends,
            else the shortest; None without records.
        addresses: terminal addresses of its latest answer.
        stale: the owner of what has to expire before an old answer ends: the hop that is behind; "" otherwise.
        records: the last records that it gave, kept while it is silent. heard: when that was.
        expires: when the longest-lived record of its latest answer runs out; kept while it is silent.
        fetched_after: an instant after which it fetched that answer, None when nothing tells: only what was
            fetched before an edit can hold what was before the edit.
    """

    now: Answer
    at: datetime
    last_old: datetime | None
    remaining: int | None
    addresses: tuple[str, ...]
    dropped: int = 0
    error: str = ""
    stale: str = ""
    records: tuple[Record, ...] = ()
    heard: datetime | None = None
    expires: datetime | None = None
    fetched_after: datetime | None = None


class ResolverFold:
    """Standings by (resolver, name, type), the panel, and how long caches were seen to hold old.

    The panel is the plan's own: another command with other resolvers may write into the same ledger meanwhile, and
    a resolver that this plan requires would be asked no more.
    """

    def __init__(self, sides: SidesFold, authority: AuthorityFold, panel: str) -> None:
        self._sides = sides
        self._authority = authority
        self._asked = panel
        self._pending: list[ResolverAnswers] = []
        self._standing: dict[tuple[str, str, str], Standing] = {}
        self._cached_old: dict[str, dict[tuple[str, str, str], datetime]] = defaultdict(dict)
        self._longest_ttl: dict[str, int] = {}
        self._plain: frozenset[str] = frozenset()
        self._intercepted = False
        self.panel: PanelSeen | None = None

    def add(self, observation: Observation) -> None:
        """Take one observation; answers are classed when somebody asks, or by :meth:`settle`."""
        match observation:
            case PanelSeen(asked=asked) if asked in {"", self._asked}:
                self.panel = observation
                self._plain = frozenset(
                    x.resolver.id for x in observation.members if x.resolver.transport is Transport.PLAIN
                )
            case InterceptionSeen():
                self._intercepted = observation.answered
            case ResolverAnswers():
                self._pending.append(observation)

    def settle(self) -> None:
        """Class the answers that came since the last call, by all that the round taught about the sides.

        Where plain DNS is intercepted, an answer over it is nobody's: it leaves no trace.
        """
        for seen in self._pending:
            self._take(seen)
        self._pending.clear()

    def members(self) -> tuple[Resolver, ...]:
        """Return the panel's members that are polled."""
        return tuple(x.resolver for x in self.panel.members if not x.dropped) if self.panel else ()

    def is_void(self, resolver: Resolver) -> bool:
        """Tell whether a resolver's answers mean nothing on this network."""
        return self._intercepted and resolver.transport is Transport.PLAIN

    def standing(self, resolver: str, name: str, rtype: str) -> Standing | None:
        """Return one resolver's state, None when it was never asked."""
        self.settle()
        return self._standing.get((resolver, name, rtype))

    def cached_old_until(self, name: str) -> datetime | None:
        """Return until when some cache was seen to hold old: sighting + remaining TTL, at its latest.

        What is still part of the all-new chain (an alias above the switch) is no old answer.
        """
        self.settle()
        kept = {(x.owner, x.rtype, data) for x in self._authority.unchanged(name) for data in x.data}
        return max((until for key, until in self._cached_old[name].items() if key not in kept), default=None)

    def longest_ttl(self, name: str) -> int:
        """Return the longest remaining TTL that a cache showed for an old answer, seconds.

        Only of answers that it may have fetched before this ledger saw the name: later ones tell what the cache
        makes of a TTL that is known.
        """
        self.settle()
        return self._longest_ttl.get(name, 0)

    def _take(self, seen: ResolverAnswers) -> None:
        if seen.name not in self._sides:
            return
        sides = self._sides.of(seen.name)
        for given in seen.answers:
            resolver, reply = given.resolver, given.reply
            if self._intercepted and resolver in self._plain:
                continue
            key = (resolver, seen.name, seen.rtype)
            standing = _next(self._standing.get(key), given, seen, sides)
            self._standing[key] = standing
            if standing.now.leads_to_old and reply.answer and self._could_be_left_over(seen.name, standing):
                self._note_cached(seen, to_the_switch(reply.answer, sides))
                self._note_longest(seen.name, standing, to_the_switch(reply.answer, sides))

    def _could_be_left_over(self, name: str, standing: Standing) -> bool:
        """Tell whether an old answer may come from before the change.

        One fetched after it does not: that cache stretches or invents TTLs, and waiting for them has no end.
        """
        first_new = self._authority.window(name).first_new
        return first_new is None or standing.fetched_after is None or standing.fetched_after < first_new

    def _note_cached(self, seen: ResolverAnswers, records: Iterable[Record]) -> None:
        known = self._cached_old[seen.name]
        for key in [key for key, until in known.items() if until < seen.at]:
            del known[key]
        for record in records:
            left = min(timedelta(seconds=record.ttl), LONGEST_CACHE)
            key = (record.owner, record.rtype, record.data)
            until = seen.at + left
            known[key] = max(until, known.get(key, until))

    def _note_longest(self, name: str, standing: Standing, records: Iterable[Record]) -> None:
        since = self._authority.known_since(name)
        if since is not None and standing.fetched_after is not None and standing.fetched_after >= since:
            return
        longest = min(max(record.ttl for record in records), int(LONGEST_CACHE.total_seconds()))
        self._longest_ttl[name] = max(self._longest_ttl.get(name, 0), longest)


def to_the_switch(records: tuple[Record, ...], sides: Sides) -> tuple[Record, ...]:
    """Leave out what lies below a CNAME to a declared target: that is the vendor's, and does not decide the side."""
    for position, record in enumerate(records):
        if record.rtype == "CNAME" and sides.of_target(record.data.lower()) is not None:
            return records[: position + 1]
    return records


def _next(before: Standing | None, given: ResolverAnswer, seen: ResolverAnswers, sides: Sides) -> Standing:
    reply = given.reply
    answer = sides.of_reply(reply, seen.rtype, given.alias)
    last_old = before.last_old if before else None
    if answer.leads_to_old:
        last_old = seen.at
    elif answer is Answer.NEW:
        last_old = None
    upper = to_the_switch(reply.answer, sides)
    expires = before.expires if before else None
    fetched_after = before.fetched_after if before else None
    if upper:
        expiry = seen.at + min(timedelta(seconds=max(record.ttl for record in upper)), LONGEST_CACHE)
        if before is not None and before.expires is not None:
            if seen.at >= before.expires:
                fetched_after = before.expires
            elif expiry > before.expires + _SLACK:
                fetched_after = before.at
        expires = expiry
    silent = before is not None and not answer.says_something
    return Standing(
        answer,
        seen.at,
        last_old,
        _remaining(answer, reply.answer, upper),
        addresses_in(reply.answer, seen.rtype),
        reply.dropped,
        reply.error,
        upper[-1].owner if answer.leads_to_old and upper else "",
        before.records if before is not None and silent else reply.answer,
        before.heard if before is not None and silent else seen.at,
        expires,
        fetched_after,
    )


def _remaining(answer: Answer, records: tuple[Record, ...], upper: tuple[Record, ...]) -> int | None:
    """The switch is the last record of ``upper``: a CNAME to a declared target, or the addresses."""
    if answer.leads_to_old and upper:
        last = upper[-1]
        return max(x.ttl for x in upper if (x.owner, x.rtype) == (last.owner, last.rtype))
    return min((record.ttl for record in records), default=None)
