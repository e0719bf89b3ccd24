"""A merge for the terminal: sums per table, the worst conflicts, the one next command. No I/O."""

from __future__ import annotations

import re

from tabulate import tabulate

from cutover.reconcile.merge.accounting import CLASSES
from cutover.reconcile.model import Decision
from cutover.reconcile.review.summary import Summary, worst

_SHOWN = 10
_SENTENCE = 400
"""What the tool says itself ends in what to do: that is not cut off, however long a table's name."""
_RED, _BOLD, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[0m"
_HOSTILE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_SAID = {
    "clean": "CLEAN: old holds nothing that new lacks",
    "mergeable": "MERGEABLE: every change of old has its place",
    "conflicts": "CONFLICTS: {conflicts} change(s) of old need a person",
    "inconclusive": "INCONCLUSIVE: something that the verdict needs could not be seen",
    "estimated": "ESTIMATED: counts only, never applied",
}


def safe(text: str, limit: int = 160) -> str:
    """Return text from a database for a terminal: on one line, without what moves the cursor."""
    plain = _HOSTILE.sub("\N{REPLACEMENT CHARACTER}", text)
    return plain if len(plain) <= limit else f"{plain[: limit - 3]}..."


def render_text(summary: Summary, *, color: bool = False) -> str:
    """Return the text that the command prints."""

    def paint(text: str, code: str) -> str:
        return f"{code}{text}{_PLAIN}" if color else text

    conflicts = summary.conflicts
    count = sum(each.classes.get(Decision.CONFLICT, 0) for each in summary.tables)
    blocks = [paint(_SAID[summary.verdict].format(conflicts=count), _BOLD)]
    blocks.append(_sums(summary))
    blocks.append(_estimates(summary))
    if summary.overwritten:
        blocks.append(paint(f"{summary.overwritten} change(s) of new are overwritten", _RED))
    if conflicts:
        lines = [f"Worst conflicts ({min(len(conflicts), _SHOWN)} of {count}):"]
        for each in worst(conflicts, _SHOWN):
            because = f" (because of {safe(', '.join(each.because_of), 80)})" if each.because_of else ""
            lines.append(f"  {safe(each.label, 60)}: {each.reason}: {safe(each.message, _SENTENCE)}{because}")
        blocks.append("\n".join(lines))
    blocks.extend(_lists(summary))
    bundle = f"Bundle: {summary.bundle}\n" if summary.bundle else ""
    blocks.append(f"{summary.base}\n{bundle}Next: {summary.next_command}")
    return "\n\n".join(block for block in blocks if block)


def _sums(summary: Summary) -> str:
    touched = [each for each in summary.tables if each.old.total or each.new.total]
    rows = [
        [
            safe(str(each.table), 60),
            f"{each.old.insert}/{each.old.update}/{each.old.delete}",
            f"{each.new.insert}/{each.new.update}/{each.new.delete}",
            *(each.classes.get(name, 0) for name in CLASSES),
        ]
        for each in touched
    ]
    quiet = len(summary.tables) - len(touched)
    if not rows:
        return f"No change on either side in {quiet} table(s)."
    total = [sum(each.classes.get(name, 0) for each in summary.tables) for name in CLASSES]
    made = sum(each.old.total for each in summary.tables)
    rows.append([f"{made} changes of old", "", "", *total])
    heads = ["table", "old +/~/-", "new +/~/-", *(name.value.replace("_", " ") for name in CLASSES)]
    table = tabulate(
        rows,
        headers=heads,
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", *("right" for _ in CLASSES)),
    )
    return table + (f"\n{quiet} more table(s): no change on either side" if quiet else "")


def _estimates(summary: Summary) -> str:
    """Return what an estimate knows of tables without base, and whose rows were changed."""
    lines = []
    for each in summary.estimates:
        table = safe(str(each.table), 60)
        if not each.exact:
            counts = ("unknown" if count is None else str(count) for count in (each.old, each.new))
            lines.append("  {}: {} row(s) of old, {} of new: {}".format(table, *counts, safe(each.how)))
        if each.owner_count:
            shown = ", ".join(safe(owner, 40) for owner in each.owners[:_SHOWN])
            more = f" and {each.owner_count - _SHOWN} more (--json)" if each.owner_count > _SHOWN else ""
            lines.append(f"  {table}: {each.owner_count} user(s) affected: {shown}{more}")
    return "\n".join(["Estimated:", *lines]) if lines else ""


def _lists(summary: Summary) -> list[str]:
    blocks = []
    for title, lines in (
        ("Could not be seen", summary.unseen),
        ("Worth a look", summary.warnings),
        ("Not compared and not counted", [f"{name}: {why}" for name, why in summary.left_out.items()]),
        ("Notes", summary.notes),
    ):
        if lines:
            shown = [f"  {safe(line, _SENTENCE)}" for line in list(lines)[:_SHOWN]]
            more = [f"  and {len(lines) - _SHOWN} more (report.html)"] if len(lines) > _SHOWN else []
            blocks.append("\n".join([f"{title}:", *shown, *more]))
    for each in summary.owners:
        blocks.append(
            f"Affected by {safe(str(each.table))}.{safe(each.column)}: {len(each.changes)},"
            f" {len(each.conflicts)} of them with conflicts{' (affected.csv)' if summary.bundle else ''}"
        )
    if summary.stale:
        blocks.append(f"{summary.stale} decision(s) no longer hold: their rows changed; they are asked again")
    return blocks
