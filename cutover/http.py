"""HTTP and TLS towards an address that the caller names. The only module that imports httpx.

Whoever asks an origin must reach *that* machine: a proxy from the environment, a resolver's answer of the moment
or a pooled connection that was opened for another host would all make the reply evidence of something else.
So every exchange here opens its own connection to the given address, while ``Host``, SNI and the certificate's
verification stay those of the url (what ``curl --connect-to`` does). Nothing is ever believed over a connection
that is not verified: when verification fails, a second handshake reads the certificate, to say what answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import httpx
from cryptography import x509

from cutover import __version__
from cutover.errors import CutoverError

__all__ = [
    "USER_AGENT",
    "Certificate",
    "Endpoint",
    "Exchange",
    "Limits",
    "endpoints",
    "fetch",
    "httpx",
    "trust_store",
]

USER_AGENT = f"cutover/{__version__}"


class Endpoint(NamedTuple):
    """Where to connect: an address (or host name) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write ``address:port``, with brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one exchange may cost.

    Attributes:
        connect: seconds for the connection, and again for the TLS handshake.
        total: seconds for everything, body included.
        body: bytes of the body that are read, before and after decompression.
    """

    connect: float = 3.0
    total: float = 10.0
    body: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """A leaf certificate.

    Attributes:
        sha256: hex digest of the DER form.
        expires: end of validity, UTC.
        names: DNS names and addresses it is for; its common name when it has none.
    """

    sha256: str
    expires: datetime
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One GET and its response, or why there is none.

    Attributes:
        status: 0 when there is no response that may be believed.
        headers: as received, in order; names in lower case.
        body: decompressed, at most :attr:`Limits.body` bytes.
        truncated: there was more of it.
        body_error: why the body could not be decoded, or "".
        error: one line when nothing answered, or nothing that speaks HTTP; "" otherwise.
        refused: the connection was refused.
        tls_error: why the certificate (or the handshake) does not hold for the url's host.
        certificate: the leaf; of the unverified second handshake when ``tls_error`` is set.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    truncated: bool = False
    body_error: str = ""
    error: str = ""
    refused: bool = False
    tls_error: str = ""
    certificate: Certificate | None = None

    def header(self, name: str) -> str:
        """Return a header's value, several joined by ``", "`` (RFC 9110 5.3); "" when it is absent."""
        return ", ".join(value for key, value in self.headers if key == name.lower())


def trust_store(ca_files: Sequence[Path] = ()) -> ssl.SSLContext:
    """Return a verifying TLS context: the system's authorities, and those of the files.

    Where Python knows of no system store (its macOS installer), httpx's own list stands in. The strict reading of
    RFC 5280 that Python 3.13 turned on is off: browsers accept such chains, and what users can open is the question.

    Raises:
        CutoverError: a file cannot be read or holds no certificate.
    """
    stamped: list[tuple[Path, int]] = []
    for path in ca_files:
        try:
            stamped.append((path, path.stat().st_mtime_ns))
        except OSError as error:
            raise CutoverError(
                f"ca_file {path}: cannot be read: {error.strerror}", "name a PEM file, relative to the plan's folder"
            ) from None
    return _trust_store(tuple(stamped))


@lru_cache(maxsize=32)
def _trust_store(stamped: tuple[tuple[Path, int], ...]) -> ssl.SSLContext:
    system = ssl.get_default_verify_paths()
    has_system_store = system.cafile is not None or system.capath is not None or sys.platform == "win32"
    context = ssl.create_default_context() if has_system_store else httpx.create_ssl_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for path, _ in stamped:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError):
            raise CutoverError(
                f"ca_file {path}: holds no certificate in PEM form", "name a file with -----BEGIN CERTIFICATE-----"
            ) from None
    return context


