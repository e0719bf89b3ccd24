"""The test world shows what it promises: each of its parts really has the manners that tests rely on."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.query
import dns.rcode
import dns.rdataset
import pytest

from tests.world import impostors
from tests.world.authority import Authority
from tests.world.nameservers import answers, ask
from tests.world.origin import CertificateAuthority, Origin, Page
from tests.world.resolvers import Unbound
from tests.world.world import NAME, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with Authority() as made:
        yield made


def fetch(origin: Origin, path: str = "/version", *, agent: str = "test") -> tuple[int, dict[str, str], bytes]:
    assert origin.ca is not None
    trust = ssl.create_default_context(cadata=origin.ca.pem.decode())
    with socket.create_connection((origin.address, origin.port), timeout=3) as raw:
        connection = http.client.HTTPConnection(origin.host)
        connection.sock = trust.wrap_socket(raw, server_hostname=origin.host)
        connection.request("GET", path, headers={"User-Agent": agent})
        reply = connection.getresponse()
        return reply.status, {key.lower(): value for key, value in reply.getheaders()}, reply.read()


def test_a_walk_from_the_root_reaches_the_zone(authority: Authority) -> None:
    authority.add_zone("walk.com", delegation_ttl=1234)
    authority.set_records("walk.com", "app", "A", 60, ["127.0.0.10"])
    root = ask(authority.roots[0], "app.walk.com", recurse=False)
    assert not root.answer
    assert root.authority[0].name.to_text() == "com."
    assert root.additional[0][0].to_text() == authority.servers["tld"].address
    tld = ask(authority.servers["tld"].at, "app.walk.com", recurse=False)
    assert (tld.authority[0].name.to_text(), tld.authority[0].ttl) == ("walk.com.", 1234)
    assert sorted(each.to_text() for each in tld.authority[0]) == [
        "ns1.dns-host.example.",
        "ns2.dns-host.example.",
    ]
    assert len(authority.at("walk.com")) == 2
    for server in authority.at("walk.com"):
        reply = ask(server, "app.walk.com", recurse=False)
        assert reply.flags & dns.flags.AA
        assert answers(server, "app.walk.com") == ("127.0.0.10",)


def test_servers_of_one_zone_can_disagree_lie_fallow_and_be_lame(authority: Authority) -> None:
    authority.add_zone("apart.com")
    authority.set_records("apart.com", "app", "A", 60, ["127.0.0.10"])
    authority.set_records("apart.com", "app", "A", 60, ["127.0.0.20"], servers=["ns2"], bump=False)
    one, two = authority.at("apart.com")
    assert (answers(one, "app.apart.com"), answers(two, "app.apart.com")) == (("127.0.0.10",), ("127.0.0.20",))
    assert ask(one, "apart.com", "SOA").answer[0][0].serial == ask(two, "apart.com", "SOA").answer[0][0].serial
    authority.servers["ns1"].pause()
    with pytest.raises(dns.exception.Timeout):
        ask(one, "app.apart.com", timeout=0.2)
    authority.servers["ns1"].resume()
    authority.servers["ns2"].withdraw("apart.com")
    assert ask(two, "app.apart.com").rcode() == dns.rcode.REFUSED
    assert answers(one, "app.apart.com") == ("127.0.0.10",)


def test_two_zones_of_one_name_live_apart(authority: Authority) -> None:
    authority.add_zone("twice.com")
    authority.add_zone("twice.com", servers=["ns3", "ns4"], delegate=False)
    authority.edit("twice.com", {("app", "A"): (60, ("127.0.0.99",))}, servers=["ns3", "ns4"])
    assert [answers(server, "app.twice.com") for server in authority.at("twice.com")] == [
        ("NXDOMAIN",),
        ("NXDOMAIN",),
        ("127.0.0.99",),
        ("127.0.0.99",),
    ]


@pytest.mark.parametrize(("ds", "matches"), [("right", True), ("wrong", False)])
def test_a_signed_zone_has_a_ds_that_fits_or_not(authority: Authority, ds: str, matches: bool) -> None:
    zone = f"signed-{ds}.com."
    authority.add_zone(zone)
    authority.set_records(zone, "app", "A", 60, ["127.0.0.10"])
    authority.sign(zone, ds=ds)
    [published] = ask(authority.servers["tld"].at, zone, "DS").answer[0]
    for server in authority.at(zone):
        query = dns.message.make_query(f"app.{zone}", "A", want_dnssec=True)
        address, _, port = server.rpartition(":")
        signed = dns.query.udp(query, address, port=int(port), timeout=1)
        keys = dns.query.udp(
            dns.message.make_query(zone, "DNSKEY", want_dnssec=True), address, port=int(port), timeout=1
        )
        keyset: dict[dns.name.Name, dns.node.Node | dns.rdataset.Rdataset]
        keyset = {keys.answer[0].name: keys.answer[0]}
        dns.dnssec.validate(signed.answer[0], signed.answer[1], keyset)
        made = dns.dnssec.make_ds(keys.answer[0].name, keys.answer[0][0], "SHA256")
        assert (made == published) is matches


def test_expired_signatures_do_not_validate(authority: Authority) -> None:
    authority.add_zone("late.com")
    authority.sign("late.com", expired=True)
    address, _, port = authority.at("late.com")[0].rpartition(":")
    query = dns.message.make_query("late.com.", "DNSKEY", want_dnssec=True)
    reply = dns.query.udp(query, address, port=int(port), timeout=1)
    assert reply.answer[1][0].expiration < time.time()


def test_resolvers_have_their_manners(authority: Authority) -> None:
    authority.add_zone("manners.com", minimum=1, soa_ttl=1)
    authority.set_records("manners.com", "app", "A", 1, ["127.0.0.10"])
    ca = CertificateAuthority()
    with (
        Unbound(authority) as plain,
        Unbound(authority, min_ttl=30) as clamping,
        Unbound(authority, serve_expired=60, tls=ca) as stale,
    ):
        panel = (plain, clamping, stale)
        assert {answers(each.at, "app.manners.com") for each in panel} == {("127.0.0.10",)}
        authority.set_records("manners.com", "app", "A", 1, ["127.0.0.20"])
        time.sleep(2.1)  # the resolvers' own clocks: whole seconds
        assert answers(plain.at, "app.manners.com") == ("127.0.0.20",)
        assert answers(clamping.at, "app.manners.com") == ("127.0.0.10",)
        assert answers(stale.at, "app.manners.com") == ("127.0.0.20",)
        clamping.flush("app.manners.com")
        assert answers(clamping.at, "app.manners.com") == ("127.0.0.20",)

        authority.add_zone("later.example")  # resolvers learn of new zones
        authority.set_records("later.example", "x", "A", 60, ["127.0.0.30"])
        assert answers(plain.at, "x.later.example") == ("127.0.0.30",)

        trust = ssl.create_default_context(cadata=ca.pem.decode())
        query = dns.message.make_query("app.manners.com", "A")
        over_tls = dns.query.tls(
            query,
            stale.address,
            port=stale.tls_port,
            ssl_context=trust,
            server_hostname=stale.server_name,
            timeout=2,
        )
        assert over_tls.answer[0][0].to_text() == "127.0.0.20"

        for name in ("ns1", "ns2"):
            authority.servers[name].stop()
        time.sleep(2.1)
        assert answers(stale.at, "app.manners.com", timeout=4) == ("127.0.0.20",)
        plain.pause()
        with pytest.raises(dns.exception.Timeout):
            ask(plain.at, "app.manners.com", timeout=0.3)
        plain.resume()
        for name in ("ns1", "ns2"):
            authority.servers[name].start()


def test_impostors_do_as_they_are_told() -> None:
    question = dns.message.make_query("app.example.com", "A")
    with impostors.Impostor(impostors.constant("203.0.113.9")) as server:
        assert answers(server.at, "app.example.com") == ("203.0.113.9",)
        assert ask(server.at, "app.example.com", tcp=True).answer
        assert server.questions == 2
        server.behaviour = impostors.rcode("SERVFAIL")
        assert answers(server.at, "app.example.com") == ("SERVFAIL",)
        for lie in (impostors.wrong_id, impostors.wrong_question):
            server.behaviour = lie
            with pytest.raises(dns.query.BadResponse):
                ask(server.at, "app.example.com")
        for noise in (impostors.garbage, impostors.truncated_header):
            server.behaviour = noise
            with pytest.raises(dns.exception.DNSException):
                ask(server.at, "app.example.com", timeout=0.3)
        server.behaviour = impostors.silent
        with pytest.raises(dns.exception.Timeout):
            ask(server.at, "app.example.com", timeout=0.2)
        server.behaviour = impostors.after(impostors.wrong_id, impostors.constant("203.0.113.7"))
        reply = dns.query.udp(question, server.address, port=server.port, timeout=1, ignore_errors=True)
        assert reply.answer[0][0].to_text() == "203.0.113.7"
        server.behaviour = impostors.constant("203.0.113.5")
        with impostors.Impostor(impostors.relay(server.at)) as front:
            assert answers(front.at, "app.example.com") == ("203.0.113.5",)
        server.behaviour = impostors.always_truncated
        assert ask(server.at, "app.example.com").flags & dns.flags.TC
    with impostors.closed_port() as nobody, pytest.raises(ConnectionRefusedError):
        ask(nobody, "app.example.com", tcp=True)


def test_an_origin_answers_counts_and_logs(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with Origin(CertificateAuthority(), release="porter-41", access_log=log) as origin:
        status, headers, body = fetch(origin, agent="one")
        assert (status, headers["x-release"], body) == (200, "porter-41", b'{"release": "porter-41"}')
        origin.headers["Alt-Svc"] = 'h3="other.example.net:443"; ma=60'
        origin.everything = Page(503, b"down for maintenance")
        status, headers, body = fetch(origin, "/any?x=1", agent="two")
        assert (status, body) == (503, b"down for maintenance")
        assert headers["alt-svc"].startswith("h3=")
        assert origin.counts == {("GET", "one"): 1, ("GET", "two"): 1}
        first, second = log.read_text().splitlines()
        assert first.startswith("127.0.0.1 - - [")
        assert first.endswith('] "GET /version HTTP/1.1" 200 24 "-" "one"')
        assert '"GET /any?x=1 HTTP/1.1" 503 20' in second


def test_an_origin_can_be_wrong_in_every_way() -> None:
    with Origin(CertificateAuthority()) as origin:
        origin.certificate("other.example.com")
        with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch"):
            fetch(origin)
        origin.certificate(expired=True)
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            fetch(origin)
        origin.foreign_certificate()
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed|unable to get local issuer"):
            fetch(origin)
        origin.certificate()
        assert fetch(origin)[0] == 200
        origin.refuse()
        with pytest.raises(ConnectionRefusedError):
            fetch(origin)
        origin.accept()
        assert fetch(origin)[0] == 200


def test_the_world_cuts_over(world: World) -> None:
    resolver = world.resolvers["plain"]
    assert answers(resolver.at, NAME) == (world.old.address,)
    world.set_ttl(60)
    world.cut_over(servers=("ns1",))
    assert [answers(server, NAME) for server in world.authority.at("example.com")] == [
        (world.new.address,),
        (world.old.address,),
    ]
    world.cut_over()
    assert answers(resolver.at, NAME) == (world.old.address,)  # cached with the old TTL
    resolver.flush()
    assert answers(resolver.at, NAME) == (world.new.address,)
    assert fetch(world.new)[1]["x-release"] == "sst-1"
    assert answers(world.impostor(impostors.constant("203.0.113.9")).at, NAME) == ("203.0.113.9",)


def test_the_command_line_world_obeys_and_leaves_on_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.world", "--folder", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("ttl 60\nswitch ns1\nnonsense\n")
        process.stdin.close()
        said: list[str] = []
        while not said or "nonsense" not in said[-1]:
            said.append(process.stdout.readline())
        assert said[-3:] == ["ok\n", "ok\n", "not understood: nonsense\n"]
        assert 'resolvers = ["127.' in (tmp_path / "cutover.toml").read_text()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "gone\n"
        assert process.wait(10) == 0
