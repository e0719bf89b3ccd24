"""``cutover watch``: live, until converged or interrupted."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from cutover.commands.session import Session
from cutover.durations import parse_duration
from cutover.errors import CutoverError
from cutover.evidence import Evidence
from cutover.finding import Phase
from cutover.ledger import Ledger
from cutover.plan import Plan
from cutover.report.files import write_atomically
from cutover.report.live import LiveView, round_line
from cutover.report.metrics import metrics_text
from cutover.report.notify import Notifier
from cutover.report.page import status_page
from cutover.report.verdict_text import headline, judged_json, judged_text
from cutover.rounds import Judgement, Rounds
from cutover.verdict import Exit
from cutover.watch import ends, until_stopped, watch

_HURRIED, _PATIENT = 5.0, 20.0
"""Seconds that the last notifications are waited for: a watch that ends by an alarm has time to tell it."""


class _View(Protocol):
    def show(self, judgement: Judgement) -> None: ...


@dataclass(frozen=True, slots=True)
class Files:
    """What is rewritten after every round, for others to read."""

    html: Path | None = None
    metrics: Path | None = None


def run(session: Session, *, once: bool, until_done: bool, timeout: str | None, reverse: bool, files: Files) -> int:
    """Watch; returns the code of the last round's verdict, 130 when interrupted.

    Raises:
        CutoverError: the options contradict each other.
    """
    if once and until_done:
        raise CutoverError("--once does not go with --until-done", "leave one of them out")
    limit = _limit(timeout)
    for path in filter(None, (files.html, files.metrics)):
        if not path.parent.is_dir():
            raise CutoverError(f"{path}: there is no folder {path.parent}", "make it first, or name another file")
        if path.is_dir():
            raise CutoverError(f"{path}: is a folder", "name a file in it")
    plan = session.plan()
    with session.open_ledger() as ledger:
        if reverse:
            plan = with_old_sides(plan, ledger).reversed()
        rounds = Rounds(
            plan,
            ledger,
            session.clock,
            command="watch",
            phase=Phase.WATCH,
            base_dir=session.base_dir,
            reverse=reverse,
        )
        writer = _Writer(session, rounds, files)
        return asyncio.run(_watch(session, rounds, writer, once=once, until_done=until_done, limit=limit))


async def _watch(
    session: Session, rounds: Rounds, writer: _Writer, *, once: bool, until_done: bool, limit: timedelta | None
) -> int:
    from cutover.probes.world import World

    stop = asyncio.Event()
    _stop_on_signals(stop)
    last: list[Judgement] = []

    rounds.catch_up()
    last_judged = rounds.evidence.story.standing
    notifier = Notifier(
        rounds.plan.notify,
        session.clock,
        session.base_dir,
        known=last_judged.verdict if last_judged is not None and last_judged.phase == rounds.phase.value else "",
        say=session.output.message,
    )

    async def work() -> None:
        say = session.output.progress if live is None else _silent
        async with World(rounds.plan, session.clock, session.base_dir, say=say, single=once) as world:
            every = rounds.plan.gate.interval
            async for judgement in watch(lambda: rounds.run(world), every=every, clock=session.clock, until=limit):
                last[:] = [judgement]
                view.show(judgement)
                writer.write(judgement)
                notifier.tell(judgement.judged)
                if ends(judgement, once=once, until_done=until_done):
                    return

    live = LiveView(rounds, session.output) if _is_live(session) and not once else None
    view: _View = live or _Lines(session, rounds, once=once)
    with live or nullcontext():
        stopped = await until_stopped(work(), stop)
        await notifier.close(_HURRIED if stopped else _PATIENT)
    if stopped:
        session.output.message(_last_word(session, last))
        return Exit.INTERRUPTED
    if live is not None and last:
        session.output.text(judged_text(last[0].judged, session.output.paint, verbosity=session.output.verbosity))
    return last[0].judged.exit_code if last else Exit.INCONCLUSIVE


def with_old_sides(plan: Plan, ledger: Ledger) -> Plan:
    """Return the plan with the old sides that an earlier preflight found, where it declares none.

    Raises:
        CutoverError: a name's old side is known to neither: a roll-back would have nowhere to go.
    """
    evidence = Evidence(plan, (observation for _, observation in ledger.read()))
    names = []
    for entry in plan.name:
        old = evidence.sides.of(entry.name).old
        if not old:
            raise CutoverError(
                f"{entry.name.rstrip('.')}: the old side is not known, so there is nowhere to roll back to",
                "add `old` to its [[name]]",
            )
        names.append(entry.model_copy(update={"old": old}))
    return plan.model_copy(update={"name": tuple(names)})


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows' event loops have none
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def _limit(timeout: str | None) -> timedelta | None:
    if timeout is None:
        return None
    try:
        limit = parse_duration(timeout)
    except ValueError as error:
        raise CutoverError(f"--timeout: {error}", "for example --timeout 2h") from None
    if limit <= timedelta(0):
        raise CutoverError("--timeout: must be longer than zero", "for example --timeout 2h")
    return limit


def _is_live(session: Session) -> bool:
    return sys.stdout.isatty() and not session.output.as_json and session.output.verbosity >= 0


def _last_word(session: Session, last: list[Judgement]) -> str:
    if not last:
        return "interrupted before the first round was judged: nothing is known"
    return f"interrupted: {headline(last[0].judged, session.output.paint)}; `cutover status` shows it again"


def _silent(_: str) -> None:
    """Say nothing: the live view is the progress."""


class _Writer:
    """Rewrites the page and the metrics; a file that cannot be written is said, and the watch goes on."""

    def __init__(self, session: Session, rounds: Rounds, files: Files) -> None:
        self._session = session
        self._rounds = rounds
        self._files = files

    def write(self, judgement: Judgement) -> None:
        judged = judgement.judged
        gate = self._rounds.plan.gate
        refresh = gate.interval.total_seconds()
        if self._files.html is not None:
            now = self._session.clock.now()
            story = self._rounds.evidence.story
            page = status_page(judged, story, now, refresh=refresh, eta=judgement.eta, soak=gate.soak)
            self._keep(self._files.html, page, mode=0o600)
        if self._files.metrics is not None:
            self._keep(self._files.metrics, metrics_text(judged), mode=0o644)

    def _keep(self, path: Path, text: str, *, mode: int) -> None:
        try:
            write_atomically(path, text, mode=mode)
        except CutoverError as error:
            self._session.output.message(f"cutover: {error.message}", verbosity=-9)


class _Lines:
    """One JSON object a round, or one line of text a change."""

    def __init__(self, session: Session, rounds: Rounds, *, once: bool) -> None:
        self._output = session.output
        self._rounds = rounds
        self._once = once
        self._before = ""

    def show(self, judgement: Judgement) -> None:
        if judgement.unkept:
            self._output.message(f"cutover: {judgement.unkept}")
        if self._output.as_json:
            form = judged_json(judgement.judged)
            self._output.result({**form, "eta": judgement.eta}, "")
            return
        if self._once:
            text = judged_text(judgement.judged, self._output.paint, verbosity=self._output.verbosity)
            self._output.text(text)
            return
        line = round_line(judgement)
        if line != self._before:
            self._before = line
            self._output.text(f"{judgement.judged.at:%H:%M:%S} UTC  {line}")
