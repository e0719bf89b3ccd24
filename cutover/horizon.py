"""Until when caches may hold what was before the change, and how that is known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cutover.change import ADDRESSED, changed
from cutover.durations import iso
from cutover.observations.origin import OriginSeen
from cutover.pinning import keep_alive_seconds, leaving_seconds
from cutover.trail import Key, trail_changes
from cutover.ttls import SEEN, known, past_of, served_until

if TYPE_CHECKING:
    from cutover.evidence import Evidence
    from cutover.plan import Plan


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why caches may hold old answers.

    Attributes:
        until: the last instant at which they may.
        what: what it is, with its numbers.
    """

    until: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Horizon:
    """The earliest instant at which no compliant cache holds an old answer.

    Attributes:
        not_before: None when unknown.
        causes: every bound, latest first.
        unknown: why the horizon is not (wholly) known, "" when it is.
        known_by: how the old TTL is known.
    """

    not_before: datetime | None
    causes: tuple[Cause, ...]
    unknown: str
    known_by: str = ""


def horizon(plan: Plan, evidence: Evidence, name: str) -> Horizon:
    """Return a name's ``not_before`` with every cause."""
    moved = changed(plan, evidence, name)
    if moved.at is None:
        return Horizon(None, (), moved.how)
    old = _old_ttls(plan, evidence, name, moved.at)
    causes = [*old, *_from_delegation(evidence, name, moved.at), *_from_pinning(evidence, name, moved.at)]
    cached = evidence.resolvers.cached_old_until(name)
    if cached is not None:
        causes.append(Cause(cached, "left in a resolver's cache"))
    causes.sort(key=lambda cause: cause.until, reverse=True)
    seen, edited = _seen_keys(evidence, name), _edited_keys(evidence, name)
    told = known(plan, evidence, name, seen or edited or {Key(name, "A")}, moved.at)
    return Horizon(
        causes[0].until if causes else None,
        tuple(causes),
        "" if told.by and old else f"the TTL from before the change is not known: {told.why_not or 'nobody saw it'}",
        told.by,
    )


def _old_ttls(plan: Plan, evidence: Evidence, name: str, changed_at: datetime) -> list[Cause]:
    versions = evidence.authority.old_versions(name)
    causes: list[Cause] = []
    for rrset, served in versions.items():
        last = served_until(evidence, name, rrset, served, changed_at)
        causes.append(Cause(_after(evidence, last, rrset.ttl), f"old {rrset}, served until {_second(last)}"))
    for key in _seen_keys(evidence, name) | _edited_keys(evidence, name) or {Key(name, "A")}:
        causes += [
            Cause(past.until, f"{key} with TTL {past.ttl} s until {_second(past.served_until)} ({past.how})")
            for past in past_of(plan, evidence, name, key, changed_at)
            if past.how != SEEN
        ]
    return causes


def _seen_keys(evidence: Evidence, name: str) -> set[Key]:
    return {Key(x.owner, x.rtype) for x in evidence.authority.old_versions(name)}


def _edited_keys(evidence: Evidence, name: str) -> set[Key]:
    return {Key(name, x.rtype) for x in trail_changes(evidence, name, name) if x.rtype in ADDRESSED}


def _after(evidence: Evidence, instant: datetime, seconds: int) -> datetime:
    """Return when so many seconds have really passed: a clock that was put forward does not end a wait."""
    return evidence.clock.after(instant, timedelta(seconds=seconds))


def _second(at: datetime) -> str:
    return iso(at.replace(microsecond=0))


def _from_delegation(evidence: Evidence, name: str, changed_at: datetime) -> list[Cause]:
    """What caches may still ask of servers that are no longer delegated to, and how long they keep that."""
    versions = evidence.authority.old_versions(name)
    causes: list[Cause] = []
    for moved in evidence.delegation.moves(name, {name, *(x.owner for x in versions)}):
        ttl = max((x.ttl for x, y in versions.items() if y.gone is None or y.gone >= moved.at), default=0)
        asked = _after(evidence, moved.at, moved.ns_ttl)
        if asked > changed_at:
            since = max(moved.at, changed_at)
            what = f"the delegation moved: NS TTL {moved.ns_ttl} s"
            causes.append(Cause(_after(evidence, since, moved.ns_ttl), what))
        if ttl and _after(evidence, moved.at, moved.ns_ttl + ttl) > changed_at:
            what = f"the delegation moved: NS TTL {moved.ns_ttl} s, then old's own TTL of {ttl} s"
            causes.append(Cause(_after(evidence, moved.at, moved.ns_ttl + ttl), what))
    for negative in evidence.delegation.negative_ttls_when_new(name):
        kept = changed_at if negative.gone is None else min(changed_at, negative.gone)
        what = f"the name is new: negative TTL {negative.ttl} s"
        causes.append(Cause(_after(evidence, kept, negative.ttl), what))
    return causes


def _from_pinning(evidence: Evidence, name: str, changed_at: datetime) -> list[Cause]:
    """Clients that old told to stay: by ``Alt-Svc`` to another host (RFC 7838), or by its keep-alive."""
    causes: list[Cause] = []
    for seen in evidence.all_latest(OriginSeen, name, "old"):
        alternative = leaving_seconds(seen.response.alt_svc, name.rstrip("."))
        if alternative:
            what = f"old's Alt-Svc to another host: ma {alternative} s"
            causes.append(Cause(_after(evidence, changed_at, alternative), what))
        idle = keep_alive_seconds(seen.response.keep_alive)
        if idle:
            causes.append(Cause(_after(evidence, changed_at, idle), f"old's keep-alive: {idle} s"))
    return causes
