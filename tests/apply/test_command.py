"""``cutover reconcile --apply`` and what follows it, as a person calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.apply.support import rows, run, state

if TYPE_CHECKING:
    from tests.world.fixtures import MakeDatabase
    from tests.world.postgres import Postgres

PLAN = """
[migration]
name = "m"
[database]
old = "env:OLD"
new = "env:NEW"
base = "env:BASE"
app_roles = ["app"]
[[database.table]]
name = "public.log"
kind = "append"
"""
SCHEMA = """
create table orders (id bigserial primary key, note text, status text);
create table log (what text);
insert into orders (note, status) values ('a', 'new'), ('b', 'new');
"""
OLD = """
update orders set note = 'old says' where id = 1;
insert into orders (note) values ('from old');
insert into log values ('old was here');
"""
NEW = """
update orders set status = 'new says' where id = 1;
insert into orders (note) values ('from new');
"""


def cutover(folder: Path, urls: dict[str, str], *words: str) -> dict[str, Any]:
    (folder / "cutover.toml").write_text(PLAN)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "cutover", *words, "--json"],
        cwd=folder,
        env={**os.environ, **urls, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit_code"] == done.returncode
    return found


def test_a_bundle_older_than_the_fence_is_gone_on_with_by_its_own_name(
    make_database: MakeDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    postgres.role("app")
    urls = {side: make_database(SCHEMA) for side in ("BASE", "OLD", "NEW")}
    run(urls["OLD"], OLD)
    run(urls["NEW"], NEW)
    before = state(urls["NEW"], "orders", "log")
    bundle = cutover(tmp_path, urls, "reconcile", "--no-merge")["bundle"]
    assert cutover(tmp_path, urls, "fence")["verdict"] == "fenced"
    first = cutover(tmp_path, urls, "reconcile", "--apply", bundle)
    # Asked for once, --no-merge holds for what is read again.
    assert [(left["table"], left["key"]) for left in first["left"]] == [("public.orders", ["1"])]
    assert rows(urls["NEW"], "select note, status from orders where id = 1") == [("a", "new says")]
    after = state(urls["NEW"], "orders", "log")
    again = cutover(tmp_path, urls, "reconcile", "--apply", bundle)
    assert (again["bundle"], again["applied"], again["left"]) == (first["bundle"], 2, first["left"])
    assert state(urls["NEW"], "orders", "log") == after
    verified = cutover(tmp_path, urls, "reconcile", "--verify", bundle)
    assert verified["problems"] == ["1 conflicts wait for a decision"]
    undone = cutover(tmp_path, urls, "reconcile", "--undo", bundle)
    assert (undone["bundle"], undone["undone"], undone["exit_code"]) == (first["bundle"], 2, 0)
    assert state(urls["NEW"], "orders", "log") == before
    # What was undone is read and merged anew; a decision that came since is read too.
    decisions = tmp_path / bundle / "decisions.toml"
    decisions.write_text(decisions.read_text().replace('take = ""', 'take = "old"', 1))
    third = cutover(tmp_path, urls, "reconcile", "--apply", bundle)
    assert (third["bundle"] != first["bundle"], third["exit_code"]) == (True, 0)
    assert rows(urls["NEW"], "select note, status from orders where id = 1") == [("old says", "new says")]
    assert cutover(tmp_path, urls, "reconcile", "--verify", bundle)["verdict"] == "verified"
