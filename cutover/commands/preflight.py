"""``cutover preflight``: may we cut over?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cutover.commands.session import Session, split_values
from cutover.finding import Phase
from cutover.report.verdict_text import judged_json, judged_text
from cutover.rounds import Judgement, Rounds


def run(session: Session, name: str | None, old: Sequence[str] | None, new: Sequence[str] | None) -> int:
    """Run one round of the phase before the change, and print the first screen."""
    sides = split_values(old), split_values(new)
    plan = session.with_sides(session.plan(), *sides) if name is None else session.plan_for(name, *sides)
    with session.open_ledger() as ledger:
        rounds = Rounds(
            plan,
            ledger,
            session.clock,
            command="preflight",
            phase=Phase.PREFLIGHT,
            base_dir=session.base_dir,
            planned=session.has_plan,
        )
        judgement = asyncio.run(one_round(session, rounds))
    judged = judgement.judged
    if judgement.unkept:
        session.output.message(f"cutover: {judgement.unkept}")
    output = session.output
    output.result(judged_json(judged), judged_text(judged, output.paint, verbosity=output.verbosity))
    return judged.exit_code


async def one_round(session: Session, rounds: Rounds, names: Sequence[str] | None = None) -> Judgement:
    """Open the world for a single round."""
    from cutover.probes.world import World

    async with World(rounds.plan, session.clock, session.base_dir, say=session.output.progress, single=True) as world:
        judgement = await rounds.run(world, names=names)
    session.output.progress("")
    return judgement
