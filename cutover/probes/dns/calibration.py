"""Which members of the panel answer at all: asked once, at the start."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cutover.clock import Clock, SystemClock
from cutover.errors import CutoverError, PlanError
from cutover.observations.dns import Calibration, Outcome, PanelSeen, Reply, Resolver, Tier
from cutover.probes.dns.engine import DEADLINE, Engine, Question, Target


async def calibrate(
    engine: Engine,
    resolvers: Sequence[Resolver],
    control_name: str,
    control_type: str,
    *,
    authorities: Collection[str] = (),
    declared: bool = False,
    stretched: str = "",
    asked: str = "",
    deadline: float = DEADLINE,
    clock: Clock | None = None,
) -> PanelSeen:
    """Ask every member the control question, and drop the advisory ones that do not answer it.

    Required members stay whatever they say: their silence must count.

    Args:
        engine: asks.
        resolvers: the panel as loaded.
        control_name: a name that is known to exist, with records of ``control_type``.
        control_type: for a list of resolvers: the SOA of the plan's zone.
        authorities: ``address:port`` of the zone's own servers, as far as they are known.
        declared: the plan names them (``dns.authorities``), so that they are known. Otherwise a member that speaks
            for the zone is one of them too, whatever its address: a hidden primary.
        stretched: put into the observation, see :func:`cutover.probes.dns.poll.stretched`.
        asked: put into the observation: what the panel was made of.
        deadline: seconds for each member.
        clock: stamps the observation.

    Raises:
        CutoverError: a required member is an authoritative server of the control's zone. It holds no cache, so
            that it would show the new side at once and prove nothing.
        PlanError: the same, where its address leaves no doubt.
    """
    replies = await engine.ask_all(
        [Question(Target.of(member), control_name, control_type, deadline=deadline) for member in resolvers]
    )
    members = []
    for member, reply in zip(resolvers, replies, strict=True):
        reason = _unfit(reply, control_name)
        if member.tier is Tier.REQUIRED:
            known = member.address in authorities
            if known or (not declared and _speaks_for(reply, control_name)):
                reason = "of the plan's zone" if known else f"answers with authority for {control_name}"
                raise (PlanError if known else CutoverError)(
                    f"dns.resolvers: {member.id} is an authoritative server ({reason}), not a resolver",
                    "take it out of dns.resolvers; authoritative servers are asked anyway",
                )
            reason = ""
        members.append(Calibration(member, reason))
    at = (clock or SystemClock()).now()
    control = f"{control_name} {control_type}"
    return PanelSeen(at=at, members=tuple(members), control=control, stretched=stretched, asked=asked)


def _speaks_for(reply: Reply, zone: str) -> bool:
    """Tell whether a reply to the SOA control is the zone's own word: authoritative, and with its SOA."""
    return reply.authoritative and any(x.rtype == "SOA" and x.owner == zone for x in reply.answer)


def _unfit(reply: Reply, name: str) -> str:
    """Return why a member is not to be polled, or ""."""
    if reply.outcome is not Outcome.ANSWERED:
        return reply.error or reply.outcome.value
    if reply.rcode != "NOERROR":
        return f"answered {reply.rcode} to the control question"
    if reply.authoritative:
        return f"answers with authority for {name}"
    return ""
