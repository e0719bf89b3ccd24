"""One round: the plan's names asked of every member of the panel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cutover.clock import Clock, SystemClock
from cutover.observations.dns import Outcome, Reply, Resolver, ResolverAnswer, ResolverAnswers
from cutover.probes.dns.engine import DEADLINE, Engine, Question, Target
from cutover.probes.dns.wire import MAX_CHAIN

MAX_HIDDEN = 4
"""Hops asked for one after the other where a resolver hides them; each may take a deadline of its own."""


async def poll(
    engine: Engine,
    members: Sequence[Resolver],
    questions: Sequence[tuple[str, str]],
    *,
    deadline: float = DEADLINE,
    clock: Clock | None = None,
) -> list[ResolverAnswers]:
    """Ask every member every ``(name, type)`` and return one observation a question, members in order.

    The engine's ``max_rate`` holds. The answer's own chain tells which hop is stale; only where a resolver ends
    its answer at a CNAME without saying what is behind it is the target asked for, at that same resolver.
    """
    clock = clock or SystemClock()
    targets = [Target.of(member) for member in members]
    batch = [Question(target, name, rtype, deadline=deadline) for name, rtype in questions for target in targets]
    replies = await engine.ask_all(batch)
    hidden = {i: target for i, reply in enumerate(replies) if (target := _hidden(reply, batch[i].rtype))}
    for _ in range(MAX_HIDDEN):
        if not hidden:
            break
        more = await engine.ask_all([batch[i]._replace(name=target) for i, target in hidden.items()])
        for i, reply in zip(hidden, more, strict=True):
            replies[i] = _joined(replies[i], reply, hidden[i])
        hidden = {i: target for i in hidden if (target := _hidden(replies[i], batch[i].rtype))}
    at = clock.now()
    width = len(members)
    return [
        ResolverAnswers(
            at=at,
            name=name,
            rtype=rtype,
            answers=tuple(
                ResolverAnswer(member.id, reply)
                for member, reply in zip(members, replies[k * width : (k + 1) * width], strict=True)
            ),
        )
        for k, (name, rtype) in enumerate(questions)
    ]


def stretched(members: Sequence[Resolver], questions: int, max_rate: float, interval: float) -> str:
    """Return why a round of so many questions takes longer than ``interval`` seconds, or "".

    Args:
        members: the panel that is polled.
        questions: how many names and types.
        max_rate: queries per second and operator; 0 is no limit.
        interval: seconds between rounds.
    """
    if not members or not max_rate:
        return ""
    operator, count = Counter(member.operator for member in members).most_common(1)[0]
    seconds = count * questions / max_rate
    if seconds <= interval:
        return ""
    return (
        f"{count} resolvers of {operator} x {questions} questions at {max_rate:g} a second (dns.max_rate) "
        f"take {seconds:.0f} s a round, longer than the interval of {interval:g} s"
    )


def _hidden(reply: Reply, rtype: str) -> str:
    """Return the CNAME target on which an answer is silent, or "".

    An SOA in the authority section says that the target has no such record (RFC 2308), NXDOMAIN that it does
    not exist: neither hides anything.
    """
    answer = reply.answer
    if reply.outcome is not Outcome.ANSWERED or reply.rcode != "NOERROR" or not answer or len(answer) >= MAX_CHAIN:
        return ""
    last = answer[-1]
    if rtype == "CNAME" or last.rtype != "CNAME" or any(record.rtype == "SOA" for record in reply.authority):
        return ""
    owners = {record.owner for record in answer}
    return "" if last.data in owners else last.data


def _joined(first: Reply, more: Reply, target: str) -> Reply:
    """Return the whole chain as one reply; how it ended is the later one's word."""
    return replace(
        more,
        answer=first.answer + more.answer,
        authoritative=first.authoritative,
        authenticated=first.authenticated and more.authenticated,
        milliseconds=first.milliseconds + more.milliseconds,
        dropped=first.dropped + more.dropped,
        error=f"{target}: {more.error}" if more.error else "",
    )
