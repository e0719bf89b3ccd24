"""The shipped JSON Schemas: the plan's is the code's own, and every command's output fits the other one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import jsonschema
import pytest

from cutover.cli import app
from cutover.durations import parse_duration
from cutover.plan import Gate
from cutover.planfile import plan_schema
from tests.docs import night

OUTPUT: dict[str, Any] = json.loads((resources.files("cutover") / "schemas/output.schema.json").read_text("utf-8"))
PLAN: dict[str, Any] = json.loads((resources.files("cutover") / "schemas/plan.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(OUTPUT)


@pytest.fixture(scope="module")
def told() -> Iterator[night.Told]:
    with night.scene() as (world, old, new, cutover):
        yield night.play(world, old, new, cutover)


def objects(told: night.Told) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, _, result in told.steps:
        for each in result.rounds:
            yield label, each


def form_of(value: dict[str, Any]) -> str:
    """The one form of the schema that a value has."""
    named = {
        name: {**OUTPUT, "oneOf": [{"$ref": f"#/$defs/{name}"}]}
        for name in (each["$ref"].split("/")[-1] for each in OUTPUT["oneOf"])
    }
    (form,) = [str(name) for name, schema in named.items() if jsonschema.Draft202012Validator(schema).is_valid(value)]
    return form


def test_the_plan_schema_is_up_to_date() -> None:
    jsonschema.Draft202012Validator.check_schema(PLAN)
    assert plan_schema() == PLAN, "cutover init --schema > cutover/schemas/plan.schema.json"


def test_every_default_of_a_duration_is_one_that_a_plan_may_write() -> None:
    gate = PLAN["$defs"]["Gate"]["properties"]
    for key in ("interval", "soak", "valid_for"):
        default = gate[key]["default"]
        assert parse_duration(default) == getattr(Gate(), key)
        assert PLAN["properties"]["gate"]["default"][key] == default


def test_the_output_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(OUTPUT)


def test_the_night_came_out_as_it_should(told: night.Told) -> None:
    codes = {label: result.code for label, _, result in told.steps}
    assert codes == {
        "preflight": 3,
        "baseline": 0,
        "baseline again": 0,
        "watch before": 3,
        "watch the change": 3,
        "watch after": 3,
        "split-brain": 5,
        "done refused": 5,
        "fence": 0,
        "estimate": 0,
        "merge": 0,
        "apply": 0,
        "verify": 0,
        "converged": 0,
        "done": 0,
        "override": 0,
        "status": 0,
        "report": 0,
        "undo": 0,
        "release": 0,
        "checks": 0,
        "explain check": 0,
        "explain page": 0,
        "wrong option": 2,
        "no such check": 2,
    }


def test_every_output_fits_the_schema(told: night.Told) -> None:
    count = 0
    for label, value in objects(told):
        error = jsonschema.exceptions.best_match(VALIDATOR.iter_errors(value))
        assert error is None, f"{label}: {error.json_path}: {error.message[:300]}"
        count += 1
    assert count > 25


def test_every_command_and_every_form_was_seen(told: night.Told) -> None:
    forms = {form_of(value) for _, value in objects(told)}
    declared = {each["$ref"].split("/")[-1] for each in OUTPUT["oneOf"]}
    # init has a test of its own, and rehearse tells this same story at length
    assert declared - forms == {"init", "rehearse"}
    commands = {x.name or x.callback.__name__ for x in app.registered_commands if x.callback}
    assert commands == (declared - {"merge", "apply", "verify", "undo", "error"}) | {"reconcile"}


def test_exit_code_and_json_agree(told: night.Told) -> None:
    for label, _, result in told.steps:
        if "exit_code" in result.json:
            assert result.json["exit_code"] == result.code, label


def test_the_contract_of_the_sums(told: night.Told) -> None:
    accounted = told.of("merge").json["accounted"]
    assert accounted["old_changes"] == sum(value for key, value in accounted.items() if key != "old_changes") == 3
    assert accounted["rekeyed"] == 2


def test_a_wrong_output_does_not_fit(told: night.Told) -> None:
    good = told.of("watch after").json
    assert VALIDATOR.is_valid(good)
    for key, wrong in (
        ("verdict", "fine"),
        ("exit_code", 7),
        ("not_before", "tomorrow"),
        ("findings", [{}]),
        ("verdict", None),
        ("surprise", 1),
    ):
        assert not VALIDATOR.is_valid({**good, key: wrong}), key
    for key in ("command", "migration", "at", "verdict", "exit_code", "findings", "eta", "soaked", "not_before"):
        less = {name: value for name, value in good.items() if name != key}
        assert not VALIDATOR.is_valid(less), key
    for row in good["resolvers"]:
        assert not VALIDATOR.is_valid({**good, "resolvers": [{**row, "class": "fine"}]})
    renamed = copy.deepcopy(good)
    renamed["findings"][0]["statuss"] = renamed["findings"][0].pop("status")
    assert not VALIDATOR.is_valid(renamed)
    assert not VALIDATOR.is_valid({})
