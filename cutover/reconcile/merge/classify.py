"""One change of old against new: the table of DESIGN.md 7, row by row, ids already mapped. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cutover.reconcile.merge.asked import Asked
from cutover.reconcile.merge.carried import CarriedRow
from cutover.reconcile.merge.cells import Cells, Filled, is_symbolic
from cutover.reconcile.merge.columns import (
    Merged,
    Merger,
    Touched,
    difference,
    identity_columns,
    result_row,
    takes_whole_rows,
    touched_by_new,
    touched_by_old,
    written_only_by_new,
)
from cutover.reconcile.merge.judged import NOTHING, Judged
from cutover.reconcile.merge.keyless import NO_BASE, judge_keyless
from cutover.reconcile.merge.policy import BaseKind, Choice, Decided, Facts, Policy, Rule, Rules, must_be_decided
from cutover.reconcile.merge.references import Holder, computed_references, key_of, rewrite, same_value
from cutover.reconcile.merge.rekey import Identities
from cutover.reconcile.model import Change, Decision, Row, Schema, Side, Table, TableKind, TableName


@dataclass(frozen=True, slots=True)
class Context:
    """All that judging one change needs."""

    schema: Schema
    held: Mapping[TableName, tuple[Holder, ...]]
    identities: Identities
    asked: Asked
    rules: Rules
    facts: Facts


def kind_of(before: Row | None, after: Row | None) -> str:
    """Return what a side did: ``insert``, ``update``, ``delete``, or ``""``."""
    if before is None:
        return "" if after is None else "insert"
    if after is None:
        return "delete"
    return "" if before == after else "update"


def _kind_of_new(table: Table, change: Change) -> str:
    """Return what new did, as the reading counts it: in columns that all three sides hold, none of them generated."""
    if not change.base_known and change.base is not None and change.new is not None:
        return "update"  # new wrote it, or nobody would ask
    if change.base is None or change.new is None:
        return kind_of(change.base, change.new)
    left_out = {*table.columns_only_old, *table.columns_only_new, *table.columns_not_in_base}
    changed = touched_by_new(table, change.base, change.new)
    return "update" if {*changed.real, *changed.noise} - left_out else ""


def classify(context: Context, number: int, change: Change) -> tuple[Judged, ...]:
    """Judge one change; two results only where copies of a keyless row part ways."""
    table = context.schema.tables[change.table]
    held = context.held[change.table]
    rewritten = None if change.old is None else rewrite(change.old, table, held, context.identities.ids)
    key: Cells = change.key
    if rewritten is not None and table.key and key_of(table, rewritten.cells) != key:
        key = key_of(table, rewritten.cells)
    start = Judged(
        number=number,
        change=change,
        table=table,
        kind=kind_of(change.base, change.old),
        new_kind=_kind_of_new(table, change) if table.key else "",
        decision=Decision.APPLY,
        key=key,
        old=None if rewritten is None else rewritten.cells,
        pre=change.new,
        post=change.new,
        effects=() if rewritten is None else rewritten.effects,
        copies=change.count,
    )
    refused = _refused_table(context, table)
    if refused is not None:
        return (_with_choice(context, start, start.conflict(*refused)),)
    if rewritten is not None and rewritten.ambiguous:
        columns = rewritten.ambiguous
        message = f"{', '.join(columns)} refers to two tables whose ids change differently"
        return (_with_choice(context, start, start.conflict("ambiguous_reference", message, columns=columns)),)
    columns = computed_references(table, change.old, start.old)
    if columns:
        message = f"{', '.join(columns)} is computed by new and would hold the id that old gave, not the row's new one"
        return (_with_choice(context, start, start.conflict("generated_reference", message, columns=columns)),)
    if number in context.identities.refused:
        refusal = context.identities.refused[number]
        return (_with_choice(context, start, start.conflict(refusal.reason, refusal.message)),)
    misfit = _misfit(context, start) if context.facts.misfits else None
    if misfit is not None:
        return (_with_choice(context, start, misfit),)
    if not table.key:
        earlier = context.facts.carried.keyless.get(table.name)
        if earlier is not None:
            message = f"the apply of {earlier} wrote to this table without key: which rows it wrote cannot be told"
            return (_with_choice(context, start, start.conflict("keyless_applied", message)),)
        # All copies of a row are one decision.
        chosen = _with_choice(context, start, start)
        if chosen is not start:
            return (chosen,)
        known = not _without_base(context, change)
        return tuple(_filled(each) for each in judge_keyless(start, _decided(context, start), base_known=known))
    judged = _filled(_judge(context, start))
    return (_with_choice(context, start, judged),)


def _refused_table(context: Context, table: Table) -> tuple[str, str] | None:
    names = {column.name for column in table.columns} - set(table.columns_only_new)
    if names and names <= set(table.columns_only_old):
        return "no_table", "new has no such table"
    if must_be_decided(table):
        return "undecided_kind", f'{table.kind_from}: say [[database.table]] kind = "merge", "queue" or "ignore"'
    if table.name in context.facts.base_later:
        return "base_later", context.facts.base_later[table.name]
    refusal = context.identities.refused_tables.get(table.name)
    return None if refusal is None else (refusal.reason, refusal.message)


def _misfit(context: Context, start: Judged) -> Judged | None:
    """Refuse a value that new's column cannot hold: it would be refused, cut or rounded there."""
    change, table = start.change, start.table
    if change.old is None:
        return None
    before = change.base if change.new is not None else None
    found = []
    for place, column in enumerate(table.column_names):
        value = change.old[place]
        if value is None or value not in context.facts.misfits.get((table.name, column), ()):
            continue
        given_up = change.new is not None and _column_policy(context, start, column) is Policy.NEW
        if not given_up and (before is None or before[place] != value):
            found.append(column)
    if not found:
        return None
    what = ", ".join(f"{column} ({table.columns[table.places[column]].type})" for column in found)
    return start.conflict("does_not_fit", f"new's {what} cannot hold old's value", columns=tuple(found))


