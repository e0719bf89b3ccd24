"""Findings add up to one verdict: 5 over 3 over 4, and nothing seen is never a pass."""

from __future__ import annotations

import pytest

from cutover.finding import Finding, Phase, Severity, Status
from cutover.verdict import Verdict, judge


def finding(status: Status, severity: Severity = Severity.BLOCKER, check: str = "x.y") -> Finding:
    return Finding(check=check, status=status, severity=severity, subject="s", message="m")


P, F, U, W, S = Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.SKIP


@pytest.mark.parametrize(
    ("statuses", "preflight", "watch"),
    [
        ([], Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        ([S, S], Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        ([W], Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        ([P], Verdict.READY, Verdict.CONVERGED),
        ([P, S, W], Verdict.READY, Verdict.CONVERGED),
        ([P, U], Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        ([P, U, F], Verdict.BLOCKED, Verdict.CONVERGING),
        ([F], Verdict.BLOCKED, Verdict.CONVERGING),
    ],
)
def test_blockers_decide(statuses: list[Status], preflight: Verdict, watch: Verdict) -> None:
    findings = [finding(status) for status in statuses]
    assert judge(Phase.PREFLIGHT, findings) is preflight
    assert judge(Phase.WATCH, findings, soaked=True) is watch


def test_only_blockers_count() -> None:
    weightless = [finding(F, Severity.WARNING), finding(U, Severity.INFO)]
    assert judge(Phase.PREFLIGHT, weightless) is Verdict.INCONCLUSIVE
    assert judge(Phase.PREFLIGHT, [*weightless, finding(P)]) is Verdict.READY


def test_an_incomplete_soak_is_converging_only_when_nothing_is_inconclusive() -> None:
    assert judge(Phase.WATCH, [finding(P)], soaked=False) is Verdict.CONVERGING
    assert judge(Phase.WATCH, [finding(P), finding(U)], soaked=False) is Verdict.INCONCLUSIVE


def test_split_brain_wins_over_all() -> None:
    findings = [finding(F), finding(U), finding(F, check="database.split-brain")]
    assert judge(Phase.WATCH, findings, soaked=True) is Verdict.SPLIT_BRAIN
    assert Verdict.SPLIT_BRAIN.exit_code == 5
    assert judge(Phase.WATCH, [finding(P), finding(U, check="database.split-brain")]) is Verdict.INCONCLUSIVE
