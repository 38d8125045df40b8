"""The report of an evaluation as files: figures as JSON, tables as Markdown, scores and groups as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.measure.figures import GROUP_REPEATS, GROUPS, HEARD, RANKED, Figures
from detection.measure.legs import DETECTED_WITHIN_S
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
with replacement; one of no width is of something that never or always happened, of which n cases leave 3 / n possible.
*DCF*: detection cost of ASVspoof 5 (cost 1 for a human called synthetic, 10 for a machine let through, 5 % of voices
synthetic), normalised so that 1 is deciding without listening; *min* at the best threshold, *actual* where the verdict
`synthetic` decides. *Cllr*: cost of the log-odds in bits, 0 perfect, 1 worth nothing; *min* what no calibration could
mend. There is no t-DCF: nobody's identity is verified here, and for a verification that every clone passes it equals
the DCF. Accuracy, F1, confusion and the tables by group are at even odds. The recordings of the conditions *noise* are
those that training adds noise from, too: they show what a level of noise costs, not what an unheard noise does. *first
2 s*: from the first speech on, so that a clip's length tells nothing, where it has so much."""

LEG_NOTES = """\
*alerted*: legs on which an alert was raised, of machines the hits; *confirmed*: on which one was confirmed."""

VERIFIED_NOTES = """\
Rows *with {verifier}*: legs as a gateway judges them that has this verifier beside the model, by the fusion of what
both say, from probability {raise_p:g} on. Here it hears all speech and answers at once; live an answer takes some
tenths of a second, and what its share of CPU has no room for it never hears."""

GROUP_NOTES = f"""\
Intervals from {GROUP_REPEATS} draws of sources; of clips, where a group lies within one source. A group of one class is
set against all clips of the other. groups.csv has all figures, of all conditions but those that cut clips."""

FAMILY_NOTES = """\
Each family against all humans; misses at even odds, in the first channel."""

HEARD_NOTES = """\
Sources are never shared between the splits; systems and people are. *yes*: the system of a synthetic clip, the person
of a human one, stands in the other splits of the manifest, too; one without a name counts as *no*."""


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


_GROUP_RATES = ("false_alarms", "misses", *RANKED)


def write_groups(groups: Mapping[str, Mapping[str, Mapping[str, Figures]]], file: Path) -> None:
    """Write one row a channel and system, family, language or source, each rate with the ends of its interval."""
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
    """Write the tables, with the pictures below."""
    lines = [f"# {metrics['model']} on split `{metrics['split']}` ({metrics['clips']} clips)", "", NOTES, ""]
    lines += [*_clips_table(metrics["conditions"]), "", *_worst(metrics)]
    lines += ["How the decision left the clips, as far as their few seconds go:", "", *_endings(metrics["conditions"])]
    if metrics["beside"]:
        lines += ["", "## Beside it", "", *_beside_table(metrics)]
        lines += ["", "## By family, of each model", "", FAMILY_NOTES, "", *_families_table(metrics)]
    lines += ["", "## Legs, by outcome", "", LEG_NOTES, ""]
    if metrics["with_verifier"]:
        lines += [VERIFIED_NOTES.format(**metrics["with_verifier"]), ""]
    lines += [*_outcomes_table(metrics)]
    lines += ["", "## Legs, by seconds of speech heard", "", *_legs_table(metrics)]
    lines += ["", "## False alarms per hour of genuine speech", "", *_alarms_table(metrics)]
    lines += ["", f"## Synthetic voices found within {DETECTED_WITHIN_S} s of their speech", "", *_found_table(metrics)]
    groups = {channel: metrics["groups"][channel] for channel in metrics["channels"]}
    first = next(iter(groups))
    if HEARD in groups[first]:
        lines += ["", "## By what training heard", "", HEARD_NOTES, "", *_heard_table(groups)]
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
    """Return a line on the worst codec, with a blank one, where several channels were measured."""
    name = metrics["worst_codec"]
    if name is None:
        return []
    row = metrics["conditions"][name]
    figures = f"EER {_percent(row, 'eer')}, AUC {_number(row, 'auc')}"
    return [f"Worst codec: **{name}**, {figures}, {_percent(row, 'miss_at_1pct_false_alarms')} missed at 1 % FA.", ""]


