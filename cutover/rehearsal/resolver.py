"""A caching resolver: keeps what it was told for as long as its TTL says, or longer when it clamps."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

_DEADLINE = 2.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """One answer (RFC 1035) or its absence (RFC 2308), until when."""

    until: float
    rcode: dns.rcode.Rcode
    answer: tuple[dns.rrset.RRset, ...]
    authority: tuple[dns.rrset.RRset, ...]


class Resolver:
    """One resolver with its cache.

    Args:
        servers: ``(address, port)`` of the authoritative servers that it asks in turn.
        least: it keeps every answer for at least so many seconds, whatever the TTL says. 8.7 % of the resolvers
            that were measured do such things (Bhowmick et al., PAM 2023).
    """

    def __init__(self, servers: Sequence[tuple[str, int]], *, least: int = 0) -> None:
        self._servers = itertools.cycle(servers)
        self._least = least
        self._cache: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], _Kept] = {}
        self._asking: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], asyncio.Lock] = {}

    def flush(self) -> None:
        """Forget everything."""
        self._cache.clear()

    async def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Answer one query from the cache, else from an authoritative server."""
        response = dns.message.make_response(query, recursion_available=True, our_payload=1232)
        key = query.question[0].name, query.question[0].rdtype
        async with self._asking.setdefault(key, asyncio.Lock()):
            kept = self._cache.get(key)
            if kept is None or kept.until - time.monotonic() < 1:
                try:
                    kept = await self._fetch(*key)
                except (OSError, dns.exception.DNSException):
                    response.set_rcode(dns.rcode.SERVFAIL)
                    return response
                self._cache[key] = kept
        remaining = int(kept.until - time.monotonic())
        response.set_rcode(kept.rcode)
        response.answer += [_aged(rrset, remaining) for rrset in kept.answer]
        response.authority += [_aged(rrset, remaining) for rrset in kept.authority]
        return response

    async def _fetch(self, name: dns.name.Name, rtype: dns.rdatatype.RdataType) -> _Kept:
        query = dns.message.make_query(name, rtype, flags=0)
        address, port = next(self._servers)
        said = await dns.asyncquery.udp(query, address, _DEADLINE, port)
        soa = tuple(x for x in said.authority if x.rdtype == dns.rdatatype.SOA)
        ttl = min((x.ttl for x in (*said.answer, *soa)), default=0)
        ttl = max(ttl, self._least) if said.answer else ttl
        return _Kept(time.monotonic() + max(ttl, 1) + 0.999, said.rcode(), tuple(said.answer), soa)


def _aged(rrset: dns.rrset.RRset, remaining: int) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(rrset.name, max(remaining, 0), list(rrset))
