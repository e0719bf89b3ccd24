"""Plain DNS over shared UDP sockets: many questions in flight, no task and no socket of their own.

A round of thousands of questions is one loop over a handful of sockets. Answers are matched by socket, id and
source address; the sockets' ports are the kernel's random choice and are replaced as they wear, the ids come
from the system's random source, so that neither can be guessed (RFC 5452).
"""

from __future__ import annotations

import asyncio
import heapq
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from cutover.observations.dns import Outcome, Reply
from cutover.probes.dns.wire import MalformedError, Query

RESEND_AT = (0.25, 0.6)
"""When an unanswered question is sent again, in parts of its deadline: twice, further apart each time."""

_POOL = 8
_SENDS_PER_SOCKET = 512
_WINDOW = 256
_FRESH = 0.05
_RECEIVE = 4096
_BUFFER = 4 << 20
_BURST = 64
_LATE = 1024
# <linux/in.h>: an ICMP error becomes readable, with the packet that caused it, on a shared socket.
_IP_RECVERR, _IPV6_RECVERR, _MSG_ERRQUEUE = 11, 25, 0x2000

Address = tuple[str, int] | tuple[str, int, int, int]


class Owner(Protocol):
    """Who takes the outcome of a flight."""

    def finish(self, flight: Flight, reply: Reply, wire: bytes | None) -> None:
        """Take the reply; ``wire`` is the accepted packet."""

    def truncated(self, flight: Flight) -> None:
        """Ask again over TCP: the answer did not fit."""

    def resend(self, flight: Flight) -> None:
        """Send an unanswered question again as soon as the rate allows."""


class Flight:
    """One question under way.

    Attributes:
        index: its place in the batch.
        started: when the first packet left, loop time; 0.0 before.
        dropped: packets thrown away while waiting. error: why the last of them was.
        fresh: it still counts against the window.
    """

    __slots__ = (
        "address",
        "attempt",
        "batch",
        "deadline",
        "dropped",
        "error",
        "finished",
        "fresh",
        "index",
        "key",
        "operator",
        "query",
        "socket",
        "started",
        "target",
    )

    def __init__(self, batch: object, index: int, target: object, operator: str, query: Query, deadline: float) -> None:
        self.batch = batch
        self.index = index
        self.target = target
        self.operator = operator
        self.query = query
        self.deadline = deadline
        self.address: Address = ("", 0)
        self.attempt = 0
        self.dropped = 0
        self.error = ""
        self.finished = False
        self.fresh = False
        self.key = b""
        self.socket: _Socket | None = None
        self.started = 0.0

    def elapsed(self, now: float) -> int:
        """Return the milliseconds since the first packet."""
        return round((now - self.started) * 1000) if self.started else 0


