"""A bundle's change set as the rows of the apply's state tables: batches, levels, COPY lines. No I/O but reading.

The protocol itself is SQL (``cutover/reconcile/protocol/*.sql``) and runs in the target, so that psql and the
tool carry out the very same thing; this module makes what it works on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cutover.reconcile.merge.cells import Cell, Cells, Filled, JsonIds, NewId

if TYPE_CHECKING:
    from cutover.reconcile.bundle import Component, MappedId, Meta, Step
    from cutover.reconcile.model import ForeignKey, TableName
    from cutover.reconcile.review.bundlefile import Bundle

PROTOCOL = 1
"""Version of the state tables and functions; a run of another version is not continued."""

COLLISION = "collision"
"""``how`` of the id map for rows that get an id drawn in the target."""

BATCH_ROWS = 1000
BATCH_BYTES = 4_000_000

STEP_COLUMNS = (
    "run", "no", "batch", "component", "level", "tbl", "change", "action", "first", "last", "copies", "cols", "key",
    "pre", "post", "loose_pre", "loose_post", "adds", "delta", "dangling", "refs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Staged:
    """What the COPY of the steps came to."""

    batches: int
    components: int
    steps: int
    loose: dict[TableName, set[int]]
    adds: dict[TableName, set[int]]


class Stager:
    """Turns components into lines for ``COPY cutover.step``; afterwards :attr:`staged` holds the sums."""

    def __init__(self, run: UUID, meta: Meta, *, batch_rows: int = BATCH_ROWS) -> None:
        self.run = run
        self.meta = meta
        self.batch_rows = batch_rows
        self.tables = {name: number for number, name in enumerate(meta.tables, 1)}
        self._writable = {
            name: [
                (i, column)
                for i, column in enumerate(table.columns, 1)
                if column not in table.generated and column not in table.only_old
            ]
            for name, table in meta.tables.items()
        }
        self._loose: dict[TableName, set[int]] = {}
        self._adds: dict[TableName, set[int]] = {}
        self.staged = Staged(0, 0, 0, {}, {})

    def lines(self, components: Iterable[Component]) -> Iterator[str]:
        """Yield one COPY line a step, packing small components into batches and never splitting one."""
        batch, rows, size = 1, 0, 0
        number = components_seen = 0
        run = str(self.run)
        for component in components:
            found = [(step, cols) for step in component.steps if (cols := self._cols(step)) is not None]
            if not found:
                continue
            if rows and (rows + len(found) > self.batch_rows or size > BATCH_BYTES):
                batch, rows, size = batch + 1, 0, 0
            components_seen += 1
            if len(found) == 1:
                first, last, levels = _ALONE
            else:
                steps = [step for step, _ in found]
                first, last, levels = _first_of_row(steps), _last_of_row(steps), _levels(steps)
            for position, (step, cols) in enumerate(found):
                number += 1
                place = (
                    f"{run}\t{number}\t{batch}\t{component.number}\t{levels[position]}\t{self.tables[step.table]}"
                    f"\t{step.change}"
                )
                line = self._line(step, cols, place, first=position in first, last=position in last)
                size += len(line)
                yield line
            rows += len(found)
        self.staged = Staged(batch if number else 0, components_seen, number, self._loose, self._adds)

    def _cols(self, step: Step) -> list[int] | None:
        """Return the positions of the columns that a step writes; None when it would change nothing."""
        if step.post is None:
            return []
        writable = self._writable[step.table]
        if step.pre is None:
            return [i for i, name in writable if not isinstance(step.post[i - 1], Filled)]
        pre, post = step.pre, step.post
        return [i for i, _ in writable if pre[i - 1] != post[i - 1] and not isinstance(post[i - 1], Filled)] or None

    def _line(self, step: Step, cols: list[int], place: str, *, first: bool, last: bool) -> str:
        refs: list[dict[str, Any]] = []
        key, _ = _copied(step.key, "key", refs)
        pre, loose_pre = _copied(step.pre, "pre", refs)
        post, loose_post = _copied(step.post, "post", refs)
        if loose_pre or loose_post:
            self._loose.setdefault(step.table, set()).update(loose_pre, loose_post)
        adds, delta = "{}", None
        if step.add:
            columns = self.meta.tables[step.table].columns
            places = [i for i, name in enumerate(columns, 1) if name in step.add]
            self._adds.setdefault(step.table, set()).update(places)
            adds = array_literal(places)
            delta = [step.add.get(name) for name in columns] if places else None
        names = self.meta.tables[step.table].columns if step.dangling else ()
        dangling = array_literal([i for i, name in enumerate(names, 1) if name in step.dangling])
        action = "i" if step.pre is None else "d" if step.post is None else "u"
        return (
            f"{place}\t{action}\t{'t' if first else 'f'}\t{'t' if last else 'f'}\t{step.count}\t{array_literal(cols)}"
            f"\t{key}\t{pre}\t{post}\t{array_literal(loose_pre)}\t{array_literal(loose_post)}\t{adds}"
            f"\t{copy_text(delta)}\t{dangling}\t{copy_text(json.dumps(refs, ensure_ascii=False)) if refs else NULL}\n"
        )

    def target_lines(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of ``cutover.target``, in the order of the columns that are staged."""
        for name, table in self.meta.tables.items():
            sequence = None if table.sequence is None else qualified(table.sequence)
            yield (
                self.run,
                self.tables[name],
                name.schema,
                name.name,
                list(table.columns),
                list(table.key),
                list(table.only_old),
                sorted(self.staged.loose.get(name, ())),
                sorted(self.staged.adds.get(name, ())),
                sequence,
            )


