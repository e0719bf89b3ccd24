"""The live view of ``watch``: a pure frame of the last judgement, and the thing that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cutover.answers import Answer
from cutover.check import Severity, Status
from cutover.durations import say_duration, say_instant
from cutover.observations.gate import Judged
from cutover.output import Output
from cutover.report.finding_text import MARKS, clean
from cutover.rounds import Judgement, Rounds
from cutover.verdict import Verdict, blockers, is_split_brain

_STYLE = {
    Answer.NEW: "green",
    Answer.OLD: "red",
    Answer.MIXED: "red",
    Answer.OTHER: "yellow",
}
_VERDICT_STYLE = {
    Verdict.CONVERGED: "bold green",
    Verdict.CONVERGING: "bold yellow",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.SPLIT_BRAIN: "bold white on red",
}
_BAR = 24
_ROWS = 12


def round_line(judgement: Judgement) -> str:
    """Write one round as one line: it changes only when something that matters does."""
    judged = judgement.judged
    missing = [
        x.check for x in (*blockers(judged.findings, Status.FAIL), *blockers(judged.findings, Status.INCONCLUSIVE))
    ]
    counts = ", ".join(f"{name.rstrip('.')} {_counts_text(rows)}" for name, rows in _rows_by_name(judged).items())
    parts = [judged.verdict, counts, "waits for " + ", ".join(dict.fromkeys(missing)) if missing else ""]
    return "; ".join(x for x in parts if x)


def frame(judgement: Judgement, soak_seconds: float, now: datetime, width: int) -> RenderableType:
    """Draw one frame. Pure.

    Args:
        judgement: the last round.
        soak_seconds: ``gate.soak``.
        now: the present instant, for distances.
        width: of the terminal, columns.
    """
    judged = judgement.judged
    parts: list[RenderableType] = []
    if is_split_brain(judged.findings):
        parts.append(Text("SPLIT-BRAIN: both databases took writes. Run: cutover fence", "bold white on red"))
    head = Text(f"{judged.migration}  ", "bold")
    head.append(f" {judged.verdict.upper()} ", _VERDICT_STYLE.get(Verdict(judged.verdict), "bold"))
    head.append(f"  round ended {judged.at:%H:%M:%S} UTC", "dim")
    parts.append(head)
    parts.append(_names_table(judgement, soak_seconds, width))
    old = _old_rows(judged)
    if old:
        parts.append(_old_table(old, now))
    parts.append(_origins_line(judged))
    parts += _missing_lines(judged, now)
    if judged.not_before is not None:
        parts.append(Text(f"not before: {say_instant(judged.not_before, now)}"))
    if judgement.eta is not None:
        parts.append(Text(f"done at the earliest: {say_instant(judgement.eta, now)}", "bold"))
    if judgement.unkept:
        parts.append(Text(f"NOT KEPT: {judgement.unkept}", "bold red"))
    return Group(*parts)


class LiveView:
    """Shows frames in place on a terminal."""

    def __init__(self, rounds: Rounds, output: Output) -> None:
        self._rounds = rounds
        self._console = Console(no_color=not output.colour, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveView:
        self._live.start()
        self._live.update(Text("first round under way ..."), refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, judgement: Judgement) -> None:
        """Show the frame of one judgement."""
        soak = self._rounds.plan.gate.soak.total_seconds()
        now = self._rounds.clock.now()
        self._live.update(frame(judgement, soak, now, self._console.width), refresh=True)


def _rows_by_name(judged: Judged) -> Mapping[str, Sequence[Mapping[str, object]]]:
    rows = judged.summary.get("resolvers", [])
    found: dict[str, list[Mapping[str, object]]] = {name: [] for name in judged.names}
    for row in rows if isinstance(rows, list) else []:
        found.setdefault(f"{row['name']}.", []).append(row)
    return found


def _counts(rows: Sequence[Mapping[str, object]]) -> list[tuple[str, int]]:
    order = {answer.value: place for place, answer in enumerate(Answer)}
    return sorted(Counter(str(row["class"]) for row in rows).items(), key=lambda x: order.get(x[0], 99))


def _counts_text(rows: Sequence[Mapping[str, object]]) -> str:
    return " ".join(f"{count} {kind}" for kind, count in _counts(rows)) or "no answers"


def _names_table(judgement: Judgement, soak_seconds: float, width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("name", overflow="fold")
    table.add_column("resolvers")
    if width >= 70:
        table.add_column("", no_wrap=True)
    table.add_column("soak", no_wrap=True)
    for name, rows in _rows_by_name(judgement.judged).items():
        held = judgement.judged.soaked.get(name, 0.0)
        cells: list[RenderableType] = [Text(name.rstrip(".")), Text(_counts_text(rows))]
        if width >= 70:
            cells.append(_bar(rows))
        cells.append(Text(f"{say_duration(held)} of {say_duration(soak_seconds)}"))
        table.add_row(*cells)
    return table


def _bar(rows: Sequence[Mapping[str, object]]) -> Text:
    total = len(rows)
    bar = Text()
    if not total:
        return Text("░" * _BAR, "dim")
    drawn = 0
    counts = _counts(rows)
    for place, (kind, count) in enumerate(counts):
        cells = _BAR - drawn if place == len(counts) - 1 else max(1, round(_BAR * count / total))
        cells = min(cells, _BAR - drawn)
        style = _STYLE.get(Answer(kind), "dim") if kind in set(Answer) else "dim"
        bar.append("█" * cells, style)
        drawn += cells
    return bar


def _old_rows(judged: Judged) -> list[Mapping[str, object]]:
    return [
        row
        for rows in _rows_by_name(judged).values()
        for row in rows
        if row["class"] in {"old", "mixed"} or row.get("last_old")
    ]


def _old_table(rows: Sequence[Mapping[str, object]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=None)
    for column in ("still on old", "operator", "answer", "TTL left"):
        table.add_column(column, overflow="fold")
    for row in rows[:_ROWS]:
        left = row.get("remaining_ttl")
        answer = str(row["class"]) if row["class"] in {"old", "mixed"} else f"{row['class']}, was old"
        table.add_row(
            clean(str(row["resolver"])),
            clean(str(row["operator"])),
            Text(f"{answer} ({row['type']})", "red"),
            f"{left} s" if left is not None else "-",
        )
    if len(rows) > _ROWS:
        table.add_row(f"... and {len(rows) - _ROWS} more", "", "", "")
    return table


def _origins_line(judged: Judged) -> Text:
    line = Text("origins: ", "dim")
    checks = [x for x in judged.findings if x.check.startswith("origin.") and x.status is not Status.SKIP]
    for finding in checks:
        line.append(f"{MARKS[finding.status]} {finding.check.removeprefix('origin.')}  ", "")
    return line if checks else Text("origins: not in the plan", "dim")


def _missing_lines(judged: Judged, now: datetime) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for status, style in ((Status.FAIL, "red"), (Status.INCONCLUSIVE, "yellow")):
        for finding in judged.findings:
            if finding.status is status and finding.severity is Severity.BLOCKER:
                until = f" -> {say_instant(finding.until, now)}" if finding.until else ""
                lines.append(Text(f"{MARKS[status]} {clean(finding.subject)}: {clean(finding.message)}{until}", style))
    if len(lines) > _ROWS:
        lines = [*lines[:_ROWS], Text(f"... and {len(lines) - _ROWS} more: cutover status", "dim")]
    return lines or [Text("nothing is missing but time", "green")]
