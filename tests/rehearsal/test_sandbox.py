"""The parts of the sandbox behave as the real ones: name server, caching resolver, cloud, deployments, databases."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import boto3
import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import psycopg
import pytest

from cutover.rehearsal.cloud import Cloud
from cutover.rehearsal.http1 import Connection, Response
from cutover.rehearsal.machine import free_port, network
from cutover.rehearsal.nameserver import Answering, Nameserver, Zone, listen
from cutover.rehearsal.resolver import Resolver
from cutover.rehearsal.sandbox import LOW_TTL, NAME, TTL, Sandbox

Asking = Callable[[str, str], Awaitable[dns.message.Message]]


def in_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run an asynchronous test to its end."""

    @functools.wraps(test)
    def run() -> None:
        async def body() -> None:
            await test()

        asyncio.run(body())

    return run


def zone() -> Zone:
    made = Zone.of("example.com.", ["ns1.example.com."], minimum=5)
    made.put("ns1.example.com.", "A", 60, ["127.0.0.1"])
    made.put("app.example.com.", "A", 2, ["192.0.2.1"])
    made.put("www.example.com.", "CNAME", 30, ["app.example.com."])
    made.put("deep.below.example.com.", "A", 30, ["192.0.2.3"])
    made.put("away.example.com.", "NS", 30, ["ns.away.example.com."])
    made.put("ns.away.example.com.", "A", 30, ["192.0.2.53"])
    return made


async def ask(answering: Answering, name: str, rtype: str) -> dns.message.Message:
    return await answering(dns.message.make_query(name, rtype))


def shown(message: dns.message.Message) -> tuple[str, list[str]]:
    return dns.rcode.to_text(message.rcode()), [str(x) for rrset in message.answer for x in rrset]


@in_a_loop
async def test_answers_of_a_name_server() -> None:
    server = Nameserver(zone())
    found = await ask(server.answer, "APP.example.com.", "A")
    assert shown(found) == ("NOERROR", ["192.0.2.1"])
    assert found.flags & dns.flags.AA
    assert not found.flags & dns.flags.RA
    nothing = await ask(server.answer, "app.example.com.", "AAAA")
    assert shown(nothing) == ("NOERROR", [])
    assert nothing.authority[0].rdtype == dns.rdatatype.SOA
    assert shown(await ask(server.answer, "no.example.com.", "A"))[0] == "NXDOMAIN"
    assert shown(await ask(server.answer, "below.example.com.", "A")) == ("NOERROR", [])
    assert shown(await ask(server.answer, "www.example.com.", "A"))[1] == ["app.example.com."]
    assert shown(await ask(server.answer, "app.example.org.", "A"))[0] == "REFUSED"


@in_a_loop
async def test_a_delegation_is_referred_to_with_glue() -> None:
    found = await ask(Nameserver(zone()).answer, "x.away.example.com.", "A")
    assert not found.answer
    assert not found.flags & dns.flags.AA
    assert found.authority[0].rdtype == dns.rdatatype.NS
    assert str(found.additional[0][0]) == "192.0.2.53"


@in_a_loop
async def test_a_change_counts_the_serial_up() -> None:
    changed = zone()
    before = (await ask(Nameserver(changed).answer, "example.com.", "SOA")).answer[0][0].serial
    changed.put("app.example.com.", "A", 2, ["192.0.2.2"])
    assert (await ask(Nameserver(changed).answer, "example.com.", "SOA")).answer[0][0].serial == before + 1


async def resolving(stack: AsyncExitStack, served: Zone, *, least: int = 0) -> Asking:
    address = f"{network()}.1"
    port = free_port([address])
    stack.push_async_callback((await listen(Nameserver(served).answer, address, port)).aclose)
    resolver = Resolver([(address, port)], least=least)
    return lambda name, rtype: ask(resolver.answer, name, rtype)


