"""Is base really the state that both sides started from? Evidence against it, table by table."""

from __future__ import annotations

import time
from collections.abc import Iterable

from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.diff.spill import ChangeKind, TableDiff
from cutover.reconcile.model import Schema, Side, Table
from cutover.reconcile.source import counts
from cutover.reconcile.source.sides import Sources
from cutover.reconcile.source.watermark import Watermark
from cutover.reconcile.source.xmin import XminBase, restored_by

_ENOUGH = 200
_SAMPLE = 1000
_TABLES = 30


def prove_lineage(sources: Sources, schema: Schema, diffs: Iterable[TableDiff]) -> None:
    """Refuse a base that was taken at another moment than the copy.

    Two proofs against rows. Most of base's rows are gone or different on new: then new was not made of it.
    And, where new's restore can be told from its transaction ids: a row that nobody touched on new since the
    restore, yet differs from base. Such a base would turn changes of one side into changes of the other.
    One against a watermark: more of its rows are missing on new than new ever deleted.

    Raises:
        CutoverError: exit code 4.
    """
    diffs = list(diffs)
    if isinstance(sources.base, XminBase) and sources.base.old_mark is not None:
        _never_deleted(sources, sources.base.old_mark, diffs)
    # where a column's type is another one on new, its text differs in rows that nobody touched
    known = [diff for diff in diffs if diff.base_from == "rows" and not diff.table.columns_retyped]
    if not known:
        return
    _mostly_equal(known)
    # A base of another moment is one for all tables: the largest ones tell.
    for diff in sorted(known, key=lambda each: each.rows[Side.BASE], reverse=True)[:_TABLES]:
        if diff.new.insert or diff.new.update:
            _untouched_yet_different(sources, schema.tables[diff.table.name], diff)


def _never_deleted(sources: Sources, mark: Watermark, diffs: Iterable[TableDiff]) -> None:
    """Refuse a watermark that is later than the copy: what old wrote in between would pass for deleted by new."""
    for diff in diffs:
        raw = sources.raw(Side.NEW, diff.table.name)
        if diff.base_from != "watermark" or not diff.new.delete or raw is None or raw.foreign_leaves:
            continue
        until = time.monotonic() + counts.TOLD_WITHIN
        while True:
            counted = counts.gone_keys(sources.new, raw, mark)
            if counted is None or counted >= diff.new.delete:
                break
            if time.monotonic() >= until:
                raise CutoverError(
                    f"{diff.table.name}: {diff.new.delete} rows that are older than the watermark are missing on new,"
                    f" and new has deleted {counted} there: old wrote the others after the copy, or new was truncated",
                    "the watermark was not taken with this copy: give a base (URL or dump) instead",
                    exit_code=4,
                )
            time.sleep(0.5)


def _mostly_equal(diffs: Iterable[TableDiff]) -> None:
    listed = list(diffs)
    base = sum(diff.rows[Side.BASE] for diff in listed)
    if base < _ENOUGH:
        return
    changed = sum(diff.new.update + diff.new.delete for diff in listed)
    if changed * 2 > base:
        raise CutoverError(
            f"base: {changed} of its {base} rows differ from new or are gone there",
            "this is not the state that both sides started from: give the dump or copy that new was made of",
            exit_code=4,
        )


def _untouched_yet_different(sources: Sources, table: Table, diff: TableDiff) -> None:
    raw = sources.raw(Side.NEW, table.name)
    if raw is None or not table.key:
        return
    restored = restored_by(sources.new, raw)
    if restored.refused:
        return
    keys = []
    for change in diff.new_changes:
        if change.kind is not ChangeKind.DELETE:
            keys.append(change.key)
        if len(keys) >= _SAMPLE:
            break
    for number, leaf in enumerate(raw.leaves):
        if number not in restored.xids:
            continue
        columns = [raw.column(each) for each in table.key]
        names = [sql.Identifier(f"v{each}") for each in range(len(columns))]
        query = sql.SQL(
            "SELECT {key} FROM ONLY {leaf} WHERE xmin = {xid} AND ({key}) IN"
            " (SELECT {casts} FROM unnest({arrays}) AS u({names})) LIMIT 1"
        ).format(
            key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
            leaf=sql.Identifier(*leaf.name),
            xid=sql.SQL(f"'{restored.xids[number]}'::xid"),
            casts=sql.SQL(", ").join(
                sql.SQL("CAST({} AS {})").format(name, sql.SQL(column.type))
                for name, column in zip(names, columns, strict=True)
                if column is not None
            ),
            arrays=sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Literal([key[part] for key in keys])) for part in range(len(names))
            ),
            names=sql.SQL(", ").join(names),
        )
        for row in sources.new.rows(query):
            raise CutoverError(
                f"{table.name}: row ({', '.join(map(str, row))}) is untouched on new since its restore, yet base has"
                " another",
                "base was taken at another moment than the copy: give the dump or copy that new was made of",
                exit_code=4,
            )
