"""Fingerprints: which deployment a response came from, and what was seen. Pure.

Bodies are hostile: a pattern that is quadratic (``down.*maintenance``) must not stall a round, so of a long body
only the first and the last :data:`SEARCHED` characters are searched (0.8 s at the very worst, each); what lies
between is said to be unseen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cutover import jsonpath
from cutover.http import Exchange
from cutover.observations.origin import Match
from cutover.plan import Fingerprint, OriginSide

SEARCHED = 1 << 16
SHOWN = 80

_VOLATILE = re.compile(
    r"date|age|etag|expires|last-modified|set-cookie|location|content-.*|cache-control|alt-svc|keep-alive|connection"
    r"|transfer-encoding|vary|nel|report-to|server-timing|strict-transport-security|cf-ray|cf-cache-status"
    r"|x-cache.*|x-served-by|x-timer|x-runtime|x-amz-cf-id|x-amz-cf-pop|.*(request|trace|correlation|span|cookie|nonce|csp).*"
    r"|x-amzn-trace-id|x-ratelimit.*|ratelimit.*|retry-after|traceparent|tracestate"
)
_TELLING = ("x-release", "x-version", "x-app-version", "x-build", "x-commit", "x-powered-by", "server", "via")


class Suggestion(NamedTuple):
    """A header fingerprint that fits one side's samples and none of the other's."""

    header: str
    matches: str


def labelled(old: OriginSide, new: OriginSide) -> dict[str, Fingerprint]:
    """Return the plan's fingerprints for a name by label; those that it does not have are left out."""
    every = {
        "old": old.fingerprint,
        "new": new.fingerprint,
        "old-maintenance": old.maintenance,
        "new-maintenance": new.maintenance,
    }
    return {label: fingerprint for label, fingerprint in every.items() if fingerprint is not None}


def judge(fingerprints: Mapping[str, Fingerprint], exchange: Exchange) -> tuple[Match, ...]:
    """Compare a response with every fingerprint. Without a response that may be believed nothing matches."""
    nothing = exchange.error or exchange.tls_error
    if nothing:
        return tuple(Match(label, False, nothing) for label in fingerprints)
    return tuple(Match(label, *_compare(fingerprint, exchange)) for label, fingerprint in fingerprints.items())


def _compare(fingerprint: Fingerprint, exchange: Exchange) -> tuple[bool, str]:
    conditions: list[tuple[bool, str]] = []
    if fingerprint.header is not None:
        conditions.append(_header(fingerprint.header, fingerprint.matches or "", exchange))
    if fingerprint.json_path is not None:
        conditions.append(_json(fingerprint.json_path, fingerprint.matches or "", exchange))
    if fingerprint.body:
        conditions.append(_body(fingerprint.matches or "", exchange))
    if fingerprint.status is not None:
        conditions.append((exchange.status == fingerprint.status, f"status {exchange.status}"))
    if fingerprint.cert_sha256 is not None:
        shown = exchange.certificate.sha256 if exchange.certificate else ""
        wanted = fingerprint.cert_sha256.replace(":", "").lower()
        conditions.append((shown == wanted, f"certificate {shown[:16] or 'none'}"))
    return all(fits for fits, _ in conditions), "; ".join(saw for _, saw in conditions)


def _header(name: str, pattern: str, exchange: Exchange) -> tuple[bool, str]:
    values = [value for key, value in exchange.headers if key == name.lower()]
    if not values:
        return False, f"{name.lower()}: absent"
    value = ", ".join(values)[:SEARCHED]
    return re.search(pattern, value) is not None, f"{name.lower()}: {shorten(value)}"


def _json(path: str, pattern: str, exchange: Exchange) -> tuple[bool, str]:
    if exchange.body_error or exchange.truncated:
        return False, f"{path}: {exchange.body_error or 'the body is too long'}"
    try:
        value = jsonpath.find(jsonpath.parse(path), json.loads(exchange.body))
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    except LookupError:
        return False, f"{path}: absent"
    except (ValueError, RecursionError):
        return False, f"{path}: the body is no JSON ({_kind(exchange)})"
    return re.search(pattern, text[:SEARCHED]) is not None, f"{path}: {shorten(text)}"


