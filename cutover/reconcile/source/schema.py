"""From the catalogues of old and new, and the plan, to the schema that is compared. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from cutover.errors import CutoverError
from cutover.reconcile.model import Column, ForeignKey, Schema, Table, TableKind, TableName, Unique
from cutover.reconcile.options import Options, TableOption
from cutover.reconcile.source.catalogue import Catalogue, RawColumn, RawTable
from cutover.reconcile.source.hashing import same_text, text_hash
from cutover.reconcile.source.names import Names, check_rules, declared_references
from cutover.reconcile.source.recognise import clock_columns, known_kind

_LEFT_OUT = {
    "v": "a view: it has no rows of its own",
    "m": "a materialized view: refresh it on new afterwards",
    "f": "a foreign table: its rows live elsewhere",
}

BaseColumns = Mapping[TableName, tuple[str, ...]]
"""The columns that base holds for each table whose data it has."""


def load_schema(old: Catalogue, new: Catalogue, base: BaseColumns | None, options: Options) -> Schema:
    """Bring the sides together by name.

    Args:
        old: what old's catalogue says.
        new: what new's catalogue says.
        base: the tables whose data base holds; ``None`` without a base that has rows.
        options: the plan.

    Raises:
        CutoverError: a schema, table or column of the plan does not exist, or a table cannot be read at all.
    """
    for side, catalogue, other in (("old", old, new), ("new", new, old)):
        for schema in catalogue.missing_schemas:
            there = "neither side has it" if schema in other.missing_schemas else f"only {side} lacks it"
            raise CutoverError(f"{side} has no schema {schema!r} ({there})", "correct [database] schemas in the plan")
    names = Names(old, new)
    excluded = {names.table(text, "[database] exclude", missing_ok=True) for text in options.exclude}
    declared = {names.table(option.name, "[[database.table]]"): option for option in options.tables}
    for text, column in options.newest.items():
        names.column(names.table(text, "[database] newest"), column, "[database] newest")

    left_out: dict[TableName, str] = {}
    warnings: list[str] = []
    tables: dict[TableName, Table] = {}
    for name in sorted({*old.tables, *new.tables}):
        theirs, ours = old.tables.get(name), new.tables.get(name)
        if name in excluded:
            left_out[name] = "excluded by the plan: not compared and not counted"
            continue
        reason = _why_left_out(theirs, ours, in_base=base is not None and name in base)
        if theirs is None or reason:
            left_out[name] = reason
            continue
        table = _table(name, theirs, ours, base, declared.get(name), warnings)
        tables[name] = table
        if table.kind is TableKind.IGNORE and table.kind_from == "plan":
            del tables[name]
            left_out[name] = 'kind = "ignore" in the plan: not compared and not counted'
    tables = _with_references(tables, declared_references(options, names), left_out, warnings)
    check_rules(options, names)
    warnings.extend(_case_twins([*tables, *left_out]))
    for side, catalogue in (("old", old), ("new", new)):
        if catalogue.large_objects:
            warnings.append(
                f"{side} holds {catalogue.large_objects} large objects (pg_largeobject): they are not compared"
            )
    return Schema(tables=tables, left_out=left_out, warnings=tuple(warnings))


def _why_left_out(old: RawTable | None, new: RawTable | None, *, in_base: bool) -> str:
    if old is None:
        return "old dropped it since base; new keeps it" if in_base else "only new has it: nothing to carry over"
    if old.relkind in _LEFT_OUT:
        return _LEFT_OUT[old.relkind]
    if not old.columns:
        return "it has no columns"
    if old.unlogged:
        return "unlogged: not kept after a crash, and not part of a standby"
    if old.foreign_leaves:
        return f"its partition {old.foreign_leaves[0]} is a foreign table: its rows live elsewhere"
    if new is not None and new.relkind in _LEFT_OUT:
        return f"on new it is {_LEFT_OUT[new.relkind]}"
    if new is not None and new.foreign_leaves:
        return f"its partition {new.foreign_leaves[0]} on new is a foreign table: its rows live elsewhere"
    return ""


def _table(
    name: TableName,
    old: RawTable,
    new: RawTable | None,
    base: BaseColumns | None,
    option: TableOption | None,
    warnings: list[str],
) -> Table:
    _check_readable(name, old, new)
    mine = {column.name: column for column in old.columns}
    theirs = {column.name: column for column in new.columns} if new else {}
    only_old = tuple(each for each in mine if each not in theirs)
    only_new = tuple(each for each in theirs if each not in mine)
    held = base.get(name) if base is not None else None
    not_in_base = (
        ()
        if held is None
        else tuple(each for each, column in mine.items() if each not in held and not column.generated)
    )
    retyped = tuple(each for each, column in mine.items() if each in theirs and not same_text(column, theirs[each]))
    if new is None:
        warnings.append(f"{name}: new has no such table: every change that old made to it is a conflict")
    elif only_old:
        warnings.append(f"{name}: new lacks {_list(only_old)}: changes of old there are conflicts")
    if only_new and new is not None:
        warnings.append(f"{name}: only new has {_list(only_new)}")
    if not_in_base:
        warnings.append(f"{name}: base lacks {_list(not_in_base)}: any value there counts as a change of old")
    computed = [
        each for each, column in theirs.items() if column.generated and each in mine and not mine[each].generated
    ]
    if computed:
        warnings.append(f"{name}: new computes {_list(computed)}: what old wrote there is not carried over")
    for each in retyped:
        warnings.append(f"{name}.{each}: {mine[each].type} on old, {theirs[each].type} on new")

    merged = tuple(_column(mine.get(each), theirs.get(each)) for each in [*mine, *only_new])
    key, key_from = _key(name, old, new, option, warnings)
    kind, kind_from = TableKind.MERGE, "default"
    if option and option.kind:
        kind, kind_from = TableKind(option.kind), "plan"
    elif recognised := known_kind(name):
        kind, kind_from = recognised
    target = new or old
    uniques = _all_uniques(old, new)
    # by what they say, not by their names: what either side refers to is a reference
    foreign_keys = tuple(
        {
            (each.columns, each.to_table, each.to_columns): each
            for raw in (old, new)
            for each in (raw.foreign_keys if raw else ())
        }.values()
    )
    constraints = tuple({each.name: each for raw in (old, new) if raw for each in raw.constraints}.values())
    clock = dict.fromkeys(each for raw in (old, new) if raw for each in clock_columns(raw))
    clock.update(dict.fromkeys(option.updated_at if option else ()))
    groups = option.groups if option else ()
    dependencies = {frozenset(group) for group in groups}
    for raw in (old, new):
        if raw is not None:
            dependencies.update(frozenset({each, *among}) for each, among in raw.generated_from.items())
    for columns in (
        *(each.columns for raw in (old, new) if raw for each in raw.constraints),
        *(each.touches for raw in (old, new) if raw for each in raw.uniques),
        *(each.columns for each in foreign_keys),
    ):
        dependencies.add(frozenset(columns))
    return Table(
        name=name,
        columns=merged,
        key=key,
        key_from=key_from,
        generated_key=_generated_key(name, key, merged, option),
        kind=kind,
        kind_from=kind_from,
        partitioned=target.relkind == "p",
        partition_columns=target.partition_columns,
        inherits=target.inherits,
        foreign_keys=foreign_keys,
        uniques=uniques,
        constraints=constraints,
        triggers=target.triggers if new else (),
        columns_only_old=only_old,
        columns_only_new=only_new,
        columns_not_in_base=not_in_base,
        columns_retyped=retyped,
        columns_required=tuple(_required(mine, new)),
        updated_at=tuple(clock),
        deleted_at=option.deleted_at if option else None,
        owner=option.owner if option else None,
        groups=groups,
        checks=() if new is None or new.triggers else tuple(x for x in new.constraints if x.kind == "check"),
        checks_of_old=frozenset(each.definition for each in old.constraints if each.kind == "check"),
        dependencies=tuple(sorted((each for each in dependencies if len(each) > 1), key=sorted)),
        generated_from=tuple(_generated_from(old, new)),
    )


def _required(old: Mapping[str, RawColumn], new: RawTable | None) -> Iterator[str]:
    """Yield the columns that new never leaves empty, and that old's rows may leave so."""
    if new is None or new.triggers:
        return
    for column in new.columns:
        mine = old.get(column.name)
        drawn = column.generated or bool(column.identity)
        if column.not_null and not drawn and (not mine.not_null if mine else column.default is None):
            yield column.name


