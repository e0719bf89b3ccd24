"""Origins under one test authority, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cutover.http import Endpoint, trust_store
from tests.world.origin import CertificateAuthority, Origin

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., contextlib.AbstractAsyncContextManager[Endpoint]]


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture
def ca_file(authority: CertificateAuthority, tmp_path: Path) -> Path:
    return authority.save(tmp_path / "ca.pem")


@pytest.fixture
def trust(ca_file: Path) -> ssl.SSLContext:
    return trust_store([ca_file])


@pytest.fixture
def old(authority: CertificateAuthority) -> Iterator[Origin]:
    with Origin(authority, release="porter-41", address="127.0.0.41") as origin:
        yield origin


@pytest.fixture
def new(authority: CertificateAuthority, old: Origin) -> Iterator[Origin]:
    with Origin(authority, release="sst-7", address="127.0.0.42", port=old.port) as origin:
        yield origin


@asynccontextmanager
async def serving(talk: Talk, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """A server that does with each connection whatever ``talk`` says."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
