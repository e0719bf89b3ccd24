"""Every golden case, on real Postgres: decisions, sums, and the result once the steps were carried out."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.bundlefile import Bundle
from cutover.reconcile.model import Decision, TableName
from cutover.reconcile.render import render_text
from cutover.reconcile.run import ReconcileResult, Request, Urls, reconcile
from cutover.reconcile.watermark import Watermark, Watermarks
from tests.golden.cases import Case, all_cases
from tests.golden.execute import Executor, advance
from tests.world.postgres import Postgres

CASES = all_cases()


SIDES = ("base", "old", "new")
_number = itertools.count(1)
_EMPTY = """
SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
DO $$ DECLARE each text; BEGIN
    FOR each IN SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' LOOP
        EXECUTE format('DROP EXTENSION %I CASCADE', each);
    END LOOP;
    FOR each IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', each);
    END LOOP;
END $$;
CREATE SCHEMA public;
GRANT ALL ON SCHEMA public TO public;
"""


@pytest.fixture(scope="module")
def databases(postgres: Postgres) -> Iterator[dict[str, str]]:
    """Three databases for all cases: emptied, not made anew, because that takes ten times as long."""
    stem = f"golden_{os.getpid()}_{next(_number)}"
    names = {side: f"{stem}_{side}" for side in SIDES}
    for name in names.values():
        postgres.create_database(name)
    yield names
    for name in names.values():
        postgres.drop_database(name)


@dataclass
class Sides:
    """A case's databases, by name, and old's watermark where the case stands on one."""

    names: dict[str, str]
    watermarks: Watermarks | None = None

    def __getitem__(self, side: str) -> str:
        return self.names[side]


@pytest.fixture
def sides(postgres: Postgres, databases: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Sides]:
    """Base, old and new of a case. A case's scripts say the same wherever they run."""
    case: Case = request.param
    found = Sides(databases)
    try:
        for side, name in databases.items():
            if side == "new" and case.run.get("copy") == "restore":
                _restore(postgres, databases["base"], name)
            else:
                postgres.execute(case.sql("schema"), database=name)
                postgres.execute(case.sql("base") or "SELECT 1", database=name)
            if side == "old" and case.run.get("base") == "watermark":
                found.watermarks = _watermark(postgres, name, case.run.get("during", "SELECT 1"))
            if side != "base":
                postgres.execute(case.sql(side) or "SELECT 1", database=name)
        yield found
    finally:
        for name in databases.values():
            postgres.execute(_EMPTY, database=name)


def _watermark(postgres: Postgres, name: str, during: str) -> Watermarks:
    """Take old's watermark while a transaction that began before it is still writing."""
    with psycopg.connect(postgres.dsn(name)) as writer, postgres.connect(name) as taker:
        for statement in filter(None, during.split(";")):
            writer.execute(statement.encode())
        row = taker.execute(
            "SELECT system_identifier::text, pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
            " pg_current_wal_lsn()::text, now() FROM pg_control_system()"
        ).fetchone()
        assert row is not None
        sequences = taker.execute("SELECT schemaname, sequencename, last_value FROM pg_sequences").fetchall()
        writer.commit()
    mark = Watermark(
        system_identifier=row[0],
        database=name,
        snapshot_xmin=row[1],
        lsn=row[2],
        taken_at=row[3],
        sequences={TableName(schema, sequence): value for schema, sequence, value in sequences},
    )
    return Watermarks(old=mark)


