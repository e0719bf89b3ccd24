"""``cutover init`` on a live name: a short plan that ``preflight`` takes as it is, but for what only a person knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cutover.commands.init import TODO
from cutover.planfile import load_plan
from tests.docs.test_output_schema import VALIDATOR
from tests.gate.command import Cutover
from tests.world.world import World, to_toml


@pytest.fixture
def settings(world: World) -> dict[str, Any]:
    """What the test world needs and the real one does not: its own servers and ports."""
    sides = {"old": world.old, "new": world.new}
    return {
        "dns": {"resolvers": world.panel, "interception_canary": "", "authorities": world.authorities},
        "origin": {
            side: {"url": origin.url, "connect": origin.at, "ca_file": str(world.folder / "ca.pem")}
            for side, origin in sides.items()
        },
    }


def tool(world: World, settings: dict[str, Any]) -> Cutover:
    path = world.folder / "cutover.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    return Cutover(path, world.environment)


def written(path: Path, settings: dict[str, Any]) -> list[str]:
    return path.read_text(encoding="utf-8").removeprefix(to_toml(settings)).strip().splitlines()


def test_with_both_sides_given_only_traffic_and_writes_are_left_to_people(
    world: World, settings: dict[str, Any]
) -> None:
    cutover = tool(world, settings)
    made = cutover("init", "app.example.com", "--old", world.old.address, "--new", world.new.address)
    assert made.code == 0, made.out
    jsonschema.validate(made.json, VALIDATOR.schema)
    lines = written(cutover.plan, settings)
    assert len(lines) <= 15
    assert [line for line in lines if TODO in line] == [
        f"# [[traffic]] and [database]: who counts requests and writes?   {TODO}"
    ]
    plan = load_plan(cutover.plan)
    old, new = plan.origin_of("app.example.com.", "old"), plan.origin_of("app.example.com.", "new")
    assert old.fingerprint
    assert new.fingerprint
    assert (old.fingerprint.header, new.fingerprint.header) == ("x-release", "x-release")
    assert old.fingerprint != new.fingerprint
    assert old.connect == world.old.at
    judged = cutover("preflight")
    assert judged.code == 3
    assert judged.findings("origin.fingerprint-distinct", "pass")
    # what is unknown is what only a person can add; what fails is the world's own long TTL
    blockers = [x for x in judged.json["findings"] if x["severity"] == "blocker"]
    assert not [x for x in blockers if x["status"] == "inconclusive"]
    for check in ("traffic.visible", "database.reachable"):
        assert judged.findings(check, "inconclusive")[0]["severity"] == "info"
    assert {x["check"] for x in blockers if x["status"] == "fail"} == {"dns.ttl-lowered", "dns.ttl-aged"}


def test_with_a_name_alone_the_rest_is_marked_and_preflight_takes_it(world: World, settings: dict[str, Any]) -> None:
    settings.pop("origin")
    cutover = tool(world, settings)
    made = cutover("init", "app.example.com", json=False)
    assert made.code == 0, made.err
    assert "app.example.com: A" in made.out
    assert "TTL 3600 s" in made.out
    assert "Next: cutover preflight" in made.out
    lines = written(cutover.plan, settings)
    assert len(lines) <= 15
    assert sum(TODO in line for line in lines) == 4
    assert f'old = ["{world.old.address}"]' in lines
    assert all(line.startswith("#") for line in lines if TODO in line), "a mark never stands for a value"
    assert cutover("preflight").code in {3, 4}


def test_settings_that_are_there_are_kept_and_never_doubled(world: World, settings: dict[str, Any]) -> None:
    fingerprint = {"header": "x-release", "matches": "^porter-"}
    settings["migration"] = {"name": "porter-to-sst"}
    settings["origin"]["old"]["fingerprint"] = fingerprint
    cutover = tool(world, settings)
    assert cutover("init", "app.example.com", "--new", world.new.address).code == 0
    plan = load_plan(cutover.plan)
    assert plan.migration.name == "porter-to-sst"
    assert cutover.plan.read_text(encoding="utf-8").startswith(to_toml(settings))
    again = cutover("init", "other.example.com")
    assert again.code == 2
    assert "already has names" in again.json["error"]["message"]
