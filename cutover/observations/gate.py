"""Decisions: what was judged, signed off, overridden, and what the plan left to be found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from cutover.finding import Finding
from cutover.observations.base import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFound(Observation):
    """The old answer set of a name whose plan does not give one: what was live at the first preflight.

    Attributes:
        members: addresses and CNAME targets, as a plan would hold them.
    """

    kind: ClassVar[str] = "gate.side-found"

    name: str
    side: str
    members: tuple[str, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """Name and side."""
        return (self.name, self.side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Observation):
    """One round's verdict. ``at`` is when it was judged: the end of the round.

    Attributes:
        command: ``preflight``, ``watch`` or ``done``.
        phase: ``preflight`` or ``watch``.
        began: when the round's first probe was started.
        plan_hash: of the plan that it was judged by.
        reverse: the sides were swapped.
        planned: there is a plan file, not just a host name.
        names: the plan's names.
        verdict, exit_code: what it came to.
        soaked: seconds that each name has held, after this round.
        summary: the other fields of the command's JSON object.
    """

    kind: ClassVar[str] = "gate.judged"

    command: str
    phase: str
    migration: str
    began: datetime
    plan_hash: str
    reverse: bool = False
    planned: bool = True
    names: tuple[str, ...]
    verdict: str
    exit_code: int
    findings: tuple[Finding, ...]
    soaked: Mapping[str, float]
    safe_to_change_at: datetime | None = None
    not_before: datetime | None = None
    summary: Mapping[str, object]

    @property
    def subject(self) -> tuple[str, ...]:
        """The phase."""
        return (self.phase,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOff(Observation):
    """``done`` said that the migration is over.

    Attributes:
        names: the names signed off.
        ledger_head: hash of the ledger's last entry before this one.
        gate_changes: every gate value that is not the default.
        bound: the upper bound on what was not seen, in words.
        who: login name and host.
    """

    kind: ClassVar[str] = "gate.signed-off"

    names: tuple[str, ...]
    plan_hash: str
    ledger_head: str
    gate_changes: Mapping[str, object]
    bound: str
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overridden(Observation):
    """A person let ``done`` end with 0 although the verdict stands as it is.

    Attributes:
        checks: the check ids that were overridden.
        verdict: the unchanged verdict.
        names: those that it was said of; () in ledgers that did not say.
    """

    kind: ClassVar[str] = "gate.overridden"

    checks: tuple[str, ...]
    reason: str
    who: str
    verdict: str
    plan_hash: str
    ledger_head: str
    names: tuple[str, ...] = ()
