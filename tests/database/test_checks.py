"""What the database checks conclude from readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from cutover.finding import Phase, Severity, Status
from cutover.observations.base import ProbeFailed
from cutover.observations.database import (
    BaselineTaken,
    ColumnSeen,
    DefinitionSeen,
    FenceProven,
    FenceReleased,
    ReconcileVerified,
    SchemaSeen,
    SequencesSeen,
    SequenceValue,
    TableSeen,
)
from cutover.observations.gate import Judged
from cutover.observations.traffic import DatabaseReading, TableWrites
from cutover.verdict import Verdict, judge
from tests.checks.kit import NEW, OLD, Story, a, authority, make_plan, reply, t

FAIL, PASS, UNKNOWN, SKIP, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.SKIP, Status.WARN
URLS = {"old": "postgresql://old/shop", "new": "postgresql://new/shop"}
BEFORE, CHANGE = 0, 400


def database(gate: Mapping[str, Any] | None = None, **more: Any) -> Any:
    return make_plan({"database": {**URLS, **more}, **({"gate": gate} if gate else {})})


def reading(at: float, side: str, orders: int | tuple[int, int, int], **more: Any) -> DatabaseReading:
    counts = orders if isinstance(orders, tuple) else (orders, 0, 0)
    return DatabaseReading(
        at=t(at),
        side=side,
        **{
            "system_identifier": side,
            "server_version": 150004,
            "database": "shop",
            "stats_reset": None,
            "server_time": t(at),
            "tables": (TableWrites("public.orders", *counts),),
            **more,
        },
    )


class Night(Story):
    """The zone moves at 400 s; both databases are read in every round."""

    def both(self, at: float, old: Any, new: Any, *more: Any) -> Night:
        zone = OLD if at < CHANGE else NEW
        sides = [reading(at, side, count) for side, count in (("old", old), ("new", new)) if count is not None]
        self.round(at, authority(at, reply(a(zone, 60))), *sides, *more)
        return self


def night(*rounds: tuple[float, Any, Any], plan: Any = None) -> Night:
    story = Night(plan or database())
    for one in rounds:
        story.both(*one)
    return story


def test_quiet_since_before_the_change_passes() -> None:
    story = night((0, 10, 0), (370, 10, 0), (400, 12, 0), (430, 12, 5))
    assert story.only("database.old-quiet").status is PASS, "until the change old was written, as it should be"
    assert story.only("database.split-brain").status is PASS


def test_an_increase_after_the_change_fails_and_names_the_tables() -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 13, 0))
    found = story.only("database.old-quiet")
    assert found.status is FAIL
    assert "3 rows" in found.message
    assert "orders 3" in found.message
    assert found.measured["rows"] == 3
    assert story.only("database.split-brain").status is PASS, "new took nothing: nothing is split yet"


def test_writes_on_both_are_split_brain_whatever_else_is_known() -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 13, 7))
    found = story.only("database.split-brain")
    assert found.status is FAIL
    assert found.measured["old"] == 3
    assert found.measured["new"] == 7
    for command in ("cutover fence", "cutover reconcile --estimate", "cutover reconcile"):
        assert command in found.fix
    verdict = judge(Phase.WATCH, story.findings("database.split-brain"))
    assert verdict is Verdict.SPLIT_BRAIN
    assert verdict.exit_code == 5


def test_ten_quiet_minutes_do_not_end_it_and_a_balanced_verify_does() -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 13, 7), (1030, 13, 900), (1630, 13, 1900))
    assert story.only("database.split-brain").status is FAIL
    assert story.only("database.old-quiet").status is FAIL
    unbalanced = ReconcileVerified(
        at=t(1700), bundle="b", balanced=False, old=reading(1700, "old", 13), new=reading(1700, "new", 2000)
    )
    story.both(1730, 13, 2001, unbalanced)
    assert story.only("database.split-brain").status is FAIL
    balanced = replace(unbalanced, at=t(1800), balanced=True)
    story.both(1830, 13, 2100, balanced)
    quiet = story.only("database.old-quiet")
    assert quiet.status is PASS
    assert "last verified reconcile" in quiet.message
    assert story.only("database.split-brain").status is PASS
    story.both(1860, 14, 2200)
    assert story.only("database.split-brain").status is FAIL, "and it begins again with the next row"


def judged(story: Night, at: float, by: Night | None = None) -> Night:
    """What the ledger keeps of a round: numbers that are instants come back from it as text."""
    found = tuple(
        replace(
            x,
            measured={
                key: value.isoformat() if isinstance(value, datetime) else value for key, value in x.measured.items()
            },
        )
        for x in (by or story).findings("database.split-brain")
    )
    story.round(
        at,
        Judged(
            at=t(at + 1),
            command="watch",
            phase="watch",
            migration="m",
            began=t(at),
            plan_hash=story.plan.hash(),
            names=story.plan.names,
            verdict="",
            exit_code=0,
            findings=found,
            soaked={},
            summary={},
        ),
    )
    return story


def back_and_over_again(plan: Any = None) -> Night:
    """Both were written; the names go back to old, where users write on, and over to new once more."""
    rounds = (0, 10, 0), (400, 10, 0), (430, 13, 7)
    story = judged(night(*rounds, plan=plan), 431, night(*rounds))
    for at in (500, 530):
        sides = [reading(at, side, count) for side, count in (("old", at), ("new", 7))]
        story.round(at, authority(at, reply(a(OLD, 60))), *sides)
        judged(story, at + 1)
    return story.both(560, 530, 7).both(590, 530, 8)


def test_names_that_went_back_and_over_again_end_no_alarm() -> None:
    story = back_and_over_again()
    found = story.only("database.split-brain")
    assert found.status is FAIL
    assert "went back" in found.message
    assert "cutover reconcile" in found.fix
    assert (found.measured["old"], found.measured["new"]) == (520, 8)
    told = ReconcileVerified(
        at=t(600), bundle="b", balanced=True, old=reading(600, "old", 530), new=reading(600, "new", 9)
    )
    story.both(630, 530, 10, told)
    assert story.only("database.split-brain").status is PASS, "a reconcile that balances does"


def test_the_names_on_old_do_not_hide_an_alarm() -> None:
    story = judged(night((0, 10, 0), (400, 10, 0), (430, 13, 7)), 431)
    story.round(500, authority(500, reply(a(OLD, 60))), reading(500, "old", 14), reading(500, "new", 7))
    assert story.only("database.split-brain").status is FAIL


@pytest.mark.parametrize("at", [432, 500], ids=["at once", "while names were on new"])
def test_a_roll_back_ends_no_alarm(at: float) -> None:
    rounds = (0, 10, 0), (400, 10, 0), (430, 13, 7)
    story = judged(night(*rounds, plan=database().reversed()), 431, night(*rounds))
    if at > 432:
        story.both(460, 13, 7)
    for seconds in (at, at + 30):
        sides = [
            reading(seconds, "old", 7, system_identifier="new"),
            reading(seconds, "new", 13, system_identifier="old"),
        ]
        story.round(seconds, authority(seconds, reply(a(OLD, 60))), *sides)
    found = story.only("database.split-brain")
    assert found.status is FAIL, found.message
    assert (found.measured["old"], found.measured["new"]) == (7, 3)


def test_an_alarm_about_what_is_excluded_by_now_does_not_come_back() -> None:
    story = back_and_over_again(database(exclude=["orders"]))
    assert story.evidence.databases.alarm() is not None
    assert story.only("database.split-brain").status is PASS


def test_an_increase_that_spans_the_change_is_unknown() -> None:
    told = make_plan({"database": URLS, "migration": {"changed_at": t(200)}})
    story = night((0, 10, 0), (430, 15, 5), (460, 15, 6), plan=told)
    found = story.only("database.old-quiet")
    assert found.status is UNKNOWN
    assert "before or after" in found.message
    assert story.only("database.split-brain").status is UNKNOWN


def test_a_change_that_nobody_watched_is_a_stretch_of_time() -> None:
    """Preflight in the evening, the first watch hours later: what old took in between may be lost."""
    story = night((0, 10, 0), (20_000, 500, 90), (20_030, 500, 95))
    found = story.only("database.old-quiet")
    assert found.status is UNKNOWN
    assert "490 rows" in found.message
    assert story.only("database.split-brain").status is UNKNOWN
    quiet = night((0, 10, 0), (20_000, 10, 90), (20_030, 10, 95))
    assert quiet.only("database.old-quiet").status is PASS


def test_a_baseline_or_a_fence_tells_where_the_copy_begins() -> None:
    """Busy until the copy, quiet from then on, switched while nobody watched."""
    for mark in ("baseline", "late", "fence", "released", "unproven"):
        story = night((0, 10, 0))
        counters = reading(9000, "old", 300)
        if mark in {"baseline", "late"}:
            late = mark == "late"
            seen: Any = BaselineTaken(
                at=t(9001), snapshot="1:1:", lsn="0/1", sequences=(), counters=counters, late=late
            )
        else:
            proven = mark != "unproven"
            seen = FenceProven(at=t(9001), side="old", proven=proven, roles=(), counters=counters)
        story.round(9000, seen)
        if mark == "released":
            story.round(9100, FenceReleased(at=t(9100), side="old"))
        story.both(20_000, 300, 90).both(20_030, 300, 95)
        expected = PASS if mark in {"baseline", "fence"} else UNKNOWN
        assert story.only("database.old-quiet").status is expected, mark
        story.both(20_060, 301, 99)
        assert story.only("database.split-brain").status is FAIL, mark


def test_the_reading_of_the_round_that_saw_the_change_stands_for_it() -> None:
    story = night((0, 10, 0), (370, 50, 0))
    late = [replace(reading(400, side, count), at=t(401.5)) for side, count in (("old", 60), ("new", 3))]
    story.round(400, authority(400, reply(a(NEW, 60))), *late)
    story.both(430, 60, 9)
    assert story.only("database.old-quiet").status is PASS
    assert story.only("database.split-brain").status is PASS


def test_without_a_reading_from_before_the_change_nothing_is_quiet() -> None:
    story = Night(database())
    story.round(0, authority(0, reply(a(OLD, 60))))
    story.round(400, authority(400, reply(a(NEW, 60))))
    story.both(430, 10, 0)
    story.both(460, 10, 5)
    found = story.only("database.old-quiet")
    assert found.status is UNKNOWN
    assert "first read" in found.message
    assert story.only("database.split-brain").status is UNKNOWN
    story.both(490, 11, 6)
    assert story.only("database.old-quiet").status is FAIL, "proof needs no reading from before"
    assert story.only("database.split-brain").status is FAIL


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_side_that_is_not_read_in_this_round_is_unknown(side: str) -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 10, 5))
    failed = ProbeFailed(at=t(460), probe="database", about=side, error="connection refused")
    counts = (None, 6) if side == "old" else (10, None)
    story.both(460, *counts, failed)
    check = "database.old-quiet" if side == "old" else "database.rollback-safe"
    found = story.only(check)
    assert found.status in {UNKNOWN, WARN}
    if side == "old":
        assert "connection refused" in found.message
        assert story.only("database.split-brain").status is UNKNOWN


def test_proven_writes_stay_proven_when_a_side_cannot_be_read_any_more() -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 13, 7))
    story.both(460, None, None, ProbeFailed(at=t(460), probe="database", about="old", error="gone"))
    assert story.only("database.old-quiet").status is FAIL
    assert story.only("database.split-brain").status is FAIL


def test_a_reset_in_mid_soak_is_unknown_until_a_new_verified_state() -> None:
    story = night((0, 10, 0), (400, 10, 0))
    story.round(430, authority(430, reply(a(NEW))), reading(430, "old", 10, stats_reset=t(420)), reading(430, "new", 1))
    found = story.only("database.old-quiet")
    assert found.status is UNKNOWN
    assert "reset" in found.message


def test_before_the_change_nothing_can_be_said_of_writes_on_old() -> None:
    story = night((0, 10, 0), (30, 20, 5))
    for check in ("database.old-quiet", "database.split-brain"):
        found = story.only(check)
        assert found.status is UNKNOWN
        assert "change" in found.message


def test_tolerated_writes_are_shown_and_do_not_alarm() -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 12, 7), plan=database({"max_old_writes": 2}))
    assert story.only("database.old-quiet").status is PASS
    assert story.only("database.split-brain").status is WARN
    story.both(460, 13, 8)
    assert story.only("database.old-quiet").status is FAIL
    assert story.only("database.split-brain").status is FAIL


@pytest.mark.parametrize(
    ("plan", "quiet", "split"),
    [
        (make_plan(), UNKNOWN, UNKNOWN),
        (make_plan({"gate": {"writes": "none"}}), SKIP, SKIP),
        (make_plan({"database": {"old": URLS["old"]}}), UNKNOWN, UNKNOWN),
        (make_plan({"database": {"new": URLS["new"]}}), UNKNOWN, UNKNOWN),
    ],
)
def test_what_the_plan_does_not_give(plan: Any, quiet: Status, split: Status) -> None:
    story = Story(plan).round(0, authority(0, reply(a(OLD)))).round(400, authority(400, reply(a(NEW))))
    assert story.only("database.old-quiet").status is quiet
    assert story.only("database.split-brain").status is split


def test_rollback_is_free_until_the_first_write_on_new() -> None:
    check = "database.rollback-safe"
    story = night((0, 10, 0))
    assert story.only(check).status is PASS
    assert story.only(check, Phase.PREFLIGHT).severity is Severity.INFO
    story.both(400, 10, 0).both(430, 10, 0)
    assert "loses nothing" in story.only(check).message
    story.both(460, 10, (212, 3, 1))
    found = story.only(check)
    assert found.status is WARN
    assert "stopped being free at 06:07 UTC: 212 rows exist only in new, 3 were updated and 1 deleted" in found.message
    balanced = ReconcileVerified(
        at=t(500), bundle="b", balanced=True, old=reading(500, "old", 10), new=reading(500, "new", (212, 3, 1))
    )
    story.both(530, 10, (212, 3, 1), balanced)
    assert story.only(check).status is WARN, "a reconcile of old into new gives old nothing"


def test_reachable() -> None:
    check = "database.reachable"
    story = Story(database()).round(0, reading(0, "old", 1), reading(0, "new", 1))
    assert {x.status for x in story.findings(check)} == {PASS}
    story.round(10, reading(10, "old", 1, in_recovery=True), reading(10, "new", 1, tables=()))
    assert {x.status for x in story.findings(check)} == {FAIL}
    story.round(20, reading(20, "old", 1), ProbeFailed(at=t(20), probe="database", about="new", error="no route"))
    assert "no route" in story.said(check, FAIL)
    story.round(30)
    assert {x.status for x in story.findings(check)} == {UNKNOWN}
    assert Story(make_plan()).round(0).only(check).status is UNKNOWN
    assert Story(make_plan({"gate": {"writes": "none"}})).round(0).only(check).status is SKIP


def test_what_the_counters_cannot_tell_is_told_beside_them() -> None:
    story = night((0, 10, 0), (400, 10, 0))
    more = {"unwatched": ("tenant_a",), "subscriptions": ("back",)}
    for at, old, new in ((430, 10, 3), (460, 12, 4)):
        story.round(at, authority(at, reply(a(NEW))), reading(at, "old", old, **more), reading(at, "new", new))
        said = story.only("database.old-quiet").message
        if old == 10:
            assert "not counted: schemas tenant_a" in said
        else:
            assert "subscribes to logical replication (back)" in said
            assert "(back)" in story.only("database.split-brain").message
    assert "tenant_a" in story.said("database.reachable", WARN)


def test_one_database_given_for_both_sides_is_a_mistake_and_no_alarm() -> None:
    one = {"system_identifier": "one", "endpoint": "a"}
    story = night()
    for at, count in ((0, 10), (400, 12), (430, 15)):
        zone = OLD if at < CHANGE else NEW
        sides = [reading(at, side, count, **one) for side in ("old", "new")]
        story.round(at, authority(at, reply(a(zone, 60))), *sides)
    found = story.only("database.split-brain")
    assert found.status is UNKNOWN
    assert "same database" in found.message
    assert "same database" in story.said("database.reachable", FAIL)


def test_clocks() -> None:
    check = "database.clock"
    story = Story(database()).round(0, reading(0, "old", 1), reading(0, "new", 1, server_time=t(0.9)))
    assert story.only(check).status is PASS
    story.round(10, reading(10, "old", 1), reading(10, "new", 1, server_time=t(13)))
    found = story.only(check)
    assert found.status is FAIL
    assert "3.00 s ahead" in found.message
    story.round(20, reading(20, "old", 1), reading(20, "new", 1, server_time=t(23), round_trip=5.0))
    assert story.only(check).status is PASS, "a slow round trip does not prove a skew"
    story.round(30, reading(30, "old", 1))
    assert story.only(check).status is UNKNOWN


def table(name: str = "public.orders", *columns: ColumnSeen, key: str = "primary key", **more: Any) -> TableSeen:
    given = columns or (ColumnSeen("id", "bigint", True, "", "", "d", ""),)
    return TableSeen(name, given, more.get("constraints", ()), more.get("indexes", ()), key)


def schema(at: float, side: str, *tables: TableSeen, **more: Any) -> SchemaSeen:
    return SchemaSeen(
        at=t(at),
        side=side,
        tables=tables,
        **{
            "server_version": 150004,
            "encoding": "UTF8",
            "collation": "c C.UTF-8 C.UTF-8",
            "extensions": (("plpgsql", "1.0"),),
            **more,
        },
    )


def test_keys() -> None:
    check = "database.keys"
    keyless = [table(f"public.t{i}", key="") for i in range(25)]
    story = Story(database()).round(0, schema(0, "old", table(), *keyless), schema(0, "new", table()))
    found = story.findings(check)
    assert [x.status for x in found].count(FAIL) == 21
    assert "5 more" in found[20].message
    assert story.said(check, PASS).startswith("new")
    declared: dict[str, Any] = {"table": [{"name": "t0", "match_key": ["id"]}, {"name": "public.t1", "kind": "ignore"}]}
    story = Story(database(**declared)).round(0, schema(0, "old", *keyless[:2]), schema(0, "new", table()))
    assert {x.status for x in story.findings(check)} == {PASS}
    story.round(10, schema(10, "old", table()))
    assert story.status(check) is UNKNOWN


def column(name: str, kind: str = "text", **more: Any) -> ColumnSeen:
    values = {"not_null": False, "default": "", "generated": "", "identity": "", "collation": "", **more}
    return ColumnSeen(name, kind, *values.values())


INDEX = "CREATE UNIQUE INDEX {} ON public.orders USING btree (email)"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (table(), None, "exists only on old"),
        (table("public.orders", column("a")), table("public.orders", column("a", "varchar(3)")), "type is text on old"),
        (
            table("public.orders", column("a")),
            table("public.orders", column("b")),
            "column a (text) exists only on old",
        ),
        (
            table("public.orders", column("a")),
            table("public.orders", column("a"), column("b", not_null=True)),
            "exists only on new and must be given",
        ),
        (
            table("public.orders", column("a", default="1")),
            table("public.orders", column("a", default="2")),
            "default is 1 on old, 2 on new",
        ),
        (
            table("public.orders", column("a", collation="de-x-icu")),
            table("public.orders", column("a")),
            "collation is de-x-icu on old, none on new",
        ),
        (
            table(indexes=(DefinitionSeen("u1", INDEX.format("u1")),)),
            table(),
            "index u1 exists only on old",
        ),
        (
            table(),
            table(constraints=(DefinitionSeen("c", "CHECK ((total > 0))"),)),
            "constraint c exists only on new: CHECK ((total > 0))",
        ),
    ],
)
def test_schema_differences_are_named(old: TableSeen, new: TableSeen | None, words: str) -> None:
    check = "database.schema-parity"
    story = Story(database()).round(0, schema(0, "old", old), schema(0, "new", *([new] if new else [])))
    assert words in story.said(check, FAIL)


def test_names_of_indexes_and_order_of_columns_do_not_matter() -> None:
    old = table("public.orders", column("a"), column("b"), indexes=(DefinitionSeen("u1", INDEX.format("u1")),))
    new = table("public.orders", column("b"), column("a"), indexes=(DefinitionSeen("u 2", INDEX.format('"u 2"')),))
    story = Story(database()).round(0, schema(0, "old", old), schema(0, "new", new))
    assert story.only("database.schema-parity").status is PASS


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"server_version": 160001}, WARN, "PostgreSQL 15 on old, 16 on new"),
        ({"collation": "i en-US"}, WARN, "collation"),
        ({"encoding": "LATIN1"}, FAIL, "LATIN1 on new"),
        ({"extensions": ()}, FAIL, "extension plpgsql is missing on new"),
        ({"extensions": (("plpgsql", "1.1"),)}, WARN, "1.0 on old, 1.1 on new"),
        ({"extensions": (("plpgsql", "1.0"), ("citext", "1.6"))}, WARN, "citext exists only on new"),
        ({"missing_schemas": ("audit",)}, FAIL, "schema audit does not exist on new"),
    ],
)
def test_server_differences_are_named(change: dict[str, Any], status: Status, words: str) -> None:
    story = Story(database()).round(0, schema(0, "old", table()), schema(0, "new", table(), **change))
    assert words in story.said("database.schema-parity", status)


def sequences(at: float, side: str, *found: tuple[Any, ...]) -> SequencesSeen:
    return SequencesSeen(at=t(at), side=side, sequences=tuple(SequenceValue(*x) for x in found))


def gap(old: tuple[Any, ...], *new: tuple[Any, ...]) -> Any:
    story = Story(database()).round(0, sequences(0, "old", old), sequences(0, "new", *new))
    return story.only("database.sequence-gap")


BIG = 2**63 - 1
ORDERS = "public.orders_id_seq"


def test_sequences() -> None:
    assert gap((ORDERS, 5000, 1, 1, BIG), (ORDERS, 105_000, 1, 1, BIG)).status is PASS
    near = gap((ORDERS, 5000, 1, 1, BIG), (ORDERS, 5000, 1, 1, BIG))
    assert near.status is FAIL
    assert "only 0 above" in near.message
    assert 'ALTER SEQUENCE "public"."orders_id_seq" RESTART WITH 105000' in near.fix
    behind = gap((ORDERS, 5000, 1, 1, BIG), (ORDERS, None, 1, 1, BIG))
    assert "behind" in behind.message
    assert "will collide" in behind.message
    assert gap((ORDERS, 5, 1, 1, BIG)).status is FAIL
    down = gap((ORDERS, -50, -1, -1, -BIG), (ORDERS, -200_000, -1, -1, -BIG))
    assert down.status is PASS
    small = gap((ORDERS, 30_000, 1, 1, 32767), (ORDERS, 30_691, 1, 1, 32767))
    assert small.status is PASS, "no more than a quarter of what is left is asked for"
    full = gap((ORDERS, 32767, 1, 1, 32767), (ORDERS, 32767, 1, 1, 32767))
    assert full.status is FAIL
    steps = gap((ORDERS, 10, 10, 10, BIG), (ORDERS, 500_010, 10, 10, BIG))
    assert steps.status is FAIL, "the gap is in values that are handed out"


def test_a_sequence_that_the_role_may_not_read_is_not_at_its_start() -> None:
    hidden = (ORDERS, None, 1, 1, BIG, "public.orders.id", False)
    found = gap(hidden, (ORDERS, 200_000, 1, 1, BIG))
    assert found.status is UNKNOWN
    assert "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public" in found.message
    assert gap((ORDERS, 5, 1, 1, BIG), hidden).subject == "new"


def test_the_sequences_fix_names_the_plans_own_variable() -> None:
    plan = make_plan({"database": {"old": "env:SHOP_A", "new": "env:SHOP_B"}})
    story = Story(plan).round(
        0, sequences(0, "old", (ORDERS, 5, 1, 1, BIG)), sequences(0, "new", (ORDERS, 5, 1, 1, BIG))
    )
    assert story.only("database.sequence-gap").fix.startswith('psql "$SHOP_B" -c ')


def test_a_side_that_the_plan_no_longer_has_is_not_the_same_as_the_other() -> None:
    plan = make_plan({"database": {"old": URLS["old"]}})
    both = [reading(0, side, 1, endpoint="10.0.0.1:5432") for side in ("old", "new")]
    story = Story(plan).round(0, *both)
    assert FAIL not in {x.status for x in story.findings("database.reachable", Phase.PREFLIGHT)}


def test_the_facts_are_unknown_when_they_were_not_read() -> None:
    story = Story(database()).round(0, reading(0, "old", 1), reading(0, "new", 1))
    for check in ("database.schema-parity", "database.sequence-gap", "database.keys"):
        assert story.status(check) is UNKNOWN
    for check in ("database.schema-parity", "database.sequence-gap", "database.keys", "database.clock"):
        assert Story(make_plan()).round(0).status(check) is SKIP


def test_times_are_said_in_utc() -> None:
    story = night((0, 10, 0), (400, 10, 0), (430, 13, 7))
    assert f"{t(CHANGE):%H:%M:%S} UTC" in story.only("database.old-quiet").message
    assert t(CHANGE) - t(0) == timedelta(seconds=400)
