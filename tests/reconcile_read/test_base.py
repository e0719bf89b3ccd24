"""Base as a dump, inferred from new's restore, or by a watermark."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.model import Side, TableName
from cutover.reconcile.options import Options
from cutover.reconcile.source import counts, dumpfile
from cutover.reconcile.source.session import Database
from cutover.reconcile.source.watermark import Watermark, Watermarks
from tests.reconcile_read.support import HASHES, WHOLE, Copies, Sides, check, reading, run
from tests.world.fixtures import MakeDatabase
from tests.world.postgres import Postgres, binaries

SCHEMA = """
create type mood as enum ('sad', 'ok');
create table plain (id serial primary key, v text, at timestamptz, m mood, n numeric, b bytea, f float8[]);
create table uu (k uuid, part int, v text, twice int generated always as (part * 2) stored, primary key (part, k));
create table one (v text primary key);
create table nokey (a text, b text);
create table parts (id int, v text, primary key (id)) partition by range (id);
create table parts_1 partition of parts for values from (1) to (100);
create table parts_2 partition of parts for values from (100) to (1000);
create table "Odd ""(name)" ("a, b" int primary key, "c" text);
create table empty (id int primary key);
"""
ROWS = r"""
insert into plain (v, at, m, n, b, f) select case g % 5 when 0 then null when 1 then ''
  when 2 then E'tab\there\nline\\N'
  when 3 then E'\\.' else 'x' end, timestamptz '2024-03-31 00:30+00' + g * interval '1 hour', 'ok', g / 8.0,
  decode(md5(g::text), 'hex'), array[0.1, 'NaN', g] from generate_series(1, 600) g;
