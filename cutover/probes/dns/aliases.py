"""What an alias record hides: the target whose addresses a resolver gives under the name itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cutover.answers import addresses_in
from cutover.observations.dns import Reply, Resolver, ResolverAnswers
from cutover.probes.dns.engine import DEADLINE, Engine, Question, Target

TargetsOf = Callable[[str, str, Reply], Mapping[str, str]]
"""The targets that may stand behind a reply to ``(name, type)``, and the side of each."""


async def uncover(
    engine: Engine,
    members: Sequence[Resolver],
    seen: Sequence[ResolverAnswers],
    targets_of: TargetsOf,
    *,
    deadline: float = DEADLINE,
) -> list[ResolverAnswers]:
    """Ask the same resolver for the targets that an answer may hide, and note the one that gives the same addresses.

    Only that resolver can tell: a content network gives each of them other addresses. Where targets of both sides
    have them, nothing is told.

    Args:
        engine: asks.
        members: whom ``seen`` was asked of, in the same order.
        seen: a round's answers.
        targets_of: which targets to compare an answer with; most have none.
        deadline: seconds for each question.
    """
    places = [
        (number, position, target, side)
        for number, asked in enumerate(seen)
        for position, given in enumerate(asked.answers)
        for target, side in targets_of(asked.name, asked.rtype, given.reply).items()
    ]
    questions = [
        Question(Target.of(members[position]), target, seen[number].rtype, deadline=deadline)
        for number, position, target, _ in places
    ]
    found: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for (number, position, target, side), reply in zip(places, await engine.ask_all(questions), strict=True):
        rtype = seen[number].rtype
        mine = set(addresses_in(seen[number].answers[position].reply.answer, rtype))
        if mine and mine <= set(addresses_in(reply.answer, rtype)):
            found[number, position].setdefault(side, target)
    alias = {place: next(iter(by_side.values())) for place, by_side in found.items() if len(by_side) == 1}
    return [
        replace(
            asked,
            answers=tuple(
                given._replace(alias=alias.get((number, position), "")) for position, given in enumerate(asked.answers)
            ),
        )
        for number, asked in enumerate(seen)
    ]
