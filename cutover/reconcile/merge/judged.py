"""One change of old with its decision: the merge's own value. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cutover.reconcile.model import Change, Decision, Key, Row, Table

if TYPE_CHECKING:
    from cutover.reconcile.merge.cells import Cells


NOTHING: Mapping[str, str] = MappingProxyType({})
"""One for all of the many that add nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A change and what becomes of it.

    Attributes:
        number: its place in the order of reading.
        kind: ``insert``, ``update`` or ``delete``: what old did; ``new_kind`` the same for new (``""``: nothing).
        key: of the row in the result, symbolic where it is re-keyed.
        old: old's row with its references rewritten.
        pre: new's row that the change works on, ``None`` where new has none.
        post: that row in the result, ``None`` where it goes.
        writes: a step is needed: ``pre`` and ``post`` differ.
        alive: old's row (or what it was merged into) is in the result: other rows may refer to it.
        reason, message, because_of, columns: why it is a conflict or was skipped.
        rules: rules and decisions that were used, by name.
        outcome: what becomes of new's change of the same row: ``kept``, ``merged``, ``overwritten``, ``""``.
        add: column -> difference, where a rule ``add`` was used.
        new_key: new's key, where it is another than old's; ``beside`` is that row, where a conflict is about it.
        copies: how many identical rows the step is about (keyless tables).
        dangling: columns whose declared reference points nowhere on old either: the apply lets them.
    """

    number: int
    change: Change
    table: Table
    kind: str
    decision: Decision
    key: Cells
    new_kind: str = ""
    old: Cells | None = None
    pre: Row | None = None
    post: Cells | None = None
    writes: bool = False
    alive: bool = True
    reason: str = ""
    message: str = ""
    because_of: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    outcome: str = ""
    add: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    new_key: Key | None = None
    beside: Row | None = None
    copies: int = 1
    dangling: tuple[str, ...] = ()

    @property
    def base_row(self) -> Row | None:
        """Base's row for a person; none where it is only supposed (see ``Change.base_known``)."""
        return self.change.base if self.change.base_known else None

    @property
    def new_row(self) -> Row | None:
        """New's row that a person compares with old's."""
        if self.new_key is not None and self.kind == "insert":
            return self.beside if self.beside is not None else self.pre
        return self.change.new

    @property
    def label(self) -> str:
        """How others name it: table and key."""
        return label(self.table, self.change.key)

    def conflict(
        self, reason: str, message: str, *, because_of: tuple[str, ...] = (), columns: tuple[str, ...] = ()
    ) -> Judged:
        """Return it as a conflict: nothing is written, new keeps what it has."""
        return replace(
            self,
            decision=Decision.CONFLICT,
            writes=False,
            post=self.pre,
            # a row that base had is still the same row, as long as new has it
            alive=self.change.base is not None and self.pre is not None,
            reason=reason,
            message=message,
            because_of=because_of,
            columns=columns,
            outcome="kept" if self.new_kind else "",
            add=NOTHING,
            copies=self.change.count,
        )


def label(table: Table, key: tuple[str, ...]) -> str:
    """Return ``schema.table key`` for people."""
    return f"{table.name} {', '.join(key)}" if table.key else f"{table.name} (a row without key)"