def run_id(bundle: Bundle) -> UUID:
    """Return what names this change set in the target: the same for the tool and for ``apply.sql``."""
    return run_id_of(bundle.folder)


def run_id_of(folder: Path) -> UUID:
    """Return a UUID of the contents of the two sealed files that decide what is applied."""
    digest = hashlib.sha256()
    for name in ("meta.json", "changes.jsonl"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return UUID(bytes=digest.digest()[:16])


def id_map_lines(run: UUID, ids: Iterable[MappedId]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``cutover.id_map``; the ids of collisions are drawn in the target, whatever the file says."""
    for line in ids:
        new_id = None if line.how == COLLISION else line.new_id
        yield (run, line.table.schema, line.table.name, line.column, line.old_id, new_id, line.how)


def reference_lines(run: UUID, references: Iterable[ForeignKey]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``cutover.reference``: the declared references of one column."""
    number = 0
    for key in references:
        if key.declared and len(key.columns) == 1 == len(key.to_columns):
            number += 1
            when = json.dumps(dict(key.when), ensure_ascii=False)
            yield (run, number, *key.table, key.columns[0], list(key.json_path), *key.to_table, key.to_columns[0], when)


def sequence_lines(run: UUID, meta: Meta) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``cutover.sequence``: how far each must be so that no id of old is drawn again."""
    for name, old, _ in meta.sequences:
        if old is not None:
            yield (run, qualified(name), old)


def qualified(name: TableName) -> str:
    """Return a name quoted for SQL."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name)


_ALONE = ({0}, {0}, [0])
"""First, last and levels of a component of one step: most are."""


def _first_of_row(steps: Sequence[Step]) -> set[int]:
    seen: set[tuple[object, ...]] = set()
    found: set[int] = set()
    for position, step in enumerate(steps):
        row = (step.table, *step.key) if step.key else (position,)
        if row not in seen:
            seen.add(row)
            found.add(position)
    return found


def _last_of_row(steps: Sequence[Step]) -> set[int]:
    count = len(steps)
    return {count - 1 - position for position in _first_of_row(steps[::-1])}


def _levels(steps: Sequence[Step]) -> list[int]:
    """Return each step's level: neighbours that cannot get in each other's way share one, and one statement."""
    levels: list[int] = []
    start = 0
    for position, step in enumerate(steps):
        if position == 0:
            levels.append(0)
            continue
        group = steps[start:position]
        if _may_join(group, step):
            levels.append(levels[-1])
        else:
            levels.append(levels[-1] + 1)
            start = position
    return levels


_JOINED = 200
"""Updates are compared pairwise: the most that share a level."""


def _may_join(group: Sequence[Step], step: Step) -> bool:
    first = group[0]
    if step.table != first.table or not step.key or not first.key:
        return False
    if (step.pre is None, step.post is None) != (first.pre is None, first.post is None):
        return False
    if step.pre is None or step.post is None:
        return True
    if len(group) >= _JOINED or any(other.key == step.key for other in group):
        return False
    # One row may take a unique value that another gives up: a value that comes from a neighbour keeps its order.
    for other in group:
        assert other.pre is not None  # noqa: S101 - for the type checker: the case is excluded above
        assert other.post is not None  # noqa: S101 - for the type checker: the case is excluded above
        for mine_before, mine, theirs_before, theirs in zip(step.pre, step.post, other.pre, other.post, strict=True):
            if mine != mine_before and mine == theirs_before:
                return False
            if theirs != theirs_before and theirs == mine_before:
                return False
    return True


_KNOWN = frozenset({str, type(None)})
"""Types of cells that hold a value already (``Filled`` members are strings, but not of type ``str``)."""


def _copied(cells: Cells | None, part: str, refs: list[dict[str, Any]]) -> tuple[str, list[int]]:
    """Return a row as one field of COPY's text format, and the positions that are left open; note references."""
    if cells is None:
        return NULL, []
    if _KNOWN.issuperset(map(type, cells)):
        return _plain(cells) or copy_text(cells), []
    texts = [_text(cell, part, i, refs) for i, cell in enumerate(cells, 1)]
    return copy_text(texts), [i for i, cell in enumerate(cells, 1) if isinstance(cell, Filled)]


def _plain(cells: Sequence[Any]) -> str:
    """Return a row of text and NULL as a field, when nothing in it needs escaping; else nothing."""
    if _SPECIAL.search("".join([cell for cell in cells if cell is not None])):
        return ""
    return "{" + ",".join(["NULL" if cell is None else f'"{cell}"' for cell in cells]) + "}"


def _text(cell: Cell, part: str, position: int, refs: list[dict[str, Any]]) -> str | None:
    match cell:
        case Filled():
            return None
        case NewId():
            refs.append({"part": part, "position": position, **_reference(cell)})
            return None
        case JsonIds(text, ids):
            refs.extend(
                {"part": part, "position": position, "path": list(path), **_reference(new)} for path, new in ids
            )
            return text
        case _:
            return cell


def _reference(new: NewId | str) -> dict[str, str]:
    if isinstance(new, NewId):
        return {"schema": new.table.schema, "table": new.table.name, "old": new.old}
    return {"id": new}


NULL = "\\N"
_SPECIAL = re.compile(r'[\\"\t\n\r\x08\f\v]')
_COPY_ESCAPES = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
)


def copy_text(value: Any) -> str:
    r"""Return one field of COPY's text format (``\N`` for NULL, arrays as literals)."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, list | tuple):
        return array_literal(value).translate(_COPY_ESCAPES)
    return str(value).translate(_COPY_ESCAPES)


def array_literal(values: Sequence[str | int | None]) -> str:
    """Return a one-dimensional array as Postgres reads it."""
    if not values:
        return "{}"
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
