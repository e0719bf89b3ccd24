"""Checks: what they are, what they return, and the registry that finds them.

A check is a pure function in ``checks/<room>/<name>.py``, marked with :func:`check`. Its id, its runbook and
its place all derive from that path: ``checks/dns/ttl_lowered.py`` is ``dns.ttl-lowered``, explained by
``runbooks/dns-ttl-lowered.md``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from cutover.finding import Finding as Finding
from cutover.finding import Phase as Phase
from cutover.finding import Severity as Severity
from cutover.finding import Status as Status
from cutover.finding import runbook_of as runbook_of

if TYPE_CHECKING:
    from cutover.evidence import Evidence
    from cutover.plan import Plan


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finding before the runner has stamped the check's id and severity on it."""

    status: Status
    subject: str
    message: str
    measured: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    fix: str = ""
    until: datetime | None = None
    severity: Severity | None = None
    extends_soak: bool = False

    def informing(self) -> Outcome:
        """Return the same outcome as information: said, but without weight in the verdict."""
        return replace(self, severity=Severity.INFO)


CheckFunction = Callable[["Plan", "Evidence", datetime], Iterable[Outcome]]


@dataclass(frozen=True, slots=True)
class Check:
    """One registered check."""

    id: str
    title: str
    severity: Severity
    phases: tuple[Phase, ...]
    function: CheckFunction

    @property
    def runbook(self) -> str:
        """File name of its page."""
        return runbook_of(self.id)

    @property
    def why(self) -> str:
        """Its docstring."""
        return self.function.__doc__ or ""


_REGISTRY: dict[str, Check] = {}


def check(*, title: str, severity: Severity, phases: tuple[Phase, ...]) -> Callable[[CheckFunction], CheckFunction]:
    """Register a check; its id comes from the module's path below ``cutover.checks``."""

    def register(function: CheckFunction) -> CheckFunction:
        room, name = function.__module__.split(".")[-2:]
        check_id = f"{room}.{name.replace('_', '-')}"
        _REGISTRY[check_id] = Check(check_id, title, severity, phases, function)
        return function

    return register


@cache
def all_checks() -> Mapping[str, Check]:
    """Import every module below ``cutover.checks`` and return the checks by id, sorted."""
    import cutover.checks

    for module in pkgutil.walk_packages(cutover.checks.__path__, "cutover.checks."):
        if not module.name.rsplit(".", 1)[-1].startswith("_"):
            importlib.import_module(module.name)
    return dict(sorted(_REGISTRY.items()))


def run_checks(phase: Phase, plan: Plan, evidence: Evidence, now: datetime) -> tuple[Finding, ...]:
    """Run every check of a phase. One that raises, or says nothing, is inconclusive."""
    evidence.phase = phase
    findings: list[Finding] = []
    for one in all_checks().values():
        if phase in one.phases:
            findings.extend(_run(one, plan, evidence, now))
    return tuple(findings)


def _run(one: Check, plan: Plan, evidence: Evidence, now: datetime) -> list[Finding]:
    try:
        outcomes = list(one.function(plan, evidence, now))
    except Exception as error:  # noqa: BLE001 - the one boundary: a broken check must never look like a clean one
        outcomes = [unknown(one.id, f"the check itself failed: {type(error).__name__}: {error}")]
    if not outcomes:
        outcomes = [unknown(one.id, "the check said nothing")]
    return [
        Finding(
            check=one.id,
            status=outcome.status,
            severity=outcome.severity or one.severity,
            subject=outcome.subject,
            message=outcome.message,
            measured=outcome.measured,
            name=outcome.name,
            fix=outcome.fix,
            until=outcome.until,
            extends_soak=outcome.extends_soak,
        )
        for outcome in outcomes
    ]


def passed(subject: str, message: str, *, name: str = "", **measured: object) -> Outcome:
    """Say that a condition was seen to hold."""
    return Outcome(Status.PASS, subject, message, measured, name)


def warned(subject: str, message: str, *, name: str = "", fix: str = "", **measured: object) -> Outcome:
    """Say that a person should look, without stopping anything."""
    return Outcome(Status.WARN, subject, message, measured, name, fix)


def failed(
    subject: str,
    message: str,
    *,
    name: str = "",
    fix: str = "",
    until: datetime | None = None,
    **measured: object,
) -> Outcome:
    """Say that a condition was seen not to hold."""
    return Outcome(Status.FAIL, subject, message, measured, name, fix, until)


def extended(subject: str, message: str, *, name: str = "", **measured: object) -> Outcome:
    """Say that nothing is wrong so far, but too little was seen for the soak to end."""
    return Outcome(Status.WARN, subject, message, measured, name, extends_soak=True)


def unknown(subject: str, message: str, *, name: str = "", fix: str = "", **measured: object) -> Outcome:
    """Say that a condition could not be seen, and why."""
    return Outcome(Status.INCONCLUSIVE, subject, message, measured, name, fix)


def skipped(subject: str, message: str, *, name: str = "") -> Outcome:
    """Say that the plan does not have what the check looks at."""
    return Outcome(Status.SKIP, subject, message, {}, name)
