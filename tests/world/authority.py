"""The authoritative side of the world: a root, top-level domains, and name servers of two makes.

All servers share one port on addresses of their own, so that a walk that starts at ``roots`` can go on at the
same port (on the real Internet the port is 53 for all of them)::

    with Authority() as world:
        world.add_zone("example.com")                       # on ns1 (Knot) and ns2 (BIND), delegated by com.
        world.set_records("example.com", "app", "A", 3600, ["127.0.0.10"])
        world.set_records("example.com", "app", "A", 60, ["127.0.0.20"], servers=["ns2"])   # ns1 is behind now
        world.servers["ns2"].withdraw("example.com")        # lame
        world.servers["ns1"].pause()                        # silent
        world.sign("example.com")                           # DNSSEC, DS in com.
        world.roots, world.at("example.com")                # ["127.x.y.1:port"], [ns1's and ns2's address:port]
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from tests.world.nameservers import Bind, Knot, Nameserver
from tests.world.process import WorldError, common_port
from tests.world.zones import Signing, Zone, absolute

#: Names of the servers in NS records are below this; it is a zone of its own, like a DNS provider's.
HOST_ZONE = "dns-host.example."


def network() -> str:
    """Return the first three parts of a random loopback network: worlds that run side by side do not meet."""
    return f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"


class Authority:
    """Root server, server of the top-level domains, and four name servers for everybody's zones.

    ``ns1`` (Knot) and ``ns2`` (BIND) serve new zones by default; ``ns3`` and ``ns4`` are there for a second zone
    of the same name, or for a moved delegation. Zone disagreement is staged with ``servers=[...]``.

    Args:
        prefix: three parts of a loopback network.
        tlds: top-level domains that exist.

    Attributes:
        servers: by short name: ``root``, ``tld``, ``ns1`` ... ``ns4``.
        port: of all servers.
        followers: called after a delegation changed (resolvers that must be told).
    """

    def __init__(self, *, prefix: str | None = None, tlds: Sequence[str] = ("com.", "example.")) -> None:
        self.prefix = prefix or network()
        self.tlds = tuple(absolute(tld) for tld in tlds)
        self.servers: dict[str, Nameserver] = {}
        self.port = 0
        self.followers: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        for attempt in range(4):
            try:
                self._start()
                return self
            except BaseException as error:
                self.close()
                taken = isinstance(error, WorldError) and "in use" in str(error)
                if not taken or attempt == 3:
                    raise
        raise AssertionError("unreachable")

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all servers."""
        for server in self.servers.values():
            server.close()
        self.servers = {}

    def _start(self) -> None:
        kinds: dict[str, type[Nameserver]] = {
            **{"root": Knot, "tld": Knot},
            **{"ns1": Knot, "ns2": Bind, "ns3": Knot, "ns4": Knot},
        }
        addresses = {name: f"{self.prefix}.{number}" for number, name in enumerate(kinds, 1)}
        addresses["ns2"] = "127.0.0.1"
        self.port = common_port(list(addresses.values()))
        for name, kind in kinds.items():
            host = f"{name}.{HOST_ZONE}" if name.startswith("ns") else f"{name}.servers.example."
            self.servers[name] = kind(host, addresses[name], self.port)
        self._zone(".", ["root"])
        for tld in self.tlds:
            self._zone(tld, ["tld"])
            self._delegate(".", tld, ["tld"], ttl=172800)
        self._zone(HOST_ZONE, ["ns1", "ns2"])
        for server in self.servers.values():
            host_zone = "example." if server.name.endswith(".servers.example.") else HOST_ZONE
            for copy in self._copies(host_zone):
                copy.put(server.name, "A", 172800, (server.address,))
        self._delegate("example.", HOST_ZONE, ["ns1", "ns2"], ttl=172800)
        for server in self.servers.values():
            server.launch()
        for server in self.servers.values():
            server.wait_served()

    @property
    def roots(self) -> list[str]:
        """``address:port`` of the root server, for ``dns.roots``."""
        return [self.servers["root"].at]

    def at(self, zone: str) -> list[str]:
        """``address:port`` of every server that serves a zone, for ``dns.authorities``."""
        origin = absolute(zone)
        return [server.at for server in self.servers.values() if origin in server.zones]

    def delegations(self) -> dict[str, tuple[str, ...]]:
        """Every zone with the ``address:port`` of the servers that its parent delegates it to."""
        by_name = {server.name: server.at for server in self.servers.values()}
        found = {".": tuple(self.roots)}
        for server in self.servers.values():
            for zone in server.zones.values():
                for (owner, rtype), (_, data) in zone.records.items():
                    if rtype == "NS" and owner != zone.origin:
                        found[owner] = tuple(by_name[name] for name in data if name in by_name)
        return found

    def add_zone(
        self,
        zone: str,
        *,
        servers: Sequence[str] = ("ns1", "ns2"),
        delegate: bool = True,
        delegation_ttl: int = 172800,
        ns_ttl: int = 172800,
        soa_ttl: int = 900,
        minimum: int = 300,
    ) -> None:
        """Create a zone on ``servers``, and unless ``delegate`` is off let its parent point there.

        A zone of a name that exists on other servers is a second, independent zone.

        Args:
            zone: its name.
            servers: short names.
            delegate: write NS (and addresses where the parent can hold them) at the parent.
            delegation_ttl: of NS at the parent. ns_ttl: of NS in the zone. soa_ttl, minimum: negative TTL.
        """
        origin = absolute(zone)
        self._zone(origin, servers, ns_ttl=ns_ttl, soa_ttl=soa_ttl, minimum=minimum)
        self._publish(servers)
        if delegate:
            self.delegate(origin, servers, ttl=delegation_ttl)

    def delegate(self, zone: str, servers: Sequence[str], *, ttl: int = 172800) -> None:
        """Make the parent delegate a zone to ``servers``, whatever these serve."""
        parent = self._parent(absolute(zone))
        self._delegate(parent, absolute(zone), servers, ttl=ttl)
        self._publish(self._serving(parent))
        for follow in self.followers:
            follow()

    def set_records(
        self,
        zone: str,
        name: str,
        rtype: str,
        ttl: int,
        data: Iterable[str],
        *,
        servers: Sequence[str] | None = None,
        bump: bool = True,
    ) -> None:
        """Set one record set and return when it is served; no data removes it.

        Args:
            zone: its name. name: relative to the zone, or with a final dot; ``@`` is the apex.
            rtype, ttl, data: the record set; relative names in data are not completed.
            servers: only on these (by short name), so that they disagree with the others.
            bump: raise the SOA serial; off leaves a difference that no serial shows.
        """
        self.edit(zone, {(name, rtype): (ttl, tuple(data))}, servers=servers, bump=bump)

    def edit(
        self,
        zone: str,
        changes: dict[tuple[str, str], tuple[int, tuple[str, ...]]],
        *,
        servers: Sequence[str] | None = None,
        bump: bool = True,
    ) -> None:
        """Set several record sets at once: ``{(name, type): (ttl, data)}``; no data removes one."""
        where = [name for name in self._serving(zone) if servers is None or name in servers]
        if not where:
            raise WorldError(f"no such server serves {zone}")
        for copy in self._copies(zone, where):
            for (name, rtype), (ttl, data) in changes.items():
                copy.put(name, rtype, ttl, data)
            copy.serial += bump
        self._publish(where)

    def records(self, zone: str, name: str, rtype: str, *, server: str | None = None) -> tuple[int, tuple[str, ...]]:
        """Return TTL and data of a record set as ``server`` (default the zone's first) has it."""
        copy = self._copies(zone, [server] if server else None)[0]
        return copy.records[absolute(name, copy.origin), rtype]

    def sign(self, zone: str, *, ds: str = "right", expired: bool = False) -> None:
        """Sign a zone with a new key.

        Args:
            zone: its name.
            ds: ``"right"`` publishes the key at the parent, ``"wrong"`` another key, ``"none"`` nothing.
            expired: sign with signatures that are over.
        """
        origin = absolute(zone)
        signing = Signing(expired=expired)
        for copy in self._copies(origin):
            copy.signing = signing
            copy.serial += 1
        self._publish(self._serving(origin))
        published = {"right": signing, "wrong": Signing()}.get(ds)
        if origin != ".":
            data = (published.ds(origin),) if published else ()
            self.edit(self._parent(origin), {(origin, "DS"): (3600, data)})

    def _zone(
        self,
        origin: str,
        servers: Sequence[str],
        *,
        ns_ttl: int = 172800,
        soa_ttl: int = 900,
        minimum: int = 300,
    ) -> None:
        names = tuple(self.servers[each].name for each in servers)
        zone = Zone(absolute(origin), names[0], soa_ttl=soa_ttl, minimum=minimum)
        zone.put("@", "NS", ns_ttl, names)
        for each in servers:
            self.servers[each].zones[zone.origin] = zone.copy()

    def _delegate(self, parent: str, zone: str, servers: Sequence[str], *, ttl: int) -> None:
        for copy in self._copies(parent):
            copy.put(zone, "NS", ttl, tuple(self.servers[each].name for each in servers))
            for each in servers:
                server = self.servers[each]
                if parent == "." or server.name.endswith(f".{parent}"):
                    copy.put(server.name, "A", ttl, (server.address,))
            copy.serial += 1

    def _parent(self, zone: str) -> str:
        labels = zone.split(".")
        for start in range(1, len(labels)):
            candidate = ".".join(labels[start:]) or "."
            if self._serving(candidate):
                return candidate
        raise WorldError(f"nothing can delegate {zone}")

    def _serving(self, zone: str) -> list[str]:
        return [name for name, server in self.servers.items() if absolute(zone) in server.zones]

    def _copies(self, zone: str, servers: Iterable[str] | None = None) -> list[Zone]:
        where = self._serving(zone) if servers is None else servers
        return [self.servers[name].zones[absolute(zone)] for name in where]

    def _publish(self, servers: Iterable[str]) -> None:
        for name in servers:
            for zone in self.servers[name].zones.values():
                zone.edition += 1
            self.servers[name].reload()
