"""DNS messages in wire form: questions made once, answers read by dnspython and remembered by shape.

Parsing is what a polling round spends its time on, and most answers differ from one already read only in
their id and TTLs. An answer that dnspython has accepted leaves a *template*: its bytes with id and TTLs left
out. A later packet that equals the template elsewhere is the same message with other TTLs, so nothing has to
be parsed again; every other packet goes to dnspython. The memo therefore never accepts what dnspython would
not, and its size is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from cutover.errors import CutoverError
from cutover.observations.dns import Outcome, Record, Reply

EDNS_PAYLOAD = 1232
"""Largest UDP answer asked for, bytes: what passes unfragmented nearly everywhere (DNS Flag Day 2020)."""

MAX_CHAIN = 16
"""CNAMEs followed inside one answer; resolvers stop at 8 to 16."""

_MAX_TTL = 0x7FFFFFFF
_MAX_TEMPLATES = 20_000
_MAX_QUERIES = 4096
_LOWERED = frozenset({"CNAME", "DNAME", "NS", "PTR", "MX", "SRV", "SOA"})
_BARE_REFUSALS = frozenset({dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED})


class MalformedError(Exception):
    """A packet is no answer to the question: unreadable, foreign, or against the protocol."""


class _Part(NamedTuple):
    """A record of a template; ``ttl`` is the index of its TTL in the message."""

    owner: str
    rtype: str
    data: str
    ttl: int


class Template(NamedTuple):
    """What a message says, TTLs apart."""

    rcode: str
    authoritative: bool
    authenticated: bool
    truncated: bool
    answer: tuple[_Part, ...]
    authority: tuple[_Part, ...]
    error: str

    def reply(self, ttls: tuple[int, ...], milliseconds: int, dropped: int) -> Reply:
        """Return the reply with the given TTLs (seconds), one for each record of the message."""
        if self.error:
            return Reply(Outcome.MALFORMED, milliseconds=milliseconds, dropped=dropped, error=self.error)
        return Reply(
            Outcome.ANSWERED,
            self.rcode,
            self.authoritative,
            self.authenticated,
            tuple([Record(owner, rtype, ttls[i], data) for owner, rtype, data, i in self.answer]),
            tuple([Record(owner, rtype, ttls[i], data) for owner, rtype, data, i in self.authority]),
            milliseconds,
            dropped,
        )


class _Layout:
    """Where the TTLs of a message are, and the templates that share these places."""

    __slots__ = ("offsets", "split", "templates")

    def __init__(self, offsets: tuple[int, ...], length: int) -> None:
        self.offsets = offsets
        shape, position = ["!2x"], 2
        for offset in offsets:
            shape.append(f"{offset - position}sI")
            position = offset + 4
        shape.append(f"{length - position}s")
        self.split = struct.Struct("".join(shape)).unpack
        self.templates: dict[tuple[bytes, ...], Template] = {}


class Query:
    """A question in wire form, without its id, and the answers to it that were read before.

    Attributes:
        tail: the message after the id.
        question: the question section.
    """

    __slots__ = ("_layouts", "_memo", "dnssec_ok", "edns", "name", "question", "recursion", "rtype", "tail")

    def __init__(self, memo: Memo, name: str, rtype: str, *, recursion: bool, dnssec_ok: bool, edns: bool) -> None:
        try:
            self.name = dns.name.from_text(name)
            self.rtype = dns.rdatatype.from_text(rtype)
        except (dns.exception.DNSException, ValueError) as error:
            raise CutoverError(f"{name!r} {rtype} cannot be asked: {error}", "give a host name") from error
        message = dns.message.make_query(
            self.name,
            self.rtype,
            use_edns=0 if edns else -1,
            want_dnssec=dnssec_ok and edns,
            payload=EDNS_PAYLOAD,
            flags=dns.flags.RD if recursion else 0,
        )
        wire = message.to_wire()
        self.tail = wire[2:]
        self.question = wire[12 : _skip_name(wire, 12) + 4]
        self.recursion = recursion
        self.dnssec_ok = dnssec_ok
        self.edns = edns
        self._memo = memo
        self._layouts: dict[int, list[_Layout]] = {}

    def read(self, wire: bytes) -> tuple[Template, tuple[int, ...]]:
        """Return what ``wire`` says and the TTLs of its records in order.

        The caller has checked the id and where it came from.

        Raises:
            MalformedError: it is not an answer to this question.
        """
        for layout in self._layouts.get(len(wire), ()):
            parts = layout.split(wire)
            template = layout.templates.get(parts[::2])
            if template is not None:
                ttls = parts[1::2]
                if not ttls or max(ttls) <= _MAX_TTL:
                    return template, ttls
        return self._learn(wire)

    def _learn(self, wire: bytes) -> tuple[Template, tuple[int, ...]]:
        self._check_question(wire)
        message = parse(wire)
        ttls: list[int] = []
        sections: list[list[_Part]] = []
        for section in message.sections[1:]:
            parts = []
            for rrset in section:
                parts.append(_part(rrset, len(ttls)))
                ttls.append(rrset.ttl)
            sections.append(parts)
        template = self._judge(message, sections[0], sections[1])
        self._remember(wire, template, len(ttls))
        return template, tuple(ttls)

    def _check_question(self, wire: bytes) -> None:
        """Raise unless it is a response to this very question (RFC 5452, section 3)."""
        if len(wire) < 12:
            raise MalformedError("shorter than a DNS header")
        if not wire[2] & 0x80 or wire[2] & 0x78:
            raise MalformedError("not a response to a query")
        rcode, counts = wire[3] & 0x0F, wire[4:12]
        if rcode in _BARE_REFUSALS and counts[:6] == b"\0\0\0\0\0\0":
            return  # a server that could not even read the question repeats none of it
        asked, echoed = self.question, wire[12 : 12 + len(self.question)]
        if counts[:2] != b"\0\x01" or (
            echoed != asked and (echoed[:-4].lower(), echoed[-4:]) != (asked[:-4].lower(), asked[-4:])
        ):
            raise MalformedError("answers another question")

    def _judge(self, message: dns.message.Message, answer: list[_Part], authority: list[_Part]) -> Template:
        rcode, flags = message.rcode(), message.flags
        truncated = bool(flags & dns.flags.TC)
        chain = () if truncated else follow(to_text(self.name), dns.rdatatype.to_text(self.rtype), answer)
        if answer and not chain and not truncated:
            raise MalformedError("its answer is about another name")
        error = ""
        delegates = any(part.rtype == "NS" for part in authority)
        refers = rcode == dns.rcode.NOERROR and delegates and not chain and not truncated
        if self.recursion and refers and not flags & (dns.flags.RA | dns.flags.AA):
            error = "offers no recursion: a referral, not an answer"
        return Template(
            dns.rcode.to_text(rcode),
            bool(flags & dns.flags.AA),
            bool(flags & dns.flags.AD),
            truncated,
            chain,
            tuple(part for part in authority if part.rtype in ("SOA", "NS")),
            error,
        )

    def _remember(self, wire: bytes, template: Template, records: int) -> None:
        offsets = _ttl_offsets(wire)
        if len(offsets) != records:
            return
        self._memo.count(self)
        layouts = self._layouts.setdefault(len(wire), [])
        layout = next((known for known in layouts if known.offsets == offsets), None)
        if layout is None:
            layout = _Layout(offsets, len(wire))
            layouts.append(layout)
        layout.templates[layout.split(wire)[::2]] = template

    def forget(self) -> None:
        """Drop what was remembered."""
        self._layouts.clear()


class Memo:
    """Questions made and answers read by one engine: at most 20,000 templates for 4,096 questions.

    When either is full everything is forgotten: a hostile server that never answers twice alike costs
    time, not memory.
    """

    def __init__(self) -> None:
        self._queries: dict[tuple[str, str, bool, bool, bool], Query] = {}
        self._templates = 0

    def query(self, name: str, rtype: str, *, recursion: bool, dnssec_ok: bool, edns: bool = True) -> Query:
        """Return the question in wire form; the same object for the same question.

        Raises:
            CutoverError: ``name`` is no domain name or ``rtype`` no record type.
        """
        key = (name, rtype, recursion, dnssec_ok, edns)
        found = self._queries.get(key)
        if found is None:
            if len(self._queries) >= _MAX_QUERIES:
                self.forget()
            found = Query(self, name, rtype, recursion=recursion, dnssec_ok=dnssec_ok, edns=edns)
            self._queries[key] = found
        return found

    def count(self, query: Query) -> None:
        """Make room for one more template of ``query``."""
        self._templates += 1
        if self._templates > _MAX_TEMPLATES:
            self.forget()
            query.forget()
            self._templates = 1

    def forget(self) -> None:
        """Drop everything that was remembered."""
        for known in self._queries.values():
            known.forget()
        self._queries.clear()
        self._templates = 0


def parse(wire: bytes) -> dns.message.Message:
    """Return the whole message, every record on its own.

    Raises:
        MalformedError: dnspython refuses it.
    """
    try:
        return dns.message.from_wire(wire, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError, struct.error, IndexError) as error:
        raise MalformedError(f"cannot be read: {type(error).__name__}") from error


def records(section: list[dns.rrset.RRset]) -> list[Record]:
    """Return a section's records as values."""
    return [
        Record(part.owner, part.rtype, rrset.ttl, part.data)
        for rrset, part in ((rrset, _part(rrset, 0)) for rrset in section)
    ]


