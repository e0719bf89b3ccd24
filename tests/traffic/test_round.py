"""One round of the observer: order, patience, and failures that stay where they happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cutover.estimate import Estimate
from cutover.folds.traffic import TrafficFold
from cutover.http import Limits
from cutover.observations.base import Observation, ProbeFailed
from cutover.observations.dns import TargetAddresses
from cutover.observations.origin import OriginSeen, PathSeen, Response, UserPathSeen
from cutover.observations.traffic import SentinelSent, Sight, TrafficReading
from cutover.plan import Plan
from cutover.probes.traffic import observe as observe_module
from cutover.probes.traffic import sentinel as sentinel_module
from cutover.probes.traffic.base import Count, SourceSpec, Wanted, floor_to
from cutover.probes.traffic.observe import TrafficObserver, own_requests
from cutover.probes.traffic.sentinel import OwnRequests, send, targets
from cutover.probes.traffic.unseen import UnseenError
from cutover.probes.world import _addresses
from tests.checks.kit import Story, a, authority, make_plan, reply, t
from tests.traffic.support import START, FakeClock, plan_of
from tests.world.origin import CertificateAuthority, Origin, Page

NAME = "app.example.com."
COMMAND = {"source": "command", "command": ["x"]}
ADDRESSES = {(NAME, "old"): ("127.0.0.2",), (NAME, "new"): ("127.0.0.3",)}


class FakeSource:
    """A source whose counts a test gives."""

    lag = timedelta(0)
    bucket = timedelta(0)
    cuts_now = True

    def __init__(self, spec: SourceSpec, counts: Callable[[Wanted], Mapping[str, Count]]) -> None:
        self.counts = counts
        self.reads: list[Wanted] = []

    async def read(self, wanted: Wanted) -> Mapping[str, Count]:
        self.reads.append(wanted)
        return self.counts(wanted)


class SlowSource(FakeSource):
    """A source that counts what is sent some minutes later."""

    lag, bucket, cuts_now = timedelta(minutes=3), timedelta(minutes=1), False


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Instead of requests, notes when a burst would have been sent; each takes half a second."""
    times: list[datetime] = []

    async def fake(plan: Plan, wanted: Any, sizes: Mapping[str, int], **options: Any) -> list[SentinelSent]:
        clock: FakeClock = options["clock"]
        times.append(clock.now())
        clock.advance(0.5)
        return [
            SentinelSent(
                at=clock.now(), name=NAME, side=side, address=f"127.0.0.{number}:443", window_start=times[-1],
                window_end=clock.now(), tag="t", path="/version", sent=5, answered=5, refused=0, silent=0,
            )
            for number, side in ((2, "old"), (3, "new"))
        ]  # fmt: skip

    monkeypatch.setattr(observe_module, "send", fake)
    return times


