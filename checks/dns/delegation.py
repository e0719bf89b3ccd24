"""``dns.delegation``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from cutover.answers import Answer, Sides
from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.livezone import delegated_servers, live_zone
from cutover.observations.dns import AuthorityAnswers, ServerSeen, ZoneSeen
from cutover.observations.dns import Outcome as Answered
from cutover.observations.provider import HostedZone, HostedZones, Variant, Variants
from cutover.plan import Plan

from ._fixes import live_variants, switching
from ._reading import is_route53, listed, settled_now, shown
from ._zones import ZoneOf, zones

_TYPES = frozenset({"A", "AAAA", "CNAME", "HTTPS"})


@check(
    title="the zone being edited is not the one that the world asks, or a server of it is lame",
    severity=Severity.BLOCKER,
    phases=(Phase.PREFLIGHT, Phase.WATCH),
)
def delegation(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compare the zone that the team edits with the name servers that the parent delegates to.

    Two hosted zones of one name are told apart by nothing but their name servers: an edit in the wrong one
    succeeds, is INSYNC, and changes nothing. A server of the delegation that does not know the zone (a lame one)
    makes a part of the look-ups fail or go elsewhere.
    """
    for one in zones(plan, evidence):
        for tag in one.tags:
            yield from _servers(evidence, one, tag)
        for name in one.names:
            if one.seen is not None and is_route53(plan, evidence, name):
                yield from _hosted(plan, evidence, name, one.seen)


def _servers(evidence: Evidence, one: ZoneOf, tag: str) -> Iterator[Outcome]:
    subject, seen = shown(one.zone), one.seen
    if seen is None:
        yield unknown(subject, one.why, name=tag)
        return
    if seen.error or not seen.servers:
        yield unknown(subject, seen.error or "no server of the zone could be asked", name=tag)
        return
    lame, silent = _not_serving(evidence, one.names[0], seen)
    if lame:
        said = listed(f"{_label(x)}: {x.lame}" for x in lame)
        message = f"{len(lame)} of {len(seen.servers)} servers are lame: {said}"
        yield failed(subject, message, name=tag, lame={_label(x): x.lame for x in lame})
    if silent:
        said = listed(f"{_label(x)}: {x.lame}" for x in silent)
        yield unknown(subject, f"{len(silent)} of {len(seen.servers)} servers did not answer: {said}", name=tag)
    asked = seen.source == "walk"
    if asked and not seen.parent_ns:
        yield unknown(subject, f"the parent zone {shown(seen.parent) or '.'} showed no NS records for it", name=tag)
    elif not lame and not silent:
        yield _parent_and_child(seen, subject, tag)


def _not_serving(evidence: Evidence, name: str, zone: ZoneSeen) -> tuple[list[ServerSeen], list[ServerSeen]]:
    """Return the servers that are lame, and those that gave no answer at all in this round."""
    heard = {
        given.address
        for answers in evidence.all_current(AuthorityAnswers, name)
        if answers.zone == zone.zone
        for given in answers.answers
        if given.reply.outcome is Answered.ANSWERED
    }
    bad = [x for x in zone.servers if x.lame]
    lame = [x for x in bad if not x.address or x.address in heard or _says_what(x.lame)]
    return lame, [x for x in bad if x not in lame]


def _says_what(lame: str) -> bool:
    """Tell an answer that is wrong from none, by how the survey words it."""
    return lame.startswith(("answers ", "has no "))


def _label(server: ServerSeen) -> str:
    name = shown(server.server)
    return f"{name} ({server.address})" if server.address and server.server != server.address else name


def _parent_and_child(seen: ZoneSeen, subject: str, tag: str) -> Outcome:
    count = len(seen.servers)
    if seen.source != "walk":
        message = f"{count} servers answer with authority; the parent was not asked (dns.authorities)"
        return passed(subject, message, name=tag, servers=count, source=seen.source)
    parent = {x.data for x in seen.parent_ns}
    child = {x.data for x in seen.child_ns}
    if child and parent != child:
        message = (
            f"parent and zone name different servers: only at the parent {_names(parent - child)}, "
            f"only in the zone {_names(child - parent)}"
        )
        return warned(subject, message, name=tag)
    message = f"the parent delegates to {_names(parent)}; all {count} addresses answer with authority"
    return passed(subject, message, name=tag, servers=count, source=seen.source)


def _names(servers: set[str] | frozenset[str]) -> str:
    return listed(map(shown, sorted(servers))) or "none"


