"""HTTP/1.1 with kept connections, as far as the sandbox's origins and users need it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read one request; None when the client has left.

    Raises:
        ValueError: it is no HTTP.
    """
    head = await _head(reader)
    if head is None:
        return None
    first, headers = head
    method, path, _ = first.split(" ", 2)
    return Request(method, path, headers, await _body(reader, headers))


def written(response: Response, *, head_only: bool = False) -> bytes:
    """Return a response as it goes over the wire."""
    fields = {**response.headers, "Content-Length": str(len(response.body))}
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else response.body)


class Connection:
    """A client's kept connection to one address.

    Args:
        reader, writer: of the stream.
        host: for the Host header.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def open(cls, address: str, port: int, host: str, trust: ssl.SSLContext) -> Connection:
        """Connect with TLS and SNI.

        Raises:
            OSError: nobody answers, or the certificate is not for ``host``.
        """
        reader, writer = await asyncio.open_connection(address, port, ssl=trust, server_hostname=host)
        return cls(reader, writer, f"{host}:{port}")

    async def ask(self, method: str, path: str, *, agent: str, body: bytes = b"") -> Response:
        """Send one request and wait for its response.

        Raises:
            OSError: the connection is over.
            ValueError: the answer is no HTTP.
        """
        fields = {"Host": self._host, "User-Agent": agent, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        await self._writer.drain()
        answer = await _head(self._reader)
        if answer is None:
            raise ConnectionResetError("the server closed the connection")
        first, headers = answer
        return Response(int(first.split(" ")[1]), headers, await _body(self._reader, headers))

    def close(self) -> None:
        """Give the connection up."""
        self._writer.transport.abort()


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        block = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise ValueError("the head is too long") from None
    first, *fields = block.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in fields)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    length = int(headers.get("content-length") or 0)
    if length > _LIMIT:
        raise ValueError("the body is too long")
    return await reader.readexactly(length) if length else b""
