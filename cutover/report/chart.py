"""One line chart as inline SVG. Pure.

Drawn by hand: two curves over time need a few dozen lines, while every charting library that was looked at brings
either a script or a picture of fixed size. The page must work without the first; unlike the second, the drawing here
stretches to any width while the words around it stay at reading size.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 1000, 100
_MOST_TURNS = 24


class Curve(NamedTuple):
    """One named curve: (instant, value) pairs in order; None breaks the line.

    Attributes:
        style: a CSS class of the page: ``c1`` solid, ``c2`` dashed.
    """

    label: str
    style: str
    points: Sequence[tuple[datetime, float | None]]


def line_chart(title: str, curves: Sequence[Curve], turns: Sequence[datetime] = ()) -> str:
    """Draw shares (0..1) over time; "" when there is nothing to draw.

    Args:
        title: what is drawn.
        curves: one or two.
        turns: instants that get an upright line; too many are left out.
    """
    instants = [at for curve in curves for at, value in curve.points if value is not None]
    if not instants:
        return ""
    first, last = min(instants), max(instants)
    span = max(last - first, timedelta(seconds=1))
    top = _round_up(max(value for curve in curves for _, value in curve.points if value is not None))

    def x(at: datetime) -> float:
        return round((at - first) / span * _WIDTH, 1)

    def y(value: float) -> float:
        return round((1 - value / top) * _HEIGHT, 2)

    parts = [f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{at}" y2="{at}"/>' for at in (0.5, _HEIGHT / 2, 99.5)]
    within = [at for at in turns if first < at < last]
    if len(within) <= _MOST_TURNS:
        parts += [f'<line class="turn" x1="{x(at)}" x2="{x(at)}" y1="0" y2="{_HEIGHT}"/>' for at in within]
    for curve in curves:
        for run in _runs(curve.points):
            steps = " ".join(f"{x(at)} {y(value)}" for at, value in run)
            if len(run) == 1:
                parts.append(f'<path class="{curve.style} dot" d="M{steps}h.01"/>')
            else:
                parts.append(f'<path class="{curve.style}" d="M{steps}"/>')
    legend = "".join(
        f'<span><i class="key {curve.style}"></i>{escape(curve.label)}: {_ends(curve)}</span>' for curve in curves
    )
    said = escape(f"{title}: " + "; ".join(f"{curve.label} {_ends(curve)}" for curve in curves))
    levels = "".join(f"<span>{level * 100:.3g} %</span>" for level in (top, top / 2, 0.0))
    return (
        f'<figure><figcaption>{legend}</figcaption><div class="plot"><div class="y" aria-hidden="true">{levels}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f"{''.join(parts)}</svg>"
        f'<div class="x"><span>{_clock(first, first, last)}</span>'
        f'<span class="mid">{_clock(first + span / 2, first, last)}</span>'
        f"<span>{_clock(last, first, last)} UTC</span></div></div></figure>"
    )


def _runs(points: Sequence[tuple[datetime, float | None]]) -> list[list[tuple[datetime, float]]]:
    runs: list[list[tuple[datetime, float]]] = [[]]
    for at, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]


def _round_up(value: float) -> float:
    for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        if value <= step:
            return step
    return 1.0


def _clock(at: datetime, first: datetime, last: datetime) -> str:
    form = "%H:%M:%S" if last - first < timedelta(minutes=10) else "%H:%M"
    here = at.astimezone(UTC)
    return here.strftime(form) if first.date() == last.date() else here.strftime(f"%d %b {form}")


def _ends(curve: Curve) -> str:
    values = [value for _, value in curve.points if value is not None]
    return f"from {share_text(values[0])} to {share_text(values[-1])}" if values else "not known"


def share_text(share: float) -> str:
    """Write a share (0..1) in percent; what is not nothing never reads as 0 %."""
    percent = share * 100
    if percent in {0.0, 100.0}:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if percent >= 1 else f"{max(percent, 0.001):.2g} %"
