"""Both sides at their own addresses, and what users reach, on real HTTPS origins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from cutover.clock import SystemClock
from cutover.errors import CutoverError
from cutover.http import USER_AGENT, Limits
from cutover.leads import Lead, lead_of, page_seen
from cutover.observations.origin import OriginSeen, PathSeen, UserPathSeen
from cutover.planfile import plan_from
from cutover.probes.fingerprint import Suggestion
from cutover.probes.origin import HOPS, Asking, follow_user_paths, observe_origins, suggest_for
from cutover.urls import deep_path
from tests.origin.conftest import serving
from tests.world.origin import Origin, Page

NAME = "app.example.com."
BOTH = ("old", "new")


def asking(
    folder: Path,
    old: Origin,
    new: Origin,
    *,
    limits: Limits | None = None,
    on_old: Mapping[str, Any] = MappingProxyType({}),
    on_new: Mapping[str, Any] = MappingProxyType({}),
) -> Asking:
    """What a probe needs for the two origins; ``on_old`` and ``on_new`` change keys of their tables."""
    tables = {
        "name": [{"name": NAME, "old": [old.address], "new": [new.address]}],
        "origin": {
            "old": {
                "url": old.url,
                "ca_file": "ca.pem",
                "fingerprint": {"header": "x-release", "matches": "^porter-"},
                "maintenance": {"body": True, "matches": "down for maintenance"},
                **on_old,
            },
            "new": {
                "url": new.url,
                "ca_file": "ca.pem",
                "fingerprint": {"json": "$.release", "matches": "^sst-"},
                **on_new,
            },
        },
    }
    plan = plan_from(tables, where="test", base_dir=folder)
    return Asking(plan, SystemClock(), folder, limits=limits or Limits(connect=1, total=2))


def observe(
    ask: Asking, addresses: Mapping[tuple[str, str], Sequence[str]], sides: Iterable[str] = BOTH
) -> tuple[list[OriginSeen], list[PathSeen]]:
    seen = asyncio.run(observe_origins(ask, [NAME], sides, addresses))
    return [x for x in seen if isinstance(x, OriginSeen)], [x for x in seen if isinstance(x, PathSeen)]


def follow(ask: Asking, *addresses: str) -> list[UserPathSeen]:
    return asyncio.run(follow_user_paths(ask, NAME, dict.fromkeys(addresses, 3)))


@pytest.fixture
def folder(ca_file: Path) -> Path:
    return ca_file.parent


class TestSides:
    def test_each_side_is_judged_against_every_fingerprint(self, folder: Path, old: Origin, new: Origin) -> None:
        began = datetime.now(UTC)
        addresses = {(NAME, "old"): [old.address], (NAME, "new"): [new.address]}
        (from_old, from_new), _ = observe(asking(folder, old, new), addresses)
        assert (from_old.side, from_old.connect, from_old.url) == ("old", old.at, old.url)
        assert [(x.label, x.matched) for x in from_old.response.matches] == [
            ("old", True),
            ("new", False),
            ("old-maintenance", False),
        ]
        assert lead_of(from_old.response) is Lead.OLD
        assert lead_of(from_new.response) is Lead.NEW
        assert from_new.response.kind_of == "application/json"
        assert from_new.response.cert_names == ("app.example.com",)
        assert from_new.response.cert_expires is not None
        assert began <= from_new.at <= datetime.now(UTC)
        assert {agent for _, agent in old.counts} == {USER_AGENT}

    def test_connect_wins_over_the_sides_answers(self, folder: Path, old: Origin, new: Origin) -> None:
        ask = asking(folder, old, new, on_new={"connect": new.at})
        (seen,), _ = observe(ask, {(NAME, "new"): ["127.0.0.99"]}, ["new"])
        assert seen.connect == new.at
        assert seen.response.status == 200

    def test_every_address_of_a_side_is_asked_once(self, folder: Path, old: Origin, new: Origin) -> None:
        ask = asking(folder, old, new)
        seen, _ = observe(ask, {(NAME, "new"): [new.address, "127.0.0.99", new.address]}, ["new"])
        assert [x.connect for x in seen] == [new.at, f"127.0.0.99:{new.port}"]
        assert [x.response.refused for x in seen] == [False, True]

    def test_a_connect_that_does_not_resolve(
        self, folder: Path, old: Origin, new: Origin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import socket

        def nothing(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", nothing)
        (seen,), paths = observe(asking(folder, old, new, on_new={"connect": "ingress.new.example:8443"}), {}, ["new"])
        assert seen.connect == "ingress.new.example:8443"
        assert "ingress.new.example does not resolve" in seen.response.error
        assert paths == []

    def test_a_side_without_an_address_is_left_out(self, folder: Path, old: Origin, new: Origin) -> None:
        assert observe(asking(folder, old, new), {}) == ([], [])

    def test_paths_are_asked_of_both_sides_at_an_address_that_answers(
        self, folder: Path, old: Origin, new: Origin
    ) -> None:
        ask = asking(folder, old, new, on_new={"paths": ["/", "/api/health?deep=1"]})
        new.pages["/api/health"] = Page(503, b"{}", "application/json")
        addresses = {(NAME, "old"): [old.address], (NAME, "new"): ["127.0.0.99", new.address]}
        _, paths = observe(ask, addresses)
        told = {(x.side, x.path): (x.response.status, x.response.kind_of) for x in paths}
        assert told == {
            ("old", "/"): (200, "text/html"),
            ("old", "/api/health?deep=1"): (200, "text/html"),
            ("old", deep_path(NAME)): (200, "text/html"),
            ("new", "/"): (200, "text/html"),
            ("new", "/api/health?deep=1"): (503, "application/json"),
            ("new", deep_path(NAME)): (200, "text/html"),
        }

    def test_headers_that_pin_are_kept(self, folder: Path, old: Origin, new: Origin) -> None:
        old.headers = {
            "Alt-Svc": 'h3="old.example.net:443"; ma=3600',
            "Keep-Alive": "timeout=75",
            "Cache-Control": "max-age=60",
            "Server": "porter",
            "Location": "/elsewhere",
        }
        (seen,), _ = observe(asking(folder, old, new), {(NAME, "old"): [old.address]}, ["old"])
        kept = seen.response
        assert (kept.alt_svc, kept.keep_alive, kept.cache_control, kept.server, kept.location) == (
            'h3="old.example.net:443"; ma=3600',
            "timeout=75",
            "max-age=60",
            "porter",
            "/elsewhere",
        )

    def test_olds_authority_is_not_trusted_for_new(self, folder: Path, old: Origin, new: Origin) -> None:
        ask = asking(folder, old, new, on_new={"ca_file": None})
        (seen,), _ = observe(ask, {(NAME, "new"): [new.address]}, ["new"])
        assert seen.response.tls_error
        assert not any(match.matched for match in seen.response.matches)

    def test_a_missing_ca_file_is_the_users_to_mend(self, folder: Path, old: Origin, new: Origin) -> None:
        with pytest.raises(CutoverError, match=r"none\.pem"):
            observe(asking(folder, old, new, on_new={"ca_file": "none.pem"}), {(NAME, "new"): [new.address]})

    def test_a_plan_without_fingerprints_judges_nothing(self, folder: Path, old: Origin, new: Origin) -> None:
        bare = {"fingerprint": None, "maintenance": None}
        ask = asking(folder, old, new, on_old=bare, on_new=bare)
        (seen,), _ = observe(ask, {(NAME, "old"): [old.address]}, ["old"])
        assert seen.response.status == 200
        assert seen.response.matches == ()


class TestUserPaths:
    def test_url_and_deep_path_with_and_without_busting(self, folder: Path, old: Origin, new: Origin) -> None:
        seen = follow(asking(folder, old, new), old.address, new.address)
        deep = deep_path(NAME)
        assert {(x.address, x.path, x.busted) for x in seen} == {
            (address, path, busted)
            for address in (old.address, new.address)
            for path in ("/version", deep)
            for busted in (False, True)
        }
        assert {x.resolvers for x in seen} == {3}
        assert {x.port for x in seen} == {old.port}
        asked = [path for _, path, _, _ in old.requests]
        assert sorted(path.partition("?")[0] for path in asked) == sorted(["/version", "/version", deep, deep])
        busting = {path.partition("?cutover=")[2] for path in asked} - {""}
        assert len(busting) == 2
        follow(asking(folder, old, new), old.address)
        again = {path.partition("?cutover=")[2] for _, path, _, _ in old.requests} - {""}
        assert len(again) == 4

    def test_where_each_address_leads(self, folder: Path, old: Origin, new: Origin) -> None:
        new.pages[deep_path(NAME)] = Page(503, b"we are down for maintenance")
        leads = {
            (x.address, x.path): lead_of(x.response) for x in follow(asking(folder, old, new), old.address, new.address)
        }
        assert leads == {
            (old.address, "/version"): Lead.OLD,
            (old.address, deep_path(NAME)): Lead.OLD,
            (new.address, "/version"): Lead.NEW,
            (new.address, deep_path(NAME)): Lead.MAINTENANCE,
        }

    def test_a_maintenance_page_behind_a_redirect_is_one(self, folder: Path, old: Origin, new: Origin) -> None:
        new.pages["/version"] = Page(302, b'{"release": "sst-1"}', headers={"Location": "maintenance.html"})
        new.pages["/maintenance.html"] = Page(503, b"<h1>down for maintenance</h1>")
        seen = follow(asking(folder, old, new), new.address)
        assert {x.path for x in seen if lead_of(x.response) is Lead.MAINTENANCE} == {"/version"}
        page = next(x for x in seen if x.path == "/version")
        assert (page.response.status, page.requests) == (302, 2), "the first answer stays the evidence"
        assert "redirected to /maintenance.html: body: down for maintenance" in page_seen(page.response)

    @pytest.mark.parametrize("location", ["https://elsewhere.example/x", "http://app.example.com/", "//[", "/version"])
    def test_redirects_elsewhere_or_in_circles_are_left_alone(
        self, folder: Path, old: Origin, new: Origin, location: str
    ) -> None:
        new.pages["/version"] = Page(302, b'{"release": "sst-1"}', headers={"Location": location})
        seen = follow(asking(folder, old, new), new.address)
        assert not any(page_seen(x.response) for x in seen)
        assert max(x.requests for x in seen) == (HOPS + 1 if location == "/version" else 1)

    def test_dead_and_hanging_addresses_do_not_delay_the_others(self, folder: Path, old: Origin, new: Origin) -> None:
        old.hang = True
        limits = Limits(connect=1, total=3)
        began = time.monotonic()
        seen = follow(asking(folder, old, new, limits=limits), old.address, "127.0.0.99", new.address)
        assert time.monotonic() - began < 8, "one after the other they would take 12 s"
        leads = {(x.address, lead_of(x.response)) for x in seen if x.path == "/version"}
        assert leads == {
            (old.address, Lead.UNREACHABLE),
            ("127.0.0.99", Lead.UNREACHABLE),
            (new.address, Lead.NEW),
        }

    def test_no_more_than_the_gate_lets_through(self, folder: Path, old: Origin, new: Origin) -> None:
        ask = asking(folder, old, new)
        ask = Asking(ask.plan, ask.clock, ask.base_dir, gate=asyncio.Semaphore(2))
        running = most = 0

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1

        async def run() -> list[UserPathSeen]:
            async with serving(talk) as endpoint:
                plan = plan_from(
                    {"name": [{"name": NAME}], "origin": {"new": {"url": f"http://app.example.com:{endpoint.port}/"}}},
                    where="test",
                    base_dir=folder,
                )
                return await follow_user_paths(
                    Asking(plan, ask.clock, folder, gate=ask.gate), NAME, {"127.0.0.1": 1, "localhost": 1}
                )

        assert len(asyncio.run(run())) == 8
        assert most == 2


def test_suggestions_from_both_sides(folder: Path, old: Origin, new: Origin) -> None:
    addresses = {(NAME, "old"): [old.address], (NAME, "new"): [new.address]}
    assert asyncio.run(suggest_for(asking(folder, old, new), NAME, addresses)) == (
        Suggestion("x-release", "^porter-"),
        Suggestion("x-release", "^sst-"),
    )
    new.refuse()
    assert asyncio.run(suggest_for(asking(folder, old, new), NAME, addresses)) == (None, None)
