"""``cutover reconcile`` without ``--apply``: read, merge, write a bundle (DESIGN.md 7)."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import sql

from cutover.clock import Clock, SystemClock
from cutover.errors import CutoverError
from cutover.reconcile.apply.again import decisions_read
from cutover.reconcile.apply.applysql import seal_with_sql
from cutover.reconcile.bundle import DatabaseMeta, MappedId, Meta, TableMeta
from cutover.reconcile.diff.estimate import TableEstimate, estimate_from_diffs, estimate_since
from cutover.reconcile.diff.planner import Report, is_url, open_sources, read_changes
from cutover.reconcile.diff.spill import ChangeStore, TableDiff
from cutover.reconcile.merge.accounting import account, conflict_rows, sums
from cutover.reconcile.merge.carried import read_carried
from cutover.reconcile.merge.cells import NewId
from cutover.reconcile.merge.fit import misfits
from cutover.reconcile.merge.lookup import LiveLookup
from cutover.reconcile.merge.merge import MergeResult, merge
from cutover.reconcile.merge.policy import BaseKind, Facts, rules_from
from cutover.reconcile.model import Decision, Schema, Side, Table, TableName
from cutover.reconcile.options import Options
from cutover.reconcile.review.bundlefile import MANIFEST, Bundle, BundleWriter, remove_tree
from cutover.reconcile.review.decisions import Line, Settled, read_decisions, settle, write_decisions
from cutover.reconcile.review.report import render_html
from cutover.reconcile.review.summary import Summary, owners
from cutover.reconcile.sharing import Sharing
from cutover.reconcile.source.session import Database, address
from cutover.reconcile.source.sides import Sources, UrlBase
from cutover.reconcile.source.watermark import Watermarks

STORE = "changes.sqlite"
_LOGGED_AHEAD = 32
"""SEQ_LOG_VALS of PostgreSQL's ``sequence.c``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Where the three states are.

    Attributes:
        base: a URL, the path of a dump, or ``None``.
    """

    old: str
    new: str
    base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The flags of the command.

    Attributes:
        folder: where the bundle's folder is made.
        bundle: a bundle to go on with: its decisions are read; one that an interrupted run left is gone on with
            from what it had read.
        max_snapshot_age: new's snapshot must be younger when the bundle is done.
        estimate: how bad is it: counts, and no bundle.
        reread: an apply asks for it, in place of ``bundle``.
        changed_at: when traffic began to move: tells an estimate something where no base is known.
    """

    folder: Path
    migration: str = "migration"
    plan_hash: str = ""
    estimate: bool = False
    bundle: Path | None = None
    jobs: int = 1
    no_merge: bool = False
    prove: bool = False
    accept_inferred_deletes: bool = False
    reread: bool = False
    max_snapshot_age: timedelta = timedelta(minutes=30)
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileResult:
    """A finished bundle and what it says.

    Attributes:
        bundle: its folder; an estimate has left none.
        json: the command's JSON (DESIGN.md 6).
    """

    bundle: Path
    summary: Summary
    json: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """One word."""
        return self.summary.verdict

    @property
    def exit_code(self) -> int:
        """Of the process."""
        return self.summary.exit_code


