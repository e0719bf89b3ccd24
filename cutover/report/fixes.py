"""Fixes as commands: exact ``aws route53 change-resource-record-sets`` batches, ready for a shell. Pure.

An UPSERT replaces a record set whole, and a DELETE must repeat every value
(https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html): therefore batches are
made from the record sets as the API gave them, and keep whatever is not meant to change (weights, set identifiers,
health checks...).
"""

from __future__ import annotations

import copy
import ipaddress
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cutover.errors import CutoverError
from cutover.observations.provider import Variant

UNKNOWN_ZONE = "YOUR_ZONE_ID"
"""Stands where nobody could see the hosted zone's id."""

RecordSet = dict[str, Any]

_POINTERS = frozenset({"A", "AAAA", "CNAME"})
_DATA = frozenset({"TTL", "AliasTarget", "ResourceRecords"})
_CLOUDFRONT_ZONE = "Z2FDTNDATAQYW2"  # the same for every distribution (API reference, AliasTarget)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a batch.

    Attributes:
        action: ``UPSERT``, ``CREATE`` or ``DELETE``.
        record_set: in the API's words.
    """

    action: str
    record_set: RecordSet


def record_set(name: str, rtype: str, ttl: int, values: Iterable[str]) -> RecordSet:
    """Return a simple record set, as DNS alone shows it (without access to the provider)."""
    return {
        "Name": name,
        "Type": rtype,
        "TTL": ttl,
        "ResourceRecords": [{"Value": value} for value in sorted(values)],
    }


def as_record_set(variant: Variant) -> RecordSet:
    """Return a variant in the API's own words."""
    if variant.record_set:
        loaded: RecordSet = json.loads(variant.record_set)
        return loaded
    return record_set(variant.name, variant.rtype, variant.ttl or 0, variant.values)


def lower_ttl(record_sets: Iterable[RecordSet], ttl: int) -> list[Change]:
    """Bring every TTL above ``ttl`` (seconds) down to it. An alias has no TTL of its own and is left alone."""
    changes: list[Change] = []
    for each in record_sets:
        if each.get("TTL", 0) > ttl:
            lowered = copy.deepcopy(each)
            lowered["TTL"] = ttl
            changes.append(Change("UPSERT", lowered))
    return changes


def switch(record_sets: Iterable[RecordSet], new: Sequence[str], ttl: int, *, apex: bool = False) -> list[Change]:
    """Point record sets at new, each keeping its routing; all in one batch, so that nobody sees half of it.

    A record set of a type that new does not have is deleted: an AAAA or HTTPS record left behind would still
    lead to old.

    Args:
        record_sets: of one name, those that are still on old.
        new: addresses, or one CNAME target. CIDR blocks name no address: leave them out.
        ttl: seconds, for the records that are written.
        apex: the name is its zone's apex, where no CNAME may stand (RFC 1034 section 3.6.2).

    Raises:
        CutoverError: ``new`` is empty, mixes addresses with a target, names several targets, or is a target that
            an apex cannot point at.
    """
    present = list(record_sets)
    written: dict[tuple[str, str], Change] = {}
    pointers = [each for each in present if each["Type"] in _POINTERS]
    for rtype, data in sorted(_data(new, ttl, apex=apex).items()):
        for each in sorted(pointers, key=lambda x: x["Type"] != rtype):  # its own type's routing first
            made = {key: copy.deepcopy(value) for key, value in each.items() if key not in _DATA}
            change = Change("UPSERT", {**made, "Type": rtype, **data})
            written.setdefault((rtype, each.get("SetIdentifier", "")), change)
    gone = [Change("DELETE", each) for each in present if (each["Type"], each.get("SetIdentifier", "")) not in written]
    # What is deleted goes first: a CNAME may not stand beside anything else.
    return [*gone, *written.values()]


def restore(before: Iterable[RecordSet], present: Iterable[RecordSet] = ()) -> list[Change]:
    """Bring record sets back to what they were: long TTLs again after the cutover, or the old side on roll-back.

    Args:
        before: the record sets to have again, in the order in which they are written.
        present: what is there now; what ``before`` does not have is deleted.
    """
    wanted = list(before)
    kept = {_place(each) for each in wanted}
    gone = [Change("DELETE", each) for each in present if _place(each) not in kept]
    return [*gone, *(Change("UPSERT", each) for each in wanted)]


def raise_ttl(record_sets: Iterable[RecordSet], ttl: int) -> list[Change]:
    """Give record sets a long TTL again when all is done; an alias has none."""
    changes: list[Change] = []
    for each in record_sets:
        if "TTL" in each and each["TTL"] < ttl:
            raised = copy.deepcopy(each)
            raised["TTL"] = ttl
            changes.append(Change("UPSERT", raised))
    return changes


def change_batch_command(
    zone_id: str | None,
    changes: Iterable[Change],
    *,
    comment: str = "",
    profile: str | None = None,
    endpoint_url: str | None = None,
) -> str:
    """Return the command that carries out a batch, quoted for a POSIX shell; "" when there is nothing to change.

    Args:
        zone_id: of the hosted zone; :data:`UNKNOWN_ZONE` stands in when it is not known.
        changes: of one zone.
        comment: kept with the change by Route 53.
        profile: as in the plan's ``[providers.route53]``.
        endpoint_url: likewise.
    """
    batch: dict[str, Any] = {"Comment": comment} if comment else {}
    batch["Changes"] = [{"Action": each.action, "ResourceRecordSet": each.record_set} for each in changes]
    if not batch["Changes"]:
        return ""
    words = ["aws", "route53", "change-resource-record-sets", "--hosted-zone-id", zone_id or UNKNOWN_ZONE]
    if profile:
        words += ["--profile", profile]
    if endpoint_url:
        words += ["--endpoint-url", endpoint_url]
    return shlex.join([*words, "--change-batch", json.dumps(batch, separators=(",", ":"))])


def _place(each: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(each["Name"]), str(each["Type"]), str(each.get("SetIdentifier", ""))


def _data(new: Sequence[str], ttl: int, *, apex: bool) -> dict[str, dict[str, Any]]:
    """What record sets of each type hold when they point at new."""
    found: dict[str, list[str]] = {}
    for value in new:
        try:
            rtype = "AAAA" if ipaddress.ip_address(value).version == 6 else "A"
        except ValueError:
            rtype = "CNAME"
        found.setdefault(rtype, []).append(value)
    targets = found.get("CNAME", [])
    if not found or len(targets) > 1 or (targets and len(found) > 1):
        raise CutoverError(
            f"no batch can be made for new = {', '.join(new) or 'nothing'}",
            "give addresses (no CIDR block), or one CNAME target",
        )
    if targets and apex:
        alias = {"AliasTarget": _apex_alias(targets[0])}
        return {"A": alias, "AAAA": alias}
    return {
        rtype: {"TTL": ttl, "ResourceRecords": [{"Value": value} for value in values]}
        for rtype, values in found.items()
    }


def _apex_alias(target: str) -> dict[str, Any]:
    if not target.rstrip(".").endswith(".cloudfront.net"):
        raise CutoverError(
            f"no batch can be made for the apex and {target}: an alias needs the target's hosted zone id",
            "look it up with the target's own service and switch by an alias record",
        )
    return {"HostedZoneId": _CLOUDFRONT_ZONE, "DNSName": target, "EvaluateTargetHealth": False}
