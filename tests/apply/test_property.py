"""Properties over random change sets: apply then undo is identity, twice is once, psql and the tool do the same."""

# ruff: noqa: E501 - SQL and rows are easier to compare on one line

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.bundle import Step
from tests.apply.support import Maker, fence, state
from tests.world.postgres import Postgres

SCHEMA = """
create type mood as enum ('sad', 'so so', 'happy');
create domain short as varchar(40) check (value <> 'forbidden');
create table tree (id int primary key, parent int references tree deferrable initially deferred, label text unique deferrable);
create table pair (a int, b text, v numeric, w numeric(8, 2), primary key (a, b));
create table part (id int, region text, v text, double_id int generated always as (id * 2) stored, primary key (id, region))
    partition by list (region);
create table part_eu partition of part for values in ('eu');
create table part_rest partition of part default;
create table kinds (id bigint generated always as identity primary key, m mood, s short, d timestamptz, f float8, j jsonb,
                    r int4range, arr text[], b bytea, i interval, c char(5), flag boolean, touched int not null default 0);
create table ref (id int primary key, a int, b text, tree int references tree on delete set null,
                  foreign key (a, b) references pair on delete cascade, unique (a, b));
create table "Odd ""name" ("select" int primary key, "t.x" text, "ünï" text);
insert into tree select i, case when i > 1 then i / 2 end, 'label ' || i from generate_series(1, 12) i;
insert into pair select i, 'b' || i, i * 1.50, i from generate_series(1, 12) i;
insert into part select i, case when i % 2 = 0 then 'eu' else 'us' end, 'v' || i from generate_series(1, 12) i;
insert into kinds (m, s, d, f, j, r, arr, b, i, c, flag)
    select (array['sad', 'so so', 'happy'])[1 + i % 3]::mood, 's' || i, timestamptz '2025-01-01 12:00+00' + i * interval '1 day',
           case when i = 3 then 'NaN'::float8 when i = 4 then '-0'::float8 else i / 3.0 end, jsonb_build_object('k', i),
           int4range(i, i + 2), array['a', null, 'b"' || i], decode('00ff', 'hex'), interval '1 mon 2 days', 'c' || i, i % 2 = 0
    from generate_series(1, 12) i;
insert into ref select i, i, 'b' || i, i from generate_series(1, 6) i;
insert into "Odd ""name" select i, 'x' || i, 'y' || i from generate_series(1, 12) i;
"""
TABLES = ("tree", "pair", "part", "kinds", "ref", 'Odd "name')
TRICKY = ["", "'", '"', "\\", "{a,b}", "(1,2)", "tab\t", "new\nline", "NULL", "ünï ☃", "$1", "%s", "a,b", "\\N", "\\."]


def current(url: str, table: str) -> list[list[str | None]]:
    import psycopg

    from cutover.reconcile.model import PINNED_SETTINGS
    from cutover.reconcile.source.session import text_rows

    with psycopg.connect(url) as connection:
        for name, value in PINNED_SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", (name, value))
        quoted = table.replace('"', '""')
        return [
            list(row)
            for row in text_rows(connection.execute(f'select * from public."{quoted}" order by 1, 2'.encode()))
        ]


