"""Tagged requests that prove what telemetry can see: a GET with ``User-Agent: cutover-sentinel/<id>``.

They go to each address of each side over connections of their own, with the url's Host and SNI, TLS verified. A
side that is asked at ``connect`` is asked there; otherwise at every address its answers are known to hold, and at
every one that was ever asked before.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cutover.clock import Clock
from cutover.folds.traffic import TrafficFold
from cutover.http import Endpoint, Exchange, Limits, endpoints, fetch, trust_store
from cutover.observations.traffic import SentinelSent
from cutover.plan import Plan
from cutover.plan_values import split_address
from cutover.probes.traffic.base import SIDES
from cutover.probes.traffic.logformats import SENTINEL_PREFIX
from cutover.urls import origin_url, path_of, port_of, with_path

AT_ONCE = 8
_PROBE_SECONDS = timedelta(seconds=0.5)
"""How long before its response a probe is taken to have been counted."""
LIMITS = Limits(connect=3.0, total=6.0, body=1 << 16)


class OwnRequests(NamedTuple):
    """Untagged requests that the tool sent in this round (origin probes).

    Attributes:
        address: ``address:port``, "" when it is not known which of the side's.
        answered: how many of them got a response.
        at: when they had it.
    """

    name: str
    side: str
    address: str
    answered: int
    at: datetime


class Target(NamedTuple):
    """One address of one side, and one path to ask there."""

    name: str
    side: str
    url: str
    path: str
    endpoint: Endpoint


def new_tag() -> str:
    """Return a User-Agent for the sentinels of one run."""
    return f"{SENTINEL_PREFIX}{secrets.token_hex(4)}"


async def targets(
    plan: Plan, fold: TrafficFold, addresses: Mapping[tuple[str, str], Sequence[str]]
) -> tuple[Target, ...]:
    """Return every address and path that sentinels go to.

    Args:
        plan: names both sides' urls and the sources.
        fold: knows which old addresses were asked before.
        addresses: of a side's answers by (name, side).
    """
    found: dict[Target, None] = {}
    for name in plan.names:
        for side in SIDES:
            url = origin_url(plan, name, side)
            for endpoint in await _endpoints(plan, fold, name, side, url, addresses.get((name, side), ())):
                for path in sorted(_paths(plan, side, url)):
                    found[Target(name, side, with_path(url, path), path, endpoint)] = None
    return tuple(found)


async def send(
    plan: Plan,
    wanted: Sequence[Target],
    sizes: Mapping[str, int],
    *,
    tag: str,
    base_dir: Path,
    clock: Clock,
    probed: Iterable[OwnRequests] = (),
) -> list[SentinelSent]:
    """Send one burst to every target, and account for the round's probes.

    Args:
        plan: gives each side's ``ca_file``.
        wanted: from :func:`targets`.
        sizes: how many to send to each address, by side.
        tag: the User-Agent.
        base_dir: the plan's folder.
        clock: tells the time.
        probed: the round's other requests.

    Raises:
        CutoverError: a ``ca_file`` cannot be used.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    started = clock.now()
    results = await asyncio.gather(
        *(_burst(plan, target, sizes[target.side], tag, base_dir, gate) for target in wanted)
    )
    ended = clock.now()
    probes: dict[tuple[str, str, str], list[OwnRequests]] = defaultdict(list)
    for each in probed:
        probes[(each.name, each.side, each.address)].append(each)
    sent: list[SentinelSent] = []
    for target, exchanges in zip(wanted, results, strict=True):
        answered = sum(exchange.status > 0 for exchange in exchanges)
        refused = sum(exchange.refused for exchange in exchanges)
        sent.append(
            SentinelSent(
                at=ended,
                name=target.name,
                side=target.side,
                address=str(target.endpoint),
                window_start=started,
                window_end=ended,
                tag=tag,
                path=target.path,
                sent=len(exchanges),
                answered=answered,
                refused=refused,
                silent=len(exchanges) - answered - refused,
            )
        )
    sent += [
        SentinelSent(
            at=ended,
            name=name,
            side=side,
            address=address,
            window_start=min(each.at for each in found) - _PROBE_SECONDS,
            window_end=max(each.at for each in found),
            tag="",
            sent=0,
            answered=0,
            refused=0,
            silent=0,
            probes=sum(each.answered for each in found),
        )
        for (name, side, address), found in probes.items()
    ]
    return sent


async def _burst(
    plan: Plan, target: Target, size: int, tag: str, base_dir: Path, gate: asyncio.Semaphore
) -> list[Exchange]:
    ca_file = plan.origin_of(target.name, target.side).ca_file
    trust = trust_store([base_dir / ca_file] if ca_file else [])

    async def one() -> Exchange:
        async with gate:
            return await fetch(target.url, target.endpoint, trust, user_agent=tag, limits=LIMITS)

    return list(await asyncio.gather(*(one() for _ in range(size))))


def _paths(plan: Plan, side: str, url: str) -> set[str]:
    """Return the paths by which the sources of one side want to be tested."""
    return {
        source.sentinel_path or path_of(url)
        for source in plan.traffic
        if source.source == "command" or getattr(source, side) is not None
    }


async def _endpoints(
    plan: Plan, fold: TrafficFold, name: str, side: str, url: str, addresses: Sequence[str]
) -> tuple[Endpoint, ...]:
    connect = plan.origin_of(name, side).connect
    if connect is None:
        found = [Endpoint(address, port_of(url)) for address in addresses]
    else:
        host, port = split_address(connect, port_of(url))
        try:
            found = list(await endpoints(host, port))
        except OSError:
            found = []
    if side == "old":
        before = [address for of, address in fold.refusals(side) if of == name]
        found += [Endpoint(*split_address(address, port_of(url))) for address in before]
    return tuple(dict.fromkeys(found))
