"""Bundles made by hand, without a merge: what apply is told to do, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from cutover.observations.database import FenceProven, RoleProof
from cutover.observations.traffic import DatabaseReading
from cutover.reconcile.apply.applysql import seal_with_sql
from cutover.reconcile.apply.staging import qualified
from cutover.reconcile.bundle import Accounted, Component, DatabaseMeta, MappedId, Meta, Step, TableMeta
from cutover.reconcile.merge.cells import Cell
from cutover.reconcile.model import PINNED_SETTINGS, Decision, ForeignKey, TableName
from cutover.reconcile.review.bundlefile import BundleWriter

FENCED = datetime(2025, 11, 12, 7, 0, tzinfo=UTC)
READ = FENCED + timedelta(minutes=5)

Cells = Sequence[Cell]


def fence(at: datetime = FENCED, *, proven: bool = True) -> FenceProven:
    reading = DatabaseReading(
        at=at,
        side="old",
        system_identifier="1",
        server_version=150000,
        database="old",
        stats_reset=None,
        server_time=at,
        tables=(),
    )
    return FenceProven(
        at=at,
        side="old",
        proven=proven,
        roles=(RoleProof("app", "no CONNECT and no session", True),),
        counters=reading,
        why_not="" if proven else "app can log in",
    )


class Maker:
    """Makes bundles for one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._changes = itertools.count(1)
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT current_database(), (SELECT system_identifier::text FROM pg_control_system())"
            ).fetchone()
            assert row is not None
            self.database, self.identifier = row

    def table(self, name: str, **more: Any) -> TableMeta:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                """SELECT attname, format_type(atttypid, atttypmod), attgenerated <> '', attidentity = 'a'
                   FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
                   ORDER BY attnum""",
                (qualified(name_of(name)),),
            ).fetchall()
            key = connection.execute(
                """SELECT attname FROM pg_index i CROSS JOIN LATERAL unnest(indkey::int2[]) WITH ORDINALITY k (a, n)
                   JOIN pg_attribute ON attrelid = indrelid AND attnum = k.a
                   WHERE indrelid = to_regclass(%s) AND indisprimary ORDER BY n""",
                (qualified(name_of(name)),),
            ).fetchall()
        values: dict[str, Any] = {
            "columns": tuple(row[0] for row in rows),
            "types": tuple(row[1] for row in rows),
            "key": tuple(row[0] for row in key),
            "generated": tuple(row[0] for row in rows if row[2]),
            "identity_always": tuple(row[0] for row in rows if row[3]),
        }
        return TableMeta(**{**values, **more})

    def step(
        self,
        table: str,
        pre: Cells | None,
        post: Cells | None,
        *,
        key: Cells | None = None,
        meta: TableMeta | None = None,
        **more: Any,
    ) -> Step:
        meta = meta or self.table(table)
        row = post if pre is None else pre
        assert row is not None
        if key is None:
            key = tuple(row[meta.columns.index(name)] for name in meta.key)
        return Step(
            change=next(self._changes),
            table=name_of(table),
            key=tuple(key),
            pre=None if pre is None else tuple(pre),
            post=None if post is None else tuple(post),
            **more,
        )

    def bundle(
        self,
        components: Sequence[Sequence[Step]],
        *,
        tables: Mapping[str, TableMeta] | None = None,
        ids: Sequence[MappedId] = (),
        sequences: Sequence[tuple[str, int | None, int | None]] = (),
        references: Sequence[ForeignKey] = (),
        accounted: Sequence[Accounted] | None = None,
        read_at: datetime = READ,
        database: str = "",
        identifier: str = "",
        estimated: bool = False,
    ) -> Path:
        metas = {name_of(name): meta for name, meta in (tables or {}).items()}
        for component in components:
            for step in component:
                if step.table not in metas:
                    metas[step.table] = self.table(str(step.table))
        writer = BundleWriter.create(self.folder, READ)
        old = DatabaseMeta(
            system_identifier="1", database="old", server_version=150000, snapshot="1:1:", snapshot_at=read_at
        )
        new = DatabaseMeta(
            system_identifier=identifier or self.identifier,
            database=database or self.database,
            server_version=150000,
            snapshot="1:1:",
            snapshot_at=READ,
        )
        meta = Meta(
            bundle=writer.folder.name,
            migration="test",
            created_at=READ,
            plan_hash="",
            base="database",
            old=old,
            new=new,
            tables=metas,
            sequences=tuple((name_of(x), a, b) for x, a, b in sequences),
            references=tuple(references),
            estimated=estimated,
        )
        numbered = [Component(number, tuple(steps)) for number, steps in enumerate(components, 1)]
        writer.write_meta(meta)
        writer.write_changes(numbered)
        if accounted is None:
            accounted = [
                Accounted(
                    change=step.change,
                    table=step.table,
                    key=tuple(str(x) for x in step.key),
                    kind="insert" if step.pre is None else "delete" if step.post is None else "update",
                    decision=Decision.APPLY,
                )
                for steps in components
                for step in steps
                if not step.park
            ]
        writer.write_accounted(accounted)
        writer.write_conflicts([])
        writer.write("summary.json", ["{}\n"])
        writer.write_id_map(ids)
        seal_with_sql(writer)
        return writer.folder


def name_of(text: str) -> TableName:
    schema, _, table = text.rpartition(".")
    return TableName(schema or "public", table)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def state(url: str, *tables: str) -> dict[str, list[str]]:
    """Every row of the tables as text under the pinned settings, sorted."""
    found: dict[str, list[str]] = {}
    with psycopg.connect(url) as connection:
        for name, value in PINNED_SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        for table in tables:
            query = f"SELECT (t.*)::text FROM {qualified(name_of(table))} t ORDER BY 1"
            found[table] = [row[0] for row in connection.execute(query.encode())]
    return found
