"""What the traffic checks conclude: a high reading fails at once, passing needs eyes, the whole soak and enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from cutover.check import run_checks
from cutover.estimate import Estimate
from cutover.evidence import Evidence
from cutover.finding import Finding, Phase, Status
from cutover.folds.traffic import Burst, TrafficFold
from cutover.observations.gate import Judged
from cutover.observations.traffic import DatabaseReading, SentinelSent, Sight, TableWrites, TrafficReading
from cutover.plan import Plan
from tests.checks.kit import make_plan, t

FAIL, PASS, UNKNOWN, SKIP, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.SKIP, Status.WARN
NAME = "app.example.com."
ROUND = timedelta(seconds=30)
LABEL = "prometheus #1"
PROMETHEUS = {"source": "prometheus", "url": "http://127.0.0.1:9", "old": "a_total", "new": "b_total"}
OLD_ADDRESS = "203.0.113.10"


def plan_of(*traffic: Mapping[str, Any], gate: Mapping[str, Any] | None = None, **tables: Any) -> Plan:
    """A plan with some sources; no database is written on old unless the test says so."""
    given = {"writes": "none", **(gate or {})}
    return make_plan({"traffic": [dict(x) for x in traffic or (PROMETHEUS,)], "gate": given, **tables})


class Watch:
    """Rounds of 30 s: every source is read, then both sides get sentinels, then the round is judged.

    Attributes:
        blind: labels that do not count sentinels.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.evidence = Evidence(plan)
        self.now = t(0)
        self.turn = 0
        self.sent = {"old": 0, "new": 0}
        self.blind: set[str] = set()
        self.outcome = "answered"
        self.findings: tuple[Finding, ...] = ()

    def round(self, old: float = 0, new: float = 200, *, holds: bool = True, **readings: Any) -> Watch:
        """One round with some users on each side; ``readings`` replaces what is read of ``LABEL_side``."""
        began = self.now
        for label, source in zip(self.plan.traffic_labels(), self.plan.traffic, strict=True):
            for side, users in (("old", old), ("new", new)):
                if source.source != "command" and getattr(source, side) is None:
                    continue
                counts_ours = source.weight == "requests" and label not in self.blind
                given = readings.get(
                    f"{label.replace(' #', '_')}_{side}", users + (self.sent[side] if counts_ours else 0)
                )
                self.evidence.add(self.reading(label, source.weight, side, given))
        self.burst()
        self.now += timedelta(seconds=3)
        self.judge(began, holds=holds)
        self.now = began + ROUND
        return self

    def reading(self, label: str, weight: str, side: str, given: Any) -> TrafficReading:
        if isinstance(given, TrafficReading):
            return replace(given, at=self.now, source=label, weight=weight, side=side)
        return TrafficReading(
            at=self.now,
            source=label,
            weight=weight,
            side=side,
            window_start=self.now - ROUND,
            window_end=self.now,
            sight=Sight.OK,
            count=given,
            lag=60,
        )

    def burst(self) -> None:
        estimate = Estimate(self.plan, self.evidence.traffic, self.now)
        at = self.now + timedelta(seconds=2)
        for side, address in (("old", f"{OLD_ADDRESS}:443"), ("new", "198.51.100.20:443")):
            size = estimate.burst_size(side, self.turn)
            how = self.outcome if side == "old" else "answered"
            outcome: dict[str, Any] = {"answered": 0, "refused": 0, "silent": 0, how: size}
            self.sent[side] = outcome["answered"]
            self.evidence.add(
                SentinelSent(
                    at=at,
                    name=NAME,
                    side=side,
                    address=address,
                    window_start=at,
                    window_end=at + timedelta(seconds=0.5),
                    tag="cutover-sentinel/x",
                    sent=size,
                    **outcome,
                )
            )
        self.turn += 1

    def judge(self, began: datetime, *, holds: bool) -> None:
        """Run the checks; the round's other findings hold or fail as told, so that a soak can be collected."""
        found = [
            x for x in run_checks(Phase.WATCH, self.plan, self.evidence, self.now) if x.check.startswith("traffic.")
        ]
        self.findings = tuple(found)
        other = Finding(check="dns.x", status=PASS if holds else FAIL, subject="", message="")
        self.evidence.add(
            Judged(
                at=self.now,
                command="watch",
                phase="watch",
                migration="m",
                began=began,
                plan_hash=self.plan.hash(),
                names=(NAME,),
                verdict="converging",
                exit_code=3,
                findings=(other, *found),
                soaked={},
                summary={},
            )
        )

    def rounds(self, count: int, old: float = 0, new: float = 200, **more: Any) -> Watch:
        for _ in range(count):
            self.round(old, new, **more)
        return self

    def of(self, check: str, subject: str) -> Finding:
        found = [x for x in self.findings if x.check == f"traffic.{check}" and x.subject.startswith(subject)]
        assert len(found) == 1, [(x.check, x.subject) for x in self.findings]
        return found[0]

    @property
    def requests(self) -> Finding:
        return self.of("converged", "requests")


