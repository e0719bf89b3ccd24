"""The users: each resolves through a resolver, keeps what it is told, keeps its connection, reads and orders."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.message
import dns.rdatatype

from cutover.rehearsal.http1 import Connection, Response

_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Where:
    """What all users have in common.

    Attributes:
        host, port: of the app.
        trust: the certificate authority.
    """

    host: str
    port: int
    trust: ssl.SSLContext


class User:
    """One user.

    Args:
        number: in the shop.
        where: the app.
        resolver: ``(address, port)``.
        every: seconds between two page views.
        orders: every how many page views an order is placed; 0 never.
    """

    def __init__(
        self, number: int, where: Where, resolver: tuple[str, int], *, every: float = 0.4, orders: int = 10
    ) -> None:
        self.number = number
        self._where = where
        self._resolver = resolver
        self._every = every
        self._orders = orders
        self._known: tuple[str, float] | None = None
        self._connection: tuple[str, Connection] | None = None
        self._lock = asyncio.Lock()

    async def live(self) -> None:
        """Use the app until cancelled."""
        random_ = random.Random(self.number)  # noqa: S311 - spreads users over time
        views = random_.randrange(self._orders or 1)
        await asyncio.sleep(random_.random() * self._every)
        while True:
            views += 1
            await self.ask("GET", "/")
            if self._orders and views % self._orders == 0:
                await self.order(f"book {views}", f"{5 + views % 90}.{self.number:02}")
            await asyncio.sleep(self._every * (0.7 + 0.6 * random_.random()))

    async def order(self, item: str, amount: str) -> Response | None:
        """Place an order."""
        return await self.ask("POST", "/orders", {"user": self.number, "item": item, "amount": amount})

    async def change(self, account: int, column: str, value: str) -> Response | None:
        """Change an account: the own one, or another that is signed in on this device."""
        return await self.ask("PATCH", f"/users/{account}", {column: value})

    async def ask(self, method: str, path: str, body: object = None) -> Response | None:
        """Send one request to wherever the name leads this user; None when it fails."""
        data = json.dumps(body).encode() if body is not None else b""
        async with self._lock:
            try:
                async with asyncio.timeout(_PATIENCE):
                    connection = await self._connected()
                    return await connection.ask(method, path, agent=f"shop/{self.number}", body=data)
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, dns.exception.DNSException):
                self.leave()
                return None
            except BaseException:
                self.leave()
                raise

    def leave(self) -> None:
        """Close the app: the next request resolves and connects anew (if the TTL is over)."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection[1].close()

    def forget(self) -> None:
        """Start the app anew: connection and known address are gone."""
        self._known = None
        self.leave()

    async def _connected(self) -> Connection:
        address = await self._address()
        if self._connection is not None and self._connection[0] != address:
            self.leave()
        if self._connection is None:
            where = self._where
            self._connection = address, await Connection.open(address, where.port, where.host, where.trust)
        return self._connection[1]

    async def _address(self) -> str:
        if self._known is not None and time.monotonic() < self._known[1]:
            return self._known[0]
        query = dns.message.make_query(self._where.host, dns.rdatatype.A)
        said = await dns.asyncquery.udp(query, self._resolver[0], 2.0, self._resolver[1])
        for rrset in said.answer:
            if rrset.rdtype == dns.rdatatype.A:
                self._known = rrset[0].address, time.monotonic() + max(rrset.ttl, 1)
                return self._known[0]
        raise OSError(f"{self._where.host} has no address")
