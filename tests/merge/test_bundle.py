"""Bundles: whole or not at all, closed to others, and noticed when somebody edits one."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.reconcile.bundle import FORMAT, Component, DatabaseMeta, MappedId, Meta, Step, TableMeta
from cutover.reconcile.merge.accounting import UnbalancedError, account, conflict_rows, sums, tally
from cutover.reconcile.merge.cells import Filled, JsonIds, NewId
from cutover.reconcile.model import ForeignKey, TableName, Tally
from cutover.reconcile.review.bundlefile import Bundle, BundleWriter
from tests.merge.memory import Dicts, Memory, table

AT = datetime(2025, 11, 12, 19, 0, tzinfo=UTC)
ORDERS = TableName("public", "or.ders")


def meta(name: str) -> Meta:
    database = DatabaseMeta(
        system_identifier="7", database="shop", server_version=150004, snapshot="1:2:", snapshot_at=AT
    )
    known = TableMeta(columns=("id", "v"), types=("bigint", "text"), key=("id",), sequence=TableName("public", "s"))
    reference = ForeignKey("r", ORDERS, ("v",), ORDERS, ("id",), declared=True, when=(("v", "x"),), json_path=("a",))
    return Meta(
        bundle=name,
        migration="m",
        created_at=AT,
        plan_hash="p",
        base="database",
        old=database,
        new=database,
        tables={ORDERS: known},
        sequences=((TableName("public", "s"), 5, None),),
        references=(reference,),
    )


IDS_IN_JSON = JsonIds("{}", ((("a",), NewId(ORDERS, "1")), (("b",), "7")))
COMPONENT = Component(
    1,
    (
        Step(
            change=0,
            table=ORDERS,
            key=(NewId(ORDERS, "1"),),
            pre=None,
            post=(
                NewId(ORDERS, "1"),
                JsonIds("{}", ((("a",), NewId(ORDERS, "1")), (("b",), "7"))),
                Filled.DEFAULT,
                None,
            ),
        ),
        Step(change=1, table=ORDERS, key=("2",), pre=("2", "a\udc80\n"), post=None, add={"v": "1"}, park=True, count=3),
    ),
    deferred=True,
)


def written(parent: Path) -> BundleWriter:
    memory = Memory.of(
        [table("t", "id:bigint! v:text")], {}, {"t": [{"id": 1, "v": "o"}]}, {"t": [{"id": 1, "v": "n"}]}
    )
    judged = memory.merge().result.judged
    writer = BundleWriter.create(parent, AT)
    writer.write_meta(meta(writer.folder.name))
    writer.write_changes([COMPONENT])
    writer.write_accounted(map(account, judged))
    writer.write_conflicts(map(conflict_rows, judged))
    writer.write_id_map(
        [MappedId(ORDERS, "id", '1,"x', None, "collision"), MappedId(ORDERS, "id", "2", "9", "same_entity")]
    )
    writer.write("summary.json", ["{}\n"])
    writer.write("decisions.toml", [""])
    return writer


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    writer = written(tmp_path)
    sealed = writer.seal()
    bundle = Bundle(writer.folder)
    assert bundle.id == sealed
    assert bundle.meta == meta("reconcile-20251112T1900Z")
    assert list(bundle.components()) == [COMPONENT]
    assert [line.reason for line in bundle.accounted()] == ["inserted_both"]
    assert [(line.old, line.new) for line in bundle.conflicts()] == [(("1", "o"), ("1", "n"))]
    assert [(line.old_id, line.new_id) for line in bundle.id_map()] == [('1,"x', None), ("2", "9")]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        writer = written(tmp_path)
        writer.work.joinpath("x").write_text("x")
        assert stat.S_IMODE(writer.work.stat().st_mode) == 0o700
        writer.seal()
    finally:
        os.umask(before)
    assert stat.S_IMODE(writer.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in writer.folder.iterdir()} == {0o600}
    assert not (writer.folder / "work").exists()


def test_a_name_is_never_used_again(tmp_path: Path) -> None:
    names = [BundleWriter.create(tmp_path, AT).folder.name for _ in range(3)]
    assert names == ["reconcile-20251112T1900Z", "reconcile-20251112T1900Z-2", "reconcile-20251112T1900Z-3"]


def test_half_written_is_no_bundle(tmp_path: Path) -> None:
    writer = written(tmp_path)
    with pytest.raises(CutoverError, match="half-written"):
        Bundle(writer.folder)
    with pytest.raises(CutoverError, match="no such bundle"):
        Bundle(tmp_path / "nowhere")


def test_a_file_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = BundleWriter.create(tmp_path, AT)

    def chunks() -> object:
        yield "half"
        raise OSError(28, "No space left on device")

    with pytest.raises(CutoverError, match="No space left") as caught:
        writer.write("changes.jsonl", chunks())  # type: ignore[arg-type]
    assert caught.value.exit_code == 4
    assert list(writer.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["changes.jsonl", "meta.json", "summary.json", "accounted.jsonl", "conflicts.jsonl"])
def test_an_edited_bundle_is_noticed(tmp_path: Path, name: str) -> None:
    writer = written(tmp_path)
    writer.seal()
    path = writer.folder / name
    path.write_text(
        path.read_text(encoding="utf-8", errors="surrogateescape") + " ", encoding="utf-8", errors="surrogateescape"
    )
    with pytest.raises(CutoverError, match=f"{name}: is not what cutover wrote"):
        Bundle(writer.folder)
    path.unlink()
    with pytest.raises(CutoverError, match=f"{name}: is not what cutover wrote"):
        Bundle(writer.folder)


def test_an_edited_manifest_and_a_newer_format_are_noticed(tmp_path: Path) -> None:
    writer = written(tmp_path)
    writer.seal()
    path = writer.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "files": {**manifest["files"], "x": {}}}))
    with pytest.raises(CutoverError, match="edited"):
        Bundle(writer.folder)
    path.write_text(json.dumps({**manifest, "format": FORMAT + 1, "tool": "99"}))
    with pytest.raises(CutoverError, match="made by cutover 99"):
        Bundle(writer.folder)
    path.write_text("[]")
    with pytest.raises(CutoverError, match="edited"):
        Bundle(writer.folder)


def test_what_people_edit_is_not_sealed(tmp_path: Path) -> None:
    writer = written(tmp_path)
    writer.seal()
    (writer.folder / "decisions.toml").write_text("# mine\n")
    (writer.folder / "id_map.csv").write_text("schema,table,column,old_id,new_id,how\n")
    assert Bundle(writer.folder).id_map() == ()


ROWS: Dicts = {"t": [{"id": 1, "v": "o"}, {"id": 2, "v": "o"}]}


def test_sums_that_do_not_balance_raise() -> None:
    own = table("t", "id:bigint! v:text")
    judged = Memory.of([own], {}, ROWS, {}).merge().result.judged
    assert sums(judged, {own.name: Tally(2, 0, 0)}, {})[0].classes
    with pytest.raises(UnbalancedError, match="old made 3 changes, 2 are accounted for"):
        sums(judged, {own.name: Tally(3, 0, 0)}, {})
    with pytest.raises(UnbalancedError, match="old made 2 changes, 1 are accounted for"):
        sums(judged[:1], {own.name: Tally(2, 0, 0)}, {})
    with pytest.raises(UnbalancedError, match="not read"):
        sums(judged, {}, {})
    assert tally(each.change for each in judged) == Tally(2, 0, 0)
