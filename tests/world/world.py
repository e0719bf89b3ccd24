"""The whole world in one context: authority, resolvers, origins, and a plan that fits.

Example (pytest: the fixture ``world`` makes one a test, see ``tests/world/fixtures.py``)::

    with World() as world:
        plan = world.plan({"gate": {"soak": "3s"}})       # writes cutover.toml, returns its path
        world.set_ttl(60)                                  # lower the TTL of app.example.com
        world.cut_over()                                   # app.example.com points at new
        world.resolvers["clamping"].pause()
        world.authority.set_records("example.com", "app", "AAAA", 60, ["::1"])
        world.old.everything = Page(503, b"down for maintenance")
        world.roll_back()
        dead = world.impostor(impostors.silent)            # for world.plan({"dns": {"resolvers": [dead.at, ...]}})
        world.aws.account.hold = True                      # changes stay PENDING
        world.aws.account.put(world.hosted_zone, record("app.example.com", "A", 60, "..."))

``example.com`` is a hosted zone of an AWS account (:mod:`tests.world.cloud`): what changes there is served by the
zone's servers at once and stands in CloudTrail. ``world.authority.set_records`` goes behind Route 53's back.
DNS servers here know no routing: of weighted, latency... record sets they serve the one with the highest weight
(else the first).

What it holds at the start: ``app.example.com A`` -> ``world.old`` with TTL 3600; ``www.example.com`` is a CNAME to
``ingress.porter.example``, a vendor's zone, that leads to ``world.old`` too; ``sst.example.com`` leads to
``world.new``. Resolvers: ``plain``, ``clamping`` (keeps everything for 30 s at least), ``stale`` (serves expired
answers). Origins share one port.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.world.authority import Authority
from tests.world.aws import Aws
from tests.world.cloud import Change, HostedZone, RecordSet, record
from tests.world.impostors import Behaviour, Impostor
from tests.world.origin import CertificateAuthority, Origin
from tests.world.process import common_port, scratch
from tests.world.resolvers import Unbound

ZONE = "example.com"
NAME = "app.example.com"
VENDOR_ZONE = "porter.example"


class World:
    """Everything that a cutover touches, on loopback.

    Args:
        resolvers: which of ``plain``, ``clamping`` and ``stale`` to start.
        ttl: of the name's records at the start, seconds.
        clamp: seconds for which the clamping resolver keeps everything.
        folder: where the plan, the CA file and the access logs are written; a temporary one by default.

    Attributes:
        authority, resolvers, old, new, ca, aws: the parts.
        hosted_zone: ``example.com`` in the AWS account.
        folder: see above.
    """

    def __init__(
        self,
        *,
        resolvers: tuple[str, ...] = ("plain", "clamping", "stale"),
        ttl: int = 3600,
        clamp: int = 30,
        folder: Path | None = None,
    ) -> None:
        self._wanted = resolvers
        self.ttl = ttl
        self.clamp = clamp
        self._own_folder = folder is None
        self.folder = folder or scratch("world")
        self.ca = CertificateAuthority()
        self.authority = Authority()
        self.aws = Aws()
        self.resolvers: dict[str, Unbound] = {}
        self._served: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self._stack = contextlib.ExitStack()

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
        """Stop everything."""
        self._stack.close()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        authority = self._stack.enter_context(self.authority)
        self.ca.save(self.folder / "ca.pem")
        old, new = f"{authority.prefix}.110", f"{authority.prefix}.120"
        port = common_port([old, new], kind="tcp")
        self.old = self.origin("porter-41", old, port, log="old.log")
        self.new = self.origin("sst-1", new, port, log="new.log")
        authority.add_zone(ZONE, minimum=60)
        authority.add_zone(VENDOR_ZONE, servers=("ns3", "ns4"))
        authority.set_records(VENDOR_ZONE, "ingress", "A", 60, [old])
        self._stack.enter_context(self.aws)
        account = self.aws.account
        delegated = [authority.servers[name].name for name in ("ns1", "ns2")]
        self.hosted_zone = account.create_zone(ZONE, name_servers=delegated)
        account.on_change = self._serve
        account.put(
            self.hosted_zone,
            record(NAME, "A", self.ttl, old),
            record(f"www.{ZONE}", "CNAME", self.ttl, f"ingress.{VENDOR_ZONE}."),
            record(f"sst.{ZONE}", "A", 60, new),
        )
        for number, name in enumerate(self._wanted):
            self.resolvers[name] = Unbound(
                authority,
                address=f"{authority.prefix}.{53 + number}",
                min_ttl=self.clamp if name == "clamping" else 0,
                serve_expired=86400 if name == "stale" else 0,
            )
        for resolver in self.resolvers.values():
            self._stack.enter_context(resolver)

    def origin(self, release: str, address: str, port: int = 0, *, log: str | None = None) -> Origin:
        """Start one more origin under the world's CA, by default on the port that the others share."""
        return self._stack.enter_context(
            Origin(
                self.ca,
                NAME,
                release=release,
                address=address,
                port=port or self.old.port,
                access_log=self.folder / log if log else None,
            )
        )

    def impostor(self, behaviour: Behaviour) -> Impostor:
        """Start a resolver that is none (:mod:`tests.world.impostors`); it ends with the world."""
        return self._stack.enter_context(Impostor(behaviour))

    @property
    def panel(self) -> list[str]:
        """``address:port`` of every resolver."""
        return [resolver.at for resolver in self.resolvers.values()]

    @property
    def authorities(self) -> dict[str, list[str]]:
        """Every zone's servers, for ``dns.authorities``."""
        return {zone.rstrip("."): self.authority.at(zone) for zone in (ZONE, VENDOR_ZONE)}

    @property
    def environment(self) -> dict[str, str]:
        """Environment for a child process: throw-away AWS credentials, and no look at the machine's own."""
        return {**os.environ, **AWS_ENVIRONMENT}

    def set_ttl(self, ttl: int, *, servers: tuple[str, ...] | None = None) -> Change | None:
        """Change the TTL of ``app.example.com`` and nothing else."""
        _, data = self.authority.records(ZONE, "app", "A")
        self.ttl = ttl
        return self.point(*data, servers=servers)

    def cut_over(self, *, servers: tuple[str, ...] | None = None) -> Change | None:
        """Point ``app.example.com`` at new (on some servers only, to stage one that is behind)."""
        return self.point(self.new.address, servers=servers)

    def roll_back(self, *, servers: tuple[str, ...] | None = None) -> Change | None:
        """Point ``app.example.com`` at old again."""
        return self.point(self.old.address, servers=servers)

    def point(self, *addresses: str, servers: tuple[str, ...] | None = None) -> Change | None:
        """Point ``app.example.com`` somewhere: by Route 53 and its CloudTrail, or behind their back on ``servers``."""
        if servers is not None:
            self.authority.set_records(ZONE, "app", "A", self.ttl, addresses, servers=servers)
            return None
        change = self.aws.account.change(self.hosted_zone, [("UPSERT", record(NAME, "A", self.ttl, *addresses))])
        self.authority.set_records(ZONE, "app", "A", self.ttl, addresses)  # also where a server was behind
        return change

    def _serve(self, zone: HostedZone) -> None:
        """Let the zone's servers serve what Route 53 holds."""
        if zone is not self.hosted_zone:
            return
        wanted: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        for each in sorted(zone.record_sets, key=_weight):
            if each["Type"] not in ("NS", "SOA") and "AliasTarget" not in each:
                data = tuple(item["Value"] for item in each["ResourceRecords"])
                name = each["Name"].replace(r"\052", "*")
                wanted[name, each["Type"]] = (each["TTL"], data)
        nothing: tuple[int, tuple[str, ...]] = (0, ())
        gone = dict.fromkeys(self._served.keys() - wanted.keys(), nothing)
        fresh = {key: value for key, value in wanted.items() if self._served.get(key) != value}
        self._served = wanted
        if gone or fresh:
            self.authority.edit(ZONE, {**gone, **fresh})

    def plan(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        walk: bool = False,
        route53: bool = False,
        path: Path | None = None,
    ) -> Path:
        """Write a plan that describes this world.

        Args:
            changes: merged into the plan, tables by key; a list replaces a list; None removes a key.
            walk: give the world's root server instead of each zone's authorities.
            route53: let Route 53 be asked as well (needs :attr:`environment`, or the tests' own).
            path: where; ``cutover.toml`` in :attr:`folder` by default.
        """
        plan: dict[str, Any] = {
            "migration": {"name": "porter-to-sst"},
            "name": [
                {
                    "name": NAME,
                    "types": ["A"],
                    "old": [self.old.address],
                    "new": [self.new.address],
                    "provider": "route53" if route53 else "none",
                }
            ],
            "dns": {"resolvers": self.panel, "interception_canary": ""},
            "origin": {
                side: {
                    "url": origin.url,
                    "connect": origin.at,
                    "fingerprint": {"header": "x-release", "matches": f"^{pattern}-"},
                    "ca_file": str(self.folder / "ca.pem"),
                }
                for side, origin, pattern in (("old", self.old, "porter"), ("new", self.new, "sst"))
            },
            "gate": {"interval": "1s", "soak": "3s", "traffic": "optional", "writes": "none"},
        }
        plan["dns"] |= {"roots": self.authority.roots} if walk else {"authorities": self.authorities}
        if route53:
            plan["providers"] = {"route53": {"endpoint_url": self.aws.endpoint_url}}
        target = path or self.folder / "cutover.toml"
        target.write_text(to_toml(merged(plan, changes or {})))
        return target


#: What every test that could reach boto3 runs under.
AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def _weight(record_set: RecordSet) -> tuple[int, str]:
    return record_set.get("Weight", 0), record_set.get("SetIdentifier", "")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it, table by table; None removes a key."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def to_toml(plan: Mapping[str, Any]) -> str:
    """Write a plan as TOML: top-level tables and arrays of tables as headings, everything below inline."""
    lines: list[str] = []
    for key, value in plan.items():
        tables = value if isinstance(value, list) else [value]
        for table in tables:
            lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
            lines += [f"{_key(inner)} = {_value(item)}" for inner, item in table.items()]
            lines.append("")
    return "\n".join(lines)


def _key(text: str) -> str:
    return text if text.replace("_", "").replace("-", "").isalnum() else json.dumps(text)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value)
