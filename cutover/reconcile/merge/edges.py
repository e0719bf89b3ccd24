"""Which step must come before which: references, values that are given up, uniques. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from cutover.reconcile.merge.asked import Asked
from cutover.reconcile.merge.cells import Cells, Filled, JsonIds, NewId
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.links import linked_rows
from cutover.reconcile.merge.result import pick, plain_values, referred, row_key
from cutover.reconcile.model import ForeignKey, Key, Row, Schema, Side, Table, TableName, Unique


class EdgeKind(StrEnum):
    """Why one step comes first."""

    PROVIDES = "provides"
    LETS_GO = "lets go"
    GIVES_UP = "gives up"
    BELONGS = "belongs"


class Edge(NamedTuple):
    """``before`` comes before ``after``.

    Attributes:
        columns: what ``after`` refers with (provides), ``before`` refers with (lets go), or ``before`` gives up.
        deferrable: the constraint can wait for the end of the transaction.
    """

    before: int
    after: int
    kind: EdgeKind
    columns: tuple[str, ...] = ()
    deferrable: bool = False


def edges(schema: Schema, judged: Sequence[Judged], asked: Asked) -> Iterator[Edge]:
    """Yield what binds the steps of a change set together."""
    finder = _Finder(schema, judged, asked)
    for position, each in enumerate(judged):
        if each.writes:
            yield from finder.edges(position, each)
    for position, other in linked_rows(judged).items():
        if position < other and judged[position].writes and judged[other].writes:
            yield Edge(position, other, EdgeKind.BELONGS)


class _Finder:
    def __init__(self, schema: Schema, judged: Sequence[Judged], asked: Asked) -> None:
        self._schema = schema
        self._judged = judged
        self._asked = asked
        self._pointing = schema.references_to
        self._posts: dict[tuple[TableName, tuple[str, ...]], dict[Cells, list[int]]] = {}
        self._pres: dict[tuple[TableName, tuple[str, ...]], dict[Cells, list[int]]] = {}
        self._below: dict[ForeignKey, dict[Cells, list[int]]] = {}
        self._writers: dict[TableName, list[int]] = {}
        self._by_pre: dict[tuple[TableName, Key], int] = {}
        self._by_change: dict[tuple[TableName, Key], int] = {}
        self._origin: dict[tuple[TableName, str], int] = {}
        for position, each in enumerate(judged):
            if not each.writes:
                continue
            self._writers.setdefault(each.table.name, []).append(position)
            if each.table.key:
                self._by_change[(each.table.name, each.change.key)] = position
            if each.pre is not None:
                self._by_pre[(each.table.name, row_key(each.table, each.pre))] = position
            for cell in each.key:
                if isinstance(cell, NewId) and cell.table == each.table.name:
                    self._origin[(cell.table, cell.old)] = position

    def _index(self, table: TableName, columns: tuple[str, ...], *, post: bool) -> Mapping[Cells, list[int]]:
        indexes = self._posts if post else self._pres
        if (table, columns) not in indexes:
            found: dict[Cells, list[int]] = {}
            for position in self._writers.get(table, ()):
                row = self._judged[position].post if post else self._judged[position].pre
                if row is not None:
                    found.setdefault(pick(self._schema.tables[table], row, columns), []).append(position)
            indexes[(table, columns)] = found
        return indexes[(table, columns)]

    def _referring(self, key: ForeignKey) -> Mapping[Cells, list[int]]:
        if not key.json_path:
            return self._index(key.table, key.columns, post=False)
        if key not in self._below:
            found: dict[Cells, list[int]] = {}
            for position in self._writers.get(key.table, ()):
                row = self._judged[position].pre
                if row is not None:
                    found.setdefault(_refers(key, self._schema.tables[key.table], row), []).append(position)
            self._below[key] = found
        return self._below[key]

    def edges(self, position: int, each: Judged) -> Iterator[Edge]:
        """Yield the edges that end at a step."""
        if each.post is not None:
            yield from self._drawn(position, each.post)
            for key in each.table.foreign_keys:
                yield from self._provided(position, each, key)
            yield from self._given_up(position, each)
        if each.pre is not None:
            for key in self._pointing.get(each.table.name, ()):
                yield from self._let_go(position, each, key)

    def _drawn(self, position: int, post: Cells) -> Iterator[Edge]:
        for origin in self._drawn_by(position, post):
            yield Edge(origin, position, EdgeKind.BELONGS)

    def _drawn_by(self, position: int, post: Cells) -> Iterator[int]:
        """Yield the steps of the rows whose new ids stand in a row."""
        for cell in post:
            ids = [new for _, new in cell.ids] if isinstance(cell, JsonIds) else [cell]
            for new in ids:
                if isinstance(new, NewId):
                    origin = self._origin.get((new.table, new.old), position)
                    if origin != position:
                        yield origin

    def _provided(self, position: int, each: Judged, key: ForeignKey) -> Iterator[Edge]:
        if key.to_table not in self._schema.tables or not set(key.columns) <= each.table.places.keys():
            return
        cells = _refers(key, each.table, each.post or ())
        inside = key.json_path and isinstance(pick(each.table, each.post or (), key.columns)[0], JsonIds)
        if inside or any(isinstance(cell, Filled) for cell in cells):
            # not known yet, inside a document or computed: whatever row it is whose id is drawn, comes first
            for other in self._drawn_by(position, each.post or ()):
                yield Edge(other, position, EdgeKind.PROVIDES, key.columns, key.deferrable or key.declared)
            return
        if None in cells or (each.pre is not None and _refers(key, each.table, each.pre) == cells):
            return
        others = self._index(key.to_table, key.to_columns, post=True).get(cells, ())
        for other in others or self._alike(key, cells):
            if other != position and self._changes(other, key.to_columns):
                yield Edge(other, position, EdgeKind.PROVIDES, key.columns, key.deferrable)

    def _alike(self, key: ForeignKey, cells: Cells) -> Iterator[int]:
        """Yield the steps of old's rows that hold the same value in another text: citext, another scale."""
        plain, target = plain_values(cells), self._schema.tables[key.to_table]
        if plain is None or not _loosely(target, key.to_columns):
            return
        for row in self._asked.rows(Side.OLD, key.to_table, key.to_columns, plain):
            other = self._by_change.get((key.to_table, row_key(target, row)))
            if other is not None and self._judged[other].post is not None:
                yield other

    def _let_go(self, position: int, each: Judged, key: ForeignKey) -> Iterator[Edge]:
        table = self._schema.tables.get(key.table)
        if table is None or not set(key.columns) <= table.places.keys():
            return
        released = pick(each.table, each.pre or (), key.to_columns)
        if plain_values(released) is None or not self._changes(position, key.to_columns):
            return
        others = set(self._referring(key).get(released, ()))
        plain = plain_values(released)
        if plain is not None and not key.json_path and _loosely(table, key.columns):
            rows = self._asked.rows(Side.NEW, key.table, key.columns, plain)
            others.update(self._by_pre.get((key.table, row_key(table, row)), position) for row in rows)
        for other in sorted(others):
            if other != position and self._changes(other, key.columns):
                yield Edge(other, position, EdgeKind.LETS_GO, key.columns, key.deferrable)

    def _given_up(self, position: int, each: Judged) -> Iterator[Edge]:
        table, post = each.table, each.post or ()
        for rule in table.uniques:
            if rule.watched and not self._changes(position, rule.watched):
                continue
            columns = rule.columns
            if columns and rule.text_tells and not rule.partial:
                for other in self._index(table.name, columns, post=False).get(pick(table, post, columns), ()):
                    if other != position and self._changes(other, columns):
                        yield Edge(other, position, EdgeKind.GIVES_UP, columns, rule.deferrable)
            else:
                yield from self._by_server(position, each, rule)
        for constraint in table.constraints:
            if constraint.kind == "exclude" and (not constraint.columns or self._changes(position, constraint.columns)):
                for row in self._asked.violations(Side.NEW, table, constraint, post):
                    other_or_none = self._by_pre.get((table.name, row_key(table, row)))
                    if other_or_none is not None and other_or_none != position:
                        deferrable = "DEFERRABLE" in constraint.definition.upper().replace("NOT DEFERRABLE", "")
                        yield Edge(other_or_none, position, EdgeKind.GIVES_UP, constraint.columns, deferrable)

    def _by_server(self, position: int, each: Judged, rule: Unique) -> Iterator[Edge]:
        plain = plain_values(pick(each.table, each.post or (), rule.columns)) if rule.columns else None
        if plain is not None and not self._asked.rows(Side.NEW, each.table.name, rule.columns, plain):
            return
        for row in self._asked.violations(Side.NEW, each.table, rule, each.post or ()):
            other = self._by_pre.get((each.table.name, row_key(each.table, row)))
            if other is not None and other != position:
                yield Edge(other, position, EdgeKind.GIVES_UP, rule.columns, rule.deferrable)

    def _changes(self, position: int, columns: tuple[str, ...]) -> bool:
        each = self._judged[position]
        if each.pre is None or each.post is None:
            return True
        return pick(each.table, each.post, columns) != pick(each.table, each.pre, columns)


def _loosely(table: Table, columns: Sequence[str]) -> bool:
    """Tell whether equal values of these columns can look different."""
    return any(table.columns[table.places[column]].text_hash for column in columns)


def _refers(key: ForeignKey, table: Table, row: Cells | Row) -> Cells:
    """Return what a row refers to; ``NULL`` below a JSON document where nothing is, or nothing that is known yet."""
    cells = pick(table, row, key.columns)
    return (referred(key, cells) or (None,)) if key.json_path else cells
