"""Which verdict tells where a migration stands."""

from __future__ import annotations

from cutover.folds.story import Story
from cutover.observations.gate import Judged
from cutover.verdict import Verdict
from tests.checks.kit import t

A, B = "a.example.com.", "b.example.com."


def judged(at: float, verdict: Verdict, *names: str, plan: str = "p") -> Judged:
    return Judged(
        at=t(at), command="done", phase="watch", migration="m", began=t(at), plan_hash=plan, names=names,
        verdict=verdict.value, exit_code=int(verdict.exit_code), findings=(), soaked={}, summary={},
    )  # fmt: skip


def standing(*found: Judged) -> tuple[float, str]:
    story = Story()
    for one in found:
        story.add(one)
    assert story.standing is not None
    return (story.standing.at - t(0)).total_seconds(), story.standing.verdict


def test_a_part_that_has_converged_says_nothing_of_the_rest() -> None:
    whole = judged(0, Verdict.CONVERGING, A, B)
    assert standing(whole, judged(1, Verdict.CONVERGED, A)) == (0, "converging")
    assert standing(whole, judged(1, Verdict.CONVERGED, A), judged(2, Verdict.CONVERGED, B)) == (0, "converging")
    assert standing(whole, judged(1, Verdict.CONVERGED, A), judged(2, Verdict.CONVERGED, A, B)) == (2, "converged")


def test_a_part_that_has_not_takes_the_whole_along() -> None:
    whole = judged(0, Verdict.CONVERGED, A, B)
    assert standing(whole, judged(1, Verdict.CONVERGING, A)) == (1, "converging")
    assert standing(whole, judged(1, Verdict.SPLIT_BRAIN, A)) == (1, "split-brain")
    assert standing(whole, judged(1, Verdict.CONVERGING, A), judged(2, Verdict.CONVERGED, A)) == (1, "converging")


def test_a_plan_of_one_name_is_no_part_of_an_earlier_one() -> None:
    whole = judged(0, Verdict.CONVERGING, A, B)
    assert standing(whole, judged(1, Verdict.CONVERGED, A, plan="q")) == (1, "converged")
