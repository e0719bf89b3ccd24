"""What the origin and edge checks conclude from what was seen, and above all from what was not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cutover.check import Outcome, all_checks
from cutover.evidence import Evidence
from cutover.finding import Severity, Status
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.dns import Outcome as Asked
from cutover.observations.dns import Record, Reply, ResolverAnswer, ResolverAnswers
from cutover.observations.origin import Match, OriginSeen, PathSeen, Response, UserPathSeen
from cutover.plan import Plan
from cutover.planfile import plan_from
from cutover.urls import deep_path

NOW = datetime(2025, 11, 12, 7, 0, tzinfo=UTC)
NAME = "app.example.com."
OLD, NEW = "203.0.113.10", "198.51.100.20"
URL = "https://app.example.com/version"
DEEP = deep_path(NAME)

FINGERPRINTS = {
    "old": {"header": "x-release", "matches": "^porter-"},
    "new": {"header": "x-release", "matches": "^sst-"},
}
MAINTENANCE = {"body": True, "matches": "down for maintenance"}


def make_plan(*, name: dict[str, Any] | None = None, **sides: dict[str, Any]) -> Plan:
    """A plan with both fingerprints; a side's keys can be changed, None takes one out."""
    origin = {
        side: {
            key: value
            for key, value in {"url": URL, "fingerprint": FINGERPRINTS[side], **sides.get(side, {})}.items()
            if value is not None
        }
        for side in ("old", "new")
    }
    entry = {"name": NAME, "old": [OLD], "new": [NEW], **(name or {})}
    return plan_from({"name": [entry], "origin": origin}, where="test", base_dir=Path())


PLAN = make_plan()
WITH_PAGE = make_plan(old={"maintenance": MAINTENANCE})


def response(*fitting: str, labels: Sequence[str] = ("old", "new"), **values: Any) -> Response:
    """A trusted response that fits some of the plan's fingerprints."""
    values = {"status": 200, "cert_expires": NOW + timedelta(days=80), "kind_of": "text/html", **values}
    return Response(
        matches=tuple(Match(label, label in fitting, f"saw for {label}") for label in labels), **values
    )


def dead(error: str = "connection refused") -> Response:
    return Response(status=0, error=error, refused=error == "connection refused")


def untrusted(names: tuple[str, ...] = ("proxy.example.net",)) -> Response:
    return Response(
        status=0,
        tls_error=f"Hostname mismatch (certificate for {names[0]})",
        cert_names=names,
        matches=(Match("old", False, ""), Match("new", False, "")),
    )


def direct(side: str, seen: Response, *, at: datetime = NOW, connect: str = "", url: str = URL) -> OriginSeen:
    address = connect or f"{OLD if side == 'old' else NEW}:443"
    return OriginSeen(at=at, name=NAME, side=side, url=url, connect=address, response=seen)


def on_path(side: str, path: str, seen: Response) -> PathSeen:
    return PathSeen(at=NOW, name=NAME, side=side, path=path, response=seen)


def through(
    address: str, url: Response, deep: Response | None = None, *, busted: Response | None = None, at: datetime = NOW
) -> list[Observation]:
    """The four requests through one address; ``deep`` and ``busted`` differ where they are given."""
    asked = {
        ("/version", False): url,
        ("/version", True): busted or url,
        (DEEP, False): deep or url,
        (DEEP, True): busted or deep or url,
    }
    return [
        UserPathSeen(
            at=at, name=NAME, address=address, port=443, path=path, busted=fresh, resolvers=2, response=answer
        )
        for (path, fresh), answer in asked.items()
    ]


def judge(check: str, *seen: Observation, plan: Plan = PLAN, before: Sequence[Observation] = ()) -> list[Outcome]:
    """What a check says of one round; ``before`` is what earlier rounds saw."""
    evidence = Evidence(plan)
    for observation in before:
        evidence.add(observation)
    evidence.begin(NOW)
    for observation in seen:
        evidence.add(observation)
    outcomes = list(all_checks()[check].function(plan, evidence, NOW))
    assert outcomes
    for outcome in outcomes:
        assert outcome.name == NAME
        assert outcome.subject.startswith("app.example.com")
        assert outcome.message
        assert "\n" not in outcome.message
        assert outcome.message[-1] != "."
    return outcomes


