"""The whole world of one migration on loopback, in one context."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import ssl
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeVar

import dns.message
import dns.rdatatype

from cutover.rehearsal.certificates import CertificateAuthority
from cutover.rehearsal.cloud import Cloud
from cutover.rehearsal.http1 import Response
from cutover.rehearsal.machine import HOSTS, Folder, credentials, environment, free_port, network, undisturbed
from cutover.rehearsal.nameserver import Nameserver, Zone, listen
from cutover.rehearsal.narrator import StoryError
from cutover.rehearsal.origin import Origin
from cutover.rehearsal.postgres import Postgres
from cutover.rehearsal.resolver import Resolver
from cutover.rehearsal.shop import APP_ROLE, ROWS, SCHEMA, Shop
from cutover.rehearsal.users import User, Where

NAME = "app.example.com"
ZONE = "example.com"
TTL = 15
"""Seconds; stands for the 86400 s of that night. Long enough for a slow machine to see caches that hold old."""
LOW_TTL = 2
CARRIER_KEEPS = 1800
"""Seconds for which the carrier's resolver keeps everything."""
USERS = 40
STALE_USERS = 4
RESOLVERS = ("anycast-1", "anycast-2", "anycast-3")

_T = TypeVar("_T")


class Sandbox:
    """Name servers, resolvers, deployments, cloud, databases and users, on loopback only.

    Attributes:
        folder: holds the plan, the logs and everything else; removed at the end.
        old, new: the deployments.
        carrier: the resolver of a mobile carrier that nobody watches; it clamps.
        users: by number; the last :data:`STALE_USERS` sit behind the carrier.
        postgres: one cluster with the databases ``old``, ``new`` and ``base``.
        zone_id: of the hosted zone.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._prefix = network()
        self._loop = asyncio.new_event_loop()
        self._living: list[asyncio.Task[None]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything and remove the folder."""
        with undisturbed():
            self._stack.close()

    def write_plan(self) -> None:
        """Write ``cutover.toml``, and the environment that its commands need as ``env``."""
        (self._home / "cutover.toml").write_text(self.plan())
        lines = [f"export {key}={shlex.quote(value)}" for key, value in sorted(credentials().items())]
        programs = f"{Path(sys.executable).parent}{os.pathsep}{self.postgres.bin}"
        lines += [f"export PATH={shlex.quote(programs)}:$PATH"]
        (self._home / "env").write_text("\n".join(lines) + "\n")

    def guide(self) -> str:
        """Return what a person needs to play on."""
        carrier = ":".join(map(str, self._carrier_at))
        return "\n".join(
            [
                "The world stays up until Ctrl-C. In another terminal:",
                f"  cd {self._home} && . ./env",
                "  cutover status                 (or any other command; the plan is cutover.toml)",
                f"  psql {self.postgres.url('old')}",
                f"  psql {self.postgres.url('new')}",
                f"  dig @{carrier.replace(':', ' -p ')} {NAME}        (the carrier's resolver)",
                f"  curl --cacert ca.pem --resolve {NAME}:{self._port}:{self.new.address} {self._url}",
            ]
        )

    @property
    def _url(self) -> str:
        return f"https://{NAME}:{self._port}/version"

    @property
    def path(self) -> Path:
        """The folder with the plan."""
        return self._home

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands."""
        return environment(PATH=f"{self.postgres.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}")

    def _start(self) -> None:
        self.folder = self._stack.enter_context(Folder())
        self._home = self.folder.path / "migration"
        self._home.mkdir(mode=0o700)
        self.postgres = self._stack.enter_context(Postgres(self.folder, self._address(1)))
        self._fill()
        thread = threading.Thread(target=self._loop.run_forever, name="rehearsal", daemon=True)
        thread.start()
        self._stack.callback(self._end_loop, thread)
        self.cloud = self._stack.enter_context(Cloud(self._address(1), self._publish))
        self.zone_id, self._servers = self.cloud.create_zone(ZONE)
        self._run(self._name_servers())
        self._run(self._deployments())
        self.cloud.upsert(self.zone_id, f"{NAME}.", TTL, self.old.address, remembered=False)
        self._run(self._begin())

    def _address(self, host: int) -> str:
        if not 1 <= host <= HOSTS:
            raise ValueError(f"the sandbox has {HOSTS} addresses")
        return f"{self._prefix}.{host}"

    def _fill(self) -> None:
        self.postgres.execute(f"CREATE ROLE {APP_ROLE} LOGIN")
        for database in ("old", "new"):
            self.postgres.execute(f"CREATE DATABASE {database}")
            self.postgres.execute(SCHEMA, database=database)
        self.postgres.execute(ROWS, database="old")

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the sandbox's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _at_the_end(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._stack.callback(lambda: self._run(close()))

    def _end_loop(self, thread: threading.Thread) -> None:
        async def stop() -> None:
            self._loop.set_exception_handler(lambda loop, context: None)  # connections that we cut are no news
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=5) if others else None

        with contextlib.suppress(TimeoutError):
            self._run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join(5)
        self._loop.close()

    async def _name_servers(self) -> None:
        """Start root, top-level domains and the zone's servers, and the resolvers; all on one port."""
        root, tld = self._address(2), self._address(3)
        authorities = {name: self._address(4 + number) for number, name in enumerate(self._servers)}
        resolvers = {name: self._address(8 + number) for number, name in enumerate((*RESOLVERS, "carrier"))}
        self._dns_port = free_port([root, tld, *authorities.values(), *resolvers.values()])
        zones = _tree(root, tld, authorities)
        self._zone = Zone.of(f"{ZONE}.", [f"{name}." for name in self._servers], ttl=60)
        asked = [(address, self._dns_port) for address in authorities.values()]
        self.resolvers = {name: Resolver(asked) for name in RESOLVERS}
        self.carrier = Resolver(asked, least=CARRIER_KEEPS)
        self._carrier_at = resolvers["carrier"], self._dns_port
        self.panel = {name: f"{resolvers[name]}:{self._dns_port}" for name in RESOLVERS}
        self._root = f"{root}:{self._dns_port}"
        served: dict[str, Nameserver | Resolver] = {root: Nameserver(zones["."])}
        served[tld] = Nameserver(*(zone for apex, zone in zones.items() if apex != "."))
        served |= {address: Nameserver(self._zone) for address in authorities.values()}
        served |= {resolvers[name]: resolver for name, resolver in self.resolvers.items()}
        served[resolvers["carrier"]] = self.carrier
        for address, server in served.items():
            opened = await listen(server.answer, address, self._dns_port)
            self._at_the_end(opened.aclose)

    def _publish(self, owner: str, rtype: str, ttl: int, values: Sequence[str]) -> None:
        self._loop.call_soon_threadsafe(self._zone.put, owner, rtype, ttl, list(values))

    async def _deployments(self) -> None:
        authority = CertificateAuthority()
        ca_file = authority.save(self._home / "ca.pem")
        old, new = self._address(1), self._address(12)
        self._port = free_port([old, new])
        made = {}
        for side, release, address in (("old", "porter-41", old), ("new", "sst-1", new)):
            context = authority.server_context(NAME, self._home)
            shop = Shop(self.postgres.url(side, APP_ROLE))
            made[side] = Origin(release, address, self._port, context, self._home / f"{side}.log", shop)
            await made[side].accept()
            self._at_the_end(made[side].close)
        self.old, self.new = made["old"], made["new"]
        where = Where(NAME, self._port, ssl.create_default_context(cafile=ca_file))
        panel = [(at.rpartition(":")[0], self._dns_port) for at in self.panel.values()]
        self.users = {
            number: User(
                number,
                where,
                self._carrier_at if number > USERS - STALE_USERS else panel[number % len(panel)],
            )
            for number in range(1, USERS + 1)
        }

    async def _begin(self) -> None:
        self._living = [asyncio.create_task(user.live()) for user in self.users.values()]

    def point(self, origin: Origin, ttl: int) -> str:
        """Let the name lead to a deployment, by Route 53; say what was changed."""
        self.cloud.upsert(self.zone_id, f"{NAME}.", ttl, origin.address)
        return f"UPSERT {NAME} A {ttl} {origin.address}"

    def maintenance(self, *, on: bool) -> None:
        """Put the maintenance page up in front of old, or take it away; while it is up, old lets go of its database."""
        self.old.maintenance = on
        if on:
            self._run(self.old.shop.close())

    def copy(self) -> None:
        """Copy old's database to new's, and keep the copy that both started from as ``base``."""
        self._run(self.old.shop.close())
        self._run(self.new.shop.close())
        self.postgres.copy("old", "base")
        self.postgres.copy("base", "new")

    def fill_caches(self) -> None:
        """Let every resolver fetch the name anew: the worst moment for a switch is right after that."""

        async def ask(resolver: Resolver) -> None:
            resolver.flush()
            await resolver.answer(dns.message.make_query(f"{NAME}.", dns.rdatatype.A))

        for resolver in (*self.resolvers.values(), self.carrier):
            self._run(ask(resolver))

    def flush_carrier(self) -> None:
        """Let the carrier's resolver forget; its users' apps are started anew."""
        self._loop.call_soon_threadsafe(self.carrier.flush)
        for number in range(USERS - STALE_USERS + 1, USERS + 1):
            self._loop.call_soon_threadsafe(self.users[number].forget)

    def change(self, device: int, account: int, column: str, value: str) -> str:
        """Let a user's device change an account through the app; return the side that took it.

        Raises:
            StoryError: nobody took it.
        """
        response = self._run(self.users[device].change(account, column, value))
        return self._side(self._taken(device, response).headers["x-release"])

    def order(self, user: int, item: str, amount: str) -> tuple[str, int]:
        """Let a user order; return the side that took it and the order's number there.

        Raises:
            StoryError: nobody took it.
        """
        response = self._taken(user, self._run(self.users[user].order(item, amount)))
        return self._side(response.headers["x-release"]), int(json.loads(response.body)["order"])

    @staticmethod
    def _taken(user: int, response: Response | None) -> Response:
        if response is None or response.status != HTTPStatus.CREATED:
            status = response.status if response is not None else "no answer"
            raise StoryError(f"user {user} could not write: {status}")
        return response

    def _side(self, release: str) -> str:
        return {self.old.release: "old", self.new.release: "new"}.get(release, "")

    def plan(self) -> str:
        """Return the plan of this migration."""
        panel = ", ".join(f'"{at}"' for at in self.panel.values())
        return _PLAN.format(
            name=NAME,
            url=self._url,
            old=self.old.address,
            new=self.new.address,
            port=self._port,
            panel=panel,
            root=self._root,
            max_ttl=LOW_TTL,
            endpoint_url=self.cloud.endpoint_url,
            old_database=self.postgres.url("old"),
            new_database=self.postgres.url("new"),
            base_database=self.postgres.url("base"),
            app_role=APP_ROLE,
        )


