"""The report of an evaluation as files: figures as JSON, tables as Markdown, scores and groups as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.measure.figures import GROUP_REPEATS, GROUPS, IN_TRAINING, RANKED, Figures
from detection.measure.legs import DETECTED_WITHIN_S
from detection.offline import ClipScore
from detection.training.data import Clip

PICTURES = {
    "det.png": "DET curves",
    "seconds.png": "Errors against seconds of speech",
    "reliability.png": "Reliability diagrams of the windows, by channel class",
    "histogram.png": "Scores of human and synthetic clips",
    "systems.png": "Misses by system",
}

NOTES = """\
Clips and legs are scored with the steps that live calls use. In brackets: 95 % bootstrap intervals over whole sources.
An interval of width 0 belongs to an event that never or always happened; n cases are then consistent with a rate of 3 /
n. *DCF*: detection cost of ASVspoof 5 (cost 1 for a human called synthetic, 10 for a synthetic voice missed, 5 % of
voices synthetic), normalised so that 1 is the cost of deciding without any score; *min* at the best threshold, *actual*
with the verdict `synthetic` as the decision. *Cllr*: cost of the log-odds in bits, 0 perfect, 1 uninformative; *min*
the part that no calibration can remove. There is no t-DCF: no speaker verification takes place here, and for a
verification that accepts every clone the t-DCF equals the DCF. Accuracy, F1, confusion and the tables by group are at
even odds. The recordings in the conditions *noise* are also used for augmentation in training: they show the cost of a
noise level, not of unknown noise. *first 2 s*: from the first speech on, so that the length of a clip is no cue, where
it has that much."""

LEG_NOTES = """\
*alerted*: legs with an alert raised, for synthetic voices the hits; *confirmed*: legs with a confirmed alert."""

VERIFIED_NOTES = """\
Rows *with {verifier}*: legs as judged by a gateway with this verifier beside the model, by the fusion of both, from
probability {raise_p:g} on. Here the verifier scores all speech without delay. In a live call a score takes some tenths
of a second, and speech that exceeds the verifier's CPU share is not scored."""

GROUP_NOTES = f"""\
Intervals from {GROUP_REPEATS} draws of sources, or of clips where a group has one source. A group of one class is set
against all clips of the other class. groups.csv has all figures, for all conditions except those that cut clips."""

FAMILY_NOTES = """\
Each family against all human voices; misses at even odds, in the first channel."""

IN_TRAINING_NOTES = """\
Sources are never shared between the splits; systems and speakers are. *yes*: the system of a synthetic clip, or the
speaker of a human one, is also in other splits of the manifest; clips without a name count as *no*."""


