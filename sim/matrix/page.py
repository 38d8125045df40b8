"""The report as one self-contained HTML page: no script, no audio, no external resources.  [S]"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from sim.matrix.figures import worst
from sim.matrix.legs import Played
from sim.matrix.svg import det_chart, heat_map, legend, reliability_chart, timeline

WORST = 8
_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2530;--dim:#5b6675;--rule:#d8dee6;--plot:#f6f8fa;--human:#2878b5;
--synthetic:#d1495b;--warn:#8a5a00;--warnpaper:#fff3d6;
--c0:#2878b5;--c1:#d1495b;--c2:#2a9d6f;--c3:#e08a1e;--c4:#7b5ea7;--c5:#0fa3b1;--c6:#8c6d46;--c7:#c44fa0}
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--ink:#e3e8ee;--dim:#98a3b1;--rule:#2c343e;--plot:#1a2028;
--human:#5aa9e6;--synthetic:#f07585;--warn:#ffd277;--warnpaper:#3a2e12;
--c0:#5aa9e6;--c1:#f07585;--c2:#4fd19b;--c3:#ffb454;--c4:#b39ddb;--c5:#4dd0e1;--c6:#c9a46b;--c7:#ef84cf}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1080px;
padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}p.dim,figcaption{color:var(--dim)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.86rem}
th,td{border-bottom:1px solid var(--rule);padding:.3rem .6rem;text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}td small{color:var(--dim);display:block}
.wide{overflow-x:auto}.row{display:flex;flex-wrap:wrap;gap:2rem;align-items:flex-start}
.row>*{flex:1 1 320px}figure{margin:1rem 0}
.partial{background:var(--warnpaper);color:var(--warn);padding:.6rem 1rem;border-radius:6px}
svg{display:block;width:100%;height:auto}svg text{fill:currentColor;font-size:12px}
svg text.human{fill:var(--human)}svg text.synthetic{fill:var(--synthetic)}
.plot{fill:var(--plot);stroke:var(--rule)}.heat{stroke:var(--rule)}.grid{stroke:var(--rule)}
.diagonal{stroke:var(--dim);stroke-dasharray:3 4}.curve{fill:none;stroke-width:1.8}
rect.human{fill:var(--human)}rect.synthetic{fill:var(--synthetic)}
.alert{stroke:var(--synthetic);stroke-width:1.6}.alert.provisional{stroke-dasharray:4 3}
ul.legend{list-style:none;padding:0;font-size:.86rem}.legend svg{display:inline-block;width:34px}
.legend line{stroke-width:2.4}
"""


_INTERVALS = (
    "With 95 % intervals: Wilson for shares of legs, exact Poisson for alerts per hour, order statistics for times, "
    "bootstrap for the Brier score. A leg is missed when no alert was raised on it."
)
_DET = (
    "A leg counts as synthetic when its rolling probability was ever above the threshold. A share of 0 is drawn at the "
    "edge."
)
_RELIABILITY = (
    "The rolling probability at the end of each leg, in fifths. Lines are 95 % intervals; larger points stand for more "
    "legs."
)


def page(report: Mapping[str, Any], played: Played) -> str:
    """Return the page of a report of `sim.matrix.report.of`.

    Args:
        report: all figures.
        played: the results of the legs, for the timelines.
    """
    found = report["cells"]
    colours = legend(cell["name"] for cell in found)
    det = det_chart([cell["det"] for cell in found])
    reliability = reliability_chart([cell["calibration"]["bins"] for cell in found])
    body = [
        "<h1>Detector over telephone lines</h1>",
        *_head(report),
        "<h2>Cells</h2>",
        f'<div class="wide">{_table(found)}</div>',
        _note(_INTERVALS),
        *_heat_maps(found),
        "<h2>Error rates by threshold</h2>",
        f'<div class="row"><figure>{det}</figure>{colours}</div>',
        _note(_DET),
        "<h2>Reliability</h2>",
        f'<div class="row"><figure>{reliability}</figure>{colours}</div>',
        _note(_RELIABILITY),
        *_timelines(played),
    ]
    head = (
        '<meta charset="utf-8"><title>callscreen sim matrix</title><meta name="viewport" content="width=device-width">'
    )
    style = f"<style>{_STYLE}</style>"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{style}</head>\n<body>\n{chr(10).join(body)}\n</body></html>\n'
    )


def _note(text: str) -> str:
    return f'<p class="dim">{escape(text)}</p>'


def _head(report: Mapping[str, Any]) -> list[str]:
    asked = report["asked"]
    facts = [
        ("manifest", asked["manifest"] + (f", split {asked['split']}" if asked["split"] else "")),
        ("played", f"{report['calls_played']} calls, {len(report['legs'])} legs, in {len(report['cells'])} cells"),
        ("wire", report["wire"]),
        ("noise", asked["noise"]),
        ("models", ", ".join(report["models"])),
        ("alert from", f"p {report['alert_p']:g} on"),
        ("settings", ", ".join(f"{k}={v}" for k, v in asked["settings"].items()) or "the gateway's defaults"),
        ("seed", str(asked["seed"])),
    ]
    rows = "".join(f"<tr><td>{name}</td><td style='text-align:left'>{escape(text)}</td></tr>" for name, text in facts)
    head = [f"<table>{rows}</table>"]
    if report["partial"]:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in report["problems"])
        head.insert(0, f'<div class="partial"><strong>This report is partial.</strong><ul>{items}</ul></div>')
    return head


