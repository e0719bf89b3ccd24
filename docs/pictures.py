"""Makes README's pictures from a real run in the test world: ``python docs/pictures.py`` (a minute, loopback only).

``docs/terminal.svg`` is the live view's frame of the run's last round, ``docs/page.png`` its status page in Chromium.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.text import Text  # noqa: E402

from cutover.folds.story import Story  # noqa: E402
from cutover.ledger import Ledger  # noqa: E402
from cutover.report.live import frame  # noqa: E402
from cutover.rounds import Judgement  # noqa: E402
from cutover.verdict import Verdict  # noqa: E402
from tests.gate.command import Cutover  # noqa: E402
from tests.report import chromium  # noqa: E402
from tests.world.origin import Origin  # noqa: E402
from tests.world.world import NAME, World  # noqa: E402

SOAK = 15.0
ROUNDS = "24s"


def main() -> None:
    """Play the middle of a migration: DNS has moved but for one resolver, a tenth of the requests has not."""
    with tempfile.TemporaryDirectory() as folder, World(folder=Path(folder), clamp=40) as world:
        plan = world.plan(
            {
                "name": [
                    {
                        "name": NAME,
                        "types": ["A"],
                        "old": [world.old.address],
                        "new": [world.new.address],
                        "provider": "none",
                        "previous_ttl": 2,
                    }
                ],
                "traffic": [{"source": "access_log", "old": ["old.log"], "new": ["new.log"], "sentinel_path": "/"}],
                "gate": {
                    "interval": "1s",
                    "soak": f"{SOAK:.0f}s",
                    "max_old_share": 0.01,
                    "min_requests": 50,
                    "writes": "none",
                },
            }
        )
        world.set_ttl(1)
        cutover = Cutover(plan, world.environment)
        shares = {world.old: 0.9, world.new: 0.1}
        with users(shares):
            cutover("watch", "--until-done", "--timeout", "5s")
            world.cut_over()
            shares.update({world.old: 0.1, world.new: 0.9})
            cutover("watch", "--until-done", "--timeout", ROUNDS, "--html", "status.html")
        with Ledger(Path(folder) / "cutover.ledger", readonly=True) as ledger:
            story = Story()
            for _, observation in ledger.read():
                story.add(observation)
        if story.last is None:
            raise SystemExit("the watch judged nothing")
        draw_terminal(Judgement(story.last, Verdict(story.last.verdict), {}), ROOT / "docs" / "terminal.svg")
        chromium.picture(Path(folder) / "status.html", ROOT / "docs" / "page.png", width=900, height=1180)


@contextlib.contextmanager
def users(shares: dict[Origin, float]) -> Iterator[None]:
    """Let requests arrive at each side, in these shares."""
    stop = threading.Event()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def ask(side: Origin) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPSConnection(side.address, side.port, context=context, timeout=5)
                connection.request("GET", "/", headers={"Host": NAME, "User-Agent": "browser"})
                connection.getresponse().read()
                connection.close()
            time.sleep(0.05 / shares[side])

    threads = [threading.Thread(target=ask, args=(side,)) for side in shares]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def draw_terminal(judgement: Judgement, target: Path) -> None:
    """Draw the live view's frame as it stood at the end of the round."""
    screen = Console(record=True, file=io.StringIO(), width=100, force_terminal=True, color_system="truecolor")
    screen.print(Text.assemble(("$ ", "dim"), "cutover watch --until-done"))
    screen.print(frame(judgement, SOAK, judgement.judged.at, 100))
    drawn = screen.export_svg(title="cutover watch")
    # rich names fonts of a server: any monospaced font of the reader's own will do
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
