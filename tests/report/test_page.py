"""The page as text: what it must say, that nothing from outside becomes markup, and that it can be read by everyone."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutover.durations import iso
from cutover.finding import Severity, Status
from cutover.observations.gate import Judged
from cutover.report.chart import Curve, line_chart, share_text
from cutover.report.finding_text import clean
from cutover.report.page import sentence, status_page
from cutover.report.style import DARK, LIGHT, style_sheet
from cutover.verdict import Verdict
from tests.report import scenes
from tests.report.scenes import NOW, SOAK

HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='alert(1)' x='",
    "</style></head><body onload=alert(1)>",
    "</title><svg/onload=alert(1)>",
    "--><iframe src=javascript:alert(1)></iframe><!--",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<a href=https://evil.example>here</a>",
    "{0} %s \\u003cscript\\u003e ${7*7}",
    "\x1b[2J\x00\r\u202eevil\ud800",
)


class Markup(HTMLParser):
    """The page's tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(judged: Judged, **more: Any) -> str:
    story = more.pop("story", None) or scenes.story(judged)
    return status_page(judged, story, NOW, **{"refresh": 30.0, "soak": SOAK, **more})


def hostile_page(text: str, *, refresh: float | None = 30.0) -> str:
    """Everything that comes from outside says ``text``."""
    # the checks' rooms are the tool's own, and what they say is not
    poisoned = scenes.finding(
        f"elsewhere.{text}",
        Status.FAIL,
        text,
        text,
        fix=text,
        measured={"share": 0.5, text: text},
        until=NOW + timedelta(hours=1),
    )
    told = [
        scenes.finding(check, status, text, text, severity=severity)
        for check in ("dns.horizon", "origin.tls", "traffic.converged", "database.old-quiet", "edge.proxied")
        for status in Status
        for severity in (Severity.BLOCKER, Severity.INFO)
    ]
    row = scenes.row(1, text, resolver=text, operator=text, country=text, name=text, type=text, remaining_ttl=text)
    judged = scenes.judged(
        Verdict.CONVERGING,
        poisoned,
        *told,
        command=text,
        phase="watch",
        migration=text,
        names=(text, text + "2"),
        soaked={text: 3.0, text + "2": 4.0},
        plan_hash=text,
        summary={"resolvers": [row, {**row, "last_old": text}], "shares": {text: {text: text}}},
        not_before=NOW + timedelta(minutes=1),
    )
    story = scenes.story(
        judged,
        scenes.override(reason=text, who=text, checks=(text, text), ledger_head=text, plan_hash=text, verdict=text),
        scenes.sign_off(who=text, names=(text,), gate_changes={text: text}, bound=text, ledger_head=text),
    )
    return status_page(judged, story, NOW, refresh=refresh, soak=SOAK, ledger_head=text, replayed=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_outside_becomes_markup(text: str) -> None:
    harmless, hostile = Markup(hostile_page("harmless")), Markup(hostile_page(text))
    assert hostile.tags == harmless.tags
    assert [x[:2] for x in hostile.attributes] == [x[:2] for x in harmless.attributes]
    assert " ".join(clean(text).split()) in hostile.said
    assert clean(text).strip() in unescape(hostile_page(text))


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_no_text_whatever_becomes_markup(text: str) -> None:
    assert Markup(hostile_page(text)).tags == Markup(hostile_page("harmless")).tags


@pytest.mark.parametrize("text", ["harmless", *HOSTILE])
def test_the_page_needs_no_network_and_has_no_script(text: str) -> None:
    page = hostile_page(text)
    markup = Markup(page)
    assert not {"script", "img", "link", "iframe", "object", "embed", "form", "base", "a", "use"} & set(markup.tags)
    for tag, key, value in markup.attributes:
        assert not key.startswith("on"), (tag, key)
        assert key not in {"src", "href", "srcset", "action", "xlink:href", "data"}, (tag, key, value)
        if key == "style":
            assert re.fullmatch(r"width:\d+%", value)
    (sheet,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert "url(" not in sheet
    assert "@import" not in sheet
    policy = [x for x in markup.attributes if x[2].startswith("default-src 'none'")]
    assert len(policy) == 1
    assert not any("script" in x for _, _, x in policy)


def test_text_that_cannot_be_encoded_can_still_be_written() -> None:
    hostile_page("\ud800\udfff").encode("utf-8")


@pytest.mark.parametrize(
    ("judged", "word", "tone", "told"),
    [
        (scenes.blocked(), "BLOCKED", "bad", "Do not change anything yet: 2 things must be mended first."),
        (scenes.converging(), "CONVERGING", "wait", "Not done: part of the world may still use the old side."),
        (scenes.converged(), "CONVERGED", "good", "The world has moved"),
        (scenes.split_brain(), "SPLIT-BRAIN", "bad", "Both databases took writes."),
        (scenes.judged(Verdict.INCONCLUSIVE), "INCONCLUSIVE", "wait", "nothing that the verdict rests on"),
        (
            scenes.judged(Verdict.INCONCLUSIVE, scenes.finding("dns.horizon", Status.INCONCLUSIVE, "?")),
            "INCONCLUSIVE",
            "wait",
            "Not known: 1 thing that the verdict needs could not be seen.",
        ),
        (scenes.judged(Verdict.READY, command="preflight"), "READY", "good", "was seen to hold"),
        (scenes.judged(Verdict.CONVERGING), "CONVERGING", "wait", "it has not held for long enough yet"),
    ],
)
def test_the_verdict_is_one_word_and_one_sentence(judged: Judged, word: str, tone: str, told: str) -> None:
    page = page_of(judged)
    assert f'<header class="{tone}">' in page
    assert f"<h1>{word}</h1>" in page
    assert told in sentence(judged)
    assert sentence(judged) in page
    assert page.count("<h1>") == 1
    assert f"<title>{word}: porter-to-sst</title>" in page


def test_a_running_night_shows_what_the_team_asks_for() -> None:
    last = scenes.converging()
    page = page_of(last, story=scenes.night(last), eta=NOW + timedelta(hours=1))
    said = Markup(page).said
    assert "No cache may hold old any more in 45 min 12 Nov 07:40:00 UTC" in said
    assert "Done at the earliest in 1 h" in said
    assert "Requests on old 8.2 %" in said
    assert "Resolver answers on old 3 of 22 13.6 % of 22 answers; 2 silent" in said
    assert "Held so far 0 s of 15 min" in said
    assert "✗ Fails: requests" in said
    assert "3280 of 40000 requests on old" in said
    assert "cutover explain dns.resolvers-converged" in said
    assert "Not on new country resolver operator name answer TTL left" in said
    assert "timeout, was old" in said
    assert "By country country new old mixed other or silent answers BR 2 0 0 0 2 DE 3 1 0 0 4" in said
    for room in ("Origins", "Traffic", "Databases", "DNS", "Edge"):
        assert f"<h2>{room}</h2>" in page
    assert "152 rounds." in said
    assert '<meta http-equiv="refresh" content="30">' in page


def test_an_instant_that_is_over_counts_no_longer_down() -> None:
    assert "No cache may hold old any more now" in Markup(page_of(scenes.converged())).said
    unknown = replace(scenes.converging(), not_before=None)
    assert "No cache may hold old any more not known" in Markup(page_of(unknown)).said


def test_an_instant_that_rests_on_a_step_not_taken_never_reads_as_now() -> None:
    """Safe "if lowered now": an hour later nobody has lowered it, and the instant lies in the past."""
    past = scenes.NOW - timedelta(hours=1)
    blocked = scenes.judged(Verdict.BLOCKED, command="preflight", safe_to_change_at=past)
    ready = scenes.judged(Verdict.READY, command="preflight", safe_to_change_at=past)
    assert "<dt>Safe to change, at the earliest</dt><dd>not yet" in page_of(blocked)
    assert "<dt>Safe to change</dt><dd>now" in page_of(ready)


def test_what_nobody_measured_is_never_shown_as_nothing() -> None:
    blind = replace(scenes.converging(), findings=(), summary={})
    said = Markup(page_of(blind)).said
    assert "Requests on old not known no source told of both sides" in said
    assert "Resolver answers on old not known" in said
    assert "0 %" not in said
    silent = replace(blind, summary={"resolvers": [scenes.row(1, "timeout")]})
    assert "Resolver answers on old not known no resolver answered" in Markup(page_of(silent)).said


def test_split_brain_begins_with_the_commands_to_run() -> None:
    said = Markup(page_of(scenes.split_brain())).said
    assert "Run now, in this order cutover fence cutover reconcile --estimate cutover reconcile" in said
    assert said.index("Run now") < said.index("No cache may hold")


def test_the_report_holds_sign_off_overrides_and_hashes() -> None:
    last = scenes.converged()
    story = scenes.with_decisions(last, [scenes.override(), scenes.sign_off()])
    page = page_of(last, story=story, refresh=None, ledger_head="f" * 64, replayed="converged")
    said = Markup(page).said
    assert 'http-equiv="refresh"' not in page
    assert f"Overridden by ops@bastion, {iso(scenes.override().at)}" in said
    assert "resolver-0 belongs to a provider without customers of ours" in said
    assert "Verdict then, and still converging" in said
    assert f"Signed off by ops@bastion, {iso(NOW)}" in said
    assert scenes.sign_off().ledger_head in said
    assert scenes.HASH in said
    assert "soak = 30m, max_old_share = 0.002" in said
    assert "at most 0.008% of requests at 95 % confidence" in said
    assert "Ledger head " + "f" * 64 in said
    assert "Judged anew from the ledger: converged (the same)" in said
    assert "(THIS DIFFERS)" in Markup(page_of(last, refresh=None, replayed="converging")).said


def test_the_timeline_is_told_in_order_and_newest_first_while_it_runs() -> None:
    last = scenes.converged()
    story = scenes.with_decisions(last, [scenes.override(), scenes.sign_off()])
    told = Markup(page_of(last, story=story, refresh=None)).said
    told = told[told.index("Timeline") :]
    assert told.index("blocked") < told.index("converging") < told.index("overridden") < told.index("signed off")
    live = Markup(page_of(last, story=story)).said
    live = live[live.index("Timeline") :]
    assert live.index("signed off") < live.index("overridden") < live.index("blocked")


def test_a_roll_back_is_said_to_be_one() -> None:
    assert "roll-back" in page_of(replace(scenes.converging(), reverse=True))
    assert "roll-back" not in page_of(scenes.converging())


def test_the_last_of_many_names_is_the_one_that_is_shown() -> None:
    names = {"a.example.com.": 900.0, "b.example.com.": 30.0, "c.example.com.": 900.0}
    said = Markup(page_of(replace(scenes.converging(), soaked=names))).said
    assert "Held so far 30 s of 15 min by b.example.com, the last of 3 names; 2 have held it all" in said


def test_two_hundred_names_and_a_long_panel_stay_bounded() -> None:
    many = [scenes.row(number, "old", resolver=f"r{number}") for number in range(5000)]
    judged = replace(scenes.converging(), summary={"resolvers": many})
    page = page_of(judged)
    said = Markup(page).said
    assert "Not on new (the first 40)" in said
    assert "Every answer (5000, of which 2000 are shown" in said
    assert len(page) < 1_500_000


def test_curves_break_where_nobody_could_tell() -> None:
    points = [(NOW + timedelta(minutes=n), value) for n, value in enumerate([0.5, 0.4, None, 0.2, None, 0.1])]
    drawn = line_chart("Old", [Curve("requests", "c2", points)])
    assert drawn.count('<path class="c2"') == 1
    assert drawn.count('<path class="c2 dot"') == 2
    assert "requests: from 50.0 % to 10.0 %" in drawn
    assert line_chart("Old", [Curve("requests", "c2", [(NOW, None)])]) == ""
    assert line_chart("Old", []) == ""


def test_curves_stay_inside_the_drawing() -> None:
    points = [(NOW + timedelta(hours=n), n / 100) for n in range(30)]
    drawn = line_chart("Old", [Curve("requests", "c1", points)], [NOW + timedelta(hours=5), NOW - timedelta(hours=5)])
    (path,) = re.findall(r'<path class="c1" d="M([^"]*)"', drawn)
    pairs = [tuple(map(float, each.split())) for each in re.findall(r"[\d.]+ [\d.]+", path)]
    assert len(pairs) == 30
    assert all(0 <= x <= 1000 and 0 <= y <= 100 for x, y in pairs)
    assert pairs[0] == (0, 100)
    assert drawn.count('class="turn"') == 1


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (1, "100 %"), (0.082, "8.2 %"), (0.0004, "0.04 %"), (1e-9, "0.001 %"), (0.9999, "100.0 %")],
)
def test_a_share_that_is_not_nothing_never_reads_as_nothing(share: float, said: str) -> None:
    assert share_text(share) == said


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio": (L1 + 0.05) / (L2 + 0.05) of relative luminances."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


TEXT = [
    *((role, ground) for role in ("fg", "soft", "good", "bad", "wait", "c1") for ground in ("bg", "card")),
    *((role, f"{tone}-bg") for tone in ("good", "bad", "wait") for role in ("fg", "soft", tone)),
]
GRAPHICS = [("c1", "card"), ("c2", "card"), ("c1", "bg"), ("c2", "bg"), ("edge", "card"), ("edge", "bg")]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_wcag_aa(colours: dict[str, str]) -> None:
    for text, ground in TEXT:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark, ground in GRAPHICS:
        assert contrast(colours[mark], colours[ground]) >= 3, (mark, ground)


def test_black_on_white_has_the_contrast_that_the_standard_names() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_every_colour_of_the_sheet_is_one_of_the_two_sets() -> None:
    assert LIGHT.keys() == DARK.keys()
    sheet = style_sheet()
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", sheet))
    assert used == set(LIGHT)
    rules = re.sub(r"--[a-z0-9-]+:#[0-9a-f]{6};", "", sheet)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", rules)
