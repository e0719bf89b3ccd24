"""What is the same on several sides is held once."""

from __future__ import annotations

import json

from cutover.reconcile.model import Change, TableName
from cutover.reconcile.sharing import Sharing

ORDERS = TableName("public", "orders")


def read(base: list[str | None] | None, old: list[str | None] | None, new: list[str | None] | None) -> Change:
    """A change as it comes from the disk: no two values are one object."""

    def row(cells: list[str | None] | None) -> tuple[str | None, ...] | None:
        return None if cells is None else tuple(json.loads(json.dumps(cells)))

    key = next(each for each in (old, base) if each is not None)[0]
    return Change(ORDERS, (json.loads(json.dumps(key)),), row(base), row(old), row(new))


def test_a_shared_change_is_equal_and_holds_each_value_once() -> None:
    share = Sharing()
    update = read(["17", "some note", None], ["17", "another note", None], ["17", "some note", None])
    shared = share.of(update)
    assert shared == update
    assert update.base is not None
    assert shared.base is not None
    assert shared.old is not None
    assert update.new is not update.base
    assert shared.new is shared.base
    assert shared.old[0] is shared.base[0] is shared.key[0]
    same = share.of(read(None, ["18", "some note", None], ["18", "some note", None]))
    assert same.new is same.old
    assert same.old is not None
    assert same.old[1] is shared.base[1]
    gone = read(["17", "some note", None], None, None)
    assert share.of(gone) == gone
