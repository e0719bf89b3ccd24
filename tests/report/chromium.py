"""A headless browser that opens one local page, without a network: its DOM, a picture of it, or the printed page."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

LIMIT = 120
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def run(page: Path, *flags: str) -> str:
    """Open a page with more flags; returns what it wrote to stdout."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            ["chromium", *_FLAGS, f"--user-data-dir={profile}", *flags, page.resolve().as_uri()],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env={**os.environ, "HOME": profile},
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def dom(page: Path) -> str:
    """Return the page as the browser holds it after it was loaded."""
    return run(page, "--dump-dom", "--virtual-time-budget=2000")


def picture(page: Path, target: Path, *, width: int, height: int, dark: bool = False) -> None:
    """Take a picture; a window is at least 500 wide, so that a phone is an iframe's matter."""
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    run(page, *scheme, f"--window-size={width},{height}", f"--screenshot={target}")
    assert target.stat().st_size > 0
