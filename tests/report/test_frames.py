"""What terminals show, kept as files; ``CUTOVER_WRITE_FRAMES=1 pytest tests/report/test_frames.py`` writes them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from cutover.observations.gate import Judged
from cutover.output import plainer
from cutover.report.live import frame
from cutover.report.verdict_text import judged_text
from cutover.rounds import Judgement
from cutover.verdict import Verdict
from tests.report import scenes
from tests.report.scenes import NOW, SOAK

FRAMES = Path(__file__).parent / "frames"
WIDTHS = (40, 80, 120)


def live(judged: Judged, width: int, *, colour: bool = False) -> str:
    eta = NOW + timedelta(hours=1) if judged.verdict == Verdict.CONVERGING else None
    screen = Console(
        file=io.StringIO(),
        width=width,
        no_color=not colour,
        force_terminal=colour,
        highlight=False,
        color_system="standard" if colour else None,
    )
    screen.print(frame(Judgement(judged, Verdict(judged.verdict), {}, eta), SOAK.total_seconds(), NOW, width))
    assert isinstance(screen.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in screen.file.getvalue().splitlines())


def first_screen(judged: Judged) -> str:
    return judged_text(judged, lambda text, *_: text) + "\n"


DRAWN: dict[str, Callable[[], str]] = {
    **{f"live-converging-{width}": partial(live, scenes.converging(), width) for width in WIDTHS},
    **{f"live-split-brain-{width}": partial(live, scenes.split_brain(), width) for width in WIDTHS},
    **{f"live-converged-{width}": partial(live, scenes.converged(), width) for width in WIDTHS},
    "first-screen-blocked": lambda: first_screen(scenes.blocked()),
    "first-screen-split-brain": lambda: first_screen(scenes.split_brain()),
    "first-screen-converged": lambda: first_screen(scenes.converged()),
    "first-screen-blocked-ascii": lambda: plainer(first_screen(scenes.blocked()), "ascii"),
    "live-converging-80-ascii": lambda: plainer(live(scenes.converging(), 80), "ascii"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_frame_is_the_one_that_is_kept(name: str) -> None:
    path = FRAMES / f"{name}.txt"
    drawn = DRAWN[name]()
    if os.environ.get("CUTOVER_WRITE_FRAMES"):
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")


def test_no_frame_is_left_over() -> None:
    assert {x.stem for x in FRAMES.glob("*.txt")} == set(DRAWN)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("judged", [scenes.converging(), scenes.split_brain()], ids=lambda x: x.verdict)
def test_a_frame_fits_and_loses_nothing(judged: Judged, width: int) -> None:
    drawn = live(judged, width)
    assert all(len(line) <= width for line in drawn.splitlines())
    together = "".join(drawn.split())
    assert "resolver-2" in together
    assert "timeout,wasold" in together
    assert "8.2%onold" in together
    assert judged.verdict.upper() in together


@pytest.mark.parametrize("width", WIDTHS)
def test_split_brain_is_the_first_line_and_says_what_to_run(width: int) -> None:
    drawn = live(scenes.split_brain(), width)
    assert drawn.startswith("SPLIT-BRAIN: both databases took writes.")
    assert "Run: cutover fence" in " ".join(drawn.split())


def test_without_colours_the_bar_still_tells_old_from_new() -> None:
    drawn = live(scenes.converging(), 80)
    (bar,) = [line for line in drawn.splitlines() if "█" in line]
    assert "▒" in bar
    assert "·" in bar
    assert "\x1b" not in drawn
    assert "\x1b[31m" in live(scenes.converging(), 80, colour=True)


def test_an_ascii_terminal_gets_ascii() -> None:
    assert (FRAMES / "live-converging-80-ascii.txt").read_text(encoding="utf-8").isascii()
    assert "\\x" not in (FRAMES / "live-converging-80-ascii.txt").read_text(encoding="utf-8")
