"""Lines of access logs, as the servers really write them."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover.probes.traffic.logformats import BadLineError, parser

AT = datetime(2025, 11, 12, 7, 14, 9, tzinfo=UTC)


def test_combined() -> None:
    read = parser("combined")
    line = read(
        '203.0.113.7 - alice [12/Nov/2025:08:14:09 +0100] "POST /orders?a=\\"b\\" HTTP/2.0" 201 17 '
        '"-" "Mozilla/5.0 (X; \\"Y\\")"'
    )
    assert line is not None
    assert (line.at, line.method) == (AT, "POST")
    assert line.agent.startswith("Mozilla")
    assert not line.own


def test_common_has_no_agent_and_garbage_requests_still_count() -> None:
    read = parser("combined")
    common = read('127.0.0.1 - - [12/Nov/2025:07:14:09 +0000] "GET / HTTP/1.0" 200 -')
    assert common is not None
    assert common.agent == ""
    scanner = read('1.2.3.4 - - [12/Nov/2025:07:14:09 +0000] "\\x16\\x03\\x01" 400 157 "-" "-"')
    assert scanner is not None
    assert scanner.method == ""
    ours = read('1.2.3.4 - - [12/Nov/2025:07:14:09 +0000] "GET / HTTP/1.1" 200 1 "-" "cutover-sentinel/ab12"')
    assert ours is not None
    assert ours.sentinel


HOST = "app.example.com"
DOCUMENTS: list[dict[str, object]] = [
    {"time": "2025-11-12T07:14:09+00:00", "http_user_agent": "curl/8", "host": "App.Example.com:443", "verb": "GET"},
    {"@timestamp": "2025-11-12T07:14:09.000Z", "user_agent": {"original": "curl/8"}, "method": "GET", "host": HOST},
    {"ts": 1762931649.0, "request": {"method": "GET", "host": HOST, "headers": {"User-Agent": ["curl/8"]}}},
    {"time": "2025-11-12T07:14:09Z", "RequestHost": HOST, "RequestMethod": "GET", "request_User-Agent": "curl/8"},
    {"msec": "1762931649.000", "user_agent": "curl/8", "request": "GET / HTTP/1.1", "http_host": HOST},
    {"timestamp": 1762931649000, "userAgent": "curl/8", "http": {"request": {"method": "GET"}}, "host": HOST},
    {"time_local": "12/Nov/2025:07:14:09 +0000", "agent": "curl/8", "method": "GET", "host": HOST},
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_json_with_the_usual_field_names(document: dict[str, object]) -> None:
    line = parser("json")(json.dumps(document))
    assert line is not None
    assert (line.at, line.agent, line.host, line.method) == (AT, "curl/8", HOST, "GET")


def test_alb() -> None:
    text = (
        "https 2025-11-12T07:14:09.000000Z app/porter/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 "
        '0.037 200 200 0 57 "POST https://app.example.com:443/orders HTTP/1.1" "curl/8 (x)" ECDHE TLSv1.2 arn:aws:tg '
        '"Root=1-5" "app.example.com" "arn:aws:acm" 0 2025-11-12T07:14:08.9Z "forward" "-" "-" "10.0.0.1:80" "200"'
    )
    line = parser("alb")(text)
    assert line is not None
    assert (line.at, line.agent, line.host, line.method) == (AT, "curl/8 (x)", "app.example.com", "POST")


def test_cloudfront_follows_its_fields_line() -> None:
    read = parser("cloudfront")
    assert read("#Version: 1.0") is None
    assert read("#Fields: date time cs-method cs(User-Agent) x-host-header") is None
    line = read("2025-11-12\t07:14:09\tGET\tcutover-sentinel%2Fab%2520x\tapp.example.com")
    assert line is not None
    assert line.sentinel
    assert (line.at, line.host, line.method) == (AT, "app.example.com", "GET")


def test_cloudfront_without_a_fields_line_is_read_in_the_usual_order() -> None:
    text = f"2025-11-12 07:14:09 FRA2 1 1.2.3.4 PUT d1.cloudfront.net / 200 - curl - - Hit id {HOST}"
    line = parser("cloudfront")(text.replace(" ", "\t"))
    assert line is not None
    assert (line.method, line.host) == ("PUT", "app.example.com")


@pytest.mark.parametrize("name", ["combined", "json", "alb", "cloudfront"])
@given(text=st.text(max_size=300))
def test_anything_else_is_a_bad_line_and_never_a_crash(name: str, text: str) -> None:
    with contextlib.suppress(BadLineError):
        parser(name)(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("combined", '1.2.3.4 - - [99/Nov/2025:07:14:09 +0000] "GET / HTTP/1.1" 200 1'),
        ("combined", '1.2.3.4 - - [12/Nix/2025:07:14:09 +0000] "GET / HTTP/1.1" 200 1'),
        ("json", '{"message": "no time"}'),
        ("json", "[1]"),
        ("json", '{"time": "yesterday"}'),
        ("alb", 'https never app/porter/1 - - - - - - - - - "-" "-"'),
        ("cloudfront", "hello"),
    ],
)
def test_bad_lines(name: str, text: str) -> None:
    with pytest.raises(BadLineError):
        parser(name)(text)
