"""How bad is it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cutover.reconcile.diff.estimate import estimate_from_diffs, estimate_since
from cutover.reconcile.options import Options, TableOption
from tests.reconcile_read.support import Copies, reading

SCHEMA = """
create table orders (id int primary key, user_id int, v text, created_at timestamptz default '2025-01-01 00:00+00',
  changed timestamptz);
create table plain (id int primary key);
"""
ROWS = "insert into orders (id, user_id, v) select g, g % 10, 'v' from generate_series(1, 100) g;"
OLD = (
    "update orders set v = 'o', changed = '2025-06-02 00:00+00' where id in (3, 13, 24);"
    "insert into orders values (200, 77, 'o', '2025-06-01 12:00+00'); delete from orders where id = 5;"
)
NEW = "insert into orders values (300, 1, 'n', '2025-06-03 00:00+00'), (301, 1, 'n', '2025-05-31 23:59+00');"
OPTIONS = Options(tables=(TableOption(name="orders", owner="user_id", updated_at=("changed",)),))


def test_exact_with_base(copies: Copies, tmp_path: Path) -> None:
    sides = copies(SCHEMA, ROWS, OLD, NEW)
    with reading(sides.old, sides.new, sides.base, tmp_path, options=OPTIONS) as read:
        orders, plain = estimate_from_diffs(read.diffs.values())
        assert (orders.old, orders.new, orders.exact) == (5, 2, True)
        assert orders.owners == ("3", "4", "5", "77")
        assert orders.owner_count == 4
        assert (plain.old, plain.new) == (0, 0)


def test_by_time_where_nothing_else_is_known(copies: Copies, tmp_path: Path) -> None:
    sides = copies(SCHEMA, ROWS, OLD, NEW)
    with reading(sides.old, sides.new, None, tmp_path, options=OPTIONS) as read:
        orders, plain = estimate_since(read.sources, read.schema, datetime(2025, 6, 1, tzinfo=UTC))
        assert (orders.old, orders.new, orders.exact) == (4, 1, False)
        assert "deletes are not seen" in orders.how
        assert orders.owners == ("3", "4", "77")
        assert (plain.old, plain.new) == (None, None)