def test_a_drained_side_passes_after_the_whole_soak_with_enough_requests() -> None:
    watch = Watch(plan_of())
    statuses = [watch.round().requests.status for _ in range(40)]
    assert PASS in statuses
    first = statuses.index(PASS)
    assert 30 <= first <= 34, "15 min of soak are 30 rounds"
    assert set(statuses[first:]) == {PASS}
    assert UNKNOWN not in statuses[3:], "a soak under way is not paused by its own incompleteness"
    found = watch.requests
    assert found.measured["share"] == 0
    assert found.measured["old"] == 0
    requests: Any = found.measured["requests"]
    assert requests >= 3000
    assert found.measured["bound"] == pytest.approx(3 / requests, rel=0.01)
    assert watch.of("visible", f"{LABEL} old").status is PASS


def test_long_connections_are_warned_of_until_old_is_closed() -> None:
    watch = Watch(plan_of()).rounds(40)
    assert watch.of("converged", "open connections").status is WARN
    assert not watch.of("converged", "open connections").extends_soak
    assert watch.requests.status is PASS
    watch.outcome = "refused"
    watch.round()
    assert not [x for x in watch.findings if x.subject == "open connections"]
    assert not [x for x in Watch(plan_of()).rounds(3, old=50).findings if x.subject == "open connections"]


def test_the_work_of_ten_hours_of_rounds_grows_with_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(plan_of(gate={"soak": "10h"}))
    estimate = Estimate(watch.plan, watch.evidence.traffic, watch.now)
    for _ in range(1200):
        watch.now += ROUND
        for side, users in (("old", 0), ("new", 200)):
            watch.evidence.add(watch.reading(LABEL, "requests", side, users + watch.sent[side]))
        watch.burst()
    looked: list[int] = []
    bursts = TrafficFold.bursts

    def counted(self: TrafficFold, side: str, start: datetime, end: datetime) -> Iterator[Burst]:
        found = list(bursts(self, side, start, end))
        looked.append(1 + len(found))
        return iter(found)

    monkeypatch.setattr(TrafficFold, "bursts", counted)
    estimate = Estimate(watch.plan, watch.evidence.traffic, watch.now)
    found = estimate.bounds(LABEL, "old", t(0))
    assert found is not None
    assert (found.low, found.high) == (0, 0)
    assert sum(looked) < 1200 * 60, "it is a small multiple of the rounds, not of their square"


def test_a_soak_under_way_says_what_is_missing_and_extends() -> None:
    watch = Watch(plan_of()).rounds(10)
    found = watch.requests
    assert found.status is WARN
    assert found.extends_soak
    assert "of 3000 requests" in found.message


def test_too_few_requests_extend_the_soak() -> None:
    watch = Watch(plan_of()).rounds(45, new=5)
    found = watch.requests
    assert (found.status, found.extends_soak) == (WARN, True)
    assert "of 3000 requests seen" in found.message
    assert Watch(plan_of(gate={"min_requests": 100})).rounds(45, new=5).requests.status is PASS


def test_ten_percent_on_old_fails_at_once_and_is_shown_within_a_point() -> None:
    watch = Watch(plan_of()).rounds(3, old=20, new=180)
    found = watch.requests
    assert found.status is FAIL
    assert found.measured["share"] == pytest.approx(0.1, abs=0.01)
    assert "10." in found.message
    watch = Watch(plan_of()).rounds(20).round(old=60, new=140)
    assert watch.requests.status is FAIL, "after a long silence, too"


