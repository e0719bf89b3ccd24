"""What can be recognised without being declared: well-known tables, and columns kept by a trigger."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cutover.reconcile.model import TableKind, TableName
from cutover.reconcile.source.catalogue import RawTable

_KNOWN: tuple[tuple[str, TableKind, str], ...] = (
    (
        r"(delayed_jobs|jobs|job|failed_jobs|job_batches|good_job\w*|que_\w+|solid_queue_\w+|oban_(jobs|peers)"
        r"|queue_classic_jobs|procrastinate_\w+|graphile_worker\.\w+|_private_\w*jobs|pgboss\.\w+|river_\w+"
        r"|pgmq\.\w+|q_\w+|django_q_\w+|celery_\w+|background_jobs|\w+_queue|queue)",
        TableKind.QUEUE,
        "a job queue",
    ),
    (r"(\w*outbox\w*|outgoing_(messages|events))", TableKind.QUEUE, "an outbox"),
    (
        r"(sessions?|user_sessions|django_session|active_sessions|web_sessions|express_sessions?"
        r"|cache|cache_locks|solid_cache_\w+)",
        TableKind.IGNORE,
        "sessions or a cache",
    ),
    (
        r"(schema_migrations?|ar_internal_metadata|django_migrations|alembic_version|flyway_schema_history"
        r"|_prisma_migrations|knex_migrations(_lock)?|databasechangelog(lock)?|goose_db_version|__efmigrationshistory"
        r"|__drizzle_migrations|migrations|typeorm_metadata|sequelizemeta|gorp_migrations|atlas_schema_revisions)",
        TableKind.IGNORE,
        "the migration tool's own table",
    ),
)


def known_kind(name: TableName) -> tuple[TableKind, str] | None:
    """Recognise queues, outboxes, sessions and migration tables by name."""
    for pattern, kind, said in _KNOWN:
        for text in (name.name, str(name)):
            if re.fullmatch(pattern, text, re.IGNORECASE):
                return kind, f"recognised as {said}"
    return None


_ASSIGNED = re.compile(
    r"""\bnew\s*\.\s*("(?:[^"]|"")+"|[a-z_][\w$]*)\s*:?=\s*
        (?:\(?\s*(?:now\s*\(\)|current_timestamp|localtimestamp|transaction_timestamp\s*\(\)
        |statement_timestamp\s*\(\)|clock_timestamp\s*\(\)|timezone\s*\())""",
    re.IGNORECASE | re.VERBOSE,
)


def clock_columns(table: RawTable) -> Iterator[str]:
    """Yield columns that a BEFORE UPDATE trigger sets to the present time (``updated_at`` and the like)."""
    times = {column.name for column in table.columns if column.base_type in {"timestamp", "timestamptz", "date"}}
    for function, source, arguments in table.trigger_sources.values():
        if function == "moddatetime":
            yield from (name for name in arguments if name in times)
            continue
        body = re.sub(r"--[^\n]*|/\*.*?\*/", " ", source, flags=re.DOTALL)
        for match in _ASSIGNED.finditer(body):
            written = match[1]
            name = written[1:-1].replace('""', '"') if written.startswith('"') else written.lower()
            if name in times:
                yield name
