"""CloudWatch ``GetMetricData``: load balancers, target groups, CloudFront, API Gateway, Lambda, any metric.

``old`` and ``new`` are tables:

- ``{ load_balancer = "app/porter/123" }``, with ``target_group = "targetgroup/web/456"`` to count one group
  only: ``AWS/ApplicationELB RequestCount``;
- ``{ namespace = "AWS/CloudFront", dimensions = { DistributionId = "E1" } }`` (``Requests``; asked in us-east-1
  with ``Region=Global``), ``AWS/ApiGateway`` (``Count``), ``AWS/Lambda`` (``Invocations``): the metric is known;
- ``{ namespace, metric, dimensions, stat }`` for anything else. ``stat`` is ``Sum`` (default) or ``SampleCount``:
  nothing else is a count.

An idle load balancer emits nothing, and so does a wrong dimension: a window without any value is ``EMPTY``,
never zero, and a window ends with its last value: a minute that is missing after it may only be late. Only
sentinels, which make an idle balancer emit, tell the two apart. Permission: ``cloudwatch:GetMetricData``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)

from cutover.observations.traffic import Sight
from cutover.plan import CloudWatchQuery
from cutover.probes.traffic.api import SKEW_LIMIT
from cutover.probes.traffic.base import Count, Source, SourceSpec, Wanted, floor_to, number
from cutover.probes.traffic.unseen import UnseenError

MINUTE = timedelta(minutes=1)
DELAY = timedelta(minutes=2)
"""How long a whole minute is left to arrive before it is counted; load balancers publish every minute."""
PAGES = 10
READ_TIMEOUT = 8.0
RETRIES = 3

_DEFAULT_METRICS = {
    "AWS/ApplicationELB": "RequestCount",
    "AWS/CloudFront": "Requests",
    "AWS/ApiGateway": "Count",
    "AWS/Lambda": "Invocations",
}
_COUNTING = {"Sum", "SampleCount"}
_FORBIDDEN = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "UnrecognizedClientException",
}
_SKEWED = {"RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
_THROTTLED = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"}


def open_source(spec: SourceSpec) -> Source:
    """Open a CloudWatch source."""
    return CloudWatch(spec)


class CloudWatch:
    """One ``[[traffic]] source = "cloudwatch"``."""

    lag = DELAY + MINUTE
    bucket = MINUTE
    cuts_now = False

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        """Count each side in whole minutes that had two minutes to arrive; one call for both sides."""
        end = floor_to(wanted.now - DELAY, MINUTE)
        starts = {side: floor_to(start, MINUTE) for side, start in wanted.starts.items()}
        due = {side: start for side, start in starts.items() if start < end}
        queries: dict[str, dict[str, Any]] = {}
        counts: dict[str, Count] = {}
        for side, start in due.items():
            try:
                queries[side] = metric_query(side, getattr(self._spec.traffic, side))
            except UnseenError as error:
                counts[side] = Count(sight=error.sight, detail=error.detail, start=start, end=end)
        if queries:
            results = await asyncio.to_thread(self._ask, queries, min(due.values()), end, wanted.now)
            counts |= {side: _count(results.get(side), due[side], end) for side in queries}
        return counts

    def _ask(
        self, queries: Mapping[str, dict[str, Any]], start: datetime, end: datetime, now: datetime
    ) -> dict[str, dict[str, Any]]:
        """Call ``GetMetricData`` until no page is left, and join the pages by query."""
        joined: dict[str, dict[str, Any]] = {}
        token: dict[str, str] = {}
        for _ in range(PAGES):
            page = self._call(
                {
                    "MetricDataQueries": list(queries.values()),
                    "StartTime": start,
                    "EndTime": end,
                    "ScanBy": "TimestampAscending",
                    **token,
                }
            )
            _check_clock(page, now)
            for result in page.get("MetricDataResults", []):
                _join(joined, result)
            if not page.get("NextToken"):
                return joined
            token = {"NextToken": page["NextToken"]}
        for result in joined.values():
            result["StatusCode"] = "PartialData"
        return joined

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._client().get_metric_data(**request)
        except (NoCredentialsError, PartialCredentialsError):
            raise UnseenError(
                Sight.FORBIDDEN, "AWS credentials are missing: aws configure, AWS_PROFILE or a role"
            ) from None
        except ProfileNotFound:
            raise UnseenError(Sight.FORBIDDEN, f"there is no AWS profile {self._spec.traffic.profile}") from None
        except NoRegionError:
            raise UnseenError(Sight.NOT_FOUND, "no region: set region in [[traffic]]") from None
        except (EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError) as error:
            raise UnseenError(Sight.UNREACHABLE, f"CloudWatch cannot be reached: {type(error).__name__}") from None
        except ClientError as error:
            raise _refused(error) from None
        except (BotoCoreError, ValueError) as error:
            raise UnseenError(Sight.MALFORMED, f"CloudWatch's answer cannot be read: {type(error).__name__}") from None
        return answer

    def _client(self) -> Any:
        traffic = self._spec.traffic
        region = traffic.region
        asked = [query for query in (traffic.old, traffic.new) if isinstance(query, CloudWatchQuery)]
        if any(query.namespace == "AWS/CloudFront" for query in asked):
            region = "us-east-1"

        def make() -> Any:
            return boto3.Session(profile_name=traffic.profile, region_name=region).client(
                "cloudwatch",
                endpoint_url=traffic.endpoint_url,
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": RETRIES},
                    connect_timeout=4,
                    read_timeout=READ_TIMEOUT,
                ),
            )

        return self._spec.api.shared(f"cloudwatch {traffic.profile} {region} {traffic.endpoint_url}", make)


def metric_query(side: str, asked: CloudWatchQuery) -> dict[str, Any]:
    """Return one side as a ``MetricDataQuery``.

    Raises:
        UnseenError: it does not name a count.
    """
    dimensions = dict(asked.dimensions)
    namespace = asked.namespace
    if asked.load_balancer is not None:
        namespace = namespace or "AWS/ApplicationELB"
        dimensions["LoadBalancer"] = asked.load_balancer.rsplit("loadbalancer/", maxsplit=1)[-1]
    if asked.target_group is not None:
        dimensions["TargetGroup"] = asked.target_group.rsplit(":", maxsplit=1)[-1]
        if asked.load_balancer is None:
            raise UnseenError(
                Sight.MALFORMED, f"`{side}`: a target group is counted only together with its load_balancer"
            )
    if namespace is None:
        raise UnseenError(Sight.MALFORMED, f"`{side}` names neither load_balancer nor namespace")
    if namespace == "AWS/CloudFront":
        dimensions.setdefault("Region", "Global")
    metric = asked.metric or _DEFAULT_METRICS.get(namespace)
    if metric is None:
        raise UnseenError(Sight.MALFORMED, f"`{side}`: say which metric of {namespace}")
    if asked.stat not in _COUNTING:
        raise UnseenError(Sight.WRONG_UNIT, f"`{side}`: stat {asked.stat} is no count: use Sum (or SampleCount)")
    return {
        "Id": side,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in sorted(dimensions.items())],
            },
            "Period": int(MINUTE.total_seconds()),
            "Stat": asked.stat,
        },
        "ReturnData": True,
    }


def _join(joined: dict[str, dict[str, Any]], result: Mapping[str, Any]) -> None:
    """Add one page's result; a later page's status replaces the earlier one, unless that was a failure."""
    before = joined.setdefault(str(result.get("Id")), {"Values": [], "Timestamps": [], "Messages": []})
    before["Values"] += result.get("Values", [])
    before["Timestamps"] += result.get("Timestamps", [])
    before["Messages"] += result.get("Messages", [])
    if before.get("StatusCode") not in {"Forbidden", "InternalError"}:
        before["StatusCode"] = result.get("StatusCode")


def _count(result: Mapping[str, Any] | None, start: datetime, end: datetime) -> Count:
    if result is None:
        return Count(sight=Sight.MALFORMED, detail="CloudWatch said nothing about this query", start=start, end=end)
    said = "; ".join(str(x.get("Value", ""))[:120] for x in result["Messages"] if isinstance(x, dict))
    status = result.get("StatusCode")
    if status == "Forbidden":
        detail = f"cloudwatch:GetMetricData is not allowed for this metric{f': {said}' if said else ''}"
        return Count(sight=Sight.FORBIDDEN, detail=detail, start=start, end=end)
    if status == "InternalError":
        return Count(sight=Sight.UNREACHABLE, detail="CloudWatch says InternalError", start=start, end=end)
    try:
        values = [number(value, "a value") for value in result["Values"]]
    except UnseenError as error:
        return Count(sight=error.sight, detail=error.detail, start=start, end=end)
    stamps = [_instant(stamp) for stamp in result["Timestamps"]]
    if len(stamps) != len(values):
        return Count(sight=Sight.MALFORMED, detail="CloudWatch gave not one time for each value", start=start, end=end)
    found = {stamp: value for stamp, value in zip(stamps, values, strict=True) if stamp and start <= stamp < end}
    inside = list(found.values())
    if status not in {"Complete", "PartialData"}:
        return Count(sight=Sight.MALFORMED, detail=f"CloudWatch status {status!r}", start=start, end=end)
    if status == "PartialData":
        return Count(
            sight=Sight.PARTIAL,
            count=sum(inside),
            detail=f"CloudWatch has only part of the window{f': {said}' if said else ''}",
            start=start,
            end=end,
        )
    if not inside:
        detail = "no value in the window: idle, or a wrong dimension or region"
        return Count(sight=Sight.EMPTY, detail=detail, start=start, end=end)
    return Count(sight=Sight.OK, count=sum(inside), start=start, end=min(end, max(found) + MINUTE))


def _instant(stamp: object) -> datetime | None:
    if not isinstance(stamp, datetime):
        return None
    return stamp.astimezone(UTC) if stamp.tzinfo else stamp.replace(tzinfo=UTC)


def _check_clock(page: Mapping[str, Any], now: datetime) -> None:
    headers = page.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        ahead = parsedate_to_datetime(headers.get("date", "")).astimezone(UTC) - now
    except (TypeError, ValueError):
        return
    if abs(ahead) > SKEW_LIMIT + timedelta(seconds=20):
        word = "behind" if ahead > timedelta(0) else "ahead of"
        seconds = round(abs(ahead).total_seconds())
        raise UnseenError(
            Sight.SKEWED, f"this machine's clock is {seconds} s {word} CloudWatch's: windows would not match"
        )


def _refused(error: ClientError) -> UnseenError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLED or status == 429:
        return UnseenError(Sight.RATE_LIMITED, f"CloudWatch throttles this account ({code or status})")
    if code in _SKEWED:
        return UnseenError(
            Sight.SKEWED, f"CloudWatch refuses the signature ({code}): this machine's clock, or a wrong key"
        )
    if code in _FORBIDDEN or status in {401, 403}:
        return UnseenError(Sight.FORBIDDEN, f"cloudwatch:GetMetricData is not allowed ({code or status})")
    if status == 404 or code in {"ResourceNotFound", "404"}:
        return UnseenError(Sight.NOT_FOUND, f"CloudWatch answered {status} ({code})")
    if status >= 500:
        return UnseenError(Sight.UNREACHABLE, f"CloudWatch answered {status} ({code})")
    return UnseenError(Sight.MALFORMED, f"CloudWatch refused the query: {code}")
