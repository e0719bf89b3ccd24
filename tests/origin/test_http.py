"""Asking the machine at a given address, and believing nothing that is not verified."""

from __future__ import annotations

import asyncio
import gzip
import random
import ssl
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cutover.errors import CutoverError
from cutover.http import USER_AGENT, Endpoint, Exchange, Limits, endpoints, fetch, trust_store
from tests.origin.conftest import Talk, serving
from tests.world.origin import CertificateAuthority, Origin, Page
from tests.world.process import Daemon, free_port, program

QUICK = Limits(connect=0.4, total=0.8, body=1 << 16)


def get(url: str, endpoint: Endpoint, trust: ssl.SSLContext, limits: Limits | None = None) -> Exchange:
    return asyncio.run(fetch(url, endpoint, trust, limits=limits))


def at(origin: Origin) -> Endpoint:
    return Endpoint(origin.address, origin.port)


def talked(talk: Talk, trust: ssl.SSLContext, *, tls: ssl.SSLContext | None = None) -> tuple[Exchange, float]:
    """GET from a misbehaving server, and how long that took."""

    async def run() -> tuple[Exchange, float]:
        async with serving(talk, tls=tls) as endpoint:
            began = time.monotonic()
            scheme = "https" if tls else "http"
            exchange = await fetch(f"{scheme}://app.example.com/version", endpoint, trust, limits=QUICK)
            return exchange, time.monotonic() - began

    return asyncio.run(run())