def one(check: str, *seen: Observation, plan: Plan = PLAN, before: Sequence[Observation] = ()) -> tuple[Status, str]:
    (outcome,) = judge(check, *seen, plan=plan, before=before)
    return outcome.status, outcome.message


def statuses(outcomes: Sequence[Outcome]) -> list[Status]:
    return [outcome.status for outcome in outcomes]


YESTERDAY = NOW - timedelta(minutes=1)
PASS, WARN, FAIL, UNKNOWN, SKIP = Status.PASS, Status.WARN, Status.FAIL, Status.INCONCLUSIVE, Status.SKIP


@pytest.mark.parametrize(
    ("check", "severity"),
    [
        ("origin.reachable", Severity.BLOCKER),
        ("origin.tls", Severity.BLOCKER),
        ("origin.parity", Severity.WARNING),
        ("origin.fingerprint-distinct", Severity.BLOCKER),
        ("origin.user-path", Severity.BLOCKER),
        ("origin.pinning", Severity.WARNING),
        ("edge.maintenance-page", Severity.BLOCKER),
        ("edge.proxied", Severity.INFO),
    ],
)
class TestEveryCheck:
    def test_it_is_registered_with_its_severity(self, check: str, severity: Severity) -> None:
        assert all_checks()[check].severity is severity
        assert all_checks()[check].why

    def test_nothing_seen_never_passes(self, check: str, severity: Severity) -> None:
        plan = make_plan(old={"maintenance": MAINTENANCE}, new={"paths": ["/"]})
        assert PASS not in statuses(judge(check, plan=plan))
        assert UNKNOWN in statuses(judge(check, plan=plan))

    def test_what_an_earlier_round_saw_never_passes(self, check: str, severity: Severity) -> None:
        plan = make_plan(old={"maintenance": MAINTENANCE}, new={"paths": ["/"]})
        earlier: list[Observation] = [
            direct("old", response("old"), at=YESTERDAY),
            direct("new", response("new"), at=YESTERDAY),
            *through(NEW, response("new"), at=YESTERDAY),
        ]
        assert PASS not in statuses(judge(check, plan=plan, before=earlier))

    def test_its_runbook_has_the_headings_and_commands(self, check: str, severity: Severity) -> None:
        text = (Path(__file__).parents[2] / "runbooks" / all_checks()[check].runbook).read_text()
        headings = [line for line in text.splitlines() if line.startswith("#") and not line.startswith("###")]
        assert headings == [
            f"# {check}: {all_checks()[check].title}",
            "## What it means",
            "## Why it matters",
            "## See it yourself",
            "## Fix it",
            "## Know that it is fixed",
        ]
        assert any(command in text for command in ("curl ", "openssl ", "dig "))


class TestReachable:
    def test_new_answers(self) -> None:
        status, message = one("origin.reachable", direct("new", response("new")))
        assert status is PASS
        assert f"{NEW}:443" in message

    def test_one_dead_address_of_two_fails(self) -> None:
        found = judge(
            "origin.reachable",
            direct("new", response("new")),
            direct("new", dead(), connect="198.51.100.21:443"),
        )
        assert sorted(statuses(found)) == [FAIL, PASS]
        assert any("198.51.100.21:443: connection refused" in x.message for x in found)

    def test_a_server_error_is_no_answer_unless_the_fingerprint_means_it(self) -> None:
        assert one("origin.reachable", direct("new", response(status=503)))[0] is FAIL
        assert one("origin.reachable", direct("new", response("new", status=503)))[0] is PASS
        assert one("origin.reachable", direct("new", response(status=404)))[0] is PASS

    def test_without_trust_it_is_not_known_to_answer(self) -> None:
        assert one("origin.reachable", direct("new", untrusted()))[0] is UNKNOWN

    def test_a_dead_old_side_is_said_without_weight(self) -> None:
        found = judge("origin.reachable", direct("new", response("new")), direct("old", dead()))
        assert [(x.status, x.severity) for x in found] == [(PASS, None), (WARN, Severity.INFO)]

    def test_why_nothing_was_seen(self) -> None:
        assert "add --new" in one("origin.reachable", plan=make_plan(name={"new": []}))[1]
        assert "no address of new" in one("origin.reachable")[1]
        failure = ProbeFailed(at=NOW, probe="origin", about=NAME, error="it broke")
        assert "it broke" in one("origin.reachable", failure)[1]


