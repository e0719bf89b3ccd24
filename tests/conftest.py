"""What all tests share."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.world.fixtures"]

LONGEST = (
    "tests/gate/test_incident.py",
    "tests/gate/test_stories.py",
    "tests/golden/test_majors.py",
    "tests/rehearsal/test_nights.py",
    "tests/apply/test_chaos.py",
    "tests/golden/test_golden.py",
)
"""Files that take minutes: they begin first, so that no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by how long they take."""
    items.sort(key=lambda item: next((at for at, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST)))