def test_how_far_a_failing_share_was_counted_is_no_promise_that_waiting_mends_it() -> None:
    found = Watch(plan_of()).rounds(3, old=20, new=180).requests
    assert found.status is FAIL
    assert found.until is None
    assert "until" in found.measured


def test_the_share_of_a_small_site_does_not_swing_with_chance() -> None:
    watch = Watch(plan_of()).rounds(12, old=6, new=54)
    for turn in range(9):
        found = watch.round(old=(2, 10)[turn % 2], new=54).requests
        assert found.status is FAIL
        assert found.measured["share"] == pytest.approx(0.1, abs=0.01)


def test_the_share_of_a_busy_site_is_that_of_now() -> None:
    watch = Watch(plan_of()).rounds(12, old=20_000, new=1000)
    watch.rounds(3, old=2000, new=18_000)
    assert watch.requests.status is FAIL
    assert watch.requests.measured["share"] == pytest.approx(0.1, abs=0.02)


def test_users_who_left_are_no_part_of_a_share_that_still_fails() -> None:
    watch = Watch(plan_of()).rounds(12, old=500, new=500)
    watch.rounds(11, old=20, new=980)
    assert watch.requests.measured["share"] == pytest.approx(0.02, abs=0.01)


def test_a_high_reading_fails_without_any_sentinel() -> None:
    watch = Watch(plan_of())
    watch.evidence.add(watch.reading(LABEL, "requests", "old", 50))
    watch.evidence.add(watch.reading(LABEL, "requests", "new", 50))
    watch.judge(t(0), holds=True)
    assert watch.requests.status is FAIL
    assert watch.requests.measured["share"] == 0.5
    assert watch.of("visible", f"{LABEL} old").status is UNKNOWN


def test_zero_without_a_sentinel_is_not_passed() -> None:
    watch = Watch(plan_of())
    watch.blind.add(LABEL)
    watch.rounds(40)
    assert watch.requests.status is UNKNOWN
    assert "does not see old" in watch.requests.message
    assert watch.of("visible", f"{LABEL} old").status is UNKNOWN


def test_yesterdays_share_says_nothing_of_today() -> None:
    watch = Watch(plan_of()).rounds(3, old=50)
    watch.now += timedelta(hours=5)
    watch.judge(watch.now, holds=True)
    assert watch.requests.status is UNKNOWN


def trouble(sight: Sight, detail: str = "because", **more: Any) -> TrafficReading:
    values: dict[str, Any] = {"count": None, "gap": False, **more}
    return TrafficReading(
        at=t(0), source="", weight="requests", side="old", window_start=t(0), window_end=t(1), sight=sight,
        detail=detail, **values,
    )  # fmt: skip


@pytest.mark.parametrize("sight", [x for x in Sight if x is not Sight.OK])
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_source_that_goes_blind_in_mid_soak_stops_it_and_is_named(sight: Sight, side: str) -> None:
    watch = Watch(plan_of()).rounds(20)
    assert watch.evidence.soaks.since() is not None
    for _ in range(3):
        readings: dict[str, Any] = {f"prometheus_1_{side}": trouble(sight)}
        watch.round(**readings)
        for found in (watch.requests, watch.of("visible", f"{LABEL} {side}")):
            assert found.status is UNKNOWN
            assert "because" in found.message
            assert side in found.message
    assert watch.evidence.soaks.since() is None, "three rounds in a row that cannot see"


def test_a_reset_in_mid_soak_is_named_and_counting_begins_again() -> None:
    watch = Watch(plan_of()).rounds(40)
    assert watch.requests.status is PASS
    lost = trouble(Sight.PARTIAL, "a counter was reset", count=3.0, gap=True)
    watch.round(prometheus_1_old=replace(lost, window_start=watch.now - ROUND, window_end=watch.now))
    assert watch.requests.status is UNKNOWN
    assert "reset" in watch.requests.message
    watch.rounds(3)
    assert watch.requests.status is WARN
    watch.rounds(30)
    assert watch.requests.status is PASS