class TestTls:
    def test_a_valid_certificate(self) -> None:
        status, message = one("origin.tls", direct("new", response("new")))
        assert status is PASS
        assert "2026-01-31" in message

    def test_a_wrong_one_is_named(self) -> None:
        (found,) = judge("origin.tls", direct("new", untrusted(("proxy.example.net",))))
        assert found.status is FAIL
        assert "proxy.example.net" in found.message
        assert found.measured["certificate_names"] == ["proxy.example.net"]

    def test_no_connection_is_no_evidence_of_a_certificate(self) -> None:
        assert one("origin.tls", direct("new", dead()))[0] is UNKNOWN

    def test_one_that_ends_soon_is_a_warning_with_its_end(self) -> None:
        soon = response("new", cert_expires=NOW + timedelta(days=3))
        status, message = one("origin.tls", direct("new", soon))
        assert status is WARN
        assert "in 3 d" in message

    def test_a_url_for_another_host_proves_nothing_for_the_name(self) -> None:
        plan = make_plan(new={"url": "https://www.example.com/version"})
        status, message = one(
            "origin.tls", direct("new", response("new"), url="https://www.example.com/version"), plan=plan
        )
        assert status is UNKNOWN
        assert "{name}" in message

    def test_plain_http_is_skipped(self) -> None:
        seen = direct("new", response("new"), url="http://app.example.com/version")
        assert one("origin.tls", seen)[0] is SKIP

    def test_olds_certificate_is_not_asked_for(self) -> None:
        assert statuses(judge("origin.tls", direct("new", response("new")), direct("old", untrusted()))) == [PASS]


class TestParity:
    PLAN = make_plan(new={"paths": ["/", "/api/health"]})

    def test_alike_and_different(self) -> None:
        found = judge(
            "origin.parity",
            on_path("old", "/", response()),
            on_path("new", "/", response()),
            on_path("old", "/api/health", response(kind_of="application/json")),
            on_path("new", "/api/health", response(status=404)),
            plan=self.PLAN,
        )
        assert statuses(found) == [PASS, FAIL]
        assert found[1].message == "the sides differ: old 200 application/json, new 404 text/html"

    def test_the_kind_counts_where_the_status_is_alike(self) -> None:
        plan = make_plan(new={"paths": ["/"]})
        both = (on_path("old", "/", response(kind_of="application/json")), on_path("new", "/", response()))
        assert one("origin.parity", *both, plan=plan)[0] is FAIL

    def test_a_side_that_was_not_seen(self) -> None:
        found = judge("origin.parity", on_path("old", "/", response()), on_path("new", "/", dead()), plan=self.PLAN)
        assert statuses(found) == [UNKNOWN, UNKNOWN]

    def test_failing_alike_is_no_parity(self) -> None:
        plan = make_plan(new={"paths": ["/"]})
        both = (on_path("old", "/", response(status=500)), on_path("new", "/", response(status=500)))
        assert one("origin.parity", *both, plan=plan)[0] is FAIL

    def test_no_paths(self) -> None:
        assert one("origin.parity")[0] is SKIP


class TestFingerprintDistinct:
    def test_each_fits_its_own_side_only(self) -> None:
        found = judge("origin.fingerprint-distinct", direct("old", response("old")), direct("new", response("new")))
        assert statuses(found) == [PASS, PASS]

    @pytest.mark.parametrize("fitting", [("new",), ("old", "new")])
    def test_alike_is_blocked(self, fitting: tuple[str, ...]) -> None:
        found = judge("origin.fingerprint-distinct", direct("old", response(*fitting)), direct("new", response("new")))
        assert statuses(found) == [FAIL, PASS]
        assert "cannot be told apart" in found[0].message

    def test_one_that_does_not_fit_its_own_side(self) -> None:
        found = judge("origin.fingerprint-distinct", direct("old", response("old")), direct("new", response()))
        assert statuses(found) == [PASS, FAIL]
        assert "does not fit new" in found[1].message

    def test_every_address_must_fit(self) -> None:
        found = judge(
            "origin.fingerprint-distinct",
            direct("old", response("old")),
            direct("new", response("new")),
            direct("new", response("old"), connect="198.51.100.21:443"),
        )
        assert statuses(found) == [PASS, PASS, FAIL]

    def test_a_missing_one_is_unknown_and_says_what_to_add(self) -> None:
        plan = make_plan(old={"fingerprint": None})
        seen = (direct("old", response(labels=["new"])), direct("new", response("new", labels=["new"])))
        found = judge("origin.fingerprint-distinct", *seen, plan=plan)
        assert statuses(found) == [UNKNOWN, PASS]
        assert "[origin.old] fingerprint" in found[0].message

    def test_a_side_that_does_not_answer_is_unknown(self) -> None:
        found = judge("origin.fingerprint-distinct", direct("old", dead()), direct("new", untrusted()))
        assert statuses(found) == [UNKNOWN, UNKNOWN]

    def test_a_side_in_maintenance_is_said_so(self) -> None:
        page = response("old-maintenance", labels=["old", "new", "old-maintenance"])
        found = judge(
            "origin.fingerprint-distinct", direct("old", page), direct("new", response("new")), plan=WITH_PAGE
        )
        assert found[0].status is FAIL
        assert "maintenance page" in found[0].message

    def test_a_maintenance_fingerprint_that_fits_the_ordinary_page(self) -> None:
        wide = response("old", "old-maintenance", labels=["old", "new", "old-maintenance"])
        found = judge(
            "origin.fingerprint-distinct", direct("old", wide), direct("new", response("new")), plan=WITH_PAGE
        )
        assert statuses(found) == [PASS, WARN, PASS]


