"""The stories that the gate was made for, each on real servers, through the command line."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.gate.command import Watching
from tests.gate.stories import Start, lower_and_age, quick
from tests.world.aws import Aws
from tests.world.cloud import record
from tests.world.impostors import Impostor, constant, garbage, silent
from tests.world.origin import Origin
from tests.world.world import NAME, ZONE, World

APP = "app.example.com"


def test_a_long_ttl_blocks_and_the_hop_is_named(world: World, start: Start) -> None:
    cutover = start()
    result = cutover("preflight")
    assert result.code == 3
    assert result.json["verdict"] == "blocked"
    said = result.said("dns.ttl-lowered", "fail")
    assert APP in said
    assert "3600" in said
    assert "hop 1" in said
    finding = result.findings("dns.ttl-lowered", "fail")[0]
    assert finding["measured"]["ttl"] == 3600
    assert finding["measured"]["limit"] == 60
    assert finding["runbook"] == "dns-ttl-lowered.md"


def test_a_long_ttl_below_an_alias_of_ones_own_is_named_with_its_hop(world: World, start: Start) -> None:
    world.authority.edit(
        ZONE,
        {("app", "A"): (1, ()), ("app", "CNAME"): (1, (f"edge.{ZONE}.",)), ("edge", "A"): (3600, (world.old.address,))},
    )
    said = start()("preflight").said("dns.ttl-lowered", "fail")
    assert "edge.example.com" in said
    assert "hop 2" in said


def test_a_lowered_ttl_is_held_until_the_old_one_has_aged_then_ready(world: World, start: Start) -> None:
    world.set_ttl(10)
    for resolver in world.resolvers.values():
        resolver.flush()
    cutover = start({**quick(world), "dns": {**quick(world)["dns"], "max_ttl": 2}}, previous_ttl=10)
    assert cutover("preflight").code == 3
    world.set_ttl(1)
    lowered = datetime.now(UTC)
    held = cutover("preflight")
    assert held.code == 3
    assert held.findings("dns.ttl-lowered", "pass")
    said = held.said("dns.ttl-aged", "fail")
    assert "10 s" in said
    safe = datetime.fromisoformat(held.json["safe_to_change_at"])
    assert lowered + timedelta(seconds=9) < safe <= datetime.now(UTC) + timedelta(seconds=11)
    time.sleep(max(0.0, (safe - datetime.now(UTC)).total_seconds()) + 1.2)
    ready = cutover("preflight")
    assert ready.code == 0, ready.out
    assert ready.json["verdict"] == "ready"


def test_watch_holds_for_one_clamping_resolver_and_names_it_then_converges(world: World, start: Start) -> None:
    clamping = world.resolvers["clamping"]
    lower_and_age(world)
    cutover = start({"gate": {"interval": "1s", "soak": "2s", "traffic": "optional", "writes": "none"}})
    assert cutover("preflight").code in {0, 3, 4}
    world.cut_over()
    time.sleep(3.5)
    held = cutover("watch", "--once")
    assert held.code == 3
    assert clamping.at in held.said("dns.resolvers-converged", "fail")
    (row,) = [x for x in held.json["resolvers"] if x["class"] == "old"]
    assert row["resolver"] == clamping.at
    assert 0 < row["remaining_ttl"] <= world.clamp
    clamping.flush()
    converged = cutover("watch", "--until-done", "--timeout", "60s")
    assert converged.code == 0, converged.err
    assert converged.json["verdict"] == "converged"
    assert converged.json["soaked"][APP] >= 2
    done = cutover("done")
    assert done.code == 0
    assert done.json["signed_off"]
    status = cutover("status")
    assert status.code == 0


def test_all_resolvers_agree_on_old_is_never_done(world: World, start: Start) -> None:
    lower_and_age(world)
    cutover = start(quick(world))
    result = cutover("watch", "--until-done", "--timeout", "5s")
    assert result.code == 3
    assert all(x["verdict"] == "converging" for x in result.rounds)
    assert "old" in result.said("dns.resolvers-converged", "fail")
    assert cutover("done").code == 3


def test_half_the_panel_dead_after_the_horizon_is_inconclusive(world: World, start: Start) -> None:
    lower_and_age(world)
    with Impostor(silent) as one, Impostor(silent) as two:
        cutover = start(quick(world, more=[one.at, two.at]))
        cutover("watch", "--once")
        world.cut_over()
        time.sleep(3.2)
        result = cutover("watch", "--once")
        assert result.code == 4, result.out
        assert result.json["verdict"] == "inconclusive"
        result.said("dns.resolvers-converged", "inconclusive")
        assert cutover("done").code == 4


def test_a_resolver_that_goes_silent_after_giving_old_still_holds(world: World, start: Start) -> None:
    lower_and_age(world)
    clamping = world.resolvers["clamping"]
    cutover = start()
    cutover("preflight")
    world.cut_over()
    time.sleep(3.2)
    assert cutover("watch", "--once").code == 3
    clamping.pause()
    try:
        silent_now = cutover("watch", "--once")
        assert silent_now.code == 3
        assert clamping.at in silent_now.said("dns.resolvers-converged", "fail")
    finally:
        clamping.resume()


def test_aaaa_left_on_old_is_named(world: World, start: Start) -> None:
    world.authority.set_records(ZONE, "app", "AAAA", 1, ["2001:db8::10"])
    lower_and_age(world)
    cutover = start(
        quick(world),
        types=["A", "AAAA"],
        old=[world.old.address, "2001:db8::10"],
        new=[world.new.address, "2001:db8::20"],
    )
    cutover("preflight")
    world.cut_over()
    time.sleep(3.2)
    result = cutover("watch", "--once")
    assert result.code == 3
    assert f"{APP} AAAA" in result.said("dns.record-plan", "fail")
    assert f"{APP} AAAA" in result.said("dns.authority-converged", "fail")


def route53(aws: Aws, **name: Any) -> dict[str, Any]:
    return {"providers": {"route53": {"endpoint_url": aws.endpoint_url}}, **name}


def test_the_wrong_of_two_zones_was_edited(world: World, start: Start) -> None:
    lower_and_age(world)
    with Aws() as aws:
        served = aws.account.create_zone("example.com", name_servers=["ns1.example.com.", "ns2.example.com."])
        idle = aws.account.create_zone("example.com", name_servers=["ns-1.awsdns-9.net.", "ns-2.awsdns-9.org."])
        aws.account.put(served, record(APP, "A", 1, world.old.address))
        aws.account.put(idle, record(APP, "A", 1, world.new.address))
        cutover = start({**route53(aws), **quick(world)}, provider="route53")
        result = cutover("watch", "--once")
        assert result.code == 3
        said = result.said("dns.delegation", "fail")
        assert idle.id in said
        assert "example.com" in said


def test_fingerprints_that_are_alike_block(world: World, start: Start) -> None:
    lower_and_age(world)
    origins = {
        side: {
            "url": origin.url,
            "connect": origin.at,
            "fingerprint": {"header": None, "matches": None, "status": 200},
            "ca_file": str(world.folder / "ca.pem"),
        }
        for side, origin in (("old", world.old), ("new", world.new))
    }
    result = start({**quick(world), "origin": origins})("preflight")
    assert result.code == 3
    result.said("origin.fingerprint-distinct", "fail")


def test_a_proxy_with_a_wrong_certificate_is_named(world: World, start: Start) -> None:
    lower_and_age(world)
    world.new.certificate("proxy.elsewhere.example")
    result = start(quick(world))("preflight")
    assert result.code == 3
    assert world.new.address in result.said("origin.tls", "fail")


def test_a_ttl_lowered_shortly_before_the_change_does_not_shorten_the_horizon(world: World, start: Start) -> None:
    cutover = start(quick(world), previous_ttl=3600)
    cutover("preflight")
    lower_and_age(world)
    cutover("preflight")
    lowered = datetime.now(UTC)
    world.cut_over()
    for resolver in world.resolvers.values():
        resolver.flush()
    result = cutover("watch", "--once")
    assert result.code == 3
    said = result.said("dns.horizon", "fail")
    assert "3600" in said
    not_before = datetime.fromisoformat(result.json["not_before"])
    assert 3500 < (not_before - lowered).total_seconds() <= 3610


def test_one_of_256_weighted_and_a_failover_secondary_on_old_are_named(world: World, start: Start) -> None:
    lower_and_age(world)
    with Aws() as aws:
        zone = aws.account.create_zone("example.com", name_servers=["ns1.example.com.", "ns2.example.com."])
        aws.account.put(zone, record(APP, "A", 1, world.new.address, SetIdentifier="sst", Weight=255))
        aws.account.put(zone, record(APP, "A", 1, world.old.address, SetIdentifier="porter", Weight=1))
        cutover = start({**route53(aws), **quick(world)}, provider="route53")
        world.cut_over()
        said = cutover("watch", "--once").said("dns.record-plan", "fail")
        assert "porter" in said
        assert "weight" in said.lower()
    with Aws() as aws:
        zone = aws.account.create_zone("example.com", name_servers=["ns1.example.com.", "ns2.example.com."])
        primary = record(APP, "A", 1, world.new.address, SetIdentifier="main", Failover="PRIMARY")
        secondary = record(APP, "A", 1, world.old.address, SetIdentifier="spare", Failover="SECONDARY")
        aws.account.put(zone, primary)
        aws.account.put(zone, secondary)
        cutover = start({**route53(aws), **quick(world)}, provider="route53")
        said = cutover("watch", "--once").said("dns.record-plan", "fail")
        assert "spare" in said
        assert "secondary" in said.lower()


def test_new_without_ipv6_wants_nodata_for_aaaa(world: World, start: Start) -> None:
    lower_and_age(world)
    cutover = start(quick(world), types=["A", "AAAA"])
    cutover("preflight")
    world.cut_over()
    time.sleep(3.2)
    result = cutover("watch", "--until-done", "--timeout", "40s")
    assert result.code == 0, result.out
    assert {x["class"] for x in result.json["resolvers"]} == {"new"}


def test_an_https_record_that_a_resolver_still_holds_is_named(world: World, start: Start) -> None:
    hints = f"1 . alpn=h2 ipv4hint={world.old.address}"
    world.authority.edit(ZONE, {("app", "A"): (1, (world.old.address,)), ("app", "HTTPS"): (600, (hints,))})
    cutover = start(quick(world), types=None)
    cutover("preflight")
    world.authority.edit(ZONE, {("app", "HTTPS"): (1, ())})
    world.cut_over()
    time.sleep(3.2)
    result = cutover("watch", "--once")
    assert f"{APP} HTTPS" in result.said("dns.resolvers-converged", "fail")
    assert f"{APP} HTTPS" in result.said("dns.horizon", "fail")
    assert result.findings("dns.authority-converged", "pass")


def test_new_is_followed_over_ipv6_too(world: World, start: Start) -> None:
    lower_and_age(world)
    with Origin(world.ca, NAME, release="porter-9", address="::1", port=world.new.port) as sixth:
        cutover = start(quick(world), types=["A", "AAAA"], new=[world.new.address, "::1"])
        cutover("preflight")
        world.authority.set_records(ZONE, "app", "AAAA", 1, ["::1"])
        world.cut_over()
        for resolver in world.resolvers.values():
            resolver.flush()  # they hold for a minute that there is no AAAA
        with Watching(cutover, "--until-done") as watching:
            found = watching.until(
                lambda x: any("::1" in f["message"] for f in x["findings"] if f["check"] == "origin.user-path"),
                "what the IPv6 address serves",
            )
        assert found["exit_code"] == 3
        (failed,) = (
            x["message"] for x in found["findings"] if (x["check"], x["status"]) == ("origin.user-path", "fail")
        )
        assert "::1" in failed, "an old release behind new's IPv6 address"
        sixth.release = world.new.release
        result = cutover("watch", "--until-done", "--timeout", "40s")
        assert result.code == 0, result.out
        (passed,) = result.findings("origin.user-path", "pass")
        assert "::1" in passed["measured"]["addresses"]


def test_a_name_that_is_to_be_made_is_asked_of_no_resolver(world: World, start: Start) -> None:
    """Asking would plant the negative answer; a record below the name makes it exist, without an address."""
    proof = {("app", "A"): (1, ()), ("_acme-challenge.app", "TXT"): (60, ('"proof"',))}
    world.authority.edit(ZONE, proof)
    cutover = start(quick(world))
    assert "no such record yet" in cutover("preflight").said("dns.ttl-lowered", "pass")
    world.cut_over()
    classes = {x["resolver"]: x["class"] for x in cutover("watch", "--once").json["resolvers"]}
    assert classes[world.resolvers["plain"].at] == "new"


def test_what_an_alias_record_hides_is_found_at_the_resolver_that_gave_it(world: World, start: Start) -> None:
    """Only addresses are seen, and another part of the world gets others for the same target."""
    lower_and_age(world)
    world.authority.edit(ZONE, {("old-lb", "A"): (1, (world.old.address,)), ("new-lb", "A"): (1, (world.new.address,))})
    everything = constant("192.0.2.77")

    def elsewhere(packet: bytes) -> list[bytes]:
        return [] if b"old-lb" in packet else everything(packet)

    with Impostor(elsewhere) as one, Impostor(everything) as liar:
        panel = quick(world, more=[one.at, liar.at])
        cutover = start(panel, old=[f"old-lb.{ZONE}"], new=[f"new-lb.{ZONE}"])
        rows = cutover("watch", "--once").json["resolvers"]
    classes = {x["resolver"]: x["class"] for x in rows}
    assert classes[one.at] == "new"
    assert classes[liar.at] == "other"


def test_lying_and_garbling_resolvers_never_make_a_pass(world: World, start: Start) -> None:
    lower_and_age(world)
    with Impostor(constant("203.0.113.99")) as liar, Impostor(garbage) as babbler:
        cutover = start(quick(world, more=[liar.at, babbler.at], min_answers=0.5))
        world.cut_over()
        result = cutover("watch", "--once")
        assert result.code in {3, 4}
        classes = {x["resolver"]: x["class"] for x in result.json["resolvers"]}
        assert classes[liar.at] == "other"
        assert classes[babbler.at] == "malformed"
        assert liar.at in result.said("dns.resolvers-converged", "inconclusive")


def test_an_authority_in_the_panel_is_a_mistake_in_the_plan(world: World, start: Start) -> None:
    lower_and_age(world)
    authority = world.authorities["example.com"][0]
    cutover = start(quick(world, more=[authority]))
    for words in (("preflight",), ("watch", "--once"), ("done",)):
        result = cutover(*words)
        assert result.code == 2, words
        assert authority in result.json["error"]["message"]
