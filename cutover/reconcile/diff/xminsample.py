"""Is a watermark that of this copy? Rows that it calls untouched on both sides are compared by value."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.model import Row, Table
from cutover.reconcile.source.catalogue import RawTable
from cutover.reconcile.source.sides import ScanPlan, Sources
from cutover.reconcile.source.xmin import XminBase

_SAMPLE = 500


def check_sample(
    sources: Sources, table: Table, plan: ScanPlan, base: XminBase, old_raw: RawTable, new_raw: RawTable
) -> None:
    """Compare a sample of rows that the watermark calls untouched on both sides.

    Raises:
        CutoverError: one of them differs: the watermark was not taken with this copy (exit code 4).
    """
    condition = base.old_is_base()
    blocks = sum(leaf.main for leaf in old_raw.leaves) // sources.old.info.block_size or 1
    percent = min(100.0, max(0.001, 100.0 * 40 / blocks))
    for leaf in old_raw.leaves:
        rows = sources.old.rows(
            sql.SQL("SELECT {} FROM ONLY {} TABLESAMPLE SYSTEM ({}) WHERE {} LIMIT {}").format(
                _columns(plan, old_raw),
                sql.Identifier(*leaf.name),
                sql.SQL(repr(round(percent, 6))),
                condition or sql.SQL("false"),
                sql.SQL(str(_SAMPLE)),
            )
        )
        if not rows:
            continue
        _compare_sample(sources, table, plan, base, new_raw, rows)


def _compare_sample(
    sources: Sources, table: Table, plan: ScanPlan, base: XminBase, new_raw: RawTable, rows: Sequence[Row]
) -> None:
    index = [plan.second.index(each) for each in table.key]
    mine = {tuple(row[each] for each in index): row for row in rows}
    for number, leaf in enumerate(new_raw.leaves):
        condition = base.new_is_base(table, new_raw, number) or sql.SQL("false")
        names = [sql.Identifier(f"v{position}") for position in range(len(index))]
        keys = list(mine)
        query = sql.SQL(
            "SELECT {columns} FROM ONLY {leaf} WHERE ({key}) IN (SELECT {casts} FROM unnest({arrays}) AS u({names}))"
            " AND {condition}"
        ).format(
            columns=_columns(plan, new_raw),
            leaf=sql.Identifier(*leaf.name),
            key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
            casts=sql.SQL(", ").join(
                sql.SQL("CAST({} AS {})").format(name, sql.SQL(_type(new_raw, column)))
                for name, column in zip(names, table.key, strict=True)
            ),
            arrays=sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Literal([key[part] for key in keys])) for part in range(len(index))
            ),
            names=sql.SQL(", ").join(names),
            condition=condition,
        )
        for theirs in sources.new.rows(query):
            key = tuple(theirs[each] for each in index)
            if key in mine and mine[key] != theirs:
                raise CutoverError(
                    f"{table.name}: row ({', '.join(map(str, key))}) is older than the watermark on both sides,"
                    " yet differs",
                    "the watermark was not taken with this copy: give a base (URL or dump) instead",
                    exit_code=4,
                )


def _type(raw: RawTable, name: str) -> str:
    column = raw.column(name)
    return column.type if column else "text"


def _columns(plan: ScanPlan, raw: RawTable) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(name) if raw.column(name) else sql.SQL("NULL") for name in plan.second)
