"""The CAA records that bind a name: the nearest set on the way up (RFC 8659, section 3)."""

from __future__ import annotations

from typing import NamedTuple

from cutover.probes.dns.names import ancestors
from cutover.probes.dns.walk import Walker

MAX_ALIASES = 8


class CaaSet(NamedTuple):
    """CAA records as ``"owner data"``, and why they could not be seen, or ""."""

    records: tuple[str, ...]
    error: str = ""


async def relevant_caa(walker: Walker, name: str, seen: dict[str, CaaSet]) -> CaaSet:
    """Return the relevant set; ``seen`` remembers what is at each name.

    Each name is asked of its own zone's servers, through its CNAMEs, from ``name`` up to the top-level domain.

    Raises:
        BudgetError: the round's questions are used up.
    """
    for owner in reversed(ancestors(name)):
        if owner not in seen:
            seen[owner] = await _caa_at(walker, owner)
        if seen[owner].records or seen[owner].error:
            return seen[owner]
    return CaaSet(())


async def _caa_at(walker: Walker, owner: str) -> CaaSet:
    for _ in range(MAX_ALIASES):
        zone = await walker.zone_of(owner)
        if zone.error:
            return CaaSet((), zone.error)
        seen = await walker.ask_any(zone, owner, "CAA")
        if isinstance(seen, str):
            return CaaSet((), seen)
        found = tuple(sorted(f"{owner} {r.data}" for r in seen.answer if r.owner == owner and r.rtype == "CAA"))
        if found:
            return CaaSet(found)
        alias = next((r.data for r in seen.answer if r.owner == owner and r.rtype == "CNAME"), "")
        if not alias:
            return CaaSet(())
        owner = alias
    return CaaSet((), f"more than {MAX_ALIASES} CNAMEs on the way to CAA records")
