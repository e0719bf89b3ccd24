"""``apply.sql`` and ``undo.sql``: the very protocol that the tool drives, for psql (DESIGN.md 7).

Both work on the state in schema ``cutover`` of the target, so that psql and the tool can continue each other.
"""

# ruff: noqa: S608 - this module writes SQL files: names are its own, values are quoted by _quoted

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cutover.reconcile.apply.staging import PROTOCOL, STEP_COLUMNS, Stager, copy_text, run_id_of
from cutover.reconcile.apply.target import (
    SKIPPED_SETTINGS,
    STAGED_TABLES,
    WAIT_FOR_OWN,
    WRITING_SETTINGS,
    protocol_sql,
    small_tables,
)
from cutover.reconcile.model import PINNED_SETTINGS
from cutover.reconcile.review.bundlefile import Bundle, BundleWriter

if TYPE_CHECKING:
    from uuid import UUID

    from cutover.reconcile.bundle import Meta


def seal_with_sql(writer: BundleWriter) -> str:
    """Render both files into a bundle that has all its other files, and seal it; return the bundle's id."""
    bundle = Bundle.unsealed(writer.folder)
    run = run_id_of(writer.folder)
    writer.write("apply.sql", apply_sql(bundle, run))
    writer.write("undo.sql", undo_sql(bundle.meta, run))
    return writer.seal()


def apply_sql(bundle: Bundle, run: UUID) -> Iterator[str]:
    """Yield ``apply.sql``: for ``psql -X -f apply.sql URL`` (``-v accept=TABLE,TABLE`` accepts triggers' effects)."""
    meta = bundle.meta
    yield f"""\
-- {meta.bundle}: apply. Run it with: psql -X -f apply.sql URL
-- It may be run again at any time: it goes on where it stopped, and `cutover reconcile --apply`, `--verify` and
-- `--undo` can follow. Old must be fenced, and have been fenced before {meta.old.snapshot_at.isoformat()}.
-- Effects of triggers stop it until they are accepted: psql -v accept=schema.table,schema.table ...
"""
    yield from _session(meta)
    yield f"BEGIN;\n{WAIT_FOR_OWN};\nSET LOCAL client_min_messages = warning;\n"
    yield protocol_sql()
    yield "COMMIT;\n"
    stager = Stager(run, meta)
    yield from _stage("step", STEP_COLUMNS, stager.lines(bundle.components()))
    for table, rows in small_tables(bundle, stager).items():
        yield from _stage(table, STAGED_TABLES[table], ("\t".join(map(copy_text, row)) + "\n" for row in rows))
    yield "BEGIN;\n"
    for table in ("step", *STAGED_TABLES):
        columns = ", ".join(STEP_COLUMNS if table == "step" else STAGED_TABLES[table])
        yield (
            f"INSERT INTO cutover.{table} ({columns}) SELECT {columns} FROM staged_{table}\n"
            f"    WHERE NOT EXISTS (SELECT FROM cutover.run WHERE run = '{run}');\n"
        )
    yield f"""\
SELECT cutover.prepare('{run}');
COMMIT;
BEGIN;
{WAIT_FOR_OWN};
ANALYZE cutover.step;
COMMIT;
SELECT cutover.advance_sequence(sequence_name, advance_to) FROM cutover.sequence WHERE run = '{run}';
SELECT cutover.draw('{run}');
\\if :{{?accept}}
INSERT INTO cutover.accepted (run, table_name) SELECT '{run}', trim(x) FROM unnest(string_to_array(:'accept', ',')) x
    ON CONFLICT (run, table_name) DO NOTHING;
\\endif
CALL cutover.run_all('{run}', 'apply');
"""
    yield _summary(run, "apply")


def undo_sql(meta: Meta, run: UUID) -> Iterator[str]:
    """Yield ``undo.sql``: puts back what an apply (by psql or by the tool) has done."""
    yield f"""\
-- {meta.bundle}: undo. Run it with: psql -X -f undo.sql URL
-- Rows that were changed since, or that have new children, are left as they are and listed.
"""
    yield from _session(meta)
    yield f"""\
UPDATE cutover.run SET state = 'undoing' WHERE run = '{run}';
\\if :{{?accept}}
INSERT INTO cutover.accepted (run, table_name) SELECT '{run}', trim(x) FROM unnest(string_to_array(:'accept', ',')) x
    ON CONFLICT (run, table_name) DO NOTHING;
\\endif
CALL cutover.run_all('{run}', 'undo');
"""
    yield _summary(run, "undo")


def _session(meta: Meta) -> Iterator[str]:
    yield "\\set ON_ERROR_STOP on\n\\set QUIET on\n\\pset pager off\n"
    yield "\\encoding UTF8\n"
    for name, value in {**PINNED_SETTINGS, **WRITING_SETTINGS}.items():
        if name not in SKIPPED_SETTINGS:
            yield f"SET {name} = {_quoted(value)};\n"
    yield f"""\
DO $check$ BEGIN
    IF current_database() <> {_quoted(meta.new.database)} OR {_quoted(meta.new.system_identifier)} <> (CASE
        WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
        THEN (SELECT system_identifier::text FROM pg_control_system()) ELSE '' END) THEN
        RAISE EXCEPTION 'this is not the database that the bundle was made for';
    END IF;
    IF current_setting('session_replication_role') <> 'origin' THEN
        RAISE EXCEPTION 'session_replication_role is not origin: triggers and foreign keys would not fire';
    END IF;
    IF NOT pg_try_advisory_lock(1668641647, 1986359924) THEN
        RAISE EXCEPTION 'another apply or undo is at work';
    END IF;
    IF to_regclass('cutover.run') IS NOT NULL THEN
        IF EXISTS (SELECT FROM cutover.run WHERE protocol <> {PROTOCOL}) THEN
            RAISE EXCEPTION 'schema cutover holds runs of another version of cutover';
        END IF;
    END IF;
END $check$;
"""


def _stage(table: str, columns: Iterable[str], lines: Iterable[str]) -> Iterator[str]:
    names = ", ".join(columns)
    yield f"CREATE TEMP TABLE staged_{table} (LIKE cutover.{table} INCLUDING DEFAULTS);\n"
    yield f"COPY staged_{table} ({names}) FROM STDIN;\n"
    yield from lines
    yield "\\.\n"


def _summary(run: UUID, direction: str) -> str:
    return f"""\
\\echo
SELECT outcome, count(*) AS components FROM cutover.progress WHERE run = '{run}' AND direction = '{direction}'
GROUP BY outcome ORDER BY outcome;
SELECT t.schema_name || '.' || t.table_name AS "table", array_to_string(s.key, ', ') AS key, p.outcome, p.why
FROM cutover.progress p
JOIN cutover.step s ON s.run = p.run AND s.batch = p.batch AND s.component = p.component AND s.last
JOIN cutover.target t ON t.run = s.run AND t.tbl = s.tbl
WHERE p.run = '{run}' AND p.direction = '{direction}' AND p.outcome IN ('missed', 'refused') ORDER BY s.no;
"""


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