@in_a_loop
async def test_a_resolver_keeps_an_answer_for_its_ttl_and_no_longer() -> None:
    async with AsyncExitStack() as stack:
        served = zone()
        resolve = await resolving(stack, served)
        assert shown(await resolve("app.example.com.", "A"))[1] == ["192.0.2.1"]
        served.put("app.example.com.", "A", 2, ["192.0.2.2"])
        kept = await resolve("app.example.com.", "A")
        assert shown(kept)[1] == ["192.0.2.1"]
        assert 1 <= kept.answer[0].ttl <= 2
        assert kept.flags & dns.flags.RA
        assert not kept.flags & dns.flags.AA
        await asyncio.sleep(3.1)
        assert shown(await resolve("app.example.com.", "A"))[1] == ["192.0.2.2"]


@in_a_loop
async def test_a_resolver_keeps_absence_too() -> None:
    async with AsyncExitStack() as stack:
        served = zone()
        resolve = await resolving(stack, served)
        assert shown(await resolve("soon.example.com.", "A"))[0] == "NXDOMAIN"
        served.put("soon.example.com.", "A", 2, ["192.0.2.9"])
        assert shown(await resolve("soon.example.com.", "A"))[0] == "NXDOMAIN"


@in_a_loop
async def test_a_clamping_resolver_keeps_an_answer_longer() -> None:
    async with AsyncExitStack() as stack:
        served = zone()
        resolve = await resolving(stack, served, least=600)
        await resolve("app.example.com.", "A")
        served.put("app.example.com.", "A", 2, ["192.0.2.2"])
        await asyncio.sleep(3.1)
        kept = await resolve("app.example.com.", "A")
        assert shown(kept)[1] == ["192.0.2.1"]
        assert 500 < kept.answer[0].ttl <= 600


@in_a_loop
async def test_a_resolver_without_an_authority_fails() -> None:
    address = f"{network()}.1"
    resolver = Resolver([(address, free_port([address]))])
    assert shown(await ask(resolver.answer, "app.example.com.", "A"))[0] == "SERVFAIL"


@in_a_loop
async def test_udp_and_tcp_and_garbage() -> None:
    address = f"{network()}.1"
    port = free_port([address])
    async with await listen(Nameserver(zone()).answer, address, port):
        query = dns.message.make_query("app.example.com.", "A")
        assert shown(await dns.asyncquery.udp(query, address, 2, port))[1] == ["192.0.2.1"]
        assert shown(await dns.asyncquery.tcp(query, address, 2, port))[1] == ["192.0.2.1"]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(address, port))
        transport.sendto(b"\x00garbage")
        transport.close()
        assert shown(await dns.asyncquery.udp(query, address, 2, port))[1] == ["192.0.2.1"]


def test_a_change_at_route53_is_served_and_remembered() -> None:
    served: list[tuple[str, str, int, list[str]]] = []

    def publish(owner: str, rtype: str, ttl: int, values: Sequence[str]) -> None:
        served.append((owner, rtype, ttl, list(values)))

    with Cloud("127.0.0.1", publish) as cloud:
        zone_id, servers = cloud.create_zone("example.com")
        assert len(servers) == 4
        cloud.upsert(zone_id, "app.example.com.", 300, "192.0.2.1", remembered=False)
        trail = boto3.client("cloudtrail", endpoint_url=cloud.endpoint_url, region_name="us-east-1")
        assert trail.lookup_events()["Events"] == []
        cloud.upsert(zone_id, "app.example.com.", 60, "192.0.2.2")
        assert served == [("app.example.com.", "A", 300, ["192.0.2.1"]), ("app.example.com.", "A", 60, ["192.0.2.2"])]
        (event,) = trail.lookup_events()["Events"]
        detail = json.loads(event["CloudTrailEvent"])
        change = detail["requestParameters"]["changeBatch"]["changes"][0]
        assert change["resourceRecordSet"]["tTL"] == 60
        assert detail["responseElements"]["changeInfo"]["id"].startswith("/change/")
        refused = cloud.client()
        with pytest.raises(refused.exceptions.ClientError):
            cloud.upsert("ZNONE", "app.example.com.", 60, "192.0.2.3")
        assert len(served) == 2


