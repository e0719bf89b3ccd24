"""The sides of a comparison: live databases, and whatever stands for base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, Self

from psycopg import sql

from cutover.errors import CutoverError
from cutover.reconcile.model import Side, Table, TableName
from cutover.reconcile.options import Options
from cutover.reconcile.source.catalogue import Catalogue, RawColumn, RawTable, read_catalogue
from cutover.reconcile.source.hashing import SELF_CHECK, HashLevel, key_expression, row_hash, same_text
from cutover.reconcile.source.reader import DatabaseReader, Expressions, NoRows, Reader
from cutover.reconcile.source.schema import BaseColumns
from cutover.reconcile.source.session import Database

Sequences = Mapping[TableName, int | None]
"""The last value that each sequence gave; ``None`` where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """What all sides of one table hash, so that their numbers can be compared.

    Attributes:
        first: columns as old and base are compared; ``second``: as new and base are compared.
        own_numeric, wide: see :func:`cutover.reconcile.source.hashing.row_hash`.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    key: tuple[str, ...]
    integer_key: bool
    level: HashLevel
    transcode: bool
    retyped: frozenset[str]
    own_numeric: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()

    @property
    def two(self) -> bool:
        """Base needs two hashes: the sides' columns differ."""
        return self.first != self.second

    def _hash(self, raw: RawTable, columns: tuple[str, ...]) -> sql.Composable:
        if self.integer_key:
            # Rows are brought together by the key itself: it need not be hashed once more.
            columns = tuple(each for each in columns if each not in self.key)
        return row_hash(
            raw,
            columns,
            self.level,
            transcode=self.transcode,
            retyped=self.retyped,
            own_numeric=self.own_numeric,
            wide=self.wide,
        )

    def expressions(self, raw: RawTable, side: Side) -> Expressions:
        """Return the SQL for one side."""
        first = self._hash(raw, self.second if side is Side.NEW else self.first)
        second = self._hash(raw, self.second) if side is Side.BASE and self.two else None
        key = first
        if self.key:
            key = key_expression(
                raw,
                self.key,
                self.level,
                integer=self.integer_key,
                transcode=self.transcode,
                retyped=self.retyped,
                wide=self.wide,
            )
        indexed = any(unique.columns == self.key and not unique.partial for unique in raw.uniques)
        return Expressions(key=key, first=first, second=second, by_key=self.integer_key and indexed)


class Base(Protocol):
    """What stands for base."""

    @property
    def label(self) -> str:
        """How a report names it: ``base: ...``."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know about it."""
        ...

    def columns(self) -> BaseColumns | None:
        """The columns of each table whose rows it holds; ``None`` when it holds no rows."""
        ...

    def reader(self, table: Table, plan: ScanPlan) -> Reader | None:
        """Return a reader; ``None`` where it holds no rows of the table."""
        ...

    def raw(self, name: TableName) -> RawTable | None:
        """Return the table as base's catalogue has it, where there is one."""
        ...

    def sequences(self) -> Sequences:
        """The sequences' last values in base."""
        ...

    def instant(self) -> str:
        """What tells this state of base from any other (for resuming)."""
        ...

    def refresh(self, old: Catalogue) -> None:
        """A snapshot was lost: read anew what depends on one. ``old`` is old's present catalogue."""
        ...

    def close(self) -> None:
        """Let go of sessions and files."""
        ...


class UrlBase:
    """Base as a third live database.

    Args:
        database: with side ``Side.BASE``.
        schemas: the plan's.
    """

    def __init__(self, database: Database, schemas: tuple[str, ...]) -> None:
        self.database = database
        self._schemas = schemas
        self.catalogue = Catalogue(tables={}, partitions={})
        self._columns: BaseColumns = {}

    @property
    def label(self) -> str:
        """Where it is."""
        return f"base: {self.database.where}"

    @property
    def notes(self) -> Sequence[str]:
        """Nothing beyond what its server says."""
        return ()

    def columns(self) -> BaseColumns | None:
        """Every ordinary table that can be read."""
        return self._columns

    def reader(self, table: Table, plan: ScanPlan) -> Reader | None:
        """Return a reader within base's snapshot."""
        raw = self.raw(table.name)
        if raw is None:
            return None
        return DatabaseReader(self.database, table, raw, plan.expressions(raw, Side.BASE))

    def raw(self, name: TableName) -> RawTable | None:
        """Return the table as base's catalogue has it."""
        raw = self.catalogue.tables.get(name)
        if raw is None or raw.relkind not in "rp":
            return None
        if not raw.readable or raw.filtered:
            raise CutoverError(
                f"{self.database.where}: {name} cannot be read whole by this role",
                f"grant SELECT on {name} (and BYPASSRLS where policies apply), or exclude the table",
                exit_code=4,
            )
        return raw

    def sequences(self) -> Sequences:
        """Read ``pg_sequences``."""
        return sequence_values(self.database)

    def instant(self) -> str:
        """Its snapshot."""
        return instant(self.database)

    def refresh(self, old: Catalogue) -> None:
        """Read its catalogue."""
        self.catalogue = read_catalogue(self.database, self._schemas)
        self._columns = {
            name: tuple(column.name for column in raw.columns)
            for name, raw in self.catalogue.tables.items()
            if raw.relkind in "rp"
        }

    def close(self) -> None:
        """End its sessions."""
        self.database.close()


