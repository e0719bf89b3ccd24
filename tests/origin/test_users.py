"""What is concluded from what users reach: the paths behind each address, the maintenance page, proxies."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cutover.finding import Status
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import Outcome as Asked
from cutover.observations.dns import Record, Reply, ResolverAnswer, ResolverAnswers
from cutover.observations.origin import Response
from tests.origin.judging import (
    DEEP,
    FAIL,
    NAME,
    NEW,
    NOW,
    OLD,
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

    def test_a_dead_port_is_named_with_what_connect_says_of_that_address(self) -> None:
        assert one("origin.user-path", *through(OLD, dead()))[1].endswith("connection refused (port 443)")
        plan = make_plan(new={"connect": f"{NEW}:8443"})
        message = one("origin.user-path", *through(NEW, dead()), plan=plan)[1]
        assert "(port 443, where the url leads users; [origin.new] connect names 8443)" in message

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
        (found,) = judge("edge.maintenance-page", *through(OLD, self.fits("old")), plan=WITH_PAGE, before=before)
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
