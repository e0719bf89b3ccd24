"""The soak, one step a round."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from cutover.finding import Finding, Severity, Status
from cutover.folds.soak import Round, Soak, SoakFold, step
from cutover.observations.clock import ClockJumped
from cutover.observations.gate import Judged
from cutover.plan import Plan
from tests.checks.kit import NAME, make_plan, t

SOAK, INTERVAL = timedelta(seconds=100), timedelta(seconds=10)
PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.INCONCLUSIVE


def run(*rounds: tuple[float, Status], took: float = 1) -> Soak:
    """Rounds that began at the given seconds."""
    state = Soak()
    for began, status in rounds:
        state = step(state, Round(t(began), t(began + took), status), soak=SOAK, interval=INTERVAL)
    return state


def steady(start: int, count: int, status: Status = PASS) -> list[tuple[float, Status]]:
    return [(start + 10 * n, status) for n in range(count)]


def test_it_is_complete_after_the_whole_time_and_not_before() -> None:
    almost = run(*steady(0, 10))
    assert almost.held == timedelta(seconds=90)
    assert almost.completed_at is None
    done = run(*steady(0, 11))
    assert done.held == SOAK
    assert done.completed_at == t(101)


def test_a_fail_resets_all_even_what_was_complete() -> None:
    state = run(*steady(0, 12), (120, FAIL))
    assert (state.held, state.since, state.completed_at) == (timedelta(0), None, None)
    assert state.reset_by == "a check failed"


def test_an_inconclusive_round_pauses_and_its_time_does_not_count() -> None:
    state = run(*steady(0, 5), (50, UNKNOWN), (60, PASS), (70, PASS))
    assert state.held == timedelta(seconds=50)
    assert state.since == t(0)


def test_three_inconclusive_in_a_row_reset_two_do_not() -> None:
    two = run(*steady(0, 5), (50, UNKNOWN), (60, UNKNOWN), (70, PASS), (80, UNKNOWN), (90, UNKNOWN), (100, PASS))
    assert two.since == t(0)
    three = run(*steady(0, 5), (50, UNKNOWN), (60, UNKNOWN), (70, UNKNOWN), (80, PASS))
    assert three.since == t(80)
    assert three.held == timedelta(0)


def test_a_gap_of_more_than_three_intervals_from_end_to_start_resets() -> None:
    assert run((0, PASS), (31, PASS)).since == t(0)
    assert run((0, PASS), (31.1, PASS)).since == t(31.1)
    long_rounds = run((0, PASS), (70, PASS), took=45)
    assert long_rounds.since == t(0)


def test_a_gap_keeps_a_soak_that_was_complete_for_done() -> None:
    state = run(*steady(0, 12), (5000, PASS))
    assert state.completed_at == t(111)
    assert state.held == timedelta(0)


def test_an_extension_keeps_it_from_completing() -> None:
    state = Soak()
    for began, _ in steady(0, 15):
        state = step(state, Round(t(began), t(began + 1), PASS, extended=True), soak=SOAK, interval=INTERVAL)
    assert state.held > SOAK
    assert state.completed_at is None


_ROUNDS = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([PASS, PASS, PASS, FAIL, UNKNOWN])), max_size=40)


@given(_ROUNDS)
def test_what_was_held_lies_after_the_last_fail_and_fits_into_the_clock(rounds: list[tuple[int, Status]]) -> None:
    state, at, last_fail, since_break = Soak(), 0, -1, 0.0
    previous: tuple[int, Status] | None = None
    for gap, status in rounds:
        at += gap
        state = step(state, Round(t(at), t(at), status), soak=SOAK, interval=INTERVAL)
        if status is FAIL or gap > 30:
            since_break = 0
        elif status is PASS and previous is not None and previous[1] is PASS:
            since_break += gap
        if status is FAIL:
            last_fail = at
        previous = (at, status)
        assert state.held <= timedelta(seconds=since_break)
        if state.completed_at is not None:
            assert state.completed_at > t(last_fail)
        if state.since is not None:
            assert state.since > t(last_fail)


def finding(name: str, status: Status) -> Finding:
    return Finding(check="x.y", status=status, severity=Severity.BLOCKER, subject="s", message="m", name=name)


def judged(at: float, plan: Plan, status: Status = PASS, phase: str = "watch") -> Judged:
    return Judged(
        at=t(at + 1), command="watch", phase=phase, migration="m", began=t(at), plan_hash=plan.hash(), names=(NAME,),
        verdict="converging", exit_code=3, findings=(finding(NAME, status),), soaked={}, summary={},
    )  # fmt: skip


def test_another_plan_restarts_the_soak_and_a_preflight_does_not_count() -> None:
    plan = make_plan()
    fold = SoakFold(plan)
    fold.add(judged(0, plan))
    fold.add(judged(20, plan, FAIL, phase="preflight"))
    assert fold.of(NAME).since == t(0)
    fold.add(judged(30, make_plan({"gate": {"soak": "1h"}})))
    assert fold.of(NAME).since is None
    assert "plan was changed" in fold.of(NAME).reset_by
    fold.add(judged(40, plan))
    assert fold.of(NAME).since == t(40)


def test_after_an_edit_the_soak_of_the_plan_before_is_said_to_be_over() -> None:
    before, after = make_plan(), make_plan({"gate": {"soak": "1h"}})
    fold = SoakFold(after)
    fold.add(judged(0, before))
    assert fold.of(NAME).reset_by == ""
    fold.add(replace(judged(10, before), soaked={NAME: 600.0}))
    assert fold.of(NAME) == Soak(reset_by="the plan was changed")
    fold.add(judged(20, after))
    fold.add(replace(judged(30, before), reverse=True))
    assert fold.of(NAME) == Soak(reset_by="a roll-back was watched")


def test_it_began_when_the_last_of_all_names_began_and_not_while_one_is_reset() -> None:
    names = ("a.example.com.", "b.example.com.")
    plan = make_plan({"name": [{"name": x, "old": ["203.0.113.1"], "new": ["198.51.100.1"]} for x in names]})
    fold = SoakFold(plan)
    assert fold.since() is None
    fold.add(replace(judged(0, plan), names=names, findings=(finding(names[0], PASS), finding(names[1], FAIL))))
    assert fold.since() is None
    fold.add(replace(judged(10, plan), names=names, findings=(finding(names[0], PASS), finding(names[1], PASS))))
    assert (fold.of(names[0]).since, fold.of(names[1]).since) == (t(0), t(10))
    assert fold.since() == t(10)


def test_one_finding_is_enough_to_extend() -> None:
    plan = make_plan({"gate": {"soak": "5s"}})
    fold = SoakFold(plan)
    few = replace(finding(NAME, Status.WARN), extends_soak=True)
    for at in (0, 10, 20):
        fold.add(replace(judged(at, plan), findings=(finding(NAME, PASS), few)))
    assert fold.of(NAME).completed_at is None
    fold.add(judged(30, plan))
    assert fold.of(NAME).completed_at == t(31)


def test_only_a_soak_that_had_begun_can_be_lost() -> None:
    assert run((0, FAIL)).reset_by == ""
    assert run((0, PASS), (10, FAIL)).reset_by == "a check failed"
    assert run(*steady(0, 12), (5000, FAIL)).reset_by == "a check failed"


def test_a_clock_that_was_put_forward_begins_anew_and_one_put_back_does_not() -> None:
    plan = make_plan({"gate": {"interval": "10s", "soak": "15s"}})
    fold = SoakFold(plan)
    for at in (0, 10, 20):
        fold.add(judged(at, plan))
    assert fold.of(NAME).completed_at == t(21)
    fold.add(ClockJumped(at=t(25), by=-5))
    assert fold.of(NAME).held == timedelta(seconds=20)
    fold.add(ClockJumped(at=t(3600), by=3570))
    assert fold.of(NAME) == Soak(completed_at=t(21), reset_by="this machine's clock was put forward")
    fold.add(replace(judged(10, plan), at=t(3601)))
    assert fold.of(NAME).held == timedelta(0)


def test_a_name_that_was_not_judged_keeps_its_state() -> None:
    plan = make_plan()
    fold = SoakFold(plan)
    fold.add(judged(0, plan))
    other = judged(10, plan, FAIL)
    fold.add(replace(other, names=("b.example.com.",)))
    assert fold.of(NAME).since == t(0)
