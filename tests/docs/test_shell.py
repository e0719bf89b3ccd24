"""How the tool feels in a shell: help, completion, locales, pipes, terminals, and what Windows lacks."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cutover import cli
from cutover.commands import watch
from cutover.ledger import Ledger
from cutover.observations.gate import Judged
from cutover.verdict import Exit
from tests.docs.commands import COMMANDS, ROOT, parse
from tests.gate.command import Cutover
from tests.report import scenes
from tests.world.world import World

RUN = "import sys; sys.argv[0] = 'cutover'; from cutover.cli import main; main()"
NAMES = sorted(COMMANDS.commands)  # type: ignore[attr-defined]
BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}


def run(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        env={**BARE, **(env or {})},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger in which everything was judged, with marks that a poor locale lacks."""
    path = tmp_path / "cutover.ledger"
    with Ledger(path) as kept:
        kept.append([scenes.converging(), scenes.split_brain(), scenes.override(reason="weil’s ×✗ 日本 so ist")])
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_help_ends_in_an_example_that_works(name: str) -> None:
    done = run(name, "-h")
    assert done.returncode == 0
    text = done.stdout.decode()
    before, _, example = text.rpartition("\n\n")
    assert before
    example = " ".join(example.split())
    assert example.startswith(f"Example: cutover {name}"), example
    parse(example.removeprefix("Example: "))
    assert text.splitlines()[0].startswith(f"Usage: cutover {name}")
    assert "\x1b" not in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_first_help_lists_every_command_and_ends_in_an_example() -> None:
    text = run("--help").stdout.decode()
    for name in NAMES:
        assert re.search(rf"^  {name} +\w", text, re.MULTILINE), name
    assert "Example: cutover preflight app.example.com" in text
    assert run().returncode == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["preflight", "--neww", "x"], "cutover preflight --help"),
        (["status", "more"], "cutover status --help"),
        (["--json", "status"], "options come after the command"),
        (["frobnicate"], "cutover --help"),
    ],
)
def test_a_wrong_word_says_where_the_right_ones_are_told(words: list[str], hint: str) -> None:
    done = run(*words)
    assert done.returncode == Exit.USAGE
    assert hint in (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("topic", ["dns.horizon", "dns-horizon", "dns-horizon.md", "runbooks/dns-horizon.md"])
def test_explain_takes_a_runbook_as_findings_name_it(topic: str) -> None:
    done = run("explain", topic)
    assert done.returncode == Exit.OK
    assert done.stdout.decode().startswith("dns.horizon (blocker")


def test_every_option_says_what_it_does() -> None:
    for name in NAMES:
        for parameter in COMMANDS.commands[name].params:  # type: ignore[attr-defined]
            assert getattr(parameter, "help", None), (name, parameter.name)


@pytest.mark.parametrize(
    ("shell", "words", "wanted"),
    [
        ("bash", "cutover re", ["reconcile", "rehearse", "report"]),
        ("bash", "cutover reconcile --a", ["--accept-effects", "--accept-inferred-deletes", "--apply"]),
        ("zsh", "cutover expl", ["explain"]),
        ("fish", "cutover fe", ["fence"]),
    ],
)
def test_completion_knows_commands_and_options(shell: str, words: str, wanted: list[str]) -> None:
    environment = {
        "_CUTOVER_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    said = run(env=environment).stdout.decode()
    for word in wanted:
        assert word in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_shown_and_installed(shell: str, tmp_path: Path) -> None:
    environment = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    shown = run("--show-completion", shell, env=environment)
    assert shown.returncode == 0
    assert b"_CUTOVER_COMPLETE" in shown.stdout
    installed = run("--install-completion", shell, env=environment)
    assert installed.returncode == 0, installed.stderr
    assert any(b"_CUTOVER_COMPLETE" in x.read_bytes() for x in tmp_path.rglob("*") if x.is_file())


POOR = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp437"},
]


@pytest.mark.parametrize("poor", POOR, ids=lambda x: "-".join(f"{k}={v}" for k, v in x.items()))
def test_a_locale_without_unicode_never_crashes(poor: dict[str, str], ledger: Path) -> None:
    given = ("--ledger", str(ledger))
    for words, code in (
        (("status", *given), 5),
        (("report", *given, "--html", str(ledger.with_name("page.html"))), 5),
        (("status", *given, "--json"), 5),
        (("checks",), 0),
        (("explain", "dns.ttl-aged"), 0),
        (("explain", "during"), 0),
        (("explain", "ünsinn"), 2),
        (("preflight", "bücher.example", "--plan", "/nonexistent/plän.toml"), 2),
    ):
        done = run(*words, env=poor)
        assert done.returncode == code, (words, done.stderr)
    encoding = poor.get("PYTHONIOENCODING", "ascii")
    assert "SPLIT-BRAIN" in run("status", *given, env=poor).stdout.decode(encoding)
    assert "日本" in ledger.with_name("page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("explain", "before"), ("--help",), ("report",), ("checks", "--json")])
def test_a_reader_that_goes_away_gives_no_traceback(words: tuple[str, ...], ledger: Path) -> None:
    command = [sys.executable, "-c", RUN, *words, *(["--ledger", str(ledger)] if words == ("report",) else [])]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, env=BARE, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == Exit.INTERRUPTED


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", RUN, "checks"], env=BARE, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == Exit.USAGE
    assert done.stderr.decode().startswith("cutover: the output cannot be written: No space left on device")


@pytest.mark.parametrize("module", ["fcntl", "termios", "pwd", "resource"])
def test_nothing_that_windows_lacks_is_imported(module: str) -> None:
    """Every module but the rehearsal's (which says itself that it does not run on Windows)."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "cutover").rglob("*.py")
        if "rehearsal" not in path.parts and path.name != "__main__.py"
    )
    code = f"""
import sys
sys.modules[{module!r}] = None
import os
for name in ("getuid", "geteuid", "fork", "setsid", "killpg", "getpgid", "uname"):
    delattr(os, name) if name != "uname" else None
import importlib
for name in {modules!r}:
    importlib.import_module(name)
from cutover.check import all_checks
assert len(all_checks()) > 30
"""
    done = subprocess.run([sys.executable, "-c", code], env=BARE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_loop_without_signal_handlers_still_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stopped() -> bool:
        loop = asyncio.get_running_loop()

        def missing(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(loop, "add_signal_handler", missing)
        stop = asyncio.Event()
        watch._stop_on_signals(stop)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5)
        return stop.is_set()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert asyncio.run(stopped())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def on_a_terminal(words: list[str], env: Mapping[str, str], *, columns: int, until: str, seconds: float = 40) -> str:
    """Run on a terminal of so many columns until a text shows; then Ctrl-C. Returns what was drawn."""
    import fcntl
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(words, env=dict(env), stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen = b""
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends and process.poll() is None:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    seen += os.read(master, 65536)
                except OSError:
                    break
            if until.encode() in seen:
                process.send_signal(signal.SIGINT)
                until = "\0"
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return seen.decode(env.get("PYTHONIOENCODING", "utf-8"), "replace")


@pytest.mark.parametrize(
    ("columns", "extra"),
    [(40, {}), (120, {}), (80, {"NO_COLOR": "1"}), (80, {"PYTHONIOENCODING": "ascii"})],
    ids=["narrow", "wide", "no-color", "ascii"],
)
def test_the_live_view_draws_on_a_real_terminal(world: World, columns: int, extra: dict[str, str]) -> None:
    cutover = Cutover(world.plan(), world.environment)
    environment = {**cutover.environment, "TERM": "xterm-256color", **extra}
    environment.pop("COLUMNS", None)
    if "NO_COLOR" not in extra:
        environment.pop("NO_COLOR", None)
    drawn = on_a_terminal(list(cutover.words("watch", json=False)), environment, columns=columns, until="databases:")
    assert "Traceback" not in drawn
    assert "CONVERGING" in drawn or "INCONCLUSIVE" in drawn
    assert "interrupted: app.example.com" in drawn
    coloured = re.search(r"\x1b\[[0-9;]*3[1-6]m", drawn) is not None
    assert coloured == ("NO_COLOR" not in extra)
    if extra.get("PYTHONIOENCODING") == "ascii":
        assert drawn.isascii()
    frame_lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in drawn.replace("\r", "\n").split("\n")]
    drawn_lines = [x for x in frame_lines if "interrupted" not in x and "status" not in x]
    assert max(map(len, drawn_lines)) <= columns


def test_explain_is_drawn_on_a_terminal_and_plain_in_a_pipe() -> None:
    words = [sys.executable, "-c", RUN, "explain", "during"]
    drawn = on_a_terminal(words, {**BARE, "TERM": "xterm"}, columns=60, until="\0")
    assert "\x1b[1" in drawn
    assert "```" not in drawn
    assert "**" not in drawn
    assert "    cutover watch --until-done --timeout 4h --html status.html" in re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    piped = run("explain", "during").stdout.decode()
    assert piped.rstrip() == (ROOT / "runbooks" / "during.md").read_text(encoding="utf-8").rstrip()


@pytest.mark.parametrize(
    ("last", "code"),
    [(scenes.converged(), 0), (scenes.converging(), 3), (scenes.split_brain(), 5)],
    ids=["converged", "converging", "split-brain"],
)
def test_a_verdict_is_the_exit_code(tmp_path: Path, last: Judged, code: int) -> None:
    with Ledger(tmp_path / "l") as kept:
        kept.append([last])
    assert run("status", "--ledger", str(tmp_path / "l")).returncode == code


def test_every_other_documented_code_is_reached(tmp_path: Path, world: World) -> None:
    with Ledger(tmp_path / "empty"):
        pass
    assert run("report", "--ledger", str(tmp_path / "empty")).returncode == Exit.INCONCLUSIVE
    assert run("watch", "--plan", str(tmp_path / "no.toml")).returncode == Exit.USAGE
    cutover = Cutover(world.plan(), world.environment)
    watching = cutover.start("watch")
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=30)
    assert watching.returncode == Exit.INTERRUPTED


def test_a_bug_is_told_in_one_line_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("cutover.commands.explain.run_checks_list", broken)
    monkeypatch.setattr(sys, "argv", ["cutover", "checks"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == Exit.BUG
    assert capsys.readouterr().err.splitlines()[0] == "cutover: ZeroDivisionError: by nothing"
