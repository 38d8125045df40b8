"""Charts as SVG elements, for a page that defines the colours.  [S]

Colours are CSS classes and variables of `sim.matrix.page`, so the charts follow the page's dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from scipy.special import ndtri

from sim.matrix.legs import PlayedLeg

COLOURS = 8
"""Line colours, ``--c0`` to ``--c7``; further lines are dashed."""
_DET_TICKS = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
_DET_LIMITS = (0.008, 0.97)
_WIDTH = 780
_LANE = 92


def det_chart(curves: Sequence[Mapping[str, Any] | None]) -> str:
    """Return misses against false alarms on normal deviates, one line for each cell; 0 and 1 are drawn at the edges."""
    size, margin = 420, 56
    low, high = (float(ndtri(limit)) for limit in _DET_LIMITS)

    def place(share: float) -> float:
        return size * (float(ndtri(min(max(share, _DET_LIMITS[0]), _DET_LIMITS[1]))) - low) / (high - low)

    parts = [f'<rect class="plot" x="0" y="0" width="{size}" height="{size}"/>']
    for tick in _DET_TICKS:
        at, label = place(tick), f"{100 * tick:g} %"
        parts += [
            _line(at, 0, at, size, "grid"),
            _line(0, size - at, size, size - at, "grid"),
            _text(at, size + 16, label, "middle"),
            _text(-8, size - at + 4, label, "end"),
        ]
    parts.append(_line(0, size, size, 0, "diagonal"))
    for number, curve in enumerate(curves):
        if curve is None:
            continue
        points = zip(curve["false_alarms"], curve["misses"], strict=True)
        path = " ".join(f"{place(f):.1f},{size - place(m):.1f}" for f, m in points)
        parts.append(f'<polyline class="curve" style="{_stroke(number)}" points="{path}"/>')
    parts.append(_text(size / 2, size + 38, "human legs with an alert", "middle"))
    parts.append(_text(-size / 2, -44, "synthetic voices missed", "middle", "rotate(-90)"))
    box = f"{-margin} -10 {size + margin + 10} {size + margin}"
    return _svg(box, size + margin, parts, "DET curves of all cells")


def legend(names: Iterable[str]) -> str:
    """Return the legend of `det_chart` as HTML."""
    items = (
        f'<li><svg width="34" height="10"><line x1="0" y1="5" x2="34" y2="5" style="{_stroke(number)}"/></svg> '
        f"{escape(name)}</li>"
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[tuple[float | None, str]]]) -> str:
    """Return a heat map.

    Args:
        rows: names.
        columns: names.
        values: by row and column: the shade from 0 to 1 (None for unknown), and the text.
    """
    left, top, width, height = 190, 26, 118, 44
    parts = [_text(left + (number + 0.5) * width, 16, name, "middle") for number, name in enumerate(columns)]
    for row, name in enumerate(rows):
        y = top + row * height
        parts.append(_text(left - 8, y + height / 2 + 4, name, "end"))
        for column, (shade, text) in enumerate(values[row]):
            x = left + column * width
            opacity = 0.0 if shade is None else 0.05 + 0.75 * min(1.0, max(0.0, shade))
            style = f"fill:var(--synthetic);fill-opacity:{opacity:.3f}"
            parts.append(
                f'<rect class="heat" x="{x}" y="{y}" width="{width - 2}" height="{height - 2}" style="{style}"/>'
            )
            parts.append(_text(x + width / 2 - 1, y + height / 2 + 4, text, "middle"))
    box = f"0 0 {left + len(columns) * width} {top + len(rows) * height}"
    return _svg(box, left + len(columns) * width, parts, "heat map")


def reliability_chart(cells: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Return the share of synthetic legs against the probability, with 95 % intervals, one colour for each cell."""
    size, margin = 320, 56
    parts = [f'<rect class="plot" x="0" y="0" width="{size}" height="{size}"/>', _line(0, size, size, 0, "diagonal")]
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        at = size * tick
        parts += [_line(at, 0, at, size, "grid"), _line(0, at, size, at, "grid")]
        parts += [_text(at, size + 16, f"{tick:g}", "middle"), _text(-8, size - at + 4, f"{tick:g}", "end")]
    for number, bins in enumerate(cells):
        points = []
        for one in bins:
            x, share = size * one["said"], one["synthetic"]
            low, high = (size * (1 - limit) for limit in share["rate_95"])
            y = size * (1 - share["rate"])
            points.append(f"{x:.1f},{y:.1f}")
            parts.append(_line(x, low, x, high, "interval", f"{_stroke(number)};stroke-opacity:.45"))
            radius = 2 + math.sqrt(share["of"])
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" style="fill:{_colour(number)};fill-opacity:.8"/>'
            )
        parts.append(f'<polyline class="curve" style="{_stroke(number)}" points="{" ".join(points)}"/>')
    parts.append(_text(size / 2, size + 38, "probability at the end of a leg", "middle"))
    parts.append(_text(-size / 2, -44, "share that is synthetic", "middle", "rotate(-90)"))
    return _svg(f"{-margin} -10 {size + margin + 10} {size + margin}", size + margin, parts, "reliability")


