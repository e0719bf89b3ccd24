"""Durations (``90s``, ``15m``, ``2h``, ``1d``) and instants as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_LONGEST_DAYS = 3650
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TEXT = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse_duration(text: str) -> timedelta:
    """Read ``30s``, ``15m``, ``2h``, ``1d`` or a sum of them (``1h30m``), up to ten years.

    Raises:
        ValueError: it is none of these.
    """
    compact = text.strip().lower()
    if not _TEXT.fullmatch(compact):
        raise ValueError(f"{text!r} is not a duration: write 30s, 15m, 2h or 1d")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))
    if seconds > _LONGEST_DAYS * _UNITS["d"]:
        raise ValueError(f"{text!r} is longer than {_LONGEST_DAYS}d")
    return timedelta(seconds=seconds)


def plan_duration(duration: timedelta) -> str:
    """Write a duration as a plan does: ``1h30m``, ``15m``, ``6s``; what :func:`parse_duration` reads back."""
    seconds = duration.total_seconds()
    parts: list[str] = []
    for unit, size in sorted(_UNITS.items(), key=lambda x: -x[1])[:-1]:
        count, seconds = divmod(seconds, size)
        parts += [f"{count:.0f}{unit}"] if count else []
    return "".join([*parts, f"{seconds:g}s"] if seconds or not parts else parts)


def say_duration(duration: timedelta | float) -> str:
    """Write a duration with its two largest units: ``1 d 3 h``, ``15 min``, ``40 s``."""
    seconds = round(duration.total_seconds() if isinstance(duration, timedelta) else duration)
    if seconds <= 0:
        return "0 s"
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def say_instant(at: datetime, now: datetime) -> str:
    """Write an instant in UTC with its distance: ``13 Nov 06:00:00 UTC (in 24 h)``."""
    distance = at - now
    text = at.astimezone(UTC).strftime("%d %b %H:%M:%S UTC").lstrip("0")
    if distance >= timedelta(0):
        return f"{text} (in {say_duration(distance)})"
    return f"{text} ({say_duration(-distance)} ago)"


def iso(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with a ``Z``, whole seconds unless it has parts of one."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
