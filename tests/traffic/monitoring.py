"""A real Prometheus, and an exporter that shows how many requests each origin got."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Self

from tests.world.httpserver import QuietHandler, QuietServer
from tests.world.process import Daemon, common_port, program, scratch


class Exporter:
    """Serves ``/metrics``: one counter by side.

    Attributes:
        counts: by side, a function that gives the total since the start.
        metric: its name; change it to rename the metric.
        broken: answer 500, as a target that is cut off.
        offset: by side, taken away from the total: set it to the total and the counter is reset.
    """

    def __init__(self, counts: Mapping[str, Callable[[], float]]) -> None:
        self.counts = counts
        self.metric = "http_requests_total"
        self.broken = False
        self.offset: dict[str, float] = {}
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def at(self) -> str:
        """``address:port``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def reset(self, side: str) -> None:
        """Start the counter of a side again from zero, as a restarted process does."""
        self.offset[side] = self.counts[side]()

    def text(self) -> str:
        lines = [f"# TYPE {self.metric} counter"]
        for side, count in self.counts.items():
            lines.append(f'{self.metric}{{side="{side}"}} {count() - self.offset.get(side, 0)}')
        return "\n".join(lines) + "\n"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(QuietServer):
    def __init__(self, where: tuple[str, int], exporter: Exporter) -> None:
        self.exporter = exporter
        super().__init__(where, _Handler)


class _Handler(QuietHandler):
    server: _Server

    def do_GET(self) -> None:
        exporter = self.server.exporter
        body = b"" if exporter.broken else exporter.text().encode()
        self.send_response(500 if exporter.broken else 200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Prometheus:
    """Debian's Prometheus, scraping every second.

    Args:
        targets: ``address:port`` of exporters.
        interval: between scrapes.
    """

    def __init__(self, *targets: str, interval: str = "1s") -> None:
        self._targets = targets
        self._interval = interval
        self.port = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._folder = scratch("prometheus")
        config = self._folder / "prometheus.yml"
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": self._interval, "scrape_timeout": self._interval},
                    "scrape_configs": [{"job_name": "origins", "static_configs": [{"targets": list(self._targets)}]}],
                }
            )
        )
        self.port = common_port(["127.0.0.1"], kind="tcp")
        self._daemon = Daemon(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--storage.tsdb.retention.time=1d",
                "--log.level=warn",
            ],
            self._folder / "log",
            cwd=self._folder,
        )
        try:
            self._daemon.wait_ready(lambda: bool(self.query("up")), seconds=30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query, empty while it does not answer."""
        words = urllib.parse.urlencode({"query": expression})
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=2) as response,
        ):
            found: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return found
        return []
