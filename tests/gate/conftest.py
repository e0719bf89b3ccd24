"""The tool with a plan of the world."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gate.command import Cutover
from tests.gate.stories import Start
from tests.world.world import NAME, World


@pytest.fixture
def start(world: World) -> Start:
    """Write a plan with the given name entries and tables, and return the tool for it."""

    def make(changes: dict[str, Any] | None = None, **entry: Any) -> Cutover:
        name = {
            "name": NAME,
            "types": ["A"],
            "old": [world.old.address],
            "new": [world.new.address],
            "provider": "none",
            "previous_ttl": 2,
            **entry,
        }
        given = {key: value for key, value in name.items() if value is not None}
        path = world.plan({"name": [given], **(changes or {})})
        return Cutover(path, world.environment)

    return make