class TestUserPath:
    def test_all_lead_to_new(self) -> None:
        (found,) = judge("origin.user-path", *through(NEW, response("new")), *through("::1", response("new")))
        assert found.status is PASS
        assert found.measured == {"addresses": [NEW, "::1"], "requests": 8}

    @pytest.mark.parametrize(
        ("seen", "status", "words"),
        [
            (response("old"), FAIL, "leads to old on /version: saw for old"),
            (untrusted(), FAIL, "without a valid certificate on /version: Hostname mismatch"),
            (response(server="nginx"), FAIL, "not new on /version: status 200, server: nginx; saw for new"),
            (response(status=301, location="https://x.example/"), FAIL, "status 301 to https://x.example/"),
            (dead(), UNKNOWN, "did not answer on /version: connection refused"),
            (response("old", "new"), UNKNOWN, "fits the fingerprints of both sides"),
        ],
    )
    def test_one_address_that_leads_elsewhere(self, seen: Response, status: Status, words: str) -> None:
        (found,) = judge("origin.user-path", *through(NEW, response("new")), *through(OLD, seen))
        assert found.status is status
        assert found.subject == f"app.example.com via {OLD}"
        assert f"{OLD} (handed out by 2 resolvers, an address of old)" in found.message or "both sides" in words
        assert words in found.message

    def test_maintenance_counts_before_anything_else_that_fits(self) -> None:
        page = response("new", "old-maintenance", labels=["old", "new", "old-maintenance"])
        (found,) = judge("origin.user-path", *through(NEW, page), plan=WITH_PAGE)
        assert found.status is FAIL
        assert "leads to a maintenance page" in found.message

    def test_only_one_request_of_four_is_enough_to_fail(self) -> None:
        (found,) = judge("origin.user-path", *through(NEW, response("new"), busted=response("old")))
        assert found.status is FAIL
        assert "/version with cache-busting" in found.message

    def test_a_deep_path_must_be_new_where_new_itself_shows_it(self) -> None:
        seen = through(NEW, response("new"), response(status=404))
        assert one("origin.user-path", *seen)[0] is PASS
        assert one("origin.user-path", *seen, on_path("new", DEEP, response(status=404)))[0] is PASS
        status, message = one("origin.user-path", *seen, on_path("new", DEEP, response("new", status=404)))
        assert status is FAIL
        assert DEEP in message

    def test_a_deep_path_must_never_be_old_or_dead(self) -> None:
        assert one("origin.user-path", *through(NEW, response("new"), response("old")))[0] is FAIL
        assert one("origin.user-path", *through(NEW, response("new"), dead()))[0] is UNKNOWN

    def test_without_news_fingerprint_nothing_passes(self) -> None:
        plan = make_plan(new={"fingerprint": None})
        found = judge(
            "origin.user-path",
            *through(NEW, response(labels=["old"])),
            *through(OLD, response("old", labels=["old"])),
            plan=plan,
        )
        assert statuses(found) == [UNKNOWN, FAIL]
        assert "no fingerprint for new" in found[0].message

    def test_without_any_fingerprint_nothing_passes(self) -> None:
        plan = make_plan(new={"fingerprint": None}, old={"fingerprint": None})
        assert one("origin.user-path", *through(NEW, response(labels=())), plan=plan)[0] is UNKNOWN

    def test_without_olds_fingerprint_it_passes_and_says_so(self) -> None:
        plan = make_plan(old={"fingerprint": None})
        status, message = one("origin.user-path", *through(NEW, response("new", labels=["new"])), plan=plan)
        assert status is PASS
        assert "old has no fingerprint" in message

    def test_a_fingerprint_that_fits_old_too_proves_nothing(self) -> None:
        seen = through(NEW, response("new", labels=["new"]))
        plan = make_plan(old={"fingerprint": None})
        alike = direct("old", response("new", labels=["new"]))
        assert one("origin.user-path", *seen, alike, plan=plan)[0] is UNKNOWN

    def test_new_that_outgrew_its_fingerprint_is_explained(self) -> None:
        status, message = one("origin.user-path", *through(NEW, response()), direct("new", response()))
        assert status is FAIL
        assert "new itself, asked directly, does not fit" in message

    def test_addresses_that_are_no_longer_handed_out_are_history(self) -> None:
        gone = through(OLD, response("old"), at=YESTERDAY)
        assert one("origin.user-path", *through(NEW, response("new")), before=gone)[0] is PASS

    def test_why_nothing_was_followed(self) -> None:
        assert "no resolver handed out an address" in one("origin.user-path")[1]
        failure = ProbeFailed(at=NOW, probe="origin", error="out of sockets")
        assert "out of sockets" in one("origin.user-path", failure)[1]

    def test_a_url_for_another_host_proves_nothing_for_the_name(self) -> None:
        plan = make_plan(new={"url": "https://www.example.com/"})
        assert one("origin.user-path", *through(NEW, response("new")), plan=plan)[0] is UNKNOWN


