"""What people see: the first screen, the live frame, plain output without colours or Unicode."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from cutover.durations import iso, parse_duration, plan_duration, say_duration, say_instant
from cutover.finding import Finding, Severity, Status
from cutover.folds.soak import Soak
from cutover.observations.gate import Judged
from cutover.output import Output, to_json
from cutover.plan import Gate
from cutover.report.finding_text import clean
from cutover.report.live import frame, round_line
from cutover.report.verdict_text import judged_json, judged_text, soak_text
from cutover.rounds import Judgement
from cutover.verdict import Verdict

NOW = datetime(2025, 11, 12, 6, 0, tzinfo=UTC)


def plain(text: str, *_: str) -> str:
    return text


def finding(check: str, status: Status, message: str, **more: object) -> Finding:
    values = {"check": check, "status": status, "subject": "app.example.com A", "message": message, **more}
    return Finding(**values)  # type: ignore[arg-type]


TTL = finding(
    "dns.ttl-lowered",
    Status.FAIL,
    "TTL is 86400 s at hop 1 of 1 (limit 60 s)",
    measured={"ttl": 86400, "limit": 60},
    fix="aws route53 change-resource-record-sets --hosted-zone-id YOUR_ZONE_ID --change-batch '{}'",
    until=NOW + timedelta(days=1),
)
NO_NEW = finding("origin.reachable", Status.INCONCLUSIVE, "the new side is not given: add --new")
PASSED = finding("dns.zone-agreement", Status.PASS, "2 servers hold the same")
SKIPPED = finding("dns.change-insync", Status.SKIP, "no change id is known")


def judged(verdict: Verdict, *findings: Finding, command: str = "preflight", **more: object) -> Judged:
    values: dict[str, object] = {
        "at": NOW,
        "command": command,
        "phase": "preflight" if command == "preflight" else "watch",
        "migration": "porter-to-sst",
        "began": NOW,
        "plan_hash": "h",
        "names": ("app.example.com.",),
        "verdict": verdict.value,
        "exit_code": int(verdict.exit_code),
        "findings": findings,
        "soaked": {"app.example.com.": 120.0},
        "summary": {},
        **more,
    }
    return Judged(**values)  # type: ignore[arg-type]


def test_the_first_screen_says_verdict_why_until_when_and_the_next_command() -> None:
    text = judged_text(judged(Verdict.BLOCKED, PASSED, SKIPPED, NO_NEW, TTL, planned=False), plain)
    assert text.splitlines() == [
        "app.example.com   BLOCKED (3)",
        "✗ app.example.com A: TTL is 86400 s at hop 1 of 1 (limit 60 s) -> 13 Nov 06:00:00 UTC (in 1 d)"
        "  [dns.ttl-lowered]",
        "    run: aws route53 change-resource-record-sets --hosted-zone-id YOUR_ZONE_ID --change-batch '{}'",
        "? app.example.com A: the new side is not given: add --new  [origin.reachable]",
        "✓ 1 passed (-v lists them)",
        "- not in the plan: dns.change-insync",
        "Next: cutover init app.example.com --new ...",
    ]


def test_where_there_is_a_plan_nobody_is_told_to_make_one() -> None:
    text = judged_text(judged(Verdict.INCONCLUSIVE, NO_NEW), plain)
    assert text.splitlines()[-1] == "Next: add new = [...] to app.example.com in the plan"


def test_a_check_that_has_something_to_say_is_only_skipped_for_what_it_names() -> None:
    requests = finding("traffic.converged", Status.FAIL, "10% of requests on old", subject="requests")
    writes = finding("traffic.converged", Status.SKIP, "counted by old's database itself", subject="writes")
    text = judged_text(judged(Verdict.CONVERGING, requests, writes, SKIPPED), plain)
    assert "- not in the plan: traffic.converged (writes), dns.change-insync" in text.splitlines()


def test_what_fails_but_does_not_block_does_not_look_like_what_blocks() -> None:
    minor = finding("dns.caa", Status.FAIL, "no CAA record lets this CA issue", severity=Severity.WARNING)
    text = judged_text(judged(Verdict.BLOCKED, TTL, minor), plain)
    marks = [line[0] for line in text.splitlines() if line.endswith("]")]
    assert marks == ["✗", "!"]


def test_a_round_in_which_nothing_fails_says_what_it_waits_for() -> None:
    quiet = judged_text(judged(Verdict.CONVERGING, PASSED, command="watch"), plain)
    assert "Nothing is missing but time: the soak has held 2 min" in quiet
    few = finding("traffic.converged", Status.WARN, "12 of 3000 requests seen", extends_soak=True)
    held_open = judged_text(judged(Verdict.CONVERGING, PASSED, few, command="watch"), plain)
    assert "the soak may not end yet: see traffic.converged above" in held_open
    for more in ((TTL,), (NO_NEW,)):
        text = judged_text(judged(Verdict.CONVERGING, PASSED, *more, command="watch"), plain)
        assert "Nothing" not in text


def test_a_soak_that_is_too_old_to_sign_off_says_so() -> None:
    assert soak_text(Soak(), Gate(), NOW) == "0 s of 15 min"
    assert soak_text(Soak(completed_at=NOW - timedelta(hours=2)), Gate(), NOW).startswith("complete since")
    stale = soak_text(Soak(completed_at=NOW - timedelta(hours=13)), Gate(), NOW)
    assert stale == "was complete 13 h ago, too long to sign off (valid_for 12h)"


def test_split_brain_is_the_first_line_with_the_commands_to_run() -> None:
    alarm = finding("database.split-brain", Status.FAIL, "212 rows on old, 90 on new")
    lines = judged_text(judged(Verdict.SPLIT_BRAIN, TTL, alarm, command="watch"), plain).splitlines()
    assert lines[0].startswith("SPLIT-BRAIN")
    assert [line.strip() for line in lines[1:4]] == [
        "cutover fence",
        "cutover reconcile --estimate",
        "cutover reconcile",
    ]
    assert lines[-1] == "Next: cutover fence"


def test_the_json_holds_the_contract() -> None:
    form = json.loads(to_json(judged_json(judged(Verdict.BLOCKED, TTL))))
    assert form["command"] == "preflight"
    assert form["migration"] == "porter-to-sst"
    assert form["at"] == "2025-11-12T06:00:00Z"
    assert form["verdict"] == "blocked"
    assert form["exit_code"] == 3
    assert form["safe_to_change_at"] is None
    assert form["not_before"] is None
    (one,) = form["findings"]
    assert one["check"] == "dns.ttl-lowered"
    assert one["status"] == "fail"
    assert one["severity"] == "blocker"
    assert one["measured"] == {"ttl": 86400, "limit": 60}
    assert one["runbook"] == "dns-ttl-lowered.md"


def row(resolver: str, kind: str, remaining: int | None = 30, last_old: datetime | None = None) -> dict[str, object]:
    return {
        "resolver": resolver,
        "operator": resolver,
        "country": "",
        "tier": "required",
        "name": "app.example.com",
        "type": "A",
        "class": kind,
        "remaining_ttl": remaining,
        "last_old": last_old,
    }


ROWS = [row("one", "new"), row("two", "new"), row("three\x1b[2J", "old", 17), row("four", "timeout", None, NOW)]


def drawn(width: int) -> str:
    horizon = finding("dns.horizon", Status.FAIL, "caches may hold old", until=NOW + timedelta(minutes=5))
    shown = judged(
        Verdict.CONVERGING,
        horizon,
        finding("origin.user-path", Status.PASS, "new"),
        command="watch",
        summary={"resolvers": ROWS, "shares": {}},
        not_before=NOW + timedelta(minutes=5),
    )
    screen = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False, highlight=False)
    screen.print(frame(Judgement(shown, Verdict.CONVERGING, {}), 900.0, NOW, width))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_frame_fits_and_shows_who_is_still_on_old(width: int) -> None:
    text = drawn(width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "\x1b" not in text
    joined = " ".join(text.split())
    assert "CONVERGING" in joined
    assert "17 s" in joined
    assert "2 min of 15 min" in joined
    assert "was old" in joined
    assert "not before: 12 Nov 06:05:00 UTC" in joined
    assert ("█" in text) == (width >= 70)


def test_a_line_changes_only_when_something_that_matters_does() -> None:
    first = judged(Verdict.CONVERGING, TTL, command="watch", summary={"resolvers": ROWS})
    later = judged(
        Verdict.CONVERGING, TTL, command="watch", summary={"resolvers": ROWS}, at=NOW + timedelta(seconds=30)
    )
    assert round_line(Judgement(first, Verdict.CONVERGING, {})) == round_line(Judgement(later, Verdict.CONVERGING, {}))
    assert "dns.ttl-lowered" in round_line(Judgement(first, Verdict.CONVERGING, {}))
    assert "1 old 2 new 1 timeout" in round_line(Judgement(first, Verdict.CONVERGING, {})) or "2 new" in round_line(
        Judgement(first, Verdict.CONVERGING, {})
    )


def test_text_from_the_network_cannot_move_the_cursor() -> None:
    assert "\x1b" not in clean("a\x1b[2Jb\r\x9b31m‮c")
    assert clean("plain – ünïcode ✓") == "plain – ünïcode ✓"


def test_in_a_roll_back_nobody_is_told_to_fence_the_side_that_is_to_live() -> None:
    split = finding("database.split-brain", Status.FAIL, "both databases took writes", fix="cutover explain rollback")
    forward = judged(Verdict.SPLIT_BRAIN, split, command="watch")
    assert judged_text(forward, plain).splitlines()[1].strip() == "cutover fence"
    back = replace(forward, reverse=True)
    assert "fence" not in judged_text(back, plain)
    assert "cutover explain rollback" in judged_text(back, plain).splitlines()[1]


def test_a_roll_back_says_that_it_is_one_and_goes_on_as_one() -> None:
    back = replace(judged(Verdict.CONVERGING, PASSED, command="watch"), reverse=True)
    lines = judged_text(back, plain).splitlines()
    assert "roll-back" in lines[1]
    assert lines[-1] == "Next: cutover watch --reverse --until-done"
    assert "`cutover watch --reverse --until-done` completes it" in judged_text(back, plain)
    there = replace(judged(Verdict.CONVERGED, PASSED, command="watch"), reverse=True)
    assert judged_text(there, plain).splitlines()[-1] == "Next: cutover report"
    screen = Console(file=io.StringIO(), width=80, no_color=True)
    screen.print(frame(Judgement(there, Verdict.CONVERGED, {}), 900.0, NOW, 80))
    assert isinstance(screen.file, io.StringIO)
    live = screen.file.getvalue()
    assert "roll-back" in live
    assert "cutover done" not in live


def test_text_from_the_network_stays_on_its_line() -> None:
    forged = replace(TTL, message="x\n✓ 12 passed\r\nsigned off by root")
    said = judged_text(judged(Verdict.BLOCKED, forged), plain).splitlines()
    assert [line for line in said if "signed off" in line or "12 passed" in line] == [
        line for line in said if line.startswith("✗")
    ]


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    options = {"as_json": False, "no_color": False, "verbose": 0, "quiet": 0}
    assert Output.of(**options).paint("x", "red") == "\x1b[31mx\x1b[0m"  # type: ignore[arg-type]
    assert Output.of(**{**options, "no_color": True}).paint("x", "red") == "x"  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert Output.of(**options).paint("x", "red") == "x"  # type: ignore[arg-type]


def test_a_locale_without_unicode_gets_plainer_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Output().text("✗ TTL ≤ 60 → ü")
    assert raw.getvalue() == b"x TTL < 60 > \\xfc\n"


@pytest.mark.parametrize("text", ["6s", "1.5s", "15m", "1h30m", "1d", "1d2h3m4s", "0s"])
def test_a_duration_is_written_as_a_plan_writes_it(text: str) -> None:
    assert plan_duration(parse_duration(text)) == text


def test_durations_and_instants() -> None:
    assert parse_duration("1h30m") == timedelta(minutes=90)
    for wrong in ("", "5", "m", "-5s", "5 weeks"):
        with pytest.raises(ValueError, match="duration"):
            parse_duration(wrong)
    assert say_duration(86400) == "1 d"
    assert say_duration(90061) == "1 d 1 h"
    assert say_duration(59.6) == "1 min"
    assert say_duration(0) == "0 s"
    assert say_instant(NOW - timedelta(seconds=90), NOW) == "12 Nov 05:58:30 UTC (1 min 30 s ago)"
    assert iso(NOW + timedelta(milliseconds=1)) == "2025-11-12T06:00:00.001000Z"


def test_warnings_never_hide_among_blockers() -> None:
    text = judged_text(
        judged(Verdict.READY, PASSED, finding("dns.caa", Status.WARN, "look", severity=Severity.WARNING)), plain
    )
    assert "! app.example.com A: look" in text
