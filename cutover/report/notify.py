"""``[notify]``: who is told when the verdict changes. Never in the way of the watch.

A webhook's body is signed: ``X-Cutover-Signature: t=<unix seconds>,v1=<hex>`` is the HMAC-SHA256 of
``<t>.<body>`` under ``secret``, so that a receiver can refuse forgeries and replays.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from cutover.clock import Clock
from cutover.finding import Severity, Status
from cutover.http import USER_AGENT, httpx
from cutover.observations.gate import Judged
from cutover.output import to_json
from cutover.plan import Notify
from cutover.planfile import secret
from cutover.report.finding_text import clean
from cutover.report.verdict_text import ALARM, judged_json
from cutover.verdict import Verdict

Telling = Callable[[], Coroutine[Any, Any, str]]
"""One attempt; gives "" when it was taken, else why not."""

TRIES = 4
DEADLINE = 60.0
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
        self._before = known
        self._say = say
        self._slack = secret(notify.slack, where="[notify] slack") if notify and notify.slack else ""
        self._webhook = secret(notify.webhook, where="[notify] webhook") if notify and notify.webhook else ""
        self._key = secret(notify.secret, where="[notify] secret") if notify and notify.secret else ""
        self._command = notify.command if notify else ()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, judged: Judged) -> None:
        """Start telling everybody when the verdict is another than before; returns at once."""
        if judged.verdict == self._before:
            return
        before, self._before = self._before, judged.verdict
        form = {**judged_json(judged), "before": before or None, "text": message(judged, before)}
        for name, work in self._receivers(form):
            task = asyncio.get_running_loop().create_task(self._deliver(name, work))
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

    def _receivers(self, form: Mapping[str, object]) -> list[tuple[str, Telling]]:
        body = to_json(form).encode()
        found: list[tuple[str, Telling]] = []
        if self._slack:
            text = to_json({"text": _for_slack(str(form["text"]))}).encode()
            found.append(("slack", lambda: self._post(self._slack, text, {})))
        if self._webhook:
            found.append(("webhook", lambda: self._post(self._webhook, body, self._signature(body))))
        if self._command:
            found.append(("command", lambda: self._run(body)))
        return found

    async def _deliver(self, name: str, work: Telling) -> None:
        problem = ""
        try:
            async with asyncio.timeout(DEADLINE):
                for attempt in range(TRIES):
                    problem = await work()
                    if not problem:
                        return
                    await self._clock.sleep(2**attempt * (0.5 + random.random() / 2))  # noqa: S311 - jitter, no secret
        except TimeoutError:
            problem = problem or f"no answer within {DEADLINE:.0f} s"
        self._say(f"notify: {name} was not told: {problem}")

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
        digest = hmac.new(self._key.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"X-Cutover-Signature": f"t={at},v1={digest}"}

    async def _run(self, body: bytes) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._base_dir,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            return f"{self._command[0]}: {error.strerror}"
        try:
            async with asyncio.timeout(_TIMEOUT):
                await process.communicate(body)
        except (TimeoutError, asyncio.CancelledError) as error:
            process.kill()
            await process.wait()
            if isinstance(error, asyncio.CancelledError):
                raise
            return f"still running after {_TIMEOUT:.0f} s"
        return "" if process.returncode == 0 else f"{self._command[0]} ended with {process.returncode}"


def _for_slack(text: str) -> str:
    """Keep a name or message from becoming a mention or a link (Slack: escaping text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def message(judged: Judged, before: str) -> str:
    """Write the text for people: verdict first, then why; with split-brain the commands to run."""
    turned = f"{before} -> {judged.verdict}" if before else judged.verdict
    lines = [f"{judged.migration}: {turned}"]
    if judged.verdict == Verdict.SPLIT_BRAIN.value:
        lines.append("Both databases took writes. Run now: " + "; ".join(ALARM))
    why = [
        x
        for status in (Status.FAIL, Status.INCONCLUSIVE)
        for x in judged.findings
        if x.status is status and x.severity is Severity.BLOCKER
    ]
    lines += [clean(f"- {x.subject}: {x.message} [{x.check}]") for x in why[:_SHOWN]]
    if len(why) > _SHOWN:
        lines.append(f"... and {len(why) - _SHOWN} more: cutover status")
    return "\n".join(lines)
