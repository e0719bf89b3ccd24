"""Zone contents: editable record sets, their zone file text, and DNSSEC signing.

A zone is signed here and not by the server, so that servers of different software can serve the very same signed
zone, and so that signatures can be wrong on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

import dns.dnssec
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm, DSDigest
from dns.rdtypes.ANY.DNSKEY import DNSKEY

#: Every zone holds this TXT record; its text changes with every edit, so that one can wait until an edit is served.
MARKER = "_edition"


def absolute(name: str, origin: str = ".") -> str:
    """Return a name in lower case with the final dot; names without one are relative to ``origin``."""
    if name in ("@", ""):
        return absolute(origin)
    return dns.name.from_text(name, dns.name.from_text(origin)).to_text().lower()


@dataclass(slots=True)
class Signing:
    """A key that signs a whole zone (one CSK, ECDSA P-256), and what is wrong with its signatures.

    Attributes:
        expired: the signatures ended an hour ago.
    """

    expired: bool = False
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def dnskey(self) -> DNSKEY:
        """The DNSKEY record."""
        return dns.dnssec.make_dnskey(self.key.public_key(), Algorithm.ECDSAP256SHA256, flags=257)

    def ds(self, origin: str) -> str:
        """The DS record's data, for the parent."""
        return dns.dnssec.make_ds(dns.name.from_text(origin), self.dnskey, DSDigest.SHA256).to_text()

    def sign(self, origin: str, text: str) -> str:
        """Return the signed zone as zone file text (NSEC)."""
        zone = dns.zone.from_text(text, origin=origin, relativize=False)
        now = datetime.now(UTC)
        begin, end = now - timedelta(days=2), now + timedelta(days=30)
        if self.expired:
            end = now - timedelta(hours=1)
        with zone.writer() as transaction:
            dns.dnssec.sign_zone(
                zone,
                txn=transaction,
                keys=[(self.key, self.dnskey)],
                add_dnskey=True,
                dnskey_ttl=300,
                inception=begin,
                expiration=end,
            )
        written: str = zone.to_text(relativize=False)
        return written


@dataclass(slots=True)
class Zone:
    """One server's copy of one zone.

    Attributes:
        origin: with the final dot.
        records: (owner, type) -> (TTL, data lines); SOA and the edition marker are made when it is written.
        serial: of the SOA.
        soa_ttl, minimum: seconds; the negative TTL is the smaller (RFC 2308).
        edition: the marker's present text.
    """

    origin: str
    primary: str
    records: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    serial: int = 2025110100
    soa_ttl: int = 900
    minimum: int = 300
    edition: int = 1
    signing: Signing | None = None

    def copy(self) -> Self:
        """Return an independent copy for another server."""
        return type(self)(
            origin=self.origin,
            primary=self.primary,
            records=dict(self.records),
            serial=self.serial,
            soa_ttl=self.soa_ttl,
            minimum=self.minimum,
            edition=self.edition,
            signing=self.signing,
        )

    def put(self, name: str, rtype: str, ttl: int, data: tuple[str, ...]) -> None:
        """Set one record set; with no data it is removed."""
        key = (absolute(name, self.origin), rtype.upper())
        if data:
            self.records[key] = (ttl, data)
        else:
            self.records.pop(key, None)

    def to_text(self) -> str:
        """The zone file."""
        origin = self.origin
        soa = f"{self.primary} hostmaster.{origin.lstrip('.')} {self.serial} 3600 600 86400 {self.minimum}"
        lines = [
            f"{origin} {self.soa_ttl} IN SOA {soa}",
            f'{absolute(MARKER, origin)} 0 IN TXT "{self.edition}"',
        ]
        for (owner, rtype), (ttl, values) in sorted(self.records.items()):
            lines += [f"{owner} {ttl} IN {rtype} {value}" for value in values]
        text = "\n".join(lines) + "\n"
        return self.signing.sign(origin, text) if self.signing else text
