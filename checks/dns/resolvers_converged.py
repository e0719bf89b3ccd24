"""``dns.resolvers-converged``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cutover.answers import Answer
from cutover.change import changed
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.durations import say_instant
from cutover.evidence import Evidence
from cutover.folds.resolvers import Standing
from cutover.horizon import horizon
from cutover.observations.dns import Resolver, ResolverAnswers, Tier
from cutover.plan import Plan

from ._reading import NO_NEW, listed, nothing_exists, shown, subject_of


class _State(StrEnum):
    """What one resolver says of one name and type, for the gate."""

    NEW = "new"
    OLD = "old"
    SILENT_ON_OLD = "silent, was on old"
    WAS_OLD_BEFORE = "nothing definite since before the change"
    ODD = "neither side"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    resolver: Resolver
    state: _State
    standing: Standing | None

    @property
    def required(self) -> bool:
        return self.resolver.tier is Tier.REQUIRED


@check(
    title="a resolver is on old, or too few answered",
    severity=Severity.BLOCKER,
    phases=(Phase.WATCH,),
)
def resolvers_converged(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Ask the whole panel, and class each answer by the declared sides, never by majority.

    A required resolver on old or mixed holds the gate; one that was on old since the change stays old until it is
    seen on new, for silence does not launder it. An answer that is on neither side, or no answer from too many,
    is unknown. Advisory resolvers on old hold until no compliant cache can hold old (``not_before``); what
    persists after that is a resolver that breaks the rules, and a warning.

    Quorum: each operator counts once, for the part of its required resolvers that gave new; together that must
    be ``min_answers`` of the operators. So one operator with many addresses can neither carry nor sink a round.
    """
    for name in plan.names:
        if not plan.named(name).new:
            yield unknown(shown(name), NO_NEW, name=name)
            continue
        for rtype in evidence.sides.types(name):
            yield from _of_type(plan, evidence, name, rtype, now)


def _of_type(plan: Plan, evidence: Evidence, name: str, rtype: str, now: datetime) -> Iterator[Outcome]:
    subject = subject_of(name, rtype)
    panel = _counted(evidence)
    if not any(x.tier is Tier.REQUIRED for x in panel):
        failure = evidence.failure("dns.resolvers", name)
        why = f": {failure.error}" if failure is not None else ""
        yield unknown(subject, f"the panel has no required resolver that is polled{why}", name=name)
        return
    if evidence.current(ResolverAnswers, name, rtype) is None:
        yield unknown(subject, _why_unasked(evidence, name), name=name)
    change = changed(plan, evidence, name).at
    members = [_member(evidence, resolver, name, rtype, change) for resolver in panel]
    required = [x for x in members if x.required]
    held = _still_old(subject, name, required, now)
    yield from held
    odd = _inconclusive(subject, name, required, now)
    yield from odd
    short = _too_few(plan, subject, name, evidence, required)
    yield from short
    yield from _advisory(plan, evidence, subject, name, [x for x in members if not x.required], now)
    if not held and not odd and not short and evidence.current(ResolverAnswers, name, rtype) is not None:
        yield _converged(subject, name, required, members)


def _counted(evidence: Evidence) -> list[Resolver]:
    """Return whom the verdict counts: all that are polled, and required ones whatever calibration found."""
    panel = evidence.resolvers.panel
    members = panel.members if panel is not None else ()
    return [x.resolver for x in members if not x.dropped or x.resolver.tier is Tier.REQUIRED]


def _why_unasked(evidence: Evidence, name: str) -> str:
    failure = evidence.failure("dns.resolvers", name)
    if failure is not None:
        return f"the resolvers could not be asked: {failure.error}"
    if nothing_exists(evidence, name):
        return "the name does not exist yet, so no resolver was asked: asking would plant a negative answer"
    return "no resolver was asked in this round"


def _member(evidence: Evidence, resolver: Resolver, name: str, rtype: str, change: datetime | None) -> _Member:
    standing = evidence.resolvers.standing(resolver.id, name, rtype)
    if standing is None:
        return _Member(name, resolver, _State.SILENT, None)
    present = standing.at >= evidence.began and not evidence.resolvers.is_void(resolver)
    if present and standing.now.leads_to_old:
        return _Member(name, resolver, _State.OLD, standing)
    if present and standing.now is Answer.NEW:
        return _Member(name, resolver, _State.NEW, standing)
    if standing.last_old is not None:
        since_change = change is None or standing.last_old >= change
        return _Member(name, resolver, _State.SILENT_ON_OLD if since_change else _State.WAS_OLD_BEFORE, standing)
    silent = not present or standing.now in {Answer.TIMEOUT, Answer.MALFORMED}
    return _Member(name, resolver, _State.SILENT if silent else _State.ODD, standing)


def _still_old(subject: str, name: str, required: list[_Member], now: datetime) -> list[Outcome]:
    old = [x for x in required if x.state in {_State.OLD, _State.SILENT_ON_OLD}]
    if not old:
        return []
    message = f"{len(old)} of {len(required)} required resolvers are on old: {_named(old, now)}"
    return [failed(subject, message, name=name, until=_expected(old), required=len(required), old=_measured(old))]


