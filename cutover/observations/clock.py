"""What this machine's clock did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cutover.observations.base import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJumped(Observation):
    """The clock was set while a command ran: what lies before and after it is not apart by what the times say.

    Attributes:
        at: when it was noticed, by the clock as it is now.
        by: seconds that it was put forward, negative when it was put back.
    """

    kind: ClassVar[str] = "clock.jumped"

    by: float