@dataclass(slots=True, kw_only=True)
class Sources:
    """Old, new and base, each at one instant.

    Attributes:
        catalogues: of the live sides.
        level: what the servers' hashes agree on.
        transcode: the live sides' encodings differ.
    """

    old: Database
    new: Database
    base: Base | None
    options: Options
    catalogues: dict[Side, Catalogue] = field(default_factory=dict)
    level: HashLevel = HashLevel.TEXT
    transcode: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> None:
        """Read the catalogues and compare the servers; again after a snapshot was lost."""
        with ThreadPoolExecutor(max_workers=2) as executor:
            old, new = (
                executor.submit(read_catalogue, database, self.options.schemas) for database in (self.old, self.new)
            )
            if self.base is not None:
                self.base.refresh(old.result())
            self.catalogues = {Side.OLD: old.result(), Side.NEW: new.result()}
        self.level = agreed_level(self.databases)
        self.transcode = len({database.info.encoding for database in self.databases}) > 1
        self.notes = list(self.base.notes) if self.base else []
        if self.level is not HashLevel.NATIVE:
            self.notes.append(f"the servers' hash functions disagree on a sample: comparing {self.level.value}")
        for database in self.databases:
            if database.info.in_recovery:
                self.notes.append(
                    f"{database.where} is a hot standby: read as of {database.info.lsn}; "
                    "replay may cancel long reads (max_standby_streaming_delay)"
                )

    @property
    def databases(self) -> tuple[Database, ...]:
        """Every live database, base's included."""
        base = (self.base.database,) if isinstance(self.base, UrlBase) else ()
        return (self.old, self.new, *base)

    def raw(self, side: Side, name: TableName) -> RawTable | None:
        """Return a table as one side's catalogue has it."""
        if side is Side.BASE:
            return self.base.raw(name) if self.base else None
        return self.catalogues[side].tables.get(name)

    def plan(self, table: Table) -> ScanPlan:
        """Decide what is hashed."""
        raws = [raw for side in Side if (raw := self.raw(side, table.name)) is not None]
        retyped = set(table.columns_retyped)
        for column in table.columns:
            theirs = [each for raw in raws if (each := raw.column(column.name)) is not None]
            if any(not same_text(theirs[0], other) for other in theirs[1:]):
                retyped.add(column.name)
        # Generated columns follow from others, and a dump lacks them: they decide nothing.
        derived = {column.name for raw in raws for column in raw.columns if column.generated}
        first = tuple(each for each in table.column_names if each not in table.columns_only_new and each not in derived)
        second = tuple(
            each for each in first if each not in table.columns_only_old and each not in table.columns_not_in_base
        )
        held = self.base.columns() if self.base else None
        if held is None or table.name not in held:
            # Without base, old and new are compared with each other in what both have.
            first = second = tuple(each for each in first if each not in table.columns_only_old)
        integer = len(table.key) == 1 and all(
            key.base_type in {"int2", "int4", "int8"} and key.type_class != "A"
            for raw in raws
            if (key := raw.column(table.key[0])) is not None
        )
        return ScanPlan(
            first=first,
            second=second,
            key=table.key,
            integer_key=integer,
            level=self.level,
            transcode=self.transcode,
            retyped=frozenset(retyped),
            own_numeric=frozenset(
                name
                for name in first
                if all(_is_plain_numeric(raw.column(name)) for raw in raws)
                and (held is None or table.name not in held or isinstance(self.base, UrlBase))
            ),
            wide=frozenset(
                column.name
                for raw in raws
                for column in raw.columns
                if column.base_type == "int8" and column.type_class != "A"
            ),
        )

    def reader(self, side: Side, table: Table, plan: ScanPlan) -> Reader:
        """Return a reader of a live side; :class:`NoRows` where it lacks the table."""
        raw = self.catalogues[side].tables.get(table.name)
        if raw is None:
            return NoRows()
        database = self.old if side is Side.OLD else self.new
        return DatabaseReader(database, table, raw, plan.expressions(raw, side))

    def sequences(self, side: Side) -> Sequences:
        """The sequences' last values; those of a live side as of now (sequences know no snapshot)."""
        if side is Side.BASE:
            return self.base.sequences() if self.base else {}
        return sequence_values(self.old if side is Side.OLD else self.new)

    def instants(self) -> str:
        """What tells this state of all sides from any other."""
        return " | ".join([instant(self.old), instant(self.new), self.base.instant() if self.base else "no base"])

    def close(self) -> None:
        """End every session."""
        self.old.close()
        self.new.close()
        if self.base:
            self.base.close()


def _is_plain_numeric(column: RawColumn | None) -> bool:
    return column is not None and column.base_type == "numeric" and column.modified and column.not_null


def instant(database: Database) -> str:
    """Name a database's state: two equal names mean that no transaction wrote anything in between.

    ``pg_current_snapshot`` is compared whole: an equal ``xmax`` without transactions in progress means that
    no transaction id was assigned in between, in the whole cluster. Anything else is another instant.
    """
    info = database.info
    xmin, xmax, running = info.snapshot.split(":")
    quiet = xmin == xmax and not running and info.system_identifier and not info.in_recovery
    detail = info.snapshot if quiet else f"{info.snapshot}@{info.taken_at.isoformat()}"
    return f"{info.system_identifier}/{info.database}/{detail}"


def sequence_values(database: Database) -> dict[TableName, int | None]:
    """Read the last value of every sequence; ``None`` for one that was never used or cannot be read."""
    return {
        TableName(row["schemaname"], row["sequencename"]): row["last_value"]
        for row in database.dicts("SELECT schemaname, sequencename, last_value FROM pg_sequences")
    }


def agreed_level(databases: tuple[Database, ...]) -> HashLevel:
    """Hash a typed sample on every server: what they agree on may be compared."""
    typed = set()
    text = set()
    for database in databases:
        row = database.rows(SELF_CHECK)[0]
        typed.add(row[0])
        text.add(row[1])
    if len(typed) == 1:
        return HashLevel.NATIVE
    return HashLevel.TEXT if len(text) == 1 else HashLevel.MD5
