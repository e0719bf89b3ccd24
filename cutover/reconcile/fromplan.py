"""From the plan's ``[database]`` and ``[[merge]]`` to the reconcile road's own values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutover.reconcile.options import Options, ReferenceOption, RuleOption, TableOption

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cutover.plan import Database, Merge


def options_from(database: Database, merge: Iterable[Merge]) -> Options:
    """Return what reading and merging need of the plan."""
    return Options(
        schemas=database.schemas,
        exclude=database.exclude,
        newest=dict(database.newest),
        references=tuple(
            ReferenceOption(
                source=each.from_, to=each.to or "", when=dict(each.when), not_a_reference=each.not_a_reference
            )
            for each in database.reference
        ),
        tables=tuple(
            TableOption(
                name=each.name,
                kind=each.kind,
                key=each.key,
                match_key=each.match_key,
                groups=each.groups,
                owner=each.owner,
                updated_at=each.updated_at,
                deleted_at=each.deleted_at,
            )
            for each in database.table
        ),
        rules=tuple(
            RuleOption(table=each.table, column=each.column, policy=each.policy, same_entity=each.same_entity)
            for each in merge
        ),
    )
