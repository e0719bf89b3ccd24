"""The three-way diff on real databases, against a slow diff of COPY's own text."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile.diff.spill import ChangeKind
from cutover.reconcile.options import Options, TableOption
from tests.reconcile_read.support import HASHES, WHOLE, Copies, Sides, check, reading

STRATEGIES = [WHOLE, HASHES]

KEYS = {
    "bigint": ("bigint", "(g * 3 - 1500)::bigint"),
    "int": ("int", "g - 500"),
    "smallint": ("smallint", "(g - 500)::smallint"),
    "uuid": ("uuid", "md5(g::text)::uuid"),
    "text": ("text", "'k' || chr(192 + g % 60) || g"),
    "varchar": ("varchar(40)", "'V' || g"),
    "numeric": ("numeric", "g / 8.0"),
    "timestamptz": ("timestamptz", "timestamptz '0044-03-15 BC' + g * interval '1000 days'"),
    "bytea": ("bytea", "decode(md5(g::text), 'hex')"),
    "enum": ("mood", "(array['sad','ok','happy'])[g]::mood"),
    "domain": ("positive", "g::positive"),
    "date": ("date", "date '2000-01-01' + g"),
    "inet": ("inet", "'10.0.0.0'::inet + g"),
    "bpchar": ("char(8)", "'c' || g"),
    "bool": ("bool", "g = 1"),
    "float8": ("float8", "g / 3.0"),
    "citext": ("citext", "'Key' || g"),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("key", KEYS)
def test_every_shape_of_key(copies: Copies, tmp_path: Path, key: str, strategy: str) -> None:
    kind, value = KEYS[key]
    count = {"enum": 3, "bool": 2}.get(key, 900)
    few = count < 10
    sides = copies(
        "create extension citext; create type mood as enum ('sad', 'ok', 'happy');"
        " create domain positive as int check (value > 0);"
        f" create table t (v text, k {kind} primary key, n int);",
        f"insert into t select 'v' || g, {value}, g from generate_series(1, {count}) g;",
        "update t set v = 'old' where n % 50 = 2; delete from t where n % 97 = 3;"
        + ("" if few else f"insert into t select 'ins', {value}, g from generate_series(2001, 2020) g;"),
        "update t set n = n + 10000 where n % 40 = 2; delete from t where n % 89 = 1;"
        + ("" if few else f"insert into t select 'ins', {value}, g from generate_series(2011, 2030) g;"),
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        check(read, sides)
        assert read.of("t").old.total > 0
        assert read.of("t").strategy == strategy


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_composite_key_of_five_columns(copies: Copies, tmp_path: Path, strategy: str) -> None:
    sides = copies(
        "create table t (a int, b text, c uuid, d date, e numeric, v text, primary key (e, b, c, d, a));",
        "insert into t select g % 3, 'b' || g % 7, md5(g::text)::uuid, date '2024-01-01' + g % 5, g / 4.0, 'v'"
        " from generate_series(1, 400) g;",
        "update t set v = 'x' where a = 1 and b = 'b2'; delete from t where b = 'b5' and a = 0;"
        " update t set a = a + 100 where e = 3.25;",
        "update t set v = 'y' where b = 'b2'; delete from t where e = 10;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        assert read.schema.tables[read.of("t").table.name].key == ("e", "b", "c", "d", "a")
        check(read, sides)


TYPES = {
    "float8": ("'0'::float8", "'-0'::float8"),
    "float4 nan": ("'NaN'::float4", "'0'::float4"),
    "numeric scale": ("1.0", "1.00"),
    "numeric nan and null": ("'NaN'::numeric(12,2)", "null::numeric(12,2)"),
    "numeric two infinities": ("'Infinity'::numeric", "'-Infinity'::numeric"),
    "float zero and null": ("0::float8", "null::float8"),
    "numeric zero and null": ("0::numeric(12,2)", "null::numeric(12,2)"),
    "int zero and null": ("0", "null::int"),
    "numeric infinity": ("'Infinity'::numeric", "'NaN'::numeric"),
    "interval": ("interval '1 day'", "interval '24 hours'"),
    "interval month": ("interval '1 mon'", "interval '30 days'"),
    "jsonb": ("'{\"a\": 1.0}'::jsonb", "'{\"a\": 1.00}'::jsonb"),
    "json": ("'{\"a\":1}'::json", "'{\"a\": 1}'::json"),
    "array bounds": ("'{1,2}'::int[]", "'[0:1]={1,2}'::int[]"),
    "float array": ("'{0}'::float8[]", "'{-0}'::float8[]"),
    "citext": ("'Bob'::citext", "'BOB'::citext"),
    "enum": ("'sad'::mood", "'ok'::mood"),
    "enum array": ("'{sad}'::mood[]", "'{ok}'::mood[]"),
    "enum domain": ("'sad'::moody", "'ok'::moody"),
    "composite": ("row(1, 'a', 'sad')::pair", "row(1, 'a', 'ok')::pair"),
    "composite float": ("row(0, '', 'ok')::pair", "row(0, null, 'ok')::pair"),
    "money": ("'1.00'::money", "'1.01'::money"),
    "xml": ("'<a/>'::xml", "'<a></a>'::xml"),
    "bit": ("B'101'", "B'100'"),
    "varbit": ("'101'::varbit", "'1010'::varbit"),
    "point": ("point '(0,0)'", "point '(-0,0)'"),
    "polygon": ("polygon '((0,0),(1,1))'", "polygon '((0,0),(1,2))'"),
    "tsvector": ("'a b'::tsvector", "'a:1 b'::tsvector"),
    "tsquery": ("'a & b'::tsquery", "'a | b'::tsquery"),
    "jsonpath": ("'$.a'::jsonpath", "'$.b'::jsonpath"),
    "range": ("'[1.0,2]'::numrange", "'[1.00,2]'::numrange"),
    "multirange": ("'{[1.0,2]}'::nummultirange", "'{[1.00,2]}'::nummultirange"),
    "hstore": ("'a=>1'::hstore", "'a=>NULL'::hstore"),
    "ltree": ("'a.b'::ltree", "'a.c'::ltree"),
    "empty string": ("''::text", "null::text"),
    "trailing space": ("'a'::text", "'a '::text"),
    "bytea": ("'\\x00'::bytea", "'\\x0000'::bytea"),
    "date bc": ("date '0001-01-01 BC'", "date '0001-01-01'"),
    "timestamp infinity": ("timestamp 'infinity'", "timestamp '-infinity'"),
    "timetz": ("'10:00+00'::timetz", "'11:00+01'::timetz"),
    "timestamptz": ("timestamptz '2024-01-01 00:00:00.000001+00'", "timestamptz '2024-01-01 00:00:00+00'"),
    "inet": ("'10.0.0.1'::inet", "'10.0.0.1/8'::inet"),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'::macaddr8", "'08:00:2b:01:02:03:04:06'::macaddr8"),
    "bool": ("true", "false"),
    "name": ("'a'::name", "'b'::name"),
    "char": ("'a'::\"char\"", "'b'::\"char\""),
    "bpchar": ("'a'::char(3)", "'b'::char(3)"),
    "oid": ("1::oid", "2::oid"),
    "pg_lsn": ("'0/1'::pg_lsn", "'0/2'::pg_lsn"),
    "regclass": ("'pg_class'::regclass", "'pg_type'::regclass"),
    "collation": ("'a'::text collate nodet", "'A'::text collate nodet"),
}

TYPES_SCHEMA = """
create extension citext; create extension hstore; create extension ltree;
create collation nodet (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create type mood as enum ('sad', 'ok', 'happy'); create domain moody as mood;
create type pair as (x float8, y text, z mood);
"""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_trap_of_types_is_a_change(copies: Copies, tmp_path: Path, strategy: str) -> None:
    """Each pair of values is equal, or hashed alike, or differs only in text: all are changes; none is lost."""
    tables = {name: f"t_{number}" for number, name in enumerate(TYPES)}
    make = "".join(
        f"create table {tables[name]} as select g id, {one} v from generate_series(1, 6) g;"
        f"alter table {tables[name]} add primary key (id);"
        for name, (one, _) in TYPES.items()
    )
    old = "".join(f"update {tables[name]} set v = {other} where id = 2;" for name, (_, other) in TYPES.items())
    new = "".join(f"update {tables[name]} set v = {other} where id in (2, 5);" for name, (_, other) in TYPES.items())
    new += "".join(f"update {tables[name]} set v = null where id = 6;" for name in TYPES)
    sides = copies(TYPES_SCHEMA, make, old, new)
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        for name, table in tables.items():
            changes = list(read.of(table).changes)
            assert [change.key for change in changes] == [("2",)], name
            assert changes[0].base != changes[0].old, name
            assert changes[0].old == changes[0].new, name
            assert read.of(table).new.update == 3, name
        check(read, sides)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_the_servers_own_hashes_do_not_tell_apart(copies: Copies, tmp_path: Path, strategy: str) -> None:
    """A numeric's hash has no sign, an int8's and a timestamp's are folded to 32 bits: each change is found alone."""
    pairs = {
        "numeric(12,2)": ("12.50", "-12.50"),
        "bigint": ("-1", "4294967295"),
        "timestamptz": ("'2025-01-01Z'", "'2025-01-01Z'::timestamptz"),
        "timestamp": ("'2025-01-01'", "'2025-01-01'::timestamp"),
        "xid8": ("'1'", "'4294967296'"),
        "pg_lsn": ("'0/1'", "'1/0'"),
    }
    # Two times whose microseconds differ by the same bit in both halves: 2**32 + 1, where no carry disturbs it.
    for kind in ("timestamptz", "timestamp"):
        one, other = pairs[kind]
        pairs[kind] = (one, f"{other} + interval '4294.967297 seconds'")
    columns = ", ".join(f"c{number} {kind} not null" for number, kind in enumerate(pairs))
    firsts = ", ".join(f"{one}::{kind}" for kind, (one, _) in pairs.items())
    sides = copies(
        f"create table t (id int primary key, {columns}, a bigint, b bigint);",
        f"insert into t select g, {firsts}, null, 1 from generate_series(1, 50) g;"
        " update t set a = 1, b = 4294967296 where id = 20;",
        "".join(
            f"update t set c{number} = {other} where id = {number + 1};"
            for number, (_, other) in enumerate(pairs.values())
        )
        + "update t set a = b, b = a where id = 20; update t set a = 0 where id = 21;",
        "update t set c1 = 4294967295 where id = 30; update t set b = 4294967296 where id = 31;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        assert {change.key[0] for change in read.of("t").changes} == {
            *(str(n + 1) for n in range(len(pairs))),
            "20",
            "21",
        }
        assert read.of("t").new.update == 2
        check(read, sides)


def test_enums_with_other_oids_and_settings_make_no_noise(copies: Copies, tmp_path: Path) -> None:
    """The same values made twice in databases whose OIDs, time zones and date styles differ are no changes."""
    schema = TYPES_SCHEMA + "create table t (id int primary key, m mood, ms mood[], d moody, p pair, at timestamptz,"
    schema += " i interval, b bytea, f float8, c money, x citext);"
    rows = (
        "insert into t select g, 'ok', '{sad,ok}', 'happy', row(0.1, 'é', 'ok'::mood)::pair,"
        " timestamptz '2024-05-05 12:00+00' + g * interval '1 hour', interval '1 mon 2 days', '\\x5c78',"
        " 0.1 + g / 3.0, 12.5, 'Bob' from generate_series(1, 500) g;"
    )
    base = copies(schema + rows)
    spare = "".join(f"create type spare_{number} as enum ('a');" for number in range(40))
    other = copies(spare + schema + rows)
    name = other.new.rpartition("/")[2]
    with psycopg.connect(other.base, autocommit=True) as connection:
        for setting in (
            "timezone = 'Asia/Kolkata'",
            "datestyle = 'SQL, DMY'",
            "intervalstyle = 'iso_8601'",
            "bytea_output = 'escape'",
            "extra_float_digits = -10",
        ):
            connection.execute(f"alter database {name} set {setting}")
    sides = Sides(base.base, base.old, other.new)
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=HASHES) as read:
        assert read.of("t").old.total == 0
        assert read.of("t").new.total == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_value_swapped_between_two_rows_and_a_change_behind_a_null(
    copies: Copies, tmp_path: Path, strategy: str
) -> None:
    sides = copies(
        "create table t (id int primary key, a text, b text, c int);",
        "insert into t select g, 'a' || g, null, g from generate_series(1, 300) g;",
        "update t set a = case id when 1 then 'a2' else 'a1' end where id in (1, 2);"
        " update t set a = 'early' where id = 7;",
        "update t set c = case id when 3 then 4 else 3 end where id in (3, 4);",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        assert read.of("t").old.update == 3
        assert read.of("t").new.update == 2
        check(read, sides)


def test_ten_megabytes_in_a_value(copies: Copies, tmp_path: Path) -> None:
    sides = copies(
        "create table t (id int primary key, v text); alter table t alter v set storage external;",
        "insert into t select g, repeat(chr(64 + g), 10000000) from generate_series(1, 6) g;",
        "update t set v = overlay(v placing '!' from 9999999) where id = 3;",
        "update t set v = v || '.' where id = 4;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path) as read:
        diff = read.of("t")
        assert diff.strategy == HASHES
        (change,) = diff.changes
        assert change.key == ("3",)
        assert change.old is not None
        assert (change.old[1] or "")[-2] == "!"
        assert [(c.key, c.kind) for c in diff.new_changes] == [(("4",), ChangeKind.UPDATE)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_names_that_need_quotes_many_schemas_and_wide_tables(copies: Copies, tmp_path: Path, strategy: str) -> None:
    wide = ", ".join(f'"C {number}" int default {number}' for number in range(200))
    sides = copies(
        'create schema "Weird ""S"; create schema prod;'
        f'create table "Weird ""S"."Order" ("select" int primary key, "Ünï %s" text, "a""b" text);'
        f"create table prod.wide (id int primary key, {wide}); create table prod.empty (id int primary key);"
        'create table prod."Wide" (id int primary key);',
        'insert into "Weird ""S"."Order" select g, \'x\', \'y\' from generate_series(1, 50) g;'
        "insert into prod.wide (id) select generate_series(1, 60);",
        'update "Weird ""S"."Order" set "a""b" = \'%(x)s\' where "select" = 4;'
        'update prod.wide set "C 199" = -1 where id = 9;',
        'delete from "Weird ""S"."Order" where "select" = 5; update prod.wide set "C 0" = -1 where id = 9;',
    )
    options = Options(schemas=("prod", 'Weird "S'))
    with reading(sides.old, sides.new, sides.base, tmp_path, options=options, strategy=strategy) as read:
        check(read, sides)
        assert read.of('Weird "S.Order').old.update == 1
        assert read.of("prod.wide").old.update == 1
        assert any("differ only by case" in warning for warning in read.schema.warnings)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_partitions_are_read_through_the_root(copies: Copies, tmp_path: Path, strategy: str) -> None:
    sides = copies(
        "create table t (id bigint, at date, v text, primary key (id, at)) partition by range (at);"
        "create table t1 partition of t for values from ('2024-01-01') to ('2024-07-01');"
        "create table t2 partition of t for values from ('2024-07-01') to ('2025-01-01') partition by hash (id);"
        "create table t2a partition of t2 for values with (modulus 2, remainder 0);"
        "create table t2b partition of t2 for values with (modulus 2, remainder 1);"
        "create table rest partition of t default;",
        "insert into t select g, date '2024-01-01' + g % 380, 'v' from generate_series(1, 2000) g;",
        "update t set v = 'o' where id % 100 = 1; delete from t where id % 150 = 2;"
        " update t set at = at + 200 where id = 500;",
        "update t set v = 'n' where id % 70 = 1; insert into t values (5000, '2030-01-01', 'n');",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        assert set(read.schema.tables) == {read.of("t").table.name}
        assert read.of("t").table.partition_columns == ("at",)
        check(read, sides)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_partitioned_table_with_an_integer_match_key(copies: Copies, tmp_path: Path, strategy: str) -> None:
    """A row that moved between partitions is one update when the plan says what tells rows apart."""
    sides = copies(
        "create table t (id bigint, at date, v text, primary key (id, at)) partition by range (at);"
        "create table t1 partition of t for values from ('2024-01-01') to ('2024-07-01');"
        "create table t2 partition of t for values from ('2024-07-01') to ('2025-01-01');",
        "insert into t select g, date '2024-01-01' + g % 100, 'v' from generate_series(1, 500) g;",
        "update t set at = '2024-12-01' where id = 50;",
        "update t set v = 'n' where id = 50;",
    )
    options = Options(tables=(TableOption(name="t", match_key=("id",)),))
    with reading(sides.old, sides.new, sides.base, tmp_path, options=options, strategy=strategy) as read:
        assert (read.of("t").old.update, read.of("t").old.total) == (1, 1)
        check(read, sides)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_inherited_generated_and_identity(copies: Copies, tmp_path: Path, strategy: str) -> None:
    sides = copies(
        "create table parent (id int primary key, v text);"
        "create table child (extra int, primary key (id)) inherits (parent);"
        "create table g (id int generated always as identity primary key, a int,"
        " twice int generated always as (a * 2) stored);",
        "insert into parent select g, 'p' from generate_series(1, 30) g;"
        "insert into child select g, 'c', 1 from generate_series(1, 30) g;"
        "insert into g (a) select g from generate_series(1, 30) g;",
        "update child set v = 'o' where id = 3; update g set a = 99 where id = 4;",
        "update only parent set v = 'n' where id = 5; delete from child where id = 6;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        check(read, sides)
        assert read.of("parent").old.total == 0
        assert read.of("child").old.update == 1
        (change,) = read.changes("g")
        assert change.old == ("4", "99", "198")
        assert read.of("g").table.generated_key


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_keyless_tables_are_multisets(copies: Copies, tmp_path: Path, strategy: str) -> None:
    sides = copies(
        "create table t (a text, b numeric);",
        "insert into t select 'x', g % 3 from generate_series(1, 30) g;"
        "insert into t values (null, null), (null, null);"
        "insert into t values ('n', 1.0), ('n', 1.00);",
        "delete from t where ctid in (select ctid from t where a = 'x' and b = 1 limit 4);"
        " insert into t values ('y', 1), ('y', 1); delete from t where a = 'n' and b::text = '1.0';"
        " insert into t values (null, null);",
        "insert into t values ('y', 1); delete from t where a = 'x' and b = 1;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        found = {
            change.key: (change.base is None, change.count, change.new_count, change.new)
            for change in read.changes("t")
        }
        assert found == {
            ("x", "1"): (False, 4, 0, None),
            ("y", "1"): (True, 2, 1, None),
            ("n", "1.0"): (False, 1, 1, None),
            (None, None): (True, 1, 2, None),
        }
        assert read.of("t").old == (3, 0, 5)
        assert read.of("t").new == (1, 0, 10)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_columns_on_one_side_and_a_missing_table(copies: Copies, tmp_path: Path, strategy: str) -> None:
    sides = copies(
        "create table t (id int primary key, gone text, v text); create table lost (id int primary key, v text);",
        "insert into t select g, 'g', 'v' from generate_series(1, 40) g; insert into lost values (1, 'a'), (2, 'b');",
        "update t set gone = 'changed' where id = 3; alter table t add added text;"
        " update t set added = 'x' where id = 5; update lost set v = 'c' where id = 2;",
        "alter table t drop gone; alter table t add fresh int default 7; update t set v = 'n' where id = 3;"
        " drop table lost;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=strategy) as read:
        table = read.of("t").table
        assert table.column_names == ("id", "gone", "v", "added", "fresh")
        assert table.columns_only_old == ("gone", "added")
        assert table.columns_only_new == ("fresh",)
        assert table.columns_not_in_base == ("added",)
        assert [(c.key, c.old) for c in read.changes("t")] == [
            (("3",), ("3", "changed", "v", None, None)),
            (("5",), ("5", "g", "v", "x", None)),
        ]
        assert read.of("t").new == (0, 1, 0)
        lost = read.of("lost")
        assert lost.table.columns_only_old == ("id", "v")
        assert lost.old == (0, 1, 0)
        assert lost.new == (0, 0, 0)
        assert any("new has no such table" in warning for warning in read.schema.warnings)


def test_changed_types(copies: Copies, tmp_path: Path) -> None:
    sides = copies(
        "create table t (id int primary key, wide int, day timestamp, n numeric(10,2));",
        "insert into t select g, g, '2024-01-01', g from generate_series(1, 40) g;",
        "update t set wide = 0 where id = 3;",
        "alter table t alter id type bigint; alter table t alter wide type bigint;"
        " alter table t alter n type numeric(12,4);",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path, strategy=HASHES) as read:
        table = read.of("t").table
        assert table.columns_retyped == ("n",)
        assert [change.key for change in read.changes("t")] == [("3",)]
        # 1.00 became 1.0000: a difference in text is a difference, and it is said why.
        assert read.of("t").new.update == 40
        assert any("t.n: numeric(10,2) on old, numeric(12,4) on new" in each for each in read.schema.warnings)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_base_differences_are_said_to_be_of_unknown_base(copies: Copies, tmp_path: Path, strategy: str) -> None:
    sides = copies(
        # The rows are younger than the key: no restore, so nothing can be inferred.
        "create table t (id int primary key, v text); commit;",
        "insert into t select g, 'v' from generate_series(1, 40) g;",
        "update t set v = 'o' where id = 3; insert into t values (100, 'o'); delete from t where id = 9;",
        "update t set v = 'n' where id = 4; insert into t values (200, 'n');",
    )
    with reading(sides.old, sides.new, None, tmp_path, strategy=strategy) as read:
        found = {change.key[0]: (change.base, change.base_known) for change in read.changes("t")}
        assert found == {"3": (None, False), "4": (None, False), "100": (None, False)}
        assert read.of("t").base_from == "none"
        assert not read.of("t").base_known


def test_a_match_key_that_does_not_tell_rows_apart_is_refused(copies: Copies, tmp_path: Path) -> None:
    sides = copies(
        "create table t (a int, b int);", "insert into t values (1, 1), (2, 2);", "", "insert into t values (2, 3);"
    )
    options = Options(tables=(TableOption(name="t", match_key=("a",)),))
    with (
        pytest.raises(CutoverError, match=r"t: on new the key \(a\) is not unique or NULL: \(2\)"),
        reading(sides.old, sides.new, sides.base, tmp_path, options=options),
    ):
        pass


def test_rows_in_another_physical_order_spill_and_are_found(
    copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutover.reconcile.diff.match._HELD", 2000)
    monkeypatch.setattr("cutover.reconcile.diff.match._FRESH", 500)
    monkeypatch.setattr("cutover.reconcile.diff.scan._ROUND_ROWS", 1500)
    monkeypatch.setattr("cutover.reconcile.diff.scan._FIRST_BLOCKS", 16)
    monkeypatch.setattr("cutover.reconcile.diff.scan.MOST_ROWS", 1000)
    sides = copies(
        "create table t (id uuid primary key, n int, v text);",
        "insert into t select md5(g::text)::uuid, g, repeat('x', 80) from generate_series(1, 20000) g;",
        "update t set v = 'o' where n % 1000 = 5;",
        "create table s as select * from t order by md5(n::text || 'z'); truncate t; insert into t select * from s;"
        " drop table s; update t set v = 'n' where n % 900 = 7; delete from t where n % 3000 = 1;",
    )
    with reading(sides.old, sides.new, sides.base, tmp_path) as read:
        assert read.of("t").strategy == HASHES
        check(read, sides)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("match-")] == []
