"""Findings -> verdict -> exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum

from cutover.finding import Finding, Phase, Severity, Status

SPLIT_BRAIN = "database.split-brain"


class Exit(IntEnum):
    """Exit codes, as documented (DESIGN.md 3)."""

    OK = 0
    BUG = 1
    USAGE = 2
    NOT_SAFE = 3
    INCONCLUSIVE = 4
    SPLIT_BRAIN = 5
    INTERRUPTED = 130


class Verdict(StrEnum):
    """What the findings add up to."""

    READY = "ready"
    BLOCKED = "blocked"
    CONVERGED = "converged"
    CONVERGING = "converging"
    INCONCLUSIVE = "inconclusive"
    SPLIT_BRAIN = "split-brain"

    @property
    def exit_code(self) -> Exit:
        """The exit code that says the same."""
        match self:
            case Verdict.READY | Verdict.CONVERGED:
                return Exit.OK
            case Verdict.BLOCKED | Verdict.CONVERGING:
                return Exit.NOT_SAFE
            case Verdict.INCONCLUSIVE:
                return Exit.INCONCLUSIVE
            case Verdict.SPLIT_BRAIN:
                return Exit.SPLIT_BRAIN


def blockers(findings: Iterable[Finding], status: Status) -> tuple[Finding, ...]:
    """Return the blocker findings of one status."""
    return tuple(x for x in findings if x.severity is Severity.BLOCKER and x.status is status)


def for_name(findings: Iterable[Finding], name: str) -> tuple[Finding, ...]:
    """Return the findings that bear on one name: its own and those that concern all."""
    return tuple(x for x in findings if x.name in {"", name})


def worst(findings: Sequence[Finding]) -> Status:
    """Return what the blockers say together; no blocker that passed or failed at all is inconclusive.

    A skip is no evidence: a plan that has nothing to look at does not pass.
    """
    if blockers(findings, Status.FAIL):
        return Status.FAIL
    if blockers(findings, Status.INCONCLUSIVE) or not blockers(findings, Status.PASS):
        return Status.INCONCLUSIVE
    return Status.PASS


def is_split_brain(findings: Iterable[Finding]) -> bool:
    """Tell whether both databases were seen to take writes."""
    return any(x.check == SPLIT_BRAIN and x.status is Status.FAIL for x in findings)


def judge(phase: Phase, findings: Sequence[Finding], *, soaked: bool = False) -> Verdict:
    """Add the findings up.

    Args:
        phase: which words to use.
        findings: of one round, every check's.
        soaked: every name has held for the whole soak (watch and done only).
    """
    if is_split_brain(findings):
        return Verdict.SPLIT_BRAIN
    status = worst(findings)
    if status is Status.INCONCLUSIVE:
        return Verdict.INCONCLUSIVE
    if phase is Phase.PREFLIGHT:
        return Verdict.READY if status is Status.PASS else Verdict.BLOCKED
    return Verdict.CONVERGED if status is Status.PASS and soaked else Verdict.CONVERGING
