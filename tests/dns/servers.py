"""Servers of our own for what real ones never do: forged, late, broken and foreign answers."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.rrset

Handler = Callable[[bytes], "list[bytes]"]
"""Takes a query's wire, returns the packets to send back."""


def silent(wire: bytes) -> list[bytes]:
    """Never answer."""
    return []


def answering(*lines: str, ttl: int = 60, aa: bool = False) -> Handler:
    """Return a handler that answers each question with the RRs whose owner starts the line's chain."""

    def handle(wire: bytes) -> list[bytes]:
        return [answer(wire, *lines, ttl=ttl, aa=aa)]

    return handle


def answer(wire: bytes, *lines: str, ttl: int = 60, aa: bool = False) -> bytes:
    """Answer a query with the lines ``owner type data``."""
    query = dns.message.from_wire(wire)
    response = dns.message.make_response(query, recursion_available=not aa)
    if aa:
        response.flags |= dns.flags.AA
    for line in lines:
        owner, rtype, data = line.split(" ", 2)
        response.answer.append(dns.rrset.from_text(owner, ttl, "IN", rtype, data))
    return response.to_wire(max_size=65535)


class Server:
    """A UDP and TCP server on one loopback port, in its own thread.

    Args:
        handler: for UDP; ``tcp`` for TCP, by default the same.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        tcp: Handler | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        delay: float = 0.0,
    ) -> None:
        self.handler = handler
        self.tcp = tcp or handler
        self.host = host
        self.delay = delay
        self.hang_up = False
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.port = port
        self._streams: list[asyncio.Future[None]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server, transport = await self._listen()
        self._ready.set()
        await self._stop.wait()
        server.close()
        transport.close()
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    async def _listen(self) -> tuple[asyncio.Server, asyncio.DatagramTransport]:
        """Listen on one port over TCP and UDP; one that is free for the first may be taken for the second."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        for tries_left in reversed(range(20)):
            server = await asyncio.start_server(self._accept, self.host, self.port, family=family)
            port = server.sockets[0].getsockname()[1]
            try:
                transport, _ = await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(self.host, port), family=family
                )
            except OSError:
                server.close()
                if self.port or not tries_left:
                    raise
            else:
                self.port = port
                return server, transport
        raise AssertionError("unreachable")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.append(asyncio.ensure_future(self._stream(reader, writer)))

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = struct.unpack("!H", await reader.readexactly(2))[0]
                wire = await reader.readexactly(length)
                self.received.append((wire, ("tcp", 0)))
                for packet in self.tcp(wire):
                    writer.write(struct.pack("!H", len(packet)) + packet)
                await writer.drain()
                if self.hang_up:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.server.received.append((data, addr))
        for packet in self.server.handler(data):
            if self.server.delay:
                asyncio.get_running_loop().call_later(self.server.delay, self.transport.sendto, packet, addr)
            else:
                self.transport.sendto(packet, addr)
