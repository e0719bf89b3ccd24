"""What the two databases said, and the states of them that were proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from cutover.observations.base import Observation
from cutover.observations.traffic import DatabaseReading


class SequenceValue(NamedTuple):
    """Where one sequence stands.

    Attributes:
        sequence: ``schema.name``.
        last_value: the last value handed out; None when it was never used, or not ``readable``.
        start, increment, maximum: of its definition (``maximum`` is the far bound in its direction).
        owned_by: ``schema.table.column``, or "".
        readable: this role may know where it stands: Postgres shows NULL to one that may not.
    """

    sequence: str
    last_value: int | None
    start: int
    increment: int
    maximum: int
    owned_by: str = ""
    readable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencesSeen(Observation):
    """Every sequence of ``schemas`` on one side."""

    kind: ClassVar[str] = "database.sequences"

    side: str
    sequences: tuple[SequenceValue, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)


class ColumnSeen(NamedTuple):
    """One column. ``type`` is ``format_type`` text; ``collation`` is "" where the type has none."""

    name: str
    type: str
    not_null: bool
    default: str
    generated: str
    identity: str
    collation: str


class DefinitionSeen(NamedTuple):
    """A constraint or an index by name, with its ``pg_get_*def`` text."""

    name: str
    definition: str


class TableSeen(NamedTuple):
    """One table (a partitioned one through its root).

    Attributes:
        key: what tells its rows apart: ``"primary key"``, ``"unique index NAME"``, or "" for none.
        estimate: ``pg_class.reltuples``; -1 when never analysed. A hint, never a proof.
    """

    table: str
    columns: tuple[ColumnSeen, ...]
    constraints: tuple[DefinitionSeen, ...]
    indexes: tuple[DefinitionSeen, ...]
    key: str
    estimate: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaSeen(Observation):
    """The shape of one database: ``schemas`` minus ``exclude``.

    Attributes:
        extensions: ``(name, version)``.
        collation: of the database: provider, collate, ctype and the version of its library.
        missing_schemas: schemas of the plan that do not exist here.
    """

    kind: ClassVar[str] = "database.schema"

    side: str
    server_version: int
    encoding: str
    collation: str
    extensions: tuple[tuple[str, str], ...]
    tables: tuple[TableSeen, ...]
    missing_schemas: tuple[str, ...] = ()

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTaken(Observation):
    """The watermark: where old stood when the base was taken (``cutover baseline``).

    Attributes:
        snapshot: ``pg_current_snapshot()`` text.
        lsn: ``pg_current_wal_lsn()`` text, for people; never used to tell writes.
        sequences: of old.
        counters: of old, read *before* the snapshot was taken, so that no write can fall between unseen.
        dump: the file that holds the base, or "".
        side: ``old``, or ``new`` once the copy is restored there (all of the above are then new's).
        late: new held rows by then that were not old's: what old wrote since the copy would pass for base.
    """

    kind: ClassVar[str] = "database.baseline"

    side: str = "old"
    late: bool = False
    snapshot: str
    lsn: str
    sequences: tuple[SequenceValue, ...]
    counters: DatabaseReading
    dump: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)


class RoleProof(NamedTuple):
    """What was tried to prove that one app role cannot write any more.

    Attributes:
        how: ``"login refused"``, ``"no CONNECT and no session"``, ``"superuser"``...
        shut: the role cannot write.
    """

    role: str
    how: str
    shut: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceProven(Observation):
    """``cutover fence`` (or the watch) looked whether old refuses writes.

    Attributes:
        proven: every wall holds for every app role.
        roles: one proof a role; empty when the plan names none.
        counters: of old, read after the last session was ended; None when they could not be read.
        why_not: one line when it is not proven.
    """

    kind: ClassVar[str] = "database.fence"

    side: str
    proven: bool
    roles: tuple[RoleProof, ...]
    counters: DatabaseReading | None
    why_not: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceReleased(Observation):
    """``cutover fence --release`` opened old again: writes are possible from here on."""

    kind: ClassVar[str] = "database.fence-released"

    side: str
    counters: DatabaseReading | None = None

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileVerified(Observation):
    """``reconcile --verify`` compared the two databases again.

    A balanced one is a new verified state: what old wrote until then is in new.

    Attributes:
        bundle: the folder's name.
        balanced: every change of old is accounted for in new.
        old, new: counters read *before* the snapshots of the comparison were taken: what is written in
            between is counted twice rather than never. ``at`` is the instant of ``old``'s reading.
    """

    kind: ClassVar[str] = "database.verified"

    bundle: str
    balanced: bool
    old: DatabaseReading
    new: DatabaseReading | None = None