def _body(pattern: str, exchange: Exchange) -> tuple[bool, str]:
    if exchange.body_error:
        return False, exchange.body_error
    text = exchange.body.decode("utf-8", errors="replace")
    found = _search_ends(re.compile(pattern), text)
    if found is not None:
        return True, f"body: {shorten(found[0] or text)}"
    unseen = f", {len(text) - 2 * SEARCHED} in the middle not searched" if len(text) > 2 * SEARCHED else ""
    more = ", cut there" if exchange.truncated else ""
    return False, f"body ({_kind(exchange)}, {len(text)} characters{unseen}{more}): {shorten(text) or 'empty'}"


def _search_ends(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = pattern.search(text, 0, SEARCHED)
    if found is not None and (found.end() < SEARCHED or len(text) <= SEARCHED):
        return found
    return pattern.search(text, max(0, len(text) - SEARCHED)) if len(text) > SEARCHED else None


def _kind(exchange: Exchange) -> str:
    return media_type(exchange.header("content-type")) or "no type"


def media_type(content_type: str) -> str:
    """Return a ``Content-Type`` without its parameters, lower case."""
    return content_type.split(";", 1)[0].strip().lower()


def shorten(text: str) -> str:
    """Make text that a server sent fit for one line: no control characters, at most :data:`SHOWN` long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * SHOWN]).split())
    return line if len(line) <= SHOWN and len(text) <= 4 * SHOWN else line[: SHOWN - 1] + "…"


def suggest_fingerprints(
    old: Sequence[Iterable[tuple[str, str]]], new: Sequence[Iterable[tuple[str, str]]]
) -> tuple[Suggestion | None, Suggestion | None]:
    """Find a header for each side that tells it from the other.

    Args:
        old: the headers of several responses of old to the same url (one is not enough to know what is stable).
        new: the same of new.

    Returns:
        One suggestion for old and one for new; None where no header stays the same on its own side and differs
        from the other's.
    """
    old_stable, new_stable = _stable(old), _stable(new)
    old_seen, new_seen = _seen(old), _seen(new)
    return _first_telling(old_stable, new_seen), _first_telling(new_stable, old_seen)


def _seen(samples: Sequence[Iterable[tuple[str, str]]]) -> dict[str, set[str]]:
    seen: dict[str, set[str]] = {}
    for sample in samples:
        for name, value in _joined(sample).items():
            seen.setdefault(name, set()).add(value)
    return seen


def _joined(sample: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in sample:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _stable(samples: Sequence[Iterable[tuple[str, str]]]) -> dict[str, str]:
    joined = [_joined(sample) for sample in samples]
    if not joined:
        return {}
    return {
        name: value
        for name, value in joined[0].items()
        if value and _VOLATILE.fullmatch(name) is None and all(other.get(name) == value for other in joined)
    }


def _first_telling(own: Mapping[str, str], other: Mapping[str, set[str]]) -> Suggestion | None:
    def order(name: str) -> tuple[int, str]:
        return (_TELLING.index(name) if name in _TELLING else len(_TELLING), name)

    for name in sorted(own, key=order):
        for pattern in _patterns(own[name]):
            if not any(re.search(pattern, value) for value in other.get(name, ())):
                return Suggestion(name, pattern)
    return None


def _patterns(value: str) -> Iterable[str]:
    """Prefer the stem before a version (``^porter-``): the next deploy must still match."""
    stem = re.match(r"[A-Za-z]{2,}(?:[-_/. ][A-Za-z]{2,})*[-_/]?(?=$|[^A-Za-z])", value)
    if stem is not None and stem.end() < len(value):
        yield "^" + _escaped(stem[0])
    yield "^" + _escaped(value) + "$"


def _escaped(text: str) -> str:
    """Escape what a pattern needs escaped; a hyphen outside a set is none of it, and people read this line."""
    return re.escape(text).replace(r"\-", "-")
