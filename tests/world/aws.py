"""AWS on loopback: our account's wire (Route 53's REST-XML, CloudTrail's JSON), and moto's server.

Example::

    with Aws() as aws:
        zone = aws.account.create_zone("example.com", name_servers=["ns1.example.net.", ...])
        aws.account.put(zone, record("app.example.com", "A", 86400, "203.0.113.10"))
        boto3.client("route53", endpoint_url=aws.endpoint_url)        # real boto3 talks to it
        aws.account.fail("ListHostedZonesByName", denied("route53:ListHostedZonesByName"))

    with Moto() as moto:
        boto3.client("cloudwatch", endpoint_url=moto.endpoint_url, region_name="us-east-1")
"""

from __future__ import annotations

import json
import re
import threading
import urllib.request
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.world.cloud import Account, Change, CloudError, HostedZone, RecordSet
from tests.world.httpserver import QuietHandler, QuietServer

_NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"
_MEMBERS = {
    "HostedZones": "HostedZone",
    "ResourceRecordSets": "ResourceRecordSet",
    "ResourceRecords": "ResourceRecord",
    "NameServers": "NameServer",
    "Changes": "Change",
    "RecordData": "RecordDataEntry",
    "VPCs": "VPC",
}
_LOOKUP = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"

Query = Mapping[str, str]