@pytest.fixture(scope="module")
def world() -> Iterator[Sandbox]:
    with Sandbox() as made:
        made.write_plan()
        yield made


def test_a_maintenance_page_hides_the_app_and_lets_go_of_the_database(world: Sandbox) -> None:
    side, number = world.order(1, "a chair", "10.00")
    assert side == "old"
    assert number > 1000
    world.maintenance(on=True)
    try:
        with world.postgres.connect() as admin:
            held = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND datname = 'old'")
            assert held.fetchone() == (0,)
        page = version(world, world.old.address)
        assert page.status == 503
        assert b"down for maintenance" in page.body
        assert "x-release" not in page.headers
    finally:
        world.maintenance(on=False)
    assert version(world, world.old.address).headers["x-release"] == "porter-41"


def version(world: Sandbox, address: str) -> Response:
    """Ask a deployment for /version, as the tool does: by address, with the app's name and its certificate."""

    async def get() -> Response:
        trust = ssl.create_default_context(cafile=str(world.path / "ca.pem"))
        connection = await Connection.open(address, world.old.port, NAME, trust)
        try:
            return await connection.ask("GET", "/version", agent="test")
        finally:
            connection.close()

    return asyncio.run(get())


def copy(world: Sandbox) -> None:
    """Copy as the story does: behind the maintenance page, where no user's request takes the database again."""
    world.maintenance(on=True)
    world.copy()
    world.maintenance(on=False)


def test_one_user_in_ten_stays_on_old_behind_the_carrier(world: Sandbox) -> None:
    copy(world)
    world.fill_caches()
    world.point(world.new, LOW_TTL)
    moved = time.monotonic()
    while {world.order(n, "a cup", "1.00")[0] for n in (1, 2, 3)} != {"new"}:
        assert time.monotonic() - moved < TTL + 10
        time.sleep(0.2)
    time.sleep(LOW_TTL + 1)
    before = world.old.counts.total(), world.new.counts.total()
    time.sleep(4)
    old, new = world.old.counts.total() - before[0], world.new.counts.total() - before[1]
    assert 0.04 < old / (old + new) < 0.2, (old, new)
    assert world.order(40, "a spoon", "1.00")[0] == "old"
    world.flush_carrier()
    assert world.order(40, "a spoon", "1.00")[0] == "new"


def test_base_is_what_both_sides_started_from(world: Sandbox) -> None:
    copy(world)
    counted = {
        side: world.postgres.rows("SELECT count(*) FROM orders", database=side)[0][0] for side in ("base", "old", "new")
    }
    assert len(set(counted.values())) <= 2
    assert counted["base"] <= min(counted["old"], counted["new"])
    with pytest.raises(psycopg.Error), psycopg.connect(world.postgres.url("old", "app")) as app:
        app.execute("DROP TABLE orders")


def test_the_plan_lets_nothing_out_of_this_machine(world: Sandbox) -> None:
    from cutover.planfile import load_plan

    plan = load_plan(world.path / "cutover.toml")
    servers = [*plan.dns.roots, *(plan.dns.resolvers if not isinstance(plan.dns.resolvers, str) else ["builtin"])]
    assert all(str(server).startswith("127.") for server in servers)
    assert plan.dns.interception_canary == ""
    assert str(plan.providers.route53.endpoint_url).startswith("http://127.")


def test_a_client_that_resets_its_connection_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    """A command that is ended in the middle of a question would leave a traceback on the narrator's terminal."""
    with Cloud("127.0.0.1", lambda *_: None) as cloud:
        at = urlsplit(cloud.endpoint_url)
        with socket.create_connection((str(at.hostname), at.port or 0)) as client:
            client.sendall(b"GET /2013-04-01/hosted")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.2)
        time.sleep(0.3)
    assert "Traceback" not in capfd.readouterr().err