def _filled(judged: Judged) -> Judged:
    """Refuse what would leave a column of new empty that never may be."""
    if not judged.writes or judged.post is None:
        return judged
    places = judged.table.places
    empty = tuple(c for c in judged.table.columns_required if judged.post[places[c]] in (None, Filled.DEFAULT))
    return judged.conflict("not_null", f"new's {', '.join(empty)} may not be empty", columns=empty) if empty else judged


def _with_choice(context: Context, start: Judged, judged: Judged) -> Judged:
    """Let a person's decision drop old's change."""
    decided = _decided(context, start)
    if decided is None or decided.choice not in (Choice.NEW, Choice.DISCARD):
        return judged
    return _skip(start, "decision", f"decision: take {decided.choice}", alive=decided.choice is Choice.NEW)


def _skip(start: Judged, reason: str, rule: str, *, alive: bool = True, message: str = "") -> Judged:
    """Give old's change up, by name."""
    return replace(
        start,
        decision=Decision.SKIPPED,
        reason=reason,
        message=message or f"new's row stays: {rule}",
        rules=(rule,),
        alive=alive and start.pre is not None,
        outcome="kept" if start.new_kind else "",
    )


def _without_base(context: Context, change: Change) -> bool:
    return not change.base_known or context.facts.kind(change.table) is BaseKind.NONE


def _judge(context: Context, start: Judged) -> Judged:
    change = start.change
    if _without_base(context, change):
        if change.old == change.new:
            return replace(start, decision=Decision.ALREADY_PRESENT)
        decided = _decided(context, start)
        asked = decided is not None and decided.choice is Choice.OLD
        if asked and context.facts.kind(change.table) is not BaseKind.NONE:
            return _old_without_base(context, start)
        if context.facts.kind(change.table) is BaseKind.INFERRED and change.old is not None and change.new is not None:
            message = "both sides hold another value than the restore wrote, and base is only inferred"
            return start.conflict("inferred_both_touched", message)
        return start.conflict("no_base", NO_BASE)
    if change.base is None:
        return _inserted(context, start)
    if change.old is None:
        return _deleted(context, start, change.base)
    if change.new is None:
        return _updated_but_gone(context, start, change.base)
    return _updated(context, start, change.base, change.new)


