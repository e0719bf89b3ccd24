"""What the gate decides over time: soak, ledger, overrides, reports."""

from __future__ import annotations

import sqlite3
import time

from tests.gate.stories import Start, lower_and_age, quick
from tests.world.world import World

APP = "app.example.com"


def test_a_plan_edited_in_mid_soak_restarts_the_soak(world: World, start: Start) -> None:
    lower_and_age(world)
    gate = {"interval": "1s", "soak": "3s", "traffic": "optional", "writes": "none"}
    cutover = start({**quick(world), "gate": gate})
    cutover("preflight")
    world.cut_over()
    time.sleep(3.2)
    assert cutover("watch", "--until-done", "--timeout", "40s").code == 0
    edited = start({**quick(world), "gate": {**gate, "soak": "4s"}})
    again = edited("watch", "--once")
    assert again.code == 3
    assert again.json["soaked"][APP] == 0
    assert edited("done").code == 3


def test_a_deleted_ledger_takes_all_that_rests_on_it_along(world: World, start: Start) -> None:
    lower_and_age(world)
    cutover = start(quick(world), previous_ttl=None)
    cutover("preflight")
    world.cut_over()
    time.sleep(3.2)
    cutover("watch", "--until-done", "--timeout", "8s")
    (world.folder / "cutover.ledger").unlink()
    result = cutover("done")
    assert result.code == 4
    assert result.findings("dns.horizon", "inconclusive")
    assert cutover("watch", "--once").code == 4


def test_a_ledger_edited_by_hand_is_refused_and_kept(world: World, start: Start) -> None:
    cutover = start(quick(world))
    cutover("preflight")
    ledger = world.folder / "cutover.ledger"
    with sqlite3.connect(ledger) as raw:
        raw.execute("DROP TRIGGER no_update")
        raw.execute("UPDATE entries SET body = replace(body, 'a', 'b') WHERE seq = 2")
    before = ledger.read_bytes()
    for words in (("preflight",), ("watch", "--once"), ("done",), ("status",), ("report",)):
        result = cutover(*words)
        assert result.code == 2, words
        assert "chain" in result.json["error"]["message"]
    assert ledger.read_bytes() == before


def test_required_traffic_and_writes_without_a_source_are_inconclusive(world: World, start: Start) -> None:
    lower_and_age(world)
    gate = {"interval": "1s", "soak": "1s", "traffic": "required", "writes": "required"}
    cutover = start({**quick(world), "gate": gate})
    cutover("preflight")
    world.cut_over()
    time.sleep(3.2)
    result = cutover("watch", "--until-done", "--timeout", "4s")
    assert result.code == 4
    assert result.findings("traffic.converged", "inconclusive")
    assert result.findings("database.old-quiet", "inconclusive")
    assert cutover("done").code == 4
    override = ["--override", "traffic.converged,database.old-quiet"]
    assert cutover("done", *override, "--override", "database.split-brain", "--reason", "x").code == 2
    refused = cutover("done", "--override", "traffic.converged", "--reason", "counted by hand")
    assert refused.code == 4
    assert not refused.json["override"]["recorded"]
    assert refused.json["override"]["not_covered"] == ["database.old-quiet"]
    overridden = cutover("done", *override, "--reason", "counted by hand")
    assert overridden.code == 0, overridden.out
    assert overridden.json["verdict"] == "inconclusive"
    assert overridden.json["override"]["recorded"]
    assert cutover("status").code == 4


def test_a_preflight_without_sources_may_be_ready_and_says_that_done_will_refuse(world: World, start: Start) -> None:
    lower_and_age(world, 2.5)
    gate = {"interval": "1s", "soak": "1s", "traffic": "required", "writes": "required"}
    cutover = start({**quick(world), "gate": gate})
    cutover("preflight")
    time.sleep(2.5)
    result = cutover("preflight")
    assert result.code == 0, result.out
    assert "done" in result.said("traffic.visible", "inconclusive")
    assert "done" in result.said("database.reachable", "inconclusive")


def test_an_override_leaves_the_verdict_and_stays_in_every_report(world: World, start: Start) -> None:
    lower_and_age(world)
    cutover = start(quick(world))
    result = cutover("done")
    assert result.code in {3, 4}
    failing = sorted({x["check"] for x in result.json["findings"] if x["status"] in {"fail", "inconclusive"}})
    one = cutover("done", "--override", failing[0], "--reason", "because")
    if len(failing) > 1:
        assert one.code == result.code
    words = [word for check in failing for word in ("--override", check)]
    assert cutover("done", *words).code == 2
    assert cutover("done", "--override", "dns.nonsense", "--reason", "x").code == 2
    done = cutover("done", *words, "--reason", "agreed by all")
    assert done.code == 0
    assert done.json["verdict"] == result.json["verdict"]
    assert done.json["override"]["reason"] == "agreed by all"
    assert set(done.json["override"]["checks"]) == set(failing)
    for words_ in (("report",), ("status",)):
        shown = cutover(*words_)
        assert shown.code == result.code
        assert shown.json["overrides"][0]["reason"] == "agreed by all"
        assert shown.json["overrides"][0]["names"] == [APP]
    cutover.plan.write_text("[broken")
    for words_ in (("report",), ("status",)):
        assert cutover(*words_).code == result.code, "what was decided is told without a plan"


def test_a_look_at_another_name_in_between_leaves_the_plans_names_as_they_were(world: World, start: Start) -> None:
    lower_and_age(world)
    cutover = start(quick(world), types=["A", "AAAA"])
    before = cutover("preflight")
    assert cutover("preflight", "www.example.com").code in {3, 4}
    after = cutover("preflight")
    assert (after.code, after.json["verdict"]) == (before.code, before.json["verdict"])
    assert cutover("watch", "--once").code == 3
    assert cutover("report").code == 3


def test_an_earlier_verdict_is_shown_and_judged_anew_as_it_was(world: World, start: Start) -> None:
    cutover = start({**quick(world), "gate": {"interval": "1s", "soak": "2s", "traffic": "optional", "writes": "none"}})
    before = cutover("preflight")
    then = cutover("report")
    assert then.json["judged_by"] == "preflight"
    world.cut_over()
    cutover("watch", "--once")
    at = before.json["at"]
    told = cutover("report", "--at", at)
    assert told.code == then.code == before.code
    assert {**told.json, "html": None} == {**then.json, "html": None}, "later entries, the ledger's head too, stay out"
    assert told.json["replayed"] == told.json["verdict"] == before.json["verdict"]
    assert cutover("report").json["judged_by"] == "watch"
    too_early = cutover("report", "--at", "2020-01-01T00:00:00Z")
    assert too_early.code == 4
    assert "nothing was judged by then" in too_early.json["error"]["message"]


def test_an_override_of_what_does_not_stand_in_the_way_waives_no_soak(world: World, start: Start) -> None:
    lower_and_age(world)
    gate = {"interval": "1s", "soak": "10m", "traffic": "optional", "writes": "none"}
    cutover = start({**quick(world), "gate": gate})
    cutover("preflight")
    world.cut_over()
    cutover("watch", "--once")
    time.sleep(3.2)
    result = cutover("done", "--override", "dns.caa,dns.horizon", "--reason", "we are in a hurry")
    assert not [x for x in result.json["findings"] if x["severity"] == "blocker" and x["status"] == "fail"]
    assert result.code == 3, result.out
    assert result.json["exit_code"] == 3
    assert cutover("report").json["overrides"] == []