def test_required_and_optional_without_a_source() -> None:
    required = Watch(make_plan()).round()
    assert {x.status for x in required.findings} == {UNKNOWN}
    assert "[[traffic]]" in required.requests.message
    optional = Watch(make_plan({"gate": {"traffic": "optional", "writes": "none"}})).round()
    assert {x.status for x in optional.findings} == {SKIP}


def test_one_eye_for_each_side_makes_a_pair() -> None:
    watch = Watch(plan_of({**PROMETHEUS, "new": None}, {**PROMETHEUS, "old": None})).rounds(40)
    assert watch.requests.status is PASS
    lonely = Watch(plan_of({**PROMETHEUS, "new": None})).rounds(5)
    assert lonely.requests.status is UNKNOWN
    assert "on new" in lonely.requests.message


def test_sources_that_contradict_each_other_are_said_to() -> None:
    watch = Watch(plan_of(PROMETHEUS, {"source": "command", "command": ["x"]}))
    watch.rounds(10)
    other = watch.sent["old"] + 100
    watch.round(command_2_old=other)
    silent = watch.of("converged", f"requests ({LABEL})")
    loud = watch.of("converged", "requests (command #2)")
    assert loud.status is FAIL
    assert silent.status is UNKNOWN
    assert "contradict" in silent.message


def counters(at: datetime, count: int) -> DatabaseReading:
    return DatabaseReading(
        at=at, side="old", system_identifier="x", server_version=150000, database="d", stats_reset=None,
        server_time=at, tables=(TableWrites("public.orders", count, 0, 0),),
    )  # fmt: skip


DATABASE = {"old": "postgresql://o/d", "new": "postgresql://n/d"}


def test_no_requests_but_writes_contradict_each_other() -> None:
    watch = Watch(plan_of(database=DATABASE)).rounds(20)
    watch.evidence.add(counters(watch.now - timedelta(minutes=1), 5))
    watch.evidence.add(counters(watch.now, 9))
    watch.round()
    assert watch.requests.status is UNKNOWN
    assert "4 row writes" in watch.requests.message


def test_refused_everywhere_for_the_whole_soak_passes_without_any_eye() -> None:
    watch = Watch(plan_of())
    watch.outcome = "refused"
    for _ in range(3):
        watch.round(prometheus_1_old=trouble(Sight.EMPTY))
    assert (watch.requests.status, watch.requests.extends_soak) == (WARN, True)
    assert watch.of("visible", f"{LABEL} old").status is PASS
    for _ in range(35):
        watch.round(prometheus_1_old=trouble(Sight.EMPTY))
    assert watch.requests.status is PASS
    assert "refused" in watch.requests.message
    watch.outcome = "silent"
    watch.round(prometheus_1_old=trouble(Sight.EMPTY))
    assert watch.requests.status is UNKNOWN, "a timeout proves nothing"


def test_refused_here_and_served_elsewhere_is_a_contradiction() -> None:
    """A firewall that resets our connections, and only ours, looks like a side that is shut."""
    watch = Watch(plan_of())
    watch.outcome = "refused"
    for _ in range(40):
        watch.round(old=2, new=20_000)
    assert watch.requests.status is UNKNOWN
    assert "contradict" in watch.requests.message
    for _ in range(70):
        watch.round(old=0, new=20_000)
    assert watch.requests.status is PASS, "a whole soak later it is over"


def test_a_block_of_addresses_cannot_be_proven_silent() -> None:
    plan = make_plan({"traffic": [PROMETHEUS], "gate": {"writes": "none"}}, old=[OLD_ADDRESS, "203.0.113.64/28"])
    watch = Watch(plan)
    watch.outcome = "refused"
    for _ in range(40):
        watch.round(prometheus_1_old=trouble(Sight.EMPTY))
    assert watch.requests.status is UNKNOWN


def test_done_after_hours_counts_what_came_since() -> None:
    watch = Watch(plan_of()).rounds(40)
    assert watch.requests.status is PASS
    last = watch.now - ROUND
    watch.now += timedelta(hours=2)
    watch.evidence.add(replace(watch.reading(LABEL, "requests", "old", watch.sent["old"]), window_start=last))
    watch.evidence.add(replace(watch.reading(LABEL, "requests", "new", 90_000), window_start=last))
    watch.burst()
    watch.now += ROUND
    for side, users in (("old", 0), ("new", 300)):
        watch.evidence.add(watch.reading(LABEL, "requests", side, users + watch.sent[side]))
    watch.judge(watch.now - timedelta(minutes=1), holds=True)
    assert watch.requests.status is PASS, watch.requests.message
    assert watch.requests.measured["requests"] > 90_000  # type: ignore[operator]


