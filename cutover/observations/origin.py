"""What the two deployments answered over HTTP and TLS."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple

from cutover.observations.base import Observation


class Match(NamedTuple):
    """Whether one of the plan's fingerprints fits a response.

    Attributes:
        label: ``old``, ``new``, ``old-maintenance`` or ``new-maintenance``.
        saw: what was compared, shortened (``x-release: porter-41``), or why it could not be.
    """

    label: str
    matched: bool
    saw: str


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP exchange, or why there is none.

    Attributes:
        status: 0 when there is no response.
        error: one line, "" when there is a response.
        refused: the connection was refused (as opposed to a timeout).
        tls_error: why the certificate does not hold for the url's host, "" when it does; meaningless
            for plain http. ``status`` is then 0: a second handshake without trust reads the certificate,
            to tell what answers, and asks for nothing.
        cert_sha256: hex of the leaf certificate's DER, or "".
        cert_expires: of the leaf.
        cert_names: what the leaf is for, the first 20.
        kind_of: media type without parameters, lower case.
        length: bytes of the body that were read.
        alt_svc, keep_alive, cache_control, server: header values, or "".
    """

    status: int
    error: str = ""
    refused: bool = False
    tls_error: str = ""
    cert_sha256: str = ""
    cert_expires: datetime | None = None
    kind_of: str = ""
    length: int = 0
    location: str = ""
    alt_svc: str = ""
    keep_alive: str = ""
    cache_control: str = ""
    server: str = ""
    matches: tuple[Match, ...] = ()
    cert_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSeen(Observation):
    """One side asked at its own address.

    Attributes:
        side: ``old`` or ``new``.
        connect: ``address:port`` that was connected to.
    """

    kind: ClassVar[str] = "origin.direct"

    name: str
    side: str
    url: str
    connect: str
    response: Response

    @property
    def subject(self) -> tuple[str, ...]:
        """Plan's name, side and address."""
        return (self.name, self.side, self.connect)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSeen(Observation):
    """One of ``paths``, asked of one side."""

    kind: ClassVar[str] = "origin.path"

    name: str
    side: str
    path: str
    response: Response

    @property
    def subject(self) -> tuple[str, ...]:
        """Plan's name, side and path."""
        return (self.name, self.side, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPathSeen(Observation):
    """What answers at an address that resolvers hand out.

    Attributes:
        address: the address followed. port: of the url.
        path: what was asked: the url's own path, or another (maintenance pages hide on some).
        busted: with a cache-busting query.
        resolvers: how many resolvers handed this address out in this round.
        requests: how many were answered: redirects are followed to find a maintenance page.
    """

    kind: ClassVar[str] = "origin.user-path"

    name: str
    address: str
    port: int
    path: str
    busted: bool = False
    resolvers: int = 0
    response: Response
    requests: int = 1

    @property
    def subject(self) -> tuple[str, ...]:
        """Plan's name, address, path, busted."""
        return (self.name, self.address, self.path, "busted" if self.busted else "")
