"""What the DNS checks have in common: the present answers of the authorities, in the words that people use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cutover.answers import Answer
from cutover.evidence import Evidence
from cutover.folds.authority import Sighting
from cutover.livezone import delegated_servers
from cutover.observations.dns import AuthorityAnswer, AuthorityAnswers, NameSeen, Outcome, ZoneSeen, is_definite
from cutover.observations.provider import HostedZones
from cutover.plan import Plan

NO_NEW = "the new side is not given: add --new"
_SHOWN = 5


def shown(name: str) -> str:
    """Write a DNS name as people do, without the final dot."""
    return name.rstrip(".")


def subject_of(owner: str, rtype: str) -> str:
    """Write an RRset as people do: ``app.example.com A``."""
    return f"{shown(owner)} {rtype}"


def listed(items: Iterable[str], limit: int = _SHOWN) -> str:
    """Join some items, and say how many more there are."""
    all_items = list(items)
    text = ", ".join(all_items[:limit])
    return f"{text} and {len(all_items) - limit} more" if len(all_items) > limit else text


def trouble(answer: AuthorityAnswer) -> str:
    """Say which server gave nothing definite, and what it did."""
    reply = answer.reply
    if reply.outcome is not Outcome.ANSWERED:
        what = reply.error or reply.outcome.value
    elif reply.rcode not in {"NOERROR", "NXDOMAIN"}:
        what = reply.rcode
    else:
        what = "answers without authority"
    server = shown(answer.server)
    return f"{server} ({answer.address}): {what}" if server != answer.address else f"{server}: {what}"


def why_unseen(evidence: Evidence, name: str) -> str:
    """Say why the authorities' answers for a name are missing in this round."""
    failure = evidence.failure("dns.authorities", name)
    if failure is not None:
        return f"the authoritative servers could not be asked: {failure.error}"
    seen = evidence.current(NameSeen, name)
    if seen is not None and seen.error:
        return f"the authoritative servers could not be asked: {seen.error}"
    return "no authoritative server was asked in this round"


@dataclass(frozen=True, slots=True)
class Served:
    """One RRset as the authorities serve it now.

    Attributes:
        ttl: the longest that any server gives, seconds.
        hop: 1 for the plan's name itself. hops: how many there are.
        in_plan: it lies in one of the user's zones.
        data: of all servers together.
    """

    owner: str
    rtype: str
    ttl: int
    hop: int
    hops: int
    in_plan: bool
    zone: str
    data: frozenset[str]

    @property
    def subject(self) -> str:
        """The RRset as people write it."""
        return subject_of(self.owner, self.rtype)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question about one owner that not every server answered."""

    owner: str
    rtype: str
    in_plan: bool
    servers: tuple[str, ...]
    asked: int


def served_now(evidence: Evidence, name: str) -> tuple[Served, ...]:
    """Return every RRset on the way to a name that an authority serves in this round, from the name on."""
    answers = evidence.all_current(AuthorityAnswers, name)
    hops = max((x.hop for x in answers), default=0)
    found: dict[tuple[str, str], Served] = {}
    for seen in answers:
        for given in seen.answers:
            if not is_definite(given.reply):
                continue
            for record in given.reply.answer:
                if record.owner != seen.name:
                    continue
                key = (record.owner, record.rtype)
                before = found.get(key)
                found[key] = Served(
                    *key,
                    max(record.ttl, before.ttl if before else 0),
                    seen.hop,
                    hops,
                    seen.in_plan,
                    seen.zone,
                    (before.data if before else frozenset()) | {record.data},
                )
    return tuple(sorted(found.values(), key=lambda x: (x.hop, x.owner, x.rtype)))


def unanswered_now(evidence: Evidence, name: str) -> Iterator[Unanswered]:
    """Yield the questions that some server did not answer; of types that the plan polls or that exist."""
    existing = {(x.owner, x.rtype) for x in served_now(evidence, name)}
    polled = evidence.sides.types(name)
    for seen in evidence.all_current(AuthorityAnswers, name):
        if seen.rtype not in polled and (seen.name, seen.rtype) not in existing:
            continue
        silent = tuple(trouble(x) for x in seen.answers if not is_definite(x.reply))
        if silent or not seen.answers:
            yield Unanswered(seen.name, seen.rtype, seen.in_plan, silent, len(seen.answers))


def settled_now(evidence: Evidence, name: str) -> dict[str, tuple[Sighting, ...]]:
    """Return this round's sightings by type: what was settled before is not the present."""
    current = {x.rtype for x in evidence.all_current(AuthorityAnswers, name) if x.name == name}
    return {rtype: found for rtype, found in evidence.authority.sightings(name).items() if rtype in current}


def own_zone(evidence: Evidence, name: str) -> ZoneSeen | None:
    """Return what this round saw of the zone that a name lies in."""
    seen = evidence.current(NameSeen, name)
    return evidence.current(ZoneSeen, seen.apex) if seen is not None and seen.apex else None


def is_route53(plan: Plan, evidence: Evidence, name: str) -> bool:
    """Tell whether a name's records are at Route 53: by the plan, its settings, the delegation or the account.

    By the latest sightings, however old: a round that did not see the zone does not change its provider.
    """
    provider = plan.named(name).provider
    if provider is not None:
        return provider == "route53"
    if plan.providers.route53.model_fields_set:
        return True
    chain = evidence.latest(NameSeen, name)
    zone = evidence.latest(ZoneSeen, chain.apex) if chain is not None else None
    if zone is not None and any(".awsdns-" in server for server in delegated_servers(zone)):
        return True
    held = evidence.latest(HostedZones, name)
    return held is not None and zone is not None and any(x.name == zone.zone and not x.private for x in held.zones)


def nothing_exists(evidence: Evidence, name: str) -> bool:
    """Tell whether every server says with authority that a name has no record that leads anywhere."""
    present = settled_now(evidence, name)
    sightings = [x for found in present.values() for x in found]
    complete = all(present.get(rtype) for rtype in evidence.sides.types(name))
    own = [x for x in served_now(evidence, name) if x.owner == name]
    definite = all(x.answer is Answer.NXDOMAIN or (x.answer.says_something and not x.rrsets) for x in sightings)
    return complete and definite and not own