def _old_without_base(context: Context, start: Judged) -> Judged:
    """Bring a row of which base is not known to what it is on old, as a person says."""
    change, rules = start.change, ("decision: take old",)
    if change.new is None:
        inserted = _insert(context, start, Decision.APPLY)
        return replace(inserted, rules=rules) if inserted.decision is Decision.APPLY else inserted
    if change.old is not None:
        return _both_inserted(context, start, change.new, change.old)
    return replace(start, post=None, writes=True, alive=False, outcome="overwritten", rules=rules, reason="rule")


def _decided(context: Context, start: Judged) -> Decided | None:
    return context.rules.decisions.get((start.table.name, start.change.key))


def _row_policy(context: Context, start: Judged, column: str | None = None) -> tuple[Policy | None, str]:
    """Return the policy for a whole row, and its name: a person's decision comes first."""
    decided = _decided(context, start)
    if decided is not None and decided.choice in (Choice.OLD, Choice.NEW):
        return Policy(decided.choice.value), f"decision: take {decided.choice}"
    rules, table = context.rules, start.table.name
    rule: Rule | None = rules.for_row(table) if column is None else rules.for_column(table, column)
    return (None, "") if rule is None else (rule.policy, rule.name)


def _inserted(context: Context, start: Judged) -> Judged:
    change, table = start.change, start.table
    original = change.old or ()
    partner = context.identities.partners.get(start.number)
    if start.number in context.identities.present:
        return replace(start, decision=Decision.ALREADY_PRESENT, outcome="kept")
    own = change.key
    if partner is not None:
        start = replace(start, new_key=partner.key if partner.key != own else None)
        pre = context.asked.row(Side.NEW, table, partner.key)
        carried = context.facts.carried.inserted.get((table.name, own))
        if carried is not None and partner.by == carried.by:
            return _carried(start, carried, pre)
        if pre is None:
            return replace(start, pre=None, post=None).conflict("same_entity_gone", "new no longer has that row")
        start = replace(start, pre=pre, post=pre, new_kind="insert")
        return _both_inserted(context, start, pre, original, entity=partner.by)
    if any(is_symbolic(cell) for cell in start.key):
        return _insert(context, replace(start, pre=None), Decision.REKEYED)
    key = tuple(cell for cell in start.key if type(cell) is str)
    if key == own:
        if change.new is None:
            return _insert(context, start, Decision.APPLY)
        return _both_inserted(context, start, change.new, original)
    pre = context.asked.row(Side.NEW, table, key)
    start = replace(start, pre=pre, post=pre, new_key=key, new_kind="" if pre is None else "insert")
    if pre is None:
        return _insert(context, start, Decision.REKEYED)
    if context.asked.base_row(table, key) is not None:
        return start.conflict("key_in_base", f"its key becomes {', '.join(key)}, a row that base had already")
    return _both_inserted(context, start, pre, original)


def _carried(start: Judged, carried: CarriedRow, pre: Row | None) -> Judged:
    """Judge a row that an earlier apply wrote: what became of it in new since then is new's."""
    start = replace(start, pre=pre, post=pre, new_kind="" if pre is None else "insert")
    cells = start.old or ()
    differs = tuple(
        column
        for column, place in start.table.places.items()
        if column in carried.values
        and column not in start.table.key
        and not same_value(cells[place], carried.values[column])
    )
    if differs:
        message = f"{carried.by}, and old's row has changed since: {', '.join(differs)}"
        return start.conflict("changed_since_apply", message, columns=differs)
    return replace(
        start,
        decision=Decision.ALREADY_PRESENT,
        outcome="" if pre is None else "kept",
        alive=pre is not None,
        rules=(carried.by,),
    )


