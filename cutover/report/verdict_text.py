"""The first screen and its JSON form: verdict, why, until when, the one next command. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cutover.durations import iso, plan_duration, say_duration, say_instant
from cutover.finding import Finding, Status
from cutover.folds.soak import Soak
from cutover.observations.gate import Judged
from cutover.plan import Gate
from cutover.report.finding_text import Paint, findings_text
from cutover.verdict import Verdict, blockers, is_split_brain

_COLOUR = {
    Verdict.READY: "green",
    Verdict.CONVERGED: "green",
    Verdict.BLOCKED: "red",
    Verdict.CONVERGING: "yellow",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.SPLIT_BRAIN: "red",
}
_ALARM = ("cutover fence", "cutover reconcile --estimate", "cutover reconcile")
_ALARM_IN_ROLLBACK = ("cutover explain rollback",)
GATE, AFTERWARDS = "cutover done", "cutover report"
"""What to run once everything has converged: the gate signs off the way that the plan describes, not the way back."""
ROLL_BACK = "roll-back: “new” is the side that you go back to"


def alarm_commands(judged: Judged) -> tuple[str, ...]:
    """Return what to run now that both databases took writes.

    In a roll-back the plan's old is where users are led: to fence that would be to shut the side that is to live.
    """
    return _ALARM_IN_ROLLBACK if judged.reverse else _ALARM


def finding_json(finding: Finding) -> dict[str, object]:
    """Return one finding in the contract's form (DESIGN.md 6)."""
    form: dict[str, object] = {
        "check": finding.check,
        "status": finding.status.value,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "message": finding.message,
        "measured": dict(finding.measured),
        "runbook": finding.runbook,
    }
    if finding.fix:
        form["fix"] = finding.fix
    if finding.until:
        form["until"] = iso(finding.until)
    return form


def judged_json(judged: Judged) -> dict[str, object]:
    """Return a verdict in the contract's form (DESIGN.md 6)."""
    form: dict[str, object] = {
        "command": judged.command,
        "migration": judged.migration,
        "at": iso(judged.at),
        "verdict": judged.verdict,
        "exit_code": judged.exit_code,
        "safe_to_change_at": iso(judged.safe_to_change_at) if judged.safe_to_change_at else None,
        "not_before": iso(judged.not_before) if judged.not_before else None,
        "findings": [finding_json(x) for x in judged.findings],
    }
    if judged.phase == "watch":
        form |= {
            "soaked": {name.rstrip("."): seconds for name, seconds in judged.soaked.items()},
            "reverse": judged.reverse,
            **judged.summary,
        }
    return form


def headline(judged: Judged, paint: Paint) -> str:
    """Write names, verdict and exit code in one line; split-brain in red with what it means."""
    verdict = Verdict(judged.verdict)
    names = [name.rstrip(".") for name in judged.names]
    label = names[0] if len(names) == 1 else f"{judged.migration} ({len(names)} names)"
    word = paint(f"{verdict.value.upper()} ({judged.exit_code})", _COLOUR[verdict], "bold")
    return f"{label}   {word}"


def judged_text(judged: Judged, paint: Paint, *, verbosity: int = 0, soak: Mapping[str, str] | None = None) -> str:
    """Write the whole first screen."""
    lines: list[str] = []
    if is_split_brain(judged.findings):
        lines.append(paint("SPLIT-BRAIN: both databases took writes. Run now, in this order:", "red", "bold"))
        lines += [f"    {command}" for command in alarm_commands(judged)]
    lines.append(headline(judged, paint))
    lines += [ROLL_BACK] if judged.reverse else []
    lines += findings_text(judged.findings, judged.at, paint, verbosity=verbosity)
    for name, text in (soak or {}).items():
        lines.append(f"  soak {name.rstrip('.')}: {text}")
    lines += _only_time(judged)
    if judged.safe_to_change_at is not None and judged.verdict == Verdict.READY.value:
        lines.append(f"safe to change: {say_instant(judged.safe_to_change_at, judged.at)}")
    if judged.not_before is not None:
        lines.append(f"not before: {say_instant(judged.not_before, judged.at)}")
    lines.append(f"Next: {next_command(judged)}")
    return "\n".join(lines)


def _only_time(judged: Judged) -> list[str]:
    """Say why a round in which nothing fails has not converged: else nobody can tell what it waits for."""
    waits = blockers(judged.findings, Status.FAIL) or blockers(judged.findings, Status.INCONCLUSIVE)
    if judged.verdict != Verdict.CONVERGING.value or waits:
        return []
    open_for = dict.fromkeys(x.check for x in judged.findings if x.extends_soak)
    if open_for:
        return [f"Nothing fails, but the soak may not end yet: see {', '.join(open_for)} above"]
    held = say_duration(min(judged.soaked.values(), default=0.0))
    return [f"Nothing is missing but time: the soak has held {held}; `{_to_the_end(judged)}` completes it"]


def _to_the_end(judged: Judged) -> str:
    return f"cutover watch {'--reverse ' if judged.reverse else ''}--until-done"


def next_command(judged: Judged) -> str:
    """Return the one command to run next."""
    verdict = Verdict(judged.verdict)
    host = judged.names[0].rstrip(".") if judged.names else "NAME"
    match verdict:
        case Verdict.SPLIT_BRAIN:
            return alarm_commands(judged)[0]
        case Verdict.READY:
            return "change the records, then: cutover watch --until-done"
        case Verdict.CONVERGED:
            return GATE if judged.command == "watch" and not judged.reverse else AFTERWARDS
        case Verdict.CONVERGING:
            return _to_the_end(judged)
        case Verdict.BLOCKED | Verdict.INCONCLUSIVE:
            worst = blockers(judged.findings, Status.FAIL) or blockers(judged.findings, Status.INCONCLUSIVE)
            if any("--new" in x.message for x in judged.findings if x.status is Status.INCONCLUSIVE):
                return f"add new = [...] to {host} in the plan" if judged.planned else f"cutover init {host} --new ..."
            waiting = [x.until for x in worst if x.until is not None]
            if worst and len(waiting) == len(worst):
                again = f"{judged.command} --reverse" if judged.reverse else judged.command
                return f"cutover {again} (in {say_duration(max(waiting) - judged.at)})"
            return f"cutover explain {worst[0].check}" if worst else "cutover explain --help"


def soak_text(soak: Soak, gate: Gate, now: datetime) -> str:
    """Write the state of one soak."""
    if soak.completed_at is not None and now - soak.completed_at > gate.valid_for:
        age, valid_for = say_duration(now - soak.completed_at), plan_duration(gate.valid_for)
        return f"was complete {age} ago, too long to sign off (valid_for {valid_for})"
    if soak.completed_at is not None:
        return f"complete since {say_instant(soak.completed_at, now)}"
    text = f"{say_duration(soak.held)} of {say_duration(gate.soak)}"
    return f"{text} (last reset: {soak.reset_by})" if soak.reset_by else text
