"""The pages in a real browser: hostile values stay text, and nothing sticks out of a phone's screen."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest

from cutover.finding import Status
from cutover.report.page import status_page
from cutover.verdict import Verdict
from tests.report import chromium, scenes
from tests.report.test_page import HOSTILE, Markup, hostile_page

MEASURE = """<title>measuring</title><body style="margin:0"><iframe id="f" style="width:{width}px;height:900px;border:0"
srcdoc="{page}"></iframe><script>
document.getElementById('f').onload = (event) => {{
  const view = event.target.contentDocument, out = [];
  for (const each of view.querySelectorAll('body *')) {{
    const box = each.getBoundingClientRect();
    if (box.width && !each.closest('svg') && !each.closest('thead') && box.right > {width} + 1)
      out.push(each.tagName + ':' + Math.round(box.right) + ':' + each.textContent.slice(0, 40));
  }}
  document.title = 'measured ' + view.documentElement.scrollWidth + ' ' + out.slice(0, 5).join(' | ');
}};</script>"""


def title_of(markup: str) -> str:
    return markup[markup.index("<title>") + 7 : markup.index("</title>")]


def test_the_trap_works_where_nothing_is_escaped(tmp_path: Path) -> None:
    page = tmp_path / "trap.html"
    page.write_text(f"<!doctype html><title>before</title><body>{HOSTILE[0]}", encoding="utf-8")
    assert title_of(chromium.dom(page)) == "owned"


def test_hostile_values_stay_text_in_a_browser(tmp_path: Path) -> None:
    text = " ".join(HOSTILE[:-1])
    page = tmp_path / "hostile.html"
    page.write_text(hostile_page(text, refresh=None), encoding="utf-8")
    seen, harmless = Markup(chromium.dom(page)), Markup(hostile_page("harmless", refresh=None))
    assert sorted(seen.tags) == sorted(harmless.tags)
    assert not [x for x in seen.attributes if x[1].startswith("on") or x[1] in {"src", "href"}]
    assert "owned" not in seen.tags
    assert text in seen.said
    assert title_of(chromium.dom(page)).startswith("CONVERGING: &lt;script&gt;")


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_sticks_out_of_the_screen(tmp_path: Path, width: int) -> None:
    last = scenes.converged()
    long = "a-very-long-name-that-nobody-breaks." * 6 + "example.com"
    rows = [scenes.row(1, "old", resolver=long, country=long), *scenes.rows(3)]
    shown = scenes.judged(
        Verdict.CONVERGING,
        *scenes.converging().findings,
        scenes.finding("origin.tls", Status.FAIL, long, long, fix=scenes.FIX + long),
        names=(long + ".",),
        soaked={long + ".": 10.0},
        summary={"resolvers": rows},
    )
    told = scenes.with_decisions(last, [scenes.override(reason=long), scenes.sign_off(names=(long,))])
    inside = status_page(shown, told, scenes.NOW, refresh=None, soak=scenes.SOAK, ledger_head=scenes.HASH)
    # the page's own policy forbids scripts: the one that measures runs in the page around it
    page = tmp_path / "measure.html"
    page.write_text(MEASURE.format(width=width, page=escape(inside)), encoding="utf-8")
    assert title_of(chromium.dom(page)).split(" ", 2)[:2] == ["measured", str(width)], title_of(chromium.dom(page))


def test_the_printed_page_holds_what_a_screen_folds_away(tmp_path: Path) -> None:
    last = scenes.converging()
    page, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(status_page(last, scenes.night(last), scenes.NOW, refresh=None), encoding="utf-8")
    folded = tmp_path / "folded.html"
    folded.write_text(page.read_text(encoding="utf-8").replace("<details>", "<details hidden>"), encoding="utf-8")
    chromium.run(page, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    less = tmp_path / "less.pdf"
    chromium.run(folded, f"--print-to-pdf={less}", "--no-pdf-header-footer")
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > less.stat().st_size + 1500
