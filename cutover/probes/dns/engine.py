"""The DNS engine: one object that asks questions of any server over UDP, TCP, TLS and HTTPS.

It knows servers and questions, nothing of plans: whole rounds go through :meth:`Engine.ask_all`, single
questions through :meth:`Engine.ask`. Every question ends by its own deadline with a :class:`Reply`; none raises.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, assert_never

from cutover.errors import CutoverError
from cutover.http import trust_store
from cutover.observations.dns import Outcome, Reply, Resolver, Transport
from cutover.probes.dns.stream import Answered, StreamError, Streams, failed
from cutover.probes.dns.udp import Address, Flight, Flights
from cutover.probes.dns.wire import MalformedError, Memo

DEADLINE = 3.0
"""Seconds that a question may take with its retries (DESIGN: the gate's pauses are counted by it)."""

_OLD_SERVER = frozenset({"FORMERR", "NOTIMP", "BADVERS"})


@dataclass(frozen=True, slots=True)
class Target:
    """A server and how to reach it.

    Attributes:
        address: ``address:port`` (``[v6]:port``) for plain DNS, ``host:port`` for TLS, the URL for HTTPS.
        server_name: the TLS name to verify when it is not the host of ``address``.
        operator: whose rate it counts against; "" is the address itself.
    """

    transport: Transport
    address: str
    server_name: str = ""
    operator: str = ""

    @classmethod
    def of(cls, resolver: Resolver) -> Target:
        """Return the target of a panel member."""
        return cls(resolver.transport, resolver.address, resolver.server_name, resolver.operator)


class Question(NamedTuple):
    """One question to one server.

    Attributes:
        recursion: set RD: for resolvers, not for authoritative servers.
        deadline: seconds from the first packet, retries included.
    """

    target: Target
    name: str
    rtype: str
    recursion: bool = True
    dnssec_ok: bool = False
    deadline: float = DEADLINE


class Exchange(NamedTuple):
    """A reply and the packet that it was read from (``None`` unless answered)."""

    reply: Reply
    wire: bytes | None


class _Batch:
    """The questions of one call."""

    __slots__ = ("future", "keep", "remaining", "replies", "wires")

    def __init__(self, size: int, future: asyncio.Future[None], keep: bool) -> None:
        self.replies: list[Reply | None] = [None] * size
        self.wires: list[bytes | None] = [None] * (size if keep else 0)
        self.keep = keep
        self.remaining = size
        self.future = future


class _Limiter:
    """At most so many packets per second to one operator, in any second; who has no room waits in line."""

    __slots__ = ("alarm", "line", "room", "times", "window")

    def __init__(self, rate: float) -> None:
        self.room = max(1, int(rate))
        self.window = self.room / rate * 1.02  # what timers and queues may shift packets by
        self.times: deque[float] = deque()
        self.line: deque[Flight] = deque()
        self.alarm: asyncio.TimerHandle | None = None

    def admit(self, now: float) -> float:
        """Return 0.0 and count a packet when there is room, else the instant when there will be."""
        times = self.times
        if len(times) >= self.room:
            free = times[0] + self.window
            if free > now:
                return free
            times.popleft()
        times.append(now)
        return 0.0


class Engine:
    """Asks questions; an async context manager that owns its sockets and connections.

    Args:
        ca_files: CAs to trust for DoT and DoH beside the system's.
        max_rate: packets per second and operator, resends included; 0 is no limit.
    """

    def __init__(self, *, ca_files: Sequence[Path] = (), max_rate: float = 0) -> None:
        self._ca_files = tuple(ca_files)
        self._max_rate = max_rate
        self._memo = Memo()
        self._limiters: dict[str, _Limiter] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        trust_store(self._ca_files)  # a file that cannot be read is the user's error, before anything is asked
        self._loop = asyncio.get_running_loop()
        self._flights = Flights(self._loop, self)
        self._streams = Streams(self._ca_files)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for limiter in self._limiters.values():
            if limiter.alarm is not None:
                limiter.alarm.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._flights.close()
        await self._streams.close()

    async def ask(
        self,
        target: Target,
        name: str,
        rtype: str,
        *,
        recursion: bool,
        dnssec_ok: bool = False,
        deadline: float = DEADLINE,
    ) -> Reply:
        """Ask one question; see :meth:`ask_all`."""
        replies = await self.ask_all([Question(target, name, rtype, recursion, dnssec_ok, deadline)])
        return replies[0]

    async def ask_all(self, questions: Sequence[Question]) -> list[Reply]:
        """Ask all questions at once and return their replies in the same order.

        It ends one deadline after the last question could be sent: silent servers cost nothing more.
        ``max_rate`` delays questions of an operator that is over it.

        Raises:
            CutoverError: a name, type or address cannot be asked at all.
        """
        batch = await self._run(questions, keep=False)
        return [reply for reply in batch.replies if reply is not None]

    async def exchange_all(self, questions: Sequence[Question]) -> list[Exchange]:
        """Do as :meth:`ask_all`, and keep the packets for who needs more than a reply holds."""
        batch = await self._run(questions, keep=True)
        return [Exchange(r, w) for r, w in zip(batch.replies, batch.wires, strict=True) if r is not None]

    async def _run(self, questions: Sequence[Question], *, keep: bool) -> _Batch:
        batch = _Batch(len(questions), self._loop.create_future(), keep)
        if not questions:
            return batch
        memo = self._memo.query
        flights = []
        for index, (target, name, rtype, recursion, dnssec_ok, deadline) in enumerate(questions):
            query = memo(name, rtype, recursion=recursion, dnssec_ok=dnssec_ok)
            operator = target.operator or target.address
            flight = Flight(batch, index, target, operator, query, deadline)
            if target.transport is Transport.PLAIN:
                flight.address = socket_address(target.address)
            flights.append(flight)
        try:
            for flight in flights:
                self._start(flight)
            self._flights.pump()
            await batch.future
        finally:
            for flight in flights if batch.remaining else ():
                self._flights.done(flight)
        return batch

    def finish(self, flight: Flight, reply: Reply, wire: bytes | None) -> None:
        """Take a reply; a server that does not know EDNS is asked again without (RFC 6891, section 6.2.2)."""
        if reply.rcode in _OLD_SERVER and flight.query.edns and not flight.query.dnssec_ok:
            self._start(self._again(flight, edns=False))
            return
        batch = flight.batch
        assert isinstance(batch, _Batch)  # noqa: S101 - flights carry what this class gave them
        if batch.future.done():
            return
        batch.replies[flight.index] = reply
        if batch.keep:
            batch.wires[flight.index] = wire
        batch.remaining -= 1
        if not batch.remaining:
            batch.future.set_result(None)

    def truncated(self, flight: Flight) -> None:
        """Ask again over TCP, in what is left of the deadline."""
        self._spawn(self._again(flight, edns=flight.query.edns))

    def resend(self, flight: Flight) -> None:
        """Send again as soon as the rate allows."""
        self._start(flight)

    def _again(self, flight: Flight, *, edns: bool) -> Flight:
        query = flight.query
        if not edns:
            query = self._memo.query(
                query.name.to_text(), query.rtype.name, recursion=query.recursion, dnssec_ok=False, edns=False
            )
        again = Flight(flight.batch, flight.index, flight.target, flight.operator, query, flight.deadline)
        again.address, again.started, again.dropped = flight.address, flight.started, flight.dropped
        return again

    def _start(self, flight: Flight) -> None:
        """Let a question leave, or stand in line when its operator has had its share of this second."""
        if not self._max_rate:
            self._leave(flight)
            return
        limiter = self._limiters.get(flight.operator)
        if limiter is None:
            limiter = self._limiters[flight.operator] = _Limiter(self._max_rate)
        limiter.line.append(flight)
        if limiter.alarm is None:
            self._advance(limiter)

    def _advance(self, limiter: _Limiter) -> None:
        """Let those leave for whom there is room now."""
        limiter.alarm = None
        now = self._loop.time()
        while limiter.line:
            if limiter.line[0].finished:
                limiter.line.popleft()
                continue
            free = limiter.admit(now)
            if free:
                limiter.alarm = self._loop.call_at(free, self._advance, limiter)
                break
            self._leave(limiter.line.popleft())
        self._flights.pump()

    def _leave(self, flight: Flight) -> None:
        target = flight.target
        assert isinstance(target, Target)  # noqa: S101 - flights carry what this class gave them
        if target.transport is Transport.PLAIN:
            self._flights.submit(flight)
        else:
            self._spawn(flight)

    def _spawn(self, flight: Flight) -> None:
        task = self._loop.create_task(self._over_stream(flight))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._spent(done, flight))

    def _spent(self, task: asyncio.Task[None], flight: Flight) -> None:
        """Let go of a task; an error that nobody foresaw ends the batch, which would wait for ever."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            batch = flight.batch
            assert isinstance(batch, _Batch)  # noqa: S101 - flights carry what this class gave them
            if not batch.future.done():
                batch.future.set_exception(error)

    async def _over_stream(self, flight: Flight) -> None:
        """Ask over a connection; the deadline counts from the first packet, over UDP or here."""
        now = self._loop.time()
        flight.started = flight.started or now
        wire: bytes | None = None
        try:
            async with asyncio.timeout_at(flight.started + flight.deadline):
                answered = await self._connected(flight)
        except TimeoutError:
            reply = Reply(Outcome.TIMEOUT, error=f"no answer in {flight.deadline:g} s")
        except (StreamError, MalformedError, OSError) as error:
            reply = failed(error)
        else:
            wire = answered.wire
            dropped = flight.dropped + answered.dropped
            reply = answered.template.reply(answered.ttls, flight.elapsed(self._loop.time()), dropped)
        if wire is None:
            reply = replace(
                reply, milliseconds=flight.elapsed(self._loop.time()), dropped=reply.dropped + flight.dropped
            )
        if not flight.finished:
            flight.finished = True
            self.finish(flight, reply, wire)

    async def _connected(self, flight: Flight) -> Answered:
        target = flight.target
        assert isinstance(target, Target)  # noqa: S101 - flights carry what this class gave them
        match target.transport:
            case Transport.HTTPS:
                return await self._streams.ask_https(target.address, flight.query)
            case Transport.TLS:
                host, port = host_port(target.address)
                return await self._streams.ask(host, port, target.server_name or host, flight.query)
            case Transport.PLAIN:
                host, port = host_port(target.address)
                return await self._streams.ask(host, port, None, flight.query)
            case _:
                assert_never(target.transport)


def host_port(address: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``.

    Raises:
        CutoverError: there is no port from 1 to 65535.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise CutoverError(f"{address!r} is not address:port", "write 192.0.2.1:53 or [2001:db8::1]:53")
    return host.removeprefix("[").removesuffix("]"), int(port)


@lru_cache(maxsize=4096)
def socket_address(address: str) -> Address:
    """Return what the socket calls take, in the very form in which they report a packet's source.

    Raises:
        CutoverError: ``address`` is not ``address:port``.
    """
    host, port = host_port(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise CutoverError(
            f"{address!r} is not address:port", "plain DNS needs an address; a host name works with tls:// or https://"
        ) from error
    if ip.version == 4:
        return str(ip), port
    return socket.inet_ntop(socket.AF_INET6, ip.packed), port, 0, 0
