"""Draws a call's timeline: SVG 1.1, one strip per leg.  [S]

Names of calls and legs are untrusted, so all text is escaped. The picture contains no script and loads nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from gateway.alerts.history import Facts

WIDTH, STRIP, PLOT = 960, 190, 110
LEFT, RIGHT = 60, 20
TOP = 46
MAX_POINTS = 1500
"""Windows drawn per leg; of more, each point is the maximum of several."""
STYLE = (
    "text{font:12px sans-serif;fill:#222}.quiet{fill:#666}.title{font-weight:bold;font-size:14px}"
    ".plot{fill:#fff;stroke:#bbb}.half{stroke:#ddd}.gap{fill:#eee}.window{fill:#0b57b0;fill-opacity:.45}"
    ".line{fill:none;stroke:#b3140f;stroke-width:2}.verified{fill:none;stroke:#7a3db8;stroke-width:2}"
    ".alert{stroke:#b3140f;stroke-width:2}.cleared{stroke:#1a6b2a;stroke-width:2}"
    ".excluded{stroke:#a06000;stroke-dasharray:3 3}"
)
LEGEND = (
    "red line: rolling confidence; blue: single windows; purple rings: verifier; grey: not judged; "
    "dashed: coverage reduced"
)


def draw(timeline: Facts) -> bytes:
    """Return the picture of a timeline, as `timeline.of` returns it."""
    height = TOP + STRIP * len(timeline["legs"]) + 24
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>Timeline of call {escape(_printable(timeline['call_id']))}</title><style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(LEFT, 20, f"{timeline['call_id']} ({timeline['source']})", "title"),
        _text(LEFT, 36, f"{timeline['started']} to {timeline['ended'] or 'now'}", "quiet"),
    ]
    for number, leg in enumerate(timeline["legs"]):
        parts += _strip(leg, TOP + STRIP * number)
    return "\n".join([*parts, _text(LEFT, height - 8, LEGEND, "quiet"), "</svg>"]).encode("utf-8", "replace")


def _strip(leg: Facts, top: float) -> Iterator[str]:
    length_s = max(float(leg["duration_s"]), 1.0)
    bottom = top + 22 + PLOT

    def across(at_s: float | None) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(at_s or 0.0, 0.0), length_s) / length_s, 1)

    def up(p: float | None) -> float:
        return round(bottom - PLOT * (p or 0.0), 1)

    yield _text(LEFT, top + 14, _headline(leg))
    yield f'<rect class="plot" x="{LEFT}" y="{top + 22}" width="{WIDTH - LEFT - RIGHT}" height="{PLOT}"/>'
    for gap in leg["gaps"] or ():
        left, right = across(gap["start_s"]), across(gap["end_s"])
        yield f'<rect class="gap" x="{left}" y="{top + 23}" width="{right - left:.1f}" height="{PLOT - 2}"/>'
    yield _line("half", LEFT, WIDTH - RIGHT, up(0.5), up(0.5))
    for p in (0, 0.5, 1):
        yield _text(LEFT - 8, up(p) + 4, f"{p:g}", "quiet", "end")
    for at_s in _ticks(length_s):
        yield _text(across(at_s), bottom + 16, f"{at_s:g} s", "quiet", "middle")
    windows = _thinned(leg["windows"])
    for window in windows:
        yield f'<circle class="window" cx="{across(window["end_s"])}" cy="{up(window["p_window"])}" r="2.5"/>'
    if windows:
        points = " ".join(f"{across(window['end_s'])},{up(window['p_synthetic'])}" for window in windows)
        yield f'<polyline class="line" points="{points}"/>'
    for answer in leg["verifications"][-MAX_POINTS:]:
        yield f'<circle class="verified" cx="{across(answer["at_s"])}" cy="{up(answer["p_synthetic"])}" r="5"/>'
    for place, reduced in enumerate(leg["excluded"]):
        at = across(reduced["at_s"])
        yield _line("excluded", at, at, top + 22, bottom)
        yield _text(at + 4, top + 34 + 13 * (place % 6), str(reduced["reason"]), "quiet")
    for alert in leg["alerts"]:
        at = across(alert["at_s"])
        yield _line("cleared" if alert["move"] == "cleared" else "alert", at, at, top + 22, bottom + 4)
        yield _text(at, bottom + 30, str(alert["move"]), anchor="middle")


def _headline(leg: Facts) -> str:
    facts = [f"{leg['leg']} ({leg['role']})", leg["verdict"] or "live", *leg["models"]]
    return ", ".join(str(fact) for fact in facts) + (
        f", calibration {leg['calibration']}" if leg["calibration"] else ""
    )


def _ticks(length_s: float) -> list[float]:
    """Return up to ten round positions."""
    rough_s = length_s / 10
    unit = 10 ** math.floor(math.log10(rough_s))
    step_s = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough_s)
    return [round(step_s * number, 6) for number in range(int(length_s / step_s) + 1)]


def _thinned(windows: list[Facts]) -> list[Facts]:
    step = -(-len(windows) // MAX_POINTS) or 1
    return [
        max(windows[at : at + step], key=lambda window: float(window["p_synthetic"]))
        for at in range(0, len(windows), step)
    ]


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(_printable(text))}</text>'


def _printable(text: str) -> str:
    """Return the text with the characters that XML forbids replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
