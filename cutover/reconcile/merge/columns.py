"""Two sides' changes of one row, column by column. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from cutover.reconcile.merge.cells import Cell, Cells, Filled
from cutover.reconcile.merge.policy import Policy, Rule, Rules
from cutover.reconcile.merge.rekey import volatile_default
from cutover.reconcile.model import Row, Table, TableKind
from cutover.reconcile.values import add_delta, compare, has_fraction, instant, later, looks_like_uuid, number


class Touched(NamedTuple):
    """Columns that a side changed, in the table's order."""

    real: tuple[str, ...]
    noise: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.real or self.noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What two sides' columns add up to.

    Attributes:
        values: column -> value to write over new's row.
        contested: columns that both sides claim and that no rule decides.
        why: reason and message where ``contested`` is not empty or the row cannot be judged.
        dropped: columns in which old's value is given up.
        overwritten: columns in which new's change is given up.
        combined: columns whose value is neither side's.
    """

    values: dict[str, Cell] = field(default_factory=dict)
    contested: tuple[str, ...] = ()
    why: tuple[str, str] | None = None
    dropped: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    combined: tuple[str, ...] = ()
    add: dict[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()


def touched_by_old(table: Table, base: Row | None, old: Cells) -> Touched:
    """Return what old changed; an insert touches every column that is not NULL."""
    return _touched(table, base, old, {*table.columns_only_new})


def touched_by_new(table: Table, base: Row | None, new: Row) -> Touched:
    """Return what new changed, in columns that old has too."""
    return _touched(table, base, new, {*table.columns_only_old, *table.columns_only_new})


def _touched(table: Table, base: Row | None, row: Cells | Row, without: set[str]) -> Touched:
    real: list[str] = []
    noise: list[str] = []
    for place, column in enumerate(table.columns):
        if column.generated or column.name in without:
            continue
        before = None if base is None else base[place]
        if not _same(table, column.name, before, row[place]):
            (noise if column.name in table.updated_at else real).append(column.name)
    return Touched(tuple(real), tuple(noise))


def _same(table: Table, column: str, left: Cell, right: Cell) -> bool:
    if left == right:
        return True
    if column not in table.columns_retyped or type(left) is not str or type(right) is not str:
        return False
    for read in (instant, number):
        first, second = read(left), read(right)
        if first is not None and first == second:
            return True
    return False


def written_only_by_new(table: Table, row: Row) -> bool:
    """Tell whether new's row holds something in a column that old lacks, beyond what a default gives."""
    for column, value in zip(table.columns, row, strict=True):
        if column.name in table.columns_only_new and value is not None and not column.generated:
            literal = (column.default or "").split("::")[0].strip("'() ")
            drawn = volatile_default(column.default)
            if not drawn and value != {"true": "t", "false": "f"}.get(literal, literal):
                return True
    return False