def _generated_from(old: RawTable, new: RawTable | None) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield what the generated columns are computed from, where both sides compute them from the same."""
    if new is None:
        return
    for column in old.columns:
        other = new.column(column.name)
        if column.generated and other is not None and other.generated:
            sources = old.generated_from.get(column.name, frozenset())
            if sources == new.generated_from.get(column.name, frozenset()):
                yield column.name, sources


def _check_readable(name: TableName, old: RawTable, new: RawTable | None) -> None:
    for side, raw in (("old", old), ("new", new)):
        if raw is None:
            continue
        if not raw.readable:
            raise CutoverError(
                f"{side}: permission denied for table {name}",
                f"grant SELECT on {name} to the role of the URL, or exclude the table in the plan",
                exit_code=4,
            )
        if raw.filtered:
            raise CutoverError(
                f"{side}: row-level security hides rows of {name} from this role",
                "a filtered read would lose rows silently: use a role with BYPASSRLS",
                exit_code=4,
            )


def _column(old: RawColumn | None, new: RawColumn | None) -> Column:
    target = new or old
    if target is None:
        raise LookupError("a column that neither side has")
    return Column(
        name=target.name,
        type=target.type,
        not_null=target.not_null,
        generated=target.generated,
        identity=target.identity,
        default=target.default,
        sequence=target.sequence or (old.sequence if old else None),
        text_hash=any(text_hash(each) for each in (old, new) if each is not None)
        or (old is not None and new is not None and not same_text(old, new)),
    )


def _key(
    name: TableName, old: RawTable, new: RawTable | None, option: TableOption | None, warnings: list[str]
) -> tuple[tuple[str, ...], str]:
    if option and option.match_key:
        return option.match_key, "match_key"
    for raw, other in ((old, new), (new, old)):
        if raw is None:
            continue
        by_name = {each.name: each for each in raw.uniques}
        elsewhere = {frozenset(each.columns) for each in other.uniques if not each.partial} if other else None
        for index in raw.key_indexes:
            unique = by_name[index]
            if elsewhere is not None and frozenset(unique.columns) not in elsewhere:
                continue
            return unique.columns, "primary key" if unique.primary else f"unique index {index}"
    for side, raw in (("old", old), ("new", new)):
        if raw is None or not raw.key_indexes:
            continue
        unique = next(each for each in raw.uniques if each.name == raw.key_indexes[0])
        other = new if raw is old else old
        if other is not None and all(other.column(each) is not None for each in unique.columns):
            warnings.append(
                f"{name}: ({', '.join(unique.columns)}) is unique only on {side}; it is verified on every side"
            )
            return unique.columns, "primary key" if unique.primary else f"unique index {unique.name}"
    warnings.append(f"{name}: it has no key: whole rows are compared and counted")
    return (), ""


def _generated_key(
    name: TableName, key: tuple[str, ...], columns: tuple[Column, ...], option: TableOption | None
) -> bool:
    if option and option.key == "generated":
        if len(key) != 1:
            raise CutoverError(
                f'[[database.table]] {name}: key = "generated" needs a key of one column, not {len(key)}',
                "name the generated column by match_key",
            )
        return True
    if len(key) != 1:
        return False
    column = next(each for each in columns if each.name == key[0])
    return column.sequence is not None or bool(column.identity)


def _all_uniques(old: RawTable, new: RawTable | None) -> tuple[Unique, ...]:
    found: dict[str, Unique] = {}
    for raw in (new, old):
        for unique in raw.uniques if raw else ():
            tells = bool(unique.columns) and not unique.partial
            for name in unique.columns:
                column = raw.column(name) if raw else None
                tells = tells and column is not None and not text_hash(column)
            # The result lives on new: its indexes count; an index that only old has was a rule there too.
            found.setdefault(unique.name, unique._replace(text_tells=tells))
    return tuple(found.values())


def _with_references(
    tables: Mapping[TableName, Table],
    declared: Iterable[ForeignKey],
    left_out: Mapping[TableName, str],
    warnings: list[str],
) -> dict[TableName, Table]:
    found = dict(tables)
    for reference in declared:
        table = found.get(reference.table)
        if table is None or reference.to_table not in found:
            missing = reference.table if table is None else reference.to_table
            why = left_out.get(missing, "it is not compared")
            warnings.append(f"[[database.reference]] {reference.name}: {missing} is left out ({why})")
            continue
        found[reference.table] = dataclasses.replace(table, foreign_keys=(*table.foreign_keys, reference))
    for table in found.values():
        for key in table.foreign_keys:
            if key.to_table not in found:
                warnings.append(f"{table.name}: {key.name} refers to {key.to_table}, which is not compared")
    return found


def _case_twins(names: Iterable[TableName]) -> Iterator[str]:
    by_folded: dict[str, TableName] = {}
    for name in names:
        twin = by_folded.setdefault(str(name).lower(), name)
        if twin != name:
            yield f"{twin} and {name} differ only by case: they are two tables"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
