"""A round, whatever the machine's clock does meanwhile, and whoever's ledger it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from cutover import rounds as rounds_module
from cutover.errors import CutoverError
from cutover.evidence import Evidence
from cutover.finding import Finding, Phase, Severity, Status
from cutover.ledger import Ledger
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.clock import ClockJumped
from cutover.plan import Plan
from cutover.probes.world import World
from cutover.rounds import Judgement, Rounds
from cutover.verdict import Verdict
from tests.checks.kit import NAME, make_plan

START = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)
GATE = {"gate": {"interval": "10s", "soak": "30s", "traffic": "optional", "writes": "none"}}


class SetClock:
    """A wall clock that can be set: ``ahead``."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.ahead = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed + self.ahead)

    def steady(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


class Scene:
    """Rounds of one second each on a ledger, judged by one check that passes."""

    def __init__(self, ledger: Ledger, plan: Plan | None = None) -> None:
        self.clock = SetClock()
        self.ledger = ledger
        self.rounds = Rounds(
            plan or make_plan(GATE), ledger, self.clock, command="watch", phase=Phase.WATCH, base_dir=Path()
        )
        self.inside: Callable[[], None] = lambda: None
        self.seen: list[Observation] = []

    async def observe(self, plan: Plan, evidence: Evidence, phase: Phase) -> AsyncIterator[list[Observation]]:
        self.clock.passed += 1
        self.inside()
        yield self.seen

    def round(self, after: float = 9) -> Judgement:
        self.clock.passed += after
        return asyncio.run(self.rounds.run(cast("World", self)))

    @property
    def held(self) -> float:
        return self.rounds.evidence.soaks.of(NAME).held.total_seconds()

    def jumps(self) -> list[float]:
        return [x.by for _, x in self.ledger.read() if isinstance(x, ClockJumped)]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    def passing(*_: Any) -> tuple[Finding, ...]:
        return (
            Finding(check="x.y", status=Status.PASS, severity=Severity.BLOCKER, subject="s", message="m", name=NAME),
        )

    monkeypatch.setattr(rounds_module, "run_checks", passing)
    return Ledger(tmp_path / "l")


def test_without_a_jump_the_soak_completes(ledger: Ledger) -> None:
    scene = Scene(ledger)
    verdicts = [scene.round().verdict for _ in range(5)]
    assert verdicts == [Verdict.CONVERGING] * 3 + [Verdict.CONVERGED] * 2
    assert scene.jumps() == []


@pytest.mark.parametrize("inside", [True, False])
def test_a_clock_put_forward_completes_no_soak(ledger: Ledger, inside: bool) -> None:
    scene = Scene(ledger)
    scene.round()
    assert scene.round().verdict is Verdict.CONVERGING

    def jump() -> None:
        scene.clock.ahead = 25

    if inside:
        scene.inside = jump
    else:
        jump()
    assert scene.round().verdict is Verdict.CONVERGING
    assert scene.held == 0
    assert scene.jumps() == [25]
    assert [scene.round().verdict for _ in range(3)] == [Verdict.CONVERGING] * 2 + [Verdict.CONVERGED]
    assert scene.jumps() == [25]


def test_a_clock_put_back_sees_nothing_until_it_is_right(ledger: Ledger) -> None:
    scene = Scene(ledger)
    scene.round()
    scene.round()
    entries = scene.ledger.head().seq
    scene.clock.ahead = -3600
    for _ in range(2):
        judgement = scene.round()
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert judgement.judged.exit_code == 4
        assert "behind the ledger's last entry" in judgement.unkept
        assert judgement.judged.summary == {"resolvers": [], "shares": {}}
    assert scene.jumps() == [-3600]
    assert scene.ledger.head().seq == entries + 1
    scene.clock.ahead = 0
    assert not scene.round().unkept
    assert scene.rounds.evidence.clock.ahead_since(START) == timedelta(0)


def test_what_was_seen_before_the_clock_was_put_back_is_not_the_present(ledger: Ledger) -> None:
    scene = Scene(ledger)
    scene.seen = [ProbeFailed(at=START + timedelta(seconds=10), probe="p", error="e")]
    scene.round()
    assert scene.rounds.evidence.failure("p") is not None
    scene.seen = []
    scene.clock.ahead = -300
    assert scene.round().unkept


def test_a_roll_back_is_not_told_to_fence(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Finding(
        check="x.y", status=Status.FAIL, subject="s", message="m", name=NAME, fix="cutover fence && cutover x"
    )
    monkeypatch.setattr(rounds_module, "run_checks", lambda *_: (said,))
    scene = Scene(ledger)
    assert scene.round().findings[0].fix == "cutover fence && cutover x"
    scene.rounds.reverse = True
    assert scene.round().findings[0].fix == "cutover explain rollback"


def test_the_ledger_of_another_migration_is_refused(ledger: Ledger) -> None:
    Scene(ledger).round()
    ours = Scene(ledger, make_plan({**GATE, "migration": {"name": "renamed"}}))
    assert not ours.round().unkept
    theirs = Scene(ledger, make_plan({**GATE, "migration": {"name": "shop"}}, name="shop.example.net"))
    theirs.clock.passed = 100
    head = ledger.head()
    with pytest.raises(CutoverError, match="belongs to another migration: renamed") as caught:
        theirs.round()
    assert caught.value.exit_code == 2
    assert "--ledger" in caught.value.hint
    assert ledger.head() == head
