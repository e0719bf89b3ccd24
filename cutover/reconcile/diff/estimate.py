"""How bad is it: changed rows per table on both sides, and the users affected. Nothing is merged or written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from cutover.reconcile.diff.spill import TableDiff
from cutover.reconcile.model import Schema, Side, Table, TableName
from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.session import Database
from cutover.reconcile.source.sides import Sources

_MOST_OWNERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEstimate:
    """One table's damage.

    Attributes:
        old: changed rows on old since base; ``None`` where that cannot be said.
        new: likewise on new.
        exact: counted against base, not estimated from counters or times.
        how: where the numbers come from.
        owners: users (values of the declared owner column) of old's changed rows.
        owner_count: how many there are (``owners`` holds at most a hundred thousand).
    """

    table: TableName
    old: int | None
    new: int | None
    exact: bool
    how: str
    owners: tuple[str, ...] = ()
    owner_count: int = 0


def estimate_from_diffs(diffs: Iterable[TableDiff]) -> list[TableEstimate]:
    """Say how bad it is from what was read: exact where base is known."""
    found = []
    for diff in diffs:
        owners = _owners(diff)
        found.append(
            TableEstimate(
                table=diff.table.name,
                old=diff.old.total,
                new=diff.new.total,
                exact=diff.base_known,
                how=diff.strategy if diff.base_known else "old and new compared with each other; base is not known",
                owners=tuple(sorted(owners))[:_MOST_OWNERS],
                owner_count=len(owners),
            )
        )
    return found


def _owners(diff: TableDiff) -> set[str]:
    if diff.table.owner is None:
        return set()
    index = diff.table.column_names.index(diff.table.owner)
    owners: set[str] = set()
    for change in diff.changes:
        for row in (change.base, change.old):
            value = row[index] if row is not None else None
            if value is not None:
                owners.add(value)
    return owners


def estimate_since(sources: Sources, schema: Schema, changed_at: datetime) -> list[TableEstimate]:
    """Say how bad it may be with nothing but the time of the change: rows whose time columns are younger.

    A column of the plan's ``newest``, an ``updated_at`` kept by a trigger, or a well-known name is taken;
    deletes cannot be seen this way, and rows without such a column neither.

    Args:
        sources: old and new.
        schema: the tables.
        changed_at: when traffic began to move, UTC.
    """
    found = []
    for table in schema.tables.values():
        columns = time_columns(table, sources.options.newest.get(table.name.name))
        if not columns:
            found.append(
                TableEstimate(
                    table=table.name, old=None, new=None, exact=False, how="no column tells when a row was written"
                )
            )
            continue
        counts: dict[Side, int | None] = {}
        for side, database in ((Side.OLD, sources.old), (Side.NEW, sources.new)):
            raw = sources.raw(side, table.name)
            counts[side] = _younger(database, raw, columns, changed_at) if raw is not None else None
        owners = _owners_since(sources, table, columns, changed_at)
        found.append(
            TableEstimate(
                table=table.name,
                old=counts[Side.OLD],
                new=counts[Side.NEW],
                exact=False,
                how=f"rows whose {' or '.join(columns)} is later than the change; deletes are not seen",
                owners=tuple(sorted(owners)),
                owner_count=len(owners),
            )
        )
    return found


_TIME_TYPES = ("timestamp with time zone", "timestamp without time zone", "timestamp(")
_WELL_KNOWN = frozenset(
    {
        "updated_at",
        "created_at",
        "inserted_at",
        "modified_at",
        "updated_on",
        "created_on",
        "updatedat",
        "createdat",
        "placed_at",
        "last_modified",
        "date_created",
        "date_updated",
        "modified",
        "created",
    }
)


def time_columns(table: Table, newest: str | None) -> list[str]:
    """Return the columns that tell when a row was written, best known first."""
    chosen = [newest] if newest else []
    chosen += list(table.updated_at)
    for column in table.columns:
        if column.name.lower() in _WELL_KNOWN and column.type.startswith(_TIME_TYPES):
            chosen.append(column.name)
    return list(dict.fromkeys(chosen))


def _condition(raw: RawTable, columns: Sequence[str], changed_at: datetime) -> sql.Composable:
    present = [each for each in columns if raw.column(each) is not None]
    terms = [
        sql.SQL("{} >= {}::timestamptz").format(sql.Identifier(each), sql.Literal(changed_at.isoformat()))
        for each in present
    ]
    return sql.SQL(" OR ").join(terms) if terms else sql.SQL("false")


def _source(raw: RawTable) -> sql.Composable:
    return sql.SQL("{}" if raw.relkind == "p" else "ONLY {}").format(sql.Identifier(*raw.name))


def _younger(database: Database, raw: RawTable, columns: Sequence[str], changed_at: datetime) -> int:
    row = database.dicts(
        sql.SQL("SELECT count(*) AS n FROM {} WHERE {}").format(_source(raw), _condition(raw, columns, changed_at))
    )[0]
    return int(row["n"])


def _owners_since(sources: Sources, table: Table, columns: Sequence[str], changed_at: datetime) -> set[str]:
    raw = sources.raw(Side.OLD, table.name)
    if table.owner is None or raw is None or raw.column(table.owner) is None:
        return set()
    query = sql.SQL("SELECT DISTINCT {owner} FROM {source} WHERE ({condition}) AND {owner} IS NOT NULL LIMIT {most}")
    rows = sources.old.rows(
        query.format(
            owner=sql.Identifier(table.owner),
            source=_source(raw),
            condition=_condition(raw, columns, changed_at),
            most=sql.SQL(str(_MOST_OWNERS)),
        )
    )
    return {row[0] for row in rows if row[0] is not None}
