"""The test world as pytest fixtures, for every test (``tests/conftest.py`` registers this module)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.world.postgres import Postgres
from tests.world.world import AWS_ENVIRONMENT, World

#: ``make_database(sql="", server=None) -> url``: a new database, dropped after the test.
MakeDatabase = Callable[..., str]

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def no_real_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Throw-away AWS credentials for every test: none may use, or even look for, the machine's own."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in AWS_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for one test: authority, three resolvers, two origins. About half a second."""
    with World() as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One cluster for the whole session. Do not stop it: use a ``Postgres()`` of your own for that."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_pair() -> Iterator[tuple[Postgres, Postgres]]:
    """Two clusters (old, new) with different system identifiers, for the whole session."""
    with Postgres() as old, Postgres() as new:
        yield old, new


@pytest.fixture
def make_database(request: pytest.FixtureRequest) -> Iterator[MakeDatabase]:
    """A factory of databases, by default in the ``postgres`` cluster; all are dropped after the test."""
    made: list[tuple[Postgres, str]] = []

    def make(sql: str = "", *, server: Postgres | None = None, prefix: str = "db", options: str = "") -> str:
        target: Postgres = server or request.getfixturevalue("postgres")
        name = f"{prefix}_{next(_numbers)}"
        url = target.create_database(name, sql=sql, options=options)
        made.append((target, name))
        return url

    yield make
    for target, name in made:
        target.drop_database(name)
