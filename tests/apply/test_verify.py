"""Verify: what balances, and each thing that must not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cutover.clock import SystemClock
from cutover.observations.base import Observation
from cutover.observations.database import FenceProven, ReconcileVerified
from cutover.plan import Database, Plan
from cutover.probes.database import read_counters
from cutover.reconcile.apply.apply import apply_bundle
from cutover.reconcile.apply.undo import undo_bundle
from cutover.reconcile.apply.verify import VerifyResult, verify_bundle
from cutover.reconcile.bundle import Accounted
from cutover.reconcile.model import Decision
from tests.apply.support import FENCED, Maker, fence, name_of, run
from tests.apply.test_apply import SHOP, all_kinds

if TYPE_CHECKING:
    from tests.world.fixtures import MakeDatabase

PLAN = Plan(database=Database(old="x", new="y"))


class Both:
    def __init__(self, make: MakeDatabase, folder: Path) -> None:
        self.old = make(SHOP)
        self.shop = Maker(make(SHOP), folder)
        self.seen: list[Observation] = []
        with psycopg.connect(self.old, autocommit=True) as connection:
            assert PLAN.database is not None
            counters = read_counters(connection, "old", PLAN.database, SystemClock())
        self.fence = replace(fence(), counters=replace(counters, server_time=FENCED))

    def verify(self, bundle: Path, proof: FenceProven | str | None = "mine") -> VerifyResult:
        return verify_bundle(
            bundle,
            self.shop.url,
            old_url=self.old,
            plan=PLAN,
            clock=SystemClock(),
            append=self.append,
            fence=self.fence if isinstance(proof, str) else proof,
        )

    def append(self, observations: Iterable[Observation]) -> None:
        self.seen.extend(observations)


@pytest.fixture
def both(make_database: MakeDatabase, tmp_path: Path) -> Both:
    return Both(make_database, tmp_path)


def test_it_balances_also_when_users_go_on(both: Both) -> None:
    bundle = all_kinds(both.shop)
    apply_bundle(bundle, both.shop.url, fence=both.fence)
    run(
        both.shop.url,
        "update orders set note = 'live' where id = 10; insert into orders (user_id, total) values (1, 1)",
    )
    run(both.shop.url, "select setval('orders_id_seq', 10), setval('users_id_seq', 10)")
    result = both.verify(bundle)
    assert (result.verdict, result.exit_code, result.problems) == ("verified", 0, ())
    assert {t.table: (t.same, t.changed, t.back) for t in result.tables} == {
        "public.users": (2, 0, 0),
        "public.orders": (2, 1, 0),
    }
    (seen,) = both.seen
    assert isinstance(seen, ReconcileVerified)
    assert seen.balanced


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("update orders set total = 10, note = null where id = 1", "again what they were before the apply: 1"),
        ("set session_replication_role = replica; delete from users where id = 10", "point nowhere"),
        ("update pg_index set indisvalid = false where indexrelid = 'users_email_key'::regclass", "index is invalid"),
        ("select setval('orders_id_seq', 2)", "sequence public.orders_id_seq stands at 2"),
    ],
)
def test_it_does_not_balance(both: Both, damage: str, told: str) -> None:
    bundle = all_kinds(both.shop)
    apply_bundle(bundle, both.shop.url, fence=both.fence)
    run(both.shop.url, "select setval('orders_id_seq', 10), setval('users_id_seq', 10)")
    run(both.shop.url, damage)
    result = both.verify(bundle)
    assert (result.verdict, result.exit_code) == ("unbalanced", 3)
    assert any(told in problem for problem in result.problems), result.problems
    assert not both.seen[-1].balanced  # type: ignore[attr-defined]


def test_keys_of_extensions_and_uniques_of_expressions(make_database: MakeDatabase, tmp_path: Path) -> None:
    schema = """
    create extension citext; create extension ltree;
    create table tags (name citext primary key, path ltree unique);
    create table posts (id int primary key, tag citext references tags, path ltree references tags (path), v text);
    create unique index on posts (lower(v), (id % 2)) where v <> '';
    insert into tags values ('One', 'a.b'), ('Gone', 'a.c');
    """
    old, shop = make_database(schema), Maker(make_database(schema), tmp_path)
    steps = [
        [shop.step("posts", None, ["1", "ONE", "a.b", "x"])],
        [shop.step("posts", None, ["2", "one", None, "x"])],
        [shop.step("tags", ["Gone", "a.c"], None)],
        [shop.step("tags", ["One", "a.b"], ["One", "a.d"])],
    ]
    run(shop.url, "insert into posts values (9, 'GONE')")
    bundle = shop.bundle(steps)
    result = apply_bundle(bundle, shop.url, fence=fence())
    assert [(left.table, left.key, left.reason) for left in result.left] == [
        ("public.tags", ("Gone",), "refused"),
        ("public.tags", ("One",), "refused"),
    ]
    both = Both.__new__(Both)
    both.old, both.shop, both.seen = old, shop, []
    with psycopg.connect(old, autocommit=True) as connection:
        assert PLAN.database is not None
        counters = read_counters(connection, "old", PLAN.database, SystemClock())
    both.fence = replace(fence(), counters=replace(counters, server_time=FENCED))
    assert both.verify(bundle).problems == ("2 rows could not be applied",)
    flags = (
        "update pg_index set indisunique = {0}, indisready = {0} where indexrelid = 'posts_lower_expr_idx'::regclass"
    )
    run(shop.url, flags.format("false"))
    run(shop.url, "insert into posts values (3, null, null, 'X')")
    run(shop.url, flags.format("true"))
    assert "1 values are there twice: public.posts_lower_expr_idx" in both.verify(bundle).problems


def test_duplicates_are_found_without_trusting_the_index(both: Both) -> None:
    bundle = all_kinds(both.shop)
    apply_bundle(bundle, both.shop.url, fence=both.fence)
    url = both.shop.url
    run(url, "select setval('orders_id_seq', 10), setval('users_id_seq', 10)")
    # What a collation change of the system does to an index: it does not know the row any more.
    run(
        url,
        "update pg_index set indisunique = false, indisready = false where indexrelid = 'users_email_key'::regclass",
    )
    run(url, "insert into users (id, email) values (11, 'a@x')")
    run(url, "select setval('users_id_seq', 11)")
    run(url, "update pg_index set indisunique = true, indisready = true where indexrelid = 'users_email_key'::regclass")
    assert any("there twice" in problem for problem in both.verify(bundle).problems)


def test_old_must_stand_still(both: Both) -> None:
    bundle = all_kinds(both.shop)
    apply_bundle(bundle, both.shop.url, fence=both.fence)
    run(both.shop.url, "select setval('orders_id_seq', 10), setval('users_id_seq', 10)")
    assert "not proven" in both.verify(bundle, None).problems[0]
    late = replace(both.fence, counters=replace(both.fence.counters, server_time=FENCED.replace(year=2030)))  # type: ignore[type-var]
    assert "before it was fenced" in both.verify(bundle, late).problems[0]
    run(both.old, "insert into users (email) values ('late@x')")
    assert "written to since the fence: public.users 1" in both.verify(bundle).problems[0]


def test_what_is_left_does_not_balance(both: Both) -> None:
    bundle = all_kinds(both.shop)
    assert "never applied" in both.verify(bundle).problems[0]
    run(both.shop.url, "update orders set note = 'live' where id = 1")
    apply_bundle(bundle, both.shop.url, fence=both.fence)
    run(both.shop.url, "select setval('orders_id_seq', 10), setval('users_id_seq', 10)")
    result = both.verify(bundle)
    assert result.problems == ("1 rows could not be applied",)
    assert result.left[0].key == ("1",)
    undo_bundle(bundle, both.shop.url)
    assert "was undone" in both.verify(bundle).problems[0]


def test_sums_must_balance(both: Both) -> None:
    step = both.shop.step("orders", ("1", "1", "10.00", None, None), ("1", "1", "11.00", None, None))

    def line(change: int, decision: Decision) -> Accounted:
        return Accounted(
            change=change, table=name_of("orders"), key=("1",), kind="update", decision=decision, message="m"
        )

    cases: list[tuple[list[Accounted], str]] = [
        ([line(step.change, Decision.APPLY), line(99, Decision.CONFLICT)], "1 conflicts wait"),
        ([line(step.change, Decision.APPLY), line(step.change, Decision.APPLY)], "accounted for twice"),
        ([line(step.change, Decision.APPLY), line(98, Decision.APPLY)], "no step for it"),
    ]
    for accounted, told in cases:
        bundle = both.shop.bundle([[step]], accounted=accounted)
        result = both.verify(bundle)
        assert any(told in problem for problem in result.problems), (told, result.problems)
