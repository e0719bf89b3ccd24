"""Route 53 as moto's server plays it, and in front of it what moto lacks: CloudTrail's event history.

One endpoint for both, as ``[providers.route53] endpoint_url`` names one. Requests to Route 53 go on to moto as they
are; a change batch that moto has taken is served by the sandbox's name servers and stands in CloudTrail.
"""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
from moto.server import ThreadedMotoServer

_TRAIL = "CloudTrail_20131101.LookupEvents"
_LISTS = {"Changes": "Change", "ResourceRecords": "ResourceRecord"}

Publish = Callable[[str, str, int, Sequence[str]], None]
"""Called with owner, type, TTL and values of every RRset that changed; no values when it is gone."""


class Cloud:
    """An account with Route 53 and CloudTrail on loopback.

    Args:
        address: where it listens.
        publish: lets the name servers serve a change.
    """

    def __init__(self, address: str, publish: Publish) -> None:
        self._address = address
        self._publish = publish
        self._events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = ThreadedMotoServer(self._address, 0, verbose=False)
        self._moto.start()
        try:
            self._front = _Front((self._address, 0), _Handler)
        except BaseException:
            self._moto.stop()
            raise
        self._front.cloud = self
        self._thread = threading.Thread(target=self._front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._front.shutdown()
        self._front.server_close()
        self._thread.join()
        self._moto.stop()

    @property
    def endpoint_url(self) -> str:
        """What boto3 and the plan are given."""
        return f"http://{self._address}:{self._front.server_address[1]}"

    def client(self) -> Any:
        """Return a Route 53 client of this account."""
        return boto3.client(
            "route53",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="rehearsal",
            aws_secret_access_key="rehearsal",  # noqa: S106 - moto takes any
        )

    def create_zone(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Create a hosted zone; return its id and the name servers of its delegation set."""
        made = self.client().create_hosted_zone(Name=name, CallerReference=f"rehearsal-{next(self._numbers)}")
        servers = tuple(made["DelegationSet"]["NameServers"])
        return made["HostedZone"]["Id"].rpartition("/")[2], servers

    def upsert(self, zone_id: str, name: str, ttl: int, *addresses: str, remembered: bool = True) -> dict[str, Any]:
        """Point a name somewhere, as the console or the AWS command does; return the change batch.

        Args:
            zone_id: the hosted zone.
            name: with its final dot.
            ttl: seconds.
            addresses: where to.
            remembered: False for what happened longer ago than CloudTrail's 90 days.
        """
        records = [{"Value": address} for address in addresses]
        record_set = {"Name": name, "Type": "A", "TTL": ttl, "ResourceRecords": records}
        batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record_set}]}
        self.client().change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch=batch)
        if not remembered:
            self._events.clear()
        return batch

    def to_moto(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Pass a request on; return status, content type and body."""
        connection = http.client.HTTPConnection(*self._moto.get_host_and_port(), timeout=10)
        try:
            connection.request(method, path, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", "text/xml"), response.read()
        finally:
            connection.close()

    def changed(self, zone_id: str, request: bytes, response: bytes) -> None:
        """Serve a change batch that Route 53 has taken, and write it into CloudTrail."""
        batch = _read(ElementTree.fromstring(request))["ChangeBatch"]  # noqa: S314 - our own boto3 wrote it
        answer = _read(ElementTree.fromstring(response))["ChangeInfo"]  # noqa: S314 - moto wrote it
        for change in batch["Changes"]:
            record_set = change["ResourceRecordSet"]
            gone = change["Action"] == "DELETE"
            values = [] if gone else [record["Value"] for record in record_set["ResourceRecords"]]
            self._publish(record_set["Name"], record_set["Type"], int(record_set["TTL"]), values)
        at = datetime.now(UTC)
        detail = {
            "eventVersion": "1.08",
            "userIdentity": {"type": "IAMUser", "userName": "rehearsal"},
            "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": "route53.amazonaws.com",
            "eventName": "ChangeResourceRecordSets",
            "awsRegion": "us-east-1",
            "requestParameters": {"hostedZoneId": zone_id, "changeBatch": _lowered(batch)},
            "responseElements": {"changeInfo": _lowered(answer)},
        }
        self._events.insert(
            0,
            {
                "EventId": f"event-{next(self._numbers)}",
                "EventName": "ChangeResourceRecordSets",
                "EventTime": at.replace(microsecond=0).timestamp(),
                "EventSource": "route53.amazonaws.com",
                "Username": "rehearsal",
                "ReadOnly": "false",
                "CloudTrailEvent": json.dumps(detail),
            },
        )

    def lookup(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer LookupEvents: newest first, in one page (there are few)."""
        start, end = request.get("StartTime", 0), request.get("EndTime", float("inf"))
        return {"Events": [event for event in self._events if start <= event["EventTime"] <= end]}


class _Front(ThreadingHTTPServer):
    daemon_threads = True
    cloud: Cloud

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a command that was interrupted while it asked."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Front

    def _serve(self) -> None:
        cloud = self.server.cloud
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("X-Amz-Target", "").endswith(_TRAIL):
            answer = json.dumps(cloud.lookup(json.loads(body))).encode()
            self._send(200, "application/x-amz-json-1.1", answer)
            return
        status, kind, answer = cloud.to_moto(self.command, self.path, dict(self.headers), body)
        match [self.command, status, *filter(None, urlsplit(self.path).path.split("/"))]:
            case ["POST", http.client.OK, _, "hostedzone", zone_id, "rrset"]:
                cloud.changed(str(zone_id), body, answer)
        self._send(status, kind, answer)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the standard library names them

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _read(element: ElementTree.Element) -> Any:
    tag = element.tag.rpartition("}")[2]
    if tag in _LISTS:
        return [_read(child) for child in element]
    if len(element):
        return {child.tag.rpartition("}")[2]: _read(child) for child in element}
    text = element.text or ""
    return int(text) if tag == "TTL" else text


def _lowered(value: Any) -> Any:
    """Write members as CloudTrail does, with a small first letter: ``tTL``."""
    if isinstance(value, Mapping):
        return {key[0].lower() + key[1:]: _lowered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_lowered(item) for item in value]
    return value