_PLAN = """\
[migration]
name = "porter-to-sst"

[[name]]
name  = "{name}"
types = ["A"]
old   = ["{old}"]
new   = ["{new}"]

[dns]
resolvers = [{panel}]
roots = ["{root}"]
max_ttl = {max_ttl}
interception_canary = ""            # nothing leaves this machine

[providers.route53]
endpoint_url = "{endpoint_url}"

[origin.old]
url = "{url}"
connect = "{old}:{port}"
fingerprint = {{ header = "x-release", matches = "^porter-" }}
maintenance = {{ body = true, matches = "down for maintenance" }}
ca_file = "ca.pem"
[origin.new]
url = "{url}"
connect = "{new}:{port}"
fingerprint = {{ header = "x-release", matches = "^sst-" }}
ca_file = "ca.pem"
paths = ["/"]

[[traffic]]
source = "access_log"
old = ["old.log"]
new = ["new.log"]

[database]
old = "{old_database}"
new = "{new_database}"
base = "{base_database}"
app_roles = ["{app_role}"]

[gate]                              # by default 30s, 15m, 0.001 and 3000: nobody waits so long for a story
interval = "2s"
soak = "6s"
max_old_share = 0.01
min_requests = 300
"""


def _tree(root: str, tld: str, authorities: Mapping[str, str]) -> dict[str, Zone]:
    """Make the zones above ``example.com``: the root, and the top-level domains that are needed.

    The name servers of a Route 53 zone lie in several of these; their addresses are records of them here.
    """
    zones = {".": Zone.of(".", ["root.sandbox."], ttl=172800)}
    zones["."].put("root.sandbox.", "A", 172800, [root])
    names = {name.rpartition(".")[2] for name in (*authorities, ZONE)}
    for domain in sorted(names):
        zone = zones[domain] = Zone.of(f"{domain}.", ["tld.sandbox."], ttl=172800)
        zones["."].put(f"{domain}.", "NS", 172800, ["tld.sandbox."])
        for name, address in authorities.items():
            if name.endswith(f".{domain}"):
                zone.put(f"{name}.", "A", 172800, [address])
    zones["."].put("tld.sandbox.", "A", 172800, [tld])
    parent = zones[ZONE.rpartition(".")[2]]
    parent.put(f"{ZONE}.", "NS", 60, [f"{name}." for name in authorities])
    return zones
