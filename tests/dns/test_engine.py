"""The engine against real sockets: silence, forgery, truncation, refusal, TLS, HTTPS, rates."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dns.flags
import dns.message
import pytest
import trustme

from cutover.errors import CutoverError
from cutover.observations.dns import Outcome, Reply, Transport
from cutover.probes.dns import udp
from cutover.probes.dns.engine import Engine, Question, Target, host_port, socket_address
from cutover.probes.dns.udp import Flight, Flights
from tests.dns.secure import Encrypted
from tests.dns.servers import Server, answer, answering, silent

NAME = "app.example.com."
LINE = f"{NAME} A 192.0.2.1"
Result = TypeVar("Result")


def plain(server: Server) -> Target:
    return Target(Transport.PLAIN, server.address)


def use(work: Callable[[Engine], Awaitable[Result]], **options: object) -> Result:
    async def run() -> Result:
        async with Engine(**options) as engine:  # type: ignore[arg-type]
            return await work(engine)

    return asyncio.run(run())


def ask(target: Target, *, deadline: float = 3.0, ca_files: Sequence[Path] = ()) -> Reply:
    return use(lambda engine: engine.ask(target, NAME, "A", recursion=True, deadline=deadline), ca_files=ca_files)


def data(reply: Reply) -> list[str]:
    return [record.data for record in reply.answer]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.7.9", "::1"])
def test_udp(host: str) -> None:
    with Server(answering(LINE), host=host) as server:
        reply = ask(plain(server))
    assert (reply.outcome, reply.rcode, data(reply)) == (Outcome.ANSWERED, "NOERROR", ["192.0.2.1"])
    query = dns.message.from_wire(server.received[0][0])
    assert query.flags & dns.flags.RD
    assert query.edns == 0
    assert query.payload == 1232


def test_authoritative_servers_are_asked_without_recursion() -> None:
    with Server(answering(LINE, aa=True)) as server:
        reply = use(lambda engine: engine.ask(plain(server), NAME, "A", recursion=False))
    assert reply.authoritative
    assert not dns.message.from_wire(server.received[0][0]).flags & dns.flags.RD


def test_lost_packets_are_sent_again_with_back_off() -> None:
    arrivals: list[float] = []

    def third_time(wire: bytes) -> list[bytes]:
        arrivals.append(time.monotonic())
        return [answer(wire, LINE)] if len(arrivals) == 3 else []

    with Server(third_time) as server:
        reply = ask(plain(server), deadline=3.0)
    assert data(reply) == ["192.0.2.1"]
    assert 0 < arrivals[1] - arrivals[0] < arrivals[2] - arrivals[1]
    assert reply.milliseconds >= 500


def test_silence_ends_at_the_deadline() -> None:
    with Server(silent) as server:
        began = time.monotonic()
        reply = ask(plain(server), deadline=0.5)
        took = time.monotonic() - began
    assert reply.outcome is Outcome.TIMEOUT
    assert reply.error == "no answer in 0.5 s"
    assert 0.5 <= took < 10
    assert len(server.received) == 3


def test_dead_resolvers_do_not_delay_the_others() -> None:
    """600 questions to the dead are more than may be in flight at once: the living must not wait for them."""
    with Server(answering(LINE)) as alive, Server(silent, host="127.0.0.2") as dead:
        questions = [Question(plain(dead), NAME, "A", deadline=3.0)] * 600
        questions += [Question(plain(alive), NAME, "A", deadline=1.0)] * 100
        began = time.monotonic()
        replies = use(lambda engine: engine.ask_all(questions))
        took = time.monotonic() - began
    assert Counter(reply.outcome for reply in replies) == {Outcome.TIMEOUT: 600, Outcome.ANSWERED: 100}
    assert all(reply.outcome is Outcome.ANSWERED for reply in replies[600:])
    assert took < 8, "in turns they would take 9 s"


def test_closed_port_is_known_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.3", 0))
        port = sock.getsockname()[1]
    began = time.monotonic()
    reply = ask(Target(Transport.PLAIN, f"127.0.0.3:{port}"), deadline=30)
    assert (reply.outcome, reply.error) == (Outcome.UNREACHABLE, "Connection refused")
    assert time.monotonic() - began < 20


def test_closed_ports_fail_nobody_else_on_the_shared_sockets() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.3", 0))
        closed = Target(Transport.PLAIN, f"127.0.0.3:{sock.getsockname()[1]}")
    with Server(answering(LINE)) as server:
        questions = [Question(target, NAME, "A") for _ in range(150) for target in (closed, plain(server))]
        replies = use(lambda engine: engine.ask_all(questions))
    assert {reply.outcome for reply in replies[::2]} == {Outcome.UNREACHABLE}
    assert {reply.outcome for reply in replies[1::2]} == {Outcome.ANSWERED}


def forged(wire: bytes) -> list[bytes]:
    """Return a forgery of each kind, all for 192.0.2.66, and then the truth."""
    lie = answer(wire, f"{NAME} A 192.0.2.66")
    wrong_id = bytes([lie[0] ^ 0xFF, lie[1]]) + lie[2:]
    other = answer(dns.message.make_query("evil.example.", "A", id=int.from_bytes(wire[:2], "big")).to_wire())
    return [wrong_id, other, lie[:-3], lie + b"junk", b"\xff" * 40, wire, answer(wire, LINE)]


def test_forged_answers_are_counted_and_dropped() -> None:
    with Server(forged) as server:
        reply = ask(plain(server))
    assert data(reply) == ["192.0.2.1"]
    assert reply.dropped == 6


def test_an_answer_from_another_address_is_dropped() -> None:
    with Server(silent) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind(("127.0.0.4", 0))

        def spoof(wire: bytes) -> list[bytes]:
            attacker.sendto(answer(wire, f"{NAME} A 192.0.2.66"), server.received[-1][1])
            return []

        server.handler = spoof
        reply = ask(plain(server), deadline=0.5)
    assert (reply.outcome, reply.dropped, reply.answer) == (Outcome.MALFORMED, 3, ())


def test_only_garbage_is_malformed_not_silent() -> None:
    with Server(lambda wire: [wire[:2] + b"\x81\x80garbage"]) as server:
        reply = ask(plain(server), deadline=0.4)
    assert reply.outcome is Outcome.MALFORMED
    assert "packets dropped" in reply.error


def test_late_answers_to_earlier_questions_are_no_forgery() -> None:
    """The answer to a question that has timed out arrives while the next one waits for its own."""
    with Server(answering(LINE), delay=0.35) as server:

        async def twice(engine: Engine) -> tuple[Reply, list[Reply]]:
            first = await engine.ask(plain(server), NAME, "A", recursion=True, deadline=0.2)
            batch = [Question(plain(server), f"n{i}.example.", "A", deadline=0.2) for i in range(16)]
            return first, await engine.ask_all(batch)

        first, others = use(twice)
    assert first.outcome is Outcome.TIMEOUT
    assert {(reply.outcome, reply.dropped) for reply in others} == {(Outcome.TIMEOUT, 0)}


def truncating(wire: bytes) -> list[bytes]:
    short = bytearray(answer(wire))
    short[2] |= 2
    return [bytes(short)]


def test_truncated_answers_are_asked_for_again_over_tcp() -> None:
    many = [f"{NAME} A 192.0.2.{number}" for number in range(1, 200)]
    with Server(truncating, tcp=answering(*many)) as server:
        reply = ask(plain(server))
    assert len(reply.answer) == 199
    assert [source[0] == "tcp" for _, source in server.received] == [False, True]


def test_tcp_that_never_answers_ends_at_the_same_deadline() -> None:
    with Server(truncating, tcp=silent) as server:
        began = time.monotonic()
        reply = ask(plain(server), deadline=3.0)
    assert reply.outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 6, "and has none of its own"


def test_tcp_connection_that_closes_is_unreachable() -> None:
    with Server(truncating, tcp=lambda wire: []) as server:
        server.hang_up = True
        reply = ask(plain(server))
    assert (reply.outcome, reply.error) == (Outcome.UNREACHABLE, "the server closed the connection")


def test_server_without_edns_is_asked_without() -> None:
    def old(wire: bytes) -> list[bytes]:
        if dns.message.from_wire(wire).edns >= 0:
            return [wire[:2] + b"\x81\x81" + bytes(8)]
        return [answer(wire, LINE)]

    with Server(old) as server:
        reply = ask(plain(server))
    assert data(reply) == ["192.0.2.1"]


def test_ids_and_ports_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_SENDS_PER_SOCKET", 50)
    with Server(answering(LINE)) as server:
        use(lambda engine: engine.ask_all([Question(plain(server), NAME, "A")] * 1000))
    # A question that a busy machine asks twice keeps its id.
    ids = [id for id, _ in {(int.from_bytes(wire[:2], "big"), source[1]) for wire, source in server.received}]
    ports = Counter(source[1] for _, source in server.received)
    assert len(ids) > 300
    assert len(set(ids)) > 0.95 * len(ids)
    assert abs(sum(ids) / len(ids) - 32768) < 4000
    assert len(ports) >= 12, "worn sockets are replaced"
    assert len({b - a for a, b in zip(list(ports), list(ports)[1:], strict=False)}) > 4, "the ports follow a pattern"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When packets leave; a server in this process would stamp them late when the machine is busy."""
    times: list[float] = []
    transmit = Flights._transmit

    def stamped(flights: Flights, sock: Any, flight: Flight) -> None:
        if flight.operator == "slow":
            times.append(time.monotonic())
        transmit(flights, sock, flight)

    monkeypatch.setattr(Flights, "_transmit", stamped)
    return times


