"""DoT and DoH servers under a test CA."""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from types import TracebackType
from typing import Self

import trustme

from tests.dns.servers import Handler


class Encrypted:
    """A DNS-over-TLS server, or with ``https`` a DNS-over-HTTPS server (HTTP/1.1), in its own thread."""

    def __init__(self, handler: Handler, certificate: trustme.LeafCert, *, https: bool = False) -> None:
        self.handler = handler
        self.https = https
        self.status = 200
        self.headers = {"content-type": "application/dns-message"}
        self.requests: list[tuple[str, str, str, str]] = []
        self.connections = 0
        self.address = ""
        self._writers: list[asyncio.StreamWriter] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def drop_connections(self) -> None:
        """Close what is open, as a server does with idle connections."""
        for writer in self._writers:
            self._loop.call_soon_threadsafe(writer.close)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        handle = self._http if self.https else self._dot
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=self._tls)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _dot(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                length = struct.unpack("!H", await reader.readexactly(2))[0]
                for packet in self.handler(await reader.readexactly(length)):
                    writer.write(struct.pack("!H", len(packet)) + packet)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                method, path, _ = head[0].split(" ")
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                self.requests.append((method, fields["host"], path, fields["content-type"]))
                for packet in self.handler(body)[:1]:
                    lines = [f"HTTP/1.1 {self.status} x", f"content-length: {len(packet)}"]
                    lines += [f"{name}: {value}" for name, value in self.headers.items()]
                    writer.write("\r\n".join([*lines, "", ""]).encode() + packet)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
