"""Which addresses and targets belong to which side, with all that was learnt on the way."""

from __future__ import annotations

from cutover.answers import Answer, Sides, addresses_in, targets_in
from cutover.observations.base import Observation
from cutover.observations.dns import AuthorityAnswers, Record, ResolverAnswers, TargetAddresses
from cutover.observations.gate import SideFound
from cutover.plan import Plan
from cutover.plan_values import Member, address_of


class SidesFold:
    """Declared sets, the old side found at the first preflight, and every address seen behind an old target."""

    def __init__(self, plan: Plan) -> None:
        self._declared = {entry.name: (entry.old, entry.new) for entry in plan.name}
        self._found: dict[str, tuple[Member, ...]] = {}
        self._types = {entry.name: entry.polled_types() for entry in plan.name}
        self._open = {entry.name for entry in plan.name if "types" not in entry.model_fields_set}
        self._behind_old: dict[str, set[str]] = {entry.name: set() for entry in plan.name}
        self._behind_new: dict[str, set[str]] = {entry.name: set() for entry in plan.name}
        self._sideless: dict[tuple[str, ...], AuthorityAnswers] = {}

    def add(self, observation: Observation) -> None:
        """Learn from one observation."""
        match observation:
            case SideFound(name=name, side="old", members=members) if name in self._declared:
                self._found.setdefault(name, tuple(Member.parse(member) for member in members))
                self._learn_anew(name)
            case TargetAddresses(name=name, side="old", addresses=addresses) if name in self._behind_old:
                self._remember(name, addresses)
            case TargetAddresses(name=name, side="new", addresses=addresses, error="") if name in self._behind_new:
                self._behind_new[name].update(addresses)
            case ResolverAnswers(name=name, rtype=rtype, answers=answers) if name in self._behind_old:
                for answer in answers:
                    self._learn(name, answer.reply.answer, rtype, answer.alias)
            case AuthorityAnswers(of=name, rtype=rtype, answers=authority_answers) if name in self._behind_old:
                for given in authority_answers:
                    self._learn(name, given.reply.answer, rtype)
                if not self.of(name).old:
                    self._sideless[observation.subject] = observation
                self._find_type(observation)

    def __contains__(self, name: object) -> bool:
        """Tell whether a name is one of the plan's: the ledger may hold others (``preflight NAME``)."""
        return name in self._declared

    def of(self, name: str) -> Sides:
        """Return the sides of one of the plan's names."""
        old, new = self._declared[name]
        return Sides(
            old or self._found.get(name, ()),
            new,
            frozenset(self._behind_old[name]),
            frozenset(self._behind_new[name]),
        )

    def types(self, name: str) -> tuple[str, ...]:
        """Return the types that are polled for a name: the plan's; without any, HTTPS too once it was found to lead."""
        return self._types[name]

    def addresses(self, name: str, side: str) -> tuple[str, ...]:
        """Return the single addresses that a side is known by: declared ones, then those behind its targets."""
        sides = self.of(name)
        declared = [
            str(member.network.network_address)
            for member in (sides.old if side == "old" else sides.new)
            if member.network is not None and member.network.num_addresses == 1
        ]
        behind = sorted(sides.remembered_old) if side == "old" else []
        return tuple(dict.fromkeys(declared + behind))

    def _find_type(self, seen: AuthorityAnswers) -> None:
        """Poll HTTPS from its first sighting on: browsers that got its hints ask for no address (RFC 9460 7.3)."""
        if seen.rtype != "HTTPS" or not seen.in_plan or seen.of not in self._open:
            return
        own = [x for given in seen.answers for x in given.reply.answer if (x.owner, x.rtype) == (seen.name, "HTTPS")]
        if addresses_in(own, "HTTPS") or targets_in(own, "HTTPS"):
            self._types[seen.of] = tuple(dict.fromkeys((*self._types[seen.of], "HTTPS")))

    def _learn(self, name: str, records: tuple[Record, ...], rtype: str, alias: str = "") -> None:
        sides = self.of(name)
        targets = (alias, *targets_in(records, rtype))
        declared = [side for target in targets if (side := sides.of_target(target))]
        if declared and declared[-1] is Answer.OLD:
            self._remember(name, addresses_in(records, rtype))

    def _learn_anew(self, name: str) -> None:
        """Learn from what was seen before the old side was known: it is found in the very answers that show it."""
        seen, self._sideless = self._sideless, {}
        for subject, observation in seen.items():
            if observation.of != name:
                self._sideless[subject] = observation
                continue
            for given in observation.answers:
                self._learn(name, given.reply.answer, observation.rtype, observation.name)

    def _remember(self, name: str, addresses: tuple[str, ...]) -> None:
        new = self._declared[name][1]
        for text in addresses:
            address = address_of(text)
            if address is not None and not any(member.holds(address) for member in new):
                self._behind_old[name].add(str(address))
