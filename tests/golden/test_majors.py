"""Golden cases with old and new on servers of different major versions, locales and encodings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover.reconcile.options import Options
from cutover.reconcile.review.bundlefile import Bundle
from cutover.reconcile.run import Request, Urls, reconcile
from tests.golden.cases import Case, all_cases
from tests.golden.play import SIDES, Stage, play
from tests.world.postgres import Postgres

CASES = [case for case in all_cases() if "CREATE EXTENSION" not in case.sql("schema")]
"""The servers beside Debian's come without extensions."""

READ_OTHERWISE = [
    case for case in CASES if case.run or case.name.startswith(("base-", "key-", "json", "range", "dates", "generated"))
]
"""What hangs on programs of a version, or on how values look as text."""


@contextlib.contextmanager
def between(old: int | None, new: int | None) -> Iterator[Stage]:
    """Old and base on one server, new on another; ``None`` is the system's version."""
    with contextlib.ExitStack() as stack:
        servers = {major: stack.enter_context(Postgres(version=major)) for major in (old, new)}
        made = Stage({"base": servers[old], "old": servers[old], "new": servers[new]})
        yield made
        made.close()


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Stage]:
    """From Debian's to the latest."""
    with between(None, 18) as stage:
        yield stage


@pytest.fixture(scope="module")
def downgraded() -> Iterator[Stage]:
    """The other way round: nobody's plan, but a roll-back is a cutover too."""
    with between(18, None) as stage:
        yield stage


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_new_is_a_later_version(case: Case, upgraded: Stage, tmp_path: Path) -> None:
    play(case, upgraded, tmp_path)


@pytest.mark.parametrize("case", READ_OTHERWISE, ids=[case.name for case in READ_OTHERWISE])
def test_new_is_an_earlier_version(case: Case, downgraded: Stage, tmp_path: Path) -> None:
    play(case, downgraded, tmp_path)


LATIN1 = "encoding 'LATIN1' locale 'C' template template0"
ICU = "locale_provider icu icu_locale 'sv-u-kn-true' locale 'C.UTF-8' template template0"
C = "locale 'C' template template0"
WAYS = {
    "from C to ICU": {"base": C, "old": C, "new": ICU},
    "from LATIN1": {"base": LATIN1, "old": LATIN1},
    "to LATIN1": {"new": LATIN1},
}
TEXTS = [
    case
    for case in all_cases()
    if case.name.startswith(
        ("key-text", "case-blind", "names", "exclusion", "email", "same-e", "base-as", "enum", "null")
    )
]


@pytest.fixture(scope="module", params=WAYS)
def foreign(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Stage]:
    """Databases of one server whose locales or encodings differ."""
    made = Stage(dict.fromkeys(SIDES, postgres), WAYS[request.param])
    yield made
    made.close()


@pytest.mark.parametrize("case", TEXTS, ids=[case.name for case in TEXTS])
def test_another_locale_or_encoding(case: Case, foreign: Stage, tmp_path: Path) -> None:
    play(case, foreign, tmp_path)


def test_what_an_encoding_cannot_hold_is_a_conflict(postgres: Postgres, tmp_path: Path) -> None:
    stage = Stage(dict.fromkeys(SIDES, postgres), {"new": LATIN1})
    schema = """
        CREATE TABLE t (id serial PRIMARY KEY, name text UNIQUE, price text);
        CREATE TABLE child (id serial PRIMARY KEY, name text REFERENCES t (name));
        INSERT INTO t (name, price) VALUES ('café', '1'), ('b', '2');
    """
    try:
        for side in SIDES:
            stage.execute(side, schema)
        stage.execute("old", "UPDATE t SET price = '1 €' WHERE id = 1; UPDATE t SET price = '2 £' WHERE id = 2")
        stage.execute(
            "old", "INSERT INTO t (name) VALUES ('日本'), ('ü'); INSERT INTO child (name) VALUES ('日本'), ('ü')"
        )
        urls = Urls(base=stage.dsn("base"), old=stage.dsn("old"), new=stage.dsn("new"))
        result = reconcile(Options(), urls, Request(folder=tmp_path))
        found = {
            (line.table.name, line.key): line.reason or line.decision for line in Bundle(result.bundle).accounted()
        }
        assert found == {
            ("t", ("1",)): "does_not_fit",
            ("t", ("2",)): "apply",
            ("t", ("3",)): "does_not_fit",
            ("t", ("4",)): "apply",
            ("child", ("1",)): "does_not_fit",
            ("child", ("2",)): "apply",
        }
    finally:
        stage.close()
