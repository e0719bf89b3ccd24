"""What the provider's listing held, when: answers show one variant at a time, the listing shows all."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from cutover.folds.authority import Served
from cutover.observations.base import Observation
from cutover.observations.provider import Variants
from cutover.plan import Plan

PROPAGATION = timedelta(seconds=60)
"""The listing includes PENDING changes: the name servers follow within about a minute (Route 53 developer guide)."""


class RecordSet(NamedTuple):
    """One version of one record set.

    Attributes:
        ttl: seconds; None for an alias.
    """

    owner: str
    rtype: str
    set_identifier: str
    ttl: int | None
    values: tuple[str, ...]
    alias: str


class RecordSetFold:
    """Every version of every record set that was listed for the plan's names, by hosted zone."""

    def __init__(self, plan: Plan) -> None:
        self._names = frozenset(plan.names)
        self._versions: dict[tuple[str, str], dict[RecordSet, Served]] = defaultdict(dict)

    def add(self, observation: Observation) -> None:
        """Take one observation."""
        if not isinstance(observation, Variants) or observation.name not in self._names:
            return
        at, known = observation.at, self._versions[observation.name, observation.zone_id]
        listed = {RecordSet(x.name, x.rtype, x.set_identifier, x.ttl, x.values, x.alias) for x in observation.variants}
        for version in listed:
            known[version] = Served(_first(known.get(version), at), at)
        for version, served in known.items():
            if version not in listed and served.gone is None:
                known[version] = replace(served, gone=at + PROPAGATION)

    def versions(self, name: str, zone_id: str) -> dict[RecordSet, Served]:
        """Return the versions that one zone held for a name, with when the servers had dropped them."""
        return dict(self._versions.get((name, zone_id), {}))


def _first(served: Served | None, at: datetime) -> datetime:
    return served.first if served is not None else at