def observe(
    plan: Plan,
    clock: FakeClock,
    source: Callable[[SourceSpec], Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    fold: TrafficFold | None = None,
    settle: bool = False,
) -> list[Observation]:
    monkeypatch.setattr(observe_module, "open_source", source)

    async def once() -> list[Observation]:
        async with TrafficObserver(plan, clock, Path()) as observer:
            return await observer.observe(fold or TrafficFold(plan), ADDRESSES, settle=settle)

    return asyncio.run(once())


def both(wanted: Wanted, count: float = 0, end: datetime | None = None) -> dict[str, Count]:
    return {
        side: Count(sight=Sight.OK, count=count, start=start, end=end or wanted.now)
        for side, start in wanted.starts.items()
    }


def test_a_round_reads_first_and_keeps_its_own_requests_clear_of_the_windows(
    sent: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, clock = plan_of(COMMAND), FakeClock()
    made: list[FakeSource] = []

    def source(spec: SourceSpec) -> FakeSource:
        made.append(FakeSource(spec, both))
        return made[-1]

    seen = observe(plan, clock, source, monkeypatch)
    assert [type(x) for x in seen] == [TrafficReading, TrafficReading, SentinelSent, SentinelSent]
    read = made[0].reads[0].now
    assert read - START == timedelta(seconds=1), "probes of the round were over a second before"
    assert sent[0] - read == timedelta(seconds=1)


def test_a_settled_round_sends_first_and_waits_for_the_bucket(
    sent: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, clock = plan_of(COMMAND), FakeClock(START + timedelta(seconds=20))

    made: list[FakeSource] = []

    def counts(wanted: Wanted) -> dict[str, Count]:
        return both(wanted, 5, floor_to(wanted.now - timedelta(minutes=2), timedelta(minutes=1)))

    def source(spec: SourceSpec) -> FakeSource:
        made.append(SlowSource(spec, counts))
        return made[-1]

    fold = TrafficFold(plan)
    seen = observe(plan, clock, source, monkeypatch, fold=fold, settle=True)
    for observation in seen:
        fold.add(observation)
    assert len(made[0].reads) <= 2, "an API is not asked over and over"
    assert Estimate(plan, fold, clock.now()).vision("command #1", "old").sees


def test_a_slow_source_that_refuses_is_told_at_once(sent: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, clock = plan_of(COMMAND), FakeClock(START + timedelta(seconds=20))
    began = clock.now()

    def forbidden(wanted: Wanted) -> dict[str, Count]:
        return {side: Count(sight=Sight.FORBIDDEN, detail="403") for side in wanted.starts}

    seen = observe(plan, clock, lambda spec: SlowSource(spec, forbidden), monkeypatch, settle=True)
    assert [x.sight for x in seen if isinstance(x, TrafficReading)] == [Sight.FORBIDDEN, Sight.FORBIDDEN]
    assert clock.now() - began < timedelta(seconds=10), "a key that is refused now is refused in three minutes"


def test_what_cannot_be_read_is_not_asked_again_and_again(
    sent: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, clock = plan_of(COMMAND), FakeClock()
    began = clock.now()

    def nonsense(wanted: Wanted) -> dict[str, Count]:
        return {side: Count(sight=Sight.MALFORMED, detail='"old" is negative (-1)') for side in wanted.starts}

    observe(plan, clock, lambda spec: FakeSource(spec, nonsense), monkeypatch, settle=True)
    assert clock.now() - began < timedelta(seconds=5)


def test_one_round_does_not_wait_an_hour_for_a_log(sent: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, clock = plan_of(COMMAND), FakeClock()
    began = clock.now()

    class Delivered(FakeSource):
        lag, cuts_now = timedelta(hours=1), False

    observe(plan, clock, lambda spec: Delivered(spec, lambda _: {}), monkeypatch, settle=True)
    assert timedelta(minutes=5) < clock.now() - began < timedelta(minutes=7)


def test_a_settled_round_ends_when_the_source_never_counts(
    sent: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, clock = plan_of(COMMAND), FakeClock()
    began = clock.now()
    early = began - timedelta(seconds=50)
    seen = observe(plan, clock, lambda spec: FakeSource(spec, lambda x: both(x, 0, early)), monkeypatch, settle=True)
    assert [x.sight for x in seen if isinstance(x, TrafficReading)] == [Sight.OK, Sight.OK]
    assert clock.now() - began < timedelta(seconds=40)


def test_sentinels_keep_clear_of_the_minute(sent: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    class Minutes(FakeSource):
        bucket, cuts_now = timedelta(minutes=1), False

    for second in (-1.5, -0.5, 0.0, 1.0, 30.0):
        clock = FakeClock(START + timedelta(seconds=second))
        observe(plan_of(COMMAND), clock, lambda spec: Minutes(spec, both), monkeypatch)
        into = sent[-1].timestamp() % 60
        assert 2 <= into <= 58, second


@pytest.mark.parametrize(
    ("error", "sight"),
    [
        (UnseenError(Sight.FORBIDDEN, "no right"), Sight.FORBIDDEN),
        (ZeroDivisionError("oops"), Sight.MALFORMED),
        (KeyError("x"), Sight.MALFORMED),
    ],
)
def test_one_sources_failure_is_its_own(
    sent: list[datetime], monkeypatch: pytest.MonkeyPatch, error: Exception, sight: Sight
) -> None:
    plan = plan_of(COMMAND, COMMAND)

    def raising(_: Wanted) -> Mapping[str, Count]:
        raise error

    def source(spec: SourceSpec) -> FakeSource:
        return FakeSource(spec, raising if spec.label == "command #1" else both)

    seen = observe(plan, FakeClock(), source, monkeypatch)
    readings = {(x.source, x.side): x for x in seen if isinstance(x, TrafficReading)}
    assert readings["command #1", "old"].sight is sight
    assert readings["command #1", "old"].detail
    assert readings["command #2", "old"].sight is Sight.OK
    assert sent, "sentinels are sent all the same"


def test_no_source_asks_for_nothing(sent: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    assert observe(plan_of(), FakeClock(), lambda spec: FakeSource(spec, both), monkeypatch) == []
    assert sent == []


def test_a_missing_ca_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = {side: {"url": "https://app.example.com/", "ca_file": "nowhere.pem"} for side in ("old", "new")}
    plan = plan_of(COMMAND, origin=origin)
    seen = observe(plan, FakeClock(), lambda spec: FakeSource(spec, both), monkeypatch)
    (failed,) = [x for x in seen if isinstance(x, ProbeFailed)]
    assert "nowhere.pem" in failed.error


def test_our_own_requests_are_told_by_what_was_seen() -> None:
    at = START
    there, gone = Response(status=200), Response(status=0, error="refused", refused=True)
    seen: list[Observation] = [
        OriginSeen(at=at, name=NAME, side="old", url="u", connect="127.0.0.2:443", response=there),
        OriginSeen(at=at, name=NAME, side="new", url="u", connect="127.0.0.3:443", response=gone),
        PathSeen(at=at, name=NAME, side="new", path="/", response=there),
        UserPathSeen(at=at, name=NAME, address="127.0.0.2", port=443, path="/", response=there),
        UserPathSeen(at=at, name=NAME, address="127.0.0.9", port=443, path="/", response=there),
    ]
    found = own_requests(seen, lambda name, address: "old" if address == "127.0.0.2" else None)
    assert found == (
        OwnRequests(NAME, "old", "127.0.0.2:443", 1, at),
        OwnRequests(NAME, "new", "", 1, at),
        OwnRequests(NAME, "old", "127.0.0.2:443", 1, at),
    )


def target_list(plan: Plan, addresses: Mapping[tuple[str, str], Any] = ADDRESSES) -> list[tuple[str, str, str]]:
    found = asyncio.run(targets(plan, TrafficFold(plan), addresses))
    return [(x.side, str(x.endpoint), x.path) for x in found]


def test_sentinels_go_to_every_address_or_where_the_plan_connects() -> None:
    two = {**ADDRESSES, (NAME, "old"): ("127.0.0.2", "::1")}
    assert target_list(plan_of(COMMAND), two) == [
        ("old", "127.0.0.2:443", "/version"),
        ("old", "[::1]:443", "/version"),
        ("new", "127.0.0.3:443", "/version"),
    ]
    origin = {side: {"url": "https://app.example.com:8443/v", "connect": "127.0.0.5:9443"} for side in ("old", "new")}
    assert target_list(plan_of(COMMAND, origin=origin), two) == [
        ("old", "127.0.0.5:9443", "/v"),
        ("new", "127.0.0.5:9443", "/v"),
    ]


def test_each_source_may_have_a_path_of_its_own() -> None:
    prometheus = {"source": "prometheus", "url": "http://127.0.0.1:9", "old": "a", "sentinel_path": "/healthz"}
    assert [(side, path) for side, _, path in target_list(plan_of(COMMAND, prometheus))] == [
        ("old", "/healthz"),
        ("old", "/version"),
        ("new", "/version"),
    ]


def test_what_became_of_each_sentinel_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = CertificateAuthority()
    ca = authority.save(tmp_path / "ca.pem")
    with (
        Origin(authority, "app.example.com", address="127.0.0.2") as good,
        Origin(authority, "app.example.com", address="127.0.0.3") as stranger,
    ):
        stranger.foreign_certificate()
        origin = {
            side: {"url": f"https://app.example.com:{each.port}/x", "connect": each.at, "ca_file": str(ca)}
            for side, each in (("old", good), ("new", stranger))
        }
        plan = plan_of(COMMAND, origin=origin)
        good.pages["/x"] = Page(503)
        found = outcomes(plan)
        assert found["old"] == (4, 0, 0), "any response counts, a 503 as well"
        assert found["new"] == (0, 0, 4), "nothing is believed over a connection that is not verified"
        assert good.counts["GET", "cutover-sentinel/abc"] == 4
        assert not stranger.counts
        good.hang = True
        with monkeypatch.context() as hurried:
            hurried.setattr(sentinel_module, "LIMITS", Limits(connect=0.5, total=0.5))
            assert outcomes(plan)["old"] == (0, 0, 4)
        good.hang = False
        good.refuse()
        assert outcomes(plan)["old"] == (0, 4, 0)


def outcomes(plan: Plan) -> dict[str, tuple[int, int, int]]:
    async def once() -> list[SentinelSent]:
        wanted = await targets(plan, TrafficFold(plan), {})
        return await send(
            plan,
            wanted,
            {"old": 4, "new": 4},
            tag="cutover-sentinel/abc",
            base_dir=Path(),
            clock=FakeClock(datetime.now(UTC)),
        )

    return {x.side: (x.answered, x.refused, x.silent) for x in asyncio.run(once())}


def test_a_side_behind_a_target_or_in_a_block_is_asked_where_it_is_now() -> None:
    story = Story(make_plan(old=["ingress.porter.example"], new=["d1.cdn.example", "198.51.100.0/24"]))
    story.round(
        0,
        TargetAddresses(at=t(0), name=NAME, side="new", target="d1.cdn.example.", addresses=("192.0.2.7",)),
        TargetAddresses(at=t(0), name=NAME, side="old", target="ingress.porter.example.", addresses=("203.0.113.5",)),
        authority(0, reply(a("198.51.100.20"))),
    )
    assert _addresses(story.evidence, NAME, "new") == ("192.0.2.7", "198.51.100.20")
    assert _addresses(story.evidence, NAME, "old") == ("203.0.113.5",)
    story.round(60)
    assert _addresses(story.evidence, NAME, "new") == (), "a rotating target is where it is now"
    assert _addresses(story.evidence, NAME, "old") == ("203.0.113.5",), "what was old once is old"
