"""The report of an evaluation as files: figures as JSON, tables as Markdown, scores and groups as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.measure.figures import GROUPS, Figures
from detection.offline import ClipScore
from detection.training.data import Clip

PICTURES = {
    "det.png": "DET curves",
    "seconds.png": "Error against seconds of speech",
    "reliability.png": "Reliability of the probability that windows are given, by class of channel",
    "histogram.png": "Scores of human and synthetic clips",
    "systems.png": "Misses by system",
}

NOTES = """\
Clips and legs scored along the path that calls take. In brackets: 95 % bootstrap intervals over whole sources, drawn
with replacement. *DCF*: detection cost of ASVspoof 5 (cost 1 for a human called synthetic, 10 for a machine let
through, 5 % of voices synthetic), normalised so that 1 is deciding without listening; *min* at the best threshold,
*actual* where the verdict `synthetic` decides. *Cllr*: cost of the log-odds in bits, 0 perfect, 1 worth nothing; behind
it what no calibration could mend. There is no t-DCF: nobody's identity is verified here, and for a verification that
every clone passes it equals the DCF. Accuracy, F1, confusion and the tables by group are at even odds."""


def write_json(metrics: Figures, file: Path) -> None:
    """Write all figures; one that there is no telling, such as an error rate of one class, as null."""
    file.write_text(json.dumps(_told(metrics), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _told(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_told(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_scores(clips: Sequence[Clip], scored: Mapping[str, Sequence[ClipScore]], file: Path) -> None:
    """Write one row a clip: what it is, and its log-odds in every condition."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["file", "label", "system", "source", *(f"log_odds_{name}" for name in scored)])
        for number, clip in enumerate(clips):
            numbers = [f"{scores[number].log_odds:.4f}" for scores in scored.values()]
            rows.writerow([clip.file.name, clip.label, clip.system, clip.source, *numbers])


def write_groups(groups: Mapping[str, Mapping[str, Figures]], file: Path) -> None:
    """Write one row a system, family, language or source."""
    columns = ["human", "synthetic", "false_alarms", "misses", "eer", "auc"]
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["group", "name", *columns])
        for group, table in groups.items():
            rows.writerows([group, name, *(row.get(column, "") for column in columns)] for name, row in table.items())


def write_markdown(metrics: Figures, file: Path) -> None:
    """Write the tables, with the pictures below."""
    first = next(iter(metrics["conditions"]))
    lines = [f"# {metrics['model']} on split `{metrics['split']}` ({metrics['clips']} clips)", "", NOTES, ""]
    lines += [*_clips_table(metrics["conditions"]), ""]
    lines += ["How the decision left the clips, as far as their few seconds go:", "", *_endings(metrics["conditions"])]
    lines += ["", "## Legs, by seconds of speech heard", "", *_legs_table(metrics["legs"])]
    lines += ["", "## False alarms per hour of genuine speech", "", *_alarms_table(metrics["alarms"])]
    if metrics["beside"]:
        lines += ["", "## Beside it", "", *_beside_table(metrics)]
    lines += ["", *(f"![{caption}]({name})\n" for name, caption in PICTURES.items())]
    for group in GROUPS:
        lines += ["", f"## By {group} (condition {first})", "", *_group_table(group, metrics["groups"][group])]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _clips_table(conditions: Mapping[str, Figures]) -> list[str]:
    heading = (
        "condition | EER | AUC | miss at 1 % FA | miss at 0.1 % FA | min DCF | actual DCF | Cllr (min) | accuracy"
        " | F1 synthetic | F1 human"
    )
    return _heading(heading) + [
        f"| {name} | {_percent(row, 'eer')} | {_number(row, 'auc')} | {_percent(row, 'miss_at_1pct_false_alarms')} "
        f"| {row['miss_at_0.1pct_false_alarms']:.1%} | {_number(row, 'min_dcf')} | {row['act_dcf']:.3f} "
        f"| {row['cllr']:.3f} ({row['min_cllr']:.3f}) | {row['accuracy']:.1%} "
        f"| {row['f1_synthetic']:.3f} | {row['f1_human']:.3f} |"
        for name, row in conditions.items()
    ]


def _endings(conditions: Mapping[str, Figures]) -> list[str]:
    heading = (
        "condition | humans: human / unsure / synthetic | unsure because | synthetic: human / unsure / synthetic"
        " | unsure because | confusion at even odds (HH, HS, SH, SS)"
    )
    lines = _heading(heading)
    for name, row in conditions.items():
        cells = []
        for truth in ("human", "synthetic"):
            states = (row[f"{truth}_ended_{state}"] for state in ("human", "indeterminate", "synthetic"))
            reasons = (f"{reason} {count}" for reason, count in row[f"{truth}_unsure_because"].items())
            cells += [" / ".join(f"{share:.0%}" for share in states), ", ".join(reasons)]
        counts = (f"{row[f'{truth}_as_{said}']}" for truth in ("human", "synthetic") for said in ("human", "synthetic"))
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(counts)} |")
    return lines


def _legs_table(legs: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    lines = _heading("channel | speech heard | legs: human, synthetic | EER | humans alarmed | synthetic missed")
    for channel, table in legs.items():
        for speech_s, row in table.items():
            counts = f"| {channel} | {speech_s} s | {row['human']}, {row['synthetic']} "
            rates = (
                f"| {_percent(row, 'eer')} | {row['false_alarms']:.1%} | {row['misses']:.1%} |"
                if "eer" in row
                else "||||"
            )
            lines.append(counts + rates)
    return lines


def _alarms_table(alarms: Mapping[str, Figures]) -> list[str]:
    lines = _heading("channel | human legs | hours of speech | alerts raised per hour | alerts confirmed per hour")
    for channel, row in alarms.items():
        if row["legs"]:
            rates = f"{_rate(row, 'raised_per_hour')} | {_rate(row, 'confirmed_per_hour')}"
            lines.append(f"| {channel} | {row['legs']} | {row['hours']:.2f} | {rates} |")
    return lines


def _beside_table(metrics: Figures) -> list[str]:
    shown = list(next(iter(metrics["beside"].values())))
    lines = _heading(" | ".join(["", *(f"EER {name} | AUC {name}" for name in shown)]))
    for model, rows in [(metrics["model"], metrics["conditions"]), *metrics["beside"].items()]:
        cells = (f"{rows[name]['eer']:.1%} | {rows[name]['auc']:.3f}" for name in shown)
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def _group_table(group: str, table: Mapping[str, Figures]) -> list[str]:
    lines = _heading(f"{group} | human | synthetic | false alarms | misses | EER | AUC")
    for name, row in table.items():
        rates = [f"{row[key]:.0%}" if key in row else "" for key in ("false_alarms", "misses", "eer")]
        area = f"{row['auc']:.2f}" if "auc" in row else ""
        lines.append(f"| {name or '?'} | {row['human']} | {row['synthetic']} | {' | '.join([*rates, area])} |")
    return lines


def _heading(heading: str) -> list[str]:
    return [f"| {heading} |", "|" + "---|" * (heading.count("|") + 1)]


def _percent(row: Figures, name: str) -> str:
    low, high = row[f"{name}_95"]
    return f"{row[name]:.1%} ({low:.1%}–{high:.1%})"


def _number(row: Figures, name: str) -> str:
    low, high = row[f"{name}_95"]
    return f"{row[name]:.3f} ({low:.3f}–{high:.3f})"


def _rate(row: Figures, name: str) -> str:
    low, high = row[f"{name}_95"]
    return f"{row[name]:.1f} ({low:.1f}–{high:.1f})"
