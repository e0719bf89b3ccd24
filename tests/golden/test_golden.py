"""Every golden case, on real Postgres: decisions, sums, and the result once the steps were carried out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.cases import Case, all_cases
from tests.golden.play import SIDES, Stage, play
from tests.world.postgres import Postgres

CASES = all_cases()


@pytest.fixture(scope="module")
def stage(postgres: Postgres) -> Iterator[Stage]:
    """Three databases of one cluster."""
    made = Stage(dict.fromkeys(SIDES, postgres))
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden(case: Case, stage: Stage, tmp_path: Path) -> None:
    play(case, stage, tmp_path)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 80
