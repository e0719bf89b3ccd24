"""Findings and verdicts as lines for people. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cutover.durations import say_instant
from cutover.finding import Finding, Severity, Status

MARKS = {Status.FAIL: "✗", Status.INCONCLUSIVE: "?", Status.WARN: "!", Status.PASS: "✓", Status.SKIP: "-"}
_COLOUR = {
    Status.FAIL: "red",
    Status.INCONCLUSIVE: "yellow",
    Status.WARN: "yellow",
    Status.PASS: "green",
    Status.SKIP: "dim",
}
_ORDER = [Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.SKIP, Status.PASS]

Paint = Callable[..., str]


def shown(finding: Finding) -> Status:
    """Return the status that people are shown: what fails but does not block looks like a warning."""
    failing = finding.status is Status.FAIL
    return Status.WARN if failing and finding.severity is not Severity.BLOCKER else finding.status


def clean(text: str) -> str:
    """Make text from the network safe for a terminal: no control characters (ECMA-48 sequences included)."""
    return "".join(x if x.isprintable() or x == "\n" else "�" for x in text)


def one_line(text: str) -> str:
    """Make text safe for a terminal and keep it on its line: a second one could be taken for the tool's own word."""
    return clean(text.replace("\n", " "))


def finding_lines(finding: Finding, now: datetime, paint: Paint, *, with_id: bool = True) -> list[str]:
    """Write one finding: mark, subject, message, until when; the fix below it."""
    colour = _COLOUR[finding.status] if finding.severity is Severity.BLOCKER else "dim"
    subject = f"{finding.subject}: " if finding.subject else ""
    until = f" -> {say_instant(finding.until, now)}" if finding.until else ""
    where = f"  [{finding.check}]" if with_id else ""
    mark = MARKS[shown(finding)]
    lines = [f"{paint(mark, colour)} {one_line(subject + finding.message)}{until}{paint(where, 'dim')}"]
    if finding.fix and finding.status is not Status.PASS:
        lines.append(f"    run: {clean(finding.fix)}")
    return lines


def findings_text(findings: Sequence[Finding], now: datetime, paint: Paint, *, verbosity: int = 0) -> list[str]:
    """Write findings, worst first.

    Blockers that fail or cannot be seen come first; what passed is a count unless asked for; what the plan does
    not have is always named.
    """
    lines: list[str] = []
    for status in (Status.FAIL, Status.INCONCLUSIVE, Status.WARN):
        for finding in _weightiest_first(x for x in findings if x.status is status):
            lines += finding_lines(finding, now, paint)
    passes = [x for x in findings if x.status is Status.PASS]
    if verbosity > 0:
        for finding in passes:
            lines += finding_lines(finding, now, paint)
    elif passes:
        lines.append(f"{paint(MARKS[Status.PASS], 'green')} {len(passes)} passed (-v lists them)")
    skips = [x for x in findings if x.status is Status.SKIP]
    if verbosity > 0:
        for finding in skips:
            lines += finding_lines(finding, now, paint)
    elif skips:
        judged = {x.check for x in findings if x.status is not Status.SKIP}
        ids = ", ".join(dict.fromkeys(f"{x.check} ({x.subject})" if x.check in judged else x.check for x in skips))
        lines += textwrap.wrap(f"- not in the plan: {ids}", width=100, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _weightiest_first(findings: Iterable[Finding]) -> list[Finding]:
    weight = {Severity.BLOCKER: 0, Severity.WARNING: 1, Severity.INFO: 2}
    return sorted(findings, key=lambda x: weight[x.severity])
