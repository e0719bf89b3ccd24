"""The merge: a pure function of values and rules (DESIGN.md 7). All I/O is behind :class:`Lookup`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cutover.reconcile.bundle import Component
from cutover.reconcile.merge.asked import Asked
from cutover.reconcile.merge.candidates import FreeText, Suspects
from cutover.reconcile.merge.cells import NewId
from cutover.reconcile.merge.checks import refused_by_check
from cutover.reconcile.merge.classify import Context, append_only, classify
from cutover.reconcile.merge.components import change_set
from cutover.reconcile.merge.crossrow import CrossRow
from cutover.reconcile.merge.edges import edges
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.policy import Choice, Facts, Rules
from cutover.reconcile.merge.references import Holder, holders
from cutover.reconcile.merge.rekey import Identities, identify
from cutover.reconcile.model import Change, Decision, Lookup, Schema, Side, TableName


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What becomes of every change of old.

    Attributes:
        judged: one or more per change, in the order of the changes.
        components: the steps that carry the result out.
        identities: the id map.
        warnings: columns that may hold a re-keyed id.
    """

    judged: tuple[Judged, ...]
    components: tuple[Component, ...]
    identities: Identities
    warnings: tuple[str, ...]

    def mapped(self) -> Iterable[tuple[TableName, str, NewId | str]]:
        """Yield the id map's lines that the result uses: rows whose change is not a conflict."""
        alive = {
            (each.table.name, each.change.key[0])
            for each in self.judged
            if each.table.key and each.change.key and each.alive and each.kind == "insert"
        }
        for table, mapped in self.identities.ids.items():
            for old, new in mapped.items():
                if (table, old) in alive:
                    yield table, old, new


def merge(
    schema: Schema, changes: Sequence[Change], lookup: Lookup, rules: Rules, facts: Facts | None = None
) -> MergeResult:
    """Decide every change of old.

    Ids first (collisions, one thing under two ids, to a fixpoint), then every reference of old's rows at once, then
    row by row, then across rows on the result.

    Args:
        schema: both sides', brought together.
        changes: old's, of all tables.
        lookup: answers questions about values of old and new.
        rules: what people said; stale decisions are not among them.
        facts: what is known beside the rows.
    """
    facts = facts or Facts()
    asked = Asked(schema, lookup, changes)
    held = holders(schema)
    identities = identify(schema, changes, held, asked, rules, facts)
    context = Context(schema, held, identities, asked, rules, facts)
    judged: list[Judged] = []
    for number, change in enumerate(changes):
        judged.extend(append_only(each) for each in classify(context, number, change))
    warnings = _undeclared(schema, judged, held, identities, rules)
    judged[:] = [each if each.number == at else replace(each, number=at) for at, each in enumerate(judged)]
    for position, refused in list(refused_by_check(judged, asked)):
        judged[position] = refused
    while True:
        CrossRow(schema, judged, asked, rules).run()
        steps = change_set(judged, edges(schema, judged, asked))
        if not steps.stuck:
            break
        for position in steps.stuck:
            judged[position] = judged[position].conflict(
                "circular", "these changes wait for each other, and none can be parked: no order of steps is possible"
            )
    for position, each in enumerate(judged):
        if each.decision is Decision.CONFLICT and each.new_key is not None and each.pre is None and each.table.key:
            judged[position] = replace(each, beside=asked.row(Side.NEW, each.table, each.new_key))
    return MergeResult(tuple(judged), steps.components, identities, (*warnings, *_kept_twice(judged)))


def _kept_twice(judged: Sequence[Judged]) -> Iterator[str]:
    """Say where rows that look the same on both sides are both kept."""
    counts = Counter(
        each.table.name for each in judged if each.decision is Decision.REKEYED and each.change.old == each.change.new
    )
    for table, count in counts.items():
        yield (
            f"{table}: {count} inserted row(s) are equal on both sides and both are kept: no unique column, uuid or"
            " time with a part of a second proves that they are one. If base is older than the copy, take a later base"
        )
    alike: Counter[tuple[TableName, str]] = Counter()
    for each in judged:
        for column in each.add:
            place = each.table.places[column]
            if each.change.old is not None and each.change.new is not None:
                alike[each.table.name, column] += each.change.old[place] == each.change.new[place]
    for (table, column), count in alike.items():
        if count:
            yield (
                f"{table}.{column}: {count} row(s) hold the same number on both sides and both differences are added:"
                " nothing proves that they are one. If base is older than the copy, take a later base"
            )


def _undeclared(
    schema: Schema,
    judged: list[Judged],
    held: Mapping[TableName, tuple[Holder, ...]],
    identities: Identities,
    rules: Rules,
) -> tuple[str, ...]:
    """Make conflicts of rows that hold a re-keyed id where nothing declares a reference."""
    if not any(identities.ids.values()):
        return ()
    finder = Suspects(schema, held, identities.ids, rules)
    text = FreeText(schema, held, identities.ids, rules)
    for position, each in enumerate(judged):
        found = list(finder.of(each.change))
        text.look(each.change, {suspect.column for suspect in found})
        if not found or each.decision in (Decision.CONFLICT, Decision.SKIPPED):
            continue
        decided = rules.decisions.get((each.table.name, each.change.key))
        if decided is not None and decided.choice is Choice.OLD:
            continue
        columns = tuple(dict.fromkeys(suspect.column for suspect in found))
        first = found[0]
        message = (
            f"{first.column} = {first.value} may be {first.table} {first.value}, which gets a new id: declare"
            f' [[database.reference]] from = "{each.table.name}.{first.column}", or say not_a_reference = true'
        )
        judged[position] = each.conflict(
            "undeclared_reference", message, because_of=(f"{first.table} {first.value}",), columns=columns
        )
    return text.warnings()
