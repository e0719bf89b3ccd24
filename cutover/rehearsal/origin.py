"""One deployment: HTTPS at an address of its own, an access log, a maintenance page, and the shop behind it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from pathlib import Path

import psycopg

from cutover.rehearsal.http1 import Request, Response, read_request, written
from cutover.rehearsal.shop import Shop

MAINTENANCE = b"<h1>Back soon</h1><p>The shop is down for maintenance.</p>\n"
_HTML = "text/html; charset=utf-8"


class Origin:
    """One deployment.

    Args:
        release: what it calls itself, in the header ``x-release`` and at ``/version``.
        address, port: where it listens.
        context: its certificate.
        log: its access log, in the combined format.
        shop: its database.

    Attributes:
        maintenance: the edge in front of it answers everything with a maintenance page.
        counts: requests of users by status.
    """

    def __init__(self, release: str, address: str, port: int, context: ssl.SSLContext, log: Path, shop: Shop) -> None:
        self.release = release
        self.address = address
        self.port = port
        self.shop = shop
        self.maintenance = False
        self.counts: Counter[int] = Counter()
        self._context = context
        self._log_path = log
        self._log = log.open("a", buffering=1)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def accept(self) -> None:
        """Open the port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.address, self.port, ssl=self._context)

    async def refuse(self) -> None:
        """Close the port and every connection: from now on connections are refused."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in list(self._open):
                writer.transport.abort()

    async def close(self) -> None:
        """End it for good."""
        await self.refuse()
        await self.shop.close()
        self._log.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        peer = str((writer.get_extra_info("peername") or ("-",))[0])
        try:
            while (request := await read_request(reader)) is not None:
                response = await self._answer(request)
                self._note(peer, request, response)
                writer.write(written(response, head_only=request.method == "HEAD"))
                await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _answer(self, request: Request) -> Response:
        if self.maintenance:
            return Response(503, {"Content-Type": _HTML, "Retry-After": "60"}, MAINTENANCE)
        own = {"x-release": self.release, "Cache-Control": "no-store"}
        path = request.path.partition("?")[0]
        if request.method in {"GET", "HEAD"}:
            if path == "/version":
                body = f'{{"release": "{self.release}"}}\n'.encode()
                return Response(200, {**own, "Content-Type": "application/json"}, body)
            return Response(200, {**own, "Content-Type": _HTML}, f"<h1>Shop</h1><p>{self.release}</p>\n".encode())
        try:
            said = await self.shop.write(path.strip("/").split("/"), request.body)
        except (KeyError, TypeError, ValueError) as error:
            return Response(400, own, f"{error}\n".encode())
        except psycopg.Error as error:
            return Response(503, own, f"the database refuses: {str(error).splitlines()[-1]}\n".encode())
        return Response(201, {**own, "Content-Type": "application/json"}, f"{said}\n".encode())

    def _note(self, peer: str, request: Request, response: Response) -> None:
        agent = request.headers.get("user-agent", "-")
        if agent.startswith("shop/"):
            self.counts[response.status] += 1
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        first = f"{request.method} {request.path} HTTP/1.1"
        self._log.write(f'{peer} - - [{stamp}] "{first}" {response.status} {len(response.body)} "-" "{agent}"\n')
