"""Queries per CPU-second of a polling round, against one ``dns.asyncquery.udp`` socket a query.

200 resolvers x 10 names x 2 types on loopback; every answer has other TTLs. The resolvers run in another
process, CPU time is this process's alone, and the timing only counts if both ways returned the same answers.

    python -m tests.bench.dns_round [--rounds 3] [--resolvers 200] [--memory 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import multiprocessing.connection
import os
import selectors
import socket
import statistics
import struct
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rdatatype

from cutover.observations.dns import Outcome, Resolver, ResolverAnswers, Tier, Transport
from cutover.probes.dns.engine import Engine
from cutover.probes.dns.poll import poll

NAMES = [f"app{number}.example.com." for number in range(10)]
QUESTIONS = [(name, rtype) for name in NAMES for rtype in ("A", "AAAA")]
CONCURRENCY = 100
"""Of the straightforward way; unbounded it only gets slower."""


def respond(sockets: list[socket.socket], ready: multiprocessing.connection.Connection) -> None:
    """Answer as fast as plain Python can: two addresses, TTLs that never repeat."""
    selector = selectors.DefaultSelector()
    for one in sockets:
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ)
    ready.send(True)
    ttl = 0
    while True:
        for event, _ in selector.select():
            sock = event.fileobj
            assert isinstance(sock, socket.socket)
            while True:
                try:
                    query, source = sock.recvfrom(2048)
                except BlockingIOError:
                    break
                ttl = ttl % 86400 + 1
                sock.sendto(_response(query, ttl), source)


def _response(query: bytes, ttl: int) -> bytes:
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    aaaa = question[-4:-2] == b"\0\x1c"
    number = question[4]  # the digit in appN
    answer = b""
    for host in (1, 2):
        data = bytes([32, 1, 13, 184, *bytes(10), number, host]) if aaaa else bytes([192, 0, number, host])
        answer += b"\xc0\x0c" + question[-4:] + struct.pack("!IH", ttl + host, len(data)) + data
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    return query[:2] + b"\x81\x80\0\x01\0\x02\0\0\0\x01" + question + answer + opt


@dataclass(frozen=True)
class Timing:
    """Wall and CPU seconds of one round, and what was answered (TTLs left out)."""

    wall: float
    cpu: float
    answers: dict[tuple[str, str, str], frozenset[str]]


async def ours(engine: Engine, addresses: list[tuple[str, int]]) -> Timing:
    """Time one round of the engine."""
    members = panel(addresses)
    wall, cpu = time.perf_counter(), time.process_time()
    seen = await poll(engine, members, QUESTIONS)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Timing(wall, cpu, answers_of(seen))


def panel(addresses: list[tuple[str, int]]) -> list[Resolver]:
    """Return the resolvers as a panel."""
    return [
        Resolver(f"{host}:{port}", host, Transport.PLAIN, f"{host}:{port}", Tier.REQUIRED) for host, port in addresses
    ]


def answers_of(seen: list[ResolverAnswers]) -> dict[tuple[str, str, str], frozenset[str]]:
    """Return the data of every answer."""
    found = {}
    for observation in seen:
        for answer in observation.answers:
            assert answer.reply.outcome is Outcome.ANSWERED, answer.reply
            found[answer.resolver, observation.name, observation.rtype] = frozenset(
                f"{record.owner} {record.rtype} {record.data}" for record in answer.reply.answer
            )
    return found


async def straightforward(addresses: list[tuple[str, int]]) -> Timing:
    """Time the same questions, each by ``dns.asyncquery.udp`` with a socket of its own."""
    limit = asyncio.Semaphore(CONCURRENCY)
    replies: dict[tuple[str, str, str], dns.message.Message] = {}

    async def one(host: str, port: int, name: str, rtype: str) -> None:
        async with limit:
            query = dns.message.make_query(name, rtype)
            replies[f"{host}:{port}", name, rtype] = await dns.asyncquery.udp(query, host, port=port, timeout=3)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(*address, *question) for question in QUESTIONS for address in addresses))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found = {
        key: frozenset(
            f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {data.to_text()}"
            for rrset in reply.answer
            for data in rrset
        )
        for key, reply in replies.items()
    }
    return Timing(wall, cpu, found)


class Responders:
    """The resolvers, in a process of their own."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> list[tuple[str, int]]:
        """Start them and return their addresses."""
        sockets = []
        for number in range(self._count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.bind((f"127.0.{1 + number // 250}.{1 + number % 250}", 0))
            sockets.append(sock)
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        self._process = context.Process(target=respond, args=(sockets, there), daemon=True)
        self._process.start()
        assert here.poll(10)
        assert here.recv()
        addresses = [sock.getsockname() for sock in sockets]
        for sock in sockets:
            sock.close()
        return addresses

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._process.terminate()
        self._process.join(5)


async def compare(addresses: list[tuple[str, int]], rounds: int) -> float:
    """Print both ways, round by round in turn, and return the ratio of the medians."""
    queries = len(addresses) * len(QUESTIONS)
    mine, theirs = [], []
    async with Engine() as engine:
        await poll(engine, panel(addresses[:1]), QUESTIONS)
        for number in range(rounds):
            one, other = await ours(engine, addresses), await straightforward(addresses)
            assert len(one.answers) == queries
            assert one.answers == other.answers, "the answers differ: no timing counts"
            mine.append(one.cpu)
            theirs.append(other.cpu)
            print(
                f"round {number + 1}: engine {queries / one.cpu:8.0f} queries per CPU-second, {one.wall:.2f} s wall;"
                f" asyncquery {queries / other.cpu:6.0f}, {other.wall:.2f} s wall; ratio {other.cpu / one.cpu:.1f}"
            )
    ratio = statistics.median(theirs) / statistics.median(mine)
    print(f"{queries} queries a round, answers equal; ratio of medians over {rounds} rounds: {ratio:.1f}")
    return ratio


async def memory(addresses: list[tuple[str, int]], rounds: int) -> tuple[int, int]:
    """Run many rounds and return traced bytes after a tenth of them and at the end; print RSS too."""
    early = 0
    tracemalloc.start()
    async with Engine() as engine:
        for number in range(rounds):
            await poll(engine, panel(addresses), QUESTIONS)
            if number + 1 == max(1, rounds // 10):
                gc.collect()
                early = tracemalloc.get_traced_memory()[0]
                print(f"after {number + 1} rounds: {early / 1e6:.2f} MB traced, RSS {resident()} MB")
    gc.collect()
    late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"after {rounds} rounds: {late / 1e6:.2f} MB traced, RSS {resident()} MB")
    return early, late


def resident() -> int:
    """Return this process's resident memory in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def main() -> int:
    """Run the bench; exit 1 below the goal of 8."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--resolvers", type=int, default=200)
    options.add_argument("--memory", type=int, default=0, metavar="ROUNDS", help="instead: memory over so many rounds")
    chosen = options.parse_args()
    with Responders(chosen.resolvers) as addresses:
        if chosen.memory:
            early, late = asyncio.run(memory(addresses, chosen.memory))
            return 0 if late < early * 1.1 + 200_000 else 1
        return 0 if asyncio.run(compare(addresses, chosen.rounds)) >= 8 else 1


if __name__ == "__main__":
    sys.exit(main())