def _insert(context: Context, start: Judged, decision: Decision) -> Judged:
    lost = _dropped_only_old(context, start)
    if isinstance(lost, Judged):
        return lost
    post = result_row(start.table, None, {}, start.old, start.change.old)
    if lost:
        return replace(
            start,
            decision=Decision.SKIPPED,
            post=post,
            writes=True,
            reason="no_column",
            columns=lost,
            message=f"{', '.join(lost)} is given up by rule",
            rules=_names(context, start, lost),
        )
    return replace(start, decision=decision, post=post, writes=True)


def _dropped_only_old(context: Context, start: Judged) -> Judged | tuple[str, ...]:
    """Return the changed columns that new lacks and a rule ``new`` gives up, or the conflict."""
    mine = touched_by_old(start.table, start.change.base, start.old or ())
    lost = tuple(c for c in (*mine.real, *mine.noise) if c in start.table.columns_only_old)
    keeps = [c for c in lost if _column_policy(context, start, c) is not Policy.NEW]
    if keeps:
        return start.conflict("no_column", f"new has no column {', '.join(keeps)}", columns=tuple(keeps))
    return lost


def _column_policy(context: Context, start: Judged, column: str) -> Policy | None:
    decided = _decided(context, start)
    if decided is not None and decided.choice is Choice.COLUMNS:
        side = decided.columns.get(column)
        return None if side is None else Policy(side)
    rule = context.rules.for_column(start.table.name, column)
    return None if rule is None else rule.policy


def _names(context: Context, start: Judged, columns: tuple[str, ...]) -> tuple[str, ...]:
    rules = (context.rules.for_column(start.table.name, column) for column in columns)
    return tuple(dict.fromkeys(rule.name if rule else "decision" for rule in rules))


def _merger(context: Context, start: Judged, base: Row | None, new: Row, *, entity: bool = False) -> Merger:
    decided = _decided(context, start)
    choice: dict[str, str] = {}
    if decided is not None and decided.choice is Choice.OLD:
        choice = {"*": "old"}
    elif decided is not None and decided.choice is Choice.COLUMNS:
        choice = dict(decided.columns)
    return Merger(
        start.table,
        context.rules,
        base,
        start.old or (),
        start.change.old or (),
        new,
        entity=entity,
        decided=choice,
        clock_skew=context.facts.clock_skew,
    )


def _both_inserted(context: Context, start: Judged, new: Row, original: Row, *, entity: str = "") -> Judged:
    table = start.table
    decided = _decided(context, start)
    lost = _dropped_only_old(context, start)
    if isinstance(lost, Judged):
        return replace(lost, alive=bool(entity))
    cells = start.old or original
    mine, theirs = touched_by_old(table, None, cells), touched_by_new(table, None, new)
    if decided is not None and decided.choice in (Choice.SAME, Choice.NEW, Choice.DISCARD):
        differs = [c for c in mine.real if cells[table.places[c]] != new[table.places[c]]]
        if [c for c in differs if c not in table.key] or decided.choice is Choice.DISCARD:
            return _skip(start, "decision", f"decision: {decided.choice}", alive=decided.choice is not Choice.DISCARD)
        return replace(start, decision=Decision.MERGED, outcome="kept", rules=("decision: same",))
    merged = _merger(context, start, None, new, entity=bool(entity)).merge(mine, theirs)
    if merged.why is not None:
        # the plan says that the two are one thing: others may refer to it while its columns wait
        return replace(start.conflict(*merged.why, columns=merged.contested), alive=bool(entity), new_key=start.new_key)
    judged = _outcome(start, merged, theirs=Touched(theirs.real, theirs.noise), lost=lost)
    if entity:
        judged = replace(
            judged,
            decision=Decision.SKIPPED if judged.decision is Decision.SKIPPED else Decision.MERGED,
            rules=(entity, *judged.rules),
            effects=(*judged.effects, *merged.effects),
        )
    elif judged.decision in (Decision.APPLY, Decision.MERGED) and start.key != start.change.key:
        judged = replace(judged, decision=Decision.REKEYED)
    return judged


