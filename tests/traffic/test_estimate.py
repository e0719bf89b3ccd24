"""What may be taken away from a count: only what is surely ours."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from operator import add
from typing import Any

import pytest

from cutover.estimate import MOST_SENTINELS, SENTINELS, Estimate
from cutover.folds.traffic import TrafficFold, asked_of
from cutover.observations.traffic import SentinelSent, Sight, TrafficReading
from cutover.plan import Plan
from tests.traffic.support import START, plan_of

LABEL = "prometheus #1"
NAME = "app.example.com."
PROMETHEUS = {"source": "prometheus", "url": "http://127.0.0.1:9", "old": "a_total", "new": "b_total"}
ROUND = timedelta(seconds=30)


class Story:
    """Rounds of 30 s: the source is read, then a burst is sent two seconds later."""

    def __init__(self, plan: Plan | None = None, **traffic: Any) -> None:
        self.plan = plan or plan_of({**PROMETHEUS, **traffic})
        self.fold = TrafficFold(self.plan)
        self.now = START
        self.turn = 0
        self.sent: list[int] = []

    def burst(self, size: int | None = None, *, side: str = "old", **kinds: int) -> int:
        """Send sentinels; by default as many as the estimate says, all of them answered."""
        count = self.estimate.burst_size(side, self.turn) if size is None else size
        outcome = {"answered": count, "refused": 0, "silent": 0, **kinds}
        at = self.now + timedelta(seconds=2)
        self.fold.add(
            SentinelSent(
                at=at,
                name=NAME,
                side=side,
                address="127.0.0.2:443",
                window_start=at,
                window_end=at + timedelta(seconds=0.5),
                tag="cutover-sentinel/x",
                path="/version",
                sent=count,
                **outcome,
            )
        )
        return count

    def read(self, count: float, *, side: str = "old", start: datetime | None = None, **more: Any) -> None:
        self.fold.add(
            TrafficReading(
                at=self.now,
                source=LABEL,
                weight="requests",
                side=side,
                window_start=start or self.now - ROUND,
                window_end=self.now,
                sight=more.pop("sight", Sight.OK),
                count=count,
                **more,
            )
        )

    def round(self, count: Callable[[int], float], size: int | None = None) -> None:
        """One round: a burst, 30 s, and a reading of what ``count`` makes of the burst."""
        sent = self.burst(size)
        self.sent.append(sent)
        self.turn += 1
        self.now += ROUND
        self.read(count(sent))

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.plan, self.fold, self.now + timedelta(seconds=1))

    def sees(self, side: str = "old") -> bool:
        return self.estimate.vision(LABEL, side).sees

    def bounds(self, rounds: int = 30) -> Any:
        return self.estimate.bounds(LABEL, "old", self.now - rounds * ROUND)


def test_a_drained_side_is_nothing_at_all_after_six_windows() -> None:
    story = Story()
    for _ in range(6):
        story.round(lambda sent: sent)
    assert len(set(story.sent)) == 3, "the number of sentinels varies"
    assert story.sees()
    assert story.bounds().high == 0


def test_before_that_sentinels_are_not_yet_taken_away() -> None:
    story = Story()
    story.round(lambda sent: sent)
    story.round(lambda sent: sent)
    found = story.bounds()
    assert found.low == 0
    assert found.high == sum(story.sent)
    assert not found.tracked


def test_a_steady_trickle_that_does_not_count_sentinels_is_never_hidden_by_them() -> None:
    story = Story()
    for _ in range(30):
        story.round(lambda sent: 8)
    sees = story.sees()
    assert not sees or story.bounds().high >= 8 * 30


@pytest.mark.parametrize("seed", range(30))
def test_chance_does_not_pass_for_sentinels(seed: int) -> None:
    """Users arrive at random, sentinels are not counted: users must not vanish."""
    chance = random.Random(seed)
    story = Story()
    users = 0.0
    for _ in range(40):
        story.round(lambda sent: sum(chance.random() < 0.04 for _ in range(200)))
        counted = story.fold.chain(LABEL, "old")[-1].count
        users += counted
        if story.sees():
            found = story.bounds(60)
            assert found.high >= users * 0.5, "half of the users were taken for sentinels"


@pytest.mark.parametrize("seed", range(10))
def test_a_few_users_among_sentinels_are_counted_exactly(seed: int) -> None:
    chance = random.Random(seed)
    story = Story()
    users = 0
    for _ in range(30):
        more = int(chance.random() < 0.1)
        users += more
        story.round(partial(add, more))
    found = story.bounds()
    assert story.sees()
    assert found.low <= users <= found.high
    assert found.tracked
    assert found.likely == users


def test_a_few_windows_that_are_not_sure_are_joined_by_those_before() -> None:
    """A second ``done``: its soak holds few windows, and our own probes are in some of them."""
    story = Story()
    for _ in range(12):
        story.round(lambda sent: sent)
    assert story.bounds(6).high == 0
    for more in (4, 0, 4, 0, 4, 2):
        story.round(partial(add, more))
    assert story.bounds(6).tracked
    assert story.bounds(6).high <= 14
    alone = Story()
    for more in (4, 0, 4, 0, 4, 2):
        alone.round(partial(add, more))
    assert not alone.bounds(6).tracked


@pytest.mark.parametrize("seed", range(30))
def test_what_was_counted_before_does_not_hide_users_once_sentinels_are_not(seed: int) -> None:
    chance = random.Random(seed)
    story = Story()
    for _ in range(14):
        story.round(lambda sent: sent)
    for _ in range(6):
        story.round(lambda sent: sum(chance.random() < 0.08 for _ in range(200)))
    users = sum(window.count for window in story.fold.chain(LABEL, "old")[-6:])
    assert not story.sees() or story.bounds(6).high >= users * 0.5


def test_a_burst_at_the_edge_of_a_window_is_half_believed_to_lie_in_it() -> None:
    story = Story()
    sent = story.burst(20)
    story.now += timedelta(seconds=2.5)
    story.read(100 + sent / 2, start=story.now - ROUND)
    found = story.estimate.bounds(LABEL, "old", None)
    assert found is not None
    assert (found.low, found.likely, found.high) == (90, 100, 110)


def counted(users: float, share: float, sent: int) -> float:
    return max(0.0, round(users + share * sent))


@pytest.mark.parametrize(("share", "users", "rounds"), [(0.0, 60, 60), (0.1, 60, 60), (0.4, 30, 120)])
@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_told_from_the_whole_where_users_outnumber_sentinels(
    share: float, users: int, rounds: int, seed: int
) -> None:
    """One log line in ten, two instances of five, a path that is not counted: there is always more than was sent."""
    dice = random.Random(seed)
    story = Story()
    for _ in range(rounds):
        story.round(partial(counted, dice.gauss(users, math.sqrt(users)), share))
    assert not story.sees()
    why = story.estimate.vision(LABEL, "old").why
    assert "of our sentinels" in why or "blind" in why


@pytest.mark.parametrize("seed", range(20))
def test_a_whole_count_with_chance_and_a_trend_in_it_is_taken_for_whole(seed: int) -> None:
    dice = random.Random(seed)
    story = Story()
    for turn in range(60):
        story.round(partial(counted, max(0.0, dice.gauss(80 - turn, 9)), 1.0))
        assert story.sees()


def test_a_counter_that_misses_some_sentinels_is_blind() -> None:
    story = Story()
    for _ in range(5):
        story.round(lambda sent: sent)
    assert story.sees()
    story.round(lambda sent: sent - 1)
    vision = story.estimate.vision(LABEL, "old")
    assert not vision.sees
    assert "blind" in vision.why
    assert vision.late_since == story.now - ROUND, "read again from there: they may be late"


def test_late_data_mends_the_window_it_belongs_to() -> None:
    story = Story()
    story.round(lambda sent: sent)
    sent = story.burst()
    story.now += ROUND
    story.read(0)
    late = story.estimate.vision(LABEL, "old").late_since
    assert late is not None
    resume = story.fold.reopen(LABEL, "old", late)
    assert resume is not None
    more = story.burst()
    story.now += ROUND
    story.read(sent + more, start=resume.since)
    assert story.sees()
    assert len(story.fold.chain(LABEL, "old")) == 2
    assert story.bounds().likely == 0


def test_the_busier_the_counter_the_more_sentinels_up_to_a_bound() -> None:
    quiet, busy, flood = Story(), Story(), Story()
    for _ in range(6):
        quiet.round(lambda sent: sent)
        busy.round(lambda sent: sent + 30)
        flood.round(lambda sent: sent + 100_000)
    assert max(quiet.sent) <= SENTINELS + 12
    assert max(busy.sent) > max(quiet.sent)
    assert max(flood.sent) == MOST_SENTINELS
    assert flood.sees()
    assert flood.bounds().low > 99_000 * 6, "a flood cannot be told from sentinels, and need not be"


def test_sentinels_that_were_not_answered_are_possible_but_not_certain() -> None:
    story = Story()
    for _ in range(4):
        size = story.burst(6, answered=4, silent=2)
        story.now += ROUND
        story.read(size - 1)
    assert story.sees()
    assert story.bounds().low == 0


def test_probes_are_taken_away_only_where_every_window_has_room_for_them() -> None:
    for counted, left in ((3, 0), (1, 6)):
        story = Story()
        for _ in range(6):
            at = story.now + timedelta(seconds=1.8)
            probes = SentinelSent(
                at=at, name=NAME, side="old", address="", window_start=at, window_end=at, tag="", sent=0, answered=0,
                refused=0, silent=0, probes=3,
            )  # fmt: skip
            story.fold.add(probes)
            story.round(partial(add, counted))
        found = story.bounds()
        assert found.low == 0
        assert found.high == left


def test_another_sources_path_is_no_proof_for_this_one() -> None:
    story = Story(sentinel_path="/healthz")
    for _ in range(4):
        story.round(lambda sent: sent)
    vision = story.estimate.vision(LABEL, "old")
    assert not vision.sees
    assert "no sentinel" in vision.why


def test_requests_at_the_edge_of_a_window_belong_to_either() -> None:
    story = Story()
    for _ in range(7):
        story.round(lambda sent: sent)
    before = story.bounds().high
    at = story.now + timedelta(milliseconds=100)
    story.fold.add(
        SentinelSent(
            at=at, name=NAME, side="old", address="x:1", window_start=at - timedelta(seconds=1), window_end=at,
            tag="t", path="/version", sent=5, answered=5, refused=0, silent=0,
        )
    )  # fmt: skip
    assert before == 0
    assert story.bounds().high == 0
    story.now += ROUND
    story.read(5)
    assert story.bounds().high == 0, "counted after the edge"
    early = Story()
    for turn in range(20):
        early.round(partial(add, 5 * (turn == 18)))
    at = early.now - ROUND - timedelta(milliseconds=100)
    assert early.bounds().high == 5
    early.fold.add(
        SentinelSent(
            at=at, name=NAME, side="old", address="x:1", window_start=at - timedelta(seconds=1), window_end=at,
            tag="t", path="/version", sent=5, answered=5, refused=0, silent=0,
        )
    )  # fmt: skip
    assert early.bounds().high == 0, "counted before it"


def test_a_recognising_source_counts_exactly() -> None:
    story = Story()
    for _ in range(2):
        size = story.burst(7)
        story.now += ROUND
        story.read(2, tagged=size)
    assert story.sees()
    found = story.bounds()
    assert (found.low, found.high, found.tracked) == (4, 4, True)
    story.burst(7)
    story.now += ROUND
    story.read(2, tagged=0)
    assert not story.sees()


def test_a_source_of_the_past_does_not_speak_of_the_present() -> None:
    story = Story()
    for _ in range(4):
        story.round(lambda sent: sent)
    assert story.sees()
    story.now += timedelta(minutes=10)
    vision = story.estimate.vision(LABEL, "old")
    assert not vision.sees
    assert vision.sight is Sight.STALE
    assert not story.estimate.is_recent(LABEL, "old")


def test_a_gap_ends_the_chain() -> None:
    story = Story()
    for _ in range(3):
        story.round(lambda sent: sent)
    story.now += ROUND
    story.read(3, sight=Sight.PARTIAL, gap=True, detail="a counter was reset")
    assert story.fold.chain(LABEL, "old") == ()
    assert story.fold.resume(LABEL, "old", story.now) is not None
    story.round(lambda sent: sent)
    assert len(story.fold.chain(LABEL, "old")) == 1


def test_a_failed_reading_does_not_move_the_window() -> None:
    story = Story()
    story.round(lambda sent: sent)
    end = story.now
    for sight in (Sight.EMPTY, Sight.FORBIDDEN, Sight.PARTIAL, Sight.STALE):
        story.now += ROUND
        story.read(0, sight=sight, detail="why")
        vision = story.estimate.vision(LABEL, "old")
        assert not vision.sees
        assert "why" in vision.why
    resume = story.fold.resume(LABEL, "old", story.now)
    assert resume is not None
    assert resume.since == end


@pytest.mark.parametrize(
    ("bursts", "since"),
    [
        ([(5, 0), (5, 0), (5, 0)], 0),
        ([(4, 0), (5, 0), (5, 0)], 1),
        ([(5, 0), (4, 1), (5, 0)], 2),
        ([(5, 0), (5, 0), (4, 0)], None),
        ([(5, 0), (0, 0), (5, 0)], 2),
    ],
)
def test_silence_is_refusal_without_exception(bursts: Sequence[tuple[int, int]], since: int | None) -> None:
    story = Story()
    begun: list[datetime] = []
    for refused, answered in bursts:
        begun.append(story.now + timedelta(seconds=2))
        story.burst(5, refused=refused, answered=answered, silent=5 - refused - answered)
        story.now += ROUND
    found = story.estimate.silent_since([(NAME, "127.0.0.2")])
    assert found == (None if since is None else begun[since])


def test_silence_that_was_not_watched_is_only_unbroken() -> None:
    story = Story()
    first = story.now + timedelta(seconds=2)
    story.burst(5, refused=5, answered=0)
    story.now += timedelta(hours=2)
    second = story.now + timedelta(seconds=2)
    story.burst(5, refused=5, answered=0)
    story.now += timedelta(seconds=5)
    known = [(NAME, "127.0.0.2")]
    assert story.estimate.silent_since(known) == second
    assert story.estimate.silent_since(known, over_breaks=True) == first
    story.now += timedelta(hours=1)
    assert story.estimate.silent_since(known) is None, "nobody looked lately"


def test_what_is_older_than_a_day_is_forgotten() -> None:
    story = Story()
    for _ in range(3):
        story.round(lambda sent: sent)
    story.now += timedelta(hours=30)
    assert story.fold.resume(LABEL, "old", story.now) is None
    story.round(lambda sent: sent)
    assert len(story.fold.chain(LABEL, "old")) == 1


def test_sentinels_of_a_name_that_the_plan_does_not_have_prove_nothing() -> None:
    story = Story()
    for _ in range(3):
        story.round(lambda sent: sent)
    at = story.now - timedelta(seconds=2)
    story.fold.add(
        SentinelSent(
            at=at, name="other.example.com.", side="old", address="x:1", window_start=at, window_end=at,
            tag="t", path="/version", sent=5, answered=5, refused=0, silent=0,
        )
    )  # fmt: skip
    assert story.sees()
    assert {name for name, _ in story.fold.refusals("old")} == {NAME}


def test_in_a_roll_back_nothing_of_the_way_there_is_mixed_in() -> None:
    there = Story()
    for _ in range(8):
        there.round(lambda sent: sent)
    back = TrafficFold(there.plan.reversed())
    reading = there.fold.latest(LABEL, "old")
    assert reading is not None
    back.add(replace(reading, asked=asked_of(there.plan.traffic[0], "old")))
    assert back.latest(LABEL, "old") is None, "the query of that side is another one now"
    own = asked_of(there.plan.reversed().traffic[0], "old")
    back.add(replace(reading, asked=own))
    assert back.latest(LABEL, "old") is not None


def test_an_address_is_on_the_side_that_the_plan_gives_it_now() -> None:
    story = Story()
    story.burst(5, refused=5, answered=0)
    assert set(story.fold.refusals("old")) == {(NAME, "127.0.0.2:443")}
    back = Story(story.plan.reversed())
    back.burst(5, refused=5, answered=0)
    assert not back.fold.refusals("old")
    assert set(back.fold.refusals("new")) == {(NAME, "127.0.0.2:443")}


def test_a_command_is_read_the_other_way_round_in_a_roll_back() -> None:
    plan = plan_of({"source": "command", "command": ["./share"]}).reversed()
    assert (plan.traffic[0].old, plan.traffic[0].new) == ("new", "old")
    assert (plan.reversed().traffic[0].old, plan.reversed().traffic[0].new) == ("old", "new")