insert into uu (k, part, v) select md5(g::text)::uuid, g % 3, 'v' || g from generate_series(1, 700) g;
insert into one values (''), ('a'), ('\N'), ('b');
insert into nokey select 'x', (g % 2)::text from generate_series(1, 40) g;
insert into parts select g, 'v' from generate_series(1, 300) g;
insert into "Odd ""(name)" select g, 'v' from generate_series(1, 10) g;
"""
OLD = """
update plain set v = 'o' where id % 50 = 1; delete from plain where id % 70 = 2; update plain set n = 1.0 where id = 8;
update uu set v = 'o' where v like 'v%7'; delete from uu where v = 'v12'; delete from one where v = '';
insert into nokey values ('x', '1'); update parts set v = 'o' where id in (5, 250); delete from parts where id = 100;
update "Odd ""(name)" set c = null where "a, b" = 3; insert into plain (v) values ('new');
"""
NEW = """
update plain set v = 'n' where id % 40 = 1; update uu set v = 'n' where v like 'v%5'; insert into one values ('c');
update parts set v = 'n' where id = 251; delete from nokey where ctid = '(0,1)'; insert into plain (v) values ('new2');
"""


def dump(postgres: Postgres, url: str, to: Path, *options: str) -> Path:
    run(postgres.tool("pg_dump"), *options, "-f", str(to), url)
    return to


@pytest.mark.parametrize("strategy", [WHOLE, HASHES])
@pytest.mark.parametrize(
    "form",
    [
        "plain",
        "plain gz",
        "plain xz",
        "plain bz2",
        "plain zst",
        "plain lz4",
        "custom",
        "custom gz",
        "custom xz",
        "custom zst",
        "directory",
        "tar",
        "latin1",
    ],
)
def test_a_dump_says_what_the_database_said(
    copies: Copies, postgres: Postgres, tmp_path: Path, form: str, strategy: str
) -> None:
    sides = copies(SCHEMA, ROWS, OLD, NEW)
    name = sides.base.rpartition("/")[2]
    # pg_dump takes the zone of its session, and does not say so: the values' text differs, the values do not.
    postgres.execute(f"alter database {name} set timezone = 'Asia/Kolkata'")
    packing = {"custom": "-Fc", "directory": "-Fd", "tar": "-Ft"}.get(form.split(" ", maxsplit=1)[0], "-Fp")
    extra = ["--encoding=LATIN1"] if form == "latin1" else []
    path = dump(postgres, sides.base, tmp_path / "base.dump", packing, *extra)
    program = {"gz": "gzip", "xz": "xz", "bz2": "bzip2", "zst": "zstd", "lz4": "lz4"}.get(form.rpartition(" ")[2])
    if program:
        zipped = tmp_path / "base.dump.packed"
        with zipped.open("wb") as out:
            subprocess.run([program, "-c", str(path)], stdout=out, check=True)
        path = zipped
    work = tmp_path / "work"
    work.mkdir()
    with reading(sides.old, sides.new, sides.base, work, strategy=strategy) as by_url:
        wanted = {name: sorted(map(repr, diff.changes)) for name, diff in by_url.diffs.items()}
        theirs = {name: sorted(map(repr, diff.new_changes)) for name, diff in by_url.diffs.items()}
        tallies = {name: (diff.old, diff.new) for name, diff in by_url.diffs.items()}
        sequences = dict(by_url.sources.sequences(Side.BASE))
    with reading(sides.old, sides.new, str(path), work, strategy=strategy) as read:
        assert {name: (diff.old, diff.new) for name, diff in read.diffs.items()} == tallies
        for table, changes in wanted.items():
            found = sorted(map(repr, read.diffs[table].changes))
            if table.name == "uu":
                # The dump lacks the generated column: base's rows hold NULL there.
                assert len(found) == len(changes)
                continue
            assert found == changes, table
            assert sorted(map(repr, read.diffs[table].new_changes)) == theirs[table]
        assert all(diff.base_from == "rows" for diff in read.diffs.values())
        assert dict(read.sources.sequences(Side.BASE)) == sequences
    assert not list(work.glob("base-*")), "the rows of the dump are removed"


def test_a_truncated_dump_is_an_error_wherever_it_ends(copies: Copies, postgres: Postgres, tmp_path: Path) -> None:
    sides = copies(SCHEMA, ROWS, "", "")
    whole = {form: dump(postgres, sides.base, tmp_path / f"whole{form}", form) for form in ("-Fp", "-Fc", "-Ft")}
    plain = whole["-Fp"].read_bytes()
    packed = {"gz": gzip.compress(plain), "xz": lzma.compress(plain), "bz2": bz2.compress(plain)}
    for form, content in packed.items():
        whole[form] = tmp_path / f"whole.{form}"
        whole[form].write_bytes(content)
    for program in ("zstd", "lz4"):
        whole[program] = tmp_path / f"whole.{program}"
        run(program, "-q", str(whole["-Fp"]), "-o" if program == "zstd" else "-z", str(whole[program]))
    for form, path in whole.items():
        data = path.read_bytes()
        marker = data.find(b"PostgreSQL database dump complete")
        for part in (0.2, 0.5, 0.8, 0.999 if marker < 0 else (marker - 3) / len(data)):
            cut = tmp_path / "cut.dump"
            cut.write_bytes(data[: int(len(data) * part)])
            work = tmp_path / f"w{form}{part}"
            work.mkdir()
            with (
                pytest.raises(CutoverError, match=r"trunc|end marker|cannot be read") as caught,
                reading(sides.old, sides.new, str(cut), work),
            ):
                pass
            assert caught.value.exit_code == 4, (form, part)
            assert "\n" not in caught.value.message
    for form in ("gz", "xz", "bz2"):
        damaged = bytearray(whole[form].read_bytes())
        middle = len(damaged) // 2
        damaged[middle : middle + 16] = bytes(16)
        cut = tmp_path / f"damaged.{form}"
        cut.write_bytes(damaged)
        with (
            pytest.raises(CutoverError, match="cannot be read to its end") as caught,
            reading(sides.old, sides.new, str(cut), tmp_path),
        ):
            pass
        assert caught.value.exit_code == 4, form


def test_what_no_program_here_can_read_is_named(
    copies: Copies, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = copies(SCHEMA, ROWS, "", "")
    newer = str(binaries(18))
    whole = tmp_path / "whole"
    run(f"{newer}/pg_dump", "-Fd", "-Z0", "-f", str(whole), sides.base)
    with reading(sides.old, sides.new, str(whole), tmp_path) as read:
        assert not any(diff.old.total for diff in read.diffs.values())
    header = bytearray((whole / "toc.dat").read_bytes())
    assert header[:7] == b"PGDMP\x01\x10"
    header[11] = 3  # what pg_dump --compress=zstd writes
    (whole / "toc.dat").write_bytes(header)
    with (
        pytest.raises(CutoverError, match="compressed by zstd, which no pg_restore here") as caught,
        reading(sides.old, sides.new, str(whole), tmp_path),
    ):
        pass
    assert "--compress=gzip" in (caught.value.hint or "")
    monkeypatch.setattr(dumpfile, "_candidates", lambda: [postgres.tool("pg_restore")])
    custom = tmp_path / "custom"
    run(f"{newer}/pg_dump", "-Fc", "-f", str(custom), sides.base)
    with (
        pytest.raises(CutoverError, match="made by a newer pg_dump"),
        reading(sides.old, sides.new, str(custom), tmp_path),
    ):
        pass
    plain = dump(postgres, sides.base, tmp_path / "plain", "-Fp")
    run("zstd", "-q", str(plain))
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(CutoverError, match="zstd, which is not installed") as caught,
        reading(sides.old, sides.new, f"{plain}.zst", tmp_path),
    ):
        pass
    assert f"zstd -d {plain}.zst" in (caught.value.hint or "")


@pytest.mark.parametrize("level", ["0", "6"])
def test_a_damaged_folder_is_an_error(copies: Copies, postgres: Postgres, tmp_path: Path, level: str) -> None:
    sides = copies(SCHEMA, ROWS, "", "")
    whole = dump(postgres, sides.base, tmp_path / "whole", "-Fd", f"-Z{level}")
    for number, part in enumerate(sorted(whole.glob("*.dat*"))):
        for name, damage in (("cut", 0.6), ("gone", None)):
            broken = tmp_path / f"{name}-{number}"
            shutil.copytree(whole, broken)
            data = part.read_bytes()
            if damage is None:
                (broken / part.name).unlink()
            elif len(data) < 40:
                continue
            else:
                (broken / part.name).write_bytes(data[: int(len(data) * damage)])
            with pytest.raises(CutoverError) as caught, reading(sides.old, sides.new, str(broken), tmp_path):
                pass
            assert caught.value.exit_code == (2 if broken / "toc.dat" == broken / part.name and damage is None else 4)


def test_dumps_that_are_none(copies: Copies, postgres: Postgres, tmp_path: Path) -> None:
    sides = copies(SCHEMA, ROWS, "", "")
    inserts = dump(postgres, sides.base, tmp_path / "inserts.sql", "--inserts")
    bare = dump(postgres, sides.base, tmp_path / "bare.sql", "--schema-only")
    cases = {
        str(inserts): "INSERTs instead of COPY",
        str(bare): "holds no rows",
        str(tmp_path / "nothing"): "there is no dump",
        str(tmp_path): "no toc.dat",
    }
    for path, said in cases.items():
        with pytest.raises(CutoverError, match=said), reading(sides.old, sides.new, path, tmp_path):
            pass


def test_a_table_whose_data_the_dump_lacks_has_no_base(copies: Copies, postgres: Postgres, tmp_path: Path) -> None:
    sides = copies(SCHEMA, ROWS, OLD, NEW)
    path = dump(postgres, sides.base, tmp_path / "base.sql", "--exclude-table-data=plain")
    with reading(sides.old, sides.new, str(path), tmp_path) as read:
        plain = read.of("plain")
        assert plain.base_from == "none"
        assert not plain.base_known
        assert any("base holds no rows" in note for note in plain.notes)
        assert all(not change.base_known and change.base is None for change in plain.changes)
        assert read.of("parts").base_known
        assert read.of("empty").base_known


def test_a_partition_that_old_dropped_is_read_from_the_dump(copies: Copies, postgres: Postgres, tmp_path: Path) -> None:
    sides = copies(SCHEMA, ROWS, "drop table parts_1", "")
    path = dump(postgres, sides.base, tmp_path / "base.dump", "-Fc")
    with reading(sides.old, sides.new, str(path), tmp_path) as read:
        assert read.of("parts").old == (0, 0, 99)


@pytest.fixture
def restored(copies: Copies, postgres: Postgres, make_database: MakeDatabase, tmp_path: Path) -> Sides:
    """New is a real pg_restore of a dump of old; both have gone on since."""
    sides = copies("create table spare (id int);" + SCHEMA.replace(";\ncreate", "; commit; create"), "", "", "")
    with psycopg.connect(sides.old, autocommit=True) as connection:
        for statement in ROWS.strip().split(";\n"):
            connection.execute(statement.rstrip(";\n").encode())
    path = dump(postgres, sides.old, tmp_path / "restored.dump", "-Fc")
    new = make_database()
    run(postgres.tool("pg_restore"), "-d", new, str(path))
    base = make_database()
    run(postgres.tool("pg_restore"), "-d", base, str(path))
    return Sides(base, sides.old, new)


def go_on(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements.split(";"):
            if statement.strip():
                connection.execute(statement.encode())


def test_inferred_base_equals_the_real_one_where_one_side_kept_the_row(restored: Sides, tmp_path: Path) -> None:
    go_on(restored.old, OLD)
    go_on(restored.new, NEW)
    with reading(restored.old, restored.new, restored.base, tmp_path) as real:
        wanted = {change.key: change for change in real.of("plain").changes}
        theirs = {change.key: change.kind for change in real.of("plain").new_changes}
    with reading(restored.old, restored.new, None, tmp_path) as read:
        assert read.sources.base is not None
        assert read.sources.base.label == "base: inferred"
        plain = read.of("plain")
        assert plain.base_from == "inferred"
        found = {change.key: change for change in plain.changes}
        both = {key for key in found if key in theirs and wanted[key].base is not None}
        assert both, "some rows were touched on both sides"
        for key, change in found.items():
            if key in both:
                assert (change.base, change.base_known) == (None, False)
            else:
                assert (change.base, change.old, change.new) == (wanted[key].base, wanted[key].old, wanted[key].new)
        assert set(found) == set(wanted)
        assert {c.key: c.kind for c in plain.new_changes if c.key not in both} == {
            key: kind for key, kind in theirs.items() if key not in both
        }
        # Without a sequence's value in base, the largest key that base's rows hold stands for it.
        assert read.sources.sequences(Side.BASE)[TableName("public", "plain_id_seq")] == 600


def test_inferred_base_is_refused_for_a_table_that_was_rewritten(restored: Sides, tmp_path: Path) -> None:
    go_on(restored.old, OLD)
    go_on(restored.new, NEW + "alter table plain add extra float8 default random(); alter table nokey add x int;")
    with reading(restored.old, restored.new, None, tmp_path) as read:
        assert read.of("plain").base_from == "none"
        assert any("rewritten since" in note for note in read.of("plain").notes)
        assert not any(change.base_known for change in read.of("plain").changes)
        assert read.of("uu").base_from == "inferred"
        assert read.of("nokey").base_from == "none"


def test_inferred_base_is_refused_for_a_data_only_restore(
    copies: Copies, postgres: Postgres, make_database: MakeDatabase, tmp_path: Path
) -> None:
    sides = copies("create table t (id int primary key, v text); commit;", "insert into t values (1, 'a'), (2, 'b');")
    schema = dump(postgres, sides.old, tmp_path / "schema.sql", "--schema-only")
    data = dump(postgres, sides.old, tmp_path / "data.sql", "--data-only")
    new = make_database()
    for path in (schema, data):
        run(postgres.tool("psql"), "-q", "-f", str(path), "-d", new)
    go_on(new, "update t set v = 'n' where id = 2")
    with reading(sides.old, new, None, tmp_path) as read:
        assert read.of("t").base_from == "none"
        assert any("restored into a ready schema" in note for note in read.of("t").notes)


def mark(url: str) -> Watermark:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "select system_identifier::text, current_database(), pg_snapshot_xmin(pg_current_snapshot())::text,"
            " pg_current_wal_lsn()::text from pg_control_system()"
        ).fetchone()
        sequences = connection.execute("select schemaname, sequencename, last_value from pg_sequences").fetchall()
        counted = connection.execute(
            "select schemaname, relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables"
        ).fetchall()
    assert row is not None
    return Watermark(
        system_identifier=row[0],
        database=row[1],
        snapshot_xmin=int(row[2]),
        lsn=row[3],
        taken_at=datetime.now(UTC),
        sequences={TableName(schema, name): value for schema, name, value in sequences},
        counters={TableName(schema, name): (ins, upd, gone) for schema, name, ins, upd, gone in counted},
    )


@pytest.mark.parametrize("prove", [False, True])
def test_a_watermark_finds_what_the_real_base_finds(
    restored: Sides, tmp_path: Path, prove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._SMALL", 0)
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    go_on(restored.old, OLD)
    go_on(restored.new, NEW)
    with reading(restored.old, restored.new, restored.base, tmp_path) as real:
        wanted = {name.name: {c.key: c for c in diff.changes} for name, diff in real.diffs.items() if diff.table.key}
        theirs = {name.name: {c.key: c.kind for c in diff.new_changes} for name, diff in real.diffs.items()}
    with reading(restored.old, restored.new, None, tmp_path, watermarks=marks, prove=prove) as read:
        assert read.sources.base is not None
        assert read.sources.base.label == "base: watermark"
        for table in ("plain", "uu", "one", "parts"):
            diff = read.of(table)
            assert diff.base_from == "watermark"
            assert ("only rows that are newer on new are hashed" in diff.reason) != prove
            found = {change.key: change for change in diff.changes}
            assert set(found) == set(wanted[table]), table
            for key, change in found.items():
                real_change = wanted[table][key]
                if key in theirs[table] and not (change.base is None and change.base_known):
                    assert not change.base_known
                elif real_change.base is None and change.base is None:
                    assert change.old == real_change.old
                else:
                    assert (change.base, change.old) == (real_change.base, real_change.old), (table, key)
        # 601 was drawn on both sides after the watermark: surely two inserts.
        collided = next(change for change in read.of("plain").changes if change.key == ("601",))
        assert collided.base_known
        assert collided.new is not None
        assert read.sources.sequences(Side.BASE)[TableName("public", "plain_id_seq")] == 600


@pytest.mark.parametrize("prove", [False, True])
def test_rows_rewritten_without_a_change_are_no_changes_by_a_watermark(
    restored: Sides, tmp_path: Path, prove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer row versions are judged by value, on both sides; every count is exact."""
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._SMALL", 0)
    monkeypatch.setattr("cutover.reconcile.diff.marked._PER_QUERY", 7)
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    for url, every, part, first, changed, gone in (
        (restored.old, 3, 1, 90, 9, "v9"),
        (restored.new, 2, 2, 95, 35, "v11"),
    ):
        go_on(
            url,
            f"update plain set n = n where id % {every} = 0; update uu set v = v where part = {part};"
            f" update parts set v = v where id between {first} and 180; update one set v = v;"
            f" update parts set v = null where id = 150; update plain set n = -n where id = {changed};"
            f" delete from uu where v = '{gone}'",
        )
    go_on(restored.new, "insert into uu (k, part, v) select md5(g::text)::uuid, 7, null from generate_series(1, 9) g")
    with reading(restored.old, restored.new, restored.base, tmp_path) as real:
        wanted = {diff.table.name: (diff.old, diff.new, set(diff.new_changes)) for diff in real.diffs.values()}
    with reading(restored.old, restored.new, None, tmp_path, watermarks=marks, prove=prove) as read:
        for table in ("plain", "uu", "one", "parts"):
            diff = read.of(table)
            if table == "parts":
                # Both sides set 150 to the same value: without base's row that is no difference to be seen.
                assert (diff.old.total, diff.new.total) == (0, 0)
                continue
            assert (diff.old, diff.new, set(diff.new_changes)) == wanted[diff.table.name], table