class Merger:
    """Merges the columns of one row that both sides hold.

    Args:
        base: ``None`` when both sides inserted it.
        entity: the two are one thing by the plan (``same_entity``): what one side leaves empty or what a
            default drew is no contradiction.
        decided: a person's choice per column (``old`` or ``new``); ``"*"`` stands for every column.
    """

    def __init__(
        self,
        table: Table,
        rules: Rules,
        base: Row | None,
        old: Cells,
        original: Row,
        new: Row,
        *,
        entity: bool = False,
        decided: dict[str, str] | None = None,
        clock_skew: float = 0.0,
    ) -> None:
        self._table = table
        self._rules = rules
        self._base = base
        self._old = dict(zip(table.column_names, old, strict=True))
        self._original = dict(zip(table.column_names, original, strict=True))
        self._new = dict(zip(table.column_names, new, strict=True))
        self._types = {column.name: column for column in table.columns}
        self._entity = entity
        self._decided = decided or {}
        self._skew = clock_skew

    def merge(self, mine: Touched, theirs: Touched, *, whole: bool = False) -> Merged:
        """Bring the two together.

        Args:
            mine: what old changed.
            theirs: what new changed.
            whole: every column of old is contested, also where new did not touch it.
        """
        differing = [column for column in mine.real if self._old[column] != self._new[column]]
        if self._base is None:
            differing += [c for c in theirs.real if c not in mine.real and self._old[c] != self._new[c]]
        differing += self.added_alike(mine, theirs)
        differing = [column for column in differing if column not in self._table.columns_only_old]
        changed_by_new = [c for c in theirs.real if self._old[c] != self._new[c]]
        free, effects, easy = self._without_contradiction(differing)
        claimed = [column for column in differing if column not in free]
        groups = self._clashes(claimed, changed_by_new) if self._base is not None else []
        overlap = [c for c in claimed if whole or self._base is None or c in theirs.real]
        contested = list(dict.fromkeys([*overlap, *(c for group in groups for c in sorted(group))]))
        for column in self._table.columns_retyped:
            if column in claimed and column not in contested:
                contested.append(column)
        outcome = self._decide(contested, groups)
        if outcome.why is not None:
            return outcome
        values = {**easy, **{c: self._old[c] for c in claimed if c not in contested}, **outcome.values}
        if outcome.combined == ("*",):
            # a whole row by `newest`: nothing of the losing row stays
            rest = [c for c in differing if c not in values] + [c for c in changed_by_new if c not in values]
            values.update({column: self._old[column] for column in rest})
            return Merged(values=values, overwritten=tuple(changed_by_new), rules=outcome.rules, effects=effects)
        if outcome.dropped == ("*",):
            return Merged(dropped=tuple(differing), rules=outcome.rules, effects=effects)
        for column in mine.noise:
            if column not in theirs.noise:
                values[column] = self._old[column]
            elif self._old[column] != self._new[column]:
                values[column] = later(self._original[column], self._new[column])
        return Merged(
            values={column: value for column, value in values.items() if value != self._new[column]},
            dropped=outcome.dropped,
            overwritten=outcome.overwritten,
            combined=outcome.combined,
            add=outcome.add,
            rules=outcome.rules,
            effects=effects,
        )

    def added_alike(self, mine: Touched, theirs: Touched) -> list[str]:
        """Return the columns that are added up in which both sides came to the same number.

        They are two changes, unless something else that both changed proves that they are one: a uuid, or a time with
        a part of a second.
        """
        if self._base is None:
            return []
        both = [c for c in (*mine.real, *mine.noise) if c in (*theirs.real, *theirs.noise)]
        alike = [column for column in both if self._old[column] == self._new[column]]
        if any(self._proves(column) for column in alike):
            return []
        return [column for column in alike if self._policy(column)[1] is Policy.ADD]

    def _proves(self, column: str) -> bool:
        value = self._new[column]
        timed = self._types[column].type.startswith("timestamp") and has_fraction(value)
        return value is not None and (timed or looks_like_uuid(value))

    def _without_contradiction(self, differing: Sequence[str]) -> tuple[set[str], tuple[str, ...], dict[str, Cell]]:
        """Find the columns of one thing inserted twice that contradict nothing."""
        if not self._entity:
            return set(), (), {}
        free: set[str] = set()
        effects: list[str] = []
        values: dict[str, Cell] = {}
        for column in differing:
            if column in self._table.key:
                free.add(column)
            elif self._rules.for_column(self._table.name, column) is not None or column in self._decided:
                continue
            elif self._new[column] is None:
                free.add(column)
                values[column] = self._old[column]
            elif self._old[column] is None:
                free.add(column)
            elif volatile_default(self._types[column].default):
                free.add(column)
                effects.append(f"{column}: new's is kept, old's was drawn by a default")
        return free, tuple(effects), values

    def _clashes(self, mine: Sequence[str], theirs: Sequence[str]) -> list[frozenset[str]]:
        """Find sets of columns that belong together and that both sides touched, not merely in one same column."""
        found = []
        for group in self._table.dependencies:
            both = group.intersection(mine), group.intersection(theirs)
            if all(both) and len(both[0] | both[1]) > 1:
                found.append(both[0] | both[1])
        return found

    def _decide(self, contested: Sequence[str], groups: Sequence[frozenset[str]]) -> Merged:
        values: dict[str, Cell] = {}
        sides: dict[str, list[str]] = {"dropped": [], "overwritten": [], "combined": []}
        add: dict[str, str] = {}
        used: dict[str, None] = {}
        undecided: list[str] = []
        taken: dict[str, str] = {}
        for column in contested:
            rule, policy = self._policy(column)
            if policy is Policy.NEWEST and rule is not None:
                return self._newest(rule, contested)
            found = None if policy is None else self._value(column, policy)
            if policy is None or found is None:
                undecided.append(column)
                continue
            value, side, delta = found
            taken[column] = side
            values[column] = value
            sides[side].append(column)
            if delta is not None:
                add[column] = delta
            used[rule.name if rule else f"decision: {column} = {policy}"] = None
        for group in groups:
            if len({taken.get(column, "") for column in group}) > 1 or not {"dropped", "overwritten"}.issuperset(
                taken.get(column, "") for column in group
            ):
                undecided.extend(column for column in sorted(group) if column not in undecided)
        if undecided:
            together = [group for group in groups if group.intersection(undecided)]
            if together:
                names = " and ".join(sorted(set().union(*together)))
                why = ("group", f"both sides changed columns that belong together: {names}")
            elif set(undecided) & set(self._table.columns_retyped):
                why = ("retyped_column", f"{', '.join(undecided)}: the type differs between old and new")
            elif self._base is None:
                why = ("inserted_both", f"inserted on both sides with different {', '.join(undecided)}")
            else:
                why = ("updated_both", f"changed on both sides: {', '.join(undecided)}")
            return Merged(contested=tuple(undecided), why=why)
        return Merged(
            values=values,
            dropped=tuple(sides["dropped"]),
            overwritten=tuple(sides["overwritten"]),
            combined=tuple(sides["combined"]),
            add=add,
            rules=tuple(used),
        )

    def _policy(self, column: str) -> tuple[Rule | None, Policy | None]:
        if self._decided:
            side = self._decided.get(column, self._decided.get("*"))
            return None, None if side is None else Policy(side)
        rule = self._rules.for_column(self._table.name, column)
        return (None, None) if rule is None or rule.policy is Policy.REFUSE else (rule, rule.policy)

    def _value(self, column: str, policy: Policy) -> tuple[Cell, str, str | None] | None:
        """Return (value, whose it is, delta), ``None`` where the policy cannot tell."""
        old, new = self._old[column], self._new[column]
        if policy is Policy.OLD:
            return old, "overwritten", None
        if policy is Policy.NEW:
            return new, "dropped", None
        if type(old) is not str or new is None:
            return None
        if policy is Policy.ADD:
            if self._base is None:
                return None
            before = self._base[self._table.places[column]]
            found = None if before is None else add_delta(new, before, old, self._types[column].type)
            return None if found is None else (found[0], "combined", found[1])
        order = compare(old, new, self._types[column].type)
        if order is None:
            return None
        mine = order > 0 if policy is Policy.MAX else order < 0
        return (old, "overwritten", None) if mine else (new, "dropped", None)

    def _newest(self, rule: Rule, contested: Sequence[str]) -> Merged:
        """Compare the rows as they were written, before any rewriting."""
        old, new = instant(self._original[rule.by]), instant(self._new[rule.by])
        if old is None or new is None:
            return Merged(
                contested=tuple(contested), why=("newest", f"{rule.by} is empty or no time: neither row is the newest")
            )
        if old == new or abs(old - new) < self._skew * 1_000_000:
            limit = f"differs by less than the clocks do ({self._skew:g} s)"
            return Merged(contested=tuple(contested), why=("newest", f"{rule.by} {limit}: no row is the newest"))
        if old > new:
            return Merged(combined=("*",), rules=(rule.name,))
        return Merged(dropped=("*",), rules=(rule.name,))