class TestWhoIsAsked:
    def test_the_machine_at_the_address_with_the_urls_host_and_sni(self, old: Origin, trust: ssl.SSLContext) -> None:
        names: list[str | None] = []
        assert old.context is not None
        old.context.sni_callback = lambda _tls, name, _context: names.append(name)
        exchange = get(old.url, at(old), trust)
        assert (exchange.status, exchange.error, exchange.tls_error) == (200, "", "")
        assert exchange.header("X-Release") == "porter-41"
        assert exchange.body == b'{"release": "porter-41"}'
        assert names == ["app.example.com"]
        assert old.requests == [("GET", "/version", USER_AGENT, f"app.example.com:{old.port}")]

    def test_the_leaf_certificate_of_the_verified_handshake(self, old: Origin, trust: ssl.SSLContext) -> None:
        seen = get(old.url, at(old), trust).certificate
        assert seen is not None
        assert seen.names == ("app.example.com",)
        assert len(seen.sha256) == 64
        assert get(old.url, at(old), trust).certificate == seen
        old.certificate()
        other = get(old.url, at(old), trust).certificate
        assert other is not None
        assert other.sha256 != seen.sha256

    def test_environment_proxies_are_not_asked(
        self, old: Origin, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert get(old.url, at(old), trust).status == 200

    def test_two_hosts_at_one_address_each_get_their_own_handshake(self, old: Origin, trust: ssl.SSLContext) -> None:
        async def both() -> list[Exchange]:
            return [
                await fetch(f"https://{host}:{old.port}/", at(old), trust)
                for host in ("app.example.com", "other.example.com")
            ]

        mine, other = asyncio.run(both())
        assert mine.status == 200
        assert other.status == 0
        assert "other.example.com" in other.tls_error

    def test_an_address_as_host_is_verified_as_an_address(
        self, authority: CertificateAuthority, trust: ssl.SSLContext
    ) -> None:
        with Origin(authority, "127.0.0.1") as origin:
            assert get(f"https://127.0.0.1:{origin.port}/", at(origin), trust).status == 200
            assert get(f"https://app.example.com:{origin.port}/", at(origin), trust).tls_error

    def test_redirects_are_evidence_and_not_followed(self, old: Origin, trust: ssl.SSLContext) -> None:
        old.pages["/version"] = Page(302, headers={"Location": f"https://app.example.com:{old.port}/"})
        exchange = get(old.url, at(old), trust)
        assert exchange.status == 302
        assert len(old.requests) == 1

    def test_plain_http(self, trust: ssl.SSLContext) -> None:
        with Origin(None, release="porter-41") as origin:
            exchange = get(origin.url, at(origin), trust)
            assert (exchange.status, exchange.certificate) == (200, None)


class TestTrust:
    def test_a_certificate_for_another_name_is_named_and_nothing_is_asked(
        self, old: Origin, trust: ssl.SSLContext
    ) -> None:
        old.certificate("proxy.example.net", "*.proxy.example.net")
        exchange = get(old.url, at(old), trust)
        assert exchange.status == 0
        assert exchange.body == b""
        assert "not valid for 'app.example.com'" in exchange.tls_error
        assert "certificate for proxy.example.net, *.proxy.example.net, until " in exchange.tls_error
        assert exchange.certificate is not None
        assert exchange.certificate.names == ("proxy.example.net", "*.proxy.example.net")
        assert old.requests == []

    def test_an_expired_certificate(self, old: Origin, trust: ssl.SSLContext) -> None:
        old.certificate(expired=True)
        exchange = get(old.url, at(old), trust)
        assert exchange.status == 0
        assert "expired" in exchange.tls_error
        assert old.requests == []

    def test_a_strangers_certificate_for_the_right_name(self, old: Origin, trust: ssl.SSLContext) -> None:
        old.foreign_certificate()
        exchange = get(old.url, at(old), trust)
        assert exchange.status == 0
        assert exchange.tls_error
        assert old.requests == []

    def test_without_the_ca_file_a_private_authority_is_not_trusted(self, old: Origin) -> None:
        exchange = get(old.url, at(old), trust_store())
        assert exchange.status == 0
        assert exchange.tls_error

    def test_a_ca_file_adds_to_the_systems_authorities(
        self, authority: CertificateAuthority, tmp_path: Path, old: Origin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        system = authority.save(tmp_path / "system.pem")
        other = CertificateAuthority().save(tmp_path / "other.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(system))
        assert get(old.url, at(old), trust_store([other])).status == 200

    def test_chains_are_read_as_browsers_do_on_every_python(self) -> None:
        context = trust_store()
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED

    def test_a_replaced_ca_file_is_read_again(
        self, authority: CertificateAuthority, tmp_path: Path, old: Origin
    ) -> None:
        path = CertificateAuthority().save(tmp_path / "ca.pem")
        assert get(old.url, at(old), trust_store([path])).tls_error
        authority.save(path)
        assert get(old.url, at(old), trust_store([path])).status == 200

    @pytest.mark.parametrize("content", [None, b"", b"no certificate"])
    def test_a_ca_file_that_is_none(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CutoverError) as caught:
            trust_store([path])
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message


class TestFailures:
    def test_refused(self, old: Origin, trust: ssl.SSLContext) -> None:
        old.refuse()
        exchange = get(old.url, at(old), trust)
        assert (exchange.error, exchange.refused, exchange.tls_error) == ("connection refused", True, "")

    def test_a_server_that_accepts_and_is_silent_costs_the_handshakes_limit(self, trust: ssl.SSLContext) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(30)

        async def run() -> tuple[Exchange, float]:
            async with serving(silent) as endpoint:
                began = time.monotonic()
                exchange = await fetch("https://app.example.com/", endpoint, trust, limits=QUICK)
                return exchange, time.monotonic() - began

        exchange, seconds = asyncio.run(run())
        assert exchange.error == "no connection within 0.4 s"
        assert not exchange.refused
        assert seconds < 15

    def test_a_server_that_hangs_after_the_handshake_costs_the_total(self, old: Origin, trust: ssl.SSLContext) -> None:
        old.hang = True
        began = time.monotonic()
        exchange = get(old.url, at(old), trust, QUICK)
        assert time.monotonic() - began < 15
        assert "within 0.8 s" in exchange.error or "timed out" in exchange.error.lower()
        assert exchange.status == 0

    def test_a_body_that_drips_without_end(self, trust: ssl.SSLContext) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

        exchange, seconds = talked(drip, trust)
        assert exchange.status == 0
        assert "0.8 s" in exchange.error
        assert seconds < 15

    def test_headers_without_end(self, trust: ssl.SSLContext) -> None:
        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"x-more: " + b"y" * 4000 + b"\r\n")
                await writer.drain()

        exchange, _ = talked(flood, trust)
        assert exchange.status == 0
        assert exchange.error

    def test_no_tls_on_a_tls_port_is_an_error_of_tls(self, trust: ssl.SSLContext) -> None:
        with Origin(None) as origin:
            exchange = get(f"https://app.example.com:{origin.port}/", at(origin), trust)
        assert exchange.status == 0
        assert exchange.tls_error.startswith("no TLS session")

    def test_a_connection_closed_in_the_handshake(self, trust: ssl.SSLContext) -> None:
        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)

        async def run() -> Exchange:
            async with serving(close) as endpoint:
                return await fetch("https://app.example.com/", endpoint, trust, limits=QUICK)

        exchange = asyncio.run(run())
        assert exchange.error
        assert not exchange.refused
        assert not exchange.tls_error

    def test_garbage_never_raises(self, authority: CertificateAuthority, trust: ssl.SSLContext) -> None:
        dice = random.Random(7)
        starts = [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/2"]

        async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(dice.choice(starts) + dice.randbytes(dice.randrange(1, 500)))
            await writer.drain()

        for tls in (None, authority.context("app.example.com")):
            for _ in range(25):
                exchange, _ = talked(noise, trust, tls=tls)
                assert exchange.status or exchange.error or exchange.tls_error
                assert "\n" not in exchange.error

    def test_http2_garbage_never_raises(self, authority: CertificateAuthority, trust: ssl.SSLContext) -> None:
        dice = random.Random(8)
        context = authority.context("app.example.com")
        context.set_alpn_protocols(["h2"])

        async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\0\0\0\x04\0\0\0\0\0")
            await reader.read(100)
            for _ in range(dice.randrange(1, 5)):
                payload = dice.randbytes(dice.randrange(0, 60))
                kind = dice.randrange(0, 12).to_bytes(1, "big")
                stream = dice.choice([0, 1, 1, 1, 2]).to_bytes(4, "big")
                writer.write(len(payload).to_bytes(3, "big") + kind + dice.randbytes(1) + stream + payload)
            await writer.drain()

        for _ in range(60):
            exchange, _ = talked(noise, trust, tls=context)
            assert exchange.status or exchange.error or exchange.tls_error


class TestBody:
    def test_it_is_cut_at_the_limit(self, old: Origin, trust: ssl.SSLContext) -> None:
        old.pages["/version"] = Page(body=b"x" * (3 << 20))
        exchange = get(old.url, at(old), trust)
        assert len(exchange.body) == 1 << 20
        assert exchange.truncated

    def test_gzip_is_undone(self, old: Origin, trust: ssl.SSLContext) -> None:
        packed = gzip.compress(b"down for maintenance")
        old.pages["/version"] = Page(body=packed, headers={"Content-Encoding": "gzip"})
        exchange = get(old.url, at(old), trust)
        assert exchange.body == b"down for maintenance"
        assert not exchange.truncated

    def test_a_gzip_bomb_stays_within_the_limit(self, old: Origin, trust: ssl.SSLContext) -> None:
        packed = gzip.compress(bytes(100 << 20), compresslevel=9)
        old.pages["/version"] = Page(body=packed, headers={"Content-Encoding": "gzip"})
        tracemalloc.start()
        try:
            exchange = get(old.url, at(old), trust)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(exchange.body) == 1 << 20
        assert exchange.truncated
        assert peak < 10 << 20

    @pytest.mark.parametrize("coding", ["br", "gzip"])
    def test_a_body_that_cannot_be_decoded_is_said_so(self, old: Origin, trust: ssl.SSLContext, coding: str) -> None:
        old.pages["/version"] = Page(body=b"no such thing", headers={"Content-Encoding": coding})
        exchange = get(old.url, at(old), trust)
        assert exchange.status == 200
        assert exchange.body == b""
        assert exchange.body_error


def test_http2_and_ipv6(authority: CertificateAuthority, trust: ssl.SSLContext, tmp_path: Path) -> None:
    folder = tmp_path
    chain, key = authority.write(folder, "app.example.com")
    port = free_port(kind="tcp")
    (folder / "nginx.conf").write_text(
        f"""daemon off; master_process off; pid {folder}/pid; error_log stderr;
        events {{}}
        http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{ listen [::1]:{port} ssl http2; server_name app.example.com;
            ssl_certificate {chain}; ssl_certificate_key {key};
            location / {{ default_type text/plain; return 200 "$server_protocol $host $ssl_server_name"; }} }} }}"""
    )
    daemon = Daemon([program("nginx"), "-c", str(folder / "nginx.conf"), "-e", "stderr"], folder / "log")
    try:
        endpoint = Endpoint("::1", port)
        url = f"https://app.example.com:{port}/"
        daemon.wait_ready(lambda: not get(url, endpoint, trust).refused)
        exchange = get(url, endpoint, trust)
        assert exchange.body == b"HTTP/2.0 app.example.com app.example.com"
        assert exchange.certificate is not None
        assert str(endpoint) == f"[::1]:{port}"
        assert "other.example.com" in get(f"https://other.example.com:{port}/", endpoint, trust).tls_error
    finally:
        daemon.stop()


def test_endpoints_of_addresses_and_names() -> None:
    assert asyncio.run(endpoints("127.0.0.9", 443)) == (Endpoint("127.0.0.9", 443),)
    assert asyncio.run(endpoints("::1", 8443)) == (Endpoint("::1", 8443),)
    assert Endpoint("127.0.0.1", 80) in asyncio.run(endpoints("localhost", 80))


def test_a_name_that_does_not_resolve_is_an_error_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def nothing(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(OSError, match=r"ingress\.porter\.example does not resolve"):
        asyncio.run(endpoints("ingress.porter.example", 443))
