"""Bad input: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutover.commands import init
from cutover.commands.session import Session
from cutover.evidence import Evidence
from cutover.output import Output
from cutover.plan import Plan
from cutover.probes.fingerprint import Suggestion
from tests.gate.command import Cutover
from tests.world.world import AWS_ENVIRONMENT, World

ROOT = Path(__file__).parents[2]


def tool(folder: Path, plan: str) -> Cutover:
    path = folder / "cutover.toml"
    path.write_text(plan)
    return Cutover(path, {**AWS_ENVIRONMENT, "PATH": "/usr/bin:/bin"})


NAME = '[[name]]\nname = "app.example.com"\n'
NOWHERE = """
[dns]
resolvers = ["127.0.0.2:9"]
interception_canary = ""
authorities = { "example.com" = ["127.0.0.1:9"] }
"""


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ("[dns\n", "is not TOML"),
        (NAME + "[dnss]\n", "unknown key"),
        ('[[name]]\nname = "app.example.com"\nold = ["1.2.3.4/40"]\n', "no address or CIDR"),
        ("", "no [[name]]"),
        (NAME + "[migration]\nchanged_at = 2199-01-01T00:00:00Z\n", "in the future"),
        (NAME + "[dns]\nresolvers = []\n", "panel is empty"),
        (NAME + '[dns]\nresolvers = ["nonsense:1:2"]\n', "dns.resolvers"),
        (NAME + '[dns]\nresolvers = "absent.tsv"\n', "absent.tsv"),
        (NAME + '[[bucket]]\nold = "s3://a"\nnew = "s3://b"\n', "not supported yet"),
    ],
)
def test_a_bad_plan_is_one_line_and_exit_2(tmp_path: Path, plan: str, says: str) -> None:
    cutover = tool(tmp_path, plan)
    for words in (("preflight",), ("watch", "--once"), ("done",)):
        result = cutover(*words)
        assert result.code == 2, (words, result)
        assert result.json["exit_code"] == 2
        assert says in result.json["error"]["message"]
        assert result.json["error"]["hint"]
        plain = cutover(*words, json=False)
        assert plain.code == 2
        assert plain.out == ""
        assert len(plain.err.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("watch", "--timeout", "soon"),
        ("watch", "--once", "--until-done"),
        ("done", "--override", "dns.horizon"),
        ("done", "--override", "dns.horizons", "--reason", "x"),
        ("done", "--name", "*.elsewhere.example"),
        ("explain", "dns.nonsense"),
        ("report", "--at", "yesterday"),
        ("report", "--at", "2025-11-12T06:00:00"),
        ("watch", "--once", "--html", "no/such/folder/status.html"),
        ("watch", "--once", "--metrics", "no/such/folder/cutover.prom"),
        ("watch", "--once", "--html", "."),
        ("baseline", "--jobs", "0"),
        ("preflight", "not a name"),
        ("preflight", "app.example.com", "--new", "10.0.0.1/8"),
        ("preflight", "--no-such-option"),
    ],
)
def test_a_usage_error_is_exit_2_in_both_forms(tmp_path: Path, words: tuple[str, ...]) -> None:
    cutover = tool(tmp_path, NAME + NOWHERE)
    result = cutover(*words)
    assert result.code == 2, result
    assert result.json["error"]["message"]
    assert result.json["error"]["hint"]
    assert cutover(*words, json=False).code == 2


def test_one_round_may_have_a_timeout(tmp_path: Path) -> None:
    result = tool(tmp_path, NAME + NOWHERE)("watch", "--once", "--timeout", "1m")
    assert result.code in {3, 4}, result
    assert result.json["command"] == "watch"


def test_a_name_that_cannot_be_resolved_is_inconclusive(tmp_path: Path) -> None:
    result = tool(tmp_path, NAME + NOWHERE)("preflight")
    assert result.code == 4
    assert result.json["verdict"] == "inconclusive"
    assert result.json["safe_to_change_at"] is None


def test_without_a_ledger_there_is_nothing_to_show(tmp_path: Path) -> None:
    cutover = tool(tmp_path, NAME + NOWHERE)
    assert cutover("status").code == 2
    assert cutover("report").code == 2
    assert not (tmp_path / "cutover.ledger").exists()


def test_checks_and_explain(tmp_path: Path) -> None:
    cutover = tool(tmp_path, NAME)
    listed = cutover("checks").json["checks"]
    assert {"id", "title", "severity", "phases", "runbook"} == set(listed[0])
    explained = cutover("explain", listed[0]["id"])
    assert explained.code == 0
    assert "## Fix it" in explained.json["text"]
    schema = subprocess.run(
        [sys.executable, "-m", "cutover", "init", "--schema"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(schema.stdout)["properties"]["gate"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_watch_says_where_things_stand(world: World, number: signal.Signals) -> None:
    cutover = Cutover(world.plan(), world.environment)
    running = cutover.start("watch", json=False)
    assert running.stdout is not None
    running.stdout.readline()
    began = time.monotonic()
    running.send_signal(number)
    _, err = running.communicate(timeout=20)
    assert time.monotonic() - began < 15
    assert running.returncode == 130
    last = err.strip().splitlines()[-1]
    assert "interrupted" in last
    assert "app.example.com" in last
    assert cutover("status").code in {3, 4}


def test_an_interruption_before_anything_was_seen_is_one_line() -> None:
    code = (
        "import sys; sys.argv = ['cutover', 'checks']; from cutover import cli; from cutover.commands import explain\n"
        "def interrupted(session): raise KeyboardInterrupt\n"
        "explain.run_checks_list = interrupted; cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "cutover: interrupted\n")


def test_an_interruption_while_python_still_imports_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = [sys.executable, "-m", "cutover", "checks"]
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "cutover: interrupted\n")


def test_two_watchers_on_one_ledger_do_not_corrupt_it(world: World) -> None:
    cutover = Cutover(world.plan(), world.environment)
    both = [cutover.start("watch", "--timeout", "6s", "--until-done") for _ in range(2)]
    codes = [one.wait(40) for one in both]
    for one in both:
        one.communicate()
    assert set(codes) <= {3, 4}
    report = cutover("report")
    assert report.code in {3, 4}
    assert report.json["rounds"] >= 6


def test_a_ledger_that_cannot_be_written_is_not_relied_on(world: World) -> None:
    cutover = Cutover(world.plan(), world.environment)
    result = cutover("watch", "--once", "--ledger", "/dev/full/ledger")
    assert result.code == 2
    assert "ledger" in result.json["error"]["message"]


def test_preflight_of_a_name_alone_reaches_the_first_screen(world: World) -> None:
    settings = world.folder / "settings.toml"
    text = world.plan().read_text()
    settings.write_text(text[text.index("[dns]") : text.index("[gate]")])
    cutover = Cutover(settings, world.environment)
    bare = world.folder / "bare.toml"
    bare.write_text(text[text.index("[dns]") : text.index("[origin]")])
    result = Cutover(bare, world.environment)("preflight", "app.example.com", json=False)
    assert result.code == 3
    lines = result.out.splitlines()
    assert lines[0].startswith("app.example.com   BLOCKED (3)")
    assert any("3600" in line for line in lines)
    assert "--new" in result.out
    assert lines[-1].startswith("Next: ")
    given = cutover("preflight", "app.example.com", "--new", world.new.address)
    assert given.code == 3
    assert not [x for x in given.json["findings"] if "--new" in x["message"]]


def test_init_takes_a_plan_file_that_it_is_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def drafted(session: Session, plan: Plan) -> tuple[list[str], Evidence, dict[str, Suggestion]]:
        asked.extend(plan.names)
        return [], Evidence(plan), {}

    monkeypatch.setattr(init, "_drafted", drafted)
    session = Session.of(tmp_path / "other.toml", None, Output(as_json=True))
    assert init.run(session, "app.example.com", None, ["198.51.100.20"], schema=False) == 0
    assert asked == ["app.example.com."]
    assert (tmp_path / "other.toml").exists()


def test_init_writes_a_plan_that_preflight_accepts(world: World) -> None:
    text = world.plan().read_text()
    plan = world.folder / "mine.toml"
    plan.write_text(text[text.index("[dns]") : text.index("[origin]")])
    cutover = Cutover(plan, world.environment)
    made = cutover("init", "app.example.com", "--new", world.new.address)
    assert made.code == 0, made
    added = plan.read_text().removeprefix(text[text.index("[dns]") : text.index("[origin]")])
    assert len(added.strip().splitlines()) <= 15
    assert "# TODO: only you know" in added
    assert world.old.address in added
    assert cutover("preflight").code in {3, 4}
    assert cutover("init", "app.example.com").code == 2
