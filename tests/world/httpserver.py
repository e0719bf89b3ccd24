"""What the tests' own HTTP servers are made of."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuietServer(ThreadingHTTPServer):
    """Says nothing of a client that left, and does not wait for one that stays.

    A thread that prints a traceback can also break another one that formats its own: CPython 3.11 then raises
    ``SystemError: AST constructor recursion depth mismatch``, and one failed test ends the whole run.
    """

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class QuietHandler(BaseHTTPRequestHandler):
    """Does not log."""

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
