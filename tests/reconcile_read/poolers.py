"""Small proxies that stand between us and Postgres: a pooler, and a wire that can be cut."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Self


class Wire:
    """A TCP proxy; :meth:`cut` ends connections as a broken network does."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.refuse = False
        self.bytes_until_cut: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuse:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self.pairs.append((client, server))
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted and self.bytes_until_cut is not None:
                    self.bytes_until_cut -= len(data)
                    if self.bytes_until_cut < 0:
                        self.bytes_until_cut = None
                        break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self, which: slice = slice(None)) -> None:
        """End connections, all or some, in the order in which they were opened."""
        for pair in self.pairs[which]:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class TransactionPooler:
    """Gives each transaction the backend that was used last, as pgbouncer in transaction mode does."""

    def __init__(self, host: str, port: int, database: str, user: str) -> None:
        self._target = (host, port)
        self._startup = _startup(database, user)
        self._pool: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._pool:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _server(self) -> tuple[socket.socket, bytes]:
        with self._lock:
            if self._pool:
                return self._pool.pop(), b""
        server = socket.create_connection(self._target)
        server.sendall(self._startup)
        greeting = b""
        for kind, body in _messages(server):
            if kind == b"S":
                greeting += kind + struct.pack("!i", len(body) + 4) + body
            if kind == b"Z":
                return server, greeting
        raise ConnectionError("no server")

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ConnectionError, struct.error):
            while True:
                length = struct.unpack("!i", _exactly(client, 4))[0]
                body = _exactly(client, length - 4)
                if body[:4] == struct.pack("!i", 80877103):  # SSLRequest
                    client.sendall(b"N")
                    continue
                break
            server, greeting = self._server()
            with self._lock:
                self._pool.append(server)
            if not greeting:
                greeting = b"".join(
                    _message(b"S", name + b"\0" + value + b"\0")
                    for name, value in (
                        (b"server_version", b"15.0"),
                        (b"server_encoding", b"UTF8"),
                        (b"client_encoding", b"UTF8"),
                        (b"standard_conforming_strings", b"on"),
                    )
                )
            client.sendall(_message(b"R", struct.pack("!i", 0)) + greeting)
            client.sendall(_message(b"K", struct.pack("!ii", 7, 7)) + _message(b"Z", b"I"))
            held: socket.socket | None = None
            while True:
                kind = _exactly(client, 1)
                body = _exactly(client, struct.unpack("!i", _exactly(client, 4))[0] - 4)
                if kind == b"X":
                    break
                if held is None:
                    held, _ = self._server()
                held.sendall(_message(kind, body))
                if kind not in b"QS":
                    continue
                for answer, content in _messages(held):
                    client.sendall(_message(answer, content))
                    if answer == b"Z":
                        if content == b"I":
                            with self._lock:
                                self._pool.append(held)
                            held = None
                        break
        client.close()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _startup(database: str, user: str) -> bytes:
    body = struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack("!i", len(body) + 4) + body


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def _messages(source: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    while True:
        kind = _exactly(source, 1)
        yield kind, _exactly(source, struct.unpack("!i", _exactly(source, 4))[0] - 4)
