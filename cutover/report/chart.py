"""One line chart as inline SVG. Pure.

Drawn by hand: two curves over time need a few dozen lines, while every charting library that was looked at brings
either a script or a binary image, and the page must work without the first and scale on a phone unlike the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 28


class Curve(NamedTuple):
    """One named curve: (instant, value) pairs in order; None breaks the line.

    Attributes:
        style: a CSS class of the page: ``c1`` solid, ``c2`` dashed.
    """

    label: str
    style: str
    points: Sequence[tuple[datetime, float | None]]


def line_chart(title: str, curves: Sequence[Curve]) -> str:
    """Draw shares (0..1) over time; "" when there is nothing to draw."""
    instants = [at for curve in curves for at, value in curve.points if value is not None]
    if not instants:
        return ""
    first, last = min(instants), max(instants)
    seconds = max((last - first).total_seconds(), 1.0)
    top = _round_up(max(value for curve in curves for _, value in curve.points if value is not None))

    def x(at: datetime) -> float:
        return _LEFT + (at - first).total_seconds() / seconds * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (1 - value / top) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_in_words(title, curves))}">',
        *(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{level * 100:.3g} %</text>'
            for level in (0.0, top / 2, top)
        ),
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{first:%d %b %H:%M}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{last:%d %b %H:%M} UTC</text>',
    ]
    for curve in curves:
        for run in _runs(curve.points):
            if len(run) == 1:
                at, value = run[0]
                parts.append(f'<circle class="{curve.style}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="2.5"/>')
            else:
                path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in run)
                parts.append(f'<polyline class="{curve.style}" points="{path}"/>')
    legend = " &nbsp; ".join(f'<span class="{x.style}">{escape(x.label)}</span>' for x in curves)
    return f"<figure><figcaption>{escape(title)}: {legend}</figcaption>{''.join(parts)}</svg></figure>"


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


def _in_words(title: str, curves: Sequence[Curve]) -> str:
    ends = []
    for curve in curves:
        values = [value for _, value in curve.points if value is not None]
        if values:
            ends.append(f"{curve.label} from {values[0]:.1%} to {values[-1]:.1%}")
    return f"{title}: {'; '.join(ends)}"
