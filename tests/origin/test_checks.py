"""What the origin checks conclude from what the sides serve, and above all from what was not seen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cutover.check import all_checks
from cutover.finding import Severity
from cutover.observations.base import Observation, ProbeFailed
from tests.origin.judging import (
    FAIL,
    MAINTENANCE,
    NAME,
    NEW,
    NOW,
    PASS,
    SKIP,
    UNKNOWN,
    WARN,
    WITH_PAGE,
    YESTERDAY,
    dead,
    direct,
    judge,
    make_plan,
    on_path,
    one,
    response,
    statuses,
    through,
    untrusted,
)


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
