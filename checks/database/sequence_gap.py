"""``database.sequence-gap``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cutover.check import Outcome, Phase, Severity, check, failed, passed, skipped, unknown
from cutover.evidence import Evidence
from cutover.observations.database import SequencesSeen, SequenceValue
from cutover.plan import Plan

from ._reading import configured, why_unread

GAP = 100_000
"""Values that new's sequence should be ahead: what a busy table allocates in the hours of a split-brain."""
_SHOWN = 20


@check(
    title="new's sequences are far enough above old's",
    severity=Severity.WARNING,
    phases=(Phase.PREFLIGHT,),
)
def sequence_gap(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Compare where both sides' sequences stand.

    If both sides take writes, two equal sequences hand out the same ids to different rows, and every reference to
    them has to be rewritten afterwards. A gap makes such collisions impossible for as long as it lasts. A sequence
    that is *behind* old's (forgotten in the copy) fails the first inserts after the switch.
    """
    if plan.database is None:
        yield skipped("sequences", "the plan has no [database]")
        return
    sides: dict[str, SequencesSeen] = {}
    for side in ("old", "new"):
        seen = evidence.current(SequencesSeen, side) if configured(plan, side) else None
        if seen is None:
            yield unknown("sequences", why_unread(plan, evidence, side) or f"{side}'s sequences were not read")
            return
        sides[side] = seen
    new = {sequence.sequence: sequence for sequence in sides["new"].sequences}
    for side, seen_there in sides.items():
        hidden = [x.sequence for x in seen_there.sequences if not x.readable]
        if hidden:
            more = f" and {len(hidden) - 3} more" if len(hidden) > 3 else ""
            schemas = ", ".join(plan.database.schemas)
            yield unknown(
                side,
                f"this role may not see where {side}'s {', '.join(hidden[:3])}{more} stand: "
                f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schemas}",
            )
    url = _shell(plan.database.new or "")
    pairs = [(old, new.get(old.sequence)) for old in sides["old"].sequences]
    known = [(mine, theirs) for mine, theirs in pairs if mine.readable and (theirs is None or theirs.readable)]
    outcomes = [outcome for mine, theirs in known if (outcome := _compared(mine, theirs, url)) is not None]
    yield from outcomes[:_SHOWN]
    if len(outcomes) > _SHOWN:
        yield failed("sequences", f"{len(outcomes) - _SHOWN} more sequences that are too near")
    if not outcomes and len(known) == len(pairs):
        count = len(pairs)
        yield passed("sequences", f"{count} sequences: new's are ahead of old's by {GAP} or more", sequences=count)


def _compared(old: SequenceValue, new: SequenceValue | None, url: str) -> Outcome | None:
    name = old.sequence
    if new is None:
        return failed(name, f"{name} does not exist on new (on old it stands at {_said(old)})")
    direction = 1 if old.increment > 0 else -1
    stands, other = _value(old), _value(new)
    ahead = (other - stands) * direction
    room = abs(new.maximum - stands)
    wanted = min(GAP * abs(old.increment), room // 4)
    measured: dict[str, Any] = {"old": stands, "new": other, "ahead": ahead, "wanted": wanted}
    if ahead >= wanted and (ahead > 0 or old.last_value is None):
        return None
    target = stands + direction * wanted
    fix = f"psql {url} -c 'ALTER SEQUENCE {_quoted(name)} RESTART WITH {target}'"
    if ahead < 0:
        said = f"{name} stands at {_said(new)} on new, behind old's {_said(old)}: the first inserts will collide"
    else:
        said = f"{name} stands at {_said(new)} on new, only {ahead} above old, at {_said(old)} (want {wanted})"
    return failed(name, said, fix=fix, **measured)


def _value(sequence: SequenceValue) -> int:
    """Return the last value that was handed out; one before the start when there was none."""
    return sequence.last_value if sequence.last_value is not None else sequence.start - sequence.increment


def _said(sequence: SequenceValue) -> str:
    return str(sequence.last_value) if sequence.last_value is not None else "its start"


def _shell(url: str) -> str:
    """Write the plan's database for a shell: the variable that it names, never what is in it."""
    return f'"${url.removeprefix("env:")}"' if url.startswith("env:") else shlex.quote(url)


def _quoted(name: str) -> str:
    schema, _, sequence = name.partition(".")
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, sequence))