def _outcome(start: Judged, merged: Merged, *, theirs: Touched, lost: tuple[str, ...] = ()) -> Judged:
    """Turn merged columns into a judgement."""
    table = start.table
    writes = bool(merged.values)
    post = result_row(table, start.pre, dict(merged.values), original=start.change.old) if writes else start.pre
    dropped = (*merged.dropped, *lost)
    if dropped:
        decision = Decision.SKIPPED
    elif not theirs or (merged.overwritten and set(merged.overwritten) >= set(theirs.real)):
        decision = Decision.APPLY if writes else Decision.ALREADY_PRESENT
    elif writes:
        decision = Decision.MERGED
    else:
        decision = Decision.ALREADY_PRESENT
    outcome = ""
    if start.new_kind:
        outcome = "overwritten" if merged.overwritten else "merged" if writes else "kept"
    return replace(
        start,
        decision=decision,
        post=post,
        writes=writes,
        outcome=outcome,
        add=merged.add or NOTHING,
        rules=merged.rules,
        columns=dropped,
        reason="rule" if merged.rules else "no_column" if lost else "",
        message=f"{', '.join(dropped)}: new's value stays" if dropped else "",
    )


def _updated(context: Context, start: Judged, base: Row, new: Row) -> Judged:
    table, rules = start.table, context.rules
    cells = start.old or ()
    mine, theirs = touched_by_old(table, base, cells), touched_by_new(table, base, new)
    lost = _dropped_only_old(context, start)
    if isinstance(lost, Judged):
        return lost
    adding = context.facts.carried.added.get((table.name, start.change.key))
    if adding is not None:
        if any(difference(table, column, base, cells) != delta for column, delta in adding.deltas.items()):
            message = f"the apply of {adding.bundle} added what old had added then, and old's row has changed since"
            return start.conflict("added_already", message, columns=mine.real)
        mine = Touched(tuple(column for column in mine.real if column not in adding.deltas), mine.noise)
        if all(cells[table.places[column]] == new[table.places[column]] for column in mine.real):
            by = f"applied from {adding.bundle}"
            outcome = "kept" if start.new_kind else ""
            return replace(start, decision=Decision.ALREADY_PRESENT, outcome=outcome, rules=(by,))
    soft = _soft_delete(context, start, base, new, mine, theirs)
    if isinstance(soft, Judged):
        return soft
    mine, theirs = soft
    both = bool(mine.real and theirs.real)
    merger = _merger(context, start, base, new)
    differs = any(cells[table.places[c]] != new[table.places[c]] for c in mine.real)
    if both and (differs or merger.added_alike(mine, theirs)):
        reused = identity_columns(table, mine) or identity_columns(table, theirs)
        inferred = context.facts.kind(table.name) is BaseKind.INFERRED
        if _decided(context, start) is None and (reused or inferred):
            if reused:
                message = f"{', '.join(reused)} differs from base: the id may have been given to another row"
                return start.conflict("id_reused", message, columns=reused)
            return start.conflict("inferred_both_touched", "both sides changed it, and base is only inferred")
    whole = both and (rules.no_merge or takes_whole_rows(table))
    merged = merger.merge(mine, theirs, whole=whole)
    if merged.why is not None:
        reason, message = merged.why
        if whole and not set(merged.contested) & set(theirs.real) and reason == "updated_both":
            why = "--no-merge" if rules.no_merge else f"kind {table.kind}"
            reason, message = "no_merge", f"changed on both sides in different columns, and {why} takes rows whole"
        return start.conflict(reason, message, columns=merged.contested)
    judged = _outcome(start, merged, theirs=theirs, lost=lost)
    if judged.decision is Decision.APPLY and not judged.writes:
        judged = replace(judged, decision=Decision.ALREADY_PRESENT)
    return judged


