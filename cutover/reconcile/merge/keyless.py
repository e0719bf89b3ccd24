"""Changes of a table without key: differences of multisets (DESIGN.md 7). Pure."""

from __future__ import annotations

from dataclasses import replace

from cutover.reconcile.merge.columns import result_row
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.policy import Choice, Decided
from cutover.reconcile.model import Decision

NO_BASE = "there is no base for this row: old and new differ, who changed it is unknown"


def judge_keyless(start: Judged, decided: Decided | None, *, base_known: bool = True) -> tuple[Judged, ...]:
    """Judge identical rows that old added, or of which it deleted some.

    Args:
        start: the change, not judged yet.
        decided: what a person said of it.
        base_known: False where rows that new lacks may as well have been deleted there.

    Returns:
        one judgement, or two where old deleted more of them than new holds.
    """
    change, table = start.change, start.table
    if not base_known and (decided is None or decided.choice is not Choice.OLD):
        return (start.conflict("no_base", NO_BASE),)
    if change.old is not None:
        columns = tuple(each for each in table.columns_only_old if change.old[table.places[each]] is not None)
        if columns:
            return (start.conflict("no_column", f"new has no column {', '.join(columns)}", columns=columns),)
        return (replace(start, pre=None, post=result_row(table, None, {}, start.old, change.old), writes=True),)
    there = min(change.count, change.new_count)
    beyond = change.count - there
    results = []
    if there:
        results.append(replace(start, pre=change.base, post=None, writes=True, copies=there))
    if beyond and decided is not None and decided.choice is Choice.OLD:
        gone = replace(start, decision=Decision.ALREADY_PRESENT, pre=None, post=None)
        results.append(replace(gone, rules=("decision: take old",), copies=beyond))
    elif beyond:
        message = f"old deleted {change.count} identical rows, new holds {change.new_count}"
        results.append(replace(start.conflict("keyless_delete", message), copies=beyond))
    return tuple(results)
