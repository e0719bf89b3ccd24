"""decisions.toml: written, filled in, read, held against the rows."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.reconcile.merge.policy import Rules
from cutover.reconcile.model import Change
from cutover.reconcile.review.decisions import FILE, Line, Settled, quote, read_decisions, settle, write_decisions
from tests.merge.memory import Dicts, Memory, Outcome, refers, table

T = table("t", "id:bigint! a:text b:text c:text", together=[["b", "c"]])
BASE: Dicts = {"t": [{"id": 1, "a": "base", "b": "x"}]}
OLD: Dicts = {"t": [{"id": 1, "a": "old", "b": "x"}]}
NEW: Dicts = {"t": [{"id": 1, "a": "new", "b": "y"}]}


class Baseless(Memory):
    """Of no row is it known what base was."""

    def changes(self) -> list[Change]:
        return [replace(x, base=None if x.old else x.new, base_known=False) for x in super().changes()]


def again(
    memory: Memory, folder: Path, edit: dict[str, str], *, after: Memory | None = None
) -> tuple[Outcome, Settled, str]:
    """Write the file, fill it in by replacing text, read it and merge again."""
    (folder / FILE).write_text("".join(write_decisions("b", memory.merge().result.judged)), encoding="utf-8")
    text = (folder / FILE).read_text(encoding="utf-8")
    for before, then in edit.items():
        assert before in text, text
        text = text.replace(before, then)
    (folder / FILE).write_text(text, encoding="utf-8")
    now = after or memory
    settled = settle(read_decisions(folder), now.schema, now.changes(), now, folder)
    outcome = now.merge(decisions=settled.decided)
    return outcome, settled, "".join(write_decisions("c", outcome.result.judged, settled))


@pytest.mark.parametrize(
    ("take", "values", "decision"),
    [
        ('"old"', ("old", "y"), "merged"),
        ('"new"', ("new", "y"), "skipped"),
        ('{ a = "old" }', ("old", "y"), "merged"),
        ('{ a = "new" }', ("new", "y"), "skipped"),
    ],
)
def test_a_decision_settles_a_conflict(tmp_path: Path, take: str, values: tuple[str, str], decision: str) -> None:
    found, settled, text = again(Memory.of([T], BASE, OLD, NEW), tmp_path, {'take = ""': f"take = {take}"})
    assert found.decisions() == {"t 1": decision}
    row = found.apply()["t"][0]
    assert (row["a"], row["b"]) == values
    assert "[[conflict]]" not in text
    assert tomllib.loads(text)["decided"][0]["hash"] == settled.lines[0].hash


def test_the_new_file_carries_the_decision_on(tmp_path: Path) -> None:
    memory = Memory.of([T], BASE, OLD, NEW)
    _, _, text = again(memory, tmp_path, {'take = ""': 'take = "old"'})
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    settled = settle(read_decisions(tmp_path), memory.schema, memory.changes(), memory, tmp_path)
    assert memory.merge(decisions=settled.decided).decisions() == {"t 1": "merged"}


def test_a_stale_decision_is_asked_again(tmp_path: Path) -> None:
    later: Dicts = {"t": [{"id": 1, "a": "newer", "b": "y"}]}
    found, settled, text = again(
        Memory.of([T], BASE, OLD, NEW), tmp_path, {'take = ""': 'take = "old"'}, after=Memory.of([T], BASE, OLD, later)
    )
    assert found.decisions() == {"t 1": "conflict:updated_both"}
    assert len(settled.stale) == 1
    assert "please look again" in text
    assert settled.decided == {}


def test_one_side_for_all_columns_of_a_group(tmp_path: Path) -> None:
    old: Dicts = {"t": [{"id": 1, "a": "base", "b": "o"}]}
    new: Dicts = {"t": [{"id": 1, "a": "base", "b": "x", "c": "n"}]}
    memory = Memory.of([T], BASE, old, new)
    assert memory.merge().decisions() == {"t 1": "conflict:group"}
    found, _, _ = again(memory, tmp_path, {'take = ""': 'take = "old"'})
    row = found.apply()["t"][0]
    assert (row["b"], row["c"]) == ("o", None)
    assert found.result.judged[0].outcome == "overwritten"
    mixed, _, text = again(memory, tmp_path, {'take = ""': 'take = { b = "old", c = "new" }'})
    assert mixed.decisions() == {"t 1": "conflict:group"}
    assert "was tried" in text


USERS = table("users", "id:bigint# email:text name:text", unique=[["email"]])
POSTS = table("posts", "id:bigint! user_id:bigint", refers=[refers("user_id", "users")])
TWO_OLD: Dicts = {"users": [{"id": 50, "email": "a", "name": "o"}], "posts": [{"id": 1, "user_id": 50}]}
TWO_NEW: Dicts = {"users": [{"id": 60, "email": "a", "name": "n"}]}


def test_an_insert_that_is_the_same_thing(tmp_path: Path) -> None:
    memory = Memory.of([USERS, POSTS], {}, TWO_OLD, TWO_NEW)
    assert memory.merge().decisions() == {"users 50": "conflict:unique", "posts 1": "conflict:dependent"}
    (tmp_path / FILE).write_text("".join(write_decisions("b", memory.merge().result.judged)), encoding="utf-8")
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    assert 'new_key = ["60"]' in text
    first, second = text.split("[[conflict]]")[1:]
    head = text.split("[[conflict]]")[0]
    first = first.replace('take = ""\nsame = false', 'take = "new"\nsame = true')
    (tmp_path / FILE).write_text("[[conflict]]".join([head, first, second]), encoding="utf-8")
    settled = settle(read_decisions(tmp_path), memory.schema, memory.changes(), memory, tmp_path)
    found = memory.merge(decisions=settled.decided)
    assert found.decisions() == {"users 50": "skipped", "posts 1": "apply"}
    assert found.apply()["posts"] == [{"id": "1", "user_id": "60"}]


def test_the_same_thing_under_an_id_that_new_gave_to_another(tmp_path: Path) -> None:
    tables = [
        table("users", "id:bigint# mail:text", unique=[["mail"]]),
        table("posts", "id:bigint! user_id:bigint", refers=[refers("user_id", "users")]),
    ]
    old: Dicts = {"users": [{"id": 5, "mail": "x"}], "posts": [{"id": 1, "user_id": 5}]}
    new: Dicts = {"users": [{"id": 5, "mail": "z"}, {"id": 6, "mail": "x"}]}
    memory = Memory.of(tables, {}, old, new)
    assert memory.merge().decisions() == {"users 5": "conflict:unique", "posts 1": "conflict:dependent"}
    text = "".join(write_decisions("b", memory.merge().result.judged)).split("[[conflict]]")
    decided = ('take = ""\nsame = false', 'take = "new"\nsame = true')
    edited = [part.replace(*decided) if 'table = "users"' in part else part for part in text]
    (tmp_path / FILE).write_text("[[conflict]]".join(edited), encoding="utf-8")
    settled = settle(read_decisions(tmp_path), memory.schema, memory.changes(), memory, tmp_path)
    assert memory.merge(decisions=settled.decided).apply()["posts"] == [{"id": "1", "user_id": "6"}]


def test_an_insert_that_is_not_wanted(tmp_path: Path) -> None:
    memory = Memory.of([USERS, POSTS], {}, TWO_OLD, TWO_NEW)
    edit = {'take = ""\nsame = false\ndiscard = false': 'take = "new"\nsame = false\ndiscard = true'}
    found, _, _ = again(memory, tmp_path, edit)
    assert found.decisions() == {"users 50": "skipped", "posts 1": "skipped"}
    assert found.apply()["posts"] == []


def test_dropping_an_insert_needs_a_reason(tmp_path: Path) -> None:
    memory = Memory.of([USERS, POSTS], {}, TWO_OLD, TWO_NEW)
    with pytest.raises(CutoverError, match="would drop a row that old inserted") as caught:
        again(memory, tmp_path, {'take = ""': 'take = "new"'})
    assert "same = true" in caught.value.hint


def test_what_a_constraint_forbids_stays_a_conflict(tmp_path: Path) -> None:
    memory = Memory.of([USERS, POSTS], {}, TWO_OLD, TWO_NEW)
    found, _, text = again(memory, tmp_path, {'take = ""': 'take = "old"'})
    assert found.decisions()["users 50"] == "conflict:unique"
    assert "was tried" in text


def test_what_a_constraint_forbids_can_still_be_decided_for_new(tmp_path: Path) -> None:
    """The unique value stands in another row of new than the one that the file shows and hashes."""
    users = table("users", "id:bigint! email:text", unique=[["email"]])
    new: Dicts = {"users": [{"id": 5, "email": "y"}, {"id": 6, "email": "x"}]}
    memory = Memory.of([users], {}, {"users": [{"id": 5, "email": "x"}]}, new)
    found, _, text = again(memory, tmp_path, {'take = ""': 'take = "old"'})
    assert found.decisions() == {"users 5": "conflict:unique"}
    assert "new_key" not in text
    text = text.replace('take = ""\nsame = false\ndiscard = false', 'take = "new"\nsame = false\ndiscard = true')
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    settled = settle(read_decisions(tmp_path), memory.schema, memory.changes(), memory, tmp_path)
    assert settled.stale == frozenset()
    assert memory.merge(decisions=settled.decided).decisions() == {"users 5": "skipped"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({'take = ""': 'take = "olde"'}, "take = 'olde'"),
        ({'take = ""': 'take = ""\ntaek = 1'}, "unknown key 'taek'"),
        ({'take = ""': "take = "}, "is not TOML"),
        ({'take = ""': 'take = { z = "old" }'}, "no column z"),
        ({'take = ""': 'take = "new"\nsame = true'}, "rows that old inserted"),
        ({'take = ""': 'take = "old"\ndiscard = true'}, "go with take"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path: Path, edit: dict[str, str], message: str) -> None:
    with pytest.raises(CutoverError, match=re.escape(message)) as caught:
        again(Memory.of([T], BASE, OLD, NEW), tmp_path, edit)
    assert str(tmp_path) in caught.value.message


def test_the_same_entry_twice(tmp_path: Path) -> None:
    entry = '[[conflict]]\nschema = "public"\ntable = "t"\nkey = ["1"]\nhash = "x"\ntake = "old"\n'
    (tmp_path / FILE).write_text(entry * 2, encoding="utf-8")
    with pytest.raises(CutoverError, match="stands twice"):
        read_decisions(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CutoverError, match="is missing"):
        read_decisions(tmp_path)


def test_null_and_the_empty_string_differ_in_the_file() -> None:
    old: Dicts = {"t": [{"id": 1, "a": ""}]}
    new: Dicts = {"t": [{"id": 1}]}
    text = "".join(write_decisions("b", Memory.of([T], BASE, old, new).merge().result.judged))
    column = next(each for each in tomllib.loads(text)["conflict"][0]["columns"] if each["name"] == "a")
    assert column == {"name": "a", "base": "base", "old": ""}


@pytest.mark.parametrize(
    "hostile",
    [
        '"',
        "\\",
        '"""',
        "\n[[decided]]\n",
        "\x00\x1b[31m",
        "\u202eabc",
        "\ufeff",
        "\ud800",
        "\u2028",
        "</script>",
        "\r",
        "'",
    ],
)
def test_hostile_values_are_only_values(hostile: str) -> None:
    quoted = quote(hostile)
    assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufeff]", quoted)
    read = tomllib.loads(f"x = {quoted}")["x"]
    assert read == hostile.replace("\ud800", "\N{REPLACEMENT CHARACTER}")