def _expected(old: Iterable[_Member]) -> datetime | None:
    """Return when the last of them runs out, if they keep to their TTL; None when one is silent."""
    ends: list[datetime] = []
    for member in old:
        standing = member.standing
        if member.state is not _State.OLD or standing is None or standing.remaining is None:
            return None
        ends.append(standing.at + timedelta(seconds=standing.remaining))
    return max(ends, default=None)


def _inconclusive(subject: str, name: str, required: list[_Member], now: datetime) -> list[Outcome]:
    found: list[Outcome] = []
    odd = [x for x in required if x.state is _State.ODD]
    if odd:
        message = f"{len(odd)} of {len(required)} required resolvers give neither side: {_named(odd, now)}"
        found.append(unknown(subject, message, name=name, required=len(required), odd=_measured(odd)))
    stale = [x for x in required if x.state is _State.WAS_OLD_BEFORE]
    if stale:
        message = (
            f"{len(stale)} of {len(required)} required resolvers were on old before the change and have said "
            f"nothing definite since: {_named(stale, now)}"
        )
        found.append(unknown(subject, message, name=name, required=len(required), unheard=_measured(stale)))
    return found


def _too_few(plan: Plan, subject: str, name: str, evidence: Evidence, required: list[_Member]) -> list[Outcome]:
    """Say so when too few operators' resolvers answered; those on old have answered."""
    answered = {_State.NEW, _State.OLD}
    parts = [sum(x.state in answered for x in members) / len(members) for members in _by_operator(required).values()]
    share = sum(parts) / len(parts)
    wanted = plan.dns.min_answers
    if share >= wanted:
        return []
    silent = [x for x in required if x.state not in answered]
    void = [x for x in required if evidence.resolvers.is_void(x.resolver)]
    why = f"; {len(void)} are void because plain DNS is intercepted on this network" if void else ""
    message = (
        f"too few answered: {len(required) - len(silent)} of {len(required)} required resolvers, {share:.0%} counted "
        f"by operator (min_answers {wanted:.0%}); nothing from {listed(x.resolver.id for x in silent)}{why}"
    )
    return [unknown(subject, message, name=name, answered=share, min_answers=wanted)]


def _advisory(
    plan: Plan, evidence: Evidence, subject: str, name: str, advisory: list[_Member], now: datetime
) -> Iterator[Outcome]:
    old = [x for x in advisory if x.state in {_State.OLD, _State.SILENT_ON_OLD}]
    if not old:
        return
    bound = horizon(plan, evidence, name)
    said = f"{len(old)} of {len(advisory)} advisory resolvers are on old: {_named(old, now)}"
    measured = _measured(old)
    if bound.unknown or bound.not_before is None:
        yield failed(subject, f"{said}; not_before is not known", name=name, advisory_old=measured)
    elif now < bound.not_before:
        yield failed(subject, said, name=name, until=bound.not_before, advisory_old=measured)
    else:
        yield warned(subject, f"{said}; no compliant cache can hold that any more", name=name, advisory_old=measured)


def _converged(subject: str, name: str, required: list[_Member], members: list[_Member]) -> Outcome:
    new = [x for x in required if x.state is _State.NEW]
    operators, heard = len(_by_operator(required)), len(_by_operator(new))
    message = f"{len(new)} of {len(required)} required resolvers ({heard} of {operators} operators) give new"
    silent = [x.resolver.id for x in required if x.state is _State.SILENT]
    if silent:
        message += f"; nothing from {listed(silent)}"
    advisory = [x for x in members if not x.required]
    if advisory:
        message += f"; {sum(x.state is _State.NEW for x in advisory)} of {len(advisory)} advisory ones"
    return passed(subject, message, name=name, new=len(new), required=len(required), operators=operators)


def _by_operator(members: Iterable[_Member]) -> dict[str, list[_Member]]:
    found: dict[str, list[_Member]] = defaultdict(list)
    for member in members:
        found[member.resolver.operator].append(member)
    return found


def _named(members: Iterable[_Member], now: datetime) -> str:
    """Name some resolvers with what they give; where a hop below the name is what is stale, name it too."""
    return listed(_one(x, now) for x in members)


def _one(member: _Member, now: datetime) -> str:
    standing, resolver = member.standing, member.resolver.id
    if standing is None:
        return resolver
    if member.state in {_State.SILENT_ON_OLD, _State.WAS_OLD_BEFORE} and standing.last_old is not None:
        return f"{resolver} (on old at {say_instant(standing.last_old, now)}, nothing definite since)"
    if member.state is _State.OLD:
        left = f", {standing.remaining} s left" if standing.remaining is not None else ""
        hop = f" of {shown(standing.stale)}" if standing.stale not in {"", member.name} else ""
        return f"{resolver} ({standing.now.value}{left}{hop})"
    return f"{resolver} ({standing.now.value})"


def _measured(members: Iterable[_Member]) -> dict[str, object]:
    return {
        x.resolver.id: {
            "class": x.standing.now.value if x.standing else None,
            "remaining_ttl": x.standing.remaining if x.standing else None,
        }
        for x in members
    }
