"""What the authoritative servers say: zones, every hop of every name, and what is behind declared targets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cutover.clock import Clock, SystemClock
from cutover.observations.base import Observation
from cutover.observations.dns import (
    AuthorityAnswer,
    AuthorityAnswers,
    NameSeen,
    Outcome,
    Reply,
    ServerSeen,
    TargetAddresses,
    ZoneSeen,
)
from cutover.probes.dns.caa import CaaSet, relevant_caa
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.names import canonical, parent
from cutover.probes.dns.walk import BudgetError, Sections, Server, Walker, Zone
from cutover.probes.dns.zones import ZoneSurvey, survey

MAX_HOPS = 12
"""CNAMEs followed from a plan's name; resolvers give up at 8 to 16."""

HOP_TYPES = ("A", "AAAA", "CNAME", "HTTPS")


class DeclaredTarget(NamedTuple):
    """A CNAME target that the plan declares for a name.

    Attributes:
        side: ``"old"`` or ``"new"``.
    """

    name: str
    side: str
    target: str


@dataclass(slots=True)
class _Hop:
    """One owner, as all servers of its zone answered."""

    zone: Zone
    answers: dict[str, tuple[AuthorityAnswer, ...]] = field(default_factory=dict)

    def targets(self, owner: str) -> list[str]:
        """Return the owner's CNAME targets; servers that disagree give several."""
        found = (
            record.data
            for answers in self.answers.values()
            for answer in answers
            for record in answer.reply.answer[:1]
            if record.rtype == "CNAME" and record.owner == owner
        )
        return list(dict.fromkeys(found))

    def own(self, owner: str, rtype: str) -> set[str]:
        """Return the data of the owner's own records of one type, by any server."""
        return {
            record.data
            for answer in self.answers.get(rtype, ())
            for record in answer.reply.answer
            if record.owner == owner and record.rtype == rtype
        }

    @property
    def answered(self) -> bool:
        """Whether any server said anything of use."""
        return any(
            answer.reply.outcome is Outcome.ANSWERED and answer.reply.rcode in ("NOERROR", "NXDOMAIN")
            for answers in self.answers.values()
            for answer in answers
        )


@dataclass(slots=True)
class _Chain:
    """The way from one name down its CNAMEs: each owner with the path that led to it."""

    name: str
    paths: dict[str, tuple[str, ...]]
    error: str = ""