def busiest_second(times: list[float]) -> int:
    return max(sum(1 for t in times if start <= t < start + 1) for start in times)


def test_rate_is_never_exceeded_by_an_operator_and_holds_back_nobody_else(sent: list[float]) -> None:
    with Server(answering(LINE)) as one, Server(answering(LINE), host="127.0.0.2") as two:
        slow = [Target(Transport.PLAIN, server.address, operator="slow") for server in (one, two)]
        questions = [Question(target, NAME, "A") for target in slow * 25] + [Question(plain(one), NAME, "A")]

        async def run(engine: Engine) -> tuple[list[Reply], list[float]]:
            began = time.monotonic()
            lone = asyncio.create_task(engine.ask_all(questions[-1:]))
            replies = await asyncio.gather(engine.ask_all(questions[:-1]), asyncio.wait_for(lone, 1.9))
            return replies[0] + replies[1], [time.monotonic() - began]

        replies, (took,) = use(run, max_rate=20)
    assert all(reply.outcome is Outcome.ANSWERED for reply in replies)
    assert (len(sent), busiest_second(sent)) == (50, 20)
    assert 2 <= took < 10


def test_resends_count_against_the_rate(sent: list[float]) -> None:
    with Server(silent) as dead:
        target = Target(Transport.PLAIN, dead.address, operator="slow")
        questions = [Question(target, NAME, "A", deadline=1.5)] * 12
        replies = use(lambda engine: engine.ask_all(questions), max_rate=10)
    assert {reply.outcome for reply in replies} == {Outcome.TIMEOUT}
    assert len(sent) > 12
    assert busiest_second(sent) == 10


