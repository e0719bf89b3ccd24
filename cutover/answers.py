"""What an answer means: which side a reply leads to. Pure.

Answers are compared with the *declared* sets, never with each other: a panel that agrees on the old side has
not converged (DESIGN.md 5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Network

from cutover.observations.dns import Outcome, Record, Reply
from cutover.plan_values import Member, address_of

_NAT64 = IPv6Network("64:ff9b::/96")
"""The well-known prefix (RFC 6052 2.1); resolvers that synthesize answers with it: RFC 6147."""

_DUALSTACK = "dualstack."
_HINTS = re.compile(r"\bipv[46]hint=\"?([0-9A-Fa-f:.,]+)")


class Answer(StrEnum):
    """The class of a reply."""

    OLD = "old"
    NEW = "new"
    MIXED = "mixed"
    OTHER = "other"
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"

    @property
    def leads_to_old(self) -> bool:
        """Some who get this answer reach the old side."""
        return self in {Answer.OLD, Answer.MIXED}

    @property
    def says_something(self) -> bool:
        """The server answered the question, whatever it said."""
        return self not in {Answer.TIMEOUT, Answer.MALFORMED, Answer.REFUSED, Answer.SERVFAIL}


@dataclass(frozen=True, slots=True)
class Sides:
    """The two answer sets of one name.

    Attributes:
        remembered_old: every address that was ever seen behind an old target (load balancers rotate).
        remembered_new: the same for new targets, as their own authorities gave them: an alias record (Route 53)
            shows addresses only. An address seen behind both sides (one content network) is old, unless the
            answer's own chain tells.
    """

    old: tuple[Member, ...]
    new: tuple[Member, ...]
    remembered_old: Collection[str] = ()
    remembered_new: Collection[str] = ()

    def of_address(self, text: str) -> Answer | None:
        """Return the side of an address, or None when neither side knows it."""
        address = address_of(text)
        if address is None:
            return None
        if any(member.holds(address) for member in self.new):
            return Answer.NEW
        if any(member.holds(address) for member in self.old) or text in self.remembered_old:
            return Answer.OLD
        return Answer.NEW if text in self.remembered_new else None

    def of_target(self, name: str) -> Answer | None:
        """Return the side that declares a CNAME (or alias) target, or None.

        An alias to an AWS load balancer is written with ``dualstack.`` before its name by AWS's own console.
        """
        plain = name.removeprefix(_DUALSTACK)
        if any(member.target in {name, plain} for member in self.new if member.target):
            return Answer.NEW
        if any(member.target in {name, plain} for member in self.old if member.target):
            return Answer.OLD
        return None

    def declared_new_for(self, rtype: str) -> bool:
        """Tell whether the new side has a member that must answer for a type; nobody declares HTTPS records.

        A target is a member of both families, unless the addresses seen behind the new targets are all of the
        other one.
        """
        if rtype == "HTTPS":
            return False
        version = {"A": 4, "AAAA": 6}.get(rtype)
        if any(x.network is not None and x.network.version == version for x in self.new):
            return True
        behind = {address.version for text in self.remembered_new if (address := address_of(text)) is not None}
        return any(x.target is not None for x in self.new) and (not behind or version in behind)

    def of_records(self, records: Iterable[Record], rtype: str, alias: str = "") -> Answer:
        """Return the class of an answer section.

        Terminal addresses come first, then the last declared CNAME target, then the ``alias`` that stands in its
        place unseen; the address hints of an HTTPS record count as addresses (RFC 9460).
        """
        given = tuple(records)
        addresses, targets = _ends(given, rtype)
        owners = [record.owner for record in given if record.rtype == rtype]
        by_target = next(
            (side for target in reversed([alias, *targets, *owners]) if (side := self.of_target(target))), None
        )
        if addresses:
            return _together({self._of_end(address, by_target) for address in addresses})
        if by_target is not None:
            return by_target
        if targets:
            return Answer.OTHER
        if self.new and not self.declared_new_for(rtype):
            return Answer.NEW
        return Answer.NODATA

    def _of_end(self, address: str, by_target: Answer | None) -> Answer:
        """Return the side of a terminal address; one that serves behind both sides' targets is the chain's."""
        shared = address in self.remembered_old and address in self.remembered_new
        if shared and by_target is not None:
            return by_target
        return self.of_address(address) or by_target or Answer.OTHER

    def of_data(self, rtype: str, values: Iterable[str], alias: str = "") -> Answer:
        """Return the class of a record set as its provider shows it: its values, or the target of an alias."""
        if alias:
            return self.of_target(alias) or Answer.OTHER
        kind = "HTTPS" if rtype == "SVCB" else rtype
        records = [Record("", kind, 0, value) for value in values]
        return self.of_records(records, "A" if kind == "CNAME" else kind)

    def behind_alias(self, reply: Reply, rtype: str) -> Mapping[str, Answer]:
        """Return the declared targets that may stand hidden behind a reply, by their side; empty when none can.

        An alias record (Route 53, or "flattened" elsewhere) shows the addresses of its target alone, and a content
        network gives each resolver others.
        """
        hidden = rtype in {"A", "AAAA"} and bool(addresses_in(reply.answer, rtype))
        if not hidden or self.of_reply(reply, rtype) is not Answer.OTHER:
            return {}
        sides = ((self.old, Answer.OLD), (self.new, Answer.NEW))
        return {x.target: side for members, side in sides for x in members if x.target is not None}

    def of_reply(self, reply: Reply, rtype: str, alias: str = "") -> Answer:
        """Return the class of one server's reply."""
        match reply.outcome:
            case Outcome.TIMEOUT | Outcome.UNREACHABLE:
                return Answer.TIMEOUT
            case Outcome.MALFORMED:
                return Answer.MALFORMED
            case Outcome.ANSWERED:
                pass
        match reply.rcode:
            case "NOERROR" if _is_referral(reply):
                return Answer.REFUSED
            case "NOERROR":
                answer = self.of_records(reply.answer, rtype, alias)
                return self.of_records((), rtype) if answer is Answer.OTHER and _ends_in_nothing(reply) else answer
            case "NXDOMAIN":
                return Answer.NXDOMAIN
            case "REFUSED" | "NOTAUTH" | "NOTIMP" | "FORMERR":
                return Answer.REFUSED
        return Answer.SERVFAIL