def write_json(metrics: Figures, file: Path) -> None:
    """Write all figures as JSON; an undefined one, such as an error rate of one class alone, as null."""
    file.write_text(json.dumps(_nan_to_null(metrics), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _nan_to_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_null(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_nan_to_null(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_scores(clips: Sequence[Clip], scored: Mapping[str, Sequence[ClipScore]], file: Path) -> None:
    """Write one row for each clip: its labels, and its log-odds in every condition."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["file", "label", "system", "source", *(f"log_odds_{name}" for name in scored)])
        for number, clip in enumerate(clips):
            numbers = [f"{scores[number].log_odds:.4f}" for scores in scored.values()]
            rows.writerow([clip.file.name, clip.label, clip.system, clip.source, *numbers])


_GROUP_RATES = ("false_alarms", "misses", *RANKED)


def write_groups(groups: Mapping[str, Mapping[str, Mapping[str, Figures]]], file: Path) -> None:
    """Write one row for each channel and system, family, language or source, with the rates and their intervals."""
    columns = [f"{rate}{end}" for rate in _GROUP_RATES for end in ("", "_low", "_high")]
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["channel", "group", "name", "human", "synthetic", *columns])
        for channel, tables in groups.items():
            for group, table in tables.items():
                for name, row in table.items():
                    rates = [value for rate in _GROUP_RATES for value in (row.get(rate, ""), *_ends(row, rate))]
                    rows.writerow([channel, group, name, row["human"], row["synthetic"], *rates])


def _ends(row: Figures, name: str) -> tuple[Any, Any]:
    low, high = row.get(f"{name}_95", ("", ""))
    return low, high


def write_markdown(metrics: Figures, file: Path) -> None:
    """Write the tables and the diagrams."""
    lines = [f"# {metrics['model']} on split `{metrics['split']}` ({metrics['clips']} clips)", "", NOTES, ""]
    lines += [*_clips_table(metrics["conditions"]), "", *_worst(metrics)]
    lines += ["Verdicts on the clips, which have only a few seconds each:", "", *_endings(metrics["conditions"])]
    if metrics["beside"]:
        lines += ["", "## Other models", "", *_beside_table(metrics)]
        lines += ["", "## By family, for each model", "", FAMILY_NOTES, "", *_families_table(metrics)]
    lines += ["", "## Legs, by outcome", "", LEG_NOTES, ""]
    if metrics["with_verifier"]:
        lines += [VERIFIED_NOTES.format(**metrics["with_verifier"]), ""]
    lines += [*_outcomes_table(metrics)]
    lines += ["", "## Legs, by seconds of speech", "", *_legs_table(metrics)]
    lines += ["", "## False alarms per hour of human speech", "", *_alarms_table(metrics)]
    lines += [
        "",
        f"## Synthetic voices detected within {DETECTED_WITHIN_S} s of speech",
        "",
        *_found_table(metrics),
    ]
    groups = {channel: metrics["groups"][channel] for channel in metrics["channels"]}
    first = next(iter(groups))
    if IN_TRAINING in groups[first]:
        lines += ["", "## By presence in the training data", "", IN_TRAINING_NOTES, "", *_in_training_table(groups)]
    lines += ["", *(f"![{caption}]({name})\n" for name, caption in PICTURES.items()), GROUP_NOTES]
    for group in GROUPS:
        tables = {channel: of[group] for channel, of in groups.items()}
        lines += ["", f"## By {group} (misses and false alarms: {first})", "", *_group_table(group, tables)]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _clips_table(conditions: Mapping[str, Figures]) -> list[str]:
    heading = (
        "condition | EER | AUC | miss at 1 % FA | miss at 0.1 % FA | min DCF | actual DCF | Cllr | min Cllr | accuracy"
        " | F1 synthetic | F1 human"
    )
    shares = ("miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms")
    numbers = ("min_dcf", "act_dcf", "cllr", "min_cllr")
    lines = _heading(heading)
    for name, row in conditions.items():
        cells = [_percent(row, "eer"), _number(row, "auc"), *(_percent(row, share) for share in shares)]
        cells += [*(_number(row, number) for number in numbers), _percent(row, "accuracy")]
        lines.append(f"| {name} | {' | '.join([*cells, _number(row, 'f1_synthetic'), _number(row, 'f1_human')])} |")
    return lines


def _worst(metrics: Figures) -> list[str]:
    """Return a line on the worst codec, if several channels were measured, and a blank line."""
    name = metrics["worst_codec"]
    if name is None:
        return []
    row = metrics["conditions"][name]
    figures = f"EER {_percent(row, 'eer')}, AUC {_number(row, 'auc')}"
    return [f"Worst codec: **{name}**, {figures}, {_percent(row, 'miss_at_1pct_false_alarms')} missed at 1 % FA.", ""]


def _endings(conditions: Mapping[str, Figures]) -> list[str]:
    heading = (
        "condition | human: human / indeterminate / synthetic | reasons | synthetic: human / indeterminate / synthetic"
        " | reasons | confusion at even odds (HH, HS, SH, SS)"
    )
    lines = _heading(heading)
    for name, row in conditions.items():
        cells = []
        for truth in ("human", "synthetic"):
            reasons = (f"{reason} {count}" for reason, count in row[f"{truth}_unsure_because"].items())
            cells += [_ended(row, truth), ", ".join(reasons)]
        counts = (
            f"{row[f'{truth}_as_{called}']}" for truth in ("human", "synthetic") for called in ("human", "synthetic")
        )
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(counts)} |")
    return lines


def _ended(row: Figures, truth: str) -> str:
    """Return the shares of clips or legs of one class by outcome, with the interval of `synthetic`."""
    states = ("human", "indeterminate", "synthetic")
    if any(math.isnan(row.get(f"{truth}_ended_{state}", math.nan)) for state in states):
        return ""  # without a decision, or without clips of that class
    human, indeterminate, _ = (f"{row[f'{truth}_ended_{state}']:.0%}" for state in states)
    return f"{human} / {indeterminate} / {_percent(row, f'{truth}_ended_synthetic', 0)}"


def _rows_of_legs(metrics: Figures, table: str) -> Iterator[tuple[str, str, Figures]]:
    """Yield condition, judging models and figures: for the model alone, then with the verifier if there is one."""
    verified = metrics["with_verifier"]
    for condition, row in metrics[table].items():
        yield condition, "alone", row
        if verified and condition in verified[table]:
            yield condition, f"with {verified['verifier']}", verified[table][condition]


def _outcomes_table(metrics: Figures) -> list[str]:
    lines = _heading(
        "condition | judged | legs: human, synthetic | human: human / indeterminate / synthetic"
        " | synthetic: human / indeterminate / synthetic | human alerted | confirmed | synthetic alerted | confirmed"
    )
    for condition, judged, row in _rows_of_legs(metrics, "outcomes"):
        cells = [condition, judged, f"{row['human']}, {row['synthetic']}"]
        cells += [_ended(row, truth) for truth in ("human", "synthetic")]
        for truth in ("human", "synthetic"):
            cells += [_percent_if(row, f"{truth}_{name}") for name in ("alerted", "confirmed")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _legs_table(metrics: Figures) -> list[str]:
    lines = _heading("condition | judged | speech | legs: human, synthetic | EER | false alarms | misses")
    for condition, judged, table in _rows_of_legs(metrics, "legs"):
        for speech_s, row in table.items():
            counts = f"{condition} | {judged} | {speech_s} s | {row['human']}, {row['synthetic']}"
            rates = " | ".join(_percent_if(row, rate) for rate in ("eer", "false_alarms", "misses"))
            lines.append(f"| {counts} | {rates} |")
    return lines


def _alarms_table(metrics: Figures) -> list[str]:
    lines = _heading(
        "condition | judged | human legs | hours of speech | alerts raised per hour | alerts confirmed per hour"
    )
    for condition, judged, row in _rows_of_legs(metrics, "alarms"):
        if row["legs"]:
            rates = f"{_rate(row, 'raised_per_hour')} | {_rate(row, 'confirmed_per_hour')}"
            lines.append(f"| {condition} | {judged} | {row['legs']} | {row['hours']:.2f} | {rates} |")
    return lines


def _found_table(metrics: Figures) -> list[str]:
    lines = _heading(
        f"condition | judged | synthetic legs | alerted in time | of {DETECTED_WITHIN_S} s or more | alerted in time"
    )
    for condition, judged, row in _rows_of_legs(metrics, "detections"):
        shares = [_percent_if(row, name) for name in ("detected", "detected_long")]
        cells = [condition, judged, row["synthetic"], shares[0], row["synthetic_long"], shares[1]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _beside_table(metrics: Figures) -> list[str]:
    lines = _heading(
        "model | channel | EER | AUC | miss at 1 % FA | miss at 0.1 % FA | min DCF | F1 synthetic / human"
        " | human: human / indeterminate / synthetic | synthetic: human / indeterminate / synthetic"
        " | human legs: human / indeterminate / synthetic | synthetic legs: human / indeterminate / synthetic"
    )
    own = {name: metrics["conditions"][name] | {"outcomes": metrics["outcomes"][name]} for name in metrics["channels"]}
    for model, rows in [(metrics["model"], own), *metrics["beside"].items()]:
        for name, row in rows.items():
            cells = [_percent(row, "eer"), _number(row, "auc")]
            cells += [_percent(row, share) for share in ("miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms")]
            cells += [_number(row, "min_dcf"), f"{row['f1_synthetic']:.2f} / {row['f1_human']:.2f}"]
            cells += [_ended(of, truth) for of in (row, row.get("outcomes", {})) for truth in ("human", "synthetic")]
            lines.append(f"| {model} | {name} | {' | '.join(cells)} |")
    return lines


def _families_table(metrics: Figures) -> list[str]:
    """Return a row for each family and model: misses in the first channel, and the EER in each."""
    compared = {model: of for model, of in metrics["beside"].items() if all("family" in row for row in of.values())}
    channels = list(next(iter(compared.values()), {}))
    own = {name: {"family": metrics["groups"][name]["family"]} for name in channels}
    lines = _heading(" | ".join(["family", "model", "synthetic", "misses", *(f"EER {name}" for name in channels)]))
    for family in next(iter(own.values()), {"family": {}})["family"]:
        for model, of in {metrics["model"]: own, **compared}.items():
            rows = [of[name]["family"][family] for name in channels]
            if rows[0]["synthetic"]:
                cells = [_percent_if(rows[0], "misses", 0), *(_percent_if(row, "eer", 0) for row in rows)]
                lines.append(f"| {family} | {model} | {rows[0]['synthetic']} | {' | '.join(cells)} |")
    return lines


def _in_training_table(groups: Mapping[str, Mapping[str, Mapping[str, Figures]]]) -> list[str]:
    lines = _heading(
        f"channel | {IN_TRAINING} | human | synthetic | false alarms | misses | EER | AUC | miss at 1 % FA"
        " | miss at 0.1 % FA | min DCF"
    )
    for channel, tables in groups.items():
        for name, row in tables[IN_TRAINING].items():
            cells = [_percent_if(row, rate) for rate in ("false_alarms", "misses", "eer")]
            cells += [_number_if(row, "auc")]
            cells += [_percent_if(row, rate) for rate in ("miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms")]
            cells += [_number_if(row, "min_dcf")]
            lines.append(f"| {channel} | {name} | {row['human']} | {row['synthetic']} | {' | '.join(cells)} |")
    return lines


def _group_table(group: str, tables: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """Return a row for each name: rates in the first channel, then the EER in each."""
    lines = _heading(
        " | ".join([group, "human", "synthetic", "false alarms", "misses", *(f"EER {channel}" for channel in tables)])
    )
    for name, row in next(iter(tables.values())).items():
        cells = [_percent_if(row, rate, 0) for rate in ("false_alarms", "misses")]
        cells += [_percent_if(table[name], "eer", 0) for table in tables.values()]
        lines.append(f"| {name or '?'} | {row['human']} | {row['synthetic']} | {' | '.join(cells)} |")
    return lines


def _heading(heading: str) -> list[str]:
    return [f"| {heading} |", "|" + "---|" * (heading.count("|") + 1)]


def _percent(row: Figures, name: str, digits: int = 1) -> str:
    if math.isnan(row[name]):
        return ""  # undefined for one class alone
    low, high = row[f"{name}_95"]
    return f"{row[name]:.{digits}%} ({low:.{digits}%}–{high:.{digits}%})"


def _percent_if(row: Figures, name: str, digits: int = 1) -> str:
    return _percent(row, name, digits) if name in row else ""


def _number(row: Figures, name: str) -> str:
    if math.isnan(row[name]):
        return ""
    low, high = row[f"{name}_95"]
    return f"{row[name]:.3f} ({low:.3f}–{high:.3f})"


def _number_if(row: Figures, name: str) -> str:
    return _number(row, name) if name in row else ""


def _rate(row: Figures, name: str) -> str:
    low, high = row[f"{name}_95"]
    return f"{row[name]:.1f} ({low:.1f}–{high:.1f})"
