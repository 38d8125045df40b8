"""The report of an evaluation: figures with intervals, tables by group, DET and ROC curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_curve

from detection.measure.metrics import (
    Labels,
    Scores,
    area_under_curve,
    equal_error_rate,
    interval,
    miss_rate_at,
)

if TYPE_CHECKING:
    from detection.measure.evaluate import ScoredClip

EVEN_ODDS = 0.0
"""Log-odds from which a clip counts as synthetic in accuracy, F1 and the tables by group."""

GROUPS = ("source", "system", "family", "language")


def write_report(scored: Sequence[ScoredClip], channels: Sequence[str], out: Path, model: str, split: str) -> None:
    """Write report.md, metrics.json, scores.csv, det.png and roc.png into `out`."""
    is_fake = np.array([one.clip.is_fake for one in scored])
    scores = {name: np.array([one.scores[name].log_odds for one in scored]) for name in channels}
    figures = {name: figures_of(scores[name], is_fake) | states_of(scored, name) for name in channels}
    groups = {group: _by_group(scored, group, scores[channels[0]], is_fake) for group in GROUPS}
    metrics = {"model": model, "split": split, "clips": len(scored), "channels": figures, "groups": groups}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (out / "report.md").write_text(_markdown(metrics), encoding="utf-8")
    _write_scores(scored, channels, out / "scores.csv")
    _plot(scores, is_fake, out / "det.png", on_normal_axes=True)
    _plot(scores, is_fake, out / "roc.png", on_normal_axes=False)


def figures_of(scores: Scores, is_fake: Labels) -> dict[str, Any]:
    """Return every figure of merit of one channel; intervals as ``[low, high]``."""
    said_fake = scores > EVEN_ODDS
    true_fakes, false_fakes = int(np.sum(said_fake & is_fake)), int(np.sum(said_fake & ~is_fake))
    missed, true_humans = int(np.sum(~said_fake & is_fake)), int(np.sum(~said_fake & ~is_fake))
    return {
        "eer": equal_error_rate(scores, is_fake),
        "eer_95": list(interval(equal_error_rate, scores, is_fake)),
        "auc": area_under_curve(scores, is_fake),
        "auc_95": list(interval(area_under_curve, scores, is_fake)),
        "accuracy": float(np.mean(said_fake == is_fake)),
        "f1_synthetic": 2 * true_fakes / max(1, 2 * true_fakes + false_fakes + missed),
        "f1_human": 2 * true_humans / max(1, 2 * true_humans + false_fakes + missed),
        "human_as_human": true_humans,
        "human_as_synthetic": false_fakes,
        "synthetic_as_human": missed,
        "synthetic_as_synthetic": true_fakes,
        "miss_at_1pct_false_alarms": miss_rate_at(scores, is_fake, 0.01),
        "miss_at_0.1pct_false_alarms": miss_rate_at(scores, is_fake, 0.001),
    }


def states_of(scored: Sequence[ScoredClip], channel: str) -> dict[str, float]:
    """Return how clips of each class ended, as shares: what the decision says, abstention included."""
    shares = {}
    for label, name in (("real", "human"), ("fake", "synthetic")):
        states = [str(one.scores[channel].state) for one in scored if one.clip.label == label]
        for state in ("human", "indeterminate", "synthetic"):
            shares[f"{name}_ended_{state}"] = states.count(state) / max(1, len(states))
    return shares


def _by_group(scored: Sequence[ScoredClip], group: str, scores: Scores, is_fake: Labels) -> dict[str, dict[str, float]]:
    names = np.array([getattr(one.clip, group) for one in scored])
    table = {}
    for name in sorted(set(names)):
        fake, human = (names == name) & is_fake, (names == name) & ~is_fake
        row: dict[str, float] = {"human": int(human.sum()), "synthetic": int(fake.sum())}
        if human.any():
            row["false_alarms"] = float(np.mean(scores[human] > EVEN_ODDS))
        if fake.any():
            row["misses"] = float(np.mean(scores[fake] <= EVEN_ODDS))
        if human.sum() >= 5 and fake.sum() >= 5:
            both = human | fake
            row["eer"] = equal_error_rate(scores[both], is_fake[both])
        table[str(name)] = row
    return table


def _write_scores(scored: Sequence[ScoredClip], channels: Sequence[str], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["file", "label", "system", "source", *(f"log_odds_{name}" for name in channels)])
        for one in scored:
            numbers = [f"{one.scores[name].log_odds:.4f}" for name in channels]
            rows.writerow([one.clip.file.name, one.clip.label, one.clip.system, one.clip.source, *numbers])


def _markdown(metrics: dict[str, Any]) -> str:
    figures: dict[str, dict[str, Any]] = metrics["channels"]
    lines = [
        f"# {metrics['model']} on split `{metrics['split']}` ({metrics['clips']} clips)",
        "",
        "Clips scored along the serving path. EER and AUC with 95 % bootstrap intervals over clips; accuracy, F1,",
        "confusion and the tables by group at even odds.",
        "",
        *_table("channel | EER | AUC | accuracy | F1 synthetic | F1 human | miss at 1 % FA | miss at 0.1 % FA"),
    ]
    for name, row in figures.items():
        lines.append(
            f"| {name} | {row['eer']:.1%} ({row['eer_95'][0]:.1%}–{row['eer_95'][1]:.1%}) "
            f"| {row['auc']:.3f} ({row['auc_95'][0]:.3f}–{row['auc_95'][1]:.3f}) | {row['accuracy']:.1%} "
            f"| {row['f1_synthetic']:.3f} | {row['f1_human']:.3f} "
            f"| {row['miss_at_1pct_false_alarms']:.1%} | {row['miss_at_0.1pct_false_alarms']:.1%} |"
        )
    lines += ["", "Confusion at even odds, and how the decision left the clips (human / unsure / synthetic):", ""]
    lines += _table("channel | H as H | H as S | S as H | S as S | humans ended | synthetic ended")
    lines += [f"| {name} | {_confusion(row)} |" for name, row in figures.items()]
    for group, table in metrics["groups"].items():
        lines += ["", f"## By {group} (channel {next(iter(figures))})", ""]
        lines += _table(f"{group} | human | synthetic | false alarms | misses | EER")
        lines += [f"| {name or '?'} | {r['human']} | {r['synthetic']} | {_rates(r)} |" for name, r in table.items()]
    return "\n".join([*lines, "", "![DET](det.png)", "", "![ROC](roc.png)", ""])


def _table(heading: str) -> list[str]:
    return [f"| {heading} |", "|" + "---|" * (heading.count("|") + 1)]


def _confusion(row: dict[str, Any]) -> str:
    counts = [f"{row[f'{truth}_as_{said}']}" for truth in ("human", "synthetic") for said in ("human", "synthetic")]
    states = [
        " / ".join(f"{row[f'{truth}_ended_{state}']:.0%}" for state in ("human", "indeterminate", "synthetic"))
        for truth in ("human", "synthetic")
    ]
    return " | ".join(counts + states)


def _rates(row: dict[str, float]) -> str:
    return " | ".join(f"{row[key]:.0%}" if key in row else "" for key in ("false_alarms", "misses", "eer"))


def _plot(scores: dict[str, Scores], is_fake: Labels, file: Path, *, on_normal_axes: bool) -> None:
    """Draw misses (DET, on normal deviates) or hits (ROC) against false alarms, one curve a channel."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot(xlabel="false alarms", ylabel="misses" if on_normal_axes else "hits")
    scale: Callable[[NDArray[np.float64]], NDArray[np.float64]] = norm.ppf if on_normal_axes else np.asarray
    for name, values in scores.items():
        false_alarms, hits, _ = roc_curve(is_fake, values)
        upward = 1 - hits if on_normal_axes else hits
        within = (false_alarms > 0) & (false_alarms < 1) & (upward > 0) & (upward < 1) | (not on_normal_axes)
        label = f"{name} ({equal_error_rate(values, is_fake):.1%})"
        axes.plot(scale(false_alarms[within]), scale(upward[within]), label=label)
    if on_normal_axes:
        ticks = np.array([0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8])
        axes.set_xticks(scale(ticks), [f"{tick:.1%}" for tick in ticks])
        axes.set_yticks(scale(ticks), [f"{tick:.1%}" for tick in ticks])
    axes.grid(alpha=0.3)
    axes.legend(title="channel (EER)")
    figure.savefig(file, dpi=120)