class AuthorityRound:
    """One round of questions to authoritative servers; made anew for every round.

    Args:
        walker: finds zones; its own round is begun here.
        clock: stamps the observations.
    """

    def __init__(self, walker: Walker, clock: Clock | None = None) -> None:
        self._walker = walker
        self._clock = clock or SystemClock()
        self._hops: dict[str, _Hop] = {}
        self._surveys: dict[str, ZoneSurvey] = {}
        self._types: tuple[str, ...] = HOP_TYPES
        self._caa: dict[str, CaaSet] = {}
        walker.begin_round()

    async def observe(
        self, names: Sequence[tuple[str, Sequence[str]]], targets: Sequence[DeclaredTarget] = ()
    ) -> list[Observation]:
        """See every name ``(name, types)`` and declared target through the servers of its own zones.

        Every server of every zone that holds one of the owners is asked for A, AAAA, CNAME, HTTPS and the
        plan's types, at each of its addresses.

        Raises:
            CutoverError: a name is no domain name.
        """
        wanted = [canonical(name) for name, _ in names]
        self._types = tuple(dict.fromkeys((*HOP_TYPES, *(rtype for _, types in names for rtype in types))))
        chains = await self._chains(wanted)
        aims = [target._replace(name=canonical(target.name), target=canonical(target.target)) for target in targets]
        behind = await self._chains([aim.target for aim in aims])
        own = {self._hops[name].zone.name for name in wanted if name in self._hops}
        at = self._clock.now()
        seen: list[Observation] = [survey.observation for survey in self._surveys.values()]
        seen += self._unserved()
        await self._shared_caa(wanted)
        seen += await asyncio.gather(*(self._name(name, chain) for name, chain in chains.items()))
        for name, chain in chains.items():
            seen += [
                AuthorityAnswers(
                    at=at,
                    name=owner,
                    rtype=rtype,
                    of=name,
                    hop=len(path),
                    zone=self._hops[owner].zone.name,
                    in_plan=self._hops[owner].zone.name in own,
                    answers=answers,
                )
                for owner, path in chain.paths.items()
                for rtype, answers in self._answers(owner, len(path)).items()
            ]
        seen += [self._target(aim, behind[aim.target]) for aim in aims]
        return seen

    def _answers(self, owner: str, hop: int) -> dict[str, tuple[AuthorityAnswer, ...]]:
        """Return an owner's answers by type; no answers to each of a hop whose servers could not be found."""
        found = self._hops[owner].answers
        return found or (dict.fromkeys(self._types, ()) if hop > 1 else {})

    def _unserved(self) -> list[ZoneSeen]:
        """Return the zones whose servers could not be found."""
        lost = {hop.zone.name: hop.zone for hop in self._hops.values() if hop.zone.error and hop.zone.name}
        return [
            ZoneSeen(
                at=self._clock.now(),
                zone=zone.name,
                source=zone.source,
                parent=zone.parent.name if zone.parent else "",
                parent_ns=zone.parent_ns,
                servers=tuple(ServerSeen(name, "", reason, -1, ()) for name, reason in zone.homeless),
                error=zone.error,
            )
            for zone in lost.values()
        ]

    async def _chains(self, wanted: Sequence[str]) -> dict[str, _Chain]:
        """Follow all names at once, a hop at a time."""
        chains = {name: _Chain(name, {}) for name in wanted}
        front: list[tuple[_Chain, str, tuple[str, ...]]] = [
            (chain, chain.name, (chain.name,)) for chain in chains.values()
        ]
        while front:
            try:
                await self._ask(dict.fromkeys(owner for _, owner, _ in front))
            except BudgetError as error:
                for chain, owner, _ in front:
                    chain.error = chain.error or f"{owner} was not asked: {error}"
                break
            following: list[tuple[_Chain, str, tuple[str, ...]]] = []
            for chain, owner, path in front:
                hop = self._hops[owner]
                chain.paths[owner] = path
                if hop.zone.error:
                    chain.error = chain.error or hop.zone.error
                elif not hop.answered:
                    chain.error = chain.error or f"no server of {hop.zone.name} answered for {owner}"
                for target in hop.targets(owner):
                    if target in path:
                        chain.error = chain.error or f"CNAME loop: {' -> '.join((*path, target))}"
                    elif len(path) >= MAX_HOPS:
                        chain.error = chain.error or f"more than {MAX_HOPS} CNAMEs from {chain.name}"
                    elif target not in chain.paths and all(t[:2] != (chain, target) for t in following):
                        following.append((chain, target, (*path, target)))
            front = following
        return chains

    async def _ask(self, owners: Iterable[str]) -> None:
        """Ask every server of each owner's zone for all types, all at once."""
        zones = await self._zones([owner for owner in owners if owner not in self._hops])
        await self._survey({zone.name: zone for zone in zones.values() if not zone.error})
        questions: list[tuple[str, Server, str]] = []
        hops = {}
        for owner, zone in zones.items():
            if zone.name in self._surveys and not zone.error:
                hops[owner] = _Hop(self._surveys[zone.name].zone)
            else:
                hops[owner] = _Hop(zone)
            questions += [(owner, server, rtype) for rtype in self._types for server in hops[owner].zone.servers]
        exchanges = await self._walker.ask_each([(server, owner, rtype, False) for owner, server, rtype in questions])
        self._hops.update(hops)
        for (owner, server, rtype), exchange in zip(questions, exchanges, strict=True):
            hop = self._hops[owner]
            answer = AuthorityAnswer(server.label, server.address, _of_authority(exchange.reply, hop.zone.name))
            hop.answers[rtype] = (*hop.answers.get(rtype, ()), answer)

    async def _zones(self, owners: Sequence[str]) -> dict[str, Zone]:
        """Find the zones of all owners: first what they share, then the last step of all at once."""
        for above in dict.fromkeys(parent(owner) for owner in owners):
            await self._walker.zone_of(above)
        found = await asyncio.gather(*(self._walker.zone_of(owner) for owner in owners))
        return dict(zip(owners, found, strict=True))

    async def _survey(self, zones: dict[str, Zone]) -> None:
        fresh = [zone for name, zone in zones.items() if name not in self._surveys]
        for survey_ in await survey(self._walker, fresh, self._clock):
            self._surveys[survey_.observation.zone] = survey_

    async def _shared_caa(self, names: Sequence[str]) -> None:
        """Look at what several names have above them once."""
        try:
            for above in dict.fromkeys(parent(name) for name in names):
                await relevant_caa(self._walker, above, self._caa)
        except BudgetError:
            return  # each name says so itself

    async def _name(self, name: str, chain: _Chain) -> NameSeen:
        owners = tuple(sorted(chain.paths, key=lambda owner: len(chain.paths[owner])))
        hop = self._hops.get(name)
        zone = hop.zone if hop else Zone("", "walk", error=chain.error)
        caa, wildcard, error = CaaSet(()), False, chain.error
        try:
            wildcard = await self._is_wildcard(name, hop) if hop and not zone.error else False
            caa = await relevant_caa(self._walker, name, self._caa)
        except BudgetError as failure:
            caa = CaaSet((), str(failure))
            error = error or str(failure)
        return NameSeen(
            at=self._clock.now(),
            name=name,
            owners=owners,
            zones=tuple(self._hops[owner].zone.name for owner in owners),
            apex=zone.name,
            wildcard=wildcard,
            caa=caa.records,
            caa_error=caa.error,
            error=error,
        )

    async def _is_wildcard(self, name: str, hop: _Hop) -> bool:
        """Tell whether a sibling that nobody made has the very same records (RFC 4592)."""
        present = next((rtype for rtype in ("CNAME", "A", "AAAA", "HTTPS") if hop.own(name, rtype)), None)
        if present is None or name == hop.zone.name:
            return False
        sibling = f"{_NOBODY}.{parent(name)}"
        seen = await self._walker.ask_any(hop.zone, sibling, present)
        if not isinstance(seen, Sections):
            return False
        data = {record.data for record in seen.answer if record.owner == sibling and record.rtype == present}
        return bool(data) and data <= hop.own(name, present)

    def _target(self, aim: DeclaredTarget, chain: _Chain) -> TargetAddresses:
        hops = [(owner, self._hops[owner]) for owner in chain.paths]
        addresses = [*_addresses(hops, "A"), *_addresses(hops, "AAAA")]
        return TargetAddresses(
            at=self._clock.now(),
            name=aim.name,
            side=aim.side,
            target=aim.target,
            addresses=tuple(dict.fromkeys(addresses)),
            error=chain.error,
        )


_NOBODY = f"cutover-{secrets.token_hex(6)}"


def _addresses(hops: Iterable[tuple[str, _Hop]], rtype: str) -> list[str]:
    return sorted(data for owner, hop in hops for data in hop.own(owner, rtype))


def _of_authority(reply: Reply, zone: str) -> Reply:
    """Return the reply, but an empty answer without authority as malformed: it says nothing about the name.

    A lame server's referral looks like a name without records, and must not be taken for one.
    """
    answered = reply.outcome is Outcome.ANSWERED and reply.rcode in ("NOERROR", "NXDOMAIN")
    if not answered or reply.authoritative or reply.answer:
        return reply
    return replace(reply, outcome=Outcome.MALFORMED, rcode="", error=f"answers without authority for {zone}")


async def discover(
    engine: Engine, name: str, *, roots: Sequence[str] = (), clock: Clock | None = None
) -> list[Observation]:
    """See one name from the roots down, with nothing known of it: the first look of a user without a plan.

    Raises:
        CutoverError: ``name`` is no domain name.
    """
    return await AuthorityRound(Walker(engine, roots=roots), clock).observe([(name, ("A", "AAAA"))])
