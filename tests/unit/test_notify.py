"""Notifications: on changes only, signed, retried, never in the way, and no secret in any message."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cutover.errors import CutoverError
from cutover.finding import Finding, Status
from cutover.observations.gate import Judged
from cutover.plan import Notify
from cutover.report.notify import TRIES, Notifier
from cutover.verdict import Verdict
from tests.world.httpserver import QuietHandler, QuietServer

NOW = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)


class QuickClock:
    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return NOW + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Hook(QuietServer):
    """Keeps what it is sent; answers with the codes it was given, then 200; ``hang`` seconds before that."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.codes: list[int] = []
        self.hang = 0.0
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/T0/S3CR3T"


class Answer(QuietHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
        time.sleep(self.server.hang)
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.end_headers()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HOOK_URL", server.url)
    monkeypatch.setenv("HOOK_KEY", "k3y")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def judged(verdict: Verdict, message: str = "<!channel> & more") -> Judged:
    finding = Finding(check="dns.horizon", status=Status.FAIL, subject="app.example.com", message=message)
    return Judged(
        at=NOW,
        command="watch",
        phase="watch",
        migration="porter-to-sst",
        began=NOW,
        plan_hash="h",
        names=("app.example.com.",),
        verdict=verdict.value,
        exit_code=int(verdict.exit_code),
        findings=(finding,),
        soaked={},
        summary={},
    )


def tell(notify: Notify, *verdicts: Verdict, known: str = "", folder: Path = Path(), patience: float = 10) -> list[str]:
    said: list[str] = []

    async def scene() -> None:
        notifier = Notifier(notify, QuickClock(), folder, known=known, say=said.append)
        for verdict in verdicts:
            notifier.tell(judged(verdict))
        await notifier.close(patience)

    asyncio.run(scene())
    return said


def test_only_a_change_is_told(hook: Hook) -> None:
    notify = Notify(webhook="env:HOOK_URL")
    steps = [Verdict.CONVERGING, Verdict.CONVERGING, Verdict.CONVERGED, Verdict.CONVERGED]
    assert tell(notify, *steps, known="converging") == []
    (one,) = hook.got
    form = json.loads(one[1])
    assert (form["before"], form["verdict"], form["exit_code"]) == ("converging", "converged", 0)
    assert form["findings"][0]["check"] == "dns.horizon"


def test_the_body_is_signed_with_its_time(hook: Hook) -> None:
    tell(Notify(webhook="env:HOOK_URL", secret="env:HOOK_KEY"), Verdict.SPLIT_BRAIN)
    headers, body = hook.got[0]
    at, digest = (part.split("=", 1)[1] for part in headers["x-cutover-signature"].split(","))
    assert at == str(int(NOW.timestamp()))
    assert digest == hmac.new(b"k3y", at.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(b"k3y", body, hashlib.sha256).hexdigest()
    assert "cutover fence" in json.loads(body)["text"]


def test_slack_gets_text_that_mentions_nobody(hook: Hook) -> None:
    tell(Notify(slack="env:HOOK_URL"), Verdict.CONVERGING)
    text = json.loads(hook.got[0][1])["text"]
    assert text.startswith("porter-to-sst: converging")
    assert "&lt;!channel&gt; &amp; more" in text


def test_failures_are_tried_again_and_the_url_is_never_shown(hook: Hook) -> None:
    hook.codes = [500, 429]
    assert tell(Notify(slack="env:HOOK_URL"), Verdict.CONVERGING) == []
    assert len(hook.got) == 3
    hook.codes = [500] * 99
    (said,) = tell(Notify(slack="env:HOOK_URL"), Verdict.BLOCKED)
    assert len(hook.got) == 3 + TRIES
    assert "HTTP 500" in said
    assert "S3CR3T" not in said


def test_what_could_not_be_told_is_told_later_and_only_then(hook: Hook) -> None:
    """Slack is down while the alarm is raised: no change of the verdict follows that would tell it."""
    hook.codes = [500] * TRIES
    said: list[str] = []
    clock = QuickClock()

    async def scene() -> None:
        notifier = Notifier(Notify(webhook="env:HOOK_URL"), clock, Path(), known="converging", say=said.append)
        for minutes in (0, 1, 6, 12):
            clock.ahead = timedelta(minutes=minutes)
            notifier.tell(judged(Verdict.SPLIT_BRAIN))
            await notifier.close(10)

    asyncio.run(scene())
    assert len(said) == 1
    assert len(hook.got) == TRIES + 1
    assert json.loads(hook.got[-1][1])["before"] == "converging"


def test_a_later_verdict_never_overtakes_an_earlier_one(hook: Hook) -> None:
    hook.codes = [500, 500]
    tell(Notify(webhook="env:HOOK_URL"), Verdict.CONVERGING, Verdict.SPLIT_BRAIN)
    assert [json.loads(body)["verdict"] for _, body in hook.got] == ["converging"] * 3 + ["split-brain"]


def test_a_receiver_that_hangs_holds_nobody_up(hook: Hook) -> None:
    hook.hang = 12.0
    began = time.monotonic()
    (said,) = tell(Notify(slack="env:HOOK_URL"), Verdict.CONVERGING, patience=0.2)
    assert time.monotonic() - began < 10
    assert "in time" in said


def test_a_command_gets_the_json(tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path('told.json').write_bytes(sys.stdin.buffer.read())"
    assert tell(Notify(command=(sys.executable, "-c", code)), Verdict.CONVERGED, folder=tmp_path) == []
    assert json.loads((tmp_path / "told.json").read_text())["verdict"] == "converged"
    (said,) = tell(Notify(command=(sys.executable, "-c", "raise SystemExit(3)")), Verdict.CONVERGED, folder=tmp_path)
    assert "ended with 3" in said
    (said,) = tell(Notify(command=("/nonexistent/tell",)), Verdict.CONVERGED, folder=tmp_path)
    assert "No such file" in said


def test_a_missing_variable_is_said_before_the_watch_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_URL", raising=False)
    with pytest.raises(CutoverError, match="HOOK_URL is not set"):
        tell(Notify(slack="env:HOOK_URL"), Verdict.CONVERGED)
