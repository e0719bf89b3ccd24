"""What an apply leaves behind: drawn ids, what is left for people, who is affected, what would have been faster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cutover.reconcile.apply.outcome import Left
from cutover.reconcile.apply.staging import COLLISION
from cutover.reconcile.apply.target import Connection
from cutover.reconcile.model import Decision
from cutover.reconcile.review.bundlefile import Bundle, write_id_map

if TYPE_CHECKING:
    from uuid import UUID

    from cutover.plan import Plan


def write_ids(connection: Connection, run: UUID, bundle: Bundle) -> int:
    """Complete ``id_map.csv`` with the ids that were drawn; return how many were."""
    drawn = {
        (row[0], row[1], row[2], row[3]): row[4]
        for row in connection.execute(
            "SELECT schema_name, table_name, column_name, old_id, new_id FROM cutover.id_map WHERE run = %s", (run,)
        ).fetchall()
    }
    lines = [
        replace(line, new_id=drawn.get((*line.table, line.column, line.old_id), line.new_id))
        for line in bundle.id_map()
    ]
    if lines:
        write_id_map(bundle.folder, lines)
    return sum(line.how == COLLISION for line in lines)


def left_over(connection: Connection, run: UUID, direction: str) -> tuple[Left, ...]:
    """Return what a run left for people, row by row, with the reason."""
    rows = connection.execute(
        """SELECT t.schema_name || '.' || t.table_name, s.key, p.outcome, p.why, b.image, b.hit
           FROM cutover.progress p
           JOIN cutover.step s ON s.run = p.run AND s.batch = p.batch AND s.component = p.component
           JOIN cutover.target t ON t.run = s.run AND t.tbl = s.tbl
           LEFT JOIN cutover.before b ON b.run = s.run AND b.no = s.no
           WHERE p.run = %s AND p.direction = %s AND p.outcome IN ('missed', 'refused') AND s.last
           ORDER BY s.no""",
        (run, direction),
    ).fetchall()
    found: list[Left] = []
    for table, key, outcome, why, image, hit in rows:
        message = why
        if outcome == "missed" and image is not None and hit == "miss":
            message = f"{why}; it is now {image[:200]}"
        found.append(Left(table, tuple(str(x) for x in key), outcome if direction == "apply" else "refused", message))
    return tuple(found)


def conflicts(bundle: Bundle) -> Iterator[Left]:
    """Yield the conflicts of a bundle: they wait for a decision."""
    for line in bundle.accounted(Decision.CONFLICT):
        yield Left(str(line.table), line.key, "conflict", line.message or line.reason)


def affected_users(connection: Connection, run: UUID, plan: Plan | None) -> dict[str, list[str]]:
    """Return the values of the declared owner columns in the rows that were written."""
    found: dict[str, list[str]] = {}
    owners = {} if plan is None or plan.database is None else {x.name: x.owner for x in plan.database.table if x.owner}
    for name, owner in owners.items():
        schema, _, table = name.rpartition(".")
        rows = connection.execute(
            """SELECT DISTINCT x.id FROM cutover.target t JOIN cutover.step s ON s.run = t.run AND s.tbl = t.tbl
               CROSS JOIN LATERAL (VALUES (s.pre[array_position(t.columns, %s)]),
                                          (s.post[array_position(t.columns, %s)])) x (id)
               WHERE t.run = %s AND t.schema_name = %s AND t.table_name = %s AND x.id IS NOT NULL
                 AND EXISTS (SELECT FROM cutover.progress p WHERE p.run = s.run AND p.direction = 'apply'
                             AND p.batch = s.batch AND p.component = s.component AND p.outcome = 'applied')
               ORDER BY 1""",
            (owner, owner, run, schema or "public", table),
        ).fetchall()
        if rows:
            found[f"{schema or 'public'}.{table}"] = [row[0] for row in rows]
    return found


def missing_indexes(connection: Connection, run: UUID) -> tuple[str, ...]:
    """Return CREATE INDEX statements for foreign keys onto changed tables that no index of the child serves."""
    rows = connection.execute(
        """SELECT DISTINCT format('CREATE INDEX CONCURRENTLY ON %%s (%%s);', cutover.named(c.conrelid),
               (SELECT string_agg(quote_ident(attname), ', ' ORDER BY k.n)
                FROM unnest(c.conkey) WITH ORDINALITY k (a, n)
                JOIN pg_attribute ON attrelid = c.conrelid AND attnum = k.a))
           FROM pg_constraint c JOIN cutover.target t ON t.run = %s AND c.confrelid = to_regclass(t.rel)
           WHERE c.contype = 'f' AND c.conparentid = 0
             AND EXISTS (SELECT FROM cutover.step s WHERE s.run = t.run AND s.tbl = t.tbl AND s.action IN ('i', 'd'))
             AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
                 AND (SELECT array_agg(k ORDER BY k) FROM unnest((i.indkey::int2[])[0:cardinality(c.conkey) - 1]) k)
                   = (SELECT array_agg(k ORDER BY k) FROM unnest(c.conkey) k))
           ORDER BY 1""",
        (run,),
    ).fetchall()
    return tuple(row[0] for row in rows)


def notes(connection: Connection) -> tuple[str, ...]:
    """Return what the user should know of the target."""
    rows = connection.execute("SELECT pubname FROM pg_publication WHERE puballtables ORDER BY 1").fetchall()
    return tuple(
        f"publication {row[0]} is FOR ALL TABLES: its subscribers need the tables of schema cutover too"
        " (pg_dump --schema-only --schema=cutover)"
        for row in rows
    )
