"""The plan's names against the schema: an unknown table or column is an error that suggests the near one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from cutover.errors import CutoverError
from cutover.reconcile.model import ForeignKey, TableName
from cutover.reconcile.options import Options
from cutover.reconcile.source.catalogue import Catalogue

_POLICY_COLUMN = re.compile(r"newest\(([^()]+)\)")
_ADDABLE = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"})
"""Money and intervals are left out: their text is not added up exactly, and a rule that never decides is no rule."""

_TIMED = frozenset({"date", "timestamp", "timestamptz", "text", "varchar", "bpchar"})
"""Text may hold a time; what is no time at all would make every row a conflict for being "empty"."""
_SHOWN = 8


class Names:
    """Looks up the names that a person wrote."""

    def __init__(self, old: Catalogue, new: Catalogue) -> None:
        self._columns: dict[TableName, dict[str, str]] = {}
        for catalogue in (new, old):
            for name, table in catalogue.tables.items():
                into = self._columns.setdefault(name, {})
                for column in table.columns:
                    into[column.name] = column.base_type
        for catalogue in (old, new):
            self._partitions = {**getattr(self, "_partitions", {}), **catalogue.partitions}

    def table(self, text: str, where: str, *, missing_ok: bool = False) -> TableName:
        """Find a table by ``schema.name`` or, where it is unambiguous, by its bare name.

        Raises:
            CutoverError: it does not exist, or the bare name means two tables.
        """
        exact = [name for name in self._columns if str(name) == text]
        bare = [name for name in self._columns if name.name == text]
        for found in (exact, bare):
            if len(found) == 1:
                return found[0]
        if len(bare) > 1:
            raise CutoverError(
                f"{where}: {text!r} means {' and '.join(map(str, bare))}", "write the schema before the table"
            )
        root = next((root for leaf, root in self._partitions.items() if text in (str(leaf), leaf.name)), None)
        if root is not None:
            raise CutoverError(f"{where}: {text!r} is a partition", f"name the whole table: {root}")
        if missing_ok and "." in text:
            # Excluding what is not there harms nobody: one plan may serve several databases.
            schema, name = text.split(".", maxsplit=1)
            return TableName(schema, name)
        known = [str(name) for name in self._columns] + [name.name for name in self._columns]
        raise CutoverError(f"{where}: there is no table {text!r}", _near(text, known))

    def column(self, table: TableName, column: str, where: str) -> str:
        """Return the base type of a column.

        Raises:
            CutoverError: it does not exist.
        """
        columns = self._columns[table]
        if column not in columns:
            raise CutoverError(f"{where}: {table} has no column {column!r}", _near(column, columns, _some(columns)))
        return columns[column]

    def qualified(self, text: str, where: str) -> tuple[TableName, str]:
        """Split ``[schema.]table.column``.

        Raises:
            CutoverError: either part does not exist.
        """
        before, dot, column = text.rpartition(".")
        if not dot:
            raise CutoverError(f"{where}: {text!r} names no column", "write TABLE.COLUMN")
        table = self.table(before, where)
        self.column(table, column, where)
        return table, column


def _near(text: str, known: Iterable[str], otherwise: str = "see [database] schemas: only these are read") -> str:
    close = difflib.get_close_matches(text, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else otherwise


def _some(columns: Iterable[str]) -> str:
    names = list(columns)
    return f"it has {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"


def declared_references(options: Options, names: Names) -> Iterator[ForeignKey]:
    """Yield ``[[database.reference]]`` as references; those that are none stay out.

    Raises:
        CutoverError: an unknown table or column, or a path below a column that is not JSON.
    """
    for option in options.references:
        where = f"[[database.reference]] {option.source}"
        source, path = _json_path(option.source, where)
        table, column = names.qualified(source, where)
        kind = names.column(table, column, where)
        if path and kind not in {"json", "jsonb"}:
            raise CutoverError(f"{where}: {table}.{column} is {kind}, not json", "write only the column")
        for other in option.when:
            names.column(table, other, where)
        if option.not_a_reference:
            continue
        if not option.to:
            raise CutoverError(f"{where}: `to` is missing", 'write to = "TABLE.COLUMN", or not_a_reference = true')
        to_table, to_column = names.qualified(option.to, where)
        yield ForeignKey(
            name=f"{option.source} -> {option.to}",
            table=table,
            columns=(column,),
            to_table=to_table,
            to_columns=(to_column,),
            declared=True,
            when=tuple(sorted(option.when.items())),
            json_path=path,
        )


def not_references(options: Options, names: Names) -> frozenset[tuple[TableName, str]]:
    """Return the columns that the plan says hold no reference (with ``when``: at least not always one)."""
    found = set()
    for option in options.references:
        if option.not_a_reference:
            source, _ = _json_path(option.source, f"[[database.reference]] {option.source}")
            found.add(names.qualified(source, f"[[database.reference]] {option.source}"))
    return frozenset(found)


def _json_path(text: str, where: str) -> tuple[str, tuple[str, ...]]:
    head, *steps = re.split(r"->>?", text)
    path = tuple(step.strip().strip("'") for step in steps)
    if any(not step for step in path):
        raise CutoverError(f"{where}: an empty step in the JSON path", "write TABLE.COLUMN->>key")
    return head.strip(), path


def check_rules(options: Options, names: Names) -> None:
    """Check ``[[database.table]]`` and ``[[merge]]`` against the schema.

    Raises:
        CutoverError: an unknown name, or a policy that does not fit the column's type.
    """
    seen: set[TableName] = set()
    for option in options.tables:
        where = f"[[database.table]] {option.name}"
        table = names.table(option.name, where)
        if table in seen:
            raise CutoverError(f"{where}: the table is described twice", "keep one [[database.table]] for it")
        seen.add(table)
        columns = [*option.match_key, *option.updated_at, *(each for group in option.groups for each in group)]
        columns += [each for each in (option.owner, option.deleted_at) if each]
        for column in columns:
            names.column(table, column, where)
    for rule in options.rules:
        where = f"[[merge]] {rule.table}"
        table = names.table(rule.table, where)
        if rule.column is not None:
            kind = names.column(table, rule.column, where)
            if rule.policy == "add" and kind not in _ADDABLE:
                raise CutoverError(f"{where}: {rule.column} is {kind}: add needs a number", "choose another policy")
        elif rule.policy in {"add", "max", "min"}:
            raise CutoverError(f"{where}: policy {rule.policy!r} needs a column", "add column = ...")
        for column in rule.same_entity:
            names.column(table, column, where)
        if match := _POLICY_COLUMN.fullmatch(rule.policy or ""):
            kind = names.column(table, match[1].strip(), where)
            if kind not in _TIMED and "." not in kind:
                raise CutoverError(
                    f"{where}: {match[1].strip()} is {kind}: newest needs a date or a time", "name another column"
                )
