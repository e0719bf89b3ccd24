"""``dns.zone-agreement``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from cutover.answers import Answer
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.folds.authority import Sighting
from cutover.observations.dns import AuthorityAnswer, AuthorityAnswers, ServerSeen, is_definite
from cutover.plan import Plan

from ._fixes import live_variants
from ._reading import listed, settled_now, shown, subject_of, trouble, why_unseen
from ._zones import ZoneOf, zones


@check(
    title="authoritative servers disagree (RRset or serial)",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def zone_agreement(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compare what every authoritative server of a zone holds: the SOA serial, and the RRsets of the plan's names.

    A secondary that is behind, or a second provider that nobody edits, hands out old for ever: each resolver asks
    the server that it likes best. A serial that differs may be a transfer in flight, and is none the less
    disagreement. Two providers that are edited apart name two primaries, whose serials cannot be compared; and Route
    53's are always 1. Their RRsets are compared all the same.
    """
    for one in zones(plan, evidence):
        for tag in one.tags:
            yield _serials(one, tag)
    for name in plan.names:
        yield from _rrsets(evidence, name)


def _serials(one: ZoneOf, tag: str) -> Outcome:
    subject = f"{shown(one.zone)} SOA"
    if one.seen is None:
        return unknown(subject, one.why, name=tag)
    heard = [x for x in one.seen.servers if x.serial >= 0]
    silent = [x for x in one.seen.servers if x.serial < 0]
    measured = {_label(x): x.serial for x in heard}
    primaries: dict[str, list[ServerSeen]] = defaultdict(list)
    for server in heard:
        primaries[server.primary].append(server)
    said = [text for servers in primaries.values() if (text := _behind(servers))]
    if said:
        message = f"serials differ: {'; '.join(said)} (a zone transfer under way, or one that fails)"
        return failed(subject, message, name=tag, serials=measured)
    if silent or not heard:
        why = listed(f"{_label(x)}: {x.lame}" for x in silent) or one.seen.error or "the zone has no server"
        return unknown(subject, f"not every server tells its serial: {why}", name=tag, serials=measured)
    serials = " and ".join(str(x) for x in sorted({x.serial for x in heard}))
    several = f", of {len(primaries)} primaries" if len(primaries) > 1 else ""
    return passed(subject, f"{len(heard)} servers have serial {serials}{several}", name=tag, serials=measured)


def _behind(servers: Sequence[ServerSeen]) -> str:
    """Say which servers of one primary are behind the others, "" when none is."""
    newest = max(x.serial for x in servers)
    behind = [f"{_label(x)} has {x.serial}" for x in sorted(servers) if x.serial != newest]
    return f"{listed(behind)}, others {newest}" if behind else ""


def _label(server: ServerSeen) -> str:
    name = shown(server.server)
    return f"{name} ({server.address})" if server.address and server.server != server.address else name


def _rrsets(evidence: Evidence, name: str) -> Iterator[Outcome]:
    """Compare every owner and type that the user can change; where the name leads is compared by its side."""
    seen = evidence.all_current(AuthorityAnswers, name)
    if not any(x.name == name for x in seen):
        yield unknown(shown(name), why_unseen(evidence, name), name=name)
        return
    polled = evidence.sides.types(name)
    for answers in seen:
        exists = any(x.reply.answer for x in answers.answers)
        if answers.rtype == "CNAME" or not answers.in_plan:
            continue
        if exists or (answers.rtype in polled and answers.name == name):
            yield _of_owner(evidence, name, answers)


def _of_owner(evidence: Evidence, name: str, answers: AuthorityAnswers) -> Outcome:
    subject = subject_of(answers.name, answers.rtype)
    silent = [x for x in answers.answers if not is_definite(x.reply)]
    by_data: dict[frozenset[tuple[str, str]] | None, list[AuthorityAnswer]] = defaultdict(list)
    for given in answers.answers:
        if is_definite(given.reply):
            by_data[_content(given, answers.name)].append(given)
    sightings = settled_now(evidence, name).get(answers.rtype, ()) if answers.name == name else ()
    sides = {x.answer for x in sightings if x.answer.says_something} or _sides_of(evidence, name, answers)
    if len(sides) > 1 or (len(by_data) > 1 and not sides <= {Answer.OLD, Answer.NEW}):
        return failed(subject, f"the servers disagree: {_told(by_data, sightings)}", name=name)
    if silent or not answers.answers:
        why = listed(map(trouble, silent)) or "the zone has no server"
        return unknown(subject, f"not every server tells what it holds: {why}", name=name)
    total = len(answers.answers)
    if len(by_data) > 1:
        return _of_one_side(evidence, name, answers, by_data)
    return passed(subject, f"{total} servers hold the same", name=name, servers=total)


def _sides_of(evidence: Evidence, name: str, answers: AuthorityAnswers) -> set[Answer]:
    """Class a hop's answers as they stand; one that is only a step of the way is on neither side."""
    sides = evidence.sides.of(name)
    return {sides.of_reply(x.reply, answers.rtype) for x in answers.answers if is_definite(x.reply)}


def _content(given: AuthorityAnswer, owner: str) -> frozenset[tuple[str, str]] | None:
    """What a server holds at an owner; None when it has no such name."""
    if given.reply.rcode == "NXDOMAIN":
        return None
    return frozenset((x.rtype, x.data) for x in given.reply.answer if x.owner == owner)


def _of_one_side(
    evidence: Evidence,
    name: str,
    answers: AuthorityAnswers,
    by_data: dict[frozenset[tuple[str, str]] | None, list[AuthorityAnswer]],
) -> Outcome:
    """Servers differ, but every answer leads to the same side: balancing, unless the provider says otherwise."""
    subject = subject_of(answers.name, answers.rtype)
    held = [x for x in live_variants(evidence, name) if (x.name, x.rtype) == (answers.name, answers.rtype)]
    if held and all(x.alias or x.set_identifier for x in held):
        return passed(subject, f"answers vary by the routing of {len(held)} record sets, all of one side", name=name)
    message = f"answers differ, all of one side (balanced, or a change on its way): {_told(by_data, ())}"
    return warned(subject, message, name=name)


def _told(
    by_data: dict[frozenset[tuple[str, str]] | None, list[AuthorityAnswer]], sightings: Sequence[Sighting]
) -> str:
    if len({x.answer for x in sightings}) > 1:
        return listed(f"{x.label} gives {x.answer.value}" for x in sorted(sightings, key=_by_class))
    told: list[str] = []
    for content, given in by_data.items():
        data = "no such name" if content is None else listed(sorted(shown(x) for _, x in content), 3) or "no record"
        told.append(f"{listed((shown(x.server) for x in given), 3)}: {data}")
    return "; ".join(told)


def _by_class(sighting: Sighting) -> tuple[bool, str]:
    return sighting.answer is Answer.NEW, sighting.server
