"""The command's whole road on real Postgres: decide, go on, resume, be interrupted, be late."""

from __future__ import annotations

import html
import json
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from cutover.errors import CutoverError
from cutover.reconcile import run as running
from cutover.reconcile.diff.planner import Progress
from cutover.reconcile.options import Options, RuleOption, TableOption
from cutover.reconcile.review.bundlefile import Bundle
from cutover.reconcile.review.render import render_text
from cutover.reconcile.run import Request, Urls, reconcile

MakeDatabase = Callable[..., str]
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'&"
SCHEMA = """
CREATE TABLE users (id bigserial PRIMARY KEY, email text UNIQUE, name text);
CREATE TABLE posts (id int PRIMARY KEY, user_id bigint REFERENCES users);
INSERT INTO users VALUES (1, 'a', 'Ann'), (2, 'b', 'Bob');
SELECT setval('users_id_seq', 2);
"""


def sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture
def urls(make_database: MakeDatabase) -> Urls:
    found = Urls(base=make_database(SCHEMA), old=make_database(SCHEMA), new=make_database(SCHEMA))
    for url, statements in (
        (
            found.old,
            f"UPDATE users SET name = {sql(HOSTILE)} WHERE id = 1; UPDATE users SET name = 'Old' WHERE id = 2;"
            "INSERT INTO users VALUES (50, 'z', 'Zoe'); INSERT INTO posts VALUES (1, 50);",
        ),
        (found.new, "UPDATE users SET name = 'New' WHERE id = 1; INSERT INTO users VALUES (60, 'z', 'Zoe');"),
    ):
        with psycopg.connect(url) as connection:
            connection.execute(statements.encode())
    return found


OPTIONS = Options(tables=(TableOption(name="users", owner="id"),))


def test_decide_and_go_on(urls: Urls, tmp_path: Path) -> None:
    first = reconcile(OPTIONS, urls, Request(folder=tmp_path, plan_hash="h"))
    assert (first.verdict, first.exit_code) == ("conflicts", 3)
    assert first.json["accounted"] == {
        "old_changes": 4,
        "apply": 1,
        "already_present": 0,
        "merged": 0,
        "rekeyed": 0,
        "conflict": 3,
        "skipped": 0,
    }
    path = first.bundle / "decisions.toml"
    text = path.read_text()
    assert text.count("[[conflict]]") == 3
    parts = text.split("[[conflict]]")
    for index, part in enumerate(parts):
        if 'key = ["50"]' in part and 'table = "users"' in part:
            parts[index] = part.replace('take = ""\nsame = false', 'take = "new"\nsame = true')
        elif 'key = ["1"]' in part and 'table = "users"' in part:
            parts[index] = part.replace('take = ""', 'take = "old"')
    path.write_text("[[conflict]]".join(parts))
    second = reconcile(OPTIONS, urls, Request(folder=tmp_path, bundle=first.bundle))
    assert second.bundle != first.bundle
    assert (second.verdict, second.exit_code) == ("mergeable", 0)
    assert second.json["accounted"]["conflict"] == 0
    assert second.json["new_changes"]["overwritten"] == 1
    bundle = Bundle(second.bundle)
    assert bundle.meta.continues == first.bundle.name
    assert {(line.old_id, line.new_id, line.how) for line in bundle.id_map()} == {("50", "60", "same_entity")}
    posts = [step for component in bundle.components() for step in component.steps if step.table.name == "posts"]
    assert posts[0].post == ("1", "60")
    assert Bundle(first.bundle).id != bundle.id


def test_nothing_hostile_gets_through(urls: Urls, tmp_path: Path) -> None:
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path, migration="<b>m"))
    page = (result.bundle / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>m" not in page
    assert html.escape("<script>alert(1)</script>") in page
    assert not re.search(r"(src|href)=|url\(|@import|http:|https:", page)
    text = render_text(result.summary)
    assert "\x1b" not in text
    assert {each["table"] for each in result.json["conflicts"]} == {"public.users", "public.posts"}
    json.loads((result.bundle / "summary.json").read_text())
    red = render_text(result.summary, color=True)
    assert "\x1b[1m" in red


def test_the_page_says_which_columns_each_side_gave(urls: Urls, tmp_path: Path) -> None:
    with psycopg.connect(urls.new) as connection:
        connection.execute("UPDATE users SET email = 'bob@new' WHERE id = 2")
    page = (reconcile(OPTIONS, urls, Request(folder=tmp_path)).bundle / "report.html").read_text(encoding="utf-8")
    assert "<td>public.users</td><td>2</td><td>name</td><td>email</td><td>different columns</td>" in page
    assert "take = &quot;old&quot;" in page


def test_the_text_names_sums_conflicts_and_the_next_command(urls: Urls, tmp_path: Path) -> None:
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path))
    text = render_text(result.summary)
    assert text.startswith("CONFLICTS: 3 change(s) of old need a person")
    assert re.search(r"public\.users +1/2/0 +1/1/0 +1 +0 +0 +0 +2 +0", text)
    assert "public.users 50: unique" in text
    assert f"cutover reconcile --bundle {result.bundle.name}" in text
    assert "Affected by public.users.id: 3, 2 of them with conflicts" in text
    affected = (result.bundle / "affected.csv").read_text().splitlines()
    assert len(affected) == 4


