"""A Route 53 and CloudTrail account of our own: its state and its rules, as AWS documents them.

It does what moto does not: several zones of one name with delegation sets of their own, listing in order from a
name on, changes that stay PENDING, CloudTrail's event history with its delay, and failures on demand. The wire
is in :mod:`tests.world.aws`.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

#: A record set in the API's own words: Name, Type, TTL, ResourceRecords, SetIdentifier, Weight...
RecordSet = dict[str, Any]

ACCOUNT = "123456789012"
USER = "migrator"


@dataclass
class CloudError(Exception):
    """An error answer: its HTTP status, AWS's code, and the text."""

    status: int
    code: str
    message: str


@dataclass
class HostedZone:
    """One hosted zone. ``name`` has the final dot."""

    id: str
    name: str
    private: bool
    name_servers: tuple[str, ...]
    record_sets: list[RecordSet] = field(default_factory=list)


@dataclass
class Change:
    """One change batch's standing."""

    id: str
    status: str
    submitted: datetime


def escaped(name: str) -> str:
    r"""Return a name as Route 53 lists it: lower case, final dot, ``*`` as ``\052``."""
    return name.lower().rstrip(".").replace("*", r"\052") + "."


def order(name: str) -> tuple[str, ...]:
    """Route 53 sorts names by their labels from the right."""
    return tuple(reversed(escaped(name).rstrip(".").split(".")))


def record(name: str, rtype: str, ttl: int, *values: str, **more: Any) -> RecordSet:
    """Make a record set; routing goes into ``more`` (``SetIdentifier="a", Weight=1``)."""
    return {
        "Name": name,
        "Type": rtype,
        **more,
        "TTL": ttl,
        "ResourceRecords": [{"Value": value} for value in values],
    }


def alias(name: str, rtype: str, target: str, zone_id: str = "Z35SXDOTRQ7X7K", **more: Any) -> RecordSet:
    """Make an alias record set."""
    aim = {"HostedZoneId": zone_id, "DNSName": target, "EvaluateTargetHealth": False}
    return {"Name": name, "Type": rtype, **more, "AliasTarget": aim}


