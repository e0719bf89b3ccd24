"""What a PromQL expression of the plan counts, told from its text. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from cutover.observations.traffic import Sight
from cutover.probes.traffic.unseen import UnseenError

WINDOW = "$window"
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_DEFAULT_ZERO = re.compile(r"\s+or\s+(?:on\s*\(\s*\)\s*)?vector\s*\(\s*0(?:\.0*)?\s*\)\s*$", re.IGNORECASE)
_ANY_VECTOR = re.compile(r"\bvector\s*\(")
_RANGE = re.compile(r"\[([^\]]*)\]")
_GROUPED_BEFORE = re.compile(r"^sum\s*(?:(?:by|without)\s*\([^()]*\)\s*)?(?=\()", re.IGNORECASE)
_GROUPED_AFTER = re.compile(r"\)\s*(?:by|without)\s*\([^()]*\)\s*$", re.IGNORECASE)
_ROUNDED = re.compile(r"^(?:round|ceil|floor)\s*(?=\()", re.IGNORECASE)
_RATED = re.compile(r"^(?:increase|rate|irate)\s*(?=\()", re.IGNORECASE)


class How(StrEnum):
    """How an expression is turned into a count for a window.

    ``SAMPLES``: a counter's raw samples are read and added up between the window's ends: exact.
    ``ENDS``: a sum of counters is read at both ends: exact, but a reset shows only as a decrease.
    ``WINDOW``: the expression itself gives the count, ``$window`` being the window's length.
    """

    SAMPLES = "samples"
    ENDS = "ends"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Counting:
    """An expression and how it counts.

    Attributes:
        metrics: the metric names that occur in it.
        declared: a rate function stood around it: whoever wrote it says that it is a counter.
    """

    how: How
    expression: str
    metrics: tuple[str, ...]
    declared: bool = False


def counting(expression: str) -> Counting:
    """Tell what an expression counts.

    A counter by itself, summed, or inside ``increase()``/``rate()`` over any range is read from its raw samples:
    ``increase()`` extrapolates, and a burst of a few requests in a short window would come out wrong. ``or
    vector(0)`` at the end is taken away: it would show a missing metric as zero.

    Raises:
        UnseenError: it is empty, or gives something that is no count for the window.
    """
    text = _DEFAULT_ZERO.sub("", expression.strip())
    if not text:
        raise UnseenError(Sight.MALFORMED, "the PromQL is empty")
    if _ANY_VECTOR.search(_without_strings(text)):
        raise UnseenError(
            Sight.MALFORMED, "vector(...) in the PromQL would show a missing metric as a number: take it out"
        )
    inner, rated = _unwrapped(text)
    selector = _selector(inner, rated)
    if selector is not None:
        return Counting(How.SAMPLES, selector, _metrics(selector), declared=rated)
    if WINDOW in text:
        if re.search(r"\b(?:rate|irate)\s*\(", _without_strings(text)):
            raise UnseenError(Sight.WRONG_UNIT, "rate() gives requests per second: write increase() in its place")
        return Counting(How.WINDOW, text, _metrics(text), declared=True)
    if _RANGE.search(_without_strings(text)):
        raise UnseenError(
            Sight.WRONG_UNIT,
            "the PromQL has a range of its own: write [$window] in its place, so that it counts for the window",
        )
    return Counting(How.ENDS, text, _metrics(text))


def _unwrapped(text: str) -> tuple[str, bool]:
    """Take away sum(), round() and increase() around a selector; tell whether a rate function was among them."""
    rated = False
    while True:
        text = text.strip()
        if _GROUPED_BEFORE.match(text) or (text.lower().startswith("sum") and _GROUPED_AFTER.search(text)):
            bare = _GROUPED_AFTER.sub(")", text)
            inside = _in_parentheses(_GROUPED_BEFORE.sub("", bare))
        elif _ROUNDED.match(text):
            inside = _in_parentheses(_ROUNDED.sub("", text))
        elif _RATED.match(text):
            inside = _in_parentheses(_RATED.sub("", text))
            rated = rated or inside is not None
        else:
            inside = _in_parentheses(text)
        if inside is None:
            return text, rated
        text = inside


def _in_parentheses(text: str) -> str | None:
    """Return what a pair of parentheses around the whole text holds, None when there is no such pair."""
    bare = _without_strings(text.strip())
    if not bare.startswith("(") or not bare.endswith(")"):
        return None
    depth = 0
    for place, char in enumerate(bare):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text.strip()[1:-1] if place == len(bare) - 1 else None
    return None


def _selector(text: str, rated: bool) -> str | None:
    """Return a bare series selector without its range, or None when the text is something else."""
    bare = _without_strings(text)
    ranged = re.search(r"\[[^\]:]*\]\s*$", bare)
    if bool(ranged) != rated:
        return None
    if ranged:
        text, bare = text[: ranged.start()].strip(), bare[: ranged.start()].strip()
    if re.fullmatch(r"(?:[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*\{[^{}]*\}|[a-zA-Z_:][a-zA-Z0-9_:]*", bare):
        return text
    return None


def _without_strings(text: str) -> str:
    """Blank out quoted strings, keeping every position."""
    return re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`", lambda found: "_" * len(found[0]), text)


def _metrics(text: str) -> tuple[str, ...]:
    """Return the metric names of an expression: words before a brace, a bracket or nothing, not functions or labels."""
    named = re.search(r"__name__\s*=\s*[\"']([a-zA-Z_:][a-zA-Z0-9_:]*)[\"']", text)
    bare = re.sub(r"\{[^{}]*\}", "{}", _without_strings(text))
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", " ", bare)
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    found = [
        match[0]
        for match in _METRIC.finditer(bare)
        if not re.match(r"\s*\(", bare[match.end() :])
        and match[0].lower() not in {"or", "and", "unless", "offset", "bool", "by", "without", "on", "ignoring"}
    ]
    return tuple(dict.fromkeys([*([named[1]] if named else []), *found]))