class TestPinning:
    def test_nothing_pins(self) -> None:
        assert one("origin.pinning", direct("old", response("old", alt_svc='h3=":443"; ma=86400')))[0] is PASS

    def test_another_host_with_how_long(self) -> None:
        seen = response("old", alt_svc='h3="lb.porter.example:443"; ma=7200; persist=1')
        status, message = one("origin.pinning", direct("old", seen))
        assert status is FAIL
        assert "lb.porter.example:443 for 2 h" in message
        assert "network changes" in message

    def test_connections_and_caches(self) -> None:
        seen = response("old", keep_alive="timeout=3600", cache_control="max-age=86400")
        found = judge("origin.pinning", direct("old", seen))
        assert statuses(found) == [WARN, WARN]
        assert [x.measured["seconds"] for x in found] == [3600, 86400]
        short = response("old", keep_alive="timeout=75", cache_control="max-age=60")
        assert one("origin.pinning", direct("old", short))[0] is PASS

    def test_a_permanent_redirect_elsewhere(self) -> None:
        away = response("old", status=301, location="https://old.porter.example/")
        assert one("origin.pinning", direct("old", away))[0] is FAIL
        same = response("old", status=301, location="https://app.example.com/login")
        assert one("origin.pinning", direct("old", same))[0] is PASS
        relative = response("old", status=308, location="/login")
        assert one("origin.pinning", direct("old", relative))[0] is PASS

    def test_old_that_does_not_answer(self) -> None:
        assert one("origin.pinning", direct("old", dead()))[0] is UNKNOWN
        assert "connection refused" in one("origin.pinning", direct("old", dead()))[1]


