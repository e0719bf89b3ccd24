"""``cutover status`` and ``cutover report``: what the ledger says, offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from tabulate import tabulate

from cutover.commands.session import Session
from cutover.durations import iso, say_instant
from cutover.errors import CutoverError
from cutover.evidence import Evidence
from cutover.folds.story import Story
from cutover.ledger import Ledger
from cutover.observations.base import Observation
from cutover.observations.gate import Judged
from cutover.report.files import write_atomically
from cutover.report.finding_text import one_line
from cutover.report.page import status_page
from cutover.report.verdict_text import judged_json, judged_text
from cutover.rounds import Rounds
from cutover.verdict import is_split_brain


def run_status(session: Session) -> int:
    """Print the last verdict and what was decided since; ends with that verdict's code."""
    with session.open_ledger(readonly=True) as ledger:
        story = _read(ledger, None)
        head = ledger.head().hash
    last = _last(session, story)
    now = session.clock.now()
    form = {**judged_json(last), "command": "status", "judged_by": last.command, "ledger_head": head}
    form |= _decisions(story)
    lines = [
        f"as of {say_instant(last.at, now)}, by cutover {last.command}",
        judged_text(last, session.output.paint, verbosity=session.output.verbosity),
    ]
    if is_split_brain(last.findings):
        lines.reverse()  # the alarm is the first line of everything
    lines += [*_part_lines(story, now), *_decision_lines(story, now)]
    session.output.result(form, "\n".join(lines))
    return last.exit_code


def run_report(session: Session, at: datetime | None, html: Path | None) -> int:
    """Print what was seen and decided, up to an instant; ends with the code of the verdict shown.

    Args:
        session: the options.
        at: the instant, None for now.
        html: also write it as a page.
    """
    with session.open_ledger(readonly=True) as ledger:
        story = _read(ledger, at)
        head = ledger.head(at).hash
        last = _last(session, story)
        replayed = _replay(session, ledger, last)
    now = at or session.clock.now()
    form = {**judged_json(last), "command": "report", "judged_by": last.command, "rounds": story.rounds}
    form["timeline"] = [{"at": iso(x.at), "command": x.command, "verdict": x.verdict} for x in story.turns]
    form |= {"ledger_head": head, "replayed": replayed, **_decisions(story)}
    rows = [(f"{x.at:%Y-%m-%d %H:%M:%S}Z", x.command, x.verdict, _why(x)) for x in story.turns]
    lines = [
        f"{last.migration}: {story.rounds} rounds, {len(story.turns)} verdicts; ledger head {head[:16]}",
        tabulate(rows, headers=["at", "command", "verdict", "because of"], tablefmt="simple"),
        *_part_lines(story, now),
        *_decision_lines(story, now),
        "",
        judged_text(last, session.output.paint, verbosity=session.output.verbosity),
    ]
    if replayed is not None:
        lines.append(
            f"Judged anew from the ledger: {replayed}" + (" (the same)" if replayed == last.verdict else " (DIFFERS)")
        )
    if html is not None:
        soak = session.plan().gate.soak if replayed is not None else None
        page = status_page(last, story, now, refresh=None, soak=soak, ledger_head=head, replayed=replayed)
        write_atomically(html, page)
        form["html"] = str(html)
        lines.append(f"wrote {html}")
    session.output.result(form, "\n".join(lines))
    return last.exit_code


def _read(ledger: Ledger, until: datetime | None) -> Story:
    story = Story()
    for observation in _entries(ledger, until):
        story.add(observation)
    return story


def _entries(ledger: Ledger, until: datetime | None) -> Iterator[Observation]:
    for _, observation in ledger.read(until=until):
        yield observation


def _last(session: Session, story: Story) -> Judged:
    if story.standing is None:
        raise CutoverError(
            f"{session.ledger_path}: nothing was judged by then",
            "run `cutover preflight` or `cutover watch` first",
            exit_code=4,
        )
    return story.standing


def _replay(session: Session, ledger: Ledger, last: Judged) -> str | None:
    """Judge the last round again from what the ledger holds; None when the plan is not the one that judged it.

    A plan that cannot be read (any more) is another one: what was decided is told without it.
    """
    try:
        plan = session.plan()
    except CutoverError:
        return None
    plan = plan.reversed() if last.reverse else plan
    if plan.hash() != last.plan_hash or not set(last.names) <= set(plan.names):
        return None
    from cutover.finding import Phase

    rounds = Rounds(
        plan, ledger, session.clock, command=last.command, phase=Phase(last.phase), base_dir=session.base_dir
    )
    rounds.evidence = Evidence(plan)
    rounds.evidence.phase = rounds.phase
    for _, observation in ledger.read():
        if observation == last:
            break
        rounds.evidence.add(observation)
    rounds.evidence.began = last.began
    rounds.evidence.settle()
    return rounds.judge(last.began, last.at, last.names).verdict.value


def _decisions(story: Story) -> dict[str, object]:
    return {
        "overrides": [
            {
                "at": iso(x.at),
                "names": _shown(x.names),
                "checks": list(x.checks),
                "reason": x.reason,
                "who": x.who,
                "verdict": x.verdict,
            }
            for x in story.overrides
        ],
        "signed_off": [
            {
                "at": iso(x.at),
                "names": _shown(x.names),
                "who": x.who,
                "ledger_head": x.ledger_head,
                "gate_changes": dict(x.gate_changes),
                "bound": x.bound,
            }
            for x in story.sign_offs
        ],
    }


def _part_lines(story: Story, now: datetime) -> list[str]:
    """Say that a part of the names was found to have converged since."""
    part = story.last
    if part is None or part is story.standing:
        return []
    return [f"since then, of {', '.join(_shown(part.names))} alone: {part.verdict} ({say_instant(part.at, now)})"]


def _decision_lines(story: Story, now: datetime) -> list[str]:
    lines = [
        f"OVERRIDDEN {say_instant(x.at, now)} by {one_line(x.who)}: {', '.join(x.checks)}: {one_line(x.reason)} "
        f"(verdict then: {x.verdict}{_of(x.names)})"
        for x in story.overrides
    ]
    return lines + [
        f"signed off {say_instant(x.at, now)} by {one_line(x.who)}: {', '.join(_shown(x.names))}. {x.bound}"
        for x in story.sign_offs
    ]


def _of(names: Iterable[str]) -> str:
    shown = ", ".join(_shown(names))
    return f", of {shown}" if shown else ""


def _shown(names: Iterable[str]) -> list[str]:
    return [name.rstrip(".") for name in names]


def _why(judged: Judged) -> str:
    from cutover.finding import Severity, Status

    ids = [
        x.check
        for status in (Status.FAIL, Status.INCONCLUSIVE)
        for x in judged.findings
        if x.status is status and x.severity is Severity.BLOCKER
    ]
    return ", ".join(list(dict.fromkeys(ids))[:3])
