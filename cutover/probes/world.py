"""All probes of one command, opened once: what a round sees, in the order in which one needs the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cutover.answers import addresses_in
from cutover.clock import Clock
from cutover.durations import say_duration
from cutover.evidence import Evidence
from cutover.finding import Phase
from cutover.observations.base import Observation
from cutover.observations.dns import (
    AuthorityAnswers,
    NameSeen,
    PanelSeen,
    ResolverAnswers,
    TargetAddresses,
    ZoneSeen,
)
from cutover.observations.gate import SideFound
from cutover.observations.provider import TrailHistory
from cutover.plan import Name, Plan
from cutover.probes.dns.aliases import uncover
from cutover.probes.dns.authorities import AuthorityRound, DeclaredTarget
from cutover.probes.dns.calibration import calibrate
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.interception import intercepted
from cutover.probes.dns.panel import load_panel
from cutover.probes.dns.poll import poll, stretched
from cutover.probes.dns.walk import Walker
from cutover.probes.guard import guarded
from cutover.probes.origin import Asking, follow_user_paths, observe_origins
from cutover.probes.traffic.observe import TrafficObserver, own_requests

Probing = Coroutine[Any, Any, list[Observation]]

DNS_DEADLINE = 120.0
HTTP_DEADLINE = 60.0
API_DEADLINE = 60.0
AUTHORITY_RATE = 50
"""Packets per second and authoritative server: they are built for far more, and a plan has few names."""
TRAIL_MAX_AGE = timedelta(minutes=5)
CONTROL_NAME = ("example.com.", "A")
"""What the built-in panel is calibrated with: a name reserved by RFC 2606 that every resolver can answer."""


class World:
    """Every probe that a plan asks for.

    Args:
        plan: what is probed.
        base_dir: the plan's folder.
        say: shows what is being done.
        single: one round only: traffic sources are waited for until they can have counted our own requests.
    """

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        base_dir: Path,
        say: Callable[[str], None] = lambda _: None,
        *,
        single: bool = False,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._base_dir = base_dir
        self._say = say
        self._resolvers = load_panel(plan.dns.resolvers, base_dir)
        self._panel: PanelSeen | None = None
        self._single = single
        self._origins = Asking(plan, clock, base_dir)
        self._counters = TrafficObserver(plan, clock, base_dir)
        self._engine = Engine(max_rate=plan.dns.max_rate, ca_files=self._ca_files())
        self._authorities = Engine(max_rate=AUTHORITY_RATE)
        self._walker = Walker(self._authorities, roots=plan.dns.roots, authorities=plan.dns.authorities)

    async def __aenter__(self) -> Self:
        await self._engine.__aenter__()
        await self._authorities.__aenter__()
        await self._counters.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._counters.__aexit__(kind, error, trace)
        await self._authorities.__aexit__(kind, error, trace)
        await self._engine.__aexit__(kind, error, trace)

    async def observe(self, plan: Plan, evidence: Evidence, phase: Phase) -> AsyncIterator[list[Observation]]:
        """Yield a round's observations in batches; the caller puts each batch into ``evidence`` before the next.

        Authorities first: they tell the zone, the addresses behind targets and which names exist at all (a name
        that does not exist yet is not asked of resolvers: that would plant a negative answer, RFC 2308). Then
        resolvers and origins; then what answers at the addresses that the resolvers handed out.
        """
        self._say("asking authoritative servers, provider and databases ...")
        yield await _all(
            self.ask_authorities(evidence),
            self._guard("dns.interception", self._ask_canary(), HTTP_DEADLINE),
            *self._databases(phase),
        )
        if phase is Phase.PREFLIGHT:
            yield self.sides_found(evidence)
        self._say("asking resolvers, provider and origins ...")
        seen = await _all(
            *self._provider(evidence),
            self._guard("dns.resolvers", self._ask_resolvers(evidence), self._poll_deadline()),
            *(self._guard("origin", self._ask_origins(evidence, name), HTTP_DEADLINE, name) for name in plan.names),
        )
        yield seen
        if phase is Phase.WATCH:
            self._say("following what resolvers hand out ...")
            followed = await _all(
                *(self._guard("origin", self._follow(evidence, name), HTTP_DEADLINE, name) for name in plan.names)
            )
            seen += followed
            yield followed
        if plan.traffic:
            self._say("reading traffic ...")
            yield await self._read_traffic(evidence, seen)

    async def ask_authorities(self, evidence: Evidence) -> list[Observation]:
        """See zones, names and declared targets through their own servers."""
        return await self._guard("dns.authorities", self._ask_authorities(evidence), DNS_DEADLINE)

    def _guard(self, probe: str, work: Probing, deadline: float, about: str = "") -> Probing:
        return guarded(probe, about, lambda: work, self._clock, deadline)

    def _ca_files(self) -> list[Path]:
        sides = [self._plan.origin_of(name, side).ca_file for name in self._plan.names for side in ("old", "new")]
        return [self._base_dir / file for file in dict.fromkeys(sides) if file]

    async def _ask_authorities(self, evidence: Evidence) -> list[Observation]:
        targets = [
            DeclaredTarget(entry.name, side, member.target)
            for entry in self._plan.name
            for side, members in (("old", evidence.sides.of(entry.name).old), ("new", entry.new))
            for member in members
            if member.target is not None
        ]
        names = [(entry.name, entry.types) for entry in self._plan.name]
        return await AuthorityRound(self._walker, self._clock).observe(names, targets)

    async def _ask_canary(self) -> list[Observation]:
        return [await intercepted(self._authorities, self._plan.dns.interception_canary, clock=self._clock)]

    def _questions(self, evidence: Evidence) -> list[tuple[str, str]]:
        return [
            (entry.name, rtype)
            for entry in self._plan.name
            if not _absent(evidence, entry.name)
            for rtype in evidence.sides.types(entry.name)
        ]

    def _poll_deadline(self) -> float:
        questions = sum(_most_questions(entry) for entry in self._plan.name)
        largest = max(Counter(resolver.operator for resolver in self._resolvers).values())
        return DNS_DEADLINE + 2 * largest * (questions + 1) / self._plan.dns.max_rate

    async def _ask_resolvers(self, evidence: Evidence) -> list[Observation]:
        seen: list[Observation] = []
        questions = self._questions(evidence)
        if self._panel is None:
            self._panel = await self._calibrated(evidence)
            seen.append(self._panel)
        members = [x.resolver for x in self._panel.members if not x.dropped]
        given = await poll(self._engine, members, questions, clock=self._clock)
        seen += await uncover(
            self._engine, members, given, lambda name, rtype, reply: evidence.sides.of(name).behind_alias(reply, rtype)
        )
        return seen

    async def _calibrated(self, evidence: Evidence) -> PanelSeen:
        control = CONTROL_NAME
        if not isinstance(self._plan.dns.resolvers, str):
            name = self._plan.names[0]
            seen = evidence.current(NameSeen, name)
            control = (seen.apex if seen is not None and seen.apex else name, "SOA")
        questions = sum(len(entry.polled_types()) for entry in self._plan.name)
        interval = self._plan.gate.interval.total_seconds()
        slow = stretched(self._resolvers, questions, self._plan.dns.max_rate, interval)
        if slow:
            self._say(slow)
        zones = evidence.all_current(ZoneSeen)
        return await calibrate(
            self._engine,
            self._resolvers,
            *control,
            authorities={server.address for zone in zones for server in zone.servers},
            declared=any(zone.zone == control[0] and zone.source != "walk" for zone in zones),
            stretched=slow,
            asked=self._plan.dns.panel,
            clock=self._clock,
        )

    def sides_found(self, evidence: Evidence) -> list[Observation]:
        """Take what is live as the old side, where neither the plan nor an earlier preflight tells."""
        found: list[Observation] = []
        for entry in self._plan.name:
            if evidence.sides.of(entry.name).old:
                continue
            sides = evidence.sides.of(entry.name)
            members = [x for x in _live(evidence, entry.name) if (sides.of_address(x) or sides.of_target(x)) is None]
            if members:
                found.append(SideFound(at=self._clock.now(), name=entry.name, side="old", members=tuple(members)))
        return found

    async def _ask_origins(self, evidence: Evidence, name: str) -> list[Observation]:
        sides = [side for side in ("old", "new") if self._is_known(evidence, name, side)]
        addresses = {(name, side): _addresses(evidence, name, side) for side in sides}
        return list(await observe_origins(self._origins, [name], sides, addresses))

    def _is_known(self, evidence: Evidence, name: str, side: str) -> bool:
        return bool(
            self._plan.origin_of(name, side).connect
            or (evidence.sides.of(name).old and side == "old")
            or (self._plan.named(name).new and side == "new")
        )

    async def _follow(self, evidence: Evidence, name: str) -> list[Observation]:
        handed_out: Counter[str] = Counter()
        for rtype in evidence.sides.types(name):
            if evidence.current(ResolverAnswers, name, rtype) is None:
                continue
            for resolver in evidence.resolvers.members():
                standing = evidence.resolvers.standing(resolver.id, name, rtype)
                if standing is not None and standing.at >= evidence.began:
                    handed_out.update(set(standing.addresses))
        return list(await follow_user_paths(self._origins, name, handed_out))

    def _provider(self, evidence: Evidence) -> list[Probing]:
        names = [name for name in self._plan.names if self._is_route53(evidence, name)]
        return [self._guard("route53", self._ask_route53(evidence, names), API_DEADLINE)] if names else []

    def _is_route53(self, evidence: Evidence, name: str) -> bool:
        """Tell whether a name's records are at Route 53: by the plan, by its settings, or by the delegation."""
        provider = self._plan.named(name).provider
        if provider is not None or self._plan.providers.route53.model_fields_set:
            return provider in {None, "route53"}
        seen = evidence.current(NameSeen, name)
        return any(".awsdns-" in server for server in _delegated(evidence, seen.apex)) if seen is not None else False

    async def _ask_route53(self, evidence: Evidence, names: Sequence[str]) -> list[Observation]:
        from cutover.probes import route53

        chains = {name: seen for name in names if (seen := evidence.current(NameSeen, name)) is not None}
        trails = {name: evidence.latest(TrailHistory, name) for name in names}
        fresh = all(x is not None and self._clock.now() - x.at < TRAIL_MAX_AGE for x in trails.values())
        return await asyncio.to_thread(
            route53.observe,
            names,
            profile=self._plan.providers.route53.profile,
            endpoint_url=self._plan.providers.route53.endpoint_url,
            owners={name: seen.owners for name, seen in chains.items()},
            delegated_ns={seen.apex: _delegated(evidence, seen.apex) for seen in chains.values()},
            known_changes={
                name: route53.fresh_ids(trail.changes, self._clock.now())
                for name, trail in trails.items()
                if trail is not None
            },
            history=not fresh,
            deadline=API_DEADLINE / 2,
            now=self._clock.now,
        )

    def _databases(self, phase: Phase) -> list[Probing]:
        if self._plan.database is None:
            return []
        facts = phase is Phase.PREFLIGHT
        return [self._guard("database", self._read_databases(facts), API_DEADLINE)]

    async def _read_databases(self, facts: bool) -> list[Observation]:
        from cutover.probes.database import observe_databases

        return await asyncio.to_thread(observe_databases, self._plan, self._clock, facts=facts)

    async def _read_traffic(self, evidence: Evidence, seen: Sequence[Observation]) -> list[Observation]:
        addresses = {
            (name, side): _addresses(evidence, name, side) for name in self._plan.names for side in ("old", "new")
        }

        def side_of(name: str, address: str) -> str | None:
            side = evidence.sides.of(name).of_address(address)
            return side.value if side is not None else None

        if self._single and self._counters.will_settle(evidence.traffic):
            longest = say_duration(self._counters.settling())
            self._say(f"waiting until the traffic sources have counted the sentinels (at most {longest}) ...")
        reading = self._counters.observe(
            evidence.traffic,
            addresses,
            probed=own_requests(seen, side_of),
            settle=self._single,
        )
        deadline = API_DEADLINE + self._counters.settling().total_seconds()
        return await self._guard("traffic", reading, deadline)