def test_rows_of_a_transaction_that_was_open_at_the_watermark_are_not_base(restored: Sides, tmp_path: Path) -> None:
    """Also when a savepoint wrote them, whose own id is newer than its transaction's."""
    with psycopg.connect(restored.old) as running:
        running.execute("update plain set v = 'open' where id = 11")
        running.execute("savepoint s")
        running.execute("update plain set v = 'savepoint' where id = 12")
        running.execute("release savepoint s")
        go_on(restored.old, "update plain set v = 'before' where id = 13")
        go_on(restored.new, "update plain set v = 'before' where id = 13")
        marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
        running.commit()
    with reading(restored.old, restored.new, None, tmp_path, watermarks=marks) as read:
        assert {change.key for change in read.of("plain").changes} == {("11",), ("12",)}
        assert all(change.base is not None and change.base[1] != "savepoint" for change in read.of("plain").changes)


def test_a_watermark_of_another_cluster_or_copy_is_not_trusted(restored: Sides, tmp_path: Path) -> None:
    good = mark(restored.old)
    for field, value, said in (
        ("system_identifier", "123", "another|of system 123"),
        ("database", "elsewhere", "of database elsewhere"),
        ("snapshot_xmin", 2**40, "stands before the watermark"),
        ("snapshot_xmin", 3 - 2**31, "cannot be told apart"),
    ):
        bad = Watermark(**{**{name: getattr(good, name) for name in good.__slots__}, field: value})
        with reading(restored.old, restored.new, None, tmp_path, watermarks=Watermarks(old=bad)) as read:
            base = read.sources.base
            assert base is not None
            assert base.label == "base: inferred"
            assert any(said.split("|")[-1] in note for note in read.sources.notes)