def _endings(conditions: Mapping[str, Figures]) -> list[str]:
    heading = (
        "condition | humans: human / unsure / synthetic | unsure because | synthetic: human / unsure / synthetic"
        " | unsure because | confusion at even odds (HH, HS, SH, SS)"
    )
    lines = _heading(heading)
    for name, row in conditions.items():
        cells = []
        for truth in ("human", "synthetic"):
            reasons = (f"{reason} {count}" for reason, count in row[f"{truth}_unsure_because"].items())
            cells += [_ended(row, truth), ", ".join(reasons)]
        counts = (f"{row[f'{truth}_as_{said}']}" for truth in ("human", "synthetic") for said in ("human", "synthetic"))
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(counts)} |")
    return lines


def _ended(row: Figures, truth: str) -> str:
    """Return how clips or legs of one class ended, with the interval of those that ended as synthetic."""
    states = ("human", "indeterminate", "synthetic")
    if any(math.isnan(row.get(f"{truth}_ended_{state}", math.nan)) for state in states):
        return ""  # nothing was decided, or a split without that class
    human, unsure, _ = (f"{row[f'{truth}_ended_{state}']:.0%}" for state in states)
    return f"{human} / {unsure} / {_percent(row, f'{truth}_ended_synthetic', 0)}"


def _rows_of_legs(metrics: Figures, table: str) -> Iterator[tuple[str, str, Figures]]:
    """Yield condition, who judged, and figures: of the model alone, then with the verifier, where there is one."""
    verified = metrics["with_verifier"]
    for condition, row in metrics[table].items():
        yield condition, "alone", row
        if verified and condition in verified[table]:
            yield condition, f"with {verified['verifier']}", verified[table][condition]


def _outcomes_table(metrics: Figures) -> list[str]:
    lines = _heading(
        "condition | judged | legs: human, synthetic | humans: human / unsure / synthetic"
        " | synthetic: human / unsure / synthetic | humans alerted | confirmed | synthetic alerted | confirmed"
    )
    for condition, judged, row in _rows_of_legs(metrics, "outcomes"):
        cells = [condition, judged, f"{row['human']}, {row['synthetic']}"]
        cells += [_ended(row, truth) for truth in ("human", "synthetic")]
        for truth in ("human", "synthetic"):
            cells += [_percent_if(row, f"{truth}_{name}") for name in ("alerted", "confirmed")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _legs_table(metrics: Figures) -> list[str]:
    lines = _heading(
        "condition | judged | speech heard | legs: human, synthetic | EER | humans alarmed | synthetic missed"
    )
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
        " | humans: human / unsure / synthetic | synthetic: human / unsure / synthetic"
        " | human legs: human / unsure / synthetic | synthetic legs: human / unsure / synthetic"
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
    """Return a row for each family of machines and model: misses in the first channel, and the error rate in each."""
    heard = {model: of for model, of in metrics["beside"].items() if all("family" in row for row in of.values())}
    channels = list(next(iter(heard.values()), {}))
    own = {name: {"family": metrics["groups"][name]["family"]} for name in channels}
    lines = _heading(" | ".join(["family", "model", "synthetic", "misses", *(f"EER {name}" for name in channels)]))
    for family in next(iter(own.values()), {"family": {}})["family"]:
        for model, of in {metrics["model"]: own, **heard}.items():
            rows = [of[name]["family"][family] for name in channels]
            if rows[0]["synthetic"]:
                cells = [_percent_if(rows[0], "misses", 0), *(_percent_if(row, "eer", 0) for row in rows)]
                lines.append(f"| {family} | {model} | {rows[0]['synthetic']} | {' | '.join(cells)} |")
    return lines


def _heard_table(groups: Mapping[str, Mapping[str, Mapping[str, Figures]]]) -> list[str]:
    lines = _heading(
        f"channel | {HEARD} | human | synthetic | false alarms | misses | EER | AUC | miss at 1 % FA"
        " | miss at 0.1 % FA | min DCF"
    )
    for channel, tables in groups.items():
        for name, row in tables[HEARD].items():
            cells = [_percent_if(row, rate) for rate in ("false_alarms", "misses", "eer")]
            cells += [_number_if(row, "auc")]
            cells += [_percent_if(row, rate) for rate in ("miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms")]
            cells += [_number_if(row, "min_dcf")]
            lines.append(f"| {channel} | {name} | {row['human']} | {row['synthetic']} | {' | '.join(cells)} |")
    return lines


def _group_table(group: str, tables: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """Return a row a name: rates in the first channel, then the error rate in each."""
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
        return ""  # of one class alone
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
