"""What a column of a merged row holds: text, NULL, or something that only the apply can fill in. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from cutover.reconcile.model import TableName


class NewId(NamedTuple):
    """The id that the apply will draw for a re-keyed row: symbolic until then.

    Attributes:
        table: the table whose row is re-keyed.
        old: the id that the row has in old.
    """

    table: TableName
    old: str


class JsonIds(NamedTuple):
    """A json document in which ids at known paths are replaced.

    Attributes:
        text: the document as old holds it.
        ids: (path below the document, new id) of every place to replace.
    """

    text: str
    ids: tuple[tuple[tuple[str, ...], NewId | str], ...]


class Filled(StrEnum):
    """A value that the database fills in by itself."""

    GENERATED = "generated"
    DEFAULT = "default"


Cell: TypeAlias = str | NewId | JsonIds | Filled | None
"""Plain text (under the pinned settings), SQL NULL, or a value known only when it is written.

``Filled`` members are strings too: test for them before ``isinstance(cell, str)``; :func:`is_text` does.
"""

Cells: TypeAlias = tuple[Cell, ...]


def is_text(cell: Cell) -> bool:
    """Tell whether a cell is a value that is already known (and not NULL)."""
    return isinstance(cell, str) and not isinstance(cell, Filled)


def is_symbolic(cell: Cell) -> bool:
    """Tell whether a cell waits for an id that is not drawn yet."""
    if isinstance(cell, JsonIds):
        return any(isinstance(new, NewId) for _, new in cell.ids)
    return isinstance(cell, NewId)


def to_json(cell: Cell) -> Any:
    """Return a cell as JSON: a string, null, or one object that names what is to be filled in."""
    match cell:
        case Filled():
            return {"filled": cell.value}
        case NewId(table, old):
            return {"new_id": [table.schema, table.name, old]}
        case JsonIds(text, ids):
            return {"json": text, "ids": [[list(path), to_json(new)] for path, new in ids]}
        case _:
            return cell


def from_json(value: Any) -> Cell:
    """Read what :func:`to_json` wrote.

    Raises:
        ValueError: it is none of the known shapes.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        if "filled" in value:
            return Filled(value["filled"])
        if "new_id" in value:
            schema, name, old = value["new_id"]
            return NewId(TableName(schema, name), old)
        if "json" in value:
            return JsonIds(value["json"], tuple((tuple(path), _id_from_json(new)) for path, new in value["ids"]))
    raise ValueError(f"not a cell: {value!r}")


def _id_from_json(value: Any) -> NewId | str:
    cell = from_json(value)
    if isinstance(cell, NewId) or (isinstance(cell, str) and not isinstance(cell, Filled)):
        return cell
    raise ValueError(f"not an id: {value!r}")


def show(cell: Cell) -> str:
    """Return a cell for people."""
    match cell:
        case None:
            return "NULL"
        case Filled():
            return f"({cell.value})"
        case NewId(table, old):
            return f"(new id of {table.name} {old})"
        case JsonIds(text, _):
            return text
        case _:
            return str(cell)