async def endpoints(host: str, port: int, *, seconds: float = 3.0) -> tuple[Endpoint, ...]:
    """Return where a host name (or an address) leads, by this machine's resolver, in its order.

    Raises:
        OSError: it does not resolve, or not in time.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise OSError(f"{host} was not resolved within {seconds:g} s") from None
    except (socket.gaierror, UnicodeError):
        raise OSError(f"{host} does not resolve on this machine") from None
    return tuple(dict.fromkeys(Endpoint(str(entry[4][0]), port) for entry in found))


async def fetch(
    url: str, endpoint: Endpoint, trust: ssl.SSLContext, *, user_agent: str = USER_AGENT, limits: Limits | None = None
) -> Exchange:
    """GET a url from the machine at an endpoint. Redirects are not followed: the first answer is the evidence.

    Args:
        url: gives scheme, ``Host``, SNI, the name that the certificate must hold for, and the path.
        endpoint: where to connect.
        trust: from :func:`trust_store`.
        user_agent: probes and sentinels are told apart by it, and subtracted from traffic.
        limits: time and size.

    Returns:
        What came of it. Nothing that a server does raises.
    """
    limits = limits or Limits()
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode("ascii")
    request = httpx.Request(
        "GET",
        parsed.copy_with(host=endpoint.host, port=endpoint.port),
        headers={
            "Host": parsed.netloc.decode("ascii"),
            "User-Agent": user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
        },
        extensions={
            "sni_hostname": host,
            "timeout": {"connect": limits.connect, "read": limits.total, "write": limits.total, "pool": None},
        },
    )
    try:
        async with asyncio.timeout(limits.total):
            return await _exchange(request, trust, limits)
    except TimeoutError:
        return Exchange(error=f"no complete response within {limits.total:g} s")
    except httpx.ConnectTimeout:
        return Exchange(error=f"no connection within {limits.connect:g} s")
    except (httpx.HTTPError, ssl.SSLError, OSError) as error:
        failure = _failure(error)
    if not failure.tls_error:
        return failure
    certificate = await _presented(endpoint, host, limits.connect)
    return Exchange(tls_error=_what_answers(failure.tls_error, certificate), certificate=certificate)


async def _exchange(request: httpx.Request, trust: ssl.SSLContext, limits: Limits) -> Exchange:
    async with httpx.AsyncHTTPTransport(verify=trust, http1=True, http2=True, trust_env=False) as transport:
        response = await transport.handle_async_request(request)
        try:
            stream = response.extensions.get("network_stream")
            tls = stream.get_extra_info("ssl_object") if stream is not None else None
            der = tls.getpeercert(binary_form=True) if tls is not None else None
            raw = bytearray()
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > limits.body:
                    break
            headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
            body, truncated, body_error = _decoded(bytes(raw), response.headers.get("content-encoding", ""), limits)
            return Exchange(
                status=response.status_code,
                headers=headers,
                body=body,
                truncated=truncated,
                body_error=body_error,
                certificate=_certificate(der) if der else None,
            )
        finally:
            await response.aclose()


def _decoded(raw: bytes, encoding: str, limits: Limits) -> tuple[bytes, bool, str]:
    """Undo gzip within the limit: a compressed body may be a thousand times its size."""
    coding = encoding.strip().lower()
    if coding in {"", "identity"}:
        return raw[: limits.body], len(raw) > limits.body, ""
    if coding not in {"gzip", "x-gzip"}:
        return b"", False, f"the body is {coding[:40]!r}-encoded, which was not asked for"
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = unzip.decompress(raw, limits.body)
    except zlib.error:
        return b"", False, "the body is broken gzip"
    return body, not unzip.eof, ""


def _certificate(der: bytes) -> Certificate | None:
    sha256 = hashlib.sha256(der).hexdigest()
    try:
        leaf = x509.load_der_x509_certificate(der)
        return Certificate(sha256, leaf.not_valid_after_utc, _names_of(leaf))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def _names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = alternatives.get_values_for_type(x509.DNSName)
        addresses = [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)]
        return tuple(dns + addresses)
    except x509.ExtensionNotFound:
        return tuple(str(part.value) for part in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME))


async def _presented(endpoint: Endpoint, host: str, seconds: float) -> Certificate | None:
    """Read the certificate that a machine shows, without believing it and without asking for anything."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(2 * seconds):
            _, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, server_hostname=host, ssl_handshake_timeout=seconds
            )
    except (OSError, TimeoutError):
        return None
    try:
        tls = writer.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        return _certificate(der) if der else None
    finally:
        writer.transport.abort()


def _what_answers(reason: str, certificate: Certificate | None) -> str:
    if certificate is None:
        return reason
    shown = ", ".join(certificate.names[:3]) or "no name"
    more = f" and {len(certificate.names) - 3} more" if len(certificate.names) > 3 else ""
    return f"{reason} (certificate for {shown}{more}, until {certificate.expires:%Y-%m-%d})"


def _failure(error: BaseException) -> Exchange:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Exchange(tls_error=_one_line(cause.verify_message))
        if isinstance(cause, ssl.SSLEOFError):
            return Exchange(error="the connection was closed during the TLS handshake")
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return Exchange(tls_error=f"no TLS session: {cause.reason.lower().replace('_', ' ')}")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Exchange(error="connection refused", refused=True)
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return Exchange(error=_one_line(cause.strerror.lower()))
    if isinstance(error, httpx.ConnectError):
        return Exchange(error="the connection was closed during the TLS handshake")
    return Exchange(error=_one_line(str(error)) or type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    following = error.__cause__ or error.__context__
    if following is not None:
        yield from _causes(following)


def _one_line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split()).rstrip(".")[:200]
