"""When a name left the old side (DESIGN.md 5, "When did it change"). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cutover.folds.authority import ChangeWindow
from cutover.observations.provider import TrailChange
from cutover.trail import Key, holds_owner, leads_to_new, leads_to_old, trusted_changes

if TYPE_CHECKING:
    from cutover.evidence import Evidence
    from cutover.plan import Plan

ADDRESSED = frozenset({"A", "AAAA", "CNAME", "HTTPS"})
"""Types that decide where clients go."""

_EVER, _FOR_EVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Changed:
    """When a name left the old side.

    Attributes:
        at: the instant that counts; None while it has not changed, or nothing tells when.
        how: what tells so.
    """

    at: datetime | None
    how: str


class _Told(NamedTuple):
    at: datetime
    how: str


def changed(plan: Plan, evidence: Evidence, name: str) -> Changed:
    """Return when a name changed.

    The plan's word and CloudTrail's count only inside the interval between the last authoritative sighting of
    old and the first round in which every server gave new; with neither, the interval's end counts.
    """
    window = evidence.authority.window(name)
    if window.first_new is None:
        return Changed(None, "the authoritative servers have not all moved to new")
    told = _told(plan, evidence, name, window)
    if told:
        return Changed(*max(told))
    if window.last_old is None:
        return Changed(None, "no authority was ever seen on old, and neither `changed_at` nor CloudTrail tells")
    return Changed(window.first_new, "first seen on new everywhere by this ledger")


def _told(plan: Plan, evidence: Evidence, name: str, window: ChangeWindow) -> list[_Told]:
    """Return what tells inside the window; with no sighting of old, whatever tells.

    CloudTrail's edits to new count, and with them those that took old away later: what was left behind was served
    for longer. While its last edit leaves old in place that nobody serves any more, one is missing: the trail is
    behind, and nothing is told.
    """
    since, until = _EVER, _FOR_EVER
    if window.last_old is not None and window.first_new is not None:
        since, until = window.last_old, window.first_new
    stated = plan.migration.changed_at
    told = [_Told(stated, "the plan's changed_at")] if stated is not None and since <= stated <= until else []
    by_trail: list[_Told] = []
    endings: list[_Told] = []
    ended = _ended(evidence, name, window)
    for key, series in _histories(evidence, name, until):
        if (key.owner == name or key in ended) and _is_set(series[-1]) and leads_to_old(evidence, name, series[-1]):
            return []
        to_new = (x for x in series if _is_set(x) and key.rtype != "HTTPS" and leads_to_new(evidence, name, x))
        by_trail += [_by_trail(x) for x in to_new if x.at >= since]
        from_old = [after for before, after in pairwise(series) if leads_to_old(evidence, name, before)]
        from_old += [x for x in series if not _is_set(x) and leads_to_old(evidence, name, x)]
        endings += [_by_trail(x) for x in from_old if x.at >= since]
    for key, (last, gone) in ended.items():
        edits = [x for x in trusted_changes(evidence, name, key.owner) if last <= x.at <= gone and _replaces(x, key)]
        if not edits:
            by_trail.clear()
        endings += [_by_trail(x) for x in edits[-1:]]
    told += by_trail
    return told + endings if told else []


def _ended(evidence: Evidence, name: str, window: ChangeWindow) -> dict[Key, tuple[datetime, datetime]]:
    """Return the old RRsets of the asked zone that ended in the window: their last sighting, and the round without."""
    if window.last_old is None:
        return {}
    return {
        Key(x.owner, x.rtype): (served.last, served.gone)
        for x, served in evidence.authority.old_versions(name).items()
        if served.gone is not None and served.gone > window.last_old and holds_owner(evidence, name, x.owner)
    }


def _histories(evidence: Evidence, name: str, until: datetime) -> Iterator[tuple[Key, list[TrailChange]]]:
    """Yield the trusted history of every record set on the way to a name, oldest change first."""
    found: dict[tuple[Key, str], list[TrailChange]] = defaultdict(list)
    for owner in {name, *(x.owner for x in evidence.authority.old_versions(name))}:
        for change in trusted_changes(evidence, name, owner):
            if change.rtype in ADDRESSED and change.at <= until:
                found[Key(owner, change.rtype), change.set_identifier].append(change)
    yield from ((key, series) for (key, _), series in found.items())


def _replaces(change: TrailChange, key: Key) -> bool:
    """Tell whether a change bears on an RRset: a CNAME has no other beside it (RFC 1034 3.6.2)."""
    return change.rtype in {key.rtype, "CNAME"} or key.rtype == "CNAME"


def _is_set(change: TrailChange) -> bool:
    return change.action != "DELETE"


def _by_trail(change: TrailChange) -> _Told:
    return _Told(change.at, f"CloudTrail, change {change.change_id}")