class Aws:
    """A server for one :class:`~tests.world.cloud.Account`.

    Attributes:
        account: its state; change it, or put another one in, while the server runs.
        endpoint_url: for boto3 and for ``[providers.route53]``.
    """

    def __init__(self, account: Account | None = None) -> None:
        self.account = account or Account()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.world = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class Moto:
    """moto's server, for the services that we do not speak ourselves. State is lost at the end."""

    def __enter__(self) -> Self:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint_url = f"http://{host}:{port}"
        self.reset()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def reset(self) -> None:
        """Forget everything (moto keeps its state in the process, not in the server)."""
        request = urllib.request.Request(f"{self.endpoint_url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=5).close()


class _Server(QuietServer):
    world: Aws


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: a delayed ACK between them costs 40 ms
    server: _Server

    def do_GET(self) -> None:
        self._route53()

    def do_POST(self) -> None:
        if self.headers.get("x-amz-target") == _LOOKUP:
            self._cloudtrail()
        else:
            self._route53()

    def _body(self) -> bytes:
        signed = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        self.server.world.account.signed_by = signed[1] if signed else ""
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        self.wfile.write(body)

    def _route53(self) -> None:
        body = self._body()
        target = urlsplit(self.path)
        parts = [unquote(part) for part in target.path.split("/") if part]
        query = {key: values[0] for key, values in parse_qs(target.query).items()}
        try:
            name, answer = self._operation(parts, query, body)
            self._send(200, "text/xml", _document(f"{name}Response", answer))
        except CloudError as error:
            self._send(error.status, "text/xml", _error(error))

    def _operation(self, parts: list[str], query: Query, body: bytes) -> tuple[str, dict[str, Any]]:
        account = self.server.world.account
        match self.command, parts[1:]:
            case "GET", ["hostedzonesbyname"]:
                name, work = "ListHostedZonesByName", lambda: _zones_by_name(account, query)
            case "GET", ["hostedzone", zone]:
                name, work = "GetHostedZone", lambda: _one_zone(account.zone(zone))
            case "GET", ["hostedzone", zone, "rrset"]:
                name, work = "ListResourceRecordSets", lambda: _record_sets(account, account.zone(zone), query)
            case "POST", ["hostedzone", zone, "rrset"]:
                name, work = "ChangeResourceRecordSets", lambda: _change(account, account.zone(zone), body)
            case "GET", ["change", change]:
                name, work = "GetChange", lambda: _get_change(account, change)
            case "GET", ["testdnsanswer"]:
                name, work = "TestDNSAnswer", lambda: _test_answer(account, query)
            case _:
                raise CloudError(400, "InvalidAction", f"{self.command} {self.path} is not spoken here")
        account.enter(name)
        run: Callable[[], dict[str, Any]] = work
        return name, run()

    def _cloudtrail(self) -> None:
        request, account = json.loads(self._body()), self.server.world.account
        try:
            account.enter("LookupEvents")
            answer, status = _lookup(account, request), 200
        except CloudError as error:
            code = {"Throttling": "ThrottlingException", "AccessDenied": "AccessDeniedException"}.get(
                error.code, error.code
            )
            answer, status = {"__type": code, "message": error.message}, 500 if error.status == 500 else 400
        self._send(status, "application/x-amz-json-1.1", json.dumps(answer).encode())


def _page(account: Account, query: Query, items: list[Any], most: int) -> tuple[list[Any], Any, int]:
    """A page, the first item of the next one (or None), and the page's size."""
    size = min(int(query.get("maxitems", most)), most)
    if size < 1:
        raise CloudError(400, "InvalidInput", "MaxItems is too small")
    cut = min(size, account.page_size)
    return items[:cut], (items[cut] if len(items) > cut else None), size


def _zone(zone: HostedZone) -> dict[str, Any]:
    return {
        "Id": f"/hostedzone/{zone.id}",
        "Name": zone.name,
        "CallerReference": f"made-{zone.id}",
        "Config": {"PrivateZone": zone.private},
        "ResourceRecordSetCount": len(zone.record_sets),
    }


def _zones_by_name(account: Account, query: Query) -> dict[str, Any]:
    found = account.zones_from(query.get("dnsname"), query.get("hostedzoneid"))
    page, following, size = _page(account, query, found, 100)
    answer: dict[str, Any] = {"HostedZones": [_zone(zone) for zone in page]}
    if "dnsname" in query:
        answer["DNSName"] = query["dnsname"]
    answer |= {"IsTruncated": following is not None, "MaxItems": size}
    if following is not None:
        answer |= {"NextDNSName": following.name, "NextHostedZoneId": following.id}
    return answer


def _one_zone(zone: HostedZone) -> dict[str, Any]:
    if zone.private:
        return {"HostedZone": _zone(zone), "VPCs": [{"VPCRegion": "us-east-1", "VPCId": "vpc-1"}]}
    return {"HostedZone": _zone(zone), "DelegationSet": {"NameServers": [x.rstrip(".") for x in zone.name_servers]}}


def _record_sets(account: Account, zone: HostedZone, query: Query) -> dict[str, Any]:
    if "type" in query and "name" not in query:
        raise CloudError(400, "InvalidInput", "The type parameter needs a name")
    found = account.records_from(zone, query.get("name"), query.get("type"), query.get("identifier"))
    page, following, size = _page(account, query, found, 300)
    answer: dict[str, Any] = {"ResourceRecordSets": page, "IsTruncated": following is not None, "MaxItems": size}
    if following is not None:
        answer |= {"NextRecordName": following["Name"], "NextRecordType": following["Type"]}
        if "SetIdentifier" in following:
            answer["NextRecordIdentifier"] = following["SetIdentifier"]
    return answer


def _change_info(change: Change) -> dict[str, Any]:
    return {
        "ChangeInfo": {
            "Id": f"/change/{change.id}",
            "Status": change.status,
            "SubmittedAt": change.submitted.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
    }


def _get_change(account: Account, identifier: str) -> dict[str, Any]:
    change = account.changes.get(identifier)
    if change is None:
        raise CloudError(404, "NoSuchChange", f"Could not find resource with ID: {identifier}")
    return _change_info(change)


def _change(account: Account, zone: HostedZone, body: bytes) -> dict[str, Any]:
    # Safe: the document comes from our own boto3 in a test.
    batch = _read(ElementTree.fromstring(body))["ChangeBatch"]
    changes: list[tuple[str, RecordSet]] = [
        (each["Action"], each["ResourceRecordSet"]) for each in batch.get("Changes", [])
    ]
    return _change_info(account.change(zone, changes))


def _test_answer(account: Account, query: Query) -> dict[str, Any]:
    zone = account.zone(query["hostedzoneid"])
    values = account.answer(zone, query["recordname"], query["recordtype"])
    return {
        "Nameserver": (zone.name_servers or ("",))[0].rstrip("."),
        "RecordName": query["recordname"],
        "RecordType": query["recordtype"],
        "RecordData": values,
        "ResponseCode": "NOERROR" if values else "NXDOMAIN",
        "Protocol": "UDP",
    }


def _lookup(account: Account, request: Mapping[str, Any]) -> dict[str, Any]:
    size = int(request.get("MaxResults", 50))
    if not 1 <= size <= 50:
        raise CloudError(400, "InvalidMaxResultsException", "MaxResults must be from 1 to 50")
    wanted = None
    for attribute in request.get("LookupAttributes", []):
        if attribute["AttributeKey"] != "EventName":
            raise CloudError(400, "InvalidLookupAttributesException", "only EventName is known here")
        wanted = attribute["AttributeValue"]

    def moment(key: str) -> datetime | None:
        return datetime.fromtimestamp(request[key], UTC) if key in request else None

    found = account.history(wanted, moment("StartTime"), moment("EndTime"))
    start = int(request.get("NextToken", "0"))
    cut = start + min(size, account.page_size)
    events = [{**event, "EventTime": event["EventTime"].timestamp()} for event in found[start:cut]]
    return {"Events": events, **({"NextToken": str(cut)} if cut < len(found) else {})}


def _document(name: str, value: Mapping[str, Any]) -> bytes:
    root = ElementTree.Element(name, xmlns=_NAMESPACE)
    _write(root, value)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _write(parent: ElementTree.Element, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _write(ElementTree.SubElement(parent, key), item)
    elif isinstance(value, list):
        for item in value:
            _write(ElementTree.SubElement(parent, _MEMBERS[parent.tag]), item)
    else:
        parent.text = str(value).lower() if isinstance(value, bool) else str(value)


def _read(element: ElementTree.Element) -> Any:
    tag = element.tag.rpartition("}")[2]
    if tag in _MEMBERS:
        return [_read(child) for child in element]
    if len(element):
        return {child.tag.rpartition("}")[2]: _read(child) for child in element}
    text = element.text or ""
    if tag in ("EvaluateTargetHealth", "MultiValueAnswer"):
        return text == "true"
    return int(text) if tag in ("TTL", "Weight", "Bias") else text


def _error(error: CloudError) -> bytes:
    kind = "Receiver" if error.status >= 500 else "Sender"
    detail = {"Type": kind, "Code": error.code, "Message": error.message}
    return _document("ErrorResponse", {"Error": detail, "RequestId": str(uuid.uuid4())})