def test_cancelled_round_leaves_nothing_behind() -> None:
    with Server(silent) as dead, Server(answering(LINE), host="127.0.0.2") as alive:

        async def run(engine: Engine) -> Reply:
            round_ = asyncio.create_task(engine.ask_all([Question(plain(dead), NAME, "A")] * 500))
            await asyncio.sleep(0.1)
            round_.cancel()
            with pytest.raises(asyncio.CancelledError):
                await round_
            assert all(not sock.pending for sock in engine._flights._open)
            return await engine.ask(plain(alive), NAME, "A", recursion=True)

        assert use(run).outcome is Outcome.ANSWERED


def test_no_questions_no_replies() -> None:
    assert use(lambda engine: engine.ask_all([])) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", ":53", "1.2.3.4:٣"])
def test_address_without_a_port(address: str) -> None:
    with pytest.raises(CutoverError, match="is not address:port"):
        host_port(address)


def test_plain_dns_needs_an_address() -> None:
    with pytest.raises(CutoverError, match="is not address:port"):
        socket_address("dns.example:53")
    assert socket_address("[0:0::1]:53") == ("::1", 53, 0, 0)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, path


def test_tls_verifies_the_name(ca: tuple[trustme.CA, Path]) -> None:
    authority, path = ca
    with Encrypted(answering(LINE), authority.issue_cert("dns.example")) as server:
        target = Target(Transport.TLS, server.address, server_name="dns.example")
        assert data(ask(target, ca_files=[path])) == ["192.0.2.1"]
        for wrong, trusted in ((target, []), (Target(Transport.TLS, server.address), [path])):
            reply = ask(wrong, ca_files=trusted)
            assert (reply.outcome, reply.answer) == (Outcome.UNREACHABLE, ())
            assert "certificate" in reply.error


