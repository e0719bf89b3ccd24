"""When record sets were changed, as CloudTrail remembers: ``ChangeResourceRecordSets`` events of 90 days.

LookupEvents gives 50 events a page and allows two requests a second
(https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html), hence the bounds.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.provider import TrailChange, TrailHistory
from cutover.probes.aws import Access, DeadlineError

RETENTION = timedelta(days=90)
"""How far back LookupEvents can see."""

DELIVERY = timedelta(minutes=15)
"""Until then after a call its event may be missing ("typically within 15 minutes", no guarantee)."""

LOOKBACK = timedelta(days=8)
"""Default reach: no cache is known to keep a record longer than seven days (RFC 8767 section 4, BIND)."""

MAX_PAGES = 40
"""Bound on the requests of one look-up: 2,000 changes of the whole account."""

ACTION = "cloudtrail:LookupEvents"


class RecordKey(NamedTuple):
    """What makes a record set one."""

    zone_id: str
    name: str
    rtype: str
    set_identifier: str


@dataclass(slots=True)
class Reading:
    """What was read of the history so far.

    Attributes:
        changes: newest event first; within one batch in the batch's order.
        unread: why some of it could not be read, "" when all was.
        pages: how many were read.
    """

    changes: list[TrailChange] = field(default_factory=list)
    unread: str = ""
    pages: int = 0


def absolute(name: str) -> str:
    r"""Return a name as Route 53 writes it in our form: lower case, final dot, ``\052`` as ``*``.

    Route 53 writes every character besides letters, digits, ``-`` and ``_`` as an octal escape (Developer Guide,
    "DNS domain name format").
    """
    decoded = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), name)
    return decoded.lower().rstrip(".") + "."


def canonical(rtype: str, value: str) -> str:
    """Return record data in the form of :class:`cutover.observations.dns.Record`."""
    if rtype in {"A", "AAAA"}:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            return value
    return absolute(value) if rtype == "CNAME" else value


def observe(
    access: Access,
    owners: Mapping[str, Collection[str]],
    *,
    since: datetime,
    now: datetime,
    ignored_zones: Collection[str] = (),
) -> list[Observation]:
    """Read the history of some names.

    A history is complete only when every event back to ``since`` was read *and* it tells every TTL that was
    served since then: an UPSERT shows what came after it, not what was before, so that an older event is looked
    for, as far as CloudTrail reaches.

    Args:
        access: the way in; its deadline bounds the look-up.
        owners: the plan's name -> the owners whose record sets make up its answers.
        since: how far back; not further than :data:`RETENTION`.
        now: when the reading is made.
        ignored_zones: ids of hosted zones whose changes do not count (private ones).

    Returns:
        One :class:`TrailHistory` a name, or a :class:`ProbeFailed` a name when nothing could be read.
    """
    start = max(since, now - RETENTION)
    wanted = {owner for each in owners.values() for owner in each}
    reading = Reading()
    try:
        _read(access, reading, wanted, ignored_zones, start, now)
        if not reading.unread:
            _read_what_was_before(access, reading, wanted, ignored_zones, start, now)
    except (BotoCoreError, ClientError, DeadlineError) as error:
        trouble = access.explain(error, ACTION)
        if reading.pages == 0:
            return [
                ProbeFailed(at=now, probe="cloudtrail", about=name, error=trouble.error, permission=trouble.permission)
                for name in owners
            ]
        reading.unread = trouble.error
    return [_history(name, frozenset(of), reading, start, now) for name, of in owners.items()]


def untold(changes: Iterable[TrailChange], owners: Collection[str], since: datetime) -> dict[RecordKey, str]:
    """Return the record sets of which some state since ``since`` is not told, and why.

    That is so when the first change that is known of them came later and does not tell what was before it. A
    DELETE tells what it deleted. A CREATE hides nothing when the same batch deleted something at that owner, or
    when the owner had another record set of that type already.
    """
    first: dict[RecordKey, TrailChange] = {}
    deleted: set[tuple[str, str, str]] = set()
    for change in changes:  # newest first: the last one put is the first that happened
        if change.name in owners:
            first[_key(change)] = change
            if change.action == "DELETE":
                deleted.add((change.change_id, change.zone_id, change.name))
    hidden: dict[RecordKey, str] = {}
    for key, change in first.items():
        if change.action == "DELETE" or change.at < since:
            continue
        at = f"{change.at:%Y-%m-%dT%H:%M:%SZ}"
        if change.action == "UPSERT":
            hidden[key] = f"the change of {at} does not tell which TTL {key.name} {key.rtype} had before"
        elif (change.change_id, key.zone_id, key.name) not in deleted and not _had_sibling(key, change, first):
            hidden[key] = f"{key.name} {key.rtype} was created at {at}: what was served before is not told"
    return hidden


def _had_sibling(key: RecordKey, change: TrailChange, first: Mapping[RecordKey, TrailChange]) -> bool:
    return any(
        other != key and other[:3] == key[:3] and (earliest.action != "CREATE" or earliest.at < change.at)
        for other, earliest in first.items()
    )


def _key(change: TrailChange) -> RecordKey:
    return RecordKey(change.zone_id, change.name, change.rtype, change.set_identifier)


def _history(name: str, owners: frozenset[str], reading: Reading, start: datetime, now: datetime) -> TrailHistory:
    changes = tuple(change for change in reading.changes if change.name in owners)
    why = reading.unread or "; ".join(sorted(untold(changes, owners, start).values()))
    return TrailHistory(
        at=now,
        name=name,
        since=start,
        until=now - DELIVERY,
        complete=not why,
        why_incomplete=why,
        changes=changes,
    )


def _read_what_was_before(
    access: Access,
    reading: Reading,
    wanted: Collection[str],
    ignored_zones: Collection[str],
    start: datetime,
    now: datetime,
) -> None:
    """Go further back until every record set's earlier state is told, or CloudTrail ends."""
    if not untold(reading.changes, wanted, start):
        return
    begin = now - RETENTION
    for event in _events(access, reading, begin, start):
        _take(event, reading, wanted, ignored_zones)
        if reading.unread or not untold(reading.changes, wanted, start):
            return


