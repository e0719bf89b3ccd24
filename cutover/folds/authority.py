"""What the authoritative servers served, when: the versions of each RRset, and when the name changed sides."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from cutover.answers import Answer, Sides
from cutover.folds.sides import SidesFold
from cutover.observations.base import Observation
from cutover.observations.dns import AuthorityAnswer, AuthorityAnswers, Record, is_definite

_FOLLOWED_HOPS = 16
LONGEST_CACHE = timedelta(days=7)
"""The longest that a cache is known to hold a record (BIND's ``max-cache-ttl``, RFC 8767's cap)."""

_KEPT_VERSIONS = 8
"""Versions kept of one owner, type and TTL. Only the one served last bounds what caches hold."""


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
    """When a version was seen at an authority.

    Attributes:
        first, last: the first and last sighting.
        gone: the first round after ``last`` in which every server answered and none served it; None before.
    """

    first: datetime
    last: datetime
    gone: datetime | None = None


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
        self._old: dict[str, set[RRset]] = defaultdict(set)
        self._since: dict[tuple[str, str, str], datetime] = {}
        self._window: dict[str, ChangeWindow] = defaultdict(ChangeWindow)

    def add(self, observation: Observation) -> None:
        """Take one observation; :meth:`settle` makes sense of a round's."""
        if isinstance(observation, AuthorityAnswers) and observation.of in self._sides:
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
                if owner == name and self._counts(name, rtype)
            }
            if present:
                self._present[name] = present
                self._note_change(name, present, max(x.at for x in hops.values()))
            self._forget_surplus(name)

    def sightings(self, name: str) -> dict[str, tuple[Sighting, ...]]:
        """Return the latest settled sightings by type."""
        return dict(self._present.get(name, {}))

    def window(self, name: str) -> ChangeWindow:
        """Return the change window of a name."""
        return self._window[name]

    def versions(self, name: str) -> dict[RRset, Served]:
        """Return every version of every RRset on the way to a name that an authority was seen to serve."""
        return dict(self._versions[name])

    def old_versions(self, name: str) -> dict[RRset, Served]:
        """Return the versions that led to the old side, or to neither: caches that hold them do not give new.

        Once every server gives new, data that is still part of the chain (an alias above the switch) is none,
        whatever its TTL was.
        """
        kept = {(x.owner, x.rtype, x.data) for x in self.unchanged(name)}
        versions = self._versions[name]
        return {
            rrset: versions[rrset]
            for rrset in self._old[name]
            if rrset in versions and (rrset.owner, rrset.rtype, rrset.data) not in kept
        }

    def unchanged(self, name: str) -> frozenset[RRset]:
        """Return the RRsets that the present all-new answers are made of; empty while any server gives another side."""
        if self._window[name].first_new is None:
            return frozenset()
        return frozenset(
            rrset for found in self._present[name].values() for sighting in found for rrset in sighting.rrsets
        )

    def known_since(self, name: str, owner: str = "", rtype: str = "") -> datetime | None:
        """Return the first sighting of an RRset on the way to a name; of any one without ``owner``."""
        return min(
            (
                at
                for (of, one, kind), at in self._since.items()
                if of == name and (not owner or (one, kind) == (owner, rtype))
            ),
            default=None,
        )

    def _counts(self, name: str, rtype: str) -> bool:
        """Tell whether a type bears on the sides: the plan polls it, or such a record was ever seen on the way.

        Otherwise a server that knows no HTTPS records could never be said to give new.
        """
        if rtype == "CNAME":
            return False
        return rtype in self._sides.types(name) or any(of == name and kind == rtype for of, _, kind in self._since)

    def _note_versions(self, answers: AuthorityAnswers) -> None:
        known = self._versions[answers.of]
        serving = {
            rrset
            for given in answers.answers
            if given.reply.authoritative
            for rrset in _rrsets(given.reply.answer)
            if rrset.owner == answers.name
        }
        for rrset in serving:
            self._since.setdefault((answers.of, rrset.owner, rrset.rtype), answers.at)
            served = known.get(rrset)
            known[rrset] = Served(served.first if served else answers.at, answers.at)
        if answers.answers and all(is_definite(given.reply) for given in answers.answers):
            self._end_others(answers, serving)

    def _end_others(self, answers: AuthorityAnswers, serving: set[RRset]) -> None:
        """Note which versions of the asked type, or of a CNAME in its place, are served no more."""
        known = self._versions[answers.of]
        for rrset, served in known.items():
            if (
                rrset.owner == answers.name
                and rrset.rtype in {answers.rtype, "CNAME"}
                and rrset not in serving
                and served.gone is None
                and served.last < answers.at
            ):
                known[rrset] = replace(served, gone=answers.at)

    def _forget_surplus(self, name: str) -> None:
        """Keep the ledger's length out of memory: addresses of load balancers rotate without end."""
        known, old = self._versions[name], self._old[name]
        alike: dict[tuple[str, str, int, bool], list[RRset]] = defaultdict(list)
        for rrset in known:
            alike[(rrset.owner, rrset.rtype, rrset.ttl, rrset in old)].append(rrset)
        for found in alike.values():
            for rrset in sorted(found, key=lambda x: known[x].last)[:-_KEPT_VERSIONS]:
                del known[rrset]
                old.discard(rrset)

    def _note_change(self, name: str, present: dict[str, tuple[Sighting, ...]], at: datetime) -> None:
        everything = [sighting for found in present.values() for sighting in found]
        old = [sighting for sighting in everything if sighting.answer.leads_to_old]
        for sighting in everything:
            if sighting.answer.leads_to_old or sighting.answer is Answer.OTHER:
                self._old[name].update(sighting.rrsets)
        window = self._window[name]
        complete = all(present.get(rtype) for rtype in self._sides.types(name))
        if old:
            self._window[name] = ChangeWindow(last_old=at)
        elif window.first_new is None and complete and all(x.answer is Answer.NEW for x in everything):
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
    """Class one server's answer; where it ends in a CNAME that neither side declares, ask the next hop's answers.

    An answer without authority (RFC 1035 4.1.1, AA) is what a lame server says, and no authority's word. Below a
    CNAME to a declared new target, only a lead back to old counts: addresses are classed before targets.
    """
    answer = sides.of_reply(given.reply, rtype)
    rrsets = _up_to_switch(_rrsets(given.reply.answer), sides)
    error = given.reply.error
    if answer.says_something and not given.reply.authoritative:
        answer, error = Answer.REFUSED, error or "answers without authority"
    sighting = Sighting(given.server, given.address, answer, rrsets, error)
    if answer not in {Answer.OTHER, Answer.NEW} or depth >= _FOLLOWED_HOPS or not given.reply.answer:
        return sighting
    last = given.reply.answer[-1]
    following = hops.get((last.data.lower(), rtype)) if last.rtype == "CNAME" else None
    if following is None:
        return sighting
    if not following.answers:
        unseen = replace(sighting, answer=Answer.TIMEOUT, error=f"{following.name.rstrip('.')} could not be asked")
        return unseen if answer is Answer.OTHER else sighting
    below = [_follow(one, rtype, hops, sides, depth + 1) for one in following.answers]
    classes = {one.answer for one in below}
    if answer is Answer.NEW:
        return replace(sighting, answer=_joined_old(classes)) if any(x.leads_to_old for x in classes) else sighting
    if len(classes) == 1:
        joined = classes.pop()
    elif any(one.leads_to_old for one in classes):
        joined = Answer.MIXED
    else:
        joined = min(classes - {Answer.NEW})
    deeper = tuple(dict.fromkeys(rrset for one in below for rrset in one.rrsets))
    return replace(sighting, answer=joined, rrsets=rrsets + deeper)


def _joined_old(classes: set[Answer]) -> Answer:
    return Answer.OLD if classes == {Answer.OLD} else Answer.MIXED


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
