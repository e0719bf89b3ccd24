"""Resolvers that are no resolvers: silent, closed, mumbling, lying, spoofing.

Example::

    with Impostor(silent) as dead, Impostor(constant("127.0.0.10")) as liar, closed_port() as refusing:
        panel = [dead.at, liar.at, refusing]

A behaviour is a function from the question's packet to the packets that are sent back; write another one in a
test when it needs it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.world.process import common_port, free_port

#: From a question (wire format) to the packets that are sent back.
Behaviour = Callable[[bytes], list[bytes]]


def silent(_: bytes) -> list[bytes]:
    """Never answer."""
    return []


def garbage(_: bytes) -> list[bytes]:
    """Answer with bytes that are no DNS message."""
    return [os.urandom(random.randint(1, 60))]


def truncated_header(packet: bytes) -> list[bytes]:
    """Answer with the right id and then nothing that can be parsed."""
    return [packet[:2] + b"\x81\x80\x00\x01\x00\x05\x00\x00\x00\x00\xc0"]


def wrong_id(packet: bytes) -> list[bytes]:
    """Answer a well-formed answer to another id: an off-path spoofer's guess."""
    number = struct.unpack("!H", packet[:2])[0] ^ 0x5555
    return [struct.pack("!H", number) + _address("203.0.113.66", 60, packet)[2:]]


def wrong_question(packet: bytes) -> list[bytes]:
    """Answer the right id but another question."""
    query = dns.message.from_wire(packet)
    other = dns.message.make_query("evil.example.", query.question[0].rdtype, id=query.id)
    return [_address("203.0.113.66", 60, other.to_wire())]


def constant(address: str, ttl: int = 60) -> Behaviour:
    """Answer every A question with one address: a captive portal, or a lying resolver."""
    return lambda packet: [_address(address, ttl, packet)]


def rcode(name: str) -> Behaviour:
    """Answer every question with an rcode (``"SERVFAIL"``, ``"REFUSED"``, ``"NXDOMAIN"``)."""

    def behave(packet: bytes) -> list[bytes]:
        reply = dns.message.make_response(dns.message.from_wire(packet))
        reply.flags |= dns.flags.RA
        reply.set_rcode(dns.rcode.from_text(name))
        return [reply.to_wire()]

    return behave


def always_truncated(packet: bytes) -> list[bytes]:
    """Answer nothing but the TC bit; over TCP too."""
    reply = dns.message.make_response(dns.message.from_wire(packet))
    reply.flags |= dns.flags.RA | dns.flags.TC
    return [reply.to_wire()]


def after(first: Behaviour, then: Behaviour) -> Behaviour:
    """Send what ``first`` sends and then what ``then`` sends: a spoofed answer that overtakes the true one."""
    return lambda packet: first(packet) + then(packet)


def relay(to: str, timeout: float = 2.0) -> Behaviour:
    """Ask another server (``"address:port"``) over UDP and pass its answer on."""
    address, _, port = to.rpartition(":")

    def behave(packet: bytes) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(timeout)
            upstream.sendto(packet, (address, int(port)))
            try:
                return [upstream.recv(65535)]
            except OSError:
                return []

    return behave


def _address(address: str, ttl: int, packet: bytes) -> bytes:
    query = dns.message.from_wire(packet)
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    question = query.question[0]
    if question.rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(question.name, ttl, "IN", "A", address))
    return reply.to_wire()


class Impostor:
    """A server of ours on UDP and TCP with one behaviour, which can be changed while it runs.

    Args:
        behaviour: what it sends back; :attr:`behaviour` may be set anew at any time.
        address: where it listens.

    Attributes:
        at: ``address:port``.
        questions: how many arrived.
    """

    def __init__(self, behaviour: Behaviour, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self.behaviour = behaviour
        self.address = address
        self.port = port
        self.questions = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.port = self.port or common_port([self.address])
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((self.address, self.port))
        self._tcp = socket.create_server((self.address, self.port))
        for each in (self._udp, self._tcp):
            each.settimeout(0.1)
        for target in (self._serve_udp, self._serve_tcp):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    @property
    def at(self) -> str:
        """``address:port``."""
        return f"{self.address}:{self.port}"

    def _behave(self, packet: bytes) -> list[bytes]:
        self.questions += 1
        try:
            return self.behaviour(packet)
        except dns.exception.DNSException:  # not a question
            return []

    def _serve_udp(self) -> None:
        while not self._stop.is_set():
            try:
                packet, peer = self._udp.recvfrom(65535)
            except OSError:
                continue
            for reply in self._behave(packet):
                with contextlib.suppress(OSError):
                    self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                continue
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, struct.error):
            connection.settimeout(5)
            stream = connection.makefile("rb")
            while not self._stop.is_set():
                length = struct.unpack("!H", stream.read(2))[0]
                for reply in self._behave(stream.read(length)):
                    connection.sendall(struct.pack("!H", len(reply)) + reply)


@contextlib.contextmanager
def closed_port(address: str = "127.0.0.1") -> Iterator[str]:
    """An ``address:port`` where nothing listens, kept from others as long as the context lasts."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as guard:
        port = free_port(address)
        guard.bind((address, port))  # bound, not listening: TCP is refused, and UDP has no socket at all
        yield f"{address}:{port}"
