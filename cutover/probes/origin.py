"""Asks the origins: each side at its own addresses, and what users reach through the answers of resolvers.

Every exchange is a GET over a connection of its own (:mod:`cutover.http`). Nothing that a server does raises
here: a dead, slow or hostile one becomes a :class:`Response` with its ``error`` within its own deadline.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from cutover.clock import Clock
from cutover.http import Endpoint, Exchange, Limits, endpoints, fetch, trust_store
from cutover.leads import MAINTENANCE_LABELS, page_seen
from cutover.observations.origin import OriginSeen, PathSeen, Response, UserPathSeen
from cutover.plan import Fingerprint, Plan
from cutover.plan_values import split_address
from cutover.probes import fingerprint
from cutover.probes.fingerprint import Suggestion, suggest_fingerprints
from cutover.urls import deep_path, origin_url, path_of, port_of, user_url, with_path

CONCURRENCY = 64
SAMPLES = 3
HOPS = 3
"""Redirects that are followed at most, to find a maintenance page behind them."""

SideAddresses = Mapping[tuple[str, str], Sequence[str]]
"""Addresses of a side's answers by (name, side): used where the plan has no ``connect``."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What the probes of one round share.

    Attributes:
        base_dir: the plan's folder; ``ca_file`` is relative to it.
        gate: bounds how many exchanges run at once, over all calls that share it.
    """

    plan: Plan
    clock: Clock
    base_dir: Path
    limits: Limits = field(default_factory=Limits)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENCY))

    def trust(self, name: str, *sides: str) -> ssl.SSLContext:
        """Return the trust of some sides together.

        Raises:
            CutoverError: a ``ca_file`` is missing or is none.
        """
        files = [self.plan.origin_of(name, side).ca_file for side in sides]
        return trust_store([self.base_dir / file for file in dict.fromkeys(files) if file])

    def fingerprints(self, name: str) -> dict[str, Fingerprint]:
        """Return the plan's fingerprints for a name, by label."""
        return fingerprint.labelled(self.plan.origin_of(name, "old"), self.plan.origin_of(name, "new"))

    async def get(self, url: str, endpoint: Endpoint, trust: ssl.SSLContext) -> Exchange:
        """GET within the round's bounds."""
        async with self.gate:
            return await fetch(url, endpoint, trust, limits=self.limits)


class _Side(NamedTuple):
    """One side of one name, ready to be asked. ``unreachable``: where it should be, and why it has no address."""

    name: str
    side: str
    url: str
    endpoints: tuple[Endpoint, ...]
    unreachable: tuple[str, str] | None = None


async def observe_origins(
    asking: Asking, names: Iterable[str], sides: Iterable[str], addresses: SideAddresses
) -> list[OriginSeen | PathSeen]:
    """Ask each side of each name at every address it has: ``connect``, else the side's answers.

    ``paths`` and a deep path are asked of one address of each side, the first that answered. A side without any
    address is not in the result.

    Raises:
        CutoverError: a ``ca_file`` cannot be used.
    """
    wanted = [(name, side) for name in names for side in sides]
    found = await asyncio.gather(*(_observe_side(asking, name, side, addresses) for name, side in wanted))
    return [observation for side in found for observation in side]


async def follow_user_paths(asking: Asking, name: str, addresses: Mapping[str, int]) -> list[UserPathSeen]:
    """GET what users get: the url and a deep path, with and without cache-busting, through each address.

    Args:
        asking: what the round shares.
        name: the plan's name.
        addresses: every distinct address that resolvers handed out in this round, and how many of them did.

    Raises:
        CutoverError: a ``ca_file`` cannot be used.
    """
    url = user_url(asking.plan, name)
    trust = asking.trust(name, "old", "new")
    fingerprints = asking.fingerprints(name)
    port = port_of(url)

    async def follow(address: str, path: str, busted: bool) -> UserPathSeen:
        target = with_path(url, path, busting=secrets.token_hex(8) if busted else "")
        response, requests = await _as_users_see(asking, target, Endpoint(address, port), trust, fingerprints)
        return UserPathSeen(
            at=asking.clock.now(),
            name=name,
            address=address,
            port=port,
            path=path,
            busted=busted,
            resolvers=addresses[address],
            response=response,
            requests=requests,
        )

    paths = dict.fromkeys((path_of(url), deep_path(name)))
    return list(
        await asyncio.gather(
            *(follow(address, path, busted) for address in addresses for path in paths for busted in (False, True))
        )
    )


async def _as_users_see(
    asking: Asking, url: str, endpoint: Endpoint, trust: ssl.SSLContext, fingerprints: Mapping[str, Fingerprint]
) -> tuple[Response, int]:
    """GET a url, and tell a maintenance page behind its redirects too; returns how many requests were answered.

    The first answer is the evidence of who answers. But ``return 302 /maintenance.html`` is a maintenance page for
    whoever has a browser: redirects to the url's own host are followed, through the same address.
    """
    exchange = await asking.get(url, endpoint, trust)
    first, answered = response_of(exchange, fingerprints), 1
    if page_seen(first) or not any(label in fingerprints for label in MAINTENANCE_LABELS):
        return first, 1
    for _ in range(HOPS):
        target = _redirected(url, exchange)
        if not target:
            break
        url, exchange = target, await asking.get(target, endpoint, trust)
        found = response_of(exchange, fingerprints)
        answered += bool(found.status)
        if page_seen(found):
            where = fingerprint.shorten(urlsplit(url).path)
            pages = [x._replace(saw=f"redirected to {where}: {x.saw}") for x in found.matches]
            kept = [x for x in first.matches if x.label not in MAINTENANCE_LABELS]
            kept += [x for x in pages if x.label in MAINTENANCE_LABELS]
            return replace(first, matches=tuple(kept)), answered
    return first, answered


