"""One authoritative server process: Knot DNS or BIND, at one address and port of loopback."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, ClassVar

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.world.process import Daemon, WorldError, program, scratch, unprivileged_user
from tests.world.zones import MARKER, Zone, absolute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def ask(
    server: str, name: str, rtype: str = "A", *, timeout: float = 1.0, tcp: bool = False, recurse: bool = True
) -> dns.message.Message:
    """Ask one server (``"address:port"``) one question.

    Raises:
        dns.exception.Timeout: when it is silent.
    """
    address, _, port = server.rpartition(":")
    query = dns.message.make_query(name, rtype)
    if not recurse:
        query.flags &= ~dns.flags.RD
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, address, port=int(port), timeout=timeout)


def answers(server: str, name: str, rtype: str = "A", *, timeout: float = 1.0) -> tuple[str, ...]:
    """Return the sorted data of one type in a server's answer (following nothing), or the rcode if not NOERROR."""
    reply = ask(server, name, rtype, timeout=timeout)
    if reply.rcode() != dns.rcode.NOERROR:
        return (dns.rcode.to_text(reply.rcode()),)
    kind = dns.rdatatype.from_text(rtype)
    return tuple(sorted(item.to_text() for rrset in reply.answer if rrset.rdtype == kind for item in rrset))


class Nameserver:
    """An authoritative server; :class:`Knot` or :class:`Bind`.

    Args:
        name: its host name with the final dot, as it stands in NS records.
        address: its address in 127.0.0.0/8.
        port: for UDP and TCP.

    Attributes:
        zones: what it serves, by origin; each server has its own copies, so that servers can disagree.
    """

    software: ClassVar[str]

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = absolute(name)
        self.address = address
        self.port = port
        self.zones: dict[str, Zone] = {}
        self.folder: Path = scratch("ns", user=unprivileged_user(*self._users()))
        self._daemon: Daemon | None = None

    @property
    def at(self) -> str:
        """``address:port``."""
        return f"{self.address}:{self.port}"

    def launch(self) -> None:
        """Start the process; :meth:`wait_served` tells when it answers."""
        self._write()
        user = unprivileged_user(*self._users())
        self._daemon = Daemon(self._command(), self.folder / "log", user=user, cwd=self.folder)

    def start(self) -> None:
        """Start (again) and wait until every zone is served."""
        if self._daemon is None:
            self.launch()
            self.wait_served()

    def stop(self) -> None:
        """Stop: its port is closed then, unlike with :meth:`pause`."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def pause(self) -> None:
        """Go silent: questions are received and never answered."""
        if self._daemon is not None:
            self._daemon.pause()

    def resume(self) -> None:
        """End a :meth:`pause`."""
        if self._daemon is not None:
            self._daemon.resume()

    def close(self) -> None:
        """Stop and remove what is on disk."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def reload(self) -> None:
        """Make the process read its zones again, and wait until all of them are served as they are here."""
        self._write()
        if self._daemon is not None:
            self._daemon.send(signal.SIGHUP)
            self.wait_served()

    def wait_served(self) -> None:
        """Wait until every zone's newest edition is served, and none that was taken away."""
        daemon = self._daemon
        if daemon is None:
            raise WorldError(f"{self.name} is stopped")
        tries = 0

        def served() -> bool:
            nonlocal tries
            tries += 1
            if tries % 40 == 0:  # a reload that came while another one ran may have been dropped
                for zone in self.zones.values():
                    os.utime(self._file(zone.origin))
                daemon.send(signal.SIGHUP)
            return all(self._serves(zone) for zone in self.zones.values()) and not any(
                self._authoritative(origin) for origin in self._withdrawn
            )

        daemon.wait_ready(served)

    def withdraw(self, origin: str) -> None:
        """Stop serving a zone that may still be delegated here: a lame server."""
        del self.zones[absolute(origin)]
        self._withdrawn.add(absolute(origin))
        self.reload()

    @property
    def _withdrawn(self) -> set[str]:
        if not hasattr(self, "_gone"):
            self._gone: set[str] = set()
        self._gone -= self.zones.keys()
        return self._gone

    def _serves(self, zone: Zone) -> bool:
        try:
            found = answers(self.at, absolute(MARKER, zone.origin), "TXT", timeout=0.3)
        except (dns.exception.DNSException, OSError):
            return False
        return found == (f'"{zone.edition}"',)

    def _authoritative(self, origin: str) -> bool:
        try:
            return bool(ask(self.at, origin, "SOA", timeout=0.3).flags & dns.flags.AA)
        except (dns.exception.DNSException, OSError):
            return True

    def _file(self, origin: str) -> Path:
        return self.folder / f"{'root' if origin == '.' else origin.rstrip('.')}.zone"

    def _write(self) -> None:
        for zone in self.zones.values():
            self._file(zone.origin).write_text(zone.to_text())
        (self.folder / "conf").write_text(self._configuration(list(self.zones)))

    @staticmethod
    def _users() -> tuple[str, ...]:
        return ()

    def _configuration(self, origins: Sequence[str]) -> str:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError


class Knot(Nameserver):
    """Knot DNS."""

    software = "knot"

    @staticmethod
    def _users() -> tuple[str, ...]:
        return ("knot",)

    def _command(self) -> list[str]:
        return [program("knotd"), "-c", str(self.folder / "conf")]

    def _configuration(self, origins: Sequence[str]) -> str:
        zones = "".join(f'  - domain: "{origin}"\n    file: "{self._file(origin)}"\n' for origin in origins)
        return f"""\
server:
    rundir: "{self.folder}"
    listen: "{self.address}@{self.port}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{self.folder}"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: "{self.folder}"
    semantic-checks: off
    journal-content: none
    zonefile-load: whole
    zonefile-sync: -1
zone:
{zones}"""


class Bind(Nameserver):
    """BIND 9. It listens only on addresses that an interface really has: give it 127.0.0.1."""

    software = "bind"

    @staticmethod
    def _users() -> tuple[str, ...]:
        return ("bind", "named")

    def _command(self) -> list[str]:
        return [program("named"), "-g", "-n", "1", "-c", str(self.folder / "conf")]

    def _configuration(self, origins: Sequence[str]) -> str:
        zones = "".join(f'zone "{origin}" {{ type primary; file "{self._file(origin)}"; }};\n' for origin in origins)
        return f"""\
options {{
    directory "{self.folder}";
    pid-file "{self.folder}/named.pid";
    session-keyfile "{self.folder}/session.key";
    listen-on port {self.port} {{ {self.address}; }};
    listen-on-v6 {{ none; }};
    recursion no;
    allow-query {{ any; }};
    dnssec-validation no;
    notify no;
    check-integrity no;
}};
controls {{ }};
{zones}"""