class _Socket:
    """One socket of the pool."""

    __slots__ = ("family", "late", "pending", "receive", "retired", "send", "sends", "sock")

    def __init__(self, family: socket.AddressFamily) -> None:
        self.family = family
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        if sys.platform == "linux":
            if family is socket.AF_INET6:
                self.sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                self.sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        self.sock.bind(("::" if family is socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104 - only answers are read
        self.send = self.sock.sendto
        self.receive = self.sock.recvfrom
        self.pending: dict[bytes, Flight] = {}
        self.late: dict[bytes, Address] = {}
        self.sends = 0
        self.retired = False


def _random_ids() -> Iterator[bytes]:
    while True:
        block = os.urandom(4096)
        for i in range(0, 4096, 2):
            yield block[i : i + 2]


class Flights:
    """All plain questions under way, and the sockets they share.

    At most 256 questions younger than 50 ms are in flight; an older one waits on without holding others
    back, so that silent servers never delay those that answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        self._pools: dict[socket.AddressFamily, list[_Socket]] = {}
        self._turn = 0
        self._ids = _random_ids()
        self._queue: deque[Flight] = deque()
        self._fresh = 0
        self._young: deque[tuple[float, Flight]] = deque()
        self._due: list[tuple[float, int, Flight]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._open: set[_Socket] = set()

    def submit(self, flight: Flight) -> None:
        """Queue a question; it leaves when the window has room."""
        self._queue.append(flight)

    def pump(self) -> None:
        """Send what the window allows."""
        queue = self._queue
        sent = 0
        while queue and self._fresh < _WINDOW and sent < _BURST:
            flight = queue.popleft()
            if not flight.finished:
                self._send(flight)
                sent += 1
        if queue and self._fresh < _WINDOW:
            self._loop.call_soon(self.pump)
        if self._timer is None and (self._young or self._due):
            self._arm()

    def close(self) -> None:
        """Close every socket; questions under way are forgotten."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sock in list(self._open):
            self._close(sock)
        self._pools.clear()
        self._queue.clear()
        self._young.clear()
        self._due.clear()

    def done(self, flight: Flight) -> None:
        """Take a flight off its socket and out of the window; again has no effect."""
        flight.finished = True
        if flight.fresh:
            flight.fresh = False
            self._fresh -= 1
        sock = flight.socket
        if sock is not None:
            flight.socket = None
            del sock.pending[flight.key]
            if sock.retired and not sock.pending:
                self._close(sock)

    def _send(self, flight: Flight) -> None:
        sock = flight.socket
        try:
            if sock is None:
                family = socket.AF_INET6 if len(flight.address) == 4 else socket.AF_INET
                sock = self._pick(family)
                pending = sock.pending
                for key in self._ids:
                    if key not in pending:
                        break
                flight.key = key
                flight.socket = sock
                pending[key] = flight
            sock.sends += 1
            self._transmit(sock, flight)
        except OSError as error:
            self._fail(flight, Outcome.UNREACHABLE, error.strerror or str(error))
            return
        now = self._loop.time()
        if not flight.started:
            flight.started = now
        if not flight.fresh:
            flight.fresh = True
            self._fresh += 1
            self._young.append((now, flight))

    def _transmit(self, sock: _Socket, flight: Flight) -> None:
        packet = flight.key + flight.query.tail
        for _ in range(4):
            try:
                sock.send(packet, flight.address)
                return
            except BlockingIOError:
                return  # the kernel's buffer is full: the resend covers it
            except OSError as error:
                # An earlier packet's ICMP error is reported by the next call on the shared socket.
                if not self._read_errors(sock) or flight.finished:
                    raise error from None
        raise OSError("the socket keeps reporting errors")

    def _pick(self, family: socket.AddressFamily) -> _Socket:
        pool = self._pools.setdefault(family, [])
        self._turn += 1
        place = self._turn % _POOL
        if place < len(pool) and pool[place].sends < _SENDS_PER_SOCKET:
            return pool[place]
        fresh = _Socket(family)
        self._open.add(fresh)
        self._loop.add_reader(fresh.sock.fileno(), self._read, fresh)
        if place < len(pool):
            worn, pool[place] = pool[place], fresh
            worn.retired = True
            if not worn.pending:
                self._close(worn)
        else:
            pool.append(fresh)
        return fresh

    def _close(self, sock: _Socket) -> None:
        if sock in self._open:
            self._open.discard(sock)
            self._loop.remove_reader(sock.sock.fileno())
            sock.sock.close()

    def _read(self, sock: _Socket) -> None:
        """Read what has arrived; bounded, so that a flood cannot hold the loop."""
        now = self._loop.time()
        pending, receive = sock.pending, sock.receive
        for _ in range(_BURST):
            try:
                wire, source = receive(_RECEIVE)
            except BlockingIOError:
                break
            except OSError:
                self._read_errors(sock)
                continue
            flight = pending.get(wire[:2])
            if flight is None or flight.address != source:
                self._foreign(sock, wire[:2], source, flight)
                continue
            self._accept(flight, wire, now)
            if sock.retired and not pending:
                break
        self.pump()

    def _accept(self, flight: Flight, wire: bytes, now: float) -> None:
        try:
            template, ttls = flight.query.read(wire)
        except MalformedError as error:
            flight.dropped += 1
            flight.error = str(error)
            return
        if flight.attempt and flight.socket is not None:
            self._expect_late(flight.socket, flight)
        self.done(flight)
        if template.truncated:
            self._owner.truncated(flight)
            return
        self._owner.finish(flight, template.reply(ttls, flight.elapsed(now), flight.dropped), wire)

    def _foreign(self, sock: _Socket, key: bytes, source: Address, claimed: Flight | None) -> None:
        """Count a packet that answers nobody: against the id's question and those asked of its source."""
        if sock.late.get(key) == source:
            return
        for flight in sock.pending.values():
            if flight is claimed or flight.address == source:
                flight.dropped += 1
                flight.error = "an answer with a foreign id or source"

    def _expect_late(self, sock: _Socket, flight: Flight) -> None:
        """Remember that a second or late answer to this id is nobody's forgery."""
        if len(sock.late) >= _LATE:
            sock.late.clear()
        sock.late[flight.key] = flight.address

    def _read_errors(self, sock: _Socket) -> bool:
        """Finish the questions that ICMP says cannot be delivered; return whether there were errors."""
        found = False
        if sys.platform != "linux":
            return found
        for _ in range(_BURST):
            try:
                wire, ancillary, _, source = sock.sock.recvmsg(512, 512, _MSG_ERRQUEUE)
            except OSError:
                break
            found = True
            code = struct.unpack_from("=I", ancillary[0][2])[0] if ancillary else 0
            flight = sock.pending.get(wire[:2])
            if flight is not None and flight.address == source:
                self._fail(flight, Outcome.UNREACHABLE, os.strerror(code))
        return found

    def _fail(self, flight: Flight, outcome: Outcome, error: str) -> None:
        if flight.socket is not None and outcome is Outcome.TIMEOUT:
            self._expect_late(flight.socket, flight)
        self.done(flight)
        elapsed = flight.elapsed(self._loop.time())
        self._owner.finish(flight, Reply(outcome, milliseconds=elapsed, dropped=flight.dropped, error=error), None)

    def _arm(self) -> None:
        waits = []
        if self._young:
            waits.append(self._young[0][0] + _FRESH)
        if self._due:
            waits.append(self._due[0][0])
        self._timer = self._loop.call_at(min(waits), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        young, due = self._young, self._due
        while young and (young[0][1].finished or young[0][0] + _FRESH <= now):
            _, flight = young.popleft()
            if not flight.finished and flight.fresh:
                flight.fresh = False
                self._fresh -= 1
                if not flight.attempt:
                    self._wait_on(flight)
        while due and due[0][0] <= now:
            flight = heapq.heappop(due)[2]
            if not flight.finished:
                self._overdue(flight, now)
        self.pump()

    def _wait_on(self, flight: Flight) -> None:
        """Set the alarm of an unanswered question: its next resend, or its deadline."""
        if flight.attempt < len(RESEND_AT):
            when = flight.started + RESEND_AT[flight.attempt] * flight.deadline
        else:
            when = flight.started + flight.deadline
        self._count += 1
        heapq.heappush(self._due, (when, self._count, flight))

    def _overdue(self, flight: Flight, now: float) -> None:
        if now < flight.started + flight.deadline and flight.attempt < len(RESEND_AT):
            flight.attempt += 1
            self._wait_on(flight)
            self._owner.resend(flight)
        elif flight.dropped:
            self._fail(flight, Outcome.MALFORMED, f"{flight.dropped} packets dropped, the last: {flight.error}")
        else:
            self._fail(flight, Outcome.TIMEOUT, f"no answer in {flight.deadline:g} s")
