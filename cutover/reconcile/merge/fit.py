"""Values of old that new's columns cannot hold: found before anything is decided, by asking new's server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from psycopg import errors, sql

from cutover.reconcile.model import Change, Schema, Side, TableName
from cutover.reconcile.source.catalogue import RawColumn
from cutover.reconcile.source.encodings import codec_of
from cutover.reconcile.source.session import Database
from cutover.reconcile.source.sides import Sources

Misfits = Mapping[tuple[TableName, str], Collection[str]]
"""By table and column: the values of old's changed rows that the column cannot hold on new."""

_BATCH = 2000
_TEXTS = frozenset({"text", "varchar", "bpchar"})
_ROUNDED = frozenset({"numeric", "timestamp", "timestamptz", "time", "timetz", "interval"})


def misfits(sources: Sources, schema: Schema, changes: Iterable[Change]) -> Misfits:
    """Return what an insert or update on new would be refused for, or would be cut or rounded in.

    Columns whose type is the same built-in one on both sides are not asked for, but for their text where new's
    encoding is not UTF-8.

    Raises:
        CutoverError: new cannot be read.
    """
    watched: dict[TableName, tuple[tuple[int, RawColumn, RawColumn], ...]] = {}
    codec = codec_of(sources.new.info.encoding)
    for name in schema.tables:
        watched[name] = tuple(_doubtful(sources, schema, name))
    values: dict[tuple[TableName, str], set[str]] = {}
    found: dict[tuple[TableName, str], set[str]] = {}
    for change in changes:
        row, before = change.old, change.base if change.new is not None else None
        if row is None:
            continue
        for place, old, _ in watched[change.table]:
            value = row[place]
            if value is not None and (before is None or before[place] != value):
                values.setdefault((change.table, old.name), set()).add(value)
        if codec:
            for column, value in zip(schema.tables[change.table].column_names, row, strict=True):
                if value is not None and not value.isascii() and not _encodes(value, codec):
                    found.setdefault((change.table, column), set()).add(value)
    for name, columns in watched.items():
        for _, old, new in columns:
            asked = values.get((name, old.name), set()) - found.get((name, old.name), set())
            refused = set(_refused(sources.new, sorted(asked), old, new)) if asked else set()
            if refused:
                found.setdefault((name, old.name), set()).update(refused)
    return found


def _doubtful(sources: Sources, schema: Schema, name: TableName) -> Iterator[tuple[int, RawColumn, RawColumn]]:
    old, new = sources.raw(Side.OLD, name), sources.raw(Side.NEW, name)
    if old is None or new is None:
        return
    older = sources.new.info.major < sources.old.info.major
    for column in old.columns:
        other = new.column(column.name)
        if other is None or other.generated:
            continue
        # a name with a schema may mean another list of labels, another check, other parts
        own = "." in other.type and not (other.type_class == "b" and other.type == other.base_cast)
        if column.type != other.type or own or (older and other.base_type == "interval"):
            yield schema.tables[name].places[column.name], column, other


def _encodes(value: str, codec: str) -> bool:
    try:
        value.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _refused(database: Database, values: Sequence[str], old: RawColumn, new: RawColumn) -> Iterator[str]:
    """Yield the values that new refuses; a batch that it refuses is halved until one value is left."""
    for start in range(0, len(values), _BATCH):
        waiting = [values[start : start + _BATCH]]
        while waiting:
            part = waiting.pop()
            said = _ask(database, part, old, new)
            if said is not None:
                yield from said
            elif len(part) == 1:
                yield part[0]
            else:
                middle = len(part) // 2
                waiting += [part[:middle], part[middle:]]


def _ask(database: Database, values: Sequence[str], old: RawColumn, new: RawColumn) -> list[str] | None:
    """Return the values that new's type would change, ``None`` where it refuses one of them."""
    kept = sql.SQL("CAST(v AS {})").format(sql.SQL(new.type))
    altered: sql.Composable = sql.SQL("({}) IS NULL").format(kept)
    if {old.base_type, new.base_type} <= _TEXTS or (old.base_type == new.base_type and old.type != new.type):
        altered = sql.SQL("{}::text IS DISTINCT FROM v").format(kept)
        if new.base_type in _ROUNDED:
            altered = sql.SQL("{0}::{1} IS DISTINCT FROM CAST(v AS {1})").format(kept, sql.SQL(new.base_cast))
    query = sql.SQL("SELECT v FROM unnest({}::text[]) AS u(v) WHERE {}").format(sql.Literal(list(values)), altered)
    with database.worker() as connection:
        try:
            with connection.transaction():
                return [row[0] for row in connection.execute(query).fetchall()]
        except (errors.DataError, errors.IntegrityError):
            return None
