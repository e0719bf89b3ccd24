"""What the authoritative servers served, when: the versions of each RRset, and when the name changed sides."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from cutover.answers import Answer, Sides
from cutover.folds.sides import SidesFold
from cutover.observations.base import Observation
from cutover.observations.dns import AuthorityAnswer, AuthorityAnswers, Record

_FOLLOWED_HOPS = 16


class RRset(NamedTuple):
    """One version of one RRset: two that differ only by TTL are two versions."""

    owner: str
    rtype: str
    ttl: int
    data: frozenset[str]

    def __str__(self) -> str:
        return f"{self.owner.rstrip('.')} {self.rtype} (TTL {self.ttl} s)"


@dataclass(frozen=True, slots=True)
class Served:
    """When a version was seen at an authority."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one server's answer leads to in one round, its CNAME chain followed through the other hops.

    Attributes:
        rrsets: the RRsets that the answer is made of, from the name to the end of what the user can change.
    """

    server: str
    address: str
    answer: Answer
    rrsets: tuple[RRset, ...]
    error: str = ""

    @property
    def label(self) -> str:
        """The server as people know it."""
        return f"{self.server.rstrip('.')} ({self.address})" if self.server != self.address else self.address


@dataclass(frozen=True, slots=True)
class ChangeWindow:
    """Between which two sightings a name left the old side.

    Attributes:
        last_old: the last authoritative sighting of old or mixed, None when there was none.
        first_new: the first round after it in which every server gave new; None when that is not so yet.
    """

    last_old: datetime | None = None
    first_new: datetime | None = None


class AuthorityFold:
    """Sightings of the present round, versions of the past, and the change window, by name."""

    def __init__(self, sides: SidesFold) -> None:
        self._sides = sides
        self._pending: dict[tuple[str, str, str], AuthorityAnswers] = {}
        self._present: dict[str, dict[str, tuple[Sighting, ...]]] = defaultdict(dict)
        self._versions: dict[str, dict[RRset, Served]] = defaultdict(dict)
        self._old_versions: dict[str, dict[RRset, datetime]] = defaultdict(dict)
        self._window: dict[str, ChangeWindow] = defaultdict(ChangeWindow)

    def add(self, observation: Observation) -> None:
        """Take one observation; :meth:`settle` makes sense of a round's."""
        if isinstance(observation, AuthorityAnswers):
            self._pending[(observation.of, observation.name, observation.rtype)] = observation
            self._note_versions(observation)

    def settle(self) -> None:
        """Join the hops of the answers that came since the last call."""
        by_name: dict[str, dict[tuple[str, str], AuthorityAnswers]] = defaultdict(dict)
        for (of, owner, rtype), answers in self._pending.items():
            by_name[of][(owner, rtype)] = answers
        self._pending.clear()
        for name, hops in by_name.items():
            sides = self._sides.of(name)
            present = {
                rtype: tuple(_follow(given, answers.rtype, hops, sides, 0) for given in answers.answers)
                for (owner, rtype), answers in hops.items()
                if owner == name and rtype != "CNAME"
            }
            if present:
                self._present[name] = present
                self._note_change(name, present, max(x.at for x in hops.values()))

    def sightings(self, name: str) -> dict[str, tuple[Sighting, ...]]:
        """Return the latest settled sightings by type."""
        return dict(self._present.get(name, {}))

    def window(self, name: str) -> ChangeWindow:
        """Return the change window of a name."""
        return self._window[name]

    def versions(self, name: str) -> dict[RRset, Served]:
        """Return every version of every RRset on the way to a name that an authority was seen to serve."""
        return dict(self._versions[name])

    def old_versions(self, name: str) -> dict[RRset, datetime]:
        """Return the versions that led to the old side, with the last instant that one was seen served so.

        A version that is still part of the all-new chain (an alias above the switch) is none.
        """
        window = self._window[name]
        still_served = (
            {rrset for found in self._present[name].values() for sighting in found for rrset in sighting.rrsets}
            if window.first_new is not None
            else set()
        )
        return {rrset: last for rrset, last in self._old_versions[name].items() if rrset not in still_served}

    def known_since(self, name: str) -> datetime | None:
        """Return the first authoritative sighting of a name."""
        return min((served.first for served in self._versions[name].values()), default=None)

    def _note_versions(self, answers: AuthorityAnswers) -> None:
        known = self._versions[answers.of]
        for given in answers.answers:
            for rrset in _rrsets(given.reply.answer):
                if rrset.owner != answers.name:
                    continue
                served = known.get(rrset)
                known[rrset] = Served(served.first, answers.at) if served else Served(answers.at, answers.at)

    def _note_change(self, name: str, present: dict[str, tuple[Sighting, ...]], at: datetime) -> None:
        everything = [sighting for found in present.values() for sighting in found]
        old = [sighting for sighting in everything if sighting.answer.leads_to_old]
        for sighting in old:
            for rrset in sighting.rrsets:
                self._old_versions[name][rrset] = at
        window = self._window[name]
        if old:
            self._window[name] = ChangeWindow(last_old=at)
        elif window.first_new is None and everything and all(x.answer is Answer.NEW for x in everything):
            self._window[name] = replace(window, first_new=at)


def _rrsets(records: tuple[Record, ...]) -> tuple[RRset, ...]:
    grouped: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        grouped[(record.owner, record.rtype)].append(record)
    return tuple(
        RRset(owner, rtype, max(x.ttl for x in found), frozenset(x.data for x in found))
        for (owner, rtype), found in grouped.items()
    )


def _follow(
    given: AuthorityAnswer,
    rtype: str,
    hops: dict[tuple[str, str], AuthorityAnswers],
    sides: Sides,
    depth: int,
) -> Sighting:
    """Class one server's answer; where it ends in a CNAME that neither side declares, ask the next hop's answers."""
    answer = sides.of_reply(given.reply, rtype)
    rrsets = _up_to_switch(_rrsets(given.reply.answer), sides)
    sighting = Sighting(given.server, given.address, answer, rrsets, given.reply.error)
    if answer is not Answer.OTHER or depth >= _FOLLOWED_HOPS or not given.reply.answer:
        return sighting
    last = given.reply.answer[-1]
    following = hops.get((last.data.lower(), rtype)) if last.rtype == "CNAME" else None
    if following is None or not following.answers:
        return sighting
    below = [_follow(one, rtype, hops, sides, depth + 1) for one in following.answers]
    classes = {one.answer for one in below}
    if len(classes) == 1:
        joined = classes.pop()
    elif any(one.leads_to_old for one in classes):
        joined = Answer.MIXED
    else:
        joined = next(iter(classes - {Answer.NEW}))
    deeper = tuple(dict.fromkeys(rrset for one in below for rrset in one.rrsets))
    return replace(sighting, answer=joined, rrsets=rrsets + deeper)


def _up_to_switch(rrsets: tuple[RRset, ...], sides: Sides) -> tuple[RRset, ...]:
    """Leave out what lies below a CNAME to a declared target: that is the vendor's, and did not change."""
    kept: list[RRset] = []
    for rrset in rrsets:
        kept.append(rrset)
        if rrset.rtype == "CNAME" and any(sides.of_target(target) for target in rrset.data):
            break
    return tuple(kept)


def expiry(served_until: datetime, ttl: int) -> datetime:
    """Return when the last compliant cache lets go of a version (RFC 1035 3.2.1)."""
    return served_until + timedelta(seconds=ttl)
