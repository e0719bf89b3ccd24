"""What DNS servers said. Names are lower case with the final dot; addresses are in canonical text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple

from cutover.observations.base import Observation


class Record(NamedTuple):
    """One resource record: owner, type, TTL in seconds, data in presentation format."""

    owner: str
    rtype: str
    ttl: int
    data: str


class Outcome(StrEnum):
    """What became of one question.

    ``ANSWERED`` is any well-formed response, NXDOMAIN and SERVFAIL included (see :attr:`Reply.rcode`).
    ``MALFORMED``: only answers that could not be parsed or did not belong to the question arrived.
    """

    ANSWERED = "answered"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Reply:
    """One server's word on one question.

    Attributes:
        rcode: ``NOERROR``, ``NXDOMAIN``, ``SERVFAIL``, ``REFUSED``...; "" unless answered.
        authoritative: the AA bit.
        authenticated: the AD bit.
        answer: the answer section in chain order (CNAMEs first, from the question's name on).
        authority: SOA and NS records of the authority section.
        milliseconds: from the first packet to the accepted answer.
        dropped: spoofed, malformed or foreign packets thrown away while waiting.
        error: one line when there is no answer.
    """

    outcome: Outcome
    rcode: str = ""
    authoritative: bool = False
    authenticated: bool = False
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    milliseconds: int = 0
    dropped: int = 0
    error: str = ""


def is_definite(reply: Reply) -> bool:
    """Tell whether an authority said what it holds: with authority, and records, none, or no such name."""
    return reply.outcome is Outcome.ANSWERED and reply.authoritative and reply.rcode in {"NOERROR", "NXDOMAIN"}


class Transport(StrEnum):
    """How a resolver is asked."""

    PLAIN = "dns"
    TLS = "tls"
    HTTPS = "https"


class Tier(StrEnum):
    """Whether a resolver's silence counts against the verdict."""

    REQUIRED = "required"
    ADVISORY = "advisory"


@dataclass(frozen=True, slots=True)
class Resolver:
    """One member of the panel.

    Attributes:
        id: stable name shown to people (``google``, ``127.0.0.1:5301``).
        operator: who runs it; quorum counts operators. Each entry of a list is its own operator.
        address: ``address:port`` (``[v6]:port``) for plain and TLS, the URL for HTTPS.
        server_name: the TLS name to verify, when it is not the address.
        filtering: ``none``, or what it filters (``malware``, ``ads``...).
        country: ISO code, or "".
    """

    id: str
    operator: str
    transport: Transport
    address: str
    tier: Tier
    server_name: str = ""
    country: str = ""
    filtering: str = "none"
    flush_url: str = ""


class Calibration(NamedTuple):
    """How a panel member fared with the control name. ``dropped`` is the reason, "" when it is polled."""

    resolver: Resolver
    dropped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSeen(Observation):
    """The calibrated panel.

    Attributes:
        control: the control name and type that was asked.
        stretched: why the round is longer than one interval at ``max_rate``, or "".
        asked: the ``dns.resolvers`` that it was made of, as text; "" in ledgers that did not say.
    """

    kind: ClassVar[str] = "dns.panel"

    members: tuple[Calibration, ...]
    control: str
    stretched: str = ""
    asked: str = ""


class ResolverAnswer(NamedTuple):
    """A panel member (by :attr:`Resolver.id`) and its reply.

    Attributes:
        alias: a declared target for which the same member gives these addresses: what an alias record hides, "" when
            nothing is hidden or it was not found.
    """

    resolver: str
    reply: Reply
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverAnswers(Observation):
    """One question asked of the whole panel."""

    kind: ClassVar[str] = "dns.resolver-answers"

    name: str
    rtype: str
    answers: tuple[ResolverAnswer, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """Name and type."""
        return (self.name, self.rtype)


class AuthorityAnswer(NamedTuple):
    """One authoritative server (``ns1.example.com.`` or its address when nameless) and its reply."""

    server: str
    address: str
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityAnswers(Observation):
    """One question asked of every authoritative server of the owner's zone, recursion not desired.

    Attributes:
        name: the owner that was asked (the plan's name or a CNAME hop below it).
        of: the plan's name that led here.
        hop: 1 for the plan's name itself, 2 for its CNAME target...
        in_plan: the zone also holds one of the plan's names: the user can change this hop.
    """

    kind: ClassVar[str] = "dns.authority-answers"

    name: str
    rtype: str
    of: str
    hop: int
    zone: str
    in_plan: bool
    answers: tuple[AuthorityAnswer, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """Plan's name, owner, type."""
        return (self.of, self.name, self.rtype)


class ServerSeen(NamedTuple):
    """One authoritative server of a zone, as it answered for the zone's SOA and NS.

    Attributes:
        lame: why it does not answer with authority for the zone, "" when it does.
        serial: SOA serial, or -1.
        ns: the NS names it holds, sorted.
        primary: the server that its SOA names as the source of the zone (MNAME), "" when unseen.
    """

    server: str
    address: str
    lame: str
    serial: int
    ns: tuple[str, ...]
    primary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSeen(Observation):
    """One zone on the way to a name.

    Attributes:
        source: ``"walk"`` (from the roots down) or ``"authorities"`` (``dns.authorities``: parent not asked).
        parent: the parent zone, "" when not asked.
        parent_ns, child_ns: NS records with TTL as the parent's and the zone's own servers give them.
        soa_ttl, soa_minimum: seconds, -1 when unseen; the negative TTL is the smaller (RFC 2308).
        ds: DS records at the parent. dnskey: DNSKEY records at the child.
        dnssec: ``"unsigned"``, ``"signed"``, ``"broken: ..."`` or ``"unknown: ..."``.
        caa: CAA records that apply to ``zone``'s apex.
        error: why the walk ended here without servers, or "".
    """

    kind: ClassVar[str] = "dns.zone"

    zone: str
    source: str
    parent: str = ""
    parent_ns: tuple[Record, ...] = ()
    child_ns: tuple[Record, ...] = ()
    servers: tuple[ServerSeen, ...] = ()
    soa_ttl: int = -1
    soa_minimum: int = -1
    ds: tuple[Record, ...] = ()
    dnskey: tuple[Record, ...] = ()
    dnssec: str = "unknown: not asked"
    error: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """The zone."""
        return (self.zone,)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSeen(Observation):
    """How a plan's name resolves when every hop is asked of its own authorities.

    Attributes:
        owners: the name and its CNAME targets, in order.
        zones: each owner's zone, same order.
        apex: the zone of the name itself.
        wildcard: the answer of the first hop comes from a wildcard (a random sibling resolves alike).
        dnssec: state of the first hop's zone chain.
        caa: the relevant CAA RRset (RFC 8659 climb) as ``"owner data"``, empty when none.
        caa_error: why CAA could not be seen, or "".
        error: why the chain could not be followed to its end (a loop, an unreachable hop), or "".
    """

    kind: ClassVar[str] = "dns.name"

    name: str
    owners: tuple[str, ...]
    zones: tuple[str, ...]
    apex: str
    wildcard: bool = False
    caa: tuple[str, ...] = ()
    caa_error: str = ""
    error: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """The plan's name."""
        return (self.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAddresses(Observation):
    """Addresses now behind a declared CNAME target, asked of its own authorities.

    Attributes:
        side: ``"old"`` or ``"new"``.
    """

    kind: ClassVar[str] = "dns.target"

    name: str
    side: str
    target: str
    addresses: tuple[str, ...]
    error: str = ""

    @property
    def subject(self) -> tuple[str, ...]:
        """Plan's name, side and target."""
        return (self.name, self.side, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterceptionSeen(Observation):
    """Whether an address that runs no resolver answered on port 53.

    Attributes:
        canary: the address, "" when the plan turned the test off.
        answered: something answered: plain DNS is intercepted on this network.
        error: why it could not be asked, or "".
    """

    kind: ClassVar[str] = "dns.interception"

    canary: str
    answered: bool
    error: str = ""
