"""Plays golden cases: the databases of a case, the command, and the comparison with what is expected.

The three databases may lie on servers of different major versions.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.bundle import Accounted
from cutover.reconcile.merge.accounting import account
from cutover.reconcile.model import Decision, TableName
from cutover.reconcile.review.bundlefile import Bundle
from cutover.reconcile.review.render import render_text
from cutover.reconcile.run import ReconcileResult, Request, Urls, reconcile
from cutover.reconcile.source.watermark import Watermark, Watermarks
from tests.golden.cases import Case
from tests.golden.execute import Executor, advance
from tests.world.postgres import Postgres

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


class Stage:
    """Three databases for all cases: emptied, not made anew, because that takes ten times as long.

    Args:
        servers: of base, old and new; one may serve several sides.
        options: per side, more words for CREATE DATABASE.
    """

    def __init__(self, servers: Mapping[str, Postgres], options: Mapping[str, str] | None = None) -> None:
        stem = f"golden_{os.getpid()}_{next(_number)}"
        self.servers = servers
        self.names = {side: f"{stem}_{side}" for side in SIDES}
        for side in SIDES:
            servers[side].create_database(self.names[side], options=(options or {}).get(side, ""))

    def close(self) -> None:
        """Drop the databases."""
        for side in SIDES:
            self.servers[side].drop_database(self.names[side])

    def dsn(self, side: str) -> str:
        """The URL of a side."""
        return self.servers[side].dsn(self.names[side])

    def execute(self, side: str, statements: str) -> None:
        """Run SQL on a side."""
        self.servers[side].execute(statements or "SELECT 1", database=self.names[side])

    @contextlib.contextmanager
    def set(self, case: Case) -> Iterator[Watermarks | None]:
        """Make base, old and new of a case; yield old's watermark where the case stands on one."""
        watermarks = None
        try:
            for side in SIDES:
                if side == "new" and case.run.get("copy") == "restore":
                    self._restore()
                else:
                    self.execute(side, case.sql("schema"))
                    self.execute(side, case.sql("base"))
                if side == "old" and case.run.get("base") == "watermark":
                    watermarks = self._watermark(case.run.get("during", "SELECT 1"))
                if side != "base":
                    self.execute(side, case.sql(side))
            yield watermarks
        finally:
            for side in SIDES:
                self.execute(side, _EMPTY)

    def _watermark(self, during: str) -> Watermarks:
        """Take old's watermark while a transaction that began before it is still writing."""
        server, name = self.servers["old"], self.names["old"]
        with psycopg.connect(server.dsn(name)) as writer, server.connect(name) as taker:
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

    def _restore(self) -> None:
        """Copy as most people do: dump with new's programs (they read older servers too, if any do), and restore."""
        dump = subprocess.run([self._dumper("base", "new"), self.dsn("base")], check=True, capture_output=True)
        command = [self.servers["new"].tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", self.dsn("new")]
        text = dump.stdout
        if self.servers["new"].major < self.servers["base"].major:
            # what an older server does not know, and what people take out by hand
            text = re.sub(rb"(?m)^SET transaction_timeout = 0;$", b"", text)
        subprocess.run(command, check=True, input=text, capture_output=True)

    def _dumper(self, *sides: str) -> str:
        """Return the newest pg_dump of the sides: an older one refuses."""
        return max((self.servers[side] for side in sides), key=lambda server: server.major).tool("pg_dump")

    def base_of(self, case: Case, folder: Path) -> str | None:
        """Return what stands for base: a URL, a dump, or nothing."""
        match case.run.get("base", "database"):
            case "none" | "watermark":
                return None
            case "database":
                return self.dsn("base")
            case "dump":
                dump = folder / "base.dump"
                extra = case.run.get("dump", ["-Fc"])
                command = [self._dumper("base"), *extra, "-f", str(dump), self.dsn("base")]
                subprocess.run(command, check=True, env={"TZ": "UTC", **case.run.get("dump_env", {})})
                return str(dump)
            case other:
                raise AssertionError(other)


def play(case: Case, stage: Stage, folder: Path) -> None:
    """Play one case to its end."""
    with stage.set(case) as watermarks:
        if "error" in case.expected:
            with pytest.raises(CutoverError, match=case.expected["error"]) as caught:
                run(case, stage, folder, watermarks)
            assert caught.value.exit_code == case.expected.get("exit_code", 2)
            return
        result = run(case, stage, folder, watermarks)
        if result.summary.estimated:
            compare(case, result, [account(each) for each in result.summary.judged])
            assert result.json["estimates"] == case.expected.get("estimates", result.json["estimates"])
            assert not [each for each in folder.iterdir() if each.is_dir()]
            return
        bundle = Bundle(result.bundle)
        compare(case, result, list(bundle.accounted()))
        assert bundle.summary["accounted"] == result.json["accounted"]
        assert "<script" not in (result.bundle / "report.html").read_text(encoding="utf-8")
        if bundle.meta.estimated:
            assert list(bundle.components()) == []
            return
        with contextlib.closing(psycopg.connect(stage.dsn("new"), client_encoding="utf8")) as connection:
            plainly(case, bundle, connection)
            before = rows_of(connection)
            by_psql(case, bundle, stage, "apply.sql")
            ask(case, connection)
            while connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchone():
                connection.rollback()  # psql is gone, its session not yet
            by_psql(case, bundle, stage, "undo.sql")
            after = rows_of(connection)
            # what a trigger was let do, an undo does not take back
            assert "accept" in case.run or after == before, (before, after)


def run(case: Case, stage: Stage, folder: Path, watermarks: Watermarks | None) -> ReconcileResult:
    """Call the command's function."""
    known = ("no_merge", "estimate", "accept_inferred_deletes")
    flags = {name: value for name, value in case.run.items() if name in known}
    urls = Urls(old=stage.dsn("old"), new=stage.dsn("new"), base=stage.base_of(case, folder))
    return reconcile(case.options, urls, Request(folder=folder, **flags), watermarks=watermarks)


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


def rows_of(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return every row of new, by table."""
    names = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname !~ '^(pg_|information_schema|cutover)'"
    ).fetchall()
    found = {}
    for (name,) in names:
        rows = connection.execute(f"SELECT t::text FROM {name} t".encode()).fetchall()
        found[name] = sorted(row[0] for row in rows)
    connection.rollback()
    return found


def by_psql(case: Case, bundle: Bundle, stage: Stage, file: str) -> None:
    """Carry it out by the tool's own protocol, through psql: the two must agree on what a bundle means."""
    command = [stage.servers["new"].tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    command += ["-v", f"accept={case.run.get('accept', '')}", "-f", str(bundle.folder / file), stage.dsn("new")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def ask(case: Case, connection: psycopg.Connection[Any]) -> None:
    """Ask what must be true of the result."""
    for query in filter(None, map(str.strip, case.sql("expected").split(";"))):
        rows = connection.execute(query.encode()).fetchall()
        assert rows, f"no row: {query}"
        assert all(value is True for row in rows for value in row), f"{query}: {rows}"


def compare(case: Case, result: ReconcileResult, lines: Sequence[Accounted]) -> None:
    """Compare a result with what the case expects, and with itself."""
    expected = case.expected
    decisions: dict[str, str] = {}
    for line in lines:
        reason = f" {line.reason}" if line.decision is Decision.CONFLICT else ""
        label = f"{line.table.name if line.table.schema == 'public' else line.table} {','.join(line.key)}"
        said = f"{line.decision}{reason}" + (f" x{line.count}" if line.count > 1 else "")
        decisions[label] = f"{decisions[label]} + {said}" if label in decisions else said
    assert decisions == expected["decisions"], render_text(result.summary)
    assert result.verdict == expected["verdict"]
    assert result.exit_code == expected["exit_code"]
    accounted = result.json["accounted"]
    assert accounted["old_changes"] == sum(value for name, value in accounted.items() if name != "old_changes")
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
        found_line = next(line for line in lines if f"{line.table.name} {','.join(line.key)}" == key)
        assert re.search(pattern, " ".join(found_line.because_of)), found_line.because_of
    for key, pattern in expected.get("effects", {}).items():
        found_line = next(line for line in lines if f"{line.table.name} {','.join(line.key)}" == key)
        assert re.search(pattern, " ".join(found_line.effects)), found_line.effects
    assert result.json["new_changes"]["overwritten"] == expected.get("overwritten", 0)
    text = render_text(result.summary)
    assert "\x1b" not in text
    assert result.summary.next_command in text