def _hosted(plan: Plan, evidence: Evidence, name: str, zone: ZoneSeen) -> Iterator[Outcome]:
    """Compare the account's hosted zones with the delegation."""
    subject = f"{shown(name)} hosted zone"
    held = evidence.current(HostedZones, name)
    if held is None:
        failure = evidence.failure("route53", name)
        why = failure.error if failure is not None else "Route 53 was not asked in this round"
        needs = f" (needs {failure.permission})" if failure is not None and failure.permission else ""
        yield unknown(subject, f"which hosted zone is edited cannot be seen{needs}: {why}", name=name)
        return
    public = [x for x in held.zones if not x.private]
    private = [x for x in held.zones if x.private]
    alike = [x for x in public if x.name == zone.zone]
    live = live_zone(evidence, name)
    for one in private:
        message = f"private zone {one.id} ({shown(one.name)}) answers inside its networks; it is not read, and not this"
        yield warned(subject, message, name=name)
    if live is None:
        outcome = _none_is_live(subject, name, zone, alike, private)
        if not alike and plan.named(name).provider is None:
            outcome = unknown(subject, f"{outcome.message} (these credentials may be of another account)", name=name)
        yield outcome
        return
    others = [x for x in public if x.id != live.id]
    wrong = [x for x in others if _was_edited_instead(evidence, name, x)]
    rivals = [x for x in others if len(x.name) >= len(live.name)]
    if wrong:
        yield _edited_instead(plan, evidence, subject, name, live, wrong)
    elif rivals:
        yield _duplicates(evidence, subject, name, live, rivals)
    else:
        yield passed(subject, f"zone {live.id} is the one that the world asks", name=name, zone=live.id)


def _none_is_live(
    subject: str, name: str, zone: ZoneSeen, alike: Sequence[HostedZone], private: Sequence[HostedZone]
) -> Outcome:
    servers = _names(delegated_servers(zone))
    by = f"the parent delegates {shown(zone.zone)} to" if zone.source == "walk" else f"{shown(zone.zone)} names"
    if len(alike) > 1:
        ids = listed(f"{x.id} ({_names(set(x.name_servers))})" for x in alike)
        message = f"{len(alike)} public zones are named {shown(zone.zone)}: {ids}; {by} {servers}"
        return failed(subject, message, name=name, zones=[x.id for x in alike])
    if alike and zone.source != "walk":
        message = (
            f"zone {alike[0].id} has the name servers {_names(set(alike[0].name_servers))}, {by} {servers}; "
            "the parent was not asked (dns.authorities)"
        )
        return warned(subject, message, name=name)
    if alike:
        mine = _names(set(alike[0].name_servers))
        message = f"zone {alike[0].id} is not the one that the world asks: {by} {servers}, it has {mine}"
        return failed(subject, message, name=name, zones=[alike[0].id])
    only = f" but the private {listed(x.id for x in private)}" if private else ""
    message = f"no public hosted zone of this account is {shown(zone.zone)}{only}; {by} {servers}"
    return failed(subject, message, name=name, zones=[])


def _own(evidence: Evidence, name: str, zone: HostedZone) -> list[Variant]:
    seen = evidence.current(Variants, name, zone.id)
    return [x for x in seen.variants if x.rtype in _TYPES] if seen is not None else []


def _was_edited_instead(evidence: Evidence, name: str, zone: HostedZone) -> bool:
    """Tell whether a zone that nobody asks holds new while the servers that are asked do not all give it."""
    sides = evidence.sides.of(name)
    edited = any(_is_new(sides, x) for x in _own(evidence, name, zone))
    sightings = [x for found in settled_now(evidence, name).values() for x in found]
    return edited and not (bool(sightings) and all(x.answer is Answer.NEW for x in sightings))


def _is_new(sides: Sides, variant: Variant) -> bool:
    ends = [*variant.values, *([variant.alias] if variant.alias else [])]
    return any((sides.of_address(x) or sides.of_target(x)) is Answer.NEW for x in ends)


def _edited_instead(
    plan: Plan, evidence: Evidence, subject: str, name: str, live: HostedZone, wrong: Sequence[HostedZone]
) -> Outcome:
    ids = listed(f"{x.id} ({shown(x.name)})" for x in wrong)
    asked = f"the world asks zone {live.id} ({_names(set(live.name_servers))})"
    message = f"new stands in zone {ids}, which nobody asks; {asked}"
    own = [x for x in live_variants(evidence, name) if x.name == name]
    fix = switching(plan, evidence, name, own) if evidence.phase is Phase.WATCH else ""
    return failed(subject, message, name=name, fix=fix, live=live.id, edited=[x.id for x in wrong])


def _duplicates(evidence: Evidence, subject: str, name: str, live: HostedZone, rivals: Sequence[HostedZone]) -> Outcome:
    holding = [x for x in rivals if _own(evidence, name, x)]
    said = listed(f"{x.id} ({shown(x.name)}, {_names(set(x.name_servers))})" for x in rivals)
    message = f"edit zone {live.id}, the one that the world asks; nobody asks {said}"
    if holding and evidence.phase is Phase.PREFLIGHT:
        message += ", which holds the name too: delete it, or its records"
        return failed(subject, message, name=name, live=live.id, duplicates=[x.id for x in rivals])
    return warned(subject, message, name=name)
