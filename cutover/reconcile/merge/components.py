"""From decided changes to steps in an order that every constraint allows, at every moment. No I/O."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cutover.reconcile.bundle import Component, Step
from cutover.reconcile.merge.cells import Cell, Cells, Filled
from cutover.reconcile.merge.edges import Edge, EdgeKind
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.result import pick
from cutover.reconcile.model import Column, Table
from cutover.reconcile.values import base_type


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Components in order, or what stands in the way.

    Attributes:
        stuck: positions that wait for each other in a circle that no parking opens.
    """

    components: tuple[Component, ...]
    stuck: tuple[int, ...] = ()


@dataclass(slots=True)
class _Plan:
    """How one component is carried out."""

    order: list[int] = field(default_factory=list)
    parked: dict[int, dict[str, Cell]] = field(default_factory=dict)
    later: dict[int, dict[str, Cell]] = field(default_factory=dict)
    deferred: bool = False


def change_set(judged: Sequence[Judged], bonds: Iterable[Edge]) -> ChangeSet:
    """Put the steps of every writing judgement into components and each component into an order."""
    edges = list(bonds)
    groups = _groups(judged, edges)
    by_group: dict[int, list[Edge]] = defaultdict(list)
    for edge in edges:
        by_group[groups[edge.before]].append(edge)
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in groups.items():
        members[group].append(position)
    components: list[Component] = []
    stuck: list[int] = []
    for number, group in enumerate(sorted(members), start=1):
        plan, left = _order(judged, members[group], by_group[group])
        stuck.extend(left)
        if not left:
            steps = tuple(_steps(judged, plan))
            components.append(Component(number, steps, plan.deferred))
    return ChangeSet(tuple(components), tuple(stuck))


