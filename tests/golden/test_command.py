"""``cutover reconcile`` as a person calls it: with a plan that speaks of databases alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

PLAN = """
[migration]
name = "m"
changed_at = 2025-06-01T00:00:00Z
[database]
old = "env:OLD"
new = "env:NEW"
{base}
[[database.table]]
name = "t"
owner = "who"
"""
SCHEMA = """
CREATE TABLE t (id int, who text, created_at timestamptz);
INSERT INTO t VALUES (1, 'ann', '2025-01-01 00:00+00');
ALTER TABLE t ADD PRIMARY KEY (id);
"""


@pytest.fixture
def urls(make_database: Callable[..., str]) -> dict[str, str]:
    sides = {side: make_database(SCHEMA) for side in ("BASE", "OLD", "NEW")}
    _run(sides["OLD"], "INSERT INTO t VALUES (2, 'bob', '2025-06-02 00:00+00'), (3, 'cy', '2025-06-03 00:00+00')")
    _run(sides["NEW"], "INSERT INTO t VALUES (9, 'dee', '2025-06-02 00:00+00')")
    return sides


def _run(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def cutover(folder: Path, urls: Mapping[str, str], *words: str, base: str = 'base = "env:BASE"') -> tuple[int, str]:
    (folder / "cutover.toml").write_text(PLAN.format(base=base))
    command = [sys.executable, "-m", "cutover", *words]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **urls, "PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_an_estimate_needs_no_names_and_leaves_nothing_behind(urls: dict[str, str], tmp_path: Path) -> None:
    code, text = cutover(tmp_path, urls, "reconcile", "--estimate", "--json")
    found: dict[str, Any] = json.loads(text)
    assert (code, found["verdict"], found["exit_code"], found["bundle"]) == (0, "estimated", 0, None)
    assert [(each["table"], each["old"], each["new"], each["exact"]) for each in found["estimates"]] == [
        ("public.t", 2, 1, True)
    ]
    assert found["estimates"][0]["users"] == ["bob", "cy"]
    assert [each.name for each in tmp_path.iterdir()] == ["cutover.toml"]
    code, text = cutover(tmp_path, urls, "reconcile", "--estimate")
    assert code == 0
    assert "2 user(s) affected: bob, cy" in text
    assert text == text.rstrip("\n") + "\n"


def test_without_base_the_rows_own_times_tell(urls: dict[str, str], tmp_path: Path) -> None:
    # rewritten since the restore, so that nothing can be inferred
    _run(urls["NEW"], "UPDATE t SET id = id")
    code, text = cutover(tmp_path, urls, "reconcile", "--estimate", "--json", base="")
    (found,) = json.loads(text)["estimates"]
    assert (code, found["old"], found["new"], found["exact"]) == (0, 2, 1, False)
    assert "created_at" in found["how"]
    assert found["users"] == ["bob", "cy"]


@pytest.mark.parametrize(("one", "other"), [("BASE", "OLD"), ("NEW", "OLD"), ("BASE", "NEW")])
def test_one_database_for_two_is_refused(urls: dict[str, str], tmp_path: Path, one: str, other: str) -> None:
    code, text = cutover(tmp_path, {**urls, one: urls[other]}, "reconcile", "--json")
    assert code == 2
    assert "are one database" in json.loads(text)["error"]["message"]