def reconcile(
    options: Options,
    urls: Urls,
    request: Request,
    *,
    watermarks: Watermarks | None = None,
    progress: Report | None = None,
    clock: Clock | None = None,
) -> ReconcileResult:
    """Compare the three states, decide every change of old, and write a bundle.

    Args:
        options: what the plan says about the databases.
        urls: where they are.
        request: the flags.
        watermarks: what ``cutover baseline`` recorded: stands for base where ``urls.base`` is not given.
        progress: told while reading.
        clock: for the bundle's name and times.

    Raises:
        CutoverError: a side cannot be read, the plan does not fit the schema, a decision is not understood, the
            disk is full. Nothing half-written is taken for a bundle then.
    """
    clock = clock or SystemClock()
    _refuse_one_for_two(urls)
    lines, previous, left_over = _previous(request.bundle)
    if previous is not None:
        request = replace(
            request,
            no_merge=request.no_merge or previous.no_merge,
            prove=request.prove or previous.prove,
            accept_inferred_deletes=request.accept_inferred_deletes or previous.accept_inferred_deletes,
        )
    writer = BundleWriter.create(request.folder, clock.now())
    if left_over is not None:
        shutil.copyfile(left_over, writer.work / STORE)
    with (
        _leaving_nothing(writer.folder) if request.estimate else nullcontext(),
        open_sources(urls.old, urls.new, urls.base, options, folder=writer.work, watermarks=watermarks) as sources,
        ChangeStore(writer.work / STORE) as store,
    ):
        schema, diffs = read_changes(
            sources, store, folder=writer.work, jobs=request.jobs, report=progress, prove=request.prove
        )
        share = Sharing()
        changes = [share.of(change) for diff in diffs for change in diff.changes]
        lookup = LiveLookup(sources, schema)
        settled = settle(lines, schema, changes, lookup, request.bundle or Path())
        rules = rules_from(
            options,
            schema,
            no_merge=request.no_merge,
            accept_inferred_deletes=request.accept_inferred_deletes,
            decisions=settled.decided,
        )
        facts = replace(
            facts_of(sources, schema, diffs),
            misfits=misfits(sources, schema, changes),
            carried=read_carried(sources.new),
        )
        result = merge(schema, changes, lookup, rules, facts)
        summary = _summary(request, clock, writer, sources, schema, diffs, result, facts, settled)
        meta = _meta(request, clock, writer, sources, schema, diffs, facts, previous)
    if not request.estimate:
        _write(writer, meta, summary, result, settled)
        seal_with_sql(writer)
    return ReconcileResult(bundle=writer.folder, summary=summary, json=summary.to_json())


def _refuse_one_for_two(urls: Urls) -> None:
    """Refuse one database in two places: compared with itself, it has lost nothing.

    Raises:
        CutoverError: two of the URLs are of one database.
    """
    sides = {"old": urls.old, "new": urls.new}
    if urls.base is not None and is_url(urls.base):
        sides["base"] = urls.base
    seen: dict[str, str] = {}
    for side, url in sides.items():
        other = seen.setdefault(address(url), side)
        if other != side:
            raise CutoverError(
                f"[database] {other} and {side} are one database: {address(url)}",
                "give base, old and new three different databases",
            )