def test_a_second_look_after_hours_does_not_undo_the_completed_soak() -> None:
    watch = Watch(plan_of()).rounds(40)
    last = watch.now - ROUND
    watch.now += timedelta(hours=2)
    watch.evidence.add(replace(watch.reading(LABEL, "requests", "old", watch.sent["old"]), window_start=last))
    watch.evidence.add(replace(watch.reading(LABEL, "requests", "new", 90_000), window_start=last))
    watch.burst()
    watch.now += ROUND
    for look in range(3):
        watch.round()
        assert watch.requests.status is PASS, (look, watch.requests.message)
    watch.round(old=100)
    assert watch.requests.status is FAIL


def test_refused_for_a_whole_soak_stays_proof_after_hours() -> None:
    watch = Watch(plan_of())
    watch.outcome = "refused"
    for _ in range(40):
        watch.round(prometheus_1_old=trouble(Sight.EMPTY))
    watch.now += timedelta(hours=2)
    for look in range(3):
        watch.round(prometheus_1_old=trouble(Sight.EMPTY))
        assert watch.requests.status is PASS, (look, watch.requests.message)


def test_done_after_hours_with_users_on_old_since_fails() -> None:
    watch = Watch(plan_of()).rounds(40)
    last = watch.now - ROUND
    watch.now += timedelta(hours=2)
    watch.evidence.add(replace(watch.reading(LABEL, "requests", "old", 2000), window_start=last))
    watch.evidence.add(replace(watch.reading(LABEL, "requests", "new", 90_000), window_start=last))
    watch.judge(watch.now - timedelta(minutes=1), holds=True)
    assert watch.requests.status is FAIL


WRITES = {**PROMETHEUS, "weight": "writes"}


def test_one_write_on_old_blocks_whatever_the_share_of_reads() -> None:
    watch = Watch(plan_of(PROMETHEUS, WRITES)).rounds(35, new=100_000)
    watch.round(old=1, new=100_000)
    assert watch.requests.status is PASS, "one read in a hundred thousand is below the limit"
    writes = watch.of("converged", "writes")
    assert writes.status is FAIL
    assert "1 writes on old" in writes.message


def test_gets_cannot_prove_a_counter_of_writes() -> None:
    required = {"writes": "required"}
    watch = Watch(plan_of(PROMETHEUS, WRITES, gate=required)).rounds(40)
    writes = watch.of("converged", "writes")
    assert writes.status is UNKNOWN
    assert "cannot prove" in writes.message
    with_database = Watch(plan_of(PROMETHEUS, WRITES, gate=required, database=DATABASE)).rounds(40)
    assert with_database.of("converged", "writes").status is PASS
    none = Watch(plan_of(PROMETHEUS, WRITES)).rounds(40)
    assert none.of("converged", "writes").status is PASS


def test_a_counter_of_writes_contradicts_the_database() -> None:
    watch = Watch(plan_of(PROMETHEUS, WRITES, database=DATABASE)).rounds(20)
    watch.evidence.add(counters(watch.now - timedelta(minutes=1), 5))
    watch.evidence.add(counters(watch.now, 9))
    watch.round()
    found = watch.of("converged", "writes")
    assert found.status is UNKNOWN
    assert "contradict" in found.message


@pytest.mark.parametrize(
    ("tables", "status"),
    [
        ({"gate": {"writes": "required"}}, UNKNOWN),
        ({}, SKIP),
        ({"gate": {"writes": "required"}, "database": DATABASE}, SKIP),
    ],
)
def test_writes_without_a_source_of_writes(tables: dict[str, Any], status: Status) -> None:
    assert Watch(plan_of(**tables)).round().of("converged", "writes").status is status


def test_a_limit_of_nothing_at_all() -> None:
    watch = Watch(plan_of(gate={"max_old_share": 0})).rounds(40)
    assert watch.requests.status is PASS
    watch.round(old=1)
    assert watch.requests.status is FAIL
