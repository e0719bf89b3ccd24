"""DNS over connections: TCP (RFC 7766), TLS (RFC 7858) and HTTPS (RFC 8484).

One connection a server, questions pipelined on it. TLS is always verified, against the system's roots or the
given files; there is no insecure mode.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cutover.http import httpx, trust_store
from cutover.observations.dns import Outcome, Reply
from cutover.probes.dns.wire import MalformedError, Query, Template

_MAX_MESSAGE = 65535
_CONNECT = 10.0
_KEEP_ADDRESS = 60.0


class StreamError(Exception):
    """A connection could not be made or did not carry the answer."""


class Answered(NamedTuple):
    """What a packet said, and the packet."""

    template: Template
    ttls: tuple[int, ...]
    wire: bytes
    dropped: int


def tls_context(ca_files: Sequence[Path]) -> ssl.SSLContext:
    """Return a verifying TLS context of its own: the system's authorities and those of the files.

    The shared one of :mod:`cutover.http` will not do: httpx sets ALPN on the context that it is given, and DoT
    servers may refuse ``h2``.

    Raises:
        CutoverError: a file cannot be read or holds no certificate.
    """
    trust_store(ca_files)  # its errors are the user's words
    system = ssl.get_default_verify_paths()
    context = ssl.create_default_context() if system.cafile or system.capath else httpx.create_ssl_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for path in ca_files:
        context.load_verify_locations(path)
    return context


async def look_up(host: str) -> str:
    """Return an address of ``host`` from the system's own resolver.

    It runs in a daemon thread: a look-up that hangs must hold neither the round nor the program's end.

    Raises:
        StreamError: the name has no address.
    """
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def settle(address: str, error: str) -> None:
        if not found.done():
            if address:
                found.set_result(address)
            else:
                found.set_exception(StreamError(error))

    def work() -> None:
        address, error = "", f"{host} has no address"
        try:
            address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as failure:
            error = f"{host} cannot be resolved: {failure.strerror or failure}"
        except UnicodeError:
            error = f"{host} is no host name"
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, address, error)

    threading.Thread(target=work, daemon=True, name="cutover-look-up").start()
    return await found


class Connection:
    """One TCP or TLS connection with questions pipelined on it (RFC 7766, section 6.2.1.1)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[bytes, tuple[Query, asyncio.Future[Answered]]] = {}
        self._dropped = 0
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> Connection:
        """Connect; with ``tls``, verify the certificate for ``server_name``.

        Raises:
            OSError: no connection, or TLS could not be verified (:class:`ssl.SSLError` is one).
        """
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=server_name if tls else None
        )
        return cls(reader, writer)

    @property
    def alive(self) -> bool:
        """Whether questions can still be put."""
        return not self._listener.done() and not self._writer.is_closing()

    async def ask(self, query: Query) -> Answered:
        """Return the answer to ``query``.

        Raises:
            StreamError: the connection ended first.
            MalformedError: the server answered with something else.
        """
        key = os.urandom(2)
        while key in self._waiting:
            key = os.urandom(2)
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting[key] = (query, answer)
        message = key + query.tail
        try:
            self._writer.write(struct.pack("!H", len(message)) + message)
            await self._writer.drain()
            return await answer
        except OSError as error:
            raise StreamError(error.strerror or str(error)) from error
        finally:
            self._waiting.pop(key, None)

    def close(self) -> None:
        """End the connection."""
        self._listener.cancel()
        self._writer.close()

    async def _listen(self) -> None:
        reason = "the server closed the connection"
        try:
            while True:
                length = struct.unpack("!H", await self._reader.readexactly(2))[0]
                self._take(await self._reader.readexactly(length))
        except asyncio.IncompleteReadError:
            pass
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            self._writer.close()
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(StreamError(reason))

    def _take(self, wire: bytes) -> None:
        query, answer = self._waiting.get(wire[:2], (None, None))
        if query is None or answer is None or answer.done():
            self._dropped += 1
            return
        try:
            template, ttls = query.read(wire)
        except MalformedError as error:
            answer.set_exception(error)
            return
        answer.set_result(Answered(template, ttls, wire, self._dropped))


