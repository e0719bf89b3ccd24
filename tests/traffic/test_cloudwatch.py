"""CloudWatch: moto's server where it does, and a server of ours for what moto never says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from cutover.observations.traffic import Sight
from cutover.plan import CloudWatchQuery
from cutover.probes.traffic.base import Count, floor_to
from cutover.probes.traffic.cloudwatch import MINUTE, metric_query, open_source
from cutover.probes.traffic.unseen import UnseenError
from tests.traffic.support import START, Answer, ApiServer, Asked, FakeClock, spec_of, wanted
from tests.world.aws import Moto

OLD = {"load_balancer": "app/porter/1", "target_group": "targetgroup/web/2"}
NEW = {"load_balancer": "app/sst/3"}


def read(url: str, clock: FakeClock, old: Any = OLD, new: Any = NEW, seconds: float = 420) -> Mapping[str, Count]:
    traffic = {"source": "cloudwatch", "region": "us-east-1", "old": old, "new": new, "endpoint_url": url}
    spec = spec_of(traffic, clock)
    return asyncio.run(open_source(spec).read(wanted(clock, seconds)))


@pytest.fixture(scope="module")
def moto_server() -> Iterator[Moto]:
    with Moto() as running:
        yield running


@pytest.fixture
def moto(moto_server: Moto) -> Moto:
    moto_server.reset()
    return moto_server


def put(moto: Moto, namespace: str, metric: str, dimensions: Mapping[str, str], values: Mapping[int, float]) -> None:
    """Publish one value a minute, some minutes ago."""
    client = boto3.client("cloudwatch", endpoint_url=moto.endpoint_url, region_name="us-east-1")
    now = floor_to(datetime.now(UTC), MINUTE)
    data = [
        {
            "MetricName": metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            "Timestamp": now - timedelta(minutes=minutes),
            "Value": value,
        }
        for minutes, value in values.items()
    ]
    client.put_metric_data(Namespace=namespace, MetricData=data)


def test_it_sums_whole_minutes_that_had_time_to_arrive(moto: Moto) -> None:
    clock = FakeClock(datetime.now(UTC))
    both = {"LoadBalancer": "app/porter/1", "TargetGroup": "targetgroup/web/2"}
    put(moto, "AWS/ApplicationELB", "RequestCount", both, {4: 2, 3: 3, 1: 1000})
    put(moto, "AWS/ApplicationELB", "RequestCount", {"LoadBalancer": "app/porter/1"}, {4: 500})
    put(moto, "AWS/ApplicationELB", "RequestCount", {"LoadBalancer": "app/sst/3"}, {5: 40, 4: 50, 3: 10})
    counts = read(moto.endpoint_url, clock)
    assert (counts["old"].sight, counts["old"].count) == (Sight.OK, 5)
    assert (counts["new"].sight, counts["new"].count) == (Sight.OK, 100)
    assert counts["new"].end == floor_to(clock.now() - timedelta(minutes=2), MINUTE)


def test_an_idle_balancer_looks_like_a_wrong_dimension_and_neither_is_zero(moto: Moto) -> None:
    counts = read(moto.endpoint_url, FakeClock(datetime.now(UTC)))
    assert {x.sight for x in counts.values()} == {Sight.EMPTY}
    assert {x.count for x in counts.values()} == {None}


CLOUDFRONT = {"DistributionId": "E1"}
KNOWN: list[tuple[dict[str, Any], str, dict[str, str]]] = [
    ({"namespace": "AWS/CloudFront", "dimensions": CLOUDFRONT}, "Requests", {**CLOUDFRONT, "Region": "Global"}),
    ({"namespace": "AWS/ApiGateway", "dimensions": {"ApiName": "shop"}}, "Count", {"ApiName": "shop"}),
    ({"namespace": "AWS/Lambda", "dimensions": {"FunctionName": "f"}}, "Invocations", {"FunctionName": "f"}),
    ({"namespace": "Porter", "metric": "hits", "dimensions": {"app": "x"}}, "hits", {"app": "x"}),
]


@pytest.mark.parametrize(("table", "metric", "dimensions"), KNOWN)
def test_known_metrics_and_any_other(
    moto: Moto, table: dict[str, Any], metric: str, dimensions: dict[str, str]
) -> None:
    put(moto, table["namespace"], metric, dimensions, {4: 7})
    counts = read(moto.endpoint_url, FakeClock(datetime.now(UTC)), old=table, new=table)
    assert counts["old"].count == counts["new"].count == 7


def test_arns_are_shortened_to_dimensions() -> None:
    query = metric_query(
        "old",
        CloudWatchQuery(
            load_balancer="arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/porter/1",
            target_group="arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/web/2",
        ),
    )
    assert query["MetricStat"]["Metric"]["Dimensions"] == [
        {"Name": "LoadBalancer", "Value": "app/porter/1"},
        {"Name": "TargetGroup", "Value": "targetgroup/web/2"},
    ]


@pytest.mark.parametrize(
    ("table", "sight"),
    [
        ({"load_balancer": "app/x/1", "stat": "Average"}, Sight.WRONG_UNIT),
        ({"load_balancer": "app/x/1", "stat": "p99"}, Sight.WRONG_UNIT),
        ({"target_group": "targetgroup/web/2"}, Sight.MALFORMED),
        ({"namespace": "Mine"}, Sight.MALFORMED),
        ({}, Sight.MALFORMED),
    ],
)
def test_what_is_no_count_is_refused_before_anything_is_asked(table: dict[str, Any], sight: Sight) -> None:
    with pytest.raises(UnseenError) as raised:
        metric_query("old", CloudWatchQuery(**table))
    assert raised.value.sight is sight


# Below: our own server, in the wire format that boto3 speaks to CloudWatch (AWS JSON 1.0).


def result(side: str, values: Mapping[float, float], status: str = "Complete", messages: Any = ()) -> dict[str, Any]:
    return {
        "Id": side,
        "Label": "RequestCount",
        "Timestamps": [(START - timedelta(minutes=minutes)).timestamp() for minutes in values],
        "Values": [float(value) for value in values.values()],
        "StatusCode": status,
        "Messages": [{"Code": code, "Value": text} for code, text in messages],
    }


def answer(*results: dict[str, Any], token: str = "") -> Answer:
    body = {"MetricDataResults": list(results), **({"NextToken": token} if token else {})}
    return Answer(200, body)


def refusal(status: int, code: str) -> Answer:
    return Answer(status, {"__type": f"com.amazonaws.cloudwatch#{code}", "message": "no"})


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(FakeClock()) as running:
        yield running


def ask(server: ApiServer, given: Callable[[Asked], Answer]) -> Mapping[str, Count]:
    server.answer = given
    return read(server.url, server.clock)


GOOD = result("new", {4: 100})


@pytest.mark.parametrize(
    ("old", "sight", "words"),
    [
        (result("old", {4: 3}, "PartialData", [("MaxQueryTimeRangeReached", "try again")]), Sight.PARTIAL, "try again"),
        (result("old", {}, "InternalError"), Sight.UNREACHABLE, "InternalError"),
        (result("old", {}, "Forbidden", [("Forbidden", "no permission")]), Sight.FORBIDDEN, "cloudwatch:GetMetricData"),
        (result("old", {4: float("nan")}), Sight.MALFORMED, "nan"),
        (result("old", {4: -1}), Sight.MALFORMED, "negative"),
        (result("old", {}), Sight.EMPTY, "idle"),
        (result("old", {30: 5}), Sight.EMPTY, "idle"),
        (result("old", {4: 5}, "Surprise"), Sight.MALFORMED, "Surprise"),
        (result("other", {4: 5}), Sight.MALFORMED, "said nothing"),
        ({**result("old", {4: 5}), "Timestamps": []}, Sight.MALFORMED, "one time"),
    ],
)
def test_each_status_of_a_result_is_told_apart(
    server: ApiServer, old: dict[str, Any], sight: Sight, words: str
) -> None:
    counts = ask(server, lambda _: answer(old, GOOD))
    assert counts["old"].sight is sight
    assert words in counts["old"].detail
    assert counts["old"].count == (3 if sight is Sight.PARTIAL else None)
    assert counts["new"].sight is Sight.OK, "one side's trouble is not the other's"
    assert counts["new"].count == 100


def test_a_minute_that_is_missing_at_the_end_is_left_for_later(server: ApiServer) -> None:
    """The newest minute is late: what has not arrived is neither zero nor lost, whatever the users before it hide."""
    counts = ask(server, lambda _: answer(result("old", {5: 900, 4: 900}), result("new", {5: 9, 3: 9})))
    assert (counts["old"].end, counts["old"].count) == (START - timedelta(minutes=3), 1800)
    assert (counts["new"].end, counts["new"].count) == (START - timedelta(minutes=2), 18)


def test_pages_are_joined_and_the_last_status_counts(server: ApiServer) -> None:
    def given(asked: Asked) -> Answer:
        if b"NextToken" in asked.body:
            return answer(result("old", {4: 2}), result("new", {4: 1}))
        return answer(result("old", {5: 3}, "PartialData"), result("new", {5: 1}, "PartialData"), token="more")

    counts = ask(server, given)
    assert (counts["old"].sight, counts["old"].count) == (Sight.OK, 5)
    assert counts["new"].count == 2


def test_pages_without_end_are_partial(server: ApiServer) -> None:
    counts = ask(server, lambda _: answer(result("old", {4: 1}), GOOD, token="more"))
    assert counts["old"].sight is Sight.PARTIAL
    assert len(server.asked) == 10


@pytest.mark.parametrize(
    ("given", "sight"),
    [
        (refusal(401, "UnrecognizedClientException"), Sight.FORBIDDEN),
        (refusal(403, "AccessDeniedException"), Sight.FORBIDDEN),
        (refusal(403, "ExpiredTokenException"), Sight.FORBIDDEN),
        (refusal(403, "SignatureDoesNotMatch"), Sight.SKEWED),
        (refusal(400, "RequestExpired"), Sight.SKEWED),
        (refusal(404, "ResourceNotFoundException"), Sight.NOT_FOUND),
        (refusal(400, "Throttling"), Sight.RATE_LIMITED),
        (refusal(429, "TooManyRequestsException"), Sight.RATE_LIMITED),
        (refusal(500, "InternalServiceFault"), Sight.UNREACHABLE),
        (refusal(400, "InvalidParameterValueException"), Sight.MALFORMED),
        (Answer(200, {"MetricDataResults": []}, date=START + timedelta(minutes=2)), Sight.SKEWED),
        (Answer(200, {"MetricDataResults": []}, delay=0.5), Sight.UNREACHABLE),
    ],
)
def test_each_refusal_is_told_apart(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, given: Answer, sight: Sight
) -> None:
    monkeypatch.setattr("cutover.probes.traffic.cloudwatch.READ_TIMEOUT", 0.2)
    monkeypatch.setattr("cutover.probes.traffic.cloudwatch.RETRIES", 1)
    with pytest.raises(UnseenError) as raised:
        ask(server, lambda _: given)
    assert raised.value.sight is sight
    assert raised.value.detail


@pytest.mark.parametrize("body", [b'{"MetricDa', b"<html>", b"", b'{"MetricDataResults": []}'])
def test_a_truncated_or_foreign_body_is_no_zero(server: ApiServer, body: bytes) -> None:
    counts = ask(server, lambda _: Answer(200, body, truncated=True))
    assert {x.sight for x in counts.values()} == {Sight.MALFORMED}
    assert {x.count for x in counts.values()} == {None}


def test_no_credentials(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UnseenError) as raised:
        ask(server, lambda _: answer(GOOD))
    assert raised.value.sight is Sight.FORBIDDEN
    assert "credentials" in raised.value.detail
    assert server.asked == []


def test_nothing_listens() -> None:
    with ApiServer(FakeClock()) as gone:
        pass
    with pytest.raises(UnseenError) as raised:
        read(gone.url, FakeClock())
    assert raised.value.sight is Sight.UNREACHABLE