def to_text(name: dns.name.Name) -> str:
    """Return a name in lower case with the final dot."""
    return name.to_text().lower()


def follow(name: str, rtype: str, answer: list[_Part]) -> tuple[_Part, ...]:
    """Return the records of ``answer`` that belong to the question, in chain order.

    Records of other owners are left out: an answer has no say on them (RFC 5452, section 6). A loop ends
    where it closes.

    Raises:
        MalformedError: a name has two different CNAMEs (RFC 2181, section 10.1).
    """
    chain: list[_Part] = []
    owner, visited = name, {name}
    for _ in range(MAX_CHAIN):
        here = [part for part in answer if part.owner == owner and part.rtype == rtype]
        chain += dict.fromkeys(here)
        if here or rtype == "CNAME":
            break
        aliases = [part for part in answer if part.owner == owner and part.rtype == "CNAME"]
        if not aliases:
            break
        if len({part.data for part in aliases}) > 1:
            raise MalformedError("two CNAME records at one name")
        chain.append(aliases[0])
        owner = aliases[0].data
        if owner in visited:
            break
        visited.add(owner)
    return tuple(chain)


def _part(rrset: dns.rrset.RRset, index: int) -> _Part:
    rdata = rrset[0]
    rtype = dns.rdatatype.to_text(rrset.rdtype)
    if rrset.rdclass != dns.rdataclass.IN:
        raise MalformedError("a record of another class")
    if rtype in ("HTTPS", "SVCB"):
        rdata = rdata.replace(target=rdata.target.canonicalize())
    data = rdata.to_text()
    return _Part(to_text(rrset.name), rtype, data.lower() if rtype in _LOWERED else data, index)


def _ttl_offsets(wire: bytes) -> tuple[int, ...]:
    """Return where the TTLs are in a message that was parsed before; OPT has none."""
    return tuple(_walk(wire))


def _walk(wire: bytes) -> Iterator[int]:
    questions, *others = struct.unpack_from("!HHHH", wire, 4)
    position = 12
    for _ in range(questions):
        position = _skip_name(wire, position) + 4
    for _ in range(sum(others)):
        position = _skip_name(wire, position)
        rtype, length = struct.unpack_from("!H6xH", wire, position)
        if rtype != dns.rdatatype.OPT:
            yield position + 4
        position += 10 + length


def _skip_name(wire: bytes, position: int) -> int:
    while True:
        length = wire[position]
        if length >= 0xC0:
            return position + 2
        position += length + 1
        if not length:
            return position