def addresses_in(records: Iterable[Record], rtype: str) -> tuple[str, ...]:
    """Return the terminal addresses of an answer section (HTTPS: its hints), in order."""
    return tuple(_ends(records, rtype)[0])


def targets_in(records: Iterable[Record], rtype: str) -> tuple[str, ...]:
    """Return the CNAME targets (and HTTPS target names) of an answer section, in chain order."""
    return tuple(_ends(records, rtype)[1])


def _is_referral(reply: Reply) -> bool:
    """Tell a referral from an empty answer: NS without SOA in the authority section (RFC 2308 2.2)."""
    kinds = {record.rtype for record in reply.authority}
    return not reply.answer and "NS" in kinds and "SOA" not in kinds


def _ends_in_nothing(reply: Reply) -> bool:
    """Tell a CNAME chain whose end has no such record: the end's SOA stands in the authority section (RFC 2308 2.2).

    Without it, the chain may just not have been followed to its end.
    """
    if not reply.answer or any(record.rtype != "CNAME" for record in reply.answer):
        return False
    end = reply.answer[-1].data.lower()
    zones = {record.owner for record in reply.authority if record.rtype == "SOA"}
    return any(end == zone or end.endswith(f".{zone}") for zone in zones)


def _ends(records: Iterable[Record], rtype: str) -> tuple[list[str], list[str]]:
    addresses: list[str] = []
    targets: list[str] = []
    for record in records:
        if record.rtype == "CNAME":
            targets.append(record.data.lower())
        elif record.rtype == "HTTPS" and rtype == "HTTPS":
            words = record.data.split()
            if len(words) > 1 and words[1] != ".":
                targets.append(words[1].lower())
            addresses.extend(x for hint in _HINTS.findall(record.data) for x in hint.split(",") if x)
        elif record.rtype == rtype and rtype in {"A", "AAAA"}:
            addresses.append(_reached(record.data))
    return addresses, targets


def _reached(address: str) -> str:
    """Return where an address leads: through the NAT64 prefix, as DNS64 resolvers hand out, to an IPv4 address."""
    ip = address_of(address)
    return str(IPv4Address(int(ip) & 0xFFFFFFFF)) if ip is not None and ip in _NAT64 else address


def _together(sides: set[Answer]) -> Answer:
    if len(sides) == 1:
        return sides.pop()
    return Answer.MIXED if Answer.OLD in sides else Answer.OTHER
