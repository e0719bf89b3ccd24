"""HTTPS origins: the two deployments, under a test certificate authority.

Example::

    authority = CertificateAuthority()
    with Origin(authority, "app.example.com", release="porter-41") as old:
        old.release = "porter-42"                      # every attribute may be changed while it runs
        old.pages["/"] = Page(503, b"down for maintenance")
        old.counts["GET", "curl/8.5"]                  # how many requests, by method and User-Agent
        old.refuse()                                   # closed port; accept() opens it again
        old.certificate("other.example.com")           # a certificate for the wrong name
        old.certificate(expired=True)

Several origins can share one port on addresses of their own: addresses come from DNS, the port from the url.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import trustme

from tests.world.httpserver import QuietHandler, QuietServer
from tests.world.process import common_port


class CertificateAuthority:
    """A certificate authority of our own. ``pem`` is what a client must trust."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        """The CA's certificate."""
        return self._ca.cert_pem.bytes()

    def save(self, path: Path) -> Path:
        """Write the CA's certificate, for ``ca_file``."""
        path.write_bytes(self.pem)
        return path

    def context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for ``names`` (host names and addresses)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._leaf(*names, expired=expired).configure_cert(context)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def write(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Write a certificate chain and its key as files, for servers that are not ours."""
        leaf = self._leaf(*names)
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())
        return chain, key

    def _leaf(self, *names: str, expired: bool = False) -> trustme.LeafCert:
        if not expired:
            return self._ca.issue_cert(*names)
        now = datetime.now(UTC)
        return self._ca.issue_cert(*names, not_before=now - timedelta(days=90), not_after=now - timedelta(days=1))


@dataclass
class Page:
    """One answer. ``headers`` come on top of the origin's own."""

    status: int = 200
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


class Origin:
    """One deployment at one address.

    ``/version`` answers ``{"release": ...}`` as JSON, every other path a small page; all carry ``x-release``.

    Args:
        ca: who signs its certificate; None speaks plain HTTP.
        host: the certificate's name.
        release: what tells it apart.
        address, port: where it listens; a free port by default.
        access_log: a file to which the combined log format is written.

    Attributes:
        release: sent as header and in ``/version``; None leaves the header out.
        headers: more headers for every answer (``Alt-Svc``, ``Cache-Control``...).
        pages: by path (without query), instead of the built-in answers.
        everything: one page for every path: a maintenance page.
        counts: requests by (method, User-Agent).
        requests: every (method, path, User-Agent, Host), in order.
        hang: accept connections and requests, and never answer.
    """

    def __init__(
        self,
        ca: CertificateAuthority | None,
        host: str = "app.example.com",
        *,
        release: str | None = "porter-41",
        address: str = "127.0.0.1",
        port: int = 0,
        access_log: Path | None = None,
    ) -> None:
        self.ca = ca
        self.host = host
        self.release = release
        self.address = address
        self.port = port
        self.access_log = access_log
        self.headers: dict[str, str] = {}
        self.pages: dict[str, Page] = {}
        self.everything: Page | None = None
        self.counts: Counter[tuple[str, str]] = Counter()
        self.requests: list[tuple[str, str, str, str]] = []
        self.hang = False
        self._lock = threading.Lock()
        self._context = ca.context(host) if ca else None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.port = self.port or common_port([self.address], kind="tcp")
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang = False
        self.refuse()

    @property
    def at(self) -> str:
        """``address:port``, for ``connect``."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        """The url of ``/version`` by host name."""
        return f"{'https' if self.ca else 'http'}://{self.host}:{self.port}/version"

    @property
    def context(self) -> ssl.SSLContext | None:
        """What new connections are met with."""
        return self._context

    def certificate(self, *names: str, expired: bool = False) -> None:
        """Change the certificate: for other names (default its own host), or one that is over."""
        if self.ca is None:
            raise ValueError("this origin speaks plain HTTP")
        self._context = self.ca.context(*(names or (self.host,)), expired=expired)

    def foreign_certificate(self) -> None:
        """Change to a certificate for the right name that a stranger signed."""
        self._context = CertificateAuthority().context(self.host)

    def refuse(self) -> None:
        """Close the port: connections are refused until :meth:`accept`."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            if self._thread is not None:
                self._thread.join()
            self._server = None

    def accept(self) -> None:
        """Open the port (again)."""
        if self._server is None:
            self._server = _Server((self.address, self.port), self)
            self._thread = threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
            )
            self._thread.start()

    def answer(self, path: str) -> Page:
        """What a path answers now."""
        if self.everything is not None:
            return self.everything
        if path in self.pages:
            return self.pages[path]
        if path == "/version":
            return Page(200, json.dumps({"release": self.release}).encode(), "application/json")
        return Page(200, f"<h1>{self.host}</h1><p>{self.release}</p>\n".encode())

    def note(self, method: str, target: str, agent: str, host: str, peer: str, page: Page) -> None:
        """Count a request and write the access log."""
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        with self._lock:
            self.counts[method, agent] += 1
            self.requests.append((method, target, agent, host))
            if self.access_log is not None:
                request = f"{method} {target} HTTP/1.1"
                line = f'{peer} - - [{stamp}] "{request}" {page.status} {len(page.body)} "-" "{agent}"\n'
                with self.access_log.open("a") as log:
                    log.write(line)


class _Server(QuietServer):
    def __init__(self, where: tuple[str, int], origin: Origin) -> None:
        self.origin = origin
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self._open: set[socket.socket] = set()
        super().__init__(where, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        context = self.origin.context
        request.settimeout(30)
        self._open.add(request)
        if context is not None:
            try:
                request = context.wrap_socket(request, server_side=True)
            except (OSError, ssl.SSLError):  # a client that does not trust us, or left
                return
        self._open.add(request)
        try:
            _Handler(request, client_address, self)
        finally:
            self._open.discard(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):  # also ends kept-alive connections
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that clients, or :meth:`server_close`, break are no news."""


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        origin = self.server.origin
        length = int(self.headers.get("content-length") or 0)
        if length:
            self.rfile.read(length)
        page = origin.answer(self.path.partition("?")[0])
        agent, host = self.headers.get("user-agent", "-"), self.headers.get("host", "")
        origin.note(self.command, self.path, agent, host, str(self.client_address[0]), page)
        if page.delay:
            time.sleep(page.delay)
        while origin.hang:
            time.sleep(0.05)
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": page.kind,
            "Content-Length": str(len(page.body)),
            **({"x-release": origin.release} if origin.release is not None else {}),
            **origin.headers,
            **page.headers,
        }
        head = f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\n"
        head += "".join(f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n"
        body = b"" if self.command == "HEAD" else page.body
        self.wfile.write(head.encode("latin-1") + body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 (the standard library names them)