def test_files_are_the_owner_s(urls: Urls, tmp_path: Path) -> None:
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path))
    assert stat.S_IMODE(result.bundle.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in result.bundle.iterdir()} == {0o600}
    names = {path.name for path in result.bundle.iterdir()}
    assert names >= {
        "summary.json",
        "report.html",
        "decisions.toml",
        "apply.sql",
        "undo.sql",
        "changes.jsonl",
        "id_map.csv",
    }
    assert "work" not in names


def test_an_interrupted_run_leaves_no_bundle_and_is_gone_on_with(
    urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(running, "merge", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            reconcile(OPTIONS, urls, Request(folder=tmp_path))
    left = next(tmp_path.iterdir())
    with pytest.raises(CutoverError, match="half-written"):
        Bundle(left)
    seen: list[Progress] = []
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path, bundle=left), progress=seen.append)
    assert result.bundle != left
    assert result.json["accounted"]["old_changes"] == 4
    Bundle(result.bundle)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_late_snapshot_of_new_is_inconclusive(urls: Urls, make_database: MakeDatabase, tmp_path: Path) -> None:
    class Late:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(minutes=45)

        async def sleep(self, seconds: float) -> None:
            raise AssertionError

    same = Urls(old=make_database(SCHEMA), new=urls.new, base=urls.base)
    late = reconcile(OPTIONS, same, Request(folder=tmp_path), clock=Late())
    assert (late.verdict, late.exit_code) == ("inconclusive", 4)
    assert "new's snapshot is 45 min old" in late.json["unseen"][0]
    longer = reconcile(OPTIONS, same, Request(folder=tmp_path, max_snapshot_age=timedelta(hours=1)), clock=Late())
    assert (longer.verdict, longer.exit_code) == ("clean", 0)


def test_conflicts_win_over_what_was_not_seen_and_both_are_said(urls: Urls, tmp_path: Path) -> None:
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path, max_snapshot_age=timedelta(0)))
    assert result.exit_code == 3
    assert result.json["unseen"]


def test_an_estimate_is_never_applied(urls: Urls, tmp_path: Path) -> None:
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path, estimate=True))
    assert (result.verdict, result.exit_code) == ("estimated", 0)
    assert result.json["bundle"] is None
    assert not list(tmp_path.iterdir())
    assert not render_text(result.summary).endswith("\n")


def test_a_bundle_that_is_not_there_or_was_edited(urls: Urls, tmp_path: Path) -> None:
    with pytest.raises(CutoverError, match="no such bundle"):
        reconcile(OPTIONS, urls, Request(folder=tmp_path, bundle=tmp_path / "nowhere"))
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path))
    (result.bundle / "changes.jsonl").write_text("")
    with pytest.raises(CutoverError, match="edited"):
        reconcile(OPTIONS, urls, Request(folder=tmp_path, bundle=result.bundle))


def test_a_folder_that_cannot_be_written(urls: Urls, tmp_path: Path) -> None:
    with pytest.raises(CutoverError, match="cannot be written") as caught:
        reconcile(OPTIONS, urls, Request(folder=tmp_path / "missing"))
    assert caught.value.exit_code == 4


def test_a_full_disk_is_said_and_leaves_no_bundle(urls: Urls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        yield "x"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "render_html", full)
    with pytest.raises(CutoverError, match=r"report\.html: cannot be written: No space left on device"):
        reconcile(OPTIONS, urls, Request(folder=tmp_path))
    with pytest.raises(CutoverError, match="half-written"):
        Bundle(next(tmp_path.iterdir()))


def test_the_json_has_the_contract_s_fields(urls: Urls, tmp_path: Path) -> None:
    options = Options(rules=(RuleOption(table="users", column="name", policy="new"),))
    result = reconcile(options, urls, Request(folder=tmp_path, migration="porter-to-sst"))
    found = result.json
    assert list(found)[:9] == [
        "command",
        "migration",
        "at",
        "verdict",
        "exit_code",
        "findings",
        "tables",
        "accounted",
        "bundle",
    ]
    assert found["command"] == "reconcile"
    assert found["bundle"] == result.bundle.name
    assert re.fullmatch(r"reconcile-\d{8}T\d{4}Z(-\d+)?", result.bundle.name)
    users = next(table for table in found["tables"] if table["table"] == "public.users")
    assert users["old"] == {"insert": 1, "update": 2, "delete": 0}
    assert users["new"] == {"insert": 1, "update": 1, "delete": 0}
    assert users["skipped"] == 1
    assert json.loads((result.bundle / "summary.json").read_text()) == found
    shutil.rmtree(result.bundle)


def test_what_to_do_about_a_warning_is_not_cut_off(urls: Urls, tmp_path: Path) -> None:
    result = reconcile(OPTIONS, urls, Request(folder=tmp_path))
    warning = f"public.{'t' * 60}: 2 inserted row(s) are equal: {'...' * 40} take a later base"
    text = render_text(replace(result.summary, warnings=(warning,)))
    assert f"Worth a look:\n  {warning}\n" in text
