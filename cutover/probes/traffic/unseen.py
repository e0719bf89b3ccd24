"""What a source says when it could not see."""

from __future__ import annotations

from cutover.observations.traffic import Sight


class UnseenError(Exception):
    """A source could not see, and knows why.

    Args:
        sight: how.
        detail: one line, without secrets.
    """

    def __init__(self, sight: Sight, detail: str) -> None:
        super().__init__(detail)
        self.sight = sight
        self.detail = detail