def _groups(judged: Sequence[Judged], edges: Iterable[Edge]) -> Mapping[int, int]:
    """Union-find: every writing position, and the smallest position that it is bound to."""
    parent = {position: position for position, each in enumerate(judged) if each.writes}

    def find(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    for edge in edges:
        one, two = find(edge.before), find(edge.after)
        parent[max(one, two)] = min(one, two)
    return {position: find(position) for position in parent}


def _order(judged: Sequence[Judged], positions: list[int], edges: list[Edge]) -> tuple[_Plan, list[int]]:
    plan = _Plan()
    bonds = [edge for edge in edges if edge.kind is not EdgeKind.BELONGS]
    while True:
        plan.order = _topological(positions, bonds)
        if len(plan.order) == len(positions):
            return plan, []
        done = set(plan.order)
        circle = [edge for edge in bonds if edge.before not in done and edge.after not in done]
        opened = _open(judged, plan, circle)
        if opened is None:
            return plan, [position for position in positions if position not in done]
        bonds = [edge for edge in bonds if edge not in opened]


def _topological(positions: Sequence[int], edges: Iterable[Edge]) -> list[int]:
    waits = dict.fromkeys(positions, 0)
    follows: dict[int, list[int]] = defaultdict(list)
    for before, after in {(edge.before, edge.after) for edge in edges}:
        waits[after] += 1
        follows[before].append(after)
    ready = [position for position, count in waits.items() if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for after in follows[position]:
            waits[after] -= 1
            if waits[after] == 0:
                heapq.heappush(ready, after)
    return order


def _open(judged: Sequence[Judged], plan: _Plan, circle: Sequence[Edge]) -> set[Edge] | None:
    """Open a circle at its cheapest place; return the edges that no longer bind."""
    waiting = [edge for edge in circle if edge.deferrable]
    if waiting:
        plan.deferred = True
        return set(waiting)
    in_circle = _in_circle(circle)
    for kind in (EdgeKind.GIVES_UP, EdgeKind.PROVIDES, EdgeKind.LETS_GO):
        for edge in sorted(in_circle, key=lambda edge: (edge.before, edge.after)):
            if edge.kind is not kind:
                continue
            position = edge.after if kind is EdgeKind.PROVIDES else edge.before
            values = _parking(judged[position], edge)
            if kind is EdgeKind.PROVIDES and _lets_go(circle, position, edge.columns):
                # it must let go of one row before it can refer to another: meanwhile it refers to nothing
                values = _nulls(judged[position].table, edge.columns)
            if values is None:
                continue
            if kind is EdgeKind.PROVIDES:
                plan.later.setdefault(position, {}).update(values)
                return {e for e in circle if e.after == position and e.kind is kind and e.columns == edge.columns}
            plan.parked.setdefault(position, {}).update(values)
            return {e for e in circle if e.before == position and e.kind is kind and e.columns == edge.columns}
    return None


def _lets_go(circle: Sequence[Edge], position: int, columns: tuple[str, ...]) -> bool:
    return any(
        edge.before == position and edge.kind is EdgeKind.LETS_GO and set(edge.columns) & set(columns)
        for edge in circle
    )


def _in_circle(edges: Sequence[Edge]) -> list[Edge]:
    """Drop what only hangs on a circle: edges whose end leads nowhere."""
    left = list(edges)
    while True:
        starts = {edge.before for edge in left}
        ends = {edge.after for edge in left}
        kept = [edge for edge in left if edge.after in starts and edge.before in ends]
        if len(kept) == len(left):
            return kept
        left = kept


def _parking(each: Judged, edge: Edge) -> dict[str, Cell] | None:
    """Return values that hold a row out of the way, ``None`` where its columns do not allow it."""
    table = each.table
    if edge.kind is EdgeKind.PROVIDES:
        if each.pre is not None:
            return dict(zip(edge.columns, pick(table, each.pre, edge.columns), strict=True))
        return _nulls(table, edge.columns)
    if each.pre is None:
        return None
    nulls = _nulls(table, edge.columns)
    if nulls is not None or edge.kind is EdgeKind.LETS_GO:
        return nulls
    referring = {column for key in table.foreign_keys for column in key.columns}
    checked = {column for rule in table.constraints for column in rule.columns}
    for name in edge.columns:
        column = table.columns[table.places[name]]
        if name in table.key or name in referring or name in checked or column.generated:
            continue
        value = _out_of_the_way(column, f"{table.name} {each.change.key}")
        if value is not None:
            return {name: value}
    return None


def _nulls(table: Table, columns: Iterable[str]) -> dict[str, Cell] | None:
    """Return NULL for one nullable column: enough for a reference and for a unique to mean nothing."""
    for name in columns:
        column = table.columns[table.places[name]]
        if not column.not_null and name not in table.key and not column.generated:
            return {name: None}
    return None


def _out_of_the_way(column: Column, seed: str) -> str | None:
    digest = hashlib.sha256(seed.encode()).hexdigest()
    kind = base_type(column.type)
    if kind in ("text", "character varying"):
        text = f"cutover parked {digest[:16]}"
        limit = re.search(r"\((\d+)\)", column.type)
        if limit is None or len(text) <= int(limit[1]):
            return text
        return digest[: int(limit[1])] if int(limit[1]) >= 12 else None
    if kind == "uuid":
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    sizes = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
    if kind in sizes:
        return str(-1 - int(digest, 16) % (sizes[kind] - 1))
    return None


def _steps(judged: Sequence[Judged], plan: _Plan) -> Iterable[Step]:
    standing: dict[int, Cells] = {}
    for position in plan.order:
        if position in plan.parked:
            each = judged[position]
            row = _with(each.table, each.pre or (), plan.parked[position])
            standing[position] = row
            yield replace(_step(each, each.pre, row), park=True)
    settled: list[Step] = []
    for position in plan.order:
        each = judged[position]
        pre = standing.get(position, each.pre)
        if position in plan.later and each.post is not None:
            row = _with(each.table, each.post, plan.later[position])
            yield replace(_step(each, pre, row), park=True)
            settled.append(_step(each, row, each.post))
        else:
            yield replace(_step(each, pre, each.post), add=each.add)
    yield from settled


def _step(each: Judged, pre: Cells | None, post: Cells | None) -> Step:
    key = each.key if pre is None else pick(each.table, pre, each.table.key)
    key = each.key if key == each.key else key
    copies = 1 if each.table.key else each.copies
    return Step(
        change=each.number,
        table=each.table.name,
        key=key,
        pre=pre,
        post=post,
        count=copies,
        dangling=each.dangling,
    )


def _with(table: Table, row: Cells, values: Mapping[str, Cell]) -> Cells:
    cells = list(row)
    for name, value in values.items():
        cells[table.places[name]] = value
    for place, column in enumerate(table.columns):
        if column.generated:
            cells[place] = Filled.GENERATED
    return tuple(cells)
