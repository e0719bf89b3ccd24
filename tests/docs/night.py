"""One whole night through the command line, on real servers: what every command prints, kept for the tests.

``python -m tests.docs.night FOLDER`` plays it and leaves plan, ledger and page in a folder.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.gate.command import Cutover, Result
from tests.world.postgres import Postgres
from tests.world.world import NAME, World

SCHEMA = """
CREATE TABLE customers (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, name text, updated_at timestamptz);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, total numeric);
INSERT INTO customers (email, name) SELECT 'user' || n || '@shop.example', 'User ' || n FROM generate_series(1, 40) n;
INSERT INTO orders (customer_id, total) SELECT 1 + n % 40, n FROM generate_series(1, 200) n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
"""
ON_OLD = """
INSERT INTO orders (customer_id, total) VALUES (7, 1001), (8, 1002);
UPDATE customers SET name = 'Renamed on old' WHERE id = 3;
"""
ON_NEW = """
INSERT INTO orders (customer_id, total) VALUES (9, 2001), (10, 2002), (11, 2003);
UPDATE customers SET name = 'Renamed on new' WHERE id = 4;
"""


@dataclass
class Told:
    """What was run, in order: a label, the command's words, and what came of it."""

    steps: list[tuple[str, tuple[str, ...], Result]] = field(default_factory=list)

    def of(self, label: str) -> Result:
        """The result of one step."""
        (found,) = [result for name, _, result in self.steps if name == label]
        return found


@contextmanager
def scene(folder: Path | None = None) -> Iterator[tuple[World, Postgres, Postgres, Cutover]]:
    """DNS, origins, two databases and a plan for them all."""
    with ExitStack() as stack:
        world = stack.enter_context(World(folder=folder, resolvers=("plain", "clamping"), clamp=6))
        old, new = stack.enter_context(Postgres()), stack.enter_context(Postgres())
        for server in (old, new):
            server.role("app")
        urls = {
            "OLD_DATABASE_URL": old.create_database("shop", sql=SCHEMA),
            "NEW_DATABASE_URL": new.create_database("shop"),
        }
        entry = {"name": NAME, "types": ["A"], "old": [world.old.address], "new": [world.new.address]}
        path = world.plan(
            {
                "name": [{**entry, "provider": "none", "previous_ttl": 2}],
                "database": {
                    "old": "env:OLD_DATABASE_URL",
                    "new": "env:NEW_DATABASE_URL",
                    "app_roles": ["app"],
                },
                "gate": {"interval": "1s", "soak": "2s", "traffic": "optional", "writes": "required"},
            }
        )
        world.set_ttl(1)
        programs = f"{old.bin}:{world.environment['PATH']}"
        yield world, old, new, Cutover(path, {**world.environment, **urls, "PATH": programs})


def play(world: World, old: Postgres, new: Postgres, cutover: Cutover) -> Told:
    """Play the night: preflight, baseline, watch, split-brain, fence, merge, verify, undo, done, report."""
    told = Told()
    folder = cutover.plan.parent

    def run(label: str, *words: str) -> Result:
        result = cutover(*words)
        told.steps.append((label, words, result))
        return result

    run("preflight", "preflight")
    run("baseline", "baseline", "--dump", "base.dump")
    dump = str(folder / "base.dump")
    restore = [str(old.bin / "pg_restore"), "--no-owner", f"--dbname={cutover.environment['NEW_DATABASE_URL']}", dump]
    subprocess.run(restore, check=True, capture_output=True)
    run("baseline again", "baseline")
    run("watch before", "watch", "--once")
    world.cut_over()
    time.sleep(3.2)
    run("watch the change", "watch", "--once")  # readings from both sides of the change bound the writes
    run("watch after", "watch", "--once", "--html", "status.html", "--metrics", "cutover.prom")
    write(cutover.environment["NEW_DATABASE_URL"], ON_NEW)
    write(cutover.environment["OLD_DATABASE_URL"], ON_OLD)
    run("split-brain", "watch", "--until-done", "--timeout", "20s")
    run("done refused", "done", "--override", "dns.horizon", "--reason", "we cannot wait")
    run("fence", "fence")
    run("estimate", "reconcile", "--estimate")
    bundle = run("merge", "reconcile").json["bundle"]
    run("apply", "reconcile", "--apply", bundle)
    run("verify", "reconcile", "--verify", bundle)
    world.resolvers["clamping"].flush()
    time.sleep(1.2)
    run("converged", "watch", "--until-done", "--timeout", "60s", "--html", "status.html")
    run("done", "done")
    run("override", "done", "--override", "dns.caa", "--reason", "agreed in the review")
    run("status", "status")
    run("report", "report", "--html", "report.html")
    run("undo", "reconcile", "--undo", bundle)
    run("release", "fence", "--release")
    run("checks", "checks")
    run("explain check", "explain", "dns.ttl-aged")
    run("explain page", "explain", "split-brain")
    run("wrong option", "watch", "--once", "--until-done")
    run("no such check", "explain", "dns.nonsense")
    return told


def write(url: str, sql: str) -> None:
    """Write as the application does; a session flushes its counters when it ends."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.encode())


def interrupted(cutover: Cutover) -> int:
    """Start a watch, press Ctrl-C, and return how it ends."""
    watching = cutover.start("watch")
    try:
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=30)
    finally:
        watching.kill()
        watching.wait()
    return watching.returncode


def main() -> None:
    """Play the night and leave its files in a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with scene(folder) as (world, old, new, cutover):
        for label, words, result in play(world, old, new, cutover).steps:
            print(f"{label:16} {result.code:4} cutover {' '.join(words)}")
            if "-v" in sys.argv:
                print(result.out, result.err)


if __name__ == "__main__":
    main()
