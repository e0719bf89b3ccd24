"""An authoritative name server: zones, referrals with glue, negative answers; over UDP and TCP (RFC 1035)."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Answering = Callable[[dns.message.Message], Awaitable[dns.message.Message]]


@dataclass(slots=True)
class Zone:
    """One zone's RRsets by owner and type. A change counts the serial up."""

    apex: dns.name.Name
    rrsets: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = field(default_factory=dict)
    serial: int = 1

    @classmethod
    def of(cls, apex: str, servers: Sequence[str], *, ttl: int = 3600, minimum: int = 60) -> Zone:
        """Make a zone with its SOA and NS records.

        Args:
            apex: the zone's name.
            servers: names of its servers.
            ttl: of the NS RRset, seconds.
            minimum: how long a negative answer is kept, seconds (RFC 2308).
        """
        zone = cls(dns.name.from_text(apex))
        zone.put(apex, "NS", ttl, servers)
        zone.put(apex, "SOA", minimum, [f"{servers[0]} hostmaster.{servers[0]} 1 7200 900 1209600 {minimum}"])
        return zone

    def put(self, owner: str, rtype: str, ttl: int, data: Iterable[str]) -> None:
        """Set an RRset; no data removes it."""
        name, kind = dns.name.from_text(owner), dns.rdatatype.from_text(rtype)
        values = list(data)
        if values:
            self.rrsets[name, kind] = dns.rrset.from_text_list(name, ttl, "IN", kind, values)
        else:
            self.rrsets.pop((name, kind), None)
        self.serial += 1

    def get(self, owner: dns.name.Name, rtype: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        """Return an RRset; the SOA with the current serial."""
        found = self.rrsets.get((owner, rtype))
        if found is not None and rtype == dns.rdatatype.SOA:
            return dns.rrset.from_rdata(owner, found.ttl, found[0].replace(serial=self.serial))
        return found

    def cut(self, name: dns.name.Name, rtype: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        """Return the NS RRset of the delegation that ``name`` lies below, if any; the parent answers for DS."""
        for depth in range(len(self.apex) + 1, len(name) + 1):
            owner = name.split(depth)[1]
            if owner == name and rtype == dns.rdatatype.DS:
                return None
            if found := self.rrsets.get((owner, dns.rdatatype.NS)):
                return found
        return None

    def exists(self, name: dns.name.Name) -> bool:
        """Tell whether a name exists, be it only as an ancestor of one that has records (RFC 8020)."""
        return any(owner.is_subdomain(name) for owner, _ in self.rrsets)


class Nameserver:
    """What one authoritative server holds.

    Attributes:
        zones: its zones; several servers may share them.
    """

    def __init__(self, *zones: Zone) -> None:
        self.zones = zones

    async def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Answer one query."""
        response = dns.message.make_response(query, our_payload=1232)
        name, rtype = query.question[0].name, query.question[0].rdtype
        holding = [zone for zone in self.zones if name.is_subdomain(zone.apex)]
        if not holding:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        zone = max(holding, key=lambda each: len(each.apex))
        if delegation := zone.cut(name, rtype):
            response.authority.append(delegation)
            for record in delegation:
                response.additional += [x for x in (zone.get(record.target, dns.rdatatype.A),) if x]
            return response
        response.flags |= dns.flags.AA
        found = zone.get(name, rtype) or zone.get(name, dns.rdatatype.CNAME)
        if found:
            response.answer.append(found)
            return response
        if not zone.exists(name):
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority += [x for x in (zone.get(zone.apex, dns.rdatatype.SOA),) if x]
        return response


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._busy: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        task = asyncio.ensure_future(self._reply(data, peer))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _reply(self, data: bytes, peer: tuple[str, int]) -> None:
        wire = await _answered(data, self._answering)
        if wire and not self._transport.is_closing():
            self._transport.sendto(wire, peer)


async def listen(answering: Answering, address: str, port: int) -> contextlib.AsyncExitStack:
    """Serve UDP and TCP at an address; closing the returned stack ends it.

    Raises:
        OSError: the address does not exist here, or the port is taken.
    """

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                wire = await _answered(await reader.readexactly(length), answering)
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        writer.close()

    stack = contextlib.AsyncExitStack()
    try:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(answering), (address, port))
        stack.callback(transport.close)
        server = await asyncio.start_server(stream, address, port)
        stack.callback(server.close)
    except BaseException:
        await stack.aclose()
        raise
    return stack


async def _answered(data: bytes, answering: Answering) -> bytes:
    try:
        query = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return b""
    if query.flags & dns.flags.QR or len(query.question) != 1:
        return b""
    return (await answering(query)).to_wire()
