"""What ``cutover fence`` came to: a value, its text and its JSON. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cutover.observations.database import RoleProof


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceResult:
    """The outcome of ``cutover fence`` or ``cutover fence --release``.

    Attributes:
        verdict: ``fenced``, ``released`` or ``inconclusive``.
        changed: this run changed something on old.
        why_not: one line each, empty unless inconclusive.
        sql: for whoever has the rights that are missing, or to close what is still open.
        ended: sessions that were ended.
        still_for: seconds for which the counters were watched.
    """

    verdict: str
    database: str
    changed: bool = False
    roles: tuple[RoleProof, ...] = ()
    why_not: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    ended: int = 0
    still_for: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 when it is proven or released, 4 when not."""
        return 4 if self.verdict == "inconclusive" else 0

    @property
    def next_command(self) -> str:
        """The one command to run now."""
        return {"fenced": "cutover reconcile", "released": "cutover watch"}.get(self.verdict, "cutover fence")

    def text(self) -> str:
        """For the terminal."""
        lines = [f"{self.database}   {self.verdict.upper()} ({self.exit_code})"]
        lines += [f"? {line}" for line in self.why_not]
        for role in self.roles:
            mark = "✓" if role.shut else "✗"
            lines.append(f"{mark} {role.role}: {role.how}{f': {role.detail}' if role.detail else ''}")
        if self.verdict == "fenced":
            lines.append(f"✓ counters of every table still for {self.still_for:g} s; {self.ended} sessions ended")
        lines += [f"  {line}" for line in self.notes]
        if self.sql:
            lines.append("  run this, then the same command again:")
            lines += [f"    {line}" for line in self.sql]
        lines.append(f"Next: {self.next_command}")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """The command's JSON object, without ``command``, ``migration`` and ``at``."""
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "database": self.database,
            "changed": self.changed,
            "roles": [role._asdict() for role in self.roles],
            "why_not": list(self.why_not),
            "notes": list(self.notes),
            "sql": list(self.sql),
            "sessions_ended": self.ended,
            "still_for": self.still_for,
            "next": self.next_command,
        }
