"""``[notify]``: who is told when the verdict changes. Never in the way of the watch.

A webhook's body is signed: ``X-Cutover-Signature: t=<unix seconds>,v1=<hex>`` is the HMAC-SHA256 of
``<t>.<body>`` under ``secret``, so that a receiver can refuse forgeries and replays. ``X-Hub-Signature-256:
sha256=<hex>`` is that of the body alone (WebSub, section 8), which many receivers check already.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cutover.clock import Clock
from cutover.finding import Severity, Status
from cutover.http import USER_AGENT, httpx
from cutover.observations.gate import Judged
from cutover.output import to_json
from cutover.plan import Notify
from cutover.planfile import secret
from cutover.programs import run_program
from cutover.report.finding_text import one_line
from cutover.report.verdict_text import alarm_commands, judged_json
from cutover.verdict import Verdict

Telling = Callable[[], Coroutine[Any, Any, str]]
"""One attempt; gives "" when it was taken, else why not."""

TRIES = 4
DEADLINE = 60.0
AGAIN = timedelta(minutes=5)
"""How long a receiver that could not be reached is left alone before it is told what is so then."""
_TIMEOUT = 10.0
_SHOWN = 5


class Notifier:
    """Tells of changes of the verdict, each receiver on its own.

    Args:
        notify: the plan's ``[notify]``; None tells nobody.
        known: the verdict that the ledger held before: only another one is told.
        say: shows what could not be delivered; no secret reaches it.

    Raises:
        CutoverError: a variable that the plan names is not set.
    """

    def __init__(
        self,
        notify: Notify | None,
        clock: Clock,
        base_dir: Path,
        *,
        known: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._base_dir = base_dir
        self._known = known
        self._told: dict[str, str] = {}
        self._not_before: dict[str, datetime] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._say = say
        self._slack = secret(notify.slack, where="[notify] slack") if notify and notify.slack else ""
        self._webhook = secret(notify.webhook, where="[notify] webhook") if notify and notify.webhook else ""
        self._key = secret(notify.secret, where="[notify] secret") if notify and notify.secret else ""
        self._command = notify.command if notify else ()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, judged: Judged) -> None:
        """Start telling everybody who does not know the verdict yet; returns at once.

        A receiver that could not be reached is told later, with what is so then.
        """
        for name in self._names():
            before = self._told.get(name, self._known)
            if judged.verdict == before or self._clock.now() < self._not_before.get(name, judged.at):
                continue
            self._told[name] = judged.verdict
            form = {**judged_json(judged), "before": before or None, "text": message(judged, before)}
            task = asyncio.get_running_loop().create_task(self._deliver(name, self._work(name, form), before, judged))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self, patience: float = 5.0) -> None:
        """Wait a little for what is under way, then let it go."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                self._say(f"{len(late)} notification(s) could not be delivered in time")
                await asyncio.gather(*late, return_exceptions=True)

    def _names(self) -> list[str]:
        given = (("slack", self._slack), ("webhook", self._webhook), ("command", self._command))
        return [name for name, there in given if there]

    def _work(self, name: str, form: Mapping[str, object]) -> Telling:
        body = to_json(form).encode()
        match name:
            case "slack":
                text = to_json({"text": _for_slack(str(form["text"]))}).encode()
                return lambda: self._post(self._slack, text, {})
            case "webhook":
                return lambda: self._post(self._webhook, body, self._signature(body))
        return lambda: self._run(body)

    async def _deliver(self, name: str, work: Telling, before: str, judged: Judged) -> None:
        """Tell one receiver, after what it was to be told before."""
        async with self._turns.setdefault(name, asyncio.Lock()):
            problem = await self._tried(work)
        if not problem:
            return
        if self._told[name] == judged.verdict:
            self._told[name] = before
            self._not_before[name] = self._clock.now() + AGAIN
        self._say(f"notify: {name} was not told: {problem}")

    async def _tried(self, work: Telling) -> str:
        """Return "" when a telling was taken by one of some tries, else why not."""
        problem = ""
        try:
            async with asyncio.timeout(DEADLINE):
                for attempt in range(TRIES):
                    if attempt:
                        pause = 2 ** (attempt - 1) * (0.5 + random.random() / 2)  # noqa: S311 - jitter, no secret
                        await self._clock.sleep(pause)
                    problem = await work()
                    if not problem:
                        break
        except TimeoutError:
            problem = problem or f"no answer within {DEADLINE:.0f} s"
        return problem

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Return "" when it was taken, else one line that does not show the url: it is a secret."""
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
                given = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers}
                response = await client.post(url, content=body, headers=given)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return "" if response.is_success else f"HTTP {response.status_code}"

    def _signature(self, body: bytes) -> dict[str, str]:
        if not self._key:
            return {}
        at = str(int(self._clock.now().timestamp()))
        key = self._key.encode()
        timed = hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        plain = hmac.new(key, body, hashlib.sha256).hexdigest()
        return {"X-Cutover-Signature": f"t={at},v1={timed}", "X-Hub-Signature-256": f"sha256={plain}"}

    async def _run(self, body: bytes) -> str:
        try:
            ended = await run_program(self._command, cwd=self._base_dir, seconds=_TIMEOUT, given=body)
        except TimeoutError:
            return f"still running after {_TIMEOUT:.0f} s"
        except OSError as error:
            return f"{self._command[0]}: {error.strerror}"
        return f"{self._command[0]} ended with {ended.status}" if ended.status else ""


def _for_slack(text: str) -> str:
    """Keep a name or message from becoming a mention or a link (Slack: escaping text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def message(judged: Judged, before: str) -> str:
    """Write the text for people: verdict first, then why; with split-brain the commands to run."""
    turned = f"{before} -> {judged.verdict}" if before else judged.verdict
    lines = [f"{judged.migration}: {turned}"]
    if judged.verdict == Verdict.SPLIT_BRAIN.value:
        lines.append("Both databases took writes. Run now: " + "; ".join(alarm_commands(judged)))
    why = [
        x
        for status in (Status.FAIL, Status.INCONCLUSIVE)
        for x in judged.findings
        if x.status is status and x.severity is Severity.BLOCKER
    ]
    lines += [one_line(f"- {x.subject}: {x.message} [{x.check}]") for x in why[:_SHOWN]]
    if len(why) > _SHOWN:
        lines.append(f"... and {len(why) - _SHOWN} more: cutover status")
    return "\n".join(lines)
