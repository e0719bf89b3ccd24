"""What every command needs first: plan, ledger, clock, output."""

from __future__ import annotations

import difflib
import getpass
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cutover.clock import SteadyClock, SystemClock
from cutover.durations import iso
from cutover.errors import CutoverError
from cutover.ledger import Ledger
from cutover.output import Output
from cutover.plan import Name, Plan
from cutover.plan_values import Member, host_name
from cutover.planfile import DEFAULT_PLAN, load_plan, plan_tables

LEDGER_NAME = "cutover.ledger"
IN_MEMORY = Path(":memory:")


@dataclass(frozen=True, slots=True)
class Session:
    """The options that every command takes, resolved.

    Attributes:
        plan_path: as given, or the default.
        plan_given: ``--plan`` was given: it must exist.
        ledger_given: ``--ledger``, or None.
    """

    plan_path: Path
    plan_given: bool
    ledger_given: Path | None
    output: Output
    clock: SteadyClock

    @classmethod
    def of(cls, plan: Path | None, ledger: Path | None, output: Output) -> Session:
        """Take the options as they were parsed."""
        return cls(plan or Path(DEFAULT_PLAN), plan is not None, ledger, output, SystemClock())

    @property
    def base_dir(self) -> Path:
        """The folder that relative paths in the plan start from."""
        return self.plan_path.parent

    @property
    def ledger_path(self) -> Path:
        """``--ledger``, by default ``cutover.ledger`` beside the plan."""
        return self.ledger_given or self.base_dir / LEDGER_NAME

    @property
    def has_plan(self) -> bool:
        """There is a plan file."""
        return self.plan_given or self.plan_path.exists()

    def plan(self) -> Plan:
        """Load the plan.

        Raises:
            CutoverError: it is missing or wrong, or ``changed_at`` lies in the future.
        """
        return self._checked(load_plan(self.plan_path))

    def database_plan(self) -> Plan:
        """Load the plan for a command that looks at databases only: it may be without names.

        Raises:
            CutoverError: as :meth:`plan`.
        """
        return self._checked(plan_tables(self.plan_path))

    def plan_for(self, name: str, old: Sequence[str], new: Sequence[str]) -> Plan:
        """Return a plan for one name: the plan file's own entry or settings, with the sides that were given.

        Without a plan file every default holds.

        Raises:
            CutoverError: the name or a side is wrong, or the plan file is.
        """
        host = _host(name)
        if not self.has_plan:
            return self._checked(Plan(name=(_entry(host, old, new),)))
        plan = plan_tables(self.plan_path)
        entry = next((x for x in plan.name if x.name == host), None)
        if entry is None:
            entry = _entry(host, old, new)
        elif old or new:
            entry = _entry(host, old or [x.text for x in entry.old], new or [x.text for x in entry.new], entry)
        return self._checked(plan.model_copy(update={"name": (entry,)}))

    def with_sides(self, plan: Plan, old: Sequence[str], new: Sequence[str]) -> Plan:
        """Return the plan with ``--old`` and ``--new`` put in; only a plan with one name takes them."""
        if not old and not new:
            return plan
        if len(plan.name) != 1:
            raise CutoverError("--old and --new go with one name; the plan has several", "give the NAME as well")
        entry = plan.name[0]
        put = _entry(entry.name, old or [x.text for x in entry.old], new or [x.text for x in entry.new], entry)
        return plan.model_copy(update={"name": (put,)})

    def open_ledger(self, *, readonly: bool = False) -> Ledger:
        """Open the ledger; a command that goes on without a plan file keeps it in memory only.

        Raises:
            CutoverError: it cannot be used, or the clock is behind it.
        """
        if self.ledger_given is None and not self.has_plan and not readonly:
            return Ledger(IN_MEMORY)
        ledger = Ledger(self.ledger_path, readonly=readonly)
        if not readonly:
            ledger.refuse_backward_clock(self.clock.now())
        return ledger

    def _checked(self, plan: Plan) -> Plan:
        changed_at = plan.migration.changed_at
        if changed_at is not None and changed_at > self.clock.now():
            raise CutoverError(
                f"{self.plan_path}: [migration] `changed_at`: {iso(changed_at)} lies in the future",
                "write when the records were changed, in UTC, or leave it out",
            )
        return plan


def who() -> str:
    """Return who runs this, for decisions: login name and host."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):
        return f"unknown@{platform.node()}"


def split_values(values: Iterable[str] | None) -> list[str]:
    """Return an option's values, repeated or comma-separated."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def near(word: str, known: Iterable[str]) -> str:
    """Return a hint with the near word, or where the list is."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f"did you mean {found[0]}?" if found else "`cutover checks` lists them"


def _host(name: str) -> str:
    try:
        return host_name(name)
    except ValueError as error:
        raise CutoverError(str(error), "give a host name such as app.example.com") from None


def _entry(host: str, old: Sequence[str], new: Sequence[str], entry: Name | None = None) -> Name:
    try:
        members = {"old": tuple(map(Member.parse, old)), "new": tuple(map(Member.parse, new))}
        fields = {key: getattr(entry, key) for key in entry.model_fields_set} if entry else {"name": host}
        return Name.model_validate({**fields, **members})
    except ValidationError as error:
        text = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise CutoverError(
            f"{host.rstrip('.')}: {text}", "--old and --new take addresses, CIDR blocks or names"
        ) from None
    except ValueError as error:
        raise CutoverError(str(error), "--old and --new take addresses, CIDR blocks or host names") from None