def _restore(postgres: Postgres, base: str, new: str) -> None:
    """Copy as most people do: dump and restore."""
    dump = subprocess.run([postgres.tool("pg_dump"), postgres.dsn(base)], check=True, capture_output=True)
    command = [postgres.tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", postgres.dsn(new)]
    subprocess.run(command, check=True, input=dump.stdout, capture_output=True)


def base_of(case: Case, postgres: Postgres, name: str, folder: Path) -> str | None:
    """Return what stands for base: a URL, a dump, or nothing."""
    match case.run.get("base", "database"):
        case "none" | "watermark":
            return None
        case "database":
            return postgres.dsn(name)
        case "dump":
            dump = folder / "base.dump"
            extra = case.run.get("dump", ["-Fc"])
            command = [postgres.tool("pg_dump"), *extra, "-f", str(dump), postgres.dsn(name)]
            subprocess.run(command, check=True, env={"TZ": "UTC", **case.run.get("dump_env", {})})
            return str(dump)
        case other:
            raise AssertionError(other)


def each_of(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case, its databases made."""
    ids = [case.name for case in cases]
    return pytest.mark.parametrize(("sides", "case"), [(case, case) for case in cases], indirect=["sides"], ids=ids)


def run(case: Case, postgres: Postgres, sides: Sides, folder: Path) -> ReconcileResult:
    """Call the command's function."""
    known = ("no_merge", "estimate", "accept_inferred_deletes")
    flags = {name: value for name, value in case.run.items() if name in known}
    base = base_of(case, postgres, sides["base"], folder)
    urls = Urls(old=postgres.dsn(sides["old"]), new=postgres.dsn(sides["new"]), base=base)
    return reconcile(case.options, urls, Request(folder=folder, **flags), watermarks=sides.watermarks)


@each_of(CASES)
def test_golden(sides: Sides, case: Case, postgres: Postgres, tmp_path: Path) -> None:
    if "error" in case.expected:
        with pytest.raises(CutoverError, match=case.expected["error"]) as caught:
            run(case, postgres, sides, tmp_path)
        assert caught.value.exit_code == case.expected.get("exit_code", 2)
        return
    result = run(case, postgres, sides, tmp_path)
    bundle = Bundle(result.bundle)
    compare(case, result, bundle)
    if bundle.meta.estimated:
        assert list(bundle.components()) == []
        return
    with contextlib.closing(psycopg.connect(postgres.dsn(sides["new"]))) as connection:
        plainly(case, bundle, connection)
        by_psql(case, bundle, postgres, sides["new"])
        ask(case, connection)


def plainly(case: Case, bundle: Bundle, connection: psycopg.Connection[Any]) -> None:
    """Carry the change set out in the plainest way, look at the result, and take it back."""
    advance(connection, bundle.meta)
    executor = Executor(connection, bundle.meta)
    with connection.transaction(force_rollback=True):
        for component in bundle.components():
            executor.run(component)
        connection.execute("SET LOCAL search_path = public")
        ask(case, connection)
    connection.execute("RESET ALL")
    connection.commit()


def by_psql(case: Case, bundle: Bundle, postgres: Postgres, database: str) -> None:
    """Carry it out by the tool's own protocol, through psql: the two must agree on what a bundle means."""
    command = [postgres.tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"accept={case.run.get('accept', '')}"]
    found = subprocess.run(
        [*command, "-f", str(bundle.folder / "apply.sql"), postgres.dsn(database)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


def ask(case: Case, connection: psycopg.Connection[Any]) -> None:
    """Ask what must be true of the result."""
    for query in filter(None, map(str.strip, case.sql("expected").split(";"))):
        rows = connection.execute(query.encode()).fetchall()
        assert rows, f"no row: {query}"
        assert all(value is True for row in rows for value in row), f"{query}: {rows}"


def compare(case: Case, result: ReconcileResult, bundle: Bundle) -> None:
    """Compare a result with what the case expects, and with itself."""
    expected = case.expected
    decisions: dict[str, str] = {}
    for line in bundle.accounted():
        reason = f" {line.reason}" if line.decision is Decision.CONFLICT else ""
        label = f"{line.table.name if line.table.schema == 'public' else line.table} {','.join(line.key)}"
        said = f"{line.decision}{reason}" + (f" x{line.count}" if line.count > 1 else "")
        decisions[label] = f"{decisions[label]} + {said}" if label in decisions else said
    assert decisions == expected["decisions"], render_text(result.summary)
    assert result.verdict == expected["verdict"]
    assert result.exit_code == expected["exit_code"]
    accounted = result.json["accounted"]
    assert accounted["old_changes"] == sum(value for name, value in accounted.items() if name != "old_changes")
    assert bundle.summary["accounted"] == accounted
    for name, counts in expected.get("tables", {}).items():
        found = next(table for table in result.json["tables"] if table["table"] == name)
        for key, value in counts.items():
            assert found[key] == value, f"{name}: {key} is {found[key]}"
    for place in ("warnings", "notes", "unseen"):
        text = "\n".join(result.json[place])
        for pattern in expected.get(place, []):
            assert re.search(pattern, text), f"{pattern} is not in {place}: {text}"
    for name, pattern in expected.get("left_out", {}).items():
        assert re.search(pattern, result.json["left_out"][name])
    for key, pattern in expected.get("because_of", {}).items():
        found_line = next(line for line in bundle.accounted() if f"{line.table.name} {','.join(line.key)}" == key)
        assert re.search(pattern, " ".join(found_line.because_of)), found_line.because_of
    for key, pattern in expected.get("effects", {}).items():
        found_line = next(line for line in bundle.accounted() if f"{line.table.name} {','.join(line.key)}" == key)
        assert re.search(pattern, " ".join(found_line.effects)), found_line.effects
    assert result.json["new_changes"]["overwritten"] == expected.get("overwritten", 0)
    text = render_text(result.summary)
    assert "\x1b" not in text
    assert result.summary.next_command in text
    page = (result.bundle / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 80
