"""``cutover checks`` and ``cutover explain``."""

from __future__ import annotations

import inspect
from importlib import resources
from pathlib import Path

from tabulate import tabulate

from cutover.check import Check, all_checks
from cutover.commands.session import Session, near
from cutover.errors import CutoverError
from cutover.finding import runbook_of
from cutover.verdict import Exit


def run_checks_list(session: Session) -> int:
    """Print every check."""
    checks = all_checks().values()
    form = {
        "checks": [
            {
                "id": x.id,
                "title": x.title,
                "severity": x.severity.value,
                "phases": [phase.value for phase in x.phases],
                "runbook": x.runbook,
            }
            for x in checks
        ]
    }
    rows = [(x.id, x.severity.value, " ".join(phase.value for phase in x.phases), x.title) for x in checks]
    session.output.result(form, tabulate(rows, headers=["check", "severity", "phases", "about"], tablefmt="simple"))
    return Exit.OK


def run_explain(session: Session, topic: str) -> int:
    """Print why a check exists, and its runbook; or another runbook by its name, also as findings name it (``.md``).

    Raises:
        CutoverError: there is neither.
    """
    topic = topic.removeprefix("runbooks/").removesuffix(".md")
    check = next((x for x in all_checks().values() if topic in {x.id, x.runbook.removesuffix(".md")}), None)
    page = _page(runbook_of(topic))
    if check is None and page is None:
        known = [*all_checks(), *(x.name.removesuffix(".md") for x in _folder().glob("*.md"))]
        raise CutoverError(f"{topic}: no such check or runbook", near(topic, known))
    form: dict[str, object] = {"topic": topic, "runbook": runbook_of(topic), "text": page or ""}
    if check is not None:
        form |= {"id": check.id, "title": check.title, "severity": check.severity.value, "why": _why(check)}
    text = "\n\n".join(x for x in (_heading(check), page) if x)
    if session.output.on_terminal:
        from cutover.report.markdown import print_markdown

        print_markdown(text, session.output)
    else:
        session.output.result(form, text)
    return Exit.OK


def _heading(check: Check | None) -> str:
    if check is None:
        return ""
    phases = ", ".join(phase.value for phase in check.phases)
    return f"{check.id} ({check.severity.value}; {phases}): {check.title}\n\n{_why(check)}"


def _why(check: Check) -> str:
    return inspect.cleandoc(check.why)


def _folder() -> Path:
    """Return where the runbooks lie: inside the package in a wheel, at the top of a source tree."""
    inside = Path(str(resources.files("cutover"))) / "runbooks"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent.parent / "runbooks"


def _page(name: str) -> str | None:
    path = _folder() / name
    return path.read_text(encoding="utf-8").rstrip() if path.parent == _folder() and path.is_file() else None