def _table(cells: Sequence[Mapping[str, Any]]) -> str:
    heads = (
        "cell", "legs human / synthetic", "missed", "not confirmed", "human legs alerted", "false alarms per hour",
        "time to alert, s", "to confirmed, s", "EER", "Brier",
    )  # fmt: skip
    rows = []
    for cell in cells:
        alerted, confirmed = cell["provisional"], cell["confirmed"]
        name = escape(cell["name"]) + ("<small>partial</small>" if cell["partial"] else "")
        legs = f"{cell['legs']['human']} / {cell['legs']['synthetic']}"
        cells_of_row = [
            name,
            legs,
            _share(alerted["misses"]),
            _share(confirmed["misses"]),
            _share(alerted["false_alarms"]),
            _number(alerted["false_alarms_per_h"], "per_h", f"in {60 * cell['human_speech_h']:.1f} min"),
            _times(alerted["time_to_alert_s"]),
            _times(confirmed["time_to_alert_s"]),
            "" if cell["det"] is None else f"{cell['det']['eer']:.0%}",
            _number(cell["calibration"], "brier", "", digits=3),
        ]
        rows.append("<tr>" + "".join(f"<td>{text}</td>" for text in cells_of_row) + "</tr>")
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{''.join(rows)}</table>"


def _share(found: Mapping[str, Any]) -> str:
    if found["rate"] is None:
        return "–"
    low, high = found["rate_95"]
    return f"{found['rate']:.0%}<small>{low:.0%}–{high:.0%}</small>"


def _number(found: Mapping[str, Any], name: str, more: str, digits: int = 1) -> str:
    if found[name] is None:
        return "–"
    low, high = found[f"{name}_95"]
    return f"{found[name]:.{digits}f}<small>{low:.{digits}f}–{high:.{digits}f} {more}</small>"


def _times(found: Mapping[str, Any]) -> str:
    if not found["alerts"]:
        return "–"
    low, high = ("?" if limit is None else f"{limit:.1f}" for limit in found["median_95"])
    interval = "" if found["median_95"] == [None, None] else f"{low}–{high}; "  # too few values for an interval
    return f"{found['median']:.1f}<small>{interval}p95 {found['p95']:.1f}</small>"


def _heat_maps(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = list(dict.fromkeys(_row(cell) for cell in cells))
    columns = list(dict.fromkeys(_column(cell) for cell in cells))
    by_place = {(_row(cell), _column(cell)): cell for cell in cells}
    most = max((cell["provisional"]["false_alarms_per_h"]["per_h"] or 0.0 for cell in cells), default=0.0)

    def missed(cell: Mapping[str, Any]) -> tuple[float | None, str]:
        rate = cell["provisional"]["misses"]["rate"]
        return rate, "–" if rate is None else f"{rate:.0%}"

    def alarms(cell: Mapping[str, Any]) -> tuple[float | None, str]:
        per_h = cell["provisional"]["false_alarms_per_h"]["per_h"]
        return (None, "–") if per_h is None else (per_h / max(most, 1.0), f"{per_h:.1f}")

    drawn = []
    for title, value in (("Synthetic legs missed", missed), ("False alarms per hour of human speech", alarms)):
        values = [
            [value(by_place[row, column]) if (row, column) in by_place else (None, "") for column in columns]
            for row in rows
        ]
        drawn.append(f"<figure><figcaption>{title}</figcaption>{heat_map(rows, columns, values)}</figure>")
    return ["<h2>By line and noise</h2>", f'<div class="row">{"".join(drawn)}</div>']


def _row(cell: Mapping[str, Any]) -> str:
    noise = "no noise" if cell["snr_db"] is None else f"SNR {cell['snr_db']:g} dB"
    return f"{cell['line']}, {noise}"


def _column(cell: Mapping[str, Any]) -> str:
    return f"loss {100 * cell['loss']:g} %, {cell['seconds']:g} s"


def _timelines(played: Played) -> Iterable[str]:
    chosen = worst(played.legs, WORST)
    yield "<h2>The worst calls</h2>"
    if not chosen:
        yield '<p class="dim">There were no false alarms, and no synthetic voice was missed.</p>'
        return
    yield (
        '<p class="dim">Human legs with an alert, then synthetic legs without one, the lowest probability first. '
        "Line: rolling probability, 0 to 1; dotted: threshold of an alert. Bars: speech.</p>"
    )
    for leg in chosen:
        cell = played.cells[leg.cell]
        both = [other for other in played.legs if (other.cell, other.call) == (leg.cell, leg.call)]
        fault = "missed" if leg.is_synthetic else "false alarm"
        caption = f"{leg.call}, {leg.leg}: {fault} ({leg.system if leg.is_synthetic else leg.speaker}); {cell.name}"
        drawn = timeline(both, cell.seconds, played.alert_p)
        yield f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"
