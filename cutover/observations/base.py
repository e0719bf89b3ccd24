"""The common part of every observation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One fact, seen at one instant.

    Attributes:
        at: when it was seen, UTC.
        kind: the name under which the ledger stores the type; unique.
    """

    kind: ClassVar[str] = ""

    at: datetime

    @property
    def subject(self) -> tuple[str, ...]:
        """What it is about; the latest observation of a kind and subject stands for the present."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFailed(Observation):
    """A probe raised: nothing is known of what it was to see.

    Attributes:
        probe: ``"dns.resolvers"``, ``"dns.authorities"``, ``"dns.zones"``, ``"route53"``, ``"origin"``,
            ``"traffic"``, ``"database"``...
        about: the name, source or side it was looking at, or "".
        error: one line, without secrets.
        permission: the missing permission when that is the cause (``route53:GetChange``), else "".
    """

    kind: ClassVar[str] = "probe-failed"

    probe: str
    about: str = ""
    error: str
    permission: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """Probe and what it was looking at."""
        return (self.probe, self.about)
