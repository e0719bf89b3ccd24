"""Changes of old that are halves of one: a changed key, a delete and what it took along. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cutover.reconcile.merge.columns import touched_by_old
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.result import pick, plain_values
from cutover.reconcile.model import ForeignKey, Row, Schema, Table, TableName

_Signature = tuple[str, tuple[object, ...]]


def linked_rows(judged: Sequence[Judged]) -> Mapping[int, int]:
    """Pair a delete with the insert that is the same row under another key.

    A changed primary key is seen as a delete and an insert. The two are paired when a unique column beside the
    key, or all the other columns, agree and no other row of the table's changes has the same. A pair that only
    looks like one costs nothing: its two halves wait for each other.
    """
    by_table: dict[TableName, tuple[list[int], list[int]]] = {}
    for position, each in enumerate(judged):
        if each.table.key and each.kind in ("delete", "insert"):
            by_table.setdefault(each.table.name, ([], []))[each.kind == "insert"].append(position)
    found: dict[int, int] = {}
    for deletes, inserts in by_table.values():
        if not deletes or not inserts:
            continue
        gone, came = _by_signature(judged, deletes, old=False), _by_signature(judged, inserts, old=True)
        for signature, positions in gone.items():
            others = came.get(signature, [])
            if len(positions) == len(others) == 1 and positions[0] not in found and others[0] not in found:
                found[positions[0]] = others[0]
                found[others[0]] = positions[0]
    return found


def _by_signature(judged: Sequence[Judged], positions: Sequence[int], *, old: bool) -> dict[_Signature, list[int]]:
    found: dict[_Signature, list[int]] = {}
    for position in positions:
        each = judged[position]
        row = each.change.old if old else each.change.base
        for signature in _signatures(each.table, row or ()):
            found.setdefault(signature, []).append(position)
    return found


def _signatures(table: Table, row: Row) -> Iterator[_Signature]:
    for unique in table.uniques:
        if unique.columns and not unique.partial and set(unique.columns).isdisjoint(table.key):
            values = plain_values(pick(table, row, unique.columns))
            if values is not None:
                yield unique.name, values
    rest = tuple(
        value
        for column, value in zip(table.columns, row, strict=True)
        if column.name not in table.key and column.name not in table.updated_at and not column.generated
    )
    if any(value is not None for value in rest):
        yield "", rest


def cascades(schema: Schema, judged: Sequence[Judged]) -> Mapping[int, tuple[int, ...]]:
    """Return, per change that a delete of old brought about (CASCADE, SET NULL), the deletes it follows from."""
    gone: dict[TableName, list[int]] = {}
    for position, each in enumerate(judged):
        if each.kind == "delete" and each.table.key:
            gone.setdefault(each.table.name, []).append(position)
    parents: dict[ForeignKey, dict[tuple[str, ...], int]] = {}
    for name, positions in gone.items():
        for key in schema.references_to.get(name, ()):
            if key.on_delete in ("cascade", "set null", "set default") and not key.declared:
                index = parents.setdefault(key, {})
                for position in positions:
                    each = judged[position]
                    values = plain_values(pick(each.table, each.change.base or (), key.to_columns))
                    if values is not None:
                        index[values] = position
    found: dict[int, tuple[int, ...]] = {}
    for position, each in enumerate(judged):
        if each.change.base is None:
            continue
        mine = [
            parents[key][values]
            for key in each.table.foreign_keys
            if key in parents
            and _follows(each, key)
            and (values := plain_values(pick(each.table, each.change.base, key.columns))) is not None
            and parents[key].get(values, position) != position
        ]
        if mine:
            found[position] = tuple(mine)
    return found


def _follows(judged: Judged, key: ForeignKey) -> bool:
    if judged.kind == "delete":
        return key.on_delete == "cascade"
    if judged.kind != "update" or judged.old is None or key.on_delete == "cascade":
        return False
    return set(touched_by_old(judged.table, judged.change.base, judged.old).real) <= set(key.columns)
