"""``database.schema-parity``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown, warned
from cutover.evidence import Evidence
from cutover.observations.database import ColumnSeen, DefinitionSeen, SchemaSeen, TableSeen
from cutover.plan import Plan

from ._reading import SIDES, configured, why_unread

_SHOWN = 30


@check(title="both databases have the same shape", severity=Severity.WARNING, phases=(Phase.PREFLIGHT,))
def schema_parity(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compare tables, columns, types, constraints, indexes, extensions, collation and server version.

    A missing unique index lets new take rows that old would refuse; a missing column makes old's rows impossible
    to carry over; another collation orders and compares text differently.
    """
    if plan.database is None:
        yield skipped("database", "the plan has no [database]")
        return
    seen: dict[str, SchemaSeen] = {}
    for side in SIDES:
        found = evidence.current(SchemaSeen, side) if configured(plan, side) else None
        if found is None:
            yield unknown("database", why_unread(plan, evidence, side) or f"{side}'s schema was not read")
            return
        seen[side] = found
    old, new = seen["old"], seen["new"]
    outcomes = [*_tables(old, new), *_servers(old, new)]
    yield from outcomes[:_SHOWN]
    if len(outcomes) > _SHOWN:
        yield failed("database", f"{len(outcomes) - _SHOWN} more differences", differences=len(outcomes))
    if not outcomes:
        yield passed("database", f"{len(old.tables)} tables have the same shape on both sides", tables=len(old.tables))


def _tables(old: SchemaSeen, new: SchemaSeen) -> Iterator[Outcome]:
    for side, seen in (("old", old), ("new", new)):
        for schema in seen.missing_schemas:
            yield failed(schema, f"schema {schema} does not exist on {side}")
    by_name = {table.table: table for table in new.tables}
    for table in old.tables:
        other = by_name.pop(table.table, None)
        if other is None:
            yield failed(table.table, f"{table.table} exists only on old: its rows have no place on new")
            continue
        differences = [*_columns(table, other), *_definitions(table, other)]
        if differences:
            more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
            yield failed(table.table, "; ".join(differences[:5]) + more, differences=differences)
    for name in by_name:
        yield warned(name, f"{name} exists only on new")


def _columns(old: TableSeen, new: TableSeen) -> Iterator[str]:
    by_name: Mapping[str, ColumnSeen] = {column.name: column for column in new.columns}
    for column in old.columns:
        other = by_name.get(column.name)
        if other is None:
            yield f"column {column.name} ({column.type}) exists only on old"
            continue
        for what, mine, theirs in (
            ("type", column.type, other.type),
            ("NOT NULL", column.not_null, other.not_null),
            ("default", column.default, other.default),
            ("generated", column.generated, other.generated),
            ("identity", column.identity, other.identity),
            ("collation", column.collation, other.collation),
        ):
            if mine != theirs:
                yield f"column {column.name}: {what} is {_shown(mine)} on old, {_shown(theirs)} on new"
    names = {column.name for column in old.columns}
    for column in new.columns:
        if column.name not in names:
            must = " and must be given" if column.not_null and not column.default and not column.identity else ""
            yield f"column {column.name} ({column.type}) exists only on new{must}"


def _definitions(old: TableSeen, new: TableSeen) -> Iterator[str]:
    """Compare constraints and indexes by what they say, not by their names."""
    for what, mine, theirs in (
        ("constraint", _said(old.constraints), _said(new.constraints)),
        ("index", _said(old.indexes), _said(new.indexes)),
    ):
        for definition in mine.keys() - theirs.keys():
            yield f"{what} {mine[definition]} exists only on old: {definition[:120]}"
        for definition in theirs.keys() - mine.keys():
            yield f"{what} {theirs[definition]} exists only on new: {definition[:120]}"


def _said(definitions: Iterable[DefinitionSeen]) -> dict[str, str]:
    return {
        re.sub(r"^(CREATE (?:UNIQUE )?INDEX) (?:\"(?:[^\"]|\"\")+\"|\S+) ON", r"\1 ON", x.definition): x.name
        for x in definitions
    }


def _servers(old: SchemaSeen, new: SchemaSeen) -> Iterator[Outcome]:
    if old.encoding != new.encoding:
        yield failed("encoding", f"the encoding is {old.encoding} on old, {new.encoding} on new")
    if old.collation != new.collation:
        yield warned(
            "collation",
            f"the collation is {old.collation} on old, {new.collation} on new: text may be ordered differently",
        )
    if old.server_version // 10000 != new.server_version // 10000:
        yield warned(
            "version", f"PostgreSQL {old.server_version // 10000} on old, {new.server_version // 10000} on new"
        )
    there, here = dict(new.extensions), dict(old.extensions)
    for name, version in old.extensions:
        if name not in there:
            yield failed("extensions", f"extension {name} is missing on new", fix=f"CREATE EXTENSION {name}")
        elif there[name] != version:
            yield warned("extensions", f"extension {name} is {version} on old, {there[name]} on new")
    for name in there.keys() - here.keys():
        yield warned("extensions", f"extension {name} exists only on new")


def _shown(value: object) -> str:
    return str(value) if value not in ("", None) else "none"