@pytest.mark.parametrize("small", [0, 2 << 20])
def test_a_watermark_taken_too_late_is_contradicted(
    restored: Sides, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._SMALL", small)
    go_on(restored.old, "update plain set v = 'lost' where id < 400")
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    with (
        pytest.raises(CutoverError, match="older than the watermark on both sides, yet differs") as caught,
        reading(restored.old, restored.new, None, tmp_path, watermarks=marks),
    ):
        pass
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("small", [0, 2 << 20])
def test_rows_that_new_never_deleted_contradict_a_watermark_too(
    restored: Sides, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._SMALL", small)
    monkeypatch.setattr("cutover.reconcile.source.counts.TOLD_WITHIN", 1.0)
    go_on(restored.old, "insert into plain select from generate_series(1, 3)")
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    with (
        pytest.raises(CutoverError, match=r"plain: 3 rows .* missing on new, and new has deleted 0 there") as caught,
        reading(restored.old, restored.new, None, tmp_path, watermarks=marks),
    ):
        pass
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("small", [0, 2 << 20])
@pytest.mark.parametrize("known", [True, False])
def test_a_row_that_old_deleted_and_new_updated_is_no_insert_of_new(
    restored: Sides, tmp_path: Path, small: int, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a key that base's sequence had drawn, nor by one that nobody draws: both counters say so."""
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._SMALL", small)
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new) if known else None)
    go_on(restored.old, "delete from plain where id = 7; delete from uu where v = 'v12'")
    go_on(restored.new, "update plain set v = 'n' where id = 7; update uu set twice = default, v = 'n' where v = 'v12'")
    go_on(restored.new, "insert into plain select")
    with reading(restored.old, restored.new, None, tmp_path, watermarks=marks) as read:
        (gone,) = [change for change in read.of("plain").changes if change.key == ("7",)]
        assert (gone.base, gone.old, gone.base_known) == (gone.new, None, False)
        assert (read.of("plain").old.delete, read.of("plain").new.insert, read.of("plain").new.update) == (1, 1, 1)
        assert (read.of("uu").old.delete, read.of("uu").new.insert, read.of("uu").new.update) == (1, 0, 1)


@pytest.mark.parametrize("small", [0, 2 << 20])
def test_many_rows_of_new_are_its_inserts_as_long_as_every_delete_of_old_is_accounted_for(
    restored: Sides, tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a key that nobody draws; rows beyond those that are held for a second look are counted as well."""
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._SMALL", small)
    monkeypatch.setattr("cutover.reconcile.diff.xmindiff._MOST_UNSURE", 3)
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    go_on(restored.old, "delete from uu where v = 'v12'")
    go_on(
        restored.new,
        "update uu set v = 'n' where v = 'v13';"
        " insert into uu (k, part, v) select gen_random_uuid(), 1, 'i' from generate_series(1, 9)",
    )
    with reading(restored.old, restored.new, None, tmp_path, watermarks=marks) as read:
        assert (read.of("uu").old.delete, read.of("uu").new.insert, read.of("uu").new.update) == (1, 9, 1)
    go_on(restored.old, "delete from uu where v = 'v13'")
    with (
        pytest.raises(CutoverError, match="uu: more than 3 rows are on new only") as caught,
        reading(restored.old, restored.new, None, tmp_path, watermarks=marks),
    ):
        pass
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("table", "old", "new", "gone"),
    [
        (
            "uu",
            "update uu set k = gen_random_uuid() where v = 'v11'; delete from uu where v = 'v12'",
            "update uu set v = 'n' where v = 'v12'",
            2,
        ),
        ('Odd "(name)', 'truncate "Odd ""(name)"', 'update "Odd ""(name)" set c = \'n\' where "a, b" = 3', 10),
        (
            "parts",
            "delete from parts where id = 7",
            "delete from parts where id = 7; insert into parts values (7, 'again')",
            1,
        ),
        ("parts", "drop table parts_1", "update parts set v = 'n' where id = 7", 99),
    ],
    ids=["a changed key", "truncate", "made anew on new", "a dropped partition"],
)
def test_what_no_counter_tells_is_no_proof_that_new_inserted_a_row(
    restored: Sides, tmp_path: Path, table: str, old: str, new: str, gone: int
) -> None:
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    go_on(restored.old, old)
    go_on(restored.new, new)
    with reading(restored.old, restored.new, None, tmp_path, watermarks=marks) as read:
        assert (read.of(table).old.delete, read.of(table).new.insert) == (gone, 0)


def test_sessions_that_cannot_be_seen_or_have_not_ended_may_have_more_to_tell(
    restored: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "TOLD_WITHIN", 1.0)
    with psycopg.connect(restored.old, autocommit=True) as app:
        app.execute("create role low login")
        try:
            with Database(Side.OLD, restored.old) as seen:
                assert counts.told(seen)
            with Database(Side.OLD, restored.old.replace("postgres@", "low@")) as blind:
                assert not counts.told(blind)
            with app.transaction(), Database(Side.OLD, restored.old) as waiting:
                app.execute("select 1")
                assert not counts.told(waiting)
        finally:
            app.execute("drop role low")


def test_a_row_deleted_by_a_session_that_idles_is_counted_in_time(restored: Sides, tmp_path: Path) -> None:
    marks = Watermarks(old=mark(restored.old), new=mark(restored.new))
    with psycopg.connect(restored.new, autocommit=True) as app:
        app.execute("delete from plain where id = 5")
        app.execute("delete from plain where id = 6")
        with reading(restored.old, restored.new, None, tmp_path, watermarks=marks) as read:
            assert read.of("plain").new.delete == 2


def test_the_check_of_the_slow_diff_itself(restored: Sides, tmp_path: Path) -> None:
    go_on(restored.old, OLD)
    go_on(restored.new, NEW)
    with reading(restored.old, restored.new, restored.base, tmp_path, options=Options(exclude=("nokey",))) as read:
        check(read, restored)
