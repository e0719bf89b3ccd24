"""The registry: ids from paths, a page for each check, and no check that can look clean by breaking."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cutover import check as check_module
from cutover.check import Check, Outcome, all_checks, passed, run_checks
from cutover.evidence import Evidence
from cutover.finding import Phase, Severity, Status
from cutover.plan import Name, Plan

ROOT = Path(__file__).parents[2]
NOW = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)
PLAN = Plan(name=(Name(name="app.example.com"),))


def test_ids_derive_from_paths_and_every_file_is_a_check() -> None:
    files = {
        f"{path.parent.name}.{path.stem.replace('_', '-')}"
        for path in (ROOT / "checks").glob("*/*.py")
        if not path.stem.startswith("_")
    }
    assert files == set(all_checks())


def test_every_check_has_its_page_with_the_five_headings_and_says_why() -> None:
    for one in all_checks().values():
        page = ROOT / "runbooks" / one.runbook
        assert page.is_file(), f"{one.id} has no runbook"
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {one.id}"), one.runbook
        headings = [line for line in text.splitlines() if line.startswith("## ")]
        assert headings == [
            "## What it means",
            "## Why it matters",
            "## See it yourself",
            "## Fix it",
            "## Know that it is fixed",
        ], one.runbook
        assert one.why, f"{one.id} has no docstring"


def test_with_no_evidence_at_all_no_check_passes() -> None:
    evidence = Evidence(PLAN)
    evidence.begin(NOW)
    for phase in Phase:
        findings = run_checks(phase, PLAN, evidence, NOW)
        assert findings
        assert not [x for x in findings if x.status is Status.PASS and x.severity is Severity.BLOCKER]
        assert not [x for x in findings if "the check itself failed" in x.message]


def broken(*_: object) -> Iterator[Outcome]:
    yield passed("x", "looks fine so far")
    raise RuntimeError("lost the thread")


def silent(*_: object) -> list[Outcome]:
    return []


@pytest.mark.parametrize(("function", "says"), [(broken, "RuntimeError: lost the thread"), (silent, "said nothing")])
def test_a_check_that_breaks_or_says_nothing_is_inconclusive(
    monkeypatch: pytest.MonkeyPatch, function: check_module.CheckFunction, says: str
) -> None:
    one = Check("x.y", "t", Severity.BLOCKER, (Phase.WATCH,), function)
    monkeypatch.setattr(check_module, "all_checks", lambda: {"x.y": one})
    (finding,) = run_checks(Phase.WATCH, PLAN, Evidence(PLAN), NOW)
    assert finding.status is Status.INCONCLUSIVE
    assert finding.check == "x.y"
    assert says in finding.message
    assert finding.runbook == "x-y.md"
