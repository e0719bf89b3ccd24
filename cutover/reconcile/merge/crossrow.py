"""Across rows: references, uniques, exclusions and deletes judged on the result (DESIGN.md 7). No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cutover.reconcile.merge.asked import Asked, Values
from cutover.reconcile.merge.cells import Cells, Filled
from cutover.reconcile.merge.judged import Judged, label
from cutover.reconcile.merge.links import cascades, linked_rows
from cutover.reconcile.merge.policy import Choice, Rules
from cutover.reconcile.merge.references import root_key
from cutover.reconcile.merge.result import Holding, Result, pick, plain_values, referred, row_key
from cutover.reconcile.model import Constraint, Decision, ForeignKey, Key, Schema, Side, Table, TableName, Unique

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Why:
    """A conflict found for a position, and what it hangs on."""

    reason: str
    message: str
    because_of: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    new_key: Key | None = None
    also: tuple[int, ...] = ()


class CrossRow:
    """The passes over the result, repeated only for what a new conflict touches.

    A change that becomes a conflict takes its row out of the result; every judgement that had looked at it is
    judged again. Nothing ever comes back, so this ends.
    """

    def __init__(self, schema: Schema, judged: list[Judged], asked: Asked, rules: Rules) -> None:
        self._schema = schema
        self._judged = judged
        self._asked = asked
        self._rules = rules
        self._result = Result(schema, judged, asked)
        self._pointing: Mapping[TableName, tuple[ForeignKey, ...]] = schema.references_to
        self._links = linked_rows(judged)
        self._cascades = cascades(schema, judged)
        self._watchers: dict[int, set[int]] = {}

    def run(self) -> None:
        """Turn into conflicts what the result cannot hold."""
        self._prefetch()
        waiting = deque(range(len(self._judged)))
        queued = set(waiting)
        while waiting:
            position = waiting.popleft()
            queued.discard(position)
            why = self._examine(position)
            if why is None:
                continue
            label_here = self._judged[position].label
            for each in (position, *why.also):
                if self._refuse(each, why if each == position else replace(why, because_of=(label_here,))):
                    for watcher in sorted(self._watchers.get(each, ())):
                        if watcher not in queued:
                            queued.add(watcher)
                            waiting.append(watcher)

    def _refuse(self, position: int, why: _Why) -> bool:
        before = self._judged[position]
        if not before.writes and not _held_by_new(before):
            return False
        conflict = before.conflict(why.reason, why.message, because_of=why.because_of, columns=why.columns)
        # Where new has a row of this very key, that one is compared and hashed; and a keyless row has no name to keep.
        theirs = why.new_key if before.table.key and before.pre is None else None
        self._judged[position] = replace(conflict, new_key=theirs or before.new_key)
        return True

    def _watch(self, position: int, watched: int) -> None:
        self._watchers.setdefault(watched, set()).add(position)

    def _examine(self, position: int) -> _Why | None:
        judged = self._judged[position]
        if _held_by_new(judged):
            return self._references(position, judged)
        if not judged.writes:
            return None
        for find in (self._linked, self._cascade, self._references, self._uniques, self._numbers, self._children):
            why = find(position, judged)
            if why is not None:
                return why
        return None

    def _prefetch(self) -> None:
        """Ask for all that will be looked at, in batches."""
        wanted: dict[tuple[TableName, tuple[str, ...]], set[Values]] = {}
        below: dict[ForeignKey, set[str]] = {}

        def want(table: TableName, columns: tuple[str, ...], cells: Cells) -> None:
            plain = plain_values(cells)
            if plain is not None and columns:
                wanted.setdefault((table, columns), set()).add(plain)

        for judged in self._judged:
            if not judged.writes:
                continue
            table = judged.table
            if judged.post is not None:
                for key in table.foreign_keys:
                    if not key.json_path and self._changes(judged, key.columns):
                        want(key.to_table, key.to_columns, pick(table, judged.post, key.columns))
                for unique in table.uniques:
                    if unique.columns and self._changes(judged, unique.watched):
                        want(table.name, unique.columns, pick(table, judged.post, unique.columns))
            for key in self._pointing.get(table.name, ()):
                if judged.pre is not None and key.table in self._schema.tables:
                    released = pick(table, judged.pre, key.to_columns)
                    if judged.post is None or pick(table, judged.post, key.to_columns) != released:
                        if not key.json_path:
                            want(key.table, key.columns, released)
                        elif (plain := plain_values(released)) is not None:
                            below.setdefault(key, set()).add(plain[0])
        for (name, columns), values in wanted.items():
            self._result.prefetch(name, columns, values)
        for key, below_values in below.items():
            self._asked.prefetch_below(Side.NEW, key, below_values)

    def _changes(self, judged: Judged, columns: tuple[str, ...]) -> bool:
        """Tell whether the step gives these columns another value than new's row has."""
        if judged.post is None:
            return False
        if judged.pre is None:
            return True
        return pick(judged.table, judged.post, columns) != pick(judged.table, judged.pre, columns)

    # --- changes that belong together ---------------------------------------------------------------------

    def _linked(self, position: int, judged: Judged) -> _Why | None:
        other = self._links.get(position)
        if other is None:
            return None
        self._watch(position, other)
        if self._judged[other].decision in (Decision.CONFLICT, Decision.SKIPPED) and not self._judged[other].writes:
            message = "old changed this row's key: the other half of that change is not applied"
            return _Why("linked", message, (self._judged[other].label,))
        return None

    def _cascade(self, position: int, judged: Judged) -> _Why | None:
        decided = self._rules.decisions.get((judged.table.name, judged.change.key))
        if decided is not None and decided.choice is Choice.OLD:
            return None
        for parent in self._cascades.get(position, ()):
            self._watch(position, parent)
            other = self._judged[parent]
            if other.decision in (Decision.CONFLICT, Decision.SKIPPED) and not other.writes:
                message = "it follows from the delete of a row that stays"
                return _Why("dependent", message, (other.label,))
        return None

    # --- what the row refers to ---------------------------------------------------------------------------

    def _references(self, position: int, judged: Judged) -> _Why | None:
        if judged.post is None:
            return None
        for key in judged.table.foreign_keys:
            why = self._reference(position, judged, key, judged.post)
            if why is not None:
                return why
        return None

    def _reference(self, position: int, judged: Judged, key: ForeignKey, post: Cells) -> _Why | None:
        table = judged.table
        if key.table != table.name or not set(key.columns) <= set(table.column_names):
            return None
        if not all(pick(table, post, (c,)) == (v,) for c, v in key.when):
            return None
        told_by = (*key.columns, *(column for column, _ in key.when))
        if not self._changes(judged, told_by) and not _held_by_new(judged):
            return None
        cells = pick(table, post, key.columns)
        old = judged.change.old
        if old is not None and judged.old is not None and pick(table, judged.old, key.columns) == cells:
            # it is old's value: it means the row that old means, whatever new keeps under the same id
            origin = referred(key, pick(table, old, key.columns))
            if origin is None:
                return None
            for parent in self._result.origins(key.to_table, key.to_columns, origin):
                self._watch(position, parent)
                if parent != position and not self._judged[parent].alive:
                    return _missing(key, origin, (self._judged[parent].label,))
                return self._renamed(key, cells, parent)
        if _held_by_new(judged):
            return None
        values = referred(key, cells)
        if values is None:
            return None
        target = self._schema.tables.get(key.to_table)
        if target is None:
            # nobody compared that table: only a row that is the same on both sides is surely the one that old means
            theirs, ours = (
                self._asked.rows(side, key.to_table, key.to_columns, values) for side in (Side.OLD, Side.NEW)
            )
            if ours and ours == theirs:
                return None
            doubt = "another one on new" if ours else "not on new"
            return _missing(key, values, (f"{key.to_table} {', '.join(values)} (not compared, {doubt})",))
        for held in self._result.holding(target, key.to_columns, values):
            if held.writer is not None:
                self._watch(position, held.writer)
            if self._gone_softly(target, held):
                return _missing(key, values, (f"{label(target, values)} (new deleted it: {target.deleted_at})",))
            return None
        there = self._asked.rows(Side.OLD, key.to_table, key.to_columns, values)
        if key.declared and not there:
            known = dict.fromkeys((*self._judged[position].dangling, *key.columns))
            self._judged[position] = replace(self._judged[position], dangling=tuple(known))
            return None
        for row in there:
            changed = self._result.change_of(key.to_table, row_key(target, row))
            if changed is not None:
                self._watch(position, changed)
                held_post = self._judged[changed].post
                if held_post is not None and pick(target, held_post, key.to_columns) == pick(
                    target, row, key.to_columns
                ):
                    # the very row, by another text of the same value (another case, another scale)
                    return None
                return _missing(key, values, (self._judged[changed].label,))
        return _missing(key, values, (f"{label(target, values)} (new does not have it)",))

    def _gone_softly(self, target: Table, held: Holding) -> bool:
        """Tell whether new has deleted a row by the column that the plan declares for it."""
        column = target.deleted_at
        if column is None or not target.key or pick(target, held.row, (column,)) == (None,):
            return False
        before = self._asked.base_row(target, held.key)
        return before is not None and pick(target, before, (column,)) == (None,)

    def _renamed(self, key: ForeignKey, cells: Cells, parent: int) -> _Why | None:
        """Tell whether the row that is meant will be known by another value than the one that refers to it."""
        row = self._judged[parent].post
        if key.json_path or row is None or pick(self._judged[parent].table, row, key.to_columns) == cells:
            return None
        there = self._judged[parent].label
        message = f"{', '.join(key.columns)} refers to {there}, whose {', '.join(key.to_columns)} will be another one"
        return _Why("dependent", message, (there,), key.columns)

    # --- what may stand only once -------------------------------------------------------------------------

    def _uniques(self, position: int, judged: Judged) -> _Why | None:
        if judged.post is None:
            return None
        rules: tuple[Unique | Constraint, ...] = (
            *judged.table.uniques,
            *(each for each in judged.table.constraints if each.kind == "exclude"),
        )
        for rule in rules:
            if rule.watched and not self._changes(judged, rule.watched):
                continue
            others = (
                self._by_value(position, judged, rule)
                if isinstance(rule, Unique) and _by_text(rule)
                else self._by_server(position, judged, rule)
            )
            for key, writer in others:
                what = "exclusion" if isinstance(rule, Constraint) else "unique"
                columns = rule.columns or judged.table.key
                message = f"{rule.name}: the result would hold {', '.join(columns)} twice"
                also = () if writer is None or not self._changes(self._judged[writer], rule.watched) else (writer,)
                return _Why(
                    what, message, (label(judged.table, key),), rule.columns, key if writer is None else None, also
                )
        return None

    def _by_value(self, position: int, judged: Judged, rule: Unique) -> Iterator[tuple[Key, int | None]]:
        cells = pick(judged.table, judged.post or (), rule.columns)
        if any(isinstance(cell, Filled) for cell in cells):
            return
        if any(cell is None for cell in cells):
            if rule.nulls_not_distinct:
                yield from self._by_server(position, judged, rule)
            return
        own = None if judged.pre is None else row_key(judged.table, judged.pre)
        plain = plain_values(cells)
        for row in () if plain is None else self._asked.rows(Side.NEW, judged.table.name, rule.columns, plain):
            writer = self._result.writer_of(judged.table, row)
            if writer is not None and writer != position:
                self._watch(position, writer)
        for held in self._result.holding(judged.table, rule.columns, cells):
            if held.writer == position or (held.writer is None and own is not None and held.key == own):
                continue
            if held.writer is not None:
                self._watch(position, held.writer)
            yield held.key, held.writer

    def _by_server(self, position: int, judged: Judged, rule: Unique | Constraint) -> Iterator[tuple[Key, int | None]]:
        """Ask the server, where only it can compare: what new holds, and where the sides mix, what old holds."""
        table, post = judged.table, judged.post or ()
        own = None if judged.pre is None else row_key(table, judged.pre)
        columns = rule.watched or tuple(column.name for column in table.columns if not column.generated)
        against_new = self._asked.violations(Side.NEW, table, rule, post) if self._may_collide(judged, rule) else ()
        for row in against_new:
            key = row_key(table, row)
            if key == own:
                continue
            writer = self._result.writer_of(table, row)
            if writer is None or not self._judged[writer].writes:
                if writer is not None:
                    self._watch(position, writer)
                yield key, None
                continue
            self._watch(position, writer)
            other = self._judged[writer]
            if other.post is not None and not self._changes(other, rule.watched or table.column_names):
                yield key, writer
        if judged.old is not None and pick(table, judged.old, columns) == pick(table, post, columns):
            # old itself holds this very row beside its others
            return
        for row in self._asked.violations(Side.OLD, table, rule, post):
            key = row_key(table, row)
            writer = self._result.change_of(table.name, key)
            if writer is None or writer == position or not self._judged[writer].writes:
                continue
            self._watch(position, writer)
            other = self._judged[writer]
            if other.post is not None and pick(table, other.post, columns) == pick(table, row, columns):
                yield key, writer

    def _may_collide(self, judged: Judged, rule: Unique | Constraint) -> bool:
        """Tell whether new holds a row with these values at all: asked in batches, it spares the single questions."""
        if isinstance(rule, Constraint) or not rule.columns:
            return True
        plain = plain_values(pick(judged.table, judged.post or (), rule.columns))
        return plain is None or bool(self._asked.rows(Side.NEW, judged.table.name, rule.columns, plain))

    def _numbers(self, position: int, judged: Judged) -> _Why | None:
        """Find numbers that a sequence gave out on both sides beside the key: people know them, none may double."""
        if judged.kind != "insert" or judged.pre is not None or judged.post is None:
            return None
        table = judged.table
        for column in table.columns:
            if column.sequence is None or column.name == root_key(table) or column.name in table.columns_only_old:
                continue
            plain = plain_values(pick(table, judged.post, (column.name,)))
            if plain is None:
                continue
            for row in self._asked.rows(Side.NEW, table.name, (column.name,), plain):
                key = row_key(table, row)
                if not table.key or self._asked.base_row(table, key) is None:
                    message = f"{column.name} {plain[0]} was given out on both sides"
                    return _Why("number_taken", message, (label(table, key),), (column.name,), key)
        return None

    # --- what refers to a row that goes -------------------------------------------------------------------

    def _children(self, position: int, judged: Judged) -> _Why | None:
        if judged.pre is None:
            return None
        soft = judged.table.deleted_at is not None and judged.post is not None and self._goes_softly(judged)
        for key in self._pointing.get(judged.table.name, ()):
            released = plain_values(pick(judged.table, judged.pre, key.to_columns))
            if released is None or key.table not in self._schema.tables:
                continue
            stays = judged.post is not None and pick(judged.table, judged.post, key.to_columns) == released
            if stays and not soft:
                continue
            if not soft and self._taken_over(position, judged.table, key, released):
                continue
            children = list(self._children_of(position, judged, key, released, soft=soft))
            if children:
                message = f"{len(children)} row(s) of {key.table} that stay in new refer to it ({key.name})"
                return _Why("child_in_new", message, tuple(children[:_SHOWN]))
        return None

    def _goes_softly(self, judged: Judged) -> bool:
        column = (judged.table.deleted_at or "",)
        before, after = pick(judged.table, judged.pre or (), column), pick(judged.table, judged.post or (), column)
        return before == (None,) and after != (None,)

    def _taken_over(self, position: int, table: Table, key: ForeignKey, values: Values) -> bool:
        """Tell whether another row of the result takes over what this one gives up."""
        for writer in self._result.written(table.name, key.to_columns, values):
            if writer != position:
                self._watch(position, writer)
                return True
        return False

    def _children_of(
        self, position: int, judged: Judged, key: ForeignKey, values: Values, *, soft: bool
    ) -> Iterator[str]:
        table = self._schema.tables[key.table]
        if not set(key.columns) <= table.places.keys():
            return
        if key.json_path:
            rows, found = self._asked.rows_below(Side.NEW, key, values[0]), self._result.referring(key, values[0])
        else:
            rows = self._asked.rows(Side.NEW, table.name, key.columns, values)
            found = self._result.holding(table, key.columns, values)
        for row in rows:
            writer = self._result.writer_of(table, row)
            if writer is not None:
                self._watch(position, writer)
        for held in found:
            if held.writer == position or not all(pick(table, held.row, (c,)) == (v,) for c, v in key.when):
                continue
            if held.writer is not None:
                self._watch(position, held.writer)
            elif table is judged.table and judged.pre is not None and held.key == row_key(table, judged.pre):
                continue
            if soft and (held.writer is not None or self._was_there(table, key, held.key, values)):
                continue
            yield label(table, held.key)

    def _was_there(self, table: Table, key: ForeignKey, child: Key, values: Values) -> bool:
        before = self._asked.base_row(table, child) if table.key else None
        return before is not None and referred(key, pick(table, before, key.columns)) == values


def _held_by_new(judged: Judged) -> bool:
    """Tell whether new is said to hold the row that old inserted: so it does only if what it refers to is the same."""
    present = judged.decision is Decision.ALREADY_PRESENT and judged.kind == "insert" and bool(judged.table.key)
    return present and not judged.writes and not judged.rules


def _by_text(unique: Unique) -> bool:
    return bool(unique.columns) and unique.text_tells and not unique.partial


def _missing(key: ForeignKey, values: Values, because_of: tuple[str, ...]) -> _Why:
    message = f"{', '.join(key.columns)} refers to {key.to_table} {', '.join(values)}, which will not be in the result"
    return _Why("dependent", message, because_of, key.columns)
