"""New's CHECKs judged on the result: what the apply would be refused for. No I/O but asking new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from cutover.reconcile.merge.asked import Asked
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.model import Constraint, Table, TableName

_BATCH = 2000


def refused_by_check(judged: Sequence[Judged], asked: Asked) -> Iterator[tuple[int, Judged]]:
    """Yield the positions of changes whose result a CHECK of new refuses, as conflicts.

    A row that goes over as old holds it has passed the checks that old has too. A value that only the apply can fill
    in is left to the apply.
    """
    by_table: dict[TableName, list[int]] = {}
    for position, each in enumerate(judged):
        if each.writes and each.post is not None and each.table.checks:
            by_table.setdefault(each.table.name, []).append(position)
    for positions in by_table.values():
        table = judged[positions[0]].table
        for check in table.checks:
            doubtful = iter([x for x in positions if _in_doubt(table, check, judged[x])])
            while batch := list(islice(doubtful, _BATCH)):
                for place in asked.refused(table, check, [judged[x].post or () for x in batch]):
                    yield batch[place], _conflict(judged[batch[place]], check)


def _in_doubt(table: Table, check: Constraint, each: Judged) -> bool:
    if not check.columns or (check.definition in table.checks_of_old and each.post == each.change.old):
        return False
    return all(type((each.post or ())[table.places[column]]) in {str, type(None)} for column in check.columns)


def _conflict(each: Judged, check: Constraint) -> Judged:
    message = f"new's {check.name} refuses the result: {check.definition}"
    return each.conflict("check", message, columns=check.columns)
