"""`callscreen sim matrix`: measures the detector over lines of many kinds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress
from rich.table import Table

from gateway import logs
from sim.arguments import number
from sim.line import CODECS
from sim.matrix.cells import NONE, Cell, grid
from sim.sounds import NOISES
from sim.terminal import standard_output

if TYPE_CHECKING:
    from sim.matrix.legs import Played

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` reads."""
    add = parser.add_argument
    add("--data", metavar="MANIFEST", type=Path, required=True, help="CSV: path, label[, split, system, speaker]")
    add("--split", help="only its rows with this split")
    add(
        "--legs",
        metavar="N",
        type=number(int, 2, 100_000),
        default=40,
        help="voices in each cell, half of them synthetic if possible (%(default)s)",
    )
    codecs = f"codecs before the wire's own; A+B: in series; {NONE}, {', '.join(CODECS)} (none amrnb)"
    add("--codec", metavar="NAME", type=_codecs, nargs="+", default=[(), ("amrnb",)], help=codecs)
    add(
        "--loss",
        metavar="SHARE",
        type=number(float, 0.0, 0.9),
        nargs="+",
        default=[0.0, 0.05],
        help="share of packets lost (0 0.05)",
    )
    add("--snr", metavar="DB", type=_snr, nargs="+", default=[None, 15.0], help=f"SNR of noise, or {NONE} (none 15)")
    add(
        "--seconds",
        metavar="S",
        type=number(float, 5.0, 3600.0),
        nargs="+",
        default=[30.0],
        help="length of each call (30)",
    )
    add("--noise", default="pink", help=f"{', '.join(NOISES)}, or a recording (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="determines speakers, turns and losses (%(default)s)")
    add("--setting", metavar="NAME=VALUE", type=_setting, action="append", default=[], help="setting of the gateway")
    add("--report", metavar="DIR", type=Path, required=True, help="write matrix.json and matrix.html there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the matrix; return the exit code: 1 for a partial report. Raises ClipError, ScenarioError."""
    from sim.matrix import report
    from sim.matrix.cast import cast
    from sim.matrix.play import play

    logs.configure("error", "auto")
    console = standard_output(columns=160)
    chosen = cast(args.data, args.split, args.legs, args.seed)
    for problem in chosen.problems:
        sys.stderr.write(f"sim: {problem}\n")
    cells = grid(args.codec, args.loss, args.snr, args.seconds)
    request = report.Request(str(args.data), args.split, args.seed, args.noise, dict(args.setting), len(chosen.pairs))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("playing", total=len(cells) * len(chosen.pairs))

        def on_batch(played: Played, cell: Cell) -> None:
            progress.update(task, completed=played.calls_done, description=cell.name)
            if not console.is_terminal:
                console.print(
                    f"{played.calls_done} of {len(cells) * len(chosen.pairs)} calls  {cell.name}", highlight=False
                )

        played = play(cells, chosen, args.seed, args.noise, dict(args.setting), on_batch)
    found = report.write(args.report, played, request)
    console.print(summary(found))
    partial = " (partial)" if found["partial"] else ""
    console.print(f"written: {args.report / 'matrix.html'} and matrix.json{partial}", highlight=False)
    for problem in played.problems[len(chosen.problems) :]:
        sys.stderr.write(f"sim: {problem}\n")
    if any(problem.startswith("interrupted") for problem in played.problems):
        return INTERRUPTED
    return 1 if found["partial"] else 0


def summary(found: dict[str, Any]) -> Table:
    """Return the cells as a table."""
    table = Table("cell", title_justify="left")
    for name in ("missed", "false alarms, legs", "false alarms/h", "time to alert p50 / p95", "EER", "Brier"):
        table.add_column(name, justify="right")
    for cell in found["cells"]:
        alerted = cell["provisional"]
        alarms, times = alerted["false_alarms_per_h"], alerted["time_to_alert_s"]
        table.add_row(
            cell["name"],
            _interval(alerted["misses"], "rate", "{:.0%}"),
            _interval(alerted["false_alarms"], "rate", "{:.0%}"),
            _interval(alarms, "per_h", "{:.1f}"),
            f"{times['median']:.1f} / {times['p95']:.1f} s" if times["alerts"] else "",
            "" if cell["det"] is None else f"{cell['det']['eer']:.0%}",
            _interval(cell["calibration"], "brier", "{:.2f}"),
        )
    return table


def _interval(found: dict[str, Any], name: str, form: str) -> str:
    if found[name] is None:
        return ""
    low, high = (form.format(limit) for limit in found[f"{name}_95"])
    return f"{form.format(found[name])} ({low}–{high})"


def _codecs(text: str) -> tuple[str, ...]:
    names = () if text == NONE else tuple(text.split("+"))
    if unknown := [name for name in names if name not in CODECS]:
        raise argparse.ArgumentTypeError(f"expected {NONE} or some of {', '.join(CODECS)}; got {unknown[0]!r}")
    return names


def _snr(text: str) -> float | None:
    if text == NONE:
        return None
    return number(float, -20.0, 80.0, f"{NONE} or ")(text)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
