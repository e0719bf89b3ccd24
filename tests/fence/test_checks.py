"""What ``database.fence`` and ``database.baseline`` conclude."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutover.finding import Status
from cutover.observations.database import BaselineTaken, FenceProven, FenceReleased, RoleProof
from tests.checks.kit import t
from tests.database.test_checks import database, night, reading

FENCE, BASELINE = "database.fence", "database.baseline"
FAIL, PASS, UNKNOWN, SKIP, WARN = Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.SKIP, Status.WARN


def proof(at: float, count: int, **more: object) -> FenceProven:
    proven = FenceProven(
        at=t(at),
        side="old",
        proven=True,
        roles=(RoleProof("app", "login refused", True),),
        counters=reading(at, "old", count),
    )
    return replace(proven, **more)  # type: ignore[arg-type]


def taken(at: float, count: int, **more: object) -> BaselineTaken:
    return BaselineTaken(
        at=t(at), snapshot="10:10:", lsn="0/1", sequences=(), counters=reading(at, "old", count, **more)
    )


@pytest.mark.parametrize(
    ("before", "last", "expected", "told"),
    [
        ([], 10, WARN, "not fenced"),
        ([proof(450, 10)], 10, PASS, "app (login refused)"),
        ([proof(450, 10)], 13, FAIL, "3 rows were written on old since it was fenced"),
        ([proof(450, 10, proven=False, why_not="app can log in")], 10, UNKNOWN, "app can log in"),
        ([proof(450, 10), FenceReleased(at=t(460), side="old")], 10, WARN, "released"),
        ([FenceReleased(at=t(440), side="old"), proof(450, 10)], 10, PASS, "no row written since"),
    ],
)
def test_the_fence(before: list[FenceProven | FenceReleased], last: int, expected: Status, told: str) -> None:
    story = night((0, 10, 10), (430, 10, 20))
    story.round(470, *before)
    story.both(500, last, 30)
    assert story.status(FENCE) is expected
    assert told in story.only(FENCE).message


def test_an_unread_old_does_not_pass() -> None:
    story = night((0, 10, 10), (430, 10, 20))
    story.round(470, proof(450, 10))
    story.both(500, None, 30)
    assert story.status(FENCE) is UNKNOWN


def test_no_writes_no_fence() -> None:
    assert night((0, 10, 10), plan=database({"writes": "none"})).status(FENCE) is SKIP


def test_the_baseline() -> None:
    assert night((0, 10, 10)).status(BASELINE) is FAIL
    assert "cutover baseline" in night((0, 10, 10)).only(BASELINE).fix
    assert night((0, 10, 10), plan=database(base="base.dump")).status(BASELINE) is PASS
    for mark, expected in (
        (taken(20, 10), PASS),
        (taken(20, 10, system_identifier="another"), FAIL),
        (taken(20, 10, system_identifier=""), FAIL),
        (taken(20, 10, timeline=1), PASS),
        (replace(taken(20, 10), late=True), FAIL),
    ):
        story = night((0, 10, 10))
        story.round(30, mark)
        story.both(60, 12, 10)
        assert story.status(BASELINE) is expected, mark
    story = night((0, 10, 10))
    story.round(30, taken(20, 10))
    story.both(60, None, 10)
    assert story.status(BASELINE) is UNKNOWN
    story = night((0, 10, 10))
    story.round(30, taken(20, 10))
    story.both(60, 3, 10)
    assert story.status(BASELINE) is WARN