def draw_components(maker: Maker, metas: dict[str, Any], data: st.DataObject) -> list[list[Step]]:
    """Draw changes that hold together: children with their parents, swaps in their order."""
    components: list[list[Step]] = []
    text = st.one_of(
        st.sampled_from(TRICKY), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
    )

    def step(table: str, pre: Any, post: Any, **more: Any) -> Step:
        return maker.step(table, pre, post, meta=metas[table], **more)

    def rows_of(table: str, most: int) -> list[list[str | None]]:
        rows = current(maker.url, table)
        chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True, max_size=most), label=table)
        return [rows[i] for i in chosen]

    for row in rows_of("kinds", 6):
        post = list(row)
        changes = {
            1: st.sampled_from(["sad", "happy", None]),
            2: st.sampled_from(["", "x", None]),
            3: st.sampled_from(["1999-12-31 23:59:59.123456+00", "infinity", "0044-03-15 00:00:00+00 BC", None]),
            4: st.sampled_from(["Infinity", "-0", "0.1", "1e-300"]),
            5: st.sampled_from(['{"k": 1.00}', "[]", "null", None]),
            6: st.sampled_from(["empty", "[1,5)", "(,)"]),
            7: st.just('{a,NULL,"b\\"c"}'),
            8: st.just("\\x0102"),
            9: st.sampled_from(["30 days", "1 mon", "-1 days +02:03:04"]),
            10: st.just("zz   "),
            11: st.sampled_from(["t", "f"]),
        }
        for i in data.draw(st.lists(st.sampled_from(sorted(changes)), unique=True, min_size=1)):
            post[i] = data.draw(changes[i])
        components.append([step("kinds", row, post)])
    for row in rows_of("part", 4):
        components.append([step("part", row, [row[0], row[1], data.draw(text), row[3]])])
    for i in range(data.draw(st.integers(0, 3))):
        from cutover.reconcile.merge.cells import Filled

        region = data.draw(st.sampled_from(["eu", "us", "asia"]))
        components.append([step("part", None, [str(100 + i), region, data.draw(text), Filled.GENERATED])])
    for row in rows_of('Odd "name', 4):
        components.append(
            [step('Odd "name', row, [row[0], data.draw(text), row[2]])]
            if row[0] != "1"
            else [step('Odd "name', row, None)]
        )
    # A subtree is born in an order that only deferred constraints allow, and a leaf dies.
    if data.draw(st.booleans()):
        components.append([step("tree", None, ["101", "100", "x"]), step("tree", None, ["100", "1", data.draw(text)])])
    if data.draw(st.booleans()):
        leaf = next(row for row in current(maker.url, "tree") if row[0] == "12")
        components.append([step("tree", leaf, None)])
    # A composite parent dies with its child; another swaps its label with a neighbour; a new pair gets a child.
    if data.draw(st.booleans()):
        pair = next(row for row in current(maker.url, "pair") if row[0] == "2")
        child = next(row for row in current(maker.url, "ref") if row[0] == "2")
        components.append([step("ref", child, None), step("pair", pair, None)])
    if data.draw(st.booleans()):
        rows = {row[0]: row for row in current(maker.url, "ref")}
        one, two = rows["3"], rows["4"]
        parked = [one[0], None, None, one[3]]
        components.append(
            [
                step("ref", one, parked, park=True),
                step("ref", two, [two[0], one[1], one[2], two[3]]),
                step("ref", parked, [one[0], two[1], two[2], one[3]]),
            ]
        )
    if data.draw(st.booleans()):
        name = data.draw(text)
        components.append([step("pair", None, ["50", name, "1.0", "2.00"]), step("ref", None, ["50", "50", name, "1"])])
    return data.draw(st.permutations(components))


@pytest.fixture(scope="module")
def numbers() -> Any:
    return itertools.count(1)


@settings(
    max_examples=int(os.environ.get("CUTOVER_PROPERTY_EXAMPLES", "6")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_apply_and_undo(postgres: Postgres, tmp_path: Path, numbers: Any, data: st.DataObject) -> None:
    number = next(numbers)
    names = [f"prop_{number}_tool", f"prop_{number}_psql"]
    urls = [postgres.create_database(name, sql=SCHEMA) for name in names]
    try:
        maker = Maker(urls[0], tmp_path)
        metas = {table: maker.table(table) for table in TABLES}
        components = draw_components(maker, metas, data)
        before = state(urls[0], *TABLES)
        bundle = maker.bundle(components, tables=metas)
        result = apply_bundle(bundle, urls[0], fence=fence(), batch_rows=data.draw(st.sampled_from([1, 3, 500])))
        assert (result.left, result.effects, result.applied) == ((), (), result.components)
        after = state(urls[0], *TABLES)
        for component in components:
            for step in component:
                if step.post is not None and not step.park:
                    assert _present(after, step, metas), step
        assert apply_bundle(bundle, urls[0], fence=fence()).exit_code == 0
        assert state(urls[0], *TABLES) == after

        twin = Maker(urls[1], tmp_path).bundle(components, tables=metas)
        done = subprocess.run(
            [postgres.tool("psql"), "-X", "-f", str(twin / "apply.sql"), urls[1]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert state(urls[1], *TABLES) == after

        undone = undo_bundle(bundle, urls[0])
        assert (undone.left, undone.effects) == ((), ())
        assert state(urls[0], *TABLES) == before
        assert undo_bundle(bundle, urls[0]).exit_code == 0
        assert state(urls[0], *TABLES) == before
    finally:
        for name in names:
            postgres.drop_database(name)


def _present(after: dict[str, list[str]], step: Step, metas: dict[str, Any]) -> bool:
    """Whether some row of the table begins with the step's key (its other cells are compared by psql's twin)."""
    return any(str(step.key[0]) in row for row in after[str(step.table.name)])