class Account:
    """One AWS account.

    Attributes:
        hold: changes stay PENDING until :meth:`settle`.
        trail_delay: how long an event takes until LookupEvents shows it.
        page_size: at most so many items a page, to make clients page.
        calls: requests by operation, refused ones included.
        signed_by: the access key of the last request.
        on_change: called with a zone after its record sets changed.
        now: the clock; tests set it back to write history.
    """

    def __init__(self) -> None:
        self.zones: list[HostedZone] = []
        self.changes: dict[str, Change] = {}
        self.events: list[dict[str, Any]] = []
        self.hold = False
        self.trail_delay = timedelta(0)
        self.page_size = 100
        self.calls: Counter[str] = Counter()
        self.signed_by = ""
        self.on_change: Callable[[HostedZone], None] = lambda _: None
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._faults: dict[str, tuple[CloudError, float]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def fail(self, operation: str, error: CloudError, times: float = float("inf")) -> None:
        """Answer an operation (``"*"``: all) with an error, the next ``times`` times."""
        self._faults[operation] = (error, times)

    def heal(self) -> None:
        """End all failures."""
        self._faults.clear()

    def enter(self, operation: str) -> None:
        """Count a request and raise the failure that was ordered for it.

        Raises:
            CloudError: ordered by :meth:`fail`.
        """
        with self._lock:
            self.calls[operation] += 1
            for key in (operation, "*"):
                if key in self._faults:
                    error, times = self._faults[key]
                    if times > 0:
                        self._faults[key] = (error, times - 1)
                        raise error

    def create_zone(self, name: str, *, private: bool = False, name_servers: Sequence[str] | None = None) -> HostedZone:
        """Create a hosted zone; another of the same name may exist. It gets its own delegation set."""
        with self._lock:
            number = next(self._numbers)
            servers = tuple(name_servers or (f"ns-{number}.awsdns-{i:02d}.example." for i in range(4)))
            identifier = f"Z{number:04d}" + "".join(random.choices("ABCDEFGHJKLMNPQR", k=9))
            zone = HostedZone(identifier, escaped(name), private, () if private else servers)
            zone.record_sets = [
                record(zone.name, "NS", 172800, *servers),
                record(zone.name, "SOA", 900, f"{servers[0]} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"),
            ]
            self.zones.append(zone)
            return zone

    def zone(self, identifier: str) -> HostedZone:
        """Return a zone by id.

        Raises:
            CloudError: NoSuchHostedZone.
        """
        for zone in self.zones:
            if zone.id == identifier.removeprefix("/hostedzone/"):
                return zone
        raise CloudError(404, "NoSuchHostedZone", f"No hosted zone found with ID: {identifier}")

    def put(self, zone: HostedZone, *record_sets: RecordSet) -> None:
        """Write record sets without any trace in CloudTrail: how things were long ago."""
        for record_set in record_sets:
            self._apply(zone.record_sets, "UPSERT", normal(record_set))
        self.on_change(zone)

    def change(
        self, zone: HostedZone, changes: Sequence[tuple[str, RecordSet]], *, at: datetime | None = None
    ) -> Change:
        """Carry out a change batch: all of it or nothing, and into CloudTrail.

        Args:
            zone: where.
            changes: (CREATE | UPSERT | DELETE, record set).
            at: when it happened; default now.

        Raises:
            CloudError: InvalidChangeBatch; that too is in CloudTrail, with its error code.
        """
        with self._lock:
            when = at or self.now()
            draft = copy.deepcopy(zone.record_sets)
            try:
                for action, record_set in changes:
                    self._apply(draft, action, normal(record_set))
                self._coexist(draft)
            except CloudError as error:
                self._log(zone, changes, when, None, error)
                raise
            zone.record_sets = draft
            identifier = "C" + "".join(random.choices("ABCDEFGHJKLMNPQR0123456789", k=13))
            made = Change(identifier, "PENDING" if self.hold else "INSYNC", when)
            self.changes[identifier] = made
            self._log(zone, changes, when, made, None)
        self.on_change(zone)
        return made

    def settle(self) -> None:
        """Finish all pending changes."""
        for change in self.changes.values():
            change.status = "INSYNC"

    def zones_from(self, name: str | None, identifier: str | None) -> list[HostedZone]:
        """Every zone in listing order, from a name (and id) on, as ListHostedZonesByName does."""
        listed = sorted(self.zones, key=lambda zone: (order(zone.name), zone.id))
        if not name:
            return listed
        start = (order(name), identifier or "")
        return [zone for zone in listed if (order(zone.name), zone.id) >= start]

    def records_from(
        self, zone: HostedZone, name: str | None, rtype: str | None, identifier: str | None
    ) -> list[RecordSet]:
        """Every record set in listing order, from a name, type and identifier on."""
        listed = sorted(zone.record_sets, key=place)
        if not name:
            return listed
        start = (order(name), rtype or "", identifier or "")
        return [each for each in listed if place(each) >= start]

    def history(self, name: str | None, start: datetime | None, end: datetime | None) -> list[dict[str, Any]]:
        """CloudTrail's events that were delivered by now, newest first."""
        delivered = self.now() - self.trail_delay
        return [
            event
            for event in sorted(self.events, key=lambda each: each["EventTime"], reverse=True)
            if event["EventTime"] <= delivered
            and (name is None or event["EventName"] == name)
            and (start is None or event["EventTime"] >= start)
            and (end is None or event["EventTime"] <= end)
        ]

    def answer(self, zone: HostedZone, name: str, rtype: str) -> list[str]:
        """What TestDNSAnswer gives for a simple record set."""
        for each in zone.record_sets:
            if (each["Name"], each["Type"]) == (escaped(name), rtype):
                return [item["Value"] for item in each.get("ResourceRecords", [])]
        return []

    def _apply(self, record_sets: list[RecordSet], action: str, wanted: RecordSet) -> None:
        what = f"[{wanted['Name']}, {wanted['Type']}]"
        present = next((each for each in record_sets if place(each) == place(wanted)), None)
        if action == "CREATE" and present is not None:
            raise _invalid(f"Tried to create resource record set {what} but it already exists")
        if action == "DELETE" and present is None:
            raise _invalid(f"Tried to delete resource record set {what} but it was not found")
        if action == "DELETE" and present != wanted:
            raise _invalid(
                f"Tried to delete resource record set {what} but the values provided do not match the current values"
            )
        if ("TTL" in wanted) == ("AliasTarget" in wanted):
            raise CloudError(400, "InvalidInput", f"Invalid request: {what}: TTL or AliasTarget, and not both")
        if present is not None:
            record_sets.remove(present)
        if action != "DELETE":
            record_sets.append(wanted)

    @staticmethod
    def _coexist(record_sets: list[RecordSet]) -> None:
        for each in record_sets:
            others = [x for x in record_sets if x["Name"] == each["Name"]]
            if each["Type"] == "CNAME" and any(x["Type"] != "CNAME" for x in others):
                raise _invalid(f"RRSet of type CNAME with DNS name {each['Name']} is not permitted as it conflicts")
            same = [x for x in others if x["Type"] == each["Type"]]
            if len({"SetIdentifier" in x for x in same}) > 1:
                raise _invalid(f"RRSet with DNS name {each['Name']}: simple and other routing cannot be mixed")

    def _log(
        self,
        zone: HostedZone,
        changes: Sequence[tuple[str, RecordSet]],
        at: datetime,
        made: Change | None,
        error: CloudError | None,
    ) -> None:
        parameters = {
            "hostedZoneId": zone.id,
            "changeBatch": {
                "changes": [
                    {"action": action, "resourceRecordSet": _lowered(record_set)} for action, record_set in changes
                ]
            },
        }
        detail: dict[str, Any] = {
            "eventVersion": "1.08",
            "userIdentity": {"type": "IAMUser", "accountId": ACCOUNT, "userName": USER},
            "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": "route53.amazonaws.com",
            "eventName": "ChangeResourceRecordSets",
            "awsRegion": "us-east-1",
            "requestParameters": parameters,
            "responseElements": None,
            "readOnly": False,
            "eventType": "AwsApiCall",
            "apiVersion": "2013-04-01",
        }
        if made is not None:
            stamp = f"{at:%b} {at.day}, {at.year} {at:%I:%M:%S %p}"
            info = {"id": f"/change/{made.id}", "status": "PENDING", "submittedAt": stamp}
            detail["responseElements"] = {"changeInfo": info}
        if error is not None:
            detail |= {"errorCode": error.code, "errorMessage": error.message}
        self.log_event("ChangeResourceRecordSets", at, detail)

    def log_event(self, name: str, at: datetime, detail: Mapping[str, Any]) -> None:
        """Write one event into CloudTrail as it is."""
        self.events.append(
            {
                "EventId": f"event-{next(self._numbers)}",
                "EventName": name,
                "EventTime": at.replace(microsecond=0),
                "EventSource": "route53.amazonaws.com",
                "Username": USER,
                "ReadOnly": "false",
                "CloudTrailEvent": json.dumps(detail),
            }
        )


def place(record_set: RecordSet) -> tuple[tuple[str, ...], str, str]:
    """What makes a record set one: name in sorting order, type, set identifier."""
    return order(record_set["Name"]), record_set["Type"], record_set.get("SetIdentifier", "")


def normal(record_set: RecordSet) -> RecordSet:
    """A record set as Route 53 stores it."""
    stored = copy.deepcopy(record_set)
    stored["Name"] = escaped(stored["Name"])
    if "AliasTarget" in stored:
        stored["AliasTarget"]["DNSName"] = escaped(stored["AliasTarget"]["DNSName"])
    for key in ("TTL", "Weight"):
        if key in stored:
            stored[key] = int(stored[key])
    return stored


def _lowered(value: Any) -> Any:
    """CloudTrail writes the API's members with a small first letter: ``tTL``, ``dNSName``."""
    if isinstance(value, Mapping):
        return {key[0].lower() + key[1:]: _lowered(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lowered(item) for item in value]
    return value


def _invalid(message: str) -> CloudError:
    return CloudError(400, "InvalidChangeBatch", f"[{message}]")


THROTTLED = CloudError(400, "Throttling", "Rate exceeded")
EXPIRED = CloudError(403, "ExpiredToken", "The security token included in the request is expired")
BAD_KEY = CloudError(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
BROKEN = CloudError(500, "InternalFailure", "Internal failure")


def denied(action: str) -> CloudError:
    """What IAM says when ``action`` (``route53:GetChange``) is not allowed."""
    return CloudError(
        403,
        "AccessDenied",
        f"User: arn:aws:iam::{ACCOUNT}:user/{USER} is not authorized to perform: {action} because no "
        f"identity-based policy allows the {action} action",
    )