def result_row(
    table: Table, new: Row | None, values: dict[str, Cell], old: Cells | None = None, original: Row | None = None
) -> Cells:
    """Return the row in the result: new's with ``values`` written over it, or old's where new has none.

    ``old`` is old's row with its references rewritten. ``original`` is the row as old wrote it: it tells what a
    generated column will hold where what it is computed from is the same.
    """
    plain = not table.columns_only_new and not table.columns_only_old and not any(c.generated for c in table.columns)
    if plain and new is None and old is not None and not values:
        return old
    cells: list[Cell] = []
    for place, column in enumerate(table.columns):
        if column.generated:
            cells.append(Filled.GENERATED)
        elif new is not None:
            cells.append(values.get(column.name, new[place]))
        elif column.name in table.columns_only_new:
            cells.append(Filled.DEFAULT)
        elif column.name in table.columns_only_old:
            cells.append(None)
        else:
            cells.append(values.get(column.name, None if old is None else old[place]))
    for name, sources in table.generated_from:
        places = [table.places[each] for each in sources]
        for row in (new, original):
            if row is not None and all(cells[place] == row[place] for place in places):
                cells[table.places[name]] = row[table.places[name]]
                break
    return tuple(cells)


def difference(table: Table, column: str, base: Row, cells: Cells) -> Decimal | None:
    """Return what old added in a column since base."""
    place = table.places[column]
    before, after = base[place], cells[place]
    if before is None or type(after) is not str:
        return None
    found = add_delta(after, before, after, table.columns[place].type)
    return None if found is None else Decimal(found[1])


def identity_columns(table: Table, touched: Touched) -> tuple[str, ...]:
    """Return changed columns that a row gets once, at its insert: another value means another row."""
    once = {
        column.name
        for column in table.columns
        if volatile_default(column.default)
        and column.name not in table.updated_at
        and column.name not in table.key
        and (column.name.lower() in _BORN or column.type == "uuid")
    }
    return tuple(column for column in touched.real if column in once)


_BORN = frozenset({"created_at", "createdat", "created", "created_on", "inserted_at", "insertedat", "date_created"})


def takes_whole_rows(table: Table) -> bool:
    """Tell whether two workers' states of a row are never mixed: queues and append-only logs."""
    return table.kind in (TableKind.QUEUE, TableKind.APPEND)