def _redirected(url: str, exchange: Exchange) -> str:
    """Return where an answer sends a browser, "" unless that is another page of the same host."""
    location = exchange.header("location")
    if exchange.status not in {301, 302, 303, 307, 308} or not location:
        return ""
    try:
        target = urljoin(url, location)
        same = urlsplit(target)[:2] == urlsplit(url)[:2]
    except ValueError:
        return ""
    return target.partition("#")[0] if same and target.isprintable() else ""


async def suggest_for(
    asking: Asking, name: str, addresses: SideAddresses
) -> tuple[Suggestion | None, Suggestion | None]:
    """Ask both sides a few times and suggest a header fingerprint for old and for new.

    None where a side does not answer, or no header of its own stays the same and differs from the other side's.

    Raises:
        CutoverError: a ``ca_file`` cannot be used.
    """

    async def sample(side: str) -> list[tuple[tuple[str, str], ...]]:
        ready = await _side(asking, name, side, addresses)
        trust = asking.trust(name, side)
        exchanges = await asyncio.gather(
            *(asking.get(ready.url, endpoint, trust) for endpoint in ready.endpoints for _ in range(SAMPLES))
        )
        return [exchange.headers for exchange in exchanges if exchange.status]

    old, new = await asyncio.gather(sample("old"), sample("new"))
    return suggest_fingerprints(old, new) if old and new else (None, None)


def response_of(exchange: Exchange, fingerprints: Mapping[str, Fingerprint]) -> Response:
    """Return what is kept of an exchange: never the body, only what the fingerprints saw in it."""
    certificate = exchange.certificate
    return Response(
        status=exchange.status,
        error=exchange.error,
        refused=exchange.refused,
        tls_error=exchange.tls_error,
        cert_sha256=certificate.sha256 if certificate else "",
        cert_expires=certificate.expires if certificate else None,
        cert_names=certificate.names[:20] if certificate else (),
        kind_of=fingerprint.media_type(exchange.header("content-type")),
        length=len(exchange.body),
        location=_kept(exchange, "location"),
        alt_svc=_kept(exchange, "alt-svc"),
        keep_alive=_kept(exchange, "keep-alive"),
        cache_control=_kept(exchange, "cache-control"),
        server=_kept(exchange, "server"),
        matches=fingerprint.judge(fingerprints, exchange),
    )


def _kept(exchange: Exchange, header: str) -> str:
    return exchange.header(header)[:1000]


async def _observe_side(asking: Asking, name: str, side: str, addresses: SideAddresses) -> list[OriginSeen | PathSeen]:
    trust = asking.trust(name, side)
    ready = await _side(asking, name, side, addresses)
    if ready.unreachable is not None:
        where, why = ready.unreachable
        lost = Response(status=0, error=why)
        return [OriginSeen(at=asking.clock.now(), name=name, side=side, url=ready.url, connect=where, response=lost)]
    direct = list(await asyncio.gather(*(_direct(asking, ready, endpoint, trust) for endpoint in ready.endpoints)))
    if not direct:
        return []
    answering = next((i for i, seen in enumerate(direct) if seen.response.status), 0)
    paths = dict.fromkeys(
        [*asking.plan.origin_of(name, "old").paths, *asking.plan.origin_of(name, "new").paths, deep_path(name)]
    )
    followed = await asyncio.gather(*(_path(asking, ready, ready.endpoints[answering], path, trust) for path in paths))
    return [*direct, *followed]


async def _side(asking: Asking, name: str, side: str, addresses: SideAddresses) -> _Side:
    origin = asking.plan.origin_of(name, side)
    url = origin_url(asking.plan, name, side)
    if origin.connect is None:
        known = dict.fromkeys(addresses.get((name, side), ()))
        return _Side(name, side, url, tuple(Endpoint(address, port_of(url)) for address in known))
    host, port = split_address(origin.connect, port_of(url))
    try:
        return _Side(name, side, url, await endpoints(host, port, seconds=asking.limits.connect))
    except OSError as error:
        return _Side(name, side, url, (), (str(Endpoint(host, port)), str(error)))


async def _direct(asking: Asking, ready: _Side, endpoint: Endpoint, trust: ssl.SSLContext) -> OriginSeen:
    exchange = await asking.get(ready.url, endpoint, trust)
    return OriginSeen(
        at=asking.clock.now(),
        name=ready.name,
        side=ready.side,
        url=ready.url,
        connect=str(endpoint),
        response=response_of(exchange, asking.fingerprints(ready.name)),
    )


async def _path(asking: Asking, ready: _Side, endpoint: Endpoint, path: str, trust: ssl.SSLContext) -> PathSeen:
    exchange = await asking.get(with_path(ready.url, path), endpoint, trust)
    return PathSeen(
        at=asking.clock.now(),
        name=ready.name,
        side=ready.side,
        path=path,
        response=response_of(exchange, asking.fingerprints(ready.name)),
    )
