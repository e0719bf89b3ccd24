"""What the tests of traffic sources share: a clock, plans, and an HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cutover.plan import Plan
from cutover.planfile import plan_from
from cutover.probes.traffic.api import ApiHosts
from cutover.probes.traffic.base import SourceSpec, Wanted
from tests.world.httpserver import QuietHandler, QuietServer

START = datetime(2025, 11, 12, 7, 0, tzinfo=UTC)


class FakeClock:
    """A clock that advances by sleeping, and by hand."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def plan_of(*traffic: Mapping[str, Any], **tables: Any) -> Plan:
    """A plan for one name with some traffic sources."""
    base: dict[str, Any] = {
        "name": [{"name": "app.example.com", "old": ["127.0.0.2"], "new": ["127.0.0.3"]}],
        "origin": {side: {"url": "https://app.example.com/version"} for side in ("old", "new")},
        "traffic": [dict(each) for each in traffic],
    }
    return plan_from({**base, **tables}, where="test", base_dir=Path())


def spec_of(traffic: Mapping[str, Any], clock: FakeClock, base_dir: Path | None = None) -> SourceSpec:
    """What one source is opened with."""
    plan = plan_of(traffic)
    return SourceSpec(
        traffic=plan.traffic[0],
        label=plan.traffic_labels()[0],
        hosts=("app.example.com",),
        base_dir=base_dir or Path(),
        api=ApiHosts(clock),
        clock=clock,
        interval=timedelta(seconds=30),
    )


def wanted(clock: FakeClock, seconds: float = 300, *, fresh: bool = False, bookmarks: Mapping[str, str] = {}) -> Wanted:
    """Both sides from some seconds ago to now."""
    start = clock.now() - timedelta(seconds=seconds)
    sides = frozenset(("old", "new")) if fresh else frozenset()
    return Wanted({"old": start, "new": start}, clock.now(), bookmarks, sides)


@dataclass
class Answer:
    """One response. ``body`` that is no bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    truncated: bool = False
    delay: float = 0.0
    date: datetime | None = None


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}


class ApiServer:
    """An HTTP server on loopback whose answers a test gives as a function."""

    def __init__(self, clock: FakeClock, answer: Callable[[Asked], Answer] | None = None) -> None:
        self.clock = clock
        self.answer = answer or (lambda _: Answer(404))
        self.asked: list[Asked] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(QuietServer):
    def __init__(self, where: tuple[str, int], api: ApiServer) -> None:
        self.api = api
        super().__init__(where, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.api.connections += 1
        super().process_request(request, client_address)


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        api = self.server.api
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        asked = Asked(self.command, parts.path, query, headers, body)
        api.asked.append(asked)
        given = api.answer(asked)
        if given.delay:
            time.sleep(given.delay)
        raw = given.body if isinstance(given.body, bytes) else json.dumps(given.body).encode()
        self.send_response_only(given.status)
        self.send_header("Date", format_datetime(given.date or api.clock.now(), usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw) + (10 if given.truncated else 0)))
        for key, value in given.headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(raw)
        if given.truncated:
            self.close_connection = True

    do_GET = do_POST = _serve  # noqa: N815 (the standard library names them)