def timeline(legs: Sequence[PlayedLeg], seconds: float, alert_p: float) -> str:
    """Return the legs of one call over time: speech, rolling probability and alerts.

    Args:
        legs: the legs of one call.
        seconds: length of the call.
        alert_p: probability from which an alert is raised.
    """
    left, lane = 130, _LANE
    scale = (_WIDTH - left - 10) / seconds
    parts: list[str] = []
    for number, leg in enumerate(legs):
        parts += _lane(leg, left, number * (lane + 14) + 4, scale, seconds, alert_p)
    height = len(legs) * (lane + 14) + 22
    ticks = max(1, round(seconds / 10))
    for tick in range(ticks + 1):
        at_s = seconds * tick / ticks
        anchor = "end" if tick == ticks else "middle"
        parts.append(_text(left + at_s * scale, height - 8, f"{at_s:.0f} s", anchor))
    return _svg(f"0 0 {_WIDTH} {height}", _WIDTH, parts, "timeline of a call")


def _lane(leg: PlayedLeg, left: float, top: float, scale: float, seconds: float, alert_p: float) -> list[str]:
    """Return one leg: the curve in the upper part of the lane, speech as a bar below it."""
    talk, bottom = 12, top + _LANE - 14
    threshold = bottom - alert_p * (bottom - top)
    kind = "synthetic" if leg.is_synthetic else "human"
    parts = [
        f'<rect class="plot" x="{left}" y="{top}" width="{seconds * scale:.1f}" height="{_LANE - 14}"/>',
        _line(left, (top + bottom) / 2, left + seconds * scale, (top + bottom) / 2, "grid"),
        _line(left, threshold, left + seconds * scale, threshold, "diagonal"),
        _text(left - 8, top + 12, leg.leg, "end"),
        _text(left - 8, top + 28, _short(leg.speaker if kind == "human" else leg.system), "end", css=kind),
        _text(left - 8, bottom, f"ends {leg.verdict or 'without verdict'}", "end"),
    ]
    for start_s, end_s in leg.turns:
        x, width = left + start_s * scale, (min(end_s, seconds) - start_s) * scale
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{bottom + 2}" width="{width:.1f}" height="{talk - 2}"/>')
    points = [f"{left + at_s * scale:.1f},{bottom - p * (bottom - top):.1f}" for at_s, p in leg.scores]
    if points:
        parts.append(f'<polyline class="curve" style="stroke:var(--ink)" points="{" ".join(points)}"/>')
    for stage, at_s, _p in leg.alerts:
        x = left + at_s * scale
        parts.append(_line(x, top, x, bottom, f"alert {stage}"))
        parts.append(_text(x + 4, top + 12, stage, "start", css="synthetic"))
    return parts


def _short(name: str) -> str:
    return name if len(name) <= 19 else f"{name[:18]}…"


def _colour(number: int) -> str:
    return f"var(--c{number % COLOURS})"


def _stroke(number: int) -> str:
    dashes = "" if number < COLOURS else f";stroke-dasharray:{2 + 3 * (number // COLOURS)} 3"
    return f"stroke:{_colour(number)}{dashes}"


def _line(x1: float, y1: float, x2: float, y2: float, css: str, style: str = "") -> str:
    extra = f' style="{style}"' if style else ""
    return f'<line class="{css}"{extra} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, transform: str = "", css: str = "") -> str:
    extra = (f' transform="{transform}"' if transform else "") + (f' class="{css}"' if css else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _svg(view_box: str, width: float, parts: Iterable[str], label: str) -> str:
    inner = "".join(parts)
    size = f'viewBox="{view_box}" style="max-width:{width:.0f}px"'
    return f'<svg role="img" aria-label="{escape(label)}" {size}>{inner}</svg>'