def _read(
    access: Access,
    reading: Reading,
    wanted: Collection[str],
    ignored_zones: Collection[str],
    start: datetime,
    end: datetime,
) -> None:
    for event in _events(access, reading, start, end):
        _take(event, reading, wanted, ignored_zones)


def _events(access: Access, reading: Reading, start: datetime, end: datetime) -> Iterator[Mapping[str, Any]]:
    """Give the events between two instants, newest first, as long as the bound on pages allows."""
    client = access.client("cloudtrail")
    token: dict[str, str] = {}
    while True:
        if reading.pages >= MAX_PAGES:
            reading.unread = f"CloudTrail was read for {MAX_PAGES} pages only"
            return
        page = client.lookup_events(
            LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "ChangeResourceRecordSets"}],
            StartTime=start,
            EndTime=end,
            MaxResults=50,
            **token,
        )
        reading.pages += 1
        yield from page.get("Events", [])
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _take(event: Mapping[str, Any], reading: Reading, wanted: Collection[str], ignored_zones: Collection[str]) -> None:
    try:
        detail = _small(json.loads(event["CloudTrailEvent"]))
        if detail.get("errorcode"):
            return  # refused: it changed nothing
        parameters = detail.get("requestparameters") or {}
        zone_id = str(parameters["hostedzoneid"]).removeprefix("/hostedzone/")
        if zone_id in ignored_zones:
            return
        info = (detail.get("responseelements") or {}).get("changeinfo") or {}
        change_id = str(info.get("id", "")).removeprefix("/change/")
        at = event["EventTime"].astimezone(UTC)
        for each in parameters["changebatch"]["changes"]:
            change = _change(each, at, zone_id, change_id)
            if change.name in wanted:
                reading.changes.append(change)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        when = event.get("EventTime")
        stamp = f"{when:%Y-%m-%dT%H:%M:%SZ}" if isinstance(when, datetime) else "an unknown time"
        reading.unread = f"CloudTrail's event of {stamp} cannot be read ({type(error).__name__}: {error})"


def _change(each: Mapping[str, Any], at: datetime, zone_id: str, change_id: str) -> TrailChange:
    record_set = each["resourcerecordset"]
    rtype = str(record_set["type"])
    alias = record_set.get("aliastarget") or {}
    ttl = record_set.get("ttl")
    return TrailChange(
        at=at,
        zone_id=zone_id,
        change_id=change_id,
        action=str(each["action"]).upper(),
        name=absolute(str(record_set["name"])),
        rtype=rtype,
        set_identifier=str(record_set.get("setidentifier") or ""),
        ttl=None if ttl is None else int(ttl),
        values=_values(rtype, record_set.get("resourcerecords") or ()),
        alias=absolute(str(alias["dnsname"])) if alias else "",
    )


def _values(rtype: str, records: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted(canonical(rtype, str(record["value"])) for record in records))


def _small(value: Any) -> Any:
    """Return JSON with all keys in lower case: CloudTrail writes ``tTL`` and ``dNSName``."""
    if isinstance(value, dict):
        return {str(key).lower(): _small(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_small(item) for item in value]
    return value
