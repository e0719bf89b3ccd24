"""``cutover done``: the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fnmatch import fnmatchcase

from cutover.check import all_checks
from cutover.commands.preflight import one_round
from cutover.commands.session import Session, near, split_values, who
from cutover.errors import CutoverError
from cutover.finding import Finding, Phase, Severity, Status
from cutover.ledger import Ledger
from cutover.observations.gate import Judged, Overridden, SignedOff
from cutover.plan import Plan
from cutover.report.finding_text import one_line
from cutover.report.verdict_text import judged_json, judged_text, soak_text
from cutover.rounds import Judgement, Rounds
from cutover.verdict import SPLIT_BRAIN, Exit, Verdict


def run(session: Session, *, pattern: str | None, override: Sequence[str] | None, reason: str | None) -> int:
    """Run a fresh round, accept a completed soak, sign off; or say what is missing.

    Raises:
        CutoverError: the pattern matches no name, an override names no check or lacks its reason.
    """
    overridden = _checked_override(split_values(override), reason)
    plan = session.plan()
    names = _matching(plan, pattern)
    with session.open_ledger() as ledger:
        rounds = Rounds(plan, ledger, session.clock, command="done", phase=Phase.WATCH, base_dir=session.base_dir)
        judgement = asyncio.run(one_round(session, rounds, names))
        if judgement.unkept:
            raise CutoverError(judgement.unkept, "nothing was signed off", exit_code=Exit.INCONCLUSIVE)
        return _decide(session, ledger, plan, judgement, overridden, reason or "")


def _decide(
    session: Session, ledger: Ledger, plan: Plan, judgement: Judgement, overridden: tuple[str, ...], reason: str
) -> int:
    judged, output = judgement.judged, session.output
    form = judged_json(judged)
    lines = [_text(session, plan, judgement)]
    code = judged.exit_code
    if judgement.verdict is Verdict.CONVERGED:
        sign_off = _sign_off(session, ledger, plan, judgement)
        form["signed_off"] = {
            "who": sign_off.who,
            "ledger_head": sign_off.ledger_head,
            "gate_changes": sign_off.gate_changes,
            "bound": sign_off.bound,
        }
        lines.append(f"Signed off by {sign_off.who}; ledger head {sign_off.ledger_head[:16]}. {sign_off.bound}")
        if sign_off.gate_changes:
            lines.append("Gate values that are not the default: " + _pairs(sign_off.gate_changes))
    if overridden:
        refused = _not_covered(judged, overridden)
        idle = _idle(judged, overridden)
        form["override"] = {
            "reason": reason,
            "who": who(),
            "checks": list(overridden),
            "recorded": not idle and not refused,
            "not_covered": list(refused),
        }
        if idle:
            lines.append(f"Nothing to override: {', '.join(idle)} does not stand in the way. Nothing was overridden.")
        elif refused:
            lines.append(f"The override does not cover: {', '.join(refused)}. Nothing was overridden.")
        else:
            _record_override(session, ledger, judged, overridden, reason)
            said = f"{who()}: {', '.join(overridden)}: {one_line(reason)}"
            lines.append(f"OVERRIDDEN by {said}. The verdict stands as it is.")
            code = int(Exit.OK)
            form["exit_code"] = code
    output.result(form, "\n".join(lines))
    return code


def _checked_override(checks: Sequence[str], reason: str | None) -> tuple[str, ...]:
    if not checks:
        if reason is not None:
            raise CutoverError("--reason goes with --override", "name the check that you override")
        return ()
    for check in checks:
        if check not in all_checks():
            raise CutoverError(f"--override {check}: no such check", near(check, all_checks()))
    if SPLIT_BRAIN in checks:
        raise CutoverError("split-brain cannot be overridden", "cutover fence, then cutover reconcile")
    if not (reason or "").strip():
        raise CutoverError("--override needs --reason", 'add --reason "why this is safe"; it stays in every report')
    return tuple(dict.fromkeys(checks))


def _matching(plan: Plan, pattern: str | None) -> tuple[str, ...]:
    if pattern is None:
        return plan.names
    names = tuple(x for x in plan.names if fnmatchcase(x.rstrip("."), pattern.lower().rstrip(".")))
    if not names:
        known = ", ".join(x.rstrip(".") for x in plan.names)
        raise CutoverError(f"--name {pattern}: matches none of the plan's names", f"the plan has {known}")
    return names


def _not_covered(judged: Judged, overridden: Sequence[str]) -> tuple[str, ...]:
    """Return the blockers that stand in the way and were not named; an incomplete soak is not one of them."""
    if judged.verdict == Verdict.SPLIT_BRAIN.value:
        return (SPLIT_BRAIN,)
    left = [
        x
        for x in judged.findings
        if x.check not in overridden
        and x.severity is Severity.BLOCKER
        and x.status in {Status.FAIL, Status.INCONCLUSIVE}
    ]
    return tuple(dict.fromkeys(x.check for x in left))


def _idle(judged: Judged, overridden: Sequence[str]) -> tuple[str, ...]:
    """Return the checks to override when none of them stands in the way: the soak alone cannot be waived by name."""
    standing = {
        x.check
        for x in judged.findings
        if x.severity is Severity.BLOCKER and (x.status in {Status.FAIL, Status.INCONCLUSIVE} or x.extends_soak)
    }
    return () if standing & set(overridden) else tuple(overridden)


def _sign_off(session: Session, ledger: Ledger, plan: Plan, judgement: Judgement) -> SignedOff:
    judged = judgement.judged
    entry = SignedOff(
        at=session.clock.now(),
        names=judged.names,
        plan_hash=judged.plan_hash,
        ledger_head=ledger.head().hash,
        gate_changes=plan.gate.changed_from_default(),
        bound=_bound(judged.findings),
        who=who(),
    )
    ledger.append([entry])
    return entry


def _bound(findings: Sequence[Finding]) -> str:
    """Say what was not seen (rule of three: 0 of N seen means at most 3/N at 95 % confidence)."""
    parts: list[str] = []
    for finding in findings:
        if finding.check == "traffic.converged" and finding.status is Status.PASS:
            bound = finding.measured.get("bound")
            if isinstance(bound, float | int):
                parts.append(f"at most {bound:.3%} of {finding.subject} at 95 % confidence")
    if not any(x.check == "traffic.converged" and x.status is Status.PASS for x in findings):
        parts.append("no traffic was measured: how many users still reach old is not known")
    return "Not seen: " + "; ".join(parts) if parts else "Every request in the window was counted"


def _record_override(
    session: Session, ledger: Ledger, judged: Judged, overridden: tuple[str, ...], reason: str
) -> None:
    ledger.append(
        [
            Overridden(
                at=session.clock.now(),
                checks=overridden,
                reason=reason,
                who=who(),
                verdict=judged.verdict,
                plan_hash=judged.plan_hash,
                ledger_head=ledger.head().hash,
                names=judged.names,
            )
        ]
    )


def _text(session: Session, plan: Plan, judgement: Judgement) -> str:
    judged, output = judgement.judged, session.output
    soaks = {name: soak_text(soak, plan.gate, judged.at) for name, soak in judgement.soaks.items()}
    return judged_text(judged, output.paint, verbosity=output.verbosity, soak=soaks)


def _pairs(values: object) -> str:
    items = values.items() if isinstance(values, dict) else ()
    return ", ".join(f"{key} = {value}" for key, value in items)
