"""Any program that prints ``{"old": n, "new": n}`` for the last window.

It is run in the plan's folder with ``CUTOVER_WINDOW_START`` and ``CUTOVER_WINDOW_END`` (RFC 3339) and
``CUTOVER_WINDOW_SECONDS``: the requests in that window are to be counted, the tool's own included (they are
subtracted here). A missing side or ``null`` is no data, never zero; so are a non-zero exit status and a timeout.
``old`` and ``new`` in the plan are the keys to read, where the program calls the sides otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cutover.durations import iso
from cutover.observations.traffic import Sight
from cutover.probes.traffic.base import SIDES, Count, Source, SourceSpec, Wanted, number
from cutover.probes.traffic.unseen import UnseenError
from cutover.programs import OutputLimitError, run_program

TIMEOUT = 20.0
_OUTPUT_LIMIT = 1 << 20


def open_source(spec: SourceSpec) -> Source:
    """Open a command source."""
    return Command(spec)


class Command:
    """One ``[[traffic]] source = "command"``."""

    lag = timedelta(0)
    bucket = timedelta(0)
    cuts_now = True

    def __init__(self, spec: SourceSpec, *, timeout: float = TIMEOUT) -> None:
        self._spec = spec
        self._timeout = timeout

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        """Run the program once and read both sides."""
        start, end = min(wanted.starts.values()), wanted.now
        if end <= start:
            return {}
        said = parsed(await self._run(start, end))
        counts: dict[str, Count] = {}
        for side in SIDES:
            try:
                counts[side] = _count(said, str(getattr(self._spec.traffic, side) or side), start, end)
            except UnseenError as error:
                counts[side] = Count(sight=error.sight, detail=error.detail, start=start, end=end)
        return counts

    async def _run(self, start: datetime, end: datetime) -> bytes:
        words = self._spec.traffic.command
        window = {
            "CUTOVER_WINDOW_START": iso(start),
            "CUTOVER_WINDOW_END": iso(end),
            "CUTOVER_WINDOW_SECONDS": f"{(end - start).total_seconds():g}",
        }
        try:
            ended = await run_program(
                words, cwd=self._spec.base_dir, seconds=self._timeout, limit=_OUTPUT_LIMIT, more=window
            )
        except FileNotFoundError:
            raise UnseenError(
                Sight.NOT_FOUND, f"{words[0]}: no such program, seen from {self._spec.base_dir}"
            ) from None
        except PermissionError:
            raise UnseenError(Sight.FORBIDDEN, f"{words[0]}: may not be run (chmod +x?)") from None
        except TimeoutError:
            raise UnseenError(Sight.UNREACHABLE, f"{words[0]}: not done within {self._timeout:g} s") from None
        except OSError as error:
            raise UnseenError(Sight.UNREACHABLE, f"{words[0]}: cannot be run: {error.strerror}") from None
        except OutputLimitError:
            raise UnseenError(Sight.MALFORMED, f"{words[0]}: printed more than 1 MB") from None
        if ended.status:
            how = f"exit status {ended.status}" if ended.status > 0 else f"signal {-ended.status}"
            raise UnseenError(Sight.UNREACHABLE, f"{words[0]}: ended with {how}; run it by hand to see why")
        return ended.output


def parsed(output: bytes) -> Mapping[str, Any]:
    """Read the program's output.

    Raises:
        UnseenError: it is not one JSON object.
    """
    if not output.strip():
        raise UnseenError(Sight.EMPTY, "the program printed nothing")
    try:
        said = json.loads(output)
    except ValueError:
        raise UnseenError(Sight.MALFORMED, f"the program printed no JSON: {_shown(output)}") from None
    if not isinstance(said, dict):
        raise UnseenError(Sight.MALFORMED, 'the program must print an object: {"old": 1, "new": 2}')
    return said


def _count(said: Mapping[str, Any], key: str, start: datetime, end: datetime) -> Count:
    value = said.get(key)
    if value is None:
        raise UnseenError(Sight.EMPTY, f'the program said nothing about "{key}"')
    if isinstance(value, str):
        raise UnseenError(Sight.MALFORMED, f'"{key}" is text ({value[:40]!r}), not a number')
    return Count(sight=Sight.OK, count=number(value, f'"{key}"'), start=start, end=end)


def _shown(output: bytes) -> str:
    text = output[:80].decode(errors="replace")
    return "".join(char if char.isprintable() else " " for char in text)