def test_long_values_are_cut_in_the_file_and_whole_in_the_hash() -> None:
    one: Dicts = {"t": [{"id": 1, "a": "x" * 9000 + "1"}]}
    two: Dicts = {"t": [{"id": 1, "a": "x" * 9000 + "2"}]}
    texts = ["".join(write_decisions("b", Memory.of([T], BASE, old, NEW).merge().result.judged)) for old in (one, two)]
    assert "(9001 characters" in texts[0]
    assert len(texts[0]) < 4000
    hashes = [tomllib.loads(text)["conflict"][0]["hash"] for text in texts]
    assert hashes[0] != hashes[1]


def test_an_open_line_decides_nothing() -> None:
    memory = Memory.of([T], BASE, OLD, NEW)
    line = Line(T.name, ("1",), "x")
    assert settle([line], memory.schema, memory.changes(), memory, Path()) == Settled({})
    assert Rules().decisions == {}


@pytest.mark.parametrize(
    ("take", "decisions", "left"),
    [('"old"', ["apply 1", "already_present 2"], 0), ('"new"', ["skipped 3"], 1)],
)
def test_a_decision_on_identical_rows_without_key_is_about_all_of_them(
    tmp_path: Path, take: str, decisions: list[str], left: int
) -> None:
    line = {"line": "a", "n": 1}
    log = table("log", "line:text n:integer", key=())
    memory = Memory.of([log], {"log": [line] * 3}, {"log": []}, {"log": [line]})
    found, _, text = again(memory, tmp_path, {'take = ""': f"take = {take}"})
    assert [f"{each.decision.value} {each.copies}" for each in found.result.judged] == decisions
    assert len(found.apply()["log"]) == left
    assert "[[conflict]]" not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [(OLD, NEW), ({"t": []}, NEW), (OLD, {"t": []})],
    ids=["both hold it", "old lacks it", "new lacks it"],
)
def test_a_person_decides_where_base_is_not_known(tmp_path: Path, old: Dicts, new: Dicts) -> None:
    memory = Baseless.of([T], BASE, old, new)
    found = memory.merge()
    assert found.decisions() == {"t 1": "conflict:no_base"}
    shown = "".join(write_decisions("b", found.result.judged))
    assert ", base = " not in shown
    assert 'name = "b"' in shown, "what a person decides about is there, whatever it equals"
    found, _, text = again(memory, tmp_path, {'take = ""': 'take = "old"'})
    assert "[[conflict]]" not in text
    assert found.apply()["t"] == [{**x, "c": None, "id": "1"} for x in old["t"]]
