"""Fingerprints, JSON paths, what pins clients, urls: all pure."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover import jsonpath
from cutover.edge import is_cloudflare_address
from cutover.http import Certificate, Exchange
from cutover.pinning import (
    Alternative,
    alternatives,
    keep_alive_seconds,
    leaving_seconds,
    max_age_seconds,
)
from cutover.plan import Fingerprint
from cutover.planfile import plan_from
from cutover.probes.fingerprint import SEARCHED, Suggestion, judge, shorten, suggest_fingerprints
from cutover.urls import deep_path, is_for, origin_url, path_of, port_of, with_path

DIGEST = "ab" * 32


def response(body: bytes = b"", *headers: tuple[str, str], status: int = 200) -> Exchange:
    return Exchange(
        status=status,
        headers=headers,
        body=body,
        certificate=Certificate(DIGEST, datetime(2030, 1, 1, tzinfo=UTC), ("app.example.com",)),
    )


def fit(exchange: Exchange, **conditions: object) -> tuple[bool, str]:
    fingerprint = Fingerprint.model_validate(conditions)
    (match,) = judge({"new": fingerprint}, exchange)
    assert match.label == "new"
    return match.matched, match.saw


class TestFingerprint:
    def test_a_header_is_searched_whatever_its_case(self) -> None:
        seen = response(b"", ("x-release", "sst-7"))
        assert fit(seen, header="X-Release", matches="^sst-") == (True, "x-release: sst-7")
        assert fit(seen, header="x-release", matches="^porter-") == (False, "x-release: sst-7")
        assert fit(seen, header="x-release", matches=r"\d$")[0]

    def test_an_absent_header_fits_nothing_not_even_an_empty_pattern(self) -> None:
        assert fit(response(), header="x-release", matches="") == (False, "x-release: absent")

    def test_a_json_value(self) -> None:
        seen = response(b'{"build": {"releases": [{"git sha": "abc1"}, 7, true]}}')
        assert fit(seen, json="$.build.releases[0]['git sha']", matches="^abc")[0]
        assert fit(seen, json="$.build.releases[1]", matches="^7$")[0]
        assert fit(seen, json="$.build.releases[-1]", matches="^true$")[0]
        assert fit(seen, json="$.build.none", matches="") == (False, "$.build.none: absent")
        assert fit(seen, json="$.build.releases[9]", matches="") == (False, "$.build.releases[9]: absent")

    @pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, b"\xff\xfe", b"1" * 10_000])
    def test_a_body_that_is_no_json_fits_nothing(self, body: bytes) -> None:
        matched, saw = fit(response(body, ("content-type", "text/html")), json="$.release", matches="")
        assert not matched
        assert "no JSON" in saw or "absent" in saw

    def test_a_truncated_body_is_no_json(self) -> None:
        seen = Exchange(status=200, body=b'{"release": "sst-7"}', truncated=True)
        assert not fit(seen, json="$.release", matches="sst")[0]

    def test_the_body_is_searched_at_both_ends(self) -> None:
        page = b"<title>Down for maintenance</title>"
        filler = b"x" * (3 * SEARCHED)
        for body in (page, page + filler, filler + page):
            assert fit(response(body), body=True, matches="(?i)down for MAINTENANCE") == (
                True,
                "body: Down for maintenance",
            )
        matched, saw = fit(response(filler + page + filler), body=True, matches="maintenance")
        assert not matched
        assert "not searched" in saw

    def test_anchors_mean_the_bodys_own_ends(self) -> None:
        body = b"a" * (3 * SEARCHED) + b"b"
        assert not fit(response(body), body=True, matches="a$")[0]
        assert not fit(response(body), body=True, matches="^b")[0]
        assert fit(response(body), body=True, matches="b$")[0]
        assert fit(response(b"a" * SEARCHED), body=True, matches="a$")[0]

    def test_a_hostile_body_cannot_stall_a_quadratic_pattern(self) -> None:
        began = time.monotonic()
        assert not fit(response(b"down" * (1 << 18)), body=True, matches="down.*maintenance")[0]
        assert time.monotonic() - began < 8

    def test_status_and_certificate(self) -> None:
        assert fit(response(status=503), status=503) == (True, "status 503")
        assert not fit(response(), status=503)[0]
        colons = ":".join(["AB"] * 32)
        assert fit(response(), cert_sha256=colons)[0]
        assert not fit(response(), cert_sha256="cd" * 32)[0]

    def test_several_conditions_must_all_hold(self) -> None:
        seen = response(b"hello", ("x-release", "sst-7"))
        both = fit(seen, header="x-release", body=True, matches="sst|hello")
        assert both == (True, "x-release: sst-7; body: hello")
        assert not fit(seen, header="x-release", body=True, matches="sst")[0]
        assert fit(seen, header="x-release", matches=".", status=200)[0]
        assert fit(seen, header="x-release", matches=".", status=500) == (False, "x-release: sst-7; status 200")

    @pytest.mark.parametrize("exchange", [Exchange(error="connection refused"), Exchange(tls_error="expired")])
    def test_without_a_trusted_response_nothing_fits(self, exchange: Exchange) -> None:
        assert fit(exchange, header="x-release", matches="") == (False, exchange.error or exchange.tls_error)
        assert not fit(exchange, status=200)[0]

    def test_what_was_seen_is_one_short_printable_line(self) -> None:
        _, saw = fit(response(b"\x1b[31m\r\nred\x00" + b"y" * 500), body=True, matches="nothing")
        assert saw.isprintable()
        assert len(saw) < 200
        assert "\x1b" not in saw

    def test_shorten_keeps_what_is_short(self) -> None:
        assert shorten("porter-41") == "porter-41"
        assert shorten("z" * 1000).endswith("…")


class TestJsonPath:
    @pytest.mark.parametrize("path", ["", "release", "$.", "$..a", "$[*]", "$[1:2]", "$.a[", "$['a", "$.a b", "$ "])
    def test_what_is_not_in_the_subset(self, path: str) -> None:
        with pytest.raises(ValueError, match="no JSON path"):
            jsonpath.parse(path)

    def test_the_root(self) -> None:
        assert jsonpath.find(jsonpath.parse("$"), "sst-7") == "sst-7"

    @pytest.mark.parametrize("document", ["text", 7, None, {"0": 1}, []])
    def test_a_wrong_shape_is_absent(self, document: object) -> None:
        with pytest.raises(LookupError):
            jsonpath.find(jsonpath.parse("$[0]"), document)

    @given(st.text(max_size=30))
    def test_nothing_else_than_valueerror(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            steps = jsonpath.parse("$" + text)
            assert (text == "") == (steps == ())

    def test_a_plan_with_a_wrong_path_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no JSON path"):
            Fingerprint.model_validate({"json": "release", "matches": "x"})


class TestPinning:
    def test_the_standards_examples(self) -> None:
        assert alternatives('h2=":8000"; ma=60') == (Alternative("h2", "", 8000, 60, False),)
        assert alternatives('h2="new.example.org:80"') == (Alternative("h2", "new.example.org", 80, 86400, False),)
        assert alternatives('h2=":443"; ma=2592000; persist=1') == (Alternative("h2", "", 443, 2592000, True),)
        assert alternatives('h2="alt.example.com:8000", h2=":443"') == (
            Alternative("h2", "alt.example.com", 8000, 86400, False),
            Alternative("h2", "", 443, 86400, False),
        )
        assert alternatives('w%3Dx%3Ay#z=":443"; v="a,b;c"; ma="5"')[0].seconds == 5
        assert alternatives("clear") == ()

    @pytest.mark.parametrize(
        "text", ["", "h3", "h3=", 'h3=":x"', 'h3="a:99999999"', 'h3="a:65536"', "h3=:::", ",,,", 'h3="', "\x00"]
    )
    def test_what_is_not_well_formed_gives_nothing(self, text: str) -> None:
        assert alternatives(text) == ()

    @given(st.text(alphabet='h3=";:,ma 0\\"[]', max_size=40))
    def test_it_ends_on_anything(self, text: str) -> None:
        assert all(x.port >= 0 for x in alternatives(text))

    def test_only_another_host_holds_clients(self) -> None:
        assert leaving_seconds('h3=":443"; ma=86400', "app.example.com") == 0
        assert leaving_seconds('h3="APP.example.com:443"; ma=60', "app.example.com") == 0
        assert leaving_seconds('h3=":443", h2="old.example.net:443"; ma=600', "app.example.com") == 600
        assert leaving_seconds('h2="[::1]:443"', "app.example.com") == 86400

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("timeout=75, max=100", 75), ("max=5, Timeout=3600", 3600), ("", 0), ("timeout", 0), ("timeout=-1", 0)],
    )
    def test_keep_alive(self, header: str, seconds: int) -> None:
        assert keep_alive_seconds(header) == seconds

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("public, max-age=3600", 3600),
            ('max-age="60"', 60),
            ("no-store, max-age=3600", 0),
            ("s-maxage=90", 0),
            ("max-age=9999999999999", 2**31),
            ("", 0),
        ],
    )
    def test_max_age(self, header: str, seconds: int) -> None:
        assert max_age_seconds(header) == seconds


class TestUrls:
    PLAN = plan_from(
        {
            "name": [
                {"name": "app.example.com"},
                {"name": "api.example.com", "origin": {"new": {"url": "http://api.example.com:8080/v?x=1"}}},
            ],
            "origin": {"old": {"url": "https://{name}/version"}},
        },
        where="test",
        base_dir=Path(),
    )

    def test_own_then_other_then_front_page(self) -> None:
        assert origin_url(self.PLAN, "app.example.com.", "old") == "https://app.example.com/version"
        assert origin_url(self.PLAN, "app.example.com.", "new") == "https://app.example.com/version"
        assert origin_url(self.PLAN, "api.example.com.", "new") == "http://api.example.com:8080/v?x=1"
        bare = self.PLAN.model_copy(update={"origin": type(self.PLAN.origin)()})
        assert origin_url(bare, "app.example.com.", "new") == "https://app.example.com/"

    def test_parts(self) -> None:
        assert (port_of("https://a/"), port_of("http://a/"), port_of("https://a:8443/")) == (443, 80, 8443)
        assert path_of("https://a") == "/"
        assert path_of("https://a/v?x=1#top") == "/v?x=1"
        assert with_path("https://a:1/v", "/deep?y=2") == "https://a:1/deep?y=2"
        assert with_path("https://a/v", "/v?x=1", busting="ff") == "https://a/v?x=1&cutover=ff"
        assert with_path("https://a/v", "/v", busting="ff") == "https://a/v?cutover=ff"

    def test_the_deep_path_is_the_names_own_and_stays(self) -> None:
        assert deep_path("a.example.") == deep_path("a.example.")
        assert deep_path("a.example.") != deep_path("b.example.")
        assert deep_path("a.example.").count("/") == 3

    def test_whose_url_it_is(self) -> None:
        assert is_for("https://App.example.com:8443/x", "app.example.com.")
        assert not is_for("https://www.example.com/", "app.example.com.")
        assert not is_for("https://[::1]/", "app.example.com.")


class TestSuggestions:
    OLD = (("server", "nginx/1.25"), ("date", "Mon"), ("x-release", "porter-41"), ("x-request-id", "a1"))
    NEW = (("server", "CloudFront"), ("date", "Tue"), ("x-release", "sst-7"), ("x-request-id", "b2"))

    def test_the_telling_header_with_the_stem_before_the_version(self) -> None:
        assert suggest_fingerprints([self.OLD, self.OLD], [self.NEW, self.NEW]) == (
            Suggestion("x-release", "^porter-"),
            Suggestion("x-release", "^sst-"),
        )

    def test_the_whole_value_where_the_stem_is_shared(self) -> None:
        old, new = (("x-release", "app-41"),), (("x-release", "app-42"),)
        assert suggest_fingerprints([old], [new]) == (
            Suggestion("x-release", "^app-41$"),
            Suggestion("x-release", "^app-42$"),
        )

    def test_a_header_that_changes_on_its_own_side_is_no_fingerprint(self) -> None:
        other = (("server", "nginx/1.25"), ("x-release", "porter-42"))
        old, new = suggest_fingerprints([self.OLD, other], [self.NEW, self.NEW])
        assert old == Suggestion("server", "^nginx/")
        assert new == Suggestion("x-release", "^sst-")

    def test_a_header_of_one_side_only_serves_that_side(self) -> None:
        old, new = suggest_fingerprints([(("via", "1.1 porter"),)], [()])
        assert old == Suggestion("via", "^1\\.1\\ porter$")
        assert new is None

    def test_volatile_headers_and_equal_sides_suggest_nothing(self) -> None:
        volatile = tuple((name, "x") for name in ("date", "etag", "set-cookie", "cf-ray", "x-request-id", "x-trace-id"))
        assert suggest_fingerprints([volatile], [()]) == (None, None)
        assert suggest_fingerprints([self.OLD], [self.OLD]) == (None, None)
        assert suggest_fingerprints([], [self.NEW])[0] is None


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("104.16.0.1", True),
        ("172.71.255.255", True),
        ("2606:4700::6810:1", True),
        ("104.28.0.0", False),
        ("203.0.113.10", False),
        ("2001:db8::1", False),
        ("app.example.com.", False),
    ],
)
def test_cloudflares_ranges(address: str, inside: bool) -> None:
    assert is_cloudflare_address(address) is inside
