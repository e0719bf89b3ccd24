"""``dns.ttl-aged``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown
from cutover.durations import iso
from cutover.evidence import Evidence
from cutover.folds.authority import LONGEST_CACHE
from cutover.observations.dns import AuthorityAnswers
from cutover.plan import Plan
from cutover.trail import Key, trail_changes
from cutover.ttls import Past, known, past_of

from ._reading import Served, nothing_exists, served_now, shown, subject_of, unanswered_now, why_unseen
from .ttl_lowered import is_alias, longest_ttl

_TYPES = ("A", "AAAA", "CNAME", "HTTPS")


@check(
    title="caches may still hold the TTL from before it was lowered",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT,),
)
def ttl_aged(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Say when the last cache lets go of the answer with the long TTL, and how that is known.

    A cache that fetched the answer a moment before the TTL was lowered keeps it for the whole old TTL: switching
    earlier leaves users on old for that long, whatever the TTL says now. Known by CloudTrail, by this ledger's
    own sightings, or by ``previous_ttl``; what resolvers still hold can only make it later. Otherwise nobody
    knows, and that is no pass.
    """
    for name in plan.names:
        if not evidence.all_current(AuthorityAnswers, name, name):
            yield unknown(shown(name), why_unseen(evidence, name), name=name)
            continue
        yield from _of_name(plan, evidence, name, now)


def _of_name(plan: Plan, evidence: Evidence, name: str, now: datetime) -> Iterator[Outcome]:
    silent = {(x.owner, x.rtype): x for x in unanswered_now(evidence, name) if x.in_plan}
    present = {Key(x.owner, x.rtype): x for x in served_now(evidence, name) if x.in_plan}
    owners = {name, *(key.owner for key in present)}
    for (owner, rtype), one in sorted(silent.items()):
        message = f"{len(one.servers)} of {one.asked} servers do not tell the TTL"
        yield unknown(subject_of(owner, rtype), message, name=name)
    keys = sorted(set(present) | _past_keys(evidence, name, owners, now))
    if not keys and not silent:
        if nothing_exists(evidence, name):
            yield passed(shown(name), "no such record yet: no cache holds one", name=name)
        else:
            yield unknown(shown(name), "the servers show no record of it", name=name)
    for key in keys:
        outcome = _of_key(plan, evidence, name, key, present.get(key), now)
        if key not in silent or outcome.status.value == "fail":
            yield outcome


def _past_keys(evidence: Evidence, name: str, owners: set[str], now: datetime) -> set[Key]:
    """Return what was served at these owners in the last week, and no longer: a removed RRset is cached too."""
    seen = {
        Key(x.owner, x.rtype)
        for x, served in evidence.authority.versions(name).items()
        if x.owner in owners and (served.gone is None or served.gone > now - LONGEST_CACHE)
    }
    edited = {
        Key(owner, x.rtype)
        for owner in owners
        for x in trail_changes(evidence, name, owner)
        if x.at > now - LONGEST_CACHE
    }
    return {key for key in seen | edited if key.rtype in _TYPES}


def _of_key(plan: Plan, evidence: Evidence, name: str, key: Key, present: Served | None, now: datetime) -> Outcome:
    limit, ttl = plan.dns.max_ttl, 0
    if present is not None:
        ttl = longest_ttl(evidence, name, present)
        limit = max(limit, present.ttl) if is_alias(evidence, name, present) else limit
    subject = subject_of(*key)
    past = [x for x in past_of(plan, evidence, name, key, now) if x.ttl > limit]
    if ttl > limit:
        until = max([now + timedelta(seconds=ttl), *(x.until for x in past)])
        message = f"not lowered yet: its TTL of {ttl} s has to age after that; if lowered now, safe to change"
        return failed(subject, message, name=name, until=until, ttl=ttl, limit=limit)
    slowest = max(past, key=lambda x: x.until, default=None)
    if slowest is not None and slowest.until > now:
        message = f"caches may hold it with its TTL of {_from(slowest)}; safe to change"
        return failed(subject, message, name=name, until=slowest.until, ttl=slowest.ttl, limit=limit)
    cached = _left_over(evidence, name, key, past, limit)
    if cached is not None and cached.until > now:
        left = round((cached.until - now).total_seconds())
        message = f"{cached.resolver} still holds it for {left} s (limit {limit} s); safe to change"
        return failed(subject, message, name=name, until=cached.until, remaining=cached.remaining, limit=limit)
    told = known(plan, evidence, name, [key], now)
    if not told.by:
        message = f"nobody knows the TTL from before it was lowered: {told.why_not}. Set previous_ttl"
        return unknown(subject, message, name=name)
    if slowest is not None:
        return passed(subject, f"aged: TTL was {_from(slowest)}", name=name, ttl=slowest.ttl, known_by=told.by)
    return passed(subject, f"no TTL above {limit} s for long enough, known by {told.by}", name=name, known_by=told.by)


def _from(past: Past) -> str:
    return f"{past.ttl} s until {iso(past.served_until.replace(microsecond=0))} ({past.how})"


@dataclass(frozen=True, slots=True)
class _Cached:
    resolver: str
    remaining: int
    until: datetime


def _left_over(evidence: Evidence, name: str, key: Key, past: list[Past], limit: int) -> _Cached | None:
    """Return the resolver that holds an RRset longest from before its TTL was lowered, by the last that it gave.

    One that fetched it after that stretches TTLs: it will do so after the change as well, and waiting for it
    before the change has no end.
    """
    lowered = max((x.served_until for x in past), default=evidence.authority.known_since(name, *key))
    found: list[_Cached] = []
    for resolver in evidence.resolvers.members():
        for rtype in evidence.sides.types(name):
            standing = evidence.resolvers.standing(resolver.id, name, rtype)
            if standing is None or standing.heard is None:
                continue
            if standing.fetched_after is not None and lowered is not None and standing.fetched_after >= lowered:
                continue
            left = [x.ttl for x in standing.records if (x.owner, x.rtype) == key]
            if left and max(left) > limit:
                until = standing.heard + timedelta(seconds=max(left))
                found.append(_Cached(resolver.id, max(left), until))
    return max(found, key=lambda x: x.until, default=None)