def test_tls_questions_share_one_connection_and_survive_its_end(ca: tuple[trustme.CA, Path]) -> None:
    authority, path = ca
    with Encrypted(answering(LINE), authority.issue_cert("127.0.0.1")) as server:
        target = Target(Transport.TLS, server.address)

        async def run(engine: Engine) -> list[Reply]:
            replies = await engine.ask_all([Question(target, NAME, "A")] * 20)
            assert server.connections == 1
            server.drop_connections()
            await asyncio.sleep(0.1)
            return replies + await engine.ask_all([Question(target, NAME, "A")] * 5)

        replies = use(run, ca_files=[path])
        assert {reply.outcome for reply in replies} == {Outcome.ANSWERED}
        assert server.connections == 2


def test_https(ca: tuple[trustme.CA, Path]) -> None:
    authority, path = ca
    with Encrypted(answering(LINE, ttl=60), authority.issue_cert("localhost"), https=True) as server:
        port = host_port(server.address)[1]
        target = Target(Transport.HTTPS, f"https://localhost:{port}/dns-query")
        server.headers["age"] = "25"
        reply = ask(target, ca_files=[path])
        assert data(reply) == ["192.0.2.1"]
        assert reply.answer[0].ttl == 35, "Age is taken off (RFC 8484, 5.1)"
        assert server.requests == [("POST", f"localhost:{port}", "/dns-query", "application/dns-message")]
        untrusted = ask(target)
        assert (untrusted.outcome, "certificate" in untrusted.error.lower()) == (Outcome.UNREACHABLE, True)
        wrong_name = ask(Target(Transport.HTTPS, f"https://127.0.0.1:{port}/dns-query"), ca_files=[path])
        assert wrong_name.outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "kind", "handler", "outcome"),
    [
        pytest.param(503, "application/dns-message", answering(LINE), Outcome.UNREACHABLE, id="503"),
        pytest.param(302, "application/dns-message", answering(LINE), Outcome.UNREACHABLE, id="redirect"),
        pytest.param(200, "text/html", answering(LINE), Outcome.MALFORMED, id="a web page"),
        pytest.param(200, "application/dns-message", lambda wire: [b"no"], Outcome.MALFORMED, id="garbage"),
        pytest.param(200, "application/dns-message", lambda wire: [bytes(70_000)], Outcome.MALFORMED, id="endless"),
        pytest.param(200, "application/dns-message", silent, Outcome.TIMEOUT, id="silent"),
    ],
)
def test_https_that_is_no_answer(
    ca: tuple[trustme.CA, Path], status: int, kind: str, handler: Callable[[bytes], list[bytes]], outcome: Outcome
) -> None:
    authority, path = ca
    with Encrypted(handler, authority.issue_cert("localhost"), https=True) as server:
        server.status, server.headers["content-type"] = status, kind
        url = f"https://localhost:{host_port(server.address)[1]}/dns-query"
        assert ask(Target(Transport.HTTPS, url), ca_files=[path], deadline=1.0).outcome is outcome


def test_ca_file_that_is_none(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("nothing")
    with pytest.raises(CutoverError, match="ca_file"):
        ask(Target(Transport.TLS, "127.0.0.1:853"), ca_files=[bad])
