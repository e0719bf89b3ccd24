"""Whole stories on real HTTPS origins: asked by the probe, judged by the checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

from cutover.check import run_checks
from cutover.evidence import Evidence
from cutover.finding import Finding, Phase, Status
from cutover.probes.origin import Asking, follow_user_paths, observe_origins
from cutover.urls import deep_path
from tests.origin.test_probe import NAME, asking
from tests.world.origin import CertificateAuthority, Origin, Page


class Night:
    """One migration, watched round by round."""

    def __init__(self, ask: Asking, old: Origin, new: Origin) -> None:
        self.ask = ask
        self.evidence = Evidence(ask.plan)
        self.addresses = {(NAME, "old"): [old.address], (NAME, "new"): [new.address]}

    def round(self, phase: Phase, handed_out: Mapping[str, int] | None = None) -> dict[str, list[Finding]]:
        """Ask, and return the findings of the origin and edge checks by id."""
        began = self.ask.clock.now()
        self.evidence.begin(began)
        for observation in asyncio.run(observe_origins(self.ask, [NAME], ("old", "new"), self.addresses)):
            self.evidence.add(observation)
        for followed in asyncio.run(follow_user_paths(self.ask, NAME, handed_out or {})):
            self.evidence.add(followed)
        found: dict[str, list[Finding]] = {}
        for finding in run_checks(phase, self.ask.plan, self.evidence, self.ask.clock.now()):
            if finding.check.startswith(("origin.", "edge.")):
                found.setdefault(finding.check, []).append(finding)
        return found


@pytest.fixture
def night(ca_file: Path, old: Origin, new: Origin) -> Night:
    return Night(asking(ca_file.parent, old, new), old, new)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_two_sides_that_are_ready(night: Night) -> None:
    found = night.round(Phase.PREFLIGHT)
    for check in ("origin.reachable", "origin.tls"):
        assert only(found[check]).status is Status.PASS
    assert [x.status for x in found["origin.fingerprint-distinct"]] == [Status.PASS, Status.PASS]


def test_alike_fingerprints_are_blocked(night: Night, old: Origin) -> None:
    old.release = "sst-7"
    found = night.round(Phase.PREFLIGHT)["origin.fingerprint-distinct"]
    assert found[0].status is Status.FAIL
    assert "cannot be told apart" in found[0].message


def test_a_proxy_with_a_wrong_certificate_is_named(night: Night, new: Origin) -> None:
    new.certificate("*.shared-proxy.example")
    finding = only(night.round(Phase.PREFLIGHT)["origin.tls"])
    assert finding.status is Status.FAIL
    assert "*.shared-proxy.example" in finding.message
    assert only(night.round(Phase.PREFLIGHT)["origin.reachable"]).status is Status.INCONCLUSIVE


def test_a_proxy_that_answers_all_names_with_its_own_page(night: Night, new: Origin) -> None:
    new.everything = Page(200, b"<h1>parked</h1>")
    new.release = None
    found = night.round(Phase.WATCH, {new.address: 4})
    finding = only(found["origin.user-path"])
    assert finding.status is Status.FAIL
    assert "something that is not new" in finding.message


def test_the_night_of_the_incident(night: Night, old: Origin, new: Origin) -> None:
    # The page is up on old; a tenth of the resolvers still lead there.
    old.everything = Page(503, b"we are down for maintenance")
    old.release = None
    found = night.round(Phase.WATCH, {new.address: 9, old.address: 1})
    assert "leads to a maintenance page" in only(found["origin.user-path"]).message
    page = only(found["edge.maintenance-page"])
    assert page.status is Status.FAIL
    assert f"through {old.address} on /version and {deep_path(NAME)}" in page.message

    # They take the page away: users are let in, to the old application.
    old.everything, old.release = None, "porter-41"
    found = night.round(Phase.WATCH, {new.address: 9, old.address: 1})
    assert "leads to old" in only(found["origin.user-path"]).message
    alarm = only(found["edge.maintenance-page"])
    assert alarm.status is Status.FAIL
    assert alarm.message.startswith("ALARM")

    # The last resolver lets go.
    found = night.round(Phase.WATCH, {new.address: 10})
    assert only(found["origin.user-path"]).status is Status.PASS
    assert only(found["edge.maintenance-page"]).status is Status.PASS
    assert only(found["origin.user-path"]).measured == {"addresses": [new.address], "requests": 4}


def test_an_address_of_new_that_forwards_to_old(night: Night, old: Origin, new: Origin) -> None:
    new.pages["/version"] = old.answer("/version")
    new.release = "porter-41"
    finding = only(night.round(Phase.WATCH, {new.address: 10})["origin.user-path"])
    assert finding.status is Status.FAIL
    assert "leads to old" in finding.message
    assert "an address of old" not in finding.message


def test_an_old_side_that_was_switched_off_too_early(night: Night, old: Origin, new: Origin) -> None:
    old.refuse()
    finding = only(night.round(Phase.WATCH, {new.address: 9, old.address: 1})["origin.user-path"])
    assert finding.status is Status.INCONCLUSIVE
    assert f"{old.address} (handed out by 1 resolver, an address of old) did not answer" in finding.message


def test_a_strangers_certificate_never_counts_as_new(night: Night, new: Origin) -> None:
    stranger = CertificateAuthority()
    with Origin(stranger, release="sst-7", address="127.0.0.43", port=new.port) as impostor:
        finding = only(night.round(Phase.WATCH, {new.address: 9, impostor.address: 1})["origin.user-path"])
        assert finding.status is Status.FAIL
        assert "without a valid certificate" in finding.message
        assert impostor.requests == []


def test_instants_are_of_this_round(night: Night, new: Origin) -> None:
    night.round(Phase.WATCH, {new.address: 1})
    first = night.evidence.began
    found = night.round(Phase.WATCH)
    assert isinstance(first, datetime)
    assert night.evidence.began > first
    assert only(found["origin.user-path"]).status is Status.INCONCLUSIVE