class Streams:
    """The connections of one engine."""

    def __init__(self, ca_files: Sequence[Path]) -> None:
        self._ca_files = ca_files
        self._tls: ssl.SSLContext | None = None
        self._connections: dict[tuple[str, int, str | None], asyncio.Task[Connection]] = {}
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._hosts: dict[str, tuple[float, asyncio.Task[str]]] = {}

    async def ask(self, host: str, port: int, server_name: str | None, query: Query) -> Answered:
        """Ask over TCP, or over TLS when there is a ``server_name``.

        An idle connection that the server has meanwhile closed is made anew, once.

        Raises:
            StreamError, OSError: no connection, or it ended.
            MalformedError: the server answered with something else.
        """
        key = (host, port, server_name)
        known = self._connections.get(key)
        if known is not None and known.done() and not known.cancelled() and known.exception() is None:
            connection = known.result()
            if connection.alive:
                try:
                    return await connection.ask(query)
                except StreamError:
                    pass
            if self._connections.get(key) is known:
                del self._connections[key]
        connection = await self._connect(key)
        return await connection.ask(query)

    async def ask_https(self, url: str, query: Query) -> Answered:
        """Ask by a POST of the message (RFC 8484, section 4.1).

        The host is looked up first and the connection made to that address, with the URL's name in SNI and
        Host. TTLs are lessened by the response's ``Age`` (section 5.1).

        Raises:
            StreamError, OSError: no connection, or no success.
            MalformedError: the body is not the answer.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = await self._address(host)
        literal = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        request = self._client(parts.netloc).build_request(
            "POST",
            f"https://{literal}{port}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else ""),
            content=b"\0\0" + query.tail,
            headers={
                "host": parts.netloc,
                "accept": "application/dns-message",
                "content-type": "application/dns-message",
            },
            extensions={"sni_hostname": host},
        )
        try:
            wire, age = await self._post(parts.netloc, request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StreamError(_reason(error)) from error
        if wire[:2] != b"\0\0":
            raise MalformedError("an answer with a foreign id")
        template, ttls = query.read(wire)
        return Answered(template, tuple(max(0, ttl - age) for ttl in ttls) if age else ttls, wire, 0)

    async def close(self) -> None:
        """End every connection."""
        for task in self._connections.values():
            task.cancel()
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()
        self._connections.clear()
        for _, look in self._hosts.values():
            look.cancel()
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def _connect(self, key: tuple[str, int, str | None]) -> Connection:
        """Return the connection that is being made for ``key``; questions that wait share it, and its failure."""
        task = self._connections.get(key)
        if task is None:
            task = asyncio.create_task(self._open(*key))
            task.add_done_callback(_mark_seen)
            self._connections[key] = task
        try:
            return await asyncio.shield(task)
        except (OSError, StreamError):
            if self._connections.get(key) is task:
                del self._connections[key]
            raise

    async def _open(self, host: str, port: int, server_name: str | None) -> Connection:
        context = None if server_name is None else self._context()
        async with asyncio.timeout(_CONNECT):
            return await Connection.open(await self._address(host), port, context, server_name or "")

    async def _address(self, host: str) -> str:
        """Look a host up once a minute, whoever asks; a look-up that still runs is shared."""
        now = asyncio.get_running_loop().time()
        expires, task = self._hosts.get(host, (0.0, None))
        if task is None or (task.done() and (expires < now or task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(look_up(host))
            task.add_done_callback(_mark_seen)
            self._hosts[host] = (now + _KEEP_ADDRESS, task)
        return await asyncio.shield(task)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context(self._ca_files)
        return self._tls

    def _client(self, authority: str) -> httpx.AsyncClient:
        """Return the client of one authority: connections are never shared by names that share an address."""
        client = self._clients.get(authority)
        if client is None:
            client = httpx.AsyncClient(
                http2=True,
                verify=trust_store(self._ca_files),
                trust_env=False,
                timeout=None,  # the question's own deadline is above
                limits=httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=120),
            )
            self._clients[authority] = client
        return client

    async def _post(self, authority: str, request: httpx.Request) -> tuple[bytes, int]:
        response = await self._client(authority).send(request, stream=True)
        try:
            if response.status_code != 200:
                raise StreamError(f"HTTP status {response.status_code}")
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/dns-message":
                raise MalformedError(f"content type {kind[:60]!r}")
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_MESSAGE:
                    raise MalformedError("longer than a DNS message can be")
            age = response.headers.get("age", "0")
            return body, int(age) if age.isdecimal() and len(age) < 10 else 0
        finally:
            await response.aclose()


def _mark_seen(task: asyncio.Task[Connection] | asyncio.Task[str]) -> None:
    """Take note of a task's error, also when everybody who waited has gone."""
    if not task.cancelled():
        task.exception()


def failed(error: MalformedError | StreamError | OSError) -> Reply:
    """Return the reply for an exchange that raised."""
    if isinstance(error, MalformedError):
        return Reply(Outcome.MALFORMED, dropped=1, error=str(error))
    return Reply(Outcome.UNREACHABLE, error=_reason(error))


def _reason(error: BaseException) -> str:
    """Return one line for a failed connection; a refused certificate by its reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    text = str(error).partition("\n")[0]
    return text or type(error).__name__
