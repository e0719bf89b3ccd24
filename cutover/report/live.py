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
from cutover.durations import say_duration, say_instant
from cutover.finding import Severity, Status
from cutover.folds.story import old_share
from cutover.observations.gate import Judged
from cutover.output import Output, plain_stdout
from cutover.report.chart import share_text
from cutover.report.finding_text import MARKS, clean, one_line, shown
from cutover.report.verdict_text import AFTERWARDS, GATE, ROLL_BACK, alarm_commands
from cutover.rounds import Judgement, Rounds
from cutover.verdict import Verdict, blockers, is_split_brain

_NARROW = 70
_STYLE = {
    Answer.NEW: "green",
    Answer.OLD: "red",
    Answer.MIXED: "red",
    Answer.OTHER: "yellow",
}
_CELL = {Answer.NEW: "█", Answer.OLD: "▒", Answer.MIXED: "▒"}
"""What a class is drawn with: without colours the bar must still tell new from old; the rest is a dot."""
_VERDICT_STYLE = {
    Verdict.CONVERGED: "bold green",
    Verdict.CONVERGING: "bold yellow",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.SPLIT_BRAIN: "bold white on red",
}
_ROOMS = {"origin": "origins", "traffic": "traffic", "database": "databases"}
_BAR = 20
_ROWS = 12
_WORST = [Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS]


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
        told = f"SPLIT-BRAIN: both databases took writes. Run: {alarm_commands(judged)[0]}"
        parts.append(Text(told, "bold white on red"))
    head = Text(f"{judged.migration}  ", "bold")
    head.append(f" {judged.verdict.upper()} ", _VERDICT_STYLE.get(Verdict(judged.verdict), "bold"))
    head.append(f"  round ended {judged.at:%H:%M:%S} UTC", "dim")
    parts.append(head)
    if judged.reverse:
        parts.append(Text(ROLL_BACK))
    narrow = width < _NARROW
    parts += _names_lines(judgement, soak_seconds) if narrow else [_names_table(judgement, soak_seconds)]
    old = _old_rows(judged)
    if old:
        parts += _old_lines(old) if narrow else [_old_table(old)]
    parts += [_room_line(judged, room, title) for room, title in _ROOMS.items()]
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
        self._console = Console(file=plain_stdout(), no_color=not output.colour, highlight=False)
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
    return ", ".join(f"{count} {kind}" for kind, count in _counts(rows)) or "no answers"


def _names_table(judgement: Judgement, soak_seconds: float) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("name", overflow="fold")
    table.add_column("resolvers")
    table.add_column("", no_wrap=True)
    table.add_column("soak", no_wrap=True)
    for name, rows in _rows_by_name(judgement.judged).items():
        held = _held_text(judgement, name, soak_seconds)
        table.add_row(Text(name.rstrip(".")), Text(_counts_text(rows)), _bar(rows), Text(held))
    return table


def _names_lines(judgement: Judgement, soak_seconds: float) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for name, rows in _rows_by_name(judgement.judged).items():
        lines.append(Text(name.rstrip("."), "bold"))
        lines.append(Text(f"  {_counts_text(rows)}"))
        lines.append(Text(f"  soak {_held_text(judgement, name, soak_seconds)}"))
    return lines


def _held_text(judgement: Judgement, name: str, soak_seconds: float) -> str:
    return f"{say_duration(judgement.judged.soaked.get(name, 0.0))} of {say_duration(soak_seconds)}"


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
        answer = Answer(kind) if kind in set(Answer) else None
        bar.append((_CELL.get(answer, "·") if answer else "·") * cells, _STYLE.get(answer, "dim") if answer else "dim")
        drawn += cells
    return bar


def _old_rows(judged: Judged) -> list[Mapping[str, object]]:
    return [
        row
        for rows in _rows_by_name(judged).values()
        for row in rows
        if row["class"] in {"old", "mixed"} or row.get("last_old")
    ]


def _old_table(rows: Sequence[Mapping[str, object]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=None)
    for column in ("still on old", "operator", "answer", "TTL left"):
        table.add_column(column, overflow="fold")
    for row in rows[:_ROWS]:
        table.add_row(
            Text(clean(str(row["resolver"]))),
            Text(clean(str(row["operator"])) if row["operator"] != row["resolver"] else ""),
            Text(_answer_text(row), "red"),
            _left_text(row) or "-",
        )
    if len(rows) > _ROWS:
        table.add_row(f"... and {len(rows) - _ROWS} more", "", "", "")
    return table


def _old_lines(rows: Sequence[Mapping[str, object]]) -> list[RenderableType]:
    lines: list[RenderableType] = [Text("still on old:", "dim")]
    for row in rows[:_ROWS]:
        left = _left_text(row)
        said = _answer_text(row) + (f", {left} left" if left else "")
        lines.append(Text(f"  {clean(str(row['resolver']))}: {said}", "red"))
    return [*lines, Text(f"  ... and {len(rows) - _ROWS} more")] if len(rows) > _ROWS else lines


def _answer_text(row: Mapping[str, object]) -> str:
    answer = str(row["class"]) if row["class"] in {"old", "mixed"} else f"{row['class']}, was old"
    return f"{answer} ({row['type']})"


def _left_text(row: Mapping[str, object]) -> str:
    left = row.get("remaining_ttl")
    return f"{left} s" if left is not None else ""


def _room_line(judged: Judged, room: str, title: str) -> Text:
    line = Text(f"{title}: ", "dim")
    found = [x for x in judged.findings if x.check.startswith(f"{room}.") and x.status is not Status.SKIP]
    if not found:
        return Text(f"{title}: not in the plan", "dim")
    share = old_share(judged) if room == "traffic" else None
    if share is not None:
        line.append(f"{share_text(share)} on old  ", "bold")
    marks: dict[str, Status] = {}
    for finding in found:
        name = finding.check.removeprefix(f"{room}.")
        marks[name] = min(marks.get(name, shown(finding)), shown(finding), key=_WORST.index)
    line.append("  ".join(f"{MARKS[status]} {name}" for name, status in marks.items()))
    return line


def _missing_lines(judged: Judged, now: datetime) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for status, style in ((Status.FAIL, "red"), (Status.INCONCLUSIVE, "yellow")):
        for finding in judged.findings:
            if finding.status is status and finding.severity is Severity.BLOCKER:
                until = f" -> {say_instant(finding.until, now)}" if finding.until and finding.until > now else ""
                lines.append(Text(f"{MARKS[status]} {one_line(f'{finding.subject}: {finding.message}')}{until}", style))
    if len(lines) > _ROWS:
        lines = [*lines[:_ROWS], Text(f"... and {len(lines) - _ROWS} more: cutover status", "dim")]
    converged = judged.verdict == Verdict.CONVERGED.value
    then = f": {AFTERWARDS if judged.reverse else GATE}" if converged else " but time"
    return lines or [Text(f"nothing is missing{then}", "green")]
