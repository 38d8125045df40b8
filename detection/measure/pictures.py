"""The diagrams of a report. Each function draws one and writes it as PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from detection.measure.figures import Figures
from detection.measure.metrics import Curve, Labels, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HUMAN, SYNTHETIC, NEUTRAL = "#2878b5", "#d1495b", "#777777"
_RATES = np.array([0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9])
_BINS = 10


def draw_det(scores: Mapping[str, Scores], is_fake: Labels, file: Path) -> None:
    """Draw DET curves: misses against false alarms on normal deviates, one curve for each condition."""
    figure, (axes,) = _figure(1, (6.4, 6.0))
    deviate: Callable[[Scores], Scores] = norm.ppf
    for number, (name, values) in enumerate(scores.items()):
        curve = Curve.of(values, is_fake)
        if curve is None:
            continue
        inside = (curve.false_alarms > 0) & (curve.false_alarms < 1) & (curve.misses > 0) & (curve.misses < 1)
        label = f"{name} ({curve.equal_error_rate:.1%})"
        style = "-" if number < 10 else "--"  # colours repeat after ten
        axes.plot(deviate(curve.false_alarms[inside]), deviate(curve.misses[inside]), style, label=label, linewidth=1.4)
    axes.axline((0, 0), slope=1, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set_xticks(deviate(_RATES), [f"{rate:.3g} %" for rate in 100 * _RATES])
    axes.set_yticks(deviate(_RATES), [f"{rate:.3g} %" for rate in 100 * _RATES])
    limits = deviate(np.array([0.0008, 0.96]))
    axes.set(xlabel="false alarm rate", ylabel="miss rate", xlim=limits, ylim=limits)
    axes.legend(title="condition (equal error rate)", loc="lower left", fontsize=8)
    figure.savefig(file, dpi=120)


def draw_histograms(scores: Mapping[str, Scores], is_fake: Labels, raise_log_odds: float, file: Path) -> None:
    """Draw histograms of the clips' log-odds, one panel for each condition."""
    figure, panels = _figure(len(scores), (3.6 * min(4, len(scores)), 3.2))
    for axes, (name, values) in zip(panels, scores.items(), strict=True):
        low, high = np.quantile(values, [0.002, 0.998])
        edges = np.linspace(low, high, 36)
        for chosen, colour, label in ((~is_fake, HUMAN, "human"), (is_fake, SYNTHETIC, "synthetic")):
            weights = np.full(chosen.sum(), 1 / max(1, chosen.sum()))
            axes.hist(values[chosen], list(edges), weights=weights, color=colour, alpha=0.55, label=label)
        axes.axvline(raise_log_odds, color=NEUTRAL, linestyle="--", linewidth=1, label="threshold")
        axes.set(title=name, xlabel="log-odds of synthetic", yticks=[])
    panels[0].set_ylabel("share of clips")
    panels[0].legend(fontsize=8)
    figure.savefig(file, dpi=120)


def draw_reliability(
    panels: Mapping[str, Mapping[str, tuple[Scores, Labels]]], file: Path, colours: Sequence[str] = (SYNTHETIC,)
) -> None:
    """Draw reliability diagrams: the share of synthetic windows by probability, with equal weight for both classes.

    One panel for each channel class; in each, one line for each named pair of log-odds and labels, in `colours`.
    """
    figure, all_axes = _figure(len(panels), (3.9 * len(panels), 4.0))
    for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=0.8, linestyle=":")
        for (name, (log_odds, is_fake)), colour in zip(lines.items(), colours, strict=True):
            stated, found, share = reliability(log_odds, is_fake)
            axes.plot(stated, found, "o-", color=colour, markersize=4, linewidth=1.3, label=name)
            axes.bar(stated, 0.25 * share / share.max(initial=1e-9), 0.035, color=colour, alpha=0.25)
        axes.set(title=fill(title, 36), xlabel="probability", xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize=8, loc="upper left")
    all_axes[0].set_ylabel("share that is synthetic\n(bars: share of windows)")
    figure.savefig(file, dpi=120)


def reliability(log_odds: Scores, is_fake: Labels) -> tuple[Scores, Scores, Scores]:
    """Return mean probability, share of synthetic windows and share of all windows, for each tenth of probability."""
    p = expit(log_odds)
    weight = np.where(is_fake, 0.5 / max(1, is_fake.sum()), 0.5 / max(1, (~is_fake).sum()))
    tenth = np.minimum((p * _BINS).astype(np.int64), _BINS - 1)
    total: Scores = np.bincount(tenth, weight, _BINS).astype(np.float64)
    used = np.bincount(tenth, minlength=_BINS) >= 10
    stated, found = (np.bincount(tenth, weight * what, _BINS)[used] / total[used] for what in (p, is_fake))
    return stated, found, total[used]


def draw_over_speech(legs: Mapping[str, Figures], file: Path) -> None:
    """Draw the EER of legs, and the share of legs alerted, against seconds of speech."""
    figure, (left, right) = _figure(2, (9.6, 4.0))
    for number, (channel, table) in enumerate(legs.items()):
        rows = {float(speech_s): row for speech_s, row in table.items() if "eer" in row}
        speech_s, colour = list(rows), f"C{number}"
        left.plot(speech_s, [row["eer"] for row in rows.values()], "o-", color=colour, label=channel)
        right.plot(speech_s, [1 - row["misses"] for row in rows.values()], "o-", color=colour, label=channel)
        right.plot(speech_s, [row["false_alarms"] for row in rows.values()], "x:", color=colour)
    for axes, label in ((left, "equal error rate of legs"), (right, "legs alerted (dotted: human)")):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="seconds of speech", ylabel=label, ylim=(0, None))
        axes.set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
        axes.yaxis.set_major_formatter("{x:.0%}")
    left.legend(fontsize=8)
    figure.savefig(file, dpi=120)


def draw_systems(systems: Mapping[str, Figures], file: Path) -> None:
    """Draw the miss rate of each system at even odds, highest first, with its number of clips."""
    rows = sorted(((row["misses"], name, row["synthetic"]) for name, row in systems.items() if "misses" in row))
    figure, (axes,) = _figure(1, (7.5, 1 + 0.2 * len(rows)))
    axes.barh([f"{name} ({count})" for _, name, count in rows], [share for share, _, _ in rows], color=SYNTHETIC)
    axes.set(xlabel="clips missed at even odds", xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4))
    axes.tick_params(axis="y", labelsize=7)
    axes.xaxis.set_major_formatter("{x:.0%}")
    figure.savefig(file, dpi=120)


def _figure(panels: int, inches: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with this number of panels, four in a row, and a light grid."""
    from matplotlib.figure import Figure  # only now: a command's --help does without it

    columns = min(4, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(inches[0], inches[1] * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(panels)]
    for one in axes:
        one.grid(alpha=0.3)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes
