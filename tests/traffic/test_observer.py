"""Rounds of traffic on a real Prometheus and real origins: sentinels, shares, and every way to go blind."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cutover.clock import SystemClock
from cutover.estimate import Bounds, Estimate
from cutover.folds.traffic import TrafficFold
from cutover.observations.base import Observation
from cutover.observations.traffic import SentinelSent, Sight, TrafficReading
from cutover.plan import Plan
from cutover.probes.traffic.observe import TrafficObserver
from tests.traffic.monitoring import Exporter, Prometheus
from tests.traffic.support import plan_of
from tests.world.origin import Origin
from tests.world.process import wait_until

HOST = "app.example.com"
ADDRESSES = {(f"{HOST}.", "old"): ("127.0.0.2",), (f"{HOST}.", "new"): ("127.0.0.3",)}


class Scene:
    """Two origins, an exporter, Prometheus, and the observer with its fold."""

    def __init__(self, old: Origin, new: Origin, exporter: Exporter, prometheus: Prometheus) -> None:
        self.old, self.new = old, new
        self.exporter, self.prometheus = exporter, prometheus
        self.clock = SystemClock()
        self.seen: list[Observation] = []

    def plan(self, **traffic: Any) -> Plan:
        source = {
            "source": "prometheus",
            "url": self.prometheus.url,
            "old": 'http_requests_total{side="old"}',
            "new": 'sum(increase(http_requests_total{side="new"}[$window]))',
            **traffic,
        }
        origin = {
            side: {"url": f"http://{HOST}:{each.port}/version", "connect": each.at}
            for side, each in (("old", self.old), ("new", self.new))
        }
        return plan_of(source, origin=origin, gate={"interval": "0.5s", "soak": "4s"})

    def rounds(self, plan: Plan, fold: TrafficFold, count: int, *, settle: bool = False) -> list[Observation]:
        """Run some rounds, half a second apart."""

        async def all_of_them() -> list[Observation]:
            async with TrafficObserver(plan, self.clock, Path()) as observer:
                for turn in range(count):
                    if turn:
                        await asyncio.sleep(0.5)
                    last = await observer.observe(fold, ADDRESSES, settle=settle)
                    for observation in last:
                        fold.add(observation)
                return last

        self.seen = asyncio.run(all_of_them())
        return self.seen

    def send(self, origin: Origin, count: int) -> None:
        """Be a user."""
        connection = http.client.HTTPConnection(origin.address, origin.port, timeout=5)
        for _ in range(count):
            connection.request("GET", "/", headers={"User-Agent": "Mozilla/5.0", "Host": HOST})
            connection.getresponse().read()
        connection.close()

    def estimate(self, plan: Plan, fold: TrafficFold) -> Estimate:
        return Estimate(plan, fold, self.clock.now())


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Origin, Origin, Exporter, Prometheus]]:
    with ExitStack() as stack:
        old = stack.enter_context(Origin(None, HOST, address="127.0.0.2"))
        new = stack.enter_context(Origin(None, HOST, release="sst-1", address="127.0.0.3"))
        counts = {side: (lambda o=each: sum(o.counts.values())) for side, each in (("old", old), ("new", new))}
        exporter = stack.enter_context(Exporter({**counts, "other": lambda: 7}))
        prometheus = stack.enter_context(Prometheus(exporter.at, interval="400ms"))
        wait_until(lambda: len(prometheus.query("http_requests_total offset 2s")) == 3, "some scrapes", seconds=15)
        yield old, new, exporter, prometheus


@pytest.fixture
def scene(servers: tuple[Origin, Origin, Exporter, Prometheus]) -> Iterator[Scene]:
    yield Scene(*servers)
    old, _, exporter, _ = servers
    old.accept()
    exporter.broken = False
    exporter.metric = "http_requests_total"


def test_one_settled_round_proves_both_sides_and_our_own_requests_are_no_traffic(scene: Scene) -> None:
    plan = scene.plan()
    fold = TrafficFold(plan)
    scene.rounds(plan, fold, 1, settle=True)
    estimate = scene.estimate(plan, fold)
    for side in ("old", "new"):
        vision = estimate.vision("prometheus #1", side)
        assert vision.sees, vision.why
        assert vision.counted >= vision.sent >= 5
    tags = {x.tag for x in scene.seen if isinstance(x, SentinelSent)}
    assert len(tags) == 1
    assert tags.pop() in {agent for _, agent in scene.old.counts}


def test_the_share_comes_out_of_the_counters_within_a_point(scene: Scene) -> None:
    plan = scene.plan()
    fold = TrafficFold(plan)
    scene.rounds(plan, fold, 4)
    began = scene.clock.now()
    scene.send(scene.old, 100)
    scene.send(scene.new, 900)
    scene.rounds(plan, fold, 4)
    estimate = scene.estimate(plan, fold)
    old = estimate.bounds("prometheus #1", "old", began)
    new = estimate.bounds("prometheus #1", "new", began)
    assert old is not None
    assert new is not None
    assert old.low <= 100 <= old.high
    assert new.low <= 900 <= new.high
    assert old.likely / (old.likely + new.likely) == pytest.approx(0.1, abs=0.01)


def test_a_drained_side_comes_down_to_nothing(scene: Scene) -> None:
    plan = scene.plan()
    fold = TrafficFold(plan)
    found: Bounds | None = None
    for _ in range(8):
        scene.rounds(plan, fold, 10)
        estimate = scene.estimate(plan, fold)
        found = estimate.bounds("prometheus #1", "old", scene.clock.now() - timedelta(seconds=4))
        assert found is not None
        assert found.low == 0
        if found.tracked and found.high == 0:
            break
    assert estimate.vision("prometheus #1", "old").sees
    assert found is not None
    assert found.tracked, "the counter follows the number of sentinels"
    assert found.high == 0


@pytest.mark.parametrize(
    ("trouble", "sights"),
    [
        ("renamed", {Sight.EMPTY, Sight.STALE}),
        ("cut", {Sight.EMPTY, Sight.STALE}),
        ("wrong selector", {Sight.EMPTY}),
        ("gone", {Sight.UNREACHABLE}),
    ],
)
def test_every_way_to_go_blind_is_named_and_nothing_is_zero(
    scene: Scene, trouble: str, sights: set[Sight], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutover.probes.traffic.prometheus.OVERDUE", 3.0)
    changes: dict[str, Any] = {}
    if trouble == "wrong selector":
        changes = {"old": 'http_requests_total{side="porter"}'}
    if trouble == "gone":
        changes = {"url": "http://127.0.0.1:9"}
    plan = scene.plan(**changes)
    fold = TrafficFold(plan)
    if trouble in {"renamed", "cut"}:
        scene.rounds(plan, fold, 3)
        scene.exporter.metric = "renamed_total" if trouble == "renamed" else scene.exporter.metric
        scene.exporter.broken = trouble == "cut"
        scene.rounds(plan, fold, 9)
    else:
        scene.rounds(plan, fold, 2)
    reading = fold.latest("prometheus #1", "old")
    assert reading is not None
    assert reading.sight in sights
    assert reading.count is None
    vision = scene.estimate(plan, fold).vision("prometheus #1", "old")
    assert not vision.sees
    assert vision.why


def test_a_source_that_sees_another_service_is_blind(scene: Scene) -> None:
    plan = scene.plan(old='http_requests_total{side="other"}')
    fold = TrafficFold(plan)
    scene.rounds(plan, fold, 4)
    vision = scene.estimate(plan, fold).vision("prometheus #1", "old")
    assert not vision.sees
    assert "blind" in vision.why


def test_a_counter_that_is_reset_is_named_and_counting_goes_on(scene: Scene) -> None:
    plan = scene.plan()
    fold = TrafficFold(plan)
    scene.rounds(plan, fold, 3)
    scene.exporter.reset("old")
    seen = scene.rounds(plan, fold, 3)
    details = [x.detail for x in (*seen, fold.latest("prometheus #1", "old")) if isinstance(x, TrafficReading)]
    resets = [w for w in fold._windows["prometheus #1", "old"] if not w.whole]
    assert resets, details
    scene.rounds(plan, fold, 4)
    assert fold.chain("prometheus #1", "old")
    assert scene.estimate(plan, fold).vision("prometheus #1", "old").sees


def test_refused_connections_prove_silence_and_timeouts_do_not(scene: Scene) -> None:
    plan = scene.plan()
    fold = TrafficFold(plan)
    known = [(f"{HOST}.", "127.0.0.2")]
    scene.rounds(plan, fold, 1)
    assert scene.estimate(plan, fold).silent_since(known) is None
    scene.old.refuse()
    before = scene.clock.now()
    scene.rounds(plan, fold, 3)
    since = scene.estimate(plan, fold).silent_since(known)
    assert since is not None
    assert since >= before
    assert scene.estimate(plan, fold).silent_since([*known, (f"{HOST}.", "127.0.0.99")]) is None, "one was not tried"
    scene.old.accept()
    scene.rounds(plan, fold, 1)
    assert scene.estimate(plan, fold).silent_since(known) is None