async def _all(*work: Probing) -> list[Observation]:
    batches = await asyncio.gather(*work)
    return [observation for batch in batches for observation in batch]


def _most_questions(entry: Name) -> int:
    """Return how often a resolver may be asked about a name in one round: for it, and for what an alias may hide."""
    targets = sum(x.target is not None for x in (*entry.old, *entry.new))
    return len({*entry.polled_types(), "HTTPS"}) * (1 + targets)


def _addresses(evidence: Evidence, name: str, side: str) -> tuple[str, ...]:
    """Return where a side can be asked: what it is known by, and what its targets and blocks lead to in this round."""
    sides = evidence.sides.of(name)
    found = list(evidence.sides.addresses(name, side))
    for target in evidence.all_current(TargetAddresses, name, side):
        found.extend(target.addresses)
    for seen in evidence.all_current(AuthorityAnswers, name):
        for given in seen.answers:
            found.extend(x for x in addresses_in(given.reply.answer, seen.rtype) if sides.of_address(x) == side)
    return tuple(dict.fromkeys(found))


def _delegated(evidence: Evidence, zone: str) -> tuple[str, ...]:
    """Return the name servers that a zone is delegated to, as its parent says, else as it says itself."""
    seen = evidence.current(ZoneSeen, zone)
    return tuple(record.data for record in (seen.parent_ns or seen.child_ns)) if seen is not None else ()


def _absent(evidence: Evidence, name: str) -> bool:
    """Tell whether every authoritative server that answered in this round has nothing that leads anywhere.

    That is so also of a name that exists by names below it alone, such as ``_acme-challenge`` (RFC 8020).
    """
    replies = [
        answer.reply
        for seen in evidence.all_current(AuthorityAnswers, name, name)
        for answer in seen.answers
        if answer.reply.rcode
    ]
    return bool(replies) and all(x.rcode in {"NOERROR", "NXDOMAIN"} and not x.answer for x in replies)


def _live(evidence: Evidence, name: str) -> tuple[str, ...]:
    """Return what a name leads to now: its CNAME target, else its addresses."""
    records = [
        record
        for seen in evidence.all_current(AuthorityAnswers, name, name)
        for answer in seen.answers
        for record in answer.reply.answer
        if record.owner == name
    ]
    targets = {record.data for record in records if record.rtype == "CNAME"}
    addresses = {record.data for record in records if record.rtype in {"A", "AAAA"}}
    return tuple(sorted(targets or addresses))
