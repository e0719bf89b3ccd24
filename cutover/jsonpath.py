"""The JSON paths of fingerprints: ``$.build.releases[0]['git sha']``, and nothing that could match twice.

A subset of RFC 9535: the root, member names (dotted or quoted) and array indexes (negative ones count from
the end). Wildcards, slices, filters and descendants are left out on purpose: a fingerprint compares one value.
"""

from __future__ import annotations

import re

_STEP = re.compile(
    r"""\.(?P<name>[^\W\d][\w-]*)|\[(?P<index>-?\d{1,9})\]|\['(?P<single>[^'\\]*)'\]|\["(?P<double>[^"\\]*)"\]"""
)

Steps = tuple[str | int, ...]


def parse(path: str) -> Steps:
    """Return the steps of a path: member names and indexes.

    Raises:
        ValueError: it is not in the subset above.
    """
    if not path.startswith("$"):
        raise ValueError(f"{path!r} is no JSON path: it starts with $")
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            raise ValueError(f"{path!r} is no JSON path at {path[position:]!r}: write $.member[0]['other member']")
        index = found["index"]
        names = (found["name"], found["single"], found["double"])
        steps.append(int(index) if index is not None else next(x for x in names if x is not None))
        position = found.end()
    return tuple(steps)


def find(steps: Steps, document: object) -> object:
    """Return the value at a path.

    Raises:
        LookupError: there is none.
    """
    value = document
    for step in steps:
        match value:
            case dict() if isinstance(step, str):
                value = value[step]
            case list() if isinstance(step, int):
                value = value[step]
            case _:
                raise LookupError(step)
    return value