@contextmanager
def _leaving_nothing(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        remove_tree(folder)


def _previous(folder: Path | None) -> tuple[tuple[Line, ...], Meta | None, Path | None]:
    """Read a bundle to go on with: its decisions, or what an interrupted run had read."""
    if folder is None:
        return (), None, None
    left_over = folder / "work" / STORE
    if folder.is_dir() and not (folder / MANIFEST).exists() and left_over.exists():
        return (), None, left_over
    bundle = Bundle(folder)
    return read_decisions(folder), bundle.meta, None


def facts_of(sources: Sources, schema: Schema, diffs: list[TableDiff]) -> Facts:
    """Tell what base is per table, where its sequences stood, and how far the clocks are apart."""
    kinds = {diff.table.name: _base_kind(sources, diff) for diff in diffs}
    sequences = sources.sequences(Side.BASE)
    last: dict[TableName, int] = {}
    for table in schema.tables.values():
        sequence = _key_sequence(table)
        value = None if sequence is None else sequences.get(sequence)
        if value is not None:
            last[table.name] = value
    slack = _LOGGED_AHEAD if _is_physical_copy(sources) else 0
    later: dict[TableName, str] = {}
    reached = _used(sources, schema, Side.NEW) if last else {}
    for name, value in last.items():
        used = reached.get(_key_sequence(schema.tables[name]) or name)
        if (used or 0) < value - slack and kinds.get(name) in (BaseKind.DATABASE, BaseKind.DUMP):
            later[name] = (
                f"base's sequence stood at {value}, new's has only reached {used or 0}: base is younger than the copy"
            )
    skew = abs(sources.old.info.clock_skew - sources.new.info.clock_skew)
    return Facts(base=kinds, base_sequence=last, sequence_slack=slack, base_later=later, clock_skew=skew)


def _is_physical_copy(sources: Sources) -> bool:
    """Tell whether base is old's own cluster at another time: a restored backup, a promoted standby, a snapshot."""
    if not isinstance(sources.base, UrlBase):
        return False
    base, old = sources.base.database.info, sources.old.info
    return bool(old.system_identifier) and (base.system_identifier, base.database) == (
        old.system_identifier,
        old.database,
    )


def _base_kind(sources: Sources, diff: TableDiff) -> BaseKind:
    if diff.base_from == "rows":
        return BaseKind.DATABASE if isinstance(sources.base, UrlBase) else BaseKind.DUMP
    return BaseKind(diff.base_from)


def _key_sequence(table: Table) -> TableName | None:
    if len(table.key) != 1:
        return None
    return table.columns[table.places[table.key[0]]].sequence


def _summary(
    request: Request,
    clock: Clock,
    writer: BundleWriter,
    sources: Sources,
    schema: Schema,
    diffs: list[TableDiff],
    result: MergeResult,
    facts: Facts,
    settled: Settled,
) -> Summary:
    unseen = []
    if all(kind is BaseKind.NONE for kind in facts.base.values()) and facts.base:
        unseen.append(
            "there is no base: who changed a row is unknown. Make one: restore old to the time of the copy"
            " (point in time) and name it as [database] base"
        )
    age = clock.now() - sources.new.info.taken_at
    if age > request.max_snapshot_age:
        unseen.append(
            f"new's snapshot is {_minutes(age)} old (limit {_minutes(request.max_snapshot_age)}): new went on since;"
            " run again with more --jobs, or raise --max-snapshot-age"
        )
    for diff in diffs:
        if not diff.base_known and diff.old.total:
            unseen.append(f"{diff.table.name}: no base is known for its rows")
    unseen += [f"{name}: {why}" for name, why in facts.base_later.items()]
    notes = [*schema.warnings, *sources.notes]
    notes += [f"{diff.table.name}: {note}" for diff in diffs for note in diff.notes]
    return Summary(
        migration=request.migration,
        at=clock.now(),
        bundle="" if request.estimate else writer.folder.name,
        base=sources.base.label if sources.base else "base: none",
        base_kinds=dict(facts.base),
        tables=sums(
            result.judged,
            {diff.table.name: diff.old for diff in diffs},
            {diff.table.name: diff.new for diff in diffs},
        ),
        judged=result.judged,
        warnings=result.warnings,
        unseen=tuple(unseen),
        notes=tuple(dict.fromkeys(notes)),
        left_out=dict(schema.left_out),
        owners=owners(result),
        estimates=_estimates(request, sources, schema, diffs) if request.estimate else (),
        estimated=request.estimate,
        stale=len(settled.stale),
    )


def _estimates(request: Request, sources: Sources, schema: Schema, diffs: list[TableDiff]) -> tuple[TableEstimate, ...]:
    """Say how bad it is per table: counted against base, or by the rows' own times where there is none."""
    found = estimate_from_diffs(diffs)
    unknown = {diff.table.name for diff in diffs if not diff.base_known}
    if request.changed_at is None or not unknown:
        return tuple(found)
    tables = {name: table for name, table in schema.tables.items() if name in unknown}
    by_time = {each.table: each for each in estimate_since(sources, replace(schema, tables=tables), request.changed_at)}
    return tuple(by_time.get(each.table, each) for each in found)


def _minutes(length: timedelta) -> str:
    return f"{length.total_seconds() / 60:.0f} min"


def _meta(
    request: Request,
    clock: Clock,
    writer: BundleWriter,
    sources: Sources,
    schema: Schema,
    diffs: list[TableDiff],
    facts: Facts,
    previous: Meta | None,
) -> Meta:
    kinds = {kind.value for kind in facts.base.values()} or {"none"}
    used = {side: _used(sources, schema, side) for side in (Side.OLD, Side.NEW)}
    return Meta(
        bundle=writer.folder.name,
        migration=request.migration,
        created_at=clock.now(),
        plan_hash=request.plan_hash,
        base=kinds.pop() if len(kinds) == 1 else "mixed",
        old=_database_meta(sources.old),
        new=_database_meta(sources.new),
        tables={
            name: table_meta(table, facts.kind(name))
            for name, table in schema.tables.items()
            if sources.raw(Side.NEW, name) is not None
        },
        sequences=tuple((name, used[Side.OLD][name], used[Side.NEW][name]) for name in sorted(used[Side.OLD])),
        references=tuple(key for table in schema.tables.values() for key in table.foreign_keys if key.declared),
        # without any base nothing is known, only estimated: never an apply
        estimated=set(facts.base.values()) == {BaseKind.NONE},
        continues="" if previous is None else previous.bundle,
        reread=request.reread,
        decisions="" if request.bundle is None or previous is None else decisions_read(request.bundle),
        no_merge=request.no_merge,
        prove=request.prove,
        accept_inferred_deletes=request.accept_inferred_deletes,
    )


def _used(sources: Sources, schema: Schema, side: Side) -> dict[TableName, int | None]:
    """Return how far each sequence was used: its last value, or a larger key that somebody gave out by hand."""
    last = sources.sequences(side)
    database = sources.old if side is Side.OLD else sources.new
    found: dict[TableName, int | None] = {}
    for table in schema.tables.values():
        for column in table.columns:
            if column.sequence is None:
                continue
            values = [found.get(column.sequence), last.get(column.sequence)]
            raw = sources.raw(side, table.name)
            if table.key == (column.name,) and raw is not None and raw.column(column.name) is not None:
                query = sql.SQL("SELECT max({})::text FROM {}").format(
                    sql.Identifier(column.name), sql.Identifier(*table.name)
                )
                largest = database.rows(query)[0][0]
                values.append(int(largest) if largest is not None and largest.lstrip("-").isdigit() else None)
            found[column.sequence] = max((value for value in values if value is not None), default=None)
    return found


def _database_meta(database: Database) -> DatabaseMeta:
    info = database.info
    return DatabaseMeta(
        system_identifier=info.system_identifier,
        database=info.database,
        server_version=info.version,
        snapshot=info.snapshot,
        snapshot_at=info.taken_at,
        lsn=info.lsn,
        clock_skew=info.clock_skew,
    )


def table_meta(table: Table, base: BaseKind) -> TableMeta:
    """Return what the apply needs to know of a table."""
    return TableMeta(
        columns=table.column_names,
        types=tuple(column.type for column in table.columns),
        key=table.key,
        generated=tuple(column.name for column in table.columns if column.generated),
        identity_always=tuple(column.name for column in table.columns if column.identity == "always"),
        only_old=table.columns_only_old,
        only_new=table.columns_only_new,
        generated_key=table.generated_key,
        sequence=_key_sequence(table),
        base=base.value,
    )


def _write(writer: BundleWriter, meta: Meta, summary: Summary, result: MergeResult, settled: Settled) -> None:
    writer.write_meta(meta)
    writer.write_changes(() if meta.estimated else result.components)
    writer.write_accounted(account(each) for each in result.judged)
    writer.write_conflicts(conflict_rows(each) for each in result.judged if each.decision is Decision.CONFLICT)
    writer.write_id_map(_id_map(result))
    writer.write("decisions.toml", write_decisions(meta.bundle, result.judged, settled))
    writer.write("affected.csv", _affected(summary))
    writer.write("report.html", render_html(summary, result))
    writer.write("summary.json", [json.dumps(summary.to_json(), indent=1, ensure_ascii=True), "\n"])


def _id_map(result: MergeResult) -> Iterator[MappedId]:
    for table, old, new in result.mapped():
        column = next(each.table.key[0] for each in result.judged if each.table.name == table)
        drawn = isinstance(new, NewId)
        yield MappedId(table, column, old, None if drawn else str(new), "collision" if drawn else "same_entity")


def _affected(summary: Summary) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["table", "column", "owner", "changes", "conflicts"])
    for each in summary.owners:
        for owner, count in each.changes.most_common():
            writer.writerow([str(each.table), each.column, owner, count, each.conflicts[owner]])
    yield out.getvalue()
