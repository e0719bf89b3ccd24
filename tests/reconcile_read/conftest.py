from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reconcile_read.support import Copies
from tests.world.postgres import Postgres


@pytest.fixture
def copies(postgres: Postgres) -> Iterator[Copies]:
    made = Copies(postgres)
    yield made
    made.close()
