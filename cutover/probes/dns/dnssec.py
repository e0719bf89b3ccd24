"""Whether a zone's own link of the DNSSEC chain holds: DS, DNSKEY, and a signature over its SOA.

The links above it are the parents' business and are not looked at.
"""

from __future__ import annotations

from datetime import datetime

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.node
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset


def state(zone: str, ds: bytes, dnskey: bytes, soa: bytes, now: datetime) -> str:
    """Return ``"unsigned"``, ``"signed"``, ``"broken: ..."`` or ``"unknown: ..."``.

    Args:
        zone: its name.
        ds: the parent's packet on the zone's DS records.
        dnskey: the zone's packet on its DNSKEY records, with signatures.
        soa: the zone's packet on its SOA, with signatures.
        now: for the signatures' validity.
    """
    name = dns.name.from_text(zone)
    digests, _ = _rrset(ds, name, dns.rdatatype.DS)
    if digests is None:
        return "unsigned"
    keys, key_signatures = _rrset(dnskey, name, dns.rdatatype.DNSKEY)
    if keys is None:
        return f"broken: the parent has a DS and {zone} no DNSKEY"
    if key_signatures is None:
        return "broken: DNSKEY is not signed"
    matching, unknown = _matching(name, digests, keys)
    if not matching:
        if unknown:
            return f"unknown: {unknown}"
        return "broken: no DNSKEY matches the parent's DS"
    failure = _failure(keys, key_signatures, {name: matching}, now)
    if failure:
        return failure
    record, signatures = _rrset(soa, name, dns.rdatatype.SOA)
    if record is None:
        return f"unknown: {zone} showed no SOA"
    if signatures is None:
        return "broken: SOA is not signed"
    return _failure(record, signatures, {name: keys}, now) or "signed"


def _rrset(
    wire: bytes, name: dns.name.Name, rtype: dns.rdatatype.RdataType
) -> tuple[dns.rrset.RRset | None, dns.rrset.RRset | None]:
    message = dns.message.from_wire(wire)
    internet = dns.rdataclass.IN
    return (
        message.get_rrset(message.answer, name, internet, rtype),
        message.get_rrset(message.answer, name, internet, dns.rdatatype.RRSIG, rtype),
    )


def _matching(
    name: dns.name.Name, digests: dns.rrset.RRset, keys: dns.rrset.RRset
) -> tuple[dns.rdataset.Rdataset, str]:
    """Return the keys that a DS vouches for, and why a DS could not be judged."""
    matching = dns.rdataset.Rdataset(dns.rdataclass.IN, dns.rdatatype.DNSKEY, ttl=keys.ttl)
    unknown = ""
    for digest in digests:
        for key in keys:
            try:
                made = dns.dnssec.make_ds(name, key, digest.digest_type, validating=True)
            except (dns.exception.DNSException, ValueError):
                unknown = f"DS digest type {digest.digest_type} is not supported here"
                continue
            if made == digest:
                matching.add(key)
    return matching, unknown


def _failure(
    rrset: dns.rrset.RRset,
    signatures: dns.rrset.RRset,
    keys: dict[dns.name.Name, dns.node.Node | dns.rdataset.Rdataset],
    now: datetime,
) -> str:
    """Return why no signature validates, or "": one that holds is enough (RFC 4035, section 5.3.3)."""
    failures = []
    what = dns.rdatatype.to_text(rrset.rdtype)
    for signature in signatures:
        try:
            dns.dnssec.validate_rrsig(rrset, signature, keys, now=now.timestamp())
        except (dns.exception.UnsupportedAlgorithm, dns.exception.DeniedByPolicy) as error:
            failures.append(f"unknown: {what}: {error}")
        except (dns.exception.DNSException, ValueError) as error:
            failures.append(f"broken: {what}: {error}")
        else:
            return ""
    return min(failures, key=lambda failure: failure.startswith("broken"))