class TestMaintenancePage:
    LABELS = ("old", "new", "old-maintenance")

    def fits(self, *labels: str) -> Response:
        return response(*labels, labels=self.LABELS)

    def test_no_fingerprint_is_a_skip(self) -> None:
        assert one("edge.maintenance-page", *through(NEW, response("new")))[0] is SKIP

    def test_no_page(self) -> None:
        status, message = one("edge.maintenance-page", *through(NEW, self.fits("new")), plan=WITH_PAGE)
        assert status is PASS
        assert "4 requests" in message

    def test_a_page_on_one_path_of_one_address(self) -> None:
        seen = [*through(NEW, self.fits("new")), *through(OLD, self.fits("new"), self.fits("old-maintenance"))]
        (found,) = judge("edge.maintenance-page", *seen, plan=WITH_PAGE)
        assert found.status is FAIL
        assert f"through {OLD} on {DEEP}: saw for old-maintenance" in found.message

    def test_a_page_that_only_a_cache_still_holds(self) -> None:
        seen = through(NEW, self.fits("old-maintenance"), busted=self.fits("new"))
        status, message = one("edge.maintenance-page", *seen, plan=WITH_PAGE)
        assert status is FAIL
        assert "a cache still holds it" in message

    @pytest.mark.parametrize("hidden", [dead(), untrusted()])
    def test_what_could_not_be_looked_at_is_unknown(self, hidden: Response) -> None:
        seen = [*through(NEW, self.fits("new")), *through("198.51.100.21", self.fits("new"), hidden)]
        assert one("edge.maintenance-page", *seen, plan=WITH_PAGE)[0] is UNKNOWN

    def test_gone_while_names_still_lead_to_old_is_an_alarm(self) -> None:
        before = through(OLD, self.fits("old-maintenance"), at=YESTERDAY)
        (found,) = judge(
            "edge.maintenance-page", *through(OLD, self.fits("old")), plan=WITH_PAGE, before=before
        )
        assert found.status is FAIL
        assert found.message.startswith("ALARM: the maintenance page is gone")
        assert "last seen 12 Nov 06:59:00 UTC (1 min ago)" in found.message
        assert f"while {OLD} still leads to old" in found.message

    def test_the_alarm_knows_old_by_its_address_too(self) -> None:
        before = through(OLD, self.fits("old-maintenance"), at=YESTERDAY)
        seen = through(OLD, self.fits())
        assert one("edge.maintenance-page", *seen, plan=WITH_PAGE, before=before)[0] is FAIL

    def test_the_alarm_outlives_the_round_and_the_address_that_showed_the_page(self) -> None:
        before = through("192.0.2.7", self.fits("old-maintenance"), at=NOW - timedelta(hours=5))
        seen = through(OLD, self.fits("old"))
        assert one("edge.maintenance-page", *seen, plan=WITH_PAGE, before=before)[0] is FAIL

    def test_gone_with_everyone_on_new_is_a_relief(self) -> None:
        before = through(OLD, self.fits("old-maintenance"), at=YESTERDAY)
        status, message = one("edge.maintenance-page", *through(NEW, self.fits("new")), plan=WITH_PAGE, before=before)
        assert status is PASS
        assert "last seen 12 Nov 06:59:00" in message

    def test_old_without_a_page_before_is_not_this_checks_business(self) -> None:
        assert one("edge.maintenance-page", *through(OLD, self.fits("old")), plan=WITH_PAGE)[0] is PASS


class TestProxied:
    def answers(self, *addresses: str, target: str = "") -> ResolverAnswers:
        records = [Record(NAME, "CNAME", 60, target)] if target else []
        records += [Record(target or NAME, "A", 60, address) for address in addresses]
        reply = Reply(Asked.ANSWERED, "NOERROR", answer=tuple(records))
        return ResolverAnswers(at=NOW, name=NAME, rtype="A", answers=(ResolverAnswer("one", reply),))

    def test_an_ordinary_name(self) -> None:
        assert one("edge.proxied", self.answers(OLD))[0] is PASS

    @pytest.mark.parametrize(
        ("address", "target"), [("104.16.1.1", ""), ("203.0.113.7", "app.example.com.cdn.cloudflare.net.")]
    )
    def test_by_range_and_by_target(self, address: str, target: str) -> None:
        plan = make_plan(name={"new": []})
        status, message = one("edge.proxied", self.answers(address, target=target), plan=plan)
        assert status is UNKNOWN
        assert (target.rstrip(".") or address) in message

    def test_by_header(self) -> None:
        plan = make_plan(name={"new": []})
        status, message = one("edge.proxied", *through(NEW, response("new", server="Cloudflare")), plan=plan)
        assert status is UNKNOWN
        assert "server: cloudflare at" in message

    def test_new_outside_can_be_told_by_dns(self) -> None:
        assert one("edge.proxied", self.answers("104.16.1.1"))[0] is WARN

    def test_new_behind_it_cannot(self) -> None:
        plan = make_plan(name={"new": ["104.17.0.0/24"]})
        assert one("edge.proxied", self.answers("104.16.1.1"), plan=plan)[0] is UNKNOWN
