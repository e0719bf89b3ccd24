"""Real recursive resolvers (Unbound) with the manners that are met in the wild.

Example::

    with Authority() as authority, Unbound(authority) as plain, Unbound(authority, min_ttl=30) as clamping:
        authority.add_zone("example.com")
        authority.set_records("example.com", "app", "A", 2, ["127.0.0.10"])
        answers(plain.at, "app.example.com")
        plain.pause()          # silent from now on, sockets stay open
        plain.resume()
        clamping.flush()       # what a flush page of a public resolver does

What lies, mumbles or is dead is in :mod:`tests.world.impostors`.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Self

import dns.exception

from tests.world.nameservers import ask
from tests.world.process import Daemon, WorldError, common_port, program, scratch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.world.authority import Authority
    from tests.world.origin import CertificateAuthority


class Unbound:
    """One Unbound that knows the world's zones by stub zones, so that it needs neither roots nor port 53.

    Args:
        authority: whose zones it resolves. A referral cannot carry a port, so it is told of every delegation,
            also of later ones.
        address: where it listens, by default an address of the authority's network.
        min_ttl: seconds; records are kept at least that long (a clamping resolver).
        serve_expired: seconds for which an expired answer is still given when the authority is silent
            (RFC 8767); 0 is off. ``stale_ttl`` is the TTL of such an answer.
        tls: also speak DoT (``tls_at``) and DoH (``https_url``) with a certificate for ``server_name``.

    Attributes:
        at: ``address:port``.
        asked_zones: zones that it has been told of.
    """

    server_name = "dns.resolver.example"

    def __init__(
        self,
        authority: Authority,
        *,
        address: str | None = None,
        min_ttl: int = 0,
        serve_expired: int = 0,
        stale_ttl: int = 30,
        tls: CertificateAuthority | None = None,
    ) -> None:
        self._authority = authority
        self.address = address or f"{authority.prefix}.53"
        self.min_ttl = min_ttl
        self.serve_expired = serve_expired
        self.stale_ttl = stale_ttl
        self._tls = tls
        self.port = self.tls_port = self.https_port = 0
        self.folder: Path = scratch("unbound")
        self._daemon: Daemon | None = None
        self._paused = False
        self.asked_zones: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Self:
        try:
            for attempt in range(4):
                try:
                    self.launch()
                    self.wait_ready()
                    self._authority.followers.append(self.learn)
                    return self
                except WorldError as error:
                    self.stop()
                    if "in use" not in str(error) or attempt == 3:
                        raise
        except BaseException:
            self.close()
            raise
        raise AssertionError("unreachable")

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def at(self) -> str:
        """``address:port`` for UDP and TCP."""
        return f"{self.address}:{self.port}"

    @property
    def tls_at(self) -> str:
        """``address:port`` for DoT."""
        return f"{self.address}:{self.tls_port}"

    @property
    def https_url(self) -> str:
        """The DoH URL (RFC 8484) by address; the certificate covers the address as well."""
        return f"https://{self.address}:{self.https_port}/dns-query"

    @property
    def pid(self) -> int:
        """The process id."""
        if self._daemon is None:
            raise WorldError("the resolver is stopped")
        return self._daemon.pid

    def launch(self) -> None:
        """Start the process; :meth:`wait_ready` tells when it answers."""
        self.port, self.tls_port, self.https_port = self._ports()
        self._note_zones()
        (self.folder / "conf").write_text(self._configuration())
        args = [program("unbound"), "-d", "-p", "-c", str(self.folder / "conf")]
        self._daemon = Daemon(args, self.folder / "log", cwd=self.folder)

    def wait_ready(self) -> None:
        """Wait until it answers."""
        daemon = self._daemon
        if daemon is None:
            raise WorldError("the resolver is not launched")

        def answers() -> bool:
            try:
                ask(self.at, "localhost", timeout=0.3)
            except (dns.exception.DNSException, OSError):
                return False
            return True

        daemon.wait_ready(answers)

    def pause(self) -> None:
        """Go silent: questions arrive and are never answered."""
        if self._daemon is not None:
            self._daemon.pause()
            self._paused = True

    def resume(self) -> None:
        """End a :meth:`pause`."""
        if self._daemon is not None:
            self._daemon.resume()
            self._paused = False
            self.learn()

    def learn(self) -> None:
        """Tell it of delegations that changed since it was started. Its cache stays."""
        if self._daemon is None or self._paused:
            return
        known = dict(self.asked_zones)
        self._note_zones()
        for zone in known.keys() - self.asked_zones.keys():
            self.control("stub_remove", zone)
        for zone, servers in self.asked_zones.items():
            if known.get(zone) != servers:
                self.control("stub_add", zone, *servers)

    def flush(self, name: str | None = None) -> None:
        """Forget one name, or everything."""
        if name is None:
            self.control("flush_zone", ".")
        else:
            self.control("flush", name)

    def control(self, *words: str) -> str:
        """Run ``unbound-control``."""
        command = [program("unbound-control"), "-c", str(self.folder / "conf"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise WorldError(f"unbound-control {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Stop: its port is closed then."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def close(self) -> None:
        """Stop and remove what is on disk."""
        if self.learn in self._authority.followers:
            self._authority.followers.remove(self.learn)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ports(self) -> tuple[int, int, int]:
        if self._daemon is None and self.port:  # started again: it keeps its ports
            return self.port, self.tls_port, self.https_port
        ports: list[int] = []
        while len(ports) < 3:
            port = common_port([self.address])
            if port not in ports:
                ports.append(port)
        return ports[0], ports[1], ports[2]

    def _note_zones(self) -> None:
        """Which servers each zone is delegated to, as the parents say: what a resolver would find by itself."""
        self.asked_zones = {
            zone: tuple(at.replace(":", "@") for at in servers)
            for zone, servers in self._authority.delegations().items()
        }

    def _configuration(self) -> str:
        stubs = "".join(self._stub(zone, servers) for zone, servers in self.asked_zones.items())
        tls = ""
        if self._tls is not None:
            chain, key = self._tls.write(self.folder, self.server_name, self.address)
            tls = f"""\
    interface: {self.address}@{self.tls_port}
    interface: {self.address}@{self.https_port}
    tls-port: {self.tls_port}
    https-port: {self.https_port}
    tls-service-pem: "{chain}"
    tls-service-key: "{key}"
"""
        expired = "no"
        if self.serve_expired:
            expired = f"yes\n    serve-expired-ttl: {self.serve_expired}"
            expired += f"\n    serve-expired-reply-ttl: {self.stale_ttl}"
            expired += "\n    serve-expired-client-timeout: 200"
        return f"""\
server:
    directory: "{self.folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    verbosity: 1
    num-threads: 1
    interface: {self.address}@{self.port}
{tls}    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    do-ip6: no
    module-config: "iterator"
    msg-cache-size: 2m
    rrset-cache-size: 2m
    minimal-responses: no
    infra-host-ttl: 1
    cache-min-ttl: {self.min_ttl}
    serve-expired: {expired}
remote-control:
    control-enable: yes
    control-interface: "{self.folder}/control"
    control-use-cert: no
{stubs}"""

    @staticmethod
    def _stub(zone: str, servers: Sequence[str]) -> str:
        addresses = "".join(f"    stub-addr: {server}\n" for server in servers)
        return f'stub-zone:\n    name: "{zone}"\n    stub-no-cache: no\n{addresses}'
