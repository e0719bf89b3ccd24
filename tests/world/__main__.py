"""``python -m tests.world``: start the world, write a plan, and let a person play with it until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.world.nameservers import Nameserver
from tests.world.resolvers import Unbound
from tests.world.world import AWS_ENVIRONMENT, NAME, World

HELP = """\
Commands (one a line):
  ttl SECONDS          set the TTL of {name}
  switch [SERVER]      point {name} at new (on ns1 or ns2 only: they disagree then)
  back [SERVER]        point {name} at old again
  silence WHO          plain, clamping, stale, ns1, ns2: goes silent;  wake WHO: answers again
  flush WHO            a resolver forgets what it knows
  refuse SIDE          old or new closes its port;  accept SIDE opens it again
  requests             how many requests each side got
  help, quit
"""


class UnclearError(Exception):
    """A line that is no command."""


def obey(world: World, line: str) -> str:
    """Do what one line says and return what to print.

    Raises:
        UnclearError: when it cannot be understood.
    """
    word, _, rest = line.strip().partition(" ")
    servers = (rest,) if rest in ("ns1", "ns2") else None
    sides = {"old": world.old, "new": world.new}
    silenced: dict[str, Unbound | Nameserver] = {**world.resolvers, **world.authority.servers}
    match word:
        case "ttl" if rest.isdigit():
            world.set_ttl(int(rest))
        case "switch" if servers or not rest:
            world.cut_over(servers=servers)
        case "back" if servers or not rest:
            world.roll_back(servers=servers)
        case "silence" if rest in silenced:
            silenced[rest].pause()
        case "wake" if rest in silenced:
            silenced[rest].resume()
        case "flush" if rest in world.resolvers:
            world.resolvers[rest].flush()
        case "refuse" if rest in sides:
            sides[rest].refuse()
        case "accept" if rest in sides:
            sides[rest].accept()
        case "requests":
            return "".join(f"{side}: {sum(origin.counts.values())}\n" for side, origin in sides.items())
        case "help" | "":
            return HELP.format(name=NAME)
        case _:
            raise UnclearError(f"not understood: {line.strip()}")
    return "ok\n"


def tour(world: World, plan: Path) -> str:
    """What to tell a person at the start."""
    address, _, port = world.resolvers["plain"].at.partition(":")
    lines = [
        f"{NAME} is at old ({world.old.at}); new is {world.new.at}.",
        f"authority: {', '.join(world.authority.at('example.com'))}; root: {world.authority.roots[0]}",
        *(f"resolver {name}: {resolver.at}" for name, resolver in world.resolvers.items()),
        "",
        "See it:    " + f"dig @{address} -p {port} {NAME}",
        "           "
        + f"curl --cacert {world.folder / 'ca.pem'} --resolve {NAME}:{world.old.port}:{world.old.address} "
        + world.old.url,
        "           "
        + f"aws --endpoint-url {world.aws.endpoint_url} route53 list-resource-record-sets "
        + f"--hosted-zone-id {world.hosted_zone.id}",
        "Before:    export " + " ".join(f"{key}={value}" for key, value in AWS_ENVIRONMENT.items()),
        f"Then:      cutover preflight --plan {plan}",
        f"           cutover watch --plan {plan}",
        "",
    ]
    return "\n".join(lines) + "\n" + HELP.format(name=NAME)


def main() -> None:
    """Run until ``quit``, Ctrl-C or SIGTERM; commands are read as long as there is standard input."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts it in the background ignores the first
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m tests.world", description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="where cutover.toml is written")
    folder: Path | None = parser.parse_args().folder
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with World(folder=folder) as world:
        print(tour(world, world.plan(route53=True)), flush=True)
        try:
            for line in sys.stdin:
                if line.strip() == "quit":
                    return
                try:
                    print(obey(world, line), end="", flush=True)
                except UnclearError as error:
                    print(error, flush=True)
            while True:
                signal.pause()
        except KeyboardInterrupt:
            print("gone", flush=True)


if __name__ == "__main__":
    main()
