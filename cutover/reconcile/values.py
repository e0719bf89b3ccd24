"""Reading and computing with values that are text under the pinned settings. No I/O."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation, localcontext

_TIMESTAMP = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?"
    r"(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?( BC)?"
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

TIMES = ("timestamp without time zone", "timestamp with time zone", "date")
FOREVER = 10**21
"""Later than any instant that Postgres holds, in microseconds: ``infinity``."""


def base_type(type_name: str) -> str:
    """Return a type's name without its modifier: ``numeric(10,2)`` is ``numeric``."""
    return re.sub(r"\(\s*-?\d+(\s*,\s*-?\d+)?\s*\)", "", type_name).strip()


def is_time_type(type_name: str) -> bool:
    """Tell whether values of this built-in type are instants or days."""
    return base_type(type_name) in TIMES


def number(text: str | None) -> Decimal | None:
    """Read a finite number; ``None`` for NULL, NaN, infinities and what is no number."""
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def instant(text: str | None) -> int | None:
    """Read a timestamp or date as microseconds since 2000-01-01 UTC; ``None`` where it is none.

    Infinity compares as Postgres compares it. BC years and years beyond 9999 are read, which
    :class:`datetime.datetime` cannot.
    """
    if text is None:
        return None
    if text in ("infinity", "-infinity"):
        return FOREVER if text == "infinity" else -FOREVER
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year = int(match[1]) if match[12] is None else 1 - int(match[1])
    seconds = _days(year, int(match[2]), int(match[3])) * 86_400
    seconds += int(match[4] or 0) * 3600 + int(match[5] or 0) * 60 + int(match[6] or 0)
    if match[8]:
        offset = int(match[9]) * 3600 + int(match[10] or 0) * 60 + int(match[11] or 0)
        seconds -= offset if match[8] == "+" else -offset
    return seconds * 1_000_000 + int((match[7] or "0").ljust(6, "0"))


def _days(year: int, month: int, day: int) -> int:
    """Days since 2000-01-01 in the proleptic Gregorian calendar (years start in March)."""
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 730_425


def has_fraction(text: str | None) -> bool:
    """Tell whether a timestamp carries a part of a second: two users rarely share one."""
    return text is not None and re.search(r":\d\d\.\d", text) is not None


def looks_like_uuid(text: str | None) -> bool:
    """Tell whether text is a uuid."""
    return text is not None and _UUID.fullmatch(text) is not None


def add_delta(new: str, base: str, old: str, type_name: str) -> tuple[str, str] | None:
    """Return (new + (old - base), old - base), or ``None`` where one of them is no finite number.

    Decimals are added exactly; floats as floats, because that is what the column holds.
    """
    numbers = [number(text) for text in (new, base, old)]
    if any(value is None for value in numbers):
        return None
    if base_type(type_name) in ("real", "double precision"):
        delta = float(old) - float(base)
        return _float_text(float(new) + delta), _float_text(delta)
    now, before, after = (value for value in numbers if value is not None)
    with localcontext() as context:
        # numeric holds 131072 digits before the point and 16383 after it
        context.prec = 150_000
        return format(now + (after - before), "f"), format(after - before, "f")


def _float_text(value: float) -> str:
    return repr(value).removesuffix(".0")


def compare(left: str, right: str, type_name: str) -> int | None:
    """Compare two values of an ordered type: -1, 0, 1; ``None`` where the text does not tell."""
    pair: tuple[Decimal | int | None, Decimal | int | None]
    pair = (instant(left), instant(right)) if is_time_type(type_name) else (number(left), number(right))
    if pair[0] is None or pair[1] is None:
        return None
    return (pair[0] > pair[1]) - (pair[0] < pair[1])


def later(left: str | None, right: str | None) -> str | None:
    """Return the later of two instants; the one that can be read where only one can."""
    first, second = instant(left), instant(right)
    if first is None or second is None:
        return left if second is None and left is not None else right
    return left if first > second else right
