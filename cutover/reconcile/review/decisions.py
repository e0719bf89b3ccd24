"""``decisions.toml``: conflicts with base, old and new side by side, and what a person decided about them.

Every line carries a hash of the three rows: a decision holds for exactly these. When one of them has changed since,
the line is stale and is asked again. Values are hostile: control and direction characters are escaped, long values
are cut (``conflicts.jsonl`` holds them whole).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutover.errors import CutoverError
from cutover.reconcile.merge.accounting import text_key, three_hash
from cutover.reconcile.merge.cells import Filled
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.policy import Choice, Decided
from cutover.reconcile.model import Ask, Change, Decision, Key, Lookup, Row, Schema, Side, Table, TableName
from cutover.reconcile.review.summary import worst

FILE = "decisions.toml"
_LONG = 500
_SIDES = ("base", "old", "new")

_HEAD = """\
# Conflicts of {bundle}: fill in `take`, then run
#     cutover reconcile --bundle {bundle}
# which makes a new bundle without those that are decided. Nothing in the databases is touched by it.
#
#   take = "old"                       old's values are written
#   take = "new"                       new's row stays as it is
#   take = {{ name = "old", city = "new" }}      column by column, where both sides changed the row
# A row that old inserted is only given up with a reason. With take = "new" say one of:
#   same = true                        it is the same thing as new's row: references to it go there
#   discard = true                     it is not wanted at all
# A column that is missing on a side is SQL NULL; `absent` lists the sides that have no such row.
# A decision holds for these very rows (hash): once one of them changed, it is asked again.
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the file, as a person left it.

    Attributes:
        take: ``""`` (open), ``old``, ``new``, or the side per column.
        new_key: key of new's row, where the conflict is about another one than old's.
    """

    table: TableName
    key: tuple[str, ...]
    hash: str
    take: str | Mapping[str, str] = ""
    same: bool = False
    discard: bool = False
    new_key: Key | None = None

    @property
    def open(self) -> bool:
        """Nobody decided yet."""
        return not self.take


@dataclass(frozen=True, slots=True)
class Settled:
    """The decisions that hold for what was read now.

    Attributes:
        stale: labels whose rows changed since, or that nobody changed any more: asked again.
        lines: the entries that hold, to be kept in the next file.
    """

    decided: Mapping[tuple[TableName, Key], Decided]
    stale: frozenset[tuple[TableName, tuple[str, ...]]] = frozenset()
    lines: tuple[Line, ...] = ()


def read_decisions(folder: Path) -> tuple[Line, ...]:
    """Read what a person filled in.

    Raises:
        CutoverError: it is no TOML, or an entry says something that is not understood.
    """
    path = folder / FILE
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CutoverError(f"{path}: is missing", "run cutover reconcile again for a new one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CutoverError(f"{path}: cannot be read: {error}", "check the file and its rights") from None
    except tomllib.TOMLDecodeError as error:
        raise CutoverError(f"{path}: is not TOML: {error}", "mend that line") from None
    lines = [_line(entry, path) for part in ("conflict", "decided") for entry in _entries(found, part, path)]
    seen: set[tuple[TableName, tuple[str, ...]]] = set()
    for line in lines:
        if (line.table, line.key) in seen:
            raise CutoverError(f"{path}: {_name(line)} stands twice", "keep one of the two")
        seen.add((line.table, line.key))
    return tuple(lines)


def _entries(found: Mapping[str, Any], part: str, path: Path) -> Iterator[Mapping[str, Any]]:
    entries = found.get(part, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CutoverError(f"{path}: [[{part}]] is no list of tables", "take back that edit")
    yield from entries


def _name(line: Line) -> str:
    return f"{line.table} {', '.join(line.key)}"


def _line(entry: Mapping[str, Any], path: Path) -> Line:
    def texts(name: str) -> tuple[str, ...] | None:
        value = entry.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise CutoverError(f"{path}: `{name}` is no list of texts", "take back that edit")
        return tuple(value)

    key, text = texts("key"), {each: entry.get(each) for each in ("schema", "table", "hash")}
    if key is None or not all(isinstance(value, str) for value in text.values()):
        raise CutoverError(f"{path}: an entry lacks schema, table, key or hash", "take back that edit")
    known = {
        "schema",
        "table",
        "key",
        "hash",
        "new_key",
        "take",
        "same",
        "discard",
        "why",
        "because_of",
        "change",
        "note",
        "columns",
        "absent",
        "null",
    }
    unknown = sorted(set(entry) - known)
    line = Line(
        TableName(str(text["schema"]), str(text["table"])),
        key,
        str(text["hash"]),
        take=entry.get("take", ""),
        same=entry.get("same", False) is True,
        discard=entry.get("discard", False) is True,
        new_key=texts("new_key"),
    )
    if unknown:
        raise CutoverError(f"{path}: {_name(line)}: unknown key {unknown[0]!r}", "take, same and discard are filled in")
    sides = line.take.values() if isinstance(line.take, dict) else [line.take]
    if not all(isinstance(side, str) and side in ("old", "new", "") for side in sides):
        said = f"{path}: {_name(line)}: take = {line.take!r}"
        raise CutoverError(said, 'write "old", "new" or one of them per column')
    if (line.same or line.discard) and line.take != "new":
        raise CutoverError(f'{path}: {_name(line)}: same and discard go with take = "new"', "correct `take`")
    if line.same and line.discard:
        raise CutoverError(f"{path}: {_name(line)}: same or discard, not both", "keep one of them")
    return line


def settle(lines: Iterable[Line], schema: Schema, changes: Sequence[Change], lookup: Lookup, where: Path) -> Settled:
    """Match decisions with what was read now.

    Raises:
        CutoverError: a decision that these rows do not allow.
    """
    by_key = {(change.table, text_key(schema.tables[change.table], change.key)): change for change in changes}
    decided: dict[tuple[TableName, Key], Decided] = {}
    kept: list[Line] = []
    stale: set[tuple[TableName, tuple[str, ...]]] = set()
    for line in lines:
        if line.open:
            continue
        change = by_key.get((line.table, line.key))
        table = schema.tables.get(line.table)
        if change is None or table is None:
            stale.add((line.table, line.key))
            continue
        new = change.new if line.new_key is None else _row(lookup, table, line.new_key)
        if three_hash(change.table, change.key, change.base, change.old, new) != line.hash:
            stale.add((line.table, line.key))
            continue
        decided[(change.table, change.key)] = _decided(line, change, new, table, where)
        kept.append(line)
    return Settled(decided, frozenset(stale), tuple(kept))


def _row(lookup: Lookup, table: Table, key: Key) -> Row | None:
    found = lookup.rows(Side.NEW, Ask(table.name, table.key, (key,)))
    return found[0] if found else None


def _decided(line: Line, change: Change, new: Row | None, table: Table, where: Path) -> Decided:
    place = f"{where / FILE}: {_name(line)}"
    if isinstance(line.take, dict):
        if change.base is None or change.old is None or change.new is None:
            raise CutoverError(f"{place}: column by column goes only where both sides hold the row", "take old or new")
        for column in line.take:
            if column not in table.column_names:
                raise CutoverError(f"{place}: there is no column {column}", "name one of the columns that are listed")
        if not all(line.take.values()):
            raise CutoverError(f"{place}: a column is not decided", 'write "old" or "new" for each')
        return Decided(Choice.COLUMNS, line.hash, dict(line.take))
    if line.take == "old":
        return Decided(Choice.OLD, line.hash)
    if change.base is not None:
        if line.same or line.discard:
            raise CutoverError(f"{place}: same and discard are for rows that old inserted", "take them out")
        return Decided(Choice.NEW, line.hash)
    if line.discard:
        return Decided(Choice.DISCARD, line.hash)
    if not line.same:
        raise CutoverError(
            f'{place}: take = "new" would drop a row that old inserted',
            "say same = true (it is new's row) or discard = true (it is not wanted)",
        )
    if new is None:
        raise CutoverError(f"{place}: same = true, but new has no such row", "say discard = true, or take old")
    return Decided(Choice.SAME, line.hash, new_key=line.new_key)


def write_decisions(bundle: str, judged: Iterable[Judged], settled: Settled | None = None) -> Iterator[str]:
    """Yield the file: what is open, then what was decided and held."""
    yield _HEAD.format(bundle=bundle)
    carried = {} if settled is None else {(line.table, line.key): line for line in settled.lines}
    stale = frozenset() if settled is None else settled.stale
    open_keys = set()
    conflicts = [each for each in judged if each.decision is Decision.CONFLICT]
    for each in worst(conflicts, len(conflicts)):
        key = (each.table.name, text_key(each.table, each.change.key))
        open_keys.add(key)
        note = ""
        if key in carried:
            note = f"take = {carried[key].take!r} was tried: {each.message}"
        elif key in stale:
            note = "it was decided, but one of its rows has changed since: please look again"
        yield from _conflict(each, note)
    for key, line in carried.items():
        if key not in open_keys:
            yield from _carried(line)


def _conflict(each: Judged, note: str) -> Iterator[str]:
    change = each.change
    rows = {"base": each.base_row, "old": change.old, "new": each.new_row}
    yield "\n[[conflict]]\n"
    new_key = each.new_key if change.base is None else None
    yield from _identity(each.table.name, text_key(each.table, change.key), new_key)
    doing = f"{each.kind} on old" + (f", {each.new_kind} on new" if each.new_kind else "")
    yield f"change = {quote(doing)}\n"
    yield f"why = {quote(f'{each.reason}: {each.message}')}\n"
    if each.because_of:
        yield f"because_of = {_list(each.because_of)}\n"
    if note:
        yield f"note = {quote(note)}\n"
    yield f"hash = {quote(three_hash(change.table, change.key, change.base, change.old, each.new_row))}\n"
    absent = [side for side, row in rows.items() if row is None]
    if absent:
        yield f"absent = {_list(absent)}\n"
    yield "columns = [\n"
    for place, column in enumerate(each.table.columns):
        values = {side: row[place] for side, row in rows.items() if row is not None}
        if len(set(values.values())) > 1 or len(values) == 1 or column.name in (*each.table.key, *each.columns):
            cells = "".join(f", {side} = {quote(_cut(value))}" for side, value in values.items() if value is not None)
            yield f"  {{ name = {quote(column.name)}{cells} }},\n"
    yield "]\n"
    yield 'take = ""\n'
    if change.base is None:
        yield "same = false\ndiscard = false\n"


def _carried(line: Line) -> Iterator[str]:
    yield "\n[[decided]]\n"
    yield from _identity(line.table, line.key, line.new_key)
    yield f"hash = {quote(line.hash)}\n"
    if isinstance(line.take, str):
        yield f"take = {quote(line.take)}\n"
    else:
        yield "take = { " + ", ".join(f"{quote(name)} = {quote(side)}" for name, side in line.take.items()) + " }\n"
    if line.same or line.discard:
        yield f"same = {str(line.same).lower()}\ndiscard = {str(line.discard).lower()}\n"


def _identity(table: TableName, key: tuple[str, ...], new_key: Key | None) -> Iterator[str]:
    yield f"schema = {quote(table.schema)}\ntable = {quote(table.name)}\nkey = {_list(key)}\n"
    if new_key is not None:
        yield f"new_key = {_list(new_key)}\n"


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(quote(value) for value in values) + "]"


def _cut(value: str) -> str:
    if isinstance(value, Filled):
        return value.value
    return value if len(value) <= _LONG else f"{value[:_LONG]}... ({len(value)} characters, see conflicts.jsonl)"


_HOSTILE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def quote(text: str) -> str:
    """Return a TOML string; what would move the cursor or turn the text around is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _HOSTILE.sub(_escape, escaped) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        return "\\ufffd"
    return _SHORT.get(character, f"\\u{ord(character):04x}")
