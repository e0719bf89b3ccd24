"""What a check says: a value with its status, its weight and the measured numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """What a check found. ``SKIP``: the plan does not have this; it is always shown."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIP = "skip"


class Severity(StrEnum):
    """Whether a finding decides the verdict. Only blockers do."""

    BLOCKER = "blocker"
    WARNING = "warning"
    INFO = "info"


class Phase(StrEnum):
    """When a check speaks: before the change, or while watching and at ``done``."""

    PREFLIGHT = "preflight"
    WATCH = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check says.

    Attributes:
        check: the check's id; a check leaves it empty and the runner fills it in.
        severity: the check's own, unless it says otherwise for this finding (a vendor's hop is info).
        subject: what it is about, as people write it (``app.example.com A``).
        message: one line, with the measured numbers.
        name: the plan's name (absolute) that it belongs to; "" when it concerns them all.
        fix: the exact command that mends it, or "".
        until: the instant at which waiting alone may mend it.
        extends_soak: nothing is wrong, but the soak may not end while this stands (too few requests seen).
    """

    check: str = ""
    status: Status
    severity: Severity = Severity.BLOCKER
    subject: str
    message: str
    measured: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    fix: str = ""
    until: datetime | None = None
    extends_soak: bool = False

    @property
    def runbook(self) -> str:
        """File name of the page that explains the check."""
        return runbook_of(self.check)


def runbook_of(check_id: str) -> str:
    """Return the file name of a check's page: ``dns.ttl-aged`` -> ``dns-ttl-aged.md``."""
    return check_id.replace(".", "-") + ".md"