def _soft_delete(
    context: Context, start: Judged, base: Row, new: Row, mine: Touched, theirs: Touched
) -> Judged | tuple[Touched, Touched]:
    """Count a declared ``deleted_at`` that was set as a delete."""
    table = start.table
    column = table.deleted_at
    if column is None:
        return mine, theirs
    place = table.places[column]
    cells = start.old or ()
    by_old = base[place] is None and cells[place] is not None
    by_new = base[place] is None and new[place] is not None
    others = (
        Touched(tuple(c for c in mine.real if c != column), mine.noise),
        Touched(tuple(c for c in theirs.real if c != column), theirs.noise),
    )
    if by_old and by_new:
        if not others[0].real:
            return replace(start, decision=Decision.ALREADY_PRESENT, outcome="kept")
        return others[0], theirs
    if (by_old and others[1].real) or (by_new and others[0].real):
        who = "old" if by_old else "new"
        policy, name = _row_policy(context, start, column)
        if policy is Policy.NEW:
            return _skip(start, "rule", name)
        if policy is Policy.OLD:
            return mine, theirs
        reason = "deleted_updated" if by_old else "updated_deleted"
        return start.conflict(reason, f"{who} deleted it ({column}), the other side changed it", columns=(column,))
    return mine, theirs


def _deleted(context: Context, start: Judged, base: Row) -> Judged:
    table, new = start.table, start.change.new
    if new is None:
        return replace(start, decision=Decision.ALREADY_PRESENT, outcome="kept", alive=False)
    theirs = touched_by_new(table, base, new)
    policy, name = _row_policy(context, start)
    gone = replace(start, post=None, writes=True, alive=False, outcome="overwritten" if start.new_kind else "")
    soft = table.deleted_at
    if soft is not None and set(theirs.real) == {soft} and base[table.places[soft]] is None:
        return replace(start, decision=Decision.ALREADY_PRESENT, outcome="kept")
    if not theirs.real and not written_only_by_new(table, new):
        if context.facts.kind(table.name) is BaseKind.INFERRED and not context.rules.accept_inferred_deletes:
            if policy is Policy.OLD and name.startswith("decision"):
                return replace(gone, rules=(name,), reason="rule")
            message = "old lacks it, and base is only inferred: --accept-inferred-deletes takes it for a delete"
            return start.conflict("inferred_delete", message)
        return gone
    if policy is Policy.OLD:
        return replace(gone, rules=(name,), reason="rule", outcome="overwritten")
    if policy is Policy.NEW:
        return _skip(start, "rule", name)
    changed = theirs.real or table.columns_only_new
    return start.conflict("deleted_updated", f"old deleted it, new changed {', '.join(changed)}", columns=theirs.real)


def _updated_but_gone(context: Context, start: Judged, base: Row) -> Judged:
    table = start.table
    mine = touched_by_old(table, base, start.old or ())
    if not mine.real:
        name = f"updated_at: {', '.join(mine.noise)}"
        return _skip(start, "noise", name, message="new deleted it, old only touched it")
    soft = table.deleted_at
    if soft is not None and set(mine.real) == {soft} and base[table.places[soft]] is None:
        return replace(start, decision=Decision.ALREADY_PRESENT, outcome="kept", alive=False)
    policy, name = _row_policy(context, start)
    if policy is Policy.NEW:
        return _skip(start, "rule", name, message=f"new deleted it: {name}")
    if policy is Policy.OLD:
        lost = _dropped_only_old(context, start)
        if isinstance(lost, Judged):
            return lost
        post = result_row(table, None, {}, start.old, start.change.old)
        return replace(start, post=post, writes=True, rules=(name,), reason="rule", outcome="overwritten")
    message = f"old changed {', '.join(mine.real)}, new deleted it"
    return start.conflict("updated_deleted", message, columns=mine.real)


def append_only(judged: Judged) -> Judged:
    """Hold a table of kind ``append`` to its word: nothing but inserts."""
    if judged.table.kind is not TableKind.APPEND or judged.kind == "insert" or not judged.writes:
        return judged
    return judged.conflict("append_only", f"the plan says that rows are only added, old has {judged.kind}d one")
