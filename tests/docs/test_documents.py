"""What is documented exists: commands and options, pages, plan, files, examples."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from cutover.check import all_checks
from cutover.planfile import load_plan, plan_from
from cutover.verdict import Exit
from tests.docs.commands import COMMANDS, ROOT, blocks, in_markdown, in_python, in_shell, parse, unknown_in

README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNBOOKS = sorted((ROOT / "runbooks").glob("*.md"))
NIGHT = {"before", "during", "split-brain", "rollback", "decommission"}
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *RUNBOOKS, *sorted((ROOT / "docs").glob("*.md"))]
CODE = sorted([*(ROOT / "cutover").rglob("*.py"), *(ROOT / "checks").rglob("*.py")])


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_command_in_a_document_exists_with_its_options(path: Path) -> None:
    for line, pasted in in_markdown(path.read_text(encoding="utf-8")):
        assert not unknown_in(line, surely=True), line
        if pasted:
            parse(line)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.yml")), ids=name)
def test_the_examples_for_ci_are_yaml_and_their_commands_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    lines = list(in_shell(re.sub(r"^\s*(?:- )?(?:run: )?", "", text, flags=re.MULTILINE)))
    assert any(line.startswith("cutover done") for line in lines)
    for line in lines:
        parse(line)


def test_every_command_in_the_codes_own_hints_exists() -> None:
    wrong: list[str] = []
    surely_meant = 0
    for path in CODE:
        for line, surely in in_python(path.read_text(encoding="utf-8")):
            surely_meant += surely
            if problem := unknown_in(line, surely=surely):
                wrong.append(f"{name(path)}: {line}: {problem}")
    assert not wrong, "\n".join(wrong)
    assert surely_meant > 40


def test_the_trap_works() -> None:
    for wrong in ("cutover watch --fnord", "cutover done --name", "cutover explain"):
        with pytest.raises(Exception, match=r"."):
            parse(wrong)
    parse("cutover reconcile --apply BUNDLE")
    assert list(in_markdown("`cutover fnord`\n```sh\n$ cutover watch --once | head && cutover done # x\n```")) == [
        ("cutover watch --once", True),
        ("cutover done", True),
        ("cutover fnord", False),
    ]
    assert unknown_in("cutover fnord", surely=True)
    assert unknown_in("cutover watch --fnord", surely=False)
    assert not unknown_in("cutover reconcile --apply", surely=True)
    assert [x for x, _ in in_python('f"run `cutover explain {x}` or cutover watch --fnord"')] == [
        "cutover explain {}",
        "cutover watch --fnord",
    ]


def test_every_check_has_its_page_and_no_page_is_an_orphan() -> None:
    assert {x.name for x in RUNBOOKS} == {x.runbook for x in all_checks().values()} | {f"{x}.md" for x in NIGHT}


@pytest.mark.parametrize("page", sorted(NIGHT))
def test_a_page_for_the_night_begins_with_decisions_and_can_be_pasted(page: str) -> None:
    text = (ROOT / "runbooks" / f"{page}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {page}: ")
    assert text.splitlines()[2] == "**Decide first**"
    assert list(in_markdown("\n".join(blocks_in_order(text))))
    assert re.search(r"^## Stop", text, re.MULTILINE)
    assert "## What to tell users" in text
    assert len(text.splitlines()) < 70, "at 3 a.m. nobody reads more"


def blocks_in_order(text: str) -> list[str]:
    return [f"```sh\n{body}```" for body in blocks(text, "sh")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_pages_checks_and_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    rooms = "|".join(sorted({x.split(".")[0] for x in all_checks()}))
    for check in re.findall(rf"`((?:{rooms})\.[a-z][a-z-]+)`", text):
        assert check in all_checks(), check
    for page in re.findall(r"`([a-z]+(?:-[a-z]+)*\.md)`", text):
        assert (ROOT / "runbooks" / page).is_file() or (ROOT / page).is_file(), page
    for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", text):
        assert (path.parent / target.split("#")[0]).exists(), target
    if path.parent == ROOT:
        for target in re.findall(r"`((?:cutover|checks|runbooks|tests|docs)/[\w./-]*)`", text):
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_json_and_plan_examples_parse(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for body in blocks(text, "json"):
        for line in [body] if body.startswith("{\n") or "\n  " in body else body.splitlines():
            json.loads(line)
    for body in blocks(text, "toml"):
        indented = re.match(r" *", body)
        lines = [line.removeprefix(indented[0] if indented else "") for line in body.splitlines()]
        tables = tomllib.loads("\n".join(lines))
        if "bundle" not in tables and "conflict" not in tables:
            plan_from(tables, where=str(path), base_dir=ROOT)


def test_the_readmes_plan_is_a_whole_plan(tmp_path: Path) -> None:
    path = tmp_path / "cutover.toml"
    path.write_text(blocks(README, "toml")[0], encoding="utf-8")
    plan = load_plan(path)
    assert plan.database
    assert plan.traffic
    assert plan.name[0].new


def test_the_readme_says_every_exit_code_and_no_other() -> None:
    table = README[README.index("## Exit codes") :]
    codes = {int(x) for x in re.findall(r"^\| (\d+) \|", table.split("\n## ")[0], re.MULTILINE)}
    assert codes == {int(x) for x in Exit}


def test_the_readme_names_every_command() -> None:
    named = {line.split()[1] for line, _ in in_markdown(README)}
    assert named == set(COMMANDS.commands)  # type: ignore[attr-defined]


def test_the_least_policy_holds_what_the_probes_call() -> None:
    (policy,) = [x for x in map(json.loads, blocks(README, "json")) if "Statement" in x]
    allowed = set(policy["Statement"][0]["Action"])
    called: set[str] = set()
    for path in (ROOT / "cutover" / "probes").rglob("*.py"):
        called |= set(re.findall(r'"((?:route53|cloudtrail|cloudwatch):[A-Z]\w+)"', path.read_text(encoding="utf-8")))
    assert called
    assert called <= allowed
