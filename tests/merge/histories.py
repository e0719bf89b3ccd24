"""Schemas and histories for the property test: what a side may do, it does as a database would allow it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from cutover.reconcile.model import Table
from tests.merge.memory import refers, table

Record = dict[str, str | None]
State = dict[str, list[Record]]

NAMES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Shape:
    """What varies between schemas."""

    generated: bool
    email_unique: bool
    email_required: bool
    on_delete: str
    deferrable: bool
    grouped: bool

    @property
    def tables(self) -> tuple[Table, ...]:
        """The schema: people with a boss, their orders, the orders' lines, and a log without key."""
        mark = "#" if self.generated else "!"
        return (
            table(
                "users",
                f"id:bigint{mark} email:text{'!' if self.email_required else ''} name:text boss_id:bigint",
                unique=[["email"]] if self.email_unique else [],
                refers=[refers("boss_id", "users", deferrable=self.deferrable)],
            ),
            table(
                "orders",
                f"id:bigint{mark} user_id:bigint note:text total:integer",
                refers=[refers("user_id", "users", on_delete=self.on_delete, deferrable=self.deferrable)],
                together=[["note", "total"]] if self.grouped else [],
            ),
            table(
                "lines",
                "order_id:bigint! n:integer! what:text",
                key=["order_id", "n"],
                refers=[refers("order_id", "orders", on_delete="cascade", deferrable=self.deferrable)],
            ),
            table(
                "log",
                "user_id:bigint what:text",
                key=(),
                refers=[refers("user_id", "users", deferrable=self.deferrable)],
            ),
        )


shapes = st.builds(
    Shape,
    generated=st.booleans(),
    email_unique=st.booleans(),
    email_required=st.booleans(),
    on_delete=st.sampled_from(["no action", "cascade", "set null"]),
    deferrable=st.booleans(),
    grouped=st.booleans(),
)

_pick = st.integers(0, 5)
operations = st.lists(st.tuples(st.integers(0, 13), _pick, _pick, st.sampled_from(NAMES)), max_size=12)


@dataclass
class Side:
    """A database that refuses what breaks a constraint."""

    shape: Shape
    state: State = field(default_factory=lambda: {"users": [], "orders": [], "lines": [], "log": []})
    next_id: dict[str, int] = field(default_factory=lambda: {"users": 1, "orders": 1})

    def copy(self) -> Side:
        """A copy as a dump and restore makes it: sequences stand where they stood."""
        return Side(self.shape, copy.deepcopy(self.state), dict(self.next_id))

    def run(self, history: list[tuple[int, int, int, str]]) -> Side:
        """Do what can be done of a history."""
        for operation in history:
            before = copy.deepcopy(self.state)
            self._do(*operation)
            if not self.valid():
                self.state = before
        return self

    def _at(self, name: str, number: int) -> Record | None:
        rows = self.state[name]
        return rows[number % len(rows)] if rows else None

    def _id(self, name: str, number: int) -> str | None:
        row = self._at(name, number)
        return None if row is None else row["id"]

    def _new_id(self, name: str, number: int) -> str:
        if not self.shape.generated:
            return str(number + 1)
        self.next_id[name] += 1
        return str(self.next_id[name] - 1)

    def _do(self, what: int, first: int, second: int, text: str) -> None:
        users, orders, lines, log = (self.state[name] for name in ("users", "orders", "lines", "log"))
        user, order, line = self._at("users", first), self._at("orders", first), self._at("lines", first)
        if what == 0:
            users.append(
                {"id": self._new_id("users", first), "email": text, "name": "n", "boss_id": self._id("users", second)}
            )
        elif what == 1:
            orders.append(
                {"id": self._new_id("orders", first), "user_id": self._id("users", second), "note": text, "total": "1"}
            )
        elif what == 2 and order:
            lines.append({"order_id": order["id"], "n": str(second), "what": text})
        elif what == 3:
            log.append({"user_id": self._id("users", first), "what": text})
        elif what == 4 and user:
            user["name"] = text
        elif what == 5 and user:
            user["email"] = text if second or self.shape.email_required else None
        elif what == 6 and user:
            user["boss_id"] = self._id("users", second)
        elif what == 7 and order:
            order["note" if second % 2 else "total"] = text if second % 2 else str(second)
        elif what == 8 and order:
            order["user_id"] = self._id("users", second)
        elif what == 9 and line:
            line["what"] = text
        elif what == 10 and user:
            self._delete_user(user)
        elif what == 11 and order:
            self._delete_order(order)
        elif what == 12 and line:
            lines.remove(line)
        elif what == 13 and user and (other := self._at("users", second)):
            user["email"], other["email"] = other["email"], user["email"]

    def _delete_user(self, user: Record) -> None:
        self.state["users"].remove(user)
        for order in [each for each in self.state["orders"] if each["user_id"] == user["id"]]:
            if self.shape.on_delete == "cascade":
                self._delete_order(order)
            elif self.shape.on_delete == "set null":
                order["user_id"] = None

    def _delete_order(self, order: Record) -> None:
        self.state["orders"].remove(order)
        self.state["lines"] = [each for each in self.state["lines"] if each["order_id"] != order["id"]]

    def valid(self) -> bool:
        """Tell whether every constraint holds."""
        return not violations(self.shape, self.state)


def violations(shape: Shape, state: State) -> list[str]:
    """Find broken constraints the slow way."""
    found = []
    for own in shape.tables:
        rows = state[own.name.name]
        for unique in own.uniques:
            values = [tuple(row[column] for column in unique.columns) for row in rows]
            known = [value for value in values if None not in value]
            if len(known) != len(set(known)):
                found.append(unique.name)
        for column in own.columns:
            if column.not_null and any(row[column.name] is None for row in rows):
                found.append(f"{own.name}.{column.name}")
        for key in own.foreign_keys:
            there = {row["id"] for row in state[key.to_table.name]}
            if any(row[key.columns[0]] not in {None, *there} for row in rows):
                found.append(f"{own.name}.{key.columns[0]}")
    return found


def by_key(own: Table, rows: list[Record]) -> dict[tuple[Any, ...], Record]:
    """Rows by key."""
    return {tuple(row[column] for column in own.key): row for row in rows}
